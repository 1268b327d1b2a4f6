"""The journal as an SQLite file: its tables, how they came about, how it is opened, and what can go wrong with it."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from gateway.stores.rows import Corrupt, seal, unseal

#: "mtj1" in the header of the file
APPLICATION_ID = 0x6D746A31
#: small pages, because a commit writes whole pages and a group of ten readings fills two
PAGE_SIZE = 1024
CACHE_KIB = 1024
CHECKPOINT_PAGES = 2048
WAL_LIMIT = 4 * 1024 * 1024
BUSY_MS = 2_000

#: rows of `meta`
SCHEMA, SALT, STORE = 1, 2, 3
#: `record.meter` of a row that holds the counters of every meter at the end of its group
COUNTERS = 0

#: The statements that lead from schema n to n + 1. Steps are only ever added. `data` ends with a CRC-32 (rows.seal).
STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE meter (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE layout (id INTEGER PRIMARY KEY, data BLOB NOT NULL)",
        "CREATE TABLE record (id INTEGER PRIMARY KEY, meter INTEGER NOT NULL, t INTEGER NOT NULL, data BLOB NOT NULL)",
    ),
    # what admitted the readings of a meter: its receive counters (gateway.trust)
    ("CREATE TABLE trust (meter INTEGER PRIMARY KEY, data BLOB NOT NULL)",),
    # its sub-meters: which device is on which channel, and its last reading (gateway.sub_meters)
    ("CREATE TABLE sub_meter (meter INTEGER PRIMARY KEY, data BLOB NOT NULL)",),
)
#: tables of what a meter goes on from after a restart, one row for each; both parts of the journal know them by name
KEPT = ("trust", "sub_meter")

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


class JournalError(Exception):
    """The journal cannot be used as configured: one sentence that says what, where and what to do."""


class Damaged(Exception):  # noqa: N818 - a state of the file, found out by reading it
    """The file is not what was written to it."""


class StorageFault(Exception):  # noqa: N818 - a state of the medium, which may pass
    """The medium does not take or give data at the moment."""


def told(error: Exception, path: Path) -> Damaged | StorageFault:
    """Say what an error of SQLite means: every statement is a constant, so that a wrong one means a wrong file."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK):
        return Damaged(f"{path}: its header calls it read-only")
    if code in MEDIUM:
        return StorageFault(f"journal {path}: {MEDIUM[code]} ({error})")
    return Damaged(f"{path}: {error}")


def connect(path: Path, options: str = "mode=rw") -> sqlite3.Connection:
    """Open the file, in autocommit mode. Raises FAILURES."""
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
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


def migrate(
    db: sqlite3.Connection, path: Path, steps: tuple[tuple[str, ...], ...] = STEPS, *, fresh: bool = False
) -> None:
    """Bring the tables to this version, in one transaction. Raises JournalError for a file that is not ours, or newer.

    Only a `fresh` file may be empty: another one lost what it had.

    The version stands twice, in the header and sealed in `meta`: where the two disagree the file is damaged, not newer.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not version and _empty(db):
        if not fresh:
            raise Damaged(f"{path}: it is empty")
    else:
        _check(db, path, version, len(steps))
    if version == len(steps):
        return
    db.execute("BEGIN IMMEDIATE")
    for step in steps[version:]:
        for statement in step:
            db.execute(statement)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SCHEMA, seal(str(len(steps)).encode(), SCHEMA)))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(steps)}")
    db.execute("COMMIT")


def _check(db: sqlite3.Connection, path: Path, version: int, known: int) -> None:
    ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not ours and not tables & {b"meta", b"meter", b"layout", b"record"}:
        raise JournalError(f"{path} is a database of another program: set [journal] path to a file of its own")
    try:
        sealed = int(unseal(db.execute("SELECT data FROM meta WHERE id = ?", (SCHEMA,)).fetchone()[0], SCHEMA))
    except (Corrupt, TypeError, ValueError) as error:
        raise Damaged(f"{path}: its version cannot be read") from error
    if not ours or sealed != version:
        raise Damaged(f"{path}: its header is not the one that was written")
    if version > known:
        raise JournalError(
            f"{path} was written by a newer meterd (schema {version}, this one knows {known}):"
            " install that version again, or set [journal] path to a new file"
        )


def _empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)
