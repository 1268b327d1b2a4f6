"""ESO's Data Hub of Lithuania: it takes no readings of us, it is asked for them (docs/hubs/lt-eso.md).

An order names objects and days, the hub answers with its id, and its report is fetched when it is ready. What the
hub calls things is only in part public: gateway.uploader.hubs.lt_names marks each name.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import msgspec

from gateway.hub_model import FINAL, Draft, Inbound, Message, Part, Reason, Receipt
from gateway.hub_settings import HubSettings
from gateway.imports.record import Imported, ImportFileError
from gateway.intervals.calendar import FIXED
from gateway.uploader import answers
from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Build, BuildError, Open, Policy, Session, SessionError
from gateway.uploader.hubs import lt_days as days
from gateway.uploader.hubs import lt_names as names
from gateway.uploader.hubs import lt_pages as pages
from gateway.uploader.hubs import lt_report as reports
from gateway.uploader.hubs.lt_inbox import Look

#: a report is looked for every minute (hubs.md 3 gives no limit: the budget of `[[hub]]` holds)
POLICY: Final = Policy(takes_readings=False, inbox_s=60, answer_within_s=3_600, give_up_s=7 * 86_400)
#: note: documents of the orders of the daily runs that may be open
ORDERS: Final = "lt-orders"
_MOST_REMEMBERED: Final = 1_000
#: an order that is not answered for so long is left, and its objects are ordered anew (s)
_STALE_S: Final = 72_000
_JSON: Final = "application/json"
_HEADERS: Final = {"Content-Type": _JSON, "Accept": _JSON}
_REQUESTS: Final = {
    "order": "from=DAY [to=DAY] [objects=NUMBER,..] [report=" + "|".join(names.REPORTS) + "]: a report of past days",
    "access-right": "object=NUMBER: ask for the right to the data of an object",
    **{f"list {name}": f"read the list of {name} now" for name in names.LISTS if name not in names.KINDS},
    **{f"list {name}": f"read the notifications of {name} now" for name in names.KINDS},
}


class LtEso:
    """One party at the Data Hub."""

    def __init__(
        self, settings: HubSettings, *, clock: Callable[[], float] = time.time, policy: Policy = POLICY
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._policy = policy

    @property
    def policy(self) -> Policy:
        """What holds of this hub."""
        return self._policy

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """The hub takes no readings: the grid operator's own systems deliver them. Raises BuildError."""
        raise BuildError("the Data Hub takes no readings: it is asked for those of the grid operator")

    def send(self, session: Session, message: Message) -> Receipt:
        """Make an order, ask for a right, or read a list."""
        try:
            if message.operation == "list":
                return self._read(session, message)
            if message.operation == "order":
                return self._order(session, message)
            return self._access(session, message)
        except SessionError as error:
            return answers.no_answer(error, session)

    def query(self, session: Session, message: Message) -> Receipt:
        """An order is asked about by fetching its report: the inbox does it."""
        return Receipt("pending")

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """Reports that are ready, lists that changed, days that are late or whole again."""
        return Look(self.settings, session, open_, self._clock()).all()

    def requests(self) -> Mapping[str, str]:
        """What can be asked by `meterd hub request`."""
        return _REQUESTS

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """Build a request. Raises BuildError."""
        if what not in _REQUESTS:
            raise BuildError(f"{what!r} cannot be asked of this hub: {', '.join(_REQUESTS)}")
        allowed = {"order": {"from", "to", "objects", "report"}, "access-right": {"object"}}.get(what, set())
        if unknown := sorted(arguments.keys() - allowed):
            raise BuildError(f"{what} does not take {', '.join(unknown)}: {_REQUESTS[what]}")
        if what == "order":
            return self._asked(arguments, about)
        if what == "access-right":
            number = _number(arguments.get("object", ""))
            return _draft("access-right", {"objectNumber": number}, {"object": number}, about)
        name = what.removeprefix("list ")
        return _draft("list", {}, {"list": name}, about)

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Orders of what is not whole: yesterday, and days before that were late; one for each 500 objects."""
        if not self.settings.points:
            return []
        today = days.today(about.now)
        since = self.settings.since
        first = date.fromisoformat(since) if since else today - timedelta(1)
        book = days.Days(open_.note(days.NOTE), self.settings.points, first)
        book.open_until(today, about.now)
        open_orders = self._open_orders(open_, about.now)
        under_way = {(day, one) for message in open_orders for day, one in _covered(message)}
        drafts = [
            _order("report-obj", order.objects, order.day, order.day, about, daily=True)
            for order in book.orders(under_way, days.unpack_names(open_.note(days.UNLISTED)))
        ]
        documents = [message.document for message in open_orders] + [draft.document for draft in drafts]
        open_.remember(days.NOTE, book.pack())
        open_.remember(ORDERS, msgspec.json.encode(documents[-_MOST_REMEMBERED:]))
        return drafts

    def account(self, kind: str, body: bytes, content_type: str) -> Sequence[Imported]:
        """Quantities of a report as the hub told them, with what it says of each; raises ImportFileError."""
        if kind != "report":
            raise ImportFileError(f"{kind} holds no quantities")
        try:
            return reports.account(answers.json_value(body), step=FIXED[self.settings.resolution])
        except AnswerError as error:
            raise ImportFileError(str(error)) from None

    def _open_orders(self, open_: Open, now: int) -> list[Message]:
        try:
            kept = msgspec.json.decode(open_.note(ORDERS) or b"[]", type=list[str])
        except msgspec.DecodeError:
            kept = []
        found = (open_.document(document) for document in kept)
        return [one for one in found if one is not None and _is_under_way(one, now)]

    def _order(self, session: Session, message: Message) -> Receipt:
        path = names.ORDER_PATH.format(report=message.about["report"])
        answer = session.request("POST", path, operation="order", body=message.body, headers=_HEADERS)
        reasons = pages.business(answer)
        if reasons and answer.status < 500:
            return answers.receipt(answer, session, "rejected", *reasons)
        if not 200 <= answer.status < 300:
            return answers.by_status(answer, session)
        try:
            order = answers.mapping(answers.json_value(answer.body)).get("orderId")
        except AnswerError as error:
            return answers.unreadable(answer, session, error)
        if isinstance(order, bool) or not isinstance(order, int) or not 0 < order < 1 << 63:
            # once more would be one more order there: a person looks, and the next daily run orders anew
            reason = Reason("schema_drift", "orderId is missing, or is no whole number above zero")
            return answers.receipt(answer, session, "rejected", reason)
        return answers.receipt(answer, session, "accepted", reference=str(order))

    def _access(self, session: Session, message: Message) -> Receipt:
        answer = session.request(
            "POST", names.ACCESS_PATH, operation="access-right", body=message.body, headers=_HEADERS
        )
        reasons = pages.business(answer)
        if reasons and answer.status < 500:
            return answers.receipt(answer, session, "rejected", *reasons)
        if 200 <= answer.status < 300:
            return answers.receipt(answer, session, "confirmed")
        return answers.by_status(answer, session)

    def _read(self, session: Session, message: Message) -> Receipt:
        """A list on demand: what is kept of it is the answer as a whole, joined."""
        try:
            found = pages.read(session, names.LISTS[str(message.about["list"])], operation="list")
        except pages.RefusedError as error:
            if error.reasons:
                return answers.receipt(error.answer, session, "rejected", *error.reasons)
            return answers.by_status(error.answer, session)
        except AnswerError as error:
            return Receipt("rejected", (Reason("schema_drift", str(error)),), certificate=session.certificate)
        body = json.dumps([dict(one) for one in found.entries], ensure_ascii=False, default=str).encode()
        strange = tuple(Reason("schema_drift", f"{one.path} {one.what}") for one in found.drifts)
        return Receipt("confirmed", strange, status=200, raw=body, certificate=session.certificate)

    def _asked(self, arguments: Mapping[str, str], about: Build) -> Draft:
        """An order that a person makes."""
        first, report = _day(arguments.get("from", "")), arguments.get("report", "report-obj")
        last = _day(arguments["to"]) if "to" in arguments else first
        objects = [_number(one) for one in arguments.get("objects", ",".join(self.settings.points)).split(",")]
        if report not in names.REPORTS:
            raise BuildError(f"report {report!r} is not known: {', '.join(names.REPORTS)}")
        if not first <= last < first + timedelta(names.MOST_DAYS):
            raise BuildError(f"to={last} does not follow from={first} within {names.MOST_DAYS} days")
        if last >= days.today(about.now):
            raise BuildError(f"to={last} is not over yet")
        if len(objects) > names.MOST_OBJECTS or len(set(objects)) < len(objects):
            raise BuildError(f"an order takes 1 to {names.MOST_OBJECTS} objects, each once: name them with objects=")
        return _order(report, objects, first, last, about, daily=False)


def adapter(settings: HubSettings) -> LtEso:
    """The adapter of a hub of kind lt-eso."""
    return LtEso(settings)


def _order(  # noqa: PLR0913 - what an order asks
    report: str, objects: Sequence[str], first: date, last: date, about: Build, *, daily: bool
) -> Draft:
    # dateTo is the day behind the last one (SANDBOX)
    body = {"dateFrom": first.isoformat(), "dateTo": (last + timedelta(1)).isoformat(), "objects": list(objects)}
    facts = {"report": report, "first": first.isoformat(), "last": last.isoformat(), "objects": list(objects)}
    return _draft("order", body, facts | {"daily": daily}, about)


def _draft(operation: str, body: Any, facts: Mapping[str, object], about: Build) -> Draft:
    return Draft("request", operation, about.new_id(), json.dumps(body).encode(), _JSON, about=facts)


def _is_under_way(message: Message, now: int) -> bool:
    stale = message.state == "accepted" and not 0 <= now - message.since < _STALE_S
    return message.state not in FINAL and not stale


def _covered(message: Message) -> Iterator[tuple[date, str]]:
    first, last = (date.fromisoformat(str(message.about[key])) for key in ("first", "last"))
    for day in range(first.toordinal(), last.toordinal() + 1):
        for one in message.about["objects"]:  # type: ignore[attr-defined]
            yield date.fromordinal(day), str(one)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BuildError(f"{text[:20]!r} is no day: YYYY-MM-DD") from None


def _number(text: str) -> str:
    if not text.isascii() or not text.isalnum() or len(text) > 40:
        raise BuildError(f"{text[:40]!r} is no number of an object")
    return text
