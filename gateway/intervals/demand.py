"""The meter's own mean of each quarter-hour, told by its running demand just before the end, compared with ours.

1.4.0 and 2.4.0 are the running demand: the energy of a quarter-hour so far over its 900 s (IEC 62056-6-2, class 5,
current_average_value; e-MUCS P1). What it says last in a quarter-hour is the base of Belgium's capacity tariff.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from decoders.model import Reading
from gateway.intervals.billed import MOST_W, PERIOD_S, POWER, W_PER_WH
from gateway.intervals.model import Direction, Interval

#: a demand that is told so long (s) before the end of its quarter-hour at most is that of the quarter-hour
NEAR_END_S: Final = 10
_CODES: Final[tuple[tuple[Direction, str], ...]] = (("import", ":1.4.0"), ("export", ":2.4.0"))


class Demand(NamedTuple):
    """What the meter said last in a quarter-hour: UTC s, W, the step in which it counts, and its register (Wh) then."""

    t: int
    watts: int
    step: int
    register: int

    @property
    def start(self) -> int:
        """Start of its quarter-hour."""
        return self.t - self.t % PERIOD_S


class ComparedDemand(NamedTuple):
    """A demand of the meter beside our measured quarter-hour."""

    theirs: Demand
    #: our demand of that quarter-hour (W)
    ours: int
    #: by how much both may differ: steps of the registers, and what flowed after the meter said it (W)
    allowed: int

    @property
    def difference(self) -> int:
        """Ours minus the meter's (W)."""
        return self.ours - self.theirs.watts

    @property
    def excess(self) -> int:
        """By how much both differ more than they may (W); negative where they agree."""
        return abs(self.difference) - self.allowed


class DemandDay(NamedTuple):
    """The demands of a local day beside our quarter-hours."""

    #: UTC s: start <= t < end
    start: int
    end: int
    #: how many could be compared, and how many of these differ by more than they may
    compared: int
    exceeded: int
    #: the one that differs most, measured by what is allowed for it
    worst: ComparedDemand


def demands_of(reading: Reading) -> list[tuple[Direction, Demand]]:
    """The demands of a quarter-hour that is about to end by the meter's clock; others say nothing."""
    t = 0 if reading.t is None else int(reading.t.timestamp())
    if PERIOD_S - t % PERIOD_S > NEAR_END_S or reading.reg_t != reading.t:
        return []
    energy: dict[Direction, int | None] = {"import": reading.a_import_wh, "export": reading.a_export_wh}
    found = []
    for code, integer, exponent, unit in reading.registers:
        direction = next((one for one, end in _CODES if code.endswith(end)), None)
        if direction is None or unit not in POWER or not 0 <= integer < MOST_W:
            continue
        register, scale = energy[direction], exponent + POWER[unit]
        if register is None or not -9 <= scale <= 6:
            continue
        watts = integer * 10**scale if scale >= 0 else integer // 10**-scale
        if watts < MOST_W:
            found.append((direction, Demand(t, watts, 10 ** max(0, scale), register)))
    return found


def compare_day(span: tuple[int, int], demands: Iterable[Demand], intervals: Iterable[Interval]) -> DemandDay | None:
    """The demands of a day beside its quarter-hours; None where there is none to compare."""
    told = {one.start: one for one in demands}
    pairs = ((told[one.start], one) for one in intervals if one.start in told)
    found = [compared for pair in pairs if (compared := _compare(*pair)) is not None]
    if not found:
        return None
    worst = max(found, key=lambda one: one.excess)
    return DemandDay(*span, len(found), sum(one.excess > 0 for one in found), worst)


def _compare(theirs: Demand, ours: Interval) -> ComparedDemand | None:
    """A demand beside its quarter-hour, where that is the plain difference of two readings by the meter's clock."""
    low, high = ours.low, ours.high
    plain = ours.method == "register" and ours.quality == "measured" and ours.clock == "meter"
    if not plain or ours.author == "person" or ours.sum_break:
        return None
    if ours.end - ours.start != PERIOD_S or ours.quantity is None:
        return None
    if low.value is None or high.value is None or not low.value <= theirs.register <= high.value:
        return None
    unsure = sum(_width(one.readings) for one in (low, high) if one.method != "measured")
    # each bound is a register that was cut down, and the meter counts finer than it shows
    wh = 2 * ours.resolution_wh + (high.value - theirs.register) + unsure
    return ComparedDemand(theirs, W_PER_WH * ours.quantity, W_PER_WH * wh + theirs.step)


def _width(readings: tuple[tuple[int, int], ...]) -> int:
    """By how much the register rose between the readings around a bound."""
    values = [value for _, value in readings]
    return max(values) - min(values) if values else 0
