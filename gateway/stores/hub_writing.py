"""Rows of messages to hubs as they are written: each with its checksum, its counts and its entry in the audit log.

Everything here happens within a transaction of the caller; what a step consists of is for the modules above.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from gateway.hub_model import Draft, Message, Slot, State
from gateway.stores import files
from gateway.stores import hub_rows as rows
from gateway.stores.hub_reading import LOST, LOST_NOTE, HubRows, Listed, as_message
from gateway.stores.hub_rows import Answered, Head, PartData, SlotData
from gateway.stores.ledger_file import LEDGER, LedgerFile
from gateway.stores.ledger_rows import Fact
from gateway.stores.rows import Corrupt, seal

#: octets of a note (an adapter's cursor) at most
MOST_NOTE: Final = 64 << 10
UPLOADER: Final = "uploader"


class HubError(Exception):
    """What was asked for cannot be done, and nothing was changed: one sentence."""


class SlotBusyError(HubError):
    """A slot has a message that is still open, or a later revision."""


class IdTakenError(HubError):
    """The id of a document or a transaction was used before."""


class GoneError(HubError):
    """The message is not there, or is final meanwhile."""


class HubWriting(HubRows):
    """What the steps of the outbox have in common. Methods raise Damaged and StorageFault, as those of LedgerFile."""

    def __init__(self, file: LedgerFile, clock: Callable[[], float] = time.time) -> None:
        super().__init__(file.db, file.path)
        self._file = file
        self._clock = clock

    def _own_lost(self, hub: str, now: int) -> None:
        """Where a damaged ledger lost messages: one open message stands for them, and waits for a person."""
        if not self._lost_possible or self.note(hub, LOST_NOTE) is not None:
            return
        number = self._next("hub_message")
        draft = Draft("readings", LOST_NOTE, f"{LOST_NOTE}-{number}", b"", "")
        said = (("damaged", "the ledger was damaged, and messages were lost: nobody knows which days the hub has"),)
        head = msgspec.structs.replace(rows.head_of(draft, sha256(b"").hexdigest(), now), reasons=said)
        self._insert(Listed(number, hub, draft.document, "unknown", rows.NEVER, head))
        self._note(hub, LOST_NOTE, f"open {number}".encode())
        self.audit.append("lost", hub, UPLOADER, now, {"message": number})

    @property
    def _lost_possible(self) -> bool:
        try:
            return self._meta(LOST) is not None
        except Corrupt:
            return True

    def _keep_answer(self, one: Listed, answer: Answered, raw: bytes) -> None:
        """Keep an entry of the history; of more than MOST the last one stands for the last ones."""
        ends = one.id << rows.SHIFT, one.id + 1 << rows.SHIFT
        found = self._query("SELECT max(id) FROM hub_answer WHERE id >= ? AND id < ?", ends)[0][0]
        row = ends[0] if found is None else min(found + 1, ends[1] - 1)
        packed = rows.pack(answer, "hub_answer", row)
        self._db.execute("INSERT OR REPLACE INTO hub_answer VALUES (?, ?)", (row, packed))
        if raw:
            self._db.execute(
                "INSERT OR REPLACE INTO hub_raw VALUES (?, ?)", (row, rows.pack_bytes(raw, "hub_raw", row))
            )
        self._audit_answer(one, answer)

    def _audit_answer(self, one: Listed, answer: Answered) -> None:
        facts: dict[str, Fact] = {
            "message": one.id,
            "document": one.document,
            "digest": one.head.digest,
            "attempt": one.head.attempts,
            "verdict": answer.verdict,
            "state": answer.state,
            "codes": [code for code, _ in answer.reasons][:16],
            "status": answer.status,
            "answer": answer.digest,
            "certificate": answer.certificate,
            "transactions": answer.transactions,
        }
        if answer.what == "cancel":
            facts["why"] = answer.reasons[0][1]
        self.audit.append(answer.what, one.hub, answer.who, answer.at, facts)

    def _want(self, hub: str, slot: Slot) -> None:
        if not slot.point.isprintable():
            return  # no point of ours is called so
        name = rows.slot_name(hub, slot)
        found = self._query("SELECT name, wanted, data FROM hub_slot WHERE name = ?", (name,))
        if found:
            wanted = None if found[0][1] is None else rows.text(found[0][1])
            data = rows.unpack(SlotData, found[0][2], "hub_slot", name, wanted)
        else:
            lost = super().slot(hub, slot)
            data = SlotData(slot.start, 0 if lost is None else lost.revision, 0, b"")
        self._put_slot(name, hub, data)

    def _put_slot(self, name: str, wanted: str | None, data: SlotData) -> None:
        packed = rows.pack(data, "hub_slot", name, wanted)
        self._db.execute(
            "INSERT INTO hub_slot (name, wanted, data) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET wanted = excluded.wanted, data = excluded.data",
            (name, wanted, packed),
        )

    def _put_part(  # noqa: PLR0913, PLR0917 - a row
        self,
        row: int,
        hub: str,
        transaction: str,
        data: PartData,
        state: State | None,
        reasons: tuple[tuple[str, str], ...],
    ) -> None:
        changed = msgspec.structs.replace(data, state=state, reasons=reasons)
        packed = rows.pack(changed, "hub_part", row, hub, transaction)
        self._db.execute("UPDATE hub_part SET data = ? WHERE id = ?", (packed, row))

    def _insert(self, one: Listed) -> None:
        packed = rows.pack(one.head, "hub_message", one.id, one.hub, one.document, one.state, one.due)
        row = one.id, one.hub, one.document, one.state, one.due, packed
        self._db.execute("INSERT INTO hub_message VALUES (?, ?, ?, ?, ?, ?)", row)
        self._add(one.hub, one.state, 1)

    def _put(self, one: Listed, head: Head, state: State, due: int | None) -> Listed:
        packed = rows.pack(head, "hub_message", one.id, one.hub, one.document, state, due)
        statement = "UPDATE hub_message SET state = ?, due = ?, data = ? WHERE id = ?"
        self._db.execute(statement, (state, due, packed, one.id))
        if state != one.state:
            self._add(one.hub, one.state, -1)
            self._add(one.hub, state, 1)
        return one._replace(head=head, state=state, due=due)

    def _add(self, hub: str, state: str, n: int) -> None:
        name = f"{hub}\n{state}"
        sealed = seal(max(0, self._count(hub, state) + n).to_bytes(8, "big"), "hub_count", name)
        self._db.execute("INSERT OR REPLACE INTO hub_count VALUES (?, ?)", (name, sealed))

    def _note(self, hub: str, key: str, value: bytes) -> None:
        if len(value) > MOST_NOTE:
            raise ValueError(f"{key}: {len(value)} octets are more than a note holds ({MOST_NOTE})")
        name = f"{hub}\n{key}"
        self._db.execute(
            "INSERT INTO hub_note (name, data) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET data = excluded.data",
            (name, seal(value, "hub_note", name)),
        )

    def _next(self, table: str) -> int:
        found = self._query(f"SELECT max(id) FROM {table}")  # noqa: S608 - names of ours
        return (found[0][0] or 0) + 1

    def _again(self, message: Message) -> Listed:
        one = self._listed_of(message)
        if one is None:
            raise GoneError(f"message {message.id} of {message.hub} is not in the ledger any more")
        return one

    def _has_body(self, number: int) -> bool:
        return bool(self._query("SELECT 1 FROM hub_body WHERE id = ?", (number,)))

    def _listed_of(self, message: Message) -> Listed | None:
        found = self._query(
            "SELECT id, hub, document, state, due, data FROM hub_message WHERE id = ? AND hub = ?",
            (message.id, message.hub),
        )
        one = self._listed(found[0]) if found else None
        return one if one is not None and one.document == message.document else None

    def _like(self, message: Message, one: Listed) -> Message:
        """The message as it is now; its octets did not change."""
        if one.head.split:
            return as_message(one, message.body, tuple(self._parts(one)))
        return as_message(one, message.body, tuple(part._replace(state=one.state) for part in message.parts))

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, Corrupt):
            return files.Damaged(f"{self.path}: {error}")
        return files.told(error, self.path, LEDGER)
