"""Grammar sml: the messages of a file (SML 1.03, clause 5; BSI TR-03109-1, annex IV) to a telegram.

Values come in GetList responses. Other messages are passed over, and the checksum of each message must fit, all of them
the same one as the transport's. An entry without its mandatory value is passed over, too: EMH sends such. Numbers may
come in fewer octets than their type has, and the optional time of an entry as a bare number where a choice should
stand (Holley). A second index counts from an unknown moment and is no time.

    77 | code | status | time | unit | scaler | value | signature

Nearly every entry has the form of one pattern. A run of such entries is read by columns; from the first other entry on
they are read element by element.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import compress
from operator import itemgetter, sub, xor
from typing import NamedTuple, TypeAlias

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
    LEAD,
    LIST,
    OCTETS,
    SIGNED,
    UNSIGNED,
    checksums,
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
_CODE_SIZE = 6


#: a number that counts seconds, bare (Holley) or as a choice
_SECONDS = rb"(?:\x72\x62\x01)?(?:" + sizes(UNSIGNED, 1, 2, 3, 4) + rb")"
_STRING = sizes(OCTETS, *range(1, 15))
#: octets of a value behind its type-length field: of a number or a string up to eight, of a string, of a public key
_VALUE = b"|".join(
    [rb"(?<=\x83\x02).{48}"]
    + [rb"(?<=[\x%02x\x%02x\x%02x]).{%d}" % (SIGNED | n + 1, UNSIGNED | n + 1, n + 1, n) for n in range(1, 9)]
    + [rb"(?<=\x%02x).{%d}" % (n + 1, n) for n in range(9, 15)]
)
#: an entry with the groups code, status, form, value; or, as the last group, all that begins with no such entry. A form
#: is unit, scaler and the type-length field of the value; the scaler is none that could be taken for part of that.
_USUAL = re.compile(
    rb"\x77\x07(.{6})(?:\x01|[\x62-\x65]((?<=\x62).|(?<=\x63)..|(?<=\x64).{3}|(?<=\x65).{4}))"
    rb"(?:\x01|" + _SECONDS + rb")"
    rb"((?:\x01|\x62.)(?:\x01|\x52[\x00-\x12\xee-\xff])(?:[\x52-\x59\x62-\x69\x02-\x0f]|\x83\x02(?=.{48}\x01)))"
    rb"(" + _VALUE + rb")\x01|(.+)",
    re.DOTALL,
).findall  # fmt: skip
#: a string, a time or a number that is an element of a message, or none
_ELEMENT = rb"(?:\x01|" + _STRING + rb"|" + _SECONDS + rb")"
#: an open or a close response whole, with its checksum as group; or what stands before the entries of a list: client,
#: server as group, name of the list, time; then the number of entries as group
_USUAL_MESSAGE = re.compile(
    LEAD + rb"(?:\x63(?:\x01\x01\x76" + _ELEMENT + rb"{6}|\x02\x01\x71" + _ELEMENT + rb")\x63(..)\x00"
    rb"|(?:\x63|\x65\x00\x00)\x07\x01\x77(?:\x01|" + _STRING + rb")(?:\x01|(" + _STRING + rb"))(?:\x01|" + _STRING
    + rb")(?:\x01|" + _SECONDS + rb")([\x71-\x7f]))",
    re.DOTALL,
).match  # fmt: skip
#: no signature and no time of the gateway behind the entries
_NEITHER = bytes([ABSENT, ABSENT])
#: choices of SML_Time
_TIMESTAMP, _LOCAL_TIMESTAMP = 2, 3


class Stamp(NamedTuple):
    """A time of the wall clock, and its octets as sent."""

    time: Time
    octets: bytes


#: takes some of the octets of a column
Picking: TypeAlias = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]


class Described(NamedTuple):
    """Code, power of ten and unit of an entry, and the last octet of the type-length field of its value."""

    code: str
    exponent: int
    unit: str
    kind: int


class Columns(NamedTuple):
    """What a run of usual entries says but for values and status words: what is the same while the layout is.

    A sign is the bit that is the sign of a number, 0 of an unsigned one.
    """

    codes: tuple[bytes, ...]
    forms: tuple[bytes, ...]
    #: takes the values of the registers, and what is known of these
    registers: Picking
    names: tuple[str, ...]
    exponents: tuple[int, ...]
    units: tuple[str, ...]
    signs: tuple[int, ...]
    widths: tuple[int, ...]
    #: takes the status words from the last one, because the first one of a code counts, and their codes
    status: Picking
    status_of: tuple[str, ...]
    #: takes the texts, the first one of each code, and their codes
    texts: Picking
    text_of: tuple[str, ...]


class SmlGrammar:
    """Reads the files of one meter; keeps the shape of the last one and the meaning of its codes and forms.

    Every file is walked whole; where a run of entries has the codes and forms of the last one, these are not explained
    anew.
    """

    def __init__(self) -> None:
        self._shape: object = None
        self._columns = _columns((), ())

    def parse(self, frame: Frame) -> Telegram:
        """Read a file whole; raises GrammarError."""
        collector = _Collector(frame.payload, self._columns)
        try:
            collector.take_file(frame.variant)
        except IndexError:
            raise GrammarError("length", frame.size) from None
        except GrammarError as error:
            error.size = frame.size
            raise
        telegram = collector.telegram(self._shape)
        self._shape, self._columns = telegram.layout, collector.columns
        return telegram


class _Collector:
    """What the messages of one file say."""

    def __init__(self, octets: bytes, columns: Columns) -> None:
        """`columns`: those of the last file."""
        self.columns = columns
        self._octets = octets
        self._device: bytes | None = None
        self._registers: tuple[Register, ...] = ()
        self._names: tuple[str, ...] = ()
        self._units: tuple[str, ...] = ()
        self._widths: tuple[int, ...] = ()
        self._texts: dict[str, str] = {}
        self._status: dict[str, int] = {}
        self._times: dict[int, MeterTime] = {}
        self._clock: Stamp | None = None
        self._unread = 0

    def take_file(self, variant: int) -> None:
        """Take all messages; raises GrammarError, IndexError where the octets end before a message does."""
        octets, pos = self._octets, 0
        while pos < len(octets) and octets[pos] != END:
            start, usual = pos, _USUAL_MESSAGE(octets, pos)
            if usual and usual[1]:
                pos, variant = usual.end(), checksums(octets[start : usual.start(1) - 1], usual[1], variant)
            else:
                if usual:
                    pos = self._list((usual[2] or b"\x01")[1:], None, usual[3][0] & 0x0F, usual.end())
                else:
                    tag, pos = opening(octets, pos)
                    pos = self._list(*self._head(pos)) if tag == GET_LIST_RESPONSE else skip(octets, pos)
                pos, variant = closing(octets, start, pos, variant)
            if not variant:
                raise GrammarError("checksum")
        if octets[pos:].strip(bytes([END])):
            raise GrammarError("rest")

    def telegram(self, last: object) -> Telegram:
        """The telegram as it stands; its layout is the last one where that is equal."""
        texts, clock = self._texts, self._clock
        maker = texts.get(MANUFACTURER[0], texts.get(MANUFACTURER[1], ""))
        # what two telegrams of one layout have in common
        layout = self._device, self._names, self._units, (*texts,), maker
        return Telegram(
            identification=maker,
            time=clock.time.time if clock else None,
            clock=clock.octets.hex() if clock else None,
            clock_valid=clock is None or clock.time.valid,
            registers=self._registers,
            register_times=self._times,
            texts=texts,
            sub=(),
            unread=self._unread,
            layout=last if layout == last else layout,
            device=self._device.hex() if self._device else None,
            status=self._status,
            widths=self._widths,
        )

    def _list(self, server: bytes, clock: Stamp | None, count: int, pos: int) -> int:
        """Entries, signature, time of the gateway."""
        octets = self._octets
        if self._device in (None, server):
            self._device, self._clock = server, self._clock or clock
            pos = self._entries(pos, count)
        else:
            # another meter behind the same port: its values are none of this one's
            self._unread += count
            for _ in range(count):
                pos = skip(octets, pos)
        return pos + 2 if octets.startswith(_NEITHER, pos) else skip(octets, skip(octets, pos))

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
        octets, found = self._octets, _USUAL(self._octets, pos)
        rest = found.pop()[-1] if found and found[-1][-1] else b""
        # more entries than their list has: none of them is trusted to be one
        if 0 < len(found) <= count:
            self._take(found)
            pos, count = len(octets) - len(rest), count - len(found)
        for _ in range(count):
            pos = self._entry(pos)
        return pos

    def _take(self, found: list[tuple[bytes, ...]]) -> None:
        """Read a run of usual entries."""
        codes, statuses, forms, values, _ = zip(*found, strict=True)
        columns = self.columns
        if codes != columns.codes or forms != columns.forms:
            columns = self.columns = _columns(codes, forms)
        unsigned = map(int.from_bytes, columns.registers(values))
        numbers = map(sub, map(xor, unsigned, columns.signs), columns.signs)
        self._registers += tuple(zip(columns.names, numbers, columns.exponents, columns.units, strict=True))
        self._names += columns.names
        self._units += columns.units
        self._widths += columns.widths
        texts = dict(zip(columns.text_of, map(_text, columns.texts(values)), strict=True))
        self._texts = {**self._texts, **texts, **self._texts} if self._texts else texts
        if any(statuses):
            sent = columns.status(statuses)
            words = map(int.from_bytes, compress(sent, sent))
            self._status = dict(zip(compress(columns.status_of, sent), words, strict=True)) | self._status

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
            return skip(octets, skip(octets, pos))
        exponent = _exponent(scaler)
        if kind in _NUMBERS:
            if status is not None:
                self._status.setdefault(code, status)
            if time and time.time.time and time.time.valid:
                self._times[len(self._registers)] = time.time.time
            size, signed = _NUMBERS[kind]
            value, pos = _number(octets, pos)
            name = COSEM_UNITS.get(unit or 0, "")
            self._registers += ((code, value or 0, exponent, name),)
            self._names += (code,)
            self._units += (name,)
            self._widths += (size if signed else 0,)
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


def _columns(codes: tuple[bytes, ...], forms: tuple[bytes, ...]) -> Columns:
    """What the codes and forms of a run of entries mean; raises IndexError where one is cut off."""
    entries = [_described(code, form) for code, form in zip(codes, forms, strict=True)]
    places = [at for at, entry in enumerate(entries) if entry.kind & LIST != OCTETS]
    registers = [entries[at] for at in places]
    numbers = [_NUMBERS[register.kind] for register in registers]
    texts = {entry.code: at for at, entry in reversed([*enumerate(entries)]) if entry.kind & LIST == OCTETS}
    return Columns(
        codes=codes,
        forms=forms,
        registers=_picking(places),
        names=tuple([register.code for register in registers]),
        exponents=tuple([register.exponent for register in registers]),
        units=tuple([register.unit for register in registers]),
        signs=tuple([1 << 8 * size - 1 if signed else 0 for size, signed in numbers]),
        widths=tuple([size if signed else 0 for size, signed in numbers]),
        status=_picking(places[::-1]),
        status_of=tuple([register.code for register in reversed(registers)]),
        texts=_picking([*reversed(texts.values())]),
        text_of=tuple(reversed(texts)),
    )


def _picking(places: list[int]) -> Picking:
    """What takes the octets at these places."""
    if len(places) < 2:
        return lambda items: tuple([items[at] for at in places])
    return itemgetter(*places)


@lru_cache(maxsize=1_024)
def _described(code: bytes, form: bytes) -> Described:
    """What the code and the form of an entry mean."""
    unit, pos = _number(form, 0)
    scaler, pos = _number(form, pos)
    # the field of a long string has two octets, and the second one ends as that of a short one
    return Described(_obis(code), _exponent(scaler), COSEM_UNITS.get(unit or 0, ""), form[-1])


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
