"""The open ledger file: what several processes write, one transaction each, durable before it is reported.

A transaction holds the lock of the ledger shared (ledger_place).
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.durable import sync_folder
from gateway.stores import files, interval_marks, interval_rows
from gateway.stores.files import FAILURES, Damaged, Kind, StorageFault
from gateway.stores.ledger_place import LedgerError, held, keep_shared, rights
from gateway.stores.ledger_rows import (
    FORGOTTEN,
    MAX_ITEMS,
    REMOVED,
    Break,
    Entry,
    Note,
    genesis,
    link,
    pack,
    unpack,
    verify,
)
from gateway.stores.rows import EPOCH, Corrupt, seal, unseal
from gateway.stores.state import after_damage

#: "mtl1" in the header of the file
APPLICATION_ID = 0x6D746C31

#: rows of `meta`, beside files.SCHEMA: what the ledger is called, where the chain ends, that a damaged file went before
IDENTITY, END, INCOMPLETE = 2, 3, 4

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        # the metrology log: nothing is ever changed or deleted in it (ledger_rows)
        "CREATE TABLE event (id INTEGER PRIMARY KEY, data BLOB NOT NULL, chain BLOB NOT NULL)",
        # what admitted the last telegrams of a meter, once an hour (gateway.trust)
        "CREATE TABLE counter_copy (meter TEXT PRIMARY KEY, data BLOB NOT NULL)",
        # numbers of messages that are sent: the highest that was reserved
        "CREATE TABLE send_counter (name TEXT PRIMARY KEY, data BLOB NOT NULL)",
    ),
    # intervals with all their versions, and what the fold goes on from (interval_rows)
    (
        "CREATE TABLE interval_series (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE interval (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE interval_cell (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE interval_state (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE interval_position (store TEXT PRIMARY KEY, data BLOB NOT NULL)",
    ),
    # intervals that a person edited, and that are to be judged again
    # and the meter's own peaks by month
    (
        "CREATE TABLE interval_asked (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE interval_peak (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    ),
    # and its own mean of each quarter-hour
    ("CREATE TABLE interval_demand (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",),
    # which intervals changed lately, and what goes to hubs: messages, their exact bytes, what they hold, what came back
    (
        "CREATE TABLE interval_change (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        # the audit log: as the metrology log (hub_audit)
        "CREATE TABLE hub_event (id INTEGER PRIMARY KEY, data BLOB NOT NULL, chain BLOB NOT NULL)",
        "CREATE TABLE hub_message (id INTEGER PRIMARY KEY, hub TEXT, document TEXT, state TEXT, due INT, data BLOB)",
        "CREATE UNIQUE INDEX hub_message_document ON hub_message (hub, document)",
        "CREATE INDEX hub_message_state ON hub_message (hub, state)",
        "CREATE INDEX hub_message_due ON hub_message (hub, due) WHERE due IS NOT NULL",
        "CREATE TABLE hub_body (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE hub_part (id INTEGER PRIMARY KEY, hub TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL)",
        "CREATE UNIQUE INDEX hub_part_name ON hub_part (hub, name)",
        "CREATE TABLE hub_slot (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, wanted TEXT, data BLOB NOT NULL)",
        "CREATE INDEX hub_slot_wanted ON hub_slot (wanted) WHERE wanted IS NOT NULL",
        "CREATE TABLE hub_answer (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE hub_raw (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE hub_inbound (id INTEGER PRIMARY KEY, hub TEXT, kind TEXT, name TEXT, data BLOB NOT NULL)",
        "CREATE UNIQUE INDEX hub_inbound_name ON hub_inbound (hub, name)",
        "CREATE INDEX hub_inbound_kind ON hub_inbound (hub, kind)",
        "CREATE TABLE hub_inbound_body (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE hub_note (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB NOT NULL)",
        "CREATE TABLE hub_permission (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE hub_count (name TEXT PRIMARY KEY, data BLOB NOT NULL)",
    ),
)


LEDGER = Kind("ledger", APPLICATION_ID, frozenset({b"event", b"counter_copy", b"send_counter"}), STEPS, LedgerError)


class LedgerFile:
    """A ledger file, open for writing; used by one thread at a time.

    Every method raises Damaged or StorageFault and nothing else of SQLite; what failed is rolled back, what came back
    without an error is on the disk.
    """

    def __init__(self, path: Path, kind: Kind = LEDGER) -> None:
        """Open or create the file, which the caller holds `alone`. Raises LedgerError too."""
        self.path = path
        self._kind = kind
        #: whether there was none before
        self.fresh = files.create(path, kind, *rights())
        keep_shared(path)
        self.identity, self.db = self._open(fresh=self.fresh)

    def _open(self, *, fresh: bool) -> tuple[tuple[int, int], sqlite3.Connection]:
        found = self.path.stat()
        try:
            db = files.connect(self.path)
        except FAILURES as error:
            raise files.told(error, self.path, self._kind) from error
        try:
            files.configure(db, self.path)
            files.migrate(db, self.path, self._kind, fresh=fresh)
            if fresh:
                _begin(db, self.path)
        except BaseException as error:
            db.close()
            if fresh:
                self.path.unlink(missing_ok=True)
            if isinstance(error, FAILURES):
                raise files.told(error, self.path, self._kind) from error
            raise
        return (found.st_dev, found.st_ino), db

    def close(self) -> None:
        """Close the file; the last process that does folds the log into it."""
        with suppress(*FAILURES):
            self.db.close()

    def check(self) -> None:
        """Read the whole file and its structure (PRAGMA quick_check); `db.interrupt` ends it early."""
        files.check(self.db, self.path, self._kind)

    def note(self, notes: Iterable[Note]) -> int:
        """Append entries to the metrology log, all or none; the position of the last one."""
        with self._turn(), self.changes():
            return append(self.db, notes)

    def copy_counters(self, saved: Mapping[str, bytes]) -> None:
        """Keep what admitted the last telegrams of each meter."""
        with self._turn(), self.changes():
            for meter, data in saved.items():
                self.keep_copy(meter, data)

    def keep_copy(self, meter: str, data: bytes) -> None:
        """Keep what admitted the last telegrams of a meter, within a transaction."""
        sealed = seal(data, "counter_copy", meter)
        self.db.execute("INSERT OR REPLACE INTO counter_copy VALUES (?, ?)", (meter, sealed))

    def copied_counters(self) -> dict[str, bytes]:
        """What `copy_counters` kept; a damaged row is left out."""
        try:
            rows = self.db.execute("SELECT meter, data FROM counter_copy").fetchall()
        except FAILURES as error:
            raise files.told(error, self.path, self._kind) from error
        return dict(unsealed(rows, "counter_copy"))

    def forget(self, meter: str, also: Callable[[sqlite3.Connection], object] | None = None) -> int:
        """Remove what the entries of a meter say, its intervals and the copy of its receive counters; how many entries.

        `also` removes more in the same transaction (hub_forget). Places and hashes of entries stay, and new entries
        tell which they are. What was removed is overwritten in the file.
        """
        with self._turn():
            self.db.execute("PRAGMA secure_delete = ON")
            with self.changes():
                positions = [entry.id for entry in read_entries(self.db) if _is_of(entry, meter)]
                for position in positions:
                    sealed = pack(Note(REMOVED, None, EPOCH, {}), position)
                    self.db.execute("UPDATE event SET data = ? WHERE id = ?", (sealed, position))
                copied = self.db.execute("DELETE FROM counter_copy WHERE meter = ?", (meter,)).rowcount
                if self._forget_intervals(meter) or positions or copied:
                    append(self.db, removed_of(positions))
                if also is not None:
                    also(self.db)
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return len(positions)

    def _forget_intervals(self, meter: str) -> int:
        """Remove every series of a meter and of its sub-meters; how many rows that were."""
        removed = 0
        interval_marks.forget(self.db, meter)
        for number, data in self.db.execute("SELECT id, data FROM interval_series").fetchall():
            with suppress(Corrupt):
                if interval_rows.unpack_series(number, data).meter == meter:
                    for table, ends in interval_rows.ranges(number).items():
                        statement = f"DELETE FROM {table} WHERE id >= ? AND id < ?"  # noqa: S608 - names of ours
                        removed += self.db.execute(statement, ends).rowcount
        return removed

    def reserve(self, name: str, n: int) -> int:
        """Reserve `n` numbers that no process ever had; the first of them.

        After damage nobody knows what was given out: then they go on from the wall clock in ms, ahead of every count.
        """
        with self._turn(), self.changes():
            found = self.db.execute("SELECT data FROM send_counter WHERE name = ?", (name,)).fetchone()
            last = 0 if found is None else _number(found[0], name)
            if found is None and read_meta(self.db, INCOMPLETE) is not None:
                last = after_damage(0)
            sealed = seal_number(name, last + n)
            self.db.execute("INSERT OR REPLACE INTO send_counter VALUES (?, ?)", (name, sealed))
        return last + 1

    def entries(self) -> int:
        """The position of the last entry of the metrology log."""
        try:
            return read_end(self.db)[0]
        except FAILURES as error:
            raise files.told(error, self.path, self._kind) from error
        except Corrupt as error:
            raise Damaged(f"{self.path}: {error}") from error

    def first_break(self) -> Break | None:
        """Walk the chain of the metrology log: the first position that nothing explains, or None."""
        try:
            return next((found for found in read_breaks(self.db) if found.explained is None), None)
        except FAILURES as error:
            raise files.told(error, self.path, self._kind) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Commit at the end, or nothing, as one of several processes that write."""
        with self._turn(), self.changes():
            yield

    @contextmanager
    def changes(self) -> Iterator[None]:
        """Commit at the end, or nothing: a transaction on a file that nobody replaces meanwhile."""
        try:
            with files.transaction(self.db, self.path, self._kind):
                yield
        except Corrupt as error:
            raise Damaged(f"{self.path}: {error}") from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with held(self.path, fcntl.LOCK_SH, again=True):
            if not files.in_place(self.path, self.identity):
                raise StorageFault(f"ledger {self.path}: the file was removed or replaced")
            yield


