"""Hold discovery against Home Assistant's own schemas, which need an environment of their own (2024.11 or later).

    .venv/bin/python tools/home_assistant.py print | PYTHON tools/home_assistant.py check

PYTHON is one that can `import homeassistant`. What was checked last, and with which version, stands in
docs/consumers/home-assistant.md; the tests hold discovery against a copy of the facts.
"""

import asyncio
import json
import sys
import tempfile
from importlib import import_module
from typing import Any


def messages() -> list[tuple[str, str]]:
    """Everything that can be announced, in both forms: (topic, payload)."""
    from gateway.sinks import homeassistant as ha
    from gateway.sinks import topics
    from gateway.sinks.registers import NAMES

    quantities = dict.fromkeys((*topics.POWER, *topics.ENERGY), 30)
    meter = topics.meter_topics("meterd", "main")
    main = ha.Main("main", meter, "meterd/status", quantities, dict.fromkeys(NAMES, 210), tuple(NAMES), has_clock=True)
    kinds = [("gas", "m3"), ("water", "l"), ("heat", "GJ"), ("heat", "m3"), ("cooling", "MWh"), ("electricity", "kWh")]
    subs = [ha.Sub(f"{n:016x}", medium, n, unit, True, 210) for n, (medium, unit) in enumerate(kinds)]
    devices = [ha.main_device(main, bytes(16)), *(ha.sub_device(sub, main, bytes(16)) for sub in subs)]
    known = [device for device in devices if device]
    told = [message for device in known for form in ha.FORMS for message in ha.announce(device, form, "homeassistant")]
    return [(message.topic, message.payload.decode()) for message in told if message.payload]


async def check(told: list[tuple[str, str]]) -> int:
    """Give each message to the schemas; returns how many entities they took. Raises voluptuous.Invalid."""
    with tempfile.TemporaryDirectory() as folder:
        import_module("homeassistant.helpers.frame").async_setup(
            import_module("homeassistant.core").HomeAssistant(folder)
        )
    mqtt = "homeassistant.components.mqtt"
    bundle = import_module(f"{mqtt}.schemas").DEVICE_DISCOVERY_SCHEMA
    platforms = {name: import_module(f"{mqtt}.{name}").DISCOVERY_SCHEMA for name in ("sensor", "binary_sensor")}
    constants = import_module("homeassistant.components.sensor.const")
    count = 0
    for topic, payload in told:
        config: dict[str, Any] = json.loads(payload)
        parts = {topic.split("/")[1]: config}
        if "components" in config:
            bundle(json.loads(payload))
            shared = {key: config[key] for key in ("device", "origin", "availability", "availability_mode")}
            parts = {key: shared | part for key, part in config["components"].items() if len(part) > 1}
        for key, part in parts.items():
            entity = platforms[part.pop("platform", key)](part)
            _measure(entity, constants)
            count += 1
    return count


def _measure(entity: dict[str, Any], constants: Any) -> None:
    """Units and state classes of device classes, which the schemas only warn of."""
    device_class = entity.get("device_class")
    units = constants.DEVICE_CLASS_UNITS.get(device_class)
    states = constants.DEVICE_CLASS_STATE_CLASSES.get(device_class)
    if units is not None and entity.get("unit_of_measurement") not in units:
        raise ValueError(f"{entity['unique_id']}: {entity.get('unit_of_measurement')} is no unit of {device_class}")
    if states is not None and entity.get("state_class") not in {*states, None}:
        raise ValueError(f"{entity['unique_id']}: {entity.get('state_class')} is no state class of {device_class}")


def main(arguments: list[str]) -> int:
    """Print the messages as JSON, or check those on stdin."""
    if arguments == ["print"]:
        print(json.dumps(messages()))
        return 0
    version = import_module("homeassistant.const").__version__
    print(f"Home Assistant {version} takes {asyncio.run(check(json.load(sys.stdin)))} entities")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
