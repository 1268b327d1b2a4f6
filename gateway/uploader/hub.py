"""What the uploader asks of an adapter, and what it gives it: one hub, its policy, pure `build`, thin `send`.

An adapter keeps no state: everything that must outlive a crash is in the ledger (gateway.stores.hubs). It runs in the
thread of its hub, one call at a time, and never has a message in flight twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.hub_model import Draft, Inbound, Message, Part, PartRow, Receipt, Slot, Way
from gateway.hub_settings import HubSettings
from gateway.imports.record import Imported
from gateway.intervals.model import Kind, Resolution

#: octets of an answer that are read at most; what is longer is refused unread
MAX_ANSWER = 16 << 20
#: code of a Reason: what was answered is about another message than the one that was sent; people are told
FOREIGN_ANSWER = "foreign_answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hub answered: status, headers by lower-case name, body of at most the octets that were allowed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SessionError(Exception):
    """No answer: one sentence without a secret.

    `sent` says whether the hub may have got the request: then nobody knows what came of it.
    `person` says that no retry helps before a person acts (a wrong certificate, a refused secret).
    """

    def __init__(self, reason: str, *, sent: bool, person: bool = False, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.sent = sent
        self.person = person
        self.retry_after_s = retry_after_s


class Session(Protocol):
    """One connection to one hub (gateway.uploader.session): budget, deadline, bounded answers, token, certificate."""

    @property
    def certificate(self) -> str | None:
        """Serial number of the client certificate in hexadecimal, or None."""
        ...

    def request(  # noqa: PLR0913 - what HTTP has
        self,
        method: str,
        path: str,
        *,
        operation: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        token: bool = True,
        max_answer: int = MAX_ANSWER,
    ) -> Answer:
        """One request; waits for the budget of `operation` before. A 401 renews the token once and tries once more.

        `path` is joined to the hub's url. Raises SessionError; gives every answer, whatever its status.
        """
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds of a hub, whoever configures it; sources stand beside the values in its adapter."""

    #: parts and intervals that one message may hold
    max_parts: int = 1
    max_intervals: int = 150_000
    #: a part that was accepted and not rejected is confirmed after so long (s); None: only the hub's word confirms
    confirm_after_s: int | None = None
    #: an accepted message of which the hub knows nothing is sent again after so long (s): same bytes, same ids
    resend_after_s: int | None = None
    #: a request that is not answered within it is an event (s), and is given up after the second
    answer_within_s: int = 3_600
    give_up_s: int = 7 * 86_400
    #: how often the inbox is asked (s); 0: this hub has none
    inbox_s: int = 0
    #: how often an open message is asked about (s); 0: it cannot be asked
    query_s: int = 0
    #: corrections are taken so many days back
    correction_days: int = 1_095
    #: quantities that it takes
    kinds: frozenset[Kind] = frozenset(("active",))
    resolutions: frozenset[Resolution] = frozenset(("PT15M", "PT1H"))
    #: periods are gas days for gas points, local days for the others; False: this hub gets no readings of us
    takes_readings: bool = True
    #: a point is registered for one direction: feeding in has an id of its own
    one_direction: bool = False
    #: a message that went out by hand is the same message: `meterd hub export` writes it
    manual: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """What building needs beside the parts: it is pure."""

    settings: HubSettings
    #: UTC s
    now: int
    #: a new id, at most 36 characters, unlike every other one
    new_id: Callable[[], str]
    #: which of our slots the hub holds already, with the revision: for what builds on it
    basis: Mapping[str, str] = field(default_factory=dict)
    #: "manual": files for a person to carry, which may hold more than a message that is sent
    way: Way = "auto"


class BuildError(Exception):
    """The hub's schema or business rules refuse it here already: one sentence; `slots` are those that it is about."""

    def __init__(self, reason: str, slots: tuple[Slot, ...] = (), code: str = "refused_here") -> None:
        super().__init__(reason)
        self.slots = slots
        self.code = code


class Open(Protocol):
    """What an inbox may look up: our messages by document id, our transactions."""

    def document(self, document: str) -> Message | None:
        """Our message of that document id."""
        ...

    def transaction(self, transaction: str) -> tuple[Message, PartRow] | None:
        """Our message and part of that transaction id."""
        ...

    def awaiting(self, operation: str | None = None) -> Sequence[Message]:
        """Messages that wait for the hub's word, oldest first."""
        ...

    def note(self, key: str) -> bytes | None:
        """What `remember` kept under a key."""
        ...

    def remember(self, key: str, value: bytes) -> None:
        """Keep something for this hub (a cursor, a list of objects), durable with the next inbound; <= 64 KiB."""
        ...


class HubAdapter(Protocol):
    """One hub."""

    settings: HubSettings

    @property
    def policy(self) -> Policy:
        """What holds of this hub."""
        ...

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """Messages that carry the parts, each in one of them; pure. Raises BuildError: nothing leaves."""
        ...

    def send(self, session: Session, message: Message) -> Receipt:
        """One attempt: the bytes as they are stored. Never raises for what a hub can do."""
        ...

    def query(self, session: Session, message: Message) -> Receipt:
        """What the hub says of a message whose outcome is unknown, or that it accepted; `pending` when nothing new."""
        ...

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """What the hub has for us. Each is stored and acted upon when the next one is asked for: acknowledge then."""
        ...

    def requests(self) -> Mapping[str, str]:
        """What can be asked of this hub by `meterd hub request`, each with a line of what it takes."""
        ...

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """Build a request. Raises BuildError."""
        ...

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Requests that go out with the daily run: orders, statistics, lists."""
        ...


class Carried(Protocol):
    """What an adapter has beside, when `policy.manual`: files that a person takes to the portal, and brings back."""

    def file_name(self, message: Message) -> str:
        """Name of the file that `meterd hub export` writes the body of a message to."""
        ...

    def read_answer(self, data: bytes, open_: Open) -> Inbound:
        """What a file of the portal says; raises ImportFileError (gateway.imports.record) for anything else."""
        ...


class Accounts(Protocol):
    """What an adapter has beside, when the hub tells quantities of its own: `meterd hub reconcile` compares them."""

    def account(self, kind: str, body: bytes, content_type: str) -> Sequence[Imported]:
        """Quantities that an inbound of a kind holds; raises ImportFileError where it holds none."""
        ...
