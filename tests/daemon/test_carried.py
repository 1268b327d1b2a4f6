"""Energy between two readings that have it: with its own time, of the same meter, for two hours, never made up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.model import Reading
from gateway.carried import CLOCK_STEP_S, Carried
from gateway.item_p import stamp, to_dict, utc
from gateway.sinks import topics
from gateway.stores.rows import Interner, pack, unpack

START = datetime(2026, 11, 21, 22, 0, 10, tzinfo=UTC)
NOTHING = Reading(
    profile="no-kaifa", interface="dlms-hdlc", auth="plain", quality="measured", t=None, t_meter=None, p_import_w=1_523,
    p_export_w=None, p_net_w=None, a_import_wh=None, a_export_wh=None, reg_t=None,
    registers=(("1-0:1.7.0", 1_523, 0, "W"),), register_times=(), sub=(), identity=None, interval_s=10, flags=(),
    size=80,
)  # fmt: skip


class Line:
    """A meter's readings at seconds from the start; both clocks run with the monotonic one unless they are set."""

    def __init__(self):
        self.carried, self.at, self.meter_s, self.gateway_s = Carried(), 1_000.0, 0.0, 0.3
        self.item = None

    def power(self, after_s=2.0, *, clock=True, **changes):
        """What is carried with a reading `after_s` seconds later."""
        self.at += after_s
        t = START + timedelta(seconds=self.at - 1_000 + self.meter_s)
        if clock:
            changes = {"t": t, "t_meter": t.isoformat()} | changes
        reading = replace(NOTHING, **changes)
        if reading.a_import_wh is not None and clock and "reg_t" not in changes:
            reading = replace(reading, reg_t=reading.t)
        t_rx = START + timedelta(seconds=self.at - 1_000 + self.gateway_s)
        item = stamp(reading, "main", seq=1, t_rx=t_rx, max_clock_offset_s=3_600)
        self.item = replace(item, carried=self.carried.take(item, self.at))
        return self.item.carried

    def energy(self, a_import_wh=1_000, a_export_wh=7, **changes):
        assert self.power(a_import_wh=a_import_wh, a_export_wh=a_export_wh, **changes) is None
        return self.item


@pytest.fixture
def line():
    return Line()


def test_it_goes_with_the_next_readings_and_keeps_its_time(line):
    sent = line.energy()
    for _ in range(3):
        carried = line.power()
        assert (carried.a_import_wh, carried.a_export_wh, carried.reg_t, carried.clock) == (1_000, 7, sent.t, "meter")
    shown = to_dict(line.item)
    assert (shown["a_import_wh"], shown["a_export_wh"], shown["reg_t"]) == (1_000, 7, utc(sent.t))
    assert shown["t"] > shown["reg_t"]
    line.energy(1_001)
    assert line.power().a_import_wh == 1_001


def test_one_direction_is_no_reason_to_carry_the_other(line):
    line.energy()
    assert line.power(a_import_wh=1_002) is None
    assert line.power().a_export_wh is None
    shown = to_dict(line.item)
    assert shown["a_import_wh"] == 1_002
    assert "a_export_wh" not in shown


def test_a_register_of_which_item_p_makes_nothing_is_energy_all_the_same(line):
    line.energy()
    assert line.power(registers=(("1-0:1.8.1", 5, 0, "kWh"),)) is None
    assert line.power() is None


