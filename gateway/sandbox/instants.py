"""Times of documents: text to UTC s and back, lengths of resolutions, days and months of a country."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

#: ISO 8601 durations of fixed length, in seconds
STEPS: Final = {"PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT60M": 3600, "P1D": 86_400}
_MINUTES: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", re.ASCII)


def minutes(text: str) -> int | None:
    """Read YYYY-MM-DDThh:mmZ as UTC s; None when it is something else."""
    if not _MINUTES.fullmatch(text):
        return None
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def instant(text: str) -> int | None:
    """Read an ISO 8601 time with a zone as UTC s; None when it is none, or has fractions of a second."""
    try:
        found = datetime.fromisoformat(text)
        return int(found.timestamp()) if found.tzinfo and not found.microsecond else None
    except (ValueError, OverflowError):
        return None


def to_minutes(t: int) -> str:
    """Write UTC s as YYYY-MM-DDThh:mmZ."""
    return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%MZ")


def to_seconds(t: int) -> str:
    """Write UTC s as YYYY-MM-DDThh:mm:ssZ."""
    return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(when: date, zone: ZoneInfo) -> tuple[int, int]:
    """First second of a local day and of the next one, UTC s."""
    first, after = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (when, when + timedelta(1)))
    return int(first.timestamp()), int(after.timestamp())


def starts(start: int, end: int, step: int) -> list[int]:
    """Start of each interval of start <= t < end."""
    return list(range(start, end, step))
