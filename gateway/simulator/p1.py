"""P1 telegrams of a simulated meter: tables of lines by variant, filled from a State, closed by a CRC-16/ARC.

Written from DSMR P1 companion standard 2.2 (chapter 5), 4.2.2 and 5.0.2 (chapter 6), eMUCS-P1 1.7.1 and 2.1 (chapter
5), and the Swedish branch recommendation SE-EFS2 for the customer interface. Every number of a State is a whole number
of thousandths of the unit on the line (Wh for kWh, mA for A); a format that shows fewer digits cuts them off.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from gateway.simulator.clock import wall, zone
from gateway.simulator.registers import GasReading, Peak

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


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of meter: its lines with `{field:format}` in them, its pace, its line and its clocks."""

    name: str
    lines: str
    #: zone of the household, and of the meter's clock (Swedish meters stay on standard time)
    home_zone: str
    clock_zone: str
    interval_s: int = 1
    baud: int = 115_200
    framing: str = "8N1"
    checksum: bool = True
    #: what a reader can find on these lines: energy registers, where they begin again, the step of power, gas, a clock
    tariffs: tuple[str, ...] = ("low", "normal")
    register_wh: int = 10**9
    power_step_w: int = 1
    gas: str | None = "gas_5min"
    clock: bool = True


DSMR5 = r"""/ISK5\2M550T-1012

1-3:0.2.8(50)
0-0:1.0.0({t:time})
0-0:96.1.1({serial:hex})
1-0:1.8.1({a_import.low:6.3}*kWh)
1-0:1.8.2({a_import.normal:6.3}*kWh)
1-0:2.8.1({a_export.low:6.3}*kWh)
1-0:2.8.2({a_export.normal:6.3}*kWh)
0-0:96.14.0({low_tariff:low-is-1})
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
0-0:96.7.21(00005)
0-0:96.7.9(00003)
1-0:99.97.0(1)(0-0:96.7.19)(180417201458S)(0000000236*s)
1-0:32.32.0(00001)
1-0:52.32.0(00001)
1-0:72.32.0(00001)
1-0:32.36.0(00001)
1-0:52.36.0(00001)
1-0:72.36.0(00001)
0-0:96.13.0()
1-0:32.7.0({voltage.l1:3.1}*V)
1-0:52.7.0({voltage.l2:3.1}*V)
1-0:72.7.0({voltage.l3:3.1}*V)
1-0:31.7.0({current.l1:3.0}*A)
1-0:51.7.0({current.l2:3.0}*A)
1-0:71.7.0({current.l3:3.0}*A)
1-0:21.7.0({p_import_by.l1:2.3}*kW)
1-0:41.7.0({p_import_by.l2:2.3}*kW)
1-0:61.7.0({p_import_by.l3:2.3}*kW)
1-0:22.7.0({p_export_by.l1:2.3}*kW)
1-0:42.7.0({p_export_by.l2:2.3}*kW)
1-0:62.7.0({p_export_by.l3:2.3}*kW)
0-1:24.1.0(003)
0-1:96.1.0({gas_serial:hex})
0-1:24.2.1({gas_5min.t:time})({gas_5min.litres:5.3}*m3)
!"""

DSMR42 = r"""/KFM5KAIFA-METER

1-3:0.2.8(42)
0-0:1.0.0({t:time})
0-0:96.1.1({serial:hex})
1-0:1.8.1({a_import.low:6.3}*kWh)
1-0:1.8.2({a_import.normal:6.3}*kWh)
1-0:2.8.1({a_export.low:6.3}*kWh)
1-0:2.8.2({a_export.normal:6.3}*kWh)
0-0:96.14.0({low_tariff:low-is-1})
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
0-0:96.7.21(00013)
0-0:96.7.9(00007)
1-0:99.97.0(1)(0-0:96.7.19)(000101000024W)(2147483647*s)
1-0:32.32.0(00000)
1-0:52.32.0(00000)
1-0:72.32.0(00000)
1-0:32.36.0(00000)
1-0:52.36.0(00000)
1-0:72.36.0(00000)
0-0:96.13.1()
0-0:96.13.0()
1-0:31.7.0({current.l1:3.0}*A)
1-0:51.7.0({current.l2:3.0}*A)
1-0:71.7.0({current.l3:3.0}*A)
1-0:21.7.0({p_import_by.l1:2.3}*kW)
1-0:22.7.0({p_export_by.l1:2.3}*kW)
1-0:41.7.0({p_import_by.l2:2.3}*kW)
1-0:42.7.0({p_export_by.l2:2.3}*kW)
1-0:61.7.0({p_import_by.l3:2.3}*kW)
1-0:62.7.0({p_export_by.l3:2.3}*kW)
0-1:24.1.0(003)
0-1:96.1.0({gas_serial:hex})
0-1:24.2.1({gas_hour.t:time})({gas_hour.litres:5.3}*m3)
!"""

DSMR22 = r"""/ISk5\2MT382-1003

0-0:96.1.1({serial:hex})
1-0:1.8.1({a_import.low:5.3}*kWh)
1-0:1.8.2({a_import.normal:5.3}*kWh)
1-0:2.8.1({a_export.low:5.3}*kWh)
1-0:2.8.2({a_export.normal:5.3}*kWh)
0-0:96.14.0({low_tariff:low-is-1})
1-0:1.7.0({p_import:4.2}*kW)
1-0:2.7.0({p_export:4.2}*kW)
0-0:17.0.0(0999.00*kW)
0-0:96.3.10(1)
0-0:96.13.1()
0-0:96.13.0()
0-1:24.1.0(3)
0-1:96.1.0({gas_serial:hex})
0-1:24.3.0({gas_hour.t:wall})(00)(60)(1)(0-1:24.2.1)(m3)
({gas_hour.litres:5.3})
0-1:24.4.0(1)
!"""

