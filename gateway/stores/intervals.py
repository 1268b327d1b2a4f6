"""Intervals in the ledger: every version of each, and what the fold goes on from; nothing is ever overwritten.

A transaction takes together what belongs together: new versions, the evidence that they came from, and how far the
journal is folded. After a kill -9 or a power cut all of it is there, or none, and the fold goes on from there.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.intervals.billed import Peak
from gateway.intervals.demand import Demand
from gateway.intervals.edit import Edited, above, holds
from gateway.intervals.evidence import CELL_S, Archive, Cell
from gateway.intervals.model import RESOLUTIONS, Interval, Resolution, SeriesKey
from gateway.intervals.owed import MOST, NEWS_S, OWED_S, Mark, is_news, mark_of
from gateway.stores import files, interval_changes, interval_marks
from gateway.stores import interval_rows as rows
from gateway.stores.files import FAILURES, connect_readonly
from gateway.stores.interval_rows import SeriesRow, StateRow
from gateway.stores.ledger_file import LEDGER, LedgerFile, append
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_rows import Note
from gateway.stores.rows import Corrupt, seal, unseal

#: rows that are read at once
PAGE: Final = 500
#: a span up to the longest day is read in one statement (s): the versions of a day that a hub gets are of one moment
AT_ONCE_S: Final = 26 * 3_600
#: edits that are looked at together; those beyond wait until others are judged
MOST_ASKED: Final = 10_000
#: evidence is kept for so long (s): late readings of a month that is over change it still
EVIDENCE_S: Final = 100 * 86_400
#: versions are kept for 36 months at least (s)
KEPT_S: Final = 1_110 * 86_400
#: the longest interval of each resolution (s)
LONGEST_S: Final = {"PT15M": 900, "PT1H": 3_600, "P1D": 90_000, "P1M": 32 * 86_400}
#: rows that one transaction removes
PRUNED_AT_ONCE: Final = 2_000
#: LIMIT of SQLite: none
_ALL: Final = -1
_LAST_SLOT: Final = (1 << rows.SLOT_BITS) - 1


class StaleError(Exception):
    """A version was made of one that is not the current one any more: read again."""


class Asked(NamedTuple):
    """An interval that a person edited, to be judged; with its row."""

    key: SeriesKey
    resolution: Resolution
    start: int
    row: int
    data: bytes


class Owing(NamedTuple):
    """A version that a consumer is owed."""

    mark: Mark
    key: SeriesKey
    resolution: Resolution
    version: Interval


class _Versions:
    """Reading versions of intervals by their series, from an open file."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        #: versions that are not what was written, and were left out
        self.damaged = 0

    def current(self, key: SeriesKey, resolution: Resolution, since: int, until: int) -> Iterator[Interval]:
        """The current version of each interval with since <= start < until (UTC s), rising; what is missing is not."""
        yield from _highest(self._versions(key, resolution, since, until))

    def folded(self, key: SeriesKey, resolution: Resolution, since: int, until: int) -> Iterator[Interval]:
        """What each is judged by: the edit of a person that holds, else the latest version of the fold."""
        for versions in _by_interval(self._versions(key, resolution, since, until)):
            edited, below = _layers(versions)
            if (found := edited or below) is not None:
                yield found

    def edits(self, key: SeriesKey, resolution: Resolution, since: int, until: int) -> Iterator[Edited]:
        """The edits that hold, each with what the fold says of the interval."""
        for versions in _by_interval(self._versions(key, resolution, since, until)):
            edited, below = _layers(versions)
            if edited is not None:
                yield Edited(edited, below)

    def history(self, key: SeriesKey, resolution: Resolution, start: int) -> list[Interval]:
        """Every version of one interval, the first one first."""
        return list(self._versions(key, resolution, start, start + 1))

    def peaks(self, key: SeriesKey) -> Iterator[Peak]:
        """The meter's own peak of each month, rising; the last that it told of the month."""
        for row, data in self._told("interval_peak", key, 0, _LAST_SLOT * CELL_S):
            with suppress(Corrupt):
                yield rows.unpack_peak(row, data)

    def demands(self, key: SeriesKey, since: int, until: int) -> Iterator[Demand]:
        """The meter's own mean of each quarter-hour with since <= start < until (UTC s), rising."""
        for row, data in self._told("interval_demand", key, since, until):
            with suppress(Corrupt):
                yield rows.unpack_demand(row, data)

    def extent(self, key: SeriesKey, resolution: Resolution) -> tuple[int, int] | None:
        """Start of the first and end of the last interval that is kept."""
        number = self._number(key)
        if number is None:
            return None
        chain = rows.chain(number, resolution)
        ends = rows.version_id(chain, 0, 0), rows.version_id(chain, _LAST_SLOT * CELL_S, rows.MAX_VERSION)
        # each by its own look at the index
        first = self._query("SELECT min(id) FROM interval WHERE id BETWEEN ? AND ?", ends)[0][0]
        last = self._query("SELECT max(id) FROM interval WHERE id BETWEEN ? AND ?", ends)[0][0]
        if first is None:
            return None
        newest = self.history(key, resolution, rows.start_of(last))
        return rows.start_of(first), newest[-1].end if newest else rows.start_of(last)

    def _told(self, table: str, key: SeriesKey, since: int, until: int) -> list[Any]:
        """Rows of what the meter told; none where no newer meterd wrote into this ledger."""
        number = self._number(key)
        if number is None or not self._query("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)):
            return []
        ends = rows.cell_id(number, _ceiling(since)), rows.cell_id(number, _ceiling(until))
        return self._query(f"SELECT id, data FROM {table} WHERE id >= ? AND id < ? ORDER BY id", ends)  # noqa: S608

    def _versions(self, key: SeriesKey, resolution: Resolution, since: int, until: int) -> Iterator[Interval]:
        number = self._number(key)
        if number is None or until <= since:
            return
        chain = rows.chain(number, resolution)
        last = rows.version_id(chain, _ceiling(since), 0) - 1
        end = rows.version_id(chain, _ceiling(until), 0)
        most = PAGE if until - since > AT_ONCE_S else _ALL
        while page := self._query(
            "SELECT id, data FROM interval WHERE id > ? AND id < ? ORDER BY id LIMIT ?", (last, end, most)
        ):
            last = page[-1][0]
            for row, data in page:
                try:
                    yield rows.unpack(row, data)
                except Corrupt:
                    self.damaged += 1
            if len(page) != most:  # what another process commits by now is not of the moment of this page
                return

    def _number(self, key: SeriesKey) -> int | None:
        raise NotImplementedError

    def _query(self, statement: str, parameters: tuple[int | str, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, parameters).fetchall()
        except FAILURES as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> Exception:
        raise NotImplementedError


class IntervalReader(_Versions):
    """The intervals of a ledger, while others write it. Raises LedgerError, at construction and while reading."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LedgerError(f"there is no ledger at {path}: name it with --ledger, or the configuration with -c")
        try:
            db = connect_readonly(path)
        except FAILURES as error:
            raise LedgerError(f"the ledger {path} cannot be read: {error}") from error
        super().__init__(db, path)
        #: numbers of series that were met; a series keeps its number as long as it is there
        self._known: dict[SeriesKey, int] = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def series(self) -> dict[SeriesKey, SeriesRow]:
        """Every series that there is; none in a ledger of a meterd that knew no intervals."""
        found = self._numbers()
        self._known = {row.key: number for number, row in found.items()}
        return {row.key: row for row in found.values()}

    def _number(self, key: SeriesKey) -> int | None:
        number = self._known.get(key)
        if number is not None and self._is_still(number, key):
            return number
        self.series()
        return self._known.get(key)

    def _is_still(self, number: int, key: SeriesKey) -> bool:
        """Whether a series has its number still: it may have been forgotten, and another one made."""
        found = self._query("SELECT data FROM interval_series WHERE id = ?", (number,))
        with suppress(Corrupt):
            return bool(found) and rows.unpack_series(number, found[0][0]).key == key
        return False

    def _numbers(self) -> dict[int, SeriesRow]:
        if not self._query("SELECT 1 FROM sqlite_master WHERE name = 'interval_series'"):
            return {}
        return _readable(self._query("SELECT id, data FROM interval_series"))

    def _failed(self, error: Exception) -> Exception:
        return LedgerError(f"the ledger {self.path} cannot be read: {error}")


@dataclass(slots=True)
class Batch:
    """What one transaction takes together."""

    #: versions by series and resolution; their `version` and `made` are given by the store
    versions: dict[tuple[SeriesKey, Resolution], list[Interval]] = field(default_factory=dict)
    cells: dict[SeriesKey, dict[int, Cell]] = field(default_factory=dict)
    states: dict[SeriesKey, StateRow] = field(default_factory=dict)
    #: the meter's own peaks by series and start of their month
    peaks: dict[SeriesKey, dict[int, Peak]] = field(default_factory=dict)
    #: the meter's own means by series and start of their quarter-hour
    demands: dict[SeriesKey, dict[int, Demand]] = field(default_factory=dict)
    #: identity of a journal, and the id up to which it is folded
    position: tuple[str, int] | None = None


class IntervalStore(_Versions):
    """The intervals of an open ledger file, for writing and reading; used by one thread at a time.

    Methods raise Damaged and StorageFault, as those of LedgerFile.
    """

    def __init__(self, file: LedgerFile, clock: Callable[[], float] = time.time) -> None:
        super().__init__(file.db, file.path)
        self._file = file
        self._clock = clock
        self._series = {row.key: (number, row) for number, row in self._all_series().items()}

    def series(self) -> dict[SeriesKey, SeriesRow]:
        """Every series that there is."""
        return {key: row for key, (_, row) in self._series.items()}

    def add_series(self, row: SeriesRow) -> None:
        """Make a series, unless there is one of its key; a unit that changed is kept with the old series' numbers.

        Raises ValueError when there is one of another unit, or no room for another series.
        """
        known = self._series.get(row.key)
        if known is not None:
            if known[1].of != row.of:
                raise ValueError(f"{row.key} counts in {known[1].of}, not in {row.of}")
            return
        number = max((number for number, _ in self._series.values()), default=0) + 1
        if number >= rows.MAX_SERIES:
            raise ValueError("there are too many series")
        with self._file.writing():
            self._db.execute("INSERT INTO interval_series VALUES (?, ?)", rows.pack_series(number, row))
        self._series[row.key] = number, row

    def write(self, batch: Batch) -> dict[tuple[SeriesKey, Resolution], list[Interval]]:
        """Commit a batch, all or nothing; the versions as they are stored, without those that say nothing new."""
        made = int(self._clock())
        with self._file.writing():
            stored = {which: self._write(which, intervals, made) for which, intervals in batch.versions.items()}
            self._owe({key for (key, _), versions in stored.items() if versions}, made)
            for key, cells in batch.cells.items():
                packed = (rows.pack_cell(self._series[key][0], start, cell) for start, cell in cells.items())
                self._db.executemany("INSERT OR REPLACE INTO interval_cell VALUES (?, ?)", packed)
            for key, peaks in batch.peaks.items():
                self._keep_peaks(key, peaks)
            for key, demands in batch.demands.items():
                self._keep_demands(key, demands.values())
            states = (rows.pack_state(self._series[key][0], state) for key, state in batch.states.items())
            self._db.executemany("INSERT OR REPLACE INTO interval_state VALUES (?, ?)", states)
            if batch.position is not None:
                store, upto = batch.position
                sealed = seal(upto.to_bytes(8, "big"), "interval_position", store)
                self._db.execute("INSERT OR REPLACE INTO interval_position VALUES (?, ?)", (store, sealed))
        return stored

    def add(self, key: SeriesKey, resolution: Resolution, versions: Iterable[Interval]) -> list[Interval]:
        """Commit versions that follow from current ones (validation, an edit), all or none; as they are stored.

        Raises StaleError when one of them is not the next version any more.
        """
        made, stored, changed = int(self._clock()), [], []
        chain = rows.chain(self._series[key][0], resolution)
        with self._file.writing():
            for interval in versions:
                if interval.version != self._version(chain, interval.start) + 1:
                    raise StaleError(f"{key} {resolution} {interval.start}: version {interval.version}")
                stored.append(replace(interval, made=made))
                if interval.is_item_e or self._was_item_e(chain, interval.start):
                    changed.append(interval)
                self._db.execute("INSERT INTO interval VALUES (?, ?)", rows.pack(chain, stored[-1]))
            interval_changes.note(self._db, self._series[key][0], resolution, changed, made)
            self._owe({key}, made)
        return stored

    def position(self, store: str) -> int:
        """The id up to which a journal is folded; 0 when it never was, or nobody knows any more."""
        found = self._one("SELECT data FROM interval_position WHERE store = ?", (store,))
        with suppress(Corrupt, TypeError):
            return int.from_bytes(unseal(found, "interval_position", store), "big") if found else 0
        return 0

    def mark(self, consumer: str, meter: str) -> Mark:
        """From where on a consumer is owed the versions of a meter; from now on where that was never said."""
        found = interval_marks.read(self._db, consumer, meter)
        if found is None:
            found = Mark(int(self._clock()))
            self.put_marks(consumer, {meter: found})
        return found

    def put_marks(self, consumer: str, marks: Mapping[str, Mark]) -> None:
        """Store from where on a consumer is owed the versions of each meter."""
        with self._file.writing():
            for meter, mark in marks.items():
                interval_marks.write(self._db, consumer, meter, mark)

    def owed(self, meter: str, since: Mark) -> tuple[list[Owing], Mark | None]:
        """Versions of a meter's active energy that are to be told from a mark on, in order, MOST at once.

        And the mark of the first of the others, None where there is none. What was made before OWED_S is left out.
        """
        first = max(since, Mark(int(self._clock()) - OWED_S))
        found = nsmallest(MOST + 1, self._owed(meter, first), key=lambda one: one.mark)
        return found[:MOST], found[MOST].mark if len(found) > MOST else None

    def state(self, key: SeriesKey) -> StateRow | None:
        """What the fold of a series goes on from; None where there is nothing, or nothing that can be read."""
        number = self._series[key][0]
        found = self._one("SELECT data FROM interval_state WHERE id = ?", (number,))
        with suppress(Corrupt):
            return None if found is None else rows.unpack_state(number, found)
        return None

    def archive(self, key: SeriesKey) -> Archive:
        """The evidence of a series."""
        return _Cells(self._db, self._series[key][0])

    def edit(self, key: SeriesKey, resolution: Resolution, version: Interval, note: Note) -> Interval:
        """Commit what a person said of an interval, with its entry in the metrology log, and have it judged.

        All of it is there, or nothing. Raises StaleError as `add` does.
        """
        chain = rows.chain(self._series[key][0], resolution)
        stored = replace(version, made=int(self._clock()))
        with self._file.writing():
            if version.version != self._version(chain, version.start) + 1:
                raise StaleError(f"{key} {resolution} {version.start}: version {version.version}")
            self._db.execute("INSERT INTO interval VALUES (?, ?)", rows.pack(chain, stored))
            append(self._db, [note])
            interval_changes.note(self._db, self._series[key][0], resolution, [stored], int(self._clock()))
            asked = rows.pack_asked(chain, stored)
            self._db.execute("INSERT OR REPLACE INTO interval_asked VALUES (?, ?)", asked)
            self._owe({key}, stored.made or 0)
        return stored

    def asked(self) -> list[Asked]:
        """Which intervals persons edited that were not judged since."""
        numbers = {number: key for key, (number, _) in self._series.items()}
        found = []
        for row, data in self._query("SELECT id, data FROM interval_asked ORDER BY id LIMIT ?", (MOST_ASKED,)):
            number, resolution, start = rows.asked_of(row)
            if number in numbers:
                found.append(Asked(numbers[number], resolution, start, row, data))
        return found

    def answered(self, asked: Iterable[Asked]) -> None:
        """Forget what was judged, unless a person edited it again meanwhile."""
        with self._file.writing():
            pairs = [(one.row, one.data) for one in asked]
            self._db.executemany("DELETE FROM interval_asked WHERE id = ? AND data = ?", pairs)

    def prune(self, kept_s: int = KEPT_S) -> int:
        """Remove some of what is older than it must be kept; the number of rows, 0 when nothing is left to remove."""
        now = int(self._clock())
        with self._file.writing():
            removed = interval_changes.prune(self._db, now, PRUNED_AT_ONCE)
            for number, _ in self._series.values():
                removed += self._remove(
                    "interval_cell", rows.cell_id(number, 0), rows.cell_id(number, now - EVIDENCE_S)
                )
                ends = rows.cell_id(number, 0), rows.cell_id(number, now - kept_s)
                removed += self._remove("interval_peak", *ends)
                removed += self._remove("interval_demand", *ends)
                for resolution in RESOLUTIONS:
                    chain = rows.chain(number, resolution)
                    ends = rows.version_id(chain, 0, 0), rows.version_id(chain, now - kept_s, 0)
                    removed += self._remove("interval", *ends)
        return removed

    def _owed(self, meter: str, first: Mark) -> Iterator[Owing]:
        for key in [key for key in self._series if is_told(key) and key.meter == meter]:
            for resolution in RESOLUTIONS:
                since = first.made - NEWS_S - LONGEST_S[resolution]
                for versions in _by_interval(self._versions(key, resolution, since, _LAST_SLOT * CELL_S)):
                    yield from _marked(key, resolution, versions, first)

    def _remove(self, table: str, first: int, last: int) -> int:
        statement = f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id >= ? AND id < ? LIMIT ?)"  # noqa: S608
        return self._db.execute(statement, (first, last, PRUNED_AT_ONCE)).rowcount

    def _keep_peaks(self, key: SeriesKey, peaks: Mapping[int, Peak]) -> None:
        """Keep the highest peak of each month: a meter that begins a new one says 0 at the end of the old one."""
        number = self._series[key][0]
        for month, peak in peaks.items():
            row, data = rows.pack_peak(number, month, peak)
            found = self._one("SELECT data FROM interval_peak WHERE id = ?", (row,))
            with suppress(Corrupt):
                if found is not None and rows.unpack_peak(row, found).watts >= peak.watts:
                    continue
            self._db.execute("INSERT OR REPLACE INTO interval_peak VALUES (?, ?)", (row, data))

    def _keep_demands(self, key: SeriesKey, demands: Iterable[Demand]) -> None:
        """Keep what was said last in each quarter-hour, in whatever order it came."""
        number = self._series[key][0]
        for demand in demands:
            row, data = rows.pack_demand(number, demand)
            found = self._one("SELECT data FROM interval_demand WHERE id = ?", (row,))
            with suppress(Corrupt):
                if found is not None and rows.unpack_demand(row, found).t > demand.t:
                    continue
            self._db.execute("INSERT OR REPLACE INTO interval_demand VALUES (?, ?)", (row, data))

    def _owe(self, keys: Iterable[SeriesKey], made: int) -> None:
        """Have versions that are made now told after a restart, within their transaction."""
        for meter in {key.meter for key in keys if is_told(key)}:
            interval_marks.lower(self._db, meter, Mark(made))

    def _write(self, which: tuple[SeriesKey, Resolution], found: Iterable[Interval], made: int) -> list[Interval]:
        number = self._series[which[0]][0]
        chain = rows.chain(number, which[1])
        changed: list[Interval] = []
        stored = list(self._insert(chain, found, made, changed))
        interval_changes.note(self._db, number, which[1], changed, made)
        return stored

    def _insert(self, chain: int, found: Iterable[Interval], made: int, changed: list[Interval]) -> Iterator[Interval]:
        """Insert what the fold made, where it says something new; `changed` takes what is item E, or was."""
        for interval in found:
            highest, last, edited = self._last_folded(chain, interval.start)
            same = last is not None and replace(last, version=interval.version, made=interval.made) == interval
            if same or highest >= rows.MAX_VERSION - 1:
                continue
            version = replace(interval, version=highest + 1, made=made)
            validated = highest and self._was_item_e(chain, interval.start)
            self._db.execute("INSERT INTO interval VALUES (?, ?)", rows.pack(chain, version))
            if edited is not None:
                version = replace(above(edited, version), made=made)
                self._db.execute("INSERT INTO interval VALUES (?, ?)", rows.pack(chain, version))
            if validated or version.is_item_e:
                changed.append(version)
            yield version

    def _last_folded(self, chain: int, start: int) -> tuple[int, Interval | None, Interval | None]:
        """The highest version of an interval, the last one that the fold made, and the edit that stands above it."""
        ends = rows.version_id(chain, start, 0), rows.version_id(chain, start, rows.MAX_VERSION)
        found = self._db.execute("SELECT id, data FROM interval WHERE id BETWEEN ? AND ? ORDER BY id DESC", ends)
        highest = 0
        versions: list[Interval] = []
        for row, data in found.fetchall():
            highest = highest or row & rows.MAX_VERSION
            with suppress(Corrupt):
                versions.insert(0, rows.unpack(row, data))
                if versions[0].author == "fold":
                    break
        edited, below = _layers(versions)
        return highest, below, edited

    def _was_item_e(self, chain: int, start: int) -> bool:
        """Whether the current version of an interval is item E; so is one that cannot be read."""
        ends = rows.version_id(chain, start, 0), rows.version_id(chain, start, rows.MAX_VERSION)
        statement = "SELECT id, data FROM interval WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1"
        found = self._db.execute(statement, ends).fetchone()
        with suppress(Corrupt):
            return found is not None and rows.unpack(*found).is_item_e
        return True

    def _version(self, chain: int, start: int) -> int:
        ends = rows.version_id(chain, start, 0), rows.version_id(chain, start, rows.MAX_VERSION)
        found = self._db.execute("SELECT max(id) FROM interval WHERE id BETWEEN ? AND ?", ends).fetchone()[0]
        return 0 if found is None else int(found) & rows.MAX_VERSION

    def _all_series(self) -> dict[int, SeriesRow]:
        return _readable(self._query("SELECT id, data FROM interval_series"))

    def _number(self, key: SeriesKey) -> int | None:
        return self._series[key][0] if key in self._series else None

    def _one(self, statement: str, parameters: tuple[int | str, ...]) -> bytes | None:
        found = self._query(statement, parameters)
        return found[0][0] if found else None

    def _failed(self, error: Exception) -> Exception:
        return files.told(error, self.path, LEDGER)


class _Cells:
    """The cells of one series in the ledger (evidence.Archive); one that is damaged is as if it had never been."""

    def __init__(self, db: sqlite3.Connection, series: int) -> None:
        self._db = db
        self._series = series

    def cell(self, start: int) -> Cell | None:
        return next((cell for _, cell in self.span(start, start + CELL_S)), None)

    def span(self, since: int, until: int) -> Iterator[tuple[int, Cell]]:
        yield from self._cells(since, until, "SELECT id, data FROM interval_cell WHERE id >= ? AND id < ? ORDER BY id")

    def before(self, start: int) -> Cell | None:
        statement = "SELECT id, data FROM interval_cell WHERE id >= ? AND id < ? ORDER BY id DESC"
        return next((cell for _, cell in self._cells(0, start, statement) if cell.last is not None), None)

    def after(self, start: int) -> Cell | None:
        statement = "SELECT id, data FROM interval_cell WHERE id >= ? AND id < ? ORDER BY id"
        last = _LAST_SLOT * CELL_S
        return next((cell for _, cell in self._cells(start, last, statement) if cell.first is not None), None)

    def _cells(self, since: int, until: int, statement: str) -> Iterator[tuple[int, Cell]]:
        ends = rows.cell_id(self._series, since), rows.cell_id(self._series, until)
        for row, data in self._db.execute(statement, ends):
            with suppress(Corrupt):
                yield rows.cell_start(row), rows.unpack_cell(row, data)


def is_told(key: SeriesKey) -> bool:
    """Whether consumers are told of a series: active energy of the meter itself."""
    return key.kind == "active" and key.channel == 0


def _marked(key: SeriesKey, resolution: Resolution, versions: Iterable[Interval], first: Mark) -> Iterator[Owing]:
    """The versions of an interval that are owed; a later one never goes first, whatever the clock said."""
    made = 0
    for version in versions:
        made = max(made, version.made or 0)
        mark = mark_of(key.direction, resolution, version)._replace(made=made)
        if mark >= first and is_news(version):
            yield Owing(mark, key, resolution, version)


def _ceiling(t: int) -> int:
    """The first bound of a cell at or after a moment that a row can have."""
    return min(-(-max(0, t) // CELL_S), _LAST_SLOT) * CELL_S


def _highest(versions: Iterable[Interval]) -> Iterator[Interval]:
    """The last of the versions of each interval, which rise."""
    last: Interval | None = None
    for version in versions:
        if last is not None and last.start != version.start:
            yield last
        last = version
    if last is not None:
        yield last


def _by_interval(versions: Iterable[Interval]) -> Iterator[list[Interval]]:
    """The versions of each interval."""
    for _, found in groupby(versions, key=lambda one: one.start):
        yield list(found)


def _layers(versions: Iterable[Interval]) -> tuple[Interval | None, Interval | None]:
    """Of the rising versions of an interval: the edit that holds, and the last one that the fold made."""
    edited = below = None
    for version in versions:
        if version.author == "person":
            edited = version if holds(version) else None
        elif version.author == "fold":
            below = version
    return edited, below


def _readable(found: Iterable[tuple[int, object]]) -> dict[int, SeriesRow]:
    known: dict[int, SeriesRow] = {}
    for number, data in found:
        with suppress(Corrupt):
            known[number] = rows.unpack_series(number, data)
    return known
