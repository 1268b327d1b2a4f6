"""Grammar mbus-records: telegrams of the M-Bus application layer (EN 13757-3) to registers.

    CI 72, 76, 5B   identification 4 | manufacturer 2 | version | medium | access number | status | configuration 2
    CI 7A, 7E, 5A   access number | status | configuration 2
    CI 78, 7C       no header
    CI 73, 77       fixed structure
    CI 70           application error

Records follow to the end: head, data, head, data. CI 76, 77, 7C and 7E say that numbers come with their most
significant octet first (mode 2). The checksum of the link is a sum of eight bits, so the structure has to hold too: a
record that leads beyond the end refuses the telegram. Only behind fillers two octets are passed over: some meters leave
there what is left of a checksum, and a record of two octets has no data.

A frame holds the telegrams of one readout, each behind an octet with its length (`links.mbus_records`).
"""

import re
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Literal

from decoders import vif as tables
from decoders.dib import FILLER, HEAD, MANUFACTURER, MORE_FOLLOW, dib_of, variable_size
from decoders.errors import GrammarError
from decoders.grammars import mbus_fixed, mbus_values
from decoders.grammars.mbus_header import ERROR, LEAD, Header, header_of
from decoders.grammars.mbus_heads import Head, Heads, Kind, Known, learn
from decoders.model import Frame, MeterTime, Register, Telegram

#: code of an application error (CI 70) -> code of the Fault
ERRORS = {
    0: "meter_error",
    1: "meter_ci",
    2: "meter_buffer",
    3: "meter_records",
    4: "meter_truncated",
    5: "meter_difes",
    6: "meter_vifes",
    8: "meter_busy",
    9: "meter_readouts",
}
_NUMBERS: dict[Kind, Callable[[bytes], int | None]] = {
    Kind.INTEGER: mbus_values.integer,
    Kind.UNSIGNED: mbus_values.unsigned,
    Kind.BCD: mbus_values.bcd,
}
#: headers that are remembered: a bus has 250 meters
_HEADERS_KEPT = 256
#: where a long header has the access number, which is the first octet of it that changes
_BEFORE_ACCESS = 11
_CODE = itemgetter(0)
_INTEGER, _BCD = Kind.INTEGER, Kind.BCD
from_bytes = int.from_bytes
#: octets behind fillers that cannot hold a value
_REST = 2
_VIFES = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")
#: VIF of a unit in plain text with VIFEs behind the text
_TEXT_VIFES = 0xFC


class MbusRecordsGrammar:
    """Reads the readouts of the meters on one bus; remembers the heads of their records, and the last layout."""

    def __init__(self) -> None:
        self._heads = Heads()
        self._headers: dict[bytes, Header] = {}
        self._layout: tuple[object, ...] = ()

    def parse(self, frame: Frame) -> Telegram:
        """Read the telegrams of a readout into one; raises GrammarError."""
        records, header = _Records(self._heads), None
        for body in _telegrams(frame.payload):
            try:
                header = self._telegram(body, records)
            except GrammarError as error:
                error.size = frame.size
                raise
        if header is None:
            raise GrammarError("length", frame.size)
        return self._made(header, records)

    def _telegram(self, body: bytes, records: "_Records") -> Header:
        """Read one telegram; raises GrammarError."""
        if len(body) < LEAD:
            raise GrammarError("length")
        if body[2] == ERROR:
            raise GrammarError(ERRORS.get(body[LEAD] if len(body) > LEAD else 0, "meter_error"))
        header = self._header(body)
        if not header.fixed:
            records.read(body, header.end, msb_first=header.msb_first)
            return header
        device, medium = mbus_fixed.read(body, records.registers, msb_first=header.msb_first)
        return header._replace(device=device, device_type=medium)

    def _header(self, body: bytes) -> Header:
        """The header of a telegram; what stands before the access number says all of it."""
        known = self._headers.get(body[1:_BEFORE_ACCESS])
        if known is not None and len(body) >= known.end:
            return known
        if len(self._headers) >= _HEADERS_KEPT:
            self._headers.clear()
        header = self._headers[body[1:_BEFORE_ACCESS]] = header_of(body)
        return header

    def _made(self, header: Header, records: "_Records") -> Telegram:
        registers = tuple(records.registers)
        layout = (header.device, header.device_type, records.more, *map(_CODE, registers))
        if layout != self._layout:
            self._layout = layout
        return Telegram(
            identification=header.identification,
            time=records.time,
            clock=records.clock,
            registers=registers,
            register_times=records.register_times(),
            texts=records.texts,
            sub=(),
            layout=self._layout,
            clock_valid=records.clock_valid,
            device=header.device,
            device_type=header.device_type,
            address=header.address,
            partial=records.more,
        )


