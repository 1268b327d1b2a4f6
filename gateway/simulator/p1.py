"""P1 telegrams of a simulated meter: the lines of its variant, filled from a State and closed by a CRC-16/ARC.

Written from DSMR P1 companion standard 5.0.2 (chapter 6). Every number of a State is a whole number of thousandths of
the unit on the line (Wh for kWh, mA for A); a format that shows fewer digits cuts them off.
"""

import re
from collections.abc import Callable
from datetime import tzinfo
from functools import lru_cache
from math import isqrt
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from gateway.simulator.clock import wall, zone
from gateway.simulator.registers import GasReading, Peak
from gateway.simulator.variants import Variant

Format: TypeAlias = Callable[[Any], str]


class Energy(NamedTuple):
    """A register by tariff and in all, each cut to whole Wh."""

    low: int
    normal: int
    total: int


class Phases(NamedTuple):
    """One quantity of each phase."""

    l1: int
    l2: int
    l3: int


class State(NamedTuple):
    """What a meter knows at second `t`: Wh, W, varh, var, mV, mA, litres; instants in seconds since 1970."""

    t: int
    serial: str
    gas_serial: str
    low_tariff: bool
    a_import: Energy
    a_export: Energy
    #: reactive energy, inductive and capacitive
    r_import: int
    r_export: int
    p_import: int
    p_export: int
    p_import_by: Phases
    p_export_by: Phases
    q_import: int
    q_export: int
    q_import_by: Phases
    q_export_by: Phases
    voltage: Phases
    current: Phases
    demand: int
    peak: Peak
    peaks: tuple[Peak, ...]
    gas_5min: GasReading
    gas_hour: GasReading
    #: a second gas meter, where one was put beside the first (sub_meters)
    beside_serial: str = ""
    beside_5min: GasReading = GasReading(0, 0)
    beside_hour: GasReading = GasReading(0, 0)

    @property
    def power_factor(self) -> int:
        """Thousandths: active over apparent power."""
        return _power_factor(self.p_import + self.p_export, self.q_import + self.q_export)

    @property
    def power_factor_by(self) -> Phases:
        """The same of each phase."""
        lines = zip(self.p_import_by, self.p_export_by, self.q_import_by, self.q_export_by, strict=True)
        return Phases(*(_power_factor(drawn + fed, q + r) for drawn, fed, q, r in lines))

    @property
    def a_import_by(self) -> Phases:
        """Wh of each phase; the household is not counted by phase, so each has a third of the total."""
        return _thirds(self.a_import.total)

    @property
    def a_export_by(self) -> Phases:
        """Wh of each phase, as for import."""
        return _thirds(self.a_export.total)


_FIELD = re.compile(r"\{([a-z0-9_.]+):([a-z0-9.-]+)\}")


class _Compiled(NamedTuple):
    """A variant's lines as one `%` template, with what fetches and what formats its fields."""

    template: str
    fetch: Callable[[State], tuple[Any, ...]]
    formats: tuple[Format, ...]


def telegram(state: State, variant: Variant) -> bytes:
    """The telegram of a state, as on the wire: from `/` to the line end behind the CRC (or behind `!` without one)."""
    compiled = _compile(variant)
    body = compiled.template % tuple(
        show(value) for show, value in zip(compiled.formats, compiled.fetch(state), strict=True)
    )
    octets = body.encode("ascii")
    return octets + (b"%04X\r\n" % crc16(octets) if variant.checksum else b"\r\n")


def crc16(octets: bytes) -> int:
    """CRC-16/ARC (x16 + x15 + x2 + 1, least significant bit first, start 0), as DSMR 5.0.2 chapter 6.2 asks."""
    crc = 0
    for octet in octets:
        crc = crc >> 8 ^ _CRC[crc & 255 ^ octet]
    return crc


def stamp(second: int, tz: tzinfo) -> str:
    """A TST of DSMR: YYMMDDhhmmss of the local clock and S in summer, W in winter."""
    local = wall(second, tz)
    return f"{local:%y%m%d%H%M%S}{'S' if local.dst() else 'W'}"


def _power_factor(watts: int, var: int) -> int:
    apparent = isqrt(watts * watts + var * var)
    return min(1000, watts * 1000 // apparent) if apparent else 1000


def _thirds(total: int) -> Phases:
    return Phases(total - total // 3 * 2, total // 3, total // 3)


def _digits(spec: str) -> Format:
    """`6.3`: six digits, a point, three digits, of thousandths; a register that is full begins again at zero."""
    whole, decimals = map(int, spec.split("."))
    cut, unit, roll = 10 ** (3 - decimals), 10**decimals, 10**whole
    if not decimals:
        return lambda value: f"{value // cut % roll:0{whole}d}"
    shape = f"%0{whole}d.%0{decimals}d"

    def show(value: int) -> str:
        left, right = divmod(value // cut, unit)
        return shape % (left % roll, right)

    return show


def _format(spec: str, tz: tzinfo) -> Format:
    named: dict[str, Format] = {
        "time": lambda second: stamp(second, tz),
        "wall": lambda second: stamp(second, tz)[:-1],
        "9-digits": lambda value: f"{value % 10**9:09d}",
        "hex": lambda text: text.encode("ascii").hex().upper(),
        "low-is-1": lambda low: "0001" if low else "0002",
        "low-is-2": lambda low: "0002" if low else "0001",
        "peaks": lambda peaks: _peaks(peaks, tz),
    }
    return named.get(spec) or _digits(spec)


def _peaks(peaks: tuple[Peak, ...], tz: tzinfo) -> str:
    watts = _digits("2.3")
    rows = (f"({stamp(peak.month_end, tz)})({stamp(peak.t, tz)})({watts(peak.watts)}*kW)" for peak in peaks)
    return f"({len(peaks)})(1-0:1.6.0)(1-0:1.6.0)" + "".join(rows)


@lru_cache(maxsize=16)
def _compile(variant: Variant) -> _Compiled:
    fields = _FIELD.findall(variant.lines)
    template = _FIELD.sub("%s", variant.lines.replace("%", "%%")).replace("\n", "\r\n")
    tz = zone(variant.clock_zone)
    return _Compiled(
        template, attrgetter(*(name for name, _ in fields)), tuple(_format(spec, tz) for _, spec in fields)
    )


def _crc_row(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (0xA001 if index & 1 else 0)
    return index


_CRC = tuple(map(_crc_row, range(256)))
