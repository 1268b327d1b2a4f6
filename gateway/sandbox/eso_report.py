"""Reports of the ESO-like profile, pure: local days, records, late days and a schema that drifts.

A record's `consumptionTime` is the local time at which its interval ends, without an offset. In the hour that is there
twice the records are in the order of time, and an interval without a value is there with `amount` null, so that nobody
has to guess which one is missing; elsewhere it is absent.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.sandbox.eso_objects import Meter, Reading

ZONE: Final = ZoneInfo("Europe/Vilnius")
#: how a late day looks, and how a schema drifts
LATE: Final = ("absent", "partial")
DRIFTS: Final = ("renamed", "retyped")
#: of a day that is partial so many seconds are there
_PART_S: Final = 6 * 3_600


@dataclass
class Switches:
    """What a test sets at /control/lt."""

    #: "absent" or "partial": the day is late
    late: str | None = None
    #: that day, YYYY-MM-DD; None: yesterday
    late_day: str | None = None
    #: "renamed": `amount` is called `quantity`; "retyped": it is a text with a decimal comma
    drift: str | None = None
    #: so many times a report is said to be in process before it is done
    polls: int = 1

    def set(self, name: str, value: Any) -> None:
        """Change one; raises ValueError with one sentence."""
        allowed = {"late": LATE, "drift": DRIFTS}
        if name in allowed:
            if value is not None and value not in allowed[name]:
                raise ValueError(f"{name} is null or one of {', '.join(allowed[name])}")
        elif name == "late_day":
            if value is not None and day(value) is None:
                raise ValueError("late_day is null or a day, YYYY-MM-DD")
        elif name != "polls":
            raise ValueError(f"{name[:40]!r} is no switch: late, late_day, drift and polls are")
        elif not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000:
            raise ValueError("polls is a whole number from 0 to 1000")
        setattr(self, name, value)


def day(text: object) -> dt.date | None:
    """A day of 2000 to 2099, YYYY-MM-DD; None where it is none."""
    try:
        found = dt.date.fromisoformat(text) if isinstance(text, str) and len(text) == 10 else None
    except ValueError:
        return None
    return found if found and 2000 <= found.year <= 2099 else None


def bounds(first: dt.date, last: dt.date) -> tuple[int, int]:
    """First second of a local day, and of another one, UTC."""
    return midnight(first), midnight(last)


def midnight(at: dt.date) -> int:
    """First second of a local day, UTC s."""
    return int(dt.datetime.combine(at, dt.time(), ZONE).timestamp())


def held_back(readings: Iterable[Reading], switches: Switches, now: int) -> list[Reading]:
    """What is there already, when the switch makes a day late."""
    if switches.late is None:
        return list(readings)
    late = day(switches.late_day) or dt.datetime.fromtimestamp(now, ZONE).date() - dt.timedelta(1)
    start, end = bounds(late, late + dt.timedelta(1))
    there = start + _PART_S if switches.late == "partial" else start
    return [reading for reading in readings if not there <= reading.start < end]


def records(readings: Sequence[Reading], start: int, end: int, *, flagged: bool) -> list[dict[str, Any]]:
    """Records of the readings of one meter; `flagged`: with `valueStatus`."""
    found = {(reading.category, reading.start): reading for reading in readings}
    steps = {reading.category: reading.end - reading.start for reading in readings}
    made = []
    for category, step in sorted(steps.items()):
        for t in range(start, end, step):
            reading = found.get((category, t))
            if reading is not None or _is_twice(t + step):
                made.append(_record(reading or Reading(t, t + step, category, None, "MISSING"), flagged=flagged))
    return made


def meter(number: str, it: Meter, found: list[dict[str, Any]], *, typed: bool) -> dict[str, Any]:
    """Entry of one meter of a report; `typed`: with the type that tells meters of equal number apart."""
    types = {"meterType": it.type} if typed else {}
    return {"objectNumber": number, "meterNumber": it.number, **types, "values": found}


def drifted(data: list[dict[str, Any]], drift: str | None) -> list[dict[str, Any]]:
    """The same report by another schema."""
    if drift is None:
        return data
    return [{**entry, "values": [_drifted(value, drift) for value in entry["values"]]} for entry in data]


def _drifted(record: dict[str, Any], drift: str) -> dict[str, Any]:
    amount = record["amount"]
    if drift == "retyped":
        return {**record, "amount": None if amount is None else str(amount).replace(".", ",")}
    return {"quantity" if key == "amount" else key: value for key, value in record.items()}


def _record(reading: Reading, *, flagged: bool) -> dict[str, Any]:
    at = dt.datetime.fromtimestamp(reading.end, ZONE).strftime("%Y-%m-%dT%H:%M:%S")
    amount = None if reading.amount is None else Decimal(reading.amount)
    flag = {"valueStatus": reading.flag} if flagged else {}
    return {"consumptionCategory": reading.category, "amount": amount, "consumptionTime": at, **flag}


def _is_twice(at: int) -> bool:
    """Tell whether a local time is there twice."""
    local = dt.datetime.fromtimestamp(at, ZONE)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
