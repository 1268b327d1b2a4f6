"""Notices by real SMTP and HTTPS servers with TLS and a real broker; outages, restarts, hostile servers, secrets."""

import asyncio
import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import logging
import smtplib
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.hub_model import Event
from gateway.hub_settings import NoticeSettings
from gateway.settings import MqttSettings
from gateway.stores.files import StorageFault
from gateway.uploader.notice_book import Notice
from gateway.uploader.notice_channel import NoticeError
from gateway.uploader.notice_mail import MailChannel
from gateway.uploader.notice_mqtt import topic
from gateway.uploader.notice_webhook import WebhookChannel, fill
from gateway.uploader.notices import Notices, backoff_s
from gateway.uploader.status_topic import StatusTopic

T = 1_790_000_000
PASSWORD, TOKEN = "smtp-secret-4711", "token-secret-0815"
NOTICE = Notice(
    "0a1b", "dk", T, "error", "meterd dk: 1 error", "line one\nline two äöü ąčę\n", {"new error rejected": 1}
)


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)
    return found


class Store:
    """A place that outlives a restart."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.broken = False

    def note(self, key: str) -> bytes | None:
        if self.broken:
            raise StorageFault("ledger: the medium is full")
        return self.kept.get(key)

    def remember(self, key: str, value: bytes) -> None:
        assert len(value) <= 64 << 10
        if self.broken:
            raise StorageFault("ledger: the medium is full")
        self.kept[key] = value


class Certificates:
    """An authority of this test, and a certificate of it for a name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "notices")])
        made = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def context(self, address: str = "127.0.0.1") -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        made = self._signed(subject, key, names)
        pem = self.folder / f"{address}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: Any) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1)).add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Mailbox:
    """What a mail server took; `answer` plays one that refuses."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.logins: list[bytes] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd calls it
        assert server.transport.get_extra_info("ssl_object") is not None
        if self.answer.startswith("250"):
            self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return self.answer

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.password)
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    for name, secret in (("password", PASSWORD), ("token", TOKEN)):
        (tmp_path / name).write_text(f"{secret}\n")
        (tmp_path / name).chmod(0o400)
    return {"password": str(tmp_path / "password"), "token": str(tmp_path / "token")}


class Mail(Controller):
    """aiosmtpd on a free port."""

    def __init__(self, mailbox: Mailbox, context: ssl.SSLContext, *, starttls: bool, port: int) -> None:
        self._tls = context
        options = {"authenticator": mailbox.login, "auth_required": True, "auth_require_tls": starttls}
        options |= {"tls_context": context, "require_starttls": True} if starttls else {}
        super().__init__(
            mailbox, "127.0.0.1", port, ssl_context=None if starttls else context, ready_timeout=60, **options
        )

    def _trigger_server(self) -> None:
        """Wait until it accepts a connection: whether its certificate is right is what the tests look at."""
        socket.create_connection(("127.0.0.1", self.port), 30).close()

    def factory(self) -> SMTP:
        with warnings.catch_warnings():
            # it does not know that a connection has TLS from its first octet on
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(self.handler, **self.SMTP_kwargs)


@pytest.fixture
def mail(certificates: Certificates, free_port: Callable[[], int]) -> Iterator[Callable[..., tuple[Mailbox, int]]]:
    """Start mail servers: the mailbox and the port of each."""
    running: list[Mail] = []

    def start(*, starttls: bool = False, address: str = "127.0.0.1", port: int | None = None) -> tuple[Mailbox, int]:
        mailbox, at = Mailbox(), port or free_port()
        running.append(Mail(mailbox, certificates.context(address), starttls=starttls, port=at))
        running[-1].start()
        return mailbox, at

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def free_port() -> Callable[[], int]:
    from tests.ports import free_port as found

    return found


@pytest.fixture
def mailing(certificates: Certificates, secrets: dict[str, str]) -> Callable[..., NoticeSettings]:
    def make(port: int, **more: Any) -> NoticeSettings:
        known: dict[str, Any] = {
            "smtp_host": "127.0.0.1",
            "smtp_port": port,
            "smtp_username": "meterd",
            "smtp_password_file": secrets["password"],
            "smtp_ca_file": str(certificates.ca),
            "mail_from": "meterd@example.lt",
            "mail_to": ("a@example.lt", "b@example.lt"),
            "mqtt": False,
            "digest_s": 0,
        }
        return NoticeSettings(**(known | more))

    return make


class Hook:
    """An HTTPS server that keeps what it gets and answers as it is told."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status, self.headers, self.answer = 200, {}, lambda write: None
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append(
                    ({key.lower(): value for key, value in self.headers.items()} | {"path": self.path}, body)
                )
                self.send_response(hook.status)
                for key, value in hook.headers.items():
                    self.send_header(key, value)
                self.end_headers()
                hook.answer(self.wfile.write)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()


