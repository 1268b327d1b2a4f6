"""The one store of a test hub: SQLite, written by one thread that puts everything that waits into one transaction.

`Store.run(work)` gives what `work(connection)` returns, after the commit; a work that raises is rolled back alone. What
a party is told is therefore always what the file has. Tables: accepted series with every version (`effects`), ids ever
seen (`ids`), bundles to be fetched (`queue`), work to be judged (`pending`), access log (`access`), and free values.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.sandbox.folder import FolderError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
#: works that one transaction takes at most
BATCH: Final = 256
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS effects(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, profile TEXT NOT NULL, party TEXT NOT NULL, point TEXT NOT NULL,
  direction TEXT NOT NULL, unit TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, resolution TEXT NOT NULL,
  document TEXT NOT NULL, txn TEXT NOT NULL, version INTEGER NOT NULL, unchanged INTEGER NOT NULL, vals BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS effects_of_point ON effects(point, profile, direction, start, end);
CREATE INDEX IF NOT EXISTS effects_of_profile ON effects(profile, start);
CREATE TABLE IF NOT EXISTS ids(
  profile TEXT NOT NULL, sender TEXT NOT NULL, scope TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY(profile, sender, scope, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, profile TEXT NOT NULL, party TEXT NOT NULL, category TEXT NOT NULL,
  id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, facts TEXT NOT NULL, peeked INTEGER NOT NULL DEFAULT 0,
  gone INTEGER);
CREATE INDEX IF NOT EXISTS queue_waiting ON queue(profile, party, category, n) WHERE gone IS NULL;
CREATE TABLE IF NOT EXISTS pending(
  n INTEGER PRIMARY KEY, due REAL NOT NULL, profile TEXT NOT NULL, party TEXT NOT NULL, work TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS pending_due ON pending(due);
CREATE TABLE IF NOT EXISTS points(
  profile TEXT NOT NULL, point TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY(profile, point)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS status(
  profile TEXT NOT NULL, party TEXT NOT NULL, document TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
  report TEXT NOT NULL, PRIMARY KEY(profile, party, document)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS access(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, point TEXT NOT NULL, party TEXT NOT NULL, what TEXT NOT NULL,
  facts TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS access_of_point ON access(point, n);
CREATE TABLE IF NOT EXISTS notes(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, profile TEXT NOT NULL, party TEXT NOT NULL, what TEXT NOT NULL,
  facts TEXT NOT NULL);
"""


#: what a work may raise: whoever waits for it gets it
_OF_A_WORK: Final = (RuntimeError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError, sqlite3.Error)


class StoreError(FolderError):
    """The store cannot be used; one sentence that says why."""


class Store:
    """A SQLite file and the one thread that works on it; `more` are the tables of profiles with some of their own."""

    def __init__(self, path: Path, more: str = "") -> None:
        self._path = path
        self._works: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA} {more}")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}: stop what else uses it, or remove it") from None
        self._thread = threading.Thread(target=self._serve, name="sandbox store", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """Do a work and give its result after the commit; raises what it raises."""
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        self._works.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what waits, and close the file."""
        self._works.put(None)
        self._thread.join()
        self._connection.close()

    def _serve(self) -> None:
        """Take works until the end: as many as wait go into one transaction, and are answered after its commit."""
        open_ = True
        while open_:
            jobs: list[_Job] = []
            while len(jobs) < BATCH:
                job = self._works.get() if not jobs else _next(self._works)
                if job is _NOTHING:
                    break
                if job is None:
                    open_ = False
                    break
                jobs.append(job)
            if jobs:
                self._transact(jobs)

    def _transact(self, jobs: list["_Job"]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.do(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for job in jobs:
                job.error = StoreError(f"{self._path}: {error}")
        for job in jobs:
            job.answer()


class _Job:
    """A work, and who waits for it."""

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]") -> None:
        self._work = work
        self._loop = loop
        self.future = future
        self._result: Any = None
        self.error: BaseException | None = None

    def do(self, connection: sqlite3.Connection) -> None:
        """Work in a savepoint of its own: what raises leaves nothing behind, and harms no other."""
        connection.execute("SAVEPOINT work")
        try:
            self._result = self._work(connection)
        except sqlite3.OperationalError:
            raise
        except _OF_A_WORK as error:
            connection.execute("ROLLBACK TO work")
            self.error = error
        connection.execute("RELEASE work")

    def answer(self) -> None:
        """Tell the one who waits, on the loop of his."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self._result)


_NOTHING: Final = _Job(lambda _: None, None, None)  # type: ignore[arg-type]  # never done: the queue is empty


def _next(works: "queue.SimpleQueue[_Job | None]") -> _Job | None:
    try:
        return works.get_nowait()
    except queue.Empty:
        return _NOTHING
