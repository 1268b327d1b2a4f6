"""Topics and payloads of MQTT, without any connection: an item P in, messages out (docs/mqtt.md).

A topic is made of the base and the meter's name from the settings, and of the fixed words below. Nothing that a meter
sends becomes part of a topic, but the number of a sub-meter channel.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from decoders.model import Reading, decimal
from gateway.intervals.billed import Compared
from gateway.intervals.demand import DemandDay
from gateway.intervals.model import Direction, Interval, Resolution
from gateway.item_p import ItemP, LiveSub, sub_to_dict, to_json, utc

ONLINE = b"online"
OFFLINE = b"offline"
JSON = "application/json"

POWER = ("p_import_w", "p_export_w", "p_net_w")
ENERGY = ("a_import_wh", "a_export_wh")
ENERGY_KWH = {"a_import_kwh": "a_import_wh", "a_export_kwh": "a_export_wh"}

#: channels of sub-meters: M-Bus primary addresses are octets (EN 13757-2)
MAX_CHANNEL = 255

_BASE = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_METER = re.compile(r"[a-z0-9_-]{1,32}")


class Message(NamedTuple):
    """One PUBLISH. `expires`: with MQTT 5 the broker forgets it when its reading is no longer valid."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expires: bool = False
    content_type: str | None = None
    #: of a late reading: with MQTT 5 also a user property
    id: str | None = None


@dataclass(frozen=True, slots=True)
class MeterTopics:
    """Every topic of one meter, built once."""

    availability: str
    state: str
    reading: str
    #: late readings
    backfill: str
    #: versions of intervals; ends in a slash
    interval: str
    #: by name of the quantity: item P in W, Wh and kWh
    quantity: Mapping[str, str]
    #: prefixes that end in a slash
    register: str
    sub: str


def status_topic(base: str) -> str:
    """`<base>/status`; raises ValueError for a base that is no topic prefix."""
    if not _BASE.fullmatch(base):
        raise ValueError(f"mqtt.base {base!r} is no topic: use letters, digits, - and _, in levels parted by /")
    return f"{base}/status"


def meter_topics(base: str, meter: str) -> MeterTopics:
    """Build the topics of a meter; raises ValueError for a name that is not one of `[a-z0-9_-]{1,32}`."""
    if not _METER.fullmatch(meter):
        raise ValueError(f"meter name {meter!r} cannot be a topic level: use 1 to 32 of a-z, 0-9, - and _")
    prefix = status_topic(base).removesuffix("status") + meter
    return MeterTopics(
        availability=f"{prefix}/availability",
        state=f"{prefix}/state",
        reading=f"{prefix}/reading",
        backfill=f"{prefix}/backfill/reading",
        interval=f"{prefix}/interval/",
        quantity={name: f"{prefix}/{name}" for name in (*POWER, *ENERGY, *ENERGY_KWH)},
        register=f"{prefix}/register/",
        sub=f"{prefix}/sub/",
    )


def availability(topics: MeterTopics, *, available: bool) -> Message:
    """Whether the meter delivers readings; retained."""
    return Message(topics.availability, ONLINE if available else OFFLINE, qos=1, retain=True)


def forget(topics: MeterTopics) -> list[Message]:
    """What makes a broker forget all that it may keep of a meter: an empty message takes a retained one away."""
    kept = (topics.availability, topics.state, *(topics.quantity[name] for name in (*ENERGY, *ENERGY_KWH)))
    return [Message(topic, b"", qos=1, retain=True) for topic in kept]


def state(topics: MeterTopics, payload: bytes) -> Message:
    """The line state of the meter; retained, so it must hold no power."""
    return Message(topics.state, payload, qos=1, retain=True, content_type=JSON)


def state_json(line_state: Mapping[str, Any]) -> bytes:
    """A line state (`line_state.LineState.as_dict()`) as JSON on one line."""
    return msgspec.json.encode(line_state)


def reading(
    topics: MeterTopics, item: ItemP, *, qos: int = 0, retain_energy: bool = False, registers: bool = False
) -> Iterator[Message]:
    """Item P: first the whole as JSON, then each quantity that the meter sent as a plain number.

    Power is never retained: a number that outlives its time steers batteries and chargers wrongly.
    """
    quantity = topics.quantity
    yield Message(topics.reading, to_json(item, registers=registers), qos, expires=True, content_type=JSON)
    for name, value in _numbers(item.reading, POWER):
        yield Message(quantity[name], value, qos, expires=True)
    if item.reading.quality == "suspect":
        return  # who adds up rises would take one wrong register for a whole new meter
    for name, value in (*_numbers(item.reading, ENERGY), *_kwh(item.reading)):
        yield Message(quantity[name], value, qos, retain=retain_energy)