def _is_of(entry: Entry, meter: str) -> bool:
    try:
        return unpack(entry).meter == meter
    except Corrupt:
        return False


def removed_of(positions: list[int]) -> Iterator[Note]:
    """Entries that tell which were removed, as first and last of each row of positions."""
    rows: list[list[int]] = []
    for position in positions:
        if rows and rows[-1][1] == position - 1:
            rows[-1][1] = position
        else:
            rows.append([position, position])
    for start in range(0, len(rows) or 1, MAX_ITEMS):
        yield Note(FORGOTTEN, None, datetime.now(UTC), {"removed": rows[start : start + MAX_ITEMS]})


def append(db: sqlite3.Connection, notes: Iterable[Note]) -> int:
    """Append entries within a transaction; the position of the last one. Raises Corrupt, FAILURES."""
    position, chain = read_end(db)
    for note in notes:
        position += 1
        sealed = pack(note, position)
        chain = link(chain, sealed)
        db.execute("INSERT INTO event VALUES (?, ?, ?)", (position, sealed, chain))
    put_end(db, position, chain)
    return position


def read_end(db: sqlite3.Connection) -> tuple[int, bytes]:
    """Where the chain ends: the position and the hash of its last entry. Raises Corrupt, FAILURES."""
    found = db.execute("SELECT id, chain FROM event ORDER BY id DESC LIMIT 1").fetchone()
    end = read_meta(db, END)
    if end is not None and (found is None or found[0] < int.from_bytes(end[:8], "big")):
        # entries were taken from the end: the log goes on behind their places, so that it shows
        return int.from_bytes(end[:8], "big"), end[8:]
    if found is None:
        return 0, genesis(read_meta(db, IDENTITY) or b"")
    return found[0], bytes(found[1])


