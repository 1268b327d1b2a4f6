"""The closed form of a minute's energy is the sum of its seconds; the house repeats itself and has seasons."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.house import FLICKER_W, Household, is_low_tariff

SUMMER = int(datetime(2026, 6, 21, tzinfo=UTC).timestamp())
WINTER = int(datetime(2026, 1, 10, tzinfo=UTC).timestamp())


def energy(house, start, seconds=86400):
    flows = [house.flow(minute, minute + 60) for minute in range(start, start + seconds, 60)]
    return sum(imported for imported, _ in flows), sum(exported for _, exported in flows)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), day=st.integers(19_000, 22_000), minute=st.integers(0, 1439), cut=st.integers(0, 59))
def test_the_flow_of_a_minute_is_the_sum_of_its_seconds(seed, day, minute, cut):
    house = Household(seed)
    start = day * 86400 + minute * 60
    powers = [sum(house.phases(second)) for second in range(start + cut, start + 60)]
    imported, exported = house.flow(start + cut, start + 60)
    assert imported == sum(p for p in powers if p > 0)
    assert exported == -sum(p for p in powers if p < 0)


def test_import_and_export_change_places_within_a_minute_somewhere():
    house = Household(1)
    mixed = [m for m in range(SUMMER, SUMMER + 86400, 60) if 0 not in house.flow(m, m + 60)]
    assert mixed, "the slow path is never taken: the test above proves less than it says"


def test_the_flow_is_exact_wherever_the_net_is_near_zero():
    house, near = Household(1), 0
    for start in range(SUMMER, SUMMER + 30 * 86400, 60):
        if abs(house.day(start // 86400).net[start // 60 % 1440]) <= 3 * FLICKER_W:
            near += 1
            powers = [sum(house.phases(second)) for second in range(start, start + 60)]
            assert house.flow(start, start + 60) == (sum(p for p in powers if p > 0), -sum(p for p in powers if p < 0))
    assert near > 100


@pytest.mark.parametrize("solar_wp", [0, 2400, 3600, 3900, 6000])
def test_phases_add_up_to_the_net_of_the_house(solar_wp):
    house = Household(5, solar_wp=solar_wp)
    for second in range(SUMMER, SUMMER + 86400, 61):
        day = house.day(second // 86400)
        assert abs(sum(house.phases(second)) - day.net[second // 60 % 1440]) <= 3 * FLICKER_W


def test_one_seed_is_one_household_in_any_order_of_questions():
    there, back = Household(7), Household(7)
    seconds = range(SUMMER, SUMMER + 5 * 86400, 7919)
    forward = [there.phases(second) for second in seconds]
    assert forward == [back.phases(second) for second in reversed(seconds)][::-1]
    assert forward != [Household(8).phases(second) for second in seconds]


def test_power_changes_from_second_to_second():
    house = Household(3)
    powers = [sum(house.phases(WINTER + second)) for second in range(60)]
    assert len(set(powers)) > 20


def test_summer_exports_winter_does_not_and_a_house_without_a_roof_never():
    for seed in range(1, 9):
        house = Household(seed)
        summer, winter = energy(house, SUMMER), energy(house, WINTER)
        assert summer[1] > winter[1]
        assert winter[0] > summer[0]
        assert energy(Household(seed, solar_wp=0), SUMMER)[1] == 0


def test_the_sun_sets():
    house = Household(2)
    assert all(sum(house.phases(SUMMER + second)) > 0 for second in range(0, 2 * 3600, 17))


def test_gas_flows_more_in_winter():
    house = Household(4)
    assert sum(house.day(WINTER // 86400).gas) > 2 * sum(house.day(SUMMER // 86400).gas) > 0


def test_a_day_is_kept_within_bounds():
    house = Household(1)
    for number in range(20_000, 20_050):
        house.day(number)
    assert len(house._days) <= 2
    assert len(house._habits) <= 2


@pytest.mark.parametrize(
    ("weekday", "hour", "low"),
    [(0, 6, True), (0, 7, False), (4, 22, False), (4, 23, True), (5, 12, True), (6, 12, True)],
)
def test_low_tariff_at_night_and_at_weekends(weekday, hour, low):
    assert is_low_tariff(weekday, hour) is low
