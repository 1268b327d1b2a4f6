"""Acknowledgement v1.12 (EDDIE CIM, IEC 62325-451 style), read strictly: schema first, then what it says of our parts.

Codes are those of ENTSO-E's ReasonCodeTypeList. Whatever is not plainly an acceptance is a refusal: a person sees it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from gateway.hub_model import PartRow, Reason, Verdict
from gateway.uploader.answers import MAX_REASONS, AnswerError, words, xml
from gateway.uploader.schemas import SchemaError, xsd

NAMESPACE: Final = "https://eddie.energy/CIM/ACK_v1.12"
SCHEMA: Final = "eu-eddie-cim/v1_12/ack/Acknowledgement_Document_v1.12_annotated.xsd"
#: octets of an acknowledgement that are read: one refusal of each series of a document takes some 300
MAX_OCTETS: Final = 4 << 20
ACCEPTED, REFUSED, REPEATED = "A01", "A02", "A51"
#: what each code means (ENTSO-E code list), for a log, where the hub gives no text
MEANINGS: Final[Mapping[str, str]] = {
    "A01": "message fully accepted",
    "A02": "message fully rejected",
    "A03": "message contains errors at the time series level",
    "A04": "time interval incorrect",
    "A20": "time series fully rejected",
    "A21": "time series accepted with specific time interval errors",
    "A41": "resolution inconsistency",
    "A46": "quantities must not be signed values",
    "A49": "position inconsistency",
    "A50": "senders time series version conflict",
    "A51": "message identification or version conflict",
    "A53": "receiving party incorrect",
    "A55": "time series identification conflict",
    "A57": "deadline limit exceeded",
    "A59": "not compliant to local market rules",
    "A69": "mandatory attributes missing",
    "A94": "document cannot be processed by receiving system",
    "999": "errors not specifically identified",
}


class Series(NamedTuple):
    """A time series that the hub names."""

    transaction: str
    version: int | None
    reasons: tuple[Reason, ...]


class Acknowledgement(NamedTuple):
    """What a document says."""

    id: str
    #: id of our document, where it names one
    document: str | None
    reasons: tuple[Reason, ...]
    #: periods in error of the document as a whole (UTC s)
    periods: tuple[tuple[int, int], ...]
    series: tuple[Series, ...]


class Judgement(NamedTuple):
    """What an acknowledgement means for a message; `transactions` empty: for the whole of it."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    told: Mapping[str, tuple[Reason, ...]]


def read(body: bytes) -> Acknowledgement:
    """An acknowledgement; raises AnswerError for anything else."""
    root = xml(body, most=MAX_OCTETS)
    if root.tag != _name("Acknowledgement_Envelope"):
        raise AnswerError(f"the answer is no acknowledgement v1.12 but <{words(str(root.tag), 80)}>")
    try:
        xsd(SCHEMA).check(root)
    except SchemaError as error:
        raise AnswerError(f"the acknowledgement does not follow its schema: {error}") from None
    document = root.find(_name("MarketDocument"))
    if document is None:
        raise AnswerError("the acknowledgement holds no document")
    return Acknowledgement(
        _text(document, "mRID"),
        _text(document, "received_MarketDocument.mRID") or None,
        tuple(_reasons(document)),
        tuple(_period(one) for one in document.findall(_name("InError_Period"))),
        tuple(_series(one) for one in document.findall(_name("Rejected_TimeSeries"))),
    )


def judge(said: Acknowledgement, parts: Sequence[PartRow]) -> Judgement:
    """What it means for a message of these parts.

    A51 says that the hub has a document of this id: ids are never used twice here, so it is this one, of which an
    earlier copy arrived. What it refused of that one it names again.
    """
    codes = {reason.code for reason in said.reasons}
    if codes == {ACCEPTED} and not said.series and not said.periods:
        return Judgement("confirmed", (), {})
    had = REPEATED in codes and codes <= {REPEATED, REFUSED}
    if had and not said.series:
        return Judgement("confirmed", _listed(said), {})
    if REFUSED in codes and not had:
        return Judgement("rejected", _listed(said), {})
    return Judgement("rejected", _listed(said), _told(said, parts))


def _told(said: Acknowledgement, parts: Sequence[PartRow]) -> Mapping[str, tuple[Reason, ...]]:
    """Reasons by the transactions that are refused; none where it cannot be told which: then all of it is refused."""
    named = {one.transaction: one for one in said.series}
    ours = {part.transaction: named[part.transaction].reasons for part in parts if _is_meant(part, named)}
    within = {part.transaction: said.reasons for part in parts if _overlaps(part, said.periods)}
    known = len(ours) == len(said.series) and (bool(within) or not said.periods)
    return within | ours if known else {}


def _is_meant(part: PartRow, named: Mapping[str, Series]) -> bool:
    one = named.get(part.transaction)
    return one is not None and one.version in (None, part.revision)


def _overlaps(part: PartRow, periods: Sequence[tuple[int, int]]) -> bool:
    return any(start < part.end and end > part.slot.start for start, end in periods)


def _listed(said: Acknowledgement) -> tuple[Reason, ...]:
    """Reasons of the document, then those of its series, each once."""
    every = [*said.reasons, *(reason for one in said.series for reason in one.reasons)]
    return tuple(dict.fromkeys(every))[:MAX_REASONS]


def _series(element: Any) -> Series:
    version = _text(element, "version")
    periods = [reason for one in element.findall(_name("InError_Period")) for reason in _reasons(one, _bounds(one))]
    reasons = (*_reasons(element), *periods) or (Reason("A20", MEANINGS["A20"]),)
    return Series(_text(element, "mRID"), int(version) if version else None, reasons[:MAX_REASONS])


def _reasons(element: Any, where: str = "") -> Iterator[Reason]:
    for one in element.findall(_name("Reason")):
        code = _text(one, "code")
        text = words(_text(one, "text")) or MEANINGS.get(code, "")
        yield Reason(code, f"{where}: {text}" if where else text)


def _bounds(element: Any) -> str:
    interval = element.find(_name("timeInterval"))
    return f"{_text(interval, 'start')} to {_text(interval, 'end')}"


def _period(element: Any) -> tuple[int, int]:
    interval = element.find(_name("timeInterval"))
    return _instant(_text(interval, "start")), _instant(_text(interval, "end"))


def _instant(text: str) -> int:
    """`2026-03-02T23:00Z`, which the schema guarantees, but for days that no month has."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise AnswerError(f"the acknowledgement holds a time that is none: {words(text, 40)}") from None


def _text(element: Any, name: str) -> str:
    return (element.findtext(_name(name)) or "").strip()


def _name(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
