"""A damaged journal: set the file aside, and carry over from it every row that is still what was written."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.stores.database import Database
from gateway.stores.files import chunks
from gateway.stores.groups import Packed
from gateway.stores.rows import Corrupt, Row, unseal
from gateway.stores.schema import COUNTERS, FAILURES, connect_readonly
from gateway.stores.state import State, decode_meter, read_layout

ROWS = "SELECT id, meter, t, data FROM record WHERE id > ? ORDER BY id LIMIT ?"

_row = msgspec.msgpack.Decoder(Row).decode


class Salvage:
    """The readable rows of a file that was set aside, on their way into a new one; can be interrupted and taken up."""

    def __init__(self, aside: Path) -> None:
        self.aside = aside
        #: readings carried over
        self.copied = 0
        self._last = 0

    def run(self, target: Database, state: State, stopped: Callable[[], bool]) -> None:
        """Copy rows in order until the end, or `stopped`. Raises Damaged and StorageFault of the target, only."""
        try:
            db = connect_readonly(self.aside)
        except FAILURES:
            return
        try:
            meters = dict(_meters(db))
            for last, chunk in chunks(db, ROWS, self._last, stopped):
                layouts: dict[int, bytes] = {}
                rows = [row for found in chunk if (row := _readable(db, meters, layouts, found)) is not None]
                target.adopt(rows, layouts, state)
                self.copied += len(rows)
                self._last = last
        finally:
            db.close()
            Path(f"{self.aside}-shm").unlink(missing_ok=True)


def _meters(db: sqlite3.Connection) -> Iterator[tuple[int, str]]:
    """Meters that can be read, one by one."""
    for number in range(1, 1 << 16):
        with suppress(*FAILURES, Corrupt, msgspec.DecodeError):
            found = db.execute("SELECT data FROM meter WHERE id = ?", (number,)).fetchone()
            if found is None:
                return
            yield number, decode_meter(unseal(found[0], "meter", number)).name


def _readable(
    db: sqlite3.Connection, meters: dict[int, str], layouts: dict[int, bytes], found: tuple[object, ...]
) -> Packed | None:
    """One row, with the layouts it needs, or None: damaged, of an unknown meter, or no reading."""
    _, number, t, sealed = found
    if not isinstance(number, int) or not isinstance(t, int) or number == COUNTERS or number not in meters:
        return None
    try:
        data = unseal(sealed, meters[number], t)
        row = _row(data)
        for ref in (row.layout, row.times):
            if isinstance(ref, int) and ref not in layouts:
                layouts[ref] = read_layout(db, ref)
    except (*FAILURES, Corrupt, msgspec.DecodeError):
        return None
    return Packed(meters[number], t, data)
