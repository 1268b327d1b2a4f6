"""Remove everything of one meter from a journal that nobody writes, so that what is left still adds up."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.stores.apart import TABLES, refs
from gateway.stores.database import Database
from gateway.stores.files import files_of, set_aside_before, transaction
from gateway.stores.memory import State
from gateway.stores.rows import Corrupt, Row, seal
from gateway.stores.salvage import Salvage
from gateway.stores.schema import COUNTERS, FLOOR, JOURNAL, KEPT, StorageFault
from gateway.stores.state import encode_snapshot, read_meters

#: a journal that is opened to remove something evicts nothing
NO_LIMIT = 1 << 40
#: octets of the checksum behind a packed row
_CHECKSUM = 4
_row = msgspec.msgpack.Decoder(Row).decode


@dataclass(slots=True)
class Forgotten:
    """What was removed."""

    readings: int = 0
    quarantined: int = 0
    dead_letters: int = 0
    #: names of damaged files that were set aside and may have held readings of the meter
    files: tuple[str, ...] = ()
    #: why the file could not be rebuilt: what was removed is overwritten all the same, but its room is still taken
    not_rebuilt: str | None = None


def forget(path: Path, meter: str) -> Forgotten:
    """Remove a meter, for a caller that holds the lock of the journal (place.lock): all of it or, on an error, nothing.

    Raises JournalError, Damaged, StorageFault, LookupError for a meter that the journal does not know.
    """
    database = Database(path, max_bytes=NO_LIMIT, max_age_s=NO_LIMIT)
    try:
        state = database.state()
        if meter not in state.reserved:
            raise LookupError(meter)
        for name in reversed(list(state.salvages)):
            Salvage(path.with_name(name)).run(database, state, lambda: False)
        database.recount(state)
        forgotten = _remove(database.db, path, meter, state)
        forgotten.files = tuple(_remove_aside(path))
        try:
            database.rebuild()
        except StorageFault as fault:
            forgotten.not_rebuilt = str(fault)
    finally:
        database.close()
    return forgotten


def _remove(db: sqlite3.Connection, path: Path, meter: str, state: State) -> Forgotten:
    numbers = {known.name: number for number, known in read_meters(db).items()}
    number = numbers.pop(meter)
    draft = state.begin()
    db.execute("PRAGMA secure_delete = ON")
    with transaction(db, path, JOURNAL):
        readings = db.execute("DELETE FROM record WHERE meter = ?", (number,)).rowcount
        # Rows of counters name every meter; the last of them is all that is needed.
        db.execute("DELETE FROM record WHERE meter = ?", (COUNTERS,))
        quarantined, letters = (
            db.execute(f"DELETE FROM {table} WHERE meter = ?", (number,)).rowcount  # noqa: S608 - of TABLES
            for table in TABLES
        )
        for table in KEPT:
            db.execute(f"DELETE FROM {table} WHERE meter = ?", (number,))  # noqa: S608 - of KEPT
        db.execute("DELETE FROM meter WHERE id = ?", (number,))
        _remove_layouts(db, {number: name for name, number in numbers.items()})
        # A meter that comes back under this name never uses a number twice.
        floor = max(state.floor, state.reserved[meter])
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (FLOOR, seal(str(floor).encode(), FLOOR)))
        db.execute("INSERT INTO record VALUES (?, ?, 0, ?)", (draft.next_id, COUNTERS, encode_snapshot(numbers, draft)))
    return Forgotten(readings, quarantined, letters)


def _remove_layouts(db: sqlite3.Connection, meters: dict[int, str]) -> None:
    """Remove the layouts that no row refers to any more: they hold the profile and a pseudonym of a meter."""
    used = {ref for row_refs in _refs(db, meters) for ref in row_refs if isinstance(ref, int)}
    there = {number for (number,) in db.execute("SELECT id FROM layout")}
    db.executemany("DELETE FROM layout WHERE id = ?", [(number,) for number in sorted(there - used)])


def _refs(db: sqlite3.Connection, meters: dict[int, str]) -> Iterator[tuple[int | bytes, ...]]:
    for (data,) in db.execute("SELECT data FROM record WHERE meter <> ?", (COUNTERS,)):
        with suppress(msgspec.DecodeError, TypeError):
            row = _row(data[:-_CHECKSUM])
            yield row.layout, row.times
    for number, data in db.execute("SELECT meter, data FROM quarantine"):
        with suppress(Corrupt, KeyError):
            yield refs("quarantine", data, meters[number])


def _remove_aside(path: Path) -> Iterator[str]:
    """Remove damaged files that were set aside: nobody can tell what they hold of whom."""
    for aside in set_aside_before(path):
        for file in files_of(aside):
            file.unlink(missing_ok=True)
        yield aside.name
