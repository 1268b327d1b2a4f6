"""Transfer of data under a permission (steps 2.17 to 2.19): what is due by its schedule, and item F.

A delivery is made when its party polls, is logged as an access of that second, and waits until it is acknowledged.
"""

import json
import sqlite3
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from gateway.sandbox import permissions
from gateway.sandbox.procedure_data import Cell, Window, changed, instant, item_e, seconds

TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_deliveries(
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, permission TEXT NOT NULL, party TEXT NOT NULL, at INTEGER NOT NULL,
  body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS api_deliveries_of_party ON api_deliveries(party, n);
CREATE INDEX IF NOT EXISTS api_deliveries_of_permission ON api_deliveries(permission);
"""
#: hour of the day (UTC) from which a daily transfer is due
HOUR: Final = 6
#: series of a delivery, and deliveries made by one poll, at most
MOST_SERIES: Final = 200
MOST_MADE: Final = 100
#: end of time, as an open permission has it
_NEVER: Final = 4_102_444_799


def is_due(schedule: str, last: int | None, now: int) -> bool:
    """Tell whether a transfer is due whose last one was at `last` (UTC s; None: there was none)."""
    if last is None or schedule == "as-available":
        return True
    if schedule == "daily":
        return (now - HOUR * 3_600) // 86_400 > (last - HOUR * 3_600) // 86_400
    return schedule == "monthly" and _month(now) > _month(last)


def window(item: Mapping[str, Any], now: int) -> Window:
    """The data that a permission (item I) is about and that can be there: nothing of the future."""
    start, end = seconds(item["readingStart"]), seconds(item["readingEnd"]) if item["readingEnd"] else _NEVER
    return Window(item["meteringPoint"], item["product"], item["direction"], start, max(start, min(end, now)))


def collect(db: sqlite3.Connection, party: str, now: int) -> None:
    """Make the deliveries of a party that are due."""
    made = 0
    for permission in permissions.active_of(db, party):
        if made < MOST_MADE and is_due(permission["item"]["transmissionSchedule"], permission["sent_at"], now):
            made += _deliver(db, permission, now)


def item_f(permission: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Item F."""
    return {"data": data, "customer": {"customer": permission["customer"]}, "permissionId": permission["id"]}


def log(
    db: sqlite3.Connection, now: int, who: str, seen: Window, *, what: str = "validated historical data", **facts: str
) -> None:
    """Write an access into the log: who got which record; `facts` name the permission or request."""
    record = {
        "product": seen.product,
        "direction": seen.direction,
        "from": instant(seen.start),
        "to": instant(seen.end),
    }
    row = (now, seen.point, who, what, json.dumps(record | facts))
    db.execute("INSERT INTO access VALUES (NULL, ?, ?, ?, ?, ?)", row)


def _deliver(db: sqlite3.Connection, permission: Mapping[str, Any], now: int) -> int:
    """Make one delivery, if there is anything; tell how many that is."""
    seen = window(permission["item"], now)
    found, last, more = changed(db, seen, permission["sent_n"], MOST_SERIES)
    db.execute(
        "UPDATE api_permissions SET sent_n = ?, sent_at = ? WHERE n = ?",
        (last, permission["sent_at"] if more or not found else now, permission["n"]),
    )
    if not found:
        return 0
    seen = _around(seen, found)
    body = item_f(permission, item_e(seen, found, now))
    row = (str(uuid.uuid4()), permission["id"], permission["party"], now, json.dumps(body))
    db.execute("INSERT INTO api_deliveries VALUES (NULL, ?, ?, ?, ?, ?)", row)
    log(db, now, permission["party"], seen, permission=permission["id"])
    return 1


def _around(seen: Window, found: list[Cell]) -> Window:
    return seen._replace(start=min(cell.start for cell in found), end=max(cell.end for cell in found))


def _month(at: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.year, moment.month
