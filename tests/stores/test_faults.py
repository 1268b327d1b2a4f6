"""What the medium and other people do to the journal: quota, damage, a full disk, folders that are not there."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.item_p import ItemP
from gateway.stores import database, quota
from gateway.stores.journal import Journal, JournalError
from gateway.stores.memory import Draft, State
from gateway.stores.outbox import Dead
from gateway.stores.reader import Reader
from gateway.stores.salvage import ROWS, _chunks
from gateway.stores.schema import STEPS, StorageFault, connect, migrate
from tests.sizes import DAMAGED, DAMAGED_SHORT
from tests.stores.account import check

MakeItem = Callable[..., ItemP]
MakeJournal = Callable[..., Journal]

#: damaged files that a run tries: few in `make test`, all of them where METERD_DAMAGED is set
FLIPS, CUTS = DAMAGED if os.environ.get("METERD_DAMAGED") else DAMAGED_SHORT
#: what one of them may take (s): a start of a journal for each file
LONG_S = 120 + 2 * FLIPS


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def seqs(path: Path) -> list[int]:
    reader = Reader(path)
    try:
        return [one.seq or 0 for one in reader]
    finally:
        assert reader.damaged == 0
        reader.close()


def set_aside(path: Path) -> int:
    return len(list(path.parent.glob(f"{path.name}.damaged-*Z")))


# --- quota


def test_the_oldest_give_way_to_the_newest(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal(max_bytes=5 << 20)
    for n in range(20_000):
        kept.append(item(n))
        if n % 100 == 99:
            assert kept.flush(60)
    found = seqs(kept.path)
    assert found == list(range(found[0], 20_001)), "one run up to the newest"
    assert kept.evicted("main") == 20_000 - len(found) > 0
    assert kept.stored("main") == 20_000
    assert kept.lost("main") == 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 6 << 20
    assert kept.close(60)
    again = journal(max_bytes=5 << 20)
    assert again.evicted("main") == 20_000 - len(found), "evictions are counted over a restart"


def test_a_quota_that_was_lowered_is_kept(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    for n in range(30_000):
        kept.append(item(n))
        if n % 5_000 == 0:
            assert kept.flush(60)
    assert kept.flush(60)
    assert kept.close(60)
    assert kept.path.stat().st_size > 2 << 20
    small = journal(max_bytes=5 << 20)
    until(lambda: small.status()["state"] == "ok", "checked")
    small.append(item(30_000))
    assert small.flush(60)
    assert small.close(60)
    assert small.path.stat().st_size <= 1 << 20
    found = seqs(small.path)
    assert found == list(range(found[0], 30_002))


def test_what_is_older_than_its_age_goes(journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "AGE_CHECK_S", 0)
    monkeypatch.setattr(quota.time, "time", item(10_000).t.timestamp)  # type: ignore[union-attr]
    kept = journal(max_age_s=1_000)
    for n in range(0, 3_000, 100):
        kept.append(item(n))
        assert kept.flush(60)
    assert kept.flush(60)
    kept.append(item(3_000))
    assert kept.flush(60)
    assert [seq - 1 for seq in seqs(kept.path)] == list(range(1_900, 3_001, 100))
    assert kept.evicted("main") == 19


def test_a_host_that_wakes_up_in_2040_deletes_nothing(
    journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "AGE_CHECK_S", 0)
    monkeypatch.setattr(quota.time, "time", lambda: 2_208_988_800.0)
    kept = journal(max_age_s=1_000)
    for n in range(5):
        kept.append(item(n))
        assert kept.flush(60)
    assert len(seqs(kept.path)) == 5


# --- damage


@pytest.fixture
def good(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> tuple[Path, list[ItemP]]:
    """A journal that was closed in order, with its readings."""
    (tmp_path / "good").mkdir()
    kept = journal(tmp_path / "good" / "journal.db", save_counters=lambda: {"main": {"decoded": 700}})
    made = [item(n, seq=kept.next_seq("main")) for n in range(700)]
    for n, one in enumerate(made):
        kept.append(one)
        if n % 50 == 0:
            kept.flush(60)
    assert kept.close(60)
    return kept.path, made


def survives(journal: MakeJournal, item: MakeItem, path: Path, made: list[ItemP]) -> int:
    """Start on a damaged file, go on, and check that nothing is wrong, reused or silent; returns what is left."""
    kept = journal(path, meters=("main",))
    seq = kept.next_seq("main")
    assert seq > len(made), "a number was used twice"
    late = item(5_000, seq=seq)
    assert kept.append(late)
    until(lambda: kept.flush(0.2) and kept.status()["state"] == "ok", kept.status())  # type: ignore[arg-type]
    notices = kept.status()["notices"]
    assert kept.close(60)
    reader = Reader(path)
    found = list(reader)
    reader.close()
    assert found[-1] == late
    known = {one.seq: one for one in made}
    assert all(known[one.seq] == one for one in found[:-1]), "a wrong reading"
    assert [one.seq for one in found] == sorted({one.seq or 0 for one in found})
    missing = len(made) + 1 - len(found)
    assert not missing or notices or reader.damaged == missing, "readings vanished silently"
    return len(found) - 1


@pytest.mark.timeout(LONG_S)
def test_a_flipped_octet_anywhere(
    journal: MakeJournal, item: MakeItem, good: tuple[Path, list[ItemP]], tmp_path: Path
) -> None:
    path, made = good
    whole = path.read_bytes()
    dice = random.Random(50)
    places = [*range(0, 100, 3), *(dice.randrange(len(whole)) for _ in range(FLIPS))]
    left = []
    for n, place in enumerate(places):
        folder = tmp_path / f"flip-{n}"
        folder.mkdir()
        data = bytearray(whole)
        data[place] ^= dice.randrange(1, 256)
        (folder / "journal.db").write_bytes(data)
        left.append(survives(journal, item, folder / "journal.db", made))
        shutil.rmtree(folder)
    assert sum(count >= 600 for count in left) > len(places) // 2


@pytest.mark.timeout(LONG_S)
def test_a_file_that_was_cut(
    journal: MakeJournal, item: MakeItem, good: tuple[Path, list[ItemP]], tmp_path: Path
) -> None:
    path, made = good
    whole = path.read_bytes()
    dice = random.Random(51)
    for n, length in enumerate(
        [0, 1, 99, 100, 1024, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(CUTS))]
    ):
        folder = tmp_path / f"cut-{n}"
        folder.mkdir()
        (folder / "journal.db").write_bytes(whole[:length])
        survives(journal, item, folder / "journal.db", made)
        # Octets missing from the last page only are for the checksums of its rows to find.
        assert set_aside(folder / "journal.db") == 1 or length > len(whole) - 1024
        shutil.rmtree(folder)


def test_without_the_names_of_its_meters_the_seals_tell_whose_rows_they_are(
    journal: MakeJournal, item: MakeItem, good: tuple[Path, list[ItemP]]
) -> None:
    path, made = good
    db = sqlite3.connect(path)
    root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'meter'").fetchone()[0]
    size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    whole = bytearray(path.read_bytes())
    whole[(root - 1) * size : root * size] = bytes(size)
    path.write_bytes(whole)
    assert survives(journal, item, path, made) == len(made)


def test_a_damaged_log_loses_its_end_and_no_number(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal(tmp_path / "journal.db")
    made = [item(n, seq=kept.next_seq("main")) for n in range(300)]
    for one in made:
        kept.append(one)
        if one.seq and one.seq % 10 == 0:
            kept.flush(60)
    dice = random.Random(52)
    known = {one.seq: one for one in made}
    for n in range(20):
        folder = tmp_path / f"log-{n}"
        folder.mkdir()
        shutil.copy(kept.path, folder / "journal.db")
        log = bytearray(Path(f"{kept.path}-wal").read_bytes())
        log[dice.randrange(len(log))] ^= 0x55
        (folder / "journal.db-wal").write_bytes(log)
        again = journal(folder / "journal.db")
        assert again.next_seq("main") > 300
        until(lambda again=again: again.status()["state"] == "ok", "checked")  # type: ignore[misc]
        again.close(60)
        reader = Reader(folder / "journal.db")
        found = list(reader)
        reader.close()
        assert all(known[one.seq] == one for one in found)


def test_the_salt_and_the_counters_survive_what_quick_check_finds(
    journal: MakeJournal, item: MakeItem, good: tuple[Path, list[ItemP]]
) -> None:
    path, made = good
    first = journal(path)
    salt = first.salt
    first.close(60)
    data = bytearray(path.read_bytes())
    leaf = next(at for at in range(20 * 1024, len(data), 1024) if data[at] == 0x0D)
    data[leaf : leaf + 8] = bytes(8)
    path.write_bytes(data)
    assert survives(journal, item, path, made) > 650
    again = journal(path)
    assert again.salt == salt
    assert again.counters("main")["decoded"] == 700
    assert set_aside(path) == 1


def test_no_id_is_used_twice_where_nobody_can_read_how_far_they_went(
    journal: MakeJournal, item: MakeItem, tmp_path: Path
) -> None:
    """Rows of counters replace each other, so that ids run ahead of what the file holds; then its last page is gone."""
    kept = journal()
    for n in range(200):
        kept.append(item(n))
        if n == 197:
            assert kept.flush(60)
            kept._state.next_id += 10_000  # as after so many commits
    assert kept.flush(60)
    newest = kept.outbox("look").newest
    assert newest > 10_000
    assert kept.close(60)
    spoil_last_leaf(kept.path)
    again = journal()
    again.append(item(500))
    until(lambda: again.flush(1) and again.status()["state"] == "ok", "salvaged")
    (added,) = (entry.id for entry in again.outbox("look").page() if entry.item == item(500))
    assert added > newest
    assert again.close(60)
    assert set_aside(tmp_path / "journal.db") == 1


def spoil_last_leaf(path: Path) -> None:
    """Overwrite the page of table `record` that holds its newest rows."""
    with path.open("r+b") as file:
        data = file.read()
        page = next(  # of the root: its right-most child (sqlite.org/fileformat2.html, 1.6)
            int.from_bytes(data[at + 8 : at + 12], "big") for at in range(0, len(data), 1024) if data[at] == 0x05
        )
        file.seek((page - 1) * 1024)
        file.write(bytes(8))


def test_a_row_whose_id_is_damaged_is_salvaged_once() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE record (id INTEGER PRIMARY KEY, meter, t, data)")
    db.executemany("INSERT INTO record VALUES (?, 1, 0, ?)", [(1, "a"), (2, "b"), (900, "c"), (901, "d")])
    found = [(at, row[3]) for _, chunk in _chunks(db, ROWS, 0, 50, lambda: False) for at, row in chunk]
    db.close()
    assert found == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_damaged_files_do_not_fill_the_disk(journal: MakeJournal, tmp_path: Path) -> None:
    for _ in range(4):
        (tmp_path / "journal.db").write_bytes(b"x" * 5_000)
        journal().close(60)
    assert set_aside(tmp_path / "journal.db") == 2


# --- files that are not ours


def test_a_newer_journal_is_refused(good: tuple[Path, list[ItemP]], journal: MakeJournal) -> None:
    path, _ = good
    db = connect(path)
    migrate(db, path, (*STEPS, ("CREATE TABLE more (id INTEGER PRIMARY KEY)",)))
    db.close()
    with pytest.raises(
        JournalError,
        match=rf"written by a newer meterd \(schema {len(STEPS) + 1}, this one knows {len(STEPS)}\): install that",
    ):
        journal(path)
    with pytest.raises(JournalError, match="newer"):
        Reader(path)


def test_a_step_that_fails_changes_nothing(good: tuple[Path, list[ItemP]]) -> None:
    path, _ = good
    db = connect(path)
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, path, (*STEPS, ("CREATE TABLE more (id INTEGER PRIMARY KEY)", "NO SQL")))
    db.execute("ROLLBACK")
    assert db.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    db.close()


def test_a_database_of_another_program_is_left_alone(journal: MakeJournal, tmp_path: Path) -> None:
    path = tmp_path / "home-assistant.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE states (id INTEGER)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="is a database of another program"):
        journal(path)
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM states").fetchone() == (0,)
    db.close()
    assert len(before) == path.stat().st_size
    with pytest.raises(JournalError, match="not a journal"):
        Reader(path)


# --- the place


def test_a_folder_that_is_not_there(journal: MakeJournal, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"the folder of the journal, .*/none, does not exist: create it"):
        journal(tmp_path / "none" / "journal.db")


def test_a_path_that_is_a_folder(journal: MakeJournal, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is not a file"):
        journal(tmp_path)


AS_NOBODY = """
import os, sys
from pathlib import Path
from gateway.stores.groups import Group
from gateway.stores.journal import Journal, JournalError
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Journal(Path(sys.argv[1]), max_bytes=64 << 20, max_age_s=10**9, group_s=10).start()
except JournalError as error:
    print(error)
