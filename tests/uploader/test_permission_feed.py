"""Notices of a permission administrator: kept before they are passed, in any order, from a feed that may lie or end."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from gateway.stores.hubs import HubStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.hub import Answer, Policy, SessionError
from gateway.uploader.serving import Serving
from gateway.uploader.world import World
from tests.uploader.lying import POINT, ZONE, Killed, Lying, Quiet, hub_settings, midnight, noon
from tests.uploader.test_permissions import ITEM_I
from tests.uploader.test_worker import FIRST, House, fill

PARTY = "supplier"
GIVEN = ITEM_I | {"eligibleParty": PARTY}


class Administrator(Quiet):
    """A permission administrator whose notices are written down before."""

    def __init__(self) -> None:
        super().__init__()
        self.notices: list[dict[str, Any]] = []
        #: answers or errors that come instead of notices
        self.lies: Iterator[Any] = iter(())
        self.asked: list[int] = []

    def tell(self, item: str, body: Any, n: int | None = None) -> None:
        number = len(self.notices) + 1 if n is None else n
        self.notices.append({"n": number, "created": "2026-03-02T00:00:00Z", "item": item, "body": body})

    def end(self, item: str = "L", name: str = "p-1") -> None:
        self.tell(item, {"permissionId": name, "end": "2026-03-04T09:00:00Z"})

    def request(self, method: str, path: str, **more: Any) -> Answer:
        assert (method, path, more["operation"]) == ("GET", "/notices", "permissions")
        after, limit = int(more["params"]["after"]), int(more["params"]["limit"])
        self.asked.append(after)
        lie = next(self.lies, None)
        if isinstance(lie, Exception):
            raise lie
        if isinstance(lie, Answer):
            return lie
        found = [one for one in self.notices if one["n"] > after][:limit]
        following = found[-1]["n"] if len(found) == limit else None
        body = lie if isinstance(lie, bytes) else json.dumps({"items": found, "next": following}).encode()
        return Answer(200, {}, body)


class Heard(House):
    """A hub without points of its own, and an administrator who is asked."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        given = {
            "points": (),
            "legal_basis": None,
            "permissions_url": "https://127.0.0.1:1",
            "permissions_party": PARTY,
        }
        super().__init__(
            folder, hub_settings(**given | changes), Policy(max_parts=1, confirm_after_s=3_600, inbox_s=10)
        )
        self.there_too = Administrator()

    @contextmanager
    def serving(self) -> Iterator[Serving]:
        file = open_ledger(self.settings.ledger_path).file
        self.adapter = Lying(self.hub, self.there, self.policy, **self.lies)
        world = World(
            lambda _: self.adapter, lambda *_: self.session, lambda _: ZONE, lambda: True, self._tell, lambda: self.now
        )
        try:
            serving = Serving(self.settings, self.hub, world, file, self.session, self.line, self, self.there_too)
            serving.begin()
            yield serving
        finally:
            file.close()

    def _steps(self, serving: Serving, until: float | None, step_s: float) -> None:
        while True:
            for name in ("plan", "series", "inbox", "permissions", "prune", "status"):
                serving._due[name] = 0.0
            for _ in range(100_000):
                if serving.step():
                    break
            if until is None or self.now >= until:
                serving.end()
                return
            self.now = min(self.now + step_s, until)

    def items(self, name: str = "p-1") -> list[tuple[str, bytes]]:
        with self.store() as store:
            return [(item, body) for item, _, body in store.permission_items(name)]

    def received(self) -> int:
        with self.store() as store:
            return len(store.received("dk", "permission"))

    @property
    def days(self) -> list[int]:
        return sorted(start for _, _, start in self.there.values)


@pytest.fixture
def house(tmp_path: Path) -> Heard:
    made = Heard(tmp_path)
    fill(made, 3)
    made.now = noon(date(2026, 3, 5))
    return made


def octets(notice: dict[str, Any]) -> bytes:
    return json.dumps(notice).encode()


def test_what_is_permitted_goes_and_what_is_revoked_does_not(house: Heard) -> None:
    house.run()
    assert not house.there.sends
    house.there_too.tell("I", GIVEN)
    house.run()
    assert house.days == [midnight(date(2026, 3, day)) for day in (2, 3, 4)]
    house.there_too.end()
    fill_more(house)
    house.now = noon(date(2026, 3, 8))
    sends = house.there.sends
    house.run()
    assert house.there.sends == sends
    assert house.items() == [("I", octets(house.there_too.notices[0])), ("L", octets(house.there_too.notices[1]))]