@pytest.fixture
def hook(certificates: Certificates) -> Iterator[Callable[..., Hook]]:
    running: list[Hook] = []

    def start(address: str | None = "127.0.0.1") -> Hook:
        running.append(Hook(certificates.context(address) if address else None))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def posting(certificates: Certificates, secrets: dict[str, str]) -> Callable[..., NoticeSettings]:
    def make(port: int, **more: Any) -> NoticeSettings:
        known: dict[str, Any] = {
            "webhook_url": f"https://127.0.0.1:{port}/send",
            "webhook_token_file": secrets["token"],
            "webhook_ca_file": str(certificates.ca),
            "mqtt": False,
            "digest_s": 0,
        }
        return NoticeSettings(**(known | more))

    return make


@pytest.fixture
def servers(mail: Any, mailing: Any, hook: Any, posting: Any) -> tuple[Any, Any, Any, Any]:
    """A mail server, a webhook, and the settings of each."""
    return mail, mailing, hook, posting


@pytest.fixture
def telling() -> Iterator[Callable[..., Notices]]:
    """Start notices; all end with the test."""
    running: list[Notices] = []

    def start(settings: NoticeSettings | None, store: Store, *args: Any, **more: Any) -> Notices:
        more = {"backoff": lambda _attempt: 0.05} | more
        running.append(Notices(settings, lambda: store, *args, **more))
        running[-1].start()
        return running[-1]

    yield start
    for one in running:
        one.stop()


def event(name: str = "hub_down", key: str = "", *, over: bool = False, hub: str = "dk", text: str = "") -> Event:
    return Event(name, hub, "info" if over else "error", text or f"{name} {key}", T, key, over)


# -- mail --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starttls", [False, True], ids=["implicit", "starttls"])
def test_a_notice_is_a_mail_to_everybody(mail: Any, mailing: Any, starttls: bool) -> None:
    mailbox, port = mail(starttls=starttls)
    MailChannel(mailing(port, smtp_tls="starttls" if starttls else "implicit")).send(NOTICE)
    (message,) = mailbox.messages
    assert mailbox.logins == [PASSWORD.encode()]
    assert (message["From"], message["To"]) == ("meterd@example.lt", "a@example.lt, b@example.lt")
    assert message["Subject"] == "meterd dk: 1 error"
    assert message["Message-ID"] == "<0a1b@example.lt>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == dt.datetime.fromtimestamp(T, dt.UTC)
    assert message.get_content().replace("\r\n", "\n") == NOTICE.text


@pytest.mark.parametrize("starttls", [False, True], ids=["implicit", "starttls"])
def test_a_server_with_a_wrong_certificate_gets_neither_password_nor_notice(
    mail: Any, mailing: Any, tmp_path: Path, starttls: bool
) -> None:
    tls = "starttls" if starttls else "implicit"
    mailbox, port = mail(starttls=starttls, address="127.0.0.2")
    with pytest.raises(NoticeError, match="certificate is not accepted") as told:
        MailChannel(mailing(port, smtp_tls=tls)).send(NOTICE)
    assert told.value.least_s > 0
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    right, at = mail(starttls=starttls)
    with pytest.raises(NoticeError, match="certificate is not accepted"):
        MailChannel(mailing(at, smtp_tls=tls, smtp_ca_file=str(other.ca))).send(NOTICE)
    assert mailbox.logins == mailbox.messages == right.logins == right.messages == []


