"""What is known of a meter as Home Assistant's MQTT discovery: pure, from names and numbers of ours to messages.

Nothing that a meter sends stands in a topic, an id, a template or a name: of its texts only the pseudonym of a
sub-meter (16 hexadecimal digits) gets here, and its units are looked up in a table. Keys, classes and units are
those of home-assistant/core, components/mqtt (schemas.py, sensor.py) and components/sensor/const.py (docs/consumers).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from gateway import __version__
from gateway.line_state import POLLED, STATES
from gateway.pseudonym import pseudonym
from gateway.sinks.registers import NAMES
from gateway.sinks.topics import JSON, Message, MeterTopics

Form: TypeAlias = Literal["device", "component"]
FORMS: tuple[Form, ...] = ("device", "component")

#: keys of entities -> name, quantity of item P
POWER = {
    "power_import": ("Power import", "p_import_w"),
    "power_export": ("Power export", "p_export_w"),
    "power_net": ("Power net", "p_net_w"),
}
ENERGY = {"energy_import": ("Energy import", "a_import_wh"), "energy_export": ("Energy export", "a_export_wh")}
#: key -> name, platform, what is special: all are read from the retained `state`, and outlive the silence of the meter
DIAGNOSTICS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "line_state": ("Line state", "state", {"device_class": "enum", "options": [*STATES, *POLLED]}),
    "last_seen": ("Last seen", "last_seen", {"device_class": "timestamp"}),
    "missed_telegrams": ("Missed telegrams", "missed", {"state_class": "total_increasing"}),
    "authenticity": (
        "Authenticity",
        "auth",
        {"device_class": "enum", "options": ["plain", "unverified", "verified"]},
    ),
    "clock_offset": (
        "Clock offset",
        "clock_offset_s",
        {"device_class": "duration", "state_class": "measurement", "unit_of_measurement": "s"},
    ),
    "meter_time": ("Meter time", "meter_time", {"device_class": "timestamp", "enabled_by_default": False}),
}
#: those of a meter that tells its time
_CLOCK = ("clock_offset", "meter_time")
ONLINE_KEY = "online"
#: unit of a register's name -> device class, state class
_REGISTERS: dict[str, tuple[str | None, str]] = {
    "V": ("voltage", "measurement"),
    "A": ("current", "measurement"),
    "W": ("power", "measurement"),
    "var": ("reactive_power", "measurement"),
    "Hz": ("frequency", "measurement"),
    "": ("power_factor", "measurement"),
    "Wh": ("energy", "total_increasing"),
    "varh": (None, "total_increasing"),
}
_WORDS = {"p": "power", "a": "energy", "q": "reactive power", "r": "reactive energy", "max": "maximum"}
#: unit of a sub-meter -> unit of Home Assistant, and its device class where the medium does not say it
_UNITS = {
    "m3": ("m³", "volume"),
    "l": ("L", "volume"),
    "Wh": ("Wh", "energy"),
    "kWh": ("kWh", "energy"),
    "MWh": ("MWh", "energy"),
    "MJ": ("MJ", "energy"),
    "GJ": ("GJ", "energy"),
}
_WATERS = frozenset({"water", "warm water", "hot water", "cold water", "waste water"})
_SUB_KEYS = ("total", "reading_time")
_MAX_TEXT = 64


class Model(NamedTuple):
    """What a profile says of the meters that it reads, as plain text of bounded length."""

    model: str | None = None
    manufacturer: str | None = None


@dataclass(frozen=True, slots=True)
class Main:
    """A meter of the configuration, and what it was seen to send: quantity -> s after which its value is old."""

    name: str
    topics: MeterTopics
    status: str
    quantities: Mapping[str, int]
    registers: Mapping[str, int]
    #: names of registers that are published when they come
    chosen: tuple[str, ...] = ()
    has_clock: bool = False
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Sub:
    """A sub-meter behind a meter of the configuration; `device` is its pseudonym, None where it has no number."""

    device: str | None
    medium: str
    channel: int
    unit: str
    has_time: bool
    expire_s: int


class Entity(NamedTuple):
    """One entity: its platform, its key inside the device, and its configuration beside what the device shares."""

    platform: str
    key: str
    config: dict[str, Any]


class Device(NamedTuple):
    """One device with its entities, and keys that it must not have any more."""

    id: str
    info: dict[str, Any]
    availability: tuple[str, ...]
    entities: tuple[Entity, ...]
    gone: tuple[str, ...] = ()


def main_id(salt: bytes, meter: str) -> str:
    """The id of a meter: of its name, so that it stays through another port, another profile and a meter exchange."""
    return f"meterd_{pseudonym(salt, f'home assistant {meter}')}"


def sub_id(salt: bytes, meter: str, sub: Sub) -> str:
    """The id of a sub-meter: of its pseudonym, so that another channel leaves it and another device changes it."""
    who = sub.device or f"channel {sub.channel}"
    return f"meterd_{pseudonym(salt, f'home assistant {meter} {sub.medium} {who}')}"


def main_device(main: Main, salt: bytes) -> Device:
    """A meter as a device: what it sends, then how its line is."""
    at = main_id(salt, main.name)
    model = main.model or Model()
    info = {"identifiers": [at], "name": main.name, "model": model.model, "manufacturer": model.manufacturer}
    entities = [*_quantities(main), *_registers(main), *_diagnostics(main)]
    named = tuple(_named(entity, at, main.name) for entity in entities)
    gone = tuple(f"register_{name}" for name in NAMES if name not in main.chosen)
    shown = {key: value for key, value in info.items() if value}
    return Device(at, shown, (main.status, main.topics.availability), named, gone)


def sub_device(sub: Sub, main: Main, salt: bytes) -> Device | None:
    """A sub-meter as a device behind its meter; None for a unit that Home Assistant does not know."""
    if sub.unit not in _UNITS:
        return None
    at = sub_id(salt, main.name, sub)
    info = {
        "identifiers": [at],
        "name": f"{main.name} {sub.medium}",
        "model": f"{sub.medium} meter",
        "via_device": main_id(salt, main.name),
    }
    named = tuple(_named(entity, at, f"{main.name}_{sub.medium}") for entity in _sub_entities(sub, main))
    return Device(at, info, (main.status, main.topics.availability), named)


def announce(device: Device, form: Form, prefix: str) -> Iterator[Message]:
    """What makes Home Assistant know a device, retained: one bundle, or a message for each entity."""
    shared = {"device": device.info, "origin": {"name": "meterd", "sw_version": __version__}}
    shared |= _availability(device.availability)
    if form == "device":
        components = {entity.key: {"platform": entity.platform, **entity.config} for entity in device.entities}
        components |= {key: {"platform": "sensor"} for key in device.gone}
        yield _message(_bundle(prefix, device.id), shared | {"components": components})
        return
    for entity in device.entities:
        yield _message(_component(prefix, device.id, entity.platform, entity.key), shared | entity.config)
    for key in device.gone:
        yield _message(_component(prefix, device.id, "sensor", key), None)


def withdraw(at: str, form: Form, prefix: str, *, is_sub: bool) -> Iterator[Message]:
    """What makes Home Assistant and the broker forget a device of this id in this form, whatever it had."""
    if form == "device":
        yield _message(_bundle(prefix, at), None)
        return
    keys: Iterable[str] = _SUB_KEYS if is_sub else (*POWER, *ENERGY, *(f"register_{n}" for n in NAMES), *DIAGNOSTICS)
    for key in keys:
        yield _message(_component(prefix, at, "sensor", key), None)
    if not is_sub:
        yield _message(_component(prefix, at, "binary_sensor", ONLINE_KEY), None)


def model(title: str, meters: Iterable[str]) -> Model:
    """What a profile's title and list of meters say; the manufacturer only where all its meters are of one."""
    brands = {words[0] for text in meters if len(words := plain(text).split()) > 1 and words[0][:1].isupper()}
    everyone = all(len(text.split()) > 1 and text[:1].isupper() for text in meters)
    return Model(plain(title) or None, brands.pop() if len(brands) == 1 and everyone else None)


