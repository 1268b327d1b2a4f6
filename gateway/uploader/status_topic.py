"""The uploader at the broker: `<base>/uploader/status`, retained JSON; offline by the broker's word when it dies."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gateway.settings import BrokerSettings, ConnectionSettings, MqttSettings
from gateway.sinks.mqtt_connector import Connector
from gateway.sinks.mqtt_errors import place
from gateway.sinks.mqtt_link import Link
from gateway.sinks.topics import JSON, Message
from gateway.uploader.notice_mqtt import topic as notice_topic

#: between two looks at what is to be told (s), and time for the last word
TICK_S, FAREWELL_S = 0.5, 1.5
#: a notice must be acknowledged within it (s)
ACKNOWLEDGED_S: Final = 10.0
OFFLINE: Final = b'{"state":"offline"}'

_log = logging.getLogger(__name__)


class UploaderBroker(BrokerSettings, frozen=True):
    """The broker of `[mqtt]` for a connection of its own."""

    base: str = "meterd"

    @property
    def will(self) -> str:
        """`<base>/uploader/status`."""
        return status_topic(self.base)

    @property
    def will_payload(self) -> bytes:
        """What the broker says there when the connection ends without a word."""
        return OFFLINE


def status_topic(base: str) -> str:
    """Where the state of all hubs is told."""
    return f"{base}/uploader/status"


def broker(mqtt: MqttSettings) -> UploaderBroker:
    """The connection of the uploader, by `[mqtt]`."""
    keys = {field.name: getattr(mqtt, field.name) for field in msgspec.structs.fields(ConnectionSettings)}
    return UploaderBroker(base=mqtt.base, **(keys | {"host": mqtt.host}))


def client_id(mqtt: MqttSettings, installation: bytes) -> str:
    """A client id that is not the daemon's, and the same after a restart: the broker ends a dead connection by it."""
    if mqtt.client_id:
        return f"{mqtt.client_id[:55]}-uploader"
    return f"meterd-uploader-{hashlib.blake2b(installation, digest_size=4).hexdigest()}"


class StatusTopic:
    """Tells the broker what `status()` gives, whenever it changed; and hands notices over."""

    def __init__(self, mqtt: MqttSettings, installation: bytes, status: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = broker(mqtt)
        self._connector = Connector(self._settings, client_id(mqtt, installation))
        self._status = status
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        self._loop = asyncio.get_running_loop()
        await self._connector.run(self._session)

    def publish(self, octets: bytes) -> bool:
        """Publish a notice, from another thread; true once the broker acknowledged it."""
        loop = self._loop
        if loop is None or loop.is_closed() or self._link is None:
            return False
        handed = self._hand(octets)
        try:
            return asyncio.run_coroutine_threadsafe(handed, loop).result(ACKNOWLEDGED_S + 1)
        except (TimeoutError, RuntimeError):  # the loop stands still, or has ended
            handed.close()
            return False

    async def _session(self, link: Link) -> None:
        """One connection, until it is lost or cancelled."""
        _log.info("connected to broker %s with MQTT %s", place(self._settings), link.protocol)
        self._link, told = link, b""
        try:
            while True:
                said = msgspec.json.encode(self._status())
                if said != told and link.writable:
                    link.publish([self._message(said)])
                    told = said
                await link.wait(TICK_S)
        except asyncio.CancelledError:
            ids = link.publish([self._message(OFFLINE)])
            await link.disconnect(FAREWELL_S, behind_all=ids)
            raise
        finally:
            self._link = None

    async def _hand(self, octets: bytes) -> bool:
        link = self._link
        if link is None or not link.writable:
            return False
        acknowledged = asyncio.get_running_loop().create_future()

        def acked(code: int, _name: str) -> None:
            if not acknowledged.done():
                acknowledged.set_result(code < 0x80)

        if not link.hand(Message(notice_topic(self._settings.base), octets, qos=1, content_type=JSON), acked):
            return False
        await asyncio.wait([acknowledged, link.lost], timeout=ACKNOWLEDGED_S, return_when=asyncio.FIRST_COMPLETED)
        return acknowledged.done() and bool(acknowledged.result())

    def _message(self, payload: bytes) -> Message:
        return Message(status_topic(self._settings.base), payload, qos=1, retain=True, content_type=JSON)
