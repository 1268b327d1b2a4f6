"""The journal as the daemon uses it: groups, counters, numbers, restarts."""

import asyncio
import stat
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.item_p import ItemP
from gateway.stores import state
from gateway.stores.database import SEQ_BLOCK, Database
from gateway.stores.journal import Journal, JournalError
from gateway.stores.reader import Reader
from gateway.stores.schema import connect

MakeItem = Callable[..., ItemP]
MakeJournal = Callable[..., Journal]


def read(path: Path, *wanted: object) -> list[ItemP]:
    reader = Reader(path, *wanted)  # type: ignore[arg-type]
    try:
        return list(reader)
    finally:
        assert reader.damaged == 0
        reader.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_readings_come_back_in_order_and_whole(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal(meters=("main", "barn"))
    made = [item(n, ("main", "barn")[n % 2]) for n in range(1_300)]
    assert all(kept.append(one) for one in made)
    assert kept.flush(60)
    assert read(kept.path) == made
    assert kept.stored("main") == kept.stored("barn") == 650
    assert read(kept.path, "barn") == made[1::2]


def test_nothing_is_committed_before_the_group_is_cut(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    kept.append(item(0))
    until(lambda: kept.status()["state"] == "ok", "checked")
    assert kept.stored("main") == 0
    assert kept.status()["queued"] == 1
    kept.cut()
    until(lambda: kept.stored("main") == 1, "committed")


def test_the_loop_cuts_groups_by_itself(journal: MakeJournal, item: MakeItem) -> None:
    async def live() -> None:
        kept = journal(group_s=0.05)
        async with asyncio.timeout(60):
            for n in range(3):
                kept.append(item(n))
                while kept.stored("main") != n + 1:
                    await asyncio.sleep(0.005)

    asyncio.run(live())


def test_a_flood_is_cut_before_the_time(journal: MakeJournal, item: MakeItem) -> None:
    async def flood() -> None:
        kept = journal(group_s=3_600)
        async with asyncio.timeout(60):
            for n in range(12_000):
                kept.append(item(n))
                if n % 50 == 0:
                    await asyncio.sleep(0)
            while kept.stored("main") < 5_000:
                await asyncio.sleep(0.005)
            assert kept.lost("main") == 0

    asyncio.run(flood())


def test_counters_are_those_of_their_group(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    decoded = {"main": {"decoded": 0, "fault.link.checksum": 3}}
    kept = journal(save_counters=lambda: decoded)
    for n in range(25):
        decoded["main"]["decoded"] += 1
        kept.append(item(n))
    kept.cut()
    decoded["main"]["decoded"] = 999
    until(lambda: kept.stored("main") == 25, "committed")
    again = Reader(tmp_path / "journal.db")
    assert len(list(again)) == 25
    again.close()
    saved = _counters_on_disk(tmp_path / "journal.db")
    assert saved["decoded"] == saved["stored"] == 25
    assert saved["fault.link.checksum"] == 3


def test_counters_outlive_a_restart_and_a_group_without_readings(journal: MakeJournal, item: MakeItem) -> None:
    now = {"main": {"decoded": 1, "noise": 0}, "barn": {"decoded": 0}}
    first = journal(meters=("main", "barn"), save_counters=lambda: now)
    assert first.counters("main") == {}
    first.append(item(0))
    for noise in range(1, 6):
        now["main"]["noise"] = noise
        first.flush(60)
    assert first.close(60)
    second = journal(meters=("main", "barn"))
    expected = {"decoded": 1, "noise": 5, "stored": 1, "journal_lost": 0, "journal_evicted": 0, "quarantined": 0}
    assert second.counters("main") == expected
    assert second.counters("barn") == dict.fromkeys(expected.keys() - {"noise"}, 0)
    assert second.counters("unheard_of") == {}
    assert second.stored("main") == 1


def test_counters_alone_replace_each_other(journal: MakeJournal, tmp_path: Path) -> None:
    now = {"main": {"noise": 0}}
    kept = journal(save_counters=lambda: now)
    for noise in range(20):
        now["main"]["noise"] = noise
        assert kept.flush(60)
    assert _rows(tmp_path / "journal.db") == 1
    kept.flush(60)
    assert _rows(tmp_path / "journal.db") == 1


def test_numbers_rise_without_gap_over_a_clean_end(journal: MakeJournal, tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        kept = journal(meters=("main", "barn"))
        seen += [kept.next_seq("main") for _ in range(5)]
        kept.next_seq("barn")
        assert kept.close(60)
    assert seen == list(range(1, 16))


def test_numbers_are_reserved_ahead(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    for _ in range(3):
        for _ in range(SEQ_BLOCK * 3 // 4):
            last = kept.next_seq("main")
        kept.append(item(0))
        assert kept.flush(60)
    assert last == SEQ_BLOCK * 9 // 4


def test_numbers_beyond_the_reservation_come_from_the_clock(journal: MakeJournal) -> None:
    kept = journal()
    numbers = [kept.next_seq("main") for _ in range(SEQ_BLOCK + 3)]
    assert numbers[SEQ_BLOCK - 1] == SEQ_BLOCK
    assert numbers[SEQ_BLOCK] > 1_700_000_000_000
    assert all(a < b for a, b in pairwise(numbers))


def test_numbers_beyond_the_reservation_repeat_on_no_host_without_a_clock(
    journal: MakeJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal()
    before = [kept.next_seq("main") for _ in range(SEQ_BLOCK + 3)]
    monkeypatch.setattr(state.time, "time_ns", lambda: 30 * 10**9)
    after = [kept.next_seq("main") for _ in range(3)]
    assert all(a < b for a, b in pairwise([*before, *after]))
    first = [state.after_damage(0) for _ in range(20)]
    assert len(set(first)) == 20, "whoever starts at the same second of 1970 again has others"
    assert before[-1] < min(first)
    assert max(first) < 1 << 53
    assert [state.after_damage(first[0]), state.after_damage(first[0] + 1)] == [first[0], first[0] + 1]


def test_a_meter_that_nobody_named_gets_numbers_that_rise(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    first = kept.next_seq("late")
    kept.append(item(0, "late", seq=first))
    assert kept.flush(60)
    assert kept.close(60)
    assert journal().next_seq("late") > first


def test_append_never_waits_for_the_disk(journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = journal()
    assert kept.flush(60)
    released = threading.Event()
    commit = Database.commit

    def slow(*given: object) -> object:
        released.wait(60)
        return commit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "commit", slow)
    for n in range(100):
        kept.append(item(n))
        kept.cut()
    assert kept.stored("main") == 0
    assert kept.flush(timeout_s=0.05) is False
    released.set()
    assert kept.flush(60)
    assert kept.stored("main") == 100


def test_close_gives_up_on_a_disk_that_hangs(
    journal: MakeJournal, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal()
    kept.flush(60)
    released = threading.Event()
    commit = Database.commit

    def hang(*given: object) -> object:
        released.wait(60)
        return commit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "commit", hang)
    kept.append(item(0))
    assert kept.close(timeout_s=0.05) is False
    assert kept.append(item(1)) is False
    assert kept.lost("main") == 1
    released.set()
    assert kept._writer.join(60)


def test_close_commits_what_is_queued_and_ends_the_thread(journal: MakeJournal, item: MakeItem) -> None:
    before = threading.active_count()
    kept = journal()
    for n in range(500):
        kept.append(item(n))
    assert kept.close(60)
    assert kept.close(60), "twice is fine"
    assert threading.active_count() == before
    assert not Path(f"{kept.path}-wal").exists()
    assert len(read(kept.path)) == 500


def test_another_process_reads_while_it_is_written(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    for n in range(1_200):
        kept.append(item(n))
    kept.flush(60)
    reader = Reader(kept.path)
    rows: Iterator[ItemP] = iter(reader)
    next(rows)
    for n in range(1_200, 1_300):
        kept.append(item(n))
    assert kept.flush(60), "a reader in the middle of the file does not hold up the writer"
    assert [one.seq for one in rows] == list(range(2, 1_301))
    reader.close()


@pytest.mark.parametrize(
    ("column", "value", "left"),
    [("t", -1_325_262_552, 9), ("t", b"x", 9), ("meter", 0, 10), ("meter", 9, 10), ("meter", b"x", 10)],
)
def test_a_reader_misses_no_row_of_which_a_column_is_damaged(
    journal: MakeJournal, item: MakeItem, column: str, value: object, left: int
) -> None:
    kept = journal(meters=("main", "barn"))
    made = [item(n, ("main", "barn")[n % 2]) for n in range(10)]
    for one in made:
        kept.append(one)
    assert kept.flush(60)
    ids = [entry.id for entry in kept.outbox("look").page()]
    assert kept.close(60)
    db = connect(kept.path)
    db.execute(f"UPDATE record SET {column} = ? WHERE id = ?", (value, ids[4]))
    db.execute("UPDATE record SET meter = 9 WHERE id = ?", (ids[-1] + 1,))  # counters
    db.close()
    reader, main = Reader(kept.path), Reader(kept.path, "main")
    found, of_main = list(reader), list(main)
    reader.close()
    main.close()
    assert found == (made if left == 10 else made[:4] + made[5:]), "the seal tells whose row it is"
    assert of_main == [one for one in found if one.meter == "main"]
    assert reader.damaged == main.damaged == 10 - left, "and what is left out is told"


def test_a_reader_does_not_keep_the_log_from_being_folded(journal: MakeJournal, item: MakeItem) -> None:
    kept = journal()
    for n in range(600):
        kept.append(item(n))
    kept.flush(60)
    reader = Reader(kept.path)
    next(iter(reader))
    for n in range(600, 60_000):
        kept.append(item(n))
        if n % 200 == 0:
            kept.flush(60)
    assert kept.status()["wal_bytes"] <= 5 << 20
    reader.close()


def test_files_are_private_whatever_the_umask(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal()
    kept.append(item(0))
    kept.flush(60)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"), 0o600)


def test_two_writers_are_refused(journal: MakeJournal, tmp_path: Path) -> None:
    journal()
    with pytest.raises(JournalError, match=r"another meterd writes the journal .*journal\.db: stop it"):
        journal()


def test_the_salt_stays(journal: MakeJournal) -> None:
    first = journal()
    salt = first.salt
    first.close(60)
    assert len(salt) == 16
    assert journal().salt == salt


def test_status_says_how_it_stands(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal()
    kept.append(item(0))
    kept.flush(60)
    until(lambda: kept.status()["state"] == "ok", "checked")
    status = kept.status()
    assert status["last_commit"].endswith("Z")
    assert status["bytes"] > 0
    expected = {"path": str(tmp_path / "journal.db"), "trouble": None, "notices": [], "stored": 1, "lost": 0}
    assert expected | {"evicted": 0, "queued": 0, "queued_bytes": 0, "max_bytes": 64 << 20} == {
        name: value for name, value in status.items() if name not in ("state", "last_commit", "bytes", "wal_bytes")
    }


def _rows(path: Path) -> int:
    from gateway.stores.schema import connect_readonly

    db = connect_readonly(path)
    try:
        return int(db.execute("SELECT count(*) FROM record").fetchone()[0])
    finally:
        db.close()


def _counters_on_disk(path: Path) -> dict[str, int]:
    from gateway.stores.schema import connect_readonly
    from gateway.stores.state import read_state

    db = connect_readonly(path)
    try:
        return read_state(db).counters["main"]
    finally:
        db.close()
