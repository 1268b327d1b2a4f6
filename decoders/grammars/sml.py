"""Grammar sml: the messages of a file (SML 1.03, clause 5; BSI TR-03109-1, annex IV) to a telegram.

Values come in GetList responses. Other messages are passed over, and the checksum of each message must fit, all of them
the same one as the transport's. An entry without its mandatory value is passed over, too: EMH sends such. Numbers may
come in fewer octets than their type has, and the optional time of an entry as a bare number where a choice should
stand (Holley). A second index counts from an unknown moment and is no time.

    77 | code | status | time | unit | scaler | value | signature
"""

from functools import lru_cache
from typing import NamedTuple

from decoders.clock import Time, parse_timestamp
from decoders.errors import GrammarError
from decoders.model import Frame, MeterTime, Register, Telegram
from decoders.obis import CLOCK, COSEM_UNITS
from decoders.sml_message import (
    ABSENT,
    BOOLEAN,
    CHOICE,
    END,
    GET_LIST_RESPONSE,
    LIST,
    OCTETS,
    SIGNED,
    UNSIGNED,
    closing,
    field,
    opening,
    skip,
)

#: codes whose value names the manufacturer, before and since the meters of FNN
MANUFACTURER = ("129-129:199.130.3", "1-0:96.50.1*1")
#: a power of ten beyond this is of no unit of a meter
MAX_EXPONENT = 18

#: type-length field -> octets and sign of a number
_NUMBERS = {kind | size + 1: (size, kind == SIGNED) for kind in (SIGNED, UNSIGNED) for size in range(1, 9)}
_NUMBERS[BOOLEAN | 2] = (1, False)
#: type-length fields of the parts that all entries have
_ENTRY, _CODE = LIST | 7, OCTETS | 7
_CODE_SIZE = 6
#: choices of SML_Time
_TIMESTAMP, _LOCAL_TIMESTAMP = 2, 3


class Stamp(NamedTuple):
    """A time of the wall clock, and its octets as sent."""

    time: Time
    octets: bytes


class SmlGrammar:
    """Reads the files of one meter; keeps the shape of the last one, to tell equal layouts."""

    def __init__(self) -> None:
        self._shape: object = None

    def parse(self, frame: Frame) -> Telegram:
        """Read a file whole; raises GrammarError."""
        collector = _Collector(frame.payload)
        try:
            collector.take_file(frame.variant)
        except IndexError:
            raise GrammarError("length", frame.size) from None
        except GrammarError as error:
            error.size = frame.size
            raise
        shape = collector.shape()
        if shape != self._shape:
            self._shape = shape
        return collector.telegram(self._shape)


