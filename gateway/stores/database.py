"""The open journal file: commit a group, keep the quota, give back the state. Used by one thread at a time."""

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from gateway.stores.apart import OCTETS, Apart, encode_quarantined
from gateway.stores.files import check, create, in_place, set_aside_before, transaction
from gateway.stores.groups import Group, Packed
from gateway.stores.rows import Corrupt, seal
from gateway.stores.schema import (
    COUNTERS,
    FAILURES,
    JOURNAL,
    KEPT,
    PAGE_SIZE,
    SALT,
    STORE,
    WAL_LIMIT,
    Damaged,
    StorageFault,
    configure,
    connect,
    migrate,
    told,
)
from gateway.stores.state import Meter, State, Tally, encode_counters, encode_meter, read_meters, read_state

#: sequence numbers reserved at once: a day at one reading per second, so that a failing medium does not run them out
SEQ_BLOCK = 100_000
EVICT_ROWS = 256
#: chunks that are evicted for their age in one transaction
EVICT_ROUNDS = 16
#: room for what a group brings along beside its rows
MARGIN_PAGES = 64
AGE_CHECK_S = 3_600
#: the time of a row, an integer even where damage made it something else
T = "coalesce(CAST(t AS INTEGER), 0)"


class Database:
    """A journal file, open for writing.

    Every method raises Damaged or StorageFault and nothing else of SQLite; what failed is rolled back.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_age_s: int) -> None:
        """Open or create the file, which is private to its owner. Raises JournalError too."""
        self.path = path
        self._max_age_s = max_age_s
        self._limit_pages = max(64, (max_bytes - WAL_LIMIT) // PAGE_SIZE)
        self._age_check_due = 0.0
        self._numbers: dict[str, int] = {}
        self._layouts: set[int] = set()
        #: what the file holds of the tables KEPT, by table and number of the meter, so that only news are written
        self._kept: dict[tuple[str, int], bytes] = {}
        fresh = create(path, JOURNAL)
        found = path.stat()
        self._identity = (found.st_dev, found.st_ino)
        try:
            self.db = connect(path)
        except FAILURES as error:
            raise told(error, path) from error
        try:
            self._prepare(fresh=fresh)
        except BaseException:
            self.db.close()
            raise

    def _prepare(self, *, fresh: bool) -> None:
        try:
            configure(self.db, self.path)
            migrate(self.db, self.path, fresh=fresh)
            self.db.execute(f"PRAGMA max_page_count = {self._limit_pages}")
            self._numbers = {meter.name: number for number, meter in read_meters(self.db).items()}
            self._layouts = {number for (number,) in self.db.execute("SELECT id FROM layout")}
            self._kept = {
                (table, number): data
                for table in KEPT
                for number, data in self.db.execute(f"SELECT meter, data FROM {table}")  # noqa: S608 - a constant
            }
        except FAILURES as error:
            raise told(error, self.path) from error
        except Corrupt as error:
            raise Damaged(f"{self.path}: {error}") from error

    def state(self) -> State:
        """Read what a restart goes on from; not `complete` in a new file that follows one which was set aside."""
        try:
            state = read_state(self.db)
            begun = self.db.execute("SELECT count(*) FROM meta WHERE id = ?", (SALT,)).fetchone()[0]
        except FAILURES as error:
            raise told(error, self.path) from error
        except Corrupt as error:
            raise Damaged(f"{self.path}: {error}") from error
        state.complete = bool(begun) or not set_aside_before(self.path)
        return state

    def check(self) -> None:
        """Read the whole file and its structure (PRAGMA quick_check); raises Damaged. `db.interrupt` ends it early."""
        check(self.db, self.path, JOURNAL)

    def commit(self, group: Group, state: State) -> dict[str, int]:
        """Commit a group with its counters, and sequence numbers ahead of it; returns what is reserved by meter.

        `state.tallies` counts the rows of the group from the moment on at which they are in the file.
        """
        if not in_place(self.path, self._identity):
            raise StorageFault(f"journal {self.path}: the file was removed or replaced")
        if group.tried and self._is_in(group, state):
            return {}
        draft = replace(state, tallies={meter: replace(tally) for meter, tally in state.tallies.items()})
        with self._transaction():
            reserved = self._write(group, draft)
        # Only now: whoever reads a tally may rely on the disk.
        state.tallies = draft.tallies
        if reserved:
            self._fold()
        return reserved

    def _is_in(self, group: Group, state: State) -> bool:
        """Tell whether a commit that reported a failure reached the file: then the file has counted its rows."""
        found = self.state().tallies
        rows = Counter(row.meter for row in group.rows)
        if not rows or any(
            found.get(meter, Tally()).stored != state.tally(meter).stored + n for meter, n in rows.items()
        ):
            return False
        state.tallies = state.tallies | found
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        known = dict(self._numbers), set(self._layouts), dict(self._kept)
        try:
            with transaction(self.db, self.path, JOURNAL):
                yield
        except BaseException:
            self._numbers, self._layouts, self._kept = known
            raise

    def _fold(self) -> None:
        """Fold the log into the file: a log that is damaged later takes readings with it, but no reservation."""
        with suppress(*FAILURES):
            self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _write(self, group: Group, state: State) -> dict[str, int]:
        self._evict(group, state)
        self._introduce(group, state)
        reserved = self._reserve(group.given, state)
        self._insert(group.rows)
        for row in group.rows:
            if row.reason is None:
                state.tally(row.meter).stored += 1
            else:
                state.tally(row.meter).quarantined += 1
        for meter, n in group.lost.items():
            state.tally(meter).lost += n
        self._write_counters(group, state)
        self._write_kept(group)
        return reserved

    def _insert(self, rows: Collection[Packed]) -> None:
        self.db.executemany(
            "INSERT INTO record VALUES (NULL, ?, ?, ?)",
            ((self._numbers[row.meter], row.t, seal(row.data, row.meter, row.t)) for row in rows if row.reason is None),
        )
        for row in rows:
            if row.reason is not None:
                Apart(self.db, "quarantine", OCTETS).add(self._numbers[row.meter], encode_quarantined(row))

    def _introduce(self, group: Group, state: State) -> None:
        """Write what rows refer to: meters, layouts, and in a new file the salt."""
        for meter in sorted(
            {*group.given, *group.counters, *(meter for _, meter in group.kept), *(row.meter for row in group.rows)}
            - set(self._numbers)
        ):
            number = max(self._numbers.values(), default=COUNTERS) + 1
            data = encode_meter(number, Meter(meter, state.reserved.get(meter, 0)))
            self.db.execute("INSERT INTO meter VALUES (?, ?)", (number, data))
            self._numbers[meter] = number
        # A copy: the loop's thread goes on adding layouts.
        layouts = dict(state.layouts)
        missing = layouts.keys() - self._layouts
        self.db.executemany(
            "INSERT INTO layout VALUES (?, ?)", [(n, seal(layouts[n], "layout", n)) for n in sorted(missing)]
        )
        self._layouts |= missing
        self.db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (SALT, seal(state.salt, SALT)))
        self.db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (STORE, seal(os.urandom(8), STORE)))

    def _reserve(self, given: dict[str, int], state: State) -> dict[str, int]:
        """Reserve the next block of numbers for each meter that has used up half of its last one."""
        ahead = {
            meter: seq + SEQ_BLOCK
            for meter, seq in given.items()
            if state.reserved.get(meter, 0) - seq < SEQ_BLOCK // 2
        }
        for meter, reserved in ahead.items():
            self._set_reserved(meter, reserved)
        return ahead

    def _set_reserved(self, meter: str, reserved: int) -> None:
        number = self._numbers[meter]
        data = encode_meter(number, Meter(meter, reserved))
        self.db.execute("UPDATE meter SET data = ? WHERE id = ?", (data, number))

    def _write_counters(self, group: Group, state: State) -> None:
        if not group.counters:
            return
        if not group.rows:
            # Without readings the last counters are replaced, so that a noisy line does not evict history.
            self.db.execute("DELETE FROM record WHERE id = (SELECT max(id) FROM record) AND meter = ?", (COUNTERS,))
        data = encode_counters(self._numbers, group.counters, state)
        self.db.execute("INSERT INTO record VALUES (NULL, ?, ?, ?)", (COUNTERS, 0, data))

    def _write_kept(self, group: Group) -> None:
        """Write what goes with the rows of the group, where it changed."""
        for (table, meter), data in group.kept.items():
            number = self._numbers[meter]
            sealed = seal(data, table, number)
            if self._kept.get((table, number)) != sealed:
                self.db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (number, sealed))  # noqa: S608 - of KEPT
                self._kept[table, number] = sealed

    def _evict(self, group: Group, state: State) -> None:
        """Remove the oldest rows: by age now and then, by size as long as the group does not fit."""
        now = time.monotonic()
        if now >= self._age_check_due and self._evict_old(state):
            self._age_check_due = now + AGE_CHECK_S
        needed = group.size * 3 // 2 // PAGE_SIZE + MARGIN_PAGES
        while self.pages() + needed > self._limit_pages and self._delete(None, state):
            pass

    def _evict_old(self, state: State) -> bool:
        """Evict by age; False where more is left to do.

        The newest row decides together with the host's clock what is old: a host that wakes up in 2040 deletes nothing.
        """
        newest = self.db.execute(
            f"SELECT {T} FROM record WHERE meter <> ? ORDER BY id DESC LIMIT 1",  # noqa: S608 - a constant
            (COUNTERS,),
        ).fetchone()
        if newest is None:
            return True
        cutoff = min(newest[0], int(time.time())) - self._max_age_s
        return not all(self._delete(cutoff, state) for _ in range(EVICT_ROUNDS))

    def _delete(self, cutoff: int | None, state: State) -> bool:
        """Delete a chunk of the oldest rows, never the newest of all; False when there was nothing to delete."""
        oldest = self.db.execute(
            f"SELECT id, meter, {T} FROM record"  # noqa: S608 - a constant
            " WHERE id < (SELECT max(id) FROM record) ORDER BY id LIMIT ?",
            (EVICT_ROWS,),
        ).fetchall()
        evicted = list(takewhile(lambda row: cutoff is None or row[2] < cutoff, oldest))
        if not evicted:
            return False
        names = {number: name for name, number in self._numbers.items()}
        for _, number, _ in evicted:
            if number in names:
                state.tally(names[number]).evicted += 1
        self.db.execute("DELETE FROM record WHERE id <= ?", (evicted[-1][0],))
        return True

    def pages(self) -> int:
        """Count the pages in use."""
        total: int = self.db.execute("PRAGMA page_count").fetchone()[0]
        free: int = self.db.execute("PRAGMA freelist_count").fetchone()[0]
        return total - free

    def shrink(self, state: State) -> None:
        """Bring a file that is larger than its quota (it was lowered) back under it: evict, then rebuild the file."""
        try:
            if self.db.execute("PRAGMA page_count").fetchone()[0] <= self._limit_pages:
                return
            while self.pages() + MARGIN_PAGES > self._limit_pages and self._delete(None, state):
                pass
            self.db.execute("VACUUM")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self.db.execute(f"PRAGMA max_page_count = {self._limit_pages}")
        except FAILURES as error:
            raise told(error, self.path) from error

    def adopt(self, rows: Collection[Packed], layouts: Mapping[int, bytes], state: State) -> None:
        """Commit rows of another file as they are, and what they refer to (salvage.py)."""
        with self._transaction():
            self._introduce(Group(rows=list(rows)), replace(state, layouts={**state.layouts, **layouts}))
            self._insert(rows)

    def release(self, given: dict[str, int]) -> None:
        """Give back the sequence numbers that were not used: after a clean end the next start leaves no gap."""
        with self._transaction():
            for meter, seq in given.items():
                if meter in self._numbers:
                    self._set_reserved(meter, seq)

    def close(self) -> None:
        """Close the file; SQLite folds the log into it."""
        with suppress(*FAILURES):
            self.db.close()
