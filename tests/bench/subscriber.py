"""Subscribes and prints `nanoseconds topic payload` for every message; the first line says that it is ready."""

import os
import sys
import time

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion


def tell(message: MQTTMessage) -> None:
    """Take the time first, then write the line in one call."""
    now = time.monotonic_ns()
    os.write(1, b"%d %s %s\n" % (now, message.topic.encode(), message.payload.replace(b"\n", b" ")))


def main() -> None:
    """Run until the process is ended."""
    port, topic = int(sys.argv[1]), sys.argv[2]
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic)
    client.on_subscribe = lambda *_: os.write(1, b"0 ready -\n")
    client.on_message = lambda _client, _data, message: tell(message)
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main()
