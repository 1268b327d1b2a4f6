"""The HTTP session over real TLS: who it says it is, what it believes, and what it makes of wrong and hostile answers.

What each failure says of `sent` decides whether a message may go out a second time: it is tested to the octet.
"""

import json
import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway import __version__
from gateway.hub_settings import HubSettings
from gateway.uploader import wire
from gateway.uploader.hub import SessionError
from gateway.uploader.session import HttpSession
from tests.certificates import Authority
from tests.ports import free_port
from tests.raw_hub import RawHub, ok

SECRET = "s3cr3t-of-the-client"
TOKEN = "t0ken.that.nobody.may.see"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.sign("server")


@pytest.fixture
def session_to(authority):
    """Open sessions to a hub: `session_to(hub, key of [[hub]]=value ...)`; all are closed with the test."""
    made = []

    def make(hub, **changes) -> HttpSession:
        given = {"name": "h", "kind": "eu-vhd", "url": hub.url, "ca_file": str(authority.ca), "timeout_s": 20} | changes
        made.append(HttpSession(HubSettings(**{key: value for key, value in given.items() if value is not None})))
        return made[-1]

    yield make
    for one in made:
        one.close()


def post(session, body=b"<a/>", **more):
    return session.request("POST", "/vhd", operation="send", body=body, headers={"Content-Type": "text/xml"}, **more)


def failure(session, **more) -> SessionError:
    with pytest.raises(SessionError) as caught:
        post(session, **more)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert SECRET not in text
    assert TOKEN not in text
    return caught.value


def test_says_who_it_is_and_sends_the_very_octets(server, session_to):
    body = bytes(range(256)) * 1_000
    with RawHub(server, answers=[ok(b"fine", "X-A: 1", "X-A: 2")]) as hub:
        answer = post(session_to(hub, contact="operator@example.org (Jörg)"), body, params={"q": "a b&c"})
    head, _, got = hub.requests[0].partition(b"\r\n\r\n")
    assert got == body
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"fine", "1, 2")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /vhd?q=a+b%26c HTTP/1.1"
    assert f"User-Agent: meterd/{__version__} (+operator@example.org J?rg)" in lines
    assert "Accept-Encoding: identity" in lines
    assert f"Host: localhost:{hub.port}" in lines
    assert not any(line.lower().startswith("authorization") for line in lines)


def test_many_requests_take_one_connection(server, session_to):
    with RawHub(server) as hub:
        session = session_to(hub)
        for _ in range(5):
            post(session)
    assert (len(hub.requests), hub.connections) == (5, 1)


def test_a_closed_session_opens_a_connection_anew(server, session_to):
    with RawHub(server) as hub:
        session = session_to(hub)
        post(session)
        session.close()
        post(session)
    assert (len(hub.requests), hub.connections) == (2, 2)


@pytest.mark.parametrize("more", [ok(b"an error", status="400 Bad Request"), b"\r\n", b"HTTP/1.1 2"])
def test_what_nobody_asked_for_is_no_answer_to_the_next_request(server, session_to, more):
    with RawHub(server, answers=[ok(b"first") + more, ok(b"second")]) as hub:
        session = session_to(hub)
        assert [post(session).body for _ in range(2)] == [b"first", b"second"]
    assert (len(hub.requests), hub.connections) == (2, 2)


def test_an_id_of_the_hub_does_not_leave_its_path(server, session_to):
    with RawHub(server) as hub:
        session_to(hub).request("DELETE", "/ack/a b?c#d\r\nX: y", operation="acknowledge")
    assert hub.requests[0].startswith(b"DELETE /ack/a%20b%3Fc%23d%0D%0AX:%20y HTTP/1.1\r\n")


def test_redirects_are_not_followed(server, session_to):
    with RawHub(server, answers=[ok(b"", "Location: https://localhost/elsewhere", status="307 Temporary")]) as hub:
        assert post(session_to(hub)).status == 307
    assert len(hub.requests) == 1


