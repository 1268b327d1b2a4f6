"""A capture as a meter would repeat it: cut into telegrams, and each with the present time where that is asked for.

Like the rest of the simulator it knows P1 by itself: a telegram begins with `/` at the start of a line, its clock is
object 0-0:1.0.0, its CRC stands behind `!` (DSMR P1 companion standard 5.0.2, chapter 6).
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import pairwise

from gateway.simulator.clock import wall
from gateway.simulator.p1 import crc16, stamp
from gateway.simulator.port import Port

#: a capture is read whole
MAX_OCTETS = 256 << 20
#: octets that are handed over at once, when the pace allows it
BITE = 1_024
#: a start bit, eight of data or seven and parity, a stop bit
BITS_PER_OCTET = 10
_START = re.compile(rb"(?:(?<=\n)|(?<=\A))/")
_CLOCK = re.compile(rb"(0-0:1\.0\.0(?:\.255|\*255)?\()(\d{12})([SW]?)(\))")
_END = re.compile(rb"!([0-9A-Fa-f]{4})(?=[\r\n]|\Z)")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a capture goes out: octets per second of the line (None: no waiting), seconds from start to start."""

    octets_per_s: float | None
    interval_s: float | None


def telegrams(data: bytes) -> list[bytes]:
    """Cut a capture in front of each telegram; octets before the first are a piece of their own. Nothing is lost."""
    cuts = sorted({0, len(data), *(match.start() for match in _START.finditer(data))})
    return [data[first:last] for first, last in pairwise(cuts)]


def at_time(telegram: bytes, second: int, tz: tzinfo) -> bytes:
    """Put a time (s since 1970, shown in `tz`) into the clock of a telegram, and its CRC right; the length stays.

    What has no clock stays as it is, and so does a telegram whose CRC is wrong: damage is what a capture is for.
    """
    end = _END.search(telegram)
    start = max(telegram.find(b"/"), 0)
    if end and crc16(telegram[start : end.start() + 1]) != int(end[1], 16):
        return telegram

    def show(match: re.Match[bytes]) -> bytes:
        digits = stamp(second, tz) if match[3] else f"{wall(second, tz):%y%m%d%H%M%S}"
        return match[1] + digits.encode("ascii") + match[4]

    changed = _CLOCK.sub(show, telegram)
    if not end or changed == telegram:
        return changed
    crc = crc16(changed[start : end.start() + 1])
    return changed[: end.start() + 1] + b"%04X" % crc + changed[end.end() :]


def has_clock(data: bytes) -> bool:
    """Tell whether any telegram of a capture says the time."""
    return _CLOCK.search(data) is not None


async def replay(data: bytes, port: Port, pace: Pace, now: Callable[[], datetime], tz: tzinfo | None) -> int:
    """Send a capture once to whoever reads; with `tz`, every telegram with the time `now()`. Returns the telegrams."""
    loop = asyncio.get_running_loop()
    pieces = telegrams(data)
    for piece in pieces:
        await asyncio.sleep(0)
        while not port.ready():
            await asyncio.sleep(0.02)
        began = loop.time()
        await _send(piece if tz is None else at_time(piece, int(now().timestamp()), tz), port, pace, began)
        if pace.interval_s is not None:
            await asyncio.sleep(max(0.0, began + pace.interval_s - loop.time()))
    return sum(piece.startswith(b"/") for piece in pieces)


async def _send(octets: bytes, port: Port, pace: Pace, began: float) -> None:
    loop = asyncio.get_running_loop()
    size = BITE if pace.octets_per_s is None else max(1, int(pace.octets_per_s * 0.004))
    for first in range(0, len(octets), size):
        if not await port.put(octets[first : first + size]):
            return
        if pace.octets_per_s is not None:
            due = began + min(first + size, len(octets)) / pace.octets_per_s
            await asyncio.sleep(max(0.0, due - loop.time()))
