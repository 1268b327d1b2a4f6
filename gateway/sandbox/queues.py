"""Queues that parties fetch from: the first bundle comes again until it is dequeued, and only a peeked one can be."""

import json
import sqlite3
from typing import Any, NamedTuple


class Bundle(NamedTuple):
    """What waits for a party: id, kind ("rsm-009" ...) and the facts that its document is written from."""

    id: str
    kind: str
    facts: dict[str, Any]


def put(  # noqa: PLR0913, PLR0917 - the columns of a bundle
    db: sqlite3.Connection, at: int, profile: str, party: str, category: str, bundle: Bundle
) -> None:
    """Let a bundle wait for a party (by name) in a category."""
    db.execute(
        "INSERT INTO queue (at, profile, party, category, id, kind, facts) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (at, profile, party, category, bundle.id, bundle.kind, json.dumps(bundle.facts)),
    )


def peek(db: sqlite3.Connection, profile: str, party: str, category: str) -> Bundle | None:
    """Return the oldest bundle that waits; None when the queue is empty."""
    row = db.execute(
        "SELECT n, id, kind, facts FROM queue WHERE gone IS NULL AND profile = ? AND party = ? AND category = ?"
        " ORDER BY n LIMIT 1",
        (profile, party, category),
    ).fetchone()
    if row is None:
        return None
    db.execute("UPDATE queue SET peeked = 1 WHERE n = ?", row[:1])
    return Bundle(row[1], row[2], json.loads(row[3]))


def dequeue(db: sqlite3.Connection, profile: str, party: str, bundle: str, at: int) -> bool:
    """Take a bundle out; False when it was never peeked, is gone, is nobody's or another one's."""
    done = db.execute(
        "UPDATE queue SET gone = ? WHERE id = ? AND profile = ? AND party = ? AND peeked = 1 AND gone IS NULL",
        (at, bundle, profile, party),
    )
    return done.rowcount == 1


def waiting(db: sqlite3.Connection) -> dict[str, int]:
    """How many bundles wait in each profile."""
    return dict(db.execute("SELECT profile, count(*) FROM queue WHERE gone IS NULL GROUP BY profile").fetchall())