def test_proxies_of_the_environment_are_not_asked(server, session_to, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with RawHub(server) as hub:
        assert post(session_to(hub)).status == 200


# -- what was not sent -------------------------------------------------------------------------------------------------


def test_nobody_listens(session_to):
    class Nobody:
        url = f"https://localhost:{free_port()}"

    error = failure(session_to(Nobody))
    assert (error.sent, error.person) == (False, False)
    assert "cannot be reached" in str(error)


def test_a_name_that_is_none(session_to):
    class Nowhere:
        url = "https://no-such-hub.invalid"

    error = failure(session_to(Nowhere))
    assert (error.sent, error.person) == (False, False)
    assert "name cannot be resolved" in str(error)


def test_data_do_not_leave_in_the_clear(session_to):
    class Plain:
        url = "http://hub.example.org"

    error = failure(session_to(Plain))
    assert (error.sent, error.person) == (False, True)
    assert "https only" in str(error)


def test_another_authority_is_not_believed(server, session_to, tmp_path):
    other = Authority(tmp_path, "somebody else")
    with RawHub(server) as hub:
        error = failure(session_to(hub, ca_file=str(other.ca)))
    assert (error.sent, error.person, hub.requests) == (False, True, [])
    assert "ca_file" in str(error)


def test_without_a_pin_the_authorities_of_the_system_count(server, session_to):
    with RawHub(server) as hub:
        error = failure(session_to(hub, ca_file=None))
    assert (error.sent, error.person, hub.requests) == (False, True, [])


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"hosts": ("hub.example.org",)}, "another host name"),
        ({"start": -10, "days": -1}, "has expired"),
        ({"start": 5, "days": 10}, "not valid yet"),
    ],
)
def test_a_wrong_certificate_of_the_hub(authority, session_to, made, says):
    with RawHub(authority.sign("wrong", **made)) as hub:
        error = failure(session_to(hub))
    assert (error.sent, error.person, hub.requests) == (False, True, [])
    assert says in str(error)


def test_a_port_without_tls(session_to):
    with RawHub(None) as hub:
        hub_url = hub.url.replace("http:", "https:")
        error = failure(session_to(hub, url=hub_url, timeout_s=2))
    assert (error.sent, hub.requests) == (False, [])


def test_tls_1_1_is_too_old(authority, session_to):
    server = authority.sign("old")
    with RawHub(server) as hub:
        session = session_to(hub)
        session.generation()
        versions = [one.minimum_version for one in _contexts(session)]
    assert versions == [ssl.TLSVersion.TLSv1_2] * 2


def _contexts(session):
    return [one._pool._ssl_context for one in session._wires.values()]


@pytest.fixture(params=["nothing", "of another authority"])
def shown(request, tmp_path):
    """A client certificate that the hub does not take, or none."""
    return None if request.param == "nothing" else Authority(tmp_path, "another").sign("client")


@pytest.fixture
def patient(monkeypatch):
    """A slow machine: the refusal of the server is waited for."""
    monkeypatch.setattr(wire, "SETTLE_S", 20)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_hub_refuses_our_certificate(authority, server, session_to, shown, newest):
    mine = shown
    files = {} if mine is None else {"cert_file": str(mine.cert), "key_file": str(mine.key)}
    with RawHub(server, clients=authority, newest=newest) as hub:
        error = failure(session_to(hub, **files), body=bytes(500_000))
    assert (error.sent, error.person, hub.requests) == (False, True, [])
    assert hub.unread < 10_000  # what is left of the handshake, and nothing of the request
    assert "certificate" in str(error)


def test_a_refusal_that_comes_as_the_answer_was_not_sent_either(authority, server, session_to, monkeypatch):
    """TLS 1.3: a server that is slow to judge our certificate; what it refuses unread is not `sent`."""
    monkeypatch.setattr(wire, "SETTLE_S", 0.0)
    with RawHub(server, clients=authority, newest=ssl.TLSVersion.TLSv1_3) as hub:
        session = session_to(hub)
        errors = [failure(session) for _ in range(10)]
    assert hub.requests == []
    assert [(error.sent, error.person) for error in errors] == [(False, True)] * 10


