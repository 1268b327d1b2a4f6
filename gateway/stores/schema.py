"""The journal as an SQLite file: its tables, and how they came about."""

import sqlite3
from dataclasses import replace
from pathlib import Path

from gateway.stores import files
from gateway.stores.files import (
    CACHE_KIB,
    CHECKPOINT_PAGES,
    FAILURES,
    MEDIUM,
    PAGE_SIZE,
    SCHEMA,
    WAL_LIMIT,
    Damaged,
    Kind,
    StorageFault,
    StoreError,
    configure,
    connect,
    connect_readonly,
)

__all__ = [
    "CACHE_KIB",
    "CHECKPOINT_PAGES",
    "FAILURES",
    "JOURNAL",
    "MEDIUM",
    "PAGE_SIZE",
    "SCHEMA",
    "WAL_LIMIT",
    "Damaged",
    "JournalError",
    "StorageFault",
    "configure",
    "connect",
    "connect_readonly",
    "migrate",
    "told",
]

#: "mtj1" in the header of the file
APPLICATION_ID = 0x6D746A31

#: rows of `meta`, beside SCHEMA
SALT, STORE, FLOOR, IDS = 2, 3, 4, 5
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
    # what no sink gets: readings that cannot be, and those that a sink could not take (gateway.stores.apart)
    (
        "CREATE TABLE quarantine (id INTEGER PRIMARY KEY, meter INTEGER NOT NULL, data BLOB NOT NULL)",
        "CREATE TABLE dead_letter (id INTEGER PRIMARY KEY, meter INTEGER NOT NULL, data BLOB NOT NULL)",
    ),
    # its registers and who it is: what the next reading must go on from (gateway.plausibility)
    ("CREATE TABLE series (meter INTEGER PRIMARY KEY, data BLOB NOT NULL)",),
)
#: tables of what a meter goes on from after a restart, one row for each; both parts of the journal know them by name
KEPT = ("trust", "sub_meter", "series")


class JournalError(StoreError):
    """The journal cannot be used as configured: one sentence that says what, where and what to do."""


JOURNAL = Kind("journal", APPLICATION_ID, frozenset({b"meter", b"layout", b"record"}), STEPS, JournalError)


def told(error: Exception, path: Path) -> Damaged | StorageFault:
    """Say what an error of SQLite means for the journal."""
    return files.told(error, path, JOURNAL)


def migrate(
    db: sqlite3.Connection, path: Path, steps: tuple[tuple[str, ...], ...] = STEPS, *, fresh: bool = False
) -> None:
    """Bring the tables of the journal to this version (files.migrate)."""
    files.migrate(db, path, replace(JOURNAL, steps=steps), fresh=fresh)
