"""How much the journal may be: the oldest readings give way, by size with each group and by age now and then."""

import sqlite3
import time
from collections.abc import Mapping
from itertools import takewhile

from gateway.stores.memory import Draft
from gateway.stores.schema import COUNTERS, PAGE_SIZE

EVICT_ROWS = 256
#: chunks that are evicted for their age in one transaction
EVICT_ROUNDS = 16
#: room for what a group brings along beside its rows
MARGIN_PAGES = 64
AGE_CHECK_S = 3_600
#: the time of a row, an integer even where damage made it something else
T = "coalesce(CAST(t AS INTEGER), 0)"


class Quota:
    """The bounds of one open file. Every method is used inside a transaction, and raises FAILURES."""

    def __init__(self, db: sqlite3.Connection, *, pages: int, reserved: int, max_age_s: int) -> None:
        """`pages` of the whole file; `reserved` octets of them are kept free for what stands apart (apart.py)."""
        self._db = db
        self.limit = pages
        self._reserved = reserved
        self._max_age_s = max_age_s
        self._age_check_due = 0.0

    def make_room(self, size: int, apart: int, meters: Mapping[int, str], draft: Draft) -> None:
        """Evict by age now and then, and by size as long as a group of `size` octets does not fit beside `apart`."""
        now = time.monotonic()
        if now >= self._age_check_due and self._evict_old(meters, draft):
            self._age_check_due = now + AGE_CHECK_S
        self.evict(size * 3 // 2 // PAGE_SIZE + MARGIN_PAGES, apart, meters, draft)

    def evict(self, needed: int, apart: int, meters: Mapping[int, str], draft: Draft, rounds: int = 1 << 30) -> bool:
        """Evict until so many pages are free, or for so many rounds: True where more is left to do.

        The room of what stands apart is kept free: it pushes out no reading, and no reading takes it.
        """
        unused = max(0, self._reserved - apart) // PAGE_SIZE
        for _ in range(rounds):
            if self._pages() + unused + needed <= self.limit or not self._delete(None, meters, draft):
                return False
        return True

    def _evict_old(self, meters: Mapping[int, str], draft: Draft) -> bool:
        """Evict by age; False where more is left to do.

        The newest row decides together with the host's clock what is old: a host that wakes up in 2040 deletes nothing.
        """
        newest = self._db.execute(
            f"SELECT {T} FROM record WHERE meter <> ? ORDER BY id DESC LIMIT 1",  # noqa: S608 - a constant
            (COUNTERS,),
        ).fetchone()
        if newest is None:
            return True
        cutoff = min(newest[0], int(time.time())) - self._max_age_s
        return not all(self._delete(cutoff, meters, draft) for _ in range(EVICT_ROUNDS))

    def _delete(self, cutoff: int | None, meters: Mapping[int, str], draft: Draft) -> bool:
        """Delete a chunk of the oldest rows, never the newest of all; False when there was nothing to delete."""
        oldest = self._db.execute(
            f"SELECT id, meter, {T} FROM record"  # noqa: S608 - a constant
            " WHERE id < (SELECT max(id) FROM record) ORDER BY id LIMIT ?",
            (EVICT_ROWS,),
        ).fetchall()
        given_way = list(takewhile(lambda row: cutoff is None or row[2] < cutoff, oldest))
        if not given_way:
            return False
        self._db.execute("DELETE FROM record WHERE id <= ?", (given_way[-1][0],))
        draft.evict([(entry, meters[number]) for entry, number, _ in given_way if number in meters])
        return True

    def _pages(self) -> int:
        """Count the pages in use."""
        total: int = self._db.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        return total - free
