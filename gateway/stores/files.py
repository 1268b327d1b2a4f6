"""What the stores have in common: an SQLite file with its log, how it comes about and is opened, what can go wrong.

A store is a Kind: its name in messages and in meterd.toml, the mark in the header of its files, its steps. `data` in
its tables ends with a CRC-32 (rows.seal). Table `meta` holds the version of the schema once more, in row SCHEMA.
"""

import glob
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from gateway.durable import sync_folder
from gateway.stores.rows import Corrupt, seal, unseal

#: small pages, because a commit writes whole pages and a group of ten readings fills two
PAGE_SIZE = 1024
CACHE_KIB = 1024
CHECKPOINT_PAGES = 2048
WAL_LIMIT = 4 * 1024 * 1024
BUSY_MS = 2_000
PRIVATE = 0o600
#: damaged files that are kept for a person to look at; older ones are removed
KEPT_ASIDE = 2

#: rows of a damaged file that are read at once, and where the search for readable ones ends: no store has more
CHUNK = 256
LAST_ID = 1 << 40

#: row of `meta`
SCHEMA = 1

#: primary result codes of sqlite.org/rescode.html that say something about the medium, and nothing about the file
MEDIUM = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked",
    sqlite3.SQLITE_PROTOCOL: "another program keeps it locked",
    sqlite3.SQLITE_PERM: "it may not be written",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the medium reports an input/output error",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_INTERRUPT: "it was interrupted",
}

#: what SQLite raises; an error that quotes a damaged file may fail to be text
FAILURES = (sqlite3.Error, UnicodeDecodeError)


class StoreError(Exception):
    """A store cannot be used as configured: one sentence that says what, where and what to do."""


class Damaged(Exception):  # noqa: N818 - a state of the file, found out by reading it
    """The file is not what was written to it."""


class StorageFault(Exception):  # noqa: N818 - a state of the medium, which may pass
    """The medium does not take or give data at the moment."""


@dataclass(frozen=True)
class Kind:
    """One kind of store."""

    #: in messages; the table of meterd.toml that names its path
    name: str
    #: in the header of each of its files
    application_id: int
    #: tables that only a file of this kind has
    tables: frozenset[bytes]
    #: the statements that lead from schema n to n + 1; steps are only ever added
    steps: tuple[tuple[str, ...], ...]
    error: type[StoreError]


def told(error: Exception, path: Path, kind: Kind) -> Damaged | StorageFault:
    """Say what an error of SQLite means: every statement is a constant, so that a wrong one means a wrong file."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK):
        return Damaged(f"{path}: its header calls it read-only")
    if code in MEDIUM:
        return StorageFault(f"{kind.name} {path}: {MEDIUM[code]} ({error})")
    return Damaged(f"{path}: {error}")


def connect(path: Path, options: str = "mode=rw", busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    """Open the file, in autocommit mode. Raises FAILURES."""
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=busy_ms / 1000)
    # A damaged header of a row can make text of a blob: its octets then, for the checksum to judge.
    db.text_factory = bytes
    try:
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except BaseException:
        db.close()
        raise
    return db


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open for reading: it sees what is committed, and never holds up the writer. Raises FAILURES.

    Where SQLite cannot keep its lock file, on a read-only medium, the file is read as one that nobody changes.
    """
    error: Exception | None = None
    for options in ("mode=ro", "immutable=1"):
        db = connect(path, options)
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except FAILURES as failed:
            db.close()
            error = error or failed
            if os.access(path.parent, os.W_OK):
                break
        else:
            return db
    raise error or sqlite3.OperationalError


def configure(db: sqlite3.Connection, path: Path) -> None:
    """Set what keeps a commit through a power cut, and what keeps the log bounded."""
    db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != b"wal":
        raise Damaged(f"{path}: it cannot be switched to write-ahead logging")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")


def migrate(db: sqlite3.Connection, path: Path, kind: Kind, *, fresh: bool = False) -> None:
    """Bring the tables to this version, in one transaction. Raises `kind.error` for a file that is not ours, or newer.

    Only a `fresh` file may be empty: another one lost what it had.

    The version stands twice, in the header and sealed in `meta`: where the two disagree the file is damaged, not newer.
    """
    steps = kind.steps
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not version and _empty(db):
        if not fresh:
            raise Damaged(f"{path}: it is empty")
    else:
        _check(db, path, kind, version)
    if version == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    for step in steps[version:]:
        for statement in step:
            db.execute(statement)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SCHEMA, seal(str(len(steps)).encode(), SCHEMA)))
    db.execute(f"PRAGMA application_id = {kind.application_id}")
    db.execute(f"PRAGMA user_version = {len(steps)}")
    db.execute("COMMIT")


