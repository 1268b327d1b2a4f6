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
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from gateway import log
from gateway.beats import alive
from gateway.host_clock import is_synchronised
from gateway.interval_folder import Folder, Told
from gateway.interval_series import Splitter
from gateway.item_p import ItemP
from gateway.settings import Settings
from gateway.stores import files
from gateway.stores.files import FAILURES, Damaged, StorageFault
from gateway.stores.intervals import IntervalStore
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
#: versions that end longer ago (s) are not told: a first start folds all that the journal has
NEWS_S: Final = 7 * 86_400


class IntervalKeeper:
    """The intervals of a configuration. `tell` gets new versions in the loop; `zone_of` the zone a profile states."""

    def __init__(  # noqa: PLR0913 - what it asks of the world, by name
        self,
        settings: Settings,
        outbox: Outbox,
        *,
        salt: bytes,
        tell: Callable[[Told], None],
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
                told, more = await loop.run_in_executor(pool, self._round)
                failures = failures + 1 if self._trouble else 0
                self._report()
                for one in told:
                    self._announce(one)
                pause = RETRY_S[min(failures, len(RETRY_S)) - 1] if failures else 0 if more else TICK_S
                alive(pause)
                await asyncio.sleep(pause)
        finally:
            ending = loop.run_in_executor(pool, self._end)
            pool.shutdown(wait=False)
            await asyncio.wait((ending,), timeout=END_S)

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

    def _round(self) -> tuple[Sequence[Told], bool]:
        """Do some work: what is new, and whether there is more to do at once."""
        try:
            done = self._work(self._folder or self._begin())
        except (StorageFault, LedgerError) as fault:
            self._drop(str(fault))
        except (Damaged, *FAILURES) as error:
            self._drop(str(error if isinstance(error, Damaged) else files.told(error, self._path, LEDGER)))
            self._replace(error)
        else:
            self._trouble = None
            return done
        return (), False

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

    def _end(self) -> None:
        """Commit what was folded."""
        if self._folder is not None and self._trouble is None:
            try:
                self._commit(self._folder)
            except (StorageFault, LedgerError, Damaged, *FAILURES) as error:
                self._trouble = str(error)
        if self._file is not None:
            self._file.close()
        self._folder = self._store = self._file = None

    # -- in the loop -------------------------------------------------------------------------------------------------

    def _announce(self, told: Told) -> None:
        row = told.series
        if row.kind == "active" and row.channel == 0 and told.interval.end >= self._clock() - NEWS_S:
            self._tell(told)

    def _report(self) -> None:
        if self._trouble != self._told_trouble:
            self._told_trouble = self._trouble
            log.event("intervals_trouble" if self._trouble else "intervals_go_on", reason=self._trouble)


def latch_of(profile: str) -> int:
    """Give `latched_s` of a profile; 0 where it cannot be read any more."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles

    try:
        return profiles.load(profile).item_p.latched_s
    except (KeyError, ProfileSyntaxError, OSError, UnicodeDecodeError):
        return 0
