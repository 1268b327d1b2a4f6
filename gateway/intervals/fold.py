"""Evidence to intervals: differences of a register at its bounds, in integers; what is not known is said to be missing.

For every interval quantity = high - low + sum_break, and neighbours share their bound, so that any chain of intervals
adds up to the difference of the registers at its ends plus the breaks that are stored with them.
"""

from collections.abc import Iterable, Iterator
from datetime import time
from itertools import takewhile
from typing import Final
from zoneinfo import ZoneInfo

from decoders.model import Quality
from gateway.intervals import calendar
from gateway.intervals.bounds import Level, level
from gateway.intervals.calendar import MIDNIGHT
from gateway.intervals.continuity import Break, BreakKind, Origin
from gateway.intervals.evidence import CLOCK_BACK, CONTRADICTION, MINUTES, Evidence
from gateway.intervals.model import Interval, Resolution, Status, least_auth, worst_quality

KINDS: Final[tuple[BreakKind, ...]] = ("exchange", "rollover", "back", "leap")
FLAGS: Final = {CONTRADICTION: "contradiction", CLOCK_BACK: "clock_back"}
#: breaks after which a quantity is doubted
DOUBTED = ("back", "leap")


def fold(evidence: Evidence, spans: Iterable[tuple[int, int]]) -> Iterator[Interval]:
    """The intervals of these spans (start, end), which rise; each bound is looked up once."""
    low: Level | None = None
    for start, end in spans:
        if low is None or low.bound.t != start:
            low = level(evidence, start)
        high = level(evidence, end)
        yield _interval(evidence, low, high)
        low = high


def refold(
    evidence: Evidence, changed: tuple[int, int], resolution: Resolution, zone: ZoneInfo, begin: time = MIDNIGHT
) -> Iterator[Interval]:
    """Every interval that may have changed between two moments, as far as the register is known to its end."""
    if evidence.newest is not None:
        known = evidence.newest.t
        spans = calendar.spans(changed[0], changed[1] + 1, resolution, zone, begin)
        yield from fold(evidence, takewhile(lambda span: span[1] <= known, spans))


def _interval(evidence: Evidence, low: Level, high: Level) -> Interval:
    start, end = low.bound.t, high.bound.t
    breaks = evidence.breaks[low.epoch : high.epoch]
    minutes = bits = flags = 0
    for _, cell in evidence.span(start, end):
        minutes += cell.minutes.bit_count()
        bits |= cell.origins
        flags |= cell.flags
    quantity, sum_break = _quantity(low, high, breaks)
    status = _status(evidence, low, high, breaks, flags)
    origins = _origins(evidence.origins, bits, low, high)
    return Interval(
        start=start,
        end=end,
        quantity=quantity,
        status=status,
        quality=_quality(status, origins),
        auth=least_auth(origin.auth for origin in origins) if origins else "plain",
        clock="gateway" if any(origin.clock == "gateway" for origin in origins) else "meter",
        coverage=minutes * 1000 // ((end - start) // 900 * MINUTES),
        low=low.bound,
        high=high.bound,
        method=_method(low, high),
        resolution_wh=max((origin.step for origin in origins), default=1),
        sum_break=sum_break,
        reason=_reason(evidence, low, high, breaks, flags),
    )


def _quantity(low: Level, high: Level, breaks: list[Break]) -> tuple[int | None, int]:
    """What flowed, and by how much that is more than the difference of the two bounds."""
    if low.bound.value is None or high.bound.value is None:
        return None, 0
    sum_break = sum(one.amount for one in breaks)
    return high.bound.value - low.bound.value + sum_break, sum_break


def _status(evidence: Evidence, low: Level, high: Level, breaks: list[Break], flags: int) -> Status:
    if low.bound.value is None or high.bound.value is None:
        return "missing"
    if flags or any(one.kind in DOUBTED for one in breaks):
        return "suspect"
    gap = evidence.rules.max_bound_gap_s
    unseen = any(one.kind == "exchange" and one.after.t - one.before.t > gap for one in breaks)
    estimated = unseen or "estimated" in (low.bound.method, high.bound.method)
    return "estimated" if estimated else "raw"


def _origins(known: list[Origin], bits: int, low: Level, high: Level) -> list[Origin]:
    """What the readings inside, and those that the bounds depend on, have in common."""
    for knot in (*low.knots, *high.knots):
        bits |= 1 << knot.origin
    return [origin for index, origin in enumerate(known) if bits >> index & 1]


def _quality(status: Status, origins: list[Origin]) -> Quality:
    if status == "missing":
        return "suspect"
    least: Quality = "estimated" if status == "estimated" else "measured"
    return worst_quality((least, *(origin.quality for origin in origins)))


def _method(low: Level, high: Level) -> str:
    if low.bound.value is None or high.bound.value is None:
        return "none"
    estimated = [one for one in (low, high) if one.bound.method == "estimated"]
    if not estimated:
        return "register"
    return "power" if any(one.by_power for one in estimated) else "linear"


def _reason(evidence: Evidence, low: Level, high: Level, breaks: list[Break], flags: int) -> str | None:
    """Words of docs/intervals.md."""
    words = {one.kind for one in breaks}
    unknown = [one for one in (low, high) if one.bound.value is None]
    # a bound that is not known although there are readings on both sides lies in a break
    words |= {evidence.breaks[one.epoch].kind for one in unknown if one.knots}
    found = ["no_reading"] if any(not one.knots for one in unknown) else []
    found += [kind for kind in KINDS if kind in words]
    found += [word for flag, word in FLAGS.items() if flags & flag]
    return ",".join(found) or None
