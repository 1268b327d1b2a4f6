"""A damaged ledger: nothing goes out twice because a row was lost, and nothing is forgotten because a meter is."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.hub_model import FINAL, Inbound, Message, Permission, Reason, Receipt
from gateway.stores import files, hub_forget
from gateway.stores.hubs import GoneError, HubError, HubStore
from gateway.stores.ledger_file import LedgerFile
from gateway.stores.ledger_salvage import open_ledger
from tests.stores.hub_drafts import DAY, HUB, NOW, POINT, documents, draft, request, slot, store

OTHER = "571313000000002001"
CONFIRMED = Receipt("confirmed", raw=b"yes")


def send(hubs: HubStore, message: Message, receipt: Receipt = CONFIRMED) -> Message:
    state = "confirmed" if receipt.verdict == "confirmed" else "accepted"
    return hubs.settle(hubs.begin(message, NOW), receipt, state, NOW + 60, NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with a confirmed, an accepted and a new message, each of two days."""
    made = tmp_path / "ledger.db"
    hubs = store(made)
    a, b, _ = hubs.stage(
        HUB, [draft("a", slot(0), slot(1)), draft("b", slot(2), slot(3)), draft("c", slot(4), slot(5))], NOW
    )
    send(hubs, a)
    send(hubs, b, Receipt("accepted", status=202))
    hubs.remember(HUB, "watermark", b"5")
    hubs.inbound(HUB, Inbound("m1", "ack", b"<ack/>", "text/xml"), [], NOW)
    hubs._file.close()
    return made


def salvaged(path: Path, *statements: str) -> HubStore:
    """Lose rows, and have the ledger found damaged."""
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()
    file = open_ledger(path).file
    suspect = file.identity
    file.close()
    return HubStore(open_ledger(path, suspect, "the test says so").file, lambda: NOW + DAY)


def state_of(hubs: HubStore, document: str) -> str:
    found = hubs.document(HUB, document)
    assert found is not None
    return found.state


def taken(hubs: HubStore, *days: int) -> list[bool]:
    """Whether a slot can not be staged by itself: it is open, or the hub may have its content."""
    found = []
    for day in days:
        row = hubs.slot(HUB, slot(day))
        found.append(row is not None and (row.message is not None or (row.revision > 0 and bool(row.content))))
    return found


def test_what_is_whole_is_carried_over_and_what_is_open_is_unknown(path: Path) -> None:
    before = store(path)
    bodies = {one.document: one.body for one in before.open(HUB)}
    before._file.close()
    hubs = salvaged(path)
    assert [state_of(hubs, name) for name in ("doc-a", "doc-b", "doc-c")] == ["confirmed", "unknown", "unknown"]
    assert {one.document: one.body for one in hubs.open(HUB)} == bodies
    assert hubs.counts(HUB) == dict.fromkeys(hubs.counts(HUB), 0) | {"confirmed": 1, "unknown": 2}
    assert hubs.note(HUB, "watermark") == b"5"
    assert hubs.received(HUB)[0].body == b"<ack/>"
    assert not hubs.inbound(HUB, Inbound("m1", "ack", b"", ""), [], NOW)
    assert hubs.slot(HUB, slot(99)) is None, "nothing was lost: what is not known was never sent"
    assert hubs.audit.verify() == []
    assert [one.what for one in hubs.audit.entries()][-1] == "ledger_salvaged"
    hubs._file.close()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_message_whose_row_was_lost_is_not_sent_again(path: Path, lost: int) -> None:
    hubs = salvaged(path, f"DELETE FROM hub_message WHERE id = {lost}")
    first = 2 * (lost - 1)
    row = hubs.slot(HUB, slot(first))
    assert row is not None
    # the audit log remembers that the first one was confirmed
    assert row.state == ("confirmed" if lost == 1 else "unknown")
    assert taken(hubs, 0, 1, 2, 3, 4, 5) == [True] * 6
    assert hubs.stage(HUB, [draft("z", slot(30))], NOW)[0].id == 4, "numbers are not used again"
    found = hubs.message(HUB, lost)
    assert found is not None
    if found.state not in FINAL:
        assert found.due > NOW + 10**6, "it waits for a person"
        with pytest.raises(HubError):
            hubs.cancel(found, "anna", "why not", NOW)
        hubs.retry(found, "anna", NOW)
        assert hubs.wanted(HUB) == [slot(first), slot(first + 1)]
        hubs.stage(HUB, [draft("y", slot(first), revision=2)], NOW)
    hubs._file.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM hub_slot WHERE name LIKE '%' || {start}",
        "DELETE FROM hub_part WHERE name = 't-b-0'",
        "DELETE FROM hub_body WHERE id = 2",
        "UPDATE hub_part SET data = substr(data, 2) WHERE name = 't-b-1'",
        "UPDATE hub_slot SET data = substr(data, 2)",
        "DELETE FROM hub_part",
        "DELETE FROM hub_slot",
    ],
)
def test_what_one_table_lost_another_knows(path: Path, statement: str) -> None:
    hubs = salvaged(path, statement.replace("{start}", str(slot(2).start)))
    assert taken(hubs, 0, 1, 2, 3, 4, 5) == [True] * 6
    row = hubs.slot(HUB, slot(2))
    assert row is not None
    assert row.message == 2
    whole = hubs.message(HUB, 2)
    assert whole is not None
    assert [part.slot for part in whole.parts] == [slot(2), slot(3)]
    assert hubs.slot(HUB, slot(99)) is None, "nothing is lost that nobody knows"
    if "hub_body" in statement:
        assert whole.due > NOW + 10**6, "it cannot be sent: it waits for a person"
        assert 2 not in [one.id for one in hubs.open(HUB, NOW + 10**6)]
        with pytest.raises(GoneError, match="were lost"):
            hubs.begin(whole, NOW)
        assert hubs.retry(whole, "anna", NOW).state == "dead"
        assert hubs.wanted(HUB) == [slot(2), slot(3)], "they go in a new message"
    after = hubs.settle(whole, Receipt("confirmed"), "confirmed", NOW, NOW)
    assert [part.state for part in after.parts] == ["confirmed", "confirmed"]
    hubs._file.close()


