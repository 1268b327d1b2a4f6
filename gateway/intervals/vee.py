"""Validation and estimation of a local day: which versions follow from what was folded or edited (docs/vee.md).

Values in, values out. A day is judged from the latest versions that the fold or a person made, never from an earlier
verdict, so that judging it again gives the same, and late data takes an estimate back.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.intervals.edit import carry, told_of
from gateway.intervals.estimate import Estimate, fill, gaps
from gateway.intervals.findings import Day, Finding, packed
from gateway.intervals.model import Author, Bound, Interval, Status, break_of, is_broken, missing
from gateway.intervals.rules import judge, rejects

#: methods of the fold whose bounds are measured
MEASURED: Final = ("register",)
#: bounds of which the register is known by readings at them
KNOWN: Final = ("measured", "interpolated")
#: a flat guess of the fold between two registers: estimation knows a better shape
FLAT: Final = ("linear",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What validation of a day came to."""

    #: new versions, only those that differ from the current ones
    versions: tuple[Interval, ...]
    findings: tuple[Finding, ...]

    @property
    def notices(self) -> tuple[Finding, ...]:
        """What a person should be told (V14)."""
        return tuple(finding for finding in self.findings if finding.effect == "notify")


def run_day(day: Day) -> Outcome:
    """Judge a day: drop duplicates, reject, estimate, judge the result, and give the versions that follow."""
    slots, findings = _on_grid(day)
    refused = rejects(day, [one for one in slots.values() if one.author != "person"])
    findings += refused.values()
    for start, _ in day.slots:
        if slots[start].quantity is None:
            findings.append(Finding("V02", "reject", start, {}))
    estimates = _estimates(day, slots, refused)
    results = {start: _with(one, estimates[start]) if start in estimates else one for start, one in slots.items()}
    results |= {start: carry(results[start], amount) for start, amount in day.carried.items() if start in results}
    results = _chained(slots, results)
    findings += judge(day, results)
    told = _by_start(findings)
    versions = [_verdict(day, one, told[None] + told[start], estimates.get(start)) for start, one in results.items()]
    return Outcome(tuple(v for v in versions if _is_news(day.current.get(v.start), v)), tuple(findings))


def _on_grid(day: Day) -> tuple[dict[int, Interval], list[Finding]]:
    """The intervals of the day by start: V04 leaves out what is not on the grid, V03 all but the newest version."""
    grid = dict(day.slots)
    slots: dict[int, Interval] = {}
    findings: list[Finding] = []
    for interval in sorted(day.found, key=lambda one: (one.version, one.made or 0)):
        if grid.get(interval.start) != interval.end:
            findings.append(Finding("V04", "reject", None, {"start": interval.start, "end": interval.end}))
            continue
        older = slots.get(interval.start)
        if older is not None and older.quantity != interval.quantity:
            compared = {"older": older.quantity, "newer": interval.quantity}
            findings.append(Finding("V03", "drop", interval.start, compared))
        slots[interval.start] = interval
    return {start: slots.get(start) or missing(start, end) for start, end in day.slots}, findings


def _estimates(day: Day, slots: Mapping[int, Interval], refused: Mapping[int, Finding]) -> dict[int, Estimate]:
    """Estimates by start, where there is no value that can be used."""
    empty = [start for start, one in slots.items() if start in refused or one.quantity is None or one.method in FLAT]
    known = {start: one for start, one in slots.items() if start not in empty}
    estimates: dict[int, Estimate] = {}
    for gap in gaps(day, empty):
        moved = None if any(start in refused for start, _ in gap) else _moved(slots, gap)
        estimates |= zip((start for start, _ in gap), fill(day, gap, known, moved), strict=True)
    return estimates


def _moved(slots: Mapping[int, Interval], gap: Sequence[tuple[int, int]]) -> int | None:
    """What the registers moved over a gap, with the breaks that the fold stated; None where one is not known.

    A gap in which a register broke at a bound of which nothing is known has two registers, of two meters.
    """
    low, high = slots[gap[0][0]].low.value, slots[gap[-1][0]].high.value
    if (
        low is None
        or high is None
        or any(slots[start].quantity is None and is_broken(slots[start]) for start, _ in gap)
    ):
        return None
    return high - low + sum(slots[start].sum_break for start, _ in gap)


