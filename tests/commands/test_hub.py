"""`meterd hub`: every action on a real ledger beside another process that writes it, its lines, JSON and exit codes."""

import json
import os
import pwd
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.commands import hub_ledger
from gateway.hub_model import Draft, Inbound, Message, PartRow, Permission, Reason, Receipt, Slot
from gateway.intervals.model import Bound, Interval
from gateway.stores import hub_rows
from gateway.stores.hubs import HubStore
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import Batch, IntervalStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.hubs.cz_soap import CONTENT_TYPE
from tests.hubs.cz_parts import bounds, delivery, ean, response

NOW = 1_772_600_000
POINT, GAS, PARTY = ean(1), ean(2), "8591824000991"
DAYS = [date(2026, 3, day) for day in (1, 2, 3)]
CONFIG = f"""
[[meter]]
name = "main"
port = "/dev/null"
timezone = "Europe/Prague"
[[point]]
meter = "main"
id = "{POINT}"
[[point]]
meter = "main"
channel = 1
id = "{GAS}"
gas_day = true
[[hub]]
name = "ote"
kind = "cz-ote"
url = "https://localhost:1"
party = "{PARTY}"
points = ["{POINT}", "{GAS}"]
legal_basis = "a contract of supply"
[[hub]]
name = "dk"
kind = "dk-datahub3"
url = "https://localhost:1"
party = "5799999933318"
role = "DDQ"
points = ["{POINT}"]
legal_basis = "a law"
"""


class Place:
    """A configuration and a ledger with three validated days of electricity and gas."""

    def __init__(self, folder: Path) -> None:
        self.config, self.ledger, self.folder = folder / "meterd.toml", folder / "ledger.db", folder
        places = f'[ledger]\npath = "{self.ledger}"\n[journal]\npath = "{folder}/journal.db"\n'
        self.config.write_text(f'{CONFIG}{places}[control]\nsocket = "{folder}/control"\n')
        self.file = open_ledger(self.ledger).file
        self.hubs = HubStore(self.file, lambda: NOW)
        store = IntervalStore(self.file)
        for channel, kind, medium in ((0, "active", "electricity"), (1, "gas", "gas")):
            row = SeriesRow("main", channel, kind, "import", "Wh", 0, medium)  # type: ignore[arg-type]
            store.add_series(row)
            ends = [t for day in DAYS for t in bounds(day, 900, gas=kind == "gas")[:-1]]
            store.write(Batch(versions={(row.key, "PT15M"): [valid(t, n % 500) for n, t in enumerate(ends)]}))

    def __call__(self, *arguments: str) -> int:
        return main(["hub", *arguments, "-c", str(self.config)])


def valid(start: int, quantity: int) -> Interval:
    low, high = Bound(start, None, "none"), Bound(start + 900, None, "none")
    return Interval(
        start,
        start + 900,
        quantity,
        "valid",
        "measured",
        "plain",
        "meter",
        1_000,
        low,
        high,
        "register",
        1,
        author="vee",
    )


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.file.close()


def draft(name: str, day: int = 0, hub_point: str = POINT, revision: int = 1) -> Draft:
    start = bounds(DAYS[0], 900)[0] + day * 86_400
    slot = Slot(hub_point, "import", "active", "PT15M", start)
    part = PartRow(slot, start + 86_400, revision, f"t-{name}", bytes(32), "config")
    return Draft("readings", "send", f"doc-{name}", f"<body {name}>".encode(), "text/xml", (part,))


def rejected(place: Place, name: str = "a", day: int = 0) -> Message:
    made = place.hubs.stage("ote", [draft(name, day)], NOW)[0]
    said = Receipt("rejected", (Reason("E10", "unknown \x1b[31mpoint"),), status=200, raw=b"<no>\xff</no>")
    return place.hubs.settle(place.hubs.begin(made, 1_772_600_001), said, "rejected", 0, 1_772_600_002)


