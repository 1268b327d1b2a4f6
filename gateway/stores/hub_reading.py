"""Reading what went to hubs and what came back, from an open ledger; every look-up is by an index."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from gateway.hub_model import FINAL, Message, PartRow, Permission, Reason, Slot, State
from gateway.intervals.model import Direction, Resolution, SeriesKey
from gateway.stores import hub_rows as rows
from gateway.stores import interval_changes, interval_rows
from gateway.stores.files import FAILURES, connect_readonly
from gateway.stores.hub_audit import AuditLog
from gateway.stores.hub_rows import Answered, ChangeData, Head, InboundData, PartData, PermissionData, SlotData, SlotRow
from gateway.stores.ledger_file import read_meta
from gateway.stores.ledger_place import LedgerError
from gateway.stores.rows import Corrupt, unseal

STATES: Final[tuple[State, ...]] = get_args(State)
#: row of `meta`: messages of periods that begin before it (UTC s) were lost with a damaged ledger
LOST = 7
#: what the notes call that the lost messages of a hub were dealt with: "open", or "retried"
LOST_NOTE: Final = "lost"
#: the note of a hub that is not configured any more, and that no other one is: given up by a person
RETIRED: Final = "retired"
#: a refused request is named among what waits for a person so long (s)
REQUEST_S: Final = 7 * 86_400
#: revisions of a slot whose content is unknown go on behind it: it is above all that were lost
LOST_REVISION: Final = 100
_ENDS: Final[dict[str, Literal["J", "L"]]] = {"J": "J", "L": "L"}
_MESSAGE = "SELECT id, hub, document, state, due, data FROM hub_message WHERE "


class Change(NamedTuple):
    """Validated versions of a series changed: intervals with start <= their start < end (UTC s)."""

    #: position in the feed
    id: int
    key: SeriesKey
    resolution: Resolution
    start: int
    end: int


class Listed(NamedTuple):
    """A message in a list: without its body and its parts."""

    id: int
    hub: str
    document: str
    state: State
    #: None: it is final
    due: int | None
    head: Head


class Received(NamedTuple):
    """Something that a hub had for us, as it is kept; the body is None once its time is over."""

    id: int
    hub: str
    kind: str
    name: str
    body: bytes | None
    data: InboundData


class HubRows:
    """Everything of hubs that is in a ledger. Methods raise Damaged and StorageFault (a reader: LedgerError)."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        self.audit = AuditLog(db, path)
        #: rows of the items of each permission, and the last one that was looked at
        self._items_of: dict[str, list[int]] = {}
        self._items = 0

    def open(self, hub: str, due: int | None = None, limit: int = 100) -> list[Message]:
        """Open messages, those first that are due first, and of these the oldest; with `due` only what is due then.

        A message comes with its body and all its parts: choose `limit` by what the memory holds.
        """
        return [self._whole(row) for row in self._open(hub, due, limit)]

    def waiting(self, hub: str, due: int | None = None, limit: int = 100) -> list[Listed]:
        """The same, without bodies and parts."""
        return [self._listed(row) for row in self._open(hub, due, limit)]

    def in_state(self, hub: str, *states: State, limit: int = 1_000) -> list[Listed]:
        """Messages in any of the states (all of them where none is named), the newest first."""
        found = [
            self._listed(row)
            for state in states or STATES
            for row in self._query(f"{_MESSAGE} hub = ? AND state = ? ORDER BY id DESC LIMIT ?", (hub, state, limit))
        ]
        return sorted(found, key=lambda one: -one.id)[:limit]

    def parked(self, hub: str, limit: int = 10_000) -> list[int]:
        """Refused messages with something that no newer message took over, and that is not wanted anew, rising."""
        found = self.in_state(hub, "rejected", limit=limit)
        return [one.id for one in reversed(found) if self._is_parked(one)]

    def _is_parked(self, one: Listed) -> bool:
        """Whether a rejected message has something that waits for a person."""
        rejected = [data.slot for _, _, data in self._part_rows(one.id) if (data.state or one.state) == "rejected"]
        known = (self.slot(one.hub, slot) for slot in rejected)
        if not one.head.parts:
            # a request is made anew, or was of no use: nobody can settle it
            return one.head.since > time.time() - REQUEST_S
        return any(row is not None and row.last == one.id and row.content for row in known)

    def awaiting(self, hub: str, operation: str | None = None, limit: int = 1_000) -> list[Message]:
        """Messages that wait for the word of the hub (accepted, unknown), oldest first; at most the newest `limit`.

        Those of an operation are found among any number of others.
        """
        numbers = sorted((*self._numbers(hub, "accepted", operation), *self._numbers(hub, "unknown", operation)))
        return [message for one in numbers[-limit:] if (message := self.message(hub, one)) is not None]

    def _numbers(self, hub: str, state: State, operation: str | None) -> Iterator[int]:
        """Messages in a state, the newest first, by the page."""
        page, before = 500, rows.NEVER
        while found := self._query(
            f"{_MESSAGE} hub = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?", (hub, state, before, page)
        ):
            listed = [self._listed(row) for row in found]
            yield from (one.id for one in listed if operation in (None, one.head.operation))
            before = listed[-1].id

    def message(self, hub: str, number: int) -> Message | None:
        """A message by its position in the outbox."""
        found = self._query(f"{_MESSAGE} id = ? AND hub = ?", (number, hub))
        return self._whole(found[0]) if found else None

    def document(self, hub: str, document: str) -> Message | None:
        """The message of a document id."""
        found = self._query(f"{_MESSAGE} hub = ? AND document = ?", (hub, document)) if rows.is_name(document) else []
        return self._whole(found[0]) if found else None

    def transaction(self, hub: str, transaction: str) -> tuple[Message, PartRow] | None:
        """The message and the part of a transaction id."""
        if not rows.is_name(transaction):
            return None
        found = self._query("SELECT id FROM hub_part WHERE hub = ? AND name = ?", (hub, transaction))
        message = self.message(hub, found[0][0] >> rows.SHIFT) if found else None
        part = next((one for one in message.parts if one.transaction == transaction), None) if message else None
        return None if message is None or part is None else (message, part)

    def history(self, number: int) -> list[tuple[Answered, bytes | None]]:
        """What came of a message: each answer and action, with the octets of the answer as long as they are kept."""
        ends = number << rows.SHIFT, number + 1 << rows.SHIFT
        raws = dict(self._query("SELECT id, data FROM hub_raw WHERE id >= ? AND id < ?", ends))
        found = self._query("SELECT id, data FROM hub_answer WHERE id >= ? AND id < ? ORDER BY id", ends)
        history = []
        for row, data in found:
            with self._reading():
                raw = rows.unpack_bytes(raws[row], "hub_raw", row) if row in raws else None
                history.append((rows.unpack(Answered, data, "hub_answer", row), raw))
        return history

    def slot(self, hub: str, slot: Slot) -> SlotRow | None:
        """What is known of a slot; None where nothing was ever staged in it, and the hub did not ask for it."""
        name = rows.slot_name(hub, slot)
        found = self._query("SELECT name, wanted, data FROM hub_slot WHERE name = ?", (name,))
        return self._slot(found[0]) if found else self._lost_slot(hub, slot)

    def slots(
        self, hub: str, point: str, direction: Direction | None = None, since: int = 0, until: int = rows.NEVER
    ) -> Iterator[SlotRow]:
        """Slots of a point whose period begins at since <= t < until, by direction, kind, resolution and time."""
        last, end = f"{hub}\n{point}\n", f"{hub}\n{point}\x0b"
        statement = "SELECT name, wanted, data FROM hub_slot WHERE name > ? AND name < ? ORDER BY name LIMIT 500"
        while page := self._query(statement, (last, end)):
            last = rows.text(page[-1][0])
            for row in page:
                with self._reading():
                    slot = rows.slot_of(rows.text(row[0]))[1]
                if since <= slot.start < until and direction in (None, slot.direction):
                    yield self._slot(row)

    def wanted(self, hub: str, limit: int = 1_000, after: Slot | None = None) -> list[Slot]:
        """Slots that a hub or a person wants anew whatever was sent, until they are staged; those behind one of them.

        In the order of their names.
        """
        statement = (
            "SELECT name FROM hub_slot INDEXED BY hub_slot_wanted WHERE wanted = ? AND name > ? ORDER BY name LIMIT ?"
        )
        found = self._query(statement, (hub, "" if after is None else rows.slot_name(hub, after), limit))
        with self._reading():
            return [rows.slot_of(rows.text(name))[1] for (name,) in found]

    def counts(self, hub: str) -> dict[State, int]:
        """How many messages are in each state."""
        return {state: self._count(hub, state) for state in STATES}

    def oldest(self, hub: str) -> int | None:
        """When the oldest open message was made, UTC s."""
        # by state, so that each is one look at the index
        statement = "SELECT min(id) FROM hub_message WHERE hub = ? AND state = ?"
        found = [self._query(statement, (hub, state))[0][0] for state in STATES if state not in FINAL]
        first = min((number for number in found if number is not None), default=None)
        return None if first is None else self._listed(self._query(f"{_MESSAGE} id = ?", (first,))[0]).head.created

    def hubs(self) -> list[str]:
        """Every hub that there are messages of."""
        names: list[str] = []
        while found := self._query("SELECT min(hub) FROM hub_message WHERE hub > ?", (names[-1] if names else "",)):
            if found[0][0] is None:
                break
            with self._reading():
                names.append(rows.text(found[0][0]))
        return names

    def note(self, hub: str, key: str) -> bytes | None:
        """What `remember` kept under a key; None where nothing was, or nobody knows any more."""
        name = f"{hub}\n{key}"
        found = self._query("SELECT data FROM hub_note WHERE name = ?", (name,))
        with suppress(Corrupt):
            return unseal(found[0][0], "hub_note", name) if found else None
        return None

    def received(self, hub: str, kind: str | None = None, after: int = 0, limit: int = 500) -> list[Received]:
        """What the hub had for us, in its order, behind a position."""
        which, chosen = ("AND kind = ?", (kind,)) if kind is not None else ("", ())
        statement = (
            f"SELECT id, hub, kind, name, data FROM hub_inbound WHERE hub = ? {which} AND id > ? ORDER BY id LIMIT ?"  # noqa: S608
        )
        found = []
        for number, of, what, name, data in self._query(statement, (hub, *chosen, after, limit)):
            with self._reading():
                columns = rows.text(of), rows.text(what), rows.text(name)
                opened = rows.unpack(InboundData, data, "hub_inbound", number, *columns)
            found.append(Received(number, *columns, self._inbound_body(number), opened))
        return found

    def received_as(self, hub: str, name: str) -> Received | None:
        """What the hub had for us under a name."""
        statement = "SELECT id, hub, kind, name, data FROM hub_inbound WHERE hub = ? AND name = ?"
        for number, of, what, said, data in self._query(statement, (hub, name)):
            with self._reading():
                columns = rows.text(of), rows.text(what), rows.text(said)
                opened = rows.unpack(InboundData, data, "hub_inbound", number, *columns)
            return Received(number, *columns, self._inbound_body(number), opened)
        return None

    def permissions(self) -> list[Permission]:
        """Every permission that was received, with its end; one that may have ended holds no more."""
        items: dict[str, list[PermissionData]] = {}
        for number, data in self._query("SELECT id, data FROM hub_permission ORDER BY id"):
            row = self._permission_item(number, data)
            items.setdefault(row.permission, []).append(row)
        return [one for kept in items.values() if (one := _permission(kept)) is not None]

    def permission(self, name: str) -> Permission | None:
        """One of them, whoever wrote it, as it is at this moment; None where no item I of it is kept."""
        return _permission(self._permission_data(name))

    def permission_items(self, permission: str) -> list[tuple[str, int, bytes]]:
        """Items of a permission as they came: item, when (UTC s), octets."""
        with self._reading():
            return [(row.item, row.at, rows.inflate(row.body)) for row in self._permission_data(permission)]

    def _permission_data(self, name: str) -> list[PermissionData]:
        """Items of a permission, by an index in memory: rows are added, and neither changed nor removed."""
        for number, data in self._query("SELECT id, data FROM hub_permission WHERE id > ? ORDER BY id", (self._items,)):
            self._items_of.setdefault(self._permission_item(number, data).permission, []).append(number)
            self._items = number
        found = [
            (number, self._query("SELECT data FROM hub_permission WHERE id = ?", (number,)))
            for number in self._items_of.get(name, ())
        ]
        return [self._permission_item(number, row[0][0]) for number, row in found if row]

    def _permission_item(self, number: int, data: object) -> PermissionData:
        with self._reading():
            return rows.unpack(PermissionData, data, "hub_permission", number)

    def changes(self, after: int, limit: int = 1_000) -> list[Change]:
        """The feed: which validated intervals changed, behind a position that is not before `oldest_change` - 1."""
        statement = "SELECT id, data FROM interval_change WHERE id > ? ORDER BY id LIMIT ?"
        # a page may be of series alone that were forgotten
        while page := self._query(statement, (after, limit)):
            after = page[-1][0]
            if changes := list(self._changes(page)):
                return changes
        return []

    def _changes(self, page: Iterable[Sequence[Any]]) -> Iterator[Change]:
        for number, data in page:
            with self._reading():
                row = rows.unpack(ChangeData, data, "interval_change", number)
            if (key := self._key(row.series)) is not None:
                yield Change(number, key, row.resolution, row.start, row.end)

    @property
    def oldest_change(self) -> int:
        """The first position that the feed has: who stands before it less 1 missed some, and looks at everything."""
        return self._position(interval_changes.oldest)

    @property
    def last_change(self) -> int:
        """The last position of the feed; 0 where nothing ever changed."""
        return self._position(interval_changes.last)

    def _position(self, read: Callable[[sqlite3.Connection], int]) -> int:
        try:
            with self._reading():
                return read(self._db)
        except FAILURES as error:
            raise self._failed(error) from error

    def altered(self) -> Iterator[tuple[int, int]]:
        """Messages whose octets are not those that the audit log tells of: number, and position of the entry."""
        for entry in self.audit.entries():
            number = entry.facts.get("message")
            if entry.what == "staged" and isinstance(number, int):
                body = self._body(number)
                if body and sha256(body).hexdigest() != entry.facts.get("digest"):
                    yield number, entry.id

    def lost_items(self) -> Iterator[tuple[str, str, int]]:
        """Items that the audit log tells of and nobody keeps as they came: permission, item, and position of the entry.

        Not those of a permission that a damaged ledger may have lost an end of: it holds no more, and says why.
        """
        for entry in self.audit.entries():
            name, item = (str(entry.facts.get(key)) for key in ("permission", "item"))
            if entry.what not in ("permission", "permission_ended"):
                continue
            kept = self.permission_items(name)
            hashes = {sha256(octets).hexdigest() for _, _, octets in kept}
            if entry.facts.get("digest") not in hashes and all(what != "-" for what, _, _ in kept):
                yield name, item, entry.id

    def _open(self, hub: str, due: int | None, limit: int) -> list[Any]:
        return self._query(
            f"{_MESSAGE} hub = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?",
            (hub, rows.NEVER if due is None else due, limit),
        )

    def _listed(self, row: Sequence[Any]) -> Listed:
        with self._reading():
            number, hub, document, state, due, data = row
            columns = rows.text(hub), rows.text(document), rows.text(state), due
            head = rows.unpack(Head, data, "hub_message", number, *columns)
            return Listed(number, columns[0], columns[1], _state(columns[2]), due, head)

    def _whole(self, row: Sequence[Any]) -> Message:
        one = self._listed(row)
        return as_message(one, self._body(one.id), tuple(self._parts(one)))

    def _body(self, number: int) -> bytes:
        """The exact octets of a message; none once their time is over."""
        found = self._query("SELECT data FROM hub_body WHERE id = ?", (number,))
        with self._reading():
            return rows.unpack_bytes(found[0][0], "hub_body", number) if found else b""

    def _inbound_body(self, number: int) -> bytes | None:
        found = self._query("SELECT data FROM hub_inbound_body WHERE id = ?", (number,))
        with self._reading():
            return rows.unpack_bytes(found[0][0], "hub_inbound_body", number) if found else None

    def _parts(self, one: Listed) -> Iterator[PartRow]:
        for _, transaction, data in self._part_rows(one.id):
            yield rows.part_row(data, transaction, one.state)

    def _part_rows(self, number: int) -> list[tuple[int, str, PartData]]:
        """Row, transaction and content of each part of a message."""
        ends = number << rows.SHIFT, number + 1 << rows.SHIFT
        found = self._query("SELECT id, hub, name, data FROM hub_part WHERE id >= ? AND id < ? ORDER BY id", ends)
        with self._reading():
            return [_part(row) for row in found]

    def _slot(self, row: Sequence[Any]) -> SlotRow:
        with self._reading():
            name, wanted = rows.text(row[0]), None if row[1] is None else rows.text(row[1])
            data = rows.unpack(SlotData, row[2], "hub_slot", name, wanted)
            hub, slot = rows.slot_of(name)
        number = data.part >> rows.SHIFT
        state = self._state_of(hub, data.part) if data.revision else "dead"
        message = None if state in FINAL else number
        confirmed = data.revision if state == "confirmed" else data.confirmed
        content = b"" if wanted is not None else data.content
        return SlotRow(slot, data.end, data.revision, content, state, message, number, confirmed, data.refused)

    def _state_of(self, hub: str, part: int) -> State:
        """The state of a part: its own, or that of its message."""
        found = self._query(f"{_MESSAGE} id = ? AND hub = ?", (part >> rows.SHIFT, hub))
        if not found:
            raise self._failed(Corrupt(f"message {part >> rows.SHIFT} is missing"))
        one = self._listed(found[0])
        if one.head.split:
            own = self._query("SELECT id, hub, name, data FROM hub_part WHERE id = ?", (part,))
            with self._reading():
                return (_part(own[0])[2].state if own else None) or one.state
        return one.state

    def _lost_slot(self, hub: str, slot: Slot) -> SlotRow | None:
        """A slot that is not known, where messages were lost with a damaged ledger: it may have been among them."""
        with self._reading():
            lost = self._meta(LOST)
        if lost is None or slot.start >= int.from_bytes(lost, "big"):
            return None
        dealt = self.note(hub, LOST_NOTE) or b"open 0"
        number = int(dealt.split()[1])
        if dealt.startswith(b"retried"):
            return SlotRow(slot, slot.start, LOST_REVISION, b"", "dead", None, number, None)
        return SlotRow(slot, slot.start, LOST_REVISION, b"", "unknown", number, number, None)

    def _key(self, series: int) -> SeriesKey | None:
        """Which series a number is of; None where it was forgotten."""
        found = self._query("SELECT data FROM interval_series WHERE id = ?", (series,))
        with suppress(Corrupt):
            return interval_rows.unpack_series(series, found[0][0]).key if found else None
        return None

    def _count(self, hub: str, state: str) -> int:
        name = f"{hub}\n{state}"
        found = self._query("SELECT data FROM hub_count WHERE name = ?", (name,))
        with self._reading():
            return int.from_bytes(unseal(found[0][0], "hub_count", name), "big") if found else 0

    def _meta(self, row: int) -> bytes | None:
        try:
            return read_meta(self._db, row)
        except FAILURES as error:
            raise self._failed(error) from error

    def _query(self, statement: str, parameters: Iterable[int | str | bytes] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, tuple(parameters)).fetchall()
        except FAILURES as error:
            raise self._failed(error) from error

    def _reading(self) -> "_Reading":
        return _Reading(self)

    def _failed(self, error: Exception) -> Exception:
        raise NotImplementedError


