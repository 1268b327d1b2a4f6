"""Parts of Czech points as the planner hands them over, a session without a network, and messages as stored ones."""

import datetime as dt
import itertools
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.exports.rsm012 import is_gs1
from gateway.hub_model import Draft, Message, Part, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import WH, Bound, Interval, Series
from gateway.uploader.hub import Answer, Build, SessionError

SAMPLES = Path(__file__).parent / "samples" / "cz"
PRAGUE = ZoneInfo("Europe/Prague")
PARTY = "8591824000991"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
SANDBOX = "urn:sandbox:meterd:ote"
PUBLIC = "http://www.ote-cr.cz/schema/response"


def ean(number: int) -> str:
    """A supply point with a right check digit."""
    text = f"859182400{number:08d}"
    return next(text + digit for digit in "0123456789" if is_gs1(text + digit, 18))


def bounds(day: dt.date, step: int, *, gas: bool = False) -> list[int]:
    """All bounds of an energy day, in UTC: found here from the local clock, not by the product's calendar."""
    hour = dt.time(6 if gas else 0)
    start, end = (int(dt.datetime.combine(day + dt.timedelta(n), hour, PRAGUE).timestamp()) for n in (0, 1))
    return list(range(start, end + 1, step))


def part(
    day: dt.date = dt.date(2026, 3, 3),
    point: str = ean(1),
    *,
    direction: str = "import",
    gas: bool = False,
    hourly: bool = False,
    revision: int = 1,
    values: Callable[[int], tuple[int | None, str]] = lambda n: (125 + n, "valid"),
) -> Part:
    """A day of a point; `values(period)` gives Wh and status of each period from 1."""
    ends = bounds(day, 3_600 if hourly else 900, gas=gas)
    intervals = []
    for period, (start, end) in enumerate(itertools.pairwise(ends), 1):
        quantity, status = values(period)
        low, high = Bound(start, None, "none"), Bound(end, None, "none")
        intervals.append(
            Interval(start, end, quantity, status, "measured", "plain", "meter", 1_000, low, high, "register", 1)  # type: ignore[arg-type]
        )
    kind, resolution = "gas" if gas else "active", "PT1H" if hourly else "PT15M"
    medium = "gas" if gas else "electricity"
    series = Series(
        "main", point, int(gas), kind, direction, resolution, WH, "Europe/Prague", intervals, 0, medium, gas
    )  # type: ignore[arg-type]
    slot = Slot(point, direction, kind, resolution, ends[0])  # type: ignore[arg-type]
    return Part(slot, ends[-1], revision, f"{point}-{direction}-{ends[0]}-{revision}", series)


def settings(**changes: object) -> HubSettings:
    return HubSettings(**({"name": "ote", "kind": "cz-ote", "party": PARTY} | changes))  # type: ignore[arg-type]


def build(hub: HubSettings, now: int = 1_772_600_000, **changes: object) -> Build:
    ids = itertools.count(1)
    return Build(hub, now, lambda: f"id-{next(ids)}", **changes)  # type: ignore[arg-type]


def stored(draft: Draft, **changes: object) -> Message:
    """A draft as the store would hand it back."""
    digest = sha256(draft.body).hexdigest()
    given = {
        "id": 1, "hub": "ote", "kind": draft.kind, "operation": draft.operation, "document": draft.document,
        "body": draft.body, "digest": digest, "content_type": draft.content_type, "parts": draft.parts,
        "about": draft.about, "way": draft.way, "state": "sending", "created": 0, "first": 0, "since": 0, "due": 0,
        "attempts": 1,
    }  # fmt: skip
    return Message(**(given | changes))  # type: ignore[arg-type]


def envelope(*documents: str | bytes) -> bytes:
    inside = b"".join(one if isinstance(one, bytes) else one.encode() for one in documents)
    return f'<s:Envelope xmlns:s="{SOAP}"><s:Body>'.encode() + inside + b"</s:Body></s:Envelope>"


def response(message: Message, **changes: object) -> str:
    """A RESPONSE to a message as the sandbox schema has it; `reasons` are (code, type, text)."""
    gas = message.about["root"] == "CDSGASDATA"
    it = {
        "root": "GASRESPONSE" if gas else "RESPONSE", "namespace": SANDBOX, "id": "60000000000017",
        "reference": message.document, "reasons": [("0200", "A01", "Zpráva úspěšně přijata")],
        "sender": message.about["receiver"], "receiver": message.about["sender"], "more": "",
    } | changes  # fmt: skip
    scheme = "15" if gas else "14"
    reasons = "".join(f'<Reason code="{code}" type="{kind}">{text}</Reason>' for code, kind, text in it["reasons"])
    return (
        f'<{it["root"]} xmlns="{it["namespace"]}" id="{it["id"]}" message-code="SBX" date-time="2026-03-04T05:15:03" '
        f'dtd-version="1" dtd-release="1"><SenderIdentification id="{it["sender"]}" coding-scheme="{scheme}"/>'
        f'<ReceiverIdentification id="{it["receiver"]}" coding-scheme="14"/><Reference id="{it["reference"]}"/>'
        f"{reasons}{it['more']}</{it['root']}>"
    )


class Wired:
    """A session whose answers a test writes; `asked` is what was requested."""

    certificate = "1f"

    def __init__(self, *answers: Answer | SessionError) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, object]] = []

    def request(self, method: str, path: str, **given: object) -> Answer:
        self.asked.append({"method": method, "path": path, **given})
        answer = self._answers.pop(0)
        if isinstance(answer, SessionError):
            raise answer
        return answer


class Outbox:
    """What an inbox may look up: messages, and notes that it keeps."""

    def __init__(self, messages: Sequence[Message] = ()) -> None:
        self.messages = {message.document: message for message in messages}
        self.notes: dict[str, bytes] = {}

    def document(self, document: str) -> Message | None:
        return self.messages.get(document)

    def transaction(self, _transaction: str) -> None:
        return None

    def awaiting(self, _operation: str | None = None) -> list[Message]:
        return []

    def note(self, key: str) -> bytes | None:
        return self.notes.get(key)

    def remember(self, key: str, value: bytes) -> None:
        self.notes[key] = value


def answered(body: bytes, status: int = 200, **headers: str) -> Answer:
    return Answer(status, {"content-type": "text/xml; charset=utf-8", **headers}, body)


def delivery(
    days: Sequence[dt.date],
    *,
    name: str = "2026-03-04-1",
    points: Sequence[str] = (ean(1),),
    quantities: Sequence[str] = ("+A",),
    value: Callable[[int], tuple[str | None, str]] = lambda _: ("0.500", "naměřená data OK"),
) -> bytes:
    """A delivery of PND in its envelope, whole days of each point; `value(n)` gives kW and status from 0."""
    profiles = []
    for point in points:
        for quantity in quantities:
            lines = []
            for n, end in enumerate(end for day in days for end in bounds(day, 900)[1:]):
                kw, status = value(n)
                stamp = dt.datetime.fromtimestamp(end, PRAGUE).isoformat()
                told = "" if kw is None else f' kw="{kw}"'
                lines.append(f'<m:Value end="{stamp}"{told} status="{status}"/>')
            profiles.append(f'<m:Profile opm-id="{point}" quantity="{quantity}">{"".join(lines)}</m:Profile>')
    head = f'xmlns:m="urn:sandbox:meterd:pnd" id="{name}" created="2026-03-04T06:00:00+01:00"'
    return envelope(f"<m:MeasuredData {head}>{''.join(profiles)}</m:MeasuredData>")
