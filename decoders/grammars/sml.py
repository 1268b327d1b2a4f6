"""Grammar sml: the messages of a file (SML 1.03, clause 5; BSI TR-03109-1, annex IV) to a telegram.

Values come in GetList responses. Other messages are passed over, and the checksum of each message must fit, all of them
the same one as the transport's. An entry without its mandatory value is passed over, too: EMH sends such. Numbers may
come in fewer octets than their type has, and the optional time of an entry as a bare number where a choice should
stand (Holley). A second index counts from an unknown moment and is no time.

    77 | code | status | time | unit | scaler | value | signature

Nearly every entry has the form of one pattern, and is read by it; all others are read element by element.
"""

import re
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
    sizes,
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
#: the bit of a type-length field that says that another octet of it follows
_MORE = 0x80
_CODE_SIZE = 6


#: a number that counts seconds, bare (Holley) or as a choice
_SECONDS = rb"(?:\x72\x62\x01)?(?:" + sizes(UNSIGNED, 1, 2, 3, 4) + rb")"
_STRING = sizes(OCTETS, *range(1, 15))
#: an entry with the groups entry, code, status, unit, scaler, value; the longest value is a public key
_USUAL = re.compile(
    rb"(\x77\x07(.{6})(?:\x01|(" + sizes(UNSIGNED, 1, 2, 3, 4) + rb"))"
    rb"(?:\x01|" + _SECONDS + rb")(?:\x01|\x62(.))(?:\x01|\x52(.))"
    rb"(" + sizes(SIGNED, *range(1, 9)) + b"|" + sizes(UNSIGNED, *range(1, 9)) + b"|" + _STRING
    + rb"|\x83\x02.{48})\x01)",
    re.DOTALL,
).findall  # fmt: skip
#: what stands before the entries: client, server as group, name of the list, time; then their number as group
_USUAL_HEAD = re.compile(
    rb"\x77(?:\x01|" + _STRING + rb")(?:\x01|(" + _STRING + rb"))(?:\x01|" + _STRING + rb")(?:\x01|" + _SECONDS
    + rb")([\x71-\x7f])",
    re.DOTALL,
).match  # fmt: skip
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
        telegram = collector.telegram(self._shape)
        self._shape = telegram.layout
        return telegram


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
            pos, variant = closing(octets, start, pos, variant)
            if not variant:
                raise GrammarError("checksum")
        if octets[pos:].strip(bytes([END])):
            raise GrammarError("rest")

    def telegram(self, last: object) -> Telegram:
        """The telegram as it stands; its layout is the last one where that is equal."""
        registers, texts, clock = self._registers, self._texts, self._clock
        maker = next((texts[code] for code in MANUFACTURER if code in texts), "")
        # what two telegrams of one layout have in common
        shape = self._device, [register[0] for register in registers], [register[3] for register in registers]
        layout = *shape, [*texts], maker
        return Telegram(
            identification=maker,
            time=clock.time.time if clock else None,
            clock=clock.octets.hex() if clock else None,
            clock_valid=clock is None or clock.time.valid,
            registers=tuple(registers),
            register_times=self._times,
            texts=texts,
            sub=(),
            unread=self._unread,
            layout=last if layout == last else layout,
            device=self._device.hex() if self._device else None,
            status=self._status,
            widths=tuple(self._widths),
        )

    def _list_response(self, pos: int) -> int:
        """Client, server, name of the list, time of the meter, entries, signature, time of the gateway."""
        octets = self._octets
        usual = _USUAL_HEAD(octets, pos)
        if usual:
            server, clock, count, pos = (usual[1] or b"\x01")[1:], None, usual[2][0] & 0x0F, usual.end()
        else:
            server, clock, count, pos = self._head(pos)
        if self._device in (None, server):
            self._device, self._clock = server, self._clock or clock
            pos = self._entries(pos, count)
        else:
            # another meter behind the same port: its values are none of this one's
            self._unread += count
            for _ in range(count):
                pos = skip(octets, pos)
        return skip(octets, skip(octets, pos))

    def _head(self, pos: int) -> tuple[bytes, Stamp | None, int, int]:
        """Server, time and number of the entries, and where they begin."""
        octets = self._octets
        if octets[pos] != _ENTRY:
            raise GrammarError("type")
        server, pos = _string(octets, skip(octets, pos + 1))
        clock, pos = _time(octets, skip(octets, pos))
        kind, count, pos = field(octets, pos)
        if kind != LIST:
            raise GrammarError("type")
        return server, clock, count, pos

    def _entries(self, pos: int, count: int) -> int:
        """Read entries by the pattern as long as they have the usual form, then one by one."""
        octets, registers, widths, from_bytes = self._octets, self._registers, self._widths, int.from_bytes
        for entry, described, status, unit, scaler, value in _USUAL(octets, pos)[:count]:
            if not octets.startswith(entry, pos):
                break
            pos += len(entry)
            count -= 1
            code, exponent, unit = _described(described, unit, scaler)  # noqa: PLW2901
            kind = value[0]
            if not kind & LIST:
                self._texts.setdefault(code, _text(value[2 if kind & _MORE else 1 :]))
                continue
            if status:
                self._status.setdefault(code, from_bytes(status[1:]))
            if kind < UNSIGNED:
                registers.append((code, from_bytes(value[1:], "big", signed=True), exponent, unit))
                widths.append((kind & 0x0F) - 1)
            else:
                registers.append((code, from_bytes(value[1:]), exponent, unit))
                widths.append(0)
        for _ in range(count):
            pos = self._entry(pos)
        return pos

    def _entry(self, pos: int) -> int:
        """Read any entry; where the octets end before a number does, the message's end is not there either."""
        octets = self._octets
        if octets[pos] != _ENTRY:
            raise GrammarError("type")
        end_of_code = pos + 2 + _CODE_SIZE
        code = _obis(octets[pos + 2 : end_of_code]) if octets[pos + 1] == _CODE else None
        status, pos = _number(octets, end_of_code if code else skip(octets, pos + 1))
        time, pos = _time(octets, pos)
        unit, pos = _number(octets, pos)
        scaler, pos = _number(octets, pos)
        kind = octets[pos]
        if code is None or kind == ABSENT:
            self._unread += 1
            pos = skip(octets, pos)
        elif kind in _NUMBERS:
            if status is not None:
                self._status.setdefault(code, status)
            if time and time.time.time and time.time.valid:
                self._times[len(self._registers)] = time.time.time
            size, signed = _NUMBERS[kind]
            value, pos = _number(octets, pos)
            self._registers.append((code, value or 0, _exponent(scaler), COSEM_UNITS.get(unit or 0, "")))
            self._widths.append(size if signed else 0)
        else:
            pos = self._other(code, pos)
        return skip(octets, pos)

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
def _described(code: bytes, unit: bytes, scaler: bytes) -> tuple[str, int, str]:
    """Code, power of ten and unit from their octets, empty ones left out; raises GrammarError."""
    exponent = int.from_bytes(scaler, "big", signed=True)
    return _obis(code), _exponent(exponent), COSEM_UNITS.get(unit[0], "") if unit else ""


@lru_cache(maxsize=1_024)
def _obis(octets: bytes) -> str:
    """Six octets as `A-B:C.D.E`, with `*F` unless that is 255; raises IndexError where some are missing."""
    if len(octets) != _CODE_SIZE:
        raise IndexError
    a, b, c, d, e, f = octets
    return f"{a}-{b}:{c}.{d}.{e}" + ("" if f == 0xFF else f"*{f}")


@lru_cache(maxsize=256)
def _text(octets: bytes) -> str:
    """A string as sent: printable ones as text, others as hexadecimal digits."""
    text = octets.decode("latin-1")
    return text if text.isascii() and text.isprintable() else octets.hex()
