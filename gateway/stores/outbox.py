"""What a sink sees of the journal: every committed reading after its cursor, in order, until it is settled.

page -> deliver -> settle: a reading is settled only when its consumer has confirmed it. The cursor goes into the file
with the next group: after a kill -9 or a power cut what was settled since the last one is handed out again, and nothing
is left out.
"""

import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from gateway.item_p import ItemP, utc
from gateway.stores.cursors import DeadLetter, Given, letter
from gateway.stores.reader import Layouts
from gateway.stores.rows import EPOCH, Corrupt, unpack, unseal
from gateway.stores.schema import COUNTERS, FAILURES, Damaged, connect_readonly, told
from gateway.stores.state import State, read_meters

#: reason of a dead letter whose row is not what was written
ROW_DAMAGED = "row_damaged"
#: rows that are read in one go on the way to the next good one
SCAN = 500
#: ids that a look ahead passes in one go
SPAN = 5_000
#: how long the end waits for a page that is being read (s)
CLOSE_S = 0.5


class Entry(NamedTuple):
    """A reading in the journal."""

    #: position in the journal: rises with receipt, and is never used for another reading
    id: int
    item: ItemP


class Dead(NamedTuple):
    """A reading that the consumer refuses for good, and why: a line without key and payload, cut at 200 characters."""

    entry: Entry
    reason: str


