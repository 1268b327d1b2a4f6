"""Orders of the ESO-like profile: what is asked, by whom it may be, and what the answer holds."""

import datetime as dt
import json
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.sandbox import eso_objects, eso_report
from gateway.sandbox.operations import short
from gateway.sandbox.parties import Party

#: objects of an order, days of it, entries of a page at most
MAX_OBJECTS: Final = 500
MAX_DAYS: Final = 31
MAX_PAGE: Final = 1_000
MAX_BODY: Final = 65_536
#: 8, 608 and 1010 are codes that exist; what they mean here is ours
NO_RIGHT, UNKNOWN_OBJECT, TOO_MANY = 8, 608, 1010
BAD_REQUEST, UNKNOWN_ORDER, OTHER_TYPE, UNKNOWN_NOTIFICATION = 9001, 9002, 9003, 9004


class BusinessError(ValueError):
    """A business rule that is broken: numeric code and one sentence."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def paging(request: web.Request, keys: tuple[str, ...]) -> tuple[int, int, str, str]:
    """First, count, sort key and order of a list."""
    query = request.query
    first, count = query.get("first", "0"), query.get("count", "100")
    key, order = query.get("sortKey", keys[0]), query.get("sortOrder", "ASC")
    if not all(it.isascii() and it.isdecimal() and len(it) < 10 for it in (first, count)):
        raise BusinessError(BAD_REQUEST, "first and count are whole numbers from 0 up")
    if not 1 <= int(count) <= MAX_PAGE:
        raise BusinessError(BAD_REQUEST, f"count is 1 to {MAX_PAGE}")
    if key not in keys or order not in ("ASC", "DSC"):
        raise BusinessError(BAD_REQUEST, f"sortKey is one of {', '.join(keys)}, and sortOrder is ASC or DSC")
    return int(first), int(count), key, order


def text(value: Any, name: str) -> str:
    """Return a text of a body. Raises BusinessError."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, str) or not 1 <= len(found) <= 64:
        raise BusinessError(BAD_REQUEST, f"{name}: a text is needed")
    return found


def day(value: Any, name: str) -> dt.date:
    """Return a day of a body. Raises BusinessError."""
    found = eso_report.day(value.get(name) if isinstance(value, dict) else None)
    if found is None:
        raise BusinessError(BAD_REQUEST, f"{name}: a day is needed, YYYY-MM-DD")
    return found


def asked(value: Any) -> dict[str, Any]:
    """What an order asks, checked."""
    first, last = day(value, "dateFrom"), day(value, "dateTo")
    if not dt.timedelta(0) < last - first <= dt.timedelta(MAX_DAYS):
        raise BusinessError(
            BAD_REQUEST, f"dateTo is the day behind the last one, at most {MAX_DAYS} days after dateFrom"
        )
    objects = value.get("objects")
    if not isinstance(objects, list) or not objects or not all(isinstance(it, str) for it in objects):
        raise BusinessError(BAD_REQUEST, "objects: a list of object numbers is needed")
    if len(objects) > MAX_OBJECTS:
        raise BusinessError(TOO_MANY, f"an order has at most {MAX_OBJECTS} objects")
    return {"dateFrom": first.isoformat(), "dateTo": last.isoformat(), "objects": list(dict.fromkeys(objects))}


def may(db: sqlite3.Connection, party: Party, numbers: list[str]) -> None:
    """Raise BusinessError where an object is unknown, or is not this party's."""
    for number in numbers:
        if not eso_objects.is_mine(db, party.name, number):
            known = eso_objects.meters(db, number)
            code, words = (NO_RIGHT, "there is no right to") if known else (UNKNOWN_OBJECT, "there is no")
            raise BusinessError(code, f"{words} object {short(number)}")


def polled(db: sqlite3.Connection, party: Party, number: int, type_: str) -> dict[str, Any] | None:
    """What a finished order asks; None while it is in process."""
    row = db.execute(
        "SELECT type, asked, polls FROM lt_orders WHERE id = ? AND party = ?", (number, party.name)
    ).fetchone()
    if row is None:
        raise BusinessError(UNKNOWN_ORDER, f"there is no order {number}")
    if row[0] != type_:
        raise BusinessError(OTHER_TYPE, f"order {number} is of type {row[0]}")
    db.execute("UPDATE lt_orders SET polls = polls - 1 WHERE id = ? AND polls > 0", (number,))
    asked: dict[str, Any] = json.loads(row[1])
    return None if row[2] > 0 else asked


def _period(asked: Mapping[str, Any]) -> tuple[int, int]:
    first, last = (dt.date.fromisoformat(asked[name]) for name in ("dateFrom", "dateTo"))
    return eso_report.bounds(first, last)


def data(
    db: sqlite3.Connection, asked: Mapping[str, Any], switches: eso_report.Switches, now: int, *, flagged: bool
) -> list[dict[str, Any]]:
    """Entries of a report: one for each meter of each object."""
    start, end = _period(asked)
    end = min(end, now - now % 900)
    entries: list[dict[str, Any]] = []
    for number in asked["objects"]:
        for meter in eso_objects.meters(db, number):
            found = eso_report.held_back(eso_objects.readings(db, number, meter, start, end), switches, now)
            shown = eso_report.records(found, start, end, flagged=flagged)
            entries.append(eso_report.meter(number, meter, shown, typed=flagged))
    return eso_report.drifted(entries, switches.drift)


def bills(db: sqlite3.Connection, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sums of the period for each object and category, for billing."""
    start, end = _period(asked)
    entries: list[dict[str, Any]] = []
    for number in asked["objects"]:
        for meter in eso_objects.meters(db, number):
            sums: dict[str, Any] = {}
            for reading in eso_objects.readings(db, number, meter, start, end):
                sums[reading.category] = sums.get(reading.category, 0) + (eso_objects.amount(reading) or 0)
            entries += [
                {"objectNumber": number, "meterNumber": meter.number, "consumptionCategory": category, "amount": total}
                for category, total in sorted(sums.items())
            ]
    return entries


def statistic(
    db: sqlite3.Connection,
    objects: Mapping[str, tuple[eso_objects.Meter, ...]],
    day: dt.date,
    switches: eso_report.Switches,
    now: int,
) -> dict[str, Any]:
    """What a day has, over some objects."""
    start, end = eso_report.bounds(day, day + dt.timedelta(1))
    values = [
        reading
        for number, meters in objects.items()
        for meter in meters
        for reading in eso_report.held_back(eso_objects.readings(db, number, meter, start, end), switches, now)
    ]
    estimated = sum(value.flag == "ESTIMATED" for value in values)
    return {"date": day.isoformat(), "objects": len(objects), "values": len(values), "estimated": estimated}


def log(db: sqlite3.Connection, party: Party, asked: Mapping[str, Any], number: int, now: int) -> None:
    """Write the access to each object into the log."""
    facts = json.dumps({"order": number, "from": asked["dateFrom"], "to": asked["dateTo"]})
    rows = [(now, it, party.name, "report of an order", facts) for it in asked["objects"]]
    db.executemany("INSERT INTO access VALUES (NULL, ?, ?, ?, ?, ?)", rows)
