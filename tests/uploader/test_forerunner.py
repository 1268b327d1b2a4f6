"""A hub that was renamed: nothing goes out twice, and a person says whether it is the same one."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.stores.hub_reading import RETIRED
from tests.uploader.lying import hub_settings, noon
from tests.uploader.test_worker import House, fill


@pytest.fixture
def renamed(tmp_path: Path) -> House:
    """Two days are confirmed under another name; one more is there since, and the hub has another name now."""
    house = House(tmp_path, hub_settings(since="2026-03-02"))
    fill(house, 3)
    house.now = noon(date(2026, 3, 4))
    house.run(until=house.now + 7_200, step_s=600)
    assert len(house.there.effects) == 2
    house.now = noon(date(2026, 3, 5))
    house.hub = hub_settings(since="2026-03-02", name="dk2")
    house.events.clear()
    return house


def test_nothing_goes_under_a_new_name_until_a_person_says_what_it_is(renamed: House) -> None:
    renamed.run(until=renamed.now + 600, step_s=60)
    assert len(renamed.there.effects) == 2
    assert renamed.status["state"] == "blocked"
    assert "meterd hub rename dk dk2" in renamed.status["trouble"]
    assert renamed.names() == ["renamed"]


def test_the_same_hub_goes_on_where_it_was(renamed: House) -> None:
    renamed.run()
    with renamed.store() as store:
        assert store.rename("dk", "dk2", "anna", int(renamed.now)) == 1
    renamed.run(until=renamed.now + 7_200, step_s=600)
    assert sorted(renamed.there.effects.values()) == [1, 1, 1], "each day once, whatever its name"
    assert {revision for *_, revision in renamed.there.effects} == {1}
    with renamed.store() as store:
        assert store.counts("dk2")["confirmed"] == 2


def test_another_hub_gets_the_days_that_it_is_to_have(renamed: House) -> None:
    with renamed.store() as store:
        store.remember("dk", RETIRED, b"1")
    renamed.run(until=renamed.now + 7_200, step_s=600)
    assert sorted(renamed.there.effects.values()) == [1, 2, 2]
    renamed.hub = hub_settings(since="2026-03-02")
    renamed.run()
    with renamed.store() as store:
        assert not store.note("dk", RETIRED), "it is configured again"


def test_a_word_is_heard_while_it_runs(renamed: House) -> None:
    with renamed.serving() as serving:
        serving.step()
        assert serving._claimed
        with renamed.store() as store:
            store.remember("dk", RETIRED, b"1")
        serving._due["claim"] = 0.0
        serving.step()
        assert serving._claimed is None
    assert [(event.name, event.recovered) for event in renamed.events] == [("renamed", False), ("renamed", True)]


@pytest.mark.parametrize("change", [{"environment": "production"}, {"kind": "eu-vhd"}])
def test_a_hub_of_another_kind_or_in_production_is_another_one(renamed: House, change: Any) -> None:
    renamed.hub = hub_settings(since="2026-03-02", name="dk2", **change)
    renamed.run()
    assert sorted(renamed.there.effects.values()) == [1, 2, 2]
