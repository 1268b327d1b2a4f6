"""A damaged journal that was set aside: carry over from it every row that is still what was written, under its id.

Cursors count by ids: a reading that keeps its id is neither delivered twice for the damage, nor left out.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.stores import apart
from gateway.stores.database import Database
from gateway.stores.groups import Packed
from gateway.stores.memory import State
from gateway.stores.rows import Corrupt, Ref, Row, unseal
from gateway.stores.schema import COUNTERS, FAILURES, connect_readonly
from gateway.stores.state import decode_meter, read_layout

CHUNK = 256
#: where the search for rows that stand apart ends
LAST_APART = 1 << 40
ROWS = "SELECT id, meter, t, data FROM record WHERE id > ? ORDER BY id LIMIT ?"

_row = msgspec.msgpack.Decoder(Row).decode


class Salvage:
    """The readable rows of a file that was set aside, on their way into a new one; can be interrupted and taken up."""

    def __init__(self, aside: Path) -> None:
        self.aside = aside
        #: readings carried over
        self.copied = 0

    def run(self, target: Database, state: State, stopped: Callable[[], bool]) -> None:
        """Copy rows in order until the end, or `stopped`. Raises Damaged and StorageFault of the target, only."""
        name = self.aside.name
        try:
            db = connect_readonly(self.aside)
        except FAILURES:
            target.adopt({}, {}, state, (name, None))
            return
        try:
            meters = dict(_meters(db))
            self._copy(db, meters, target, state, stopped)
            if not stopped():
                target.adopt({}, {}, state, (name, None))
        finally:
            db.close()
            Path(f"{self.aside}-shm").unlink(missing_ok=True)

    def _copy(
        self,
        db: sqlite3.Connection,
        meters: dict[int, str],
        target: Database,
        state: State,
        stopped: Callable[[], bool],
    ) -> None:
        name, last = self.aside.name, state.salvages.get(self.aside.name, 0)
        if not last:
            layouts: dict[int, bytes] = {}
            rows = list(_standing_apart(db, meters, layouts))
            target.adopt({}, layouts, state, (name, 0), rows)
        for upto, chunk in _chunks(db, ROWS, last, state.next_id, stopped):
            layouts = {}
            found = ((entry, _readable(db, meters, state.reserved, layouts, row)) for entry, row in chunk)
            readings = {entry: row for entry, row in found if row is not None}
            target.adopt(readings, layouts, state, (name, upto))
            self.copied += len(readings)


def _meters(db: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    """Meters that can be read, one by one."""
    for number in range(1, 1 << 16):
        with suppress(*FAILURES, Corrupt, msgspec.DecodeError):
            found = db.execute("SELECT data FROM meter WHERE id = ?", (number,)).fetchone()
            if found is None:
                return
            yield number, decode_meter(unseal(found[0], "meter", number)).name


def _chunks(
    db: sqlite3.Connection, query: str, last: int, end: int, stopped: Callable[[], bool]
) -> Iterator[tuple[int, list[tuple[int, tuple[object, ...]]]]]:
    """Rows after `last` in order, each with its id, and how far they go; no row has the id `end` or a higher one.

    Where pages cannot be read, it leaps ahead, twice as far each time, until something can be again.
    """
    leap = 0
    before: set[object] = set()
    while last < end and not stopped():
        rows: list[tuple[object, ...]] = []
        whole = False
        with suppress(*FAILURES):
            # One by one: what came before the page that cannot be read is kept.
            for row in db.execute(query, (last, CHUNK)):
                rows += (row,)
            whole = True
        # One whose id is damaged, and too high, comes again and again: it is one reading all the same.
        rows = [row for row in rows if row[0] not in before]
        before = {row[0] for row in rows} or before
        numbered = list(_numbered(rows, last, end))
        if whole and not numbered:
            return
        leap = 0 if numbered else max(32, leap * 2)
        last = numbered[-1][0] if numbered else min(end, last + leap)
        yield last, numbered


def _numbered(rows: list[tuple[object, ...]], last: int, end: int) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Rows with ids that rise; one whose own id is damaged gets the next after the row before it, which it had."""
    for n, row in enumerate(rows):
        following = rows[n + 1][0] if n + 1 < len(rows) else end
        entry = row[0]
        fits = isinstance(entry, int) and last < entry < end
        if not fits or (isinstance(following, int) and last + 1 < following <= entry):  # type: ignore[operator]
            entry = last + 1
        if isinstance(entry, int) and entry < end:
            last = entry
            yield entry, row


def _readable(
    db: sqlite3.Connection,
    meters: dict[int, str],
    known: Iterable[str],
    layouts: dict[int, bytes],
    found: tuple[object, ...],
) -> Packed | None:
    """One row, with the layouts it needs, or None: damaged, of an unknown meter, or no reading.

    Where table `meter` is damaged, the seal tells which of the `known` meters a row belongs to.
    """
    _, number, t, sealed = found
    if not isinstance(number, int) or not isinstance(t, int) or number == COUNTERS:
        return None
    if number not in meters:
        owner = next((name for name in known if _is_sealed(sealed, name, t)), None)
        if owner is None:
            return None
        meters[number] = owner
    try:
        data = unseal(sealed, meters[number], t)
        row = _row(data)
        _take_layouts(db, (row.layout, row.times), layouts)
    except (*FAILURES, Corrupt, msgspec.DecodeError):
        return None
    return Packed(meters[number], t, data)


def _is_sealed(sealed: object, name: str, t: int) -> bool:
    try:
        unseal(sealed, name, t)
    except Corrupt:
        return False
    return True


def _take_layouts(db: sqlite3.Connection, refs: tuple[Ref, ...], layouts: dict[int, bytes]) -> None:
    for ref in refs:
        if isinstance(ref, int) and ref not in layouts:
            layouts[ref] = read_layout(db, ref)


def _standing_apart(
    db: sqlite3.Connection, meters: dict[int, str], layouts: dict[int, bytes]
) -> Iterator[tuple[str, str, bytes]]:
    """What stands apart (gateway.stores.apart) and can be read: table, meter, sealed data."""
    for table in apart.TABLES:
        query = f"SELECT id, meter, data FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - of TABLES
        for _, chunk in _chunks(db, query, 0, LAST_APART, lambda: False):
            for _, (_, number, sealed) in chunk:
                with suppress(*FAILURES, Corrupt, KeyError, TypeError):
                    meter = meters[number]  # type: ignore[index]
                    _take_layouts(db, apart.refs(table, sealed, meter), layouts)
                    yield table, meter, sealed  # type: ignore[misc]
