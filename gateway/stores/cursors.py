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
#: dead letters that are shown
RECENT = 10
#: accounts of one sink in a row that do not add up: this one is put right, so that delivery goes on
MISCOUNTS = 3
#: reason of a dead letter that only such an account made
MISCOUNTED = "miscounted"


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

    def evict(self, rows: Iterable[tuple[int, str]]) -> None:
        """Count rows (id, meter) that are gone and were not settled."""
        for entry, meter in rows:
            if entry > self.position:
                self.of(meter).evicted += 1

    def take_back(self, rows: Iterable[tuple[int, str]], unknown: Mapping[str, int]) -> None:
        """Take back rows that came out of a damaged file; of `unknown` ones nobody knew that they were stored."""
        for meter, n in unknown.items():
            self.of(meter).evicted += n
        for entry, meter in rows:
            if entry > self.position:
                self.of(meter).evicted -= 1

    def forsake(self, stored: Mapping[str, int]) -> None:
        """Count everything that is not settled as evicted."""
        for meter, n in stored.items():
            settled = self.of(meter)
            settled.evicted += n - settled.total

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
        #: raised with each change that the file is to have
        self.version = 0
        #: raised when another file takes the place of the last one
        self.generation = 0
        #: time of the oldest reading that a sink has to deliver, s since 1970
        self.oldest: dict[str, int | None] = {}
        #: dead letters that the next commit takes along
        self.waiting: deque[DeadLetter] = deque(maxlen=WAITING)
        #: the newest dead letters that are in the file
        self.recent: deque[DeadLetter] = deque(maxlen=RECENT)
        #: the newest reading that gave way
        self._evicted = 0
        self._given: dict[str, dict[int, Given]] = {}
        self._gone: dict[str, set[int]] = {}
        #: users of the cursors until now, and the latest of each sink to whom rows were handed
        self._users = 0
        self._user: dict[str, int] = {}
        #: accounts in a row that did not add up
        self._miscounts: Counter[str] = Counter()

    @property
    def limit(self) -> int:
        """Rows up to here may be handed out: a row that is in the file is counted a moment later, and not before."""
        with self.lock:
            return self.newest if self.ceiling is None else min(self.newest, self.ceiling)

    def begin(self, sink: str, evicted: Mapping[str, int]) -> int:
        """Give a sink that is new a cursor before everything; what was evicted until now never reached it.

        Returns the number of a new user. Once rows are handed to him, those before him are users no more: a thread of
        theirs may hang in a request still, and what it settles late was handed out again.
        """
        with self.lock:
            self._users += 1
            if sink not in self.by_sink:
                self.version += 1
                self.by_sink[sink] = Cursor(0, {meter: Settled(evicted=n) for meter, n in evicted.items()})
            self._given.setdefault(sink, {})
            self._gone.setdefault(sink, set())
            return self._users

    def give(self, sink: str, user: int, rows: Mapping[int, Given], generation: int, *, afresh: bool) -> bool:
        """Remember rows that a user gets, `afresh` in place of what the sink had in hand.

        False where he gets none, and looks again: their file is gone, a later user has come, or an earlier one was
        faster.
        """
        with self.lock:
            latest = self._user.get(sink, 0)
            if generation != self.generation or user < latest:
                return False
            position = self.by_sink[sink].position
            if afresh and any(entry <= position for entry in rows):
                return False  # the user before settled some of them since they were read
            if afresh or user > latest:
                self._given[sink], self._gone[sink] = {}, set()
            self._user[sink] = user
            given = {entry: row for entry, row in rows.items() if entry > position}
            self._given[sink] |= given
            # They gave way between the look into the file and this moment.
            self._gone[sink].update(entry for entry in given if entry <= self._evicted)
            return True

    def settle(self, sink: str, user: int, upto: int, delivered: Mapping[str, int], dead: Sequence[DeadLetter]) -> None:
        """Move a cursor to `upto`; raises ValueError unless this accounts for every row that was handed out until it.

        Rows that were damaged count as dead letters beside those that the sink names. Nothing moves after a later user
        has come. An error of ours must not end a delivery for ever: where accounts fail MISCOUNTS times in a row, the
        rows that nobody speaks for are dead letters.
        """
        with self.lock:
            cursor, given, gone = self.by_sink[sink], self._given[sink], self._gone[sink]
            if user < self._user.get(sink, 0) or (upto <= cursor.position and not delivered and not dead):
                return
            rows = {entry: row for entry, row in given.items() if entry <= upto}
            if upto not in rows:
                raise ValueError(f"{sink} settles {upto}, which was not handed to it (it is at {cursor.position})")
            letters = sorted([
                *dead,
                *(DeadLetter(sink, at, row.meter, row.t, row.reason) for at, row in rows.items() if row.reason),
            ], key=lambda letter: letter.entry)  # fmt: skip
            try:
                _check(sink, upto, rows, delivered, letters)
            except ValueError:
                self._miscounts[sink] += 1
                if self._miscounts[sink] < MISCOUNTS:
                    raise
                delivered, letters = _put_right(sink, rows, delivered, letters)
            del self._miscounts[sink]
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
            self.version += 1

    def pass_damaged(self, sink: str, user: int) -> None:
        """Settle damaged rows that stand first: nothing good would ever move the cursor over them."""
        with self.lock:
            given = self._given[sink]
            first_good = min((entry for entry, row in given.items() if row.reason is None), default=1 << 62)
            leading = [entry for entry in given if entry < first_good]
            if leading:
                self.settle(sink, user, max(leading), {}, [])

    def take(
        self,
        evicted: Sequence[tuple[int, str]],
        adopted: Sequence[tuple[int, str]],
        unknown: Mapping[str, int],
        letters: Sequence[DeadLetter],
    ) -> None:
        """Let count what a transaction did: rows (id, meter) that are gone or back, dead letters that are in the file.

        A row that is gone while a sink has it in hand may still be delivered: then it was not evicted.
        """
        with self.lock:
            self._evicted = max(self._evicted, *(entry for entry, _ in evicted), 0)
            for sink, cursor in self.by_sink.items():
                cursor.evict(evicted)
                cursor.take_back(adopted, unknown)
                given = self._given.get(sink, {})
                gone = (entry for entry, _ in evicted if entry in given and entry > cursor.position)
                self._gone.setdefault(sink, set()).update(gone)
                self._gone[sink].difference_update(entry for entry, _ in adopted)
            self.recent.extend(letters)
            for letter in letters:
                if self.waiting and self.waiting[0] is letter:
                    self.waiting.popleft()

    def learn(self, found: "Cursors", evicted: Mapping[str, int]) -> None:
        """Take up cursors that could not be read before now; what is new begins behind what gave way until now."""
        with self.lock:
            new = self.by_sink.keys() - found.by_sink.keys()
            self.by_sink = found.by_sink
            self.newest, self.ceiling = found.newest, found.ceiling
            for sink in new:
                self.begin(sink, evicted)

    def forsake(self, stored: Mapping[str, int]) -> None:
        """Count everything that is pending as evicted: the file that had it is damaged."""
        with self.lock:
            self.generation += 1
            for sink, cursor in self.by_sink.items():
                cursor.forsake(stored)
                self._gone.setdefault(sink, set()).update(self._given.get(sink, {}))


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


def _put_right(
    sink: str, rows: Mapping[int, Given], delivered: Mapping[str, int], letters: Iterable[DeadLetter]
) -> tuple[Counter[str], list[DeadLetter]]:
    """Account for every row once, whatever was told."""
    reasons = {letter.entry: letter.reason for letter in letters}
    left, counted, dead = Counter(dict(delivered)), Counter[str](), []
    for entry, row in sorted(rows.items()):
        if entry not in reasons and left[row.meter] > 0:
            left[row.meter] -= 1
            counted[row.meter] += 1
        else:
            dead.append(DeadLetter(sink, entry, row.meter, row.t, reasons.get(entry, MISCOUNTED)))
    return counted, dead
