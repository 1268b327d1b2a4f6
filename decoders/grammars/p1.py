"""Grammar p1: the data lines of a telegram (IEC 62056-21, DSMR P1 companion standard 5.0.2 clause 6) to registers.

Numbers stay integers with a power of ten, in wire order. Sub-meters have their channel in B (0-1 to 0-4) and their
own time. A line that is no object is counted where a checksum proves that the meter sent it so, and refused where
none does.

A meter repeats itself: most lines are those of the telegram before. What a line says depends on its octets alone, so
where only registers and the clock differ, only these lines are read, and the result is that of reading all.
"""

import re
from itertools import compress, count
from operator import ne

from decoders.errors import GrammarError
from decoders.grammars.p1_lines import Line, Object, number, read_line
from decoders.model import Frame, MeterTime, Register, SubTelegram, Telegram
from decoders.obis import Kind

MAX_LINES = 512
#: `\\2` in an identification is written as two characters (IEC 62056-21), but some meters send the octet 02
_CONTROL = re.compile(rb"[\x01-\x09]")


class P1Grammar:
    """Reads the telegrams of one meter; remembers the last one that a checksum vouched for."""

    def __init__(self) -> None:
        #: head and lines of the last telegram, empty ones included
        self._lines: list[bytes] = []
        self._last: _Collector | None = None

    def parse(self, frame: Frame) -> Telegram:
        """Read a telegram from `/` to before `!`; raises GrammarError."""
        lines = frame.payload.splitlines()
        if frame.checksum == "absent":
            return _Collector(lines, strict=True, size=frame.size).telegram()
        last, before, self._lines = self._last, self._lines, lines
        if last is None or len(lines) != len(before) or not _update(last, before, lines):
            self._last = None
            last = self._last = _Collector(lines, strict=False, size=frame.size)
        return last.telegram()


def _update(last: "_Collector", before: list[bytes], lines: list[bytes]) -> bool:
    """Read into the last telegram the lines that differ; False when more than registers and the clock differ."""
    changed = compress(count(), map(ne, lines, before))
    return all(last.replace(i, read_line(lines[i])) for i in changed)


class _Collector:
    """What the lines of one telegram say; `strict` refuses the whole telegram for a line that is no object."""

    def __init__(self, lines: list[bytes], *, strict: bool, size: int) -> None:
        if len(lines) - lines.count(b"") > MAX_LINES + 1:
            raise GrammarError("elements", size)
        head = lines[0][1:]
        self._identification = _CONTROL.sub(lambda octet: f"\\{octet[0][0]}".encode(), head).decode("latin-1")
        self._strict = strict
        self._size = size
        self._registers: list[Register] = []
        self._register_times: dict[int, MeterTime] = {}
        self._texts: dict[str, str] = {}
        self._time: MeterTime | None = None
        self._clock: str | None = None
        self._channels: dict[int, _Channel] = {}
        self._open_channel: _Channel | None = None
        self._unread = 0
        #: line of a plain register -> its index among the registers; line of the clock
        self._slots: dict[int, int] = {}
        self._clock_line: int | None = None
        for i, line in enumerate(lines[1:], 1):
            if line:
                self._take(i, read_line(line))
        self._sub = tuple(channel.result() for _, channel in sorted(self._channels.items()))

    def telegram(self) -> Telegram:
        """The telegram as it stands."""
        return Telegram(
            identification=self._identification,
            time=self._time,
            clock=self._clock,
            registers=tuple(self._registers),
            register_times=self._register_times,
            texts=self._texts,
            sub=self._sub,
            unread=self._unread,
            layout=self,
        )

    def replace(self, i: int, read: Line) -> bool:
        """Put another reading in the place of line i; False unless both are one register in one unit, or the clock."""
        if isinstance(read, Object):
            self._time, self._clock = read.time, read.text
            return i == self._clock_line and read.kind is Kind.CLOCK
        slot = self._slots.get(i)
        if slot is None or read is None:
            return False
        old, self._registers[slot] = self._registers[slot], read
        return old[0] == read[0] and old[3] == read[3]

    def _take(self, i: int, read: Line) -> None:
        if read is None:
            self._refuse("line")
        elif not isinstance(read, Object):
            self._slots[i] = len(self._registers)
            self._registers.append(read)
        elif read.kind is None:
            if self._open_channel is None or not self._open_channel.take_continuation(read.values[0]):
                self._refuse("line")
        elif read.kind is Kind.SUB_METER:
            channel = int(read.code[2])
            self._open_channel = self._channels.setdefault(channel, _Channel(channel))
            self._open_channel.take(read)
        elif read.kind is Kind.CLOCK:
            self._time, self._clock, self._clock_line = read.time, read.text, i
        elif read.kind is Kind.NUMBER:
            self._take_registers(read)
        else:
            self._texts.setdefault(read.code, read.text)

    def _take_registers(self, read: Object) -> None:
        """Keep the registers of a line; a measured value that is no number may be damage, or a blank of the meter."""
        if not read.registers:
            if self._strict and read.text and read.code.startswith("1-"):
                self._refuse("number")
            self._texts.setdefault(read.code, read.text)
        for register in read.registers:
            if read.time:
                self._register_times[len(self._registers)] = read.time
            self._registers.append(register)

    def _refuse(self, why: str) -> None:
        if self._strict:
            raise GrammarError(why, self._size)
        self._unread += 1


class _Channel:
    """What the objects of one sub-meter channel said so far."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._type: int | None = None
        self._device: str | None = None
        self._value: Register | None = None
        self._time: MeterTime | None = None
        self._unit = b""

    def take(self, read: Object) -> None:
        """Take `24.1.0` type, `96.1.x` identification, `24.2.x` time and value, `24.3.0` time and unit."""
        object_, first = read.code[4:], read.values[0]
        if object_ == "24.1.0":
            self._type = int(first) if first.isdigit() and len(first) <= 3 else None
        elif object_.startswith("96.1."):
            self._device = self._device or read.text or None
        elif object_ == "24.3.0":
            self._time, self._unit = read.time, read.values[-1]
        elif object_.startswith("24.2.") and self._value is None:
            self._time = read.time
            self._value = read.registers[0] if read.registers else None

    def take_continuation(self, value: bytes) -> bool:
        """DSMR 2.2 and 3 send the value of `24.3.0` on a line of its own, its unit on the line before."""
        if self._value is not None or not self._unit:
            return False
        self._value = number(f"0-{self._channel}:24.3.0", value + b"*" + self._unit)
        return self._value is not None

    def result(self) -> SubTelegram:
        """What was collected."""
        return SubTelegram(self._channel, self._type, self._device, self._value, self._time)
