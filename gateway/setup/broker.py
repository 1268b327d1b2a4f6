"""Tests a broker: connects as the daemon will, and asks whether the topics of a meter may be written."""

import asyncio
import secrets
import time
from dataclasses import dataclass

import msgspec
from paho.mqtt.enums import MQTTProtocolVersion

from gateway.settings import BrokerSettings, MqttSettings
from gateway.sinks.mqtt_errors import ConnectionFailedError, UnansweredError, UnsupportedVersionError, place
from gateway.sinks.mqtt_link import Link
from gateway.sinks.topics import Message

_FIVE, _THREE = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
#: seconds for the acknowledgements
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker said; `error` is a sentence, `writes` is None where it does not say (MQTT 3.1.1).

    `announces`: whether the topics of Home Assistant's discovery may be written; None where that is not known, or off.
    """

    broker: str
    protocol: str | None = None
    writes: bool | None = None
    announces: bool | None = None
    error: str | None = None


def test(settings: MqttSettings, meter: str) -> Answer:
    """Connect, publish an empty message below the meter's topics with QoS 1 (not retained), and disconnect."""
    try:
        return asyncio.run(_test(settings, meter))
    except ConnectionFailedError as failure:
        return Answer(place(settings), error=failure.reason)


def topic(settings: MqttSettings, meter: str) -> str:
    """The topic of the test: no consumer has a use for it, and the right to write `<base>/#` covers it."""
    return f"{settings.base}/{meter}/setup"


def discovery_topic(settings: MqttSettings) -> str:
    """A topic of discovery under which nothing is known: an empty message there means nothing."""
    return f"{settings.discovery_prefix}/device/meterd-setup/config"


async def _test(settings: MqttSettings, meter: str) -> Answer:
    link = await _open(_without_will(settings))
    refused: list[str] = []
    link.on_refused = refused.append
    try:
        await _publish(link, topic(settings, meter), settings)
        if refused:
            advice = f"allow it to write {settings.base}/# in the broker's access list"
            error = f"broker {place(settings)} does not let this user publish {refused[0]}: {advice}"
            return Answer(place(settings), link.protocol, writes=False, error=error)
        if settings.discovery != "off":
            await _publish(link, discovery_topic(settings), settings)
        await link.disconnect(1.0)
    finally:
        link.close()
    announces = not refused if link.is_five and settings.discovery != "off" else None
    return Answer(place(settings), link.protocol, link.is_five or None, announces)


def _without_will(settings: MqttSettings) -> BrokerSettings:
    """The same broker: whatever becomes of the test, no daemon that runs is called offline by its will."""
    names = [field.name for field in msgspec.structs.fields(BrokerSettings)]
    return BrokerSettings(**{name: getattr(settings, name) for name in names})


async def _open(settings: BrokerSettings) -> Link:
    """Offer MQTT 5, then 3.1.1, as the daemon does; under a client id of its own, so that it disturbs no daemon."""
    client_id = f"meterd-setup-{secrets.token_hex(4)}"
    if settings.version == "3.1.1":
        return await Link.open(settings, client_id, _THREE)
    try:
        return await Link.open(settings, client_id, _FIVE)
    except (UnsupportedVersionError, UnansweredError):
        if settings.version == "5":
            raise
        return await Link.open(settings, client_id, _THREE)


async def _publish(link: Link, name: str, settings: MqttSettings) -> None:
    """Publish an empty message; raises ConnectionFailedError when the connection is lost, or nothing acknowledged."""
    link.publish([Message(name, b"", qos=1)])
    end = time.monotonic() + ANSWER_S
    while link.unacked:
        if time.monotonic() > end:
            raise ConnectionFailedError(f"broker {place(settings)} accepts the connection, and acknowledges no message")
        await link.wait(0.02)
