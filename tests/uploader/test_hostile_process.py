"""`meterd uploader` as one process before many hubs that lie, break off, and send whatever they like, over TLS.

Denmark and the common European format, and what HTTP, TLS and tokens can do to every family; the other families are
in test_hostile_families. Whatever a hub answers: a stored state, one line in the log that says what is wrong, never
another message, and bounded memory.
"""

import json
import subprocess
import sys

import pytest

from gateway.stores.hubs import HubReader
from tests.hubs.test_dk_inbox import acknowledgement
from tests.hubs.test_eu_vhd import ack
from tests.raw_hub import Answer, ok
from tests.uploader import hostile
from tests.uploader.hostile import (
    BAD,
    BOMB,
    DEEP_JSON,
    DEEP_XML,
    EMPTY,
    EXTERNAL,
    JSON,
    LIMIT_S,
    TAKEN,
    XML,
    By,
    Case,
    Hub,
    Scene,
    drip,
    endless,
    flood,
    never,
    silence,
    token_of,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(LIMIT_S)]


def refused(code: str, text: str) -> bytes:
    return ok(json.dumps({"Error": {"Code": code, "Message": text}}).encode(), JSON, status=BAD)


def bundle(body: bytes, kind: str = JSON, name: str = "b1") -> bytes:
    return ok(body, kind, f"MessageId: {name}")


def first_401(hub: Hub, name: str, path: str) -> Answer:
    """The token has ended: once."""
    return ok(status="401 Unauthorized") if len(hub.got[name, "POST"]) == 1 else TAKEN


def stranger(hub: Hub, name: str, path: str) -> Answer:
    """A reject of a message that nobody sent, until it is dequeued."""
    if "Timeseries" not in path or hub.got[name, "DELETE"]:
        return EMPTY
    return bundle(acknowledgement("never-sent\x1b[31m", ("t", ("E10",))))


def again(hub: Hub, name: str, path: str) -> Answer:
    """What it said yesterday, again and again, whatever is dequeued."""
    return bundle(acknowledgement("never-sent", ("t", ("E10",)))) if "Timeseries" in path else EMPTY


def late_reject(hub: Hub, name: str, path: str) -> Answer:
    """A reject of what was believed to be taken."""
    if "Timeseries" not in path or hub.got[name, "DELETE"] or not hub.since(name, 6):
        return EMPTY
    message = json.loads(hub.got[name, "POST"][0])["NotifyValidatedMeasureData_MarketDocument"]
    return bundle(acknowledgement(message["mRID"], (message["Series"][0]["mRID"], ("E17",))))


def other_ack(hub: Hub, name: str, path: str) -> Answer:
    return EMPTY if hub.got[name, "DELETE"] else ok(ack("A01", document="another"), XML, "MessageId: a1")


