"""A meter answers for any instant, the same each time, and its registers grow by the power in between."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.meter import Meter
from gateway.simulator.variants import VARIANTS

START = datetime(2026, 6, 20, 9, 17, 5, tzinfo=UTC)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), variant=st.sampled_from(sorted(VARIANTS)), gap=st.integers(1, 900))
def test_the_registers_grow_by_the_power_in_between(seed, variant, gap):
    meter = Meter(seed, variant, START)
    seconds = [START + timedelta(seconds=second) for second in range(gap + 1)]
    states = [meter.state_at(t) for t in seconds]
    drawn = sum(state.p_import for state in states[:-1])
    fed = sum(state.p_export for state in states[:-1])
    first, last = meter.truth_at(seconds[0]), meter.truth_at(seconds[-1])
    assert abs((last["a_import_wh"] - first["a_import_wh"]) * 3600 - drawn) < 3600
    assert abs((last["a_export_wh"] - first["a_export_wh"]) * 3600 - fed) < 3600


def test_the_truth_is_what_the_second_says():
    meter = Meter(3, "dsmr5", START)
    assert meter.truth_at(START) | {"sub": None} == {
        "t": "2026-06-20T09:17:05Z",
        "t_meter": "2026-06-20T11:17:05+02:00",
        "p_import_w": max(0, sum(meter.house.phases(int(START.timestamp())))),
        "p_export_w": max(0, -sum(meter.house.phases(int(START.timestamp())))),
        "p_net_w": sum(meter.house.phases(int(START.timestamp()))),
        "a_import_wh": sum(meter.state_at(START).a_import[:2]),
        "a_export_wh": sum(meter.state_at(START).a_export[:2]),
        "sub": None,
    }


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_going_back_gives_the_same_telegram(variant):
    meter = Meter(5, variant, START)
    times = [START + timedelta(minutes=minutes) for minutes in (0, 1, 400, 3000)]
    forward = [meter.telegram_at(t) for t in times]
    assert [meter.telegram_at(t) for t in reversed(times)][::-1] == forward
    assert [Meter(5, variant, START).telegram_at(t) for t in times] == forward


def test_the_old_meter_has_no_clock_and_steps_of_10_w():
    meter = Meter(3, "dsmr22", START)
    truth = meter.truth_at(START)
    assert "t" not in truth
    assert "t_meter" not in truth
    assert truth["p_import_w"] % 10 == truth["p_export_w"] % 10 == 0
    assert truth["p_import_w"] == meter.state_at(START).p_import // 10 * 10


def test_the_swedish_clock_is_an_hour_behind_the_house_in_summer():
    assert Meter(3, "se-efs2", START).truth_at(START)["t_meter"] == "2026-06-20T10:17:05+01:00"


def test_what_cannot_be_simulated_is_named():
    with pytest.raises(ValueError, match="dsmr5, emucs, se-efs2, dsmr42, dsmr22"):
        Meter(1, "dsmr6")
    with pytest.raises(ValueError, match="zone"):
        Meter(1, "dsmr5", START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="starts at 2026-06-20T09:17:05Z"):
        Meter(1, "dsmr5", START).telegram_at(START - timedelta(seconds=1))
