"""The ledger: the chain of the metrology log, two processes that write, rights, damage, faults of the medium."""

import errno
import grp
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.beats import STEP_S, Beats
from gateway.cli import main
from gateway.stores import files, ledger, ledger_place
from gateway.stores.files import StorageFault
from gateway.stores.journal import Journal, JournalError
from gateway.stores.ledger import BURST, MAX_QUEUED, Ledger
from gateway.stores.ledger_file import LEDGER, LedgerFile, read_breaks, read_entries
from gateway.stores.ledger_place import LedgerError, alone
from gateway.stores.ledger_rows import Note, pack, unpack
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.rows import seal
from gateway.telemetry import METROLOGY

AT = datetime(2026, 11, 21, 22, 20, 5, 412_000, tzinfo=UTC)
ENTRIES = 10_000


def note(number: int) -> Note:
    return Note("min_auth_changed", "main", AT, {"n": number})


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    """`started()` makes and starts one on `tmp_path/ledger.db`; all are closed with the test."""
    made: list[Ledger] = []

    def make(path: Path | None = None, **changes: Any) -> Ledger:
        made.append(Ledger(path or tmp_path / "ledger.db", **changes))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close(60)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with ENTRIES entries; tests work on copies."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    file = open_ledger(path).file
    for start in range(2, ENTRIES + 1, 1_000):  # the first entry says that the ledger was begun
        file.note([note(n) for n in range(start, min(start + 1_000, ENTRIES + 1))])
    file.close()
    return path


@pytest.fixture
def copied(long_log: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(long_log, tmp_path / "copy.db"))


def broken(path: Path) -> list[tuple[int, int]]:
    db = files.connect(path)
    try:
        return [(found.id, found.last) for found in read_breaks(db) if found.explained is None]
    finally:
        db.close()


def events(path: Path) -> list[str]:
    db = files.connect(path)
    try:
        return [unpack(entry).event for entry in read_entries(db)]
    finally:
        db.close()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# the chain


def test_a_log_that_nobody_touched_is_whole(copied: Path) -> None:
    assert broken(copied) == []


@pytest.mark.parametrize("position", [1, 2, 4_321, ENTRIES - 1, ENTRIES])
def test_one_changed_entry_of_ten_thousand_is_found(copied: Path, position: int) -> None:
    """Also by somebody who makes the checksum right again."""
    with sqlite3.connect(copied) as db:
        data = bytearray(db.execute("SELECT data FROM event WHERE id = ?", (position,)).fetchone()[0])
        changed = bytes(data[:-4]).replace(b"2026", b"2025", 1)
        db.execute("UPDATE event SET data = ? WHERE id = ?", (seal(changed, "event", position), position))
    db.close()
    assert broken(copied) == [(position, position)]


@pytest.mark.parametrize("position", [1, 2, 4_321, ENTRIES - 1, ENTRIES])
def test_one_deleted_entry_of_ten_thousand_is_found(copied: Path, position: int) -> None:
    with sqlite3.connect(copied) as db:
        db.execute("DELETE FROM event WHERE id = ?", (position,))
    db.close()
    assert broken(copied) == [(position, position)]


@pytest.mark.parametrize("position", [2, 4_321, ENTRIES - 1])
def test_a_deleted_entry_is_found_when_the_others_close_up(copied: Path, position: int) -> None:
    with sqlite3.connect(copied) as db:
        db.execute("DELETE FROM event WHERE id = ?", (position,))
        db.execute("UPDATE event SET id = -id WHERE id > ?", (position,))
        db.execute("UPDATE event SET id = -id - 1 WHERE id < 0")
    db.close()
    assert broken(copied)[0][0] == position


@pytest.mark.parametrize("columns", ["data", "data, chain"])
@pytest.mark.parametrize(("one", "other"), [(1, 2), (777, 778), (55, 9_000), (ENTRIES - 1, ENTRIES)])
def test_two_entries_that_changed_places_are_found(copied: Path, one: int, other: int, columns: str) -> None:
    with sqlite3.connect(copied) as db:
        rows = {n: db.execute(f"SELECT {columns} FROM event WHERE id = ?", (n,)).fetchone() for n in (one, other)}
        for target, source in ((one, other), (other, one)):
            sets = ", ".join(f"{column} = ?" for column in columns.split(", "))
            db.execute(f"UPDATE event SET {sets} WHERE id = ?", (*rows[source], target))
    db.close()
    found = {position for position, _ in broken(copied)}
    assert {one, other} <= found <= {one, one + 1, other, other + 1}


