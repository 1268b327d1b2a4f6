"""BRS-028 of the Danish profile: a request of monthly sums is answered from what the store holds, or rejected.

The sums are control sums: everything of a metering point type that the hub holds for the points of the one who asks (it
sent them, or their master data name it as supplier), in exact decimals. Quality: A04 all measured, A03 some estimated,
A05 not every interval of the month has a value.
"""

import itertools
import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.sandbox import effects
from gateway.sandbox.dk_read import Wanted
from gateway.sandbox.dk_rules import Reason
from gateway.sandbox.instants import STEPS, instant, to_minutes

ZONE: Final = ZoneInfo("Europe/Copenhagen")
#: a month may lie so many months back: 3 years and 6
OLDEST_MONTHS: Final = 42
_TYPES: Final = {"consumption": "E17", "production": "E18"}


def kept(series: Wanted) -> dict[str, Any]:
    """Return a request as it waits for its answer."""
    return {
        "id": series.id,
        "resolution": series.resolution,
        "start": series.start,
        "end": series.end,
        "area": series.area,
        "supplier": series.supplier,
        "owner": series.owner,
        "version": series.version,
        "charges": [list(charge) for charge in series.charges],
    }


def reasons(series: Mapping[str, Any], process: str, role: str, sender: str, now: int) -> list[Reason]:
    """Return every rule of BRS-028 that a request breaks."""
    return [*_period(series, now), *_criteria(series, process, role, sender)]


def _period(series: Mapping[str, Any], now: int) -> Iterator[Reason]:
    start, end = _local(series["start"]), _local(series["end"] or "")
    if start is None or end is None or not _midnight(start) or not _midnight(end):
        yield Reason("D66", "Forkert dato / Start and end have to be midnight of Denmark (T22:00:00Z or T23:00:00Z)")
    elif start.day != 1 or (end.year, end.month, end.day) != _after(start):
        text = "Det er kun muligt at anmode om en hel måned / It is only possible to request data for a full month"
        yield Reason("E17", text)
    elif _months(datetime.fromtimestamp(now, ZONE)) - _months(start) > OLDEST_MONTHS:
        yield Reason("E17", "Perioden er for gammel / The period lies more than 3 years and 6 months back")
    if series["resolution"] not in (None, "P1M"):
        yield Reason("D23", "Opløsning skal være P1M / The resolution has to be P1M")


def _criteria(series: Mapping[str, Any], process: str, role: str, sender: str) -> Iterator[Reason]:
    if any(len(charge or "") > 10 for charge, _ in series["charges"]):
        yield Reason("D14", "Priselementets id er for langt / A charge id has more than 10 characters")
    area, version = series["area"], series["version"]
    if role == "DDM" and area is None:
        yield Reason("D64", "Netområde mangler / A grid access provider has to name the grid area")
    if area is not None and not (len(area) == 3 and area.isascii() and area.isdecimal()):
        yield Reason("E86", "Forkert netområde / The grid area is invalid")
    if version is not None and (process != "D32" or version not in ("D01", "D02", "D03")):
        yield Reason("E86", "Forkert korrektionsversion / The settlement version is invalid")
    if role == "DDQ" and series["supplier"] not in (None, sender):
        yield Reason("E16", "Forkert elleverandør / The energy supplier is not the one who asks")


def answer(db: sqlite3.Connection, series: Mapping[str, Any], sender: str, party: str) -> list[dict[str, Any]]:
    """Return the monthly sums that a request gets: one for each metering point type and charge."""
    start, end = instant(series["start"]) or 0, instant(series["end"]) or 0
    sums = _sums(db, start, end, series, (sender, party))
    common = {
        "original": series["id"],
        "start": to_minutes(start),
        "end": to_minutes(end),
        "version": series["version"],
        "owner": series["owner"],
        "area": series["area"],
        "supplier": series["supplier"] or sender,
    }
    charges = series["charges"] or [[None, None]]
    return [
        common | {"type": type_, "sum": format(total, "f"), "quality": quality, "charge": charge, "charge_type": kind}
        for type_, (total, quality) in sums.items()
        for charge, kind in charges
    ]


def _sums(
    db: sqlite3.Connection, start: int, end: int, series: Mapping[str, Any], who: tuple[str, str]
) -> dict[str, tuple[Decimal, str]]:
    """Metering point type -> (sum in kWh, quality), over every point that is meant."""
    found: dict[str, tuple[Decimal, str]] = {}
    rows = db.execute(
        "SELECT e.point, e.direction, e.party, e.resolution, p.facts, e.vals FROM effects e"
        " LEFT JOIN points p ON p.profile = 'dk' AND p.point = e.point"
        " WHERE e.profile = 'dk' AND e.unit = 'KWH' AND e.start < ? AND e.end > ? ORDER BY e.point, e.direction, e.n",
        (end, start),
    )
    for (_, direction), versions in itertools.groupby(rows, key=lambda row: row[:2]):
        held = list(versions)
        if direction in _TYPES and _meant(held, series, who):
            total, quality = _of_point(held, start, end)
            before = found.get(_TYPES[direction], (Decimal(), "A04"))
            found[_TYPES[direction]] = (before[0] + total, _worse(before[1], quality))
    return found


def _of_point(held: list[tuple[Any, ...]], start: int, end: int) -> tuple[Decimal, str]:
    """Sum of one point: of each interval the newest version."""
    values = {t: (q, quality) for row in held for t, q, quality in effects.unpacked(row[5]) if start <= t < end}
    numbers = [Decimal(quantity) for quantity, _ in values.values() if quantity is not None]
    expected = (end - start) // STEPS.get(held[-1][3], end - start)
    if len(numbers) < expected:
        return sum(numbers, Decimal()), "A05"
    measured = all(quality == "A04" for _, quality in values.values())
    return sum(numbers, Decimal()), "A04" if measured else "A03"


def _meant(held: list[tuple[Any, ...]], series: Mapping[str, Any], who: tuple[str, str]) -> bool:
    """Say that a point belongs to the sums: who asks sent it or supplies it, and the criteria fit what is known."""
    sender, party = who
    facts = json.loads(held[0][4]) if held[0][4] else {}
    asked = any(row[2] == party for row in held) or facts.get("supplier") == sender
    return asked and all(facts.get(key, series[key]) == series[key] for key in ("area", "supplier") if series[key])


def _worse(one: str, other: str) -> str:
    return max(one, other, key=("A04", "A03", "A05").index)


def _local(text: str) -> datetime | None:
    t = instant(text)
    return None if t is None else datetime.fromtimestamp(t, ZONE)


def _midnight(when: datetime) -> bool:
    return (when.hour, when.minute, when.second) == (0, 0, 0)


def _after(start: datetime) -> tuple[int, int, int]:
    """First day of the next month."""
    after = date(start.year + start.month // 12, start.month % 12 + 1, 1)
    return after.year, after.month, after.day


def _months(when: datetime) -> int:
    return 12 * when.year + when.month
