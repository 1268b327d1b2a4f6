"""Discovery is what Home Assistant accepts, and who follows it reads the right values and nothing else."""

import json
from dataclasses import replace

import pytest

from gateway.line_state import POLLED, STATES
from gateway.sinks import homeassistant as ha
from gateway.sinks import topics
from gateway.sinks.registers import NAMES

SALT = b"0123456789abcdef"
TOPICS = topics.meter_topics("meterd", "main")
EVERYTHING = ha.Main(
    name="main",
    topics=TOPICS,
    status="meterd/status",
    quantities={**dict.fromkeys(topics.POWER, 30), **dict.fromkeys(topics.ENERGY, 180)},
    registers=dict.fromkeys(NAMES, 210),
    chosen=tuple(NAMES),
    has_clock=True,
    model=ha.model("DSMR 5.0 and ESMR 5 meters", ["Kaifa MA105", "Kaifa MA304"]),
)
GAS = ha.Sub("8dcd99b41419e0e8", "gas", 1, "m3", has_time=True, expire_s=210)
STATE = {
    "state": "ok", "flags": [], "evidence": "readings arrive", "last_seen": "2026-11-21T22:20:05Z", "missed": 3,
    "auth": "verified", "clock_offset_s": -0.412, "meter_time": "2026-11-21T22:20:05Z",
}  # fmt: skip


def tell(consumer, device, form="device"):
    for message in ha.announce(device, form, "homeassistant"):
        assert (message.qos, message.retain) == (1, True)
        consumer.receive(message.topic, message.payload)


@pytest.fixture
def consumer(home_assistant):
    made = home_assistant.HomeAssistant()
    made.receive("meterd/status", b"online")
    made.receive("meterd/main/availability", b"online")
    return made


@pytest.mark.parametrize("form", ha.FORMS)
def test_every_entity_is_one_that_home_assistant_accepts(consumer, form):
    tell(consumer, ha.main_device(EVERYTHING, SALT), form)
    assert len(consumer.entities) == 5 + len(NAMES) + 7
    assert len({entity.config["default_entity_id"] for entity in consumer.entities.values()}) == len(consumer.entities)
    assert len({entity.config["name"] for entity in consumer.entities.values()}) == len(consumer.entities)


@pytest.mark.parametrize("form", ha.FORMS)
def test_values_arrive_unscaled(consumer, make_item, form):
    tell(consumer, ha.main_device(EVERYTHING, SALT), form)
    for message in topics.reading(TOPICS, make_item(p_import_w=0, p_export_w=4_711, p_net_w=-4_711)):
        consumer.receive(message.topic, message.payload)
    consumer.receive(f"{TOPICS.register}l1_voltage_v", b"231.4")
    consumer.receive(TOPICS.state, topics.state_json(STATE))
    states = {"power_import": "0", "power_export": "4711", "power_net": "-4711", "energy_import": "65238377",
              "energy_export": "5", "register_l1_voltage_v": "231.4", "line_state": "ok", "missed_telegrams": "3",
              "last_seen": "2026-11-21T22:20:05Z", "clock_offset": "-0.412", "authenticity": "verified",
              "meter_time": "2026-11-21T22:20:05Z", "_online": "online"}  # fmt: skip
    assert {key: consumer.state(key) for key in states} == states


def test_what_is_not_known_of_a_line_yet_is_unknown_and_not_zero(consumer):
    tell(consumer, ha.main_device(EVERYTHING, SALT))
    nothing = dict.fromkeys(("last_seen", "auth", "clock_offset_s", "meter_time"))
    consumer.receive(TOPICS.state, topics.state_json(STATE | nothing | {"state": "no_port"}))
    assert [consumer.state(key) for key in ("last_seen", "authenticity", "clock_offset", "meter_time")] == [None] * 4
    assert consumer.state("line_state") == "no_port"


@pytest.mark.parametrize("state", [*STATES, *POLLED])
def test_every_line_state_is_an_option(consumer, state):
    tell(consumer, ha.main_device(EVERYTHING, SALT))
    consumer.receive(TOPICS.state, topics.state_json(STATE | {"state": state}))
    assert consumer.state("line_state") == state


def test_silence_takes_values_and_leaves_diagnostics(consumer, make_item):
    tell(consumer, ha.main_device(EVERYTHING, SALT))
    for message in topics.reading(TOPICS, make_item()):
        consumer.receive(message.topic, message.payload)
    consumer.receive(TOPICS.state, topics.state_json(STATE))
    consumer.receive("meterd/main/availability", b"offline")
    assert consumer.state("power_net") == consumer.state("energy_import") == "unavailable"
    assert consumer.state("line_state") == "ok"
    assert consumer.state("_online") == "offline"
    consumer.receive("meterd/status", b"offline")
    assert consumer.state("line_state") == consumer.state("_online") == "unavailable"