def test_an_entry_that_was_put_in_at_the_end_is_found(copied: Path) -> None:
    with sqlite3.connect(copied) as db:
        data, chain = db.execute("SELECT data, chain FROM event WHERE id = ?", (ENTRIES,)).fetchone()
        db.execute("INSERT INTO event VALUES (?, ?, ?)", (ENTRIES + 1, data, chain))
    db.close()
    assert broken(copied)[0][0] == ENTRIES + 1


def test_entries_cut_off_at_the_end_stay_missing_when_the_log_goes_on(copied: Path) -> None:
    with sqlite3.connect(copied) as db:
        db.execute("DELETE FROM event WHERE id > ?", (ENTRIES - 3,))
    db.close()
    file = open_ledger(copied).file
    assert file.note([note(1)]) == ENTRIES + 1
    file.close()
    assert broken(copied) == [(ENTRIES - 2, ENTRIES)]


def test_a_log_of_another_ledger_is_not_taken_for_this_one(copied: Path, tmp_path: Path) -> None:
    open_ledger(tmp_path / "other.db").file.close()
    with sqlite3.connect(copied) as db:
        db.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        db.execute("DELETE FROM meta WHERE id = 2")
        db.execute("INSERT INTO meta SELECT * FROM other.meta WHERE id = 2")
    db.close()
    assert broken(copied) == [(1, 1)]


# `meterd events`


def test_events_are_shown_by_meter_and_time(started: Callable[..., Ledger], tmp_path: Path, capsys: Any) -> None:
    ledger = started()
    ledger.note("min_auth_changed", "main", AT, {"before": "verified (pinned)", "after": "plain (config)"})
    ledger.note("counters_restored", "barn", AT.replace(year=2027))
    assert ledger.flush(60)
    path = str(tmp_path / "ledger.db")
    assert main(["events", "--ledger", path, "main"]) == 0
    assert capsys.readouterr().out == (
        '     2  2026-11-21T22:20:05.412Z  main  min_auth_changed  before="verified (pinned)" after="plain (config)"\n'
    )
    assert main(["events", "--ledger", path, "--since", "2027-01-01T00:00:00Z", "--json"]) == 0
    line = {"id": 3, "t": "2027-11-21T22:20:05.412Z", "event": "counters_restored", "meter": "barn", "facts": {}}
    assert json.loads(capsys.readouterr().out) == line
    assert main(["events", "--ledger", path, "cellar"]) == 1
    assert capsys.readouterr().err == "meterd events: no entry matches\n"


