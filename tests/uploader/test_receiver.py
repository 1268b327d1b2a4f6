"""The receiver of PND over real TLS: zeep as its sender, who is heard, what is answered when, and what is bounded."""

import datetime as dt
import socket
import ssl
import threading
import time

import httpx
import pytest
import requests
import zeep
from lxml import etree

from gateway.uploader import receiver
from gateway.uploader.hubs import cz_pnd
from gateway.uploader.hubs.cz_portal import MOST_DELIVERY, SANDBOX
from gateway.uploader.receiver import Receiver
from tests.certificates import Authority
from tests.hubs.cz_parts import PRAGUE, Outbox, Wired, bounds, delivery, ean, settings
from tests.ports import free_port

DAY = dt.date(2026, 3, 3)
NOW = dt.datetime(2026, 3, 5, 8, tzinfo=PRAGUE).timestamp()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.sign("receiver")


@pytest.fixture(scope="module")
def sender(authority):
    return authority.sign("pnd")


class Hub:
    """A receiver and the worker that stores what it receives, as the uploader runs them."""

    def __init__(self, authority, server, **changes):
        given = {
            "name": "pnd", "kind": "cz-pnd", "points": (ean(1),), "legal_basis": "contract", "listen": "127.0.0.1:0",
            "ca_file": str(authority.ca), "cert_file": str(server.cert), "key_file": str(server.key), "timeout_s": 60,
        } | changes  # fmt: skip
        self.authority = authority
        self.adapter = cz_pnd.CzPnd(settings(**given), clock=lambda: NOW)
        self.outbox = Outbox()
        self.stored = []
        self.told = []
        self.receiver = Receiver(self.adapter.settings, self.adapter.deliveries, self.told.append)
        self.stores = True
        self._ended = False
        self._worker = threading.Thread(target=self._work)

    def __enter__(self):
        self.receiver.__enter__()
        self._worker.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        self._worker.join(30)
        self.receiver.__exit__()

    @property
    def url(self):
        return f"https://localhost:{self.receiver.port}/pnd"

    def _work(self):
        while not self._ended:
            time.sleep(0.01)
            for inbound in self.adapter.inbox(Wired(), self.outbox) if self.stores else ():
                self.stored.append(inbound)

    def context(self, pair):
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context

    def post(self, pair, body, **headers):
        given = {"Content-Type": "text/xml; charset=utf-8"} | headers
        with httpx.Client(verify=self.context(pair), trust_env=False, timeout=120) as client:
            return client.post(self.url, content=body, headers=given)

    def deliveries(self):
        return [one for one in self.stored if one.kind == "measured-data"]


@pytest.fixture
def hub(authority, server):
    with Hub(authority, server) as one:
        yield one


def stored(hub, pair, body):
    """Deliver until it is taken, as a sender does: where the receiver waits but shortly, a busy machine needs tries."""
    until = time.monotonic() + 90
    while True:
        try:
            answer = hub.post(pair, body)
            if answer.status_code not in (408, 503):
                return result(answer)[1] in ("stored", "known")
        except httpx.TransportError:
            pass
        assert time.monotonic() < until


def result(answer):
    found = etree.fromstring(answer.content).find(f".//{{{SANDBOX}}}Received")
    return found.get("id"), found.get("result")


def test_zeep_delivers_by_the_description_alone(hub, sender):
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(hub.authority.ca)
        session.cert = (str(sender.cert), str(sender.key))
        client = zeep.Client(f"{hub.url}?wsdl", transport=zeep.transports.Transport(session=session))
        ends = [dt.datetime.fromtimestamp(end, PRAGUE) for end in bounds(DAY, 900)[1:]]
        values = [{"end": end, "kw": "0.5", "status": "naměřená data OK"} for end in ends]
        profile = {"opm-id": ean(1), "quantity": "+A", "Value": values}
        given = {"id": "z-1", "created": ends[-1], "Profile": [profile]}
        answers = [client.service.Deliver(**given) for _ in range(2)]
    assert [(one.id, one.result) for one in answers] == [("z-1", "stored"), ("z-1", "known")]
    (inbound,) = hub.deliveries()
    (found,) = hub.adapter.account(inbound.kind, inbound.body, inbound.content_type)
    assert [row.quantity for row in found.rows] == [125_000] * 96
    assert int(inbound.facts["certificate"], 16) == int(sender.serial, 16)


