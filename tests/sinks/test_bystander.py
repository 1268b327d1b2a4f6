"""Readings of other meters behind those in hand: found in order, and handed out to nobody."""

import asyncio
from datetime import UTC, datetime

import pytest

from gateway.sinks.bystander import Bystanders
from gateway.stores import outbox as outboxes
from gateway.stores.journal import Journal


@pytest.fixture
def outbox(tmp_path, make_item):
    """Rows 1 to 60 of garage, then main and cabin in turn; one committed state is between them."""
    journal = Journal(tmp_path / "journal.db", max_bytes=1 << 24, max_age_s=10**9, group_s=3_600, meters=["garage"])
    journal.start()
    t = datetime(2026, 11, 21, 22, tzinfo=UTC)
    for n, meter in enumerate(["garage"] * 60 + ["main", "cabin"] * 10):
        journal.append(make_item(n, meter, t=t, reg_t=t))
        if n == 30:
            assert journal.flush(20)
    assert journal.flush(20)
    found = journal.outbox("mqtt")
    yield found
    found.close()
    assert journal.close(20)


def test_what_is_ahead_is_not_handed_out(outbox):
    first = outbox.page(None, 10)
    entries, upto = outbox.ahead(first[-1].id, {"garage"}, 3)
    assert [(one.item.meter, one.item.seq) for one in entries] == [("main", 60), ("cabin", 61), ("main", 62)]
    assert upto == entries[-1].id
    assert [one.item.meter for one in outbox.ahead(upto, {"garage", "main"}, 2)[0]] == ["cabin"] * 2
    outbox.settle(first[-1].id, delivered={"garage": 10})
    status = outbox.status()
    assert (status["delivered"], status["pending"]) == (10, 70)


def test_a_look_passes_so_many_rows_at_most(outbox, monkeypatch):
    monkeypatch.setattr(outboxes, "SPAN", 25)
    assert outbox.ahead(0, {"garage"}, 5) == ([], 25)
    assert outbox.ahead(outbox.newest, (), 5) == ([], outbox.newest)


def test_the_next_of_another_meter_is_found_and_none_before_an_older_one(outbox):
    async def main() -> list[tuple[str, int]]:
        found, woken = [], asyncio.Event()
        bystanders = Bystanders(outbox, woken.set)
        unsure = {60}

        async def look(without, wanted) -> tuple[str, int]:
            while (entry := bystanders.next(10, without, wanted)) is None:
                await woken.wait()
                woken.clear()
            return entry.item.meter, entry.item.seq

        async with asyncio.timeout(30):
            found.append(await look({"garage"}, lambda _entry: True))
            found.append(await look({"garage", "main"}, lambda _entry: True))
            # what may be needed yet keeps later ones of its meter back
            found.append(await look({"garage"}, lambda entry: None if entry.item.seq in unsure else True))
        return found

    assert asyncio.run(main()) == [("main", 60), ("cabin", 61), ("cabin", 61)]
