"""When which device is announced: once seen, spread, never more often than it helps, and taken back when it is gone."""

import json
import random
from dataclasses import replace

import pytest

from gateway.item_p import LiveSub
from gateway.settings import MqttSettings
from gateway.sinks import announcer as subject
from gateway.sinks import homeassistant as ha
from gateway.sinks import topics
from gateway.sinks.announcer import Announcer

SALT = b"0123456789abcdef"


class Clock:
    """An announcer on a clock, and what it gave; every tick is one second."""

    def __init__(self, *meters, form="device", former=None, **settings):
        self.announcer = Announcer(
            MqttSettings(discovery=form, **settings),
            {name: topics.meter_topics("meterd", name) for name in meters or ("main",)},
            salt=SALT,
            former=former or {},
            jitter=lambda low, high: (low + high) / 2,
        )
        self.now = 1_000.0
        self.announcer.connected(self.now)

    def wait(self, seconds, limit=20):
        """Everything that becomes due, tick by tick; as (topic, payload)."""
        found = []
        for _ in range(int(seconds)):
            found += self.announcer.next(self.now, limit, idle=True)
            self.now += 1
        return [(message.topic, message.payload) for message in found]

    def read(self, item):
        self.announcer.take(item, self.now)
        self.now += 1


def entities(told):
    """Keys of the entities of each bundle, in order."""
    bundles = [json.loads(payload)["components"] for topic, payload in told if "/device/" in topic and payload]
    return [{key for key, part in bundle.items() if len(part) > 1} for bundle in bundles]


DIAGNOSTIC = {"online", "line_state", "last_seen", "missed_telegrams", "authenticity"}


@pytest.fixture
def item(make_item):
    return lambda **fields: make_item(**({"sub": ()} | fields))


def test_a_meter_that_sends_nothing_is_announced_with_its_line():
    clock = Clock(registers=("l1_voltage_v",))
    assert entities(clock.wait(subject.PATIENCE_S)) == []
    assert entities(clock.wait(2)) == [DIAGNOSTIC]


def test_what_is_seen_is_announced_after_it_settled(item):
    clock = Clock()
    clock.read(item(p_export_w=None, p_net_w=None, a_export_wh=None))
    clock.read(item(a_export_wh=None))
    told = entities(clock.wait(5))
    assert told == [
        DIAGNOSTIC | {"power_import", "power_export", "power_net", "energy_import", "clock_offset", "meter_time"}
    ]


def test_a_new_quantity_is_announced_once(item):
    clock = Clock()
    for _ in range(20):
        clock.read(item(a_export_wh=None))
    assert len(entities(clock.wait(10))) == 1
    for _ in range(20):
        clock.read(item())
    assert ["energy_export" in keys for keys in entities(clock.wait(20))] == [True]
    for _ in range(100):
        clock.read(item())
    assert clock.wait(20) == []


def test_a_quantity_that_stays_away_stays(item):
    clock = Clock()
    clock.read(item())
    clock.wait(10)
    for _ in range(100):
        clock.read(item(p_export_w=None))
    assert all("power_export" in keys for keys in entities(clock.wait(20)))


def test_a_meter_that_changes_with_every_reading_is_announced_seldom(item):
    clock = Clock()
    told = []
    for n in range(600):
        clock.read(item(profile=f"p{n}", interval_s=1 + n % 9))
        clock.now -= 1
        told += clock.wait(1)
    assert 50 <= len(entities(told)) <= 600 / subject.GAP_S + 1


# -- expiry ----------------------------------------------------------------------------------------------------------


def expiry(told):
    bundle = json.loads([payload for topic, payload in told if payload][-1])
    return {key: part.get("expire_after") for key, part in bundle["components"].items()}


def test_power_is_old_when_it_is_not_valid_and_energy_after_three_intervals(item):
    clock = Clock()
    clock.read(item(interval_s=10))
    found = expiry(clock.wait(5))
    assert {found["power_import"], found["power_export"], found["power_net"]} == {30}
    assert found["energy_import"] == found["energy_export"] == 180
    clock = Clock()
    clock.read(item(interval_s=300))
    assert expiry(clock.wait(5))["energy_import"] == 900


def test_energy_once_an_hour_is_old_after_three_hours(item):
    clock = Clock()
    for n in range(40):
        energy = {} if n in {5, 30} else {"a_import_wh": None, "a_export_wh": None}
        clock.read(item(**energy))
    found = expiry(clock.wait(10))
    assert found["energy_import"] == found["energy_export"] == 12_000
    assert found["power_import"] == 30


