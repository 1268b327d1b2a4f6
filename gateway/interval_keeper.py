"""Keeps intervals up with the journal: a task of the daemon, whose thread folds, commits and validates.

The journal hands out readings as to any sink that gets every one of them (stores.outbox); they are settled once their
evidence is in the ledger. The ledger says itself up to where it is folded, in the transaction that took it there, so
that after a kill -9 no reading is left out and none is counted twice. While the ledger cannot be written, readings wait
in the journal.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from gateway import log
from gateway.beats import alive
from gateway.host_clock import is_synchronised
from gateway.interval_folder import Folder, Told
from gateway.interval_series import Splitter
from gateway.intervals.owed import Mark, Owed, is_news, mark_of
from gateway.item_p import ItemP
from gateway.settings import Settings
from gateway.stores import files
from gateway.stores.files import FAILURES, Damaged, StorageFault
from gateway.stores.intervals import IntervalStore, is_told
from gateway.stores.ledger_file import LEDGER, LedgerFile
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.outbox import Entry, Outbox

TICK_S: Final = 1.0
PAGE: Final = 500
#: what is folded is committed after so long (s), whether a bound was passed or not
COMMIT_S: Final = 900.0
#: between two looks for days that are over, and for rows that are too old (s)
LOOK_S: Final = 60.0
PRUNE_S: Final = 86_400.0
#: pauses after a fault (s)
RETRY_S: Final = (1, 2, 5, 10, 30, 60)
#: the last commit is waited for so long (s)
END_S: Final = 1.5
#: from where on versions are owed is stored so often (s), and at the end
MARK_S: Final = 60.0
#: whom the marks are of
CONSUMER: Final = "mqtt"

#: takes a version, and calls what comes with it when its consumers have it, or never will
Tell: TypeAlias = Callable[[Told, Callable[[], None]], None]


class _Found(NamedTuple):
    """What a round found: what is new; what is owed, and the mark of what is left, by meter; whether to go on."""

    told: Sequence[Told] = ()
    owed: Mapping[str, tuple[Sequence[tuple[Mark, Told]], Mark | None]] = {}
    more: bool = False


class IntervalKeeper:
    """The intervals of a configuration. `tell` gets new versions in the loop; `zone_of` the zone a profile states.

    Every version is told until it is confirmed, also after a restart: the ledger keeps from where on (intervals.owed).
    """

    def __init__(  # noqa: PLR0913 - what it asks of the world, by name
        self,
        settings: Settings,
        outbox: Outbox,
        *,
        salt: bytes,
        tell: Tell,
        zone_of: Callable[[str], ZoneInfo | None],
        clock: Callable[[], float] = time.time,
        synchronised: Callable[[], bool] = is_synchronised,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._salt = salt
        self._tell = tell
        self._zone_of = zone_of
        self._clock = clock
        self._synchronised = synchronised
        self._path: Path = settings.ledger_path
        self._file: LedgerFile | None = None
        self._store: IntervalStore | None = None
        self._folder: Folder | None = None
        #: handed out and folded up to here; folded before this run up to there; up to where it is unsure
        self._after = self._folded = self._unsure = 0
        #: handed out and not settled, by meter
        self._open: Counter[str] = Counter()
        self._committed = self._looked = self._pruned = 0.0
        self._trouble: str | None = None
        self._told_trouble: str | None = None
        self._versions = 0
        #: by meter; what of it is in the ledger, and when it was put there
        self._owed: dict[str, Owed] = {}
        self._marks: dict[str, Mark] = {}
        self._marked = time.monotonic()

    delivery: Literal["LATEST", "EVERY"] = "EVERY"

    def deliver(self, item: ItemP) -> None:
        """Nothing: readings come out of the journal."""

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """Nothing: what the line is like changes no interval."""

    async def run(self) -> None:
        """Fold what the journal has, and what comes, until cancelled; then commit what was folded."""
        loop, failures = asyncio.get_running_loop(), 0
        pool = ThreadPoolExecutor(1, thread_name_prefix="intervals")
        try:
            while True:
                found = await loop.run_in_executor(pool, self._round, self._due_marks())
                failures = failures + 1 if self._trouble else 0
                self._report()
                self._announce(found)
                pause = RETRY_S[min(failures, len(RETRY_S)) - 1] if failures else 0 if found.more else TICK_S
                alive(pause)
                await asyncio.sleep(pause)
        finally:
            ending = loop.run_in_executor(pool, self._end, self._changed_marks())
            pool.shutdown(wait=False)
            await asyncio.wait((ending,), timeout=END_S)

    def tell_anew(self) -> None:
        """Tell everything that is not confirmed once more: those who were told it are there no more."""
        for owed in list(self._owed.values()):
            owed.anew()

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: how far the journal is folded, what fails, what was left out."""
        folder = self._folder
        return {
            "state": "fault" if self._trouble else "folding" if self._outbox.newest > self._after else "up_to_date",
            "trouble": self._trouble,
            "position": self._after,
            "newest": self._outbox.newest,
            "series": 0 if folder is None else len(folder.folding),
            "versions": self._versions,
            "contradictions": 0 if folder is None else folder.contradictions(),
            "left_out": {} if folder is None else dict(folder.left_out),
        }

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _round(self, marks: Mapping[str, Mark]) -> _Found:
        """Do some work: what is new, what is owed, and whether there is more to do at once."""
        try:
            folder = self._folder or self._begin()
            if marks and self._store is not None:
                self._store.put_marks(CONSUMER, marks)
                self._marks |= marks
            told, more = self._work(folder)
            wanted = {meter: owed.wants for meter, owed in self._owed.items()}
            owed = {meter: folder.owed(meter, _first(since, meter, told)) for meter, since in wanted.items() if since}
        except (StorageFault, LedgerError) as fault:
            self._drop(str(fault))
        except (Damaged, *FAILURES) as error:
            self._drop(str(error if isinstance(error, Damaged) else files.told(error, self._path, LEDGER)))
            self._replace(error)
        else:
            self._trouble = None
            return _Found(told, owed, more)
        return _Found()

    def _work(self, folder: Folder) -> tuple[Sequence[Told], bool]:
        told: list[Told] = []
        entries = self._outbox.page(self._after, PAGE) if self._outbox.newest > self._after else []
        self._take(folder, entries)
        now = time.monotonic()
        if folder.has_news() or (self._open and now - self._committed >= COMMIT_S):
            told += self._commit(folder)
        if not entries and now - self._looked >= LOOK_S:
            validated = folder.validate()
            told += validated
            self._looked = 0.0 if validated else now
            self._prune(now)
        self._versions += len(told)
        return told, bool(entries) or self._looked == 0.0

    def _take(self, folder: Folder, entries: Sequence[Entry]) -> None:
        position = self._outbox.position
        for entry in entries:
            if entry.id > position:
                self._open[entry.item.meter] += 1
        sure = [entry.item for entry in entries if entry.id > max(self._folded, self._unsure)]
        again = [entry.item for entry in entries if self._folded < entry.id <= self._unsure]
        if again:
            folder.take(again, again=True)
        if sure:
            folder.take(sure, again=False)
        if entries:
            self._after = entries[-1].id

    def _commit(self, folder: Folder) -> list[Told]:
        told = folder.commit((self._outbox.store, max(self._after, self._folded)))
        if self._open:
            self._outbox.settle(self._after, delivered=dict(self._open))
            self._open.clear()
        self._committed = time.monotonic()
        return told

    def _prune(self, now: float) -> None:
        if self._store is not None and now - self._pruned >= PRUNE_S and not self._store.prune():
            self._pruned = now

    def _begin(self) -> Folder:
        """Open the ledger and go on from what it says. Where it forgot, what was settled before is folded anew."""
        file, notice = open_ledger(self._path)
        if notice is not None:
            log.event("ledger_notice", reason=notice)
        self._file = file
        store = self._store = IntervalStore(file, self._clock)
        splitter = Splitter(self._salt, self._settings.point_of, latch_of)
        self._folder = Folder(
            store,
            self._settings,
            splitter,
            zone_of=self._zone_of,
            synchronised=self._synchronised,
            clock=self._clock,
        )
        for meter in (one.name for one in self._settings.meter):
            if meter not in self._owed:
                self._marks[meter] = store.mark(CONSUMER, meter)
                self._owed[meter] = Owed(self._marks[meter])
        self._folded = store.position(self._outbox.store)
        self._unsure = self._outbox.position if not self._folded else 0
        self._after = min(self._folded, self._outbox.position)
        self._open.clear()
        self._committed = time.monotonic()
        return self._folder

    def _replace(self, error: Exception) -> None:
        """Have a damaged ledger replaced, as far as this error says that it is damaged."""
        suspect = None if self._file is None else self._file.identity
        if suspect is None or not isinstance(error, Damaged):
            return
        try:
            file, notice = open_ledger(self._path, suspect, str(error))
        except (StorageFault, LedgerError, Damaged) as fault:
            self._trouble = str(fault)
            return
        file.close()
        if notice is not None:
            log.event("ledger_notice", reason=notice)

    def _drop(self, trouble: str) -> None:
        """Forget what is not stored: it is read from the journal again."""
        self._trouble = trouble
        self._folder = self._store = None
        if self._file is not None:
            self._file.close()

    def _end(self, marks: Mapping[str, Mark]) -> None:
        """Commit what was folded; what is new of it is told after the next start."""
        if self._folder is not None and self._trouble is None:
            try:
                if marks and self._store is not None:
                    self._store.put_marks(CONSUMER, marks)
                self._commit(self._folder)
            except (StorageFault, LedgerError, Damaged, *FAILURES) as error:
                self._trouble = str(error)
        if self._file is not None:
            self._file.close()
        self._folder = self._store = self._file = None

    # -- in the loop -------------------------------------------------------------------------------------------------

    def _due_marks(self) -> Mapping[str, Mark]:
        """The marks that changed, now and then."""
        if time.monotonic() - self._marked < MARK_S:
            return {}
        self._marked = time.monotonic()
        return self._changed_marks()

    def _changed_marks(self) -> dict[str, Mark]:
        return {meter: owed.mark for meter, owed in self._owed.items() if owed.mark != self._marks.get(meter)}

    def _announce(self, found: _Found) -> None:
        """Tell what is new and what is owed; after a fault nobody knows what was stored, and not told."""
        if self._trouble:
            self.tell_anew()
        new = [one for one in found.told if one.series.meter not in found.owed and _is_to_be_told(one)]
        for one in sorted(new, key=_mark):
            self._tell_one(_mark(one), one)
        for meter, (owed, rest) in found.owed.items():
            self._owed[meter].rest = None
            for mark, one in owed:
                self._tell_one(mark, one)
            if rest is not None:
                self._owed[meter].leave(rest)

    def _tell_one(self, mark: Mark, told: Told) -> None:
        """Tell a version; one that is too many waits in the ledger, and that of a meter of the past is told once."""
        owed = self._owed.get(told.series.meter)
        if owed is None:
            self._tell(told, lambda: None)
        elif (ticket := owed.tell(mark)) is not None:
            self._tell(told, partial(owed.confirm, ticket))

    def _report(self) -> None:
        if self._trouble != self._told_trouble:
            self._told_trouble = self._trouble
            log.event("intervals_trouble" if self._trouble else "intervals_go_on", reason=self._trouble)


def _mark(told: Told) -> Mark:
    return mark_of(told.series.direction, told.resolution, told.interval)


def _is_to_be_told(told: Told) -> bool:
    return is_told(told.series.key) and is_news(told.interval)


def _first(since: Mark, meter: str, told: Sequence[Told]) -> Mark:
    """The earlier of a mark and of those of what is new of its meter."""
    return min([since, *(_mark(one) for one in told if one.series.meter == meter and _is_to_be_told(one))])


def latch_of(profile: str) -> int:
    """Give `latched_s` of a profile; 0 where it cannot be read any more."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles

    try:
        return profiles.load(profile).item_p.latched_s
    except (KeyError, ProfileSyntaxError, OSError, UnicodeDecodeError):
        return 0