@pytest.mark.parametrize(
    "changes",
    [{"profile": "no-aidon"}, {"auth": "verified"}, {"quality": "suspect"}, {"identity": "B"}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_meter_or_another_proof_ends_it(line, changes):
    line.energy(identity="A")
    assert line.power(**changes) is None
    assert line.power() is None


def test_another_system_title_ends_it(line):
    def under(title):
        return SimpleNamespace(identity=SimpleNamespace(system_title=title))

    line.energy(seen=under("4B41"))
    assert line.power(seen=under("4B41")) is not None
    assert line.power(seen=under("4B42")) is None


def test_after_a_pause_the_meter_must_say_who_it_is(line):
    line.energy(identity="A")
    assert line.power(60) is None
    line.energy(identity="A")
    assert line.power(60, identity="A") is not None
    assert line.power() is not None


def test_after_an_interruption_the_meter_must_say_who_it_is(line):
    line.energy()
    line.carried.interrupt()
    assert line.power() is None
    line.energy()
    line.carried.forget()
    assert line.power() is None


@pytest.mark.parametrize("clock", ["meter_s", "gateway_s"])
@pytest.mark.parametrize("step", [CLOCK_STEP_S + 5, -CLOCK_STEP_S - 5])
def test_a_clock_that_is_set_ends_it(line, clock, step):
    line.energy()
    assert line.power() is not None
    setattr(line, clock, getattr(line, clock) + step)
    assert line.power() is None


def test_a_clock_that_is_not_believed_ends_it(line):
    line.energy()
    line.meter_s = 7_200
    assert line.power() is None
    line.meter_s = 0
    assert line.power() is None
    line.energy()
    assert line.power(clock=False, flags=("clock_invalid",)) is None


def test_energy_under_a_clock_that_is_not_believed_is_not_carried(line):
    line.meter_s = 7_200
    line.energy()
    assert line.power(clock=False) is None


def test_a_reading_without_time_shows_it_by_the_gateways_clock(line):
    sent = line.energy()
    carried = line.power(clock=False)
    assert (carried.reg_t, carried.clock) == (sent.t_rx, "gateway")
    assert to_dict(line.item)["t_source"] == "gateway"


def test_energy_without_time_goes_with_readings_without_time_only(line):
    sent = line.energy(clock=False)
    assert line.power(clock=False).reg_t == sent.t_rx
    assert line.power() is None


def test_registers_older_than_their_telegram_keep_their_lag(line):
    reg_t = START - timedelta(seconds=8)
    sent = line.energy(reg_t=reg_t)
    assert line.power().reg_t == reg_t
    assert line.power(clock=False).reg_t == sent.t_rx - (sent.t - reg_t)


def test_two_hours_and_no_longer(line):
    line.energy(identity="A")
    assert line.power(7_200, identity="A") is not None
    assert line.power(1, identity="A") is None
    line.meter_s = -5
    assert line.power(1, identity="A") is None


def test_numbers_and_journal_get_fresh_energy_only(line):
    where = topics.meter_topics("meterd", "main")
    energy = {f"meterd/main/{name}" for name in (*topics.ENERGY, *topics.ENERGY_KWH)}
    line.energy()
    assert energy <= {message.topic for message in topics.reading(where, line.item)}
    assert line.power() is not None
    assert not energy & {message.topic for message in topics.reading(where, line.item)}
    stored = unpack(pack(line.item, Interner({}, 1)), "main", lambda _: b"")
    assert stored == replace(line.item, carried=None)
    assert "a_import_wh" not in to_dict(stored)


STEP = st.tuples(
    st.sampled_from(
        ["power", "power", "power", "list2", "energy", "set meter", "set gateway", "exchange", "interrupt"]
    ),
    st.sampled_from([0.5, 2.0, 10.0, 45.0, 1_800.0, 3_599.0]),
    st.booleans(),
    st.integers(-40_000, 40_000),
)


@given(st.lists(STEP, max_size=40))
def test_whatever_happens_it_is_what_was_sent_last_by_this_meter_and_not_older_than_two_hours(steps):
    line, meter, sent, sent_by, sent_at = Line(), "A", None, None, 0.0
    for step, (what, after_s, clock, by) in enumerate(steps):
        if what == "energy":
            sent, sent_by = (step * 1_000, step), meter
            line.energy(*sent, identity=meter, clock=clock)
            sent_at = line.at
        elif what == "set meter":
            line.meter_s = by / 10
        elif what == "set gateway":
            line.gateway_s = by / 10
        elif what == "exchange":  # nobody exchanges a meter in less than a minute
            meter, line.at = meter + "x", line.at + 60
        elif what == "interrupt":
            line.carried.interrupt()
        else:
            carried = line.power(after_s, clock=clock, identity=meter if what == "list2" else None)
            if carried is not None:
                assert carried[:2] == sent
                assert sent_by == meter
                assert line.at - sent_at <= 7_200 + CLOCK_STEP_S
                assert timedelta() <= line.item.t - carried.reg_t <= timedelta(seconds=7_200)
                assert carried.clock == line.item.t_source
