"""The judge of a trial, a process of its own: what two files hold, read by SQLite and nothing of meterd.

It knows the layout of the tables and their checksums from docs/ledger.md and docs/journal.md, and prints one JSON
object. Opening a file recovers its log, as every reader does.
"""

import hashlib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

#: 2026-01-01T00:00:00Z, the time of reading 0
START = 1_767_225_600
METER = "main"


def main() -> None:
    """Judge the files of a folder; the second argument is the time between two readings."""
    folder, interval_s = Path(sys.argv[1]), int(sys.argv[2])
    print(json.dumps({"ledger": ledger(folder / "ledger.db"), "journal": journal(folder / "journal.db", interval_s)}))


def ledger(path: Path) -> dict[str, Any]:
    """Entries with their hashes, each checked against the one before it; `wrong` names what is not in order."""
    db = opened(path)
    if db is None:
        return {"integrity": "absent", "entries": 0, "wrong": []}
    wrong = []
    identity = data_of(db, "SELECT data FROM meta WHERE id = 2", (2,), wrong)
    before, last, hashes = hashlib.sha256(identity).digest(), 0, {}
    for number, data, chain in db.execute("SELECT id, data, chain FROM event ORDER BY id"):
        if number != last + 1 or not intact(data, ("event", number)):
            wrong.append(f"entry {number} after {last}")
        if hashlib.sha256(before + data).digest() != chain:
            wrong.append(f"the chain breaks at {number}")
        before, last = chain, number
        hashes[number] = chain.hex()
    end = data_of(db, "SELECT data FROM meta WHERE id = 3", (3,), wrong)
    if last and end != last.to_bytes(8, "big") + before:
        wrong.append("the end of the chain is not its last entry")
    return {"integrity": integrity(db), "entries": last, "wrong": wrong, "hashes": hashes}


def journal(path: Path, interval_s: int) -> dict[str, Any]:
    """Readings by their numbers: they must follow each other without a gap, each once."""
    db = opened(path)
    if db is None:
        return {"integrity": "absent", "first": 0, "readings": 0, "wrong": []}
    wrong = []
    numbers = []
    for meter, t, data in db.execute("SELECT meter, t, data FROM record WHERE meter > 0 ORDER BY id"):
        numbers.append((t - START) // interval_s)
        if not intact(data, (METER, t)):
            wrong.append(f"the row of reading {numbers[-1]} of meter {meter} is damaged")
    first = numbers[0] if numbers else 0
    if numbers != list(range(first, first + len(numbers))):
        wrong.append("readings are missing, double or out of order")
    return {"integrity": integrity(db), "first": first, "readings": len(numbers), "wrong": wrong}


def opened(path: Path) -> sqlite3.Connection | None:
    """The file, None where there is none or nothing is in it yet."""
    if not path.exists():
        return None
    db = sqlite3.connect(path)
    if not db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('event', 'record')").fetchone()[0]:
        return None
    return db


def integrity(db: sqlite3.Connection) -> str:
    """PRAGMA integrity_check, which reads all of the file."""
    return str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])


def data_of(db: sqlite3.Connection, query: str, context: tuple[Any, ...], wrong: list[str]) -> bytes:
    """The data of one row without its checksum; nothing where the row is not there."""
    found = db.execute(query).fetchone()
    if found is None:
        return b""
    if not intact(found[0], context):
        wrong.append(f"{query} is damaged")
    return bytes(found[0][:-4])


def intact(data: bytes, context: tuple[Any, ...]) -> bool:
    """Tell whether the four octets at the end are the CRC-32 of the others, begun with that of the context."""
    return crc32(data[:-4], crc32(repr(context).encode())) == int.from_bytes(data[-4:], "big")


if __name__ == "__main__":
    main()
