"""A hub that may lie, lose, refuse and be away, in this process; it counts what it took twice."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.hub_model import Draft, Event, Inbound, Message, Part, PartRow, Reason, Receipt
from gateway.hub_settings import HubSettings
from gateway.intervals import calendar
from gateway.intervals.model import Bound, Interval, SeriesKey
from gateway.settings import LedgerSettings, MeterSettings, PointSettings, Settings
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import IntervalStore
from gateway.stores.ledger_file import LedgerFile
from gateway.uploader.hub import Answer, Build, BuildError, Open, Policy, SessionError

ZONE = ZoneInfo("Europe/Copenhagen")
POINT = "571313000000002000"
#: something in front of the hub refuses, and the hub has not seen it
PROXY = "proxy"


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Hub:
    """What the hub has: it outlives the uploader."""

    #: documents that it knows, with their bytes
    known: dict[str, bytes] = field(default_factory=dict)
    #: (point, direction, start, revision) -> how often it took effect
    effects: dict[tuple[Any, ...], int] = field(default_factory=dict)
    #: what it holds: (point, direction, start) -> (revision, quantities)
    values: dict[tuple[Any, ...], tuple[int, list[Any]]] = field(default_factory=dict)
    queue: list[Inbound] = field(default_factory=list)
    sends: int = 0
    #: bodies that came under an id that had another body
    forged: list[str] = field(default_factory=list)

    def take(self, message: Message) -> bool:
        """Take a message; False when it was there."""
        if message.document in self.known:
            if self.known[message.document] != message.body:
                self.forged.append(message.document)
            return False
        self.known[message.document] = message.body
        for part in json.loads(message.body)["parts"]:
            slot = part["point"], part["direction"], part["start"]
            effect = (*slot, part["revision"])
            self.effects[effect] = self.effects.get(effect, 0) + 1
            if part["revision"] > self.values.get(slot, (0, []))[0]:
                self.values[slot] = part["revision"], part["values"]
        return True


class Lying:
    """An adapter; `script` gives what happens to each send, `draw` a fault by chance."""

    def __init__(
        self,
        settings: HubSettings,
        hub: Hub,
        policy: Policy | None = None,
        *,
        rng: random.Random | None = None,
        script: Iterator[str] | None = None,
    ) -> None:
        self.settings = settings
        self.hub = hub
        self.policy = policy or Policy(max_parts=10, confirm_after_s=3_600, query_s=0)
        self.script = script
        self.rng = rng
        self.refuses: set[str] = set()
        self.asked: list[Draft] = []
        #: what a test does while a message is on its way
        self.looks: Callable[[Message], None] = lambda _: None

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        bad = tuple(part.slot for part in parts if part.slot.point in self.refuses)
        if bad:
            raise BuildError("this point is not known", bad)
        drafts = []
        for first in range(0, len(parts), self.policy.max_parts):
            some = parts[first : first + self.policy.max_parts]
            body = json.dumps({"parts": [_part(part) for part in some]}).encode()
            rows = tuple(PartRow(one.slot, one.end, one.revision, one.transaction, b"", "") for one in some)
            drafts.append(Draft("readings", "send", about.new_id(), body, "application/json", rows))
        return drafts

    def send(self, session: Any, message: Message) -> Receipt:
        self.hub.sends += 1
        self.looks(message)
        what = next(self.script, "ok") if self.script else self._draw()
        if what == PROXY:
            return Receipt("rejected", (Reason("http_400", "bad request"),), status=400, judged=False)
        if what == "some":
            self.hub.take(message)
            first = (message.parts[0].transaction,)
            return Receipt("rejected", (Reason("A50", "not above the stored version"),), status=200, transactions=first)
        return self._answer(what, message)

    def _draw(self) -> str:
        if self.rng is None:
            return "ok"
        return self.rng.choice(
            ["ok"] * 6
            + ["busy", "before", "after", "lost", "lie", "503", "blocked", "kill-before", "kill-after", "reject"]
            + [PROXY]
        )

    def _answer(self, what: str, message: Message) -> Receipt:
        if what == "before":
            raise SessionError("refused", sent=False)
        if what == "blocked":
            raise SessionError("the certificate is refused", sent=False, person=True)
        if what in ("busy", "503"):
            return Receipt("busy", (Reason("503", "overload"),), retry_after_s=30 if what == "503" else None)
        if what == "kill-before":
            raise Killed
        if what == "lie":
            # it says that it failed, and has it
            self.hub.take(message)
            return Receipt("unknown", (Reason("500", "internal error"),), status=500)
        if what == "lost":
            return Receipt("accepted", status=202)
        if what == "reject" and message.document not in self.hub.known:
            return Receipt("rejected", (Reason("E10", "metering point unknown"),), status=400)
        fresh = self.hub.take(message)
        if what == "kill-after":
            raise Killed
        if what == "after":
            raise SessionError("the connection ended", sent=True)
        return Receipt("accepted" if fresh else "duplicate", status=202)

    def query(self, session: Any, message: Message) -> Receipt:
        return Receipt("confirmed" if message.document in self.hub.known else "pending")

    def inbox(self, session: Any, open_: Open) -> Iterator[Inbound]:
        while self.hub.queue:
            yield self.hub.queue[0]
            self.hub.queue.pop(0)

    def requests(self) -> Mapping[str, str]:
        return {}

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        raise BuildError("nothing can be asked")

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        return self.asked


class Quiet:
    """A session without a wire."""

    def __init__(self) -> None:
        self.certificate = None
        self.trouble = None
        self.changed = 0
        self.reminder = self
        self.told: dict[str, int] = {}

    def request(self, *_: object, **__: object) -> Answer:
        raise AssertionError("no adapter of these tests has a wire")

    def generation(self) -> int:
        return self.changed

    def expiries(self) -> list[Event]:
        return []

    def close(self) -> None:
        pass


def hub_settings(**changes: Any) -> HubSettings:
    return HubSettings(
        **(
            {
                "name": "dk",
                "kind": "dk-datahub3",
                "url": "https://127.0.0.1:1",
                "points": (POINT,),
                "legal_basis": "a contract",
                "receiver": "5790001330552",
                "jitter_s": 0,
            }
            | changes
        )
    )


def settings(folder: Path, hub: HubSettings, points: Sequence[PointSettings] = ()) -> Settings:
    return Settings(
        meter=(MeterSettings(name="main", port="/dev/null", timezone=ZONE.key),),
        ledger=LedgerSettings(path=str(folder / "l.db")),
        point=tuple(points) or (PointSettings(meter="main", id=POINT),),
        hub=(hub,),
    )


class Home:
    """The intervals of one household in an open ledger."""

    def __init__(self, file: LedgerFile, clock: Any) -> None:
        self.store = IntervalStore(file, clock)

    def series(self, meter: str = "main", direction: Any = "import") -> SeriesKey:
        self.store.add_series(SeriesRow(meter, 0, "active", direction, "Wh", 0, "electricity"))
        return SeriesKey(meter, 0, "active", direction)

    def fill(self, key: SeriesKey, day: date, *, status: Any = "valid", wh: int = 100, version: int = 1) -> None:
        """A version of every quarter-hour of a local day."""
        bounds = calendar.bounds_of_day(day, "PT15M", ZONE)
        pairs = pairwise(bounds)
        made = [interval(start, end, status, wh + n, version) for n, (start, end) in enumerate(pairs)]
        self.store.add(key, "PT15M", made)


def interval(start: int, end: int, status: Any, wh: int, version: int) -> Interval:
    low, high = Bound(start, 0, "measured"), Bound(end, wh, "measured")
    return Interval(
        start,
        end,
        None if status == "missing" else wh,
        status,
        "measured",
        "verified",
        "meter",
        1_000,
        low,
        high,
        "register",
        1,
        version=version,
        author="vee",
    )


def midnight(day: date) -> int:
    return calendar.day_start(day, ZONE)


def noon(day: date) -> int:
    return midnight(day) + 12 * 3_600


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(n) for n in range(count)]


def _part(part: Part) -> dict[str, Any]:
    values = [one.quantity for one in part.series.intervals]
    slot = part.slot
    return {
        "point": slot.point,
        "direction": slot.direction,
        "start": slot.start,
        "revision": part.revision,
        "transaction": part.transaction,
        "values": values,
    }
