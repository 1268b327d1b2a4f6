"""Finds the line parameters of a port: opens it with one set after the other, and stops as soon as one is proved.

Each attempt is bounded in time. A meter that is silent is silent with every set, so the first attempt decides that;
octets in which no frame begins show at once, when the first whole burst of them is over, that the set is wrong. A line
that is read too fast tells its speed by its shortest bit, so that the next set is hardly ever a guess.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from decoders.evidence import Evidence, SevenBits
from gateway.settings import MeterSettings
from gateway.sources import Chunk, PortEvent, Source, create

#: seconds for one set of line parameters (most meters send every 10 s), and for a line without any octet (one a minute)
LONGEST_S, SILENCE_S = 12.0, 65.0
#: with frames that do not suffice yet: so many times LONGEST_S
MORE_TIMES = 3
#: a pause that parts two telegrams, and one that ends an incomplete message (s)
GAP_S, PAUSE_S = 0.7, 2.0
#: octets that the driver calls damaged, and octets without a pause and without a frame, which settle it
LINE_ERRORS, FLOOD = 16, 8_192
_LOOK_S = 0.1
#: chunks that wait at most: what is more waits in the kernel
_WAITING = 64


class Line(NamedTuple):
    """Line parameters; None where a bridge sets them."""

    baud: int
    framing: str

    def __str__(self) -> str:
        return f"{self.baud} {self.framing}"


#: what meters send with, the likeliest first; 7E1 is also seen in what 8N1 reads
LINES = (
    Line(115_200, "8N1"),
    Line(2_400, "8E1"),
    Line(2_400, "8N1"),
    Line(9_600, "8N1"),
    Line(9_600, "7E1"),
    Line(38_400, "8N1"),
    Line(9_600, "8E1"),
    Line(19_200, "8N1"),
    Line(4_800, "8N1"),
    Line(2_400, "7E1"),
    Line(1_200, "7E1"),
    Line(300, "8E1"),
    Line(300, "7E1"),
)
#: times that a line must be slower at least than it was read, to be seen in its octets
SLOWER = 1.5


@dataclass(frozen=True, slots=True)
class Heard:
    """A line on which whole frames arrive; `octets` as that line's parameters give them."""

    line: Line | None
    link: str
    evidence: Evidence

    @property
    def octets(self) -> bytes:
        """The newest octets."""
        return bytes(self.evidence.capture)

    @property
    def is_seven(self) -> bool:
        """Whether these octets were read with a parity bit, which is cut off here."""
        return isinstance(self.evidence, SevenBits)


#: says whether what was heard is enough
Enough = Callable[[Heard], bool]


@dataclass(slots=True)
class Attempt:
    """One opening of a port with one set of line parameters, and what came of it."""

    line: Line | None
    evidence: Evidence = field(default_factory=Evidence)
    seven: SevenBits | None = None
    #: why the port cannot be read: a state of PortEvent and its sentence
    trouble: PortEvent | None = None
    seconds: float = 0.0
    line_errors: int | None = None
    #: when the first octet came, in seconds since the port was opened
    first_s: float | None = None
    _last_s: float = 0.0
    #: a burst began while the port was open; it ended, too
    _whole: bool = False
    _ended: bool = False
    _looked: tuple[Any, ...] = ()

    @property
    def heard(self) -> Heard | None:
        """The line, once its frames prove it."""
        if self.seven and self.evidence.looks_like_seven_bits:
            line = self.line and Line(self.line.baud, "7E1")
            return Heard(line, self.seven.link, self.seven) if self.seven.link else None
        return Heard(self.line, self.evidence.link, self.evidence) if self.evidence.link else None

    def take(self, data: bytes, at_s: float) -> None:
        """Take octets, and note whether they begin a burst that was not cut by the opening of the port."""
        begins = self.first_s is None or at_s - self._last_s >= GAP_S
        self._ended = self._ended or (begins and self._whole)
        self._whole = self._whole or (begins and at_s >= GAP_S)
        self.first_s = at_s if self.first_s is None else self.first_s
        self._last_s = at_s
        self.evidence.feed(data)
        if self.seven:
            self.seven.feed(data)

    def is_over(self, now_s: float, enough: Enough, longest_s: float) -> bool:
        """Whether more listening tells nothing more; looked at between chunks."""
        self.seconds = now_s
        quiet_s = now_s - self._last_s
        if self.octets and quiet_s >= PAUSE_S:
            self.evidence.expire()
        more_s = MORE_TIMES * min(LONGEST_S, longest_s)
        if heard := self.heard:
            marks = (heard.evidence.count, quiet_s >= GAP_S)
            is_news, self._looked = marks != self._looked, marks
            return (is_news and enough(heard)) or now_s >= (self.first_s or 0) + more_s
        if self.is_too_fast:
            return True
        if self.evidence.count or self.evidence.damaged:
            return now_s >= max(more_s, longest_s) or self.octets >= MORE_TIMES * FLOOD
        wrong = (self.line_errors or 0) >= LINE_ERRORS or self.octets >= FLOOD
        return wrong or self._ended or (self._whole and quiet_s >= GAP_S) or now_s >= longest_s

    @property
    def speeds(self) -> tuple[float, float]:
        """Between which speeds (bit/s) the line is, as far as its octets tell."""
        times = self.evidence.times_slower
        if self.line is None or times is None:
            return 0.0, float("inf")
        shortest, longest = times
        return self.line.baud / longest, self.line.baud / shortest if shortest >= SLOWER else float("inf")

    @property
    def is_too_fast(self) -> bool:
        """Whether the octets are those of a slower line."""
        return self.speeds[1] < float("inf")

    @property
    def octets(self) -> int:
        """How many octets came."""
        return self.evidence.octets

    def as_dict(self) -> dict[str, Any]:
        """The attempt for a program."""
        heard = self.heard
        shown = heard.line if heard else self.line
        return {
            "line": str(shown) if shown else None,
            "seconds": round(self.seconds, 1),
            "octets": self.octets,
            "top_bit_percent": self.evidence.top_bit_percent,
            "line_errors": self.line_errors,
            "frames": heard.evidence.count if heard else self.evidence.count,
            "damaged": self.evidence.damaged,
            "link": heard.link if heard else None,
        }


