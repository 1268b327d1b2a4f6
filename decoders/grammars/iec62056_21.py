"""Grammar iec62056-21: the data sets of a data block (IEC 62056-21:2002 clause 6.5) to registers.

A data set is `identification(value*unit)`; meters write several on a line, leave the unit out, send more than one value
in brackets or between `&`, and the time of a maximum behind it. Where no BCC proves that the meter sent it so, what is
no data set and what is no number refuse the block.
"""

import re

from decoders.errors import GrammarError
from decoders.grammars.iec62056_21_codes import Name, decode_name, is_other_medium
from decoders.grammars.iec62056_21_values import clock_of, is_blank, numbers, stamp
from decoders.model import Frame, MeterTime, Register, Telegram

#: data sets of a block: the longest known, of an Iskra MT174 with 15 months, has 343
MAX_SETS = 2_048
_SET = re.compile(rb"[ \t]*([^()\s][^()]{0,31})?((?:\([^()]*\))+)[ \t]*")
_VALUE = re.compile(rb"\(([^()]*)\)")
_CONTROL = re.compile(rb"[\x01-\x09]")


class Iec62056Grammar:
    """Reads the data blocks of one meter."""

    def __init__(self) -> None:
        self._layout: object = None

    def parse(self, frame: Frame) -> Telegram:
        """Read a block, its identification line first where it has one; raises GrammarError."""
        head, _, body = frame.payload.partition(b"\n") if frame.payload[:1] == b"/" else (b"/", b"", frame.payload)
        block = _Block(strict=frame.checksum == "absent", size=frame.size)
        block.take(body)
        identification = _CONTROL.sub(lambda octet: f"\\{octet[0][0]}".encode(), head[1:].strip()).decode("latin-1")
        return block.telegram(identification, self._remembered(identification, block))

    def _remembered(self, identification: str, block: "_Block") -> object:
        """The same object while the same registers in the same units and the same texts come in the same order."""
        layout = identification, tuple((code, unit) for code, _, _, unit in block.registers), tuple(block.texts.items())
        if layout != self._layout:
            self._layout = layout
        return self._layout


class _Block:
    """What the data sets of one block say; `strict` refuses it for what is none."""

    def __init__(self, *, strict: bool, size: int) -> None:
        self.registers: list[Register] = []
        self.texts: dict[str, str] = {}
        self._register_times: dict[int, MeterTime] = {}
        #: values of the clock objects by the second half of their code
        self._clock: dict[str, bytes] = {}
        self._strict = strict
        self._size = size
        self._unread = 0

    def take(self, body: bytes) -> None:
        """Read all lines."""
        sets = []
        for line in body.splitlines():
            found = self._split(line)
            sets += found
            if len(sets) > MAX_SETS:
                raise GrammarError("elements", self._size)
        as_sent = is_other_medium(code for code, _ in sets)
        for code, values in sets:
            name = decode_name(code, as_sent)
            if name is None:
                self._refuse("line")
            else:
                self._take(name, _VALUE.findall(values))

    def telegram(self, identification: str, layout: object) -> Telegram:
        """The telegram, with the time that its clock objects give."""
        time, said = clock_of(self._clock)
        return Telegram(
            identification=identification,
            time=time,
            clock=said,
            registers=tuple(self.registers),
            register_times=self._register_times,
            texts=self.texts,
            sub=(),
            unread=self._unread,
            layout=layout,
        )

    def _split(self, line: bytes) -> list[tuple[bytes, bytes]]:
        """The data sets of a line; none when anything else stands on it."""
        sets, at = [], 0
        while at < len(line) and (match := _SET.match(line, at)):
            if match[1]:
                sets.append((match[1].strip(), match[2]))
            at = match.end()
        if line[at:].strip():
            self._refuse("line")
            return []
        return sets

    def _take(self, name: Name, values: list[bytes]) -> None:
        """Keep what a data set says: registers, else the text."""
        if name.clock:
            self._clock.setdefault(name.clock, values[0])
            return
        if name.measured:
            time = stamp(values[1]) if len(values) == 2 else None
            found = numbers(name, values[:1] if time else values)
            if found:
                if time:
                    self._register_times[len(self.registers)] = time
                self.registers += found
                return
            if self._strict and name.certain and not all(map(is_blank, values)):
                self._refuse("number")
        self.texts.setdefault(name.code, b")(".join(values).decode("latin-1"))

    def _refuse(self, why: str) -> None:
        if self._strict:
            raise GrammarError(why, self._size)
        self._unread += 1