def test_where_nobody_knows_what_was_lost_nothing_old_is_sent(path: Path) -> None:
    gone = [f"DELETE FROM {table}" for table in ("hub_part", "hub_slot", "hub_message", "hub_body")]
    hubs = salvaged(path, *gone)
    # by the audit log alone: there were three messages, and nobody knows what of
    row = hubs.slot(HUB, slot(70))
    assert row is not None
    assert (row.state, row.content) == ("unknown", b"")
    assert row.message is not None
    with pytest.raises(HubError, match="open message"):
        hubs.stage(HUB, [draft("z", slot(70), revision=999)], NOW)
    future = slot(30_000)
    assert hubs.slot(HUB, future) is None
    hubs.stage(HUB, [draft("z", future)], NOW)
    lost = hubs.message(HUB, row.message)
    assert lost is not None
    assert hubs.open(HUB, NOW + 10**8) == [hubs.document(HUB, "doc-z")], "it waits for a person"
    with pytest.raises(HubError):
        hubs.cancel(lost, "anna", "why not", NOW)
    assert hubs.retry(lost, "anna", NOW).state == "dead"
    free = hubs.slot(HUB, slot(70))
    assert free is not None
    assert (free.state, free.message) == ("dead", None)
    assert free.revision >= 100, "revisions rise above all that were lost"
    hubs.stage(HUB, [draft("y", slot(70), revision=free.revision + 1)], NOW)
    assert hubs.audit.verify() == []
    hubs._file.close()


def test_every_hub_of_a_ledger_that_lost_all_waits_for_a_person(path: Path) -> None:
    path.write_bytes(b"\xff" * 40_000)
    Path(f"{path}-wal").unlink(missing_ok=True)
    hubs = HubStore(open_ledger(path).file, lambda: NOW)
    for hub in ("dk", "ee"):
        row = hubs.slot(hub, slot())
        assert row is not None
        assert row.message is not None
        assert documents(hubs.in_state(hub, "unknown")) == [f"lost-{row.message}"]
    hubs._file.close()


def test_a_permission_whose_end_may_be_lost_holds_no_more(tmp_path: Path) -> None:
    def permission(name: str) -> Permission:
        return Permission(name, "p", POINT, frozenset(("import",)), frozenset(("active",)), 0, None, 5, None)

    def made(path: Path) -> Path:
        hubs = store(path)
        for name in ("one", "two", "three"):
            hubs.permit(permission(name), b"I", NOW)
        hubs.end_permission("two", "L", b"L", NOW, "revoked")
        hubs._file.close()
        return path

    whole = salvaged(made(tmp_path / "whole.db"))
    assert [one.ended for one in whole.permissions()] == [None, NOW, None]
    whole._file.close()
    # the audit log tells that there were four items
    cut = salvaged(made(tmp_path / "cut.db"), "DELETE FROM hub_permission WHERE id = 4")
    assert all(one.ended is not None for one in cut.permissions())
    assert cut.permission_items("one")[0] == ("I", 5, b"I")
    cut._file.close()


def test_the_feed_of_changes_begins_anew(path: Path) -> None:
    hubs = salvaged(path)
    assert hubs.oldest_change > 10**12, "ahead of every position that anybody has"
    assert hubs.changes(0) == []
    hubs._file.close()


