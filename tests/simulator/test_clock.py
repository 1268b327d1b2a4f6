"""Simulated time runs at its factor, and zones know their midnights."""

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.simulator.clock import Clock, local_midnight

START = datetime(2026, 3, 1, tzinfo=UTC)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def waited(clock, t):
    began = time.monotonic()
    asyncio.run(clock.wait_until(t))
    return time.monotonic() - began


def test_a_thousand_seconds_are_half_a_second_at_factor_2000():
    assert waited(Clock(START, 2000), START + timedelta(seconds=1000)) >= 0.45


def test_an_infinite_speed_and_the_past_do_not_wait():
    assert waited(Clock(START, math.inf), START + timedelta(days=3650)) < 5
    assert waited(Clock(START), START - timedelta(days=3650)) < 5


def test_from_now_is_in_step_with_real_time():
    clock = Clock.from_now()
    assert clock.start.microsecond == 0
    asyncio.run(clock.wait_until(clock.start))
    late = datetime.now(UTC) - clock.start
    assert timedelta(milliseconds=-2) < late < timedelta(seconds=10)


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ValueError, match="speed"):
        Clock(START, speed)


def test_a_start_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="zone"):
        Clock(START.replace(tzinfo=None))


@pytest.mark.parametrize("day", [datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 7, 1)])  # noqa: DTZ001
def test_midnight_of_short_and_long_days(day):
    midnight = int(day.replace(tzinfo=AMSTERDAM).timestamp())
    for hour in range(22):
        assert local_midnight(midnight + hour * 3600, AMSTERDAM) == midnight
