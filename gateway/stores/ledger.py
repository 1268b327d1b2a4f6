"""The ledger in the daemon: the metrology log and the copies of the receive counters, written by a thread of its own.

The loop's thread puts a note into a bounded queue (`note`); nothing there waits. The ledger's thread commits what is
queued, each transaction durable before it counts as written. While the file cannot be written the daemon goes on
reading; `status` says so, and what the queue could not hold is counted and noted itself, once that is possible.
"""

import math
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.beats import Beat, alive, live_as
from gateway.item_p import utc
from gateway.stores.files import Damaged, StorageFault
from gateway.stores.ledger_file import LedgerFile
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_rows import Fact, Note
from gateway.stores.ledger_salvage import open_ledger
from gateway.telemetry import METROLOGY

__all__ = ["Ledger", "LedgerError"]

#: notes that wait for a file that cannot be written
MAX_QUEUED = 1_000
#: notes in one transaction
BATCH = 100
#: notes of one event of one meter: so many at once, then one in so many seconds; a meter that flaps fills no file
BURST, REFILL_S = 20, 300.0
#: pauses after a fault (s)
RETRY_S = (1, 2, 5, 10, 30, 60)
NOTICES = 8
#: a thread that waits for work looks up so often (s)
IDLE_S = 5.0
#: a transaction that takes longer (s) is a medium that does not answer
SILENT_S = 20.0
CLOSE_S = 2.0


