"""A household as its meter sees it: the net power of three phases and the flow of gas, from a seed alone.

Habits follow the wall clock and the season, the sun follows UTC. Both are worked out once a day, by the minute; a
table of 997 s adds what flickers from second to second. So power is a whole number of W in every second, and the
energy of a minute is a sum that needs no walk through its seconds, except where import and export change places.
Floats shape the curves; they are rounded to W before anything is measured.
"""

from array import array
from datetime import date
from functools import partial
from itertools import accumulate
from math import cos, floor, pi, radians, sin
from typing import NamedTuple, TypeAlias, TypeVar

from gateway.simulator.clock import wall, zone
from gateway.simulator.dice import dice

#: one value for every minute of a day
Minutes: TypeAlias = "array[int]"
K = TypeVar("K")
V = TypeVar("V")

#: flicker of one phase in W, and the seconds after which it repeats (prime: never in step with a minute)
FLICKER_W = 12
FLICKER_S = 997
GAS = 3


class Habit(NamedTuple):
    """Something that runs: on a phase (0 to 2, W) or the gas pipe (3, litres per minute)."""

    name: str
    line: int
    rate: int
    minutes: int
    #: minutes of the local day between which it starts
    earliest: int
    latest: int
    #: runs per day on average in high summer and in deep winter
    summer: float
    winter: float


HABITS = (
    Habit("refrigerator", 0, 85, 20, 0, 1420, 20, 16),
    Habit("kettle", 1, 2000, 3, 390, 1320, 4, 4),
    Habit("hob", 2, 1800, 25, 1040, 1110, 1, 1),
    Habit("oven", 1, 1500, 35, 1030, 1120, 0.4, 0.6),
    Habit("washing machine, heating", 0, 1900, 20, 540, 1200, 0.5, 0.5),
    Habit("dishwasher", 0, 1700, 30, 1170, 1290, 0.7, 0.7),
    Habit("tumble dryer", 2, 800, 60, 600, 1260, 0.1, 0.4),
    Habit("screens", 1, 130, 150, 1110, 1280, 1, 1.2),
    Habit("lights, evening", 0, 160, 240, 1000, 1140, 0.3, 1),
    Habit("lights, morning", 0, 160, 60, 390, 430, 0, 1),
    Habit("heat pump", 2, 1100, 40, 0, 1390, 0, 8),
    Habit("car", 0, 2300, 120, 0, 300, 0.4, 0.5),
    Habit("shower", GAS, 35, 8, 390, 480, 1.5, 1.5),
    Habit("hot water", GAS, 30, 4, 600, 1320, 2, 2),
    Habit("boiler", GAS, 30, 12, 360, 1350, 0, 20),
)


class Day(NamedTuple):
    """The minutes of one day of UTC; the flicker is not in it."""

    #: net W of each phase, import positive
    phases: tuple[Minutes, Minutes, Minutes]
    net: Minutes
    #: reactive var of each phase, inductive positive
    reactive: tuple[Minutes, Minutes, Minutes]
    net_reactive: Minutes
    #: litres of gas
    gas: Minutes
    #: 1 where the low tariff holds
    low_tariff: bytes