def test_verify_names_the_position(copied: Path, capsys: Any) -> None:
    assert main(["events", "--ledger", str(copied), "--verify"]) == 0
    assert capsys.readouterr().out == f"{ENTRIES} entries, all as they were written\n"
    with sqlite3.connect(copied) as db:
        db.execute("DELETE FROM event WHERE id = 17")
    db.close()
    assert main(["events", "--ledger", str(copied), "--verify"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (f"{ENTRIES - 1} entries, not what was written\n", "entry 17 is missing\n")
    assert main(["events", "--ledger", str(copied), "--verify", "--json"]) == 1
    breaks = [{"id": 17, "last": 17, "reason": "entry 17 is missing", "explained": None}]
    assert json.loads(capsys.readouterr().out) == {"entries": ENTRIES - 1, "intact": False, "breaks": breaks}


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no ledger at"), (b"", "is not a ledger"), (b"x" * 5_000, "cannot be read")],
)
def test_what_is_no_ledger_is_refused_in_a_sentence(
    tmp_path: Path, capsys: Any, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "x.db").write_bytes(content)
    assert main(["events", "--ledger", str(tmp_path / "x.db")]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert err.count("\n") == 1


# what is kept


def test_what_is_noted_is_there_after_a_restart(started: Callable[..., Ledger], tmp_path: Path) -> None:
    first = started()
    first.note("min_auth_changed", "main", AT, {"before": "verified", "after": "plain"})
    first.copy_counters({"main": b"\x00counters", "barn": b"more"})
    assert first.close(60)
    second = started()
    assert second.counters("main") == b"\x00counters"
    assert second.counters("barn") == b"more"
    assert second.counters("cellar") is None
    second.note("min_auth_changed", None)
    assert second.flush(60)
    assert events(tmp_path / "ledger.db") == ["ledger_begun", "min_auth_changed", "min_auth_changed"]
    assert second.status()["entries"] == 3
    assert broken(tmp_path / "ledger.db") == []


def test_an_event_without_a_name_is_an_error_of_the_program(started: Callable[..., Ledger]) -> None:
    with pytest.raises(KeyError):
        started().note("something", "main")


def test_facts_are_bounded(tmp_path: Path) -> None:
    file = open_ledger(tmp_path / "ledger.db").file
    facts: dict[str, Any] = {f"f{n}": n for n in range(100)} | {"f1": "x" * 10_000, "f2": 1 << 90, "f3": [1] * 999}
    file.note([Note("min_auth_changed", "main", AT, facts)])
    written = unpack(list(read_entries(file.db))[-1])
    file.close()
    assert len(written.facts) == 16
    assert (written.facts["f1"], written.facts["f2"], len(written.facts["f3"])) == ("x" * 200, str(1 << 90), 64)


def test_a_meter_that_flaps_fills_no_file(started: Callable[..., Ledger], tmp_path: Path) -> None:
    now = [0.0]
    ledger = started(clock=lambda: now[0])
    for n in range(1_000):
        ledger.note("min_auth_changed", "main", AT, {"n": n})
    ledger.note("min_auth_changed", "barn", AT)
    now[0] = 301.0
    ledger.note("min_auth_changed", "main", AT)
    assert ledger.flush(60)
    file = open_ledger(tmp_path / "ledger.db").file
    written = [unpack(entry) for entry in read_entries(file.db)]
    file.close()
    assert [one.meter for one in written].count("main") == BURST + 1
    assert [one.meter for one in written].count("barn") == 1
    assert written[-1].facts == {"left_out": 1_000 - BURST}


def test_copies_that_did_not_change_write_nothing(started: Callable[..., Ledger]) -> None:
    ledger = started()
    ledger.copy_counters({"main": b"a"})
    assert ledger.flush(60)
    before = ledger.status()["last_commit"]
    ledger.copy_counters({"main": b"a"})
    assert ledger.flush(60)
    assert ledger.status()["last_commit"] == before


def test_every_commit_is_on_the_disk_before_it_is_reported(tmp_path: Path) -> None:
    file = open_ledger(tmp_path / "ledger.db").file
    assert file.db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert file.db.execute("PRAGMA journal_mode").fetchone()[0] == b"wal"
    file.close()


def test_numbers_are_reserved_once(tmp_path: Path) -> None:
    file = open_ledger(tmp_path / "ledger.db").file
    assert [file.reserve("hub", 100), file.reserve("hub", 1), file.reserve("other", 5)] == [1, 101, 1]
    file.close()
    again = open_ledger(tmp_path / "ledger.db").file
    assert again.reserve("hub", 1) == 102
    again.close()


# two processes

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from gateway.stores.ledger_rows import Note
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.rows import seal
from gateway.telemetry import METROLOGY

def patiently(do):
    # on a machine at its limit one may wait longer for the other than the ledger does: as the daemon, try again
    while True:
        try:
            return do()
        except StorageFault:
            pass

file = patiently(lambda: open_ledger(Path(sys.argv[1]))).file
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[2])):
    first = patiently(lambda: file.reserve("hub", 3))
    entry = Note("min_auth_changed", sys.argv[3], datetime.now(UTC), {"first": first})
    patiently(lambda: file.note([entry]))
    patiently(lambda: file.copy_counters({sys.argv[3]: b"%d" % n}))