EMUCS = r"""/FLU5\253769484_A

0-0:96.1.4(50217)
0-0:96.1.1({serial:hex})
0-0:1.0.0({t:time})
1-0:1.8.1({a_import.normal:6.3}*kWh)
1-0:1.8.2({a_import.low:6.3}*kWh)
1-0:2.8.1({a_export.normal:6.3}*kWh)
1-0:2.8.2({a_export.low:6.3}*kWh)
1-0:1.4.0({demand:2.3}*kW)
1-0:1.6.0({peak.t:time})({peak.watts:2.3}*kW)
0-0:98.1.0{peaks:peaks}
0-0:96.14.0({low_tariff:low-is-2})
1-0:1.7.0({p_import:2.3}*kW)
1-0:2.7.0({p_export:2.3}*kW)
1-0:21.7.0({p_import_by.l1:2.3}*kW)
1-0:41.7.0({p_import_by.l2:2.3}*kW)
1-0:61.7.0({p_import_by.l3:2.3}*kW)
1-0:22.7.0({p_export_by.l1:2.3}*kW)
1-0:42.7.0({p_export_by.l2:2.3}*kW)
1-0:62.7.0({p_export_by.l3:2.3}*kW)
1-0:32.7.0({voltage.l1:3.1}*V)
1-0:52.7.0({voltage.l2:3.1}*V)
1-0:72.7.0({voltage.l3:3.1}*V)
1-0:31.7.0({current.l1:3.2}*A)
1-0:51.7.0({current.l2:3.2}*A)
1-0:71.7.0({current.l3:3.2}*A)
0-0:96.3.10(1)
0-0:17.0.0(999.9*kW)
1-0:31.4.0(999*A)
0-0:96.13.0()
0-1:24.1.0(003)
0-1:96.1.1({gas_serial:hex})
0-1:24.4.0(1)
0-1:24.2.3({gas_5min.t:time})({gas_5min.litres:5.3}*m3)
!"""

SE_EFS2 = r"""/LGF5E360

0-0:1.0.0({t:time})
1-0:1.8.0({a_import.total:8.3}*kWh)
1-0:2.8.0({a_export.total:8.3}*kWh)
1-0:3.8.0({r_import:8.3}*kVArh)
1-0:4.8.0({r_export:8.3}*kVArh)
1-0:1.7.0({p_import:4.3}*kW)
1-0:2.7.0({p_export:4.3}*kW)
1-0:3.7.0({q_import:4.3}*kVAr)
1-0:4.7.0({q_export:4.3}*kVAr)
1-0:21.7.0({p_import_by.l1:4.3}*kW)
1-0:22.7.0({p_export_by.l1:4.3}*kW)
1-0:41.7.0({p_import_by.l2:4.3}*kW)
1-0:42.7.0({p_export_by.l2:4.3}*kW)
1-0:61.7.0({p_import_by.l3:4.3}*kW)
1-0:62.7.0({p_export_by.l3:4.3}*kW)
1-0:23.7.0({q_import_by.l1:4.3}*kVAr)
1-0:24.7.0({q_export_by.l1:4.3}*kVAr)
1-0:43.7.0({q_import_by.l2:4.3}*kVAr)
1-0:44.7.0({q_export_by.l2:4.3}*kVAr)
1-0:63.7.0({q_import_by.l3:4.3}*kVAr)
1-0:64.7.0({q_export_by.l3:4.3}*kVAr)
1-0:32.7.0({voltage.l1:3.1}*V)
1-0:52.7.0({voltage.l2:3.1}*V)
1-0:72.7.0({voltage.l3:3.1}*V)
1-0:31.7.0({current.l1:3.1}*A)
1-0:51.7.0({current.l2:3.1}*A)
1-0:71.7.0({current.l3:3.1}*A)
!"""

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("dsmr5", DSMR5, "Europe/Amsterdam", "Europe/Amsterdam"),
        Variant("emucs", EMUCS, "Europe/Brussels", "Europe/Brussels"),
        Variant(
            "se-efs2",
            SE_EFS2,
            "Europe/Stockholm",
            "Etc/GMT-1",
            interval_s=10,
            tariffs=("total",),
            register_wh=10**11,
            gas=None,
        ),
        Variant("dsmr42", DSMR42, "Europe/Amsterdam", "Europe/Amsterdam", interval_s=10, gas="gas_hour"),
        Variant(
            "dsmr22",
            DSMR22,
            "Europe/Amsterdam",
            "Europe/Amsterdam",
            interval_s=10,
            baud=9600,
            framing="7E1",
            checksum=False,
            register_wh=10**8,
            power_step_w=10,
            gas="gas_hour",
            clock=False,
        ),
    )
}

_FIELD = re.compile(r"\{([a-z0-9_.]+):([a-z0-9.-]+)\}")


class _Compiled(NamedTuple):
    """A variant's lines as one `%` template, with what fetches and what formats its fields."""

    template: str
    fetch: Callable[[State], tuple[Any, ...]]
    formats: tuple[Format, ...]


def telegram(state: State, variant: Variant) -> bytes:
    """The telegram of a state, as on the wire: from `/` to the line end behind the CRC (or behind `!` without one)."""
    compiled = _COMPILED[variant.name]
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
_COMPILED = {name: _compile(variant) for name, variant in VARIANTS.items()}
