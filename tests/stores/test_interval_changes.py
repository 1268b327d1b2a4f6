"""The feed of changes: every validated interval that changed is in it, and no other; and readers that keep numbers."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.intervals.edit import edit
from gateway.intervals.model import Bound, Interval, SeriesKey, revised
from gateway.stores import interval_changes, interval_rows
from gateway.stores.hubs import Change, HubStore
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import Batch, IntervalReader, IntervalStore, StaleError
from gateway.stores.ledger_rows import Note
from gateway.stores.ledger_salvage import open_ledger

ROW = SeriesRow("main", 0, "active", "import", "Wh", 0, "electricity")
#: a day in UTC
START = 1_772_496_000
DAY = 86_400


def raw(start: int, quantity: int = 100) -> Interval:
    low, high = Bound(start, 1_000, "measured"), Bound(start + 900, 1_000 + quantity, "measured")
    return Interval(
        start=start,
        end=start + 900,
        quantity=quantity,
        status="raw",
        quality="measured",
        auth="plain",
        clock="meter",
        coverage=1000,
        low=low,
        high=high,
        method="register",
        resolution_wh=1,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def stores(ledger: Path) -> Iterator[tuple[IntervalStore, HubStore, list[float]]]:
    """Intervals, what hubs see of them, and the clock."""
    now = [float(START + 10 * DAY)]
    file = open_ledger(ledger).file
    store = IntervalStore(file, lambda: now[0])
    store.add_series(ROW)
    yield store, HubStore(file, lambda: now[0]), now
    file.close()


Stores = tuple[IntervalStore, HubStore, list[float]]


def fold(store: IntervalStore, *intervals: Interval) -> None:
    store.write(Batch(versions={(ROW.key, "PT15M"): list(intervals)}))


def validate(store: IntervalStore, start: int, status: str = "valid") -> None:
    current = store.history(ROW.key, "PT15M", start)[-1]
    store.add(ROW.key, "PT15M", [revised(current, status=status, author="vee")])


def test_what_is_raw_is_no_change_and_what_is_validated_is(stores: Stores) -> None:
    store, hubs, _ = stores
    fold(store, raw(START), raw(START + 900), raw(START + DAY))
    assert hubs.changes(0) == []
    assert (hubs.oldest_change, hubs.last_change) == (1, 0)
    current = list(store.current(ROW.key, "PT15M", START, START + 2 * DAY))
    store.add(ROW.key, "PT15M", [revised(one, status="valid", author="vee") for one in current])
    assert hubs.changes(0) == [
        Change(1, ROW.key, "PT15M", START, START + 1_800),
        Change(2, ROW.key, "PT15M", START + DAY, START + DAY + 900),
    ]
    assert hubs.changes(1) == hubs.changes(0)[1:]
    assert hubs.changes(0, 1) == hubs.changes(0)[:1]


@pytest.mark.parametrize("status", ["suspect", "missing", "raw"])
def test_what_takes_the_place_of_a_validated_version_is_a_change(stores: Stores, status: str) -> None:
    store, hubs, _ = stores
    fold(store, raw(START), raw(START + 900))
    validate(store, START)
    validate(store, START, status)
    validate(store, START + 900, "suspect")
    assert [(one.id, one.start) for one in hubs.changes(0)] == [(1, START), (2, START)]


def test_a_late_reading_that_folds_anew_is_a_change(stores: Stores) -> None:
    store, hubs, _ = stores
    fold(store, raw(START))
    validate(store, START)
    fold(store, raw(START, 120))
    assert len(hubs.changes(0)) == 2
    fold(store, raw(START, 120))
    assert len(hubs.changes(0)) == 2, "it says nothing new"


def test_an_edit_is_a_change(stores: Stores) -> None:
    store, hubs, now = stores
    fold(store, raw(START))
    current = store.history(ROW.key, "PT15M", START)[-1]
    at = datetime.fromtimestamp(now[0], UTC)
    version = edit(current, 90, reason="why", person="anna", at=at)
    store.edit(ROW.key, "PT15M", version, Note("interval_edited", "main", at, {}))
    assert len(hubs.changes(0)) == 1


def test_a_version_that_is_refused_is_no_change(stores: Stores) -> None:
    store, hubs, _ = stores
    fold(store, raw(START))
    current = store.history(ROW.key, "PT15M", START)[-1]
    with pytest.raises(StaleError):
        store.add(ROW.key, "PT15M", [replace(current, status="valid", version=7)])
    assert hubs.changes(0) == []


def test_changes_of_a_forgotten_meter_hold_up_no_others(stores: Stores) -> None:
    store, hubs, _ = stores
    other = SeriesRow("barn", 0, "active", "import", "Wh", 0, "electricity")
    store.add_series(other)
    for n in range(5):
        fold(store, raw(START + n * DAY))
        validate(store, START + n * DAY)
    store.write(Batch(versions={(other.key, "PT15M"): [replace(raw(START), status="valid")]}))
    hubs._file.forget("main")
    assert [(one.id, one.key) for one in hubs.changes(0, 2)] == [(6, other.key)]
    assert hubs.changes(6, 2) == []


def test_resolutions_that_no_hub_takes_are_not_in_it(stores: Stores) -> None:
    store, hubs, _ = stores
    store.write(Batch(versions={(ROW.key, "P1D"): [replace(raw(START), end=START + DAY, status="valid")]}))
    assert hubs.changes(0) == []


def test_old_changes_go_and_positions_go_on(stores: Stores) -> None:
    store, hubs, now = stores
    fold(store, raw(START), raw(START + 900))
    validate(store, START)
    now[0] += interval_changes.KEPT_S + 1
    assert store.prune() == 1
    assert (hubs.oldest_change, hubs.last_change) == (2, 1)
    validate(store, START + 900)
    assert [one.id for one in hubs.changes(0)] == [2]
    assert store.prune() == 0


def test_a_reader_knows_a_series_that_was_made_later_or_gone(stores: Stores, ledger: Path) -> None:
    store, hubs, _ = stores
    fold(store, raw(START))
    reader = IntervalReader(ledger)
    assert len(reader.history(ROW.key, "PT15M", START)) == 1
    other = ROW.__class__("barn", 0, "active", "import", "Wh", 0, "electricity")
    assert reader.history(other.key, "PT15M", START) == []
    store.add_series(other)
    store.write(Batch(versions={(other.key, "PT15M"): [raw(START)]}))
    assert len(reader.history(other.key, "PT15M", START)) == 1
    hubs._file.forget("main")
    assert reader.history(ROW.key, "PT15M", START) == []
    reader.close()


def test_a_reader_of_many_series_asks_for_one_row_each(stores: Stores, ledger: Path) -> None:
    store, _, _ = stores
    for n in range(200):
        store.add_series(SeriesRow(f"m{n}", 0, "active", "import", "Wh", 0, "electricity"))
    reader = IntervalReader(ledger)
    reader.series()
    asked: list[str] = []
    reader._db.set_trace_callback(asked.append)
    for n in range(200):
        reader.history(SeriesKey(f"m{n}", 0, "active", "import"), "PT15M", START)
    assert len(asked) == 400
    assert not [one for one in asked if one.endswith("FROM interval_series")]
    reader.close()


def test_the_last_series_that_there_may_be_is_kept_and_salvaged(ledger: Path) -> None:
    file = open_ledger(ledger).file
    file.db.execute(
        "INSERT INTO interval_series VALUES (?, ?)", interval_rows.pack_series(interval_rows.MAX_SERIES - 2, ROW)
    )
    store = IntervalStore(file)
    last = SeriesRow("last", 0, "active", "import", "Wh", 0, "electricity")
    store.add_series(last)
    with pytest.raises(ValueError, match="too many"):
        store.add_series(SeriesRow("more", 0, "active", "import", "Wh", 0, "electricity"))
    store.write(Batch(versions={(last.key, "P1D"): [replace(raw(START), end=START + DAY)]}))
    before = store.history(last.key, "P1D", START)
    identity = file.identity
    file.close()
    file = open_ledger(ledger, identity, "the test says so").file
    assert IntervalStore(file).history(last.key, "P1D", START) == before != []
    file.close()
