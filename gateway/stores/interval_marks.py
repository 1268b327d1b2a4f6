"""From where on a consumer is owed the versions of a meter's intervals: a row for each in `interval_position`.

The clock may go back: then a version is made with a time before the mark. So that it is not taken for one that is
confirmed, the transaction that stores a version lowers the marks of its meter to its time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec

from gateway.intervals.owed import Mark
from gateway.stores.files import FAILURES
from gateway.stores.rows import Corrupt, seal, unseal

_TABLE: Final = "interval_position"
_READ: Final = "SELECT store, data FROM interval_position WHERE store GLOB '*:' || ?"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Mark).decode


def read(db: sqlite3.Connection, consumer: str, meter: str) -> Mark | None:
    """The mark of a consumer and a meter; None where there is none that can be read. Raises FAILURES."""
    name = f"{consumer}:{meter}"
    return dict(_marks(db, meter)).get(name)


def write(db: sqlite3.Connection, consumer: str, meter: str, mark: Mark) -> None:
    """Store a mark, within a transaction. Raises FAILURES."""
    _put(db, f"{consumer}:{meter}", mark)


def lower(db: sqlite3.Connection, meter: str, mark: Mark) -> None:
    """Lower the marks of a meter that are beyond this one, within a transaction. Raises FAILURES."""
    for name, known in list(_marks(db, meter)):
        if known > mark:
            _put(db, name, mark)


def forget(db: sqlite3.Connection, meter: str) -> None:
    """Remove the marks of a meter, within a transaction. Raises FAILURES."""
    db.execute("DELETE FROM interval_position WHERE store GLOB '*:' || ?", (meter,))


def carry_over(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy every mark that can be read, within a transaction of the target. Raises FAILURES of the target."""
    marks: list[tuple[str, Mark]] = []
    with suppress(*FAILURES):
        marks += _marks(source, "*")
    for name, mark in marks:
        _put(target, name, mark)


def _marks(db: sqlite3.Connection, meter: str) -> Iterator[tuple[str, Mark]]:
    for octets, data in db.execute(_READ, (meter,)).fetchall():
        with suppress(Corrupt, UnicodeDecodeError, msgspec.DecodeError):
            name = octets.decode()  # files.connect has text come as octets
            yield name, _decode(unseal(data, _TABLE, name))


def _put(db: sqlite3.Connection, name: str, mark: Mark) -> None:
    sealed = seal(_encode(mark), _TABLE, name)
    db.execute("INSERT OR REPLACE INTO interval_position VALUES (?, ?)", (name, sealed))
