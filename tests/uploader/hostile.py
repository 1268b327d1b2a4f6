"""Hubs that lie, break off and send whatever they like: each has a path of its own, and takes the same day.

What the files of hostile hubs share: a case, what it answers, and one run of `meterd uploader` before all of them.
"""

import json
import re
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gateway.stores.hubs import HubReader
from gateway.uploader.serving import STATUS
from tests.certificates import Authority
from tests.raw_hub import Answer, RawHub, ok
from tests.uploader.lying import POINT
from tests.uploader.processes import Uploader, until

JSON, XML, SOAP = "Content-Type: application/json", "Content-Type: application/xml", "Content-Type: text/xml"
TAKEN, EMPTY = ok(status="202 Accepted"), ok(status="204 No Content")
BAD = "400 Bad Request"
#: until every case has come to its end, and the time limit of a test that may wait for it (s): some 10 on two cores
DEADLINE_S = 240
LIMIT_S = 300
#: an entity that stands for 5 x 10^9 characters, and two that are fetched from elsewhere
BOMB = (
    b"<!DOCTYPE a ["
    + b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"ha" * 5) for n in range(9))
    + b"]><Error><Code>&e8;</Code></Error>"
)
EXTERNAL = b"""<!DOCTYPE a SYSTEM "%s" [<!ENTITY x SYSTEM "file:///etc/hostname">]><Error><Code>&x;</Code></Error>"""
DEEP_JSON, DEEP_XML = b"[" * 100_000 + b"]" * 100_000, b"<a>" * 100_000 + b"</a>" * 100_000
#: keys of [[hub]] by its kind
METER, SUPPLY, OBJECT = "38ZEE-1000009--Z", "859182400000000012", "99999917"
OF_KIND: Mapping[str, Mapping[str, object]] = {
    "dk-datahub3": {"points": [POINT], "party": "5799999933318", "role": "MDR"},
    "eu-vhd": {"points": [POINT], "party": "10X1001A1001A39W", "receiver": "11XTSO-CH------O", "role": "A26"},
    "ee-estfeed": {"points": [METER], "party": "38X-EIN-ALL----B", "role": "GRID_OPERATOR"},
    "cz-ote": {"points": [SUPPLY], "party": "8591824000991"},
    "lt-eso": {"points": [OBJECT]},
}
_WITH_TOKEN = ("dk-datahub3", "ee-estfeed", "lt-eso")


class By(NamedTuple):
    """An answer by what was asked: hub, name of the case, path."""

    make: Callable[["Hub", str, str], Answer]


class Case(NamedTuple):
    """What a hub answers to a message, to a token request, to a question or visit of its queue; what comes of it."""

    post: Answer | By = TAKEN
    #: of the message; "blocked": of the hub, which was found so before there was one
    state: str = "unknown"
    #: words of the lines in the log that tell it
    says: str = ""
    token: Answer | By | None = None
    get: Answer | By = EMPTY
    #: keys of [[hub]] that differ
    more: Mapping[str, object] = {}
    #: at which server it is
    at: str = "sound"
    kind: str = "dk-datahub3"
    lines: int = 1
    #: to a request for a list
    list: Answer | By = ok(status="404 Not Found")


# -- answers -----------------------------------------------------------------------------------------------------------


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


def continues(sock: socket.socket) -> None:
    """It is about to answer, and says so for ever."""
    while True:
        sock.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 20)
        time.sleep(0.02)


def never(sock: socket.socket) -> None:
    raise AssertionError("the uploader sends nothing here")