class Household:
    """Three phases, gas, and a roof of `solar_wp` W peak (from the seed where it is not given, 0 for none)."""

    def __init__(self, seed: int, *, zone_name: str = "Europe/Amsterdam", solar_wp: int | None = None) -> None:
        rng = dice(seed, "household")
        self.seed = seed
        self.zone = zone(zone_name)
        self.base = tuple(rng.randint(20, 90) for _ in range(3))
        roof = rng.randrange(2400, 6000, 300)
        self.solar_wp = roof if solar_wp is None else solar_wp
        self.flicker = tuple(tuple(rng.randint(-FLICKER_W, FLICKER_W) for _ in range(FLICKER_S)) for _ in range(3))
        #: flicker of all phases, twice over, so that no window wraps; and its running sum
        self._flicker = tuple(map(sum, zip(*self.flicker, strict=True))) * 2
        self._flicker_sum = tuple(accumulate(self._flicker, initial=0))
        self._days: dict[int, Day] = {}
        self._habits: dict[date, tuple[Minutes, ...]] = {}

    def phases(self, second: int) -> tuple[int, int, int]:
        """Net W of L1, L2 and L3 in that second since 1970, import positive."""
        day, minute, tick = self.day(second // 86400), second // 60 % 1440, second % FLICKER_S
        (a, b, c), (fa, fb, fc) = day.phases, self.flicker
        return a[minute] + fa[tick], b[minute] + fb[tick], c[minute] + fc[tick]

    def reactive(self, second: int) -> tuple[int, int, int]:
        """Reactive var of L1, L2 and L3 in that second, inductive positive."""
        (a, b, c), minute = self.day(second // 86400).reactive, second // 60 % 1440
        return a[minute], b[minute], c[minute]

    def flow(self, start: int, end: int) -> tuple[int, int]:
        """Watt-seconds imported and exported in [start, end), which lies in one minute; the phases are netted."""
        smooth = self.day(start // 86400).net[start // 60 % 1440]
        first, seconds = start % FLICKER_S, end - start
        total = smooth * seconds + self._flicker_sum[first + seconds] - self._flicker_sum[first]
        if smooth > 3 * FLICKER_W:
            return total, 0
        if smooth < -3 * FLICKER_W:
            return 0, -total
        imported = sum(smooth + f for f in self._flicker[first : first + seconds] if smooth + f > 0)
        return imported, imported - total

    def day(self, number: int) -> Day:
        """The day `number` since 1970 in UTC; the last two are kept."""
        return self._days.get(number) or _keep(self._days, number, self._make_day(number))

    def _make_day(self, number: int) -> Day:
        loads, low_tariff = self._loads(number)
        sun = _sun_thirds(self.seed, number, self.solar_wp)
        shares = (1, 1, 1) if self.solar_wp > 3600 else (0, 3, 0)
        phases = [
            array("i", [w - share * third for w, third in zip(line, sun, strict=True)])
            for line, share in zip(loads[:GAS], shares, strict=True)
        ]
        reactive = [array("i", [w // 5 - 25 for w in line]) for line in loads[:GAS]]
        return Day(
            phases=(phases[0], phases[1], phases[2]),
            net=array("i", map(sum, zip(*phases, strict=True))),
            reactive=(reactive[0], reactive[1], reactive[2]),
            net_reactive=array("i", map(sum, zip(*reactive, strict=True))),
            gas=loads[GAS],
            low_tariff=low_tariff,
        )

    def _loads(self, number: int) -> tuple[list[Minutes], bytes]:
        """The four lines of a day of UTC, put together from quarters of local days; and where the low tariff holds."""
        loads = [array("i") for _ in range(4)]
        low_tariff = bytearray()
        for quarter in range(number * 96, number * 96 + 96):
            local = wall(quarter * 900, self.zone)
            first = local.hour * 60 + local.minute
            for line, habits in zip(loads, self._habits_of(local.date()), strict=True):
                line.extend(habits[first : first + 15])
            low_tariff += bytes([is_low_tariff(local.weekday(), local.hour)]) * 15
        return loads, bytes(low_tariff)

    def _habits_of(self, day: date) -> tuple[Minutes, ...]:
        return self._habits.get(day) or _keep(self._habits, day, self._make_habits(day))

    def _make_habits(self, day: date) -> tuple[Minutes, ...]:
        """What runs in each of the 1440 minutes of a local day: W on three phases, litres of gas."""
        lines = tuple(array("i", [rate]) * 1440 for rate in (*self.base, 0))
        rng = dice(self.seed, "habits", day)
        for habit in HABITS:
            mean = habit.summer + (habit.winter - habit.summer) * _winter(day)
            for _ in range(floor(mean + rng.random())):
                first = rng.randint(habit.earliest, habit.latest)
                for minute in range(first, min(first + habit.minutes, 1440)):
                    lines[habit.line][minute] += habit.rate
        return lines


def is_low_tariff(weekday: int, hour: int) -> bool:
    """Low at night (23 to 7 h) and all weekend, as most Dutch contracts have it; `weekday` 0 is Monday."""
    return weekday >= 5 or hour >= 23 or hour < 7


def _keep(kept: dict[K, V], key: K, value: V) -> V:
    """Keep a value, and the one before it; drop what is older."""
    while len(kept) > 1:
        del kept[next(iter(kept))]
    kept[key] = value
    return value


def _winter(day: date) -> float:
    """1 in the middle of January, 0 in the middle of July."""
    return 0.5 + 0.5 * cos(2 * pi * (day.timetuple().tm_yday - 15) / 365)


def _sun_thirds(seed: int, number: int, peak_w: int) -> Minutes:
    """A third of what the roof yields in each minute of a day of UTC, in W, at 52 degrees north and 5 east."""
    elevation = _sun_elevation(number)
    rng = dice(seed, "sky", number)
    clear, broken, cloud = rng.uniform(0.15, 1.0), rng.uniform(0.0, 0.6), 0.0
    thirds = array("i", bytes(4 * 1440))
    for minute in range(1440):
        if minute % 5 == 0:
            cloud = broken * rng.random()
        height = elevation(minute)
        if height > 0:
            thirds[minute] = int(peak_w / 3 * height**1.15 * clear * (1 - cloud))
    return thirds


def _sun_elevation(number: int) -> partial[float]:
    """Sine of the sun's height by the minute of a day of UTC (Cooper's declination, mean solar time)."""
    declination = radians(23.44) * sin(2 * pi * (284 + number % 365.2425) / 365)
    latitude = radians(52)
    return partial(_height, sin(latitude) * sin(declination), cos(latitude) * cos(declination))


def _height(level: float, swing: float, minute: int) -> float:
    return level + swing * cos(radians((minute - 720) / 4 + 5))