def test_energy_once_a_day_is_old_after_three_days(item):
    clock = Clock()
    for day in range(3):
        clock.now = 1_000.0 + 86_400 * day
        clock.read(item())
        clock.read(item(a_import_wh=None, a_export_wh=None))
    assert expiry(clock.wait(10))["energy_import"] == 270_000


def test_the_pause_of_a_silent_meter_is_not_that_of_its_energy(item):
    clock = Clock()
    clock.read(item())
    clock.read(item(a_import_wh=None))
    clock.announcer.silent("main")
    clock.now += 7 * 86_400
    clock.read(item())
    assert expiry(clock.wait(10))["energy_import"] == 12_000


def test_registers_exist_when_they_were_published(item):
    clock = Clock(registers=("l1_voltage_v", "a_import_t1_wh"))
    clock.read(item())
    clock.announcer.published("main", ["l1_voltage_v"], clock.now)
    found = expiry(clock.wait(5))
    assert (found["register_l1_voltage_v"], found.get("register_a_import_t1_wh")) == (210, None)
    clock.announcer.published("main", ["a_import_t1_wh"], clock.now)
    clock.announcer.published("main", ["l1_voltage_v"], clock.now + 3_600)
    clock.now += 3_600
    found = expiry(clock.wait(10))
    assert (found["register_l1_voltage_v"], found["register_a_import_t1_wh"]) == (12_000, 12_000)


# -- births ----------------------------------------------------------------------------------------------------------


def test_a_birth_announces_everything_again(item):
    clock = Clock("main", "garage")
    clock.read(item())
    clock.wait(30)
    assert clock.announcer.birth(clock.now)
    assert len(entities(clock.wait(8))) == 2
    assert clock.wait(60) == []


def test_a_flood_of_births_costs_one_round_in_a_while_and_is_told(item):
    clock = Clock()
    clock.read(item())
    clock.wait(30)
    rounds, listened = 0, []
    for _ in range(600):
        listened += [clock.announcer.birth(clock.now) for n in range(100)]
        rounds += len(clock.wait(1))
    assert listened.index(False) == subject.FLOOD - 1
    assert 30 <= rounds <= 600 / subject.BIRTH_GAP_S + 1


def test_a_birth_soon_after_another_is_not_lost(item):
    clock = Clock()
    clock.read(item())
    clock.wait(30)
    told = []
    for second in range(60):
        if second < 5:
            assert clock.announcer.birth(clock.now)
        told += [second] * len(clock.wait(1))
    assert len(told) == 2
    assert told[0] <= subject.BIRTH_JITTER_S
    assert subject.BIRTH_GAP_S <= told[1] - told[0] <= subject.BIRTH_GAP_S + subject.BIRTH_JITTER_S


def test_the_jitter_spreads_gateways():
    times = set()
    for seed in range(20):
        jitter = random.Random(seed)
        one = Clock()
        one.announcer._jitter = jitter.uniform
        one.wait(30)
        one.announcer.birth(one.now)
        times.add(one.announcer._next_round - one.now)
    assert len(times) == 20
    assert all(0 <= time <= subject.BIRTH_JITTER_S for time in times)


# -- sub-meters ------------------------------------------------------------------------------------------------------


def live(make_item, *devices):
    """One gas meter on each channel, by its device."""
    one = make_item().subs[0]
    subs = [
        LiveSub(replace(one.reading, channel=n), device, "plain", n)
        for n, device in enumerate(devices, 1)
        if device is not None
    ]
    return replace(make_item(), subs=tuple(subs))


def ids(told):
    return [(topic.split("/")[2], bool(payload)) for topic, payload in told if "/device/" in topic]


A, B = "a" * 16, "b" * 16


def test_a_sub_meter_is_a_device_of_its_own_behind_its_meter(make_item):
    clock = Clock()
    clock.read(live(make_item, A))
    main, sub = (json.loads(payload) for _, payload in clock.wait(5) if payload)
    assert sub["device"]["via_device"] in main["device"]["identifiers"]
    assert {part["state_topic"] for part in sub["components"].values()} == {"meterd/main/sub/1/reading"}
    assert set(sub["components"]) == {"total", "reading_time"}


def test_a_sub_meter_on_another_channel_stays_the_same(make_item):
    clock = Clock()
    clock.read(live(make_item, A))
    before = ids(clock.wait(10))
    clock.read(live(make_item, None, A))
    told = clock.wait(10)
    assert ids(told) == before
    assert b"sub/2/reading" in told[-1][1]