def fill_more(house: Heard) -> None:
    with house.home() as home:
        home.fill(home.series(), date(2026, 3, 5))


@pytest.mark.parametrize("item", ["J", "L"])
def test_an_end_before_its_beginning_holds(house: Heard, item: str) -> None:
    house.there_too.end(item)
    house.run()
    house.there_too.tell("I", GIVEN)
    house.run()
    assert not house.there.sends
    assert [one for one, _ in house.items()] == [item, "I"]
    with house.store() as store:
        assert store.permissions()[0].item == item


def test_notices_that_come_twice_or_are_of_nobody_change_nothing(house: Heard) -> None:
    for _ in range(2):
        house.there_too.tell("I", GIVEN)
    house.there_too.end(name="p-9")
    house.there_too.tell("D", {"requestId": "r-1"})
    house.there_too.tell("Z", ["new"])
    house.there_too.tell("I", GIVEN | {"permissionId": "p-2", "meteringPoint": "571313000000009999"})
    for _ in range(3):
        house.run()
    assert [item for item, _ in house.items()] == ["I"]
    assert [item for item, _ in house.items("p-9")] == ["L"]
    assert house.items("p-2") == [], "a point of others"
    assert house.received() == 3
    assert len(house.days) == 3
    assert house.there_too.asked[-1] == 5, "behind all of them, less the last one"


def test_one_id_that_says_something_else_later_is_refused(house: Heard) -> None:
    house.there_too.tell("I", GIVEN | {"readingStart": "2026-03-03T23:00:00Z"})
    house.there_too.tell("I", GIVEN)
    house.run()
    assert house.days == [midnight(date(2026, 3, 4))]
    assert "permission_refused" in house.names()


