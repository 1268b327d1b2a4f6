"""The oracle finds what it is there for: every kind of wrong effect is planted once."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from tests.hubfleet.oracle import Judge, judge, unexcused
from tests.hubfleet.truth import Fleet, Shut

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
        "n": 0,
        "document": f"{number} {day} {version}",
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
    which = [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (1, 1, 3)]
    return [effect(fleet, *one) | {"n": n} for n, one in enumerate(which, 1)]


def test_right_effects_pass_and_a_day_of_25_hours_is_whole(fleet: Fleet, right: list[dict[str, Any]]) -> None:
    verdict = judge(fleet, "hub", right)
    assert (verdict.violations, verdict.overdue, verdict.effects, verdict.corrections) == ([], [], 5, 1)
    assert len(right[1]["values"]) == 100


def lost(effects: list[dict[str, Any]]) -> None:
    del effects[0]


def twice(effects: list[dict[str, Any]]) -> None:
    effects.append(effects[0] | {"n": 6})


def twice_anew(effects: list[dict[str, Any]]) -> None:
    effects.append(effects[0] | {"n": 6, "document": "another one"})


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


@pytest.mark.parametrize("error", [lost, twice, twice_anew, backwards, old, foreign, shifted, mixed, cut, marked])
def test_a_planted_error_is_found(
    fleet: Fleet, right: list[dict[str, Any]], error: Callable[[list[dict[str, Any]]], None]
) -> None:
    error(right)
    verdict = judge(fleet, "hub", right)
    assert verdict.violations or verdict.overdue


@pytest.mark.parametrize(("after", "until", "found"), [(0, 3, [1, 2]), (1, 2, [2]), (2, 5, []), (0, 0, [])])
def test_what_came_of_a_point_without_ground_is_found(
    fleet: Fleet, right: list[dict[str, Any]], after: int, until: int, found: list[int]
) -> None:
    fleet.shut.append(Shut(0, after, until))
    violations = judge(fleet, "hub", right).violations
    assert [f"came as {n}," in text for n, text in zip(found, violations, strict=True)] == [True] * len(found)


def test_a_repetition_is_excused_by_a_lost_ground_and_a_document_that_was_given_up(
    fleet: Fleet, right: list[dict[str, Any]]
) -> None:
    """Points 0 and 1 went in one document, point 1 lost its ground, and point 0 was sent anew."""
    first, mate = right[0], right[2] | {"document": right[0]["document"]}
    effects = [first, right[1], mate, *right[3:], first | {"n": 6, "document": "another one"}]
    loss = fleet.loses(1, 4)
    verdict = judge(fleet, "hub", effects)
    assert (verdict.violations, verdict.bundles, verdict.documents) == ([], 1, 5)
    assert len(unexcused(verdict, ())) == 1
    assert unexcused(verdict, {first["document"]}) == []
    loss.number = 0
    assert not judge(fleet, "hub", effects).violations, "its own ground"
    loss.after = 6
    assert len(judge(fleet, "hub", effects).violations) == 1, "the ground was lost later"
    loss.after, loss.until = 0, 0
    assert len(judge(fleet, "hub", effects).violations) == 1, "the ground was back before it left"


def test_effects_are_judged_as_they_come(fleet: Fleet, right: list[dict[str, Any]]) -> None:
    one = Judge(fleet, "hub")
    one.take(right[:2])
    assert len(one.verdict().overdue) == 2
    one.take(right[2:])
    assert one.verdict() == judge(fleet, "hub", right)
    assert one.verdict().overdue == []
