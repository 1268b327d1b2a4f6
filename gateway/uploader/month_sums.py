"""Sums of a month: asked of a hub once, and laid beside the sum of what was validated here; each difference is told."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from zoneinfo import ZoneInfo

import msgspec

from gateway.hub_model import Draft, Event
from gateway.hub_settings import HubSettings
from gateway.intervals import calendar
from gateway.intervals.calendar import MIDNIGHT
from gateway.intervals.model import Direction, Interval, Resolution, SeriesKey
from gateway.stores.hub_reading import HubRows
from gateway.stores.hubs import UPLOADER, HubStore
from gateway.uploader.hub import Build, BuildError, HubAdapter

#: notes: months that were asked for (the last MOST_MONTHS), and what of the hub was looked through
ASKED, COMPARED = "uploader.sums.asked", "uploader.sums.compared"
MOST_MONTHS: Final = 48
#: direction of the metering point types of the Danish hub that have one
TYPES: Final[Mapping[str, Direction]] = {"E17": "import", "E18": "export"}
PRICE: Final = ("price_owner", "price_type", "price_id")
#: what tells a sum of a month from another one; an id of a price is its owner's, for each type
_KIND: Final = ("start", "end", "grid_area", "supplier", *PRICE, "point_type", "settlement_method")
_PAGE: Final = 100
#: start and end (UTC s)
Span: TypeAlias = tuple[int, int]
#: series by direction, each with the exponent of its unit of Wh
Ours: TypeAlias = Mapping[Direction, Sequence[tuple[SeriesKey, int]]]


class Intervals(Protocol):
    """The intervals of the ledger (gateway.stores.intervals)."""

    def current(self, key: SeriesKey, resolution: Resolution, since: int, until: int) -> Iterator[Interval]:
        """The current version of each interval with since <= start < until."""
        ...

    def extent(self, key: SeriesKey, resolution: Resolution) -> tuple[int, int] | None:
        """Start of the first and end of the last interval that is kept."""
        ...


class Own(NamedTuple):
    """Validated energy of points in one direction."""

    wh: int
    points: int
    #: intervals without a value
    lacking: int


class Beside(NamedTuple):
    """What the hub says of a month in one direction, for one price; None: no sum, or one that is not of whole Wh."""

    start: int
    end: int
    type: str
    price: tuple[str, ...]
    theirs: int | None
    own: Own

    @property
    def key(self) -> str:
        """What it is known by."""
        return " ".join((self.month, self.type, *self.price))

    @property
    def month(self) -> str:
        """YYYY-MM."""
        return f"{month_of(self.start, self.end):%Y-%m}"

    @property
    def agrees(self) -> bool:
        """Whether both are the same to the Wh."""
        return self.theirs == self.own.wh


def latest(rows: HubRows, hub: str, alive: Callable[[], None] = lambda: None) -> list[Mapping[str, Any]]:
    """Sums that a hub told, the last one of each kind."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    after = 0
    while page := rows.received(hub, after=after, limit=_PAGE):
        alive()
        after = page[-1].id
        for one in page:
            for fact in one.data.facts.get("sums", ()):
                if isinstance(fact, Mapping):
                    found[tuple(fact.get(key) for key in _KIND)] = fact
    return list(found.values())


