"""`meterd uploader` as one process before many hubs that lie, break off, and send whatever they like, over TLS.

Each has a path of its own, and takes the same day. Whatever it answers: a stored state, one line in the log that says
what is wrong, never another message, and bounded memory.
"""

import json
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.stores.hubs import HubReader
from gateway.uploader.serving import STATUS
from tests.certificates import Authority
from tests.hubs.test_dk_inbox import acknowledgement
from tests.hubs.test_eu_vhd import ack
from tests.raw_hub import Answer, RawHub, ok
from tests.uploader.lying import POINT
from tests.uploader.processes import Uploader, until

pytestmark = pytest.mark.e2e

JSON, XML = "Content-Type: application/json", "Content-Type: application/xml"
TAKEN, EMPTY = ok(status="202 Accepted"), ok(status="204 No Content")
BAD = "400 Bad Request"
#: until every case has come to its end (s)
DEADLINE_S = 75
#: an entity that stands for 5 x 10^9 characters, and two that are fetched from elsewhere
BOMB = (
    b"<!DOCTYPE a ["
    + b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"ha" * 5) for n in range(9))
    + b"]><Error><Code>&e8;</Code></Error>"
)
EXTERNAL = b"""<!DOCTYPE a SYSTEM "%s" [<!ENTITY x SYSTEM "file:///etc/hostname">]><Error><Code>&x;</Code></Error>"""


class By(NamedTuple):
    """An answer by what was asked: hub, name of the case, path."""

    make: Callable[["Hub", str, str], Answer]


class Case(NamedTuple):
    """What a hub answers to a message, to a token request and to a visit of its queue; what comes of it."""

    post: Answer | By = TAKEN
    #: of the message; "blocked": of the hub, which was found so before there was one
    state: str = "unknown"
    #: words of the one line in the log that tells it
    says: str = ""
    token: Answer | By | None = None
    get: Answer | By = EMPTY
    #: keys of [[hub]] that differ
    more: Mapping[str, object] = {}
    #: at which server it is
    at: str = "sound"
    kind: str = "dk-datahub3"
    lines: int = 1


