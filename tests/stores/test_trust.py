"""What admitted readings: committed with them, restored, and absent in journals of before."""

import sqlite3
from pathlib import Path

from gateway.stores.journal import Journal
from gateway.stores.rows import seal
from gateway.stores.schema import SCHEMA, STEPS, connect


def opened(path: Path, trust: dict[str, bytes] | None = None) -> Journal:
    journal = Journal(
        path, max_bytes=1 << 24, max_age_s=86_400, group_s=10, meters=["main"], save_trust=lambda: dict(trust or {})
    )
    journal.start()
    return journal


def test_it_is_committed_with_the_group_and_restored(tmp_path: Path) -> None:
    trust = {"main": b"one", "garage": b"other"}
    journal = opened(tmp_path / "journal.db", trust)
    assert journal.trust("main") is None
    journal.cut()
    trust["main"] = b"two"
    journal.cut()
    trust["main"] = b"three, which is not cut"
    assert journal.flush()
    trust["main"] = b"four"
    assert journal.close()
    journal = opened(tmp_path / "journal.db")
    assert (journal.trust("main"), journal.trust("garage"), journal.trust("none")) == (b"four", b"other", None)
    journal.close()


def test_an_unchanged_state_is_not_written_again(tmp_path: Path) -> None:
    trust = {"main": b"same" * 500}
    journal = opened(tmp_path / "journal.db", trust)
    journal.cut()
    journal.close()
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("CREATE TRIGGER t BEFORE INSERT ON trust BEGIN SELECT raise(ABORT, 'written again'); END")
    db.close()
    journal = opened(tmp_path / "journal.db", trust)
    journal.cut()
    assert journal.close()
    assert journal.status()["trouble"] is None


def test_a_journal_of_before_opens(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    opened(path).close()
    db = connect(path)
    db.execute("DROP TABLE trust")
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SCHEMA, seal(b"1", SCHEMA)))
    db.execute("PRAGMA user_version = 1")
    db.close()
    journal = opened(path, {"main": b"new"})
    assert journal.trust("main") is None
    journal.cut()
    assert journal.close()
    journal = opened(path)
    assert journal.trust("main") == b"new"
    assert journal.status()["notices"] == []
    journal.close()
    db = connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    db.close()


def test_a_damaged_state_sets_the_file_aside_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path, {"main": b"good"})
    journal.cut()
    journal.close()
    db = connect(path)
    db.execute("UPDATE trust SET data = x'00112233445566'")
    db.close()
    journal = opened(path)
    assert journal.trust("main") is None
    assert any("was damaged" in notice for notice in journal.status()["notices"])
    journal.close()
