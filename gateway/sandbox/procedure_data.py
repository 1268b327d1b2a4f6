"""Items E and F and monthly sums from what the hub took over, through whichever profile: the last one accepted holds.

A point that has more than one resolution in a period is answered by the finest one, so that nothing counts twice.
"""

import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.sandbox.effects import unpacked

#: product -> unit of the store and unit of item E
UNITS: Final = {"active": ("KWH", "kWh"), "reactive": ("K3", "kvarh")}
#: CIM code -> quality of item E
QUALITIES: Final = {
    "A01": "edited", "A02": "missing", "A03": "estimated", "A04": "measured", "A05": "incomplete", "A06": "calculated",
}  # fmt: skip
_STEPS: Final = {"PT15M": 900, "PT1H": 3_600, "P1D": 86_400}


class Cell(NamedTuple):
    """One interval that is stored: UTC s, quantity as decimal text or None, quality as item E has it."""

    start: int
    end: int
    direction: str
    quality: str
    quantity: str | None


class Window(NamedTuple):
    """Which data: of a point, a product, "consumption", "production" or "combined", in start <= t < end (UTC s)."""

    point: str
    product: str
    direction: str
    start: int
    end: int


def instant(at: int) -> str:
    """UTC s as RFC 3339."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> int:
    """RFC 3339 in UTC as UTC s."""
    return int(dt.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp())


def cells(db: sqlite3.Connection, window: Window) -> list[Cell]:
    """What is stored of a window, by direction and time."""
    rows = list(_effects(db, window, 0, -1))
    finest = min((row["resolution"] for row in rows), key=_STEPS.__getitem__, default=None)
    found = _latest((row for row in rows if row["resolution"] == finest), window)
    return [found[key] for key in sorted(found)]


def changed(db: sqlite3.Connection, window: Window, after: int, limit: int) -> tuple[list[Cell], int, bool]:
    """Cells that effects after a position touched, the position of the last one, and whether more wait."""
    rows = list(_effects(db, window, after, limit + 1))
    taken = rows[:limit]
    touched = set(_latest(taken, window))
    now = {(cell.direction, cell.start): cell for cell in cells(db, window)}
    found = [now[key] for key in sorted(touched & now.keys())]
    return found, taken[-1]["n"] if taken else after, len(rows) > limit


def item_e(window: Window, found: Iterable[Cell], now: int) -> dict[str, Any]:
    """Item E."""
    return {
        "meteringPoint": window.point,
        "created": instant(now),
        "product": window.product,
        "readingStart": instant(window.start),
        "readingEnd": instant(window.end),
        "unit": UNITS[window.product][1],
        "intervals": [
            {
                "start": instant(cell.start), "end": instant(cell.end), "direction": cell.direction,
                "quality": cell.quality, "quantity": None if cell.quantity is None else f"{Decimal(cell.quantity):f}",
            }
            for cell in found
        ],
    }  # fmt: skip


def month(text: str, zone: str) -> tuple[int, int]:
    """First second of a local month and of the next one, UTC s."""
    year, number = int(text[:4]), int(text[5:])
    ends = ((year, number), (year + number // 12, number % 12 + 1))
    start, end = (int(dt.datetime(y, m, 1, tzinfo=ZoneInfo(zone)).timestamp()) for y, m in ends)
    return start, end


def sums(db: sqlite3.Connection, window: Window, named: Mapping[str, str]) -> list[dict[str, Any]]:
    """Sum of each direction that a window has; `named` is said with each: month and zone."""
    by_direction: dict[str, list[Cell]] = {}
    for cell in cells(db, window):
        by_direction.setdefault(cell.direction, []).append(cell)
    return [_sum(window, direction, found, named) for direction, found in sorted(by_direction.items())]


def _sum(window: Window, direction: str, found: list[Cell], named: Mapping[str, str]) -> dict[str, Any]:
    there = [Decimal(cell.quantity) for cell in found if cell.quantity is not None]
    expected = (window.end - window.start) // (found[0].end - found[0].start)
    return {
        "meteringPoint": window.point, **named, "product": window.product, "direction": direction,
        "unit": UNITS[window.product][1], "sum": f"{sum(there, Decimal(0)):f}", "intervals": len(there),
        "expected": expected, "missing": expected - len(there),
        "estimated": sum(cell.quality == "estimated" for cell in found),
    }  # fmt: skip


def _effects(db: sqlite3.Connection, window: Window, after: int, limit: int) -> Iterator[dict[str, Any]]:
    """Effects of a window after a position, oldest first."""
    both = window.direction == "combined"
    rows = db.execute(
        "SELECT n, direction, resolution, vals FROM effects WHERE point = ? AND unit = ? AND start < ? AND end > ?"
        " AND n > ? AND (? OR direction = ?) AND resolution IN ('PT15M', 'PT1H', 'P1D') ORDER BY n LIMIT ?",
        (window.point, UNITS[window.product][0], window.end, window.start, after, both, window.direction, limit),
    )
    for row in rows:
        yield dict(zip(("n", "direction", "resolution", "vals"), row, strict=True))


def _latest(rows: Iterable[Mapping[str, Any]], window: Window) -> dict[tuple[str, int], Cell]:
    found: dict[tuple[str, int], Cell] = {}
    for row in rows:
        step, direction = _STEPS[row["resolution"]], row["direction"]
        for start, quantity, quality in unpacked(row["vals"]):
            if window.start <= start < window.end:
                said = QUALITIES.get(quality, "incomplete")
                found[direction, start] = Cell(start, start + step, direction, said, quantity)
    return found
