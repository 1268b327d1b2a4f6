"""What is in the ledger and may not have been told: a process that was killed right after it had kept it.

The audit log says what happened behind the last entry that was told of; of each message only what still holds is told.
"""

from gateway.hub_model import Reason
from gateway.stores.hubs import UPLOADER, HubStore
from gateway.uploader.delivery import Delivery
from gateway.uploader.inbox import Inbox


def tell_again(store: HubStore, hub: str, since: int, delivery: Delivery, inbox: Inbox) -> None:
    """Tell what came of entries behind `since`; what was told all the same is known to whoever is told."""
    judged: dict[int, None] = {}
    given_up: dict[int, str] = {}
    for entry in store.audit.entries(since):
        number = entry.facts.get("message")
        if entry.hub != hub or entry.who != UPLOADER:
            continue
        if entry.what == "received":
            inbox.tell_again(str(entry.facts.get("inbound")))
        elif entry.what == "answer" and isinstance(number, int):
            judged[number] = None
        elif entry.what == "cancel" and isinstance(number, int):
            given_up[number] = str(entry.facts.get("why"))
    for number in judged:
        if (message := store.message(hub, number)) is not None:
            delivery.tell_again(message)
    for number, why in given_up.items():
        message = store.message(hub, number)
        if message is not None and message.state == "dead":
            delivery.tell_given_up(message, Reason("", why))
