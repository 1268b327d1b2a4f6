"""Sums of a month beside ours: parts of a hub's sum together, what it is silent of, and what it says in other ways."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.hub_settings import HubSettings
from gateway.intervals.model import Interval, SeriesKey, missing
from gateway.uploader.month_sums import MonthSums, Own, month_of, own_sum

#: March in Denmark
START = int(datetime(2026, 2, 28, 23, tzinfo=UTC).timestamp())
END = int(datetime(2026, 3, 31, 22, tzinfo=UTC).timestamp())
KEYS = {"import": SeriesKey("main", 0, "active", "import"), "export": SeriesKey("main", 0, "active", "export")}


class Reader:
    """100 units in each of the first hours of the month, by direction; the others are missing."""

    def __init__(self, **hours: int) -> None:
        self.hours = hours

    def current(self, key: SeriesKey, _: str, since: int, until: int) -> Iterator[Interval]:
        for number, start in enumerate(range(since, until, 3_600)):
            lacks = missing(start, start + 3_600)
            here = number < self.hours.get(key.direction, 0)
            yield replace(lacks, status="valid", quantity=100) if here else lacks

    def extent(self, *_: Any) -> None:
        return None


def beside(told: list[dict[str, Any]], **hours: int) -> list[tuple[str, tuple[str, ...], int | None, int, bool]]:
    hub = HubSettings(name="dk", kind="dk-datahub3", sums_on_day=1, resolution="PT1H")
    one: Any = MonthSums(hub, None, None, tell=print, flush=print, alive=lambda: None)  # type: ignore[arg-type]
    ours = {direction: [(key, 1)] for direction, key in KEYS.items()}
    facts = [{"start": START, "end": END, "point_type": "E17"} | fact for fact in told]
    return [(it.type, it.price, it.theirs, it.own.wh, it.agrees) for it in one._beside(facts, ours, Reader(**hours))]


def test_parts_of_a_sum_are_taken_together() -> None:
    parts = [{"energy_wh": 1_500, "supplier": "a"}, {"energy_wh": 500, "supplier": "b"}]
    assert beside(parts, **{"import": 2}) == [("E17", (), 2_000, 2_000, True)]


def test_each_price_has_a_sum_of_its_own() -> None:
    prices = [{"energy_wh": 2_000, "price_id": "EA-001"}, {"energy_wh": 2_001, "price_id": "40000"}]
    assert beside(prices, **{"import": 2}) == [
        ("E17", ("EA-001",), 2_000, 2_000, True),
        ("E17", ("40000",), 2_001, 2_000, False),
    ]


def test_a_direction_that_the_hub_is_silent_of_differs_where_we_have_energy() -> None:
    told = [{"energy_wh": 1_000}]
    assert beside(told, **{"import": 1}) == [("E17", (), 1_000, 1_000, True)]
    assert beside(told, **{"import": 1, "export": 3})[1:] == [("E18", (), None, 3_000, False)]


@pytest.mark.parametrize("energy", [None, "1000", 1_000.5])
def test_a_sum_that_is_not_of_whole_wh_is_none(energy: Any) -> None:
    parts = [{"energy_wh": energy, "supplier": "a"}, {"energy_wh": 1_000, "supplier": "b"}]
    assert beside(parts, **{"import": 1}) == [("E17", (), None, 1_000, False)]


def test_own_sums_count_what_they_lack() -> None:
    found = own_sum([(KEYS["import"], 0), (KEYS["import"], 1)], Reader(**{"import": 700}), "PT1H", (START, END))
    assert found == Own(700 * 100 * 11, 2, 2 * 43)
    assert month_of(START, END).isoformat() == "2026-03-01"
