"""Reading the journal while the daemon writes it: read-only, a page of rows at a time, in the order of receipt."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.item_p import ItemP
from gateway.stores.apart import decode_letter, decode_quarantined
from gateway.stores.cursors import DeadLetter
from gateway.stores.rows import Corrupt, unpack, unseal
from gateway.stores.schema import APPLICATION_ID, COUNTERS, FAILURES, SALT, STEPS, JournalError, connect_readonly
from gateway.stores.state import read_layout, read_meters

PAGE_ROWS = 500
KEPT_LAYOUTS = 256


class Layouts:
    """Layouts by their number, read when first asked for. Raises Corrupt."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[int, bytes] = {}

    def __call__(self, number: int) -> bytes:
        """Give a layout by its number."""
        if number not in self._known:
            if len(self._known) == KEPT_LAYOUTS:
                self._known.clear()
            try:
                self._known[number] = read_layout(self._db, number)
            except FAILURES as error:
                raise Corrupt("its layout cannot be read") from error
        return self._known[number]


class Reader:
    """The readings of a journal, of one meter or all, with since <= t < until (aware, or None: open).

    Iterating never holds a transaction open while the caller works, so that the log of the daemon stays bounded.
    Raises JournalError at construction (no such file, not a journal) and while iterating (it cannot be read).
    """

    def __init__(
        self, path: Path, meter: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> None:
        #: rows that are not what was written, and were left out
        self.damaged = 0
        self.path = path
        self._since, self._until = since, until
        self._db = _open(path)
        self._layout = Layouts(self._db)
        try:
            self._names, self.salt = self._head()
        except BaseException:
            self._db.close()
            raise
        self._others = {number: name for number, name in self._names.items() if meter not in (None, name)}

    @property
    def meters(self) -> list[str]:
        """Names of the meters that the journal knows."""
        return sorted(self._names.values())

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __iter__(self) -> Iterator[ItemP]:
        """Yield readings in the order in which they were received."""
        last = 0
        while rows := self._page(last):
            last = rows[-1][0]
            for _, number, t, data in rows:
                item = self._item(number, t, data)
                if item is not None and self._in_time(item):
                    yield item

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield what a sink could not take, oldest first; empty in a journal of before."""
        for meter, sealed in self._apart("dead_letter"):
            try:
                yield decode_letter(sealed, meter)
            except Corrupt:
                self.damaged += 1

    def quarantine(self) -> Iterator[tuple[ItemP, str]]:
        """Yield the readings that cannot be, oldest first, each with the reason; empty in a journal of before."""
        for meter, sealed in self._apart("quarantine"):
            try:
                packed, reason = decode_quarantined(sealed, meter)
                yield unpack(packed, meter, self._layout), reason
            except Corrupt:
                self.damaged += 1

    def _apart(self, table: str) -> Iterator[tuple[str, object]]:
        """Meter and sealed data of what stands apart."""
        try:
            there = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            rows = self._db.execute(f"SELECT meter, data FROM {table} ORDER BY id").fetchall() if there else []  # noqa: S608 - of apart.TABLES
        except FAILURES as error:
            raise _unreadable(self.path, error) from error
        return ((self._names[number], sealed) for number, sealed in rows if number in self._names)

    def _head(self) -> tuple[dict[int, str], bytes]:
        try:
            ours = self._db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if not ours:
                raise JournalError(f"{self.path} is not a journal of meterd")
            if version > len(STEPS):
                raise JournalError(
                    f"{self.path} was written by a newer meterd (schema {version}, this one knows {len(STEPS)})"
                )
            salt = self._db.execute("SELECT data FROM meta WHERE id = ?", (SALT,)).fetchone()
            meters = {number: meter.name for number, meter in read_meters(self._db).items()}
            return meters, b"" if salt is None else unseal(salt[0], SALT)
        except (*FAILURES, Corrupt) as error:
            raise _unreadable(self.path, error) from error

    def _page(self, last: int) -> list[tuple[int, object, object, object]]:
        """A page of rows, less those of other meters, those of a time that is not asked for, and counters.

        The time in whole seconds is a first sieve, `_in_time` the exact one. Without limits there is no sieve: a row
        whose columns are damaged is found.
        """
        others = ",".join("?" * len(self._others))
        since = "" if self._since is None else f"AND t >= {int(self._since.timestamp()) - 1}"
        until = "" if self._until is None else f"AND t <= {int(self._until.timestamp()) + 1}"
        try:
            return self._db.execute(
                f"SELECT id, meter, t, data FROM record WHERE id > ? AND ifnull(meter, -1) NOT IN ({others})"  # noqa: S608 - numbers
                f" AND NOT (meter = {COUNTERS} AND t = 0) {since} {until} ORDER BY id LIMIT ?",
                (last, *self._others, PAGE_ROWS),
            ).fetchall()
        except FAILURES as error:
            raise _unreadable(self.path, error) from error

    def _item(self, number: object, t: object, sealed: object) -> ItemP | None:
        try:
            meter, data = self._opened(number, t, sealed)
            return None if meter in self._others.values() else unpack(data, meter, self._layout)
        except Corrupt:
            self.damaged += not _is_counters(sealed)
            return None

    def _opened(self, number: object, t: Any, sealed: object) -> tuple[str, bytes]:
        """Meter and data of a row; where the number of its meter is damaged, the seal tells whose it is."""
        named = self._names.get(number) if isinstance(number, int) else None
        for meter in (named, *self._names.values()) if named else self._names.values():
            with suppress(Corrupt):
                return meter, unseal(sealed, meter, t)
        raise Corrupt("a row is damaged: no meter has sealed it")

    def _in_time(self, item: ItemP) -> bool:
        if item.t is None:
            return self._since is None and self._until is None
        return (self._since is None or item.t >= self._since) and (self._until is None or item.t < self._until)


def _is_counters(sealed: object) -> bool:
    with suppress(Corrupt):
        unseal(sealed, COUNTERS)
        return True
    return False


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}: name it with --journal, or the configuration with -c")
    try:
        return connect_readonly(path)
    except FAILURES as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> JournalError:
    return JournalError(f"the journal {path} cannot be read: {error}")
