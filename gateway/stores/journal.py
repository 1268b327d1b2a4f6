"""The journal: every reading of every meter, committed in groups by a thread of its own.

The loop's thread packs a reading and puts it into the open group (`append`); nothing there waits. At the end of a
group `cut` closes it together with the counters of that moment, so that the counters in the file are those that
admitted exactly the readings in the file. The writer's thread commits closed groups, one transaction each.

    opened -> checked (salvaged) -> [ wait for a group -> commit -> fault? reopen after a pause ] -> closed

What a power cut or kill -9 takes is the open group, and what is not committed yet; a medium that fails for longer
takes the oldest readings of a bounded queue, counted as `journal_lost`. Sequence numbers are reserved ahead of use.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.item_p import ItemP, utc
from gateway.stores.database import Database, Group, Packed
from gateway.stores.place import accessible, lock
from gateway.stores.rows import EPOCH, Interner, Ref, pack
from gateway.stores.salvage import salvage, set_aside
from gateway.stores.schema import Damaged, JournalError, StorageFault
from gateway.stores.state import TALLIES, State, after_damage, encode_names, salvage_state

__all__ = ["Journal", "JournalError"]

#: octets of RAM for readings that cannot be committed: per meter (ten minutes at one reading per second), and at least
RAM_PER_METER = 256 * 1024
RAM_LEAST = 4 * 1024 * 1024
#: what a packed row costs in RAM beside its octets
ROW_OVERHEAD = 128
#: octets of one transaction, unless a single group is larger
TRANSACTION = 512 * 1024
RETRY_S = (1, 2, 5, 10, 30, 60)
CLOSE_S = 3.0
NOTICES = 8

NONE: Mapping[str, int] = {}

SaveCounters = Callable[[], Mapping[str, Mapping[str, int]]]


class Journal:
    """A journal file and the thread that writes it. All methods but those of the thread belong to one loop's thread."""

    def __init__(  # noqa: PLR0913 - limits by name
        self,
        path: Path,
        *,
        max_bytes: int,
        max_age_s: int,
        group_s: float,
        meters: Sequence[str] = (),
        save_counters: SaveCounters = dict,
    ) -> None:
        """`meters` names every meter that will ask for sequence numbers; `save_counters` gives counters by meter."""
        self.path = path
        self._limits = {"max_bytes": max_bytes, "max_age_s": max_age_s}
        self._group_s = group_s
        self._meters = tuple(meters)
        self._save_counters = save_counters
        self._ram = max(RAM_LEAST, RAM_PER_METER * len(self._meters))
        self._state = State()
        self._interner = Interner({}, 1)
        self._given: dict[str, int] = {}
        self._lost: Counter[str] = Counter()
        self._open = Group()
        self._closed: deque[Group] = deque()
        self._queued = 0
        self._in_flight = 0
        self._cut_counters: dict[str, tuple[Ref, tuple[int, ...]]] = {}
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._database: Database | None = None
        self._lock: int | None = None
        self._thread: threading.Thread | None = None
        self._timer: asyncio.Handle | None = None
        self._checked = False
        self._trouble: str | None = None
        self._notices: deque[str] = deque(maxlen=NOTICES)
        self._aside: list[Path] = []
        self._committed_at: datetime | None = None

    # --- the loop's thread

    def start(self) -> None:
        """Open or create the file, reserve sequence numbers, start the writer. Raises JournalError.

        A damaged file is set aside; a medium that takes nothing now is a fault in `status`, and tried again. Within a
        running event loop groups are cut by it every `group_s`; elsewhere the caller calls `cut`.
        """
        try:
            self._lock = lock(self.path)
            accessible(self.path)
            self._open_first()
        except StorageFault as fault:
            self._trouble = str(fault)
            self._state = self._state if self._aside else salvage_state(self.path)
        except BaseException:
            self._unlock()
            raise
        self._interner = Interner(self._state.layouts, self._state.next_layout)
        self._state.layouts = self._interner.layouts
        self._given = dict(self._state.reserved) | {
            meter: self._state.reserved.get(meter, 0 if self._state.complete else after_damage(0))
            for meter in self._meters
        }
        self._lost = Counter({meter: tally.lost for meter, tally in self._state.tallies.items()})
        self._reserve_first()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()
        self._arm()

    def append(self, item: ItemP) -> bool:
        """Take a reading, at once; False, and counted as lost, when the journal does not run."""
        if self._thread is None or self._stopping.is_set():
            self._lost[item.meter] += 1
            return False
        moment = item.t or item.t_rx
        t = 0 if moment is None else int((moment - EPOCH).total_seconds())
        row = Packed(item.meter, t, pack(item, self._interner))
        size = len(row.data) + ROW_OVERHEAD
        with self._wake:
            self._open.rows.append(row)
            self._open.size += size
            self._queued += size
            if self._queued > self._ram:
                self._drop_oldest()
        if self._open.size > self._ram // 4 and self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_soon(self._tick)
        return True

    def cut(self) -> None:
        """Close the open group with the counters of this moment, and hand it to the writer.

        To be called where the counters have counted exactly the readings that were appended.
        """
        if self._stopping.is_set():
            return
        counters = self._counters_now()
        with self._wake:
            if not self._open.rows and not self._open.lost and counters == self._cut_counters:
                return
            self._open.counters = self._cut_counters = counters
            self._open.given = dict(self._given)
            self._closed.append(self._open)
            self._open = Group()
            self._wake.notify()

    def next_seq(self, meter: str) -> int:
        """Give the next sequence number of a meter: above all before it, those before a kill -9 included.

        Numbers beyond what the medium let us reserve come from the wall clock: ahead of every count, never used twice.
        """
        seq = self._given.get(meter, 0) + 1
        if seq > self._state.reserved.get(meter, 0):
            seq = after_damage(seq)
        self._given[meter] = seq
        return seq

    def counters(self, meter: str) -> dict[str, int]:
        """The counters of a meter as they were committed with its last readings; empty for a new meter."""
        return dict(self._state.counters.get(meter, {}))

    @property
    def salt(self) -> bytes:
        """Key of the pseudonyms of this journal (gateway.pseudonym), 16 octets."""
        return self._state.salt

    def stored(self, meter: str) -> int:
        """Count the readings of a meter that were committed, in this run and before."""
        return self._state.tally(meter).stored

    def lost(self, meter: str) -> int:
        """Count the readings of a meter that were appended and could not be kept."""
        return self._lost[meter]

    def evicted(self, meter: str) -> int:
        """Count the readings of a meter that gave way to newer ones, by quota or age."""
        return self._state.tally(meter).evicted

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: `trouble` is a sentence while the medium fails, `notices` what happened."""
        tallies = list(self._state.tallies.values())
        return {
            "path": str(self.path),
            "state": "fault" if self._trouble else "ok" if self._checked else "checking",
            "trouble": self._trouble,
            "notices": list(self._notices),
            "stored": sum(tally.stored for tally in tallies),
            "lost": self._lost.total(),
            "evicted": sum(tally.evicted for tally in tallies),
            "queued": len(self._open.rows) + sum(len(group.rows) for group in list(self._closed)),
            "queued_bytes": self._queued,
            "bytes": _size(self.path),
            "wal_bytes": _size(Path(f"{self.path}-wal")),
            "max_bytes": self._limits["max_bytes"],
            "last_commit": utc(self._committed_at, "milliseconds"),
        }

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Cut, and wait until everything is committed; False when that did not happen in time."""
        self.cut()
        deadline = time.monotonic() + timeout_s
        with self._wake:
            while self._closed or self._in_flight:
                if self._thread is None or not self._wake.wait(max(0.0, deadline - time.monotonic())):
                    return False
        return True

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Commit what is queued and end; False when readings were left behind, because the medium took too long."""
        if self._thread is None:
            return True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.cut()
        self._stopping.set()
        self._interrupt_check()
        with self._wake:
            self._wake.notify_all()
        self._thread.join(timeout_s)
        done = not self._thread.is_alive() and not self._closed
        self._thread = None
        return done

    def _open_first(self) -> None:
        """Open at the start, where everything is read; a file that does not open is set aside."""
        try:
            self._database = Database(self.path, **self._limits)
            self._state = self._database.state()
        except Damaged as damage:
            self._state = salvage_state(self.path)
            self._replace(damage)

    def _reserve_first(self) -> None:
        """Reserve numbers before the first is asked for."""
        if self._database is None:
            return
        try:
            self._state.reserved |= self._database.commit(Group(given=dict(self._given)), self._state)
        except (StorageFault, Damaged) as fault:
            self._trouble = str(fault)
            self._database.close()
            self._database = None

    def _arm(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._timer = loop.call_later(self._group_s, self._tick)

    def _tick(self) -> None:
        self.cut()
        if not self._stopping.is_set():
            self._arm()

    def _counters_now(self) -> dict[str, tuple[Ref, tuple[int, ...]]]:
        """The counters of every meter, but for the tallies, which are the journal's own."""
        result: dict[str, tuple[Ref, tuple[int, ...]]] = {}
        # A meter that is not configured any more keeps what it had.
        kept = {meter: self._state.counters.get(meter, NONE) for meter in self._given}
        for meter, values in (kept | dict(self._save_counters())).items():
            names = tuple(name for name in values if name not in TALLIES)
            ref = self._interner.ref(meter, "counters", encode_names(names))
            result[meter] = (ref, tuple(values[name] for name in names))
        return result

    def _drop_oldest(self) -> None:
        """Drop the oldest quarter of the queue at once; each group keeps account of what it lost.

        A group whose commit failed is passed over: its rows may be in the file.
        """
        for group in (*self._closed, self._open):
            kept = 0
            while not group.tried and kept < len(group.rows) and self._queued > self._ram * 3 // 4:
                row = group.rows[kept]
                size = len(row.data) + ROW_OVERHEAD
                self._queued -= size
                group.size -= size
                group.lost[row.meter] = group.lost.get(row.meter, 0) + 1
                self._lost[row.meter] += 1
                kept += 1
            del group.rows[:kept]

    def _interrupt_check(self) -> None:
        """End a check of the whole file: at the end of the day it can wait, readings cannot."""
        database = self._database
        if not self._checked and database is not None:
            try:
                database.db.interrupt()
            except sqlite3.ProgrammingError:
                return  # closed in the meantime

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- the writer's thread

    def _write(self) -> None:
        failures = 0
        while (group := self._next(failures)) is not None:
            fault = self._try(group)
            failures = 0 if fault is None else failures + 1
            self._settle(group, fault)
            if fault is not None and self._stopping.is_set():
                break
        self._end()

    def _next(self, failures: int) -> Group | None:
        """Wait for work: a group, merged with those behind it; None at the end. After a failure, wait first."""
        if failures:
            self._stopping.wait(RETRY_S[min(failures, len(RETRY_S)) - 1])
        elif not self._checked:
            return Group()
        with self._wake:
            while not self._closed and not self._stopping.is_set():
                if failures:
                    return Group()
                self._wake.wait()
            if not self._closed:
                return None
            group = self._closed.popleft()
            while self._closed and not group.tried and group.size + self._closed[0].size < TRANSACTION:
                group.extend(self._closed.popleft())
            self._queued -= group.size
            self._in_flight = 1
            return group

    def _try(self, group: Group) -> str | None:
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
                failed = self._start_over(damage)
                if failed is not None:
                    return failed
            else:
                return None
        return f"journal {self.path}: the new file is damaged, too"

    def _commit(self, database: Database, group: Group) -> None:
        if group.counters or group.rows:
            self._state.reserved |= database.commit(group, self._state)
            self._committed_at = datetime.now(UTC)

    def _settle(self, group: Group, fault: str | None) -> None:
        """Say how it went; what was not committed goes back to the head of the queue."""
        with self._wake:
            self._trouble = fault
            self._in_flight = 0
            if fault is not None and (group.rows or group.counters):
                group.tried = True
                self._closed.appendleft(group)
                self._queued += group.size
            self._wake.notify_all()

    def _ready(self) -> Database:
        """Open the file again after a fault; check it, and carry over what was salvaged, before the first commit."""
        if self._database is None:
            if self._lock is None:
                self._lock = _locked(self.path)
            self._database = Database(self.path, **self._limits)
        if not self._checked:
            self._examine(self._database)
        return self._database

    def _examine(self, database: Database) -> None:
        """Check the file, salvage what was set aside, keep the quota; an order to stop ends each of them early."""
        try:
            for step in (database.check, self._salvage, lambda: database.shrink(self._state)):
                if not self._stopping.is_set():
                    step()
        except StorageFault:
            if not self._stopping.is_set():
                raise
        self._checked = True

    def _salvage(self) -> None:
        while self._aside and self._database is not None:
            copied = salvage(self._aside[-1], self._database, self._state, self._stopping.is_set)
            cut_short = ", and the rest left there by the order to stop" if self._stopping.is_set() else ""
            self._notices.append(f"{copied} readings were salvaged from {self._aside.pop()}{cut_short}")

    def _start_over(self, damage: Damaged) -> str | None:
        """Replace a file that turned out to be damaged; a sentence when that failed."""
        self._shut()
        try:
            self._replace(damage)
        except (StorageFault, JournalError) as fault:
            return str(fault)
        return None

    def _replace(self, damage: Damaged) -> None:
        """Set the file aside and create a new one; raises StorageFault."""
        try:
            aside = set_aside(self.path)
        except OSError as error:
            raise StorageFault(f"journal {self.path}: {error.strerror}") from error
        self._aside.append(aside)
        self._checked = False
        self._notices.append(f"the journal was damaged ({damage}): it was set aside as {aside}, and a new one begun")
        try:
            self._database = Database(self.path, **self._limits)
            self._state.reserved |= self._database.commit(Group(given=dict(self._given)), self._state)
        except Damaged as again:
            raise StorageFault(f"journal {self.path}: a new file is damaged at once ({again})") from again

    def _shut(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _end(self) -> None:
        if self._database is not None:
            try:
                self._database.release(self._given)
            except (StorageFault, Damaged) as fault:
                self._trouble = str(fault)
        self._shut()
        self._unlock()


def _locked(path: Path) -> int:
    try:
        return lock(path)
    except JournalError as error:
        raise StorageFault(str(error)) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