@pytest.mark.parametrize("method", ["permit", "inbound", "end_permission"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_death_between_a_notice_and_its_position(
    house: Heard, monkeypatch: pytest.MonkeyPatch, method: str, behind: bool
) -> None:
    house.there_too.tell("I", GIVEN)
    house.there_too.end()
    house.there_too.tell("I", GIVEN | {"permissionId": "p-2", "readingEnd": "2026-03-03T23:00:00Z"})
    own: Callable[..., Any] = getattr(HubStore, method)
    deaths = iter([True] * 3)

    def dies(*args: Any, **more: Any) -> Any:
        said = own(*args, **more) if behind else None
        if next(deaths, False):
            raise Killed
        return said if behind else own(*args, **more)

    monkeypatch.setattr(HubStore, method, dies)
    house.run()
    assert next(deaths, None) is None, "it died three times"
    assert [item for item, _ in house.items()] == ["I", "L"]
    assert [item for item, _ in house.items("p-2")] == ["I"]
    assert house.received() == 3
    assert house.days == [midnight(date(2026, 3, day)) for day in (2, 3)], "by the second one alone"
    assert max(house.there.effects.values()) == 1


def test_what_is_on_its_way_is_dead_before_the_next_attempt_and_goes_under_another_ground(house: Heard) -> None:
    house.lies = {"script": iter(["busy"] * 3)}
    house.there_too.tell("I", GIVEN)
    with house.serving() as serving:
        house._steps(serving, None, 1)
        sends = house.there.sends
        assert sends
        house.there_too.end("J")
        serving._due["permissions"] = 0.0
        serving.step()
        with house.store() as store:
            counts = store.counts("dk")
            assert counts["dead"] == sum(counts.values()), "at once, and not when they would be due"
        house._steps(serving, house.now + 300, 20)
        assert house.there.sends == sends
        with house.store() as store:
            counts = store.counts("dk")
            assert counts["dead"] == sum(counts.values()) > 0
        house.there_too.tell("I", GIVEN | {"permissionId": "p-2"})
        house._steps(serving, house.now + 300, 20)
    assert len(house.days) == 3, "the customer changed his mind"
    with house.store() as store:
        assert {part.basis for one in store.in_state("dk", "accepted", "confirmed") for part in
                store.message("dk", one.id).parts} == {"p-2"}  # fmt: skip


def test_what_two_permissions_cover_goes_by_the_one_that_is_left(house: Heard) -> None:
    house.lies = {"script": iter(["busy"] * 3)}
    house.there_too.tell("I", GIVEN)
    house.there_too.tell("I", GIVEN | {"permissionId": "p-2"})
    with house.serving() as serving:
        house._steps(serving, None, 1)
        house.there_too.end()
        house._steps(serving, house.now + 300, 20)
    assert len(house.days) == 3
    with house.store() as store:
        assert store.counts("dk")["dead"] > 0
    assert max(house.there.effects.values()) == 1


def test_a_permission_ends_with_its_lifetime(house: Heard) -> None:
    house.there_too.tell("I", GIVEN | {"maximumLifetime": "2026-03-05T12:00:00Z"})
    house.run()
    assert len(house.days) == 3
    fill_more(house)
    house.run(until=noon(date(2026, 3, 8)), step_s=3_600)
    assert len(house.days) == 3


def test_a_silence_is_told_and_stops_what_goes_by_permission(house: Heard) -> None:
    house.there_too.tell("I", GIVEN)
    house.run()
    fill_more(house)
    house.there_too.lies = iter(lambda: SessionError("no route", sent=False), None)
    house.run(until=house.now + 800, step_s=100)
    assert "permissions_late" not in house.names()
    house.run(until=house.now + 200, step_s=100)
    assert house.names().count("permissions_late") == 1
    assert "permissions_stopped" not in house.names()
    house.run(until=noon(date(2026, 3, 6)) + 7_200, step_s=1_800)
    assert len(house.days) == 4, "it was heard yesterday"
    with house.home() as home:
        home.fill(home.series(), date(2026, 3, 6))
    house.run(until=noon(date(2026, 3, 8)), step_s=3_600)
    assert "permissions_stopped" in house.names()
    assert len(house.days) == 4
    with house.store() as store:
        assert b"is not heard: no route" in (store.note("dk", "status") or b"")
    house.there_too.lies = iter(())
    house.run()
    assert len(house.days) == 5, "it waited, and is not lost"
    assert [one.name for one in house.events if one.recovered][-1].startswith("permissions_")


def test_messages_wait_through_a_silence_and_go_behind_it(house: Heard) -> None:
    house.lies = {"script": iter(["busy"] * 1_000)}
    house.there_too.tell("I", GIVEN)
    house.run()
    house.there_too.lies = iter(lambda: Answer(503, {"retry-after": "5"}, b""), None)
    house.run(until=house.now + 25 * 3_600, step_s=1_800)
    sends = house.there.sends
    house.lies = {}
    house.run(until=house.now + 2 * 86_400, step_s=3_600)
    assert (house.there.sends, house.days) == (sends, [])
    with house.store() as store:
        assert store.counts("dk")["dead"] == 0
    house.there_too.lies = iter(())
    house.run(until=house.now + 3_600, step_s=60)
    assert len(house.days) == 3


def test_without_any_reading_nothing_goes(house: Heard) -> None:
    """A permission that was imported by hand, while the administrator was never heard."""
    from gateway.uploader.permissions import read

    house.there_too.lies = iter(lambda: SessionError("no route", sent=False), None)
    with house.store() as store:
        store.permit(read(json.dumps(GIVEN).encode()), b"{}", int(house.now))
    house.run(until=house.now + 7_200, step_s=600)
    assert not house.there.sends


def test_an_end_that_cannot_be_read_holds_the_position_and_stops_in_time(
    house: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.there_too.tell("I", GIVEN)
    house.there_too.tell("L", {"permissionId": ["?"]})
    house.there_too.end(name="p-7")
    own, deaths = HubStore.inbound, iter([False, False, True])

    def dies(*args: Any, **more: Any) -> bool:
        said = own(*args, **more)
        if next(deaths, False):
            raise Killed
        return said

    monkeypatch.setattr(HubStore, "inbound", dies)
    house.run()
    assert [item for item, _ in house.items("p-7")] == ["L"], "what is behind it is obeyed"
    assert house.names().count("permission_refused") == 1
    house.run(until=house.now + 3 * 86_400, step_s=3_600)
    assert "permissions_stopped" in house.names()
    assert house.names().count("permission_refused") == 1
    house.there_too.notices[1]["body"]["permissionId"] = "p-1"
    house.run()
    assert [item for item, _ in house.items()] == ["I", "L"]


def test_an_end_without_a_time_is_an_end(house: Heard) -> None:
    house.there_too.tell("I", GIVEN)
    house.there_too.tell("J", {"permissionId": "p-1", "end": "tomorrow"})
    house.run()
    assert not house.there.sends
    with house.store() as store:
        assert store.permissions()[0].ended == int(house.now)


def test_notices_that_begin_anew_are_read_from_the_first_one(house: Heard) -> None:
    house.there_too.tell("I", GIVEN)
    house.there_too.end(name="p-8")
    house.run()
    house.there_too.notices = []
    house.there_too.end()
    house.run()
    assert "permissions_anew" in house.names()
    assert [item for item, _ in house.items()] == ["I", "L"]
    house.run()
    assert house.names().count("permissions_anew") == 1


def test_notices_that_were_changed_are_read_from_the_first_one(house: Heard) -> None:
    """A hub that was set up anew has as many notices, and others."""
    house.there_too.tell("D", {"requestId": "r-1"})
    house.there_too.tell("I", GIVEN)
    house.run()
    house.there_too.notices = []
    house.there_too.end()
    house.there_too.tell("D", {"requestId": "r-1"})
    house.run()
    assert "permissions_anew" in house.names()
    assert [item for item, _ in house.items()] == ["I", "L"]


def test_a_point_that_comes_later_has_its_permission(tmp_path: Path) -> None:
    from gateway.settings import PointSettings

    house = Heard(tmp_path)
    house.points = (PointSettings(meter="main", id="571313000000009999"),)
    house.now = noon(date(2026, 3, 5))
    house.there_too.tell("I", GIVEN)
    house.run()
    assert not house.items()
    house.points = (PointSettings(meter="main", id=POINT),)
    fill(house, 3)
    house.now = noon(date(2026, 3, 5))
    house.run()
    assert len(house.days) == 3


def test_many_pages(house: Heard) -> None:
    for n in range(2_300):
        house.there_too.tell("D", {"requestId": str(n)})
    house.there_too.tell("I", GIVEN)
    house.run()
    assert len(house.days) == 3


BAD = [
    b"",
    b"[]",
    b'{"items": {}, "next": null}',
    b'{"items": [{"n": 1}], "next": null}',
    b'{"items": [{"n": 0, "item": "D", "body": 1}], "next": null}',
    b'{"items": [{"n": 9007199254740993, "item": "D", "body": 1}], "next": null}',
    b'{"items": [{"n": 2, "item": "D", "body": 1}, {"n": 2, "item": "D", "body": 1}], "next": null}',
    b'{"items": [], "next": 0}',
    b'{"items": [], "next": -5}',
    b'{"items": [], "items": [], "next": null}',
    b"[" * 100_000,
    b'{"items": [' + b'{"n": 1, "item": "D", "body": 1},' * 30_000,
    json.dumps({"items": [{"n": n, "item": "D", "body": 1} for n in range(1, 102)], "next": None}).encode(),
    b"\xff\xfe{}",
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_what_is_no_page_is_silence(house: Heard, body: bytes) -> None:
    house.there_too.tell("I", GIVEN)
    house.there_too.lies = iter(lambda: body, None)
    house.run(until=house.now + 1_000, step_s=100)
    assert "permissions_late" in house.names()
    house.there_too.lies = iter(())
    house.run()
    assert len(house.days) == 3


def test_a_page_that_never_ends_is_left(house: Heard) -> None:
    """Each answer says that another one follows: a round is bounded, and the hub is served between two of them."""
    pages = (json.dumps({"items": [], "next": n}).encode() for n in range(1, 10_000))
    house.there_too.lies = pages
    with house.serving() as serving:
        serving._due["permissions"] = 0.0
        serving.step()
    assert len(house.there_too.asked) <= 11


@tuned(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(st.tuples(st.sampled_from("IJL"), st.sampled_from(["p-1", "p-2", "p-3"]), st.booleans()), max_size=12)
)
def test_whatever_the_order_nothing_goes_by_what_ended(
    tmp_path_factory: pytest.TempPathFactory, told: list[tuple[str, str, bool]]
) -> None:
    house = Heard(tmp_path_factory.mktemp("house"))
    fill(house, 1)
    house.now = noon(date(2026, 3, 3))
    for item, name, pause in told:
        if item == "I":
            house.there_too.tell("I", GIVEN | {"permissionId": name})
        else:
            house.there_too.end(item, name)
        if pause:
            # the hub is away: nothing leaves, notices are heard
            house.lies = {"script": iter(["busy"] * 1_000)}
            house.run()
    sends, house.lies = house.there.sends, {}
    house.now += 3_600
    house.run()
    ended = {name for item, name, _ in told if item != "I"}
    given_ = {name for item, name, _ in told if item == "I"}
    assert (house.there.sends > sends) == bool(given_ - ended)
    assert FIRST
