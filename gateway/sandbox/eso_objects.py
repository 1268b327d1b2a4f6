"""Objects (metering points) of the ESO-like profile: three fixed ones of its sandbox, and every point that was sent.

Object numbers 99999917, 99999919 and 99999920 are those of the public notes (hubs.md 3). 99999919 has two meters of
equal number and different type; 99999920 belongs to nobody until access to it was asked for. A point that any profile
of this hub took over is an object of the party that sent it.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from gateway.sandbox.effects import unpacked

TABLES: Final = """
CREATE TABLE IF NOT EXISTS lt_rights(
  party TEXT NOT NULL, object TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(party, object)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lt_sent(
  point TEXT NOT NULL, party TEXT NOT NULL, direction TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY(point, party, direction)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lt_sent_n ON lt_sent(n);
CREATE INDEX IF NOT EXISTS lt_sent_party ON lt_sent(party, point);
CREATE TABLE IF NOT EXISTS lt_values(
  object TEXT NOT NULL, meter TEXT NOT NULL, type TEXT NOT NULL, category TEXT NOT NULL, start INTEGER NOT NULL,
  amount TEXT, status TEXT NOT NULL, PRIMARY KEY(object, meter, type, category, start)) WITHOUT ROWID;
"""
SORT_KEYS: Final = ("objectNumber", "meterCount")
#: direction of the store -> category of a record
CATEGORIES: Final = {"consumption": "P+", "production": "P-"}
#: quality of the store -> flag of a record; what is not here has no value
_FLAGS: Final = {"A01": "VALIDATED", "A03": "ESTIMATED", "A04": "VALIDATED"}
_STEP: Final = 900


class Meter(NamedTuple):
    """A meter of an object: the type tells meters of equal number apart."""

    number: str
    type: str
    categories: tuple[str, ...]


class Reading(NamedTuple):
    """One interval of one meter: UTC s, kWh as decimal text or None, flag."""

    start: int
    end: int
    category: str
    amount: str | None
    flag: str


FIXED: Final[Mapping[str, tuple[Meter, ...]]] = {
    "99999917": (Meter("SAG1030767000001", "SMART", ("P+", "P-")),),
    "99999919": (Meter("SAG1030767000002", "SMART", ("P+",)), Meter("SAG1030767000002", "GENERATION", ("P-",))),
    "99999920": (Meter("SAG1030767000003", "SMART", ("P+",)),),
}
#: the one that needs access-right first
GUARDED: Final = "99999920"


def mine(db: sqlite3.Connection, party: str) -> dict[str, tuple[Meter, ...]]:
    """Objects whose data a party may have."""
    rows = db.execute("SELECT object FROM lt_rights WHERE party = ?", (party,))
    rights = {number for (number,) in rows}
    fixed = {number: meters for number, meters in FIXED.items() if number != GUARDED or number in rights}
    return fixed | _sent(db, "AND party = ?", (party,)) | _named(db, rights - FIXED.keys())


def all_of_them(db: sqlite3.Connection) -> dict[str, tuple[Meter, ...]]:
    """Every object."""
    return {**FIXED, **_sent(db, "", ())}


def meters(db: sqlite3.Connection, number: str) -> tuple[Meter, ...]:
    """Meters of an object; none where there is no such object."""
    return FIXED.get(number) or _sent(db, "AND point = ?", (number,)).get(number, ())


def is_mine(db: sqlite3.Connection, party: str, number: str) -> bool:
    """Tell whether a party may have the data of an object."""
    if number in FIXED and number != GUARDED:
        return True
    right = db.execute("SELECT 1 FROM lt_rights WHERE party = ? AND object = ?", (party, number)).fetchone()
    return right is not None or bool(_sent(db, "AND party = ? AND point = ?", (party, number)))


def page(objects: Mapping[str, tuple[Meter, ...]], first: int, count: int, key: str, order: str) -> dict[str, Any]:
    """Part of a list as it is answered; `order` is ASC or DSC."""
    keyed = {"objectNumber": lambda it: it[0], "meterCount": lambda it: (len(it[1]), it[0])}[key]
    found = sorted(objects.items(), key=keyed, reverse=order == "DSC")
    shown = [{"objectNumber": number, "meters": [_meter(it) for it in meters]} for number, meters in found]
    return {"total": len(shown), "first": first, "count": count, "objects": shown[first : first + count]}


def seed(db: sqlite3.Connection, values: Iterable[tuple[str, Meter, Reading]]) -> None:
    """Store values of fixed objects: they take the place of what was there."""
    rows = [(o, m.number, m.type, r.category, r.start, r.amount, r.flag) for o, m, r in values]
    db.executemany("INSERT OR REPLACE INTO lt_values VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def readings(db: sqlite3.Connection, number: str, meter: Meter, start: int, end: int) -> list[Reading]:
    """Values of a meter in start <= t < end by category and time; absent ones are absent."""
    found = [] if number in FIXED else _stored(db, number, start, end)
    if number in FIXED:
        _fill(db, number, meter, range(start, end, _STEP))
        rows = db.execute(
            "SELECT start, category, amount, status FROM lt_values WHERE object = ? AND meter = ? AND type = ?"
            " AND start >= ? AND start < ?",
            (number, meter.number, meter.type, start, end),
        )
        found = [Reading(t, t + _STEP, category, amount, flag) for t, category, amount, flag in rows]
    return sorted(found, key=lambda it: (it.category, it.start))


def made(number: str, meter: Meter, category: str, start: int) -> Reading:
    """The value that a fixed object has of itself: it follows from where it belongs; one in 17 is estimated."""
    digest = hashlib.blake2b(f"{number} {meter} {category} {start}".encode(), digest_size=4).digest()
    drawn = int.from_bytes(digest, "big")
    flag = "ESTIMATED" if drawn % 17 == 0 else "VALIDATED"
    return Reading(start, start + _STEP, category, f"0.{drawn % 1000:03d}", flag)


def amount(reading: Reading) -> Decimal | None:
    """Quantity of an interval, kWh."""
    return None if reading.amount is None else Decimal(reading.amount)


def _fill(db: sqlite3.Connection, number: str, meter: Meter, starts: range) -> None:
    """Seed what nobody has seeded."""
    values = [made(number, meter, category, start) for category in meter.categories for start in starts]
    rows = [(number, meter.number, meter.type, it.category, it.start, it.amount, it.flag) for it in values]
    db.executemany("INSERT OR IGNORE INTO lt_values VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _catch_up(db: sqlite3.Connection) -> None:
    """Take up who sent which points since the last time: a list needs no look at every series."""
    db.execute(
        "INSERT INTO lt_sent SELECT point, party, direction, max(n) FROM effects"
        " WHERE n > (SELECT coalesce(max(n), 0) FROM lt_sent) AND unit = 'KWH' GROUP BY point, party, direction"
        " ON CONFLICT DO UPDATE SET n = excluded.n"
    )


def _sent(db: sqlite3.Connection, where: str, arguments: tuple[str, ...]) -> dict[str, tuple[Meter, ...]]:
    _catch_up(db)
    query = f"SELECT DISTINCT point, direction FROM lt_sent WHERE 1 {where} ORDER BY point, direction"  # noqa: S608
    directions: dict[str, list[str]] = {}
    for point, direction in db.execute(query, arguments):
        directions.setdefault(point, []).append(CATEGORIES[direction])
    return {point: (Meter(f"M{point}", "SMART", tuple(found)),) for point, found in directions.items()}


def _named(db: sqlite3.Connection, numbers: Iterable[str]) -> dict[str, tuple[Meter, ...]]:
    found: dict[str, tuple[Meter, ...]] = {}
    for number in sorted(numbers):
        found |= _sent(db, "AND point = ?", (number,))
    return found


def _stored(db: sqlite3.Connection, point: str, start: int, end: int) -> list[Reading]:
    """What was sent of a point, through whichever profile: the last one holds."""
    rows = db.execute(
        "SELECT direction, resolution, vals FROM effects WHERE point = ? AND unit = 'KWH' AND start < ? AND end > ?"
        " AND resolution IN ('PT15M', 'PT1H') ORDER BY n",
        (point, end, start),
    )
    return _last(rows, start, end)


def _last(rows: Iterable[tuple[str, str, bytes]], start: int, end: int) -> list[Reading]:
    found: dict[tuple[str, int], Reading] = {}
    for direction, resolution, packed in rows:
        step = _STEP if resolution == "PT15M" else 3_600
        for t, amount, quality in unpacked(packed):
            if start <= t < end:
                category = CATEGORIES[direction]
                found[category, t] = Reading(t, t + step, category, amount, _FLAGS.get(quality, "MISSING"))
    return [reading for reading in found.values() if reading.amount is not None]


def _meter(meter: Meter) -> dict[str, str]:
    return {"meterNumber": meter.number, "meterType": meter.type}
