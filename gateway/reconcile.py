"""Two accounts of the same energy side by side: per interval, day and month, each difference in Wh and explained.

What one side says is compared as it stands: nothing is filled, scaled or rounded. Where the sides have intervals of
different length, the shorter ones are added up to the longer, and only where all of them are there.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from gateway.imports.record import MILLI, ImportFileError, Row, Said
from gateway.intervals.calendar import MIDNIGHT, day_of

Verdict: TypeAlias = Literal["equal", "differs", "only_ours", "only_theirs", "neither"]
#: from good to bad: a sum is as good as its worst part
GRADES: Final[tuple[Said, ...]] = ("measured", "edited", "estimated", "raw", "unknown", "suspect", "missing")


class Difference(NamedTuple):
    """One interval on both sides: mWh, None where a side has no value; `why` explains by quality."""

    start: int
    end: int
    ours: int | None
    theirs: int | None
    verdict: Verdict
    why: str

    @property
    def milli_wh(self) -> int | None:
        """Ours minus theirs; None where one is not known."""
        return None if self.ours is None or self.theirs is None else self.ours - self.theirs


@dataclass(slots=True)
class Sum:
    """A day, a month or everything: only intervals that both sides have a value for are added up."""

    ours: int = 0
    theirs: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)

    def add(self, one: Difference) -> None:
        """Take an interval in."""
        self.verdicts[one.verdict] += 1
        if one.ours is not None and one.theirs is not None:
            self.ours += one.ours
            self.theirs += one.theirs

    @property
    def difference(self) -> int:
        """Ours minus theirs (mWh)."""
        return self.ours - self.theirs

    @property
    def energy(self) -> tuple[int, int, int] | tuple[None, None, None]:
        """Ours, theirs and their difference (mWh); None where no interval has a value on both sides: that is no 0."""
        if not self.verdicts["equal"] + self.verdicts["differs"]:
            return None, None, None
        return self.ours, self.theirs, self.difference


def compare(ours: Iterable[Row], theirs: Iterable[Row]) -> list[Difference]:
    """Every interval of both sides, rising; raises ImportFileError where a side says an interval twice, differently."""
    left, right = _by_start(ours, "ours"), _by_start(theirs, "theirs")
    if _step(left) < _step(right):
        left = _added_up(left, right.values())
    elif _step(right) < _step(left):
        right = _added_up(right, left.values())
    return [_difference(start, left.get(start), right.get(start)) for start in sorted(left.keys() | right.keys())]


def sums(
    differences: Iterable[Difference], zone: ZoneInfo, begin: time = MIDNIGHT
) -> tuple[dict[str, Sum], dict[str, Sum], Sum]:
    """The same by local day, by local month, and in all; `begin` is when a day begins."""
    days: dict[str, Sum] = {}
    months: dict[str, Sum] = {}
    everything = Sum()
    for one in differences:
        local = day_of(one.start, zone, begin)
        for group in (
            days.setdefault(f"{local:%Y-%m-%d}", Sum()),
            months.setdefault(f"{local:%Y-%m}", Sum()),
            everything,
        ):
            group.add(one)
    return days, months, everything


def _by_start(rows: Iterable[Row], side: str) -> dict[int, Row]:
    found: dict[int, Row] = {}
    for row in rows:
        older = found.setdefault(row.start, row)
        if (older.end, older.quantity) != (row.end, row.quantity):
            at = f"{datetime.fromtimestamp(row.start, UTC):%Y-%m-%dT%H:%MZ}"
            raise ImportFileError(
                f"{side} has two values for the interval from {at}: {older.quantity}, {row.quantity} mWh"
            )
    return found


def _step(rows: Mapping[int, Row]) -> int:
    """The commonest length of an interval (s)."""
    lengths = Counter(row.end - row.start for row in rows.values())
    return lengths.most_common(1)[0][0] if lengths else 0


def _added_up(rows: Mapping[int, Row], longer: Iterable[Row]) -> dict[int, Row]:
    """Shorter intervals added up to those of the other side, whatever day or month that is, where they fill them.

    What lies in none of the longer ones stays as it is.
    """
    found = dict(rows)
    starts = sorted(rows)
    for whole in longer:
        inside = [rows[start] for start in starts[bisect_left(starts, whole.start) : bisect_left(starts, whole.end)]]
        if not inside or (inside == [rows.get(whole.start)] and inside[0].end == whole.end):
            continue
        for one in inside:
            del found[one.start]
        fills = (inside[0].start, inside[-1].end) == (whole.start, whole.end)
        fills = fills and all(a.end == b.start for a, b in pairwise(inside))
        known = fills and all(one.quantity is not None for one in inside)
        quantity = sum(one.quantity or 0 for one in inside) if known else None
        said = max((one.said for one in inside), key=GRADES.index) if fills else "missing"
        found[whole.start] = Row(whole.start, whole.end, quantity, said)
    return found


def _difference(start: int, ours: Row | None, theirs: Row | None) -> Difference:
    row = ours or theirs
    assert row is not None  # noqa: S101  # the start is one of theirs or ours
    left, right = None if ours is None else ours.quantity, None if theirs is None else theirs.quantity
    verdict: Verdict = "neither"
    if left is not None and right is not None:
        verdict = "equal" if left == right else "differs"
    elif left is not None or right is not None:
        verdict = "only_ours" if left is not None else "only_theirs"
    return Difference(start, row.end, left, right, verdict, _why(verdict, ours, theirs))


def _why(verdict: Verdict, ours: Row | None, theirs: Row | None) -> str:
    """Explain a difference by what both sides say of the value; empty where there is none."""
    if verdict == "equal":
        return ""
    sides = (("ours", ours), ("theirs", theirs))
    told = [
        f"{name} is {'absent' if row is None else row.said}"
        for name, row in sides
        if row is None or row.said != "measured"
    ]
    if told:
        return ", ".join(told)
    difference = abs((ours.quantity or 0) - (theirs.quantity or 0)) if ours and theirs else 0
    return (
        "less than 1 Wh: rounding of the format"
        if difference < MILLI
        else "both are measured: look at registers and clocks"
    )