class _Reading:
    """Tells a damaged row as the reader tells a damaged file."""

    def __init__(self, of: HubRows) -> None:
        self._of = of

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Corrupt):
            raise self._of._failed(error) from error  # noqa: SLF001 - its other half


class HubReader(HubRows):
    """What went to hubs, from a ledger that others write. Raises LedgerError, at construction and while reading."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LedgerError(f"there is no ledger at {path}: name it with --ledger, or the configuration with -c")
        try:
            db = connect_readonly(path)
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'hub_message'").fetchone()
        except FAILURES as error:
            raise LedgerError(f"the ledger {path} cannot be read: {error}") from error
        super().__init__(db, path)
        if there is None:
            db.close()
            raise LedgerError(f"nothing in the ledger {path} is of a hub: no uploader has run with it yet")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _failed(self, error: Exception) -> Exception:
        return LedgerError(f"the ledger {self.path} cannot be read: {error}")


def _permission(items: Sequence[PermissionData]) -> Permission | None:
    """What items of one permission say: the first item I, ended by the first of the others, whatever came before."""
    given = next((row.says for row in items if row.says is not None), None)
    end = next((row for row in items if row.says is None), None)
    if given is None or end is None:
        return given
    return given._replace(ended=end.at, reason=end.reason, item=_ENDS.get(end.item))


def _part(row: Sequence[Any]) -> tuple[int, str, PartData]:
    number, hub, name, data = row
    transaction = rows.text(name)
    return number, transaction, rows.unpack(PartData, data, "hub_part", number, rows.text(hub), transaction)


def _state(word: str) -> State:
    for state in STATES:
        if state == word:
            return state
    raise Corrupt("a state is none")


def as_message(one: Listed, body: bytes, parts: tuple[PartRow, ...]) -> Message:
    """A message with its octets and its parts."""
    head = one.head
    return Message(
        id=one.id,
        hub=one.hub,
        kind=head.kind,
        operation=head.operation,
        document=one.document,
        body=body,
        digest=head.digest,
        content_type=head.content_type,
        parts=parts,
        about=head.about,
        way=head.way,
        state=one.state,
        created=head.created,
        first=head.first,
        since=head.since,
        due=rows.NEVER if one.due is None else one.due,
        attempts=head.attempts,
        reasons=tuple(Reason(*reason) for reason in head.reasons),
        reference=head.reference,
    )
