"""From the journal to the ledger: readings into evidence, evidence into versions, and each day validated in the end.

Everything here blocks, and belongs to the thread of gateway.interval_keeper. What is committed is exactly what was
folded: evidence, versions and the position in the journal go into one transaction.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.interval_days import Validator, is_due, mark_due, mark_edited
from gateway.interval_folding import Folding
from gateway.interval_series import Part, Splitter, scaled
from gateway.intervals import calendar
from gateway.intervals.billed import Compared, Peak, compare, peaks_of
from gateway.intervals.continuity import MOST_W, Origin, Rules
from gateway.intervals.demand import Demand, DemandDay, compare_day, demands_of
from gateway.intervals.evidence import Evidence, Reading
from gateway.intervals.fold import refold
from gateway.intervals.model import Interval, Resolution, SeriesKey
from gateway.intervals.owed import Mark
from gateway.item_p import ItemP
from gateway.settings import PointSettings, Settings
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import EVIDENCE_S, Asked, Batch, IntervalStore, Owing

#: evidence of so long (s) stays in memory: a day that is over, and the next one's first hours
HOT_S: Final = 40 * 3_600
#: kinds of readings that one series may have: meters, qualities, proofs
MOST_ORIGINS: Final = 256
_UTC: Final = ZoneInfo("UTC")


class Told(NamedTuple):
    """A version that was stored, for those who are told of it."""

    series: SeriesRow
    resolution: Resolution
    interval: Interval
    #: the meter's own peak of the month beside ours, after the day of `interval`; then it is this that is told
    peak: Compared | None = None
    #: or the meter's own means of the quarter-hours of that day beside ours
    demands: DemandDay | None = None


class Folder:
    """All series of a configuration, over an open ledger."""

    def __init__(  # noqa: PLR0913 - what it asks of the world, by name
        self,
        store: IntervalStore,
        settings: Settings,
        splitter: Splitter,
        *,
        zone_of: Callable[[str], ZoneInfo | None],
        synchronised: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """`zone_of` gives the zone that a profile states."""
        self._store = store
        self._settings = settings
        self._splitter = splitter
        self._zone_of = zone_of
        self._synchronised = synchronised
        self._clock = clock
        self._profiles: dict[str, str] = {}
        self.folding: dict[SeriesKey, Folding] = {}
        #: why readings were left out, and how many
        self.left_out: Counter[str] = Counter()
        #: peaks that the meters told since the last commit, by series and start of the month
        self._peaks: dict[SeriesKey, dict[int, Peak]] = {}
        #: what the meters said last in their quarter-hours since the last commit, by series and start
        self._demands: dict[SeriesKey, dict[int, Demand]] = {}
        #: edits whose days are not judged yet
        self._asked: list[Asked] = []
        self._validator = Validator(store, settings, clock=clock, synchronised=synchronised)
        for row in store.series().values():
            self._resume(row)

    def take(self, items: Sequence[ItemP], *, again: bool) -> None:
        """Fold readings in the order of receipt; `again`: they may have been folded before, and add no power twice."""
        synchronised = self._synchronised()
        found: dict[SeriesKey, list[Reading]] = {}
        for item in items:
            self._profiles.setdefault(item.meter, item.reading.profile)
            self._take_peaks(item)
            self._take_demands(item)
            for part in self._splitter.take(item, synchronised=synchronised):
                folding = self._admit(part)
                if folding is not None:
                    self._put(folding, part, item, found.setdefault(part.series.key, []), again=again)
        for key, readings in found.items():
            self.folding[key].evidence.feed(readings)

    def contradictions(self) -> int:
        """Readings of this run that contradicted what was known."""
        return sum(folding.evidence.contradictions for folding in self.folding.values())

    def has_news(self) -> bool:
        """Whether bounds may have changed."""
        return any(folding.evidence.changed is not None for folding in self.folding.values())

    def commit(self, position: tuple[str, int]) -> list[Told]:
        """Store what changed and how far the journal is folded; what is new."""
        batch = Batch(position=position)
        for key, folding in self.folding.items():
            evidence = folding.evidence
            if evidence.changed is None and not evidence.dirty:
                continue
            for resolution in folding.resolutions if evidence.changed else ():
                zone = folding.zone or _UTC
                batch.versions[key, resolution] = list(
                    refold(evidence, evidence.changed, resolution, zone, folding.begin)  # type: ignore[arg-type]
                )
            batch.cells[key] = evidence.dirty_cells()
            mark_due(folding, {res: batch.versions.get((key, res), []) for res in folding.resolutions})
            batch.states[key] = folding.state()
        batch.peaks, self._peaks = self._peaks, {}
        batch.demands, self._demands = self._demands, {}
        stored = self._store.write(batch)
        for key in batch.states:
            evidence = self.folding[key].evidence
            newest = evidence.newest
            evidence.stored(newest.t - HOT_S if newest else 0)
            self._forget_breaks(evidence)
        return [Told(self.folding[key].row, res, one) for (key, res), found in stored.items() for one in found]

    def validate(self) -> list[Told]:
        """Validate some of what is due; what is new. Call again as long as there is anything."""
        told = self._look_for_edits()
        for folding in self.folding.values():
            for resolution, versions in self._validator.work(folding, self.folding):
                told += [Told(folding.row, resolution, one) for one in versions]
                if resolution == "PT15M":
                    told += self._compare_peak(folding, versions[-1])
                    told += self._compare_demands(folding, versions[-1])
        self._answer()
        return told

    def owed(self, meter: str, since: Mark) -> tuple[list[tuple[Mark, Told]], Mark | None]:
        """What consumers of a meter are owed from a mark on, in order, and the mark of what is left for later.

        Behind the last quarter-hour of a validated day goes what is told after that day.
        """
        owing, rest = self._store.owed(meter, since)
        found = [one for one in owing if one.key in self.folding]
        lasts = {(one.key, self._day_of(one)): one for one in found if one.resolution == "PT15M" and _is_judged(one)}
        told: list[tuple[Mark, Told]] = []
        for one in found:
            folding = self.folding[one.key]
            also = [Told(folding.row, one.resolution, one.version)]
            if lasts.get((one.key, self._day_of(one))) is one:
                also += self._compare_peak(folding, one.version) + self._compare_demands(folding, one.version)
            told += [(one.mark, each) for each in also]
        return told, rest

    def _day_of(self, one: Owing) -> int:
        """Start of the local day of an interval."""
        folding = self.folding[one.key]
        return calendar.floor(one.version.start, "P1D", folding.zone or _UTC, folding.begin)

    def _compare_peak(self, folding: Folding, last: Interval) -> list[Told]:
        """The meter's own peak of the month in which a day was validated, beside ours."""
        if folding.zone is None:
            return []
        key, month = folding.row.key, calendar.floor(last.start, "P1M", folding.zone)
        until = calendar.end_of(month, "P1M", folding.zone)
        peak = next((one for one in self._store.peaks(key) if month < one.t <= until), None)
        if peak is None:
            return []
        compared = compare(peak, self._store.current(key, "PT15M", month, until))
        return [] if compared.agrees is None else [Told(folding.row, "PT15M", last, compared)]

    def _compare_demands(self, folding: Folding, last: Interval) -> list[Told]:
        """The meter's own means of the quarter-hours of a day that was validated, beside ours."""
        if folding.zone is None:
            return []
        key, start = folding.row.key, calendar.floor(last.start, "P1D", folding.zone, folding.begin)
        span = start, calendar.end_of(start, "P1D", folding.zone, folding.begin)
        day = compare_day(span, self._store.demands(key, *span), self._store.current(key, "PT15M", *span))
        return [] if day is None else [Told(folding.row, "PT15M", last, demands=day)]

    def _look_for_edits(self) -> list[Told]:
        """Take what persons edited, in whatever process, since the last look; each is told."""
        told = []
        for one in self._store.asked():
            folding = self.folding.get(one.key)
            if one in self._asked or folding is None:
                continue
            self._asked.append(one)
            mark_edited(folding, one.resolution, one.start)
            current = self._store.current(one.key, one.resolution, one.start, one.start + 1)
            told += [Told(folding.row, one.resolution, version) for version in current]
        return told

    def _answer(self) -> None:
        """Forget edits whose days were judged."""
        done = [one for one in self._asked if not is_due(self.folding[one.key], one.resolution, one.start)]
        if done:
            self._store.answered(done)
            self._asked = [one for one in self._asked if one not in done]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _resume(self, row: SeriesRow) -> Folding:
        point = self._settings.point_of(row.meter, row.channel)
        evidence = Evidence(_rules(row, point), self._store.archive(row.key))
        folding = self.folding[row.key] = Folding(row, evidence, point, self._zone(row.meter, point))
        state = self._store.state(row.key)
        if state is not None:
            evidence.origins = state.origins
            evidence.resume(state.newest, state.heard, state.breaks, behind=state.behind)
            folding.validated, folding.due = state.validated, set(state.due)
            folding.offsets = state.offsets
        return folding

    def _take_peaks(self, item: ItemP) -> None:
        """Keep the highest demand of the month as the meter tells it."""
        if item.reading.quality == "suspect":
            return
        for direction, peak in peaks_of(item.reading):
            folding = self.folding.get(SeriesKey(item.meter, 0, "active", direction))
            if folding is not None and folding.zone is not None and item.t is not None and peak.t <= item.t.timestamp():
                # stamped at its end: that of the last quarter-hour of a month is the next one's start
                month = calendar.floor(peak.t - 1, "P1M", folding.zone)
                known = self._peaks.setdefault(folding.row.key, {})
                if month not in known or known[month].watts < peak.watts:
                    known[month] = peak

    def _take_demands(self, item: ItemP) -> None:
        """Keep what the meter says last of the demand in each quarter-hour, by its own clock."""
        if item.t_source != "meter" or item.reading.quality == "suspect":
            return
        for direction, demand in demands_of(item.reading):
            key = SeriesKey(item.meter, 0, "active", direction)
            if key in self.folding:
                known = self._demands.setdefault(key, {})
                if demand.start not in known or known[demand.start].t <= demand.t:
                    known[demand.start] = demand

    def _admit(self, part: Part) -> Folding | None:
        """The series of a part; a new one begins with its first register reading."""
        row = part.series
        folding = self.folding.get(row.key)
        if folding is None and part.value is not None:
            self._store.add_series(row)
            folding = self._resume(row)
        if folding is None:
            return None
        if folding.row.unit != row.unit:
            self.left_out["unit"] += 1
            return None
        if folding.zone is None:
            folding.zone = self._zone(row.meter, folding.point)
        return folding

    def _put(self, folding: Folding, part: Part, item: ItemP, readings: list[Reading], *, again: bool) -> None:
        origin = _index(folding.evidence.origins, part.origin)
        if origin is None:
            self.left_out["origins"] += 1
            return
        newest = folding.evidence.newest
        power = None if again and newest is not None and part.t <= newest.t else part.power
        value = part.value
        if value is not None:
            value = scaled(value, part.series.exponent - folding.row.exponent)
        if value is not None or power is not None:
            readings.append((part.t, value, power, origin))
        offset = 0.0 if item.t_source == "gateway" and item.reading.t is None else item.clock_offset_s
        if offset is not None:
            folding.take_offset(part.t, offset)

    def _zone(self, meter: str, point: PointSettings) -> ZoneInfo | None:
        """The zone of a point: its own, that of the meter, or that which the profile states; never a guess."""
        settings = next((one for one in self._settings.meter if one.name == meter), None)
        name = point.timezone or (settings.timezone if settings else None)
        if name:
            return ZoneInfo(name)
        profile = self._profiles.get(meter) or (settings.profile if settings else "auto")
        return None if profile == "auto" else self._zone_of(profile)

    @staticmethod
    def _forget_breaks(evidence: Evidence) -> None:
        """Drop breaks as old as evidence that is not kept."""
        if evidence.newest is not None:
            oldest = evidence.newest.t - EVIDENCE_S
            evidence.breaks = [one for one in evidence.breaks if one.after.t >= oldest]


def _is_judged(one: Owing) -> bool:
    return one.version.author == "vee"


def _rules(row: SeriesRow, point: PointSettings) -> Rules:
    """What is known of a register; `register_digits` are those in front of the point, of kWh, m3 or GJ."""
    limit = None if row.unit not in ("Wh", "varh") else max(MOST_W, 2 * (point.max_power_w or 0))
    front = 3 if row.unit in ("Wh", "varh") else -row.exponent
    modulus = None if point.register_digits is None else 10 ** (point.register_digits + front)
    return Rules(limit, modulus, point.max_bound_gap_s)


def _index(origins: list[Origin], origin: Origin) -> int | None:
    """Place of an origin, which may be new; None where there are too many."""
    if origin in origins:
        return origins.index(origin)
    if len(origins) >= MOST_ORIGINS:
        return None
    origins.append(origin)
    return len(origins) - 1
