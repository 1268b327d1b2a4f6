"""What no sink gets: readings that cannot be (table quarantine), and those that a sink could not take (dead_letter).

Each table has a quota of its own, so that neither ever pushes out readings; the oldest rows give way. How many there
ever were is counted elsewhere: in the tallies, and at each cursor.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from gateway.item_p import ItemP
from gateway.stores.cursors import DeadLetter
from gateway.stores.groups import Packed
from gateway.stores.reader import Layouts
from gateway.stores.rows import Corrupt, Ref, Row, seal, unpack, unseal

TABLES = ("quarantine", "dead_letter")
#: octets of each table, and the share of the journal that is at most
OCTETS, SHARE = 1024 * 1024, 16
#: what a row costs in the file beside its octets
ROW_OVERHEAD = 24
#: characters of a reason
REASON = 200


class _Quarantined(msgspec.Struct, array_like=True, frozen=True):
    t: int
    reason: str
    #: as rows.pack made it
    reading: bytes


class _Letter(msgspec.Struct, array_like=True, frozen=True):
    sink: str
    entry: int
    t: int
    reason: str
    #: when it was committed, s since 1970
    at: int


_encode = msgspec.msgpack.Encoder().encode
_decode_quarantined = msgspec.msgpack.Decoder(_Quarantined).decode
_decode_letter = msgspec.msgpack.Decoder(_Letter).decode
_decode_row = msgspec.msgpack.Decoder(Row).decode


def encode_quarantined(row: Packed) -> bytes:
    """Pack and seal a reading with the reason why it cannot be."""
    return seal(_encode(_Quarantined(row.t, (row.reason or "")[:REASON], row.data)), "quarantine", row.meter)


def encode_letter(letter: DeadLetter, at: float) -> bytes:
    """Pack and seal a dead letter."""
    packed = _Letter(letter.sink, letter.entry, letter.t, letter.reason, int(at))
    return seal(_encode(packed), "dead_letter", letter.meter)


def read_quarantine(db: sqlite3.Connection, meters: Mapping[int, str]) -> Iterator[tuple[ItemP, str]]:
    """Readings that cannot be, oldest first, each with its reason; damaged rows are left out. Raises FAILURES."""
    layouts = Layouts(db)
    for number, sealed in db.execute("SELECT meter, data FROM quarantine ORDER BY id"):
        try:
            row = _decode_quarantined(unseal(sealed, "quarantine", meters[number]))
            yield unpack(row.reading, meters[number], layouts), row.reason
        except (Corrupt, KeyError, msgspec.DecodeError):
            continue


def read_letters(db: sqlite3.Connection, meters: Mapping[int, str]) -> Iterator[tuple[DeadLetter, datetime]]:
    """Dead letters, oldest first, each with the time of its commit; damaged rows are left out. Raises FAILURES."""
    for number, sealed in db.execute("SELECT meter, data FROM dead_letter ORDER BY id"):
        try:
            row = _decode_letter(unseal(sealed, "dead_letter", meters[number]))
        except (Corrupt, KeyError, msgspec.DecodeError):
            continue
        yield (
            DeadLetter(row.sink, row.entry, meters[number], row.t, row.reason),
            datetime.fromtimestamp(row.at, UTC),
        )


def refs(table: str, sealed: bytes, meter: str) -> tuple[Ref, ...]:
    """Layouts that a row refers to. Raises Corrupt where it is not what was written."""
    data = unseal(sealed, table, meter)
    if table != "quarantine":
        return ()
    try:
        row = _decode_row(_decode_quarantined(data).reading)
    except msgspec.DecodeError as error:
        raise Corrupt("a row of the quarantine is damaged") from error
    return row.layout, row.times


class Apart:
    """One of the tables, within its quota. Used inside a transaction."""

    def __init__(self, db: sqlite3.Connection, table: str, octets: int) -> None:
        """`octets`: the quota. Raises FAILURES."""
        self._db, self._table, self._quota = db, table, octets
        measured = f"SELECT coalesce(sum(length(data)), 0) + count(*) * {ROW_OVERHEAD} FROM {table}"  # noqa: S608
        self.octets: int = db.execute(measured).fetchone()[0]

    def add(self, meter: int, data: bytes) -> None:
        """Put a sealed row behind the others; the oldest give way where it does not fit."""
        self._db.execute(f"INSERT INTO {self._table} VALUES (NULL, ?, ?)", (meter, data))  # noqa: S608 - of TABLES
        self.octets += len(data) + ROW_OVERHEAD
        while self.octets > self._quota:
            found = self._db.execute(f"SELECT id, length(data) FROM {self._table} ORDER BY id LIMIT 1").fetchone()  # noqa: S608
            if found is None:
                self.octets = 0
                return
            self._db.execute(f"DELETE FROM {self._table} WHERE id = ?", found[:1])  # noqa: S608
            self.octets -= found[1] + ROW_OVERHEAD
