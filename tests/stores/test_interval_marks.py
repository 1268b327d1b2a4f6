"""From where on versions are owed: kept in the ledger, lowered with a clock, forgotten with a meter, salvaged."""

import pytest

from gateway.intervals.owed import Mark
from gateway.stores import interval_marks
from gateway.stores.intervals import IntervalStore
from gateway.stores.ledger_file import LedgerFile
from gateway.stores.ledger_salvage import open_ledger


@pytest.fixture
def ledger(tmp_path):
    file = LedgerFile(tmp_path / "ledger.db")
    yield file
    file.close()


def marks(file) -> dict[str, Mark]:
    names = ("main", "ain", "m_in", "heat")
    found = {name: interval_marks.read(file.db, "mqtt", name) for name in names}
    return {name: mark for name, mark in found.items() if mark is not None}


def test_a_mark_that_was_never_said_is_now_and_stays(ledger):
    now = [1_000.0]
    store = IntervalStore(ledger, lambda: now[0])
    assert store.mark("mqtt", "main") == Mark(1_000)
    now[0] = 2_000.0
    assert store.mark("mqtt", "main") == Mark(1_000)
    store.put_marks("mqtt", {"main": Mark(1_500, 900, 1, 1, 3)})
    assert store.mark("mqtt", "main") == Mark(1_500, 900, 1, 1, 3)


def test_a_mark_is_lowered_for_its_meter_only(ledger):
    store = IntervalStore(ledger)
    store.put_marks("mqtt", dict.fromkeys(("main", "ain", "m_in"), Mark(1_000, 900)))
    with ledger.writing():
        interval_marks.lower(ledger.db, "main", Mark(1_000))
        interval_marks.lower(ledger.db, "ain", Mark(2_000))
    assert marks(ledger) == {"main": Mark(1_000), "ain": Mark(1_000, 900), "m_in": Mark(1_000, 900)}


def test_a_mark_is_forgotten_with_its_meter(ledger):
    store = IntervalStore(ledger)
    store.put_marks("mqtt", dict.fromkeys(("main", "ain", "m_in"), Mark(1_000)))
    ledger.forget("main")
    assert set(marks(ledger)) == {"ain", "m_in"}
    assert b"mqtt:main" not in ledger.path.read_bytes()


def test_a_mark_outlasts_damage(tmp_path):
    path = tmp_path / "ledger.db"
    file, _ = open_ledger(path)
    IntervalStore(file).put_marks("mqtt", {"main": Mark(1_000, 900, 2, 1, 7)})
    identity = file.identity
    file.close()
    again, notice = open_ledger(path, identity, "planted")
    assert "damaged" in (notice or "")
    assert marks(again) == {"main": Mark(1_000, 900, 2, 1, 7)}
    again.close()
