"""Every result of a decoder is somewhere: judged from the rows of the file, after each commit and each accident."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.item_p import ItemP
from gateway.stores.database import Database
from gateway.stores.journal import Journal
from gateway.stores.memory import State
from gateway.stores.outbox import Dead
from gateway.stores.reader import Reader
from gateway.stores.schema import StorageFault
from gateway.telemetry import MeterCounters
from tests.stores.account import Account, check

MakeItem = Callable[..., ItemP]
MakeJournal = Callable[..., Journal]


class Line:
    """A meter as the daemon has it: what it receives goes to the journal, with counters to go on from."""

    def __init__(self, journal: MakeJournal, item: MakeItem, path: Path, **changes: Any) -> None:
        self.counters = {name: MeterCounters() for name in ("main", "barn")}
        self.kept = journal(path, meters=("main", "barn"), save_counters=self.save, **changes)
        for name, counters in self.counters.items():
            counters.restore(self.kept.counters(name))
        self.item = item
        self.dice = random.Random(6)

    def save(self) -> dict[str, dict[str, int]]:
        return {name: counters.as_dict() for name, counters in self.counters.items()}

    def receive(self, n: int) -> None:
        for _ in range(n):
            name = self.dice.choice(("main", "barn"))
            self.counters[name].add("received")
            fate = self.dice.random()
            seq = self.kept.next_seq(name)
            if fate < 0.1:
                self.counters[name].add("rejected")
            elif fate < 0.2:
                self.kept.quarantine(self.item(seq % 10_000, name, seq=seq), "150 GW at the meter")
            else:
                self.kept.append(self.item(seq % 10_000, name, seq=seq))

    def judge(self) -> dict[str, Any]:
        account = self.kept.conservation()
        assert account["holds"], account
        return account


def test_it_holds_at_every_moment_and_in_every_commit(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    line = Line(journal, item, tmp_path / "journal.db")
    outbox = line.kept.outbox("influx")
    for n in range(60):
        line.receive(1 + n)
        line.judge()
        line.kept.cut()
        line.judge()
        for entry in outbox.page(limit=20):
            refused = line.dice.random() < 0.1
            dead = [Dead(entry, "no")] if refused else []
            outbox.settle(entry.id, delivered=Counter() if refused else {entry.item.meter: 1}, dead=dead)
        if n % 10 == 0:
            assert line.kept.flush(60)
            copy = tmp_path / f"copy-{n}"
            copy.mkdir()
            for suffix in ("", "-wal"):
                shutil.copy(f"{line.kept.path}{suffix}", copy / f"journal.db{suffix}")
            check(copy / "journal.db")
    assert line.kept.flush(60)
    account = line.judge()
    assert all(terms["held"] == 0 for terms in account["meters"].values())
    assert line.kept.close(60)
    said = check(line.kept.path)
    assert sum(terms["received"] for terms in said.values()) == sum(range(1, 61))
    again = Line(journal, item, line.kept.path)
    assert again.judge() == account, "a restart changes nothing"


def test_it_holds_while_the_medium_fails(
    journal: MakeJournal, item: MakeItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(journal, item, tmp_path / "journal.db")
    assert line.kept.flush(60)
    failing = True
    commit = Database.commit

    def fail(self: Database, *given: object) -> object:
        if failing:
            raise StorageFault("the disk is full")
        return commit(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "commit", fail)
    for n in range(400):
        line.receive(100)
        if n % 20 == 0:
            line.kept.cut()
            line.judge()
    account = line.judge()
    assert sum(terms["lost"] for terms in account["meters"].values()) > 5_000
    failing = False
    while not line.kept.flush(1):
        line.judge()
    line.judge()
    assert line.kept.close(60)
    check(line.kept.path)


def test_it_holds_over_evictions(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    line = Line(journal, item, tmp_path / "journal.db", max_bytes=5 << 20)
    fast, slow = line.kept.outbox("mqtt"), line.kept.outbox("influx")
    for _ in range(40):
        line.receive(400)
        assert line.kept.flush(60)
        slow.page(limit=50)
        while page := fast.page():
            fast.settle(page[-1].id, delivered=Counter(entry.item.meter for entry in page))
        line.judge()
    assert sum(terms["evicted"] for terms in line.judge()["sinks"]["influx"].values()) > 1_000
    assert sum(terms["evicted"] for terms in line.judge()["sinks"]["mqtt"].values()) == 0
    assert line.kept.close(60)
    check(line.kept.path)


def test_it_holds_after_damage(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    line = Line(journal, item, path)
    outbox = line.kept.outbox("influx")
    for _ in range(20):
        line.receive(100)
        assert line.kept.flush(60)
    page = outbox.page(limit=700)
    outbox.settle(page[-1].id, delivered=Counter(entry.item.meter for entry in page))
    letters = outbox.page(limit=3)
    outbox.settle(letters[-1].id, delivered={}, dead=[Dead(entry, "refused") for entry in letters])
    assert line.kept.close(60)
    whole = Account(path)
    store = outbox.store
    data = bytearray(path.read_bytes())
    leaves = [at for at in range(40 * 1024, len(data), 1024) if data[at] == 0x0D]
    for at in leaves[20:30]:
        data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    again = Line(journal, item, path)
    assert again.kept.flush(60)
    account = again.judge()
    gone = sum(terms["evicted"] for terms in account["sinks"]["influx"].values())
    after = again.kept.outbox("influx")
    assert after.position == outbox.position
    assert after.store == store
    pending = after.page(limit=5_000)
    assert pending[0].id > outbox.position
    assert {entry.id for entry in pending} <= {at for at, _ in whole.rows}, "rows keep their ids"
    delivered = sum(terms["delivered"] for terms in account["sinks"]["influx"].values())
    assert delivered + gone + 3 + len(pending) == sum(terms["stored"] for terms in account["meters"].values())
    assert len(again.kept.dead_letters()) == 3, "dead letters are carried over"
    assert 0.7 * whole.apart < Account(path).apart <= whole.apart, "and what can be read of the quarantine"
    again.receive(50)
    assert again.kept.flush(60)
    again.judge()
    assert again.kept.close(60)
    check(path)


def test_an_end_in_the_middle_of_a_salvage_leaves_no_gap(
    journal: MakeJournal, item: MakeItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    line = Line(journal, item, path)
    outbox = line.kept.outbox("influx")
    for _ in range(20):
        line.receive(200)
        assert line.kept.flush(60)
    page = outbox.page(limit=100)
    outbox.settle(page[-1].id, delivered=Counter(entry.item.meter for entry in page))
    assert line.kept.close(60)
    whole = Account(path)
    data = bytearray(path.read_bytes())
    leaves = [at for at in range(40 * 1024, len(data), 1024) if data[at] == 0x0D]
    data[leaves[30] : leaves[30] + 8] = bytes(8)
    path.write_bytes(data)
    adopt, chunks, folder = Database.adopt, 0, tmp_path / "killed"

    def die(self: Database, *given: Any) -> None:
        nonlocal chunks
        chunks += 1
        adopt(self, *given)
        if chunks == 5:
            shutil.copytree(tmp_path, folder, ignore=shutil.ignore_patterns("killed", "*-shm", "*.lock"))

    monkeypatch.setattr(Database, "adopt", die)
    first = Line(journal, item, path)
    assert first.kept.flush(60)
    assert first.kept.close(60)
    monkeypatch.undo()
    middle = Account(folder / "journal.db")
    middle.check()
    assert len(middle.rows) < len(whole.rows) - 500
    again = Line(journal, item, folder / "journal.db")
    after = again.kept.outbox("influx")
    again.receive(10)
    assert again.kept.flush(60)
    again.judge()
    found = after.page(limit=5_000)
    assert [entry.id for entry in found] == sorted(entry.id for entry in found)
    assert {at for at, _ in Account(path).rows} - {at for at, _ in whole.rows} == set()
    left = Account(folder / "journal.db").rows
    assert set(Account(path).rows) <= set(left), "all that the first salvage found"
    assert again.kept.close(60)
    check(folder / "journal.db")


def test_the_quarantine_keeps_reading_and_reason_apart(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal()
    kept.append(item(0))
    kept.quarantine(item(1), "150 GW at the meter")
    kept.append(item(2))
    assert kept.flush(60)
    assert (kept.stored("main"), kept.quarantined("main")) == (2, 1)
    reader = Reader(kept.path)
    assert [one.seq for one in reader] == [1, 3], "it is in no history"
    assert list(reader.quarantine()) == [(item(1), "150 GW at the meter")]
    reader.close()
    assert [entry.item.seq for entry in kept.outbox("influx").page()] == [1, 3], "and no sink gets it"


def test_the_quarantine_has_a_quota_of_its_own(journal: MakeJournal, item: MakeItem, tmp_path: Path) -> None:
    kept = journal(max_bytes=8 << 20)
    for n in range(200):
        kept.append(item(n))
    for n in range(6_000):
        kept.quarantine(item(n), "implausible" * 10)
        if n % 500 == 0:
            assert kept.flush(60)
    assert kept.flush(60)
    assert kept.quarantined("main") == 6_000
    assert kept.evicted("main") == 0, "no reading gave way to it"
    reader = Reader(kept.path)
    found = [one.seq for one, _ in reader.quarantine()]
    reader.close()
    assert found == list(range(found[0], 6_001))
    assert 300 < len(found) < 3_000


def test_a_journal_that_cannot_be_read_at_the_start_is_taken_up_later(
    journal: MakeJournal, item: MakeItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    line = Line(journal, item, path)
    outbox = line.kept.outbox("influx")
    line.receive(300)
    assert line.kept.flush(60)
    page = outbox.page(limit=100)
    outbox.settle(page[-1].id, delivered=Counter(entry.item.meter for entry in page))
    assert line.kept.close(60)
    before = Account(path)
    opening, failing = Database.__init__, True

    def unreadable(self: Database, *given: Any, **limits: Any) -> None:
        if failing:
            raise StorageFault("the medium reports an input/output error")
        opening(self, *given, **limits)

    monkeypatch.setattr(Database, "__init__", unreadable)
    monkeypatch.setattr("gateway.stores.writer.salvage_state", lambda _: State(known=False, complete=False))
    again = Line(journal, item, path)
    late = again.kept.outbox("influx")
    again.receive(100)
    assert late.page() == [], "nothing is handed out while nobody knows where to begin"
    again.judge()
    failing = False
    while not again.kept.flush(1):
        again.judge()
    again.judge()
    assert late.position == outbox.position
    assert late.page()[0].id > late.position
    assert late.store == outbox.store
    assert again.kept.close(60)
    check(path)
    stored = sum(terms["stored"] for terms in Account(path).meters.values())
    assert stored > sum(terms["stored"] for terms in before.meters.values())