def test_a_value_that_no_other_follows_expires(consumer, make_item):
    tell(consumer, ha.main_device(EVERYTHING, SALT))
    for message in topics.reading(TOPICS, make_item()):
        consumer.receive(message.topic, message.payload)
    consumer.now = 29.9
    assert (consumer.state("power_net"), consumer.state("energy_import")) == ("132", "65238377")
    consumer.now = 30.0
    assert (consumer.state("power_net"), consumer.state("energy_import")) == ("unavailable", "65238377")
    consumer.now = 180.0
    assert consumer.state("energy_import") == "unavailable"


def test_the_energy_dashboard_takes_them(consumer, home_assistant):
    tell(consumer, ha.main_device(EVERYTHING, SALT))
    tell(consumer, ha.sub_device(GAS, EVERYTHING, SALT))
    tell(consumer, ha.sub_device(ha.Sub("b" * 16, "water", 2, "m3", True, 210), EVERYTHING, SALT))
    for end, kind in {"_energy_import": "grid", "_energy_export": "grid"}.items() | {("gas_total", "gas")}:
        found = [e.config for e in consumer.entities.values() if e.config["default_entity_id"].endswith(end)]
        device_class, units = home_assistant.DASHBOARD[kind]
        assert [(c["device_class"], c["state_class"]) for c in found] == [(device_class, "total_increasing")]
        assert found[0]["unit_of_measurement"] in units


def test_only_what_was_seen_and_chosen_exists(consumer):
    seen = replace(EVERYTHING, quantities={"p_import_w": 30}, registers={}, has_clock=False, chosen=())
    tell(consumer, ha.main_device(seen, SALT))
    assert sorted(uid.rpartition("meterd_")[2][17:] for uid in consumer.entities) == [
        "authenticity", "last_seen", "line_state", "missed_telegrams", "online", "power_import",
    ]  # fmt: skip


def test_a_register_that_is_chosen_no_more_is_taken_away():
    device = ha.main_device(replace(EVERYTHING, chosen=("l1_voltage_v",), registers={"l1_voltage_v": 210}), SALT)
    (bundle,) = ha.announce(device, "device", "homeassistant")
    parts = json.loads(bundle.payload)["components"]
    gone = [key for key, part in parts.items() if set(part) == {"platform"}]
    assert gone == [f"register_{name}" for name in NAMES if name != "l1_voltage_v"]
    empty = [m.topic.split("/")[-2] for m in ha.announce(device, "component", "homeassistant") if not m.payload]
    assert empty == gone


# -- sub-meters ------------------------------------------------------------------------------------------------------


