"""Messages to hubs in the ledger: staged with exact bytes and ids, tried, answered, final; nothing is ever sent twice.

A transaction takes together what belongs together: a message, its parts and its slots, an answer and what follows of
it, each with its entry in the audit log. After a kill -9 or a power cut all of it is there, or none.
"""

from collections.abc import Mapping, Sequence

from gateway.hub_model import Slot
from gateway.stores import hub_rename
from gateway.stores.hub_acts import HubActs
from gateway.stores.hub_audit import RENAMED
from gateway.stores.hub_pruning import HubPruning
from gateway.stores.hub_reading import Change, HubReader, Listed, Received
from gateway.stores.hub_receiving import HubReceiving
from gateway.stores.hub_rows import SlotRow
from gateway.stores.hub_staging import HubStaging
from gateway.stores.hub_writing import MOST_NOTE, UPLOADER, GoneError, HubError, IdTakenError, SlotBusyError
from gateway.stores.ledger_rows import Fact

__all__ = [
    "MOST_NOTE",
    "UPLOADER",
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


class HubStore(HubStaging, HubActs, HubReceiving, HubPruning):
    """Messages to hubs in an open ledger file, for writing and reading; used by one thread at a time.

    Methods raise Damaged and StorageFault, as those of LedgerFile, and HubError where they say so. Times are UTC s.
    """

    def rename(self, before: str, name: str, who: str, now: int) -> int:
        """Carry a hub over to another name, all of it; how many messages. No uploader may serve either meanwhile.

        HubError where there is nothing under the old name, or readings or something of the hub under the new one.
        """
        known = self.hubs()
        if before not in known:
            raise HubError(f"there are no messages of a hub {before}: there are those of {', '.join(known) or 'none'}")
        if self.has_slots(name) or self.received(name, limit=1):
            raise HubError(f"hub {name} has days of its own: what went under both names cannot be told apart")
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

    def slot(self, hub: str, slot: Slot) -> SlotRow | None:
        """What is known of a slot; None where nothing was ever staged in it, and the hub did not ask for it."""
        found = super().slot(hub, slot)
        if found is not None and not found.last:
            with self._file.writing():
                self._own_lost(hub, int(self._clock()))
            return super().slot(hub, slot)
        return found
