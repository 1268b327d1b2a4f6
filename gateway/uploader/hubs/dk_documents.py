"""What DataHub 3 has for us: RSM-009, RSM-017, RSM-018 and RSM-019, each as an Inbound; anything else is kept and told.

Nothing here raises for what a document says. A word about a message that we never sent changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from gateway.exports.rsm012 import is_gs1
from gateway.hub_model import Inbound, Message, Reason, Receipt, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import Direction
from gateway.uploader.answers import AnswerError, words
from gateway.uploader.hub import Open
from gateway.uploader.hubs import dk_reading as cim
from gateway.uploader.hubs.dk_answer_sums import sums
from gateway.uploader.hubs.dk_reading import Document, Node
from gateway.uploader.hubs.dk_rules import MOST_ID
from gateway.uploader.hubs.dk_sums import OPERATION

#: reasons of a document and of a transaction that are kept, slots that a reminder may want, in one document
MOST_REASONS: Final = 50
MOST_WANTED: Final = 4_000
#: kinds of Inbound that hold nothing for us
STRANGE: Final = frozenset(("unreadable", "misdirected", "unknown-document"))
_DIRECTIONS: Final[tuple[Direction, ...]] = ("import", "export")
#: ENTSO-E's "message fully accepted": a reason that is no reject
_ACCEPTED: Final = "A01"


class Said(NamedTuple):
    """What a document says; the fields are those of Inbound."""

    kind: str
    text: str
    facts: Mapping[str, object]
    severity: Literal["info", "warning", "error"] | None
    receipts: Mapping[str, Receipt] = MappingProxyType({})
    wanted: tuple[Slot, ...] = ()


def read(identity: str, body: bytes, media: str, settings: HubSettings, open_: Open) -> Inbound:
    """The Inbound of a bundle."""
    try:
        document = Document(body, media)
        said = _addressed(document, settings) or _READERS.get(document.name, _unknown)(document, settings, open_)
    except AnswerError as error:
        text = f"message {identity} of DataHub cannot be read and is kept: {error}"
        said = Said("unreadable", text, {}, "error")
    return Inbound(identity, said.kind, body, media, said.receipts, said.text, said.facts, said.severity, said.wanted)


def _addressed(document: Document, settings: HubSettings) -> Said | None:
    """What is said of a document that is for somebody else; None where it is for us."""
    receiver = cim.text(document.root, "receiver_MarketParticipant.mRID")
    if not settings.party or receiver in (None, settings.party):
        return None
    text = f"{document.name} of DataHub is addressed to {words(receiver or '', 40)}, not to us: nothing changes"
    return Said("misdirected", text, {}, "error")


def _unknown(document: Document, _settings: HubSettings, _open: Open) -> Said:
    return Said(
        "unknown-document", f"DataHub sent a {document.name}, which is not read here: it is kept", {}, "warning"
    )


def _acknowledgement(document: Document, _settings: HubSettings, open_: Open) -> Said:
    """RSM-009: `received_MarketDocument.mRID` is our document, mRID of each Series our transaction."""
    root = document.root
    name = cim.text(root, "received_MarketDocument.mRID") or ""
    told = {
        _of(series, "mRID"): _reasons(series)
        for series in cim.nodes(root, "Series")
        if not _is_acceptance(cim.nodes(series, "Reason"))
    }
    whole = () if told or _is_acceptance(cim.nodes(root, "Reason")) else _reasons(root, empty=False)
    ours = open_.document(name) if name else None
    receipts, text = _rejects(name, ours, told, whole)
    facts = {"document": words(name, 60), "transactions": len(told), "reasons": _listed(told, whole)}
    return Said("rsm-009", f"RSM-009: {text}", facts, None if receipts else "warning", receipts)


def _rejects(
    name: str, ours: Message | None, told: Mapping[str, tuple[Reason, ...]], whole: tuple[Reason, ...]
) -> tuple[dict[str, Receipt], str]:
    """What an acknowledgement says of our message, and a sentence of it."""
    if ours is None:
        return (
            {},
            f"DataHub speaks of {words(name, 60) or 'a message without id'}, which was never sent: nothing changes",
        )
    if whole:
        return {name: Receipt("rejected", whole)}, f"message {name} was rejected: {_sentence(whole)}"
    sent = {part.transaction for part in ours.parts}
    known = {transaction: why for transaction, why in told.items() if transaction in sent}
    if not known:
        return {}, f"DataHub rejects nothing that was in message {name}: nothing changes"
    why = tuple(dict.fromkeys(reason for reasons in known.values() for reason in reasons))[:MOST_REASONS]
    receipt = Receipt("rejected", why, transactions=frozenset(known), told=known)
    return {
        name: receipt
    }, f"{len(known)} of {len(sent)} transactions of message {name} were rejected: {_sentence(why)}"


def _reject_of_request(document: Document, _settings: HubSettings, open_: Open) -> Said:
    """RSM-017 as a reject (type ERR, reason A02): each Series names the transaction of our request."""
    receipts: dict[str, Receipt] = {}
    why: tuple[Reason, ...] = ()
    series = cim.nodes(document.root, "Series")
    named = [cim.text(one, "originalTransactionIDReference_Series.mRID") for one in series]
    requests = requests_of(named, open_)
    for one, transaction in zip(series, named, strict=True):
        why = _reasons(one)
        if transaction in requests:
            receipts[requests[transaction]] = Receipt("rejected", why)
    facts = {
        "type": words(cim.text(document.root, "type") or "", 20),
        "reason": words(cim.text(document.root, "reason.code") or "", 20),
        "requests": list(receipts),
    }
    text = f"RSM-017: the request for sums was rejected: {_sentence(why)}"
    if not receipts:
        text = "RSM-017: DataHub rejects a request that was never sent: nothing changes"
    return Said("rsm-017", text, facts, None if receipts else "warning", receipts)


def _sums(document: Document, _settings: HubSettings, open_: Open) -> Said:
    """RSM-019: sums of a month, which answer our request and are kept for the reconciliation."""
    found = sums(document.root)
    requests = requests_of((one["transaction"] for one in found), open_)
    receipts = {request: Receipt("confirmed", (Reason("answered", "RSM-019"),)) for request in requests.values()}
    count = len(cim.nodes(document.root, "Series"))
    more = f", of which the first {len(found)} are looked at" if count > len(found) else ""
    text = f"RSM-019: {count} sums of DataHub{more}" + ("" if receipts else ", for which nobody asked")
    facts = {"requests": list(receipts), "sums": found, "count": count}
    return Said("rsm-019", text, facts, "info" if receipts else "warning", receipts)


def _reminder(document: Document, settings: HubSettings, _open: Open) -> Said:
    """RSM-018: days of points that DataHub misses; both directions of a point are wanted, as far as we have them."""
    wanted: dict[Slot, None] = {}
    asked: dict[str, None] = {}
    for series in cim.nodes(document.root, "Series"):
        at = cim.instant(cim.text(series, "request_DateAndOrTime.dateTime"))
        for point in (_of(one, "mRID") for one in cim.nodes(series, "MarketEvaluationPoint")):
            if at is None or not is_gs1(point, 18) or len(wanted) >= MOST_WANTED:
                continue
            start = cim.day(at)[0]
            asked[f"{point} {cim.local(start):%Y-%m-%d}"] = None
            wanted |= {Slot(point, direction, "active", settings.resolution, start): None for direction in _DIRECTIONS}
    days = ", ".join(list(asked)[:3]) + (f" and {len(asked) - 3} more" if len(asked) > 3 else "")
    text = f"RSM-018: DataHub misses the days {days}" if asked else "RSM-018: DataHub misses days, and names none"
    facts = {"days": list(asked)[:MOST_REASONS], "count": len(asked)}
    return Said("rsm-018", text, facts, "warning", {}, tuple(wanted))


def requests_of(transactions: Iterable[str | None], open_: Open) -> dict[str, str]:
    """Document ids of our requests for sums, by the transactions of them that are named, also after a first answer.

    The answer may come in several bundles: the first closes the request, and a note keeps its id for the others.
    """
    waiting = {message.about.get("transaction"): message.document for message in open_.awaiting(OPERATION)}
    found: dict[str, str] = {}
    for transaction in dict.fromkeys(transactions):
        if not transaction or len(transaction) > MOST_ID:
            continue
        key = f"request {transaction}"
        if (document := waiting.get(transaction)) is not None:
            open_.remember(key, document.encode())
            found[transaction] = document
        elif (kept := open_.note(key)) is not None:
            found[transaction] = kept.decode()
    return found


def _of(node: Node, name: str) -> str:
    return (cim.text(node, name) or "")[:80]


def _reasons(node: Node, *, empty: bool = True) -> tuple[Reason, ...]:
    found = [
        Reason(words(_of(reason, "code"), 40), words(cim.text(reason, "text") or ""))
        for reason in cim.nodes(node, "Reason")[:MOST_REASONS]
    ]
    return tuple(found) or ((Reason("no_reason", "DataHub gives no reason"),) if empty else ())


def _is_acceptance(reasons: Iterable[Node]) -> bool:
    codes = [_of(reason, "code") for reason in reasons]
    return bool(codes) and set(codes) == {_ACCEPTED}


def _listed(told: Mapping[str, tuple[Reason, ...]], whole: tuple[Reason, ...]) -> dict[str, list[str]]:
    """Codes by transaction, at most MOST_REASONS; the document as a whole is under ""."""
    few = {words(name, 60): [reason.code for reason in why] for name, why in list(told.items())[:MOST_REASONS]}
    return few | ({"": [reason.code for reason in whole]} if whole else {})


def _sentence(reasons: Iterable[Reason]) -> str:
    return words("; ".join(f"{reason.code} {reason.text}" for reason in reasons))


_READERS: Final[Mapping[str, Callable[[Document, HubSettings, Open], Said]]] = {
    "Acknowledgement_MarketDocument": _acknowledgement,
    "RejectRequestWholesaleSettlement_MarketDocument": _reject_of_request,
    "NotifyWholesaleServices_MarketDocument": _sums,
    "ReminderOfMissingMeasureData_MarketDocument": _reminder,
}