def month_of(start: int, end: int) -> date:
    """The month that a period is, by the middle of it."""
    return datetime.fromtimestamp((start + end) // 2, UTC).date().replace(day=1)


def own_sum(
    series: Iterable[tuple[SeriesKey, int]],
    intervals: Intervals,
    resolution: Resolution,
    span: Span,
    alive: Callable[[], None] = lambda: None,
) -> Own:
    """Validated energy of series, each with the exponent of its unit of Wh, in since <= start < until."""
    total = points = lacking = 0
    step = calendar.FIXED[resolution]
    for key, exponent in series:
        alive()
        points += 1
        found = [one for one in intervals.current(key, resolution, *span) if one.is_item_e]
        total += sum((one.quantity or 0) * 10**exponent for one in found)
        lacking += (span[1] - span[0]) // step - len(found)
    return Own(total, points, lacking)


class MonthSums:
    """The sums of one hub, in its thread."""

    def __init__(  # noqa: PLR0913 - what it works with, by name
        self,
        hub: HubSettings,
        adapter: HubAdapter,
        store: HubStore,
        *,
        tell: Callable[[Event], None],
        flush: Callable[[], None],
        alive: Callable[[], None],
    ) -> None:
        """`flush` waits until what was told outlives the process; `alive` is called for each page and series."""
        self._hub, self._adapter, self._store = hub, adapter, store
        self._tell, self._flush, self._alive = tell, flush, alive

    def ask(
        self, today: date, about: Build, zone: ZoneInfo, own: Callable[[], tuple[Ours, Intervals]]
    ) -> tuple[Sequence[Draft], Mapping[str, bytes]]:
        """What is to be asked on a local day, and the notes that go into the ledger with it.

        A month of which nothing is kept here is not asked for: there is nothing to compare.
        """
        month = f"{today.replace(day=1) - timedelta(1):%Y-%m}"
        asked = self._asked()
        if not 0 < self._hub.sums_on_day <= today.day or month in asked or not self._has(*own(), today, zone):
            return (), {}
        try:
            draft = self._adapter.request("sums", {**self._hub.sums, "month": month}, about)
        except BuildError as error:
            text = f"the sums of {month} cannot be asked: {error}"
            self._tell(Event(error.code, self._hub.name, "error", text, about.now, f"sums {month}"))
            return (), {}
        return (draft,), {ASKED: msgspec.json.encode([*asked, month][-MOST_MONTHS:])}

    def _has(self, ours: Ours, reader: Intervals, today: date, zone: ZoneInfo) -> bool:
        """Whether anything of the month before is kept here."""
        end = calendar.month_start(today.replace(day=1), zone, MIDNIGHT)
        start = calendar.month_start((today.replace(day=1) - timedelta(1)).replace(day=1), zone, MIDNIGHT)
        extents = (reader.extent(key, self._hub.resolution) for some in ours.values() for key, _ in some)
        return any(found is not None and found[0] < end and start < found[1] for found in extents)

    def look(self, own: Callable[[], tuple[Ours, Intervals]], now: int) -> None:
        """Lay what the hub told since the last time of months that were asked for beside our own, and tell of it."""
        if not self._hub.sums_on_day or not (asked := self._asked()):
            return
        before = self._position()
        fresh, last = self._fresh(asked, before)
        if fresh:
            self._compare(fresh, *own(), now)
        if last != before:
            self._store.remember(self._hub.name, COMPARED, b"%d" % last)

    def _compare(self, fresh: Collection[Span], ours: Ours, reader: Intervals, now: int) -> None:
        facts = [fact for fact in latest(self._store, self._hub.name, self._alive) if _span(fact) in fresh]
        found = list(self._beside(facts, ours, reader))
        for one in found:
            self._tell(self._event(one, now))
        self._flush()
        for one in found:
            verdict = "agrees" if one.agrees else "differs"
            about = {"month": one.month, "type": one.type, "price": " ".join(one.price), "sum": verdict}
            self._store.say("sums", self._hub.name, UPLOADER, now, about)

    def _fresh(self, asked: Collection[str], after: int) -> tuple[set[Span], int]:
        """Periods of which the hub told since the last time, and up to where it was looked through."""
        fresh: set[Span] = set()
        while page := self._store.received(self._hub.name, after=after, limit=_PAGE):
            self._alive()
            after = page[-1].id
            told = [fact for one in page for fact in one.data.facts.get("sums", ()) if _is_of(fact, asked)]
            fresh |= {span for fact in told if (span := _span(fact)) is not None}
        return fresh, after

    def _beside(self, facts: Sequence[Mapping[str, Any]], ours: Ours, reader: Intervals) -> Iterator[Beside]:
        """Sums of the hub, those of parts of it (areas, suppliers) together, and what it tells no sum of."""
        parts: dict[tuple[Span, str, tuple[str, ...]], list[int | None]] = {}
        for fact in facts:
            span, price = _span(fact), tuple(str(fact[key]) for key in PRICE if fact.get(key))
            if span is not None and (of := str(fact.get("point_type"))) in TYPES:
                wh = fact.get("energy_wh")
                parts.setdefault((span, of, price), []).append(wh if isinstance(wh, int) else None)
        own: dict[tuple[Span, str], Own] = {}
        for span in dict.fromkeys(span for fact in facts if (span := _span(fact)) is not None):
            for of, direction in TYPES.items():
                own[span, of] = own_sum(ours.get(direction, ()), reader, self._hub.resolution, span, self._alive)
        for (span, of, price), told in parts.items():
            known = [wh for wh in told if wh is not None]
            yield Beside(*span, of, price, sum(known) if len(known) == len(told) else None, own[span, of])
        silent = own.keys() - {(span, of) for span, of, _ in parts}
        yield from (Beside(*span, of, (), None, own[span, of]) for span, of in sorted(silent) if own[span, of].wh)

    def _event(self, one: Beside, now: int) -> Event:
        what = " ".join(filter(None, (one.type, TYPES[one.type], " ".join(one.price))))
        head = f"sums of {one.month}, {what}:"
        if one.agrees:
            text = f"{head} the hub says what we do"
            return Event("sums_differ", self._hub.name, "info", text, now, one.key, recovered=True)
        theirs = "no sum" if one.theirs is None else f"{one.theirs} Wh"
        more = "" if one.theirs is None else f", ours - theirs {one.own.wh - one.theirs} Wh"
        lacking = f"; {one.own.lacking} intervals of ours have no value" if one.own.lacking else ""
        text = f"{head} ours {one.own.wh} Wh, the hub's {theirs}{more}{lacking}"
        return Event("sums_differ", self._hub.name, "warning", text, now, one.key)

    def _asked(self) -> list[str]:
        try:
            return msgspec.json.decode(self._store.note(self._hub.name, ASKED) or b"[]", type=list[str])
        except msgspec.DecodeError:
            return []

    def _position(self) -> int:
        kept = self._store.note(self._hub.name, COMPARED) or b""
        return int(kept) if kept.isdigit() else 0


def _span(fact: object) -> Span | None:
    """Period of a sum (UTC s), where it has one."""
    if not isinstance(fact, Mapping):
        return None
    start, end = fact.get("start"), fact.get("end")
    return (start, end) if isinstance(start, int) and isinstance(end, int) and 0 <= start < end < 1 << 34 else None


def _is_of(fact: object, months: Collection[str]) -> bool:
    span = _span(fact)
    return span is not None and f"{month_of(*span):%Y-%m}" in months
