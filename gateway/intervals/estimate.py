"""Estimation E01 to E05: what stands in for intervals that are missing or rejected; integers, the sum exact.

E01  up to two hours: on the straight line between the intervals on both sides
E02  longer: the average of the same local time on three to five days of the same type (working day, Saturday, Sunday)
E03  the shape of E01 or E02, scaled so that the gap adds up to the difference of its registers, where both are known
E04  the energy of a year, evenly
E05  nothing: the interval stays missing
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from gateway.intervals.findings import Day
from gateway.intervals.model import Interval

YEAR_S: Final = 31_557_600
DayType: TypeAlias = Literal["working", "saturday", "sunday"]
#: quantities by local time of the day (hour, minute), one list for each like day before, the newest first
LikeDays: TypeAlias = list[dict[tuple[int, int], int]]


class Estimate(NamedTuple):
    """What stands in for an interval: None with E05; `inputs` names what it was made of."""

    quantity: int | None
    method: str
    inputs: dict[str, object]


def day_type(day: date) -> DayType:
    """Working day, Saturday or Sunday; holidays are not known here."""
    return "working" if day.weekday() < 5 else "saturday" if day.weekday() == 5 else "sunday"


def gaps(day: Day, empty: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Runs of neighbouring slots (start, end) that are empty."""
    run: list[tuple[int, int]] = []
    wanted = set(empty)
    for slot in day.slots:
        if slot[0] in wanted:
            run.append(slot)
        elif run:
            yield run
            run = []
    if run:
        yield run


def fill(day: Day, gap: Sequence[tuple[int, int]], known: Mapping[int, Interval], moved: int | None) -> list[Estimate]:
    """An estimate for every slot of a gap; `moved` is what the registers moved over it, where both are known."""
    shape, method, inputs = _shape(day, gap, known)
    if moved is not None and moved >= 0:
        weights = shape if shape is not None and sum(shape) > 0 else [end - start for start, end in gap]
        told = {"registers": moved, "shape": method if shape is not None else "flat"} | inputs
        return [Estimate(quantity, "E03", told) for quantity in spread(moved, weights)]
    if shape is not None:
        return [Estimate(quantity, method, inputs) for quantity in shape]
    if day.limits.annual is not None:
        annual = day.limits.annual
        return [Estimate(annual * (end - start) // YEAR_S, "E04", {"annual": annual}) for start, end in gap]
    return [Estimate(None, "E05", {}) for _ in gap]


def spread(total: int, weights: Sequence[int]) -> list[int]:
    """Split a total by weights (>= 0, not all 0) into integers that add up to it exactly."""
    whole, done, given, parts = sum(weights), 0, 0, []
    for weight in weights:
        done += weight
        upto = total * done // whole
        parts.append(upto - given)
        given = upto
    return parts


def _shape(
    day: Day, gap: Sequence[tuple[int, int]], known: Mapping[int, Interval]
) -> tuple[list[int] | None, str, dict[str, object]]:
    length = gap[-1][1] - gap[0][0]
    if length <= day.limits.interpolate_s:
        ends = _ends(day, gap, known)
        if ends is not None:
            return _line(*ends, len(gap)), "E01", {"before": ends[0], "after": ends[1]}
    likes = like_days(day, day.limits.like_most)
    if len(likes) < day.limits.like_least:
        return None, "E05", {}
    shape = [_like(likes, start, day.zone) for start, _ in gap]
    if any(quantity is None for quantity in shape):
        return None, "E05", {}
    return [quantity or 0 for quantity in shape], "E02", {"days": len(likes)}


def _ends(day: Day, gap: Sequence[tuple[int, int]], known: Mapping[int, Interval]) -> tuple[int, int] | None:
    """Quantities on both sides of a gap; an outage, or an estimate, is no end to interpolate from (V15)."""
    before = day.before[-1] if day.before and day.before[-1].end == gap[0][0] else None
    by_end = {interval.end: interval for interval in known.values()}
    sides = by_end.get(gap[0][0], before), known.get(gap[-1][1])
    ends = [None if side is None else _end(day, side) for side in sides]
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def _end(day: Day, side: Interval) -> int | None:
    measured = side.method in ("register", "edit") and not day.is_out(side.start, side.end)
    return side.quantity if measured else None


def _line(before: int, after: int, n: int) -> list[int]:
    """`n` values on the line between two, rounded down."""
    return [before + (after - before) * step // (n + 1) for step in range(1, n + 1)]


def like_days(day: Day, most: int) -> LikeDays:
    """Validated quantities of the newest days of the same type before this one."""
    kind = day_type(_local(day.bounds[0], day.zone).date())
    days: dict[date, dict[tuple[int, int], int]] = {}
    for interval in reversed(day.before):
        local = _local(interval.start, day.zone)
        if day_type(local.date()) != kind:
            continue
        if local.date() not in days and len(days) == most:
            break
        of_day = days.setdefault(local.date(), {})
        if interval.quantity is not None and interval.status in ("valid", "edited"):
            of_day.setdefault((local.hour, local.minute), interval.quantity)
    return [found for found in days.values() if found]


def _like(likes: LikeDays, start: int, zone: ZoneInfo) -> int | None:
    """The average of a local time over like days; the hour that only summer's beginning lacks is that before it."""
    local = _local(start, zone)
    found = [day[local.hour, local.minute] for day in likes if (local.hour, local.minute) in day]
    return sum(found) // len(found) if found else None


def _local(t: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(t, UTC).astimezone(zone)
