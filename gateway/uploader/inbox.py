"""What a hub has for us: kept and acted upon once, in one transaction, before it is acknowledged there."""

from collections.abc import Callable, Sequence
from typing import Any

from gateway.hub_model import Event, Inbound, Message, PartRow, Receipt, State
from gateway.hub_settings import HubSettings
from gateway.stores.hubs import HubError, HubStore
from gateway.uploader import permissions
from gateway.uploader.delivery import Delivery
from gateway.uploader.hub import HubAdapter, Session
from gateway.uploader.permissions import Ended, PermissionFormatError


class View:
    """What an adapter may look up (gateway.uploader.hub.Open); what it remembers goes with the next inbound."""

    def __init__(self, store: HubStore, hub: str) -> None:
        self._store = store
        self._hub = hub
        self.notes: dict[str, bytes] = {}

    def document(self, document: str) -> Message | None:
        """Our message of that document id."""
        return self._store.document(self._hub, document)

    def transaction(self, transaction: str) -> tuple[Message, PartRow] | None:
        """Our message and part of that transaction id."""
        return self._store.transaction(self._hub, transaction)

    def awaiting(self, operation: str | None = None) -> Sequence[Message]:
        """Messages that wait for the hub's word, oldest first."""
        return self._store.awaiting(self._hub, operation)

    def note(self, key: str) -> bytes | None:
        """What `remember` kept under a key."""
        return self.notes[key] if key in self.notes else self._store.note(self._hub, key)

    def remember(self, key: str, value: bytes) -> None:
        """Keep something for this hub, durable with the next inbound."""
        self.notes[key] = value

    def flush(self) -> None:
        """Keep what no inbound came for."""
        for key, value in self.notes.items():
            self._store.remember(self._hub, key, value)
        self.notes.clear()


class Inbox:
    """The inbox of one hub, in its thread."""

    def __init__(  # noqa: PLR0913 - what it works with, by name
        self,
        hub: HubSettings,
        adapter: HubAdapter,
        store: HubStore,
        delivery: Delivery,
        *,
        clock: Callable[[], float],
        tell: Callable[[Event], None],
        permitted: Callable[[bool], None],
    ) -> None:
        """`permitted` is called when a permission came (False) or ended (True)."""
        self._hub = hub
        self._adapter = adapter
        self._store = store
        self._delivery = delivery
        self._clock = clock
        self._tell = tell
        self._permitted = permitted
        #: whether the hub asked for data again
        self.asked = False

    def empty(self, session: Session, stop: Callable[[], bool]) -> None:
        """Take what there is, until there is no more or the process ends. Raises SessionError."""
        view, began = View(self._store, self._hub.name), int(self._clock())
        for inbound in self._adapter.inbox(session, view):
            self.receive(inbound, view)
            if stop():
                return
        view.flush()
        self._delivery.heard = began
        self._delivery.answered()

    def receive(self, inbound: Inbound, view: View) -> bool:
        """Keep one and do what follows of it; False when that was done before."""
        now, strangers = int(self._clock()), []
        said: list[tuple[Message, Receipt, State]] = []
        judged: list[tuple[Message, Receipt]] = []
        for document, receipt in inbound.receipts.items():
            message = view.document(document)
            if message is None:
                strangers.append(document)
            else:
                judged.append((message, receipt))
                said += self._delivery.heard_of(message, receipt)
        trouble = self._take_permission(inbound, now)
        fresh = self._store.inbound(self._hub.name, inbound, said, now, notes=dict(view.notes))
        view.notes.clear()
        if not fresh:
            return False
        self.asked = self.asked or bool(inbound.wanted)
        for message, receipt in judged:
            self._delivery.judged(message, receipt)
        self._say(inbound, strangers, trouble, now)
        return True

    def tell_again(self, name: str) -> None:
        """Tell of something that was kept under a name."""
        kept = self._store.received_as(self._hub.name, name)
        if kept is None:
            return
        data = kept.data
        severity: Any = data.severity
        inbound = Inbound(name, kept.kind, kept.body or b"", data.content_type, {}, data.text, data.facts, severity)
        strangers = [one for one in data.documents if self._store.document(self._hub.name, one) is None]
        trouble = None
        try:
            permissions.of_inbound(inbound)
        except PermissionFormatError as error:
            trouble = f"{inbound.kind} {inbound.id!r}: {error}"
        self._say(inbound, strangers, trouble, int(self._clock()))

    def _say(self, inbound: Inbound, strangers: Sequence[str], trouble: str | None, now: int) -> None:
        name = self._hub.name
        if inbound.severity is not None:
            # a trouble and its end share a key: facts say which, and that it is over
            key, over = str(inbound.facts.get("key", inbound.id)), inbound.facts.get("recovered") is True
            what = inbound.kind.replace("-", "_")
            self._tell(Event(what, name, inbound.severity, inbound.text or inbound.kind, now, key, over))
        if strangers:
            some = ", ".join(repr(one[:40]) for one in strangers[:3])
            text = f"{inbound.kind} {inbound.id!r} is about messages that were never sent from here: {some}"
            self._tell(Event("unknown_answer", name, "warning", text, now, inbound.id))
        if trouble:
            self._tell(Event("permission_refused", name, "warning", trouble, now, inbound.id))

    def _take_permission(self, inbound: Inbound, now: int) -> str | None:
        """Keep a permission, or its end; what is wrong with it, as a sentence."""
        try:
            found = permissions.of_inbound(inbound)
            if found is None:
                return None
            if isinstance(found, Ended):
                at = now if found.at is None else found.at
                self._store.end_permission(found.id, found.item, inbound.body, at, found.reason)
            else:
                self._store.permit(found, inbound.body, now)
        except (PermissionFormatError, HubError) as error:
            return f"{inbound.kind} {inbound.id!r}: {error}"
        self._permitted(isinstance(found, Ended))
        return None
