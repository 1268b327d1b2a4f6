"""A reading as the fold takes it: item P and sub-meters taken apart into one register for each series."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from decoders.model import Register, SubReading
from gateway.intervals.continuity import Origin
from gateway.intervals.model import Direction, Kind
from gateway.item_p import ItemP
from gateway.pseudonym import pseudonym
from gateway.settings import PointSettings
from gateway.stores.interval_rows import SeriesRow

#: powers of ten of units in which meters count energy (Wh, varh), and those of heat in their own
_ENERGY: Final[dict[str, int]] = {"Wh": 0, "kWh": 3, "MWh": 6, "GWh": 9}
_REACTIVE: Final = {"varh": 0, "kvarh": 3, "Mvarh": 6}
_VOLUME: Final = {"m3": 0, "l": -3}
_HEAT: Final = ("J", "kJ", "MJ", "GJ")
_THERMAL: Final = ("heat", "cooling")
#: OBIS groups C.D (IEC 62056-61) of registers by direction
_ACTIVE_CODES: Final[dict[Direction, str]] = {"import": ":1.8.", "export": ":2.8."}
_REACTIVE_CODES: Final[dict[Direction, str]] = {"import": ":3.8.", "export": ":4.8."}
#: a time of a sub-meter may be ahead of its telegram by so much: its clock is another one
AHEAD: Final = timedelta(minutes=1)
#: a register that is latched is sent so long after that at most (s)
LATE_S: Final = 60
#: no register of a customer counts as far
MOST: Final = 10**15


class Part(NamedTuple):
    """What a reading says of one series: UTC seconds, register in the unit of the series, power (W)."""

    series: SeriesRow
    t: int
    value: int | None
    power: int | None
    origin: Origin


class Splitter:
    """Takes readings apart. `point_of` gives the point of a meter's channel, `salt` makes pseudonyms of devices."""

    def __init__(
        self,
        salt: bytes,
        point_of: Callable[[str, int], PointSettings],
        latch_of: Callable[[str], int] = lambda _profile: 0,
    ) -> None:
        """`latch_of` gives `latched_s` of a profile."""
        self._salt = salt
        self._point_of = point_of
        self._latch_of = latch_of
        self._latches: dict[str, int] = {}
        #: the last value of each sub-meter: a telegram repeats it until there is another one
        self._told: dict[tuple[str, int], tuple[datetime | None, int, int, str | None]] = {}
        self._devices: dict[str, str] = {}

    def take(self, item: ItemP, *, synchronised: bool) -> Iterator[Part]:
        """Yield what a reading says; a time of a clock that is not synchronised says nothing."""
        if item.t is None or (item.t_source == "gateway" and not synchronised):
            return
        reading = item.reading
        trusted = reading.quality != "suspect"
        t, registered = int(item.t.timestamp()), int(self._register_time(item, item.t).timestamp())
        active: tuple[tuple[Direction, int | None, int | None], ...] = (
            ("import", reading.a_import_wh, reading.p_import_w),
            ("export", reading.a_export_wh, reading.p_export_w),
        )
        for direction, value, power in active:
            series = SeriesRow(item.meter, 0, "active", direction, "Wh", 0, "electricity")
            step = _step(reading.registers, _ACTIVE_CODES[direction]) if value is not None else 1
            said = (registered, value if trusted else None), (t, power)
            yield from self._at(item, series, step, *said)
        for direction, codes in _REACTIVE_CODES.items():
            value = _total(reading.registers, codes, _REACTIVE) if trusted else None
            if value is not None:
                series = SeriesRow(item.meter, 0, "reactive", direction, "varh", 0, "electricity")
                step = _step(reading.registers, codes, _REACTIVE)
                yield from self._at(item, series, step, (registered, value), (t, None))
        for sub in reading.sub:
            yield from self._sub(item, item.t, sub)

    def _at(
        self, item: ItemP, series: SeriesRow, step: int, register: tuple[int, int | None], power: tuple[int, int | None]
    ) -> Iterator[Part]:
        """Register and power, each with its own time; what no customer has is left out."""
        origin = self._origin(item, step)
        (registered, value), (t, watts) = register, power
        value = value if value is not None and 0 <= value < MOST else None
        watts = watts if watts is not None and 0 <= watts < MOST else None
        if value is not None and registered != t:
            yield Part(series, registered, value, None, origin)
            value = None
        if value is not None or watts is not None:
            yield Part(series, t, value, watts, origin)

    def _origin(self, item: ItemP, step: int) -> Origin:
        reading = item.reading
        device = None if reading.identity is None else self._pseudonym(reading.identity)
        return Origin(device, reading.quality, reading.auth, item.t_source, step)

    def _sub(self, item: ItemP, at: datetime, sub: SubReading) -> Iterator[Part]:
        """A sub-meter that says something new; what has no believable time or is doubted says nothing."""
        when = sub.t if sub.t is not None else at if sub.t_meter is None else None
        if when is None or when > at + AHEAD or sub.quality == "suspect" or not 0 <= sub.channel <= 255:
            return
        told = (sub.t, sub.integer, sub.exponent, sub.device)
        if sub.t is not None and self._told.get((item.meter, sub.channel)) == told:
            return
        self._told[item.meter, sub.channel] = told
        device = None if sub.device is None else self._pseudonym(sub.device)
        origin = Origin(device, sub.quality, item.reading.auth, item.t_source, 1)
        for series, value, step in self._quantities(item.meter, sub):
            if 0 <= value < MOST:
                yield Part(series, int(when.timestamp()), value, None, origin._replace(step=step))

    def _quantities(self, meter: str, sub: SubReading) -> Iterator[tuple[SeriesRow, int, int]]:
        """Series of a sub-meter, its register in the unit of each, and the step of that."""
        if sub.unit in _ENERGY:
            kind: Kind = "heat" if sub.medium in _THERMAL else "active"
            exponent = sub.exponent + _ENERGY[sub.unit]
            series = SeriesRow(meter, sub.channel, kind, "import", "Wh", 0, sub.medium)
            yield series, scaled(sub.integer, exponent), 10 ** max(0, exponent)
        elif sub.unit in _HEAT:
            yield SeriesRow(meter, sub.channel, "heat", "import", sub.unit, sub.exponent, sub.medium), sub.integer, 1
        elif sub.unit in _VOLUME:
            exponent = sub.exponent + _VOLUME[sub.unit]
            yield SeriesRow(meter, sub.channel, "volume", "import", "m3", exponent, sub.medium), sub.integer, 1
            factor = self._point_of(meter, sub.channel).gas_kwh_per_m3
            if sub.medium == "gas" and factor is not None:
                yield self._gas(meter, sub, exponent, factor)

    @staticmethod
    def _gas(meter: str, sub: SubReading, exponent: int, factor: str) -> tuple[SeriesRow, int, int]:
        """Energy of gas: the register times the factor, exactly, and rounded down to Wh."""
        whole, _, fraction = factor.partition(".")
        wh = 10 ** (exponent + 3 - len(fraction)) if exponent + 3 >= len(fraction) else 0
        below = 10 ** max(0, len(fraction) - exponent - 3)
        value = sub.integer * int(whole + fraction)
        step = int(whole + fraction) * (wh or 1) // below
        series = SeriesRow(meter, sub.channel, "gas", "import", "Wh", 0, sub.medium)
        return series, value * wh if wh else value // below, max(1, step)

    def _pseudonym(self, device: str) -> str:
        if device not in self._devices:
            if len(self._devices) >= 64:
                self._devices.clear()
            self._devices[device] = pseudonym(self._salt, device)
        return self._devices[device]

    def _register_time(self, item: ItemP, t: datetime) -> datetime:
        """When the registers had their values: with the telegram, or so much earlier as meter or profile say."""
        reading = item.reading
        if reading.t is not None and reading.reg_t is not None and reading.reg_t < reading.t:
            return t - (reading.t - reading.reg_t)
        if reading.profile not in self._latches:
            self._latches[reading.profile] = self._latch_of(reading.profile)
        latch = self._latches[reading.profile]
        late = int(t.timestamp()) % latch if latch else 0
        return t - timedelta(seconds=late) if late <= LATE_S else t