def test_without_tls_nothing_is_sent(mailing: Any) -> None:
    said: list[bytes] = []
    with Silent(said, b"220 here\r\n", b"250 no tls\r\n", b"250 ok\r\n") as port:
        with pytest.raises(NoticeError, match="STARTTLS"):
            MailChannel(mailing(port, smtp_tls="starttls")).send(NOTICE)
        with pytest.raises(NoticeError, match="TLS failed"):
            MailChannel(mailing(port), deadline_s=5).send(NOTICE)
    assert PASSWORD.encode() not in b"".join(said)


class Silent:
    """A server of plain octets: one answer for each thing that it reads."""

    def __init__(self, said: list[bytes], *answers: bytes, drip_s: float = 0) -> None:
        self._said, self._answers, self._drip_s = said, answers, drip_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._server.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while not self._end.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        try:
            for answer in self._answers:
                step = 1 if self._drip_s else max(1, len(answer))
                for start in range(0, len(answer), step):
                    connection.sendall(answer[start : start + step])
                    if self._end.wait(self._drip_s):
                        return
                self._said.append(connection.recv(4_096))
        except OSError:
            return


@pytest.mark.parametrize(
    ("answers", "drip_s"),
    [
        ((b"220 " + b"x" * 10**6 + b"\r\n",), 0), ((b"220-more\r\n" * 10**5,), 0), ((b"220 slow\r\n" * 100,), 0.05),
        ((b"",), 0), ((b"hello\r\n",), 0),
    ],
    ids=["long line", "many lines", "drips", "closes", "no smtp"],
)  # fmt: skip
def test_a_hostile_mail_server_is_left_within_the_deadline(
    mailing: Any, answers: tuple[bytes, ...], drip_s: float
) -> None:
    with Silent([], *answers, drip_s=drip_s) as port, pytest.raises(NoticeError):
        MailChannel(mailing(port, smtp_tls="starttls"), deadline_s=1).send(NOTICE)


def test_the_login_that_is_refused_waits_for_a_person_and_tells_no_secret(
    mail: Any, mailing: Any, tmp_path: Path
) -> None:
    _, port = mail()
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-secret-99\n")
    wrong.chmod(0o400)
    with pytest.raises(NoticeError, match="refuses the login") as told:
        MailChannel(mailing(port, smtp_password_file=str(wrong))).send(NOTICE)
    assert told.value.least_s > 0
    assert "wrong-secret" not in f"{told.value} {told.value.__cause__} {told.value.args}"


@pytest.mark.parametrize(
    ("answer", "says", "waits"), [("451 later", "refuses the message \\(451\\)", False), ("554 no", "554", True)]
)
def test_a_message_that_is_refused_is_told_by_its_code(
    mail: Any, mailing: Any, answer: str, says: str, waits: bool
) -> None:
    mailbox, port = mail()
    mailbox.answer = answer
    with pytest.raises(NoticeError, match=says) as told:
        MailChannel(mailing(port)).send(NOTICE)
    assert (told.value.least_s > 0) == waits


@pytest.mark.parametrize("mode", [0o444, 0o604])
def test_a_password_that_everybody_can_read_is_not_used(mail: Any, mailing: Any, secrets: Any, mode: int) -> None:
    _, port = mail()
    Path(secrets["password"]).chmod(mode)
    with pytest.raises(NoticeError, match="chmod 0400"):
        MailChannel(mailing(port)).send(NOTICE)


def test_a_password_or_token_that_no_protocol_carries_is_told(servers: Any, secrets: dict[str, str]) -> None:
    mail, mailing, hook, posting = servers
    for path in secrets.values():
        Path(path).chmod(0o600)
        Path(path).write_text("pąsswörd\n")
    with pytest.raises(NoticeError, match="ASCII"):
        MailChannel(mailing(mail()[1])).send(NOTICE)
    with pytest.raises(NoticeError, match="ASCII"):
        WebhookChannel(posting(hook().port)).send(NOTICE)
    with pytest.raises(NoticeError, match="ASCII"):
        WebhookChannel(posting(hook().port, webhook_content_type="text/ąč", webhook_token_file=None)).send(NOTICE)