def check(db: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """Read the whole file and its structure (PRAGMA quick_check); raises Damaged. `db.interrupt` ends it early."""
    try:
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except FAILURES as error:
        raise told(error, path, kind) from error
    if found != b"ok":
        raise Damaged(f"{path}: {' '.join(found.decode(errors='replace').split())}")


@contextmanager
def transaction(db: sqlite3.Connection, path: Path, kind: Kind) -> Iterator[None]:
    """Commit at the end, or nothing. Raises Damaged, StorageFault and what the block raises."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException as error:
        with suppress(*FAILURES):
            db.execute("ROLLBACK")
        if isinstance(error, FAILURES):
            raise told(error, path, kind) from error
        raise


def create(path: Path, kind: Kind, mode: int = PRIVATE, group: int = -1) -> bool:
    """Create the file, of a mode whatever the umask, and make its name outlive a power cut; False where it exists.

    Raises StorageFault.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        try:
            share(handle, mode, group)
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageFault(f"{kind.name} {path}: {error.strerror}") from error
    return True


def share(handle: int, mode: int, group: int) -> None:
    """Give an open file a mode and, where it is not -1 and may be given, a group; else it stays private.

    A folder gives its files their group by itself (setgid), and services may not call chown (docs/service.md).
    """
    try:
        if os.fstat(handle).st_gid != group:
            os.fchown(handle, -1, group)
    except PermissionError:
        mode = PRIVATE
    os.fchmod(handle, mode)


def chunks(  # noqa: PLR0913 - limits by name
    db: sqlite3.Connection,
    statement: str,
    last: int,
    stopped: Callable[[], bool] = lambda: False,
    step: int = 32,
    *,
    end: int = LAST_ID,
) -> Iterator[tuple[int, list[tuple[object, ...]]]]:
    """Rows of a damaged table after `last` in order of their ids, and how far they go.

    `statement` gives rows that begin with their id, after the first parameter, as many as the second says. Where pages
    cannot be read, it leaps ahead, by `step` and twice as far each time, until something can be again.
    """
    leap = 0
    while last < end and not stopped():
        rows: list[tuple[object, ...]] = []
        whole = False
        with suppress(*FAILURES):
            # One by one: what came before the page that cannot be read is kept.
            for row in db.execute(statement, (last, CHUNK)):
                rows += (row,)
            whole = True
        ids = [row[0] for row in rows if isinstance(row[0], int) and row[0] > last]
        if whole and not ids:
            return
        leap = 0 if ids else max(step, leap * 2)
        last = max(ids, default=last) + leap
        yield last, rows


def in_place(path: Path, identity: tuple[int, int]) -> bool:
    """Tell whether a path still names the file of this device and inode."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == identity


def files_of(path: Path) -> list[Path]:
    """What belongs to an SQLite file and is there: itself, its log, the index of its log."""
    return [file for file in (path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm"))) if file.exists()]


def set_aside_before(path: Path) -> list[Path]:
    """Damaged files that were set aside, oldest first."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}.damaged-*Z"))


def set_aside(path: Path) -> Path:
    """Rename the file and its log to `<name>.damaged-<UTC>`; raises OSError. The log first: alone it is harmless."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("-wal", ""):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    Path(f"{path}-shm").unlink(missing_ok=True)
    sync_folder(path.parent)
    _forget_older(path)
    return aside


def _forget_older(path: Path) -> None:
    """Keep the newest few damaged files: a failing card must not fill itself with them."""
    for old in set_aside_before(path)[:-KEPT_ASIDE]:
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{old}{suffix}").unlink()


def _check(db: sqlite3.Connection, path: Path, kind: Kind, version: int) -> None:
    ours = db.execute("PRAGMA application_id").fetchone()[0] == kind.application_id
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not ours and not tables & kind.tables:
        raise kind.error(f"{path} is a database of another program: set [{kind.name}] path to a file of its own")
    try:
        sealed = int(unseal(db.execute("SELECT data FROM meta WHERE id = ?", (SCHEMA,)).fetchone()[0], SCHEMA))
    except (Corrupt, TypeError, ValueError) as error:
        raise Damaged(f"{path}: its version cannot be read") from error
    if not ours or sealed != version:
        raise Damaged(f"{path}: its header is not the one that was written")
    if version > len(kind.steps):
        raise kind.error(
            f"{path} was written by a newer meterd (schema {version}, this one knows {len(kind.steps)}):"
            f" install that version again, or set [{kind.name}] path to a new file"
        )


def _empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)
