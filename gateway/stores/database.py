"""The open journal file: commit a group, keep the quota, give back the state. Used by one thread at a time."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.stores.apart import OCTETS, SHARE, TABLES, Apart, encode_letter, encode_quarantined
from gateway.stores.files import check, create, in_place, set_aside_before, transaction
from gateway.stores.groups import Group, Packed
from gateway.stores.memory import Draft, State
from gateway.stores.quota import EVICT_ROUNDS, MARGIN_PAGES, Quota, T
from gateway.stores.rows import Corrupt, seal
from gateway.stores.schema import (
    COUNTERS,
    FAILURES,
    FLOOR,
    IDS,
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
from gateway.stores.state import (
    Meter,
    encode_meter,
    encode_snapshot,
    last_serial,
    read_ids_end,
    read_meters,
    read_state,
    recount,
)

#: sequence numbers reserved at once: a day at one reading per second, so that a failing medium does not run them out
SEQ_BLOCK = 100_000
#: ids of rows that are kept free at once, so that none is used twice when nobody can read how far they go
ID_BLOCK = 1 << 16


class Database:
    """A journal file, open for writing.

    Every method raises Damaged or StorageFault and nothing else of SQLite; what failed is rolled back.
    """

    def __init__(self, path: Path, *, max_bytes: int, max_age_s: int) -> None:
        """Open or create the file, which is private to its owner. Raises JournalError too."""
        self.path = path
        self._limits = max(64, (max_bytes - WAL_LIMIT) // PAGE_SIZE), max_age_s
        self._numbers: dict[str, int] = {}
        self._layouts: set[int] = set()
        self._ids_end = 0
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
        pages, max_age_s = self._limits
        octets = min(OCTETS, pages * PAGE_SIZE // SHARE)
        with self._judged():
            configure(self.db, self.path)
            migrate(self.db, self.path, fresh=fresh)
            self.db.execute(f"PRAGMA max_page_count = {pages}")
            self._numbers = {meter.name: number for number, meter in read_meters(self.db).items()}
            self._layouts = {number for (number,) in self.db.execute("SELECT id FROM layout")}
            self._ids_end = read_ids_end(self.db)
            self._kept = {
                (table, number): data
                for table in KEPT
                for number, data in self.db.execute(f"SELECT meter, data FROM {table}")  # noqa: S608 - a constant
            }
            self._apart = {table: Apart(self.db, table, octets) for table in TABLES}
            self._quota = Quota(self.db, pages=pages, reserved=len(TABLES) * octets, max_age_s=max_age_s)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Say what an error means."""
        try:
            yield
        except FAILURES as error:
            raise told(error, self.path) from error
        except Corrupt as error:
            raise Damaged(f"{self.path}: {error}") from error

    @property
    def begun(self) -> bool:
        """Whether the journal ever wrote to this file."""
        with self._judged():
            return bool(self.db.execute("SELECT count(*) FROM meta WHERE id = ?", (SALT,)).fetchone()[0])

    def state(self) -> State:
        """Read what a restart goes on from; not `complete` in a new file that follows one which was set aside."""
        with self._judged():
            state = read_state(self.db)
        state.complete = self.begun or not set_aside_before(self.path)
        return state

    def check(self) -> None:
        """Read the whole file and its structure (PRAGMA quick_check); raises Damaged. `db.interrupt` ends it early."""
        check(self.db, self.path, JOURNAL)

    def recount(self, state: State) -> None:
        """Count all rows where the counters may not be those of the rows."""
        if state.recount:
            with self._judged():
                recount(self.db, state)

    def commit(self, group: Group, state: State) -> dict[str, int]:
        """Commit a group with its counters, and sequence numbers ahead of it; returns what is reserved by meter.

        Tallies and cursors of `state` count its rows from the moment on at which they are in the file.
        """
        if not in_place(self.path, self._identity):
            raise StorageFault(f"journal {self.path}: the file was removed or replaced")
        self.resolve(state)
        if group.done:
            return {}
        draft = state.begin(group)
        with self._transaction():
            reserved = self._write(group, state, draft)
        # Only now: whoever reads a tally may rely on the disk.
        state.take(draft)
        if reserved:
            self._fold()
        return reserved

    def replace(self, given: Mapping[str, int], state: State, aside: str | None) -> dict[str, int]:
        """Begin a new file after one that was set aside: until its rows are copied, they count as evicted."""
        draft = state.begin()
        draft.forsake()
        if aside is not None:
            draft.salvages[aside] = draft.ceiling = 0
        with self._transaction():
            reserved = self._write(Group(given=dict(given)), state, draft)
        state.take(draft)
        self._fold()
        return reserved

    def resolve(self, state: State) -> None:
        """Find out whether a commit that reported a failure reached the file all the same."""
        draft, state.draft = state.draft, None
        if draft is None:
            return
        with self._judged():
            reached = last_serial(self.db) == draft.serial
        if reached:
            state.take(draft)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        known = dict(self._numbers), set(self._layouts), dict(self._kept), self._ids_end
        try:
            with transaction(self.db, self.path, JOURNAL):
                yield
        except BaseException:
            self._numbers, self._layouts, self._kept, self._ids_end = known
            raise

    def _fold(self) -> None:
        """Fold the log into the file: a log that is damaged later takes readings with it, but no reservation."""
        with suppress(*FAILURES):
            self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    @property
    def _meters(self) -> dict[int, str]:
        return {number: name for name, number in self._numbers.items()}

    @property
    def _apart_octets(self) -> int:
        return sum(table.octets for table in self._apart.values())

    def _write(self, group: Group, state: State, draft: Draft) -> dict[str, int]:
        self._quota.make_room(group.size, self._apart_octets, self._meters, draft)
        named = {*group.given, *group.counters, *group.lost, *(meter for _, meter in group.kept)}
        self._introduce({*named, *(row.meter for row in group.rows)}, state.layouts, state)
        reserved = self._reserve(group.given, state)
        self._insert([row for row in group.rows if row.reason is None], draft)
        self._quarantine([row for row in group.rows if row.reason is not None], draft)
        for meter, n in group.lost.items():
            draft.tally(meter).lost += n
        self._write_letters(draft)
        self._write_kept(group)
        draft.saved = draft.saved | group.counters
        self._write_snapshot(draft)
        return reserved

    def _insert(self, rows: Collection[Packed], draft: Draft) -> None:
        first = draft.next_id
        self.db.executemany(
            "INSERT INTO record VALUES (?, ?, ?, ?)",
            (
                (entry, self._numbers[row.meter], row.t, seal(row.data, row.meter, row.t))
                for entry, row in enumerate(rows, first)
            ),
        )
        for row in rows:
            draft.tally(row.meter).stored += 1
        if rows:
            draft.next_id = first + len(rows)
            draft.newest = draft.next_id - 1

    def _quarantine(self, rows: Collection[Packed], draft: Draft) -> None:
        for row in rows:
            self._apart["quarantine"].add(self._numbers[row.meter], encode_quarantined(row))
            draft.tally(row.meter).quarantined += 1

    def _write_letters(self, draft: Draft) -> None:
        for letter in draft.letters:
            number = self._numbers.get(letter.meter)
            if number is not None:
                self._apart["dead_letter"].add(number, encode_letter(letter, time.time()))

    def _introduce(self, meters: Collection[str], layouts: Mapping[int, bytes], state: State) -> None:
        """Write what rows refer to: meters, layouts, and in a new file the salt and the identity."""
        for meter in sorted(set(meters) - set(self._numbers)):
            number = max(self._numbers.values(), default=COUNTERS) + 1
            data = encode_meter(number, Meter(meter, state.reserved.get(meter, 0)))
            self.db.execute("INSERT INTO meter VALUES (?, ?)", (number, data))
            self._numbers[meter] = number
        # A copy: the loop's thread goes on adding layouts.
        layouts = dict(layouts)
        missing = layouts.keys() - self._layouts
        self.db.executemany(
            "INSERT INTO layout VALUES (?, ?)", [(n, seal(layouts[n], "layout", n)) for n in sorted(missing)]
        )
        self._layouts |= missing
        known = {SALT: state.salt, STORE: state.store} | ({FLOOR: str(state.floor).encode()} if state.floor else {})
        for row, value in known.items():
            self.db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (row, seal(value, row)))

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

    def _write_snapshot(self, draft: Draft) -> None:
        """Write counters, tallies and cursors behind the rows.

        Without readings they replace those before them, so that a noisy line does not evict history.
        """
        self.db.execute("DELETE FROM record WHERE id = ? AND meter = ?", (draft.next_id - 1, COUNTERS))
        data = encode_snapshot(self._numbers, draft)
        self.db.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (draft.next_id, COUNTERS, 0, data))
        draft.next_id += 1
        self._keep_ids_free(draft.next_id)
        draft.oldest = {sink: self._oldest(cursor.position) for sink, cursor in draft.cursors.items()}

    def _keep_ids_free(self, following: int) -> None:
        if self._ids_end - following < ID_BLOCK // 2:
            self._ids_end = following + ID_BLOCK
            data = seal(str(self._ids_end).encode(), IDS)
            self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (IDS, data))

    def _oldest(self, position: int) -> int | None:
        """Time of the first reading behind a cursor."""
        behind = f"SELECT {T} FROM record WHERE id > ? AND meter <> ? ORDER BY id LIMIT 1"  # noqa: S608 - a constant
        found = self.db.execute(behind, (position, COUNTERS)).fetchone()
        return found[0] if found else None

    def _write_kept(self, group: Group) -> None:
        """Write what goes with the rows of the group, where it changed."""
        for (table, meter), data in group.kept.items():
            number = self._numbers[meter]
            sealed = seal(data, table, number)
            if self._kept.get((table, number)) != sealed:
                self.db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (number, sealed))  # noqa: S608 - of KEPT
                self._kept[table, number] = sealed

    def shrink(self, state: State) -> None:
        """Bring a file that is larger than its quota (it was lowered) back under it: evict, then rebuild the file."""
        with self._judged():
            if self.db.execute("PRAGMA page_count").fetchone()[0] <= self._quota.limit:
                return
        more = True
        while more:
            draft = state.begin()
            with self._transaction():
                more = self._quota.evict(MARGIN_PAGES, self._apart_octets, self._meters, draft, rounds=EVICT_ROUNDS)
                self._write_snapshot(draft)
            state.take(draft)
        self.rebuild()

    def rebuild(self) -> None:
        """Write the file anew, without the pages that are free; raises StorageFault where there is no room for both."""
        with self._judged():
            self.db.execute("VACUUM")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self.db.execute(f"PRAGMA max_page_count = {self._quota.limit}")

    def adopt(
        self,
        rows: Mapping[int, Packed],
        layouts: Mapping[int, bytes],
        state: State,
        progress: tuple[str, int | None],
        apart: Collection[tuple[str, str, bytes]] = (),
    ) -> None:
        """Commit rows of a damaged file under the ids that they had, and what they refer to (salvage.py).

        `progress`: the name of that file, and the id up to which it is copied; None at its end. `apart`: rows (table,
        meter, sealed data) of what stands apart there.
        """
        draft = state.begin()
        name, upto = progress
        with self._transaction():
            rows = {entry: row for entry, row in rows.items() if entry not in self._there(rows)}
            meters = {*(row.meter for row in rows.values()), *(meter for _, meter, _ in apart)}
            self._introduce(meters, layouts, state)
            self.db.executemany(
                "INSERT INTO record VALUES (?, ?, ?, ?)",
                (
                    (entry, self._numbers[row.meter], row.t, seal(row.data, row.meter, row.t))
                    for entry, row in rows.items()
                ),
            )
            for table, meter, data in apart:
                self._apart[table].add(self._numbers[meter], data)
            draft.adopt([(entry, row.meter) for entry, row in rows.items()], name, upto)
            self._write_snapshot(draft)
        state.take(draft)

    def _there(self, rows: Collection[int]) -> set[int]:
        """Ids of these that are taken."""
        between = (min(rows, default=0), max(rows, default=0))
        return {entry for (entry,) in self.db.execute("SELECT id FROM record WHERE id BETWEEN ? AND ?", between)}

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
