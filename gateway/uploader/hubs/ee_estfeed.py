"""Estonia, Estfeed Datahub (Elering): asynchronous REST with 202, status and error report (docs/hubs/ee-estfeed.md).

A message may be answered 202 and never be processed: its status is asked for until it is final, and where there is none
the same octets go again under the same id. One value that is refused refuses the whole message.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.exports.about import decimal, second
from gateway.hub_content import content
from gateway.hub_model import Draft, Inbound, Message, Part, PartRow, Reason, Receipt, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import Interval, Status
from gateway.uploader.answers import (
    MAX_REASONS,
    AnswerError,
    by_status,
    json_value,
    mapping,
    no_answer,
    receipt,
    unreadable,
    words,
)
from gateway.uploader.hub import Answer, Build, BuildError, Open, Policy, Session, SessionError
from gateway.uploader.hubs import ee_rules

MEDIA: Final = "application/json"
SEND: Final = "/api/v2/metering-data/electricity"
STATUS: Final = "/api/v2/metering-data/status"
#: an error report names each value of a message at most
MAX_OCTETS: Final = 8 << 20
#: item E -> reading type: metered or estimated; what a person put in is not metered
TYPES: Final[Mapping[Status, str]] = {"valid": "M", "estimated": "E", "edited": "E"}
KEYS: Final = {direction: key for key, direction in ee_rules.DIRECTIONS.items()}
#: nothing was stored of a message of which another value was refused
WITH_OTHERS: Final = "with_others"
#: ours: an hour is long for a queue of 100,000 messages, and the deadline for a day is 10:00
LOST_S: Final = 3_600


class Estfeed:
    """One market participant at Estfeed."""

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings

    @property
    def policy(self) -> Policy:
        """What holds of Estfeed; sources in docs/hubs/ee-estfeed.md."""
        return Policy(
            # ours: 365 points of a day fit into one message, and fail together
            max_parts=100,
            max_intervals=ee_rules.MOST_PERIODS,
            # the status says it
            confirm_after_s=None,
            # "accepted and never processed": how long no status is waited for
            resend_after_s=self.settings.confirm_after_s or LOST_S,
            query_s=30,
            # corrections go back 12 months
            correction_days=ee_rules.BACK_DAYS,
            kinds=frozenset(("active",)),
            resolutions=frozenset(("PT15M",)),
        )

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """Messages of as many parts as `bundle` says; raises BuildError for what Estfeed would refuse."""
        _participant(about.settings)
        most = min(self.policy.max_parts, about.settings.bundle or self.policy.max_parts)
        return [_draft(bundle, about) for bundle in _bundles(parts, most)]

    def send(self, session: Session, message: Message) -> Receipt:
        """POST the stored octets once."""
        try:
            answer = session.request(
                "POST", SEND, operation="send", body=message.body, headers=_headers(message), max_answer=MAX_OCTETS
            )
        except SessionError as error:
            return no_answer(error, session)
        return _of_send(answer, session, message)

    def query(self, session: Session, message: Message) -> Receipt:
        """What became of it; `pending` where the hub has no status of it (yet, or for ever)."""
        # every request has an id of its own, and the documentation calls that of the message that is asked about
        # originalDocumentIdentification; the test hub knows it by the other name, which nobody else looks at
        params = {"documentIdentification": message.document, "originalDocumentIdentification": message.document}
        headers = _headers(message) | {"x-document-identification": str(uuid.uuid4())}
        del headers["Content-Type"]
        try:
            answer = session.request(
                "GET", STATUS, operation="status", params=params, headers=headers, max_answer=MAX_OCTETS
            )
        except SessionError as error:
            # whatever came of the question, it was none of the message
            return no_answer(SessionError(str(error), sent=False, person=error.person), session)
        return _of_status(answer, session, message)

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """Estfeed has no inbox for who sends metering data."""
        yield from ()

    def requests(self) -> Mapping[str, str]:
        """Nothing is asked of it."""
        return {}

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """Nothing is asked of it."""
        raise BuildError(f"hub {self.settings.name} answers no requests")

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Nothing beside the readings."""
        return ()


def adapter(settings: HubSettings) -> Estfeed:
    """The adapter of a market participant."""
    return Estfeed(settings)


