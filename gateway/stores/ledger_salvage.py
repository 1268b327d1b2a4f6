"""Opening a ledger, also a damaged one: what can be read of it goes into a new file, and the old one is set aside.

The new file is made whole beside the damaged one before it takes its place, so that it does not matter when the power
goes. Entries of the metrology log keep their positions and hashes; the entry behind them says which are missing, with
the SHA-256 of what follows each gap, so that from then on the chain holds over the gaps.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from gateway import __version__
from gateway.durable import sync_folder
from gateway.stores import files, hub_audit, hub_salvage, interval_marks
from gateway.stores.files import FAILURES, Damaged, StorageFault
from gateway.stores.ledger_file import (
    END,
    IDENTITY,
    INCOMPLETE,
    LedgerFile,
    append,
    put_end,
    put_meta,
    read_meta,
    seal_number,
    unsealed,
)
from gateway.stores.ledger_place import alone
from gateway.stores.ledger_rows import SALVAGED, Entry, Note, genesis, unpack
from gateway.stores.rows import Corrupt, unseal
from gateway.stores.state import after_damage

EVENTS = "SELECT id, data, chain FROM {} WHERE id > ? ORDER BY id LIMIT ?"
COPIES = "SELECT rowid, meter, data FROM counter_copy WHERE rowid > ? ORDER BY rowid LIMIT ?"
SENT = "SELECT rowid, name, data FROM send_counter WHERE rowid > ? ORDER BY rowid LIMIT ?"


#: tables of intervals, and where the search in them ends: ids hold more than counts (interval_rows)
INTERVALS = (
    "interval_series",
    "interval",
    "interval_cell",
    "interval_state",
    "interval_asked",
    "interval_peak",
    "interval_demand",
)
LAST_INTERVAL = 1 << 61


class Opened(NamedTuple):
    """An open ledger, and what had to be done for it as a sentence, or None."""

    file: LedgerFile
    notice: str | None = None


def open_ledger(path: Path, suspect: tuple[int, int] | None = None, damage: str = "") -> Opened:
    """Open or create a ledger; one that is damaged is replaced.

    `suspect` (device, inode) is a file that opens and was found damaged later, as `damage` says: it is replaced unless
    another process did that already.

    Raises LedgerError where a person must act, StorageFault where the medium may recover.
    """
    with alone(path):
        _finish(path)
        if suspect is None or not files.in_place(path, suspect):
            try:
                return Opened(_begun(LedgerFile(path)))
            except Damaged as found:
                damage = str(found)
        try:
            return _replace(path, damage)
        except Damaged as again:
            raise StorageFault(f"ledger {path}: a new file is damaged at once ({again})") from again
        except OSError as error:
            raise StorageFault(f"ledger {path}: {error.strerror}") from error


def _begun(file: LedgerFile) -> LedgerFile:
    if file.fresh:
        with file.changes():
            append(file.db, [Note("ledger_begun", None, datetime.now(UTC), {"version": __version__})])
    return file


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _finish(path: Path) -> None:
    """Take up a replacement that a power cut interrupted: a new file is whole once the damaged one was set aside."""
    new = _new(path)
    if new.exists() and not path.exists():
        new.rename(path)
        sync_folder(path.parent)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{new}{suffix}").unlink(missing_ok=True)


def _replace(path: Path, damage: str) -> Opened:
    file = LedgerFile(_new(path))
    try:
        kept = _carry_over(path, file, damage)
    finally:
        file.close()
    aside = files.set_aside(path)
    _finish(path)
    return Opened(
        LedgerFile(path),
        f"the ledger was damaged ({damage}): it was set aside as {aside}; {kept} entries of the metrology log were"
        " carried over, the next one says what is missing",
    )


def _carry_over(source: Path, target: LedgerFile, damage: str) -> int:
    """Copy every readable row; the number of entries of the metrology log."""
    try:
        db = files.connect_readonly(source)
    except FAILURES:
        db = sqlite3.connect(":memory:")
    try:
        return _copy(db, target, damage)
    finally:
        db.close()


def _copy(db: sqlite3.Connection, target: LedgerFile, damage: str) -> int:
    log = _Log(_meta(db, IDENTITY))
    now = datetime.now(UTC)
    with target.changes():
        put_meta(target.db, INCOMPLETE, b"")
        if log.identity is not None:
            put_meta(target.db, IDENTITY, log.identity)
        _copy_log(db, target, log, "event")
        for meter, data in _named(db, COPIES, "counter_copy"):
            target.keep_copy(meter, data)
        for name, data in _named(db, SENT, "send_counter"):
            number = after_damage(int.from_bytes(data, "big"))
            target.db.execute("INSERT OR REPLACE INTO send_counter VALUES (?, ?)", (name, seal_number(name, number)))
        _copy_intervals(db, target)
        position, chain = log.end(_meta(db, END), read_meta(target.db, IDENTITY) or b"")
        put_end(target.db, position, chain)
        append(target.db, [Note(SALVAGED, None, now, log.facts() | {"damage": damage})])
        audited = _Log(None)
        _copy_log(db, target, audited, hub_audit.TABLE)
        hub_audit.put_end(target.db, *audited.end(_meta(db, hub_audit.END), hub_audit.identity(target.db)))
        said = Note(SALVAGED, None, now, {"who": "meterd", **audited.facts(), "damage": damage})
        # the first entry behind a gap cannot tell of it: the one behind that can
        hub_audit.append(target.db, [said, said])
        hub_salvage.carry_over(db, target.db, int(now.timestamp()))
    return log.kept


def _copy_log(db: sqlite3.Connection, target: LedgerFile, log: "_Log", table: str) -> None:
    for entry in _entries(db, table):
        log.take(entry)
        target.db.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", entry)  # noqa: S608 - names of ours


class _Log:
    """What is there of a metrology log, and what is missing."""

    def __init__(self, identity: bytes | None) -> None:
        self.identity = identity
        self.kept = 0
        self._last: Entry | None = None
        self._gaps: list[list[int | str]] = []

    def take(self, entry: Entry) -> None:
        last = 0 if self._last is None else self._last.id
        if entry.id != last + 1:
            self._gaps.append([last + 1, entry.id - 1, sha256(entry.data).hexdigest()])
        self._last = entry
        self.kept += 1

    def end(self, said: bytes | None, identity: bytes) -> tuple[int, bytes]:
        """Where the log goes on: behind its last entry, or behind the end that the damaged file told."""
        position, chain = (0, genesis(identity)) if self._last is None else (self._last.id, self._last.chain)
        told = 0 if said is None else int.from_bytes(said[:8], "big")
        if said is None or told <= position:
            return position, chain
        self._gaps.append([position + 1, told, ""])
        return told, said[8:]

    def facts(self) -> dict[str, int | list[list[int | str]]]:
        return {"kept": self.kept, "gaps": len(self._gaps), "missing": self._gaps}


def _meta(db: sqlite3.Connection, row: int) -> bytes | None:
    with suppress(*FAILURES, Corrupt):
        return read_meta(db, row)
    return None


def _entries(db: sqlite3.Connection, table: str) -> Iterator[Entry]:
    last = 0
    for _, rows in files.chunks(db, EVENTS.format(table), 0, step=1):
        for row in rows:
            entry = _entry(row, table)
            if entry is not None and entry.id > last:
                last = entry.id
                yield entry


def _copy_intervals(db: sqlite3.Connection, target: LedgerFile) -> None:
    """Carry over every sealed row of the intervals. How far a journal is folded holds only beside all of them."""
    for table in INTERVALS:
        statement = f"SELECT id, data FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - names of ours
        for _, rows in files.chunks(db, statement, 0, step=1, end=LAST_INTERVAL):
            for number, data in rows:
                if isinstance(number, int) and _is_whole(data, table, number):
                    target.db.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", (number, data))  # noqa: S608
    interval_marks.carry_over(db, target.db)


def _is_whole(data: object, table: str, number: int) -> bool:
    try:
        unseal(data, table, number)
    except Corrupt:
        return False
    return True


def _entry(row: tuple[object, ...], table: str) -> Entry | None:
    position, data, chain = row
    if not isinstance(position, int) or not isinstance(data, bytes) or not isinstance(chain, bytes):
        return None
    entry = Entry(position, data, chain)
    try:
        unpack(entry, table)
    except Corrupt:
        return None
    return entry


def _named(db: sqlite3.Connection, statement: str, table: str) -> Iterator[tuple[str, bytes]]:
    for _, rows in files.chunks(db, statement, 0, step=1):
        yield from unsealed(((name, data) for _, name, data in rows), table)
