#!/usr/bin/env python3
"""Make docs/intervals-example.md and its picture: a simulated house's year, folded, judged, edited and drawn.

    .venv/bin/python tools/interval_year.py

Everything follows from a seed, in memory. A test makes the page again and compares.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.intervals import calendar
from gateway.intervals.continuity import Origin, Rules
from gateway.intervals.edit import Edited, carried, edit
from gateway.intervals.evidence import Evidence, Reading
from gateway.intervals.findings import Clock, Day
from gateway.intervals.fold import fold
from gateway.intervals.limits import Limits
from gateway.intervals.model import RESOLUTIONS, WH, Interval, Resolution, Series, SeriesKey, total
from gateway.intervals.vee import run_day
from gateway.simulator.house import Household
from gateway.simulator.registers import Registers

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "intervals-example.md"
PICTURE = ROOT / "docs" / "pictures" / "intervals-year.png"
ZONE = ZoneInfo("Europe/Amsterdam")
KEY = SeriesKey("main", 0, "active", "import")
YEAR, SEED, PACE_S = 2026, 7, 300


def at(month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    """A local time of the year in UTC seconds."""
    return int(datetime(YEAR, month, day, hour, minute, tzinfo=ZONE).timestamp())


#: times without readings: a cable that was pulled, and a gateway that was away for two days
GAPS = ((at(2, 11, 13, 5), at(2, 11, 14, 25)), (at(7, 4, 8, 20), at(7, 6, 9, 50)))
#: the old meter's last reading and the new one's first, which begins at 12 Wh
EXCHANGE, NEW_WH = (at(9, 15, 10, 40), at(9, 15, 10, 55)), 12
#: a quarter-hour that a person corrects
EDITED, MEASURED_WH = at(10, 7, 18, 45), 180
DAYS = (("spring", date(YEAR, 3, 29)), ("usual", date(YEAR, 6, 10)), ("autumn", date(YEAR, 10, 25)))


@dataclass
class Year:
    """What the year came to: intervals by resolution and start, the registers at its ends, and the rules that spoke."""

    found: dict[Resolution, dict[int, Interval]] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    readings: int = 0
    rules: Counter[str] = field(default_factory=Counter)


def readings(year: Year) -> Iterator[Reading]:
    """(t, Wh, W, origin) each five minutes, as the meters have them; the second meter goes on from its own register."""
    registers = Registers(Household(SEED), at(1, 1))
    lost = (*GAPS, (EXCHANGE[0] + 1, EXCHANGE[1]))
    offset = 0
    for t in range(at(1, 1), int(datetime(YEAR + 1, 1, 1, tzinfo=ZONE).timestamp()) + 1, PACE_S):
        registers.advance(t)
        wh = sum(registers.imported) // 3_600
        new = t >= EXCHANGE[1]
        if new and not offset:
            offset = wh - NEW_WH
        if not any(since <= t < until for since, until in lost):
            year.readings += 1
            year.ends = [*year.ends[:1], wh - offset]
            yield t, wh - offset, None, int(new)


def make() -> Year:
    """Fold, judge, edit, and judge the day of the edit again."""
    year = Year()
    evidence = Evidence(Rules())
    evidence.origins = [Origin("meter 1"), Origin("meter 2")]
    evidence.feed(readings(year))
    spans = {res: list(calendar.spans(at(1, 1), at(12, 31, 23, 59), res, ZONE)) for res in RESOLUTIONS}
    folded = {res: {one.start: one for one in fold(evidence, found)} for res, found in spans.items()}
    edits: dict[Resolution, list[Edited]] = {}
    for resolution in RESOLUTIONS:
        year.found[resolution] = _judged(year, resolution, folded[resolution], {})
    below = folded["PT15M"][EDITED]
    made = datetime(YEAR, 10, 8, 8, tzinfo=UTC)
    edited = edit(year.found["PT15M"][EDITED], MEASURED_WH, reason="test load of the fitter", person="J. Nagy", at=made)
    folded["PT15M"][EDITED] = edited
    edits["PT15M"] = [Edited(edited, below)]
    year.rules.clear()
    for resolution in RESOLUTIONS:
        year.found[resolution] = _judged(year, resolution, folded[resolution], edits)
    return year


def _judged(
    year: Year, resolution: Resolution, folded: dict[int, Interval], edits: dict[Resolution, list[Edited]]
) -> dict[int, Interval]:
    """Every day, or month, after those before it."""
    judged: list[Interval] = []
    shorter = {one: found for one, found in edits.items() if RESOLUTIONS.index(one) < RESOLUTIONS.index(resolution)}
    for since, until in calendar.spans(at(1, 1), at(12, 31, 23, 59), "P1M" if resolution == "P1M" else "P1D", ZONE):
        bounds = [start for start, _ in calendar.spans(since, until, resolution, ZONE)] + [until]
        day = Day(
            KEY, WH, ZONE, Limits(), bounds, [folded[start] for start in bounds[:-1]],
            before=judged[-28 * 100 :], clock=Clock(0.5, synchronised=True),
            carried=carried(list(pairwise(bounds)), shorter),
        )  # fmt: skip
        outcome = run_day(day)
        judged += outcome.versions
        if resolution == "PT15M":
            year.rules.update(finding.rule for finding in outcome.findings)
    return {one.start: one for one in judged}


def page(year: Year) -> str:
    """The page, every number of it from the year."""
    quarters, edited = year.found["PT15M"], year.found["PT15M"][EDITED]
    statuses = Counter(one.status for one in quarters.values())
    methods = Counter(one.method for one in quarters.values() if one.status == "estimated")
    sums = {res: total(found.values()) for res, found in year.found.items()}
    breaks = sum(one.sum_break for one in quarters.values())
    moved = year.ends[1] - year.ends[0]
    lines = [
        "# Intervals: a worked example",
        "",
        "A simulated house from its seed, a year of it in memory: registers each five minutes, days of Amsterdam.",
        "Made by `tools/interval_year.py`, which a test runs again; every number here is its result.",
        "",
        "![load curve, energy by day, status of each quarter-hour](pictures/intervals-year.png)",
        "",
        f"{year.readings} readings, {len(quarters)} quarter-hours of import. What happened in the year:",
        "",
        "| when | what | what became of it |",
        "|---|---|---|",
        *(_gap(year, gap) for gap in GAPS),
        _exchange(year),
        _edit(year, edited),
        "",
        "| status | quarter-hours |",
        "|---|---|",
        *(f"| `{status}` | {n} |" for status, n in sorted(statuses.items())),
        "",
        f"Estimates by method: {', '.join(f'`{name}` {n}' for name, n in sorted(methods.items()))}.",
        f"Rules that spoke: {', '.join(f'{rule} {n} times' for rule, n in sorted(year.rules.items()))}.",
        "",
        "## The days on which the clock changes",
        "",
        "| day | quarter-hours | hours | sum of quarter-hours | sum of hours | the day |",
        "|---|---|---|---|---|---|",
        *(_day(year, name, day) for name, day in DAYS),
        "",
        "## The sum",
        "",
        "Quarter-hours, hours, days and months of the year add up to the same:",
        f"{', '.join(f'{sums[res]} Wh ({res})' for res in RESOLUTIONS)}.",
        f"The registers went from {year.ends[0]} Wh on the first meter to {year.ends[1]} Wh on the second:",
        f"{moved} Wh, and what breaks the sum is stated with its intervals: {breaks} Wh in all.",
        f"{moved} + {breaks} = {moved + breaks} Wh.",
        "",
    ]
    if set(sums.values()) != {moved + breaks}:
        raise SystemExit(f"the sums do not agree: {sums}, {moved} + {breaks}")
    return "\n".join(lines)


def _gap(year: Year, gap: tuple[int, int]) -> str:
    inside = [one for start, one in year.found["PT15M"].items() if start < gap[1] and one.end > gap[0]]
    methods = ", ".join(sorted({one.method for one in inside}))
    moved = (inside[-1].high.value or 0) - (inside[0].low.value or 0)
    return (
        f"| {_local(gap[0])} to {_local(gap[1])} | no reading | {len(inside)} quarter-hours by {methods};"
        f" {total(inside)} Wh, the registers moved by {moved} Wh |"
    )


def _exchange(year: Year) -> str:
    inside = [one for start, one in year.found["PT15M"].items() if start < EXCHANGE[1] and one.end > EXCHANGE[0]]
    breaks = sum(one.sum_break for one in inside)
    methods = ", ".join(sorted({one.method for one in inside}))
    return (
        f"| {_local(EXCHANGE[0])} to {_local(EXCHANGE[1])} | another meter | {len(inside)} quarter-hours by {methods}:"
        f" {total(inside)} Wh; the sum of registers is broken by {breaks} Wh |"
    )


def _edit(year: Year, edited: Interval) -> str:
    hour = year.found["PT1H"][EDITED - 45 * 60]
    return (
        f"| {_local(EDITED)} | an edit: {edited.quantity} Wh, {edited.reason} | `{edited.status}`, the sum is broken by"
        f" {edited.sum_break} Wh; its hour is `{hour.status}`, with {hour.quantity} Wh |"
    )


def _day(year: Year, name: str, day: date) -> str:
    since, until = calendar.day_start(day, ZONE), calendar.day_start(day + timedelta(1), ZONE)
    quarters, hours = (
        [one for start, one in year.found[res].items() if since <= start < until] for res in ("PT15M", "PT1H")
    )
    whole = year.found["P1D"][since].quantity
    return (
        f"| {day} ({name}) | {len(quarters)} | {len(hours)} | {total(quarters)} Wh | {total(hours)} Wh | {whole} Wh |"
    )


def _local(t: int) -> str:
    return f"{datetime.fromtimestamp(t, ZONE):%Y-%m-%d %H:%M}"


def main() -> None:
    """Write the page and the picture."""
    from gateway.exports import plot

    year = make()
    PAGE.write_text(page(year), "utf-8")
    intervals = list(year.found["PT15M"].values())
    plot.draw([Series("main", None, 0, "active", "import", "PT15M", WH, ZONE.key, intervals, 0)], PICTURE)


if __name__ == "__main__":
    main()
