"""The oracle finds what it is there for: every kind of wrong effect is planted once."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from tests.hubfleet.oracle import judge
from tests.hubfleet.truth import Fleet

#: the last day has 25 hours
FIRST = dt.date(2026, 10, 24)


def effect(fleet: Fleet, number: int, day: int, version: int) -> dict[str, Any]:
    start, end = fleet.bounds(day)
    values = zip(fleet.starts(number, day), fleet.day(number, day, version), strict=True)
    return {
        "point": fleet.name(number),
        "direction": "consumption",
        "start": start,
        "end": end,
        "resolution": fleet.resolution(number),
        "values": [[when, f"{wh // 1000}.{wh % 1000:03d}", "A04"] for when, wh in values],
    }


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(1, 2, FIRST, 2, "PT15M", ("hub",))
    fleet.versions.update({(number, day): 1 for number in range(2) for day in range(2)})
    fleet.versions[1, 1] = 3
    return fleet


@pytest.fixture
def right(fleet: Fleet) -> list[dict[str, Any]]:
    return [effect(fleet, *which) for which in [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (1, 1, 3)]]


def test_right_effects_pass_and_a_day_of_25_hours_is_whole(fleet: Fleet, right: list[dict[str, Any]]) -> None:
    verdict = judge(fleet, "hub", right)
    assert (verdict.violations, verdict.overdue, verdict.effects, verdict.corrections) == ([], [], 5, 1)
    assert len(right[1]["values"]) == 100


def lost(effects: list[dict[str, Any]]) -> None:
    del effects[0]


def twice(effects: list[dict[str, Any]]) -> None:
    effects.append(effects[0])


def backwards(effects: list[dict[str, Any]]) -> None:
    effects[3], effects[4] = effects[4], effects[3]


def old(effects: list[dict[str, Any]]) -> None:
    del effects[4]


def foreign(effects: list[dict[str, Any]]) -> None:
    effects[0]["point"] = "571313999999999998"


def shifted(effects: list[dict[str, Any]]) -> None:
    effects[0]["values"] = [[when + 900, kwh, quality] for when, kwh, quality in effects[0]["values"]]


def mixed(effects: list[dict[str, Any]]) -> None:
    effects[3]["values"][5] = effects[4]["values"][5]


def cut(effects: list[dict[str, Any]]) -> None:
    del effects[1]["values"][-1]


def marked(effects: list[dict[str, Any]]) -> None:
    effects[0]["values"][0][2] = "A03"


@pytest.mark.parametrize("error", [lost, twice, backwards, old, foreign, shifted, mixed, cut, marked])
def test_a_planted_error_is_found(
    fleet: Fleet, right: list[dict[str, Any]], error: Callable[[list[dict[str, Any]]], None]
) -> None:
    error(right)
    verdict = judge(fleet, "hub", right)
    assert verdict.violations or verdict.overdue
