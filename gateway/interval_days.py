"""Which days are due, and what validation makes of them: each local day once it is over, and again after late data.

A day is over a quarter of an hour after its end, and when the register is known beyond it: nothing is estimated into a
time of which nobody knows yet whether the meter still counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.interval_folding import Folding
from gateway.intervals import calendar
from gateway.intervals.edit import carried
from gateway.intervals.findings import Clock, Day
from gateway.intervals.limits import Limits, of_direction
from gateway.intervals.model import RESOLUTIONS, Interval, Resolution, SeriesKey
from gateway.intervals.vee import run_day
from gateway.settings import PointSettings, Settings
from gateway.stores.intervals import IntervalStore, StaleError

#: after the end of a day (s): telegrams of its last minutes are in the journal then
SETTLES_S: Final = 900
#: days that one round validates at most, of each series
AT_ONCE: Final = 4
#: days before, with which a day is compared
BEFORE_S: Final = 28 * 86_400
_UTC: Final = ZoneInfo("UTC")
_DAY_S: Final = 86_400


class Validator:
    """Runs validation and estimation over what is due."""

    def __init__(
        self,
        store: IntervalStore,
        settings: Settings,
        *,
        clock: Callable[[], float],
        synchronised: Callable[[], bool],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._synchronised = synchronised

    def work(
        self, folding: Folding, others: Mapping[SeriesKey, Folding]
    ) -> Iterator[tuple[Resolution, list[Interval]]]:
        """Validate some of the days of a series that are due; the new versions."""
        for resolution, start in self._due(folding)[:AT_ONCE]:
            end = _end(folding, resolution, start)
            day = self._day(folding, others, resolution, (start, end))
            try:
                stored = self._store.add(folding.row.key, resolution, run_day(day).versions)
            except StaleError:
                continue  # a person edited meanwhile: the next round sees it
            folding.due.discard((resolution, start))
            folding.validated[resolution] = max(end, folding.validated.get(resolution, 0))
            if stored:
                yield resolution, stored

    def _due(self, folding: Folding) -> list[tuple[Resolution, int]]:
        """What is over and not validated since it changed, the oldest first."""
        newest = folding.evidence.newest
        if newest is None:
            return []
        over = min(int(self._clock()) - SETTLES_S, newest.t)
        due = [one for one in folding.due if _end(folding, *one) <= over]
        return sorted(due, key=lambda one: (one[1], one[0]))

    def _day(
        self,
        folding: Folding,
        others: Mapping[SeriesKey, Folding],
        resolution: Resolution,
        span: tuple[int, int],
    ) -> Day:
        key, (since, until), zone = folding.row.key, span, folding.zone or _UTC
        bounds = [start for start, _ in calendar.spans(since, until, resolution, zone, folding.begin)] + [until]
        opposite = key._replace(direction="export" if key.direction == "import" else "import")
        other = self._store.current(opposite, resolution, since, until) if opposite in others else ()
        shorter = RESOLUTIONS[: RESOLUTIONS.index(resolution)]
        edits = {one: list(self._store.edits(key, one, since, until)) for one in shorter}
        found = list(self._store.folded(key, resolution, since, until))
        return Day(
            key=key,
            unit=folding.row.of,
            zone=zone,
            limits=limits(self._settings, folding.point, key),
            bounds=bounds,
            found=found,
            current={one.start: one for one in self._store.current(key, resolution, since, until)},
            before=list(self._store.current(key, resolution, since - BEFORE_S, since)),
            other={one.start: one for one in other},
            clock=self._clock_of(folding, since, until),
            outages=silences(key, found),
            carried=carried(list(pairwise(bounds)), edits),
        )

    def _clock_of(self, folding: Folding, since: int, until: int) -> Clock:
        """The clocks of a day: None where nobody compared them."""
        known = [folding.offsets[day] for day in range(since // _DAY_S, -(-until // _DAY_S)) if day in folding.offsets]
        if folding.hour is not None and since <= folding.hour[0] * 3_600 < until:
            known.append(folding.hour[1])
        return Clock(max(known) / 1_000 if known else None, synchronised=self._synchronised())


def silences(key: SeriesKey, found: Sequence[Interval]) -> list[tuple[int, int]]:
    """Intervals in which nothing came: the meter, its line or the gateway was out of service (V15).

    Of a main meter: each of its telegrams has energy or power, while a gas meter is silent for an hour by nature.
    """
    if key.channel or key.kind != "active":
        return []
    return [(one.start, one.end) for one in found if not one.coverage]


def mark_edited(folding: Folding, resolution: Resolution, start: int) -> None:
    """Note what an edit changes: the day of its interval, in its own resolution and in those that contain it."""
    for longer in RESOLUTIONS[RESOLUTIONS.index(resolution) :]:
        if longer == resolution or longer in folding.resolutions:
            folding.due.add((longer, _start(folding, longer, start)))


def is_due(folding: Folding, resolution: Resolution, start: int) -> bool:
    """Whether anything that an edit changes is still to be judged."""
    return any(
        (longer, _start(folding, longer, start)) in folding.due
        for longer in RESOLUTIONS[RESOLUTIONS.index(resolution) :]
    )


def mark_due(folding: Folding, versions: Mapping[Resolution, Sequence[Interval]]) -> None:
    """Note the days of versions that the fold made."""
    for resolution, found in versions.items():
        for interval in found:
            folding.due.add((resolution, _start(folding, resolution, interval.start)))


def limits(settings: Settings, point: PointSettings, key: SeriesKey) -> Limits:
    """The thresholds of a series: those of its point, else the usual ones; the connection is that of the meter."""
    given: dict[str, Any] = {
        one.name: value for one in fields(Limits) if (value := getattr(point, one.name, None)) is not None
    }
    meter = next((one for one in settings.meter if one.name == key.meter), None)
    if meter is not None and "max_power_w" not in given:
        given["max_power_w"] = meter.max_power_w
    return of_direction(Limits(**given), key.direction)


def _start(folding: Folding, resolution: Resolution, t: int) -> int:
    return calendar.floor(t, _period(resolution), folding.zone or _UTC, folding.begin)


def _end(folding: Folding, resolution: Resolution, start: int) -> int:
    return calendar.end_of(start, _period(resolution), folding.zone or _UTC, folding.begin)


def _period(resolution: Resolution) -> Resolution:
    """What is validated together: a day, or a month of its own."""
    return "P1M" if resolution == "P1M" else "P1D"
