"""Meter clocks: a wall clock and its summer flag to an instant, by the zone of the operator.

The flag decides, not the calendar: Nordic meters send W (standard time) all year, and some meters are late to change.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

from decoders.model import MeterTime

#: years as in the short form: before them no meter had a P1 port, and a date near year 1 or 9999 has no UTC
_LONG_TIME = re.compile(rb"(20\d{2})-?(\d{2})-?(\d{2})[ T](\d{2}):?(\d{2}):?(\d{2})")
#: "no deviation" in a COSEM date-time
_UNSPECIFIED = -0x8000
#: minutes that a zone is from UTC at most
_FURTHEST = 720
_SUMMER = {b"S": True, b"s": True, b"W": False, b"w": False, b"": None}


def parse_time(value: bytes) -> MeterTime | None:
    """`YYMMDDhhmmss` with S or W (summer, winter) or nothing, or `YYYYMMDD hh:mm:ss`; None when it is no time."""
    digits, flag = value[:12], value[12:]
    try:
        if len(digits) == 12 and digits.isdigit() and flag in _SUMMER:
            date = 2000 + int(digits[:2]), int(digits[2:4]), int(digits[4:6])
            wall = datetime(*date, int(digits[6:8]), int(digits[8:10]), int(digits[10:]))  # noqa: DTZ001
            return MeterTime(wall, _SUMMER[flag])
        long = _LONG_TIME.fullmatch(value)
        return MeterTime(datetime(*map(int, long.groups()))) if long else None  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None


class Time(NamedTuple):
    """A COSEM date-time as read: None where it is not one, and whether the meter itself calls it invalid."""

    time: MeterTime | None
    valid: bool


def parse_date_time(octets: bytes) -> Time:
    """Twelve octets (IEC 62056-6-2, 4.1.6.1): year to hundredths, deviation in minutes, status."""
    if len(octets) != 12:
        return Time(None, False)
    year, month, day = int.from_bytes(octets[:2], "big"), octets[2], octets[3]
    deviation = int.from_bytes(octets[9:11], "big", signed=True)
    try:
        wall = datetime(year, month, day, octets[5], octets[6], octets[7])  # noqa: DTZ001
    except ValueError:
        return Time(None, False)
    known = None if deviation == _UNSPECIFIED or abs(deviation) > _FURTHEST else deviation
    status = octets[11]
    return Time(MeterTime(wall, deviation=known), status == 0xFF or not status & 0x01)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
#: seconds of 2000-01-01 and of 2100-01-01: no meter with this clock was built before, and none is believed after
_FIRST_SECOND, _LAST_SECOND = 946_684_800, 4_102_444_800


def parse_timestamp(seconds: int, local: int = 0, season: int = 0) -> Time:
    """Seconds since 1970-01-01 UTC, and the minutes that the meter adds for its zone and for summer (SML_Time)."""
    minutes = local + season
    if not 0 <= seconds < _LAST_SECOND or abs(minutes) > _FURTHEST:
        return Time(None, False)
    wall = _EPOCH + timedelta(seconds=seconds, minutes=minutes)
    return Time(MeterTime(wall, deviation=-minutes), seconds >= _FIRST_SECOND)


class Zone:
    """A zone as the S/W flag of P1 uses it: W is its standard offset, S its summer offset, whatever the date."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._year = 0
        self._standard = self._summer = timedelta()

    def offset(self, time: MeterTime) -> timedelta | None:
        """Offset from UTC; None when the wall clock occurs twice or never in this zone and no flag tells."""
        if time.summer is None:
            return self._unflagged(time.wall)
        if time.wall.year != self._year:
            self._learn(time.wall.year)
        return self._summer if time.summer else self._standard

    def _learn(self, year: int) -> None:
        """Standard time is the smaller of January's and July's offsets; a zone without summer time adds an hour."""
        january, july = (datetime(year, month, 1, tzinfo=self._zone).utcoffset() or timedelta() for month in (1, 7))
        self._standard = min(january, july)
        self._summer = max(january, july) if january != july else self._standard + timedelta(hours=1)
        self._year = year

    def _unflagged(self, wall: datetime) -> timedelta | None:
        first, second = (wall.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1))
        return first if first == second else None


def instant(time: MeterTime, offset: timedelta | None) -> datetime | None:
    """The meter's time in UTC; None without an offset."""
    return None if offset is None else (time.wall - offset).replace(tzinfo=UTC)


def shown(time: MeterTime, offset: timedelta | None) -> str:
    """What the meter said in ISO 8601, with its offset from UTC where that is known."""
    return time.wall.isoformat() + ("" if offset is None else _suffix(offset))


@lru_cache(maxsize=64)
def _suffix(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
