"""A-XDR values of a simulated meter (IEC 61334-6; types of IEC 62056-6-2, clause 4.1.5), and COSEM date-times."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

#: tag and octets of every integer type, and whether it is signed
_INTEGERS = {
    "bool": (3, 1, False),
    "i32": (5, 4, True),
    "u32": (6, 4, False),
    "i8": (15, 1, True),
    "i16": (16, 2, True),
    "u8": (17, 1, False),
    "u16": (18, 2, False),
    "i64": (20, 8, True),
    "u64": (21, 8, False),
    "enum": (22, 1, False),
}
_STRINGS = {"octets": 9, "visible": 10}
_ARRAY, _STRUCTURE = 1, 2
#: "no deviation is known"
_NO_DEVIATION = 0x8000
_SUMMER_TIME = 0x80


@dataclass(frozen=True, slots=True)
class TimeForm:
    """How a meter fills a date-time: hundredths, and whether it says how far it is from UTC (`zero`: it says UTC)."""

    hundredths: int = 0xFF
    deviation: Literal["said", "none", "zero"] = "none"


def length(count: int) -> bytes:
    """A length in its shortest form: one octet below 128, else the number of octets that follow."""
    if count < 0x80:
        return bytes([count])
    octets = (count.bit_length() + 7) // 8
    return bytes([0x80 | octets]) + count.to_bytes(octets, "big")


def integer(kind: str, value: int) -> bytes:
    """A value of `i8` ... `u64`, `bool` or `enum`; what is too large for an unsigned one begins again at zero."""
    tag, octets, signed = _INTEGERS[kind]
    return bytes([tag]) + (value if signed else value % (1 << 8 * octets)).to_bytes(octets, "big", signed=signed)


def string(kind: str, value: bytes) -> bytes:
    """An octet string (`octets`) or a `visible` one."""
    return bytes([_STRINGS[kind]]) + length(len(value)) + value


def structure(values: list[bytes]) -> bytes:
    """A structure of encoded values."""
    return bytes([_STRUCTURE]) + length(len(values)) + b"".join(values)


def array(values: list[bytes]) -> bytes:
    """An array of encoded values."""
    return bytes([_ARRAY]) + length(len(values)) + b"".join(values)


def code(obis: str) -> bytes:
    """The six octets of an OBIS code such as `1-0:1.8.0` (group F is 255)."""
    medium, _, rest = obis.partition("-")
    channel, _, groups = rest.partition(":")
    return bytes([int(medium), int(channel), *map(int, groups.split(".")), 0xFF])


def date_time(local: datetime, form: TimeForm) -> bytes:
    """The twelve octets of a date-time (clause 4.1.6.1); the deviation is UTC minus local time, in minutes."""
    deviation, status = _NO_DEVIATION if form.deviation == "none" else 0, 0
    if form.deviation == "said":
        offset, summer = local.utcoffset(), local.dst()
        deviation = -(int(offset.total_seconds()) // 60) & 0xFFFF if offset is not None else _NO_DEVIATION
        status = _SUMMER_TIME if summer else 0
    date = local.year.to_bytes(2, "big") + bytes([local.month, local.day, local.isoweekday()])
    clock = bytes([local.hour, local.minute, local.second, form.hundredths])
    return date + clock + deviation.to_bytes(2, "big") + bytes([status])
