"""Bounds of quarter-hours, hours, local days and months in UTC; nothing is ever counted by a local clock.

A local day runs from its first moment to that of the next date: 92, 96 or 100 quarter-hours. A gas day begins at 06:00
local time (Regulation (EU) 2017/460, Commission Regulation (EU) No 312/2014: 05:00 UTC in winter, 04:00 in summer for
Central Europe), and the month of gas with its first gas day.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from gateway.intervals.model import Resolution

GAS_DAY: Final = time(6)
MIDNIGHT: Final = time(0)
#: seconds of the resolutions that have the same length on every day
FIXED: Final[dict[Resolution, int]] = {"PT15M": 900, "PT1H": 3_600}
_DAY = timedelta(days=1)


@lru_cache(maxsize=4_096)
def day_start(day: date, zone: ZoneInfo, begin: time = MIDNIGHT) -> int:
    """First moment of a local day, in UTC seconds.

    Of a local time that comes twice it is the earlier one; where the clock leaps ahead at midnight (Azores), the day
    begins with the leap (PEP 495: fold=0).
    """
    return int(datetime.combine(day, begin, tzinfo=zone).timestamp())


def day_of(t: int, zone: ZoneInfo, begin: time = MIDNIGHT) -> date:
    """The local day that a moment (UTC seconds) belongs to."""
    day = datetime.fromtimestamp(t, zone).date()
    while day_start(day, zone, begin) > t:
        day -= _DAY
    while day_start(day + _DAY, zone, begin) <= t:
        day += _DAY
    return day


def month_start(day: date, zone: ZoneInfo, begin: time = MIDNIGHT) -> int:
    """First moment of the month of a local day, in UTC seconds."""
    return day_start(day.replace(day=1), zone, begin)


def next_month(day: date) -> date:
    """The first day of the next month."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def floor(t: int, resolution: Resolution, zone: ZoneInfo, begin: time = MIDNIGHT) -> int:
    """Start of the interval that a moment belongs to."""
    if resolution in FIXED:
        return _floor_fixed(t, FIXED[resolution], zone)
    day = day_of(t, zone, begin)
    return day_start(day, zone, begin) if resolution == "P1D" else month_start(day, zone, begin)


def end_of(start: int, resolution: Resolution, zone: ZoneInfo, begin: time = MIDNIGHT) -> int:
    """End of the interval that begins at `start`, a bound."""
    if resolution in FIXED:
        return start + FIXED[resolution]
    day = day_of(start, zone, begin)
    return day_start(day + _DAY, zone, begin) if resolution == "P1D" else day_start(next_month(day), zone, begin)


def spans(
    since: int, until: int, resolution: Resolution, zone: ZoneInfo, begin: time = MIDNIGHT
) -> Iterator[tuple[int, int]]:
    """(start, end) of every interval that has a moment of since <= t < until, rising and without a gap."""
    start = floor(since, resolution, zone, begin)
    while start < until and since < until:
        end = end_of(start, resolution, zone, begin)
        yield start, end
        start = end


def bounds_of_day(day: date, resolution: Resolution, zone: ZoneInfo, begin: time = MIDNIGHT) -> list[int]:
    """All bounds of a local day, its start and end included: 97 of quarter-hours, 93 or 101 when the clock changes."""
    since, until = day_start(day, zone, begin), day_start(day + _DAY, zone, begin)
    return [start for start, _ in spans(since, until, resolution, zone, begin)] + [until]


def _floor_fixed(t: int, step: int, zone: ZoneInfo) -> int:
    """Hours begin with the local hour, also where the zone is half an hour off."""
    offset = datetime.fromtimestamp(t, zone).utcoffset()
    shift = 0 if offset is None else int(offset.total_seconds()) % step
    return t - (t + shift) % step
