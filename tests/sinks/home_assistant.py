"""The facts of Home Assistant's MQTT discovery, in own words, and a consumer that follows them.

Facts from home-assistant/core 2025.4.4: components/mqtt/schemas.py (device bundle, availability, device, origin),
sensor.py and binary_sensor.py (keys of the platforms), const.py, discovery.py (topics); components/sensor/const.py
(units and state classes of each device class); helpers/config_validation.py (entity ids). `default_entity_id` is of
2025.10. What is not listed here is refused.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2
import jinja2.sandbox

TOPIC = re.compile(r"(?P<platform>[a-z_]+)/(?:(?P<node>[a-zA-Z0-9_-]+)/)?(?P<object>[a-zA-Z0-9_-]+)/config")
#: what a device bundle may say once for all its entities
SHARED = {"availability", "availability_mode"}
BUNDLE = SHARED | {"device", "origin", "components"}
DEVICE = {"identifiers", "name", "model", "manufacturer", "via_device"}
ENTITY = SHARED | {
    "device", "origin", "name", "unique_id", "default_entity_id", "entity_category", "enabled_by_default",
    "state_topic",
    "value_template", "device_class", "expire_after", "json_attributes_topic", "json_attributes_template",
}  # fmt: skip
PLATFORMS = {
    "sensor": ENTITY | {"unit_of_measurement", "state_class", "options"},
    "binary_sensor": ENTITY | {"payload_on", "payload_off"},
}
#: device class -> units, state classes; None: nothing
MEASURES: dict[str, tuple[set[str | None], set[str | None]]] = {
    "power": ({"W"}, {"measurement"}),
    "energy": ({"Wh", "kWh", "MWh", "MJ", "GJ"}, {"total", "total_increasing"}),
    "voltage": ({"V"}, {"measurement"}),
    "current": ({"A"}, {"measurement"}),
    "frequency": ({"Hz"}, {"measurement"}),
    "reactive_power": ({"var"}, {"measurement"}),
    "power_factor": ({"%", None}, {"measurement"}),
    "gas": ({"m³", "ft³", "CCF"}, {"total", "total_increasing"}),
    "water": ({"m³", "L", "gal", "ft³", "CCF"}, {"total", "total_increasing"}),
    "volume": ({"m³", "L", "mL", "gal", "ft³", "CCF"}, {"total", "total_increasing"}),
    "duration": ({"s", "min", "h", "d", "ms"}, {"measurement", "total", "total_increasing"}),
    "timestamp": ({None}, {None}),
    "enum": ({None}, {None}),
}
#: what the energy dashboard takes (components/energy/validate.py)
DASHBOARD = {
    "grid": ("energy", {"GJ", "kWh", "MJ", "MWh", "Wh"}),
    "gas": ("gas", {"m³", "ft³", "CCF"}),
    "water": ("water", {"m³", "L", "gal", "ft³", "CCF"}),
}


def components(topic: str, payload: bytes, prefix: str = "homeassistant") -> list[tuple[str, str, dict[str, Any]]]:
    """Each entity of a discovery message as (platform, key, configuration); fails where Home Assistant would refuse."""
    assert topic.startswith(f"{prefix}/")
    found = TOPIC.fullmatch(topic.removeprefix(f"{prefix}/"))
    assert found, topic
    config = json.loads(payload)
    if found["platform"] != "device":
        check_entity(found["platform"], config)
        return [(found["platform"], found["object"], config)]
    assert found["node"] is None
    assert config.keys() <= BUNDLE
    assert config["components"]
    shared = {key: config[key] for key in BUNDLE - {"components"}}
    entities = []
    for key, component in config["components"].items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", key)
        platform = component.pop("platform")
        assert platform in PLATFORMS
        if component:  # only its platform: the entity is taken away
            entity = shared | component
            check_entity(platform, entity)
            entities.append((platform, key, entity))
    return entities


def check_entity(platform: str, config: dict[str, Any]) -> None:
    """Hold one entity against the facts."""
    assert config.keys() <= PLATFORMS[platform], config.keys() - PLATFORMS[platform]
    assert config["device"].keys() <= DEVICE
    assert config["device"]["identifiers"]
    assert set(config["origin"]) == {"name", "sw_version"}
    assert config["availability_mode"] == "all"
    topics = [entry["topic"] for entry in config["availability"]] + [config["state_topic"]]
    assert all(topic and not set(topic) & set("+#\0") for topic in topics)
    assert re.fullmatch(rf"{platform}\.[a-z0-9_]+", config["default_entity_id"])
    assert config.get("entity_category", "diagnostic") == "diagnostic"
    assert config.get("expire_after", 1) > 0
    assert isinstance(config.get("expire_after", 1), int)
    for template in ("value_template", "json_attributes_template"):
        JINJA.from_string(config.get(template, ""))
    if platform == "binary_sensor":
        assert config["device_class"] == "connectivity"
        return
    check_measure(config)


def check_measure(config: dict[str, Any]) -> None:
    """Device class, unit, state class and options that go together."""
    device_class, unit, state_class = (config.get(k) for k in ("device_class", "unit_of_measurement", "state_class"))
    assert ("options" in config) == (device_class == "enum")
    assert state_class in {None, "measurement", "total_increasing"}
    if device_class is not None:
        units, state_classes = MEASURES[device_class]
        assert unit in units
        assert state_class in state_classes


JINJA = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


@dataclass
class Entity:
    """One entity as it stands: its state, or `unavailable`."""

    platform: str
    config: dict[str, Any]
    value: str | None = None
    heard: float | None = None

    def receive(self, payload: bytes, now: float) -> None:
        self.heard, text = now, payload.decode()
        template = self.config.get("value_template")
        if template:
            text = JINJA.from_string(template).render(value=text, value_json=json.loads(text))
        if text == "None":
            self.value = None
        elif text or "unit_of_measurement" not in self.config:
            self._take(text)

    def _take(self, text: str) -> None:
        kind = self.config.get("device_class")
        if "options" in self.config:
            assert text in self.config["options"]
        if kind == "timestamp":
            assert datetime.fromisoformat(text).tzinfo is not None
        if self.config.get("state_class"):
            float(text)
        self.value = text


@dataclass
class HomeAssistant:
    """Follows discovery as Home Assistant does; `now` is a clock of seconds that a test moves."""

    prefix: str = "homeassistant"
    now: float = 0.0
    entities: dict[str, Entity] = field(default_factory=dict)
    #: discovery topic -> unique ids that it made
    told: dict[str, set[str]] = field(default_factory=dict)
    payloads: dict[str, str] = field(default_factory=dict)

    def receive(self, topic: str, payload: bytes) -> None:
        if topic.startswith(f"{self.prefix}/") and topic.endswith("/config"):
            self._discover(topic, payload)
            return
        self.payloads[topic] = payload.decode()
        for entity in self.entities.values():
            if entity.config["state_topic"] == topic:
                entity.receive(payload, self.now)

    def state(self, unique_id_end: str) -> str | None:
        """The state of the one entity whose unique id ends so."""
        (entity,) = [entity for uid, entity in self.entities.items() if uid.endswith(unique_id_end)]
        listed = [entry["topic"] for entry in entity.config["availability"]]
        expire_after = entity.config.get("expire_after")
        is_old = expire_after is not None and (entity.heard is None or self.now - entity.heard >= expire_after)
        if is_old or any(self.payloads.get(topic) != "online" for topic in listed):
            return "unavailable"
        return entity.value

    def _discover(self, topic: str, payload: bytes) -> None:
        if not payload:
            for uid in self.told.pop(topic, set()):
                del self.entities[uid]
            return
        known = self.told.setdefault(topic, set())
        for platform, _, config in components(topic, payload, self.prefix):
            uid = config["unique_id"]
            if uid not in known:
                assert uid not in self.entities, f"two entities with the unique id {uid}"
                known.add(uid)
                self.entities[uid] = Entity(platform, config)
            self.entities[uid].config = config
            retained = self.payloads.get(config["state_topic"])
            if retained is not None and config["state_topic"].endswith(("/availability", "/state")):
                self.entities[uid].receive(retained.encode(), self.now)
