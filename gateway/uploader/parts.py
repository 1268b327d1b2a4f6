"""A day of a series as a part: every interval, only what is item E, with a hash of what a hub gets to know."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from gateway.hub_content import content
from gateway.hub_model import Part, PartRow, Slot
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.model import Interval, Resolution, Series, SeriesKey, missing
from gateway.stores.hub_rows import SlotRow
from gateway.uploader.targets import Target


class Reader(Protocol):
    """The intervals of the ledger (gateway.stores.intervals)."""

    def current(self, key: SeriesKey, resolution: Resolution, since: int, until: int) -> Iterator[Interval]:
        """The current version of each interval with since <= start < until."""
        ...

    def extent(self, key: SeriesKey, resolution: Resolution) -> tuple[int, int] | None:
        """Start of the first and end of the last interval that is kept."""
        ...


class Due(NamedTuple):
    """A part that is to be staged."""

    target: Target
    part: Part
    #: what the store keeps of it
    row: PartRow


class Parts:
    """Makes the parts of one hub in its resolution."""

    def __init__(self, resolution: Resolution, reader: Reader, new_id: Callable[[], str]) -> None:
        self._resolution: Resolution = resolution
        self._reader = reader
        self._new_id = new_id

    def slot(self, target: Target, start: int) -> Slot:
        """What the hub keeps one value of."""
        return Slot(target.point, target.direction, target.kind, self._resolution, start)

    def intervals(self, target: Target, start: int, end: int) -> list[Interval]:
        """Every interval of a day, without a gap."""
        begin = GAS_DAY if target.gas_day else MIDNIGHT
        found = {one.start: one for one in self._reader.current(target.key, self._resolution, start, end)}
        spans = calendar.spans(start, end, self._resolution, target.zone, begin)
        return [found.get(since) or missing(since, until) for since, until in spans]

    def made(
        self, target: Target, span: tuple[int, int], found: Sequence[Interval], row: SlotRow | None, now: int
    ) -> Due:
        """The next revision of a day; `row`: what is known of its slot."""
        start, end = span
        shown = [_validated(one) for one in found]
        series = Series(
            meter=target.key.meter,
            point=target.point,
            channel=target.key.channel,
            kind=target.kind,
            direction=target.direction,
            resolution=self._resolution,
            unit=target.unit,
            zone=target.zone.key,
            intervals=shown,
            created=now,
            medium=target.medium,
            gas_day=target.gas_day,
        )
        slot, transaction = self.slot(target, start), self._new_id()
        revision = 1 if row is None else row.revision + 1
        said = content(shown, target.unit)
        part = Part(slot, end, revision, transaction, series)
        return Due(target, part, PartRow(slot, end, revision, transaction, said, target.basis))


def _validated(interval: Interval) -> Interval:
    """What a hub may see of an interval: nothing leaves that is not item E."""
    if interval.is_item_e or interval.status == "missing":
        return interval
    return replace(interval, quantity=None, status="missing")