@pytest.mark.usefixtures("patient")
def test_a_hub_that_hangs_up_without_an_alert_may_refuse_our_certificate(server, session_to):
    """As a server of asyncio refuses a certificate: nothing of its alert leaves."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.cert, server.key)
    context.num_tickets = 0

    def hang_up(listener):
        connection, _ = listener.accept()
        context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:

        class Hub:
            url = f"https://localhost:{listener.getsockname()[1]}"

        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        error = failure(session_to(Hub))
        thread.join()
    assert (error.sent, error.person) == (False, False)
    assert "check cert_file" in str(error)


def test_our_certificate_is_shown_and_its_serial_known(authority, server, session_to):
    mine = authority.sign("party")
    with RawHub(server, clients=authority) as hub:
        session = session_to(hub, cert_file=str(mine.cert), key_file=str(mine.key))
        assert post(session).status == 200
    assert session.certificate == mine.serial
    assert hub.serials == [mine.serial]


def test_our_certificate_has_expired(authority, server, session_to):
    mine = authority.sign("late", start=-10, days=-1)
    with RawHub(server, clients=authority) as hub:
        error = failure(session_to(hub, cert_file=str(mine.cert), key_file=str(mine.key)))
    assert (error.sent, error.person, hub.connections) == (False, True, 0)
    assert "has expired" in str(error)


# -- files that change -------------------------------------------------------------------------------------------------


def test_a_new_certificate_is_used_without_a_restart(authority, server, session_to, tmp_path):
    cert, key = tmp_path / "c.pem", tmp_path / "c.key"

    def install(pair, part=(True, True)) -> None:
        for path, source, wanted in ((cert, pair.cert, part[0]), (key, pair.key, part[1])):
            if wanted:
                fresh = path.with_suffix(".new")
                fresh.unlink(missing_ok=True)
                fresh.write_bytes(source.read_bytes())
                fresh.chmod(0o400)
                fresh.replace(path)

    first, second = authority.sign("one"), authority.sign("two")
    install(first)
    with RawHub(server, clients=authority) as hub:
        session = session_to(hub, cert_file=str(cert), key_file=str(key))
        post(session)
        before = session.generation()
        install(second, (True, False))  # half of it: the old pair goes on being used
        post(session)
        assert "does not belong" in str(session.trouble)
        install(second, (False, True))
        post(session)
        assert session.trouble is None
        assert session.generation() > before
    assert [one for n, one in enumerate(hub.serials) if n == 0 or one != hub.serials[n - 1]] == [
        first.serial,
        second.serial,
    ]
    assert session.certificate == second.serial


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o600, 0o400])
def test_a_key_that_others_can_read_is_refused(authority, server, session_to, mode):
    mine = authority.sign("open")
    mine.key.chmod(mode)
    with RawHub(server, clients=authority) as hub:
        session = session_to(hub, cert_file=str(mine.cert), key_file=str(mine.key))
        if mode & 0o077:
            error = failure(session)
            assert (error.sent, error.person, hub.connections) == (False, True, 0)
            assert f"mode {mode:04o}" in str(error)
            mine.key.chmod(0o400)
        assert post(session).status == 200


def test_a_key_with_a_passphrase_asks_nobody(authority, server, session_to):
    from cryptography.hazmat.primitives import serialization

    mine = authority.sign("sealed")
    key = serialization.load_pem_private_key(mine.key.read_bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    mine.key.chmod(0o600)
    mine.key.write_bytes(sealed)
    with RawHub(server) as hub:
        error = failure(session_to(hub, cert_file=str(mine.cert), key_file=str(mine.key)))
    assert (error.sent, error.person) == (False, True)
    assert "passphrase" in str(error)


# -- tokens ------------------------------------------------------------------------------------------------------------


def token(value=TOKEN, **more) -> bytes:
    return ok(json.dumps({"access_token": value, "token_type": "Bearer", "expires_in": 3599} | more).encode())


@pytest.fixture
def client(tmp_path):
    """Settings of an OAuth2 client, and its secret's file."""
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o400)
    return {"client_id": "c1", "client_secret_file": str(path), "scope": "openid"}


def test_one_token_serves_many_requests(server, session_to, client):
    with RawHub(server, answers=[token()]) as tokens, RawHub(server) as hub:
        session = session_to(hub, token_url=f"{tokens.url}/oauth2/token", **client)
        for _ in range(3):
            post(session)
    assert len(tokens.requests) == 1
    form = tokens.requests[0].partition(b"\r\n\r\n")[2].decode()
    assert form == f"grant_type=client_credentials&client_id=c1&client_secret={SECRET}&scope=openid"
    assert all(f"Authorization: Bearer {TOKEN}".encode() in request for request in hub.requests)


def test_a_401_renews_the_token_once(server, session_to, client):
    refused = ok(status="401 Unauthorized")
    with RawHub(server, answers=[token("a"), token("b")]) as tokens, RawHub(server, answers=[refused, ok()]) as hub:
        session = session_to(hub, token_url=tokens.url, **client)
        assert post(session).status == 200
    assert len(tokens.requests) == 2
    assert [b"Bearer a" in one for one in hub.requests] == [True, False]
    assert hub.requests[0].replace(b"Bearer a", b"") == hub.requests[1].replace(b"Bearer b", b"")


