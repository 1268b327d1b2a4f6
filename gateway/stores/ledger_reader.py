"""Reading the ledger while others write it: read-only, in the order in which things were noted."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.stores.files import FAILURES, connect_readonly
from gateway.stores.ledger_file import APPLICATION_ID, STEPS, read_breaks, read_entries
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_rows import Break, Written, unpack
from gateway.stores.rows import Corrupt


class Noted(NamedTuple):
    """An entry of the metrology log: its position, and what was noted, or None where that cannot be read any more."""

    id: int
    written: Written | None


class LedgerReader:
    """The metrology log of a ledger.

    Raises LedgerError at construction (no such file, not a ledger) and while reading (it cannot be read).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise LedgerError(f"there is no ledger at {self.path}: name it with --ledger, or the configuration with -c")
        try:
            db = connect_readonly(self.path)
        except FAILURES as error:
            raise self._unreadable(error) from error
        try:
            self._check(db)
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        try:
            ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            version = db.execute("PRAGMA user_version").fetchone()[0]
        except FAILURES as error:
            raise self._unreadable(error) from error
        if not ours:
            raise LedgerError(f"{self.path} is not a ledger of meterd")
        if version > len(STEPS):
            raise LedgerError(
                f"{self.path} was written by a newer meterd (schema {version}, this one knows {len(STEPS)})"
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __iter__(self) -> Iterator[Noted]:
        """Yield every entry in its order."""
        try:
            for entry in read_entries(self._db):
                try:
                    yield Noted(entry.id, unpack(entry))
                except Corrupt:
                    yield Noted(entry.id, None)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def breaks(self) -> list[Break]:
        """Walk the chain: where the log is not what was written."""
        try:
            return read_breaks(self._db)
        except FAILURES as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> LedgerError:
        return LedgerError(f"the ledger {self.path} cannot be read: {error}")
