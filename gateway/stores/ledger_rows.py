"""An entry of the metrology log as a row, and the chain that holds the entries together.

An entry is JSON text, sealed with its position (rows.seal). Beside it stands SHA-256 (FIPS 180-4) over the hash of the
entry before it and the sealed octets: whoever changes, deletes or moves an entry breaks the chain at that position. The
chain begins with the identity of the ledger, and `meta` holds where it ends.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

import msgspec

from gateway.item_p import utc
from gateway.stores.rows import Corrupt, seal, unseal

#: the entry behind those that were carried over from a damaged file
SALVAGED = "ledger_salvaged"
#: what stands in the place of an entry whose content was removed, and the entry that tells of such
REMOVED, FORGOTTEN = "removed", "meter_forgotten"
MAX_BREAKS = 1_000
MAX_FACTS = 16
MAX_TEXT = 200
#: lists and mappings in a fact: gaps of a damaged file
MAX_ITEMS = 64

#: a value that a fact may have
Fact: TypeAlias = int | float | bool | str | list[Any] | dict[str, Any] | None


class Note(NamedTuple):
    """Something that happened to a meter, or to the gateway as a whole (`meter` None), at an instant in UTC."""

    event: str
    meter: str | None
    at: datetime
    facts: Mapping[str, Fact]


class Entry(NamedTuple):
    """A row of table `event` as it is in the file."""

    id: int
    data: bytes
    chain: bytes


class Break(NamedTuple):
    """Positions, from `id` to `last`, at which the log is not what was written, and why, as a sentence."""

    id: int
    last: int
    reason: str
    #: the entry that tells of it: the file was damaged, and salvaged
    explained: int | None = None


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry as it is kept."""

    t: str
    event: str
    meter: str | None
    facts: dict[str, Any]


_decode = msgspec.json.Decoder(Written).decode


def genesis(identity: bytes) -> bytes:
    """The hash before the first entry of a ledger."""
    return sha256(identity).digest()


def link(before: bytes, sealed: bytes) -> bytes:
    """The hash of an entry: SHA-256 over the hash before it and its sealed octets."""
    return sha256(before + sealed).digest()


def pack(note: Note, position: int, table: str = "event") -> bytes:
    """Seal a note for its position in a log; facts beyond the bounds are cut."""
    facts = {str(name)[:MAX_TEXT]: _bounded(value) for name, value in list(note.facts.items())[:MAX_FACTS]}
    written = Written(t=str(utc(note.at, "milliseconds")), event=note.event, meter=note.meter, facts=facts)
    return seal(msgspec.json.encode(written), table, position)


def unpack(entry: Entry, table: str = "event") -> Written:
    """Give back what was noted. Raises Corrupt."""
    try:
        return _decode(unseal(entry.data, table, entry.id))
    except msgspec.DecodeError as error:
        raise Corrupt(f"entry {entry.id} is damaged: {error}") from error


def verify(entries: Iterable[Entry], identity: bytes, end: bytes | None, table: str = "event") -> list[Break]:
    """Walk the chain from its beginning: every position, the first MAX_BREAKS, at which it is not what was written.

    `end` is where it ended when it was written last: the position (8 octets) and the hash. After a break the walk goes
    on from what stands there. What a later entry of the intact chain tells of is `explained` by it: gaps of a damaged
    file, and entries that were removed at a person's wish.
    """
    breaks: list[Break] = []
    told: dict[tuple[int, int], tuple[int, str]] = {}
    position, before, follower = 0, genesis(identity), {}
    for entry in entries:
        found, known = _judge(entry, position, before, table), _gaps(entry, table)
        if found is not None and len(breaks) < MAX_BREAKS:
            breaks.append(found)
            follower[found.id] = sha256(entry.data).hexdigest()
        elif found is None:
            told |= {gap: (entry.id, digest) for gap, digest in known.items()}
        position, before = entry.id, entry.chain
    breaks += _judge_end(position, before, end)
    return [_explained(one, told, follower.get(one.id, "")) for one in breaks]


def _judge(entry: Entry, position: int, before: bytes, table: str) -> Break | None:
    if entry.id != position + 1:
        return Break(position + 1, entry.id - 1, _missing(position + 1, entry.id - 1))
    intact = link(before, entry.data) == entry.chain
    try:
        event = unpack(entry, table).event
    except Corrupt as error:
        return Break(entry.id, entry.id, f"entry {entry.id} is not the one that was written: {error}")
    if intact:
        return None
    if event == REMOVED:
        return Break(entry.id, entry.id, f"entry {entry.id} was removed")
    return Break(entry.id, entry.id, f"entry {entry.id} is not the one that was written, or not at its place")


def _judge_end(position: int, before: bytes, end: bytes | None) -> list[Break]:
    if end is None:
        return [Break(position + 1, position + 1, "where the log ends is not known: entries may be missing")]
    last = int.from_bytes(end[:8], "big")
    if last > position:
        return [Break(position + 1, last, _missing(position + 1, last))]
    if (last, end[8:]) != (position, before):
        return [Break(position, position, f"the log does not end with entry {position} as it was written")]
    return []


def _gaps(entry: Entry, table: str) -> dict[tuple[int, int], str]:
    """What an entry tells of: first and last position, and for a gap the SHA-256 of the sealed octets that follow."""
    try:
        written = unpack(entry, table)
        missing = written.facts.get("missing", ()) if written.event == SALVAGED else ()
        removed = written.facts.get("removed", ()) if written.event == FORGOTTEN else ()
        gaps = {(first, last): digest for first, last, digest in missing}
        return gaps | {(n, n): REMOVED for first, last in removed for n in range(first, min(last, entry.id) + 1)}
    except (Corrupt, ValueError, TypeError):
        return {}


def _explained(found: Break, told: Mapping[tuple[int, int], tuple[int, str]], follower: str) -> Break:
    by, digest = told.get((found.id, found.last), (None, ""))
    if found.reason.endswith("was removed"):
        return found._replace(explained=by) if digest == REMOVED else found
    return found._replace(explained=by) if by is not None and digest in (follower, "") else found


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"


def _bounded(value: Fact) -> Fact:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 64 else str(value)[:MAX_TEXT]
    if isinstance(value, list):
        return [_bounded(one) for one in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        return {str(name)[:MAX_TEXT]: _bounded(one) for name, one in list(value.items())[:MAX_ITEMS]}
    return str(value)[:MAX_TEXT]
