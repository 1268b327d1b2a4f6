"""The register at a bound: measured or interpolated where readings lie next to it, else estimated from power.

All in integers, rounded down once; both intervals that share a bound use the same value, so nothing is lost by it.
"""

from typing import Final, NamedTuple

from gateway.intervals.continuity import Knot
from gateway.intervals.evidence import CELL_S, Evidence
from gateway.intervals.model import Bound

#: of which series power is known: 1 Wh is 3600 Ws
WS_PER_WH: Final = 3_600


class Level(NamedTuple):
    """A bound, how often the register was broken before it, and the readings that it depends on."""

    bound: Bound
    epoch: int
    knots: tuple[Knot, ...]
    #: it was estimated from power, and not by a straight line
    by_power: bool = False


def level(evidence: Evidence, t: int) -> Level:
    """The register at a bound (UTC seconds, a multiple of 900)."""
    before, after = evidence.before(t), evidence.after(t)
    if after is not None and after.t == t:
        return Level(Bound(t, after.value, "measured", ((t, after.value),)), evidence.epoch(t), (after,))
    if before is None or after is None:
        return Level(Bound(t, None, "none"), evidence.epoch(t), ())
    epoch = evidence.epoch(before.t)
    breaks = evidence.breaks[epoch : evidence.epoch(after.t)]
    if breaks and (len(breaks) > 1 or breaks[0].kind != "rollover"):
        return _at_a_break(evidence, t, before, after)
    return _between(evidence, t, before, after, breaks[0].amount if breaks else 0)


def is_near(evidence: Evidence, t: int, before: Knot, after: Knot) -> bool:
    """Whether readings lie close to a bound on both sides."""
    return max(t - before.t, after.t - t) <= evidence.rules.max_bound_gap_s


def _at_a_break(evidence: Evidence, t: int, before: Knot, after: Knot) -> Level:
    """Two registers that have nothing to do with each other: the first one holds, where its reading is near."""
    readings, epoch = (before[:2], after[:2]), evidence.epoch(before.t)
    if is_near(evidence, t, before, after):
        return Level(Bound(t, before.value, "interpolated", readings), epoch, (before, after))
    return Level(Bound(t, None, "none", readings), epoch, (before, after))


def _between(evidence: Evidence, t: int, before: Knot, after: Knot, modulus: int) -> Level:
    """A value between two readings of one register, which ran over at `modulus` where that is not 0."""
    near = is_near(evidence, t, before, after)
    rise = after.value + modulus - before.value
    flat = rise * (t - before.t) // (after.t - before.t)
    share = None if near else _share_by_power(evidence, t, before.t, after.t, rise)
    value, epoch = before.value + (flat if share is None else share), evidence.epoch(before.t)
    if modulus and value >= modulus:
        value, epoch = value - modulus, epoch + 1
    bound = Bound(t, value, "interpolated" if near else "estimated", (before[:2], after[:2]))
    return Level(bound, epoch, (before, after), share is not None)


def _share_by_power(evidence: Evidence, t: int, since: int, until: int, rise: int) -> int | None:
    """What of a rise (Wh) fell before `t`, by the mean power (W) of each quarter-hour; None where power says nothing.

    The quarter-hour of the second reading is not over when it comes, and counts as time without power. That time shares
    evenly what power leaves of the rise; where it leaves nothing, power is scaled to the rise.
    """
    if not rise:
        return 0
    energy = known = energy_before = known_before = 0
    for start, cell in evidence.span(since - since % CELL_S, until - until % CELL_S):
        if not cell.count:
            continue
        watts = cell.watts // cell.count
        seconds = start + CELL_S - max(since, start)
        energy += watts * seconds
        known += seconds
        if start < t:
            energy_before += watts * seconds
            known_before += seconds
    if not known:
        return None
    unknown, unknown_before = until - since - known, t - since - known_before
    rest = rise * WS_PER_WH - energy
    if unknown and rest >= 0:
        return (energy_before * unknown + rest * unknown_before) // (WS_PER_WH * unknown)
    return rise * energy_before // energy if energy else None
