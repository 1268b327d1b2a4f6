"""A hub behind a real mosquitto with mutual TLS: documents at QoS 1, acknowledgements that are kept until stored."""

import contextlib
import random
import signal
import socket
import ssl
import threading
import time

import pytest

from gateway.hub_settings import HubSettings
from gateway.uploader import mqtt_session
from gateway.uploader.hub import SessionError
from gateway.uploader.mqtt_session import MqttSession
from gateway.uploader.session import HttpSession, open_session
from tests.certificates import Authority
from tests.mqtt_hub import MqttHub, mutual_tls
from tests.ports import free_port


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pairs(authority):
    return {name: authority.sign(name) for name in ("broker", "party", "hub")}


@pytest.fixture
def tls_broker(broker, authority, pairs):
    """Start a broker that demands a certificate; `lines` are added to its configuration."""
    return lambda *lines: broker(*mutual_tls(authority, pairs["broker"]), *lines)


@pytest.fixture
def session_to(authority, pairs):
    made = []

    def make(port, **changes):
        mine = pairs["party"]
        given = {
            "name": "h",
            "kind": "eu-vhd",
            "url": f"mqtts://localhost:{port}/eddie/hub",
            "ca_file": str(authority.ca),
            "cert_file": str(mine.cert),
            "key_file": str(mine.key),
            "party": "10X1001A1001B54W",
            "timeout_s": 20,
        } | changes
        made.append(open_session(HubSettings(**{name: value for name, value in given.items() if value is not None})))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def mqtt_hub(authority, pairs):
    made = []

    def start(port) -> MqttHub:
        made.append(MqttHub(port, authority, pairs["hub"]))
        return made[-1]

    yield start
    for one in made:
        one.close()


def post(session, body=b"<a/>"):
    return session.request("POST", "/vhd", operation="send", body=body, headers={"Content-Type": "application/xml"})


def get(session):
    return session.request("GET", "/ack", operation="peek")


def until_some(session):
    end = time.monotonic() + 60
    while (answer := get(session)).status == 204:
        assert time.monotonic() < end
    return answer


def delete(session, answer):
    return session.request("DELETE", f"/ack/{answer.headers['messageid']}", operation="dequeue")


def failure(session) -> SessionError:
    with pytest.raises(SessionError) as caught:
        post(session)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_url_says_which_session(session_to):
    assert isinstance(session_to(1), MqttSession)
    assert isinstance(session_to(1, url="https://localhost"), HttpSession)


def test_a_document_is_published_once_and_its_octets_arrive(tls_broker, mqtt_hub, session_to, pairs):
    broker = tls_broker()
    hub, session = mqtt_hub(broker.port), session_to(broker.port)
    body = random.Random(4).randbytes(500_000)
    assert post(session, body).status == 202
    assert hub.documents.get(timeout=30) == body
    assert session.certificate == pairs["party"].serial
    assert hub.documents.empty()


def test_what_the_hub_says_waits_until_it_is_acknowledged(tls_broker, mqtt_hub, session_to):
    broker = tls_broker()
    hub, session = mqtt_hub(broker.port), session_to(broker.port)
    assert get(session).status == 204  # and so the broker knows whom to keep it for
    session.close()
    hub.publish(b"<one/>")
    hub.publish(b"<two/>")
    first = until_some(session)
    assert first.body == b"<one/>"
    assert get(session).body == b"<one/>"
    session.close()  # a crash: it was stored, and not acknowledged
    again = until_some(session)
    assert (again.body, again.headers["messageid"]) == (first.body, first.headers["messageid"])
    assert delete(session, again).status == 200
    assert delete(session, again).status == 404
    second = until_some(session)
    assert second.body == b"<two/>"
    assert delete(session, second).status == 200
    session.close()
    assert get(session).status == 204


def test_nobody_listens(tls_broker, session_to):
    error = failure(session_to(tls_broker().port))
    assert (error.sent, error.person) == (False, False)
    assert "nobody listens on eddie/hub/vhd" in str(error)


def test_no_broker(session_to):
    error = failure(session_to(free_port()))
    assert (error.sent, error.person) == (False, False)


def test_another_authority_is_not_believed(tls_broker, session_to, tmp_path):
    broker = tls_broker()
    error = failure(session_to(broker.port, ca_file=str(Authority(tmp_path).ca)))
    assert (error.sent, error.person) == (False, True)
    assert "ca_file" in str(error)


