"""The store: what is answered is committed, what raises leaves nothing, versions and values that hold now."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sandbox import effects, ids, queues
from gateway.sandbox.effects import Accepted
from gateway.sandbox.store import Store, StoreError

DAY = 86_400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path, "CREATE TABLE IF NOT EXISTS own(a)")
    yield made
    made.close()


@pytest.fixture
def db(store: Store) -> Iterator[sqlite3.Connection]:
    store._connection.execute("BEGIN")
    yield store._connection
    store._connection.execute("ROLLBACK")


def series(start: int, *values: str | None, quality: str = "A04", version: int | None = None) -> Accepted:
    told = tuple((start + 3600 * i, value, quality) for i, value in enumerate(values))
    end = start + 3600 * len(values)
    return Accepted("dk", "gridco", "p", "consumption", "KWH", start, end, "PT1H", "d", "t", told, version)


def test_what_is_answered_is_committed(store: Store, path: Path) -> None:
    async def fill() -> None:
        await asyncio.gather(
            *(store.run(lambda db, i=i: db.execute("INSERT INTO own VALUES (?)", (i,))) for i in range(1000))
        )
        with sqlite3.connect(path) as other:
            assert other.execute("SELECT count(*), sum(a) FROM own").fetchone() == (1000, 499_500)
        other.close()

    asyncio.run(fill())


def test_a_work_that_raises_leaves_nothing_and_harms_no_other(store: Store) -> None:
    def wrong(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO own VALUES (1)")
        raise LookupError("no")

    async def work() -> list[object]:
        good = lambda db: db.execute("INSERT INTO own VALUES (2)").rowcount  # noqa: E731
        return await asyncio.gather(store.run(good), store.run(wrong), store.run(good), return_exceptions=True)

    first, error, last = asyncio.run(work())
    assert (first, last, type(error)) == (1, 1, LookupError)
    assert asyncio.run(store.run(lambda db: db.execute("SELECT a FROM own").fetchall())) == [(2,), (2,)]


def test_a_disk_that_is_full_is_said_to_all_who_wait(store: Store) -> None:
    async def work() -> None:
        await store.run(lambda db: db.execute("PRAGMA max_page_count = 1"))
        with pytest.raises(StoreError, match="full"):
            await store.run(lambda db: db.execute("INSERT INTO own VALUES (zeroblob(10000000))"))
        await store.run(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
        assert await store.run(lambda db: db.execute("SELECT count(*) FROM own").fetchone()) == (0,)

    asyncio.run(work())


def test_a_file_that_is_no_store_is_said(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        Store(path)


def test_versions_and_what_holds_now(db: sqlite3.Connection) -> None:
    assert effects.accept(db, series(0, "1", "2", "3"), 10) == (1, 1, False)
    assert effects.accept(db, series(0, "1.0", "2.00", "3"), 11) == (2, 2, True)
    assert effects.accept(db, series(0, "1", "2", "4"), 12) == (3, 3, False)
    assert effects.accept(db, series(0, "1", "2", "4", quality="A03"), 13) == (4, 4, False)
    # Another period of the same hours is a series of its own, and its values hold.
    assert effects.accept(db, series(3600, None), 14) == (5, 1, False)
    held = effects.current(db, "dk", "p", "consumption", "KWH", 0, DAY)
    assert held == {0: ("1", "A03"), 3600: (None, "A04"), 7200: ("4", "A03")}
    assert effects.current(db, "dk", "p", "consumption", "KWH", 3600, 7200) == {3600: (None, "A04")}
    for other in (
        ("ee", "p", "consumption", "KWH"),
        ("dk", "q", "consumption", "KWH"),
        ("dk", "p", "production", "KWH"),
    ):
        assert effects.current(db, *other, 0, DAY) == {}


def test_the_log_is_what_was_accepted(db: sqlite3.Connection) -> None:
    effects.accept(db, series(0, "1", None), 10)
    effects.accept(db, series(0, "2", "3", version=7), 11)
    assert list(effects.log(db, 1, 10)) == [
        {
            "n": 2, "at": 11, "profile": "dk", "party": "gridco", "point": "p", "direction": "consumption",
            "unit": "KWH", "start": 0, "end": 7200, "resolution": "PT1H", "document": "d", "transaction": "t",
            "version": 7, "unchanged": False, "values": [[0, "2", "A04"], [3600, "3", "A04"]],
        }
    ]  # fmt: skip
    assert [e["values"][1][1] for e in effects.log(db, 0, 1)] == [None]
    assert list(effects.log(db, 0, 10, profile="ee")) == []


def test_ids_are_of_a_sender_and_a_scope(db: sqlite3.Connection) -> None:
    many = [f"id {i}" for i in range(1200)]
    ids.register(db, "dk", "a", "transaction", many)
    ids.register(db, "dk", "a", "transaction", many[:1])
    assert ids.taken(db, "dk", "a", "transaction", [*many, "other"]) == set(many)
    assert ids.taken(db, "dk", "a", "message", many) == set()
    assert ids.taken(db, "dk", "b", "transaction", many) == set()
    assert ids.taken(db, "ee", "a", "transaction", many) == set()


def test_a_queue_gives_the_oldest_until_it_is_taken(db: sqlite3.Connection) -> None:
    for n in range(2):
        queues.put(db, 0, "dk", "a", "Timeseries", queues.Bundle(f"b{n}", "rsm-009", {"n": n}))
    assert queues.waiting(db) == {"dk": 2}
    assert not queues.dequeue(db, "dk", "a", "b0", 1)
    assert (
        queues.peek(db, "dk", "a", "Timeseries")
        == queues.peek(db, "dk", "a", "Timeseries")
        == ("b0", "rsm-009", {"n": 0})
    )
    assert not queues.dequeue(db, "dk", "a", "b1", 1)
    assert not queues.dequeue(db, "dk", "b", "b0", 1)
    assert not queues.dequeue(db, "eu", "a", "b0", 1)
    assert queues.dequeue(db, "dk", "a", "b0", 1)
    assert queues.peek(db, "dk", "a", "Timeseries") == ("b1", "rsm-009", {"n": 1})
    assert queues.peek(db, "dk", "a", "Aggregations") is None
