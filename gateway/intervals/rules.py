"""Rules V01 to V15 of validation: pure functions of a day and its values, each in the words of docs/vee.md.

Rules of single intervals come first: what they reject is not used, and is estimated. Rules of the day look at the
result: they make values suspect, or only tell. All comparisons are of integers; thresholds are per mille.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from gateway.intervals.findings import Day, Finding
from gateway.intervals.model import Interval, is_broken

HOUR: Final = 3_600
DAY_S: Final = 86_400
#: four weeks of the same weekday (V12)
WEEKS: Final = 4

#: the intervals of a day by start, each with a value or missing, and none beside them
Slots: TypeAlias = Mapping[int, Interval]
IntervalRule: TypeAlias = Callable[[Day, Interval], Finding | None]
DayRule: TypeAlias = Callable[[Day, Slots], Iterator[Finding]]


def unit_differs(day: Day, interval: Interval) -> Finding | None:
    """V05: unit and multiplier are those of the point."""
    limits = day.limits
    if limits.unit in (None, day.unit.name) and limits.multiplier == day.multiplier:
        return None
    inputs = {"unit": day.unit.name, "wanted": limits.unit, "multiplier": day.multiplier, "must": limits.multiplier}
    return Finding("V05", "reject", interval.start, inputs)


def goes_back(_day: Day, interval: Interval) -> Finding | None:
    """V06: energy is not negative, and a register goes back only where a break is stated (rollover, exchange)."""
    low, high = interval.low.value, interval.high.value
    backwards = low is not None and high is not None and high < low and not interval.sum_break
    if backwards or (interval.quantity is not None and interval.quantity < 0):
        return Finding("V06", "reject", interval.start, {"low": low, "high": high, "quantity": interval.quantity})
    return None


def too_much(day: Day, interval: Interval) -> Finding | None:
    """V07: no more than the connection carries in the time; of electricity only."""
    most = _most(day, interval)
    if most is None or interval.quantity is None or interval.quantity <= most + interval.resolution_wh:
        return None
    return Finding("V07", "reject", interval.start, {"quantity": interval.quantity, "most": most})


def clock_off(day: Day, slots: Slots) -> Iterator[Finding]:
    """V01: a clock that is off by more than 1 % of the interval, or of which nothing is known, validates nothing."""
    offset, limits = day.clock.worst_offset_s, day.limits
    length = min((interval.end - interval.start for interval in slots.values()), default=0)
    by_gateway = any(interval.clock == "gateway" for interval in slots.values())
    inputs = {"offset_s": offset, "synchronised": day.clock.synchronised}
    unknown = not day.clock.synchronised if by_gateway else offset is None
    if unknown or (offset is not None and abs(offset) * 1_000 > length * limits.clock_per_mille):
        yield Finding("V01", "suspect", None, inputs)
    elif offset is not None and abs(offset) > limits.clock_warn_s:
        yield Finding("V01", "warn", None, inputs)


def spike(day: Day, slots: Slots) -> Iterator[Finding]:
    """V08: the highest interval is far above the third highest of the local day."""
    known = sorted((i for i in slots.values() if i.quantity is not None), key=lambda i: i.quantity or 0, reverse=True)
    if not day.limits.spike_per_mille or len(known) < 3:
        return
    highest, third = known[0].quantity or 0, known[2].quantity or 0
    floor = day.limits.spike_floor_wh * (known[0].end - known[0].start) // HOUR
    if highest > floor and (highest - third) * 1_000 > third * day.limits.spike_per_mille:
        yield Finding("V08", "suspect", known[0].start, {"quantity": highest, "third": third})


def sum_differs(day: Day, slots: Slots) -> Iterator[Finding]:
    """V09: the intervals add up to the difference of the registers, breaks that were stated included."""
    ordered = [slots[start] for start, _ in day.slots]
    low, high = ordered[0].low.value, ordered[-1].high.value
    if low is None or high is None or any(interval.quantity is None for interval in ordered):
        return
    added = sum(interval.quantity or 0 for interval in ordered)
    # a break that the fold states is known (exchange, rollover, also where an estimate stands at it), and so is one
    # that a person answers for; one by an estimate is what is looked for
    stated = (one.sum_break for one in ordered if one.author != "vee" or one.method == "edit" or is_broken(one))
    moved = high - low + sum(stated)
    allowed = max(day.limits.sum_steps * ordered[0].resolution_wh, abs(moved) * day.limits.sum_per_mille // 1_000)
    if abs(added - moved) > allowed:
        yield Finding("V09", "suspect", None, {"sum": added, "registers": moved, "allowed": allowed})


def zeros(day: Day, slots: Slots) -> Iterator[Finding]:
    """V10: nothing for hours on an active point, although nothing was out of service."""
    if not day.limits.zero_hours:
        return
    began = ended = None
    recent = between(day.before, day.bounds[0] - day.limits.zero_hours * HOUR, day.bounds[0])
    for interval in [*recent, *(slots[start] for start, _ in day.slots)]:
        is_zero = interval.quantity == 0 and not day.is_out(interval.start, interval.end)
        began = (interval.start if began is None or interval.start != ended else began) if is_zero else None
        ended = interval.end
        length = 0 if began is None else interval.end - began
        if length >= day.limits.zero_hours * HOUR and interval.start >= day.bounds[0]:
            yield Finding("V10", "suspect", interval.start, {"hours": length // HOUR})


def frozen(day: Day, slots: Slots) -> Iterator[Finding]:
    """V11: the same value other than zero many times running."""
    times, run = day.limits.frozen_times, 0
    last: tuple[int, int | None] | None = None
    for interval in [*day.before[-times:], *(slots[start] for start, _ in day.slots)] if times else []:
        measured = interval.method == "register" or interval.author == "person"
        worth = (
            interval.quantity is not None and interval.quantity > day.limits.frozen_floor_steps * interval.resolution_wh
        )
        run = (run + 1 if (interval.start, interval.quantity) == last else 1) if worth and measured else 0
        last = interval.end, interval.quantity
        if run >= times and interval.start >= day.bounds[0]:
            yield Finding("V11", "suspect", interval.start, {"quantity": interval.quantity, "times": run})


def unlike(day: Day, slots: Slots) -> Iterator[Finding]:
    """V12: the day's energy is far from that of the same weekday in the last four weeks."""
    limits = day.limits
    totals = _weekday_totals(day)
    if not (limits.like_low_per_mille or limits.like_high_per_mille) or not totals:
        return
    if any(interval.quantity is None for interval in slots.values()):
        return  # a part of a day is like no day
    average = sum(totals) // len(totals)
    found = sum(interval.quantity or 0 for interval in slots.values())
    too_low = limits.like_low_per_mille and found * 1_000 < average * limits.like_low_per_mille
    too_high = limits.like_high_per_mille and found * 1_000 > average * limits.like_high_per_mille
    if too_low or too_high:
        yield Finding("V12", "warn", None, {"day": found, "average": average, "weeks": len(totals)})


