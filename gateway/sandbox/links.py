"""Whose metering points are: linked by a customer (item A, step 1.5), ended by a move-out (step 4.7).

There is no register of customers behind a test hub: whoever links a free point has it, with its past; after a move-out
the next one has only what comes from then on.
"""

import sqlite3
from typing import Any, Final, NamedTuple

from gateway.sandbox.procedure_data import instant

TABLES: Final = """
CREATE TABLE IF NOT EXISTS api_links(
  n INTEGER PRIMARY KEY, point TEXT NOT NULL, customer TEXT NOT NULL, linked INTEGER NOT NULL, since INTEGER NOT NULL,
  until INTEGER, first_access INTEGER NOT NULL, last_access INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS api_links_open ON api_links(point) WHERE until IS NULL;
CREATE INDEX IF NOT EXISTS api_links_of_customer ON api_links(customer, n);
"""
_COLUMNS: Final = "n, point, customer, linked, since, until"


class Link(NamedTuple):
    """A point and its customer: `since` is the first second of data that are his, UTC s."""

    n: int
    point: str
    customer: str
    linked: int
    since: int
    until: int | None

    def shown(self) -> dict[str, Any]:
        """As the API gives it."""
        linked = instant(self.linked)
        return {"n": self.n, "meteringPoint": self.point, "customer": self.customer, "linked": linked}


def link(db: sqlite3.Connection, point: str, customer: str, now: int) -> Link | None:
    """Link a point; None when it is another one's."""
    if (held := find(db, point)) is not None:
        return held if held.customer == customer else None
    (since,) = db.execute("SELECT coalesce(max(until), 0) FROM api_links WHERE point = ?", (point,)).fetchone()
    row = (point, customer, now, since, _accesses(db))
    db.execute("INSERT INTO api_links VALUES (NULL, ?, ?, ?, ?, NULL, ?, NULL)", row)
    return find(db, point)


def find(db: sqlite3.Connection, point: str) -> Link | None:
    """The link of a point that holds now."""
    row = db.execute(f"SELECT {_COLUMNS} FROM api_links WHERE point = ? AND until IS NULL", (point,)).fetchone()  # noqa: S608
    return Link(*row) if row else None


def of(db: sqlite3.Connection, customer: str, after: int, limit: int) -> list[Link]:
    """Points that a customer has now."""
    query = f"SELECT {_COLUMNS} FROM api_links WHERE customer = ? AND until IS NULL AND n > ? ORDER BY n LIMIT ?"  # noqa: S608
    return [Link(*row) for row in db.execute(query, (customer, after, limit))]


def leave(db: sqlite3.Connection, held: Link, now: int) -> None:
    """End a link: the customer moved out."""
    db.execute("UPDATE api_links SET until = ?, last_access = ? WHERE n = ?", (now, _accesses(db), held.n))


def _accesses(db: sqlite3.Connection) -> int:
    """Position of the last access: a customer sees those of his own time, to the entry."""
    (last,) = db.execute("SELECT coalesce(max(n), 0) FROM access").fetchone()
    return int(last)
