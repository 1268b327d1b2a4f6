"""Readings as InfluxDB line protocol: one line is one point, whatever a meter sent (docs/influxdb.md).

A point is found again by its tags and its time alone, so both hold only what is never corrected: the meter, the code of
the register, the channel, the time. Everything else is a field, and every field is a number: codes stand in tables
below and in the docs. Octets of a tag that are no plain sign are written as `%XX` of UTF-8, so that no text of a meter
can end a tag, a field or a line, and two texts never become one.
"""

import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from decoders.dib import is_identification
from decoders.model import SubReading, decimal
from decoders.obis import COSEM_UNITS, MEDIA
from gateway.item_p import QUANTITIES, ItemP, register_time

QUALITY: dict[str, int] = {"measured": 0, "estimated": 1, "substituted": 2, "suspect": 3}
AUTH: dict[str, int] = {"plain": 0, "unverified": 1, "verified": 2}
T_SOURCE: dict[str, int] = {"meter": 0, "gateway": 1}
#: medium of a sub-meter -> its lowest M-Bus device type (EN 13757-3, table 13)
MEDIUM: dict[str, int] = {medium: number for number, medium in reversed(MEDIA.items())}
#: thousands, millions ... of a unit have 1000, 2000 ... added to its number; thousandths 5000
_MULTIPLES = {"": 0, "k": 1_000, "M": 2_000, "G": 3_000, "m": 5_000}
#: a unit as meterd prints it -> its number in IEC 62056-6-2, table 4, and that of its multiple
UNIT: dict[str, int] = {
    f"{prefix}{unit}": number + more
    for number, unit in (*COSEM_UNITS.items(), (25, "J"), (52, "K"), (56, "%"), (5, "h"), (19, "l"))
    for prefix, more in _MULTIPLES.items()
    if unit and (not prefix or unit in {"W", "VA", "var", "Wh", "VAh", "varh", "A", "V", "Hz", "J"})
}

#: what a field of 64 bits holds
_INT64 = 1 << 63
#: the longest number and the longest tag (octets as written): no meter has longer ones
MAX_DIGITS, MAX_TAG = 48, 200
#: times that nanoseconds of 64 bits can tell, in ms
FIRST_MS, LAST_MS = 0, 9_223_372_036_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: signs of a tag that are written as they are; `%` is not among them, so that what is written can be read back
_SAFE = "-._~:*+()/&"
_PLAIN = re.compile(r"[A-Za-z0-9._~:*+()/&-]+", re.ASCII)

#: which registers are written: every one, none, or those of these codes
Selection: TypeAlias = Literal["all", "none"] | Collection[str]


class Lines(NamedTuple):
    """The lines of a reading, without line ends, and how many values of it no line can hold."""

    lines: list[str]
    left_out: int


def milliseconds(t: datetime | None) -> int | None:
    """Whole ms since 1970, cut; None where the databases have no such time."""
    if t is None:
        return None
    since = t - _EPOCH
    ms = (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000
    return ms if FIRST_MS <= ms <= LAST_MS else None


def reading(item: ItemP, at_ms: int, *, prefix: str = "", registers: Selection = "all") -> Lines:
    """Item P and its registers as points at `at_ms`; absent values have no field, and never a 0."""
    numbers, left_out = _numbers(item)
    fields = ",".join(f"{name}={number}i" for name, number in numbers)
    lines = [f"{prefix}item_p,meter={tag(item.meter)} {fields} {at_ms}"]
    if registers != "none":
        for line in _registers(item, at_ms, f"{prefix}register,meter={tag(item.meter)},register=", registers):
            if line is None:
                left_out += 1
            else:
                lines.append(line)
    return Lines(lines, left_out)


def sub_reading(item: ItemP, sub: SubReading, at_ms: int, *, device: str | None, prefix: str = "") -> str | None:
    """A sub-meter reading as a point at `at_ms`; `device` is a pseudonym. None where its quantity cannot be written."""
    value = number(sub.integer, sub.exponent)
    if value is None:
        return None
    fields = {
        "quality": QUALITY[sub.quality],
        "auth": AUTH[item.reading.auth],
        "unit": UNIT.get(sub.unit),
        "medium": MEDIUM.get(sub.medium),
        "device": None if device is None else int(device[:13], 16),
        "seq": item.seq,
    }
    rest = "".join(f",{name}={code}i" for name, code in fields.items() if _fits(code))
    return f"{prefix}sub,meter={tag(item.meter)},channel={sub.channel} value={value}{rest} {at_ms}"


def number(integer: int, exponent: int) -> str | None:
    """The exact decimal digits of a register; None where there are more of them than a meter has."""
    if abs(exponent) > MAX_DIGITS or integer.bit_length() > 4 * MAX_DIGITS:
        return None
    text = decimal(integer, exponent)
    return text if len(text) <= MAX_DIGITS else None


@lru_cache(maxsize=4_096)
def tag(text: str) -> str:
    """A text as the value of a tag: letters, digits and `-._~:*+()/&` as they are, every other octet as `%XX`."""
    return text if _PLAIN.fullmatch(text) else quote(text.encode("utf-8", "surrogatepass"), safe=_SAFE)


@lru_cache(maxsize=1_024)
def profile_code(name: str) -> int:
    """A profile as a number that needs no table to stay the same: CRC-32 (ISO 3309) of its name."""
    return zlib.crc32(name.encode())


def _numbers(item: ItemP) -> tuple[list[tuple[str, int]], int]:
    """The fields of item P, and how many values are too wide for one."""
    source = item.reading
    values: dict[str, int | None] = {name: getattr(source, name) for name in QUANTITIES}
    reg_t = register_time(item)
    if reg_t is not None and reg_t != item.t:
        values["reg_t"] = milliseconds(reg_t)
    values |= {
        "quality": QUALITY[source.quality],
        "auth": AUTH[source.auth],
        "profile": profile_code(source.profile),
        "t_source": T_SOURCE[item.t_source],
        "clock_offset_ms": None if item.clock_offset_s is None else round(item.clock_offset_s * 1_000),
        "valid_for_s": item.valid_for_s,
        "seq": item.seq,
    }
    known = [(name, value) for name, value in values.items() if value is not None]
    fitting = [(name, value) for name, value in known if _fits(value)]
    return fitting, len(known) - len(fitting)


def _registers(item: ItemP, at_ms: int, head: str, selection: Selection) -> Iterator[str | None]:
    """A line for each register that is wanted; None for one that no line can hold. A code that repeats gets `#2`."""
    times: Mapping[int, str] = dict(item.reading.register_times)
    met: dict[str, int] = {}
    for index, (code, integer, exponent, unit) in enumerate(item.reading.registers):
        if is_identification(code) or (selection != "all" and code not in selection):
            continue
        met[code] = count = met.get(code, 0) + 1
        value, name = number(integer, exponent), tag(code) + (f"#{count}" if count > 1 else "")
        if value is None or not code or len(name) > MAX_TAG:
            yield None
            continue
        fields = {"unit": UNIT.get(unit), "t": _own_time(times.get(index))}
        rest = "".join(f",{key}={known}i" for key, known in fields.items() if known is not None)
        yield f"{head}{name} value={value}{rest} {at_ms}"


def _own_time(text: str | None) -> int | None:
    """The time that a register has of its own, in ms; None where the meter does not tell its zone."""
    if text is None:
        return None
    try:
        t = datetime.fromisoformat(text)
        return milliseconds(t) if t.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _fits(value: Any) -> bool:
    return value is not None and -_INT64 <= value < _INT64