@dataclass(frozen=True, slots=True)
class Watcher:
    """What a scan tells while it goes on."""

    #: an attempt ended
    attempted: Callable[[Attempt], None] = lambda _: None
    #: the line has been silent for LONGEST_S, and is listened to for longer
    waiting: Callable[[], None] = lambda: None


def scan(
    port: str,
    lines: Sequence[Line],
    enough: Enough,
    watcher: Watcher = Watcher(),
    *,
    silence_s: float = SILENCE_S,
) -> list[Attempt]:
    """Try line parameters until frames prove a set, or the line is silent for `silence_s`, or cannot be opened.

    Gives every attempt; the last one has heard a meter, or says why there is none.
    """
    attempts: list[Attempt] = []
    is_bridge = "://" in port
    while line := next_line(lines, attempts):
        slow = bool(attempts) and (attempts[0].first_s or 0) > LONGEST_S
        longest_s = min(LONGEST_S, silence_s) if attempts and not slow else silence_s
        attempt = Attempt(None if is_bridge else line, seven=SevenBits() if line.framing == "8N1" else None)
        source = create(MeterSettings(name="setup", port=port), baud=line.baud, framing=line.framing)
        asyncio.run(_listen(source, attempt, enough, longest_s, watcher))
        attempts.append(attempt)
        watcher.attempted(attempt)
        if is_bridge or attempt.trouble or attempt.heard or not attempt.octets:
            break
    return attempts


def next_line(lines: Sequence[Line], attempts: Sequence[Attempt]) -> Line | None:
    """The set to try next: of the speeds that the line can have the fastest, else in order; None where none is left.

    The fastest, because a set that is too fast tells the speed, and one that is too slow tells nothing.
    """
    settled = {attempt.line for attempt in attempts} | _told_apart(attempts)
    left = [line for line in lines if line not in settled]
    lowest = max((attempt.speeds[0] for attempt in attempts), default=0.0)
    highest = min((attempt.speeds[1] for attempt in attempts), default=float("inf"))
    fitting = [line for line in left if lowest <= line.baud <= highest]
    if fitting and highest < float("inf"):
        return max(fitting, key=lambda line: line.baud)
    return next(iter(left), None)


def _told_apart(attempts: Sequence[Attempt]) -> set[Line]:
    """Sets that earlier attempts have settled: 7E1 was looked for in the octets of 8N1."""
    return {Line(a.line.baud, "7E1") for a in attempts if a.line and a.seven and a.octets}


async def _listen(source: Source, attempt: Attempt, enough: Enough, longest_s: float, watcher: Watcher) -> None:
    """Listen until the attempt is over. A port that is lost, or cannot be opened, ends it."""
    queue: asyncio.Queue[Chunk | PortEvent] = asyncio.Queue(_WAITING)
    reading = asyncio.create_task(_pump(source, queue))
    opened, errors, said = time.monotonic(), None, False
    try:
        while not attempt.is_over(time.monotonic() - opened, enough, longest_s):
            errors = errors if errors is not None else getattr(source, "line_errors", None)
            if not attempt.octets and attempt.seconds >= LONGEST_S < longest_s and not said:
                said = True
                watcher.waiting()
            try:
                item = await asyncio.wait_for(queue.get(), _LOOK_S)
            except TimeoutError:
                continue
            if isinstance(item, Chunk):
                attempt.take(item.data, item.monotonic - opened)
                attempt.line_errors = _risen(errors, getattr(source, "line_errors", None))
            elif item.state == "open":
                opened = item.monotonic
            else:
                attempt.trouble = item
                return
    finally:
        reading.cancel()
        await asyncio.wait([reading])


async def _pump(source: Source, queue: "asyncio.Queue[Chunk | PortEvent]") -> None:
    async with aclosing(cast(AsyncGenerator[Chunk | PortEvent, None], source.chunks())) as chunks:
        async for item in chunks:
            await queue.put(item)


def _risen(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None else max(0, now - before)
