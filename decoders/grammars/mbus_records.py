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

from decoders import vif as tables
from decoders.dib import FILLER, HEAD, HEADS_KEPT, MANUFACTURER, MORE_FOLLOW, variable_size
from decoders.errors import GrammarError
from decoders.grammars import mbus_fixed, mbus_values
from decoders.grammars.mbus_header import ERROR, LEAD, Header, header_of
from decoders.grammars.mbus_heads import Head, Kind, learn
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
#: octets behind fillers that cannot hold a value
_REST = 2
_VIFES = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")
#: VIF of a unit in plain text with VIFEs behind the text
_TEXT_VIFES = 0xFC


class MbusRecordsGrammar:
    """Reads the readouts of the meters on one bus; remembers the heads of their records, and the last layout."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self._layout: tuple[object, ...] = ()

    def parse(self, frame: Frame) -> Telegram:
        """Read the telegrams of a readout into one; raises GrammarError."""
        records, header = _Records(self._heads), None
        for body in _telegrams(frame.payload):
            try:
                header = _telegram(body, records)
            except GrammarError as error:
                error.size = frame.size
                raise
        if header is None:
            raise GrammarError("length", frame.size)
        return self._made(header, records)

    def _made(self, header: Header, records: "_Records") -> Telegram:
        registers = tuple(records.registers)
        layout = (header.device, header.device_type, records.more, *[register[0] for register in registers])
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


def _telegram(body: bytes, records: "_Records") -> Header:
    """Read one telegram; raises GrammarError."""
    if len(body) < LEAD:
        raise GrammarError("length")
    if body[2] == ERROR:
        raise GrammarError(ERRORS.get(body[LEAD] if len(body) > LEAD else 0, "meter_error"))
    header = header_of(body)
    if not header.fixed:
        records.read(body, header.end, msb_first=header.msb_first)
        return header
    device, medium = mbus_fixed.read(body, records.registers, msb_first=header.msb_first)
    return header._replace(device=device, device_type=medium)


class _Records:
    """What the records of one readout say."""

    def __init__(self, heads: dict[bytes, Head]) -> None:
        self._heads = heads
        self.registers: list[Register] = []
        self.texts: dict[str, str] = {}
        self.time: MeterTime | None = None
        self.clock: str | None = None
        self.clock_valid = True
        #: whether the last telegram said that more records follow in another one
        self.more = False
        self._filled = self._msb_first = False
        #: register -> (storage, function) where it is not the present value, and the times that the meter gives these
        self._places: dict[int, tuple[int, int]] = {}
        self._times: dict[tuple[int, int], MeterTime] = {}

    def read(self, body: bytes, at: int, *, msb_first: bool) -> None:
        """Read the records from `at` to the end; raises GrammarError."""
        self._filled, self._msb_first, self.more = False, msb_first, False
        end, heads, match_at = len(body), self._heads, HEAD.match
        while at < end:
            match = match_at(body, at)
            head = heads.get(match[0]) if match else None
            if match is None or head is None:
                at = self._unknown(body, at, match)
                continue
            start, size = match.end(), head.size
            if size < 0:
                start, size = _variable(body, start)
            at = start + size
            if at > end:
                raise GrammarError("length")
            self._take(head, body[start:at], body[start - 1])

    def _unknown(self, body: bytes, at: int, match: re.Match[bytes] | None) -> int:
        """What is no record with a known head: a special DIF, a rest, a unit in plain text, or a head to learn."""
        dif = body[at]
        if dif == FILLER:
            self._filled = True
            return at + 1
        if dif in (MANUFACTURER, MORE_FOLLOW):
            self.more = dif == MORE_FOLLOW
            self.texts[f"mbus:{dif:02x}"] = body[at + 1 :].hex()
            return len(body)
        if self._filled and len(body) - at <= _REST:
            return len(body)
        if match is None:
            raise GrammarError("length")
        head = learn(match[1], match[2])
        if head.plain_text:
            return self._plain_text(body, match)
        if len(self._heads) >= HEADS_KEPT:
            self._heads.clear()
        self._heads[match[0]] = head
        return at

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
        if size < 0:
            start, size = _variable(body, start)
        if start + size > len(body):
            raise GrammarError("length")
        head = head._replace(unit=unit if unit.isprintable() else "")
        self._take(head, body[start : start + size], body[start - 1])
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
        if head.storage or head.function:
            self._places[len(self.registers)] = (head.storage, head.function)
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
        return {place: self._times[key] for place, key in self._places.items() if key in self._times}


#: last octet of the code of a date and time that has no VIFE
_CLOCK = f"{tables.DATE_TIME:02x}"


def _variable(body: bytes, start: int) -> tuple[int, int]:
    """Where data of variable length begin, and how many octets they have."""
    size = variable_size(body[start]) if start < len(body) else None
    if size is None:
        raise GrammarError("length")
    return start + 1, size
