"""A subscriber as a process: writes everything that a broker tells, as it comes, one JSON line for each message.

Its session is kept by the broker (QoS 1, queues unbounded), so that nothing is missed that the broker took.
Lines: {"ns", "wall", "topic", "qos", "retain", "payload"}; {"ns", "event": "subscribed" | "lost"}.
"""

import json
import signal
import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def main(port: int, out: Path, password_file: Path) -> None:
    """Subscribe until SIGTERM."""
    record = out.open("a", buffering=1)

    def write(**row: object) -> None:
        record.write(json.dumps({"ns": time.monotonic_ns(), **row}) + "\n")

    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3_600
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="oracle", protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set("oracle", password_file.read_text().strip())
    client.on_connect = lambda *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: write(event="subscribed")
    client.on_disconnect = lambda *_: write(event="lost")
    client.on_message = lambda _c, _u, m: write(
        wall=time.time(), topic=m.topic, qos=m.qos, retain=m.retain, payload=m.payload.decode(errors="replace")
    )
    signal.signal(signal.SIGTERM, lambda *_: client.disconnect())
    while True:
        try:
            client.connect("127.0.0.1", port, keepalive=3_600, clean_start=False, properties=properties)
            while client.loop(0.2) == paho.MQTT_ERR_SUCCESS:
                pass
        except OSError:
            pass
        if not client.is_connected() and client._state == paho._ConnectionState.MQTT_CS_DISCONNECTED:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
