"""What the meter itself bills beside energy: the highest demand of a quarter-hour in a month, compared with intervals.

1.6.0 and 2.6.0 are the maximum demand of a billing period with its time (IEC 62056-61; class 4 of IEC 62056-6-2), in
Belgium the base of the capacity tariff. The demand of a quarter-hour is its energy over 900 s, so 4 x Wh is W.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from decoders.model import Reading
from gateway.intervals.model import Direction, Interval

PERIOD_S: Final = 900
#: quarter-hours in an hour: W of 1 Wh in a quarter-hour
W_PER_WH: Final = 4
#: meters stamp a peak at the end of its quarter-hour, some within the second or minute around it (s)
STAMP_SLACK_S: Final = 60
_CODES: Final[dict[Direction, str]] = {"import": ":1.6.0", "export": ":2.6.0"}
#: power of ten of the units of demand, of W
POWER: Final = {"W": 0, "kW": 3}
#: no customer has more (W)
MOST_W: Final = 10**9


class Peak(NamedTuple):
    """The highest demand of a month as the meter tells it: W, the step in which it counts, and its time (UTC s)."""

    t: int
    watts: int
    step: int


class Compared(NamedTuple):
    """A peak of the meter beside our intervals."""

    theirs: Peak
    #: start of the quarter-hour that the meter means; None where its stamp is no end of one
    start: int | None
    #: our demand of that quarter-hour (W), None where it is not known
    ours: int | None
    #: the highest demand that we know of the month (W), and the start of its quarter-hour
    highest: int | None
    highest_start: int | None
    #: by how much both may differ because registers count in steps (W)
    allowed: int

    @property
    def difference(self) -> int | None:
        """Ours minus the meter's of the same quarter-hour (W)."""
        return None if self.ours is None else self.ours - self.theirs.watts

    @property
    def agrees(self) -> bool | None:
        """Whether both agree, in the quarter-hour and in which one was the highest; None where nobody knows."""
        if self.difference is None or self.highest is None:
            return None
        return abs(self.difference) <= self.allowed and self.highest - self.theirs.watts <= self.allowed


def peaks_of(reading: Reading) -> Iterator[tuple[Direction, Peak]]:
    """The peaks of the running month that a reading tells, of whole W; one without a sure time says nothing."""
    times = dict(reading.register_times)
    for index, (code, integer, exponent, unit) in enumerate(reading.registers):
        if not code.endswith(".6.0") or unit not in POWER or not 0 <= integer < MOST_W:
            continue
        direction = next((one for one, end in _CODES.items() if code.endswith(end)), None)
        at = _instant(times.get(index))
        scale = exponent + POWER[unit]
        if direction is None or at is None or not -9 <= scale <= 6:
            continue
        watts = integer * 10**scale if scale >= 0 else integer // 10**-scale
        if watts < MOST_W:
            yield direction, Peak(at, watts, 10 ** max(0, scale))


def quarter_of(t: int) -> int | None:
    """Start of the quarter-hour that a stamp ends, near its end; None for a stamp elsewhere."""
    end = (t + STAMP_SLACK_S) // PERIOD_S * PERIOD_S
    return end - PERIOD_S if abs(t - end) <= STAMP_SLACK_S else None


def compare(theirs: Peak, month: Iterable[Interval]) -> Compared:
    """A peak beside the quarter-hours of its month, as far as they are known."""
    start = quarter_of(theirs.t)
    ours = highest = highest_start = None
    step = 1
    for one in month:
        if one.quantity is None or one.end - one.start != PERIOD_S:
            continue
        step = max(step, one.resolution_wh)
        watts = one.quantity * W_PER_WH
        ours = watts if one.start == start else ours
        if highest is None or watts > highest:
            highest, highest_start = watts, one.start
    # each bound is a register that was cut down, and the meter counts finer than it shows
    return Compared(theirs, start, ours, highest, highest_start, 2 * W_PER_WH * step + theirs.step)


def _instant(text: str | None) -> int | None:
    """UTC seconds of a time with its offset; None for one without."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else int(at.timestamp())
