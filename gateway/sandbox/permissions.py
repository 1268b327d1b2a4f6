"""Permissions of procedures 2 to 4: confirmed (I), listed (K), ended by the party (J), the customer or a move-out (L).

Everything here is work inside one transaction of the store, so that an end, its log entry and its notices are one. A
permission whose maximum lifetime is over has ended at that second: `expire` writes it down before anything is read.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from gateway.sandbox.procedure_data import instant, seconds

TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_permissions(
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, customer TEXT NOT NULL, party TEXT NOT NULL, point TEXT NOT NULL,
  item TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, ended INTEGER, reason TEXT,
  sent_n INTEGER NOT NULL DEFAULT 0, sent_at INTEGER);
CREATE INDEX IF NOT EXISTS api_permissions_open ON api_permissions(expires) WHERE ended IS NULL;
CREATE INDEX IF NOT EXISTS api_permissions_of_party ON api_permissions(party, n);
CREATE INDEX IF NOT EXISTS api_permissions_of_customer ON api_permissions(customer, n);
CREATE INDEX IF NOT EXISTS api_permissions_of_point ON api_permissions(point, n);
CREATE TABLE IF NOT EXISTS api_permission_log(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, permission TEXT NOT NULL, party TEXT NOT NULL,
  customer TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS api_permission_log_of_customer ON api_permission_log(customer, n);
CREATE TABLE IF NOT EXISTS api_notices(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, recipient TEXT NOT NULL, item TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS api_notices_of_recipient ON api_notices(recipient, n);
"""
#: recipient of what metered data administrators are told (steps 2.16, 3.5, 4.9)
ADMINISTRATORS: Final = "administrators"
TERMINATED, REVOKED = "terminated by the party", "revoked by the customer"
MOVED_OUT, LIFETIME = "moved out", "maximum lifetime"
_COLUMNS: Final = "n, id, customer, party, point, item, created, expires, ended, reason, sent_n, sent_at"


def confirm(db: sqlite3.Connection, customer: str, terms: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Store item H as item I, tell everybody, and give it (steps 2.13 to 2.16)."""
    item = {"permissionId": str(uuid.uuid4()), "created": instant(now), "customer": customer, **terms}
    db.execute(
        "INSERT INTO api_permissions(id, customer, party, point, item, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            item["permissionId"], customer, terms["eligibleParty"], terms["meteringPoint"], json.dumps(item), now,
            seconds(terms["maximumLifetime"]),
        ),
    )  # fmt: skip
    _log(db, now, "granted", item["permissionId"], terms["eligibleParty"], customer)
    for recipient in (customer, terms["eligibleParty"], ADMINISTRATORS):
        tell(db, now, recipient, "I", item)
    return item


def expire(db: sqlite3.Connection, now: int) -> None:
    """End what has outlived its maximum lifetime, at the second at which it did."""
    query = f"SELECT {_COLUMNS} FROM api_permissions WHERE ended IS NULL AND expires <= ? ORDER BY expires"  # noqa: S608
    for permission in list(_rows(db, query, (now,))):
        end(db, permission, LIFETIME, permission["expires"])


def end(db: sqlite3.Connection, permission: Mapping[str, Any], reason: str, at: int) -> dict[str, Any]:
    """End a permission, tell everybody, and give item J or L; nothing is delivered from here on."""
    db.execute("UPDATE api_permissions SET ended = ?, reason = ? WHERE n = ?", (at, reason, permission["n"]))
    db.execute("DELETE FROM api_deliveries WHERE permission = ?", (permission["id"],))
    event = "revoked" if reason in (REVOKED, MOVED_OUT) else "ended"
    _log(db, at, event, permission["id"], permission["party"], permission["customer"])
    told = {"permissionId": permission["id"], "end": instant(at)}
    item: Literal["J", "L"] = "J" if reason == TERMINATED else "L"
    for recipient in (permission["customer"], permission["party"], ADMINISTRATORS):
        tell(db, at, recipient, item, told)
    return told


def end_of_point(db: sqlite3.Connection, point: str, customer: str, now: int) -> list[dict[str, Any]]:
    """End every permission of a customer on a point, since he moved out (steps 4.7 and 4.8)."""
    query = f"SELECT {_COLUMNS} FROM api_permissions WHERE point = ? AND customer = ? AND ended IS NULL ORDER BY n"  # noqa: S608
    return [end(db, permission, MOVED_OUT, now) for permission in list(_rows(db, query, (point, customer)))]


def find(db: sqlite3.Connection, id_: str) -> dict[str, Any] | None:
    """A permission by its id."""
    return next(_rows(db, f"SELECT {_COLUMNS} FROM api_permissions WHERE id = ?", (id_,)), None)  # noqa: S608


def of(db: sqlite3.Connection, whose: Mapping[str, str], after: int, limit: int) -> list[dict[str, Any]]:
    """Permissions by customer, party or point (columns of `whose`), oldest first."""
    where = "".join(f" AND {column} = ?" for column in whose)
    query = f"SELECT {_COLUMNS} FROM api_permissions WHERE n > ?{where} ORDER BY n LIMIT ?"  # noqa: S608
    return list(_rows(db, query, (after, *whose.values(), limit)))


def active_of(db: sqlite3.Connection, party: str) -> list[dict[str, Any]]:
    """Permissions of a party that hold."""
    query = f"SELECT {_COLUMNS} FROM api_permissions WHERE party = ? AND ended IS NULL ORDER BY n"  # noqa: S608
    return list(_rows(db, query, (party,)))


def listed(permission: Mapping[str, Any]) -> dict[str, Any]:
    """Item K."""
    ended = permission["ended"]
    return {
        "n": permission["n"], **permission["item"],
        "end": None if ended is None else instant(ended), "endReason": permission["reason"],
    }  # fmt: skip


def tell(db: sqlite3.Connection, now: int, recipient: str, item: str, body: Mapping[str, Any]) -> None:
    """Leave a notice for a login."""
    db.execute("INSERT INTO api_notices VALUES (NULL, ?, ?, ?, ?)", (now, recipient, item, json.dumps(body)))


def _log(  # noqa: PLR0913, PLR0917 - what the log holds
    db: sqlite3.Connection, at: int, event: str, id_: str, party: str, customer: str
) -> None:
    db.execute("INSERT INTO api_permission_log VALUES (NULL, ?, ?, ?, ?, ?)", (at, event, id_, party, customer))


def _rows(db: sqlite3.Connection, query: str, arguments: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    names = _COLUMNS.split(", ")
    for row in db.execute(query, arguments):
        found = dict(zip(names, row, strict=True))
        yield found | {"item": json.loads(found["item"])}