def both_ways(day: Day, slots: Slots) -> Iterator[Finding]:
    """V13: import and export both large in one interval."""
    if not day.limits.both_per_mille or not day.limits.max_power_w:
        return
    for start, interval in slots.items():
        other = day.other.get(start)
        floor = day.limits.max_power_w * (interval.end - start) * day.limits.both_per_mille // (HOUR * 1_000)
        if other is not None and min(interval.quantity or 0, other.quantity or 0) > floor:
            yield Finding("V13", "warn", start, {"quantity": interval.quantity, "other": other.quantity})


def prolonged(day: Day, slots: Slots) -> Iterator[Finding]:
    """V14: something is estimated on more days running than it should be."""
    if not day.limits.prolonged_days or not any(_is_estimated(interval) for interval in slots.values()):
        return
    days = 1
    while any(_is_estimated(interval) for interval in _day_before(day, days)):
        days += 1
    if days > day.limits.prolonged_days:
        yield Finding("V14", "notify", None, {"days": days})


def outage(day: Day, slots: Slots) -> Iterator[Finding]:
    """V15: intervals in which meter or gateway was out of service."""
    for start, interval in slots.items():
        if day.is_out(start, interval.end):
            yield Finding("V15", "warn", start, {})


def _most(day: Day, interval: Interval) -> int | None:
    limits = day.limits
    if not limits.max_power_w or day.unit.name not in ("Wh", "varh"):
        return None
    watt_seconds = limits.max_power_w * (interval.end - interval.start) * (1_000 + limits.power_slack_per_mille)
    return watt_seconds // (HOUR * 1_000)


def _is_estimated(interval: Interval) -> bool:
    return interval.status == "estimated" or interval.quantity is None


def _weekday_totals(day: Day) -> list[int]:
    """Energy of the same weekday in each of the last weeks of which every interval is known."""
    length = (day.bounds[-1] - day.bounds[0]) // (len(day.bounds) - 1)
    totals = []
    for week in range(1, WEEKS + 1):
        that = _day_before(day, 7 * week)
        found = [one.quantity for one in that if one.quantity is not None]
        if found and len(found) * length >= that[-1].end - that[0].start >= DAY_S - HOUR:
            totals.append(sum(found))
    return totals


def _day_before(day: Day, days: int) -> Sequence[Interval]:
    """The intervals of the local day so many days before."""
    begin = datetime.fromtimestamp(day.bounds[0], day.zone)
    # wall-clock arithmetic: the same local time, whatever the clock did in between
    start, end = (int((begin - timedelta(back)).timestamp()) for back in (days, days - 1))
    return between(day.before, start, end)


def between(intervals: Sequence[Interval], since: int, until: int) -> Sequence[Interval]:
    """Those of rising intervals that begin at since <= t < until."""
    first = bisect_left(intervals, since, key=lambda one: one.start)
    return intervals[first : bisect_left(intervals, until, lo=first, key=lambda one: one.start)]


#: rules of single intervals, in order; the first that rejects is the one that is told
REJECTING: Final[tuple[IntervalRule, ...]] = (unit_differs, goes_back, too_much)
#: rules of the whole day, on what the first left and estimation filled
JUDGING: Final[tuple[DayRule, ...]] = (
    clock_off, spike, sum_differs, zeros, frozen, unlike, both_ways, prolonged, outage,
)  # fmt: skip


def judge(day: Day, slots: Slots) -> list[Finding]:
    """All findings of the rules of the day."""
    return [finding for rule in JUDGING for finding in rule(day, slots)]


def rejects(day: Day, intervals: Sequence[Interval]) -> dict[int, Finding]:
    """The first finding of each interval that must not be used, by start."""
    found: dict[int, Finding] = {}
    for interval in intervals:
        for rule in REJECTING:
            finding = rule(day, interval)
            if finding is not None:
                found[interval.start] = finding
                break
    return found