def _effects(hubs: HubStore) -> set[object]:
    """Slots that plan would send by itself, or the engine sends in a new document."""
    return {slot(day) for day in range(6) if not taken(hubs, day)[0]}


def _is_whole(file: LedgerFile) -> bool:
    """What the uploader would find out by using the file."""
    try:
        file.check()
        hubs = HubStore(file, lambda: NOW)
        _effects(hubs)
        return all(hubs.document(HUB, name) for name in ("doc-a", "doc-b", "doc-c"))
    except files.Damaged:
        return False


@pytest.mark.timeout(400)
def test_damage_at_any_place_sends_nothing_twice(path: Path, tmp_path: Path) -> None:
    """Each of many places overwritten: what was staged is never free to be staged again by itself."""
    dice = random.Random(8)
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    size = path.stat().st_size
    replaced = 0
    for run in range(120):
        copy = Path(shutil.copy(path, tmp_path / f"damaged-{run}.db"))
        with copy.open("r+b") as file:
            file.seek(dice.randrange(0, size, 512))
            file.write(dice.randbytes(dice.choice((1, 64, 700, 4_000))))
        found = open_ledger(copy)
        if found.notice is None and not _is_whole(found.file):
            suspect = found.file.identity
            found.file.close()
            found = open_ledger(copy, suspect, "found later")
        hubs = HubStore(found.file, lambda: NOW)
        assert _effects(hubs) == set(), f"run {run}"
        if found.notice is not None:
            assert hubs.counts(HUB)["new"] == 0, f"run {run}"
            assert [one for one in hubs.audit.verify() if one.explained is None] == [], f"run {run}"
            replaced += 1
        found.file.close()
    assert 40 < replaced < 120


def test_a_forgotten_point_leaves_hashes_and_an_audit_log_that_verifies(path: Path) -> None:
    hubs = store(path)
    mixed = hubs.stage(HUB, [draft("m", slot(7), slot(7, OTHER), body=POINT.encode())], NOW)[0]
    said = Receipt("rejected", (Reason("E10", f"unknown: {POINT}"),), raw=POINT.encode())
    mixed = hubs.settle(hubs.begin(mixed, NOW), said, "rejected", NOW, NOW)
    asked = hubs.stage(HUB, [request("r", POINT.encode()), request("s", b"of another one")], NOW)[0]
    hubs.inbound(HUB, Inbound("m2", "rsm-018", POINT.encode(), "text/xml", text=f"days of {POINT}"), [], NOW)
    hubs.inbound(HUB, Inbound("m3", "rsm-018", OTHER.encode(), "text/xml", text=f"days of {OTHER}"), [], NOW)
    hubs.say("export", HUB, "anna", NOW, {"point": POINT})
    digest = hubs.document(HUB, "doc-c")
    file = hubs._file
    file.forget("main", lambda db: hub_forget.forget(db, {POINT}))
    assert [one for one in hubs.audit.verify() if one.explained is None] == []
    for name in ("a", "b", "c", "m", "r"):
        found = hubs.document(HUB, f"doc-{name}")
        assert found is not None
        assert found.body == b""
        assert found.state in FINAL
        assert [one.slot.point for one in found.parts] == ([OTHER] if name == "m" else [])
    assert digest is not None
    after = hubs.document(HUB, "doc-c")
    assert after is not None
    assert after.digest == digest.digest
    assert list(hubs.slots(HUB, POINT)) == []
    assert len(list(hubs.slots(HUB, OTHER))) == 1
    untouched = hubs.document(HUB, "doc-s")
    assert untouched is not None
    assert untouched.body == b"of another one"
    assert [one.data.text for one in hubs.received(HUB)] == ["", "", f"days of {OTHER}"]
    assert hubs.history(mixed.id)[0][0].reasons == (("E10", ""),)
    assert asked.state == "new"
    assert hubs.counts(HUB)["new"] == 1
    file.close()
    assert POINT.encode() not in path.read_bytes(), "what was removed is overwritten in the file"
    assert not Path(f"{path}-wal").exists() or POINT.encode() not in Path(f"{path}-wal").read_bytes()


def test_a_message_that_never_left_gives_the_others_free(path: Path) -> None:
    hubs = store(path)
    hubs.stage(HUB, [draft("m", slot(7), slot(7, OTHER))], NOW)
    sent = hubs.stage(HUB, [draft("n", slot(8), slot(8, OTHER))], NOW)[0]
    send(hubs, sent, Receipt("accepted"))
    hubs._file.forget("main", lambda db: hub_forget.forget(db, {POINT}))
    assert hubs.wanted(HUB) == [slot(7, OTHER)], "what the hub may have is not sent again"
    hubs._file.close()
