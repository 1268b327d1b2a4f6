"""A hub under another name: all that is known of it is known under that one, also to what salvages a damaged ledger."""

from pathlib import Path
from typing import Any

import pytest

from gateway.hub_model import Inbound, Reason, Receipt
from gateway.stores.hubs import HubError, HubReader, HubStore, SlotBusyError
from gateway.stores.ledger_salvage import open_ledger
from tests.stores.hub_drafts import HUB, NOW, POINT, draft, request, slot, store

NEW = "renamed.hub"


@pytest.fixture
def hubs(tmp_path: Path) -> Any:
    """Messages in several states, one judged in part, what came in, a slot that is wanted, a note; and another hub."""
    one = store(tmp_path / "ledger.db")
    a, b, c = one.stage(
        HUB, [draft("a", slot(0), slot(1)), draft("b", slot(2), slot(3)), draft("c", slot(4), slot(5))], NOW
    )
    one.settle(one.begin(a, NOW), Receipt("confirmed", raw=b"yes"), "confirmed", NOW, NOW)
    said = Receipt("rejected", (Reason("E10", "no"),), transactions=frozenset((b.parts[0].transaction,)))
    one.settle(one.begin(b, NOW), said, "rejected", NOW + 60, NOW)
    one.begin(c, NOW)
    one.inbound(HUB, Inbound("m1", "ack", b"<ack/>", "text/xml", wanted=(slot(0),)), [], NOW)
    one.remember(HUB, "uploader.feed", b"5")
    one.remember(f"{HUB}2", "uploader.feed", b"7")
    one.stage(f"{HUB}2", [draft("z", slot(9))], NOW)
    yield one
    one._file.close()


def known(hubs: HubStore, hub: str) -> list[Any]:
    """Everything of a hub, but for its name."""
    listed = [one._replace(hub="") for one in hubs.in_state(hub)]
    messages = [hubs.message(hub, one.id) for one in hubs.in_state(hub)]
    whole = [(one.body, one.parts, one.state, one.about) for one in messages if one]
    history = [hubs.history(one.id) for one in hubs.in_state(hub)]
    came = [(one.kind, one.name, one.body, one.data) for one in hubs.received(hub)]
    rows = list(hubs.slots(hub, POINT))
    notes = [hubs.note(hub, key) for key in ("uploader.feed", "status", "retired")]
    return [listed, whole, history, came, rows, notes, hubs.wanted(hub), hubs.counts(hub), hubs.oldest(hub)]


def test_everything_has_the_new_name(hubs: HubStore) -> None:
    hubs.remember(NEW, "status", b"{}")
    before, other = known(hubs, HUB), known(hubs, f"{HUB}2")
    assert hubs.rename(HUB, NEW, "anna", NOW) == 3
    assert known(hubs, NEW) == before
    assert known(hubs, f"{HUB}2") == other, "a name that begins alike is another hub"
    assert sorted(hubs.hubs()) == sorted([NEW, f"{HUB}2"])
    assert not any(hubs.counts(HUB).values())
    assert list(hubs.slots(HUB, POINT)) == []
    entry = list(hubs.audit.entries())[-1]
    assert (entry.what, entry.hub, entry.who, entry.facts) == ("renamed", NEW, "anna", {"before": HUB, "messages": 3})
    assert not hubs.audit.verify()
    assert not list(hubs.altered())
    with pytest.raises(SlotBusyError):
        hubs.stage(NEW, [draft("d", slot(4))], NOW)
    reader = HubReader(hubs.path)
    assert [one.id for one in reader.in_state(NEW)] == [3, 2, 1]
    reader.close()


def test_two_that_both_have_messages_are_two(hubs: HubStore) -> None:
    before = known(hubs, HUB)
    with pytest.raises(HubError, match="cannot be told apart"):
        hubs.rename(HUB, f"{HUB}2", "anna", NOW)
    with pytest.raises(HubError, match="no messages of a hub nobody"):
        hubs.rename("nobody", NEW, "anna", NOW)
    assert known(hubs, HUB) == before


def test_a_request_under_the_new_name_stays(hubs: HubStore) -> None:
    """A person asked something before it was clear that the hub had a name before."""
    asked = hubs.stage(NEW, [request("q")], NOW)[0]
    assert hubs.rename(HUB, NEW, "anna", NOW) == 3
    assert hubs.message(NEW, asked.id) == asked
    assert sum(hubs.counts(NEW).values()) == 4


def test_what_is_lost_later_is_restored_under_the_new_name(hubs: HubStore) -> None:
    hubs.rename(HUB, NEW, "anna", NOW)
    with hubs._file.writing():
        hubs._db.execute("DELETE FROM hub_message WHERE id = 1")
        hubs._db.execute("DELETE FROM hub_part WHERE id >> 16 = 1")
        hubs._db.execute("DELETE FROM hub_slot WHERE name LIKE ?", (f"{NEW}%",))
    identity = hubs._file.identity
    hubs._file.close()
    file = open_ledger(hubs.path, identity, "a test").file
    after = HubStore(file, lambda: NOW)
    assert HUB not in after.hubs()
    assert {one.id for one in after.in_state(NEW)} >= {1, 2, 3}
    file.close()