def test_a_broker_that_refuses_our_certificate(tls_broker, session_to, tmp_path):
    broker = tls_broker()
    mine = Authority(tmp_path, "another").sign("me")
    error = failure(session_to(broker.port, cert_file=str(mine.cert), key_file=str(mine.key)))
    assert error.sent is False
    assert "certificate" in str(error)


def test_a_broker_that_does_not_let_us_write(tls_broker, mqtt_hub, session_to, tmp_path):
    access = tmp_path / "access"
    access.write_text("user hub\ntopic readwrite eddie/#\nuser party\ntopic read eddie/hub/ack\n")
    access.chmod(0o600)
    broker = tls_broker("use_identity_as_username true", f"acl_file {access}")
    hub = mqtt_hub(broker.port)
    error = failure(session_to(broker.port))
    assert (error.sent, error.person) == (False, True)
    assert hub.documents.empty()


def test_a_document_that_is_larger_than_the_broker_takes(tls_broker, mqtt_hub, session_to):
    broker = tls_broker("max_packet_size 4000")
    mqtt_hub(broker.port)
    session = session_to(broker.port)
    with pytest.raises(SessionError, match="set bundle") as caught:
        post(session, b"x" * 5_000)
    assert (caught.value.sent, caught.value.person) == (False, True)
    assert post(session, b"x" * 2_000).status == 202


def test_in_the_clear_to_this_machine_only(session_to):
    for url, says in (("mqtt://hub.example.org/x", "mqtts only"), ("mqtts://localhost", "no topic")):
        error = failure(session_to(1, url=url))
        assert (error.sent, error.person) == (False, True)
        assert says in str(error)


def test_a_broker_that_freezes_is_an_unknown_outcome(tls_broker, mqtt_hub, session_to):
    broker = tls_broker()
    hub, session = mqtt_hub(broker.port), session_to(broker.port, timeout_s=3)
    assert post(session).status == 202
    assert hub.documents.get(timeout=30)
    broker.send_signal(signal.SIGSTOP)
    try:
        error = failure(session)
    finally:
        broker.send_signal(signal.SIGCONT)
    assert error.sent is True
    assert hub.documents.get(timeout=60) == b"<a/>"  # it had arrived


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x03\x00\x00\x00" + b"\x3e\xff\xff\xff\x7f" + b"x" * 70_000,  # let in, then a message of 256 MB
        b"\xff" * 100,
        b"",
    ],
)
def test_hostile_brokers(authority, pairs, session_to, answer, monkeypatch):
    monkeypatch.setattr(mqtt_session, "KEEPALIVE_S", 5)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pairs["broker"].cert, pairs["broker"].key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        plain, _ = listener.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as sock:
                sock.recv(65_536)
                sock.sendall(answer)
                sock.settimeout(30)
                while answer and sock.recv(65_536):
                    pass
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    error = failure(session_to(listener.getsockname()[1], timeout_s=4))
    listener.close()
    thread.join(60)
    assert error.sent is False


def packets(sock):
    """Packets of a client: first octet and the rest (MQTT 5, clause 2.1)."""
    while head := sock.recv(1):
        length = shift = 0
        while True:
            octet = sock.recv(1)[0]
            length |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                break
        body = b""
        while len(body) < length:
            body += sock.recv(length - len(body))
        yield head[0], body


def puback(code: int):
    return lambda body: b"\x40\x03" + body[2 + len("eddie/hub/vhd") :][:2] + bytes((code,))


@pytest.mark.parametrize(
    ("word", "sent", "person"),
    [
        (lambda _body: b"", True, False),  # closes
        (puback(0x97), False, False),  # quota exceeded
        (puback(0x80), False, False),
        (puback(0x87), False, True),  # not authorized
        (puback(0x10), False, False),  # nobody has subscribed
    ],
)
def test_the_brokers_word_on_a_document(pairs, session_to, word, sent, person):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pairs["broker"].cert, pairs["broker"].key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        plain, _ = listener.accept()
        with contextlib.suppress(OSError, IndexError), context.wrap_socket(plain, server_side=True) as sock:
            for kind, body in packets(sock):
                answers = {0x10: b"\x20\x03\x00\x00\x00", 0x82: b"\x90\x04" + body[:2] + b"\x00\x01"}
                sock.sendall(answers.get(kind, b"") or word(body))
                if kind & 0xF0 == 0x30 and not word(body):
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    session = session_to(listener.getsockname()[1])
    error = failure(session)
    session.close()
    listener.close()
    thread.join(60)
    assert (error.sent, error.person) == (sent, person)
