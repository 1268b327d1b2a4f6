"""The feed of changes: which validated intervals changed, so that nobody needs to look at all of them to find out.

An entry is made in the transaction of the versions themselves. It names a series, a resolution and a span within one
day in UTC; only versions that are item E count, or that take the place of one. The feed reaches back KEPT_S.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from gateway.intervals.model import Interval, Resolution
from gateway.stores import hub_rows as rows
from gateway.stores.hub_rows import ChangeData
from gateway.stores.rows import Corrupt, seal, unseal

#: resolutions that hubs take
RESOLUTIONS: Final[frozenset[Resolution]] = frozenset(("PT15M", "PT1H"))
KEPT_S: Final = 40 * 86_400
DAY_S: Final = 86_400
#: row of `meta`: the first position that the feed has
FEED: Final = 6


def note(db: sqlite3.Connection, series: int, resolution: Resolution, changed: Iterable[Interval], now: int) -> None:
    """Note changed intervals of a series within a transaction. Raises FAILURES, Corrupt."""
    spans: dict[int, list[int]] = {}
    for one in changed if resolution in RESOLUTIONS else ():
        span = spans.setdefault(one.start // DAY_S, [one.start, one.end])
        span[:] = min(span[0], one.start), max(span[1], one.end)
    if not spans:
        return
    number = last(db)
    for start, end in spans.values():
        number += 1
        packed = rows.pack(ChangeData(series, resolution, start, end, now), "interval_change", number)
        db.execute("INSERT INTO interval_change VALUES (?, ?)", (number, packed))


def last(db: sqlite3.Connection) -> int:
    """The last position that was given out. Raises FAILURES, Corrupt."""
    found = db.execute("SELECT max(id) FROM interval_change").fetchone()[0]
    return max(found or 0, oldest(db) - 1)


def oldest(db: sqlite3.Connection) -> int:
    """The first position that the feed has. Raises FAILURES, Corrupt."""
    found = db.execute("SELECT data FROM meta WHERE id = ?", (FEED,)).fetchone()
    return 1 if found is None else int.from_bytes(unseal(found[0], FEED), "big")


def begin_at(db: sqlite3.Connection, position: int) -> None:
    """Have the feed begin at a position, within a transaction: who stands before it looks at everything."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (FEED, seal(position.to_bytes(8, "big"), FEED)))


def prune(db: sqlite3.Connection, now: int, most: int) -> int:
    """Remove what is older than KEPT_S, within a transaction; how many, `most` at most. Raises FAILURES, Corrupt."""
    old = []
    for number, data in db.execute("SELECT id, data FROM interval_change ORDER BY id LIMIT ?", (most,)):
        with suppress(Corrupt):
            if rows.unpack(ChangeData, data, "interval_change", number).at >= now - KEPT_S:
                break
        old.append(number)
    if old:
        begin_at(db, old[-1] + 1)
        db.execute("DELETE FROM interval_change WHERE id <= ?", (old[-1],))
    return len(old)