def token_of(token: str, lasts_s: int = 900) -> bytes:
    return ok(json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": lasts_s}).encode(), JSON)


def said(value: Any, *headers: str, status: str = "200 OK") -> bytes:
    """A value as JSON."""
    return ok(json.dumps(value).encode(), JSON, *headers, status=status)


# -- hub ---------------------------------------------------------------------------------------------------------------


class Hub:
    """Answers each case under a path of its own, and keeps what was sent there."""

    def __init__(self, cases: Mapping[str, Case]) -> None:
        self.cases = cases
        self.url = ""
        #: by case and method: bodies, or paths where there is none; LIST and TOKEN are apart
        self.got: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._first: dict[str, float] = {}

    def since(self, name: str, s: float) -> bool:
        """Whether a message came, so long ago."""
        return name in self._first and time.monotonic() > self._first[name] + s

    def __call__(self, request: bytes) -> Answer:
        head, _, body = request.partition(b"\r\n\r\n")
        method, path = head.decode().split(" ", 2)[:2]
        name, _, rest = path.lstrip("/").partition("/")
        what = "TOKEN" if rest == "token" else "LIST" if rest.partition("?")[0].endswith("/list") else method
        self.got[name, what].append(path.encode() if what == "LIST" else body or path.encode())
        case = self.cases.get(name)
        if case is None:
            return ok(status="404 Not Found")
        if what == "POST":
            self._first.setdefault(name, time.monotonic())
        answers = {"TOKEN": case.token or token_of("t"), "POST": case.post, "GET": case.get, "LIST": case.list}
        answer = answers.get(what, ok())
        return answer.make(self, name, path) if isinstance(answer, By) else answer


def table(name: str, case: Case, url: str, folder: Path, first: str) -> str:
    """[[hub]] of a case."""
    values: dict[str, object] = {
        "name": name, "kind": case.kind, "url": f"{url}/{name}", "ca_file": f"{folder}/ca/ca.pem",
        "legal_basis": "a test", "at": "00:00", "jitter_s": 0, "requests_per_minute": 6_000, "inbox_s": 1,
        "timeout_s": 60, **OF_KIND[case.kind],
    }  # fmt: skip
    if case.kind != "lt-eso":
        values["since"] = first
    if case.kind in _WITH_TOKEN:
        values |= {"token_url": f"{url}/{name}/token", "client_id": "c", "client_secret_file": f"{folder}/secret"}
    values |= case.more
    if (cert := values.pop("cert", None)) is not None:
        values |= {"cert_file": f"{folder}/{cert}/client.pem", "key_file": f"{folder}/{cert}/client.key"}
    return "".join(("[[hub]]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in values.items())))


# -- run ---------------------------------------------------------------------------------------------------------------


class Scene(NamedTuple):
    """What is left of the run."""

    one: Uploader
    hub: Hub
    #: by case: message states with how many there are, lines of the log above `info`
    states: Mapping[str, Mapping[str, int]]
    lines: Mapping[str, list[str]]
    peak_kib: int
    #: longest wait of an open message, by case (s)
    waits: Mapping[str, int]


def run(
    folder: Path,
    cases: Mapping[str, Case],
    *,
    others: Callable[[Any], Mapping[str, AbstractContextManager[Any]]] = lambda _: {},
    meters: Callable[[Path], str] = lambda _: "",
    fill: Callable[[Uploader], None] = lambda _: None,
    during: Callable[[Uploader], None] = lambda _: None,
) -> Scene:
    """One run before all hubs, until each case has come to its state, and its line is in the log.

    `others` makes servers by name, with a certificate, beside those of HTTPS; `meters` gives more tables of the
    configuration, `fill` stores their days, and `during` does something of its own meanwhile.
    """
    authority, pairs = _certificates(folder)
    hub = Hub(cases)
    with ExitStack() as stack:
        raw: dict[str, Any] = {name: stack.enter_context(RawHub(pair, answers=hub)) for name, pair in pairs.items()}
        raw["mutual"] = stack.enter_context(RawHub(pairs["sound"], clients=authority, answers=hub))
        raw |= {name: stack.enter_context(one) for name, one in others(pairs["sound"]).items()}
        hub.url = raw["sound"].url
        one = Uploader(folder, 0, folder, days=1)
        head = one.config.read_text().partition("[[hub]]")[0]
        tables = [table(name, case, raw[case.at].url, folder, str(one.dates[0])) for name, case in cases.items()]
        one.config.write_text("".join((head, meters(folder), *tables)))
        fill(one)
        one.start()
        found: dict[str, dict[str, int]] = {}

        def is_over() -> bool:
            # now, and not behind the end: it may come while a message is sent again, whose outcome nobody knows then
            found.update((name, states(one, name)) for name in cases)
            return one.process.poll() is not None or not missing(one, cases, found)

        try:
            during(one)
            with suppress(AssertionError):  # each test says what is missing
                until(is_over, "every case", DEADLINE_S)
            assert one.process.poll() is None, one.log
            status = Path(f"/proc/{one.process.pid}/status").read_text()
            one.end()
        finally:
            one.kill()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    return Scene(
        one,
        hub,
        found,
        {name: lines(one, name) for name in cases},
        peak,
        {name: _wait(one, name) for name in cases},
    )


def _certificates(folder: Path) -> tuple[Authority, dict[str, Any]]:
    """The authority of both sides, and pairs of servers by name; those of clients, and a secret, are in `folder`."""
    authority, foreign = Authority(folder / "ca", days=60), Authority(folder / "foreign", "another", days=60)
    foreign.sign("client", days=60)
    for name, bounds in (("expired", (-3, -1)), ("own", (-1, 60))):
        (folder / name).mkdir()
        pair = authority.sign("client", start=bounds[0], days=bounds[1])
        pair.cert.rename(folder / name / "client.pem")
        pair.key.rename(folder / name / "client.key")
    secret = folder / "secret"
    secret.write_text("s")
    secret.chmod(0o400)
    return authority, {
        "sound": authority.sign("server"),
        "expired": authority.sign("old", start=-3, days=-1),
        "other": authority.sign("other", hosts=("hub.example",)),
        "foreign": foreign.sign("server"),
    }


def states(one: Uploader, name: str) -> dict[str, int]:
    reader = HubReader(one.ledger)
    try:
        told = json.loads(reader.note(name, STATUS) or b"{}")
        found = {state: count for state, count in reader.counts(name).items() if count}
        return found or {told.get("state"): 1}
    finally:
        reader.close()


def lines(one: Uploader, name: str) -> list[str]:
    return [line for line in one.log.splitlines() if f" hub={name} " in line and " level=info " not in line]


def missing(one: Uploader, cases: Mapping[str, Case], found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Cases that are not where they are to come; `found`: the states of each."""
    return [
        name for name, case in cases.items() if found[name] != {case.state: 1} or len(lines(one, name)) < case.lines
    ]


def _wait(one: Uploader, name: str) -> int:
    reader = HubReader(one.ledger)
    try:
        found = [row.due for row in reader.waiting(name, 1 << 40, 10) if row.due is not None]
        return max(found, default=0) - int(time.time())
    finally:
        reader.close()
