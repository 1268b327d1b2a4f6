"""A capture file as a source: at the pace of the line, one telegram per interval, or as fast as it is read."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from gateway.sources.model import Chunk, PortEvent

#: `line`: without a pause at the line's speed; `fast`: no waiting; a number: seconds from telegram to telegram
Pace: TypeAlias = Literal["line", "fast"] | float

#: octets of one read of the file, and of one chunk at the line's speed: a UART wakes its driver about every 32
BLOCK = 65_536
FIFO = 32
#: a start bit, eight of data (or seven and parity), a stop bit
BITS_PER_OCTET = 10
#: all that pacing by telegram needs to know of a protocol: `/` at the start of a line begins one (IEC 62056-21)
_START = re.compile(rb"(?<=\n)/")


class ReplaySource:
    """Plays a file once, or again and again (`loop`); `name` is its path."""

    def __init__(self, path: Path, *, pace: Pace = "line", baud: int = 115_200, loop: bool = False) -> None:
        """`baud` in bit/s is the speed of the line that is imitated; raises ValueError for a pace that is none."""
        if isinstance(pace, str) and pace not in ("line", "fast"):
            raise ValueError(f"pace {pace!r} is none of: line, fast, seconds from telegram to telegram")
        if not isinstance(pace, str) and not 0 < pace <= 86_400:
            raise ValueError(f"pace {pace!r}: seconds from telegram to telegram are more than 0 and at most a day")
        self.name = str(path)
        self._path = path
        self._pace = pace
        self._baud = baud
        self._loop = loop

    async def chunks(self) -> AsyncIterator[Chunk | PortEvent]:
        """Yield `open`, the octets of the file, `closed`, and end; `no_port` and end where the file cannot be read."""
        try:
            if not self._path.is_file():
                yield PortEvent.now("no_port", f"{self.name} is not there, or is not a file: name a capture")
                return
            with self._path.open("rb") as file:
                yield PortEvent.now("open", f"{self.name} is replayed")
                start = time.monotonic()
                for due, data in schedule(_blocks(file, loop=self._loop), self._pace, self._baud):
                    await asyncio.sleep(start + due - time.monotonic())
                    yield Chunk.now(data)
        except OSError as error:
            yield PortEvent.now("no_port", f"{self.name} cannot be read: {error.strerror}")
        else:
            yield PortEvent.now("closed", f"{self.name} has ended")

    def reopen(self) -> None:
        """Do nothing: a file does not fall silent."""


def schedule(blocks: Iterable[bytes], pace: Pace, baud: int) -> Iterator[tuple[float, bytes]]:
    """Say when octets arrive, in seconds from the start: pure. A line that is too slow for its interval stays full."""
    if pace == "fast":
        yield from ((0.0, block) for block in blocks)
        return
    octet_s = BITS_PER_OCTET / baud
    at, telegrams = 0.0, 0
    for begins, run in _runs(blocks):
        if begins and not isinstance(pace, str):
            at = max(at, telegrams * pace)
        telegrams += begins
        for i in range(0, len(run), FIFO):
            piece = run[i : i + FIFO]
            at += len(piece) * octet_s
            yield at, piece


def _runs(blocks: Iterable[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Cut at the beginnings of telegrams; True for a run that begins with one."""
    last = b"\n"
    for block in blocks:
        starts = [match.start() - 1 for match in _START.finditer(last + block)]
        for start, end in zip([0, *starts], [*starts, len(block)], strict=True):
            if start < end:
                yield start in starts, block[start:end]
        last = block[-1:]


def _blocks(file: BinaryIO, *, loop: bool) -> Iterator[bytes]:
    while True:
        while block := file.read(BLOCK):
            yield block
        if not loop or file.tell() == 0:
            return
        file.seek(0)