def test_a_refusal_reaches_zeep_as_a_fault(hub, sender):
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(hub.authority.ca)
        session.cert = (str(sender.cert), str(sender.key))
        client = zeep.Client(f"{hub.url}?wsdl", transport=zeep.transports.Transport(session=session))
        value = {"end": dt.datetime(2026, 3, 3, 0, 16, tzinfo=PRAGUE), "kw": "0.5", "status": "x"}
        profile = {"opm-id": ean(1), "quantity": "+A", "Value": [value]}
        with pytest.raises(zeep.exceptions.Fault, match="end of a quarter-hour") as caught:
            client.service.Deliver(id="z-2", created=value["end"], Profile=[profile])
    assert caught.value.code == "soap:Client"
    assert hub.deliveries() == []


def test_a_delivery_comes_again_and_is_kept_once(hub, sender):
    body = delivery([DAY])
    assert [result(hub.post(sender, body)) for _ in range(3)] == [
        ("2026-03-04-1", "stored"), ("2026-03-04-1", "known"), ("2026-03-04-1", "known"),
    ]  # fmt: skip
    other = hub.post(sender, delivery([dt.date(2026, 3, 2)]))
    assert other.status_code == 500
    assert "was used before, for other content" in other.text
    assert len(hub.deliveries()) == 1


