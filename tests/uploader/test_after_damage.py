"""An uploader on a ledger that was damaged: nothing goes out twice by itself, and everything once a person says so."""

import sqlite3
from datetime import date
from pathlib import Path

import pytest

from gateway.stores.ledger_salvage import open_ledger
from tests.uploader.lying import hub_settings, noon
from tests.uploader.test_worker import House, fill

TABLES = ("hub_part", "hub_slot", "hub_message", "hub_body")


@pytest.fixture
def sent(tmp_path: Path) -> House:
    """An uploader that handed three days over."""
    house = House(tmp_path, hub_settings(since="2026-03-02"))
    fill(house, 3)
    house.now = noon(date(2026, 3, 6))
    house.run(until=house.now + 2 * 3_600, step_s=1_800)
    assert house.there.sends > 0
    return house


def damage(house: House, *tables: str) -> None:
    """Lose whole tables, and have the ledger found damaged."""
    path = house.settings.ledger_path
    db = sqlite3.connect(path)
    for table in tables:
        db.execute(f"DELETE FROM {table}")
    db.commit()
    db.close()
    file = open_ledger(path).file
    suspect = file.identity
    file.close()
    found = open_ledger(path, suspect, "the test says so")
    assert found.notice
    found.file.close()


@pytest.mark.parametrize("lost", [(), *((table,) for table in (*TABLES, "hub_note")), TABLES])
def test_nothing_is_sent_twice_by_itself(sent: House, lost: tuple[str, ...]) -> None:
    before, effects = sent.there.sends, dict(sent.there.effects)
    damage(sent, *lost)
    sent.run(until=sent.now + 30 * 3_600, step_s=10_800)
    assert sent.there.effects == effects
    assert sent.there.sends == before


def test_what_was_lost_is_sent_anew_once_a_person_says_so(sent: House) -> None:
    before = len(sent.there.effects)
    damage(sent, *TABLES)
    sent.run(until=sent.now + 86_400, step_s=14_400)
    assert len(sent.there.effects) == before
    with sent.store() as store:
        (lost,) = store.in_state(sent.hub.name, "unknown")
        message = store.message(sent.hub.name, lost.id)
        assert message is not None
        store.retry(message, "anna", int(sent.now))
    sent.run(until=sent.now + 86_400, step_s=14_400)
    assert len(sent.there.effects) == 2 * before
    with sent.store() as store:
        assert store.counts(sent.hub.name)["unknown"] == 0
        rows = list(store.slots(sent.hub.name, sent.points[0].id or ""))
        assert rows
        assert all(row.revision > 100 for row in rows), "above all that were lost"
        assert store.audit.verify() == []
