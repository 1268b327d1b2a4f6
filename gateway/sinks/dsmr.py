"""A reading as a telegram of DSMR P1 companion standard 5.0.2: what it may hold is docs/decisions/0009.

One time stamp stands for the whole telegram, so it says only what one telegram of the meter said: no energy that is
carried, nothing absent as 0, no quality but "measured", for which the format has no mark.
"""

from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

from fastcrc.crc16 import arc

from decoders.model import decimal
from gateway.item_p import ItemP, LiveSub
from gateway.pseudonym import pseudonym
from gateway.sinks import SinkError
from gateway.sinks.electric import COUNTS, Electric, Exact, Phase, cut, electric, nearest, powers
from gateway.sinks.local_time import tst

#: IEC 62056-21 clause 6.3.2: three letters, a baud rate, `\2` for mode E, at most 16 characters. MTD is nobody's in the
#: public lists of FLAG identifiers that were read; that of another maker would lend this telegram its meaning.
HEAD = r"/MTD5\2METERD"
#: channels of sub-meters (DSMR P1 5.0.2, clause 6.12)
CHANNELS = range(1, 5)
#: medium of a sub-meter -> M-Bus device type (EN 13757-3, table 13), where one medium is one type
DEVICE_TYPES = {
    "electricity": 2,
    "gas": 3,
    "heat": 4,
    "warm water": 6,
    "water": 7,
    "cooling": 10,
}
#: units that DSMR names for them
UNITS = ("m3", "GJ", "kWh")
#: (group of voltage, of current, of P+, of P-) of each phase
_GROUPS = ((32, 31, 21, 22), (52, 51, 41, 42), (72, 71, 61, 62))


def equipment_id(salt: bytes, meter: str) -> str:
    """16 hex digits that stand for the meter of this name at this installation, and tell nothing of its number."""
    return pseudonym(salt, f"virtual P1 of {meter}")


def telegram(item: ItemP, zone: ZoneInfo, equipment: str) -> bytes:
    """The telegram of a reading, from `/` to the line end behind its CRC-16; raises SinkError where it has none."""
    reading = item.reading
    if item.t is None or not any(
        value is not None
        for value in (reading.p_import_w, reading.p_export_w, reading.a_import_wh, reading.a_export_wh)
    ):
        raise SinkError("this telegram says neither power nor energy", retryable=False)
    if reading.quality != "measured":
        raise SinkError(f"a DSMR telegram cannot mark a value as {reading.quality}", retryable=False)
    lines = [HEAD, "", "1-3:0.2.8(50)", f"0-0:1.0.0({tst(item.t, zone)})", f"0-0:96.1.1({_text(equipment)})"]
    found = electric(reading)
    lines += _energy("1", reading.a_import_wh, found.a_import)
    lines += _energy("2", reading.a_export_wh, found.a_export)
    lines += _tariff(found)
    lines += (f"1-0:{n}.7.0({_kilo(value, 2)}*kW)" for n, value in enumerate(powers(reading), 1) if value is not None)
    lines += (f"{code}({found.counts[name]:05d})" for code, name in COUNTS.items() if name in found.counts)
    lines += _phases(found.phases)
    for sub in item.subs:
        lines += _sub(sub, zone)
    octets = "\r\n".join([*lines, "!"]).encode("ascii")
    return octets + b"%04X\r\n" % arc(octets)


def _energy(group: str, total: int | None, tariffs: Mapping[int, int]) -> Iterator[str]:
    """The tariffs as sent, with the total unless there are two; without tariffs the total is that of the one tariff."""
    if total is None:
        return
    if not {1, 2} <= tariffs.keys():
        yield f"1-0:{group}.8.0({_kilo(total, 6)}*kWh)"
    for number, value in (tariffs or {1: total}).items():
        yield f"1-0:{group}.8.{number}({_kilo(value, 6)}*kWh)"


def _tariff(found: Electric) -> Iterator[str]:
    if found.tariff is not None:
        yield f"0-0:96.14.0({found.tariff:04d})"


def _phases(phases: tuple[Phase, Phase, Phase]) -> Iterator[str]:
    """Voltages of all phases, then currents, P+ and P-, in the order of the standard."""
    rows = list(zip(phases, _GROUPS, strict=True))
    for phase, (group, *_) in rows:
        if phase.voltage is not None and phase.voltage.integer >= 0:
            yield f"1-0:{group}.7.0({_fixed(nearest(phase.voltage, 1), 3, 1)}*V)"
    for phase, (_, group, *_) in rows:
        if phase.current is not None:
            yield f"1-0:{group}.7.0({abs(nearest(phase.current, 0)):03d}*A)"
    for phase, (_, _, group, _) in rows:
        if phase.p_import_w is not None:
            yield f"1-0:{group}.7.0({_kilo(phase.p_import_w, 2)}*kW)"
    for phase, (*_, group) in rows:
        if phase.p_export_w is not None:
            yield f"1-0:{group}.7.0({_kilo(phase.p_export_w, 2)}*kW)"


def _sub(sub: LiveSub, zone: ZoneInfo) -> Iterator[str]:
    """A sub-meter with its own time; one without a time, or whose value the format cannot say, has no lines."""
    reading = sub.reading
    device_type = DEVICE_TYPES.get(reading.medium)
    if reading.channel not in CHANNELS or device_type is None or reading.unit not in UNITS:
        return
    if reading.t is None or reading.quality != "measured":
        return
    yield f"0-{reading.channel}:24.1.0({device_type:03d})"
    if sub.device is not None:
        yield f"0-{reading.channel}:96.1.0({_text(sub.device)})"
    value = _padded(Exact(reading.integer, reading.exponent))
    yield f"0-{reading.channel}:24.2.1({tst(reading.t, zone)})({value}*{reading.unit})"


def _padded(value: Exact) -> str:
    """An exact decimal with five digits before and at least three behind the point, as F8(3,3)."""
    places = max(3, -value.exponent)
    return _fixed(cut(value, places), 5, places)


def _kilo(value: int, width: int) -> str:
    """W or Wh as kW or kWh with three decimals."""
    return _fixed(value, width, 3)


def _fixed(value: int, width: int, decimals: int) -> str:
    """A number >= 0 in units of 10**-decimals with at least `width` digits before the point."""
    return decimal(value, -decimals).rjust(width + 1 + decimals, "0")


def _text(text: str) -> str:
    """A text as octets in hexadecimal digits, as DSMR writes identifications."""
    return text.encode("ascii").hex().upper()
