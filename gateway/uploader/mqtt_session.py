"""The session of a hub that is spoken to by MQTT 5 over TLS, in the words of HTTP, so that an adapter needs no others.

The url is mqtts://HOST[:PORT]/TOPIC. POST publishes on TOPIC and path with QoS 1, and its answer, 202, is the broker's
PUBACK. GET gives the oldest message that waits on TOPIC and path, and 204 when there is none; DELETE acknowledges one
to the broker, which keeps it for us until then (a session that outlives the connection, MQTT 5, clause 3.1.2.11.2).
"""

import math
import ssl
from collections.abc import Callable, Mapping
from hashlib import sha256
from select import select
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.hub_settings import HubSettings
from gateway.uploader import tls
from gateway.uploader.credentials import Loaded
from gateway.uploader.hub import MAX_ANSWER, Answer, SessionError
from gateway.uploader.identity import Identified

PORT, PLAIN_PORT = 8_883, 1_883
KEEPALIVE_S: Final = 60
#: a connection that was idle so long is opened anew: the broker may have given it up
IDLE_S: Final = 20.0
#: how long the broker keeps messages for us while we are away (s)
KEPT_S: Final = 7 * 86_400
#: octets of a message to us, and messages that are on their way to us at once
MOST_OCTETS, MOST_WAITING = 1 << 20, 20
#: how long the broker may take to hand over what waits (s)
QUIET_S: Final = 1.0
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
#: reason codes of MQTT 5 (clause 2.4): nobody has subscribed; a person must act; wait
_NOBODY: Final = 0x10
_PERSON: Final = frozenset((0x82, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D, 0xA2))


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise


class _Client(Client):
    """Keeps what TLS said when a read failed: paho does not hand it on."""

    cause: ssl.SSLError | None = None

    def _sock_recv(self, bufsize: int) -> bytes:
        try:
            return super()._sock_recv(bufsize)
        except ssl.SSLError as error:
            self.cause = error
            raise


