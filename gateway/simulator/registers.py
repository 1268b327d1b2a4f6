"""The registers of a meter: exact sums of what a household draws, in watt-seconds, so that no Wh is lost or made.

A register shows whole Wh: the watt-seconds that do not make one are carried on. At second t a register holds
everything before t. Demand follows eMUCS-P1: energy drawn since the quarter began over 900 s, and its peak by month.
"""

from typing import NamedTuple

from gateway.simulator.clock import local_midnight, wall
from gateway.simulator.dice import dice
from gateway.simulator.house import Household

#: 2024-01-01T00:00Z: a simulated meter has counted since then, more per day than the house can use. So a meter that
#: is simulated again later does not show less than it did before.
INSTALLED = 1_704_067_200
WH_PER_DAY = 40_000
GAS_LITRES_PER_DAY = 20_000
PEAKS_KEPT = 13
WS_PER_WH = 3600
LOW, NORMAL = 0, 1


class Peak(NamedTuple):
    """The highest quarter of a month: the month's end, the quarter's end (0: none yet), and W."""

    month_end: int
    t: int
    watts: int


class GasReading(NamedTuple):
    """What the gas meter said last: second since 1970, litres."""

    t: int
    litres: int


class Registers:
    """The registers at second `t`; they begin at the local midnight before `start`, and only `advance` moves them."""

    def __init__(self, house: Household, start: int) -> None:
        self.house = house
        self.t = local_midnight(start, house.zone)
        days = max(0, (self.t - INSTALLED) // 86400)
        rng = dice(house.seed, "registers")
        #: watt-seconds by tariff, low and normal
        self.imported = [(rng.randint(0, 999_999) + days * WH_PER_DAY) * WS_PER_WH for _ in range(2)]
        self.exported = [(rng.randint(0, 999_999) + days * WH_PER_DAY) * WS_PER_WH for _ in range(2)]
        #: var-seconds, inductive and capacitive
        self.reactive = [days * WH_PER_DAY * WS_PER_WH for _ in range(2)]
        self.litres = rng.randint(0, 999_999) + days * GAS_LITRES_PER_DAY
        self.gas_5min = self.gas_hour = GasReading(self.t, self.litres)
        #: watt-seconds imported since the quarter began
        self.quarter = 0
        self.peaks = self._earlier_peaks(rng.randint(1, 3))
        self.peak = Peak(0, 0, 0)
        if wall(self.t, house.zone).day > 1:
            self.peak = Peak(0, self.t - 900 * rng.randint(1, 90), rng.randint(1500, 3500))
        self.advance(start)

    def advance(self, to: int) -> None:
        """Move on to second `to`; raises ValueError when that is past."""
        if to < self.t:
            raise ValueError("registers do not run backwards")
        while self.t < to:
            self._run(min(to, self.t - self.t % 60 + 60))

    @property
    def demand(self) -> int:
        """W: what was imported since the quarter began, over 900 s."""
        return self.quarter // 900

    def _run(self, end: int) -> None:
        """Add what flows until `end`, a second of the same minute or the first of the next."""
        start, self.t = self.t, end
        imported, exported = self.house.flow(start, end)
        day, minute = self.house.day(start // 86400), start // 60 % 1440
        tariff = LOW if day.low_tariff[minute] else NORMAL
        self.imported[tariff] += imported
        self.exported[tariff] += exported
        var = day.net_reactive[minute] * (end - start)
        self.reactive[var < 0] += abs(var)
        self.quarter += imported
        if end % 60 == 0:
            self.litres += day.gas[minute]
            if end % 300 == 0:
                self._five_minutes(end)

    def _five_minutes(self, end: int) -> None:
        self.gas_5min = GasReading(end, self.litres)
        if end % 3600 == 0:
            self.gas_hour = self.gas_5min
        if end % 900 == 0:
            self._close_quarter(end)

    def _close_quarter(self, end: int) -> None:
        """Compare the quarter with the peak of its month; the quarter that ends at midnight belongs to the old one."""
        if self.demand > self.peak.watts:
            self.peak = Peak(0, end, self.demand)
        self.quarter = 0
        local = wall(end, self.house.zone)
        if (local.day, local.hour, local.minute) == (1, 0, 0):
            self.peaks = (self.peak._replace(month_end=end), *self.peaks)[:PEAKS_KEPT]
            self.peak = Peak(0, end, 0)

    def _earlier_peaks(self, count: int) -> tuple[Peak, ...]:
        """Peaks of the months before the first, newest first."""
        peaks, zone, rng = [], self.house.zone, dice(self.house.seed, "peaks")
        month_end = local_midnight(self.t - (wall(self.t, zone).day - 1) * 86400, zone)
        for _ in range(count):
            peaks.append(Peak(month_end, month_end - 900 * rng.randint(1, 2600), rng.randint(1500, 6000)))
            before = month_end - 43_200
            month_end = local_midnight(before - (wall(before, zone).day - 1) * 86400, zone)
        return tuple(peaks)