# -- build -------------------------------------------------------------------------------------------------------------


def _participant(settings: HubSettings) -> None:
    if not ee_rules.EIC.fullmatch(settings.party or ""):
        raise BuildError(f"hub {settings.name}: party must be an EIC of 16 characters", code="configuration")
    if not settings.role:
        text = f"hub {settings.name}: role is missing, such as GRID_OPERATOR"
        raise BuildError(text, code="configuration")


def _bundles(parts: Sequence[Part], most: int) -> Iterator[list[Part]]:
    bundle: list[Part] = []
    count = 0
    for part in parts:
        size = len(part.series.intervals)
        if bundle and (len(bundle) >= most or count + size > ee_rules.MOST_PERIODS):
            yield bundle
            bundle, count = [], 0
        bundle.append(part)
        count += size
    if bundle:
        yield bundle


def _draft(parts: Sequence[Part], about: Build) -> Draft:
    document = about.new_id().lower()
    if not ee_rules.UUID.fullmatch(document):
        raise BuildError(f"the id {words(document, 60)} is no UUID", code="form")
    meters = ",\n".join(_meter(point, own) for point, own in _by_point(parts).items())
    body = f'{{"meteringData": [\n{meters}\n]}}\n'.encode()
    _validate(body, parts, about.now)
    settings = about.settings
    facts = {"eic": settings.party, "role": settings.role}
    rows = tuple(_row(part, about) for part in parts)
    return Draft("readings", "send", document, body, MEDIA, rows, facts)


def _by_point(parts: Sequence[Part]) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.slot.point, []).append(part)
    return found


def _meter(point: str, parts: Sequence[Part]) -> str:
    """One metering point; each part is a period of its own, so that it is stored, or refused, by itself."""
    periods = ",\n".join(
        f'{{"r": {json.dumps(part.slot.resolution)}, "aI": [\n{_intervals(part)}\n]}}' for part in parts
    )
    return f'{{"meterEic": {json.dumps(point)}, "periods": [\n{periods}\n]}}'


def _intervals(part: Part) -> str:
    """Validated intervals; one that has no quantity is left out: the hub does not check completeness."""
    lines = [_interval(part, one) for one in part.series.intervals if one.is_item_e and one.quantity is not None]
    if not lines:
        raise BuildError("the day holds no validated quantity", (part.slot,), "empty")
    return ",\n".join(lines)


def _interval(part: Part, interval: Interval) -> str:
    unit = part.series.unit
    if unit.name != "Wh" or unit.exponent < -3 + ee_rules.MOST_DECIMALS:
        raise BuildError(
            f"Estfeed takes kWh with 3 decimals, not {unit.name} x 10^{unit.exponent}", (part.slot,), "unit"
        )
    kwh = decimal(interval.quantity or 0, unit.exponent - 3)
    read = f'"rTime": "{second(interval.made)}", ' if interval.made is not None else ""
    value = f'{{{read}"rType": "{TYPES[interval.status]}", "kwh": {_three(kwh)}}}'
    return f'{{"pS": "{second(interval.start)}", "{KEYS[part.slot.direction]}": {value}}}'


def _three(kwh: str) -> str:
    """A decimal with exactly 3 decimals, without rounding: it has at most so many."""
    whole, _, fraction = kwh.partition(".")
    return f"{whole}.{fraction.ljust(ee_rules.MOST_DECIMALS, '0')}"


def _validate(body: bytes, parts: Sequence[Part], now: int) -> None:
    """The octets as they will leave; raises BuildError that names the slots that are wrong."""
    try:
        message = json_value(body, marks=1_000_000)
    except AnswerError as error:
        raise BuildError(f"the message is no JSON: {error}", _slots(parts), "form") from None
    found = list(ee_rules.faults(message, now))
    if not found:
        return
    first = found[0][2]
    wrong = tuple(part.slot for part in parts if any(_hits(part, point, at) for point, at, _ in found))
    raise BuildError(f"{first.text} ({len(found)} in all)", wrong or _slots(parts), first.code)


def _hits(part: Part, point: str, at: int | None) -> bool:
    return part.slot.point == point and (at is None or part.slot.start <= at < part.end)


