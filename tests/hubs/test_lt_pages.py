"""Lists of the Lithuanian hub: pages that race with changes, duplicates, hubs that ignore paging, versions that go."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Answer
from gateway.uploader.hubs import lt_pages
from gateway.uploader.hubs.lt_names import LISTS
from gateway.uploader.hubs.lt_pages import RefusedError, business, read

OBJECTS, V2, V1 = LISTS["objects"], *LISTS["objects"].paths


def entry(number: int, **more: Any) -> dict[str, Any]:
    return {"objectNumber": f"{number:08d}", "meters": [{"meterNumber": f"M{number}", "meterType": "SMART"}]} | more


class Hub:
    """A hub that gives pages of a list; `before` may change the list before each page."""

    certificate = None

    def __init__(self, entries: list[Any], before: Callable[["Hub"], None] = lambda _: None) -> None:
        self.entries, self.before = entries, before
        self.pages = 0
        self.paths: list[str] = []
        self.status: Mapping[str, int] = {}
        self.body: Callable[[list[Any]], Any] = lambda shown: {"objects": shown, "total": len(self.entries)}

    def request(self, _method: str, path: str, *, params: Mapping[str, str], **_: Any) -> Answer:
        self.paths.append(path)
        if path in self.status:
            return Answer(self.status[path], {}, b"")
        self.pages += 1
        self.before(self)
        assert params["sortKey"] == "objectNumber"
        assert params["sortOrder"] == "ASC"
        shown = sorted(self.entries, key=lambda one: str(one.get("objectNumber")))
        first = int(params["first"])
        body = self.body(shown[first : first + int(params["count"])])
        return Answer(200, {}, json.dumps(body).encode())


def numbers(found: lt_pages.Read) -> list[int]:
    return [int(one["objectNumber"]) for one in found.entries]


@pytest.mark.parametrize("many", [0, 1, 9, 10, 11, 19, 20, 28, 29, 95])
def test_a_list_of_any_length_is_read_whole(many: int) -> None:
    hub = Hub([entry(number) for number in range(many)])
    found = read(hub, OBJECTS, operation="list", count=10)
    assert numbers(found) == list(range(many))
    assert (found.whole, found.drifts, found.path) == (True, (), V2)


@pytest.mark.parametrize("at", [2, 3, 4])
@pytest.mark.parametrize(
    "change", ["inserted before", "deleted before", "inserted behind", "deleted behind", "swapped"]
)
def test_a_list_that_changes_between_two_pages_loses_none(at: int, change: str) -> None:
    def before(hub: Hub) -> None:
        if hub.pages != at:
            return
        if change == "inserted before":
            hub.entries.append(entry(1))
        elif change == "deleted before":
            del hub.entries[0]
        elif change == "inserted behind":
            hub.entries.append(entry(999))
        elif change == "deleted behind":
            hub.entries.pop()
        else:
            hub.entries[3] = entry(7, objectType="other")

    hub = Hub([entry(2 * number) for number in range(5, 40)], before)
    found = read(hub, OBJECTS, operation="list", count=10)
    # what was there all the time is there; what came behind a page that was read comes with the next reading
    throughout = {int(one["objectNumber"]) for one in hub.entries} & set(range(10, 80, 2))
    assert throughout <= set(numbers(found))
    assert found.whole
    assert change == "swapped" or set(numbers(found)) == {int(one["objectNumber"]) for one in hub.entries}


def test_a_list_that_changes_all_the_time_says_that_entries_may_be_missing() -> None:
    def before(hub: Hub) -> None:
        hub.entries.append(entry(hub.pages))

    hub = Hub([entry(1_000 + number) for number in range(30)], before)
    found = read(hub, OBJECTS, operation="list", count=10)
    assert not found.whole
    assert set(range(1_000, 1_030)) <= set(numbers(found))
    assert len(numbers(found)) == len(set(numbers(found)))
    assert "changed each time" in found.drifts[-1].what
    assert hub.pages < 30


def test_an_entry_that_is_there_twice_counts_once_and_two_of_one_number_are_no_list() -> None:
    same = Hub([entry(1), entry(1), entry(2)])
    assert numbers(read(same, OBJECTS, operation="list", count=10)) == [1, 2]
    other = Hub([entry(1), entry(1, objectType="x"), entry(2)])
    assert not read(other, OBJECTS, operation="list", count=10).whole


def test_a_hub_that_ignores_paging_is_read_once() -> None:
    hub = Hub([entry(number) for number in range(40)])
    hub.body = lambda _: {"objects": [entry(number) for number in range(40)]}
    found = read(hub, OBJECTS, operation="list", count=10)
    assert numbers(found) == list(range(40))
    assert "more entries than were asked for" in found.drifts[0].what
    assert hub.pages == 1


def test_a_hub_that_gives_the_same_page_for_ever_is_left() -> None:
    hub = Hub([])
    hub.body = lambda _: {"objects": [entry(number) for number in range(10)]}
    found = read(hub, OBJECTS, operation="list", count=10)
    assert not found.whole
    assert numbers(found) == list(range(10))
    assert hub.pages == 10


def test_a_list_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lt_pages, "MOST_ENTRIES", 50)
    hub = Hub([entry(number) for number in range(500)])
    found = read(hub, OBJECTS, operation="list", count=10)
    assert "more than 50" in found.drifts[-1].what
    assert len(found.entries) < 70


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_the_older_version_is_read_when_the_newer_is_gone(status: int) -> None:
    hub = Hub([entry(1)])
    hub.status = {V2: status}
    found = read(hub, OBJECTS, operation="list")
    assert (numbers(found), found.path, hub.paths) == ([1], V1, [V2, V1])


def test_a_version_that_refuses_is_not_passed_over() -> None:
    hub = Hub([entry(1)])
    for status in (400, 401, 403, 429, 500, 503):
        hub.status, hub.paths = {V2: status}, []
        with pytest.raises(RefusedError) as told:
            read(hub, OBJECTS, operation="list")
        assert (told.value.answer.status, hub.paths) == (status, [V2])


def test_no_version_at_all_is_the_answer_of_the_newest() -> None:
    hub = Hub([])
    hub.status = {V2: 410, V1: 404}
    with pytest.raises(RefusedError) as told:
        read(hub, OBJECTS, operation="list")
    assert told.value.answer.status == 404


@pytest.mark.parametrize(
    ("change", "path", "left"),
    [
        ({"objectNumber": 5}, "objects[0].objectNumber", [2]),
        ({"objectNumber": None}, "objects[0].objectNumber", [2]),
        ({"meters": "M1"}, "objects[0].meters", [2]),
        ({"meters": {"meterNumber": "M1"}}, "objects[0].meters", [1, 2]),
        ({"meters": [{"number": "M1"}]}, "objects[0].meters[0].meterNumber", [1, 2]),
        ({"grid": "LV"}, "objects[0].grid", [1, 2]),
    ],
)
def test_an_entry_that_is_not_as_it_was_is_told_by_its_path(change: dict, path: str, left: list[int]) -> None:
    hub = Hub([entry(1, **change), entry(2)])
    hub.body = lambda _: {"objects": hub.entries}
    found = read(hub, OBJECTS, operation="list")
    assert numbers(found) == left
    assert path in [drift.path for drift in found.drifts]


@pytest.mark.parametrize("body", [[], {}, {"list": []}, {"objects": 5}, "x", None])
def test_a_page_that_is_none_is_no_empty_list(body: Any) -> None:
    hub = Hub([])
    hub.body = lambda _: body
    with pytest.raises(AnswerError):
        read(hub, OBJECTS, operation="list")


def test_an_object_in_place_of_the_list_is_its_only_entry() -> None:
    hub = Hub([])
    hub.body = lambda _: {"objects": entry(3)}
    found = read(hub, OBJECTS, operation="list")
    assert numbers(found) == [3]
    assert found.drifts[0][:2] == ("objects", "is an object, not a list")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"errors": [{"code": 608, "message": "no object"}, {"code": 8}]}, (("608", "no object"), ("8", ""))),
        ({"errors": {"code": "1010", "message": "too\nmany"}}, (("1010", "too many"),)),
        ({"errors": [{"text": "x"}]}, (("unnumbered", ""),)),
        ({"errors": "608"}, ()),
        ({"objects": []}, ()),
        ([608], ()),
        ("x", ()),
    ],
)
def test_the_numbers_of_broken_rules_are_kept(body: Any, told: tuple[tuple[str, str], ...]) -> None:
    assert business(Answer(400, {}, json.dumps(body).encode())) == told


def test_octets_that_are_no_json_tell_of_no_rule() -> None:
    assert business(Answer(400, {}, b"\xff<html>")) == ()