# -- webhook -----------------------------------------------------------------------------------------------------------


def test_a_notice_is_posted_with_its_token_in_a_header(hook: Any, posting: Any) -> None:
    server = hook()
    WebhookChannel(posting(server.port)).send(NOTICE)
    ((headers, body),) = server.got
    assert json.loads(body) == {"subject": NOTICE.subject, "text": NOTICE.text}
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == NOTICE.id
    assert headers["path"] == "/send"


HOSTILE = {"subject": 'a"b\\c\n{text} %s', "text": "<x>&'\"{subject}\u2028ž"}


def test_the_values_of_a_template_are_escaped_and_filled_once() -> None:
    body = fill('{"to":["+370"],"sms":"{subject}: {text}"}', "application/json; charset=utf-8", HOSTILE)
    assert json.loads(body) == {"to": ["+370"], "sms": f"{HOSTILE['subject']}: {HOSTILE['text']}"}
    assert json.loads(fill('{"a":"{text}"}', "application/vnd.sms+json", HOSTILE)) == {"a": HOSTILE["text"]}
    form = fill("to=%2B370&text={text}", "application/x-www-form-urlencoded", HOSTILE).decode()
    assert form == "to=%2B370&text=%3Cx%3E%26%27%22%7Bsubject%7D%E2%80%A8%C5%BE"
    xml = fill("<sms>{text}</sms>", "text/xml", HOSTILE).decode()
    assert xml == "<sms>&lt;x&gt;&amp;'&quot;{subject}\u2028ž</sms>"
    assert fill("{subject}{other}{}", "text/plain", {"subject": "s", "text": "t"}) == b"s{other}{}"


def test_a_webhook_with_a_wrong_certificate_gets_nothing(hook: Any, posting: Any) -> None:
    server = hook("127.0.0.2")
    with pytest.raises(NoticeError, match="certificate is not accepted"):
        WebhookChannel(posting(server.port)).send(NOTICE)
    plain = hook(None)
    with pytest.raises(NoticeError, match="TLS failed"):
        WebhookChannel(posting(plain.port)).send(NOTICE)
    assert server.got == plain.got == []


def test_a_gateway_on_this_machine_needs_no_tls(hook: Any, posting: Any) -> None:
    server = hook(None)
    WebhookChannel(posting(server.port, webhook_url=f"http://127.0.0.1:{server.port}/sms")).send(NOTICE)
    assert len(server.got) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.2:{port}/", "https://user:pw@127.0.0.1:{port}/", "ftp://localhost/"])
def test_a_webhook_without_tls_or_with_a_password_is_not_called(hook: Any, posting: Any, url: str) -> None:
    server = hook(None)
    with pytest.raises(NoticeError, match="https://"):
        WebhookChannel(posting(server.port, webhook_url=url.format(port=server.port))).send(NOTICE)
    assert server.got == []