class Outbox:
    """The journal as one user of a sink's cursor sees it. Thread-safe.

    Once a later user of the same cursor has read, it gives nothing more, and settles nothing.
    """

    def __init__(self, name: str, user: int, path: Path, state: State, doubt: Callable[[], None]) -> None:
        """`user` is the number that `Cursors.begin` gave.

        `doubt` is called when reading shows that the file is damaged: the writer looks at it then.
        """
        self.name = name
        self._user = user
        self.trouble: str | None = None
        self._path = path
        self._state = state
        self._cursors = state.cursors
        self._doubt = doubt
        self._reading = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._generation = -1
        self._closed = False
        self._meters: dict[int, str] = {}
        self._layouts: Layouts | None = None

    def __del__(self) -> None:
        # A connection of SQLite is part of a cycle: its file would stay open until the garbage collector comes by.
        self._shut()

    @property
    def store(self) -> str:
        """This journal's identity, 16 hex digits; it outlives a salvage."""
        return self._state.store.hex()

    @property
    def newest(self) -> int:
        """Id of the newest committed reading; a plain look."""
        return self._cursors.newest

    @property
    def position(self) -> int:
        """Everything up to this id is settled."""
        return self._cursors.by_sink[self.name].position

    def page(self, after: int | None = None, limit: int = 500) -> list[Entry]:
        """Committed readings with id > `after` (None: the position), oldest first; it reads the disk: use a thread.

        Without `after` it begins anew: what the sink had in hand before counts only where it is handed out again.
        Empty where there is none, and while the medium gives nothing (`status` says why): ask again later. A row that
        is not what was written is left out, and becomes a dead letter when the cursor passes it.
        """
        with self._reading:
            try:
                return self._page(after, limit)
            except FAILURES as error:
                self._failed(error)
            except Corrupt as error:
                self._failed(sqlite3.DatabaseError(str(error)))
            return []

    def ahead(self, after: int, without: Collection[str], limit: int) -> tuple[list[Entry], int]:
        """Committed readings with id > `after` of no meter of `without`, oldest first, and up to where it looked.

        They are not handed out: each is in its turn. It reads the disk, SPAN ids at most: use a thread.
        """
        with self._reading:
            try:
                return self._ahead(after, without, limit)
            except FAILURES as error:
                self._failed(error)
            except Corrupt as error:
                self._failed(sqlite3.DatabaseError(str(error)))
            return [], after

    def settle(self, upto: int, *, delivered: Mapping[str, int], dead: Sequence[Dead] = ()) -> None:
        """Move the position to `upto`, at once, from any thread; `delivered` counts by meter, `dead` names the rest.

        Raises ValueError unless both account for exactly the entries that `page` gave up to `upto`: begin anew then.
        """
        letters = [
            letter(self.name, entry.id, entry.item.meter, _seconds(entry.item), reason) for entry, reason in dead
        ]
        self._cursors.settle(self.name, self._user, upto, delivered, letters)

    def close(self) -> None:
        """Give nothing out any more, and close the file: while one reads it, the log is not folded into it."""
        self._closed = True
        self.let_go()

    def let_go(self) -> None:
        """Close the file until the next `page`; by a thread, because one may be reading it still."""
        if self._reading.acquire(timeout=CLOSE_S):
            self._shut()
            self._reading.release()

    def status(self) -> dict[str, Any]:
        """Delivered, pending, evicted and dead letters, in all and by meter; the time of the oldest that is pending."""
        with self._cursors.lock:
            by_meter = standing(self._state, self.name)
            oldest = self._cursors.oldest.get(self.name)
            result: dict[str, Any] = {name: sum(terms[name] for terms in by_meter.values()) for name in TERMS}
        result |= {"position": self.position, "newest": self.newest, "meters": by_meter, "trouble": self.trouble}
        result["dead_letters"] = [shown(one) for one in list(self._cursors.recent) if one.sink == self.name]
        when = None if oldest is None or not result["pending"] else datetime.fromtimestamp(oldest, UTC)
        return result | {"oldest_pending": utc(when, "seconds")}

    def _page(self, after: int | None, limit: int) -> list[Entry]:
        if self._closed or not self._state.known:
            return []
        db = self._open()
        last = self.position if after is None else after
        entries: list[Entry] = []
        given: dict[int, Given] = {}
        upto = self._cursors.limit
        while len(entries) < limit:
            size = min(SCAN, limit - len(entries))
            rows = db.execute(
                "SELECT id, meter, t, data FROM record WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", (last, upto, size)
            ).fetchall()
            for row in rows:
                self._take(row, entries, given)
            if len(rows) < size:
                break
            last = rows[-1][0]
        if not self._cursors.give(self.name, self._user, given, self._generation, afresh=after is None):
            return []
        self._cursors.pass_damaged(self.name, self._user)
        self.trouble = None
        return entries

    def _ahead(self, after: int, without: Collection[str], limit: int) -> tuple[list[Entry], int]:
        if self._closed or not self._state.known:
            return [], after
        db = self._open()
        upto = min(self._cursors.limit, after + SPAN)
        numbers = [number for number, name in self._meters.items() if name in without]
        statement = (
            "SELECT id, meter, t, data FROM record WHERE id > ? AND id <= ? AND meter NOT IN "  # noqa: S608 - marks
            f"({', '.join('?' * (len(numbers) + 1))}) ORDER BY id LIMIT ?"
        )
        rows = db.execute(statement, (after, upto, COUNTERS, *numbers, limit)).fetchall()
        entries: list[Entry] = []
        for row in rows:
            self._take(row, entries, {})
        found = [entry for entry in entries if entry.item.meter not in without]
        return found, rows[-1][0] if len(rows) == limit else max(after, upto)

    def _take(self, row: tuple[int, Any, Any, Any], entries: list[Entry], given: dict[int, Given]) -> None:
        entry, number, t, sealed = row
        meter = self._meters.get(number, "")
        try:
            data = unseal(sealed, meter, t)
        except Corrupt:
            found = self._owner(number, t, sealed)
            if found is None:
                return
            meter, data = found
        t = t if isinstance(t, int) else 0
        try:
            item = unpack(data, meter, self._layout)
        except Corrupt:
            given[entry] = Given(meter, t, ROW_DAMAGED)
        else:
            given[entry] = Given(meter, t)
            entries.append(Entry(entry, item))

    def _owner(self, number: object, t: object, sealed: object) -> tuple[str, bytes] | None:
        """Meter and data of a row that its number does not fit; None for counters.

        Where the number is damaged, the seal tells whose row it is; where all is, it is nobody's data.
        """
        if _opened(sealed, COUNTERS) is not None:
            return None
        if number not in self._meters and self._db is not None:
            self._meters = {number: meter.name for number, meter in read_meters(self._db).items()}
        for meter in self._meters.values():
            data = _opened(sealed, meter, t)
            if data is not None:
                return meter, data
        named = self._meters.get(number) if isinstance(number, int) else None
        return named or next(iter(self._meters.values()), ""), b""

    def _layout(self, number: int) -> bytes:
        if self._layouts is None:
            raise Corrupt("the journal is closed")
        return self._layouts(number)

    def _open(self) -> sqlite3.Connection:
        if self._db is None or self._generation != self._cursors.generation:
            self._shut()
            self._generation = self._cursors.generation
            self._db = connect_readonly(self._path)
            self._layouts = Layouts(self._db)
            self._meters = {number: meter.name for number, meter in read_meters(self._db).items()}
        return self._db

    def _failed(self, error: Exception) -> None:
        self._shut()
        meaning = told(error, self._path)
        self.trouble = str(meaning)
        if isinstance(meaning, Damaged):
            self._doubt()

    def _shut(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = self._layouts = None


#: of what is stored, where it is for a sink
TERMS = ("delivered", "pending", "evicted", "dead_letter")


def shown(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as `meterd status --json` shows it."""
    t = utc(datetime.fromtimestamp(letter.t, UTC), "seconds")
    return {"sink": letter.sink, "id": letter.entry, "meter": letter.meter, "t": t, "reason": letter.reason}


def standing(state: State, sink: str) -> dict[str, dict[str, int]]:
    """By meter, where the stored readings are for a sink; to be called under the lock of the cursors."""
    cursor = state.cursors.by_sink[sink]
    result = {}
    for meter in sorted({*state.tallies, *cursor.meters}):
        settled = cursor.of(meter)
        pending = state.tally(meter).stored - settled.total
        terms = (settled.delivered, pending, settled.evicted, settled.dead)
        result[meter] = dict(zip(TERMS, terms, strict=True))
    return result


def _opened(sealed: object, *context: Any) -> bytes | None:
    try:
        return unseal(sealed, *context)
    except Corrupt:
        return None


def _seconds(item: ItemP) -> int:
    moment = item.t or item.t_rx
    return 0 if moment is None else int((moment - EPOCH).total_seconds())