"""


@pytest.mark.parametrize("rights", [0o555, 0o600], ids=["to be read", "closed"])
def test_a_folder_that_may_not_be_written(tmp_path: Path, checkout: Path, rights: int) -> None:
    tmp_path.chmod(rights)
    # pytest's own folders, which are closed to others, too
    for folder in tmp_path.parents:
        if folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    run = [sys.executable, "-c", AS_NOBODY, str(tmp_path / "journal.db")]
    said = subprocess.run(run, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)
    tmp_path.chmod(0o755)
    assert "Permission denied: make it writable for the user that runs meterd" in said.stdout, said.stderr


FULL = """
import resource, signal, sys, time
from pathlib import Path
sys.path.insert(0, "tests/stores")
from conftest import reading, START
from datetime import timedelta
from gateway.item_p import stamp
from gateway.stores.groups import Group
from gateway.stores.journal import Journal
kept = Journal(Path(sys.argv[1]), max_bytes=64 << 20, max_age_s=10**9, group_s=10, meters=("main",))
kept.start()
def feed(first, last):
    for n in range(first, last):
        kept.append(stamp(reading(n), "main", seq=kept.next_seq("main"), t_rx=START, max_clock_offset_s=10**9))
def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, kept.status()
        time.sleep(0.01)
feed(0, 200)
assert kept.flush(60)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
feed(200, 3_000)
kept.cut()
until(lambda: kept.status()["state"] == "fault")
print(kept.status()["trouble"])
feed(3_000, 3_100)
assert kept.status()["queued"] >= 2_000
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert kept.flush(60), kept.status()
until(lambda: kept.status()["state"] == "ok")
print(kept.stored("main"), kept.lost("main"))
assert kept.close(60)
"""


@pytest.mark.parametrize("octets", [150_000, 0])
def test_a_disk_that_takes_no_more_or_nothing_is_waited_out(tmp_path: Path, checkout: Path, octets: int) -> None:
    run = [sys.executable, "-c", FULL, str(tmp_path / "journal.db"), str(octets)]
    said = subprocess.run(run, cwd=checkout, capture_output=True, text=True, timeout=180, check=False)
    assert said.returncode == 0, said.stderr
    trouble, tally = said.stdout.splitlines()
    assert trouble.startswith(f"journal {tmp_path}/journal.db: ")
    assert tally == "3100 0"
    assert seqs(tmp_path / "journal.db") == list(range(1, 3_101))


def test_a_medium_that_fails_for_long_loses_the_oldest_and_counts_them(
    journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stores.writer.RETRY_S", (1,))  # a slow machine would come to pauses of a minute
    kept = journal(save_counters=lambda: {"main": {"decoded": appended}})
    appended = 0
    assert kept.flush(60)
    failing = True
    commit = database.Database.commit

    def fail(self: database.Database, *given: object) -> object:
        if failing:
            raise StorageFault("the medium reports an input/output error")
        return commit(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(database.Database, "commit", fail)
    for n in range(60_000):
        appended += 1
        assert kept.append(item(n))
        if n % 1_000 == 0:
            kept.cut()
    lost = kept.lost("main")
    assert lost > 10_000
    assert kept.status()["queued_bytes"] <= 4 << 20
    failing = False
    until(lambda: kept.flush(1), "recovered")
    assert kept.status()["trouble"] is None
    assert kept.stored("main") + kept.lost("main") == appended
    found = seqs(kept.path)
    assert len(found) == kept.stored("main")
    assert found[-1] == 60_000
    assert kept.close(60)
    again = journal()
    saved = again.counters("main")
    assert saved["decoded"] == saved["stored"] + saved["journal_lost"] == appended


def test_a_journal_that_was_deleted_is_begun_again(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    kept.append(item(0, seq=kept.next_seq("main")))
    assert kept.flush(60)
    kept.path.unlink()
    kept.append(item(1, seq=kept.next_seq("main")))
    until(lambda: kept.flush(1), "begun again")
    assert seqs(kept.path) == [2]
    kept.close(60)
    assert journal().next_seq("main") == 3


def test_a_commit_that_failed_after_all_was_written_is_not_repeated(
    journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal()
    kept.append(item(0))
    assert kept.flush(60)
    take = State.take
    failures = iter([True])

    def written_but(self: State, draft: Draft) -> None:
        if next(failures, False):
            raise StorageFault("the medium reports an input/output error")
        take(self, draft)

    monkeypatch.setattr(State, "take", written_but)
    for n in range(1, 50):
        kept.append(item(n))
    until(lambda: kept.flush(1) and kept.stored("main") == 50, "stored")
    kept.append(item(50))
    assert kept.flush(60)
    assert seqs(kept.path) == list(range(1, 52))
    assert kept.stored("main") == 51


def test_a_medium_that_takes_long_is_named_and_holds_up_nobody(
    journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal()
    until(lambda: kept.status()["state"] == "ok", "checked")
    released = threading.Event()
    commit = database.Database.commit

    def slow(self: database.Database, *given: object) -> object:
        released.wait(60)
        return commit(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(database.Database, "commit", slow)
    monkeypatch.setattr("gateway.stores.journal.SILENT_S", 0.1)
    for n in range(600):
        assert kept.append(item(n))
    kept.cut()
    until(lambda: "has not answered" in (kept.status()["trouble"] or ""), "named")
    assert kept.status()["state"] == "fault"
    assert kept.status()["queued"] + kept.stored("main") <= 600
    released.set()
    assert kept.flush(60)
    until(lambda: kept.status()["trouble"] is None, "recovered by itself")
    assert (kept.stored("main"), kept.lost("main")) == (600, 0)


def test_the_file_never_passes_its_bound_whatever_is_in_it(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal(max_bytes=5 << 20)
    outbox = kept.outbox("influx")
    for n in range(12_000):
        kept.append(item(n))
        kept.quarantine(item(n), "it cannot be " * 10)
        if n % 200 == 199:
            assert kept.flush(60), kept.status()
            page = outbox.page(limit=100)
            outbox.settle(page[-1].id, delivered={}, dead=[Dead(entry, "r" * 200) for entry in page])
    assert kept.flush(60)
    assert kept.status()["trouble"] is None
    assert kept.status()["bytes"] <= 1 << 20, "4 MiB are left to the log"
    assert kept.stored("main") == 12_000
    assert kept.evicted("main") > 0
    assert kept.close(60)
    check(kept.path, received=False)
