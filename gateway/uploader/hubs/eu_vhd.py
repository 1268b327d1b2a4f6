"""The common European format: ValidatedHistoricalData v1.04 by HTTPS or MQTT with mutual TLS (docs/hubs/eu-vhd.md).

A document goes out; an Acknowledgement v1.12 says what became of it: in the answer itself, or later in a queue. The
paths, and that there is such a queue, are ours: EDDIE publishes the formats, and no interface of a hub.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote

from lxml import etree

from gateway.exports import vhd
from gateway.exports.about import ExportError
from gateway.hub_content import content
from gateway.hub_model import FINAL, Draft, Inbound, Message, Part, PartRow, Reason, Receipt, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import Interval, missing
from gateway.uploader.answers import AnswerError, by_status, no_answer, receipt, unreadable, words
from gateway.uploader.hub import Answer, Build, BuildError, Open, Policy, Session, SessionError
from gateway.uploader.hubs import eu_ack, eu_rules
from gateway.uploader.schemas import SchemaError, xsd

SCHEMA: Final = "eu-eddie-cim/v1_04/vhd/ValidatedHistoricalData_Document_v1.04_annotated.xsd"
MEDIA: Final = "application/xml"
#: acknowledgements that are fetched in one visit
MOST_FETCHED: Final = 1_000
#: times that one may come again right after it was taken off
MOST_AGAIN: Final = 3
#: documents of so many days: some 1.3 MB. Ours: the schema knows no limit
MOST_PARTS: Final = 100
#: ours: a document that was taken and never acknowledged goes again, as it is
LOST_S: Final = 6 * 3_600


class EuVhd:
    """One party at a hub that speaks the common format."""

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings

    @property
    def policy(self) -> Policy:
        """What holds of such a hub."""
        return Policy(
            max_parts=MOST_PARTS,
            max_intervals=MOST_PARTS * 100,
            # the hub says what it did with each document: nothing is confirmed by silence
            confirm_after_s=None,
            resend_after_s=self.settings.confirm_after_s or LOST_S,
            # ours
            inbox_s=60,
            # an acknowledgement comes by itself, or not at all
            query_s=0,
            kinds=frozenset(("active",)),
            resolutions=frozenset(("PT15M", "PT1H")),
        )

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """Documents of as many parts as `bundle` says; raises BuildError for what schema or rules refuse."""
        most = min(MOST_PARTS, about.settings.bundle or MOST_PARTS)
        return [_draft(parts[at : at + most], about) for at in range(0, len(parts), most)]

    def send(self, session: Session, message: Message) -> Receipt:
        """POST the stored octets once; the answer is the acknowledgement, or says that one will come."""
        try:
            answer = session.request(
                "POST", "/vhd", operation="send", body=message.body, headers={"Content-Type": MEDIA, "Accept": MEDIA}
            )
        except SessionError as error:
            return no_answer(error, session)
        return _of_send(answer, session, message)

    def query(self, session: Session, message: Message) -> Receipt:
        """The hub cannot be asked: its acknowledgement comes, or the same document goes again."""
        return Receipt("pending")

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """Acknowledgements that wait, each taken off the queue when the next one is asked for: after it was stored.

        Raises SessionError where the queue cannot be read to its end.
        """
        last, again = "", 0
        for _ in range(MOST_FETCHED):
            answer = session.request("GET", "/ack", operation="peek", headers={"Accept": MEDIA})
            if answer.status in (204, 404):
                return
            if answer.status != 200:
                raise SessionError(f"GET /ack: status {answer.status}: {words(_shown_text(answer), 100)}", sent=False)
            # a hub that gives no id of its own is told apart by what it says
            name = answer.headers.get("messageid", "").strip()[:200] or sha256(answer.body).hexdigest()
            last, again = name, again + 1 if name == last else 0
            if again > MOST_AGAIN:
                raise SessionError(f"acknowledgement {words(name, 60)} comes again and again", sent=False)
            yield _inbound(name, answer, open_)
            session.request("DELETE", f"/ack/{quote(name, safe='')}", operation="dequeue")

    def requests(self) -> Mapping[str, str]:
        """Nothing can be asked of such a hub."""
        return {}

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """Nothing can be asked of such a hub."""
        raise BuildError(f"hub {self.settings.name} answers no requests")

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Nothing beside the readings."""
        return ()


def adapter(settings: HubSettings) -> EuVhd:
    """The adapter of a hub."""
    return EuVhd(settings)


# -- build -------------------------------------------------------------------------------------------------------------


def _draft(parts: Sequence[Part], about: Build) -> Draft:
    document = about.new_id()
    start, end = min(part.slot.start for part in parts), max(part.end for part in parts)
    sender, receiver = _parties(about.settings)
    pieces = [vhd.head(document, about.now, (start, end), sender, receiver)]
    pieces += [_time_series(part) for part in parts]
    body = b"".join((*pieces, vhd.TAIL))
    _validate(body, parts)
    return Draft("readings", "send", document, body, MEDIA, tuple(_row(part, about) for part in parts))


def _parties(settings: HubSettings) -> tuple[tuple[str, str], tuple[str, str]]:
    """Party and role of both sides; the role of the hub is that of a data provider."""
    for key, party in (("party", settings.party), ("receiver", settings.receiver)):
        if party is None or vhd.scheme(party) is None or len(party) > vhd.MOST_ID:
            text = f"hub {settings.name}: {key} must be a GLN of 13 digits or an EIC of 16 characters"
            raise BuildError(text, code="configuration")
    sender = settings.party or "", settings.role or vhd.SENDER_ROLE
    return sender, (settings.receiver or "", vhd.RECEIVER_ROLE)


