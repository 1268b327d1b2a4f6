"""Denmark, DataHub 3 (Energinet): RSM-012 to it, RSM-009, -017, -018 and -019 from it (docs/hubs/dk-datahub3.md).

POST answers 202 and judges later; only rejects come back, through a queue that is peeked and dequeued.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gateway.hub_model import Draft, Inbound, Message, Part, Receipt
from gateway.hub_settings import HubSettings
from gateway.uploader.answers import no_answer, retry_after_s, verdict, words
from gateway.uploader.hub import Answer, Build, BuildError, Open, Policy, Session, SessionError
from gateway.uploader.hubs import dk_build, dk_sums
from gateway.uploader.hubs.dk_answers import media, of_send
from gateway.uploader.hubs.dk_documents import STRANGE, read
from gateway.uploader.hubs.dk_reading import JSON, XML

#: operation -> path. The names in front of DataHub are those of third parties and of the sandbox, not published
PATHS: Final = {
    "send": "/v1.0/cim/notifyvalidatedmeasuredata",
    dk_sums.OPERATION: "/v1.0/cim/requestwholesalesettlement",
}
#: queues, each with its own order: rejects and reminders, sums
QUEUES: Final = ("Timeseries", "Aggregations")
#: bundles of one queue that are fetched in one visit
MOST_BUNDLES: Final = 1_000
#: times that a bundle may come again right after it was dequeued
MOST_AGAIN: Final = 3
#: peeks after one that makes no sense, before it is believed
MOST_LOOKS: Final = 3
_IDENTITY: Final = re.compile(r"[A-Za-z0-9._~-]{1,100}", re.ASCII)
POLICY: Final = Policy(
    # what DataHub itself bundles by default (opengeh-edi, BundlingOptions)
    max_parts=dk_build.MOST_PARTS,
    max_intervals=dk_build.MOST_POINTS,
    # D18: a metering point is E17 or E18, never both
    one_direction=True,
    # ours: DataHub judges within minutes and bundles for five (BundleMessagesOlderThanSeconds), and never confirms
    confirm_after_s=4 * 3_600,
    # ids are kept for ever and a re-send is told 00101, so nothing that was accepted needs a second attempt
    resend_after_s=None,
    # BRS-028: the answer comes within an hour
    answer_within_s=3_600,
    # ours: rejects and reminders do not hurry, and bundles are five minutes old
    inbox_s=300,
    # there is no call that tells the state of a message
    query_s=0,
    # E17: nothing older than 3 years, by the Danish date; no leap day counted, which is the safe side
    correction_days=3 * 365,
    kinds=frozenset(("active",)),
    # D23; P1M is of points of type D01 alone
    resolutions=frozenset(("PT15M", "PT1H")),
)


class DataHub3:
    """One party at DataHub 3."""

    policy = POLICY

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self._media = XML if settings.format == "xml" else JSON

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """RSM-012 documents; raises BuildError with DataHub's code for what it would reject."""
        return list(dk_build.drafts(parts, about))

    def send(self, session: Session, message: Message) -> Receipt:
        """POST the stored bytes once."""
        kind = {"Content-Type": message.content_type, "Accept": message.content_type}
        try:
            answer = session.request(
                "POST", PATHS[message.operation], operation=message.operation, body=message.body, headers=kind
            )
        except SessionError as error:
            return no_answer(error, session)
        return of_send(answer, session, message)

    def query(self, session: Session, message: Message) -> Receipt:
        """DataHub cannot be asked for the state of a message."""
        return Receipt("pending")

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """Bundles of both queues; each is dequeued when the next one is asked for, that is, after it was stored.

        Raises SessionError where a queue cannot be read to its end: then silence says nothing.
        """
        for queue in QUEUES:
            yield from self._queue(session, queue, open_)

    def requests(self) -> Mapping[str, str]:
        """What can be asked of DataHub."""
        return {"sums": "; ".join(f"{name}: {what}" for name, what in dk_sums.ARGUMENTS.items())}

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """The request for sums of a month (BRS-028); raises BuildError."""
        if what != "sums":
            raise BuildError(f"DataHub is asked for sums, not for {words(what, 40)}", code="arguments")
        return dk_sums.draft(arguments, about)

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Nothing is asked every day."""
        return ()

    def _queue(self, session: Session, queue: str, open_: Open) -> Iterator[Inbound]:
        last, again = "", 0
        for _ in range(MOST_BUNDLES):
            answer = self._peek(session, queue)
            if answer.status == 204:
                return
            identity = _bundle(answer, queue)
            last, again = identity, again + 1 if identity == last else 0
            if again > MOST_AGAIN:
                raise SessionError(f"queue {queue}: message {identity} comes again and again", sent=True)
            inbound = read(identity, answer.body, media(answer), self.settings, open_)
            if inbound.kind in STRANGE:
                self._look_again(session, queue, answer)
            yield inbound
            self._dequeue(session, queue, identity)
        raise SessionError(f"queue {queue}: more than {MOST_BUNDLES} bundles, the others wait", sent=True)

    def _peek(self, session: Session, queue: str) -> Answer:
        return session.request("GET", f"/v1.0/cim/{queue}", operation="peek", headers=self._formats())

    def _look_again(self, session: Session, queue: str, first: Answer) -> None:
        """Be sure that a bundle which says nothing is DataHub's own: a reject that the way garbled must not be lost.

        A peek can be repeated; raises SessionError where it does not give the same octets every time.
        """
        for _ in range(MOST_LOOKS):
            answer = self._peek(session, queue)
            if (answer.status, answer.body, answer.headers.get("messageid")) != (
                first.status,
                first.body,
                first.headers.get("messageid"),
            ):
                raise SessionError(f"queue {queue}: a bundle that could not be read came differently again", sent=True)

    def _formats(self) -> dict[str, str]:
        """The format of what is peeked: DataHub's code goes by Content-Type, others write of Accept."""
        return {"Content-Type": self._media, "Accept": self._media}

    def _dequeue(self, session: Session, queue: str, identity: str) -> None:
        """Take a bundle off the queue; 400: it is off already."""
        answer = session.request(
            "DELETE", f"/v1.0/cim/dequeue/{identity}", operation="dequeue", headers=self._formats()
        )
        if answer.status not in (200, 400):
            raise _trouble(answer, f"queue {queue}: message {identity} is not dequeued")


def adapter(settings: HubSettings) -> DataHub3:
    """The adapter of a party."""
    return DataHub3(settings)


def _bundle(answer: Answer, queue: str) -> str:
    """Id of the bundle in an answer to a peek; raises SessionError for anything that is no bundle of DataHub."""
    if answer.status != 200:
        raise _trouble(answer, f"queue {queue}")
    identity = answer.headers.get("messageid", "").strip()
    if media(answer) not in (JSON, XML) or not _IDENTITY.fullmatch(identity):
        raise SessionError(f"queue {queue}: the answer is no bundle of DataHub, or has no MessageId", sent=True)
    return identity


def _trouble(answer: Answer, where: str) -> SessionError:
    """What is wrong where a queue does not serve us."""
    person = verdict(answer.status) == "blocked"
    text = f"{where}: DataHub answers with status {answer.status}"
    return SessionError(text, sent=True, person=person, retry_after_s=retry_after_s(answer, time.time()))