file.close()
"""


def test_two_processes_write_and_nothing_is_lost(tmp_path: Path) -> None:
    """They also create the file at the same moment."""
    path, n = tmp_path / "ledger.db", 150
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(n), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("one", "other")
    ]  # fmt: skip
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.communicate("go\n", timeout=100)
        assert child.returncode == 0
    file = open_ledger(path).file
    written = [unpack(entry) for entry in read_entries(file.db)]
    assert [one.event for one in written].count("ledger_begun") == 1
    firsts = [one.facts["first"] for one in written[1:]]
    assert sorted(firsts) == list(range(1, 6 * n, 3))
    assert file.copied_counters() == {"one": b"%d" % (n - 1), "other": b"%d" % (n - 1)}
    file.close()
    assert broken(path) == []


def test_a_file_that_another_process_replaced_is_opened_anew(
    started: Callable[..., Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", (0.01,))
    one = started()
    assert one.flush(60)
    until(lambda: one.status()["state"] == "ok")
    other = open_ledger(tmp_path / "ledger.db")
    open_ledger(tmp_path / "ledger.db", other.file.identity, "for the test").file.close()
    other.file.close()
    one.note("min_auth_changed", "main")
    assert one.flush(60)
    assert events(tmp_path / "ledger.db") == ["ledger_begun", "ledger_salvaged", "min_auth_changed"]
    assert broken(tmp_path / "ledger.db") == []


def test_a_process_that_stands_still_with_the_lock_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_place, "LOCK_S", 0.1)
    path = tmp_path / "ledger.db"
    with alone(path), pytest.raises(StorageFault, match="another program keeps it locked"):
        open_ledger(path)


# rights


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_without_the_group_the_files_are_private(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_place, "GROUP", "no-such-group")
    assert _modes(tmp_path, umask) == dict.fromkeys(_NAMES, 384)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_group_may_write_where_it_exists(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    group = grp.getgrgid(os.getgid())
    monkeypatch.setattr(ledger_place, "GROUP", group.gr_name)
    assert _modes(tmp_path, umask) == dict.fromkeys(_NAMES, 432)
    assert {path.stat().st_gid for path in tmp_path.iterdir()} == {group.gr_gid}


def test_the_group_may_write_where_the_folder_gives_it_and_nobody_may_call_chown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under the units of both services, whose filters refuse it."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(ledger_place, "GROUP", grp.getgrgid(os.getgid()).gr_name)
    monkeypatch.setattr(os, "fchown", refused)
    monkeypatch.setattr(os, "chown", refused)
    assert _modes(tmp_path, 0o077) == dict.fromkeys(_NAMES, 0o660)


def test_files_that_an_earlier_version_made_private_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = grp.getgrgid(os.getgid())
    monkeypatch.setattr(ledger_place, "GROUP", "no-such-group")
    held = open_ledger(tmp_path / "ledger.db").file
    held.note([note(1)])
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    monkeypatch.setattr(ledger_place, "GROUP", group.gr_name)
    assert _modes(tmp_path, 0o077) == dict.fromkeys(_NAMES, 0o660)
    held.close()


_NAMES = ("ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.db.lock")


def _modes(folder: Path, umask: int) -> dict[str, int]:
    before = os.umask(umask)
    try:
        file = open_ledger(folder / "ledger.db").file
    finally:
        os.umask(before)
    file.note([note(1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    file.close()
    return modes


# schema


def test_a_newer_schema_is_refused_in_clear_words(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    newer = files.Kind(LEDGER.name, LEDGER.application_id, LEDGER.tables, (*LEDGER.steps, ("SELECT 1",)), LedgerError)
    with alone(path):
        LedgerFile(path, newer).close()
    known = len(LEDGER.steps)
    with pytest.raises(LedgerError, match=rf"newer meterd \(schema {known + 1}, this one knows {known}\): install"):
        Ledger(path).start()
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(path).file.close()
    steps = (*LEDGER.steps, ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "SELECT no_such_function()"))
    with alone(path), pytest.raises(files.Damaged):
        LedgerFile(path, files.Kind("ledger", LEDGER.application_id, LEDGER.tables, steps, LedgerError))
    file = open_ledger(path).file
    assert events(path) == ["ledger_begun"]
    assert not file.db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone()[0]
    file.close()


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Above all the two stores never take each other for damaged."""
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE mine (id INTEGER)")
    db.close()
    with pytest.raises(LedgerError, match="a database of another program"):
        open_ledger(tmp_path / "other.db")
    open_ledger(tmp_path / "ledger.db").file.close()
    journal = Journal(tmp_path / "ledger.db", max_bytes=64 << 20, max_age_s=10**9, group_s=10)
    with pytest.raises(JournalError, match="a database of another program"):
        journal.start()
    journal = Journal(tmp_path / "journal.db", max_bytes=64 << 20, max_age_s=10**9, group_s=10)
    journal.start()
    journal.close()
    with pytest.raises(LedgerError, match="a database of another program"):
        open_ledger(tmp_path / "journal.db")
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.parametrize(
    ("path", "said"), [("nowhere/ledger.db", "does not exist: create it"), ("folder", "is not a file")]
)
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match=said):
        Ledger(tmp_path / path).start()


