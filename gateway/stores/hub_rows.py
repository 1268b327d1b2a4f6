"""Messages to hubs and what belongs to them as packed rows: MessagePack arrays, sealed (rows.seal) with their columns.

Columns are what is searched by; the checksum covers them, so that none of them can change alone. A part stands at
message << 16 | its number in the message, an answer at message << 16 | its number among the answers. A part has a state
of its own only where the hub judged it apart from its message.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from gateway.hub_model import FINAL, Draft, MessageKind, PartRow, Permission, Reason, Receipt, Slot, State, Verdict, Way
from gateway.intervals.model import Direction, Kind, Resolution
from gateway.stores import hub_words as words
from gateway.stores.rows import Corrupt, seal, unseal

#: parts of a message, and answers to it, at most
SHIFT: Final = 16
MOST: Final = 1 << SHIFT
#: an open message that waits for a person: beyond every clock
NEVER: Final = 1 << 40
#: octets of a body that are unpacked at most
MOST_OCTETS: Final = 256 << 20

Row: TypeAlias = tuple[Any, ...]

_encode = msgspec.msgpack.Encoder().encode


class Head(msgspec.Struct, array_like=True, frozen=True):
    """A message without body and parts, beside its columns: hub, document, state and due (None: nothing is due)."""

    kind: MessageKind
    operation: str
    digest: str
    content_type: str
    about: dict[str, Any]
    way: Way
    #: how many parts it was made of, and whether some of them have a state of their own
    parts: int
    split: bool
    created: int
    first: int | None
    since: int
    attempts: int
    reasons: tuple[tuple[str, str], ...] = ()
    reference: str | None = None


class PartData(msgspec.Struct, array_like=True, frozen=True):
    """A part, beside its columns: hub and transaction."""

    point: str
    direction: Direction
    kind: Kind
    resolution: Resolution
    start: int
    end: int
    revision: int
    content: bytes
    basis: str
    state: State | None = None
    reasons: tuple[tuple[str, str], ...] = ()

    @property
    def slot(self) -> Slot:
        """What it is a content of."""
        return Slot(self.point, self.direction, self.kind, self.resolution, self.start)


class SlotData(msgspec.Struct, array_like=True, frozen=True):
    """A slot, beside its columns: name, and whether its content is wanted anew."""

    end: int
    #: 0: nothing was ever staged
    revision: int
    #: row of the part that was staged last
    part: int
    content: bytes
    #: the highest revision before it that was confirmed
    confirmed: int | None = None
    #: whether one before it was refused, and none was confirmed since
    refused: bool = False


class Answered(msgspec.Struct, array_like=True, frozen=True):
    """An entry in the history of a message: an answer of the hub, or what a person did."""

    #: UTC s
    at: int
    who: str
    #: "answer", "cancel", "retry" ...
    what: str
    #: the state of the message from then on
    state: State
    verdict: Verdict | None = None
    reasons: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    #: SHA-256 of the octets of the answer, in hexadecimal; None where there was none
    digest: str | None = None
    certificate: str | None = None
    reference: str | None = None
    #: transactions that it was about; 0: the whole message
    transactions: int = 0


class InboundData(msgspec.Struct, array_like=True, frozen=True):
    """Something that a hub had for us, beside its columns: its name and kind."""

    at: int
    content_type: str
    digest: str
    text: str
    facts: dict[str, Any]
    severity: str | None
    documents: tuple[str, ...] = ()


class PermissionData(msgspec.Struct, array_like=True, frozen=True):
    """Item I, J or L as it came: its octets (zlib) and, of item I, what it says."""

    #: "I", "J", "L"; "-": a damaged ledger may have lost the end of the permission
    item: str
    permission: str
    at: int
    body: bytes
    reason: str | None = None
    says: Permission | None = None


class ChangeData(msgspec.Struct, array_like=True, frozen=True):
    """Intervals of a series whose validated versions changed: start of the first, end of the last (UTC s)."""

    series: int
    resolution: Resolution
    start: int
    end: int
    #: when it was noted
    at: int


class SlotRow(NamedTuple):
    """What is known of a slot."""

    slot: Slot
    end: int
    #: revision of the content that was staged last; 0: none was, but the hub asks for it
    revision: int
    #: hash of that content; b"": whatever the content is now, it is wanted anew
    content: bytes
    state: State
    #: the message that is open with it, and the one that it was staged in last
    message: int | None
    last: int
    #: the highest revision that the hub confirmed
    confirmed: int | None
    #: whether a revision before it was refused, and none was confirmed since
    refused: bool = False


_D = TypeVar("_D", bound=msgspec.Struct)
_DECODERS: Final[dict[type[msgspec.Struct], Any]] = {
    of: msgspec.msgpack.Decoder(of).decode
    for of in (Head, PartData, SlotData, Answered, InboundData, PermissionData, ChangeData)
}


def pack(data: msgspec.Struct, table: str, *columns: int | str | None) -> bytes:
    """Seal a row with its columns."""
    return seal(_encode(data), table, *_context(columns))


def unpack(of: type[_D], sealed: object, table: str, *columns: int | str | None) -> _D:
    """Give back what was packed; raises Corrupt."""
    try:
        found: _D = _DECODERS[of](unseal(sealed, table, *_context(columns)))
    except msgspec.DecodeError as error:
        raise Corrupt(f"a row of {table} is none: {error}") from error
    return found


def pack_bytes(data: bytes, table: str, *columns: int | str) -> bytes:
    """Octets, packed and sealed."""
    return seal(zlib.compress(data, 6), table, *columns)


def unpack_bytes(sealed: object, table: str, *columns: int | str) -> bytes:
    """Octets as they were; raises Corrupt."""
    return inflate(unseal(sealed, table, *columns))


def inflate(packed: bytes) -> bytes:
    """Octets as they were, of at most MOST_OCTETS; raises Corrupt."""
    opened = zlib.decompressobj()
    try:
        data = opened.decompress(packed, MOST_OCTETS)
    except zlib.error as error:
        raise Corrupt(f"a row is damaged: {error}") from error
    if not opened.eof:
        raise Corrupt("a row is damaged: it is not whole, or too large")
    return data


def text(column: object) -> str:
    """A column of text as it comes from the file; raises Corrupt."""
    try:
        return column.decode() if isinstance(column, bytes) else str(column)
    except UnicodeDecodeError as error:
        raise Corrupt("a name is damaged") from error


def slot_name(hub: str, slot: Slot) -> str:
    """The name of a slot; names of a point stand together, by time."""
    return f"{hub}\n{slot.point}\n{slot.direction}\n{slot.kind}\n{slot.resolution}\n{slot.start:012d}"


def slot_of(name: str) -> tuple[str, Slot]:
    """Hub and slot of a name; raises Corrupt."""
    try:
        hub, point, direction, kind, resolution, start = name.split("\n")
        return hub, msgspec.convert((point, direction, kind, resolution, int(start)), Slot)
    except (ValueError, msgspec.ValidationError) as error:
        raise Corrupt("the name of a slot is damaged") from error


def head_of(draft: Draft, digest: str, now: int) -> Head:
    """A message that was never tried."""
    return Head(
        kind=draft.kind,
        operation=draft.operation,
        digest=digest,
        content_type=draft.content_type,
        about=words.plain(draft.about),
        way=draft.way,
        parts=len(draft.parts),
        split=False,
        created=now,
        first=None,
        since=now,
        attempts=0,
    )


def part_data(part: PartRow) -> PartData:
    """A part of a new message."""
    return PartData(*part.slot, end=part.end, revision=part.revision, content=part.content, basis=part.basis)


def part_row(data: PartData, transaction: str, state: State) -> PartRow:
    """A part as it is read; `state` is that of its message."""
    own = data.state or state
    reasons = tuple(Reason(*reason) for reason in data.reasons)
    return PartRow(data.slot, data.end, data.revision, transaction, data.content, data.basis, own, reasons)


def answered(receipt: Receipt, at: int, who: str, state: State, digest: str | None) -> Answered:
    """An answer for the history."""
    return Answered(
        at=at,
        who=who,
        what="answer",
        state=state,
        verdict=receipt.verdict,
        reasons=words.kept(receipt.reasons),
        status=receipt.status,
        digest=digest,
        certificate=receipt.certificate,
        reference=None if receipt.reference is None else words.printable(receipt.reference, 200),
        transactions=len(receipt.transactions),
    )


def after(old: State, new: State) -> State:
    """The state that follows when `new` is said of something that is in `old`.

    What is final opens no more: only the hub's own last word may still change which end it was.
    """
    if old not in FINAL:
        return new
    return new if new in ("confirmed", "rejected") else old


def of_parts(states: Sequence[State], otherwise: State) -> State:
    """The state of a message by those of its parts: final when all are, and then as bad as the worst of them."""
    if not all(state in FINAL for state in states):
        return otherwise
    return next(state for state in ("rejected", "dead", "confirmed") if state in states)


def count_anew(db: sqlite3.Connection) -> None:
    """Count the messages of each hub in each state, within a transaction. Raises FAILURES."""
    db.execute("DELETE FROM hub_count")
    for hub, state, n in db.execute("SELECT hub, state, count(*) FROM hub_message GROUP BY hub, state").fetchall():
        name = f"{text(hub)}\n{text(state)}"
        db.execute("INSERT INTO hub_count VALUES (?, ?)", (name, seal(n.to_bytes(8, "big"), "hub_count", name)))


def _context(columns: Iterable[int | str | None]) -> tuple[int | str, ...]:
    return tuple("" if column is None else column for column in columns)
