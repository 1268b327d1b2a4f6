"""Removing exact bytes whose time is over, some at a time; hashes, answers and the audit log stay."""

from typing import Final

from gateway.hub_model import FINAL
from gateway.stores import hub_rows as rows
from gateway.stores.hub_rows import InboundData
from gateway.stores.hub_writing import HubWriting

#: bodies of a hub that one transaction removes
PRUNED_AT_ONCE: Final = 500
#: and bodies that it looks at
LOOKED_AT: Final = 5_000
#: notes: how far bodies were looked at
PRUNED, PRUNED_INBOUND = "pruned", "pruned.inbound"


class HubPruning(HubWriting):
    """What is removed."""

    def prune(self, hub: str, raw_before: int) -> int:
        """Remove exact bytes of final messages made before a moment, of their answers and of what came in; how many.

        Hashes, answers and the audit log stay. Some at a time: 0 when nothing is left to remove.
        """
        with self._file.writing():
            return self._prune_messages(hub, raw_before) + self._prune_inbound(hub, raw_before)

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