@pytest.mark.parametrize(
    ("status", "headers", "least"),
    [
        (500, {}, 0), (503, {"Retry-After": "120"}, 120), (429, {"Retry-After": "99999999"}, 3_600), (404, {}, 900),
        (401, {}, 900), (302, {"Location": "https://127.0.0.1:1/"}, 900),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_success_is_tried_again(
    hook: Any, posting: Any, status: int, headers: dict[str, str], least: float
) -> None:
    server = hook()
    server.status, server.headers = status, headers
    with pytest.raises(NoticeError, match=f"answers {status}") as told:
        WebhookChannel(posting(server.port)).send(NOTICE)
    assert told.value.least_s == least
    assert TOKEN not in str(told.value)
    assert "/send" not in str(told.value)
    assert len(server.got) == 1


def test_a_webhook_that_drips_or_never_ends_costs_no_more_than_the_deadline(hook: Any, posting: Any) -> None:
    endless = hook()
    endless.answer = lambda write: [write(b"x" * 65_536) for _ in range(10_000)]
    WebhookChannel(posting(endless.port), deadline_s=5).send(NOTICE)
    assert len(endless.got) == 1
    with Silent([], b"", drip_s=0.05) as port, pytest.raises(NoticeError):
        WebhookChannel(posting(port), deadline_s=1).send(NOTICE)


def test_headers_that_drip_are_cut_at_the_deadline(hook: Any, posting: Any) -> None:
    server = hook()
    end = threading.Event()
    server.headers = {f"X-{number}": Drip(end) for number in range(50)}
    began = time.monotonic()
    with pytest.raises(NoticeError):
        WebhookChannel(posting(server.port), deadline_s=1).send(NOTICE)
    end.set()
    assert time.monotonic() - began < 60


class Drip(str):
    """The value of a header that takes its time."""

    __slots__ = ("end",)

    def __new__(cls, end: threading.Event) -> Self:
        found = super().__new__(cls, "x")
        found.end = end
        return found

    def __format__(self, _spec: str) -> str:
        self.end.wait(0.5)
        return "x"

    __str__ = __repr__ = lambda self: format(self, "")


# -- MQTT --------------------------------------------------------------------------------------------------------------


def test_a_notice_is_published_and_waits_for_the_broker(broker: Any, telling: Any) -> None:
    server = broker()
    got: list[paho.MQTTMessage] = []
    reader = paho.Client(paho.CallbackAPIVersion.VERSION2)
    ready = threading.Event()
    reader.on_connect = lambda *_: reader.subscribe(topic("meterd"), qos=1)
    reader.on_subscribe = lambda *_: ready.set()
    reader.on_message = lambda _client, _data, message: got.append(message)
    reader.reconnect_delay_set(1, 1)
    status = StatusTopic(MqttSettings(host="127.0.0.1", port=server.port), b"notices", dict)
    loop = asyncio.new_event_loop()
    running = loop.create_task(status.run())
    thread = threading.Thread(target=ended, args=(loop, running))
    thread.start()
    try:
        reader.connect("127.0.0.1", server.port)
        reader.loop_start()
        assert ready.wait(30)
        # a subscriber that comes back after the notice would not see it
        heard = threading.Event()
        heard.set()
        notices = telling(
            NoticeSettings(digest_s=0), Store(), lambda octets: heard.is_set() and status.publish(octets), lambda: T
        )
        notices.tell(event(text="the hub does not serve us: status 503"))
        until(lambda: got)
        server.stop()
        notices.tell(event("rejected", "x"))
        until(lambda: notices.state()["mqtt"]["trouble"])
        assert notices.state()["mqtt"]["waiting"] == 1
        heard.clear()
        ready.clear()
        server.start()
        assert ready.wait(60)
        heard.set()
        until(lambda: len(got) > 1)
    finally:
        loop.call_soon_threadsafe(running.cancel)
        thread.join(60)
        reader.disconnect()
        reader.loop_stop()
    assert {message.topic for message in got} == {topic("meterd")} == {"meterd/uploader/notice"}
    first = json.loads(got[0].payload)
    assert (got[0].retain, got[0].qos) == (False, 1)
    assert first | {"id": "", "text": ""} == {
        "id": "",
        "t": "2026-09-21T14:13:20Z",
        "hub": "dk",
        "severity": "error",
        "subject": "meterd dk: the hub does not serve us: status 503",
        "text": "",
        "events": [{"event": "hub_down", "state": "new", "severity": "error", "count": 1}],
    }
    assert json.loads(got[-1].payload)["events"][0]["event"] == "rejected"


def ended(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    """Run a task until it is cancelled."""
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


# -- threads -----------------------------------------------------------------------------------------------------------


def test_every_channel_has_its_notice_and_one_that_is_down_holds_up_no_other(
    servers: Any, telling: Any, free_port: Callable[[], int]
) -> None:
    mail, mailing, hook, posting = servers
    server, port, published = hook(), free_port(), []
    both = {
        **asdict(mailing(port)),
        **{k: v for k, v in asdict(posting(server.port)).items() if k.startswith("webhook")},
    }
    notices = telling(
        NoticeSettings(**(both | {"mqtt": True})), Store(), lambda octets: published.append(octets) or True
    )
    notices.tell(event())
    until(lambda: server.got and published)
    until(lambda: notices.state()["mail"]["trouble"])
    until(lambda: notices.state()["webhook"] == {"waiting": 0, "lost": 0, "trouble": None, "since": None})
    mailbox, _ = mail(port=port)
    until(lambda: mailbox.messages)
    until(lambda: notices.state()["mail"]["trouble"] is None)
    notices.tell(event(over=True, text="the hub answers again"))
    until(lambda: len(mailbox.messages) == 2 and len(server.got) == 2 and len(published) == 2)
    assert mailbox.messages[1]["Subject"] == "meterd dk: over: the hub answers again"


def asdict(settings: NoticeSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def test_what_was_not_told_is_told_once_after_a_restart(hook: Any, posting: Any, telling: Any) -> None:
    store, server = Store(), hook()
    server.status = 503
    first = telling(posting(server.port), store)
    first.tell(event("rejected", "a"))
    until(lambda: server.got)
    first.tell(event("late_day", "b"))
    first.stop()
    server.status = 200
    tried = len(server.got)
    second = telling(posting(server.port), store)
    until(lambda: second.state()["webhook"]["waiting"] == 0 and len(server.got) >= tried + 2)
    told = [headers["idempotency-key"] for headers, _ in server.got]
    assert told[:tried] == [told[0]] * tried
    assert told[tried] == told[0]
    second.stop()
    third = telling(posting(server.port), store)
    third.tell(event("rejected", "c"))
    until(lambda: len(server.got) == tried + 3)
    assert len({*told, server.got[-1][0]["idempotency-key"]}) == 3
    third.stop()
    assert len(server.got) == tried + 3


def test_what_lasts_goes_to_a_second_circle_once_also_across_restarts(servers: Any, telling: Any) -> None:
    mail, mailing, hook, posting = servers
    (mailbox, port), server, store, now = mail(), hook(), Store(), [T]
    posted = {name: value for name, value in asdict(posting(server.port)).items() if name.startswith("webhook")}
    second = {
        "escalate_h": 6,
        "escalate_mail_to": ("chief@example.lt",),
        "escalate_webhook_template": '{"to":["+37060000001"],"message":"{subject}"}',
    }
    settings = NoticeSettings(**(asdict(mailing(port, again_h=1_000)) | posted | second))

    def to(whom: str) -> list[str]:
        return [str(one["Subject"]) for one in mailbox.messages if one["To"] == whom]

    def restart(running: Notices | None = None) -> Notices:
        if running is not None:
            running.stop()
        return telling(settings, store, None, lambda: now[0])

    def quiet(notices: Notices) -> bool:
        return len(notices.state()) == 4 and not any(one["waiting"] for one in notices.state().values())

    notices = restart()
    notices.tell(event(text="the hub does not serve us: status 503"))
    until(lambda: len(to("a@example.lt, b@example.lt")) == 1 and len(server.got) == 1 and quiet(notices))
    # the process is not there when the time comes
    notices.stop()
    now[0] += 7 * 3_600
    notices = restart()
    until(lambda: to("chief@example.lt") and len(server.got) == 2 and quiet(notices))
    assert to("chief@example.lt") == ["meterd dk: escalated: the hub does not serve us: status 503"]
    headers, body = server.got[1]
    assert json.loads(body)["to"] == ["+37060000001"]
    assert headers["authorization"] == f"Bearer {TOKEN}"
    now[0] += 7 * 3_600
    notices = restart(notices)
    notices.tell(event(over=True, text="the hub answers again"))
    until(lambda: len(to("chief@example.lt")) == 2 and len(server.got) == 4 and quiet(notices))
    notices.stop()
    over = "meterd dk: over: the hub answers again"
    assert to("chief@example.lt")[1:] == to("a@example.lt, b@example.lt")[1:] == [over]
    assert len({str(one["Message-ID"]) for one in mailbox.messages}) == len(mailbox.messages) == 4


def test_addresses_of_the_second_circle_that_are_refused_are_named(mail: Any, mailing: Any) -> None:
    _, port = mail()
    with pytest.raises(NoticeError, match="mail_from or escalate_mail_to"):
        MailChannel(mailing(port, escalate_mail_to=("ä\r\nBcc: x",)), escalated=True).send(NOTICE)


def test_a_notice_leaves_only_after_it_was_written(hook: Any, posting: Any, telling: Any) -> None:
    server, store, sent_before = hook(), Store(), []
    remember = store.remember

    def slowly(key: str, value: bytes) -> None:
        time.sleep(0.3)
        sent_before.append(len(server.got))
        remember(key, value)

    store.remember = slowly
    notices = telling(posting(server.port), store)
    notices.tell(event())
    until(lambda: server.got)
    notices.stop()
    # only the last one, that it was taken, came behind it
    assert len(sent_before) > 1
    assert not any(sent_before[:-1])


def test_ten_thousand_events_from_many_threads_are_one_notice(hook: Any, posting: Any, telling: Any) -> None:
    server, now = hook(), [T]
    notices = telling(posting(server.port, digest_s=900), Store(), None, lambda: now[0])
    began = threading.Barrier(10)

    def flood(number: int) -> None:
        began.wait(30)
        for one in range(1_000):
            notices.tell(event("rejected", f"{number}-{one}"))

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    now[0] += 900
    until(lambda: server.got)
    counts = [json.loads(body)["subject"] for _, body in server.got]
    assert counts == ["meterd dk: 10000 errors"]


def test_a_ledger_that_cannot_be_written_keeps_no_notice_back(
    hook: Any, posting: Any, telling: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, store = hook(), Store()
    notices = telling(posting(server.port), store)
    store.broken = True
    notices.tell(event())
    until(lambda: server.got)
    with caplog.at_level(logging.WARNING):
        other = telling(posting(server.port), store)
        other.tell(event(hub="lt"))
        until(lambda: len(server.got) == 2)
    assert "will not outlive a restart" in caplog.text


def test_no_notices_without_a_table_or_a_channel(telling: Any) -> None:
    for settings in (None, NoticeSettings(), NoticeSettings(mqtt=False)):
        notices = telling(settings, Store())
        for _ in range(10):
            notices.tell(event())
        assert notices.state() == {}


def test_no_secret_is_logged(servers: Any, telling: Any, caplog: pytest.LogCaptureFixture) -> None:
    mail, mailing, hook, posting = servers
    mailbox, port = mail()
    mailbox.answer = f"554 {PASSWORD} refused"
    server = hook()
    server.status = 500
    server.answer = lambda write: write(TOKEN.encode())
    url = f"https://127.0.0.1:{server.port}/send?key=url-secret-1"
    hooked = {k: v for k, v in asdict(posting(server.port, webhook_url=url)).items() if k.startswith("webhook")}
    with caplog.at_level(logging.DEBUG):
        notices = telling(NoticeSettings(**{**asdict(mailing(port)), **hooked}), Store())
        notices.tell(event(text=f"client_secret={PASSWORD} was refused"))
        until(lambda: all(one["trouble"] for one in notices.state().values()))
        notices.stop()
    said = caplog.text + json.dumps(notices.state()) + "".join(body.decode() for _, body in server.got)
    ours = "\n".join(line for line in said.splitlines() if "mail.log" not in line)
    for secret in (PASSWORD, TOKEN, "url-secret-1"):
        assert secret not in ours


def test_a_channel_rests_longer_after_each_failure() -> None:
    drawn = [max(backoff_s(attempt) for _ in range(200)) for attempt in (1, 3, 6, 99)]
    assert 1 < drawn[0] <= 30 < drawn[1] <= 120 < drawn[2] <= 960 < drawn[3] <= 3_600


def test_smtplib_reads_answers_as_ours_does() -> None:
    """The bounded reader stands in for this method: a new release of Python must still call it."""
    assert callable(smtplib.SMTP.getreply)
    assert smtplib.SMTP_SSL.getreply is smtplib.SMTP.getreply