def _with(interval: Interval, estimate: Estimate) -> Interval:
    """The interval with an estimated quantity; its inner bounds are not measured, and say so by their method."""
    if estimate.quantity is None:
        return replace(interval, quantity=None, status="missing", method=estimate.method, author="vee")
    low, high = (
        bound if bound.method in KNOWN else Bound(bound.t, None, "none") for bound in (interval.low, interval.high)
    )
    return replace(
        interval,
        quantity=estimate.quantity,
        status="estimated",
        method=estimate.method,
        author="vee",
        low=low,
        high=high,
        sum_break=break_of(replace(interval, low=low, high=high), estimate.quantity),
    )


def _chained(slots: Mapping[int, Interval], results: Mapping[int, Interval]) -> dict[int, Interval]:
    """Bounds within runs that were estimated follow from the quantities; the last one states what breaks the sum.

    So the quantities of a run are the difference of the registers at its ends plus the breaks in it, as everywhere.
    """
    chained, run = dict(results), list[int]()
    for start, one in results.items():
        run.append(start)
        if one.high.value is not None or slots[start].high.method in KNOWN:
            if len(run) > 1:
                chained |= _chain(slots, [results[inside] for inside in run])
            run = []
    if len(run) > 1:
        chained |= _chain(slots, [results[inside] for inside in run])
    return chained


def _chain(slots: Mapping[int, Interval], run: Sequence[Interval]) -> dict[int, Interval]:
    low, high = slots[run[0].start].low, slots[run[-1].start].high
    if low.value is None or high.value is None or any(one.quantity is None for one in run):
        return {}
    chained = {}
    for one in run:
        assert low.value is not None  # noqa: S101  # the first is known, and each of the next is made here
        upper = high if one is run[-1] else Bound(one.end, low.value + (one.quantity or 0), "estimated")
        with_bounds = replace(one, low=low, high=upper)
        chained[one.start] = replace(with_bounds, sum_break=break_of(with_bounds, one.quantity))
        low = upper
    return chained


def _by_start(findings: Sequence[Finding]) -> Mapping[int | None, list[Finding]]:
    """What was found of each interval, and under None of the day; a duplicate that went says nothing of what stayed."""
    found: dict[int | None, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.rule != "V03":
            found[finding.start].append(finding)
    return found


def _verdict(day: Day, interval: Interval, mine: Sequence[Finding], estimate: Estimate | None) -> Interval:
    """The version of an interval that follows from all that was found of it and of its day."""
    rules = tuple(sorted({finding.rule for finding in mine}))
    current = day.current.get(interval.start)
    version = (current.version if current else 0) + 1
    status = _status(interval, mine)
    made_of = {} if estimate is None else {estimate.method: estimate.inputs}
    inputs = packed(mine, made_of | told_of(interval))
    return replace(
        interval, status=status, rules=rules, inputs=inputs, author=_author(interval), version=version, made=None
    )


def _status(interval: Interval, mine: Sequence[Finding]) -> Status:
    if interval.quantity is None:
        return "missing"
    if interval.method == "edit":
        return "edited"
    if any(finding.effect == "suspect" for finding in mine):
        return "suspect"
    return "valid" if interval.method in MEASURED else "estimated"


def _author(interval: Interval) -> Author:
    return "person" if interval.author == "person" else "vee"


def _is_news(current: Interval | None, verdict: Interval) -> bool:
    """Whether a verdict says anything that the current version does not."""
    if current is None:
        return verdict.quantity is not None or bool(verdict.rules)
    same = ("quantity", "status", "method", "rules", "inputs", "sum_break", "quality", "auth", "reason", "low", "high")
    return any(getattr(current, name) != getattr(verdict, name) for name in same)
