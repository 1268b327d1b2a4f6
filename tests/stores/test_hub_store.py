"""Messages to hubs: staged with bytes and ids, tried, answered, final; one open message for each slot."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.hub_model import FINAL, Inbound, Permission, Reason, Receipt, State
from gateway.stores import files, hub_audit, hub_rows
from gateway.stores.files import Damaged
from gateway.stores.hubs import (
    MOST_NOTE,
    GoneError,
    HubError,
    HubReader,
    HubStore,
    IdTakenError,
    SlotBusyError,
)
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_salvage import open_ledger
from tests.stores.hub_drafts import DAY, HUB, NOW, POINT, documents, draft, everything, part, request, slot, store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def hubs(path: Path) -> Iterator[HubStore]:
    made = store(path)
    yield made
    made._file.close()


ACCEPTED = Receipt("accepted", status=202, certificate="0badcafe", raw=b"")
REJECT = (Reason("E10", "unknown metering point"),)


def test_what_is_staged_is_there_with_its_exact_bytes(hubs: HubStore, path: Path) -> None:
    body = bytes(range(256)) * 3
    made = hubs.stage(HUB, [draft("a", slot(), slot(1), body=body)], NOW)[0]
    hubs._file.close()
    again = store(path)
    found = again.message(HUB, made.id)
    assert found == made
    assert found.body == body
    assert found.state == "new"
    assert [one.slot for one in found.parts] == [slot(), slot(1)]
    assert again.document(HUB, "doc-a") == made
    assert again.transaction(HUB, "t-a-1") == (made, made.parts[1])
    assert again.document("other", "doc-a") is None
    assert again.counts(HUB)["new"] == 1
    again._file.close()


def test_a_slot_with_an_open_message_takes_no_other(hubs: HubStore) -> None:
    first = hubs.stage(HUB, [draft("a", slot())], NOW)[0]
    with pytest.raises(SlotBusyError, match=f"has an open message at dk: {first.id}"):
        hubs.stage(HUB, [draft("free", slot(5)), draft("b", slot(), revision=2)], NOW)
    assert hubs.slot(HUB, slot(5)) is None, "all or nothing"
    assert hubs.document(HUB, "doc-free") is None
    first = hubs.settle(hubs.begin(first, NOW), ACCEPTED, "confirmed", NOW, NOW)
    with pytest.raises(SlotBusyError, match="revision 1"):
        hubs.stage(HUB, [draft("b", slot(), revision=1)], NOW)
    second = hubs.stage(HUB, [draft("b", slot(), revision=2)], NOW)[0]
    row = hubs.slot(HUB, slot())
    assert row is not None
    assert (row.revision, row.message, row.confirmed) == (2, second.id, 1)
    assert hubs.stage("other", [draft("a", slot())], NOW)[0].state == "new", "hubs do not know each other"


def test_ids_are_used_once(hubs: HubStore) -> None:
    hubs.stage(HUB, [draft("a", slot())], NOW)
    with pytest.raises(IdTakenError, match="document"):
        hubs.stage(HUB, [draft("a", slot(1))], NOW)
    taken = replace(draft("b"), parts=(part("a-0", slot(1)),))
    with pytest.raises(IdTakenError, match="transaction"):
        hubs.stage(HUB, [taken], NOW)
    twice = replace(draft("c"), parts=(part("c-0", slot(2)), part("c-0", slot(3))))
    with pytest.raises(IdTakenError, match="transaction"):
        hubs.stage(HUB, [twice], NOW)
    assert hubs.counts(HUB)["new"] == 1


def test_an_attempt_is_noted_before_it_begins_and_unknown_after_a_death(hubs: HubStore, path: Path) -> None:
    made = hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW + 5)
    assert (made.state, made.attempts, made.first) == ("sending", 1, NOW + 5)
    with pytest.raises(GoneError):
        hubs.begin(made, NOW + 6)
    hubs._file.close()
    again = store(path)
    assert [one.id for one in again.recover(HUB, NOW + 9)] == [made.id]
    found = again.message(HUB, made.id)
    assert found is not None
    assert (found.state, found.attempts, found.due) == ("unknown", 1, NOW + 9)
    assert again.recover(HUB, NOW + 10) == []
    assert again.begin(found, NOW + 10).attempts == 2
    again._file.close()


def test_what_is_due_comes_first_due_first_and_nothing_final(hubs: HubStore) -> None:
    a, b, c = hubs.stage(HUB, [draft("a", slot()), draft("b", slot(1)), draft("c", slot(2))], NOW)
    hubs.settle(hubs.begin(a, NOW), Receipt("busy"), "new", NOW + 60, NOW)
    hubs.settle(hubs.begin(b, NOW), ACCEPTED, "confirmed", NOW, NOW)
    assert documents(hubs.open(HUB, NOW)) == ["doc-c"]
    assert documents(hubs.open(HUB, NOW + 60)) == ["doc-c", "doc-a"]
    assert documents(hubs.open(HUB, NOW + 60, 1)) == ["doc-c"]
    assert documents(hubs.waiting(HUB)) == ["doc-c", "doc-a"]
    assert documents(hubs.open("other", NOW + 60)) == []
    assert documents(hubs.in_state(HUB, "confirmed")) == ["doc-b"]
    assert c.state == "new"


def test_a_request_that_awaits_its_answer_is_found_behind_any_number_of_days(hubs: HubStore) -> None:
    for made in hubs.stage(HUB, [request("asked"), *(draft(f"d{n}", slot(n)) for n in range(5))], NOW):
        hubs.settle(hubs.begin(made, NOW), ACCEPTED, "accepted", NOW, NOW)
    assert documents(hubs.awaiting(HUB, "request-sums", limit=2)) == ["doc-asked"]
    assert documents(hubs.awaiting(HUB, limit=2)) == ["doc-d3", "doc-d4"]


def test_parts_are_judged_apart_and_the_message_is_as_bad_as_the_worst(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [draft("a", slot(), slot(1), slot(2))], NOW)[0]
    made = hubs.settle(hubs.begin(made, NOW), ACCEPTED, "accepted", NOW + 90, NOW)
    told = {"t-a-1": (Reason("E86", "negative"),)}
    said = Receipt("rejected", REJECT, transactions=frozenset(("t-a-1", "t-nobody")), told=told)
    made = hubs.settle(made, said, "rejected", NOW + 90, NOW)
    assert made.state == "accepted"
    assert [one.state for one in made.parts] == ["accepted", "rejected", "accepted"]
    assert made.parts[1].reasons == told["t-a-1"]
    middle = hubs.slot(HUB, slot(1))
    assert middle is not None
    assert (middle.state, middle.message) == ("rejected", None), "it is free for another content"
    hubs.stage(HUB, [draft("b", slot(1), revision=2)], NOW)
    with pytest.raises(SlotBusyError):
        hubs.stage(HUB, [draft("c", slot(2), revision=2)], NOW)
    made = hubs.settle(made, Receipt("confirmed"), "confirmed", NOW, NOW)
    assert made.state == "rejected"
    assert [one.state for one in made.parts] == ["confirmed", "rejected", "confirmed"]
    assert hubs.message(HUB, made.id) == made
    row = hubs.slot(HUB, slot(2))
    assert row is not None
    assert (row.state, row.confirmed) == ("confirmed", 1)


def test_a_late_rejection_of_one_part_changes_no_other(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [draft("a", slot(), slot(1))], NOW)[0]
    made = hubs.settle(hubs.begin(made, NOW), Receipt("confirmed"), "confirmed", NOW, NOW)
    made = hubs.settle(made, Receipt("rejected", REJECT, transactions=frozenset(("t-a-0",))), "rejected", NOW, NOW)
    assert [one.state for one in made.parts] == ["rejected", "confirmed"]
    assert made.state == "rejected"
    assert documents(hubs.open(HUB)) == []


def test_what_says_something_of_some_parts_says_nothing_of_the_others(hubs: HubStore) -> None:
    made = hubs.begin(hubs.stage(HUB, [draft("a", slot(), slot(1))], NOW)[0], NOW)
    said = Receipt("confirmed", transactions=frozenset(("t-a-0",)))
    assert hubs.settle(made, said, "confirmed", NOW, NOW).state == "unknown"


@pytest.mark.parametrize("end", sorted(FINAL))
@pytest.mark.parametrize("said", ["new", "sending", "unknown", "accepted", "confirmed", "rejected", "dead"])
def test_what_is_final_never_opens_again(hubs: HubStore, end: State, said: State) -> None:
    made = hubs.settle(hubs.stage(HUB, [draft("a", slot())], NOW)[0], Receipt("confirmed"), end, NOW, NOW)
    after = hubs.settle(made, Receipt("unknown"), said, NOW, NOW)
    assert after.state == (said if said in ("confirmed", "rejected") else end)
    assert hubs.open(HUB) == []
    with pytest.raises(GoneError):
        hubs.begin(made, NOW)


def test_an_old_copy_of_a_message_overwrites_nothing(hubs: HubStore) -> None:
    old = hubs.stage(HUB, [draft("a", slot())], NOW)[0]
    hubs.cancel(old, "anna", "sent by hand", NOW)
    with pytest.raises(GoneError, match="is dead"):
        hubs.begin(old, NOW)
    assert hubs.settle(old, ACCEPTED, "accepted", NOW, NOW).state == "dead"
    with pytest.raises(GoneError):
        hubs.cancel(old, "anna", "again", NOW)


def test_nothing_new_leaves_no_trace_but_the_time(hubs: HubStore) -> None:
    made = hubs.settle(hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW), ACCEPTED, "accepted", NOW, NOW)
    entries = len(list(hubs.audit.entries()))
    made = hubs.settle(made, Receipt("pending"), "accepted", NOW + 77, NOW)
    assert made.due == NOW + 77
    assert len(list(hubs.audit.entries())) == entries
    assert len(hubs.history(made.id)) == 1


def test_the_history_holds_answers_and_what_people_did(hubs: HubStore) -> None:
    made = hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW)
    raw = b"<html>\xff busy"
    busy = Receipt("busy", (Reason("503", "come\nback\x1b[31m later"),), status=503, raw=raw, certificate="0bad")
    made = hubs.settle(made, busy, "new", NOW + 60, NOW + 1)
    hubs.retry(made, "anna", NOW + 2)
    hubs.cancel(made, "anna", "too late", NOW + 3)
    (first, octets), (second, _), (third, _) = hubs.history(made.id)
    assert octets == raw
    assert first.reasons == (("503", "come back [31m later"),)
    assert [(one.what, one.who, one.state) for one in (first, second, third)] == [
        ("answer", "uploader", "new"),
        ("retry", "anna", "new"),
        ("cancel", "anna", "dead"),
    ]
    said = list(hubs.audit.entries())
    assert [one.what for one in said] == ["staged", "answer", "retry", "cancel"]
    assert said[1].facts["certificate"] == "0bad"
    assert said[1].facts["status"] == 503
    assert said[-1].facts["why"] == "too late"
    assert hubs.audit.verify() == []


def test_no_point_and_no_words_of_a_hub_stand_in_the_audit_log(hubs: HubStore) -> None:
    made = hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW)
    said = Receipt("rejected", (Reason("E10", f"metering point {POINT}"),), raw=POINT.encode())
    hubs.settle(made, said, "rejected", NOW, NOW)
    hubs.inbound(HUB, Inbound("m1", "rsm-009", POINT.encode(), "x", text=POINT, facts={"point": POINT}), [], NOW)
    for (data,) in hubs._db.execute("SELECT data FROM hub_event"):
        assert POINT.encode() not in data


def test_inbound_is_processed_once(hubs: HubStore) -> None:
    made = hubs.settle(hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW), ACCEPTED, "accepted", NOW, NOW)
    inbound = Inbound("m1", "rsm-009", b"{}", "application/json", text="one reject", facts={"n": 1}, wanted=(slot(3),))
    settle = [(made, Receipt("rejected", REJECT, transactions=frozenset(("t-a-0",))), "rejected")]
    assert hubs.inbound(HUB, inbound, settle, NOW, notes={"cursor": b"7"})
    before = everything(hubs)
    assert not hubs.inbound(HUB, inbound, settle, NOW + 5, notes={"cursor": b"8"})
    assert everything(hubs) == before
    assert hubs.note(HUB, "cursor") == b"7"
    after = hubs.message(HUB, made.id)
    assert after is not None
    assert after.state == "rejected"
    kept = hubs.received(HUB, "rsm-009")[0]
    assert (kept.body, kept.data.text, kept.data.facts) == (b"{}", "one reject", {"n": 1})
    assert hubs.received(HUB, "rsm-018") == []
    assert hubs.wanted(HUB) == [slot(3)]
    assert hubs.inbound("other", inbound, [], NOW), "ids of one hub mean nothing to another"


def test_a_slot_that_is_wanted_anew_is_staged_anew(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [draft("a", slot())], NOW)[0]
    hubs.want(HUB, [slot(), slot(9)], "uploader", NOW)
    row = hubs.slot(HUB, slot())
    assert row is not None
    assert (row.content, row.message) == (b"", made.id), "it is open still"
    hubs.settle(made, Receipt("confirmed"), "confirmed", NOW, NOW)
    never = hubs.slot(HUB, slot(9))
    assert never is not None
    assert (never.revision, never.message, never.state) == (0, None, "dead")
    hubs.stage(HUB, [draft("b", slot(), revision=2), draft("c", slot(9), revision=1)], NOW)
    assert hubs.wanted(HUB) == []


def test_retry_of_a_rejected_message_wants_its_slots_anew(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [draft("a", slot(), slot(1), slot(2))], NOW)[0]
    made = hubs.settle(made, Receipt("rejected", REJECT), "rejected", NOW, NOW)
    hubs.stage(HUB, [draft("b", slot(1), revision=2)], NOW)
    assert hubs.retry(made, "anna", NOW).state == "rejected"
    assert hubs.wanted(HUB) == [slot(), slot(2)], "what was staged since is left alone"


def test_retry_says_why_not(hubs: HubStore) -> None:
    sending = hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW)
    with pytest.raises(HubError, match="being sent"):
        hubs.retry(sending, "anna", NOW)
    done = hubs.settle(sending, Receipt("confirmed"), "confirmed", NOW, NOW)
    with pytest.raises(HubError, match="the hub has it"):
        hubs.retry(done, "anna", NOW)
    asked = hubs.stage(HUB, [request("r")], NOW)[0]
    asked = hubs.settle(asked, Receipt("rejected", REJECT), "rejected", NOW, NOW)
    with pytest.raises(HubError, match="make it anew"):
        hubs.retry(asked, "anna", NOW)
    later = hubs.stage(HUB, [draft("b", slot(5))], NOW + 900)[0]
    assert hubs.retry(later, "anna", NOW).due == NOW


def test_slots_of_a_point_come_by_time(hubs: HubStore) -> None:
    hubs.stage(HUB, [draft("a", slot(3), slot(1), slot(2), slot(1, "571313000000002001"))], NOW)
    assert [row.slot for row in hubs.slots(HUB, POINT)] == [slot(1), slot(2), slot(3)]
    assert [row.slot for row in hubs.slots(HUB, POINT, since=slot(2).start)] == [slot(2), slot(3)]
    assert list(hubs.slots(HUB, POINT, "export")) == []
    assert list(hubs.slots(HUB, POINT[:-1])) == []


def test_raw_bytes_go_and_hashes_stay(hubs: HubStore) -> None:
    old, open_ = hubs.stage(HUB, [draft("a", slot()), draft("b", slot(1))], NOW)
    hubs.settle(hubs.begin(old, NOW), Receipt("confirmed", raw=b"yes"), "confirmed", NOW, NOW)
    hubs.inbound(HUB, Inbound("m1", "report", b"body", "text/plain"), [], NOW)
    assert hubs.prune(HUB, NOW) == 0
    assert hubs.prune("other", NOW + 1) == 0
    assert hubs.prune(HUB, NOW + 1) == 2
    found = hubs.message(HUB, old.id)
    assert found is not None
    assert (found.body, found.digest) == (b"", old.digest)
    answer, raw = hubs.history(old.id)[0]
    assert raw is None
    assert answer.digest is not None
    assert hubs.received(HUB)[0].body is None
    kept = hubs.message(HUB, open_.id)
    assert kept is not None
    assert kept.body == open_.body, "what is open is kept, however old"
    assert hubs.audit.verify() == []


def test_bytes_of_one_hub_go_though_another_one_keeps_many(hubs: HubStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.hub_pruning.PRUNED_AT_ONCE", 2)
    monkeypatch.setattr("gateway.stores.hub_pruning.LOOKED_AT", 3)
    for n in range(7):
        hubs.stage("other", [draft(f"o{n}", slot(n))], NOW)
        hubs.inbound("other", Inbound(f"m{n}", "report", b"body", "text/plain"), [], NOW)
    waits = hubs.stage(HUB, [draft("waits", slot(8))], NOW)[0]
    for n in range(4):
        made = hubs.stage(HUB, [draft(f"a{n}", slot(n))], NOW)[0]
        hubs.settle(made, Receipt("confirmed"), "confirmed", NOW, NOW)
        hubs.inbound(HUB, Inbound(f"m{n}", "report", b"body", "text/plain"), [], NOW)
    assert sum(hubs.prune(HUB, NOW + 1) for _ in range(20)) == 8
    hubs.settle(waits, Receipt("confirmed"), "confirmed", NOW, NOW)
    assert sum(hubs.prune(HUB, NOW + 1) for _ in range(20)) == 1
    assert all(one.body for one in hubs.received("other"))
    assert len(hubs.open("other")) == 7


def test_notes_are_small_and_last(hubs: HubStore) -> None:
    hubs.remember(HUB, "watermark", b"1")
    hubs.remember(HUB, "watermark", b"2")
    assert hubs.note(HUB, "watermark") == b"2"
    assert hubs.note("other", "watermark") is None
    with pytest.raises(ValueError, match="more than a note holds"):
        hubs.remember(HUB, "objects", bytes(MOST_NOTE + 1))


PERMISSION = Permission("p-1", "5790000000001", POINT, frozenset(("import",)), frozenset(("active",)), 0, None, 5, None)


def test_a_permission_is_kept_and_its_end_too(hubs: HubStore) -> None:
    assert hubs.permit(PERMISSION, b'{"I":1}', NOW)
    assert not hubs.permit(PERMISSION, b'{"I":1}', NOW)
    with pytest.raises(HubError, match="said something else"):
        hubs.permit(PERMISSION._replace(party="5790000000002"), b"", NOW)
    assert hubs.permissions() == [PERMISSION]
    assert hubs.end_permission("p-1", "L", b'{"L":1}', NOW + 5, "revoked by the customer")
    assert not hubs.end_permission("p-1", "J", b'{"J":1}', NOW + 9, "service ended")
    ended = PERMISSION._replace(ended=NOW + 5, reason="revoked by the customer", item="L")
    assert hubs.permissions() == [ended]
    assert not hubs.permit(PERMISSION, b'{"I":1}', NOW), "it does not come back to life"
    assert hubs.permissions() == [ended]
    assert [(item, body) for item, _, body in hubs.permission_items("p-1")] == [
        ("I", b'{"I":1}'),
        ("L", b'{"L":1}'),
        ("J", b'{"J":1}'),
    ]
    assert [one.what for one in hubs.audit.entries()] == ["permission", "permission_ended", "permission_ended"]


def test_an_end_that_comes_before_its_permission_holds(hubs: HubStore) -> None:
    hubs.end_permission("p-1", "L", b"", NOW, "revoked")
    hubs.permit(PERMISSION, b"", NOW)
    assert hubs.permissions()[0].ended is not None


def test_every_change_of_the_audit_log_is_found(hubs: HubStore) -> None:
    for n in range(20):
        hubs.say("run", HUB, "uploader", NOW + n, {"n": n})
    assert hubs.audit.verify() == []
    sealed = hub_audit.pack(hub_audit.Note("run", HUB, hub_audit.datetime.now(hub_audit.UTC), {}), 7, "hub_event")
    hubs._db.execute("UPDATE hub_event SET data = ? WHERE id = 7", (sealed,))
    assert [one.id for one in hubs.audit.verify()] == [7]
    hubs._db.execute("DELETE FROM hub_event WHERE id > 18")
    assert [(one.id, one.last) for one in hubs.audit.verify()] == [(7, 7), (19, 20)]
    hubs.say("run", HUB, "uploader", NOW, {})
    assert [(one.id, one.last) for one in hubs.audit.verify()] == [(7, 7), (19, 20)], "it shows when the log goes on"


def test_a_log_that_was_emptied_is_found(hubs: HubStore) -> None:
    assert hubs.audit.verify() == []
    hubs.stage(HUB, [draft("a", slot())], NOW)
    hubs._db.execute("DELETE FROM hub_event")
    hubs._db.execute("DELETE FROM meta WHERE id = ?", (hub_audit.END,))
    assert hubs.audit.verify() != []


def test_a_reader_sees_what_is_written_and_writes_nothing(hubs: HubStore, path: Path) -> None:
    made = hubs.stage(HUB, [draft("a", slot())], NOW)[0]
    reader = HubReader(path)
    assert reader.message(HUB, made.id) == made
    assert reader.hubs() == [HUB]
    assert reader.oldest(HUB) == NOW
    hubs.begin(made, NOW)
    assert reader.counts(HUB)["sending"] == 1
    with pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM hub_message")
    reader.close()


def test_a_ledger_that_no_uploader_wrote_into_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        HubReader(tmp_path / "none.db")


def test_a_damaged_row_is_told_as_damage(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [draft("a", slot())], NOW)[0]
    hubs._db.execute("UPDATE hub_message SET state = 'confirmed'")  # the checksum covers the columns
    with pytest.raises(Damaged):
        hubs.message(HUB, made.id)
    with pytest.raises(Damaged):
        hubs.begin(made, NOW)


def test_a_body_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = hub_rows.pack_bytes(bytes(100_000), "hub_body", 1)
    monkeypatch.setattr(hub_rows, "MOST_OCTETS", 50_000)
    with pytest.raises(hub_rows.Corrupt):
        hub_rows.unpack_bytes(sealed, "hub_body", 1)


def test_every_look_up_is_by_an_index(hubs: HubStore) -> None:
    """No statement of the uploader walks through all messages, parts, slots or answers."""
    asked: set[str] = set()
    hubs._db.set_trace_callback(asked.add)
    made = hubs.stage(HUB, [draft("a", slot(), slot(1))], NOW)[0]
    hubs.open(HUB, NOW)
    hubs.settle(hubs.begin(made, NOW), ACCEPTED, "accepted", NOW, NOW)
    hubs.inbound(HUB, Inbound("m1", "ack", b"", ""), [(made, Receipt("confirmed"), "confirmed")], NOW)
    hubs.transaction(HUB, "t-a-0")
    hubs.slot(HUB, slot())
    hubs.wanted(HUB)
    hubs.counts(HUB)
    hubs.oldest(HUB)
    hubs.hubs()
    hubs.awaiting(HUB)
    list(hubs.slots(HUB, POINT))
    hubs.changes(0)
    hubs._db.set_trace_callback(None)
    plans = {
        row[3].decode()
        for statement in asked
        if statement.startswith("SELECT")
        for row in hubs._db.execute(f"EXPLAIN QUERY PLAN {statement}")
    }
    assert plans
    small = ("SCAN hub_permission", "SCAN interval_series")
    assert not [one for one in plans if one.startswith("SCAN") and not one.startswith(small)]


def test_a_ledger_of_the_version_before_takes_messages(path: Path, checkout: Path) -> None:
    """A real ledger, written by the version before the hubs (schema 4), with its metrology log."""
    path.write_bytes((checkout / "tests/stores/ledgers/schema-4.db").read_bytes())
    made = store(path)
    kept = made._file.entries()
    assert kept > 0
    assert made._file.first_break() is None
    assert made.audit.verify() == []
    one = made.stage(HUB, [draft("a", slot())], NOW)[0]
    assert made.message(HUB, one.id) == one
    assert made._file.entries() == kept
    made._file.close()
    db = files.connect(path)
    assert db.execute("PRAGMA quick_check").fetchone()[0] == b"ok"
    db.close()


def test_an_old_ledger_has_nothing_of_hubs_and_says_so(path: Path, checkout: Path) -> None:
    path.write_bytes((checkout / "tests/stores/ledgers/schema-4.db").read_bytes())
    with pytest.raises(LedgerError, match="no uploader has run with it yet"):
        HubReader(path)


def test_two_processes_use_one_ledger(path: Path) -> None:
    uploader, person = store(path), HubStore(open_ledger(path).file, lambda: NOW)
    made = uploader.stage(HUB, [draft("a", slot())], NOW)[0]
    found = person.message(HUB, made.id)
    assert found is not None
    person.cancel(found, "anna", "not this one", NOW)
    with pytest.raises(GoneError):
        uploader.begin(made, NOW)
    row = uploader.slot(HUB, slot())
    assert row is not None
    assert row.end == slot().start + DAY
    uploader._file.close()
    person._file.close()


def test_what_a_person_carries_the_uploader_leaves_alone(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [replace(draft("a", slot()), way="manual")], hub_rows.NEVER)[0]
    made = hubs.hand_over(made, "anna", NOW)
    assert (made.state, made.attempts) == ("unknown", 1)
    assert hubs.open(HUB, NOW + 10**8) == []
    with pytest.raises(HubError, match="carried by a person"):
        hubs.retry(made, "anna", NOW)
    with pytest.raises(SlotBusyError):
        hubs.stage(HUB, [draft("b", slot(), revision=2)], NOW)
    answer = Inbound("file-1", "response", b"", "application/xml")
    assert hubs.inbound(HUB, answer, [(made, Receipt("confirmed"), "confirmed")], NOW, who="anna")
    assert [one.who for one in hubs.audit.entries()] == ["uploader", "anna", "anna", "anna"]
    row = hubs.slot(HUB, slot())
    assert row is not None
    assert row.confirmed == 1


def test_what_a_hub_says_never_stops_the_store(hubs: HubStore) -> None:
    """Texts that cannot be encoded, numbers that no row holds, points with a line break: told by a hub that lies."""
    bad = "\ud800\n\x00"
    assert hubs.document(HUB, bad) is None
    assert hubs.transaction(HUB, bad) is None
    made = hubs.begin(hubs.stage(HUB, [draft("a", slot())], NOW)[0], NOW)
    said = Receipt("rejected", (Reason(bad, bad * 1_000),), reference=bad, transactions=frozenset(("t-a-0", bad)))
    made = hubs.settle(made, said, "rejected", NOW, NOW)
    assert made.state == "rejected"
    nested: list[object] = []
    for _ in range(100):
        nested = [nested]
    facts = {bad: bad, "n": 1 << 80, "deep": nested, "set": {1}, "list": [1.5, None, True]}
    lie = Inbound(bad, bad, b"\xff", bad, {bad: said}, bad, facts, None, (slot(1, bad), slot(2)))
    assert hubs.inbound(HUB, lie, [], NOW)
    assert not hubs.inbound(HUB, lie, [], NOW)
    (kept,) = hubs.received(HUB)
    assert kept.data.facts["n"] == str(1 << 80)
    assert kept.data.facts["list"] == [1.5, None, True]
    assert hubs.wanted(HUB) == [slot(2)]
    assert hubs.audit.verify() == []


def test_a_hand_over_that_a_death_cut_short_is_not_sent_by_itself(hubs: HubStore) -> None:
    made = hubs.stage(HUB, [replace(draft("a", slot()), way="manual")], hub_rows.NEVER)[0]
    hubs.begin(made, NOW)
    hubs.recover(HUB, NOW)
    assert hubs.open(HUB, NOW + 10**8) == []
    found = hubs.message(HUB, made.id)
    assert found is not None
    assert found.state == "unknown"
