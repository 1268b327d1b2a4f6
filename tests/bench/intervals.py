"""Intervals: a point-year of readings of every 10 s folded into all resolutions, on one core, made in memory."""

import random
import time
from collections.abc import Iterator
from datetime import date
from zoneinfo import ZoneInfo

from report import Figure

from gateway.intervals import calendar
from gateway.intervals.continuity import Origin
from gateway.intervals.evidence import Evidence, Reading
from gateway.intervals.fold import fold
from gateway.intervals.model import RESOLUTIONS, total

ZONE = ZoneInfo("Europe/Amsterdam")
MUST_PER_MINUTE = 5_000_000
STEP_S = 10


def figures(_seconds: float) -> list[Figure]:
    """Millions of readings per minute: taken in, and every quarter-hour, hour, day and month of the year made."""
    first, last = calendar.day_start(date(2026, 1, 1), ZONE), calendar.day_start(date(2027, 1, 1), ZONE)
    readings = list(year(first, last))
    evidence = Evidence()
    evidence.origins.append(Origin())
    began = time.perf_counter()
    evidence.feed(readings)
    made = {one: list(fold(evidence, calendar.spans(first, last, one, ZONE))) for one in RESOLUTIONS}
    took = time.perf_counter() - began
    register = readings[-1][1] - readings[0][1]
    for intervals in made.values():
        if total(intervals) != register:
            raise AssertionError(f"{total(intervals)} Wh in {len(intervals)} intervals, {register} Wh in the register")
    rate = len(readings) / took * 60 / 1e6
    counts = ", ".join(f"{len(intervals):,} of {resolution}" for resolution, intervals in made.items())
    detail = [f"{len(readings):,} readings in {took:.1f} s: {counts}; each adds up to {register:,} Wh exactly"]
    return [Figure("readings folded per minute (million)", rate, "", MUST_PER_MINUTE / 1e6, rises=True, detail=detail)]


def year(first: int, last: int) -> Iterator[Reading]:
    """A register that rises with a power that changes, its first and its last reading at the ends of the year."""
    dice = random.Random(7)
    wattseconds = power = 0
    for t in range(first, last + 1, STEP_S):
        if t % 300 == 0:
            power = dice.choice((80, 250, 400, 2_200, 7_000))
        wattseconds += power * STEP_S
        yield t, 10_000_000 + wattseconds // 3_600, power, 0
