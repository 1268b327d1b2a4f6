"""`make point-years`: 200 points, a year of quarter-hours each, validated and written in every carrier of item E.

Each point has its own year: gaps that are estimated, days of 92 and 100 quarter-hours, an edit. Nothing is kept but the
four weeks that validation looks back on, so that memory does not grow with the number of points.
"""

import argparse
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import report

from gateway.exports.about import About
from gateway.exports.formats import FORMATS
from gateway.intervals.calendar import bounds_of_day
from gateway.intervals.findings import Clock, Day
from gateway.intervals.limits import Limits
from gateway.intervals.model import WH, Bound, Interval, Series, SeriesKey, missing
from gateway.intervals.vee import run_day

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "measured" / "point-years.md"
ZONE = ZoneInfo("Europe/Copenhagen")
YEAR = 2026
POINTS = 200
#: quarter-hours that validation looks back on
BACK = 28 * 96 + 8
GOOD = Clock(0.5, synchronised=True)
FORMS = ("item-e", "intervals-csv", "vhd", "rsm012-json", "rsm012-xml", "espi")


@dataclass
class Spent:
    """Seconds by what they were spent on, and what came of it."""

    seconds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    octets: Counter[str] = field(default_factory=Counter)
    rows: int = 0


def folded(chance: random.Random) -> Iterator[tuple[list[int], list[Interval]]]:
    """The days of a year as the fold makes them; in one of 50 an hour or three without readings."""
    register, day = chance.randrange(10**7), date(YEAR, 1, 1)
    while day.year == YEAR:
        bounds = bounds_of_day(day, "PT15M", ZONE)
        lost = range(0)
        if chance.random() < 0.02:
            first = chance.randrange(1, 80)
            lost = range(first, first + chance.choice((4, 12)))
        found = []
        for n, (start, end) in enumerate(pairwise(bounds)):
            quantity = chance.randrange(20, 400)
            low, high = Bound(start, register, "measured"), Bound(end, register + quantity, "measured")
            register += quantity
            if n in lost:
                edge = (
                    low if n == lost[0] else Bound(start, None, "none"),
                    high if n == lost[-1] else Bound(end, None, "none"),
                )
                found.append(replace(missing(start, end), low=edge[0], high=edge[1], version=1))
            else:
                found.append(
                    Interval(
                        start, end, quantity, "raw", "measured", "verified", "meter", 1_000, low, high, "register", 1
                    )
                )
        yield bounds, found
        day += timedelta(1)


def a_year(number: int, spent: Spent) -> list[Interval]:
    """One point's year, validated day by day."""
    before: list[Interval] = []
    key = SeriesKey(f"point{number}", 0, "active", "import")
    year: list[Interval] = []
    for bounds, found in folded(random.Random(number)):
        day = Day(key, WH, ZONE, Limits(), bounds, found, before=before, clock=GOOD)
        began = time.perf_counter()
        versions = run_day(day).versions
        spent.seconds["validation"] += time.perf_counter() - began
        year += versions
        before = year[-BACK:]
    spent.rows += len(year)
    spent.statuses.update(one.status for one in year)
    return year


def write(number: int, year: list[Interval], spent: Spent) -> None:
    """One point's year in every carrier."""
    gsrn = _gsrn(number)
    series = Series(f"point{number}", gsrn, 0, "active", "import", "PT15M", WH, ZONE.key, year, 0)
    about = About(year[0].start, year[-1].end, 1_800_000_000, sender="5799999933318", receiver="5790001330552")
    for form in FORMS:
        began = time.perf_counter()
        spent.octets[form] += sum(map(len, FORMATS[form].write(iter([series]), about)))
        spent.seconds[form] += time.perf_counter() - began


def _gsrn(number: int) -> str:
    """A GSRN of 18 digits with its check digit."""
    body = f"57131300{number:09d}"
    weighed = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(body)))
    return f"{body}{-weighed % 10}"


def figures(points: int) -> list[report.Figure]:
    """Validate and write so many point-years; time, memory and what came of it."""
    spent, before = Spent(), _peak_mib()
    write(0, a_year(0, spent), spent)
    one = _peak_mib()
    for number in range(1, points):
        write(number, a_year(number, spent), spent)
    detail = [f"{spent.rows} intervals of {points} point-years: {dict(spent.statuses)}"]
    detail += [f"{form}: {spent.octets[form] / 1e6:.0f} MB in {spent.seconds[form]:.1f} s" for form in FORMS]
    detail += [f"memory (MiB): {before:.0f} at the start, {one:.0f} after one point-year, {_peak_mib():.0f} at the end"]
    total = sum(spent.seconds[form] for form in FORMS)
    return [
        report.Figure("validation of a point-year", spent.seconds["validation"] / points, "s", 2.0, detail=detail),
        report.Figure(f"{points} point-years validated", spent.seconds["validation"], "s"),
        report.Figure(f"{points} point-years written in {len(FORMS)} formats", total, "s"),
        report.Figure("intervals written per second, all formats", spent.rows * len(FORMS) / total, "/s", rises=True),
        report.Figure("memory beyond that of one point-year", _peak_mib() - one, "MiB", 16.0),
    ]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure, print, write the page; 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=POINTS, help=f"point-years ({POINTS})")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    args = parser.parse_args()
    found = figures(args.points)
    print("\n".join([*(line for figure in found for line in figure.detail), "", *report.table(found)]))
    if args.points == POINTS or args.out != PAGE:
        args.out.write_text(report.page(found, "make point-years", ()))
    return int(any(figure.reached is False for figure in found))


if __name__ == "__main__":
    sys.exit(main())
