"""How much energy can have flowed between two readings of a register: power times time, its steps, a whole turn."""

from collections.abc import Iterator, Sequence

from decoders.model import Reading, Register
from gateway.item_p import ItemP
from gateway.register_series import Mark

#: counting, clocks and the delay of a line add to what a connection carries, in percent
MARGIN = 110
#: a register that stands still may be one that moves at intervals: up to so long (s)
BATCH_S = 3_600.0
#: how far the clock of a meter is followed that is not believed (s): it still tells how much time passed
FOLLOWED_S = 900.0
#: no meter counts with fewer digits (9 999.999 kWh); and what no connection exceeds where no limit is set (W)
LEAST_ROLL, MOST_W = 10**7, 100_000_000

#: OBIS groups C.D of active energy, by direction; exponents of its units
_CODES = (":1.8.", ":2.8.")
_UNITS = {"Wh": 0, "kWh": 3, "MWh": 6, "GWh": 9}


class EnergyBounds:
    """The bounds of one connection, and how long its registers stand still between two steps."""

    def __init__(self, most_w: int) -> None:
        #: what the connection carries (W); 0: no limit
        self.most_w = most_w
        #: the longest pause of each register that moves at intervals (s)
        self.batch_s = [0.0, 0.0]

    def most(self, index: int, mark: Mark, item: ItemP, at: float) -> int | None:
        """Wh by which a register can have risen since its mark; None where nobody knows how long ago that was."""
        if not self.most_w:
            return None
        gap_s = _gap_s(mark, item, at)
        if gap_s is None:
            return None
        gap_s = max(gap_s, min(at - mark.moved, self.batch_s[index]))
        return self._carried_wh(gap_s) + _resolution(index, item.reading, mark.wh)

    def rolled(  # noqa: PLR0913, PLR0917 - two readings of one register
        self, index: int, mark: Mark, registers: tuple[Register, ...], wh: int, item: ItemP, at: float
    ) -> tuple[int, int] | None:
        """(Wh that flowed, Wh of a whole turn) where a register passed its last digit; None where it cannot have.

        `registers` are those of the reading of the mark; `wh` is what `item` says.
        """
        gap_s = _gap_s(mark, item, at)
        most = self._carried_wh(BATCH_S if gap_s is None else gap_s) + _resolution(index, item.reading, mark.wh)
        for modulus in (10 ** len(str(mark.wh)), _turned(index, registers, item.reading.registers)):
            if modulus >= LEAST_ROLL and 0 <= (delta := wh - mark.wh + modulus) <= most:
                return delta, modulus
        return None

    def come_in_batches(self, before: Sequence[Mark | None], after: Sequence[Mark | None], at: float) -> bool:
        """Whether registers that rose had stood still for long enough; for how long is remembered."""
        for index, (mark, new) in enumerate(zip(before, after, strict=True)):
            if mark is None or new is None or new.wh <= mark.wh:
                continue
            stood_s = min(at - mark.moved, BATCH_S)
            if new.wh - mark.wh > self._carried_wh(stood_s):
                return False
            self.batch_s[index] = max(self.batch_s[index], stood_s)
        return True

    def _carried_wh(self, seconds: float) -> int:
        return int((self.most_w or MOST_W) * MARGIN * max(0.0, seconds) / 360_000)


def _gap_s(mark: Mark, item: ItemP, at: float) -> float | None:
    """Seconds since a mark by the clocks that tell: the longest, so that none that was set back makes it too short."""
    gaps = [] if mark.at is None else [at - mark.at]
    now = item.reading.reg_t or item.reading.t
    if mark.meter is not None and now is not None:
        by_meter = (now - mark.meter).total_seconds()
        gaps.append(by_meter if mark.believed and item.t_source == "meter" else min(by_meter, FOLLOWED_S))
    if mark.at is None and mark.host is not None and item.t_rx is not None:
        gaps.append((item.t_rx - mark.host).total_seconds())
    longest = max(gaps, default=-1.0)
    return longest if longest >= 0 else None


def _resolution(index: int, reading: Reading, before_wh: int) -> int:
    """Wh by which the registers of a direction step, all of them together; and what cutting to whole Wh adds.

    German meters show whole kWh until their PIN is entered, in a register of tenths of a Wh.
    """
    named = [row for row in _energy(reading.registers) if _CODES[index] in row[0]]
    steps = named or list(_energy(reading.registers))
    finest = sum(int(10 ** max(0, exponent + _UNITS[unit])) for _, _, exponent, unit in steps)
    whole_kwh = 1_000 if reading.interface == "sml" and before_wh and before_wh % 1_000 == 0 else 0
    return max(1, finest) + whole_kwh


def _turned(index: int, before: tuple[Register, ...], now: tuple[Register, ...]) -> int:
    """Wh of the turns that registers of single tariffs made: those that fell, by their own digits."""
    old = {code: (integer, exponent) for code, integer, exponent, _ in _energy(before) if _CODES[index] in code}
    turns: int = 0
    for code, integer, exponent, unit in _energy(now):
        if code in old and not code.endswith(".8.0") and old[code][1] == exponent and integer < old[code][0]:
            digits = len(str(old[code][0])) + exponent + _UNITS[unit]
            turns += int(10**digits) if digits > 0 else 0
    return turns


def _energy(registers: tuple[Register, ...]) -> Iterator[Register]:
    return (row for row in registers if row[3] in _UNITS)
