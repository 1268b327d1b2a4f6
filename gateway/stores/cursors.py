"""How far each sink is in the journal: memory has the truth, and every commit takes a copy of it along.

For each sink and meter, stored = delivered + pending + evicted + dead letters: pending is what is left over. Shared by
the thread that writes, those of the sinks and the loop's, under one lock that is held for moments only.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

#: characters of a reason that are kept, whatever a server answered
REASON = 200
#: dead letters that wait for the next commit at most: behind a medium that fails, the oldest of them give way
WAITING = 1_000


@dataclass(slots=True)
class Settled:
    """Readings of one meter that one sink is done with."""

    delivered: int = 0
    dead: int = 0
    #: gave way to newer ones, or to damage, before the sink had confirmed them
    evicted: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.delivered + self.dead + self.evicted


@dataclass(slots=True)
class Cursor:
    """One sink: everything up to `position` is settled."""

    position: int = 0
    meters: dict[str, Settled] = field(default_factory=dict)

    def of(self, meter: str) -> Settled:
        """Return what is settled of a meter, a new one for a new meter."""
        return self.meters.setdefault(meter, Settled())

    def copy(self) -> "Cursor":
        """Return one that shares nothing."""
        return Cursor(self.position, {meter: replace(settled) for meter, settled in self.meters.items()})


class Given(NamedTuple):
    """A row that was handed to a sink and is not settled; with a reason it goes to the dead letters."""

    meter: str
    t: int
    reason: str | None = None


class DeadLetter(NamedTuple):
    """A row that a sink could not take, and why; the row itself stays in the journal until its time has come."""

    sink: str
    entry: int
    meter: str
    #: time of the reading, whole seconds since 1970
    t: int
    reason: str


class Cursors:
    """The cursors of all sinks, those that are not configured now included."""

    def __init__(self, by_sink: Mapping[str, Cursor] | None = None) -> None:
        self.lock = threading.RLock()
        self.by_sink = dict(by_sink or {})
        #: id of the newest reading that is committed
        self.newest = 0
        #: where the salvage of a damaged file has come to: rows beyond it would be a leap over those still to come
        self.ceiling: int | None = None
        #: raised when another file takes the place of the last one
        self.generation = 0
        #: time of the oldest reading that a sink has to deliver, s since 1970
        self.oldest: dict[str, int | None] = {}
        #: dead letters that the next commit takes along
        self.waiting: deque[DeadLetter] = deque(maxlen=WAITING)
        self._given: dict[str, dict[int, Given]] = {}
        self._gone: dict[str, set[int]] = {}

    def begin(self, sink: str, evicted: Mapping[str, int]) -> None:
        """Give a sink that is new a cursor before everything; what was evicted until now never reached it."""
        with self.lock:
            if sink not in self.by_sink:
                self.by_sink[sink] = Cursor(0, {meter: Settled(evicted=n) for meter, n in evicted.items()})
            self._given.setdefault(sink, {})
            self._gone.setdefault(sink, set())

    def give(self, sink: str, rows: Mapping[int, Given]) -> None:
        """Remember rows that were handed to a sink."""
        with self.lock:
            position = self.by_sink[sink].position
            self._given[sink] |= {entry: row for entry, row in rows.items() if entry > position}

    def settle(self, sink: str, upto: int, delivered: Mapping[str, int], dead: Sequence[DeadLetter]) -> None:
        """Move a cursor to `upto`; raises ValueError unless this accounts for every row that was handed out until it.

        Rows that were damaged count as dead letters beside those that the sink names.
        """
        with self.lock:
            cursor, given, gone = self.by_sink[sink], self._given[sink], self._gone[sink]
            if upto <= cursor.position and not delivered and not dead:
                return
            rows = {entry: row for entry, row in given.items() if entry <= upto}
            if upto not in rows:
                raise ValueError(f"{sink} settles {upto}, which was not handed to it (it is at {cursor.position})")
            letters = sorted([
                *dead,
                *(DeadLetter(sink, at, row.meter, row.t, row.reason) for at, row in rows.items() if row.reason),
            ], key=lambda letter: letter.entry)  # fmt: skip
            _check(sink, upto, rows, delivered, letters)
            for meter, n in delivered.items():
                cursor.of(meter).delivered += n
            for letter in letters:
                cursor.of(letter.meter).dead += 1
            for entry, row in rows.items():
                del given[entry]
                if entry in gone:
                    cursor.of(row.meter).evicted -= 1
                    gone.remove(entry)
            self.waiting.extend(letters)
            cursor.position = upto

    def evict(self, rows: Iterable[tuple[int, str]]) -> None:
        """Count rows (id, meter) that are gone from the file; one that a sink has in hand may still be delivered."""
        with self.lock:
            for sink, cursor in self.by_sink.items():
                given = self._given.get(sink, {})
                unsettled = [row for row in rows if row[0] > cursor.position]
                evict(cursor, unsettled)
                self._gone.setdefault(sink, set()).update(entry for entry, _ in unsettled if entry in given)

    def snapshot(self) -> dict[str, Cursor]:
        """Copy all cursors, for the file."""
        with self.lock:
            return {sink: cursor.copy() for sink, cursor in self.by_sink.items()}


def evict(cursor: Cursor, rows: Iterable[tuple[int, str]]) -> None:
    """Count the rows behind a cursor as evicted."""
    for entry, meter in rows:
        if entry > cursor.position:
            cursor.of(meter).evicted += 1


def letter(sink: str, entry: int, meter: str, t: int, reason: str) -> DeadLetter:
    """Make a dead letter; of a reason one line is kept, and of that so much that a server cannot fill the file."""
    line = "".join(char if char.isprintable() else " " for char in reason)
    return DeadLetter(sink, entry, meter, t, " ".join(line.split())[:REASON])


def _check(
    sink: str, upto: int, rows: Mapping[int, Given], delivered: Mapping[str, int], letters: Iterable[DeadLetter]
) -> None:
    names = [letter.entry for letter in letters]
    if len(set(names)) != len(names) or not set(names) <= rows.keys():
        raise ValueError(f"{sink} settles {upto} with dead letters that were not handed to it, or twice")
    told = Counter(dict(delivered)) + Counter(letter.meter for letter in letters)
    there = Counter(row.meter for row in rows.values())
    if told != there or min(delivered.values(), default=0) < 0:
        raise ValueError(f"{sink} settles {upto} for {dict(told)}, and was handed {dict(there)}")
