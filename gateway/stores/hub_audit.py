"""The audit log of what went to hubs: who did what when, with ids and hashes; every entry is chained to the one before.

It is a log like the metrology log (ledger_rows), in a table of its own: whoever changes, deletes or moves an entry
breaks the chain there. An entry holds ids of documents, SHA-256 of what was sent and of what was answered, the HTTP
status, the serial number of the certificate and the operator of a manual action; no quantity, no name of a customer and
no identification of a metering point, so that it can be kept when these are forgotten.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from gateway.stores import files
from gateway.stores import hub_words as words
from gateway.stores.files import FAILURES, Damaged, StorageFault, StoreError
from gateway.stores.ledger_file import IDENTITY, LEDGER, read_meta
from gateway.stores.ledger_rows import Break, Entry, Fact, Note, genesis, link, pack, unpack, verify
from gateway.stores.rows import Corrupt, seal

#: its table, and the row of `meta` that holds where it ends
TABLE: Final = "hub_event"
#: the entry that a hub has another name from then on: it was `before`
RENAMED: Final = "renamed"
END: Final = 5
#: what the chain begins with, beside the identity of the ledger
LABEL: Final = b"hub"


class Audited(NamedTuple):
    """An entry as it is read; `what` is None where it cannot be read any more."""

    id: int
    at: str
    #: "staged", "sent", "answered", "cancelled", "retried", "permission", "ended", "received" ...
    what: str | None
    hub: str | None
    who: str
    facts: Mapping[str, Fact]


class AuditLog:
    """The audit log of an open ledger. Reading raises Damaged and StorageFault."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def append(self, what: str, hub: str | None, who: str, at: float, facts: Mapping[str, Fact]) -> None:
        """Append an entry within a transaction. Raises Corrupt, FAILURES."""
        told = {name: words.plain(value) for name, value in {"who": who, **facts}.items()}
        append(self._db, [Note(what, hub, datetime.fromtimestamp(at, UTC), told)])

    @property
    def last(self) -> int:
        """The position of the last entry."""
        try:
            return end(self._db)[0]
        except FAILURES as error:
            raise self._told(error) from error
        except Corrupt as error:
            raise Damaged(f"{self._path}: {error}") from error

    def entries(self, after: int = 0) -> Iterator[Audited]:
        """Entries behind a position, in their order."""
        try:
            for entry in read(self._db, after):
                yield _audited(entry)
        except FAILURES as error:
            raise self._told(error) from error

    def verify(self) -> list[Break]:
        """Walk the chain as it is at this moment: where the log is not what was written."""
        try:
            self._db.execute("BEGIN")
            try:
                return verify(read(self._db), identity(self._db), _end(self._db), TABLE)
            finally:
                self._db.execute("ROLLBACK")
        except FAILURES as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Damaged | StorageFault | StoreError:
        return files.told(error, self._path, LEDGER)


def append(db: sqlite3.Connection, notes: Iterable[Note]) -> None:
    """Append entries within a transaction. Raises Corrupt, FAILURES."""
    position, chain = end(db)
    for note in notes:
        position += 1
        sealed = pack(note, position, TABLE)
        chain = link(chain, sealed)
        db.execute("INSERT INTO hub_event VALUES (?, ?, ?)", (position, sealed, chain))
    put_end(db, position, chain)


def end(db: sqlite3.Connection) -> tuple[int, bytes]:
    """Position and hash of the last entry; behind it the log goes on. Raises Corrupt, FAILURES."""
    found = db.execute("SELECT id, chain FROM hub_event WHERE id = (SELECT max(id) FROM hub_event)").fetchone()
    said = read_meta(db, END)
    if said is not None and (found is None or found[0] < int.from_bytes(said[:8], "big")):
        # entries were taken from the end: the log goes on behind their places, so that it shows
        return int.from_bytes(said[:8], "big"), said[8:]
    return (0, genesis(identity(db))) if found is None else (found[0], bytes(found[1]))


def put_end(db: sqlite3.Connection, position: int, chain: bytes) -> None:
    """Keep where the log ends."""
    data = seal(position.to_bytes(8, "big") + chain, END)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (END, data))


def read(db: sqlite3.Connection, after: int = 0) -> Iterator[Entry]:
    """Entries behind a position, a page at a time. Raises FAILURES."""
    statement = "SELECT id, data, chain FROM hub_event WHERE id > ? ORDER BY id LIMIT 500"
    while rows := db.execute(statement, (after,)).fetchall():
        yield from (Entry(*row) for row in rows)
        after = rows[-1][0]


def identity(db: sqlite3.Connection) -> bytes:
    """What the chain of this ledger begins with. Raises FAILURES."""
    with suppress(Corrupt):
        return (read_meta(db, IDENTITY) or b"") + LABEL
    return LABEL


def _end(db: sqlite3.Connection) -> bytes | None:
    """Where the log ended when it was written last; of one that was never begun: before its first entry."""
    with suppress(Corrupt):
        said = read_meta(db, END)
        tables = ("hub_event", "hub_message", "hub_permission", "hub_inbound")
        if said is None and not any(db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables):  # noqa: S608
            return bytes(8) + genesis(identity(db))
        return said
    return None


def _audited(entry: Entry) -> Audited:
    try:
        written = unpack(entry, TABLE)
    except Corrupt:
        return Audited(entry.id, "", None, None, "", {})
    facts = dict(written.facts)
    return Audited(entry.id, written.t, written.event, written.meter, str(facts.pop("who", "")), facts)