def _slots(parts: Sequence[Part]) -> tuple[Slot, ...]:
    return tuple(part.slot for part in parts)


def _row(part: Part, about: Build) -> PartRow:
    digest = content(part.series.intervals, part.series.unit)
    basis = about.basis.get(part.transaction, "config")
    return PartRow(part.slot, part.end, part.revision, part.transaction, digest, basis)


# -- answers -----------------------------------------------------------------------------------------------------------


def _headers(message: Message) -> dict[str, str]:
    """Header version 2; who we are was fixed with the message."""
    return {
        "Content-Type": f"{MEDIA}; charset=UTF-8",
        "Accept": MEDIA,
        "x-document-identification": message.document,
        "x-market-participant-eic": str(message.about.get("eic", "")),
        "x-market-participant-role": str(message.about.get("role", "")),
        "x-commodity-type": "ELECTRICITY",
    }


def _of_send(answer: Answer, session: Session, message: Message) -> Receipt:
    if answer.status not in (400, 409, 422):
        return by_status(answer, session)
    reasons = _errors(answer)
    if reasons and {reason.code for reason in reasons} == {ee_rules.DUPLICATED}:
        # received under this id before: its status says the rest
        return receipt(answer, session, "duplicate", *reasons)
    return receipt(answer, session, "rejected", *reasons) if reasons else by_status(answer, session)


def _of_status(answer: Answer, session: Session, message: Message) -> Receipt:
    if answer.status == 404:
        return Receipt("pending", status=404, raw=answer.body, certificate=session.certificate)
    if answer.status != 200:
        # a question that is not answered says nothing of the message: it is asked again
        plain = by_status(answer, session)
        return replace(plain, verdict="blocked" if plain.verdict == "blocked" else "busy")
    try:
        said = _status(json_value(answer.body, most=MAX_OCTETS), message)
    except AnswerError as error:
        return replace(unreadable(answer, session, error), verdict="busy")
    if said == "SUCCESSFUL":
        return receipt(answer, session, "confirmed")
    if said == "PROCESSING":
        return receipt(answer, session, "accepted")
    return _refused(answer, session, message)


def _status(value: Any, message: Message) -> str:
    found = mapping(value)
    for key in ("documentIdentification", "originalDocumentIdentification"):
        named = found.get(key)
        if named is not None and str(named).lower() != message.document:
            raise AnswerError(f"the status is about another message, {words(str(named), 60)}")
    said = found.get("status")
    if said not in ("PROCESSING", "SUCCESSFUL", "ERROR"):
        raise AnswerError(f"the status is {words(str(said), 60)}, which is not known here")
    return str(said)


def _refused(answer: Answer, session: Session, message: Message) -> Receipt:
    """An error report: nothing of the message is stored; what it says of a metering point goes to its parts."""
    reasons = _errors(answer) or (Reason("error", "the hub gives no report: it is kept for 7 days"),)
    if message.attempts > 1 and {reason.code for reason in reasons} == {ee_rules.DUPLICATED}:
        # no value comes twice in one message: an earlier copy of it was stored, and this is the word on a later one
        return receipt(answer, session, "confirmed", *reasons)
    told = {part.transaction: _own(part, reasons) for part in message.parts}
    plain = receipt(answer, session, "rejected", *reasons)
    if any(reason.code != WITH_OTHERS for own in told.values() for reason in own):
        return replace(plain, transactions=frozenset(told), told=told)
    return plain


def _own(part: PartRow, reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    own = tuple(reason for reason in reasons if part.slot.point in reason.text)[:MAX_REASONS]
    text = "another value of the same message was refused, and so nothing of it is stored: it can go again as it is"
    return own or (Reason(WITH_OTHERS, text),)


def _errors(answer: Answer) -> tuple[Reason, ...]:
    """Codes and texts of an error report; its form is that of the test hub, the real one's is not verified."""
    try:
        found = mapping(json_value(answer.body, most=MAX_OCTETS)).get("errors")
    except AnswerError:
        return ()
    entries = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return tuple(
        Reason(words(str(one.get("code", "")), 120) or "error", words(str(one.get("message", ""))))
        for one in entries[:5_000]
    )
