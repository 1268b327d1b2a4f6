"""One connection to the broker, from CONNECT to its loss: a paho client that the event loop drives, without a thread.

paho's own queue stays small: while the socket takes no more, `writable` is False and the sink holds its readings back.
"""

import asyncio
import contextlib
import math
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from gateway.beats import alive
from gateway.settings import BrokerSettings
from gateway.sinks import mqtt_packet
from gateway.sinks.mqtt_dial import CONNECT_TIMEOUT_S, MAX_PACKET, PingedClient, dial, discard
from gateway.sinks.mqtt_errors import (
    KEEP_ALIVE_TIMEOUT,
    ConnectionFailedError,
    closed,
    closed_early,
    oversized,
    refused,
    silent,
    unacknowledged,
    unanswered,
)
from gateway.sinks.topics import Message

#: acknowledgements outstanding at most before the sink holds back
MAX_UNACKED = 1_000
#: messages with QoS 1 under way at once, unless the broker wants fewer (MQTT 5, 3.2.2.3.3: Receive Maximum)
MAX_IN_FLIGHT = 20
#: an acknowledgement of a broker that answers pings sent behind the message is lost when it takes longer (s)
ACK_S = 10.0
#: unanswered pings that are remembered
_MAX_PINGS = 60
#: paho sends a ping after `keepalive` s without a word from the broker; so long it may take to answer
_PING_ANSWER_S = 5.0
#: beside readings the broker is asked for a sign of life so often (s); one that owes it for so long (s) stands still
_ASK_S, _OWES_S = 0.5, 1.0
_PINGREQ = b"\xc0\x00"
_TCP_USER_TIMEOUT_MS = 15_000
_SEND_BUFFER = 65_536


