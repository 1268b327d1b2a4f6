"""Ids that a sender used once: messages and transactions, kept for ever, for each profile and sender by themselves."""

import sqlite3
from collections.abc import Iterable, Sequence

#: ids that one question to the store asks about
_AT_ONCE = 500


def taken(db: sqlite3.Connection, profile: str, sender: str, scope: str, ids: Sequence[str]) -> set[str]:
    """Return those of some ids that were used before."""
    found: set[str] = set()
    for i in range(0, len(ids), _AT_ONCE):
        some = ids[i : i + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        query = f"SELECT id FROM ids WHERE profile = ? AND sender = ? AND scope = ? AND id IN ({marks})"  # noqa: S608
        found.update(id_ for (id_,) in db.execute(query, (profile, sender, scope, *some)))
    return found


def register(db: sqlite3.Connection, profile: str, sender: str, scope: str, ids: Iterable[str]) -> None:
    """Keep ids for ever."""
    rows = ((profile, sender, scope, id_) for id_ in ids)
    db.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?, ?, ?)", rows)