# damage


def filled(path: Path, entries: int = 500) -> LedgerFile:
    file = open_ledger(path).file
    file.note([note(n) for n in range(2, entries + 1)])
    file.copy_counters({"main": b"counters"})
    file.reserve("hub", 7)
    file.close()
    return file


def test_a_damaged_page_costs_its_entries_and_the_next_one_names_them(
    started: Callable[..., Ledger], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    filled(path)
    octets = bytearray(path.read_bytes())
    where = octets.index(b'{"n":250}') // 1024 * 1024
    octets[where : where + 1024] = random.Random(6).randbytes(1024)
    path.write_bytes(octets)
    ledger = started()
    until(lambda: ledger.status()["state"] == "ok")
    ledger.note("min_auth_changed", "main")
    assert ledger.flush(60)
    assert ledger.counters("main") == b"counters"
    assert len(list(tmp_path.glob("ledger.db.damaged-*Z"))) == 1
    assert "the next one says what is missing" in ledger.status()["notices"][0]
    db = files.connect(path)
    entries = [(entry.id, unpack(entry)) for entry in read_entries(db)]
    breaks = read_breaks(db)
    db.close()
    position, salvaged = next((n, one) for n, one in entries if one.event == "ledger_salvaged")
    lost = set(range(1, 501)) - {n for n, _ in entries}
    assert 250 in lost
    assert len(lost) < 30
    assert position == 501
    assert {n for first, last, _ in salvaged.facts["missing"] for n in range(first, last + 1)} == lost
    assert breaks
    assert all(found.explained == 501 for found in breaks)


def test_whoever_changes_what_follows_a_gap_is_found(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "ledger.db"
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM event WHERE id = 100")
    db.close()
    file = open_ledger(path).file
    file.close()
    open_ledger(path, file.identity, "for the test").file.close()
    assert main(["events", "--ledger", str(path), "--verify"]) == 0
    assert "entry 100 is missing; entry 501 tells of it: the file was damaged" in capsys.readouterr().out
    with sqlite3.connect(path) as db:
        data = db.execute("SELECT data FROM event WHERE id = 101").fetchone()[0][:-4].replace(b"main", b"barn")
        db.execute("UPDATE event SET data = ? WHERE id = 101", (seal(data, "event", 101),))
    db.close()
    assert broken(path) == [(100, 100)]


def test_send_counters_are_never_used_twice_after_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    filled(path)
    file = open_ledger(path).file
    file.close()
    replaced = open_ledger(path, file.identity, "for the test").file
    now = time.time_ns() // 1_000_000
    assert replaced.reserve("hub", 1) > now - 60_000
    assert replaced.reserve("never seen", 1) > now - 60_000
    replaced.close()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1_000, b"SQLite format 3\0" + bytes(84)])
