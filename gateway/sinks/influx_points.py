"""Which millisecond a reading gets, and the lines that it becomes there; the same after every restart.

Databases keep one point for a time and its tags: a second reading of the same meter and time would silently replace the
first. So one that says something else gets the next free millisecond, and is counted; one that says the same becomes
the same point. What is remembered for that is the last readings in the order of the journal, by number and not by age:
whoever reads them again before he goes on finds the same places.
"""

from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from decoders.model import SubReading
from gateway.item_p import ItemP
from gateway.pseudonym import pseudonym
from gateway.sinks import line_protocol
from gateway.sinks.line_protocol import Selection

#: readings of each meter that are remembered, and of all together
WINDOW, MOST = 4_096, 65_536

#: a meter, and the channel of a sub-meter behind it
Key: TypeAlias = tuple[str, int | None]


class Places:
    """Milliseconds that are taken. `place` is called with the ids of the journal, which rise."""

    def __init__(self, window: int) -> None:
        self.window = window
        #: (key, ms) -> the last id there, and what the reading said
        self._taken: OrderedDict[tuple[Key, int], tuple[int, int]] = OrderedDict()

    def place(self, position: int, key: Key, t_ms: int, said: int) -> int:
        """The first millisecond from `t_ms` on that is free, or taken by a reading that said the same."""
        self._forget(position - self.window)
        at = t_ms
        while (known := self._taken.get((key, at))) is not None and known[1] != said:
            at += 1
        self._taken.pop((key, at), None)
        self._taken[key, at] = position, said
        return at

    def _forget(self, before: int) -> None:
        while self._taken:
            oldest = next(iter(self._taken))
            if self._taken[oldest][0] > before:
                return
            del self._taken[oldest]


class Point(NamedTuple):
    """A reading as its lines, each with a line end; none, and why, where it cannot be a point."""

    id: int
    meter: str
    lines: bytes
    why_not: str = ""


class Points:
    """Makes points of readings, in the order of the journal."""

    def __init__(self, meters: int, salt: bytes, *, prefix: str = "", registers: Selection = "all") -> None:
        """`meters` is how many share the journal; `salt` makes the pseudonyms of sub-meters."""
        self._salt = salt
        self._prefix = prefix
        self._registers: Selection = registers if isinstance(registers, str) else frozenset(registers)
        self._places = Places(min(MOST, WINDOW * max(1, meters)))
        #: what the newest line of each sub-meter said, and when: telegrams repeat it for up to an hour
        self._subs: dict[Key, tuple[int, int]] = {}
        self.moved = 0
        self.left_out = 0

    @property
    def window(self) -> int:
        """How many ids back the readings begin that `look_back` needs."""
        return self._places.window

    def look_back(self, position: int, item: ItemP) -> None:
        """Take the places of a reading that was written before this start."""
        at = self._place(position, item)
        if at is not None:
            for sub in item.reading.sub:
                self._place_sub(position, item, sub, at)

    def make(self, position: int, item: ItemP) -> Point:
        """The lines of a reading."""
        t_ms, at = line_protocol.milliseconds(item.t or item.t_rx), self._place(position, item)
        if at is None or t_ms is None:
            return Point(position, item.meter, b"", "its time is none that a database has")
        self.moved += at != t_ms
        found = line_protocol.reading(item, at, prefix=self._prefix, registers=self._registers)
        lines = [*found.lines, *self._sub_lines(position, item, at)]
        self.left_out += found.left_out
        return Point(position, item.meter, "".join(f"{line}\n" for line in lines).encode())

    def forget_subs(self, meter: str) -> None:
        """Write the readings of a meter's sub-meters again with its next one: those of the last did not arrive."""
        for key in [key for key in self._subs if key[0] == meter]:
            del self._subs[key]

    def _sub_lines(self, position: int, item: ItemP, at: int) -> list[str]:
        lines = []
        for sub in item.reading.sub:
            key, sub_at, said = self._place_sub(position, item, sub, at)
            if self._subs.get(key) == (sub_at, said):
                continue
            device = None if sub.device is None else pseudonym(self._salt, sub.device)
            line = line_protocol.sub_reading(item, sub, sub_at, device=device, prefix=self._prefix)
            self.left_out += line is None
            if line is not None:
                self.moved += sub.t is not None and sub_at != line_protocol.milliseconds(sub.t)
                self._subs[key] = sub_at, said
                lines.append(line)
        return lines

    def _place(self, position: int, item: ItemP) -> int | None:
        t_ms = line_protocol.milliseconds(item.t or item.t_rx)
        if t_ms is None:
            return None
        return self._places.place(position, (item.meter, None), t_ms, hash((item.t, item.t_source, item.reading)))

    def _place_sub(self, position: int, item: ItemP, sub: SubReading, at: int) -> tuple[Key, int, int]:
        """A sub-meter's reading has its own time, or that of the telegram where it has none."""
        key, said = (item.meter, sub.channel), hash((sub, item.reading.auth))
        own = line_protocol.milliseconds(sub.t)
        sub_at = self._places.place(position, key, at if own is None else own, said)
        return key, sub_at, said