class Link:
    """A connected client. `lost` becomes a ConnectionFailedError; `on_free()` is called when writing is possible again.

    `on_refused(topic)` is called for the first message below each first level of topics that the broker acknowledges as
    not accepted (MQTT 5 only).

    What was published may be known to have arrived: each publication has a number, `sent` is that of the last one, and
    the broker has read all up to `proven`. TCP keeps the order, so a PINGRESP proves what went before its PINGREQ.
    """

    def __init__(self, settings: BrokerSettings, client_id: str, client: PingedClient) -> None:
        self._settings = settings
        self._client_id = client_id
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._would_block = _would_block(tls=settings.tls)
        #: packets that go before all that paho has in its queue; the first may be sent in part
        self._unsent = b""
        #: first levels of topics of which a refused one was told
        self._refused: set[str] = set()
        self._heard = time.monotonic()
        #: since when the broker owes a sign of life; when it was asked last
        self._owes: float | None = None
        self._asked = -math.inf
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[ConnectionFailedError] = self._loop.create_future()
        #: message id -> topic of what the broker has not acknowledged yet
        self.unacked: dict[int, str] = {}
        #: message id of a late reading -> who is told the reason code of its acknowledgement
        self._handed: dict[int, Callable[[int, str], None]] = {}
        #: message id -> number of its publication, and when it was made; the oldest first
        self._due: dict[int, tuple[int, float]] = {}
        self.sent = self.proven = 0
        #: numbers that the pings under way will prove
        self._pings: deque[int] = deque()
        #: what the broker takes: messages with QoS 1 at once, octets of a packet (0: whatever is sent)
        self.max_in_flight, self.max_packet = MAX_IN_FLIGHT, 0
        self.on_free: Callable[[], None] = lambda: None
        self.on_refused: Callable[[str], None] = lambda _topic: None

    @classmethod
    async def open(cls, settings: BrokerSettings, client_id: str, version: MQTTProtocolVersion) -> "Link":
        """Connect and wait for CONNACK; raises ConnectionFailedError."""
        link = cls(settings, client_id, await dial(settings, client_id, version, max_queued=2 * MAX_UNACKED))
        try:
            link._attach()
            await link._acknowledged()
        except (ConnectionFailedError, asyncio.CancelledError):
            link.close()
            raise
        return link

    @property
    def is_five(self) -> bool:
        """Whether MQTT 5 is in force, with its message expiry."""
        return self._client.protocol == MQTTProtocolVersion.MQTTv5

    @property
    def protocol(self) -> str:
        """The version in force as a person writes it."""
        return "5" if self.is_five else "3.1.1"

    @property
    def writable(self) -> bool:
        """Whether a message would leave at once."""
        busy = self._unsent or self._client.want_write() or len(self.unacked) >= MAX_UNACKED
        return not busy and not self.stands_still and not self.lost.done()

    @property
    def stands_still(self) -> bool:
        """Whether the broker reads nothing: what is sent now would wait in its kernel, and be news when it wakes."""
        return self._owes is not None and time.monotonic() - self._owes > _OWES_S

    def publish(self, messages: Iterable[Message], valid_s: int = 0) -> list[int]:
        """Publish the first at once, the others together; returns the ids that will be acknowledged.

        `valid_s` is the expiry of those that expire. The first is on its way while the others are still being made.
        """
        self.sent += 1
        ids: list[int] = []
        is_first = True
        for message in messages:
            expiry_s = valid_s if message.expires else 0
            if message.qos or self._client.want_write():
                ids += self._publish(message, expiry_s)
                continue
            self._unsent += self._packet(message, expiry_s)
            if is_first:
                self._send()
            is_first = False
        self._ask()
        self._flush()
        return ids

    def hand(self, message: Message, acked: Callable[[int, str], None]) -> bool:
        """Publish with QoS 1; `acked(code, name)` is called with the reason code of the acknowledgement.

        False when it did not leave. Only while `writable`.
        """
        self.sent += 1
        mid = self._numbered(message, 0)
        if mid is None:
            return False
        self._handed[mid] = acked
        self._flush()
        return True

    def subscribe(self, topic: str, receive: Callable[[bytes], None], refused: Callable[[], None]) -> None:
        """Hand on what is published there from now on, not what is retained there; `refused` when that is forbidden."""

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            if len(message.payload) > MAX_PACKET:  # it came so fast that it was whole before anybody looked
                self._lose(oversized(self._settings))
            elif not message.retain:
                receive(bytes(message.payload))

        def on_subscribe(_client: Client, _data: Any, _mid: int, codes: list[ReasonCode], _props: Any) -> None:
            if any(code.is_failure for code in codes):
                refused()

        self._client.on_message, self._client.on_subscribe = on_message, on_subscribe
        self._client.subscribe(topic, qos=0)
        self._flush()

    def unsubscribe(self, topic: str) -> None:
        """Listen no more."""
        self._client.on_message = None
        self._client.unsubscribe(topic)
        self._flush()

    async def wait(self, timeout_s: float) -> None:
        """Keep the connection alive for a while; raises ConnectionFailedError as soon as it is lost."""
        alive()
        await asyncio.wait([self.lost], timeout=timeout_s)
        self._client.loop_misc()
        self._ask()
        self._flush()
        if time.monotonic() - self._heard > self._client.keepalive + _PING_ANSWER_S:
            self._lose(silent(self._settings))
        if self._is_ack_lost():
            self._lose(unacknowledged(self._settings))
        if self.lost.done():
            raise self.lost.result()

    async def disconnect(self, timeout_s: float, behind_all: Sequence[int] = ()) -> None:
        """Wait for what is not acknowledged yet, then say DISCONNECT, so that the broker drops the will.

        The acknowledgement of messages that went `behind_all` others, by their ids, proves all of them.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (self.unacked or self._unsent or self._client.want_write()) and not self.lost.done():
                    await asyncio.sleep(0.01)
        if behind_all and not self.lost.done() and self.unacked.keys().isdisjoint(behind_all):
            self.proven = self.sent
        self._client.disconnect()
        self._flush()

    def close(self) -> None:
        """Close the socket; without `disconnect` the broker publishes the will."""
        client = self._client
        sock = client.socket()
        if sock is not None:
            self._forget_socket(client, None, sock)
            _drop_unsent(cast(socket.socket, sock))
        client.on_socket_close = client.on_socket_register_write = None
        client.on_connect = client.on_disconnect = client.on_publish = None
        client.on_message = client.on_subscribe = None
        client.on_ping = client.on_pong = lambda: None
        discard(client)

    # -- what paho and the event loop call ---------------------------------------------------------------------------

    def _attach(self) -> None:
        """Hand the socket, on which CONNECT is already on its way, to the event loop."""
        client = self._client
        sock = client.socket()
        if sock is None:
            raise closed_early(self._settings)
        _tune(cast(socket.socket, sock))
        client.on_connect = self._on_connect
        client.on_ping, client.on_pong = self._on_ping, self._on_pong
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._forget_socket
        client.on_socket_register_write = self._want_write
        self._loop.add_reader(sock, self._readable)
        if client.want_write():
            self._loop.add_writer(sock, self._writable)

    async def _acknowledged(self) -> None:
        either: list[asyncio.Future[Any]] = [self._accepted, self.lost]
        await asyncio.wait(either, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if self._accepted.done():
            return
        if self.lost.done():
            raise self.lost.result()
        raise unanswered(self._settings)

    def _readable(self) -> None:
        self._heard = time.monotonic()
        if self.stands_still:
            self._loop.call_soon(self._acked)
        self._owes = None
        self._client.loop_read()
        # paho has no bound of its own, and would keep whatever comes
        if self._client._in_packet["remaining_length"] > MAX_PACKET:  # noqa: SLF001
            self._lose(oversized(self._settings))
        # TLS may have decrypted more than one packet: what it holds does not wake the loop again
        while (sock := self._client.socket()) is not None and getattr(sock, "pending", int)() > 0:
            self._client.loop_read()

    def _writable(self) -> None:
        self._flush()
        if self.writable:
            self.on_free()

    def _flush(self) -> None:
        """Write at once, not in the next turn of the loop; what the socket does not take is left to the loop."""
        self._send()
        if not self._unsent:
            self._client.loop_write()
        sock = self._client.socket()
        if sock is not None and (self._unsent or self._client.want_write()):
            self._loop.add_writer(sock, self._writable)
        elif sock is not None:
            self._loop.remove_writer(sock)

    def _ask(self) -> None:
        """Send a PINGREQ behind what was published, unless all of it is proven; any word is a sign of life."""
        now = time.monotonic()
        may_ask = self._owes is None and now - self._asked >= _ASK_S and len(self._pings) < _MAX_PINGS
        if may_ask and self.sent > self.proven and not self._client.want_write():
            self._on_ping()
            self._unsent += _PINGREQ
            self._owes = self._asked = now

    def _on_ping(self) -> None:
        self._pings.append(self.sent)

    def _on_pong(self) -> None:
        if self._pings:
            self.proven = self._pings.popleft()

    def _is_ack_lost(self) -> bool:
        """Whether a message is not acknowledged although the broker has long read it."""
        number, at = next(iter(self._due.values()), (math.inf, 0.0))
        return self.proven >= number and time.monotonic() - at > ACK_S

    def _send(self) -> None:
        sock = self._client.socket()
        if not self._unsent or sock is None:
            return
        try:
            self._unsent = self._unsent[sock.send(self._unsent) :]
        except self._would_block:
            return
        except OSError:
            self._lose(closed(self._settings))

    def _packet(self, message: Message, expiry_s: int) -> bytes:
        octets = mqtt_packet.packed(expiry_s, message.content_type) if self.is_five else b""
        return mqtt_packet.publish(message.topic, message.payload, retain=message.retain, properties=octets)

    def _publish(self, message: Message, expiry_s: int) -> list[int]:
        """Let paho publish what is acknowledged, and what has to go behind it."""
        mid = self._numbered(message, expiry_s)
        if mid is None:
            return []
        self.unacked[mid] = message.topic
        return [mid]

    def _numbered(self, message: Message, expiry_s: int) -> int | None:
        """Let paho publish; returns the message id where an acknowledgement will come."""
        properties = mqtt_packet.properties(expiry_s, message.content_type, message.id) if self.is_five else None
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        if message.qos == 0 or info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        # only while something is due: otherwise paho builds two objects for each packet of QoS 0
        self._client.on_publish = self._on_publish
        self._due[info.mid] = (self.sent, time.monotonic())
        return info.mid

    def _on_connect(self, _client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, props: Any) -> None:
        self.max_in_flight = max(1, min(MAX_IN_FLIGHT, getattr(props, "ReceiveMaximum", MAX_IN_FLIGHT)))
        self.max_packet = getattr(props, "MaximumPacketSize", 0)
        # paho has a bound of its own, and does not look at the broker's
        self._client._max_inflight_messages = self.max_in_flight  # noqa: SLF001
        if code.is_failure:
            self._lose(refused(code.value, code.getName(), self._settings, self._client_id))
        elif not self._accepted.done():
            self._accepted.set_result(None)

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, code: ReasonCode, _props: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._lose(refused(code.value, code.getName(), self._settings, self._client_id))
        elif code.value == KEEP_ALIVE_TIMEOUT:
            self._lose(silent(self._settings))
        elif not self._accepted.done():
            self._lose(closed_early(self._settings))
        else:
            self._lose(closed(self._settings))

    def _on_publish(self, _client: Client, _data: Any, mid: int, code: ReasonCode, _props: Any) -> None:
        self._due.pop(mid, None)
        if not self._due:
            self._client.on_publish = None
        if (acked := self._handed.pop(mid, None)) is not None:
            self._loop.call_soon(acked, self._client.puback_code, code.getName())
            return
        topic = self.unacked.pop(mid, None)
        if topic is None:
            return
        if code.is_failure and (level := topic.partition("/")[0]) not in self._refused:
            self._refused.add(level)
            self.on_refused(topic)
        # not from here: paho holds a lock while it calls back
        self._loop.call_soon(self._acked)

    def _acked(self) -> None:
        if self.writable:
            self.on_free()

    def _want_write(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.add_writer(sock, self._writable)

    def _forget_socket(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _lose(self, failure: ConnectionFailedError) -> None:
        if not self.lost.done():
            self.lost.set_result(failure)


def _tune(sock: socket.socket) -> None:
    """Send at once, notice a dead peer, and let the kernel keep few readings of a broker that stands still."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def _drop_unsent(sock: socket.socket) -> None:
    """Reset instead of finish: the kernel would go on to deliver readings that are old by then."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _would_block(*, tls: bool) -> tuple[type[OSError], ...]:
    """What `send` raises when it cannot take anything now."""
    if not tls:
        return (BlockingIOError,)
    import ssl

    return (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)