def flood(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(1_600):
        sock.sendall(b"x" * 65_536)


def endless(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        sock.sendall(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")


def drip(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1_000):
        sock.sendall(b"x")
        time.sleep(0.05)


def silence(sock: socket.socket) -> None:
    sock.settimeout(60)
    while sock.recv(1_000):
        pass


def token_of(token: str, lasts_s: int = 900) -> bytes:
    return ok(json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": lasts_s}).encode(), JSON)


def refused(code: str, text: str) -> bytes:
    return ok(json.dumps({"Error": {"Code": code, "Message": text}}).encode(), JSON, status=BAD)


def bundle(body: bytes, kind: str = JSON, name: str = "b1") -> bytes:
    return ok(body, kind, f"MessageId: {name}")


def first_401(hub: "Hub", name: str, path: str) -> Answer:
    """The token has ended: once."""
    return ok(status="401 Unauthorized") if len(hub.got[name, "POST"]) == 1 else TAKEN


def stranger(hub: "Hub", name: str, path: str) -> Answer:
    """A reject of a message that nobody sent, until it is dequeued."""
    if "Timeseries" not in path or hub.got[name, "DELETE"]:
        return EMPTY
    return bundle(acknowledgement("never-sent\x1b[31m", ("t", ("E10",))))


def again(hub: "Hub", name: str, path: str) -> Answer:
    """What it said yesterday, again and again, whatever is dequeued."""
    return bundle(acknowledgement("never-sent", ("t", ("E10",)))) if "Timeseries" in path else EMPTY


def late_reject(hub: "Hub", name: str, path: str) -> Answer:
    """A reject of what was believed to be taken."""
    if "Timeseries" not in path or hub.got[name, "DELETE"] or not hub.since(name, 6):
        return EMPTY
    message = json.loads(hub.got[name, "POST"][0])["NotifyValidatedMeasureData_MarketDocument"]
    return bundle(acknowledgement(message["mRID"], (message["Series"][0]["mRID"], ("E17",))))


def other_ack(hub: "Hub", name: str, path: str) -> Answer:
    return EMPTY if hub.got[name, "DELETE"] else ok(ack("A01", document="another"), XML, "MessageId: a1")


def never(sock: socket.socket) -> None:
    raise AssertionError("the uploader sends nothing here")


EU = {"party": "10X1001A1001A39W", "receiver": "11XTSO-CH------O", "role": "A26"}
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
    "deep-json": Case(ok(b"[" * 100_000 + b"]" * 100_000, JSON, status=BAD), says="nested"),
    "deep-xml": Case(ok(b"<a>" * 100_000 + b"</a>" * 100_000, XML, status=BAD), says="no XML"),
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
    "eu-foreign": Case(ok(ack("A01", document="another"), XML), says="another document", kind="eu-vhd", more=EU),
    "eu-bomb": Case(ok(BOMB, XML), says="document type", kind="eu-vhd", more=EU),
    "eu-refused": Case(ok(ack("A01", document=None), XML, status=BAD), says="refuses what", kind="eu-vhd", more=EU),
    "eu-stranger": Case(state="accepted", says="never sent", get=By(other_ack), kind="eu-vhd", more=EU),
    # certificates
    "hub-expired": Case(never, "blocked", "its certificate has expired", at="expired"),
    "hub-foreign": Case(never, "blocked", "of no authority that is believed here", at="foreign"),
    "hub-other": Case(never, "blocked", "is for another host name", at="other"),
    "ours-none": Case(never, "blocked", "wants a client certificate", at="mutual"),
    "ours-foreign": Case(never, "blocked", "does not accept our certificate", at="mutual", more={"cert": "foreign"}),
    "ours-expired": Case(never, "blocked", "expired", at="mutual", more={"cert": "expired"}, lines=2),
}  # fmt: skip


class Hub:
    """Answers each case under a path of its own, and keeps what was sent there."""

    def __init__(self, cases: Mapping[str, Case]) -> None:
        self.cases = cases
        self.url = ""
        #: by case and method: bodies, or paths where there is none
        self.got: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._first: dict[str, float] = {}

    def since(self, name: str, s: float) -> bool:
        """Whether a message came, so long ago."""
        return name in self._first and time.monotonic() > self._first[name] + s

    def __call__(self, request: bytes) -> Answer:
        head, _, body = request.partition(b"\r\n\r\n")
        method, path = head.decode().split(" ", 2)[:2]
        name, _, rest = path.lstrip("/").partition("/")
        what = "TOKEN" if rest == "token" else method
        self.got[name, what].append(body or path.encode())
        case = self.cases.get(name)
        if case is None:
            return ok(status="404 Not Found")
        if what == "POST":
            self._first.setdefault(name, time.monotonic())
        answer = {"TOKEN": case.token or token_of("t"), "POST": case.post, "GET": case.get}.get(what, ok())
        return answer.make(self, name, path) if isinstance(answer, By) else answer


def table(name: str, case: Case, url: str, folder: Path, first: str) -> str:
    """[[hub]] of a case."""
    values: dict[str, object] = {
        "name": name, "kind": case.kind, "url": f"{url}/{name}", "ca_file": f"{folder}/ca/ca.pem", "points": [POINT],
        "legal_basis": "a test", "party": "5799999933318", "role": "MDR", "at": "00:00", "jitter_s": 0,
        "requests_per_minute": 6_000, "inbox_s": 1, "since": first, "timeout_s": 60,
    }  # fmt: skip
    if case.kind == "dk-datahub3":
        values |= {"token_url": f"{url}/{name}/token", "client_id": "c", "client_secret_file": f"{folder}/secret"}
    values |= case.more
    if (cert := values.pop("cert", None)) is not None:
        values |= {"cert_file": f"{folder}/{cert}/client.pem", "key_file": f"{folder}/{cert}/client.key"}
    return "".join(("[[hub]]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items())))


class Scene(NamedTuple):
    """What is left of the run."""

    one: Uploader
    hub: Hub
    #: by case: message states with how many there are, lines of the log above `info`
    states: Mapping[str, Mapping[str, int]]
    lines: Mapping[str, list[str]]
    peak_kib: int


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """One run before all hubs, until each case has come to its state, and its line is in the log."""
    folder = tmp_path_factory.mktemp("hostile")
    authority, foreign = Authority(folder / "ca", days=60), Authority(folder / "foreign", "another", days=60)
    foreign.sign("client", days=60)
    (folder / "expired").mkdir()
    old = authority.sign("client", start=-3, days=-1)
    old.cert.rename(folder / "expired" / "client.pem")
    old.key.rename(folder / "expired" / "client.key")
    pairs = {
        "sound": authority.sign("server"),
        "expired": authority.sign("old", start=-3, days=-1),
        "other": authority.sign("other", hosts=("hub.example",)),
        "foreign": foreign.sign("server"),
    }
    secret = folder / "secret"
    secret.write_text("s")
    secret.chmod(0o400)
    hub = Hub(CASES)
    with ExitStack() as stack:
        raw = {name: stack.enter_context(RawHub(pair, answers=hub)) for name, pair in pairs.items()}
        raw["mutual"] = stack.enter_context(RawHub(pairs["sound"], clients=authority, answers=hub))
        hub.url = raw["sound"].url
        one = Uploader(folder, 0, folder, days=1)
        head = one.config.read_text().partition("[[hub]]")[0]
        tables = [table(name, case, raw[case.at].url, folder, str(one.dates[0])) for name, case in CASES.items()]
        one.config.write_text(head + "".join(tables))
        one.start()
        try:
            with suppress(AssertionError):  # each test says what is missing
                until(lambda: not missing(one), "every case", DEADLINE_S)
            status = Path(f"/proc/{one.process.pid}/status").read_text()
            assert one.end() < 5.0
        finally:
            one.kill()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    return Scene(
        one, hub, {name: states(one, name) for name in CASES}, {name: lines(one, name) for name in CASES}, peak
    )


def states(one: Uploader, name: str) -> dict[str, int]:
    reader = HubReader(one.ledger)
    try:
        said = json.loads(reader.note(name, STATUS) or b"{}")
        found = {state: count for state, count in reader.counts(name).items() if count}
        return found or {said.get("state"): 1}
    finally:
        reader.close()


def lines(one: Uploader, name: str) -> list[str]:
    return [line for line in one.log.splitlines() if f" hub={name} " in line and " level=info " not in line]


def missing(one: Uploader) -> list[str]:
    """Cases that are not where they are to come."""
    return [
        name
        for name, case in CASES.items()
        if states(one, name) != {case.state: 1} or len(lines(one, name)) < case.lines
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CASES)
def test_a_state_and_a_line_and_no_other_message(scene: Scene, name: str) -> None:
    case = CASES[name]
    assert scene.states[name] == {case.state: 1}
    assert len(scene.lines[name]) == case.lines, scene.lines[name]
    assert case.says in "\n".join(scene.lines[name])
    # whatever went out again were the same octets
    assert len(set(scene.hub.got[name, "POST"])) == (case.post is not never)


@pytest.mark.timeout(180)
def test_one_token_more_where_one_ended(scene: Scene) -> None:
    assert len(scene.hub.got["token-ends", "TOKEN"]) == 2
    assert len(scene.hub.got["token-ends", "POST"]) == 2
    assert len(scene.hub.got["token-refused", "TOKEN"]) == 2


@pytest.mark.timeout(180)
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


@pytest.mark.timeout(180)
@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("show", "ansi"), ("show", "stranger")])
def test_what_hubs_said_is_shown_without_its_escapes(scene: Scene, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "gateway.cli", "hub", *arguments, "-c", scene.one.config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    shown = done.stdout + done.stderr + scene.one.log
    assert len(done.stdout) > 20
    assert all(sign == "\n" or sign.isprintable() for sign in shown)
