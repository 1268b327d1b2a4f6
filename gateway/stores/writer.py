"""The thread that writes the journal: opens the file, checks it, commits groups, starts over where it must.

open -> check, salvage, shrink -> [ wait for a group -> commit -> fault? pause, open again ] -> release, close

It tells that it lives wherever it waits for the daemon. While the medium has the word it may be silent for ever: a
restart does not cure a disk that hangs, and would end the reading, which goes on without it. `busy_s` says so instead.
"""

import math
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.beats import Beat, alive, live_as
from gateway.stores.database import Database
from gateway.stores.files import set_aside, set_aside_before
from gateway.stores.groups import Group, GroupQueue
from gateway.stores.place import accessible, lock
from gateway.stores.salvage import Salvage
from gateway.stores.schema import Damaged, JournalError, StorageFault
from gateway.stores.state import State, salvage_state

#: pauses after a fault (s)
RETRY_S = (1, 2, 5, 10, 30, 60)
NOTICES = 8
#: a file that was checked is not doubted for so long (s)
DOUBT_S = 600.0


class Writer:
    """The file and its thread. `open` and `reserve` run before the thread, everything with `_` in it."""

    def __init__(
        self, path: Path, queue: GroupQueue, *, max_bytes: int, max_age_s: int, beat: Beat | None = None
    ) -> None:
        """`beat` gets the signs of life of the thread."""
        self.path = path
        self._beat = beat
        self._asked: float | None = None
        self.state = State()
        #: highest sequence number of each meter, shared with the loop's thread, which alone changes it
        self.given: dict[str, int] = {}
        self.trouble: str | None = None
        self.notices: deque[str] = deque(maxlen=NOTICES)
        self.committed_at: datetime | None = None
        self.checked = False
        self._queue = queue
        self._limits = {"max_bytes": max_bytes, "max_age_s": max_age_s}
        self._stopping = threading.Event()
        self._database: Database | None = None
        self._lock: int | None = None
        #: a file that was set aside, and is not named in the new one yet
        self._aside: Path | None = None
        self._salvages: dict[str, Salvage] = {}
        self._examined = -math.inf
        self._doubted = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def open(self) -> None:
        """Open or create the file and read its state; raises JournalError where a person must act.

        A damaged file is set aside. A medium that takes nothing now is a `trouble`, and the thread tries again.
        """
        try:
            self._lock = lock(self.path)
            accessible(self.path)
            self._open_first()
        except (StorageFault, Damaged) as fault:
            self.trouble = str(fault)
            self.state = self.state if self._aside else salvage_state(self.path)
        except BaseException:
            self._unlock()
            raise

    def start(self, given: dict[str, int]) -> None:
        """Reserve numbers before the first is asked for, and start the thread."""
        self.given = given
        if self._database is not None:
            try:
                self._settle_in(self._database)
            except (StorageFault, Damaged) as fault:
                self.trouble = str(fault)
                self._shut()
        self._thread.start()

    def doubt(self) -> None:
        """Check the whole file again before the next commit: somebody read from it what was never written."""
        if time.monotonic() - self._examined >= DOUBT_S:
            self._doubted = True

    @property
    def busy_s(self) -> float:
        """For how long the medium has had the word (s); 0 when it has not."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked

    @property
    def stopped(self) -> bool:
        """Whether the thread was told to end."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Tell the thread to commit what is queued and to end; a check of the whole file can wait, readings cannot."""
        self._stopping.set()
        database = self._database
        if not self.checked and database is not None:
            with suppress(sqlite3.ProgrammingError):  # closed in the meantime
                database.db.interrupt()
        self._queue.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; False when it is not over in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _open_first(self) -> None:
        """Open at the start, where everything is read; a file that does not open is set aside."""
        try:
            self._database = Database(self.path, **self._limits)
            before = [] if self._database.begun else set_aside_before(self.path)
            if before:  # the process ended before it began the new file
                self._aside, self.state = before[-1], salvage_state(before[-1])
            else:
                self.state = self._database.state()
        except Damaged as damage:
            self._shut()
            self.state = salvage_state(self.path)
            self._set_aside(damage)
            self._database = Database(self.path, **self._limits)

    def _run(self) -> None:
        if self._beat is not None:
            live_as(self._beat)
        self.trouble = self._try(None)
        failures = 0 if self.trouble is None else 1
        while True:
            if failures:
                pause_s = RETRY_S[min(failures, len(RETRY_S)) - 1]
                alive(pause_s)
                self._stopping.wait(pause_s)
            group = self._queue.take(wait=not failures)
            if group is None and self.stopped:
                break
            self.trouble = self._try(group)
            failures = 0 if self.trouble is None else failures + 1
            if group is not None:
                self._queue.settle(group, committed=self.trouble is None)
            if failures and self.stopped:
                break
        self._end()

    def _try(self, group: Group | None) -> str | None:
        """Let the medium have the word."""
        self._asked = time.monotonic()
        alive(math.inf)
        try:
            return self._tried(group)
        finally:
            self._asked = None
            alive()

    def _tried(self, group: Group | None) -> str | None:
        """Commit a group, opening and checking the file first where needed; what failed as a sentence, or None.

        A file that turns out to be damaged is replaced, and the group goes into the new one at once.
        """
        for _ in range(2):
            try:
                self._commit(self._ready(), group)
            except (StorageFault, JournalError) as fault:
                self._shut()
                return str(fault)
            except Damaged as damage:
                self._shut()
                try:
                    self._set_aside(damage)
                except StorageFault as fault:
                    return str(fault)
            else:
                return None
        return f"journal {self.path}: the new file is damaged, too"

    def _commit(self, database: Database, group: Group | None) -> None:
        if group is not None:
            self.state.reserved |= database.commit(group, self.state)
            self.committed_at = datetime.now(UTC)

    def _ready(self) -> Database:
        """Open the file again after a fault; check it, and carry over what was salvaged, before the first commit."""
        if self._doubted:
            self._doubted = self.checked = False
            self._shut()  # the pages that it has in memory may be sound where those of the file are not
        if self._database is None:
            self._lock = self._lock if self._lock is not None else lock(self.path)
            self._database = Database(self.path, **self._limits)
            self._settle_in(self._database)
        if not self.checked:
            self._examine(self._database)
        return self._database

    def _examine(self, database: Database) -> None:
        """Check the file, salvage what was set aside, keep the quota; an order to stop ends each of them early."""
        try:
            steps: tuple[Callable[[], None], ...] = (
                database.check,
                self._salvage,
                lambda: database.recount(self.state),
                lambda: database.shrink(self.state),
            )
            for step in steps:
                if not self.stopped:
                    step()
        except StorageFault:
            if not self.stopped:
                raise
        self.checked, self._examined = True, time.monotonic()

    def _settle_in(self, database: Database) -> None:
        """Begin a new file, or learn from one that could not be read before; numbers are reserved."""
        if not database.begun:
            self.state.reserved |= database.replace(self.given, self.state, self._aside.name if self._aside else None)
            self._aside = None
            return
        database.resolve(self.state)
        if not self.state.known:
            found = database.state()
            self._queue.add_lost({meter: tally.lost for meter, tally in found.tallies.items()})
            self.state.learn(found)
        self.state.reserved |= database.commit(Group(given=dict(self.given)), self.state)

    def _salvage(self) -> None:
        """Copy what can be read of files that were set aside, the newest first."""
        for name in reversed(list(self.state.salvages)):
            if self._database is None or self.stopped:
                return
            salvage = self._salvages.setdefault(name, Salvage(self.path.with_name(name)))
            salvage.run(self._database, self.state, self._stopping.is_set)
            cut_short = ", the rest follows at the next start" if self.stopped else ""
            self.notices.append(f"{salvage.copied} readings were salvaged from {salvage.aside}{cut_short}")

    def _set_aside(self, damage: Damaged) -> None:
        """Set the file aside; a new one takes its place. Raises StorageFault."""
        try:
            aside = set_aside(self.path)
        except OSError as error:
            raise StorageFault(f"journal {self.path}: {error.strerror}") from error
        # One that is damaged before it took over from the last holds nothing.
        self._aside = self._aside or aside
        self.checked = False
        self.notices.append(f"the journal was damaged ({damage}): it was set aside as {aside}, and a new one begun")

    def _shut(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _end(self) -> None:
        if self._database is not None:
            try:
                self._database.release(self.given)
            except (StorageFault, Damaged) as fault:
                self.trouble = str(fault)
        self._shut()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