def test_deliveries_at_once_are_all_kept(hub, sender):
    bodies = [delivery([DAY], name=f"d-{n}", points=[ean(n)]) for n in range(12)]
    answers = {}

    def deliver(n):
        while True:
            answer = hub.post(sender, bodies[n])
            if answer.status_code != 503:
                answers[n] = result(answer)
                return
            assert answer.headers["Retry-After"] == "60"

    threads = [threading.Thread(target=deliver, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert answers == {n: (f"d-{n}", "stored") for n in range(12)}
    assert {one.facts["message"] for one in hub.deliveries()} == {f"d-{n}" for n in range(12)}


def test_nobody_is_heard_without_a_certificate_of_the_authority(hub, tmp_path, caplog):
    stranger = Authority(tmp_path / "stranger").sign("pnd")
    for pair in (None, stranger):
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            hub.post(pair, delivery([DAY]))
    assert hub.deliveries() == []
    until = time.monotonic() + 60
    while caplog.text.count("a connection was refused in the TLS handshake: ") < 2:
        assert time.monotonic() < until, caplog.text
        time.sleep(0.05)
    assert "peer did not return a certificate" in caplog.text


def test_what_is_not_stored_in_time_is_told_to_come_again(authority, server, sender):
    with Hub(authority, server, timeout_s=1) as hub:
        hub.stores = False
        answer = hub.post(sender, delivery([DAY]))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert "could not be stored in time" in answer.text
        hub.stores = True
        assert stored(hub, sender, delivery([DAY]))
        assert len(hub.deliveries()) == 1


HOSTILE = {
    "nothing": b"",
    "no xml": b"\xff\xfe\x00" * 99,
    "bomb": b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
    "outside": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "two": delivery([DAY]).replace(b"<s:Body>", b"<s:Body><x/>"),
    "half": delivery([DAY])[:5_000],
    "other service": delivery([DAY]).replace(b"urn:sandbox:meterd:pnd", b"urn:x"),
    "must understand": delivery([DAY]).replace(b"<s:Body>", b'<s:Header><a s:mustUnderstand="1"/></s:Header><s:Body>'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_are_refused_with_a_fault(hub, sender, name):
    answer = hub.post(sender, HOSTILE[name])
    assert answer.status_code == 500
    fault = etree.fromstring(answer.content)[0][0]
    assert (fault.findtext("faultcode"), len(fault.findtext("faultstring")) < 500) == ("soap:Client", True)
    assert "root:" not in answer.text
    assert hub.deliveries() == []
    assert result(hub.post(sender, delivery([DAY])))[1] == "stored"


def test_what_is_too_large_or_no_soap_is_refused(hub, sender):
    assert hub.post(sender, b" " * (MOST_DELIVERY + 1)).status_code == 413
    assert hub.post(sender, delivery([DAY]), **{"Content-Type": "application/json"}).status_code == 415
    assert hub.post(sender, delivery([DAY]), **{"Content-Encoding": "gzip"}).status_code == 415
    assert hub.post(sender, b"x", **{"Content-Type": "text/xml; charset=\x7f"}).status_code in (400, 500)
    with httpx.Client(verify=hub.context(sender), trust_env=False) as client:
        refused = client.get(hub.url)
        assert (refused.status_code, refused.headers["Connection"]) == (404, "close")
        assert client.get(f"{hub.url}?xsd").status_code == 200
        assert client.get(hub.url.replace("/pnd", "/other")).status_code == 404
    assert hub.deliveries() == []


def connect(hub, pair):
    plain = socket.create_connection(("127.0.0.1", hub.receiver.port))
    plain.settimeout(30)
    return hub.context(pair).wrap_socket(plain, server_hostname="localhost")


def test_a_slow_sender_is_ended_and_holds_nobody_up(authority, server, sender):
    with Hub(authority, server, timeout_s=3) as hub, connect(hub, sender) as slow:
        slow.sendall(b"POST /pnd HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 100\r\n\r\n<")
        assert stored(hub, sender, delivery([DAY]))
        assert b" 408 " in slow.recv(4_096)


def test_who_says_nothing_is_ended(authority, server, sender, monkeypatch):
    monkeypatch.setattr(receiver, "LIFETIME_S", 0.5)
    with Hub(authority, server) as hub, connect(hub, sender) as mute:
        assert ended(mute)


def ended(sock):
    """Whether the other side ends the connection before the socket's own timeout."""
    try:
        return sock.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_connections_are_bounded(hub, sender):
    held = []
    try:
        while len(held) < receiver.MOST_CONNECTIONS:
            held.append(connect(hub, sender))
        until = time.monotonic() + 60
        while len(hub.receiver._connections) < receiver.MOST_CONNECTIONS:
            assert time.monotonic() < until
            time.sleep(0.02)
        with connect(hub, sender) as more:
            assert ended(more)
    finally:
        for one in held:
            one.close()
    while hub.receiver._connections:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert result(hub.post(sender, delivery([DAY])))[1] == "stored"


def test_a_new_certificate_is_used_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(receiver, "_LOOK_S", 0.05)
    old = Authority(tmp_path / "a")
    pair, sender = old.sign("receiver"), old.sign("pnd")
    with Hub(old, pair) as hub:
        assert result(hub.post(sender, delivery([DAY])))[1] == "stored"
        port = hub.receiver.port
        assert old.sign("receiver").serial != pair.serial
        until = time.monotonic() + 60
        while serial(hub, sender) in (None, int(pair.serial, 16)):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert hub.receiver.port == port
        assert result(hub.post(sender, delivery([DAY])))[1] == "known"


def serial(hub, pair):
    try:
        with connect(hub, pair) as sock:
            return int(sock.getpeercert()["serialNumber"], 16)
    except ConnectionError:  # between the old listener and the new one
        return None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"cert_file": None}, "cert_file missing"),
        ({"key_file": None}, "key_file missing"),
        ({"ca_file": None}, "ca_file missing"),
        ({"key_file": "other"}, "do not serve"),
        ({"ca_file": "key"}, "ca_file"),
        ({"listen": "localhost:1"}, "listen"),
        ({"listen": "127.0.0.1:99999"}, "listen"),
        ({"listen": "192.0.2.1:9"}, "choose an address"),
    ],
)
def test_what_keeps_it_from_listening_is_said(authority, server, sender, changes, word):
    files = {"other": str(sender.key), "key": str(server.key)}
    with Hub(authority, server, **{key: files.get(value, value) for key, value in changes.items()}) as hub:
        (event,) = hub.told
        assert (event.name, event.severity, hub.receiver.port) == ("receiver_down", "error", None)
        assert word in event.text
        assert hub.receiver.trouble in event.text


def test_it_listens_when_the_port_becomes_free(authority, server, sender, monkeypatch):
    monkeypatch.setattr(receiver, "AGAIN_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", free_port())) as taken,
        Hub(authority, server, listen=f"127.0.0.1:{taken.getsockname()[1]}") as hub,
    ):
        assert [(event.name, event.recovered) for event in hub.told] == [("receiver_down", False)]
        taken.close()
        until = time.monotonic() + 60
        while hub.receiver.port is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert result(hub.post(sender, delivery([DAY])))[1] == "stored"
        assert [event.recovered for event in hub.told] == [False, True]
