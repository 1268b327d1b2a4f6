"""Random histories: every interval as an oracle has it, and sums that are exact, in whatever order readings came."""

import random
from collections.abc import Iterator

import pytest

from gateway.intervals import calendar
from gateway.intervals.evidence import Evidence
from gateway.intervals.fold import fold, refold
from gateway.intervals.model import RESOLUTIONS, Interval, Resolution
from tests.intervals.histories import History, history
from tests.intervals.oracle import Oracle
from tests.sizes import INTERVAL_HISTORIES

PARTS = 20


def folded(found: History) -> dict[Resolution, dict[int, Interval]]:
    """Fold as the daemon does: some readings at a time, and after each time what may have changed."""
    dice = random.Random(len(found.deliveries))
    evidence = Evidence(found.rules)
    evidence.origins = found.origins
    current: dict[Resolution, dict[int, Interval]] = {resolution: {} for resolution in RESOLUTIONS}
    rest = found.deliveries
    while rest:
        size = dice.randrange(1, 30)
        evidence.feed(rest[:size])
        rest = rest[size:]
        changed, evidence.changed = evidence.changed, None
        for resolution in RESOLUTIONS if changed else ():
            for interval in refold(evidence, changed, resolution, found.zone):
                current[resolution][interval.start] = interval
    return current


def compare(interval: Interval, expected: dict) -> Iterator[str]:
    """Each difference in words."""
    reason = set(interval.reason.split(",")) if interval.reason else set()
    got = {
        "start": interval.start,
        "end": interval.end,
        "quantity": interval.quantity,
        "status": interval.status,
        "quality": interval.quality,
        "auth": interval.auth,
        "coverage": interval.coverage,
        "low": interval.low.value,
        "high": interval.high.value,
        "methods": (interval.low.method, interval.high.method),
        "sum_break": interval.sum_break,
        "words": reason,
        "method": interval.method,
        "step": interval.resolution_wh,
    }
    for name, value in expected.items():
        if got[name] != value:
            yield f"{interval.start}: {name} is {got[name]}, must be {value}"


def check(seed: int) -> int:
    """Compare every interval of a history; the number of intervals."""
    found = history(seed)
    oracle, current, compared = Oracle(found), folded(found), 0
    first, last = found.good[0].t, found.good[-1].t
    for resolution in RESOLUTIONS:
        spans = [s for s in calendar.spans(first, last + 1, resolution, found.zone) if s[1] <= last]
        assert sorted(current[resolution]) == [start for start, _ in spans], (seed, resolution)
        for start, end in spans:
            interval = current[resolution][start]
            wrong = list(compare(interval, oracle.interval(start, end)))
            assert not wrong, (seed, resolution, wrong)
            assert interval.quantity is None or interval.quantity >= 0
        known = [one for one in current[resolution].values() if one.quantity is not None]
        assert sum(one.quantity for one in known) == sum(
            one.high.value - one.low.value + one.sum_break for one in known
        ), seed
        compared += len(spans)
    return compared


@pytest.mark.untraced
@pytest.mark.parametrize("part", range(PARTS))
def test_random_histories(part):
    """INTERVAL_HISTORIES in all: sum error 0 Wh, equal statuses."""
    size = INTERVAL_HISTORIES // PARTS
    compared = sum(check(seed) for seed in range(part * size, (part + 1) * size))
    assert compared > 8 * size


def test_fold_needs_no_order():
    """The whole evidence at once gives what the daemon found step by step."""
    for seed in range(100):
        found = history(seed)
        evidence = Evidence(found.rules)
        evidence.origins = found.origins
        evidence.feed(found.deliveries)
        current = folded(found)
        for resolution in RESOLUTIONS:
            spans = [(one.start, one.end) for one in current[resolution].values()]
            assert list(fold(evidence, sorted(spans))) == [current[resolution][start] for start, _ in sorted(spans)]