def objects(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# -- status ------------------------------------------------------------------------------------------------------------


def test_status_says_what_waits_for_a_person(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    made = rejected(hub)
    assert hub("status") == 1, "no uploader has run"
    told = capsys.readouterr().out
    assert "ote  never run" in told
    assert "1 rejected" in told
    assert f"nothing newer was sent: {made.id} (`meterd hub show ote {made.id}`)" in told
    assert "dk  never run" in told


def test_status_is_what_the_uploader_said_last(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC).isoformat()
    said = {"kind": "cz-ote", "state": "ok", "t": now, "last_run": "2026-03-04", "trouble": None}
    hub.hubs.remember("ote", "status", json.dumps(said).encode())
    assert hub("status", "ote", "--json") == 0
    (told,) = objects(capsys)[0]["hubs"]
    assert (told["state"], told["last_run"], told["open"], told["trouble"]) == ("ok", "2026-03-04", 0, None)
    hub.hubs.remember("ote", "status", json.dumps(said | {"state": "blocked", "trouble": "a secret ended"}).encode())
    assert hub("status", "ote") == 1
    assert "trouble: a secret ended" in capsys.readouterr().out
    hub.hubs.remember("ote", "status", json.dumps(said | {"t": "2026-03-04T05:00:00Z"}).encode())
    assert hub("status", "ote") == 1
    assert "has said nothing since 2026-03-04T05:00:00Z" in capsys.readouterr().out


def test_a_rejected_day_that_a_newer_message_took_over_waits_for_nobody(
    hub: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rejected(hub)
    hub.hubs.stage("ote", [draft("b", revision=2)], NOW)
    hub("status", "ote", "--json")
    assert objects(capsys)[0]["hubs"][0]["parked"] == []


# -- show --------------------------------------------------------------------------------------------------------------


def test_show_has_the_whole_history_and_no_escape_of_others(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    made = rejected(hub)
    assert hub("show", "ote", str(made.id)) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    for said in (
        "rejected since",
        "doc-a",
        made.digest,
        "E10: unknown  [31mpoint",
        POINT,
        "HTTP 200",
        "uploader: answer",
    ):
        assert said in told
    assert hub("show", "ote", str(made.id), "--json") == 0
    (told_json,) = objects(capsys)
    assert told_json["history"][0]["verdict"] == "rejected"
    assert told_json["parts"][0]["start"] == "2026-02-28T23:00:00Z"
    assert told_json["attempts"] == 1


def test_show_gives_exact_bytes(hub: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    made = rejected(hub)
    assert hub("show", "ote", str(made.id), "--bytes") == 0
    assert capfdbinary.readouterr().out == b"<body a>"
    assert hub("show", "ote", str(made.id), "--answer", "1") == 0
    assert capfdbinary.readouterr().out == b"<no>\xff</no>"
    hub.hubs.prune("ote", 1 << 40)
    assert hub("show", "ote", str(made.id), "--bytes") == 1
    assert made.digest.encode() in capfdbinary.readouterr().err


def test_show_lists_messages_newest_first(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rejected(hub, "a")
    hub.hubs.stage("ote", [draft("b", 1)], NOW)
    assert hub("show", "ote", "--json") == 0
    assert [one["document"] for one in objects(capsys)] == ["doc-b", "doc-a"]
    assert hub("show", "ote", "--state", "rejected") == 0
    told = capsys.readouterr().out
    assert "doc-a" in told
    assert "doc-b" not in told
    assert export(hub) == 0
    capsys.readouterr()
    assert hub("show", "ote", "--limit", "1") == 0
    reason = capsys.readouterr().out.splitlines()[1]
    assert reason.endswith("by_hand a person takes it to the portal, and imports its ..."), "what is cut off says so"


# -- retry, cancel -----------------------------------------------------------------------------------------------------


def test_retry_and_cancel_are_audited_with_who_did_it(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    made = rejected(hub)
    assert hub("retry", "ote", str(made.id)) == 0
    assert "in a new message" in capsys.readouterr().out
    assert [slot.point for slot in hub.hubs.wanted("ote")] == [POINT]
    other = hub.hubs.stage("ote", [draft("b", 1)], NOW)[0]
    assert hub("cancel", "ote", str(other.id), "--reason", "sent by mail", "--json") == 0
    assert objects(capsys)[0]["state"] == "dead"
    assert hub("cancel", "ote", str(other.id), "--reason", "again") == 1
    assert "is dead already" in capsys.readouterr().err
    who = {one.who for one in hub.hubs.audit.entries() if one.what in ("retry", "cancel")}
    assert who == {hub_ledger.who()}
    assert pwd.getpwuid(os.geteuid()).pw_name in who.pop()


def test_everything_that_was_refused_goes_again_and_what_is_wanted_already_does_not(
    hub: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    made = rejected(hub)
    assert hub("retry", "ote", "--parked", "--json") == 0
    assert objects(capsys)[0] == {"retried": [made.id]}
    assert [slot.point for slot in hub.hubs.wanted("ote")] == [POINT]
    assert hub("retry", "ote", "--parked") == 0
    assert "0 refused messages" in capsys.readouterr().out
    for wrong in ((), (str(made.id), "--parked")):
        assert hub("retry", "ote", *wrong) == 2
        assert "or all that were refused by --parked" in capsys.readouterr().err


def test_an_actor_behind_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_ledger.os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "anna")
    assert hub_ledger.who() == f"{pwd.getpwuid(0).pw_name} (anna)"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr(hub_ledger.os, "geteuid", lambda: 3_999_999)
    assert hub_ledger.who() == "uid 3999999"


# -- request -----------------------------------------------------------------------------------------------------------


def test_a_request_is_built_by_the_adapter_and_staged(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert hub("request", "dk") == 0
    assert capsys.readouterr().out.startswith("sums  month: YYYY-MM")
    assert hub("request", "dk", "sums", "month=2026-02", "grid-area=804", "--json") == 0
    (told,) = objects(capsys)
    message = hub.hubs.message("dk", told["id"])
    assert message is not None
    assert (message.kind, message.operation, message.state) == ("request", "request-sums", "new")
    assert b"2026-01-31T23:00:00Z" in message.body
    assert next(hub.hubs.audit.entries()).who == hub_ledger.who()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("request", "dk", "sums", "month=2026-13"), "hub dk: "),
        (("request", "dk", "weather"), "not for weather"),
        (("request", "dk", "sums", "month=2026-02", "month=2026-01"), "given twice"),
        (("request", "ote", "sums"), "hub ote: "),
        (("request", "nobody", "sums"), "no [[hub]] with the name 'nobody': there are ote, dk"),
        (("request", "otee"), "did you mean"),
        (("show", "ote", "77"), "hub ote has no message 77"),
        (("show", "nobody"), "hub nobody has no such message"),
        (("retry", "ote", "77"), "hub ote has no message 77"),
        (("cancel", "ote", "77", "--reason", " "), "--reason is empty"),
        (("status", "nobody"), "nothing is known of a hub 'nobody': dk, ote"),
        (("log",), "no entry matches"),
        (("permissions", "--id", "p-9"), "no permission 'p-9'"),
        (("export", "dk", "--from", "2026-03-01", "--to", "2026-03-02", "--folder", "."), "takes no files"),
        (("export", "ote", "--from", "2026-03-03", "--to", "2026-03-01", "--folder", "."), "--from must not be behind"),
        (("export", "ote", "--from", "2026-03-01", "--to", "2026-03-02", "--folder", "/none"), "is no folder"),
        (("import", "ote", "/none"), "/none: No such file"),
        (("import", "dk", "/dev/null"), "has no answers on files"),
        (("import", "ote", "/dev/null"), "/dev/null: "),
        (("import", "ote", "/dev/zero"), "larger than 64 MiB"),
        (("reconcile", "ote", "--ledger", "/none"), "there is no ledger at /none"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    hub: Place, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hub(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("meterd hub: ")
    assert said in line


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nothing",),
        ("show",),
        ("cancel", "ote", "1"),
        ("retry", "ote", "one"),
        ("request", "dk", "sums", "month"),
        ("export", "ote", "--from", "yesterday", "--to", "2026-03-01", "--folder", "."),
        ("reconcile", "ote", "--month", "2026"),
        ("log", "verify", "--since", "2026-03-01"),
        ("show", "ote", "99999999999999999999"),
        ("show", "ote", "-1"),
        ("show", "ote", "--limit", "0"),
        ("show", "ote", "--limit", "99999999999999999999"),
        ("retry", "ote", "99999999999999999999"),
        ("export", "ote", "--from", "0001-01-01", "--to", "0001-01-02", "--folder", "."),
        ("export", "ote", "--from", "9999-12-31", "--to", "9999-12-31", "--folder", "."),
        ("reconcile", "ote", "--month", "0001-01"),
    ],
)
def test_wrong_usage_is_2(hub: Place, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        hub(*arguments)
    assert ended.value.code == 2
    assert hub("show", "ote", "--bytes") == 2
    assert hub("retry", "ote") == hub("retry", "ote", "1", "--parked") == 2


# -- export and import -------------------------------------------------------------------------------------------------


def export(place: Place, *more: str) -> int:
    return place("export", "ote", "--from", "2026-03-01", "--to", "2026-03-03", "--folder", str(place.folder), *more)


def test_days_are_exported_and_their_answer_settles_the_same_rows(
    hub: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(hub, "--json") == 0
    (said,) = objects(capsys)
    names = [Path(one["file"]).name for one in said["files"]]
    assert [re.sub(r"\d{14}", "N", name) for name in names] == [
        "electricity-2026-03-01-2026-03-03-N.xml",
        "gas-2026-03-01-2026-03-03-N.xml",
    ]
    messages = [hub.hubs.message("ote", one["id"]) for one in said["files"]]
    for one, message in zip(said["files"], messages, strict=True):
        assert message is not None
        assert Path(one["file"]).read_bytes() == message.body
        assert (message.way, message.state, len(message.parts)) == ("manual", "unknown", 3)
    assert hub.hubs.open("ote", 1 << 39) == [], "the uploader leaves them alone"
    electricity, gas = (message for message in messages if message is not None)
    answer = hub.folder / "answer.xml"
    answer.write_text(response(electricity))
    assert hub("import", "ote", str(answer)) == 0
    assert f"message {electricity.id} ({electricity.document}) is confirmed" in capsys.readouterr().out
    answer.write_text(response(gas, reasons=[("0700", "A02", "Chybná data")], id="60000000000018"))
    assert hub("import", "ote", str(answer), "--json") == 1
    (told,) = objects(capsys)
    assert told["messages"] == [{"id": gas.id, "document": gas.document, "state": "rejected"}]
    assert hub("import", "ote", str(answer)) in (0, 1)
    assert "it was imported before, and nothing changed" in capsys.readouterr().out
    # what the hub has is left out, what it refused goes once more
    assert export(hub, "--json") == 0
    (said,) = objects(capsys)
    assert said["known"] == 3
    assert [Path(one["file"]).name[:3] for one in said["files"]] == ["gas"]
    assert said["files"][0]["id"] > gas.id
    assert {one.who for one in hub.hubs.audit.entries()} == {hub_ledger.who()}
    assert hub("log", "verify") == 0


def test_a_lost_file_is_written_again_and_no_day_twice(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(hub, "--json") == 0
    (first,) = objects(capsys)
    for one in first["files"]:
        Path(one["file"]).unlink()
    assert export(hub, "--json") == 0
    (second,) = objects(capsys)
    assert [one["again"] for one in second["files"]] == [True, True]
    assert [one | {"again": False} for one in second["files"]] == first["files"]
    assert hub.hubs.counts("ote")["unknown"] == 2


def test_a_day_that_is_on_its_way_by_itself_is_not_exported(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    hub.hubs.stage("ote", [draft("a", 1)], NOW)
    assert export(hub, "--json") == 0
    (said,) = objects(capsys)
    days = {part.slot.start for one in said["files"] for part in _parts(hub, one["id"]) if part.slot.kind == "active"}
    assert days == {bounds(DAYS[0], 900)[0], bounds(DAYS[2], 900)[0]}


def _parts(place: Place, number: int) -> tuple[PartRow, ...]:
    found = place.hubs.message("ote", number)
    assert found is not None
    return found.parts


def test_nothing_to_export_is_said(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    code = hub("export", "ote", "--from", "2025-01-01", "--to", "2025-01-31", "--folder", str(hub.folder))
    assert code == 1
    assert "nothing to export" in capsys.readouterr().out


def test_an_answer_to_a_message_that_was_never_sent_changes_nothing(
    hub: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    export(hub, "--json")
    (said,) = objects(capsys)
    message = hub.hubs.message("ote", said["files"][0]["id"])
    assert message is not None
    answer = hub.folder / "answer.xml"
    answer.write_text(response(replace(message, document="99999999999999")))
    assert hub("import", "ote", str(answer)) == 1
    assert "was never sent from here" in capsys.readouterr().out
    assert hub.hubs.counts("ote")["unknown"] == 2


# -- permissions -------------------------------------------------------------------------------------------------------

ITEM_I = {
    "permissionId": "p-1",
    "created": "2026-03-01T12:00:00Z",
    "customer": "anna",
    "eligibleParty": "5790000000001",
    "meteringPoint": POINT,
    "product": "active",
    "direction": "combined",
    "readingStart": "2026-03-01T00:00:00+01:00",
    "readingEnd": None,
    "purpose": "energy advice",
    "transmissionSchedule": "daily",
    "maximumLifetime": "2027-03-01T12:00:00Z",
}


def test_items_are_imported_kept_as_they_came_and_shown(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = hub.folder / "item.json"
    file.write_text(json.dumps(ITEM_I, indent=2))
    assert hub("import", "ote", str(file)) == 0
    told = capsys.readouterr().out
    assert "permission p-1: 5790000000001 may have export, import" in told
    assert "nothing goes to hub ote by it: its receiver is not set" in told
    assert hub("import", "ote", str(file)) == 0
    assert "as was known before" in capsys.readouterr().out
    end = {"permissionId": "p-1", "end": "2026-03-05T08:00:00Z", "endReason": "revoked"}
    ended = {"item": "L", "body": end}
    file.write_text(json.dumps([ended, {"item": "X", "body": end}]))
    assert hub("import", "ote", str(file), "--json") == 1, "one of them is no item"
    assert [one["kept"] for one in objects(capsys)[0]["items"]] == [True, False]
    assert hub("permissions") == 0
    assert "ended 2026-03-05T08:00:00Z (L): revoked" in capsys.readouterr().out
    assert hub("permissions", "--json") == 0
    assert objects(capsys)[0][0]["ended"] == "2026-03-05T08:00:00Z"
    assert hub("permissions", "--id", "p-1", "--json") == 0
    assert [json.loads(one["body"]) for one in objects(capsys)] == [ITEM_I, ended]
    found: list[Permission] = hub.hubs.permissions()
    assert found[0].item == "L"
    file.write_text(json.dumps(ITEM_I, indent=2))
    assert hub("import", "ote", str(file)) == 0
    assert capsys.readouterr().out == "permission p-1 ended 2026-03-05T08:00:00Z (item L): nothing goes by it\n"


def test_an_end_that_somebody_removed_is_found(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    file = hub.folder / "item.json"
    ended = {"item": "L", "body": {"permissionId": "p-1", "end": "2026-03-05T08:00:00Z"}}
    for item in (ITEM_I, ended):
        file.write_text(json.dumps(item))
        assert hub("import", "ote", str(file)) == 0
    assert hub("log", "verify") == 0
    hub.file.db.execute("DELETE FROM hub_permission WHERE id = 2")
    capsys.readouterr()
    assert hub("log", "verify", "--json") == 1
    assert objects(capsys)[0]["items"] == [{"permission": "p-1", "item": "L", "entry": 2}]
    assert hub("log", "verify") == 1
    assert "item L of permission p-1, of which entry 2 tells, is not kept" in capsys.readouterr().err


# -- reconcile ---------------------------------------------------------------------------------------------------------


def sums(energy_wh: int | None, **price: str) -> Inbound:
    start, end = bounds(date(2026, 3, 1), 900)[0], bounds(date(2026, 3, 31), 900)[-1]
    fact = {"start": start, "end": end, "point_type": "E17", "grid_area": "804", "energy_wh": energy_wh, "sure": True}
    return Inbound(f"m-{energy_wh}-{price}", "rsm-019", b"{}", "application/json", facts={"sums": [fact | price]})


def test_sums_of_the_hub_are_compared_with_ours(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert hub("reconcile", "dk", "--month", "2026-03") == 1
    assert "hub dk has told nothing of 2026-03: ask for it" in capsys.readouterr().out
    ours = sum(n % 500 for n in range(3 * 96))
    hub.hubs.inbound("dk", sums(ours - 7), [], 1_775_000_000)
    assert hub("reconcile", "dk", "--month", "2026-03", "--json") == 1
    (told,) = objects(capsys)
    (one,) = told["sums"]
    assert (one["ours_wh"], one["theirs_wh"], one["difference_wh"]) == (ours, ours - 7, 7)
    assert (one["points"], one["intervals_lacking"]) == (1, 28 * 96 - 4)
    hub.hubs.inbound("dk", sums(ours), [], 1_775_000_001)
    assert hub("reconcile", "dk", "--month", "2026-03") == 0, "the last word counts"
    assert "804" in capsys.readouterr().out
    assert hub("reconcile", "dk", "--month", "2026-02") == 1


def test_prices_of_one_id_are_told_apart_by_their_owner_and_type(
    hub: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = sum(n % 500 for n in range(3 * 96))
    hub.hubs.inbound(
        "dk", sums(ours - 7, price_id="1", price_type="D03", price_owner="5790001330552"), [], 1_775_000_000
    )
    hub.hubs.inbound("dk", sums(ours, price_id="1", price_type="D03", price_owner="5799999933318"), [], 1_775_000_001)
    hub.hubs.inbound("dk", sums(ours, price_id="1", price_type="D01", price_owner="5799999933318"), [], 1_775_000_002)
    assert hub("reconcile", "dk", "--month", "2026-03", "--json") == 1
    (told,) = objects(capsys)
    assert [one["difference_wh"] for one in told["sums"]] == [7, 0, 0]
    assert told["sums"][0]["price"] == ["5790001330552", "D03", "1"]
    assert hub("reconcile", "dk", "--month", "2026-03") == 1
    assert "price 5790001330552 D03 1; 1 points" in capsys.readouterr().out


def test_a_person_needs_none_of_the_secrets(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    tables = hub.config.read_text().replace('party = "5799999933318"', 'party = "5799999933318"\nca_file = "absent"')
    hub.config.write_text(tables + '[mqtt]\npassword_file = "absent"\nusername = "u"\n')
    for action in (("status",), ("show", "dk"), ("request", "dk"), ("permissions",), ("log", "verify")):
        hub(*action)
        assert "cannot be read" not in capsys.readouterr().err, action


def test_a_hub_that_tells_nothing_says_whether_it_could(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert hub("reconcile", "ote", "--month", "2026-03") == 1
    assert "2026-03: a hub of kind cz-ote takes readings and tells none" in capsys.readouterr().out


PND = """
[[hub]]
name = "pnd"
kind = "cz-pnd"
listen = "127.0.0.1:0"
points = ["{point}"]
legal_basis = "our own data"
"""


@pytest.fixture
def told(hub: Place) -> Callable[[str, int], None]:
    """Have PND tell a day, with so many kW in its first quarter-hour beyond what is stored."""
    hub.config.write_text(hub.config.read_text() + PND.format(point=POINT))

    def tell(name: str, more_w: int) -> None:
        first = bounds(DAYS[0], 900)[0]
        kept = {
            one.start: one.quantity or 0 for one in IntervalStore(hub.file).current(KEY, "PT15M", first, first + 86_400)
        }
        starts = sorted(kept)

        def kw(n: int) -> tuple[str, str]:
            watts = kept[starts[n]] * 4 + (more_w if n == 0 else 0)
            return f"{watts // 1000}.{watts % 1000:03}", "naměřená data OK"

        body = delivery([DAYS[0]], name=name, points=[POINT], value=kw)
        hub.hubs.inbound("pnd", Inbound(name, "measured-data", body, CONTENT_TYPE), [], 1_775_000_000)

    return tell


KEY = SeriesRow("main", 0, "active", "import", "Wh", 0, "electricity").key


def test_intervals_of_the_hub_are_compared_with_ours(
    hub: Place, told: Callable[[str, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    told("d-1", 400)
    assert hub("reconcile", "pnd", "--month", "2026-03", "--json") == 1
    (said,) = objects(capsys)
    (point,) = said["points"]
    assert point["point"] == POINT
    first = point["days"][0]
    assert (first["day"], first["difference_wh"], first["differs"]) == ("2026-03-01", "-100", 1)
    energies = [{one[key] for key in ("ours_wh", "theirs_wh", "difference_wh")} for one in point["days"][1:]]
    assert energies == [{None}, {None}], "a day that the hub told nothing of has no energy to compare, and not 0"
    assert not said["agrees"]
    told("d-2", 0)
    hub("reconcile", "pnd", "--month", "2026-03", "--json")
    (said,) = objects(capsys)
    assert "2026-03-01" not in [one["day"] for one in said["points"][0]["days"]], "what was told last counts"


def test_what_the_hub_tells_and_we_have_nothing_of_is_said(
    hub: Place, told: Callable[[str, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    told("d-1", 0)
    for point in (ean(3), ean(4)):
        body = delivery([DAYS[0]], name=f"d-{point}", points=[point])
        hub.hubs.inbound("pnd", Inbound(f"d-{point}", "measured-data", body, CONTENT_TYPE), [], 1_775_000_000)
    hub.config.write_text(hub.config.read_text() + f'[[point]]\nmeter = "main"\nchannel = 2\nid = "{ean(3)}"\n')
    assert hub("reconcile", "pnd", "--month", "2026-03") == 1
    *_, configured, foreign = capsys.readouterr().out.splitlines()
    assert configured == f"the hub tells of {ean(3)} import, of which nothing is stored here"
    assert foreign == f"the hub tells of {ean(4)} import, which is no point of the configuration"
    assert hub("reconcile", "pnd", "--month", "2026-01") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("hub pnd has told nothing of 2026-01: ")


# -- log ---------------------------------------------------------------------------------------------------------------


def test_the_log_is_printed_and_verified(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rejected(hub)
    assert hub("log") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "document=doc-a" in lines[0]
    assert hub("log", "--json", "--hub", "ote", "--since", "2026-03-04T04:53:22Z") == 0
    assert [one["what"] for one in objects(capsys)] == ["answer"]
    assert hub("log", "verify") == 0
    assert capsys.readouterr().out == "2 entries, all as they were written\n"
    hub.file.db.execute("DELETE FROM hub_event WHERE id = 1")
    assert hub("log", "verify", "--json") == 1
    (told,) = objects(capsys)
    assert [one["id"] for one in told["breaks"]] == [1]
    assert hub("log", "verify") == 1
    assert "entry 1 is missing" in capsys.readouterr().err


def test_bytes_that_somebody_changed_are_found(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    made = rejected(hub)
    sealed = hub_rows.pack_bytes(b"<another body>", "hub_body", made.id)
    hub.file.db.execute("UPDATE hub_body SET data = ?", (sealed,))
    assert hub("log", "verify") == 1
    assert f"the bytes of message {made.id} are not those that entry 1 tells of" in capsys.readouterr().err
    hub.hubs.prune("ote", 1 << 40)
    assert hub("log", "verify") == 0, "what is kept no more is not compared"


def test_a_command_works_beside_a_running_process(hub: Place, checkout: Path) -> None:
    """Two processes: this one has the ledger open and writes, the other one cancels."""
    made = hub.hubs.stage("ote", [draft("a")], NOW)[0]
    command = ["hub", "cancel", "ote", str(made.id), "--reason", "x", "-c", str(hub.config)]
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *command], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    hub.hubs.say("run", "ote", "uploader", 1_772_600_000, {})
    found = hub.hubs.message("ote", made.id)
    assert found is not None
    assert found.state == "dead"
    assert hub.hubs.audit.verify() == []


def test_an_export_that_a_death_cut_short_is_finished_by_the_next(
    hub: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr("gateway.commands.hub_carry._write", dies)
        assert export(hub) == 130
    assert hub.hubs.counts("ote")["new"] == 2
    assert hub.hubs.open("ote", 1 << 39) == [], "the uploader leaves them alone"
    assert export(hub, "--json") == 0
    (said,) = objects(capsys)
    assert [one["id"] for one in said["files"]] == [1, 2]
    assert hub.hubs.counts("ote")["unknown"] == 2


def test_lost_messages_are_shown_and_retried(hub: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rejected(hub)
    hub.file.close()
    with sqlite3.connect(hub.ledger) as db:
        for name in ("hub_part", "hub_slot", "hub_message", "hub_body"):
            db.execute(f"DELETE FROM {name}")
    db.close()
    hub.file = open_ledger(hub.ledger, open_ledger(hub.ledger).file.identity, "the test says so").file
    hub.hubs = HubStore(hub.file, lambda: NOW)
    hub.hubs.recover("ote", NOW)
    assert hub("status", "ote", "--json") == 1
    (number,) = objects(capsys)[0]["hubs"][0]["waiting_for_a_person"]
    assert hub("cancel", "ote", str(number), "--reason", "x") == 1
    assert "retry it, or leave it" in capsys.readouterr().err
    assert hub("retry", "ote", str(number)) == 0
    assert "restart meterd-uploader" in capsys.readouterr().out
    assert hub("log", "verify") == 0


def test_no_file_is_made_by_a_permission_while_its_administrator_is_silent(
    hub: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = 'permissions_url = "https://localhost:1"\npermissions_party = "5790000000001"\n'
    ground = f'points = ["{POINT}", "{GAS}"]\nlegal_basis = "a contract of supply"\n'
    hub.config.write_text(hub.config.read_text().replace(ground, heard))
    file = hub.folder / "item.json"
    file.write_text(json.dumps(ITEM_I | {"maximumLifetime": "2090-03-01T12:00:00Z"}))
    assert hub("import", "ote", str(file)) == 0
    assert "nothing goes" not in capsys.readouterr().out
    assert export(hub) == 1
    assert "the permission administrator was not heard" in "".join(capsys.readouterr())
    assert sum(hub.hubs.counts("ote").values()) == 0
    hub.hubs.remember("ote", "permissions.heard", b"%d" % time.time())
    assert export(hub) == 0
    assert sum(hub.hubs.counts("ote").values()) == 1