def reading(quantity="22055.755", device=GAS.device, **more):
    known = {"device": device, "quantity": quantity, "unit": "m3", "quality": "measured", "t": "2026-11-21T22:15:00Z"}
    return json.dumps({key: value for key, value in (known | more).items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("medium", "unit", "device_class", "shown"),
    [
        ("gas", "m3", "gas", "m³"),
        ("gas", "kWh", "energy", "kWh"),
        ("water", "m3", "water", "m³"),
        ("hot water", "l", "water", "L"),
        ("heat", "GJ", "energy", "GJ"),
        ("heat", "MWh", "energy", "MWh"),
        ("cooling", "m3", "volume", "m³"),
        ("electricity", "Wh", "energy", "Wh"),
        ("electricity", "kWh", "energy", "kWh"),
    ],
)
def test_a_sub_meter_has_the_class_of_its_medium(consumer, medium, unit, device_class, shown):
    tell(consumer, ha.sub_device(replace(GAS, medium=medium, unit=unit), EVERYTHING, SALT))
    (config,) = [e.config for uid, e in consumer.entities.items() if uid.endswith("_total")]
    assert (config["device_class"], config["unit_of_measurement"]) == (device_class, shown)
    assert config["state_class"] == "total_increasing"
    assert config["device"]["via_device"] == ha.main_id(SALT, "main")


@pytest.mark.parametrize("unit", ["", "HCA", "{{ states }}", "m³", "kW"])
def test_a_unit_that_nobody_knows_makes_no_entity(unit):
    assert ha.sub_device(replace(GAS, unit=unit), EVERYTHING, SALT) is None


def test_a_sub_meter_is_bound_to_its_device():
    moved, other = replace(GAS, channel=3), replace(GAS, device="0" * 16)
    assert ha.sub_id(SALT, "main", moved) == ha.sub_id(SALT, "main", GAS)
    assert ha.sub_id(SALT, "main", other) != ha.sub_id(SALT, "main", GAS)
    nameless = replace(GAS, device=None)
    assert ha.sub_id(SALT, "main", nameless) != ha.sub_id(SALT, "main", replace(nameless, channel=3))


def test_a_sub_meter_takes_only_its_own_readings(consumer):
    tell(consumer, ha.sub_device(GAS, EVERYTHING, SALT))
    consumer.receive("meterd/main/sub/1/reading", reading())
    assert (consumer.state("_total"), consumer.state("reading_time")) == ("22055.755", "2026-11-21T22:15:00Z")
    consumer.receive("meterd/main/sub/1/reading", reading("1.002", device="0" * 16))
    consumer.receive("meterd/main/sub/1/reading", reading("1.003", device=None))
    assert (consumer.state("_total"), consumer.state("reading_time")) == ("22055.755", None)


def test_a_total_that_fell_is_not_taken_and_one_without_time_is(consumer):
    tell(consumer, ha.sub_device(GAS, EVERYTHING, SALT))
    consumer.receive("meterd/main/sub/1/reading", reading())
    consumer.receive("meterd/main/sub/1/reading", reading("7.000", quality="suspect"))
    assert consumer.state("_total") == "22055.755"
    consumer.receive("meterd/main/sub/1/reading", reading("22055.800", quality="suspect", t=None))
    assert (consumer.state("_total"), consumer.state("reading_time")) == ("22055.800", None)


def test_a_sub_meter_without_number_is_that_of_its_channel(consumer):
    tell(consumer, ha.sub_device(replace(GAS, device=None), EVERYTHING, SALT))
    consumer.receive("meterd/main/sub/1/reading", reading("5.000", device=None))
    assert consumer.state("_total") == "5.000"


# -- ids and texts ---------------------------------------------------------------------------------------------------


def test_ids_are_of_the_installation_and_say_nothing():
    at = ha.main_id(SALT, "main")
    assert at == ha.main_id(SALT, "main") != ha.main_id(SALT, "garage")
    assert at != ha.main_id(b"fedcba9876543210", "main")
    assert "main" not in at
    whole = b"".join(m.payload for m in ha.announce(ha.main_device(EVERYTHING, SALT), "device", "homeassistant"))
    assert b'"object_id"' not in whole


@pytest.mark.parametrize("form", ha.FORMS)
def test_what_was_announced_is_taken_back_whole(consumer, form):
    for device, is_sub in ((ha.main_device(EVERYTHING, SALT), False), (ha.sub_device(GAS, EVERYTHING, SALT), True)):
        tell(consumer, device, form)
        assert consumer.entities
        for message in ha.withdraw(device.id, form, "homeassistant", is_sub=is_sub):
            assert (message.payload, message.qos, message.retain) == (b"", 1, True)
            consumer.receive(message.topic, message.payload)
        assert not consumer.entities


def test_both_forms_have_the_same_entities_under_other_topics(home_assistant):
    seen = []
    for form in ha.FORMS:
        consumer = home_assistant.HomeAssistant()
        tell(consumer, ha.main_device(EVERYTHING, SALT), form)
        seen.append(consumer)
    assert {uid: e.config for uid, e in seen[0].entities.items()} == {
        uid: e.config for uid, e in seen[1].entities.items()
    }
    assert not {t.split("/")[2] for t in seen[0].told} & {t.split("/")[2] for t in seen[1].told}


@pytest.mark.parametrize("text", ["{{ states('x') }}\x00\x1b[31m\n" + "A" * 10_000, "\u202e\ud800 ", "\x85"])
def test_texts_of_profiles_are_cut_and_cleaned(text):
    shown = ha.model(text, [text])
    for value in shown:
        assert value is None or (len(value) <= 64 and value.isprintable())


def test_a_manufacturer_is_named_where_all_meters_are_its():
    assert ha.model("x", ["Landis+Gyr E450", "Landis+Gyr E570"]).manufacturer == "Landis+Gyr"
    assert ha.model("x", ["Landis+Gyr E450", "Kaifa MA304"]).manufacturer is None
    assert ha.model("x", ["meters that no other profile knows"]).manufacturer is None
    assert ha.model("x", ["Kaifa MA304", "meters like it"]).manufacturer is None
    assert ha.model("", []) == ha.Model()