def test_a_file_that_gives_nothing_is_replaced(started: Callable[..., Ledger], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    ledger = started()
    ledger.note("min_auth_changed", "main")
    assert ledger.flush(60)
    assert events(path) == ["ledger_salvaged", "min_auth_changed"]
    assert broken(path) == []
    assert ledger.status()["trouble"] is None


def test_damage_at_any_place_never_stops_the_ledger(tmp_path: Path) -> None:
    """Random octets anywhere in the file: afterwards the ledger stores, and what it gives was written."""
    chance = random.Random(66)
    filled(tmp_path / "whole.db", 200)
    whole = (tmp_path / "whole.db").read_bytes()
    for trial in range(15):
        path = tmp_path / f"{trial}.db"
        octets = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            start, length = chance.randrange(len(whole)), chance.randint(1, 2_000)
            octets[start : start + length] = chance.randbytes(min(length, len(whole) - start))
        path.write_bytes(octets)
        ledger = Ledger(path)
        ledger.start()
        ledger.note("counters_restored", "main", AT)
        assert ledger.flush(60), trial
        until(lambda one=ledger: one.status()["state"] == "ok")
        assert ledger.counters("main") in (None, b"counters")
        ledger.close()
        db = files.connect(path)
        assert all(unpack(one).event != "min_auth_changed" or unpack(one).facts == {"n": one.id}
                   for one in read_entries(db) if not _damaged(one))  # fmt: skip
        db.close()


def _damaged(entry: Any) -> bool:
    try:
        unpack(entry)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("step", ["_carry_over", "set_aside", "_finish"])
def test_a_replacement_that_is_cut_short_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The process ends right after a step of it."""
    path = tmp_path / "ledger.db"
    filled(path)
    octets = path.read_bytes()
    from gateway.stores import ledger_salvage as salvage

    module = files if step == "set_aside" else salvage
    real, calls = getattr(module, step), []

    def cut(*args: Any) -> Any:
        result = real(*args)
        calls.append(step)
        # _finish runs before it, too
        if step != "_finish" or len(calls) == 2:
            raise KeyboardInterrupt
        return result

    file = open_ledger(path).file
    file.close()
    with monkeypatch.context() as patched:
        patched.setattr(module, step, cut)
        with pytest.raises(KeyboardInterrupt):
            open_ledger(path, file.identity, "for the test")
    if step == "_carry_over":
        assert path.read_bytes() == octets
    again = open_ledger(path)
    assert len(list(read_entries(again.file.db))) in (500, 501)
    assert again.file.copied_counters() == {"main": b"counters"}
    again.file.close()
    assert not list(tmp_path.glob("*.new*"))
    assert broken(path) == []


# what a person wants removed


def test_what_was_noted_of_a_meter_can_be_removed_and_shows(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "ledger.db"
    file = open_ledger(path).file
    names = ["main", "barn"] * 100
    file.note([Note("rollback", name, AT, {"said_wh": 65_238_377 + n}) for n, name in enumerate(names)])
    file.copy_counters({"barn": b"counters of barn", "main": b"counters of main"})
    assert file.forget("barn") == 100
    assert file.copied_counters() == {"main": b"counters of main"}
    assert file.forget("never seen") == 0
    file.close()
    octets = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"barn" not in octets
    assert b"main" in octets
    assert main(["events", "--ledger", str(path), "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["intact"] is True
    assert [one["id"] for one in found["breaks"]] == list(range(3, 203, 2))
    # 64 rows of positions in one entry
    assert {one["explained"] for one in found["breaks"]} == {202, 203}


def test_an_entry_that_only_looks_removed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    file = open_ledger(path).file
    file.note([Note("rollback", name, AT, {}) for name in ("main", "barn", "main")])
    file.forget("barn")
    file.close()
    assert broken(path) == []
    with sqlite3.connect(path) as db:
        data = pack(Note("removed", None, AT, {}), 4)
        db.execute("UPDATE event SET data = ? WHERE id = 4", (data,))
    db.close()
    assert broken(path) == [(4, 4)]


# faults of the medium


def test_a_full_disk_is_told_and_what_waits_is_written_later(
    started: Callable[..., Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", (0.01,))
    one = started()
    assert one.flush(60)
    full = threading.Event()
    real = LedgerFile.note

    def refuse(self: LedgerFile, notes: Any) -> int:
        if full.is_set():
            raise StorageFault(f"ledger {self.path}: the disk is full")
        return real(self, notes)

    monkeypatch.setattr(LedgerFile, "note", refuse)
    full.set()
    one.note("min_auth_changed", "main", AT, {"n": 1})
    until(lambda: one.status()["trouble"])
    assert "the disk is full" in one.status()["trouble"]
    assert one.status()["state"] == "fault"
    assert one.status()["queued"] == 1
    full.clear()
    assert one.flush(60)
    assert one.status()["trouble"] is None
    assert events(tmp_path / "ledger.db") == ["ledger_begun", "min_auth_changed"]


def test_what_the_queue_cannot_hold_is_counted_and_noted(
    started: Callable[..., Ledger], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", (0.01,))
    one = started()
    assert one.flush(60)
    monkeypatch.setattr(ledger_place, "LOCK_S", 0.01)
    with alone(tmp_path / "ledger.db"):
        for n in range(MAX_QUEUED + 50):
            one.note("min_auth_changed", f"m{n}", AT)
        assert one.status()["queued"] <= MAX_QUEUED
        assert one.status()["lost"] >= 49  # one may be in hand
        lost = one.status()["lost"]
    until(lambda: one.flush(1))
    file = open_ledger(tmp_path / "ledger.db").file
    last = unpack(list(read_entries(file.db))[-1])
    file.close()
    assert (last.event, last.facts) == ("entries_lost", {"min_auth_changed": lost})
    assert one.status()["lost"] == 0


def test_a_kill_takes_nothing_that_was_reported(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    child = subprocess.Popen([sys.executable, "-c", REPORTER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    reported = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    reported += [int(line) for line in child.stdout.read().split("\n") if line.strip()]
    child.wait()
    child.stdout.close()
    file = open_ledger(path).file
    assert file.entries() >= reported[-1]
    file.close()
    assert broken(path) == []


REPORTER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from gateway.stores.ledger_rows import Note
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.rows import seal
from gateway.telemetry import METROLOGY

file = open_ledger(Path(sys.argv[1])).file
while True:
    print(file.note([Note("min_auth_changed", "main", datetime.now(UTC), {})]), flush=True)
"""


def test_every_event_of_the_metrology_log_is_documented(checkout: Path) -> None:
    text = (checkout / "docs" / "ledger.md").read_text()
    assert [
        row for row in (f"| `{name}` | {meaning} |" for name, meaning in METROLOGY.items()) if row not in text
    ] == []


def test_a_medium_that_does_not_answer_is_told(started: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    now, hangs, at_work = [0.0], threading.Event(), threading.Event()
    one = started(clock=lambda: now[0])
    until(lambda: one.status()["state"] == "ok")
    real = LedgerFile.note

    def hang(self: LedgerFile, notes: Any) -> int:
        at_work.set()
        hangs.wait(60)
        return real(self, notes)

    monkeypatch.setattr(LedgerFile, "note", hang)
    one.note("min_auth_changed", "main")
    assert at_work.wait(60)
    assert one.status()["trouble"] is None
    now[0] = 30.0
    assert "the medium has not answered" in one.status()["trouble"]
    hangs.set()
    assert one.flush(60)
    until(lambda: one.status()["trouble"] is None)


def test_an_idle_thread_lives_and_a_medium_that_hangs_is_none_that_is_late(
    started: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart cures no disk; all that waits for the daemon itself gives signs of life."""
    monkeypatch.setattr(ledger, "IDLE_S", 0.02)
    now, hangs, at_work = [0.0], threading.Event(), threading.Event()
    beats = Beats(lambda: now[0])
    beats.look()
    beat = beats.part("ledger", 10.0)
    one = started(beat=beat)
    until(lambda: one.status()["state"] == "ok")

    def pass_s(seconds: float) -> list[str]:
        for _ in range(round(seconds / STEP_S)):
            now[0] += STEP_S
            beats.look()
        return beats.late

    for _ in range(10):
        pass_s(8.0)
        until(lambda: beat.at == beats.clock)
    real = LedgerFile.note

    def hang(self: LedgerFile, notes: Any) -> int:
        at_work.set()
        hangs.wait(60)
        return real(self, notes)

    monkeypatch.setattr(LedgerFile, "note", hang)
    one.note("min_auth_changed", "main")
    assert at_work.wait(60)
    assert pass_s(100.0) == []
    hangs.set()
    assert one.flush(60)
    until(lambda: beat.at == beats.clock)
    assert beat.due < 1_000, "watched again"
