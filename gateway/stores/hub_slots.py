"""What is known of slots: which revision was staged last, what came of it, and what is wanted anew."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.hub_model import FINAL, Slot, State
from gateway.intervals.model import Direction
from gateway.stores import hub_rows as rows
from gateway.stores.hub_queries import MESSAGE, HubQueries, part_of
from gateway.stores.hub_rows import SlotData, SlotRow
from gateway.stores.rows import Corrupt

#: row of `meta`: messages of periods that begin before it (UTC s) were lost with a damaged ledger
LOST = 7
#: what the notes call that the lost messages of a hub were dealt with: "open", or "retried"
LOST_NOTE: Final = "lost"
#: revisions of a slot whose content is unknown go on behind it: it is above all that were lost
LOST_REVISION: Final = 100


class HubSlots(HubQueries):
    """Slots in an open ledger."""

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

    def has_slots(self, hub: str) -> bool:
        """Whether readings were ever staged for a hub."""
        ends = f"{hub}\n", f"{hub}\x0b"
        return bool(self._query("SELECT 1 FROM hub_slot WHERE name > ? AND name < ? LIMIT 1", ends))

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
        found = self._query(f"{MESSAGE} id = ? AND hub = ?", (part >> rows.SHIFT, hub))
        if not found:
            raise self._failed(Corrupt(f"message {part >> rows.SHIFT} is missing"))
        one = self._listed(found[0])
        if one.head.split:
            own = self._query("SELECT id, hub, name, data FROM hub_part WHERE id = ?", (part,))
            with self._reading():
                return (part_of(own[0])[2].state if own else None) or one.state
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