def scaled(integer: int, exponent: int) -> int:
    """integer * 10**exponent, rounded down."""
    shift: int = 10 ** abs(exponent)
    return integer * shift if exponent >= 0 else integer // shift


def _matching(registers: tuple[Register, ...], codes: str, units: dict[str, int]) -> list[tuple[str, int, int]]:
    """Code, integer and exponent of the registers of a quantity, in the smallest of its units."""
    return [
        (code, integer, exponent + units[unit])
        for code, integer, exponent, unit in registers
        if codes in code and "*" not in code and unit in units
    ]


def _total(registers: tuple[Register, ...], codes: str, units: dict[str, int]) -> int | None:
    """The register over all tariffs, or the exact sum of its tariffs; rounded down. None where there is none."""
    found = _matching(registers, codes, units)
    if not found:
        return None
    total = [one for one in found if one[0].endswith(f"{codes}0")]
    lowest: int = min(0, *(exponent for *_, exponent in found))
    return scaled(sum(scaled(integer, exponent - lowest) for _, integer, exponent in total[:1] or found), lowest)


def _step(registers: tuple[Register, ...], codes: str, units: dict[str, int] = _ENERGY) -> int:
    """The coarsest step of the registers of a quantity, 1 where they are finer or not known by their code."""
    return max([1, *(int(10**exponent) for *_, exponent in _matching(registers, codes, units) if 0 < exponent <= 6)])