def late_reading(topics: MeterTopics, item: ItemP, store: str, *, registers: bool = False) -> Message:
    """A reading that was not published live, on a topic of its own; `store` is the identity of the journal.

    It never expires, and no quantity has a plain topic: who steers something by power must not take it for a new one.
    """
    id_ = f"{store}-{item.meter}-{item.seq}"
    payload = to_json(item, registers=registers, late=id_)
    return Message(topics.backfill, payload, qos=1, content_type=JSON, id=id_)


def interval(topics: MeterTopics, direction: Direction, resolution: Resolution, version: Interval) -> Message:
    """A version of an interval of active energy; a quantity that is not known is left out."""
    known = {
        "start": utc(datetime.fromtimestamp(version.start, UTC)),
        "end": utc(datetime.fromtimestamp(version.end, UTC)),
        "direction": direction,
        "quantity_wh": version.quantity,
        "status": version.status,
        "quality": version.quality,
        "coverage": version.coverage,
        "version": version.version,
    }
    payload = msgspec.json.encode({key: value for key, value in known.items() if value is not None})
    return Message(topics.interval + resolution, payload, qos=1, content_type=JSON)


def peak(topics: MeterTopics, direction: Direction, found: Compared) -> Message:
    """The meter's own peak of a month beside ours (W); what is not known is left out."""
    known = {
        "direction": direction,
        "meter_w": found.theirs.watts,
        "meter_t": utc(datetime.fromtimestamp(found.theirs.t, UTC)),
        "ours_w": found.ours,
        "difference_w": found.difference,
        "allowed_w": found.allowed,
        "highest_w": found.highest,
        "agrees": found.agrees,
    }
    payload = msgspec.json.encode({key: value for key, value in known.items() if value is not None})
    return Message(f"{topics.interval}peak", payload, qos=1, content_type=JSON)


def demand(topics: MeterTopics, direction: Direction, day: DemandDay) -> Message:
    """The meter's own means of the quarter-hours of a day beside ours: how many differ, and the worst of them."""
    worst = day.worst
    known = {
        "direction": direction,
        "start": utc(datetime.fromtimestamp(day.start, UTC)),
        "end": utc(datetime.fromtimestamp(day.end, UTC)),
        "compared": day.compared,
        "exceeded": day.exceeded,
        "worst_start": utc(datetime.fromtimestamp(worst.theirs.start, UTC)),
        "meter_w": worst.theirs.watts,
        "ours_w": worst.ours,
        "difference_w": worst.difference,
        "allowed_w": worst.allowed,
        "agrees": not day.exceeded,
    }
    return Message(f"{topics.interval}demand", msgspec.json.encode(known), qos=1, content_type=JSON)


def register(topics: MeterTopics, changes: Iterable[tuple[str, str]]) -> list[Message]:
    """Single registers by their names in `registers.NAMES`, as plain numbers."""
    return [Message(topics.register + name, value.encode(), expires=True) for name, value in changes]


def sub_readings(topics: MeterTopics, item: ItemP) -> list[Message]:
    """Sub-meters by channel as JSON `meterd.sub/1`; a channel that is no octet has no topic and is left out.

    A reading has the same octets for as long as it is the device's newest: `seq` is that of the reading it came with.
    """
    return [
        Message(f"{topics.sub}{live.reading.channel:d}/reading", _sub_json(item.meter, live), content_type=JSON)
        for live in item.subs
        if 0 <= live.reading.channel <= MAX_CHANNEL
    ]


def client_id(salt: bytes) -> str:
    """The client id of this installation: stable, and different from every other one's."""
    return f"meterd-{hashlib.blake2b(b'mqtt client id', key=salt, digest_size=4).hexdigest()}"


def _numbers(of: Reading, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        value = getattr(of, name)
        if value is not None:
            yield name, b"%d" % value


def _kwh(of: Reading) -> Iterator[tuple[str, bytes]]:
    for name, source in ENERGY_KWH.items():
        value = getattr(of, source)
        if value is not None:
            yield name, decimal(value, -3).encode()


def _sub_json(meter: str, live: LiveSub) -> bytes:
    return msgspec.json.encode(sub_to_dict(live.reading, meter=meter, device=live.device, auth=live.auth, seq=live.seq))
