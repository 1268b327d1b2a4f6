"""What admitted readings, and what is known of sub-meters: committed with them, restored, absent in older journals."""

import sqlite3
from pathlib import Path

from gateway.stores.journal import Journal
from gateway.stores.rows import seal
from gateway.stores.schema import SALT, SCHEMA, STEPS, connect
from gateway.stores.state import salvage_state


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
    assert journal.flush(60)
    trust["main"] = b"four"
    assert journal.close(60)
    journal = opened(tmp_path / "journal.db")
    assert (journal.trust("main"), journal.trust("garage"), journal.trust("none")) == (b"four", b"other", None)
    journal.close(60)


def test_an_unchanged_state_is_not_written_again(tmp_path: Path) -> None:
    trust = {"main": b"same" * 500}
    journal = opened(tmp_path / "journal.db", trust)
    journal.cut()
    journal.close(60)
    db = sqlite3.connect(tmp_path / "journal.db")
    db.execute("CREATE TRIGGER t BEFORE INSERT ON trust BEGIN SELECT raise(ABORT, 'written again'); END")
    db.close()
    journal = opened(tmp_path / "journal.db", trust)
    journal.cut()
    assert journal.close(60)
    assert journal.status()["trouble"] is None


def test_a_journal_of_before_opens(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    opened(path).close(60)
    db = connect(path)
    db.execute("DROP TABLE trust")
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SCHEMA, seal(b"1", SCHEMA)))
    db.execute("PRAGMA user_version = 1")
    db.close()
    journal = opened(path, {"main": b"new"})
    assert journal.trust("main") is None
    journal.cut()
    assert journal.close(60)
    journal = opened(path)
    assert journal.trust("main") == b"new"
    assert journal.status()["notices"] == []
    journal.close(60)
    db = connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    db.close()


def test_a_damaged_state_sets_the_file_aside_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path, {"main": b"good"})
    journal.cut()
    journal.close(60)
    db = connect(path)
    db.execute("UPDATE trust SET data = x'00112233445566'")
    db.close()
    journal = opened(path)
    assert journal.trust("main") is None
    assert any("was damaged" in notice for notice in journal.status()["notices"])
    journal.close(60)


def test_what_is_known_of_sub_meters_is_kept_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(
        path, max_bytes=1 << 24, max_age_s=86_400, group_s=10, meters=["main"],
        save_trust=lambda: {"main": b"trust"}, save_sub_meters=lambda: {"main": b"subs"},
    )  # fmt: skip
    journal.start()
    assert journal.sub_meters("main") is None
    journal.cut()
    assert journal.close(60)
    journal = opened(path)
    assert (journal.trust("main"), journal.sub_meters("main")) == (b"trust", b"subs")
    journal.close(60)


def test_a_damaged_file_of_before_still_gives_what_admitted_its_readings(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = opened(path, {"main": b"trust"})
    journal.cut()
    journal.close(60)
    db = connect(path)
    db.execute("DROP TABLE sub_meter")
    db.execute("INSERT OR REPLACE INTO record VALUES (9, 0, 0, x'00')")
    db.close()
    assert salvage_state(path).kept == {("trust", "main"): b"trust"}


def test_pseudonyms_of_a_salt_that_is_lost_are_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(
        path, max_bytes=1 << 24, max_age_s=86_400, group_s=10, meters=["main"],
        save_trust=lambda: {"main": b"trust"}, save_sub_meters=lambda: {"main": b"subs"},
    )  # fmt: skip
    journal.start()
    journal.cut()
    journal.close(60)
    db = connect(path)
    db.execute("UPDATE meta SET data = x'00' WHERE id = ?", (SALT,))
    db.close()
    assert salvage_state(path).kept == {("trust", "main"): b"trust"}
