"""What no sink gets: readings that cannot be (table quarantine), and those that a sink could not take (dead_letter).

Each table has a quota of its own, so that neither ever pushes out readings; the oldest rows give way. How many there
ever were is counted elsewhere: in the tallies, and at each cursor.
"""

import sqlite3

import msgspec

from gateway.stores.cursors import DeadLetter
from gateway.stores.groups import Packed
from gateway.stores.rows import Corrupt, Ref, Row, seal, unseal

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


def decode_quarantined(sealed: object, meter: str) -> tuple[bytes, str]:
    """Give back a reading as rows.pack made it, and the reason. Raises Corrupt."""
    try:
        row = _decode_quarantined(unseal(sealed, "quarantine", meter))
    except msgspec.DecodeError as error:
        raise Corrupt("a row of the quarantine is damaged") from error
    return row.reading, row.reason


def decode_letter(sealed: object, meter: str) -> DeadLetter:
    """Give back a dead letter. Raises Corrupt."""
    try:
        row = _decode_letter(unseal(sealed, "dead_letter", meter))
    except msgspec.DecodeError as error:
        raise Corrupt("a dead letter is damaged") from error
    return DeadLetter(row.sink, row.entry, meter, row.t, row.reason)


def refs(table: str, sealed: object, meter: str) -> tuple[Ref, ...]:
    """Layouts that a row refers to. Raises Corrupt where it is not what was written."""
    if table == "dead_letter":
        decode_letter(sealed, meter)
        return ()
    try:
        row = _decode_row(decode_quarantined(sealed, meter)[0])
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
