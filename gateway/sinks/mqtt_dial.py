"""Opens a connection to the broker in a thread of its own, so that name resolution, TCP and TLS never hold the loop."""

import asyncio
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.settings import BrokerSettings
from gateway.sinks.mqtt_errors import NEEDS_PERSON_S, ConnectionFailedError, explain, port

CONNECT_TIMEOUT_S = 5.0
#: longest a thread is waited for: resolvers try several servers, and a name can have several addresses
DIAL_TIMEOUT_S = 30.0
_MAX_PASSWORD = 65_535
#: nothing that is meant for this client is larger (octets)
MAX_PACKET = 65_536


#: reason codes of PUBACK (MQTT 5, clause 3.4.2.1)
_UNSPECIFIED = 0x80
_PUBACK_CODES = frozenset({0x00, 0x10, _UNSPECIFIED, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})


class PingedClient(Client):
    """A client that tells of each PINGREQ that it puts behind its other packets, and of each PINGRESP that came.

    It also takes reason codes of PUBACK that MQTT 5 does not have there: mosquitto answers a message that is too large
    with 0x95, which paho would call a malformed packet, and close the connection.
    """

    #: of the last PUBACK, as the broker sent it
    puback_code = 0
    on_ping: Callable[[], None] = staticmethod(lambda: None)
    on_pong: Callable[[], None] = staticmethod(lambda: None)

    def _send_pingreq(self) -> MQTTErrorCode:
        self.on_ping()
        return super()._send_pingreq()

    def _handle_pingresp(self) -> MQTTErrorCode:
        self.on_pong()
        return super()._handle_pingresp()

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        self.puback_code = packet[2] if len(packet) > 2 else 0
        if self.puback_code not in _PUBACK_CODES:
            self._in_packet["packet"] = bytearray((*packet[:2], _UNSPECIFIED, *packet[3:]))
        return super()._handle_pubackcomp(cmd)


async def dial(
    settings: BrokerSettings, client_id: str, version: MQTTProtocolVersion, *, max_queued: int
) -> PingedClient:
    """Return a client that has sent its CONNECT; raises ConnectionFailedError. When cancelled, the socket is closed."""
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            return await _in_thread(lambda: _open(settings, client_id, version, max_queued))
    except TimeoutError as error:
        raise explain(error, settings) from None


def exposed_password(settings: BrokerSettings) -> str | None:
    """Say that others can read the password file; whether it can be read at all is seen when connecting."""
    path = Path(settings.password_file or "")
    if path.is_file() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"mqtt.password_file {path} can be read by other users: chmod 600 it"
    return None


def discard(client: Client) -> None:
    """Close the socket of a client that nobody reads from, without a DISCONNECT."""
    sock = client.socket()
    if sock is not None:
        sock.close()


async def _in_thread(work: Callable[[], PingedClient]) -> PingedClient:
    """Run `work` in a daemon thread: unlike an executor's, it does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[PingedClient] = loop.create_future()

    def main() -> None:
        try:
            outcome: PingedClient | ConnectionFailedError = work()
        except ConnectionFailedError as error:
            outcome = error
        try:
            loop.call_soon_threadsafe(_settle, future, outcome)
        except RuntimeError:  # the loop has ended meanwhile
            if isinstance(outcome, PingedClient):
                discard(outcome)

    threading.Thread(target=main, name="mqtt-dial", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        if not future.cancelled() and future.exception() is None:
            discard(future.result())
        raise


def _settle(future: asyncio.Future[PingedClient], outcome: PingedClient | ConnectionFailedError) -> None:
    if isinstance(outcome, PingedClient) and future.done():
        discard(outcome)
    elif isinstance(outcome, PingedClient):
        future.set_result(outcome)
    elif not future.done():
        future.set_exception(outcome)


def _open(settings: BrokerSettings, client_id: str, version: MQTTProtocolVersion, max_queued: int) -> PingedClient:
    five = version == MQTTProtocolVersion.MQTTv5
    client = PingedClient(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=None if five else True,
        protocol=version,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_queued_messages_set(max_queued)
    if settings.will:
        client.will_set(settings.will, settings.will_payload, qos=1, retain=True)
    if settings.username is not None:
        client.username_pw_set(settings.username, _password(settings))
    if five:
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = MAX_PACKET
        client.connect_async(settings.host, port(settings), settings.keepalive_s, clean_start=True, properties=limits)
    else:
        client.connect_async(settings.host, port(settings), settings.keepalive_s)
    _reconnect(client, settings)
    return client


def _reconnect(client: Client, settings: BrokerSettings) -> None:
    if settings.tls:
        _reconnect_tls(client, settings)
        return
    try:
        client.reconnect()
    except (OSError, ValueError) as error:
        raise explain(error, settings) from None


def _reconnect_tls(client: Client, settings: BrokerSettings) -> None:
    import ssl

    from gateway.sinks import mqtt_tls

    client.tls_set_context(mqtt_tls.create(settings))
    try:
        client.reconnect()
    except ssl.SSLError as error:
        raise mqtt_tls.explain(error, settings) from None
    except ConnectionResetError:
        raise mqtt_tls.no_tls(settings) from None
    except (OSError, ValueError) as error:
        raise explain(error, settings) from None


def _password(settings: BrokerSettings) -> str | None:
    """Read the password anew for each connection, so that a changed file needs no restart."""
    if settings.password_file is None:
        return None
    path = Path(settings.password_file)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_PASSWORD + 1)
    except OSError as error:
        raise ConnectionFailedError(
            f"mqtt.password_file {path} cannot be read: {error.strerror}", NEEDS_PERSON_S
        ) from None
    return _text(content, path)


def _text(content: bytes, path: Path) -> str:
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConnectionFailedError(f"mqtt.password_file {path} is not UTF-8 text", NEEDS_PERSON_S) from None
    if not 0 < len(content) <= _MAX_PASSWORD or not text:
        raise ConnectionFailedError(
            f"mqtt.password_file {path} is empty or too long: it holds the password on one line", NEEDS_PERSON_S
        )
    return text
