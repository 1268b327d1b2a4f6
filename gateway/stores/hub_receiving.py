"""What comes from a hub by itself, and permissions: kept once, with all that follows of it in one transaction."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from zlib import compress

from gateway.hub_model import Inbound, Message, Permission, Receipt, State
from gateway.stores import hub_rows as rows
from gateway.stores import hub_words as words
from gateway.stores.hub_rows import InboundData, PermissionData
from gateway.stores.hub_settling import HubSettling
from gateway.stores.hub_writing import UPLOADER, HubError
from gateway.stores.ledger_rows import Fact


class HubReceiving(HubSettling):
    """What comes in."""

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
        name = words.name_of(inbound.id)
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
            row = PermissionData(item, permission, at, compress(body), words.printable(reason))
            self._keep_item(row, "permission_ended", who, int(self._clock()), body)
        return known is None or known.ended is None

    def _keep_inbound(self, hub: str, name: str, inbound: Inbound, now: int) -> str:
        digest = sha256(inbound.body).hexdigest()
        number = self._next("hub_inbound")
        kind = words.printable(inbound.kind, 64)
        data = InboundData(
            at=now,
            content_type=words.printable(inbound.content_type, 200),
            digest=digest,
            text=words.printable(inbound.text),
            facts=words.plain(inbound.facts),
            severity=inbound.severity,
            documents=tuple(words.printable(one, 64) for one in list(inbound.receipts)[: words.MOST_REASONS]),
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