def test_an_exchange_makes_another_device_and_takes_the_old_one_back(make_item):
    clock = Clock()
    clock.read(live(make_item, A))
    (main, _), (old, _) = ids(clock.wait(10))
    clock.read(live(make_item, B))
    told = ids(clock.wait(10))
    assert told[:2] == [(old, False), (main, True)]
    assert told[2][0] not in {old, main}
    clock.read(live(make_item, B))
    assert clock.wait(10) == []


def test_two_sub_meters_that_swap_channels_stay(make_item):
    clock = Clock()
    clock.read(live(make_item, A, B))
    before = ids(clock.wait(10))
    clock.read(live(make_item, B, A))
    assert sorted(ids(clock.wait(10))) == sorted(before)


def test_a_sub_meter_that_is_gone_is_not_taken_back(make_item):
    clock = Clock()
    clock.read(live(make_item, A, B))
    clock.wait(10)
    clock.read(live(make_item, A))
    assert all(kept for _, kept in ids(clock.wait(20)))


def test_invented_sub_meters_are_bounded(make_item):
    clock = Clock(form="component")
    messages = 0
    for n in range(500):
        clock.read(live(make_item, *(f"{n:08x}{channel:08x}" for channel in range(40))))
        messages += len(clock.wait(1))
    known = clock.announcer._known["main"]
    assert len(known.subs) <= subject.MAX_SUBS
    assert len(clock.announcer._met) <= subject.MAX_MET
    assert messages <= 500 * 20


# -- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "kept", "taken"), [
    ("device", {"device"}, {"sensor", "binary_sensor"}),
    ("component", {"sensor", "binary_sensor"}, {"device"}),
    ("both", {"device", "sensor", "binary_sensor"}, set()),
    ("off", set(), {"device", "sensor", "binary_sensor"}),
])  # fmt: skip
def test_the_other_form_is_taken_back_first_and_once(make_item, form, kept, taken):
    clock = Clock(form=form)
    clock.read(live(make_item, A))
    told = clock.wait(30)
    assert {topic.split("/")[1] for topic, payload in told if payload} == kept
    empty = [topic for topic, payload in told if not payload and "register_" not in topic]
    assert {topic.split("/")[1] for topic in empty} == taken
    assert len(empty) == len(set(empty))
    firsts = [bool(payload) for topic, payload in told if "register_" not in topic]
    assert firsts == sorted(firsts)
    clock.announcer.connected(clock.now)
    assert all(payload or "register_" in topic for topic, payload in clock.wait(30))


def test_what_was_not_taken_back_whole_is_taken_back_again():
    clock = Clock(form="off")
    first = clock.announcer.next(clock.now, 5, idle=False)
    clock.announcer.connected(clock.now)
    assert clock.announcer.next(clock.now, 5, idle=False) == first


def test_many_meters_are_sent_in_pieces(item):
    clock = Clock(*(f"m{n}" for n in range(50)), form="component")
    for n in range(50):
        clock.announcer.take(item(meter=f"m{n}"), clock.now)
    clock.wait(4)
    sizes = [len(clock.announcer.next(clock.now, 20, idle=True)) for _ in range(200)]
    assert max(sizes) == 20
    assert sizes[-1] == 0


def test_what_changes_rarely_is_asked_for_after_an_announcement(item):
    clock = Clock()
    clock.read(item())
    assert not clock.announcer.wants_repetition("main", clock.now)
    clock.wait(5)
    clock.now += subject.REPEAT_AFTER_S
    assert clock.announcer.wants_repetition("main", clock.now)
    assert not clock.announcer.wants_repetition("main", clock.now)


def test_a_meter_of_an_earlier_configuration_is_taken_back_in_every_form_until_the_broker_has_that():
    sub = ha.Sub("0a1b2c3d4e5f", "gas", 1, "", has_time=False, expire_s=0)
    clock = Clock("main", form="both", former={"heat": [sub]})
    wanted = {ha.main_id(SALT, "heat"), ha.sub_id(SALT, "heat", sub)}

    def taken_back(told):
        assert (f"homeassistant/device/{ha.main_id(SALT, 'main')}/config", b"") not in told
        return {at for at in wanted if any(at in topic and not payload for topic, payload in told)}

    told = clock.wait(30)
    assert taken_back(told) == wanted
    for form in ("/device/", "/sensor/", "/binary_sensor/"):
        assert any(form in topic for topic, payload in told if not payload)
    clock.announcer.connected(clock.now)
    assert not taken_back(clock.wait(30))

    unheard = Clock("main", form="both", former={"heat": [sub]})
    unheard.announcer.next(unheard.now, 20, idle=False)
    unheard.announcer.connected(unheard.now)
    assert taken_back(unheard.wait(30)) == wanted