CASES: dict[str, Case] = {
    # what is no answer
    "100-mb": Case(flood, says="more than 16777216 octets"),
    "no-end": Case(endless, says="more than 16777216 octets"),
    "drip": Case(drip, says="did not finish", more={"timeout_s": 2}),
    "silent": Case(silence, says="did not answer within", more={"timeout_s": 2}),
    "gzip-bomb": Case(ok(b"\x1f\x8b\x08\x00" * 9, JSON, "Content-Encoding: gzip", status=BAD), says="compressed"),
    # what cannot be read
    "utf-16": Case(ok('{"Error":{"Code":"E10"}}'.encode("utf-16"), JSON, status=BAD), says="not in UTF-8"),
    "ebcdic": Case(ok(b'<?xml version="1.0" encoding="cp037"?><a/>', XML, status=BAD), says="in cp037"),
    "entities": Case(ok(BOMB, XML, status=BAD), says="document type"),
    "external": Case(
        By(lambda hub, name, path: ok(EXTERNAL % f"{hub.url}/fetched".encode(), XML, status=BAD)), says="document type"
    ),
    "deep-json": Case(ok(DEEP_JSON, JSON, status=BAD), says="nested"),
    "deep-xml": Case(ok(DEEP_XML, XML, status=BAD), says="no XML"),
    "nan": Case(ok(b'{"Error":{"Code":"E10","Message":"a","X":NaN}}', JSON, status=BAD), says="NaN"),
    "twice": Case(ok(b'{"Error":{"Code":"E10"},"Error":{"Code":"00101"}}', JSON, status=BAD), says="a key twice"),
    "nul": Case(ok(b'\x00{"Error":{"Code":"E10"}}', JSON, status=BAD), says="no JSON"),
    "html": Case(ok(b"<html>login</html>", "Content-Type: text/html"), says="202 and no other"),
    "302": Case(ok(b"", "Location: https://localhost:1/", status="302 Found"), "new", "redirects are not followed"),
    "ansi": Case(refused("E10\x1b[1m", "\x1b[2J\x00no\nsuch\u202epoint\x07"), "rejected", "E10 [1m [2J no such point"),
    # tokens
    "token-ends": Case(By(first_401), "accepted", lines=0),
    "token-refused": Case(ok(status="401 Unauthorized"), "new", "status 401"),
    "token-html": Case(never, "new", "no JSON", ok(b"<html>")),
    "token-splits": Case(never, "new", "no bearer token", token_of("a\r\nX: y")),
    "token-short": Case(never, "new", "ends at once", token_of("a", -1)),
    "token-flood": Case(never, "new", "more than 65536 octets", flood),
    "token-hangs": Case(never, "new", "did not answer within", silence, more={"timeout_s": 2}),
    "token-ansi": Case(never, "blocked", "status 400", ok(b'{"error":"\\u001b[2J"}', JSON, status=BAD)),
    # queues that lie
    "stranger": Case(state="accepted", says="never sent", get=By(stranger)),
    "again": Case(state="accepted", says="comes again and again", get=By(again), lines=2),
    "late-reject": Case(state="rejected", says="E17", get=By(late_reject), more={"confirm_after_s": 1}),
    "queue-flood": Case(state="accepted", says="more than 16777216 octets", get=flood),
    "queue-bomb": Case(state="accepted", says="document type", get=bundle(BOMB, XML), lines=2),
    # other hubs
    "eu-foreign": Case(ok(ack("A01", document="another"), XML), says="another document", kind="eu-vhd"),
    "eu-bomb": Case(ok(BOMB, XML), says="document type", kind="eu-vhd"),
    "eu-refused": Case(ok(ack("A01", document=None), XML, status=BAD), says="refuses what", kind="eu-vhd"),
    "eu-stranger": Case(state="accepted", says="never sent", get=By(other_ack), kind="eu-vhd"),
    # certificates
    "hub-expired": Case(never, "blocked", "its certificate has expired", at="expired"),
    "hub-foreign": Case(never, "blocked", "of no authority that is believed here", at="foreign"),
    "hub-other": Case(never, "blocked", "is for another host name", at="other"),
    "ours-none": Case(never, "blocked", "wants a client certificate", at="mutual"),
    "ours-foreign": Case(never, "blocked", "does not accept our certificate", at="mutual", more={"cert": "foreign"}),
    "ours-expired": Case(never, "blocked", "expired", at="mutual", more={"cert": "expired"}, lines=2),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One run before all hubs."""
    return hostile.run(tmp_path_factory.mktemp("hostile"), CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_state_and_a_line_and_no_other_message(scene: Scene, name: str) -> None:
    case = CASES[name]
    assert scene.states[name] == {case.state: 1}
    # a hub that does not serve us for long is told of once more, and on a slow machine that takes a while
    assert case.lines <= len(scene.lines[name]) <= case.lines + 4, scene.lines[name]
    assert case.says in "\n".join(scene.lines[name])
    # whatever went out again were the same octets
    assert len(set(scene.hub.got[name, "POST"])) == (case.post is not never)


def test_one_token_more_where_one_ended(scene: Scene) -> None:
    assert len(scene.hub.got["token-ends", "TOKEN"]) == 2
    assert len(scene.hub.got["token-ends", "POST"]) == 2
    assert len(scene.hub.got["token-refused", "TOKEN"]) == 2


def test_nothing_is_fetched_and_memory_is_bounded(scene: Scene) -> None:
    assert not scene.hub.got["fetched", "GET"]
    assert scene.peak_kib < 250 << 10
    assert "Traceback" not in scene.one.log
    assert "hub_crashed" not in scene.one.log
    reader = HubReader(scene.one.ledger)
    try:
        assert not reader.audit.verify()
    finally:
        reader.close()


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("show", "ansi"), ("show", "stranger")])
def test_what_hubs_said_is_shown_without_its_escapes(scene: Scene, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "gateway.cli", "hub", *arguments, "-c", scene.one.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    shown = done.stdout + done.stderr + scene.one.log
    assert len(done.stdout) > 20
    assert all(sign == "\n" or sign.isprintable() for sign in shown)