class _Link:
    """One connection to the broker, driven by whoever waits for something, until its deadline."""

    def __init__(
        self, settings: HubSettings, context: ssl.SSLContext, loaded: Loaded, until: Callable[[], float]
    ) -> None:
        """Connect and subscribe; raises SessionError. `until()` gives the seconds that are left, and raises it, too."""
        self._parts = urlsplit(settings.url or "")
        self.topic = self._parts.path.strip("/")
        self.where = self._parts.netloc
        self._shows = "cert_file" in loaded.paths
        self._connected: ReasonCode | None = None
        self._subscribed: ReasonCode | None = None
        self._largest = math.inf
        #: id -> message that waits for its acknowledgement
        self.waiting: dict[str, MQTTMessage] = {}
        self.published: dict[int, ReasonCode] = {}
        self._client = self._make(settings, loaded, context)
        try:
            self._open(until)
        except BaseException:
            self.close()
            raise

    def publish(self, topic: str, body: bytes, media: str, until: Callable[[], float]) -> ReasonCode:
        """Publish once with QoS 1; gives the broker's word. Raises SessionError."""
        if len(body) + len(topic) + 128 > self._largest:
            text = f"broker {self.where} takes {self._largest} octets at most, and the message has {len(body)}"
            raise SessionError(f"{text}: set bundle", sent=False, person=True)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = media
        info = self._client.publish(topic, body, qos=1, properties=properties)
        self.pump(lambda: info.mid in self.published, until, sent=True)
        return self.published.pop(info.mid)

    def acknowledge(self, message: MQTTMessage, until: Callable[[], float]) -> None:
        """Tell the broker that we have it."""
        self._client.ack(message.mid, message.qos)
        self.pump(lambda: not self._client.want_write(), until, sent=True)

    def pump(self, done: Callable[[], bool], until: Callable[[], float], *, sent: bool) -> None:
        """Serve the connection until something is done; raises SessionError where it ends before."""
        while not done():
            sock = self._client.socket()
            if sock is None:
                raise self._lost(sent=sent)
            writes = [sock] if self._client.want_write() else []
            ready = select([sock], writes, [], min(1.0, until()))
            pending = isinstance(sock, ssl.SSLSocket) and sock.pending()
            codes = [self._client.loop_read()] if ready[0] or pending else []
            codes += [self._client.loop_write()] if ready[1] else []
            codes.append(self._client.loop_misc())
            if any(code != MQTTErrorCode.MQTT_ERR_SUCCESS for code in codes) and not done():
                raise self._lost(sent=sent)
            if self._client._in_packet["remaining_length"] > 2 * MOST_OCTETS:  # noqa: SLF001 - no other way to see it
                raise SessionError(f"broker {self.where} hands over more than was allowed", sent=sent)

    def close(self) -> None:
        """Say good-bye as far as that is possible at once, and close."""
        self._client.disconnect()
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _open(self, until: Callable[[], float]) -> None:
        parts = self._parts
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = MOST_OCTETS
        limits.ReceiveMaximum = MOST_WAITING
        limits.SessionExpiryInterval = KEPT_S
        self._client.connect_timeout = until()
        port = parts.port or (PORT if parts.scheme == "mqtts" else PLAIN_PORT)
        self._client.connect_async(parts.hostname or "", port, KEEPALIVE_S, clean_start=False, properties=limits)
        try:
            self._client.reconnect()
        except ssl.SSLError as error:
            fault = tls.explain(error, f"broker {self.where}", shows=self._shows)
            raise SessionError(fault.text, sent=False, person=fault.person) from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "no connection"
            raise SessionError(f"broker {self.where} cannot be reached: {why}", sent=False) from None
        self.pump(lambda: self._connected is not None, until, sent=False)
        self._judge(self._connected, "does not let us in")
        self._client.subscribe(f"{self.topic}/ack", qos=1)
        self.pump(lambda: self._subscribed is not None, until, sent=False)
        self._judge(self._subscribed, f"does not let us read {self.topic}/ack")

    def _judge(self, code: ReasonCode | None, what: str) -> None:
        if code is not None and code.is_failure:
            text = f"broker {self.where} {what} ({str(code).lower()}): check certificate, client_id and access list"
            raise SessionError(text, sent=False, person=code.value in _PERSON)

    def _lost(self, *, sent: bool) -> SessionError:
        cause = self._client.cause
        if cause is not None and tls.is_certificate_alert(cause) and not sent:
            fault = tls.explain(cause, f"broker {self.where}", shows=self._shows)
            return SessionError(fault.text, sent=False, person=fault.person)
        if self._connected is None:
            text = "closed the connection before it let us in: it may refuse our certificate, or not speak MQTT 5"
            return SessionError(f"broker {self.where} {text}", sent=False)
        return SessionError(f"broker {self.where} closed the connection", sent=sent)

    def _make(self, settings: HubSettings, loaded: Loaded, context: ssl.SSLContext) -> _Client:
        name = sha256(f"{settings.name} {settings.url} {settings.party}".encode()).hexdigest()[:16]
        client = _Client(
            CallbackAPIVersion.VERSION2,
            f"meterd-{name}",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if self._parts.scheme == "mqtts":
            client.tls_set_context(context)
        if settings.client_id is not None and loaded.secret is not None:
            client.username_pw_set(settings.client_id, loaded.secret.reveal())
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._connected = code
        self._largest = getattr(properties, "MaximumPacketSize", math.inf)

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._subscribed = codes[0] if codes else None

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self.published[mid] = code

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        """Keep it; one beyond the bound stays at the broker, unless it was sent without a promise (QoS 0)."""
        if len(self.waiting) < MOST_WAITING:
            self.waiting[sha256(message.payload).hexdigest()] = message


class MqttSession(Identified):
    """Session of gateway.uploader.hub over MQTT; used by the thread of its hub alone."""

    _context: ssl.SSLContext | None = None
    _link: _Link | None = None
    _used = 0.0

    def close(self) -> None:
        """Close the connection; the broker keeps what comes for us."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def request(  # noqa: PLR0913 - what Session asks for
        self,
        method: str,
        path: str,
        *,
        operation: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        token: bool = True,
        max_answer: int = MAX_ANSWER,
    ) -> Answer:
        """POST, GET or DELETE as the module says; see Session.request."""
        loaded = self._ready()
        self._budget.take(operation)
        deadline = self._monotonic() + self._settings.timeout_s
        try:
            link = self._linked(loaded, self._until(deadline, sent=False))
            answer = self._ask(link, method, path, body, dict(headers or {}), deadline)
        except SessionError:
            self.close()
            raise
        self._used = self._monotonic()
        if len(answer.body) > max_answer:
            raise SessionError(f"broker {link.where}: a message of more than {max_answer} octets", sent=True)
        return answer

    def _ask(  # noqa: PLR0913, PLR0917
        self, link: _Link, method: str, path: str, body: bytes, headers: dict[str, str], deadline: float
    ) -> Answer:
        if method == "POST":
            media = headers.get("Content-Type", "application/octet-stream")
            return self._published(link, path, link.publish(
                link.topic + path, body, media, self._until(deadline, sent=True)
            ))  # fmt: skip
        if method == "GET":
            return self._next(link, deadline)
        message = link.waiting.pop(unquote(path.rpartition("/")[2]), None)
        if message is None:
            return Answer(404, {}, b"")
        link.acknowledge(message, self._until(deadline, sent=True))
        return Answer(200, {}, b"")

    def _published(self, link: _Link, path: str, code: ReasonCode) -> Answer:
        """The broker's word: 202 when it took the message over, and somebody is to get it."""
        if code.value == _NOBODY:
            text = f"nobody listens on {link.topic}{path} at broker {link.where}: the message was not kept"
            raise SessionError(text, sent=False)
        if code.is_failure:
            text = f"broker {link.where} does not take {link.topic}{path} ({str(code).lower()})"
            raise SessionError(text, sent=False, person=code.value in _PERSON)
        return Answer(202, {}, b"")

    def _next(self, link: _Link, deadline: float) -> Answer:
        quiet = min(deadline, self._monotonic() + QUIET_S)
        link.pump(
            lambda: bool(link.waiting) or self._monotonic() >= quiet, self._until(deadline, sent=False), sent=False
        )
        if not link.waiting:
            return Answer(204, {}, b"")
        name, message = next(iter(link.waiting.items()))
        media = getattr(message.properties, "ContentType", "application/xml")
        return Answer(200, {"messageid": name, "content-type": str(media)}, bytes(message.payload))

    def _linked(self, loaded: Loaded, until: Callable[[], float]) -> _Link:
        if self._link is not None and self._monotonic() - self._used > IDLE_S:
            self.close()
        if self._link is None:
            parts = urlsplit(self._settings.url or "")
            if not parts.path.strip("/"):
                text = f"{parts.netloc}: url names no topic: mqtts://HOST[:PORT]/TOPIC"
                raise SessionError(text, sent=False, person=True)
            if parts.scheme != "mqtts" and parts.hostname not in _LOOPBACK:
                raise SessionError(f"{parts.netloc}: a hub is spoken to by mqtts only", sent=False, person=True)
            assert self._context is not None  # noqa: S101 - _ready made it
            self._link = _Link(self._settings, self._context, loaded, until)
        return self._link

    def _until(self, deadline: float, *, sent: bool) -> Callable[[], float]:
        """Seconds that are left; raises SessionError when there are none."""

        def left() -> float:
            seconds = deadline - self._monotonic()
            if seconds <= 0:
                where = urlsplit(self._settings.url or "").netloc
                raise SessionError(f"broker {where} did not answer within {self._settings.timeout_s:g} s", sent=sent)
            return seconds

        return left

    def _renew(self, loaded: Loaded) -> None:
        paths = loaded.paths
        context = tls.context(paths.get("ca_file"), paths.get("cert_file"), paths.get("key_file"))
        context.sslsocket_class = _ClosingSocket
        self.close()
        self._context = context
