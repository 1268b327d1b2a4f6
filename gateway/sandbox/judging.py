"""What was accepted and is judged later: it waits in the store, so that a restart of the hub loses nothing of it."""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.sandbox.store import StoreError

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: judges a work of a party (by name) within a transaction
Judge = Callable[[sqlite3.Connection, "Sandbox", str, dict[str, Any]], None]
#: works of one transaction, and how often is looked for what is due
_AT_ONCE: Final = 100
_TICK_S: Final = 0.05
#: seconds until a store that failed is tried again
_AGAIN_S: Final = 1.0
_LOG: Final = logging.getLogger("sandbox")


def later(db: sqlite3.Connection, due: float, profile: str, party: str, work: Mapping[str, Any]) -> None:
    """Let a work wait until it is due: UTC s of the real clock, whatever the hub believes."""
    text = json.dumps(work, separators=(",", ":"))
    db.execute("INSERT INTO pending VALUES (NULL, ?, ?, ?, ?)", (due, profile, party, text))


def waiting(db: sqlite3.Connection) -> dict[str, int]:
    """How many works of each profile wait."""
    return dict(db.execute("SELECT profile, count(*) FROM pending GROUP BY profile").fetchall())


def unjudged(db: sqlite3.Connection, profile: str) -> int:
    """How many works of a profile wait."""
    (count,) = db.execute("SELECT count(*) FROM pending WHERE profile = ?", (profile,)).fetchone()
    return int(count)


async def judge_for_ever(sandbox: "Sandbox", judges: Mapping[str, Judge]) -> None:
    """Judge what is due, oldest first, until cancelled; while the store does not work, what waits goes on waiting."""
    while True:
        done = 0
        try:
            done = await sandbox.store.run(lambda db: _some(db, sandbox, judges))
        except StoreError as error:
            _LOG.error("nothing is judged: %s", error)
            await asyncio.sleep(_AGAIN_S)
        if done < _AT_ONCE:
            await asyncio.sleep(_TICK_S)


def _some(db: sqlite3.Connection, sandbox: "Sandbox", judges: Mapping[str, Judge]) -> int:
    query = "SELECT n, profile, party, work FROM pending WHERE due <= ? ORDER BY n LIMIT ?"
    rows = db.execute(query, (time.time(), _AT_ONCE)).fetchall()
    for n, profile, party, work in rows:
        judges[profile](db, sandbox, party, json.loads(work))
        db.execute("DELETE FROM pending WHERE n = ?", (n,))
    return len(rows)