def _telegrams(payload: bytes) -> Iterator[bytes]:
    """The telegrams of a readout, each from C to the last octet of data."""
    at = 0
    while at < len(payload):
        end = at + 1 + payload[at]
        yield payload[at + 1 : end]
        at = end


class _Records:
    """What the records of one readout say."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self.registers: list[Register] = []
        self.texts: dict[str, str] = {}
        self.time: MeterTime | None = None
        self.clock: str | None = None
        self.clock_valid = True
        #: whether the last telegram said that more records follow in another one
        self.more = False
        self._filled = self._msb_first = False
        #: times that the meter gives for what is not present, by storage and function
        self._times: dict[tuple[int, int], MeterTime] = {}

    def read(self, body: bytes, at: int, *, msb_first: bool) -> None:
        """Read the records from `at` to the end; raises GrammarError.

        Numbers, most of all records, are read here: a call for each would cost as much again.
        """
        self._filled, self._msb_first, self.more = False, msb_first, False
        order: Literal["big", "little"] = "big" if msb_first else "little"
        end, add, begins = len(body), self.registers.append, body.startswith
        guesses, before = self._heads.following, b""
        known: Known | None
        while at < end:
            known = guesses.get(before)
            if known is None or not begins(known[0], at):
                known = self._heads.find(body, at)
                if known is None:
                    at = self._unknown(body, at)
                    continue
                guesses[before] = known
            before, length, size, kind, unpack, none, code, exponent, unit, factor, head = known
            start = at + length
            at = start + size
            if at > end:
                at = self._variable(head, body, start, start - length)
            elif unpack is not None and not msb_first:
                (number,) = unpack(body, start)
                if number != none:
                    add((code, number * factor, exponent, unit))
            elif kind is _INTEGER:
                number = from_bytes(body[start:at], order, signed=True)
                if number != none:
                    add((code, number * factor, exponent, unit))
            elif kind is _BCD and (digits := (body[start:at] if msb_first else body[start:at][::-1]).hex()).isdigit():
                add((code, int(digits) * factor, exponent, unit))
            else:
                self._take(head, body[start:at], 0)

    def _variable(self, head: Head, body: bytes, start: int, at: int) -> int:
        """Read the data at `start` of the record at `at`, which begin with their length; raises GrammarError.

        What has a length of its own comes here because it leads beyond the end. Gives where the next record begins.
        """
        if self._is_rest(body, at):
            return len(body)
        if head.size >= 0:
            raise GrammarError("length")
        begin, size = _variable(body, start)
        if begin + size > len(body):
            raise GrammarError("length")
        self._take(head, body[begin : begin + size], body[start])
        return begin + size

    def _unknown(self, body: bytes, at: int) -> int:
        """What is no record with a known head: a special DIF, a rest, a unit in plain text, or a head to learn."""
        dif = body[at]
        if dif == FILLER:
            self._filled = True
            return at + 1
        if dif in (MANUFACTURER, MORE_FOLLOW):
            self.more = dif == MORE_FOLLOW
            self.texts[f"mbus:{dif:02x}"] = body[at + 1 :].hex()
            return len(body)
        if self._is_rest(body, at):
            return len(body)
        match = HEAD.match(body, at)
        if match is None:
            raise GrammarError("length")
        head = learn(match[1], match[2])
        if head.plain_text:
            return self._plain_text(body, match)
        self._heads.keep(match[0], head)
        return at

    def _is_rest(self, body: bytes, at: int) -> bool:
        """Whether so little is left behind a filler that it holds no value."""
        return self._filled and len(body) - at <= _REST

    def _plain_text(self, body: bytes, match: re.Match[bytes]) -> int:
        """Read a record whose unit is a text: VIF, length, text (last letter first), VIFEs, data."""
        vif_at = match.end(1)
        text_at = vif_at + 2
        length = body[vif_at + 1] if text_at <= len(body) else 0xFF
        start = text_at + length
        vifes = _VIFES.match(body, start) if body[vif_at] == _TEXT_VIFES else None
        if start > len(body) or (vifes is None and body[vif_at] == _TEXT_VIFES):
            raise GrammarError("length")
        text = body[text_at:start]
        vib = body[vif_at : vif_at + 1] + (vifes[0] if vifes else b"")
        head = learn(match[1], vib)
        unit = (text if self._msb_first else text[::-1]).decode("latin-1")
        start, size = vifes.end() if vifes else start, head.size
        head = head._replace(unit=unit if unit.isprintable() else "")
        if size < 0 or start + size > len(body):
            return self._variable(head, body, start, match.start())
        self._take(head, body[start : start + size], 0)
        return start + size

    def _take(self, head: Head, data: bytes, lvar: int) -> None:
        """Add what a record says: a register, a text, a time, or nothing."""
        if self._msb_first:
            data = data[::-1]
        kind = head.kind
        if kind <= Kind.BCD:
            number = _NUMBERS[kind](data)
            if number is not None:
                self._register(head, number, head.exponent)
        elif kind == Kind.REAL:
            real = mbus_values.real(data)
            if real is not None:
                self._register(head, real[0], real[1] + head.exponent)
        elif kind == Kind.VARIABLE:
            value = mbus_values.variable(lvar, data)
            if isinstance(value, int):
                self._register(head, value, head.exponent)
            elif value is not None:
                self.texts[head.code] = value
        elif kind != Kind.NONE:
            self._date(head, data)

    def _register(self, head: Head, integer: int, exponent: int) -> None:
        self.registers.append((head.code, integer * head.factor, exponent, head.unit))

    def _date(self, head: Head, data: bytes) -> None:
        """Take a date or time: the first present one is the meter's clock, others belong to what was stored."""
        if head.kind != Kind.DATE_TIME:
            text = mbus_values.date(data) if head.kind == Kind.DATE else mbus_values.time_of_day(data)
            if text:
                self.texts[head.code] = text
            return
        time, valid = mbus_values.date_time(data)
        if time:
            self.texts[head.code] = time.wall.isoformat()
        place = (head.storage, head.function)
        if not head.code.endswith(_CLOCK):
            return
        if place != (0, 0):
            if time and valid:
                self._times.setdefault(place, time)
        elif self.clock is None:
            self.time, self.clock, self.clock_valid = time, data.hex(), valid

    def register_times(self) -> dict[int, MeterTime]:
        """Times of registers that are not present values, by index: those with the same storage and function."""
        if not self._times:
            return {}
        dibs = [dib_of(register[0]) for register in self.registers]
        keys = [(dib.storage, dib.function) if dib else (0, 0) for dib in dibs]
        return {place: self._times[key] for place, key in enumerate(keys) if key in self._times}


#: last octet of the code of a date and time that has no VIFE
_CLOCK = f"{tables.DATE_TIME:02x}"


def _variable(body: bytes, start: int) -> tuple[int, int]:
    """Where data of variable length begin, and how many octets they have."""
    size = variable_size(body[start]) if start < len(body) else None
    if size is None:
        raise GrammarError("length")
    return start + 1, size