class Ledger:
    """A ledger file with its thread. Every method belongs to one thread, that of the event loop."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, beat: Beat | None = None) -> None:
        """`beat` gets the signs of life of the thread."""
        self.path = path
        self._clock = clock
        self._beat = beat
        self._file: LedgerFile | None = None
        self._trouble: str | None = None
        self._notices: deque[str] = deque(maxlen=NOTICES)
        self._checked = False
        self._committed_at: datetime | None = None
        #: position of the last entry of the metrology log that this process wrote
        self._written = 0
        self._copies: dict[str, bytes] = {}
        # What both threads touch, under the lock.
        self._wake = threading.Condition()
        self._queue: deque[Note] = deque()
        self._to_copy: dict[str, bytes] = {}
        self._busy = False
        #: since when the thread is at work (clock, s)
        self._since = 0.0
        self._lost: Counter[str] = Counter()
        self._stopping = False
        self._buckets: dict[tuple[str, str | None], tuple[float, float, int]] = {}
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Open or create the file and start the thread. Raises LedgerError.

        A damaged file is replaced; a medium that takes nothing now is a fault in `status`, and tried again.
        """
        try:
            self._open()
        except (StorageFault, Damaged) as fault:
            self._trouble = str(fault)
        self._thread.start()

    def note(
        self, event: str, meter: str | None, at: datetime | None = None, facts: Mapping[str, Fact] | None = None
    ) -> None:
        """Put an entry into the metrology log: an event of METROLOGY, at an instant (now), at once.

        KeyError for another event: it is a programming error.
        """
        METROLOGY[event]
        left_out = self._passes(event, meter)
        if left_out is None:
            return
        told = {**(facts or {}), **({"left_out": left_out} if left_out else {})}
        with self._wake:
            if len(self._queue) >= MAX_QUEUED:
                self._lost[event] += 1
                return
            self._queue.append(Note(event, meter, at or datetime.now(UTC), told))
            self._wake.notify()

    def copy_counters(self, saved: Mapping[str, bytes]) -> None:
        """Keep what admitted the last telegrams of each meter, where it changed."""
        news = {meter: data for meter, data in saved.items() if self._copies.get(meter) != data}
        self._copies |= news
        with self._wake:
            self._to_copy |= news
            self._wake.notify()

    def counters(self, meter: str) -> bytes | None:
        """What admitted the last telegrams of a meter when they were copied; None when they never were."""
        return self._copies.get(meter)

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: `trouble` is a sentence while the medium fails, `notices` what happened."""
        trouble = self._trouble or self._silence()
        return {
            "path": str(self.path),
            "state": "fault" if trouble else "ok" if self._checked else "checking",
            "trouble": trouble,
            "notices": list(self._notices),
            "entries": self._written,
            "queued": len(self._queue),
            "lost": self._lost.total(),
            "last_commit": utc(self._committed_at, "milliseconds"),
        }

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Wait until everything is on the disk; False when that did not happen in time."""
        with self._wake:
            return self._wake.wait_for(lambda: not (self._queue or self._to_copy or self._busy), timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write what is queued and end; False when entries were left behind, because the medium took too long."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        file = self._file
        if file is not None and not self._checked:
            with suppress(sqlite3.ProgrammingError):  # closed in the meantime
                file.db.interrupt()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._queue

    def _silence(self) -> str | None:
        """Say that the medium takes long; the check of a large file may."""
        if not self._busy or not self._checked or self._clock() - self._since < SILENT_S:
            return None
        return f"ledger {self.path}: the medium has not answered for more than {SILENT_S:.0f} s"

    def _passes(self, event: str, meter: str | None) -> int | None:
        """Whether an event may be noted: how many like it were left out before, or None."""
        now = self._clock()
        tokens, then, left_out = self._buckets.get((event, meter), (float(BURST), now, 0))
        tokens = min(float(BURST), tokens + (now - then) / REFILL_S)
        passes = tokens >= 1
        self._buckets[event, meter] = (tokens - 1, now, 0) if passes else (tokens, now, left_out + 1)
        return left_out if passes else None

    def _open(self, suspect: tuple[int, int] | None = None, damage: str = "") -> LedgerFile:
        file, notice = open_ledger(self.path, suspect, damage)
        if notice is not None:
            self._notices.append(notice)
        self._file, self._checked = file, notice is not None
        self._copies = file.copied_counters() | self._copies
        self._written = file.entries()
        return file

    def _run(self) -> None:
        if self._beat is not None:
            live_as(self._beat)
        failures = 0 if self._trouble is None else 1
        while True:
            ending = self._await_work(failures)
            alive(math.inf)  # the medium has the word, which may hang: no restart cures that
            self._trouble = self._try()
            alive()
            failures = 0 if self._trouble is None else failures + 1
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                if ending and (failures or not self._has_rows()):
                    break
        alive(math.inf)
        self._shut()

    def _await_work(self, failures: int) -> bool:
        """Wait for something to do, after a fault for its pause; whether it is the last, because we are told to end."""
        with self._wake:
            if failures:
                pause_s = RETRY_S[min(failures, len(RETRY_S)) - 1]
                alive(pause_s)
                self._wake.wait_for(self._is_ending, pause_s)
            else:
                alive()
                while not self._wake.wait_for(self._has_work, IDLE_S):
                    alive()
            self._busy, self._since = True, self._clock()
            return self._stopping

    def _has_rows(self) -> bool:
        return bool(self._queue or self._to_copy or self._lost)

    def _has_work(self) -> bool:
        return self._has_rows() or self._stopping or not self._checked

    def _is_ending(self) -> bool:
        return self._stopping

    def _try(self) -> str | None:
        """Write what is queued, opening, replacing and checking the file first where needed; what failed, or None."""
        for _ in range(2):
            try:
                self._work(self._file or self._open())
            except (StorageFault, LedgerError) as fault:
                self._shut()
                return str(fault)
            except Damaged as damage:
                failed = self._start_over(damage)
                if failed is not None:
                    return failed
            else:
                return None
        return f"ledger {self.path}: the new file is damaged, too"

    def _work(self, file: LedgerFile) -> None:
        self._write(file)
        if not self._checked:
            self._examine(file)

    def _write(self, file: LedgerFile) -> None:
        while self._has_rows():
            with self._wake:
                notes = [self._queue[n] for n in range(min(BATCH, len(self._queue)))]
                copies = dict(self._to_copy)
                lost = Counter(self._lost) if len(notes) == len(self._queue) else Counter[str]()
            told = [Note("entries_lost", None, datetime.now(UTC), dict(lost))] if lost else []
            if copies:
                file.copy_counters(copies)
            if notes or told:
                self._written = file.note([*notes, *told])
            self._committed_at = datetime.now(UTC)
            with self._wake:
                for _ in notes:
                    self._queue.popleft()
                self._to_copy = {meter: data for meter, data in self._to_copy.items() if copies.get(meter) != data}
                self._lost -= lost

    def _examine(self, file: LedgerFile) -> None:
        """Check the file and the chain of the metrology log; an order to stop ends that early."""
        try:
            file.check()
            broken = file.first_break()
        except StorageFault:
            if not self._stopping:
                raise
            return
        if broken is not None:
            self._notices.append(f"{self.path}: the metrology log is not what was written: {broken.reason}")
        self._checked = True

    def _start_over(self, damage: Damaged) -> str | None:
        suspect = None if self._file is None else self._file.identity
        self._shut()
        try:
            self._open(suspect, str(damage))
        except (StorageFault, LedgerError, Damaged) as fault:
            return str(fault)
        return None

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
