"""What a hub keeps of item E: every accepted series as an effect, with every version that came before it.

A value is (start of its interval in UTC s, quantity as decimal text or None, quality as a code of CIM: A02 not
available, A03 estimated, A04 as provided ...). A profile is a hub of its own: it compares only with what it got itself.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

Value = tuple[int, str | None, str]
_COLUMNS: Final = (
    "n, at, profile, party, point, direction, unit, start, end, resolution, document, txn, version, unchanged, vals"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A series that a hub takes over: whole intervals of start <= t < end, UTC s."""

    profile: str
    party: str
    point: str
    #: "consumption" or "production"
    direction: str
    #: of the quantities: KWH, K3 ...
    unit: str
    start: int
    end: int
    #: ISO 8601 duration: PT15M, PT1H, P1D, P1M
    resolution: str
    document: str
    transaction: str
    values: tuple[Value, ...]
    #: the sender's own; None where the hub counts
    version: int | None = None


class Taken(NamedTuple):
    """What came of it: position in the log, version, and whether nothing differs from what was stored."""

    n: int
    version: int
    unchanged: bool


def accept(connection: sqlite3.Connection, series: Accepted, now: int) -> Taken:
    """Store a series as the newest version of its intervals."""
    same = unchanged(connection, series)
    version = series.version or newest_version(connection, series) + 1
    row = (
        now, series.profile, series.party, series.point, series.direction, series.unit, series.start, series.end,
        series.resolution, series.document, series.transaction, version, same, _packed(series.values),
    )  # fmt: skip
    done = connection.execute(f"INSERT INTO effects VALUES (NULL{', ?' * len(row)})", row)  # noqa: S608 - question marks
    return Taken(int(done.lastrowid or 0), version, same)


def unchanged(connection: sqlite3.Connection, series: Accepted) -> bool:
    """Say whether every value of a series is stored already, with the same quality."""
    stored = current(connection, series.profile, series.point, series.direction, series.unit, series.start, series.end)
    return all(
        t in stored and _same(stored[t][0], quantity) and stored[t][1] == quality
        for t, quantity, quality in series.values
    )


def newest_version(connection: sqlite3.Connection, series: Accepted) -> int:
    """Return the newest version that is stored of exactly this period; 0 for none."""
    (found,) = connection.execute(
        "SELECT max(version) FROM effects WHERE point = ? AND profile = ? AND direction = ? AND unit = ?"
        " AND start = ? AND end = ?",
        (series.point, series.profile, series.direction, series.unit, series.start, series.end),
    ).fetchone()
    return found or 0


def current(  # noqa: PLR0913, PLR0917 - what identifies a series
    connection: sqlite3.Connection, profile: str, point: str, direction: str, unit: str, start: int, end: int
) -> dict[int, tuple[str | None, str]]:
    """Return the values that hold now in start <= t < end: interval start -> (quantity, quality)."""
    rows = connection.execute(
        "SELECT vals FROM effects WHERE point = ? AND profile = ? AND direction = ? AND unit = ?"
        " AND start < ? AND end > ? ORDER BY n",
        (point, profile, direction, unit, end, start),
    )
    return {t: (quantity, q) for (vals,) in rows for t, quantity, q in unpacked(vals) if start <= t < end}


def log(connection: sqlite3.Connection, after: int, limit: int, **wanted: str) -> Iterator[dict[str, Any]]:
    """Give the effects after a position, oldest first, as /control/effects shows them; `wanted`: column = value."""
    conditions = "".join(f" AND {column} = ?" for column in wanted)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM effects WHERE n > ?{conditions} ORDER BY n LIMIT ?",  # noqa: S608 - names of columns
        (after, *wanted.values(), limit),
    )
    names = _COLUMNS.split(", ")
    for row in rows:
        shown = dict(zip(names, row, strict=True))
        shown["transaction"] = shown.pop("txn")
        shown["unchanged"] = bool(shown["unchanged"])
        shown["values"] = unpacked(shown.pop("vals"))
        yield shown


def _same(one: str | None, other: str | None) -> bool:
    return one == other or (one is not None and other is not None and Decimal(one) == Decimal(other))


def _packed(values: tuple[Value, ...]) -> bytes:
    return zlib.compress(json.dumps(values, separators=(",", ":")).encode(), 1)


def unpacked(packed: bytes) -> list[list[Any]]:
    """Values of the column `vals`: [start, quantity, quality] each."""
    values: list[list[Any]] = json.loads(zlib.decompress(packed))
    return values