def test_a_hub_that_quotes_our_token_is_not_quoted(server, session_to, client):
    page = f"500 while Authorization: Bearer {TOKEN}".encode()
    with RawHub(server, answers=[token(), ok(page, status="500 Oops")]) as hub:
        answer = post(session_to(hub, token_url=f"{hub.url}/token", **client))
    assert answer.body == b"500 while Authorization: Bearer ***"


def test_a_second_401_is_the_answer(server, session_to, client):
    with RawHub(server, answers=[token()]) as tokens, RawHub(server, answers=[ok(status="401 No")]) as hub:
        session = session_to(hub, token_url=tokens.url, **client)
        assert post(session).status == 401
        assert (len(tokens.requests), len(hub.requests)) == (2, 2)


@pytest.mark.parametrize(
    "case",
    [
        (ok(b'{"error":"invalid_client","error_description":"s3cr3t-of-the-client"}', status="401 N"), True, "invalid"),
        (ok(b"<html>", status="400 Bad"), True, "status 400"),
        (ok(b"", "Retry-After: 77", status="503 Busy"), False, "no token now"),
        (ok(b'{"access_token":"a b","token_type":"Bearer"}'), False, "no bearer token"),
        (ok(b'{"access_token":"a\\r\\nX: y","token_type":"Bearer"}'), False, "no bearer token"),
        (ok(b'{"access_token":"a","token_type":"mac"}'), False, "no bearer token"),
        (ok(b'{"access_token":"a","token_type":"Bearer","expires_in":-1}'), False, "ends at once"),
        (ok(b"[" * 60_000), False, "nested too deeply"),
        (ok(b"x" * 70_000), False, "more than"),
        (b"garbage", False, "no HTTP"),
    ],
)  # fmt: skip
def test_a_token_service_that_gives_none(server, session_to, client, case):
    answer, person, says = case
    with RawHub(server, answers=[answer]) as tokens, RawHub(server) as hub:
        error = failure(session_to(hub, token_url=tokens.url, **client))
    assert (error.sent, error.person, hub.requests) == (False, person, [])
    assert says in str(error)
    assert error.retry_after_s == (77 if b"77" in answer else None)


def test_a_secret_that_others_can_read_is_refused(server, session_to, client):
    Path(client["client_secret_file"]).chmod(0o644)
    with RawHub(server) as hub:
        error = failure(session_to(hub, token_url=hub.url, **client))
    assert (error.sent, error.person, hub.connections) == (False, True, 0)


def test_a_new_secret_makes_a_new_token(server, session_to, client):
    path = Path(client["client_secret_file"])
    with RawHub(server, answers=[token("a"), token("b")]) as tokens, RawHub(server) as hub:
        session = session_to(hub, token_url=tokens.url, **client)
        post(session)
        path.unlink()
        path.write_text("another secret")
        path.chmod(0o400)
        post(session)
    assert b"client_secret=another+secret" in tokens.requests[1]
    assert b"Bearer b" in hub.requests[1]


def test_our_certificate_goes_to_no_token_service_of_another_host(authority, server, session_to, client):
    mine = authority.sign("mtls")
    files = {"cert_file": str(mine.cert), "key_file": str(mine.key), "token_ca_file": str(authority.ca)}
    with (
        RawHub(server, clients=authority) as hub,
        RawHub(server, clients=authority, demands=False, answers=[token()]) as tokens,
    ):
        elsewhere = tokens.url.replace("localhost", "127.0.0.1")
        post(session_to(hub, token_url=elsewhere, **client, **files))
    assert (hub.serials, tokens.serials) == ([mine.serial], [None])


def test_no_secret_is_in_any_log(server, session_to, client, caplog):
    caplog.set_level(logging.DEBUG)
    with RawHub(server, answers=[token()]) as tokens, RawHub(server, answers=[b"garbage"]) as hub:
        session = session_to(hub, token_url=tokens.url, **client)
        error = failure(session)
    seen = caplog.text + repr(error) + repr(session.__dict__) + repr(error.__cause__)
    assert "httpcore" in caplog.text  # the loggers were on
    assert SECRET not in seen
    assert TOKEN not in caplog.text


# -- hostile answers ---------------------------------------------------------------------------------------------------


def drip(piece: bytes, head: bytes = b""):
    def run(sock: socket.socket) -> None:
        sock.sendall(head)
        for _ in range(2_000):
            sock.sendall(piece)
            time.sleep(0.03)

    return run


