"""Grammar p1: the data lines of a telegram (IEC 62056-21, DSMR P1 companion standard 5.0.2 clause 6) to registers.

A line is `A-B:C.D.E(value*unit)`; some objects hold several values in brackets, and DSMR 2.2 and 3 continue the gas
value on the next line. Sub-meters have their channel in B (0-1 to 0-4) and their own time. Numbers stay integers with
a power of ten. A line that is no object is counted where a checksum proves that the meter sent it so, and refused
where nothing does.
"""

import re

from decoders.clock import parse_time
from decoders.errors import GrammarError
from decoders.model import Frame, MeterTime, Register, SubTelegram, Telegram
from decoders.obis import UNITS, Kind, classify

MAX_LINES = 512
MAX_DIGITS = 18
_CODES_KEPT = 1_024

_NUMBER = re.compile(rb"(-?)(\d{1,12})(?:[.,](\d{1,9}))?[* ]?([A-Za-z%][A-Za-z0-9]{0,5})?")
_GROUP = re.compile(rb"\(([^()]*)\)")

_codes: dict[bytes, tuple[str, Kind] | None] = {}


def parse(frame: Frame) -> Telegram:
    """Read a telegram from `/` to before `!`; raises GrammarError."""
    lines = frame.payload.splitlines()
    if len(lines) > MAX_LINES:
        raise GrammarError("elements", frame.size)
    return _Reader(strict=frame.checksum == "absent", size=frame.size).read(lines)


class _Reader:
    """Collects the objects of one telegram."""

    def __init__(self, *, strict: bool, size: int) -> None:
        self._strict = strict
        self._size = size
        self._registers: list[Register] = []
        self._register_times: dict[int, MeterTime] = {}
        self._texts: list[tuple[str, str]] = []
        self._time: MeterTime | None = None
        self._channels: dict[int, _Channel] = {}
        self._open_channel: _Channel | None = None
        self._unread = 0

    def read(self, lines: list[bytes]) -> Telegram:
        registers, codes, units = self._registers, _codes, UNITS
        for line in lines[1:]:
            head, bracket, rest = line.partition(b"(")
            entry = codes.get(head)
            if entry is not None and entry[1] is Kind.NUMBER and rest[-1:] == b")":
                number, _, unit = rest[:-1].partition(b"*")
                whole, _, fraction = number.partition(b".")
                digits = whole + fraction
                # the straight way of nearly every line; whatever does not fit goes through _object
                if unit in units and digits.isdigit() and len(digits) <= MAX_DIGITS and whole:
                    registers.append((entry[0], int(digits), -len(fraction), units[unit]))
                    continue
            if line and (not bracket or not self._object(head, b"(" + rest)):
                self._refuse("line")
        return Telegram(
            identification=lines[0][1:].decode("latin-1"),
            time=self._time,
            registers=tuple(registers),
            register_times=self._register_times,
            texts=tuple(self._texts),
            sub=tuple(channel.result() for _, channel in sorted(self._channels.items())),
            unread=self._unread,
        )

    def _object(self, head: bytes, brackets: bytes) -> bool:
        """Take one data object, or the continuation of the one before; False when it is none."""
        values = _groups(brackets)
        if values is None:
            return False
        if not head:
            return self._open_channel is not None and self._open_channel.take_continuation(values[0])
        known = _classified(head)
        if known is None:
            return False
        code, kind = known
        self._open_channel = None
        if kind is Kind.NUMBER:
            return self._numbers(code, values)
        if kind is Kind.SUB_METER:
            return self._sub_meter(code, values)
        if kind is Kind.CLOCK:
            self._time = parse_time(values[0])
        self._texts.append((code, brackets[1:-1].decode("latin-1")))
        return True

    def _numbers(self, code: str, values: list[bytes]) -> bool:
        """Registers of one object: a value, a time and its value, or several values."""
        time = parse_time(values[0]) if len(values) > 1 else None
        for value in values[1:] if time else values:
            register = number(code, value)
            if register is None:
                return self._no_number(code, values)
            if time:
                self._register_times[len(self._registers)] = time
            self._registers.append(register)
        return True

    def _no_number(self, code: str, values: list[bytes]) -> bool:
        """A measured object without a number is kept as text; without a checksum it may be damage."""
        if self._strict and any(values):
            self._refuse("number")
        self._texts.append((code, b")(".join(values).decode("latin-1")))
        return True

    def _sub_meter(self, code: str, values: list[bytes]) -> bool:
        channel = self._channels.setdefault(int(code[2]), _Channel(int(code[2])))
        if channel.take(code[4:], values):
            self._open_channel = channel
            return True
        return False

    def _refuse(self, why: str) -> None:
        if self._strict:
            raise GrammarError(why, self._size)
        self._unread += 1


class _Channel:
    """What the objects of one sub-meter channel said so far."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._type: int | None = None
        self._device: str | None = None
        self._value: Register | None = None
        self._time: MeterTime | None = None
        self._unit = b""

    def take(self, object_: str, values: list[bytes]) -> bool:
        """Take one object of the channel: `24.1.0` type, `96.1.x` identification, `24.2.x` and `24.3.0` value."""
        if object_ == "24.1.0":
            self._type = int(values[0]) if values[0].isdigit() and len(values[0]) <= 3 else None
        elif object_.startswith("96.1."):
            self._device = self._device or values[0].decode("latin-1") or None
        elif object_ == "24.3.0":
            self._time, self._unit = parse_time(values[0]), values[-1]
        elif object_.startswith("24.2.") and self._value is None:
            self._time = parse_time(values[0]) if len(values) > 1 else None
            self._value = number(f"0-{self._number}:{object_}", values[-1])
        return True

    def take_continuation(self, value: bytes) -> bool:
        """DSMR 2.2 and 3 send the value of `24.3.0` on a line of its own, its unit on the line before."""
        self._value = number(f"0-{self._number}:24.3.0", value + b"*" + self._unit)
        return self._value is not None

    def result(self) -> SubTelegram:
        return SubTelegram(self._number, self._type, self._device, self._value, self._time)


def number(code: str, value: bytes) -> Register | None:
    """A value as sent, `00123.456*kWh`, as a register of that code; None when it is no number with a known unit."""
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    sign, whole, fraction, unit = match.groups(b"")
    if unit not in UNITS:
        return None
    return code, int(sign + whole + fraction), -len(fraction), UNITS[unit]


def _groups(brackets: bytes) -> list[bytes] | None:
    """The values in `(a)(b)(c)`; None when anything else stands between the brackets."""
    values = _GROUP.findall(brackets)
    return values if values and sum(map(len, values)) + 2 * len(values) == len(brackets) else None


def _classified(head: bytes) -> tuple[str, Kind] | None:
    """`obis.classify`, remembered: meters repeat their codes; the memory is bounded against hostile ones."""
    if head not in _codes and len(_codes) < _CODES_KEPT:
        _codes[head] = classify(head)
    return _codes[head] if head in _codes else classify(head)
