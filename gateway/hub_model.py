"""What the uploader, its stores and its adapters say to each other: parts, messages, receipts; values only, no I/O.

A *part* is one series over one period (a local day, a gas day), whole, in one revision. A *message* carries parts, or a
request, in exact bytes under ids that were fixed before the first attempt. A *slot* is what a hub keeps one value of:
point, direction, kind and resolution over one period; its revisions go there one after the other.

States of a message: `new` (stored, never tried), `sending` (an attempt has begun), `unknown` (an attempt ended and
nobody knows what came of it), `accepted` (the hub has it and has not judged it), and the final ones: `confirmed`,
`rejected` (the hub said no, with reasons; a person or newer data goes on), `dead` (given up: cancelled, permission
withdrawn, too old). docs/hubs/README.md draws them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from gateway.intervals.model import Direction, Kind, Resolution, Series

State: TypeAlias = Literal["new", "sending", "unknown", "accepted", "confirmed", "rejected", "dead"]
FINAL: Final[frozenset[State]] = frozenset(("confirmed", "rejected", "dead"))
#: readings: item E; request: something is asked of the hub, and its answer comes later
MessageKind: TypeAlias = Literal["readings", "request"]
#: how a message leaves: by the adapter itself, or by a person (export to files, upload in a portal)
Way: TypeAlias = Literal["auto", "manual"]

#: what one attempt, query or answer says of a message (or of some of its parts)
#: confirmed: stored there for good      accepted: received, judged later      duplicate: was received earlier
#: rejected: judged and refused          busy: surely not processed, try again  blocked: surely not processed, and no
#: retry helps before a person acts      unknown: nobody knows                  pending: nothing new
Verdict: TypeAlias = Literal["confirmed", "accepted", "duplicate", "rejected", "busy", "blocked", "unknown", "pending"]


class Slot(NamedTuple):
    """What a hub keeps one value of per interval."""

    #: identification of the metering point
    point: str
    direction: Direction
    kind: Kind
    resolution: Resolution
    #: first second of the period, UTC
    start: int


class Reason(NamedTuple):
    """Why: the hub's own code (or one of ours, in lower case) and its words, cut to what a log can hold."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A slot's content that is to be sent: `series` holds every interval of start <= t < end, without a gap."""

    slot: Slot
    end: int
    #: 1 is the first content of the slot at this hub, and each other content has the next one
    revision: int
    #: id of the transaction, at most 36 characters, unlike every other one
    transaction: str
    series: Series


class PartRow(NamedTuple):
    """A part as it is kept with its message."""

    slot: Slot
    end: int
    revision: int
    transaction: str
    #: SHA-256 over what the hub gets to know: bounds, quantities and statuses (gateway.hub_content)
    content: bytes
    #: permission or legal basis under which it leaves: "config" or the id of a permission
    basis: str
    state: State = "new"
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as an adapter builds it (pure): exact bytes, validated by schema and business rules of the hub."""

    kind: MessageKind
    #: operation of the adapter that sends it: "send", "order", "request-sums" ...
    operation: str
    #: id of the document, at most 36 characters
    document: str
    body: bytes
    content_type: str
    parts: tuple[PartRow, ...] = ()
    #: what a request asks, and what else the adapter needs to know of it later; JSON values
    about: Mapping[str, object] = field(default_factory=dict)
    way: Way = "auto"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is stored."""

    #: position in the outbox: rises in the order in which messages were made
    id: int
    hub: str
    kind: MessageKind
    operation: str
    document: str
    body: bytes
    #: SHA-256 of the body, in hexadecimal
    digest: str
    content_type: str
    parts: tuple[PartRow, ...]
    about: Mapping[str, object]
    way: Way
    state: State
    #: UTC s: made, first attempt begun, the present state reached, to be looked at again
    created: int
    first: int | None
    since: int
    due: int
    attempts: int
    reasons: tuple[Reason, ...] = ()
    #: what the hub called it: a status id, an orderId
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one attempt or query said; the adapter never raises for anything that a hub can do."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    #: Retry-After (s), or what the adapter wants to wait
    retry_after_s: int | None = None
    reference: str | None = None
    #: transactions that this verdict is about; empty: the whole message
    transactions: frozenset[str] = frozenset()
    #: reasons of single transactions, where a hub says other ones of each; `reasons` are those of all together
    told: Mapping[str, tuple[Reason, ...]] = field(default_factory=dict)
    #: HTTP status, exact octets of the answer (bounded), serial number of our certificate
    status: int | None = None
    raw: bytes = b""
    certificate: str | None = None
    #: the hub's rules speak, not a mere status: a proxy that refuses a second try says nothing of the first one
    judged: bool = True


@dataclass(frozen=True, slots=True)
class Inbound:
    """Something that the hub had for us: an acknowledgement, a reminder, a report; processed once per `id`."""

    #: the hub's id of it: the same one comes again until it was acknowledged
    id: str
    #: "rsm-009", "rsm-018", "rsm-019", "ack", "report", "notification", "permission", "schema-drift" ...
    kind: str
    body: bytes
    content_type: str
    #: what it says of our messages: document id -> receipt; an id that we never sent is an event, and changes nothing
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    #: one line for people, and facts for the audit log (JSON values)
    text: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    #: severity of the event that it is; None: no event
    severity: Literal["info", "warning", "error"] | None = None
    #: parties, points and periods that the hub asks for again: slots that are to be sent anew, whatever was sent
    wanted: tuple[Slot, ...] = ()


class Permission(NamedTuple):
    """Item I: who may have which data of which point until when; `ended` by item J (termination) or L (revocation)."""

    id: str
    #: the eligible party, as the hub calls it
    party: str
    point: str
    #: directions and kinds that it covers
    directions: frozenset[Direction]
    kinds: frozenset[Kind]
    #: reading start and end of the data, UTC s; None: without end
    start: int
    until: int | None
    #: creation and maximum lifetime, UTC s
    created: int
    expires: int | None
    purpose: str = ""
    schedule: str = ""
    #: when and why it ended, and which item said so
    ended: int | None = None
    reason: str | None = None
    item: Literal["J", "L"] | None = None


class Event(NamedTuple):
    """Something that people are told: by notice, by MQTT, in `meterd hub status`."""

    #: a word such as "rejected", "hub_down", "late_day", "certificate_expires", "schema_drift"
    name: str
    hub: str
    severity: Literal["info", "warning", "error"]
    #: one sentence that says what, where and what to do
    text: str
    #: UTC s
    at: int
    #: what it is about: an event and its recovery share hub, name and key
    key: str = ""
    #: the trouble of the same name and key is over
    recovered: bool = False
