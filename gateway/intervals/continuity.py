"""Whether one register reading goes on from another, and what lies between them where it does not.

A register only rises, no faster than the connection carries. What breaks that is told apart here and nowhere else:
another meter (exchange), a register that ran over (rollover), one that fell (back) or leapt (leap).
"""

from typing import Final, Literal, NamedTuple, TypeAlias

from decoders.model import Auth, Quality
from gateway.intervals.model import Clock

BreakKind: TypeAlias = Literal["exchange", "rollover", "back", "leap"]

#: what counting and clocks may add to a rise (Wh)
SLACK: Final = 1_000
#: a register of a customer's connection rises by no more than this (W) unless the point says otherwise
MOST_W: Final = 1_000_000
#: a register runs over from its last hundredth into its first
NEAR_END: Final = 100
#: registers that are binary numbers
BINARY: Final = 1 << 32


class Origin(NamedTuple):
    """What many readings of a register have in common."""

    #: pseudonym of the meter; None where it does not say who it is, and then it may be any
    device: str | None = None
    quality: Quality = "measured"
    auth: Auth = "plain"
    clock: Clock = "meter"
    #: step of the register in the unit of the series
    step: int = 1


class Rules(NamedTuple):
    """What is known of a point's register, and how far from a bound a reading may lie."""

    #: the most that the connection carries (W); None where the register is none of energy
    limit_w: int | None = MOST_W
    #: the register begins anew at this value, in the unit of the series; None: found by its digits
    modulus: int | None = None
    #: seconds on both sides of a bound: at most a tenth of a quarter-hour, the shortest interval
    max_bound_gap_s: int = 60


class Knot(NamedTuple):
    """A register reading that bounds may depend on: UTC seconds, value in the unit of the series, index of Origin."""

    t: int
    value: int
    origin: int


class Break(NamedTuple):
    """Two readings that follow each other and of which the second does not go on from the first."""

    kind: BreakKind
    before: Knot
    after: Knot
    #: what to add to the difference of two register values across it
    amount: int


def goes_on(rules: Rules, before: Knot, after: Knot) -> bool:
    """Whether a register rose, and by no more than the connection carries in the time."""
    rise = after.value - before.value
    if rise <= SLACK or rules.limit_w is None:
        return rise >= 0
    return (rise - SLACK) * 3_600 <= rules.limit_w * (after.t - before.t)


def is_same_device(before: Origin, after: Origin) -> bool:
    """Whether two readings may be of one meter: one that does not say who it is may be any."""
    return before.device is None or after.device is None or before.device == after.device


def follows(rules: Rules, origins: list[Origin], before: Knot, after: Knot) -> bool:
    """Whether a reading is of the same meter as an earlier one and goes on from it."""
    return is_same_device(origins[before.origin], origins[after.origin]) and goes_on(rules, before, after)


def break_between(rules: Rules, origins: list[Origin], before: Knot, after: Knot) -> Break | None:
    """What lies between two readings; None where the second goes on from the first."""
    if follows(rules, origins, before, after):
        return None
    if not is_same_device(origins[before.origin], origins[after.origin]):
        return Break("exchange", before, after, before.value - after.value)
    modulus = _rollover(rules, before, after, origins[before.origin].step)
    if modulus is not None:
        return Break("rollover", before, after, modulus)
    kind: BreakKind = "back" if after.value < before.value else "leap"
    return Break(kind, before, after, before.value - after.value)


def _rollover(rules: Rules, before: Knot, after: Knot, step: int) -> int | None:
    """Where the register ran over; None where it did not: it fell, but not from near its end to near its beginning."""
    if after.value >= before.value:
        return None
    decimal = 10 ** len(str(before.value))
    for modulus in (rules.modulus,) if rules.modulus else (decimal, BINARY * step):
        near = before.value >= modulus - modulus // NEAR_END and after.value < modulus // NEAR_END
        if near and before.value < modulus and goes_on(rules, before, after._replace(value=after.value + modulus)):
            return modulus
    return None
