"""Meter clocks: a wall clock and its summer flag to an instant, by the zone of the operator.

The flag decides, not the calendar: Nordic meters send W (standard time) all year, and some meters are late to change.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from decoders.model import MeterTime

_TIME = re.compile(rb"(\d{12})([SWsw]?)")
_LONG_TIME = re.compile(rb"(\d{4})-?(\d{2})-?(\d{2})[ T](\d{2}):?(\d{2}):?(\d{2})")


def parse_time(value: bytes) -> MeterTime | None:
    """`YYMMDDhhmmss` with S or W (summer, winter) or nothing, or `YYYYMMDD hh:mm:ss`; None when it is no time."""
    short = _TIME.fullmatch(value)
    long = None if short else _LONG_TIME.fullmatch(value)
    try:
        if short:
            digits = short[1]
            pairs = [int(digits[i : i + 2]) for i in range(0, 12, 2)]
            wall = datetime(2000 + pairs[0], *pairs[1:])  # type: ignore[arg-type]  # noqa: DTZ001
            return MeterTime(wall, {b"S": True, b"W": False, b"": None}[short[2].upper()])
        if long:
            return MeterTime(datetime(*(int(group) for group in long.groups())))  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None
    return None


class Zone:
    """A zone as the S/W flag of P1 uses it: W is its standard offset, S its summer offset, whatever the date."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._year = 0
        self._standard = self._summer = timedelta()

    def utc(self, time: MeterTime) -> datetime | None:
        """The instant in UTC; None when the wall clock occurs twice or never in this zone and no flag tells."""
        if time.summer is None:
            return self._unflagged(time.wall)
        if time.wall.year != self._year:
            self._learn(time.wall.year)
        return (time.wall - (self._summer if time.summer else self._standard)).replace(tzinfo=UTC)

    def _learn(self, year: int) -> None:
        """Standard time is the smaller of January's and July's offsets; a zone without summer time adds an hour."""
        january, july = (datetime(year, month, 1, tzinfo=self._zone).utcoffset() or timedelta() for month in (1, 7))
        self._standard = min(january, july)
        self._summer = max(january, july) if january != july else self._standard + timedelta(hours=1)
        self._year = year

    def _unflagged(self, wall: datetime) -> datetime | None:
        first, second = (wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return first if first == second else None


def shown(time: MeterTime, t: datetime | None) -> str:
    """What the meter said in ISO 8601, with its offset from UTC where `t`, the same instant, is known."""
    wall = time.wall.isoformat()
    if t is None:
        return wall
    minutes = round((time.wall.replace(tzinfo=UTC) - t).total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    return f"{wall}{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
