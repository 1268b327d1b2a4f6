"""Journals of earlier versions, as those wrote them: they open whole, and an end at any statement leaves them whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.item_p import ItemP
from gateway.stores.journal import Journal, JournalError
from gateway.stores.reader import Reader
from gateway.stores.rows import EPOCH, Interner, pack, seal
from gateway.stores.schema import APPLICATION_ID, SCHEMA, STEPS, connect
from gateway.telemetry import MeterCounters
from tests.stores.account import check

MakeItem = Callable[..., ItemP]
MakeJournal = Callable[..., Journal]

SALT = bytes(range(16))
FIRST, LAST = 40, 140


def write_old(path: Path, version: int, item: MakeItem, *, wal: bool = False) -> list[ItemP]:
    """Make a journal as meterd of schema 1 to 3 left it: readings 40 to 139 of 140, the rest evicted."""
    db = connect(path, "mode=rwc")
    db.execute("PRAGMA page_size = 1024")
    db.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
    db.execute("BEGIN")
    for step in STEPS[:version]:
        for statement in step:
            db.execute(statement)
    db.execute("INSERT INTO meta VALUES (?, ?)", (SCHEMA, seal(str(version).encode(), SCHEMA)))
    db.execute("INSERT INTO meta VALUES (2, ?)", (seal(SALT, 2),))
    db.execute("INSERT INTO meta VALUES (3, ?)", (seal(b"identity", 3),))
    db.execute("INSERT INTO meter VALUES (1, ?)", (seal(msgspec.msgpack.encode(("main", 100_140)), "meter", 1),))
    interner = Interner({}, 1)
    made = [item(n) for n in range(FIRST, LAST)]
    at = FIRST + 4
    names = msgspec.msgpack.encode(("decoded", "fault.link.checksum"))
    for group in range(0, len(made), 10):
        for one in made[group : group + 10]:
            assert one.t is not None
            t = int((one.t - EPOCH).total_seconds())
            row = seal(pack(one, interner), "main", t)
            db.execute("INSERT INTO record VALUES (?, 1, ?, ?)", (at, t, row))
            at += 1
        stored = FIRST + group + 10
        counted = msgspec.msgpack.encode([(1, names, (stored + 2, 7), (stored, 2, FIRST))])
        db.execute("INSERT INTO record VALUES (?, 0, 0, ?)", (at, seal(counted, 0)))
        at += 1
    for number, data in interner.layouts.items():
        db.execute("INSERT INTO layout VALUES (?, ?)", (number, seal(data, "layout", number)))
    if version >= 2:
        db.execute("INSERT INTO trust VALUES (1, ?)", (seal(b"trusted", "trust", 1),))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")
    db.execute("COMMIT")
    db.close()
    return made


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_journal_of_before_goes_on(version: int, journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    made = write_old(path, version, item)
    counters = MeterCounters()
    kept = journal(path, save_counters=lambda: {"main": counters.as_dict()})
    counters.restore(kept.counters("main"))
    assert kept.salt == SALT
    assert kept.trust("main") == (b"trusted" if version >= 2 else None)
    assert (kept.stored("main"), kept.lost("main"), kept.evicted("main")) == (140, 2, 40)
    assert kept.next_seq("main") == 100_141
    outbox = kept.outbox("influx")
    assert outbox.store == b"identity".hex()
    page = outbox.page()
    assert [entry.item for entry in page] == made
    outbox.settle(page[59].id, delivered={"main": 60})
    kept.append(item(LAST, seq=200_000))
    counters.add("received")
    assert kept.flush(60)
    account = kept.conservation()
    assert account["holds"], account
    assert account["meters"]["main"]["received"] == 140 + 2 + 7 + 1
    assert account["sinks"]["influx"]["main"] == {"delivered": 60, "pending": 41, "evicted": 40, "dead_letter": 0}
    assert kept.close(60)
    assert kept.status()["notices"] == []
    check(path)
    reader = Reader(path)
    assert list(reader) == [*made, item(LAST, seq=200_000)]
    reader.close()


def test_rows_that_the_counters_of_before_did_not_know_are_counted(
    journal: MakeJournal, item: MakeItem, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    write_old(path, 3, item)
    db = connect(path)
    db.execute("DELETE FROM record WHERE meter = 1 AND id < 60")
    db.execute("DELETE FROM record WHERE meter = 0")
    db.close()
    kept = journal(path)
    outbox = kept.outbox("influx")
    assert kept.flush(60)
    left = len(outbox.page())
    outbox.settle(outbox.page()[9].id, delivered={"main": 10})
    assert kept.conservation()["meters"]["main"]["stored"] == left
    assert kept.conservation()["sinks"]["influx"]["main"]["pending"] == left - 10
    assert kept.close(60)
    check(path)


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from gateway.stores import files
from gateway.stores.database import Database
path, n = Path(sys.argv[1]), int(sys.argv[2])
seen = 0
def count(statement):
    global seen
    seen += 1
    if seen == n:
        os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
def traced(*args, **kwargs):
    db = connect(*args, **kwargs)
    db.set_trace_callback(count)
    return db
sqlite3.connect = traced
Database(path, max_bytes=64 << 20, max_age_s=10**9)
print(seen)
os._exit(0)
"""


@pytest.mark.timeout(400)
def test_an_end_at_any_statement_of_a_migration_leaves_the_journal_whole(
    journal: MakeJournal, item: MakeItem, tmp_path: Path, checkout: Path
) -> None:
    for n in range(1, 200):
        path = tmp_path / f"{n}" / "journal.db"
        path.parent.mkdir()
        made = write_old(path, 1, item, wal=n % 2 == 0)
        run = [sys.executable, "-c", KILLED, str(path), str(n)]
        ended = subprocess.run(run, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
        db = connect(path)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.close()
        assert version in (1, len(STEPS)), n
        kept = journal(path)
        assert kept.status()["notices"] == [], n
        assert [entry.item for entry in kept.outbox("influx").page()] == made
        assert kept.close(60)
        if ended.returncode == 0:
            assert n > len(STEPS[1:]) + 4, "the migration was not cut at each of its statements"
            return
        assert ended.returncode == -9, ended.stderr
    pytest.fail("it never came to its end")


def test_a_schema_from_the_future_is_refused_and_left_alone(
    journal: MakeJournal, item: MakeItem, tmp_path: Path
) -> None:
    path = tmp_path / "journal.db"
    write_old(path, 3, item)
    newer = len(STEPS) + 1
    db = connect(path)
    db.execute("UPDATE meta SET data = ? WHERE id = ?", (seal(str(newer).encode(), SCHEMA), SCHEMA))
    db.execute(f"PRAGMA user_version = {newer}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=rf"newer meterd \(schema {newer}, this one knows {newer - 1}\): install"):
        journal(path)
    assert path.read_bytes()[100:] == before[100:]
