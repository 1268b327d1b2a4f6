"""Registers are exact over a day by seconds and a year by any steps; demand, peaks and gas follow the clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.house import Household
from gateway.simulator.registers import GAS_LITRES_PER_DAY, WH_PER_DAY, WS_PER_WH, Registers

START = int(datetime(2026, 6, 20, 15, 17, 5, tzinfo=UTC).timestamp())
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def sums(registers):
    return [*registers.imported, *registers.exported, *registers.reactive, registers.litres]


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), day=st.integers(19_000, 22_000))
def test_a_day_is_the_sum_of_its_86400_seconds_by_tariff_and_direction(seed, day):
    house = Household(seed)
    start = day * 86400
    registers = Registers(house, start)
    before = sums(registers)
    registers.advance(start + 86400)
    expected = [0, 0, 0, 0]
    for second in range(start, start + 86400):
        net = sum(house.phases(second))
        local = datetime.fromtimestamp(second, AMSTERDAM)
        normal = local.weekday() < 5 and 7 <= local.hour < 23
        expected[(0 if net > 0 else 2) + normal] += abs(net)
    assert [after - first for after, first in zip(sums(registers), before, strict=True)][:4] == expected


@pytest.mark.untraced
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), steps=st.lists(st.integers(1, 20 * 86400), min_size=20, max_size=40))
def test_a_year_is_the_same_in_one_step_and_in_many(seed, steps):
    end = START + 365 * 86400
    at_once = Registers(Household(seed), START)
    at_once.advance(end)
    stepped, t = Registers(Household(seed), START), START
    for step in steps:
        t = min(end, t + step)
        stepped.advance(t)
    stepped.advance(end)
    assert sums(stepped) == sums(at_once)
    assert (stepped.peaks, stepped.peak, stepped.gas_5min) == (at_once.peaks, at_once.peak, at_once.gas_5min)


@pytest.mark.untraced
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_year_is_the_sum_of_the_minutes_of_another_household_of_that_seed(seed):
    registers = Registers(Household(seed), START)
    before = sums(registers)
    registers.advance(START + 365 * 86400)
    house, imported, exported, t = Household(seed), 0, 0, START
    while t < START + 365 * 86400:
        end = min(t - t % 60 + 60, START + 365 * 86400)
        flow = house.flow(t, end)
        imported, exported, t = imported + flow[0], exported + flow[1], end
    assert sum(registers.imported) - before[0] - before[1] == imported
    assert sum(registers.exported) - before[2] - before[3] == exported


def test_no_remainder_is_lost_at_any_second():
    registers = Registers(Household(3), START)
    drawn, shown = sum(registers.imported), []
    for second in range(START, START + 4000):
        shown.append(sum(registers.imported) // WS_PER_WH)
        assert shown[-1] == drawn // WS_PER_WH
        drawn += max(0, sum(registers.house.phases(second)))
        registers.advance(second + 1)
    assert shown == sorted(shown)


def test_registers_do_not_run_backwards():
    with pytest.raises(ValueError, match="backwards"):
        Registers(Household(1), START).advance(START - 1)


@pytest.mark.untraced
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_meter_simulated_again_later_shows_no_less(seed):
    house = Household(seed)
    registers = Registers(house, START)
    for _ in range(365):
        before = sums(registers)
        registers.advance(registers.t + 86400)
        grown = [after - first for after, first in zip(sums(registers), before, strict=True)]
        assert max(grown[:6]) < WH_PER_DAY * WS_PER_WH
        assert grown[6] < GAS_LITRES_PER_DAY
    again = Registers(house, registers.t)
    assert all(later >= first for later, first in zip(sums(again), sums(registers), strict=True))


def test_demand_is_the_energy_of_the_running_quarter_over_900_s():
    registers = Registers(Household(3), START)
    quarter = START - START % 900
    drawn = sum(max(0, sum(registers.house.phases(second))) for second in range(quarter, START))
    assert registers.demand == drawn // 900
    registers.advance(quarter + 900)
    assert registers.demand == 0


def test_the_peak_of_a_month_is_its_highest_quarter():
    first, last = (int(datetime(2026, month, 1, tzinfo=AMSTERDAM).timestamp()) for month in (6, 7))
    registers = Registers(Household(3), first)
    house, quarters = registers.house, {}
    for end in range(first + 900, last + 900, 900):
        flows = [house.flow(minute, minute + 60)[0] for minute in range(end - 900, end, 60)]
        quarters[end] = sum(flows) // 900
    registers.advance(last - 1)
    best = max(watts for end, watts in quarters.items() if end < last)
    assert registers.peak.watts == best
    assert quarters[registers.peak.t] == best
    registers.advance(last)
    assert registers.peaks[0].watts == max(quarters.values())
    assert registers.peaks[0].month_end == last
    assert (registers.peak.watts, registers.peak.t) == (0, last)


def test_thirteen_months_are_kept_newest_first():
    registers = Registers(Household(2), START)
    earlier = registers.peaks
    registers.advance(START + 500 * 86400)
    assert len(registers.peaks) == 13
    ends = [peak.month_end for peak in registers.peaks]
    assert ends == sorted(ends, reverse=True)
    for peak in (*registers.peaks, *earlier):
        assert datetime.fromtimestamp(peak.month_end, AMSTERDAM).strftime("%d %H:%M:%S") == "01 00:00:00"
        assert peak.month_end - 31 * 86400 - 3600 <= peak.t <= peak.month_end


def test_gas_is_read_every_five_minutes_and_every_hour():
    registers = Registers(Household(2), START)
    for t in range(START, START + 7200, 37):
        registers.advance(t)
        assert registers.gas_5min.t == t - t % 300
        assert registers.gas_hour.t == t - t % 3600
        assert registers.gas_hour.litres <= registers.gas_5min.litres <= registers.litres


def test_reactive_energy_and_gas_are_the_sums_of_what_flowed():
    registers = Registers(Household(3), START)
    house, before = registers.house, sums(registers)
    registers.advance(START + 10_000)
    vars_ = [sum(house.reactive(second)) for second in range(START, START + 10_000)]
    grown = [after - first for after, first in zip(sums(registers), before, strict=True)]
    assert grown[4] == sum(var for var in vars_ if var > 0) > 0
    assert grown[5] == -sum(var for var in vars_ if var < 0) > 0
    whole_minutes = range(START // 60, (START + 10_000) // 60)
    assert grown[6] == sum(house.day(minute // 1440).gas[minute % 1440] for minute in whole_minutes)