def _time_series(part: Part) -> bytes:
    slots = (part.slot,)
    if not 1 <= part.revision <= vhd.MOST_VERSIONS:
        text = f"revision {part.revision}: the format counts versions of a series to {vhd.MOST_VERSIONS}"
        raise BuildError(text, slots, "A50")
    intervals = part.series.intervals
    steps = [(one.start, one.end) for one in intervals]
    if not steps or (steps[0][0], steps[-1][1]) != (part.slot.start, part.end):
        raise BuildError("the intervals do not cover the day that they are to carry", slots, "A04")
    try:
        return vhd.time_series(part.series, [_shown(one) for one in intervals], part.revision, part.transaction)
    except ExportError as error:
        raise BuildError(str(error), slots, "A69") from None


def _shown(interval: Interval) -> Interval:
    """What is not validated is missing (Regulation (EU) 2023/1162, Art. 2: only validated data is item E)."""
    return interval if interval.is_item_e else missing(interval.start, interval.end)


def _validate(body: bytes, parts: Sequence[Part]) -> None:
    """The octets as they will leave, by schema and by rules; raises BuildError that names the slots."""
    # our own octets: no limit but the policy's
    root = etree.parse(
        BytesIO(body), etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    ).getroot()
    every = tuple(part.slot for part in parts)
    try:
        xsd(SCHEMA).check(root)
    except SchemaError as error:
        raise BuildError(f"the document does not follow the schema: {error}", every, "schema") from None
    document = root.find(f"{{{vhd.NAMESPACE}}}MarketDocument")
    _refuse(eu_rules.head_faults(document), every)
    for series, part in zip(document.findall(f"{{{vhd.NAMESPACE}}}TimeSeries"), parts, strict=True):
        _refuse(eu_rules.series_faults(series, part), (part.slot,))


def _refuse(faults: Iterator[Reason], slots: tuple[Slot, ...]) -> None:
    first = next(faults, None)
    if first is not None:
        raise BuildError(first.text, slots, first.code)


def _row(part: Part, about: Build) -> PartRow:
    hash_ = content(part.series.intervals, part.series.unit)
    basis = about.basis.get(part.transaction, "config")
    return PartRow(part.slot, part.end, part.revision, part.transaction, hash_, basis)


# -- answers -----------------------------------------------------------------------------------------------------------


def _of_send(answer: Answer, session: Session, message: Message) -> Receipt:
    has_word = bool(answer.body.strip()) and (answer.status in (200, 201) or _is_refusal(answer))
    if not has_word:
        return by_status(answer, session)
    try:
        said = _about(eu_ack.read(answer.body), message)
    except AnswerError as error:
        # a refusal that cannot be read is still a refusal: 4xx says that the document was not taken
        return by_status(answer, session) if _is_refusal(answer) else unreadable(answer, session, error)
    made = eu_ack.judge(said, message.parts)
    if _is_refusal(answer) and made.verdict == "confirmed" and not made.reasons:
        return unreadable(answer, session, AnswerError("the status refuses what the acknowledgement accepts"))
    return _receipt(receipt(answer, session, made.verdict, *made.reasons), made)


def _about(said: eu_ack.Acknowledgement, message: Message) -> eu_ack.Acknowledgement:
    """An acknowledgement that does not name another document than the one that it answers."""
    if said.document not in (None, message.document):
        raise AnswerError(f"the acknowledgement is about another document, {words(str(said.document), 60)}")
    return said


def _is_refusal(answer: Answer) -> bool:
    return answer.status in (400, 409, 422)


def _receipt(plain: Receipt, made: eu_ack.Judgement) -> Receipt:
    return Receipt(
        plain.verdict,
        plain.reasons,
        plain.retry_after_s,
        plain.reference,
        frozenset(made.told),
        made.told,
        plain.status,
        plain.raw,
        plain.certificate,
    )


def _inbound(name: str, answer: Answer, open_: Open) -> Inbound:
    """An acknowledgement out of the queue; one that cannot be read is kept, told, and taken off all the same."""
    media = answer.headers.get("content-type", MEDIA)[:100]
    try:
        said = eu_ack.read(answer.body)
    except AnswerError as error:
        text = f"the hub put something into the queue of acknowledgements that is none: {error}"
        return Inbound(name, "ack", answer.body, media, text=text, severity="error")
    facts: dict[str, Any] = {"acknowledgement": words(said.id, 60), "document": words(said.document or "", 60)}
    found = None if said.document is None else open_.document(said.document)
    if said.document is None:
        text = f"acknowledgement {words(said.id, 60)} names no document"
        return Inbound(name, "ack", answer.body, media, text=text, facts=facts, severity="warning")
    if found is None:
        # whoever keeps it tells that nobody sent such a document
        return Inbound(name, "ack", answer.body, media, {said.document: Receipt("pending")}, facts=facts)
    made = eu_ack.judge(said, found.parts)
    if found.state in FINAL and any(reason.code == eu_ack.REPEATED for reason in said.reasons):
        # a second copy of a document of which the first one was judged
        made = eu_ack.Judgement("pending", made.reasons, {})
    plain = Receipt(made.verdict, made.reasons, status=answer.status, raw=answer.body)
    text = f"document {found.document}: {made.verdict}"
    return Inbound(name, "ack", answer.body, media, {found.document: _receipt(plain, made)}, text=text, facts=facts)


def _shown_text(answer: Answer) -> str:
    return answer.body[:400].decode("utf-8", "replace")
