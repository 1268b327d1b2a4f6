"""Reading what went to hubs and what came back, from an open ledger; every look-up is by an index."""

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.hub_model import FINAL, Message, PartRow, State
from gateway.stores import hub_rows as rows
from gateway.stores import hub_words as words
from gateway.stores.files import FAILURES, connect_readonly
from gateway.stores.hub_changes import Change, HubChanges
from gateway.stores.hub_permissions import HubPermissions
from gateway.stores.hub_queries import MESSAGE, STATES, Listed, as_message
from gateway.stores.hub_rows import Answered, InboundData
from gateway.stores.hub_slots import LOST, LOST_NOTE, HubSlots
from gateway.stores.ledger_place import LedgerError

__all__ = [
    "LOST",
    "LOST_NOTE",
    "REQUEST_S",
    "RETIRED",
    "STATES",
    "Change",
    "HubReader",
    "HubRows",
    "Listed",
    "Received",
    "as_message",
]

#: the note of a hub that is not configured any more, and that no other one is: given up by a person
RETIRED: Final = "retired"
#: a refused request is named among what waits for a person so long (s)
REQUEST_S: Final = 7 * 86_400


class Received(NamedTuple):
    """Something that a hub had for us, as it is kept; the body is None once its time is over."""

    id: int
    hub: str
    kind: str
    name: str
    body: bytes | None
    data: InboundData


class HubRows(HubSlots, HubPermissions, HubChanges):
    """Everything of hubs that is in a ledger. Methods raise Damaged and StorageFault (a reader: LedgerError)."""

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
            for row in self._query(f"{MESSAGE} hub = ? AND state = ? ORDER BY id DESC LIMIT ?", (hub, state, limit))
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
            f"{MESSAGE} hub = ? AND state = ? AND id < ? ORDER BY id DESC LIMIT ?", (hub, state, before, page)
        ):
            listed = [self._listed(row) for row in found]
            yield from (one.id for one in listed if operation in (None, one.head.operation))
            before = listed[-1].id

    def message(self, hub: str, number: int) -> Message | None:
        """A message by its position in the outbox."""
        found = self._query(f"{MESSAGE} id = ? AND hub = ?", (number, hub))
        return self._whole(found[0]) if found else None

    def document(self, hub: str, document: str) -> Message | None:
        """The message of a document id."""
        found = self._query(f"{MESSAGE} hub = ? AND document = ?", (hub, document)) if words.is_name(document) else []
        return self._whole(found[0]) if found else None

    def transaction(self, hub: str, transaction: str) -> tuple[Message, PartRow] | None:
        """The message and the part of a transaction id."""
        if not words.is_name(transaction):
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

    def counts(self, hub: str) -> dict[State, int]:
        """How many messages are in each state."""
        return {state: self._count(hub, state) for state in STATES}

    def oldest(self, hub: str) -> int | None:
        """When the oldest open message was made, UTC s."""
        # by state, so that each is one look at the index
        statement = "SELECT min(id) FROM hub_message WHERE hub = ? AND state = ?"
        found = [self._query(statement, (hub, state))[0][0] for state in STATES if state not in FINAL]
        first = min((number for number in found if number is not None), default=None)
        return None if first is None else self._listed(self._query(f"{MESSAGE} id = ?", (first,))[0]).head.created

    def hubs(self) -> list[str]:
        """Every hub that there are messages of."""
        names: list[str] = []
        while found := self._query("SELECT min(hub) FROM hub_message WHERE hub > ?", (names[-1] if names else "",)):
            if found[0][0] is None:
                break
            with self._reading():
                names.append(rows.text(found[0][0]))
        return names

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
            f"{MESSAGE} hub = ? AND due IS NOT NULL AND due <= ? ORDER BY due, id LIMIT ?",
            (hub, rows.NEVER if due is None else due, limit),
        )

    def _inbound_body(self, number: int) -> bytes | None:
        found = self._query("SELECT data FROM hub_inbound_body WHERE id = ?", (number,))
        with self._reading():
            return rows.unpack_bytes(found[0][0], "hub_inbound_body", number) if found else None


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