class _Collector:
    """What the messages of one file say."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._device: bytes | None = None
        self._registers: list[Register] = []
        self._widths: list[int] = []
        self._texts: dict[str, str] = {}
        self._status: dict[str, int] = {}
        self._times: dict[int, MeterTime] = {}
        self._clock: Stamp | None = None
        self._unread = 0

    def take_file(self, variant: int) -> None:
        """Take all messages; raises GrammarError, IndexError where the octets end before a message does."""
        octets, pos = self._octets, 0
        while pos < len(octets) and octets[pos] != END:
            start = pos
            tag, pos = opening(octets, pos)
            pos = self._list_response(pos) if tag == GET_LIST_RESPONSE else skip(octets, pos)
            pos, fits = closing(octets, start, pos)
            variant &= fits
            if not variant:
                raise GrammarError("checksum")
        if octets[pos:].strip(bytes([END])):
            raise GrammarError("rest")

    def shape(self) -> tuple[object, ...]:
        """What two telegrams of one layout have in common."""
        codes, _, _, units = zip(*self._registers, strict=True) if self._registers else ((),) * 4
        return self._device, codes, units, tuple(self._texts), self._manufacturer()

    def telegram(self, layout: object) -> Telegram:
        """The telegram as it stands."""
        clock = self._clock
        return Telegram(
            identification=self._manufacturer(),
            time=clock.time.time if clock else None,
            clock=clock.octets.hex() if clock else None,
            clock_valid=clock is None or clock.time.valid,
            registers=tuple(self._registers),
            register_times=self._times,
            texts=self._texts,
            sub=(),
            unread=self._unread,
            layout=layout,
            device=self._device.hex() if self._device else None,
            status=self._status,
            widths=tuple(self._widths),
        )

    def _manufacturer(self) -> str:
        return next((self._texts[code] for code in MANUFACTURER if code in self._texts), "")

    def _list_response(self, pos: int) -> int:
        """Client, server, name of the list, time of the meter, entries, signature, time of the gateway."""
        octets = self._octets
        if octets[pos] != _ENTRY:
            raise GrammarError("type")
        server, pos = _string(octets, skip(octets, pos + 1))
        clock, pos = _time(octets, skip(octets, pos))
        kind, count, pos = field(octets, pos)
        if kind != LIST:
            raise GrammarError("type")
        if self._device in (None, server):
            self._device, self._clock = server, self._clock or clock
            pos = self._entries(pos, count)
        else:
            # another meter behind the same port: its values are none of this one's
            self._unread += count
            for _ in range(count):
                pos = skip(octets, pos)
        return skip(octets, skip(octets, pos))

    def _entries(self, pos: int, count: int) -> int:
        """Read entries; where the octets end before a number does, the message's end is not there either."""
        octets, registers = self._octets, self._registers
        for _ in range(count):
            if octets[pos] != _ENTRY:
                raise GrammarError("type")
            end_of_code = pos + 2 + _CODE_SIZE
            code = _obis(octets[pos + 2 : end_of_code]) if octets[pos + 1] == _CODE else None
            pos = end_of_code if code else skip(octets, pos + 1)
            status, pos = _number(octets, pos)
            time, pos = (None, pos + 1) if octets[pos] == ABSENT else _time(octets, pos)
            unit, pos = _number(octets, pos)
            scaler, pos = _number(octets, pos)
            kind = octets[pos]
            if code is None or kind == ABSENT:
                self._unread += 1
                pos = skip(octets, pos)
            elif kind in _NUMBERS:
                size, signed = _NUMBERS[kind]
                if status is not None:
                    self._status.setdefault(code, status)
                if time and time.time.time and time.time.valid:
                    self._times[len(registers)] = time.time.time
                end = pos + 1 + size
                value = int.from_bytes(octets[pos + 1 : end], "big", signed=signed)
                registers.append((code, value, _exponent(scaler), COSEM_UNITS.get(unit, "") if unit else ""))
                self._widths.append(size if signed else 0)
                pos = end
            else:
                pos = self._other(code, pos)
            pos = pos + 1 if octets[pos] == ABSENT else skip(octets, pos)
        return pos

    def _other(self, code: str, pos: int) -> int:
        """A value that is no number: a string, or a list of which only a clock is read."""
        octets = self._octets
        if octets[pos] & LIST == OCTETS:
            text, pos = _string(octets, pos)
            self._texts.setdefault(code, _text(text))
            return pos
        if code == CLOCK and octets[pos] == CHOICE:
            clock, pos = _time(octets, pos)
            self._clock = self._clock or clock
            return pos
        self._unread += 1
        return skip(octets, pos)


def _number(octets: bytes, pos: int) -> tuple[int | None, int]:
    """An optional number, and where it ends."""
    kind = octets[pos]
    if kind == ABSENT:
        return None, pos + 1
    form = _NUMBERS.get(kind)
    if form is None:
        raise GrammarError("type")
    end = pos + 1 + form[0]
    return int.from_bytes(octets[pos + 1 : end], "big", signed=form[1]), end


def _string(octets: bytes, pos: int) -> tuple[bytes, int]:
    """A string, empty where it is left out, and where it ends."""
    kind, length, pos = field(octets, pos)
    if kind != OCTETS:
        raise GrammarError("type")
    return octets[pos : pos + length], pos + length


def _time(octets: bytes, pos: int) -> tuple[Stamp | None, int]:
    """An optional time, None unless it is one of the wall clock, and where it ends."""
    if octets[pos] != CHOICE:
        return None, skip(octets, pos)
    start, (choice, pos) = pos, _number(octets, pos + 1)
    end = skip(octets, pos)
    if choice == _TIMESTAMP:
        parts = [_number(octets, pos)[0]]
    elif choice == _LOCAL_TIMESTAMP and octets[pos] == LIST | 3:
        seconds, at = _number(octets, pos + 1)
        local, at = _number(octets, at)
        parts = [seconds, local, _number(octets, at)[0]]
    else:
        return None, end
    return Stamp(parse_timestamp(*(part or 0 for part in parts)), octets[start:end]), end


def _exponent(scaler: int | None) -> int:
    if scaler is None:
        return 0
    if not -MAX_EXPONENT <= scaler <= MAX_EXPONENT:
        raise GrammarError("number")
    return scaler


@lru_cache(maxsize=1_024)
def _obis(octets: bytes) -> str:
    """Six octets as `A-B:C.D.E`, with `*F` unless that is 255; raises IndexError where some are missing."""
    if len(octets) != _CODE_SIZE:
        raise IndexError
    a, b, c, d, e, f = octets
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == 0xFF else f"*{f}")


def _text(octets: bytes) -> str:
    """A string as sent: printable ones as text, others as hexadecimal digits."""
    text = octets.decode("latin-1")
    return text if text.isascii() and text.isprintable() else octets.hex()
