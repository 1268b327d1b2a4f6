"""Staging: a message gets its bytes, its ids, its parts and its slots in one transaction, before the first attempt."""

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256

from gateway.hub_model import Draft, Message, PartRow, Slot
from gateway.stores import hub_rows as rows
from gateway.stores.hub_reading import Listed, as_message
from gateway.stores.hub_rows import SlotData
from gateway.stores.hub_writing import UPLOADER, HubError, HubWriting, IdTakenError, SlotBusyError
from gateway.stores.ledger_rows import Fact


class HubStaging(HubWriting):
    """New messages."""

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


def _named(slot: Slot) -> str:
    at = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(slot.start))
    return f"{slot.point} {slot.kind} {slot.direction} {slot.resolution} from {at}"
