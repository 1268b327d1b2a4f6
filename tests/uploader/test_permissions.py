"""Nothing leaves without a ground that holds at that very moment; its end stops what waits, and is kept as proof."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from gateway.hub_model import Inbound, PartRow, Permission, Slot
from gateway.settings import PointSettings
from gateway.uploader.hub import Policy
from gateway.uploader.permissions import (
    CONFIG,
    Ended,
    Grounds,
    PermissionFormatError,
    covers,
    read,
    usable,
)
from tests.uploader.lying import POINT, hub_settings, midnight, noon
from tests.uploader.test_worker import FIRST, House, fill

RECEIVER = "5790001330552"
ITEM_I = {
    "permissionId": "p-1",
    "created": "2026-02-27T10:00:00Z",
    "customer": "anna",
    "eligibleParty": RECEIVER,
    "meteringPoint": POINT,
    "product": "active",
    "direction": "consumption",
    "readingStart": "2026-03-01T23:00:00Z",
    "readingEnd": None,
    "purpose": "energy advice",
    "transmissionSchedule": "daily",
    "maximumLifetime": "2027-02-27T10:00:00Z",
}
_END = {"permissionId": "p-1", "end": "2026-03-04T09:00:00Z", "endReason": "the customer revoked it"}
ITEM_L = {"n": 2, "created": "2026-03-04T09:00:00Z", "item": "L", "body": _END}


def permission(**changes: Any) -> Permission:
    found = read(json.dumps(ITEM_I | changes).encode())
    assert isinstance(found, Permission)
    return found


def part(**changes: Any) -> PartRow:
    slot = Slot(POINT, "import", "active", "PT15M", midnight(FIRST))._replace(**changes)
    return PartRow(slot, slot.start + 86_400, 1, "t", b"", "p-1")


NOW = noon(FIRST)


def test_an_item_is_read_as_it_says() -> None:
    found = permission()
    assert (found.id, found.party, found.point) == ("p-1", RECEIVER, POINT)
    assert found.start == midnight(FIRST)
    assert found.until is None
    ended = read(json.dumps(ITEM_L).encode())
    assert ended == Ended("p-1", "L", 1_772_614_800, "the customer revoked it")
    notice = {"n": 1, "created": "2026-02-27T10:00:00Z", "item": "I", "body": ITEM_I}
    assert read(json.dumps(notice).encode()) == found
    assert permission(direction="combined").directions == {"import", "export"}
    assert permission(direction="production", product="reactive").kinds == {"reactive"}


def test_once_is_what_there_is_when_it_is_given() -> None:
    found = permission(transmissionSchedule="once")
    assert found.until == found.created
    earlier = permission(transmissionSchedule="once", readingEnd="2026-02-01T00:00:00Z")
    assert earlier.until is not None
    assert earlier.until < earlier.created


@pytest.mark.parametrize("end", ["soon", None, 5])
def test_what_is_over_is_over_whatever_its_end_says(end: Any) -> None:
    said = {"item": "J", "body": {"permissionId": "p-1", "end": end}}
    assert read(json.dumps(said).encode()) == Ended("p-1", "J", None, "the eligible party ended its service")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"permissionId": 1}',
        b'{"item": [], "body": {}}',
        json.dumps({name: value for name, value in ITEM_I.items() if name != "customer"}).encode(),
        json.dumps(ITEM_I | {"created": "2026-02-27T10:00:00"}).encode(),
        json.dumps(ITEM_I | {"permissionId": ""}).encode(),
        json.dumps(ITEM_I | {"meteringPoint": "a\nb"}).encode(),
        json.dumps(ITEM_I | {"direction": "sideways"}).encode(),
        json.dumps(ITEM_L | {"item": "K"}).encode(),
        b"\xff\xfe",
    ],
)
def test_what_is_no_item_is_one_sentence(body: bytes) -> None:
    with pytest.raises(PermissionFormatError, match=r"^no item I, J or L: "):
        read(body)


@tuned(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_comes_is_an_item_or_refused(body: bytes) -> None:
    try:
        read(body)
    except PermissionFormatError:
        return


@pytest.mark.parametrize(
    ("one", "of", "why"),
    [
        (permission(), part(), None),
        (permission(), part(direction="export"), "not for export"),
        (permission(), part(point="2"), "not for import of 2"),
        (permission(), part(kind="reactive"), "not for reactive"),
        (permission(), part(start=midnight(FIRST) - 86_400), "another period"),
        (permission(readingEnd="2026-03-02T12:00:00Z"), part(), "another period"),
        (permission(maximumLifetime="2026-03-02T00:00:00Z"), part(), "has expired"),
        (permission()._replace(ended=1, item="J", reason="over"), part(), "was terminated (item J): over"),
        (permission()._replace(ended=1, item="L", reason=None), part(), "was revoked (item L)"),
    ],
)
def test_what_a_permission_covers(one: Permission, of: PartRow, why: str | None) -> None:
    said = covers(one, of, NOW)
    assert (said is None) if why is None else (said is not None and why in said)


def test_grounds_of_a_hub() -> None:
    known = {"p-1": permission(), "p-2": permission(permissionId="p-2", eligibleParty="somebody")}
    grounds = Grounds(hub_settings(), known.get)
    assert grounds.missing([part()], NOW) is None
    assert "not for the receiver" in grounds.missing([part()._replace(basis="p-2")], NOW).text
    assert "is not known here" in grounds.missing([part()._replace(basis="p-3")], NOW).text
    config = part()._replace(basis=CONFIG)
    assert grounds.missing([config], NOW) is None
    assert "no longer among the points" in Grounds(hub_settings(points=()), known.get).missing([config], NOW).text
    assert Grounds(hub_settings(legal_basis=None), known.get).missing([config], NOW) is not None
    assert [one.id for one in usable(known.values(), hub_settings(), NOW)] == ["p-1"]


def inbound(item: dict[str, Any], name: str) -> Inbound:
    return Inbound(name, "permission", json.dumps(item).encode(), "application/json", severity="info", text="came")


@pytest.fixture
def house(tmp_path: Any) -> House:
    """A hub without points of its own: everything goes by permission."""
    policy = Policy(max_parts=1, confirm_after_s=3_600, inbox_s=10)
    return House(tmp_path, hub_settings(points=(), legal_basis=None), policy)


def test_nothing_goes_before_a_permission_and_its_period_goes_after(house: House) -> None:
    fill(house, 4)
    house.now = noon(date(2026, 3, 6))
    house.run()
    assert not house.there.sends
    house.there.queue.append(inbound(ITEM_I | {"readingEnd": "2026-03-04T23:00:00Z"}, "m1"))
    house.run()
    assert sorted(start for _, _, start in house.there.values) == [midnight(date(2026, 3, day)) for day in (2, 3, 4)]
    with house.store() as store:
        assert {one.basis for n in (1, 2, 3) for one in store.message("dk", n).parts} == {"p-1"}


def test_a_revocation_stops_what_waits_at_once_and_is_kept(house: House) -> None:
    house.lies = {"script": iter(["busy"] * 40)}
    house.there.queue.append(inbound(ITEM_I, "m1"))
    fill(house, 2)
    house.now = noon(date(2026, 3, 4))
    house.run(until=house.now + 60, step_s=5)
    before = house.there.sends
    assert before
    house.there.queue.append(inbound(ITEM_L, "m2"))
    house.lies = {}
    house.now += 3_600
    house.run(until=house.now + 3 * 86_400, step_s=3_600)
    assert house.there.sends == before
    assert not house.there.known
    with house.store() as store:
        counts = store.counts("dk")
        assert counts["dead"] == sum(counts.values()) > 0
        assert "was revoked (item L): the customer revoked it" in store.message("dk", 1).reasons[0].text
        (kept,) = store.permissions()
        assert (kept.item, kept.reason) == ("L", "the customer revoked it")
        assert [item for item, _, _ in store.permission_items("p-1")] == ["I", "L"]
        assert not store.audit.verify()


def test_an_end_that_another_process_wrote_counts_before_the_very_next_attempt(house: House) -> None:
    house.lies = {"script": iter(["busy"] * 3)}
    house.there.queue.append(inbound(ITEM_I, "m1"))
    fill(house, 1)
    house.now = noon(date(2026, 3, 4))
    with house.serving() as serving:
        house._steps(serving, None, 1)
        sends = house.there.sends
        assert sends == 1
        with house.store() as store:  # `meterd hub` does it
            store.end_permission("p-1", "J", b"{}", int(house.now), "the service ended", who="anna")
        house._steps(serving, house.now + 120, 10)
    assert house.there.sends == sends
    with house.store() as store:
        assert store.message("dk", 1).state == "dead"


def test_a_point_that_was_taken_from_the_configuration_takes_no_other_with_it(tmp_path: Any) -> None:
    points = (PointSettings(meter="main", id=POINT), PointSettings(meter="other", id="2"))
    house = House(
        tmp_path, hub_settings(points=(POINT, "2"), since="2026-03-02"), Policy(max_parts=10, confirm_after_s=60)
    )
    house.points = points
    house.lies = {"script": iter(["busy"])}
    fill(house, 1)
    with house.home() as home:
        home.fill(home.series("other"), FIRST)
    house.now = noon(date(2026, 3, 3))
    house.run()
    assert house.there.sends == 1
    house.hub, house.lies = hub_settings(points=(POINT,), since="2026-03-02"), {}
    house.run(until=house.now + 120, step_s=5)
    assert {point for point, _, _ in house.there.values} == {POINT}
    with house.store() as store:
        assert store.message("dk", 1).state == "dead"
        assert store.message("dk", 2).state in ("accepted", "confirmed")