def plain(text: str) -> str:
    """A text for people: one line of printable characters, at most 64 of them."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _MAX_TEXT]).split())[:_MAX_TEXT]


def _quantities(main: Main) -> Iterator[Entity]:
    for kinds, device_class, state_class, unit in (
        (POWER, "power", "measurement", "W"),
        (ENERGY, "energy", "total_increasing", "Wh"),
    ):
        for key, (name, quantity) in kinds.items():
            if quantity in main.quantities:
                config = {"state_topic": main.topics.quantity[quantity], "expire_after": main.quantities[quantity]}
                yield Entity("sensor", key, {"name": name} | config | _measures(device_class, state_class, unit))


def _registers(main: Main) -> Iterator[Entity]:
    for register, expire_s in main.registers.items():
        unit = NAMES[register].unit
        words = register.removesuffix(f"_{unit.lower()}").split("_")
        spoken = " ".join(map(_spoken, words))
        config = {
            "name": spoken[:1].upper() + spoken[1:],
            "state_topic": main.topics.register + register,
            "expire_after": expire_s,
        }
        yield Entity("sensor", f"register_{register}", config | _measures(*_REGISTERS[unit], unit))


def _spoken(word: str) -> str:
    """A part of a register's name as people say it."""
    return f"tariff {word[1:]}" if word[0] == "t" and word[1:].isdigit() else _WORDS.get(word, word)


