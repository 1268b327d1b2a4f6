"""Puts the intervals of a fleet into a ledger, through the store that validation writes them with."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from gateway.intervals.model import Bound, Interval, Resolution, SeriesKey
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import IntervalStore
from gateway.stores.ledger_salvage import open_ledger
from tests.hubfleet.truth import Fleet


class Filler:
    """A ledger that is being filled; used by one thread."""

    def __init__(self, path: Path, fleet: Fleet) -> None:
        self.fleet = fleet
        self._file = open_ledger(path).file
        self._store = IntervalStore(self._file)

    def close(self) -> None:
        """Close the ledger."""
        self._file.close()

    def fill(self, numbers: Iterable[int]) -> None:
        """Version 1 of every day of some points."""
        fleet = self.fleet
        for number in numbers:
            key = _key(fleet, number)
            self._store.add_series(SeriesRow(*key, unit="Wh", exponent=0, medium="electricity"))
            self._add(number, range(fleet.days), 1)
            fleet.versions.update({(number, day): 1 for day in range(fleet.days)})

    def correct(self, number: int, day: int) -> None:
        """The next version of one day of one point, in one transaction."""
        version = self.fleet.versions[number, day] + 1
        self._add(number, [day], version)
        self.fleet.versions[number, day] = version

    def _add(self, number: int, days: Iterable[int], version: int) -> None:
        resolution = cast("Resolution", self.fleet.resolution(number))
        self._store.add(_key(self.fleet, number), resolution, self._versions(number, days, version))

    def _versions(self, number: int, days: Iterable[int], version: int) -> Iterator[Interval]:
        for day in days:
            starts = self.fleet.starts(number, day)
            for start in starts:
                yield _interval(start, starts.step, self.fleet.wh(number, start, version), version)


def _key(fleet: Fleet, number: int) -> SeriesKey:
    meter, channel = fleet.place(number)
    return SeriesKey(meter, channel, "active", "import")


def _interval(start: int, step_s: int, wh: int, version: int) -> Interval:
    low, high = Bound(start, 0, "measured"), Bound(start + step_s, wh, "measured")
    return Interval(
        start, start + step_s, wh, "valid", "measured", "verified", "meter", 1_000, low, high, "register", 1,
        version=version, author="vee",
    )  # fmt: skip
