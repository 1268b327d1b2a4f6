"""One data line of a P1 telegram, read: a pure function of its octets (IEC 62056-21 clause 6.2, EN 62056-61)."""

import re
from typing import NamedTuple, TypeAlias

from decoders.clock import parse_time
from decoders.model import MeterTime, Register
from decoders.obis import CODE_LIMIT, UNITS, Kind, classify

MAX_DIGITS = 18

_NUMBER = re.compile(rb"(-?)(\d{1,18})(?:[.,](\d{0,18}))?[* ]?([A-Za-z%][A-Za-z0-9]{0,5})?")
_GROUP = re.compile(rb"\(([^()]*)\)")


class Object(NamedTuple):
    """A line that is more than one plain register; `kind` None continues the object on the line before."""

    kind: Kind | None
    code: str = ""
    text: str = ""
    time: MeterTime | None = None
    registers: tuple[Register, ...] = ()
    values: tuple[bytes, ...] = ()


#: a line as read: a plain register, another object, or None for what is no data object
Line: TypeAlias = Register | Object | None


def read_line(line: bytes) -> Line:
    """Read `code(value*unit)` the short way that nearly every line takes, and any other line with care."""
    head, _, rest = line.partition(b"(")
    known = classify(head[:CODE_LIMIT])
    if known is not None and known[1] is Kind.NUMBER and rest[-1:] == b")":
        value, _, spelling = rest[:-1].partition(b"*")
        whole, _, fraction = value.partition(b".")
        digits, unit = whole + fraction, UNITS.get(spelling)
        if unit is not None and whole and digits.isdigit() and len(digits) <= MAX_DIGITS:
            return known[0], int(digits), -len(fraction), unit
    if known is not None and known[1] is Kind.CLOCK and (time := parse_time(rest[:-1])) and rest[-1:] == b")":
        return Object(Kind.CLOCK, known[0], rest[:-1].decode("latin-1"), time, (), (rest[:-1],))
    return read_object(head, rest)


def read_object(head: bytes, rest: bytes) -> Line:
    """Read any line, given as what stands before and after its first bracket."""
    values, known = _groups(rest), classify(head[:CODE_LIMIT])
    if values and not head:
        return Object(None, values=values)
    if known is None:
        return None
    code, kind = known
    if kind is Kind.TEXT and rest[-1:] == b")":
        return Object(kind, code, rest[:-1].decode("latin-1"))
    if values is None:
        return None
    time = parse_time(values[0]) if kind is Kind.CLOCK or len(values) > 1 else None
    measured = values[-1:] if kind is Kind.SUB_METER else values[1:] if time else values
    registers = _registers(code, measured) if kind in (Kind.NUMBER, Kind.SUB_METER) else ()
    if kind is Kind.NUMBER and len(registers) == 1 and time is None:
        return registers[0]
    return Object(kind, code, rest[:-1].decode("latin-1"), time, registers, values)


def number(code: str, value: bytes) -> Register | None:
    """A value as sent, `00123.456*kWh`, as a register of that code; None when it is no number with a known unit."""
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    sign, whole, fraction, unit = match.groups(b"")
    if unit not in UNITS or len(whole + fraction) > MAX_DIGITS:
        return None
    return code, int(sign + whole + fraction), -len(fraction), UNITS[unit]


def _registers(code: str, values: tuple[bytes, ...]) -> tuple[Register, ...]:
    """All values as registers, or none when one of them is no number."""
    registers = [number(code, value) for value in values]
    return tuple(register for register in registers if register) if all(registers) else ()


def _groups(rest: bytes) -> tuple[bytes, ...] | None:
    """The values of `a)(b)(c)`; None when anything else stands between the brackets."""
    values = _GROUP.findall(b"(" + rest)
    return tuple(values) if values and sum(map(len, values)) + 2 * len(values) == len(rest) + 1 else None