def _diagnostics(main: Main) -> Iterator[Entity]:
    """How the line is. Only the gateway's own status takes them away: they say why the meter is silent."""
    common = {"entity_category": "diagnostic"} | _availability((main.status,))
    online = {"name": "Meter online", "state_topic": main.topics.availability, "device_class": "connectivity"}
    yield Entity("binary_sensor", ONLINE_KEY, online | {"payload_on": "online", "payload_off": "offline"} | common)
    for key, (name, of_state, special) in DIAGNOSTICS.items():
        if key in _CLOCK and not main.has_clock:
            continue
        config = {"name": name, "state_topic": main.topics.state, "value_template": f"{{{{ value_json.{of_state} }}}}"}
        if key == "line_state":
            config["json_attributes_topic"] = main.topics.state
            config["json_attributes_template"] = (
                "{{ {'evidence': value_json.evidence, 'flags': value_json.flags} | tojson }}"
            )
        yield Entity("sensor", key, config | special | common)


def _sub_entities(sub: Sub, main: Main) -> Iterator[Entity]:
    """The total, and when the sub-meter said it. Another device on the same channel leaves both as they were.

    A total that is suspect although it has a time is lower than the one before: it is not taken for a new beginning.
    """
    unit, device_class = _UNITS[sub.unit]
    if sub.medium == "gas" and unit == "m³":
        device_class = "gas"
    elif sub.medium in _WATERS and device_class == "volume":
        device_class = "water"
    topic = {"state_topic": f"{main.topics.sub}{sub.channel:d}/reading", "expire_after": sub.expire_s}
    mine = "value_json.get('device') " + (f"== '{sub.device}'" if sub.device else "is none")
    holds = "(value_json.quality != 'suspect' or value_json.get('t') is none)"
    value = f"{{% if {mine} and {holds} %}}{{{{ value_json.quantity }}}}{{% endif %}}"
    total = {"name": "Total", "value_template": value} | topic
    yield Entity("sensor", "total", total | _measures(device_class, "total_increasing", unit))
    if sub.has_time:
        time = f"{{{{ value_json.get('t') if {mine} else none }}}}"
        config = {"name": "Reading time", "value_template": time, "device_class": "timestamp"}
        yield Entity("sensor", "reading_time", config | topic | {"entity_category": "diagnostic"})


def _measures(device_class: str | None, state_class: str, unit: str) -> dict[str, str]:
    known = {"device_class": device_class, "state_class": state_class, "unit_of_measurement": unit}
    return {key: value for key, value in known.items() if value}


def _named(entity: Entity, at: str, base: str) -> Entity:
    wanted = f"{base}_{entity.key.removeprefix('register_')}".replace("-", "_").replace(" ", "_")
    ids = {"unique_id": f"{at}_{entity.key}", "default_entity_id": f"{entity.platform}.{wanted}"}
    return entity._replace(config=entity.config | ids)


def _availability(topics: tuple[str, ...]) -> dict[str, Any]:
    return {"availability": [{"topic": topic} for topic in topics], "availability_mode": "all"}


def _bundle(prefix: str, at: str) -> str:
    return f"{prefix}/device/{at}/config"


def _component(prefix: str, at: str, platform: str, key: str) -> str:
    """Not under the id of the bundle: Home Assistant would take an empty message here for one about the bundle's."""
    return f"{prefix}/{platform}/{at}_single/{key}/config"


def _message(topic: str, config: dict[str, Any] | None) -> Message:
    """A retained message; an empty one makes the broker forget the one before."""
    if config is None:
        return Message(topic, b"", qos=1, retain=True)
    return Message(topic, msgspec.json.encode(config), qos=1, retain=True, content_type=JSON)