def put_end(db: sqlite3.Connection, position: int, chain: bytes) -> None:
    """Keep where the chain ends, so that entries that are taken from its end are missed."""
    put_meta(db, END, position.to_bytes(8, "big") + chain)


def read_entries(db: sqlite3.Connection, since: int = 0) -> Iterator[Entry]:
    """Entries of the metrology log behind a position, a page at a time. Raises FAILURES."""
    while rows := db.execute(
        "SELECT id, data, chain FROM event WHERE id > ? ORDER BY id LIMIT 500", (since,)
    ).fetchall():
        yield from (Entry(*row) for row in rows)
        since = rows[-1][0]


def read_breaks(db: sqlite3.Connection) -> list[Break]:
    """Walk the chain of the metrology log as it is at this moment. Raises FAILURES."""
    db.execute("BEGIN")
    try:
        return verify(read_entries(db), _meta(db, IDENTITY) or b"", _meta(db, END))
    finally:
        db.execute("ROLLBACK")


def _meta(db: sqlite3.Connection, row: int) -> bytes | None:
    with suppress(Corrupt):
        return read_meta(db, row)
    return None


def read_meta(db: sqlite3.Connection, row: int) -> bytes | None:
    """A row of `meta`, or None. Raises Corrupt, FAILURES."""
    found = db.execute("SELECT data FROM meta WHERE id = ?", (row,)).fetchone()
    return None if found is None else unseal(found[0], row)


def put_meta(db: sqlite3.Connection, row: int, data: bytes) -> None:
    """Write a row of `meta`."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (row, seal(data, row)))


def _begin(db: sqlite3.Connection, path: Path) -> None:
    """Give a new file its identity, and put all of it on the disk."""
    db.execute("BEGIN IMMEDIATE")
    put_meta(db, IDENTITY, os.urandom(16))
    if files.set_aside_before(path):
        put_meta(db, INCOMPLETE, b"")
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    sync_folder(path.parent)


def unsealed(rows: Iterable[tuple[object, object]], table: str) -> Iterator[tuple[str, bytes]]:
    """Rows of a table that is known by names: the name and the data of each that is what was written."""
    for name, data in rows:
        with suppress(Corrupt, UnicodeDecodeError):
            text = name.decode() if isinstance(name, bytes) else str(name)
            yield text, unseal(data, table, text)


def seal_number(name: str, number: int) -> bytes:
    """A send counter as it is kept."""
    return seal(number.to_bytes(8, "big"), "send_counter", name)


def _number(data: object, name: str) -> int:
    return int.from_bytes(unseal(data, "send_counter", name), "big")
