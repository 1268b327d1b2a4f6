"""What the Danish profile refuses at once (400): who sends, to whom, what, ids; every fault is reported."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.sandbox.dk_read import NOTIFY, WHOLESALE, Document, Header
from gateway.sandbox.parties import Party

#: GLN of the DataHub
HUB: Final = "5790001330552"
#: characters of an id at most
LONGEST: Final = 36
#: document -> type code, process codes, roles that may send it
ALLOWED: Final = {
    NOTIFY: ("E66", ("E23",), ("MDR",)),
    WHOLESALE: ("D21", ("D05", "D32"), ("DDQ", "DDM", "EZ")),
}


class Fault(NamedTuple):
    """One reason for a 400."""

    code: str
    message: str
    target: str


def faults(document: Document, kind: str, party: Party) -> list[Fault]:
    """Return everything that is wrong with a document, apart from ids that were used before."""
    return [*_sender(document.header, kind, party), *_head(document.header, kind), *_ids(document)]


def used(message: str, transactions: set[str], known: set[str]) -> list[Fault]:
    """Return the faults of ids that were used before: `known` messages and `transactions`."""
    found = [Fault("00101", f"Message id '{message}' is not unique", "MessageId")] if message in known else []
    repeated = sorted(transactions)[:20]
    return found + [Fault("00102", f"Transaction id '{id_}' is not unique", "TransactionId") for id_ in repeated]


def _sender(header: Header, kind: str, party: Party) -> Iterator[Fault]:
    _, _, roles = ALLOWED[kind]
    if header.sender != party.id("dk"):
        yield Fault("00002", f"Sender '{header.sender}' is not the authenticated actor", "SenderId")
    if header.sender_role not in party.roles.get("dk", ()):
        yield Fault("00001", f"The user does not have the role {header.sender_role}", "SenderRole")
    if header.sender_role not in roles:
        yield Fault("00003", f"Role {header.sender_role} is not authorised to send this document", "SenderRole")


def _head(header: Header, kind: str) -> Iterator[Fault]:
    type_, processes, _ = ALLOWED[kind]
    if header.receiver != HUB:
        yield Fault("00303", f"Receiver '{header.receiver}' is not {HUB}", "ReceiverId")
    if header.receiver_role != "DGL":
        yield Fault("00304", f"Receiver role {header.receiver_role} is not DGL", "ReceiverRole")
    if header.type != type_:
        yield Fault("00401", f"Message type {header.type} is not {type_}", "MessageType")
    if header.process not in processes:
        yield Fault("00402", f"Process type {header.process} is not {' or '.join(processes)}", "ProcessType")
    if header.sector not in (None, "23"):
        yield Fault("00403", f"Business type {header.sector} is not 23", "BusinessType")


def _ids(document: Document) -> Iterator[Fault]:
    if not document.header.id.strip():
        yield Fault("00201", "The message id is empty", "MessageId")
    if len(document.header.id) > LONGEST:
        yield Fault("00205", f"The message id is longer than {LONGEST} characters", "MessageId")
    for id_, count in Counter(document.transactions).items():
        if not id_.strip():
            yield Fault("00202", "A transaction id is empty", "TransactionId")
        elif len(id_) > LONGEST:
            yield Fault("00305", f"Transaction id '{id_[:60]}' is longer than {LONGEST} characters", "TransactionId")
        elif count > 1:
            yield Fault("00102", f"Transaction id '{id_}' comes {count} times", "TransactionId")
