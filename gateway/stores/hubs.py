"""Messages to hubs in the ledger: staged with exact bytes and ids, tried, answered, final; nothing is ever sent twice.

A transaction takes together what belongs together: a message, its parts and its slots, an answer and what follows of
it, each with its entry in the audit log. After a kill -9 or a power cut all of it is there, or none.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final
from zlib import compress

import msgspec

from gateway.hub_model import FINAL, Draft, Inbound, Message, PartRow, Permission, Reason, Receipt, Slot, State
from gateway.stores import files, hub_rename
from gateway.stores import hub_rows as rows
from gateway.stores.hub_audit import RENAMED
from gateway.stores.hub_reading import LOST, LOST_NOTE, Change, HubReader, HubRows, Listed, Received, as_message
from gateway.stores.hub_rows import Answered, Head, InboundData, PartData, PermissionData, SlotData, SlotRow
from gateway.stores.ledger_file import LEDGER, LedgerFile
from gateway.stores.ledger_rows import Fact
from gateway.stores.rows import Corrupt, seal

__all__ = [
    "Change",
    "GoneError",
    "HubError",
    "HubReader",
    "HubStore",
    "IdTakenError",
    "Listed",
    "Received",
    "SlotBusyError",
    "SlotRow",
]

#: octets of a note (an adapter's cursor) at most
MOST_NOTE: Final = 64 << 10
#: bodies of a hub that one transaction removes
PRUNED_AT_ONCE: Final = 500
#: and bodies that it looks at
LOOKED_AT: Final = 5_000
#: notes: how far bodies were looked at
PRUNED, PRUNED_INBOUND = "pruned", "pruned.inbound"
UPLOADER: Final = "uploader"
#: what notes begin with that say how far the uploader came
PROGRESS: Final = "uploader."


class HubError(Exception):
    """What was asked for cannot be done, and nothing was changed: one sentence."""


class SlotBusyError(HubError):
    """A slot has a message that is still open, or a later revision."""


class IdTakenError(HubError):
    """The id of a document or a transaction was used before."""


class GoneError(HubError):
    """The message is not there, or is final meanwhile."""


class HubStore(HubRows):
    """Messages to hubs in an open ledger file, for writing and reading; used by one thread at a time.

    Methods raise Damaged and StorageFault, as those of LedgerFile, and HubError where they say so. Times are UTC s.
    """

    def __init__(self, file: LedgerFile, clock: Callable[[], float] = time.time) -> None:
        super().__init__(file.db, file.path)
        self._file = file
        self._clock = clock

    def stage(  # noqa: PLR0913 - all of it in one transaction
        self,
        hub: str,
        drafts: Sequence[Draft],
        due: int,
        *,
        who: str = UPLOADER,
        ground: str | None = None,
        notes: Mapping[str, bytes] | None = None,
    ) -> list[Message]:
        """Store messages with bytes, ids, parts and slots in one transaction, all or none; `due` at once or later.

        `ground`: the legal basis in words, for the audit log. `notes` are kept with them.
        Raises SlotBusyError for a slot with an open message or another revision than the next ones, IdTakenError for an
        id that was used before.
        """
        now = int(self._clock())
        with self._file.writing():
            self._own_lost(hub, now)
            for key, value in (notes or {}).items():
                self._note(hub, key, value)
            return [self._stage(hub, draft, due, now, who, ground) for draft in drafts]

    def begin(self, message: Message, now: int) -> Message:
        """Note that an attempt begins: durable before the first byte leaves. GoneError when it may not leave any more.

        A message in `sending` may not begin again: `recover` it first.
        """
        with self._file.writing():
            one = self._again(message)
            if one.state in FINAL or one.state == "sending":
                raise GoneError(f"message {one.id} of {one.hub} is {one.state}: it is not sent")
            if not self._has_body(one.id):
                raise GoneError(f"the bytes of message {one.id} of {one.hub} were lost: it is not sent")
            first = one.head.first if one.head.first is not None else now
            head = msgspec.structs.replace(one.head, first=first, since=now, attempts=one.head.attempts + 1)
            one = self._put(one, head, "sending", one.due)
        return self._like(message, one)

    def recover(self, hub: str, now: int) -> list[Listed]:
        """At start: nobody knows what came of an attempt that a death cut short; what was lost waits for a person.

        Those attempts, due at once; what is given is what they were before.
        """
        found = self.in_state(hub, "sending")
        with self._file.writing():
            self._own_lost(hub, now)
            for one in found:
                answer = Answered(at=now, who=UPLOADER, what="recover", state="unknown")
                self._end_attempt(one, answer)
        return found

    def settle(  # noqa: PLR0913, PLR0917 - an answer and what follows of it
        self, message: Message, receipt: Receipt, state: State, due: int, now: int, actor: str = UPLOADER
    ) -> Message:
        """Keep an answer, and put the message (or the parts that it is about) into a state, to be looked at at `due`.

        What is final opens no more. A message is final when all its parts are: rejected when one of them is.
        GoneError when there is no such message.
        """
        with self._file.writing():
            one = self._settle(self._again(message), receipt, state, due, now, actor)
        return self._like(message, one)

    def inbound(  # noqa: PLR0913 - all of it in one transaction
        self,
        hub: str,
        inbound: Inbound,
        settle: Sequence[tuple[Message, Receipt, State]],
        now: int,
        *,
        notes: Mapping[str, bytes] | None = None,
        who: str = UPLOADER,
    ) -> bool:
        """Keep what the hub had for us and what follows of it, in one transaction; False when it was kept before.

        Then nothing changes. `notes` are kept with it. Slots in `wanted` are free to be staged anew when they are not
        open. A message of `settle` that is not there is left out.
        """
        name = rows.name_of(inbound.id)
        with self._file.writing():
            if self._query("SELECT 1 FROM hub_inbound WHERE hub = ? AND name = ?", (hub, name)):
                return False
            digest = self._keep_inbound(hub, name, inbound, now)
            facts: dict[str, Fact] = {"inbound": name, "kind": inbound.kind, "digest": digest}
            self.audit.append("received", hub, who, now, facts | {"messages": len(settle)})
            for message, receipt, state in settle:
                one = self._listed_of(message)
                if one is not None:
                    self._settle(one, receipt, state, one.due or now, now, who)
            for slot in inbound.wanted:
                self._want(hub, slot)
            for key, value in (notes or {}).items():
                self._note(hub, key, value)
        return True

    def hand_over(self, message: Message, who: str, now: int) -> Message:
        """Note that a person carries a message from now on: an attempt by hand, whose outcome a file tells.

        The uploader leaves it alone. GoneError when it may not leave any more.
        """
        begun = self.begin(message, now)
        said = Receipt("unknown", (Reason("by_hand", "a person takes it to the portal, and imports its answer"),))
        return self.settle(begun, said, "unknown", rows.NEVER, now, who)

    def cancel(self, message: Message, who: str, why: str, now: int) -> Message:
        """Give a message up at the word of a person. GoneError when it is final already; HubError of what was lost."""
        with self._file.writing():
            one = self._give_up(message, who, why, now)
        return self._like(message, one)

    def withdraw(self, message: Message, why: str, now: int, wanted: Sequence[Slot] = ()) -> Message:
        """Give a message up because its permission ended, or it is too old; as `cancel`, by the uploader itself.

        `wanted`: of its slots those that are to be sent anew, in the same transaction.
        """
        with self._file.writing():
            one = self._give_up(message, UPLOADER, why, now)
            for slot in wanted:
                self._want(message.hub, slot)
            if wanted:
                self.audit.append("wanted", message.hub, UPLOADER, now, {"message": message.id, "slots": len(wanted)})
        return self._like(message, one)

    def retry(self, message: Message, who: str, now: int) -> Message:
        """An open message is due now; the content of a rejected or dead one is wanted anew, in a new document.

        HubError for a confirmed one, for a request that is over (it is made anew), and for one in mid-attempt.
        """
        with self._file.writing():
            one = self._again(message)
            state, due = self._retry(one, now)
            one = self._act(one, Answered(at=now, who=who, what="retry", state=state), due)
        return self._like(message, one)

    def rename(self, before: str, name: str, who: str, now: int) -> int:
        """Carry a hub over to another name, all of it; how many messages. No uploader may serve either meanwhile.

        HubError where there is nothing under the old name, or something under the new one.
        """
        known = self.hubs()
        if before not in known:
            raise HubError(f"there are no messages of a hub {before}: there are those of {', '.join(known) or 'none'}")
        if name in known:
            raise HubError(f"hub {name} has messages of its own: what went under both names cannot be told apart")
        with self._file.writing():
            messages = hub_rename.rename(self._db, before, name)
            self.audit.append(RENAMED, name, who, now, {"before": before, "messages": messages})
        return messages

    def want(self, hub: str, slots: Sequence[Slot], who: str, now: int) -> None:
        """Have slots sent anew whatever was sent: `wanted` has them until they are staged."""
        with self._file.writing():
            for slot in slots:
                self._want(hub, slot)
            self.audit.append("wanted", hub, who, now, {"slots": len(slots)})

    def remember(self, hub: str, key: str, value: bytes) -> None:
        """Keep something for a hub (a cursor, a watermark); at most MOST_NOTE octets. ValueError for more."""
        with self._file.writing():
            self._note(hub, key, value)

    def say(self, what: str, hub: str | None, who: str, now: int, facts: Mapping[str, Fact]) -> None:
        """Put an entry into the audit log that belongs to no message: a run, new credentials, a manual action."""
        with self._file.writing():
            self.audit.append(what, hub, who, now, facts)

    def permit(self, permission: Permission, item: bytes, now: int, who: str = UPLOADER) -> bool:
        """Keep item I with its octets, for ever; False when it was kept before.

        HubError when another permission of this id was kept, or it ended: an id is one permission.
        """
        known = self.permission(permission.id)
        if known is not None:
            if known._replace(ended=None, reason=None, item=None) != permission:
                raise HubError(f"permission {permission.id} was received before, and said something else")
            return False
        with self._file.writing():
            row = PermissionData("I", permission.id, permission.created, compress(item), says=permission)
            self._keep_item(row, "permission", who, now, item)
        return True

    def end_permission(  # noqa: PLR0913, PLR0917 - what item J or L says
        self, permission: str, item: str, body: bytes, at: int, reason: str, who: str = UPLOADER
    ) -> bool:
        """Keep item J (termination) or L (revocation) with its octets: nothing leaves under that permission any more.

        False when it ended before (another item is kept all the same). A permission that is not known is kept as ended.
        """
        if item not in ("J", "L"):
            raise ValueError(item)
        if any((kept, octets) == (item, body) for kept, _, octets in self.permission_items(permission)):
            return False
        known = self.permission(permission)
        with self._file.writing():
            row = PermissionData(item, permission, at, compress(body), rows.printable(reason))
            self._keep_item(row, "permission_ended", who, int(self._clock()), body)
        return known is None or known.ended is None

    def prune(self, hub: str, raw_before: int) -> int:
        """Remove exact bytes of final messages made before a moment, of their answers and of what came in; how many.

        Hashes, answers and the audit log stay. Some at a time: 0 when nothing is left to remove.
        """
        with self._file.writing():
            return self._prune_messages(hub, raw_before) + self._prune_inbound(hub, raw_before)

    def slot(self, hub: str, slot: Slot) -> SlotRow | None:
        """What is known of a slot; None where nothing was ever staged in it, and the hub did not ask for it."""
        found = super().slot(hub, slot)
        if found is not None and not found.last:
            with self._file.writing():
                self._own_lost(hub, int(self._clock()))
            return super().slot(hub, slot)
        return found

    def _stage(  # noqa: PLR0913, PLR0917 - as `stage`
        self, hub: str, draft: Draft, due: int, now: int, who: str, ground: str | None
    ) -> Message:
        if not draft.document or self._query(
            "SELECT 1 FROM hub_message WHERE hub = ? AND document = ?", (hub, draft.document)
        ):
            raise IdTakenError(f"document {draft.document!r} of {hub} was used before")
        if len(draft.parts) >= rows.MOST:
            raise HubError(f"document {draft.document} has {len(draft.parts)} parts: at most {rows.MOST - 1}")
        number = self._next("hub_message")
        digest = sha256(draft.body).hexdigest()
        one = Listed(number, hub, draft.document, "new", due, rows.head_of(draft, digest, now))
        self._insert(one)
        self._db.execute(
            "INSERT INTO hub_body VALUES (?, ?)", (number, rows.pack_bytes(draft.body, "hub_body", number))
        )
        for position, part in enumerate(draft.parts):
            self._stage_part(hub, number << rows.SHIFT | position, part)
        facts: dict[str, Fact] = {
            "message": number,
            "document": draft.document,
            "operation": draft.operation,
            "way": draft.way,
            "digest": digest,
            "octets": len(draft.body),
            "parts": len(draft.parts),
            "basis": sorted({part.basis for part in draft.parts})[:16],
            "ground": ground,
        }
        self.audit.append("staged", hub, who, now, facts)
        return as_message(one, draft.body, draft.parts)

    def _stage_part(self, hub: str, row: int, part: PartRow) -> None:
        if self._query("SELECT 1 FROM hub_part WHERE hub = ? AND name = ?", (hub, part.transaction)):
            raise IdTakenError(f"transaction {part.transaction!r} of {hub} was used before")
        known = super().slot(hub, part.slot)
        if known is not None and known.message is not None:
            raise SlotBusyError(f"{_named(part.slot)} has an open message at {hub}: {known.message}")
        revision = 0 if known is None else known.revision
        if part.revision <= revision:
            raise SlotBusyError(f"{_named(part.slot)} is at revision {revision} at {hub}: {part.revision} is not above")
        packed = rows.pack(rows.part_data(part), "hub_part", row, hub, part.transaction)
        self._db.execute("INSERT INTO hub_part VALUES (?, ?, ?, ?)", (row, hub, part.transaction, packed))
        confirmed = None if known is None else known.confirmed
        refused = known is not None and (known.state == "rejected" or (known.refused and known.state != "confirmed"))
        data = SlotData(part.end, part.revision, row, part.content, confirmed, refused)
        self._put_slot(rows.slot_name(hub, part.slot), None, data)

    def _settle(  # noqa: PLR0913, PLR0917 - as `settle`
        self, one: Listed, receipt: Receipt, state: State, due: int, now: int, who: str
    ) -> Listed:
        split = one.head.split or bool(receipt.transactions)
        if receipt.transactions:
            new = self._settle_parts(one, receipt, state)
        else:
            new = self._settle_rest(one, state) if split else rows.after(one.state, state)
        if receipt.verdict == "pending" and new == one.state:
            return self._put(one, _in_time(one.head, now), new, None if new in FINAL else due)
        digest = sha256(receipt.raw).hexdigest() if receipt.raw else None
        answer = rows.answered(receipt, now, who, new, digest)
        self._keep_answer(one, answer, receipt.raw)
        changed = new != one.state
        head = msgspec.structs.replace(
            one.head,
            split=split,
            since=now if changed else one.head.since,
            reasons=answer.reasons if answer.reasons or changed else one.head.reasons,
            reference=answer.reference or one.head.reference,
        )
        return self._put(one, head, new, None if new in FINAL else due)

    def _settle_parts(self, one: Listed, receipt: Receipt, state: State) -> State:
        """Put the parts that an answer names into a state; what follows for the message."""
        states = []
        for row, transaction, data in self._part_rows(one.id):
            # once its message is final, each part keeps the end that it had
            own = data.state or (one.state if one.state in FINAL else None)
            reasons = data.reasons
            if transaction in receipt.transactions:
                own = rows.after(own or one.state, state)
                reasons = rows.kept(receipt.told.get(transaction) or receipt.reasons) or reasons
            if own != data.state or reasons != data.reasons:
                self._put_part(row, one.hub, transaction, data, own, reasons)
            states.append(own or one.state)
        # an attempt that says something of some parts ended, and says nothing of the others
        otherwise: State = "unknown" if one.state == "sending" else one.state
        return rows.of_parts(states, otherwise) if states else otherwise

    def _settle_rest(self, one: Listed, state: State) -> State:
        """Put all parts that are not final into a state; what follows for the message."""
        states: list[State] = []
        for row, transaction, data in self._part_rows(one.id):
            judged = data.state is not None and data.state in FINAL and state != "rejected"
            own = data.state if judged and data.state else rows.after(data.state or one.state, state)
            states.append(own)
            # what is not judged goes with its message
            apart = own if own in FINAL else None
            if apart != data.state:
                self._put_part(row, one.hub, transaction, data, apart, data.reasons)
        return rows.of_parts(states, state)

    def _give_up(self, message: Message, who: str, why: str, now: int) -> Listed:
        one = self._again(message)
        if one.head.operation == LOST_NOTE:
            raise HubError(f"message {one.id} stands for what was lost with a damaged ledger: retry it, or leave it")
        if one.state in FINAL:
            raise GoneError(f"message {one.id} of {one.hub} is {one.state} already")
        said = (("cancelled", rows.printable(why)),)
        return self._act(one, Answered(at=now, who=who, what="cancel", state="dead", reasons=said), None)

    def _retry(self, one: Listed, now: int) -> tuple[State, int | None]:
        """What becomes of a message that a person has tried again: its state, and when it is due."""
        if one.state not in FINAL and (one.head.operation == LOST_NOTE or not self._has_body(one.id)):
            self._retry_lost(one)
            return "dead", None
        if one.state == "sending":
            raise HubError(f"message {one.id} of {one.hub} is being sent: wait for the end of the attempt")
        if one.state == "confirmed":
            raise HubError(f"message {one.id} of {one.hub} is confirmed: the hub has it")
        if one.state not in FINAL and one.head.way == "manual":
            raise HubError(f"message {one.id} of {one.hub} is carried by a person: import the answer, or cancel it")
        if one.state not in FINAL:
            return one.state, now
        if not one.head.parts:
            raise HubError(f"message {one.id} of {one.hub} is a request that is over: make it anew")
        self._want_parts(one, "rejected", "dead")
        return one.state, None

    def _retry_lost(self, one: Listed) -> None:
        """Have sent anew what was lost: the parts that are known, or all that nobody knows."""
        if self.note(one.hub, LOST_NOTE) == f"open {one.id}".encode():
            self._note(one.hub, LOST_NOTE, f"retried {one.id}".encode())
            # how far the uploader came: it looks at every day again when it begins
            ends = f"{one.hub}\n{PROGRESS}", f"{one.hub}\n{PROGRESS}\x7f"
            self._db.execute("DELETE FROM hub_note WHERE name >= ? AND name < ?", ends)
        self._want_parts(one, "unknown")

    def _want_parts(self, one: Listed, *states: State) -> None:
        """Have parts sent anew that were not staged since, and are in one of the states."""
        for _, _, data in self._part_rows(one.id):
            known = super().slot(one.hub, data.slot)
            if known is not None and known.last == one.id and known.state in states:
                self._want(one.hub, data.slot)

    def _act(self, one: Listed, answer: Answered, due: int | None) -> Listed:
        """What a person did with a message: its history, its entry in the audit log, its state."""
        self._keep_answer(one, answer, b"")
        if answer.state in FINAL and one.head.split and one.state not in FINAL:
            state = self._settle_rest(one, answer.state)
        else:
            state = answer.state
        since = answer.at if state != one.state else one.head.since
        head = msgspec.structs.replace(one.head, since=since, reasons=answer.reasons or one.head.reasons)
        return self._put(one, head, state, due)

    def _end_attempt(self, one: Listed, answer: Answered) -> None:
        self._keep_answer(one, answer, b"")
        due = answer.at if one.head.way == "auto" else rows.NEVER
        self._put(one, msgspec.structs.replace(one.head, since=answer.at), "unknown", due)

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

    def _keep_inbound(self, hub: str, name: str, inbound: Inbound, now: int) -> str:
        digest = sha256(inbound.body).hexdigest()
        number = self._next("hub_inbound")
        kind = rows.printable(inbound.kind, 64)
        data = InboundData(
            at=now,
            content_type=rows.printable(inbound.content_type, 200),
            digest=digest,
            text=rows.printable(inbound.text),
            facts=rows.plain(inbound.facts),
            severity=inbound.severity,
            documents=tuple(rows.printable(one, 64) for one in list(inbound.receipts)[: rows.MOST_REASONS]),
        )
        packed = rows.pack(data, "hub_inbound", number, hub, kind, name)
        self._db.execute("INSERT INTO hub_inbound VALUES (?, ?, ?, ?, ?)", (number, hub, kind, name, packed))
        body = rows.pack_bytes(inbound.body, "hub_inbound_body", number)
        self._db.execute("INSERT INTO hub_inbound_body VALUES (?, ?)", (number, body))
        return digest

    def _keep_item(self, row: PermissionData, what: str, who: str, now: int, body: bytes) -> None:
        number = self._next("hub_permission")
        packed = rows.pack(row, "hub_permission", number)
        self._db.execute("INSERT INTO hub_permission VALUES (?, ?)", (number, packed))
        facts: dict[str, Fact] = {"permission": row.permission, "item": row.item, "digest": sha256(body).hexdigest()}
        self.audit.append(what, None, who, now, facts | {"since": row.at, "reason": row.reason})

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

    def _prune_messages(self, hub: str, before: int) -> int:
        """Look at the next bodies, all round; those of other hubs and of open messages stay."""
        removed, last = 0, self._cursor(hub, PRUNED)
        page = self._query("SELECT id FROM hub_body WHERE id > ? ORDER BY id LIMIT ?", (last, LOOKED_AT))
        for (number,) in page:
            found = self._query("SELECT id, hub, document, state, due, data FROM hub_message WHERE id = ?", (number,))
            one = self._listed(found[0]) if found else None
            if one is not None and one.head.created >= before:
                page = []
                break
            if one is not None and one.hub == hub and one.state in FINAL:
                removed += self._remove_raw(number)
            if removed == PRUNED_AT_ONCE:
                self._put_cursor(hub, PRUNED, number)
                return removed
        self._put_cursor(hub, PRUNED, page[-1][0] if len(page) == LOOKED_AT else 0)
        return removed

    def _cursor(self, hub: str, key: str) -> int:
        return int(self.note(hub, key) or b"0")

    def _put_cursor(self, hub: str, key: str, position: int) -> None:
        if position != self._cursor(hub, key):
            self._note(hub, key, b"%d" % position)

    def _remove_raw(self, number: int) -> int:
        ends = number << rows.SHIFT, number + 1 << rows.SHIFT
        self._db.execute("DELETE FROM hub_raw WHERE id >= ? AND id < ?", ends)
        return self._db.execute("DELETE FROM hub_body WHERE id = ?", (number,)).rowcount

    def _prune_inbound(self, hub: str, before: int) -> int:
        removed, last = 0, self._cursor(hub, PRUNED_INBOUND)
        statement = "SELECT id, kind, name, data FROM hub_inbound WHERE hub = ? AND id > ? ORDER BY id LIMIT ?"
        for number, kind, name, data in self._query(statement, (hub, last, PRUNED_AT_ONCE)):
            columns = hub, rows.text(kind), rows.text(name)
            if rows.unpack(InboundData, data, "hub_inbound", number, *columns).at >= before:
                break
            removed += self._db.execute("DELETE FROM hub_inbound_body WHERE id = ?", (number,)).rowcount
            last = number
        self._put_cursor(hub, PRUNED_INBOUND, last)
        return removed

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


def _in_time(head: Head, now: int) -> Head:
    """A message of a time when the clock was ahead: what is counted from its last attempt begins now."""
    if head.since <= now:
        return head
    first = None if head.first is None else min(head.first, now)
    return msgspec.structs.replace(head, since=now, first=first)


def _named(slot: Slot) -> str:
    at = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(slot.start))
    return f"{slot.point} {slot.kind} {slot.direction} {slot.resolution} from {at}"
