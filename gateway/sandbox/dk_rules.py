"""The business rules of RSM-012 in the Danish profile: what becomes an RSM-009, with the reason codes of the DataHub.

A series that was read is kept as JSON until it is judged: point, type, unit, resolution, start, end and points as
[position, quantity as text or null, quality or null].
"""

import sqlite3
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from gateway.sandbox import points
from gateway.sandbox.dk_read import Measured
from gateway.sandbox.instants import STEPS, minutes

UNITS: Final = ("KWH", "K3")
QUALITIES: Final = ("A02", "A03", "A04")
#: a period is at least so long
SHORTEST_S: Final = 4 * 3600
#: metering point type -> direction; what is neither is kept under its own type
DIRECTIONS: Final = {"E17": "consumption", "E18": "production", "D01": "production"}


class Reason(NamedTuple):
    """Why a transaction was rejected; texts are Danish and English, as the DataHub writes them."""

    code: str
    text: str


class Judged(NamedTuple):
    """Bounds and values of a series that broke no rule."""

    start: int
    end: int
    values: tuple[tuple[int, str | None, str], ...]


def kept(series: Measured) -> dict[str, Any]:
    """Return a series as it waits for its judgement."""
    values = [[p.position, None if p.quantity is None else _text(p.quantity), p.quality] for p in series.points]
    return {
        "id": series.id,
        "point": series.point,
        "type": series.type,
        "unit": series.unit,
        "resolution": series.resolution,
        "start": series.start,
        "end": series.end,
        "points": values,
    }


def judge(
    db: sqlite3.Connection, series: Mapping[str, Any], sender: str, now: int, options: tuple[bool, int]
) -> Judged | list[Reason]:
    """Return values, or every reason why not; `options`: only registered points are known, days a period may be old."""
    registered, oldest_days = options
    known = points.facts(db, "dk", series["point"])
    id_ = str(series["point"])
    if (known is None and registered) or len(id_) != 18 or not (id_.isascii() and id_.isdecimal()):
        return [Reason("E10", "Målepunktet findes ikke / The metering point does not exist")]
    reasons = list(_master(series, sender, known or {}))
    reasons += _quantities(series["points"])
    start, end = minutes(series["start"]), minutes(series["end"])
    if start is None or end is None:
        return [*reasons, Reason("E50", "Start eller slut mangler / Start or end is missing")]
    reasons += _period(start, end, series["resolution"], now - oldest_days * 86_400)
    begins = _begins(start, end, series["resolution"])
    reasons += _positions(series["points"], len(begins))
    if reasons:
        return reasons
    by_position = {position: (quantity, quality or "A04") for position, quantity, quality in series["points"]}
    return Judged(start, end, tuple((t, *by_position[i + 1]) for i, t in enumerate(begins)))


def _master(series: Mapping[str, Any], sender: str, facts: Mapping[str, Any]) -> Iterator[Reason]:
    """What does not agree with the master data of the point; what is not registered is not compared."""
    resolution = series["resolution"]
    if facts.get("state", "connected") not in ("connected", "disconnected"):
        yield Reason("D16", "Målepunktet er ikke tilsluttet / The metering point is neither connected nor disconnected")
    if facts.get("subtype", "physical") not in ("physical", "virtual"):
        yield Reason("D37", "Forkert undertype / The sub-type of the metering point is neither physical nor virtual")
    if facts.get("type", series["type"]) != series["type"]:
        yield Reason("D18", "Forkert målepunktstype / The type of the metering point is not the registered one")
    if facts.get("owner", sender) != sender:
        yield Reason("D50", "Forkert ejer / The sender is not responsible for the metering point")
    known = resolution in ("PT15M", "PT1H") or (resolution == "P1M" and series["type"] == "D01")
    if not known or facts.get("resolution", resolution) != resolution:
        yield Reason("D23", "Forkert opløsning / The resolution is not the registered one")
    if series["unit"] not in UNITS or facts.get("unit", series["unit"]) != series["unit"]:
        yield Reason("E73", "Forkert enhed / The unit is not the registered one")


def _quantities(values: list[list[Any]]) -> Iterator[Reason]:
    """What is wrong with a quantity or a quality; the first of each kind."""
    seen: set[str] = set()
    for position, quantity, quality in values:
        reason = _point(position, quantity, quality)
        if reason is not None and reason.code not in seen:
            seen.add(reason.code)
            yield reason


def _point(position: int, quantity: str | None, quality: str | None) -> Reason | None:
    where = f"position {position}"
    if quality is not None and quality not in QUALITIES:
        return Reason("D12", f"Forkert kvalitet {quality} i {where} / Quality {quality} is not allowed at {where}")
    if quality == "A02":
        text = f"Mængde uden værdi i {where} / A quantity that is not available has a value at {where}"
        return None if quantity is None else Reason("D12", text)
    if quantity is None or quantity.startswith("-"):
        return Reason("E86", f"Forkert mængde i {where} / The quantity is negative or missing at {where}")
    whole, _, part = quantity.partition(".")
    if len(whole) > 10 or len(part) > 3 or quantity == "huge":
        return Reason("E89", f"For mange cifre i {where} / More than 10 digits or 3 decimals at {where}")
    return None


def _period(start: int, end: int, resolution: str, oldest: int) -> Iterator[Reason]:
    grid = 900 if resolution == "PT15M" else 3600
    if end - start < SHORTEST_S:
        yield Reason("E50", "Perioden er for kort / The period ends before it starts, or is shorter than 4 hours")
    if start % grid or end % grid:
        yield Reason("D66", "Start eller slut er forkert / Start or end is not on the grid of the resolution")
    if start < oldest:
        yield Reason("E17", "Perioden er for gammel / The period lies more than 3 years back")


def _begins(start: int, end: int, resolution: str) -> list[int]:
    """Start of each interval that a period has, in UTC; a month is one."""
    step = STEPS.get(resolution, 0)
    if not step:
        return [start]
    return list(range(start, end, step)) if (end - start) % step == 0 and end - start <= 400 * 86_400 else []


def _positions(values: list[list[Any]], expected: int) -> Iterator[Reason]:
    positions = sorted(position for position, _, _ in values)
    if positions == list(range(1, expected + 1)):
        return
    found = len(positions)
    if found != expected:
        yield Reason(
            "E87",
            f"Antal faktiske positioner ({found}) svarer ikke til det forventede antal ({expected}) / The actual"
            f" position count ({found}) does not match the expected count ({expected}) given resolution and period",
        )
    else:
        yield Reason("E87", "Positionerne er ikke fortløbende / Positions are repeated or missing")


def _text(quantity: Decimal) -> str:
    """Return a quantity as digits; `huge` where they would fill the memory."""
    if quantity and not -40 <= quantity.adjusted() <= 40:
        return "-huge" if quantity < 0 else "huge"
    return format(quantity or abs(quantity), "f")
