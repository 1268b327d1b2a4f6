"""The queue between the loop's thread and the writer's: groups of packed readings, bounded in octets.

Nothing in it waits for the medium; its lock is held for moments only.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.beats import alive
from gateway.stores.rows import Ref

#: what a packed row costs in RAM beside its octets
ROW_OVERHEAD = 128
#: a writer that waits for a group looks up so often (s)
IDLE_S = 5.0
#: octets of one transaction, unless a single group is larger
TRANSACTION = 512 * 1024


class Packed(NamedTuple):
    """A row on its way into table `record`: meter, time in whole seconds since 1970, `rows.pack` of the reading."""

    meter: str
    t: int
    data: bytes
    #: why it goes to the quarantine instead
    reason: str | None = None

    @property
    def size(self) -> int:
        """Octets of RAM."""
        return len(self.data) + ROW_OVERHEAD


@dataclass(slots=True)
class Group:
    """What one transaction takes: rows, and the counters that were true after the last of them."""

    rows: list[Packed] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    counters: dict[str, tuple[Ref, tuple[int, ...]]] = field(default_factory=dict)
    #: highest sequence number given out per meter when the group was cut
    given: dict[str, int] = field(default_factory=dict)
    #: what goes with the rows, by table of schema.KEPT and meter
    kept: dict[tuple[str, str], bytes] = field(default_factory=dict)
    size: int = 0
    #: a commit of it failed: it may be in the file all the same
    tried: bool = False
    #: it is in the file, and the tallies count it
    done: bool = False

    def extend(self, later: "Group") -> None:
        """Take a later group into the same transaction."""
        self.rows += later.rows
        for meter, n in later.lost.items():
            self.lost[meter] = self.lost.get(meter, 0) + n
        self.counters, self.given, self.kept = later.counters, later.given, later.kept
        self.size += later.size

    def drop(self, octets: int) -> Counter[str]:
        """Drop the oldest rows until `octets` are free or none is left; returns how many by meter."""
        dropped: Counter[str] = Counter()
        n = 0
        while n < len(self.rows) and octets > 0:
            octets -= self.rows[n].size
            self.size -= self.rows[n].size
            dropped[self.rows[n].meter] += 1
            n += 1
        del self.rows[:n]
        for meter, count in dropped.items():
            self.lost[meter] = self.lost.get(meter, 0) + count
        return dropped


class GroupQueue:
    """The open group and those that wait for the writer."""

    def __init__(self, limit: int) -> None:
        """`limit`: octets of RAM; beyond it the oldest rows are dropped and counted in `lost`."""
        self.limit = limit
        self.lost: Counter[str] = Counter()
        self.octets = 0
        self._open = Group()
        self._closed: deque[Group] = deque()
        self._in_flight: Group | None = None
        self._stopped = False
        self._changed = threading.Condition()

    def add(self, row: Packed) -> int:
        """Put a row into the open group, at once; returns the octets of that group."""
        with self._changed:
            self._open.rows.append(row)
            self._open.size += row.size
            self.octets += row.size
            if self.octets > self.limit:
                self._drop_oldest(self.octets - self.limit * 3 // 4)
            return self._open.size

    def cut(
        self,
        counters: dict[str, tuple[Ref, tuple[int, ...]]],
        given: dict[str, int],
        kept: dict[tuple[str, str], bytes],
        *,
        news: bool,
    ) -> None:
        """Close the open group; one without rows only when there is `news` in the rest."""
        with self._changed:
            if not (self._open.rows or self._open.lost or news):
                return
            self._open.counters, self._open.given, self._open.kept = counters, given, kept
            self._closed.append(self._open)
            self._open = Group()
            self._changed.notify_all()

    def take(self, *, wait: bool) -> Group | None:
        """Take the oldest group, merged with those behind it; None when there is none, or `stop` was called.

        A group whose commit failed stays what it was: it may be in the file.
        """
        with self._changed:
            while wait and not self._closed and not self._stopped:
                alive()
                self._changed.wait(IDLE_S)
            if not self._closed:
                return None
            group = self._closed.popleft()
            while self._closed and not group.tried and group.size + self._closed[0].size < TRANSACTION:
                group.extend(self._closed.popleft())
            self.octets -= group.size
            self._in_flight = group
            return group

    def settle(self, group: Group, *, committed: bool) -> None:
        """Say what became of a group that was taken; one that was not committed is the oldest again."""
        with self._changed:
            self._in_flight = None
            if not committed:
                group.tried = True
                self._closed.appendleft(group)
                self.octets += group.size
            self._changed.notify_all()

    def drained(self, timeout_s: float) -> bool:
        """Wait until every closed group is committed; False when that did not happen in time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._closed or self._in_flight:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return False
        return True

    def stop(self) -> None:
        """Let `take` wait no more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def add_lost(self, lost: Mapping[str, int]) -> None:
        """Count readings that were lost before this start, and were not known of."""
        with self._changed:
            self.lost.update(lost)

    def held(self) -> Counter[str]:
        """Count by meter the rows that are not in the file; exact under the lock of the cursors."""
        with self._changed:
            groups = [self._open, *self._closed, *([self._in_flight] if self._in_flight else [])]
            return Counter(row.meter for group in groups if not group.done for row in group.rows)

    @property
    def rows(self) -> int:
        """Count the rows that wait."""
        with self._changed:
            return len(self._open.rows) + sum(len(group.rows) for group in self._closed)

    def _drop_oldest(self, octets: int) -> None:
        for group in (*self._closed, self._open):
            if octets > 0 and not group.tried:
                before = group.size
                self.lost += group.drop(octets)
                octets -= before - group.size
                self.octets -= before - group.size
