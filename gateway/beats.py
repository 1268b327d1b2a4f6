"""Signs of life of the long-lived tasks and threads: systemd's watchdog is fed only while none of them is late.

A part says `alive()` each time it comes round, and before a longer wait for how long it will be silent. It is late when
it was silent for LIMIT_S beyond that. A part is watched from its first sign of life on, until it is dropped.

Time is that in which the daemon looked: when the whole process stood still, by a suspended machine or a slow disk of
swap, no part is blamed for it. A loop that does not turn looks at nothing, and then systemd is told nothing.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar

#: how long a part may be silent (s): with the stop of what hangs and the start after it, less than 35 s
LIMIT_S = 20.0
#: time that passes between two looks at most, for the parts that are looked at (s)
STEP_S = 2.0


class Beat:
    """The sign of life of one part; called by the part itself, in whatever thread."""

    __slots__ = ("_beats", "at", "due", "limit_s", "name")

    def __init__(self, beats: "Beats", name: str, limit_s: float) -> None:
        self._beats = beats
        self.name = name
        self.limit_s = limit_s
        #: the last sign of life, and when the next one must have come, on the clock of `Beats`; None before the first
        self.at: float | None = None
        self.due = 0.0

    def __call__(self, rest_s: float = 0.0) -> None:
        """Live; and be silent for `rest_s` from now on, as well as for the limit."""
        self.at = now = self._beats.clock
        self.due = now + rest_s + self.limit_s


class Beats:
    """All parts that are watched."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.clock = 0.0
        self._monotonic = monotonic
        self._looked: float | None = None
        self._parts: dict[str, Beat] = {}

    def part(self, name: str, limit_s: float | None = None) -> Beat:
        """Make the beat of a part, in place of an earlier one of that name; None: LIMIT_S."""
        self._parts[name] = beat = Beat(self, name, LIMIT_S if limit_s is None else limit_s)
        return beat

    def drop(self, beat: Beat) -> None:
        """Watch a part no more, unless another one has its name by now."""
        if self._parts.get(beat.name) is beat:
            del self._parts[beat.name]

    def look(self) -> list[str]:
        """Let time pass, and name the parts that are late; to be called every STEP_S at least."""
        now = self._monotonic()
        if self._looked is not None:
            self.clock += min(STEP_S, now - self._looked)
        self._looked = now
        return self.late

    @property
    def late(self) -> list[str]:
        """The parts that were late at the last look."""
        return [name for name, beat in self._parts.items() if beat.at is not None and beat.due < self.clock]

    def silent_s(self, name: str) -> float:
        """How long a part has been silent (s)."""
        at = self._parts[name].at
        return 0.0 if at is None else round(self.clock - at, 1)

    def as_dict(self) -> dict[str, list[str]]:
        """Show which parts are watched, and which of them are late, as in `meterd status --json`."""
        return {"watched": [name for name, beat in self._parts.items() if beat.at is not None], "late": self.late}


_mine: ContextVar[Beat | None] = ContextVar("beat", default=None)


def live_as(beat: Beat) -> None:
    """Let this task, and the tasks that it starts, live as that part."""
    _mine.set(beat)


def alive(rest_s: float = 0.0) -> None:
    """Tell that the part to which this task belongs comes round, and will be silent for `rest_s` at most."""
    beat = _mine.get()
    if beat is not None:
        beat(rest_s)
