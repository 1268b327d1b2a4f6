"""PUBLISH with QoS 0 as octets (MQTT 3.1.1 and 5, clause 3.3).

A reading is eight of them. Encoded here they leave in one system call; paho needs an object, two locks and a system
call for each, which made a reading three times as dear (docs/mqtt.md).
"""

from functools import lru_cache

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def publish(topic: str, payload: bytes, *, retain: bool, properties: bytes) -> bytes:
    """One packet; `properties` is empty with MQTT 3.1.1, and begins with its length with MQTT 5."""
    name = topic.encode()
    length = 2 + len(name) + len(properties) + len(payload)
    return b"".join(
        (b"\x31" if retain else b"\x30", _variable(length), len(name).to_bytes(2), name, properties, payload)
    )


def properties(expiry_s: int, content_type: str | None, id_: str | None = None) -> Properties:
    """Message expiry interval in s (0: none), content type, and the user property `id`."""
    if id_ is None:
        return _usual(expiry_s, content_type)
    result = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    result.ContentType, result.UserProperty = content_type, ("id", id_)
    return result


@lru_cache(maxsize=256)
def _usual(expiry_s: int, content_type: str | None) -> Properties:
    result = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry_s:
        result.MessageExpiryInterval = expiry_s
    if content_type:
        result.ContentType = content_type
    return result


@lru_cache(maxsize=256)
def packed(expiry_s: int, content_type: str | None) -> bytes:
    """The properties as octets, with their length in front."""
    octets: bytes = properties(expiry_s, content_type).pack()  # type: ignore[no-untyped-call]
    return octets


def _variable(length: int) -> bytes:
    """A variable byte integer (clause 1.5.5)."""
    octets = bytearray()
    while length > 127:
        octets.append(length & 127 | 128)
        length >>= 7
    octets.append(length)
    return bytes(octets)