def flood(piece: bytes, head: bytes = b""):
    def run(sock: socket.socket) -> None:
        sock.sendall(head)
        while True:
            sock.sendall(piece)

    return run


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def silence(sock: socket.socket) -> None:
    sock.settimeout(30)
    while sock.recv(1_000):
        pass


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HOSTILE = {
    "garbage": (b"\x00\xff garbage \r\n\r\n", "no HTTP"),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP"),
    "http/0.9": (b"<html>hello</html>", "no HTTP"),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "no HTTP"),
    "nothing": (lambda sock: None, "no HTTP"),
    "reset": (reset, ""),
    "silence": (silence, "did not answer within"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", "no HTTP"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nabc", "no HTTP"),
    "half a chunk": (CHUNKED.replace(b"chunked", b"chunked\r\nConnection: close") + b"5\r\nab", "no HTTP"),
    "no length of a chunk": (CHUNKED + b"xyz\r\n", "no HTTP"),
    "a status of no number": (b"HTTP/1.1 abc\r\n\r\n", "no HTTP"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "no HTTP"),
    "a length below zero": (b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", "no HTTP"),
    "a huge length": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "more than"),
    "a large length": (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n", "more than"),
    "an endless body": (flood(b"x" * 60_000, b"HTTP/1.1 200 OK\r\n\r\n"), "more than"),
    "endless chunks": (flood(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n", CHUNKED), "more than"),
    "endless headers": (flood(b"X-More: " + b"y" * 8_000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"), "no HTTP"),
    "one endless header": (flood(b"y" * 60_000, b"HTTP/1.1 200 OK\r\nX: "), "no HTTP"),
    "endless 1xx": (flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "did not finish"),
    "drip of a head": (drip(b"y", b"HTTP/1.1 200 OK\r\nX: "), "did not finish"),
    "drip of a body": (drip(b"y", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"), "did not finish"),
    "drip of chunks": (drip(b"1\r\nx\r\n", CHUNKED), "did not finish"),
    "gzip": (ok(b"\x1f\x8b\x08\x00", "Content-Encoding: gzip"), "compressed"),
    "br": (ok(b"\x1f", "Content-Encoding: identity, br"), "compressed"),
}


#: what lasts until the deadline
SLOW = {"silence", "endless 1xx", "drip of a head", "drip of a body", "drip of chunks"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_unknown_outcomes_and_the_next_one_is_read(server, session_to, name):
    answer, says = HOSTILE[name]
    with RawHub(server, answers=[answer, ok(b"sound")]) as hub:
        session = session_to(hub, timeout_s=3 if name in SLOW else 20)
        error = failure(session, max_answer=65_536)
        assert (error.sent, error.person) == (True, False)
        assert says in str(error)
        assert eventually(session).body == b"sound"
    assert len(hub.requests) >= 2


def eventually(session):
    """An answer, also where the machine is so busy that the short deadline of the test passes."""
    for _ in range(20):
        try:
            return post(session)
        except SessionError as error:
            last = error
    raise last


def test_a_hub_that_does_not_read(server, session_to):
    with RawHub(server, reads=False) as hub:
        error = failure(session_to(hub, timeout_s=2), body=bytes(32 << 20))
    assert (error.sent, error.person) == (True, False)


def test_a_handshake_that_drips(session_to):
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            while not ended.wait(0.05):
                try:
                    sock.sendall(b"\x16")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    class Dripping:
        url = f"https://localhost:{listener.getsockname()[1]}"

    error = failure(session_to(Dripping, timeout_s=1.5))
    ended.set()
    thread.join(30)
    listener.close()
    assert error.sent is False


_HUGE = """
import resource, sys
from gateway.hub_settings import HubSettings
from gateway.uploader.hub import SessionError
from gateway.uploader.session import HttpSession
session = HttpSession(HubSettings(name="h", kind="eu-vhd", url=sys.argv[1], ca_file=sys.argv[2], timeout_s=60))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    try:
        print(len(session.request("GET", "/", operation="peek").body))
    except SessionError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_endless_answers_take_bounded_memory(authority, server):
    chunks = flood(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n", CHUNKED)
    with RawHub(server, answers=[chunks, flood(b"x" * 60_000, b"HTTP/1.1 200 OK\r\n\r\n"), chunks]) as hub:
        run = subprocess.run(
            [sys.executable, "-c", _HUGE, hub.url, str(authority.ca)],
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
    *errors, grown_kib = run.stdout.splitlines()
    assert all("more than 16777216 octets" in error for error in errors)
    assert len(errors) == 3
    assert int(grown_kib) < 64 << 10
