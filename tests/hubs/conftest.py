"""Parts to send, what a hub answers, and what an inbox may look up; for every adapter."""

import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.hub_model import Draft, Message, Part, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import WH, Interval, Series, missing, revised
from gateway.uploader.hub import Answer, Build

SAMPLES = Path(__file__).parent / "samples"
POINT = "571313000000002000"
PARTY = "5799999933318"


@pytest.fixture
def ids() -> Callable[[], str]:
    """New ids, which look like UUIDs and come in the same order in every run."""
    chance = random.Random(8)
    return lambda: f"{chance.randrange(16**8):08x}-0000-4000-8000-{chance.randrange(16**12):012x}"


@pytest.fixture
def make_part(ids) -> Callable[..., Part]:
    """Make a part of a local day; statuses in turn, quantities seeded by the day."""

    def make(
        day: date,
        *,
        zone: str = "Europe/Copenhagen",
        step: int = 900,
        point: str = POINT,
        direction: str = "import",
        statuses: tuple[str, ...] = ("valid",),
        quantity: Callable[[int], int] | None = None,
        revision: int = 1,
    ) -> Part:
        info, chance = ZoneInfo(zone), random.Random(day.toordinal())
        start, end = (
            int(datetime(d.year, d.month, d.day, tzinfo=info).timestamp()) for d in (day, day + timedelta(days=1))
        )
        draw = quantity or (lambda _n: chance.randrange(6_000))
        intervals = [
            _interval(t, t + step, statuses[n % len(statuses)], draw(n)) for n, t in enumerate(range(start, end, step))
        ]
        resolution = "PT15M" if step == 900 else "PT1H"
        series = Series(
            meter="main",
            point=point,
            channel=0,
            kind="active",
            direction=direction,
            resolution=resolution,
            unit=WH,
            zone=zone,
            intervals=intervals,
            created=end,
        )
        return Part(Slot(point, direction, "active", resolution, start), end, revision, ids(), series)

    return make


def _interval(start: int, end: int, status: str, quantity: int) -> Interval:
    found = None if status == "missing" else quantity
    return revised(missing(start, end), quantity=found, status=status, method="register", version=1)


@pytest.fixture
def make_build(ids) -> Callable[..., Build]:
    """Make what building needs; `now` in UTC s, other keys are those of [[hub]]."""

    def make(now: int, kind: str = "dk-datahub3", **settings) -> Build:
        given = {"name": "hub", "kind": kind, "party": PARTY, "points": (POINT,), "legal_basis": "test"} | settings
        return Build(HubSettings(**given), now, ids)

    return make


@pytest.fixture
def stored() -> Callable[..., Message]:
    """A draft as the store gives it back."""

    def store(draft: Draft, *, attempts: int = 1, state: str = "sending") -> Message:
        return Message(
            id=1,
            hub="hub",
            kind=draft.kind,
            operation=draft.operation,
            document=draft.document,
            body=draft.body,
            digest="",
            content_type=draft.content_type,
            parts=draft.parts,
            about=draft.about,
            way=draft.way,
            state=state,
            created=0,
            first=0,
            since=0,
            due=0,
            attempts=attempts,
        )

    return store


class Asked:
    """A session whose answers are written down before; requests are kept as (method, path, headers, body)."""

    certificate = None

    def __init__(self, answers: Iterator[Answer | Exception]) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self._answers = answers

    def request(self, method, path, *, operation, body=b"", headers=None, **_more) -> Answer:
        self.requests.append((method, path, dict(headers or {}), body))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Known:
    """What an inbox may look up, from messages that are given."""

    def __init__(self, *messages: Message) -> None:
        self.messages = messages
        self.notes: dict[str, bytes] = {}

    def document(self, document: str) -> Message | None:
        return next((one for one in self.messages if one.document == document), None)

    def transaction(self, transaction: str):
        return next(((m, p) for m in self.messages for p in m.parts if p.transaction == transaction), None)

    def awaiting(self, operation: str | None = None):
        return [one for one in self.messages if operation in (None, one.operation) and one.state == "accepted"]

    def note(self, key: str) -> bytes | None:
        return self.notes.get(key)

    def remember(self, key: str, value: bytes) -> None:
        self.notes[key] = value


@pytest.fixture
def asked() -> Callable[..., Asked]:
    return lambda *answers: Asked(iter(answers))


@pytest.fixture
def known() -> Callable[..., Known]:
    return Known


@pytest.fixture
def samples() -> Path:
    return SAMPLES
