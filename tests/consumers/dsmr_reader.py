"""Home Assistant's own integration `dsmr_reader` on a broker: prints the state of each of its sensors as JSON.

Runs in an environment that has Home Assistant. Its sensors subscribe as they do there; only the way from the broker to
them is short, because Home Assistant's MQTT integration needs a whole Home Assistant. Arguments: port, seconds.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as paho
from homeassistant.components.dsmr_reader import sensor
from homeassistant.components.dsmr_reader.definitions import SENSORS
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant

PREFIX = "dsmr/reading/"


async def main(port: int, seconds: float) -> None:
    """Feed what the broker has to the sensors, then say what they show."""
    home, heard = HomeAssistant("."), {}
    subscriptions: dict[str, Callable[[Any], None]] = {}

    async def subscribe(_home: Any, topic: str, callback: Callable[[Any], None], _qos: int) -> None:
        subscriptions[topic] = callback

    sensor.mqtt.async_subscribe = subscribe
    sensors = {
        description.key: sensor.DSMRSensor(description, SimpleNamespace(entry_id="x")) for description in SENSORS
    }
    for entity in sensors.values():
        entity.hass, entity.async_write_ha_state = home, lambda: None
        names = ("platform", "object_id_platform", "default_language_platform", "component")
        entity.platform = SimpleNamespace(
            platform_name="dsmr_reader", domain="sensor", **{f"{name}_translations": {} for name in names}
        )
        await entity.async_added_to_hass()
    client = paho.Client()
    client.on_message = lambda _client, _data, message: heard.update({message.topic: message.payload.decode()})
    client.connect("127.0.0.1", port)
    client.subscribe(f"{PREFIX}#")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.loop(0.1)
    for topic, payload in heard.items():
        if topic in subscriptions:
            subscriptions[topic](SimpleNamespace(payload=payload))
    states = {
        topic: [entity.state, entity.native_unit_of_measurement] for topic, entity in sensors.items() if topic in heard
    }
    silent = [topic for topic in sensors if topic.startswith(PREFIX) and topic not in heard]
    print(json.dumps({"version": __version__, "states": states, "without": silent}))
    await home.async_stop(force=True)


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
