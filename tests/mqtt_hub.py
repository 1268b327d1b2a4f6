"""The hub's side of MQTT, in tests: it takes documents from a broker, and publishes what it thinks of them."""

import queue
import ssl
import threading
from collections.abc import Callable

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.certificates import Authority, Pair


def mutual_tls(authority: Authority, server: Pair) -> tuple[str, ...]:
    """Lines of mosquitto.conf: TLS alone, and certificates of this authority alone."""
    return (
        "listener {port} 127.0.0.1",
        "allow_anonymous true",
        "require_certificate true",
        f"cafile {authority.ca}",
        f"certfile {server.cert}",
        f"keyfile {server.key}",
    )


class MqttHub:
    """The hub's side: takes documents, and answers each with what `answers` says."""

    def __init__(self, port, authority, pair) -> None:
        self.documents: queue.Queue[bytes] = queue.Queue()
        self.answers: Callable[[bytes], bytes | None] = lambda _body: None
        context = ssl.create_default_context(cafile=str(authority.ca))
        context.load_cert_chain(pair.cert, pair.key)
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, "the-hub", protocol=MQTTProtocolVersion.MQTTv5)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda client, *_: client.subscribe("eddie/hub/vhd", qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._on_message
        self.client.connect("localhost", port)
        self.client.loop_start()
        assert self._ready.wait(30)

    def _on_message(self, _client, _data, message) -> None:
        self.documents.put(bytes(message.payload))
        answer = self.answers(message.payload)
        if answer is not None:
            self.publish(answer)

    def publish(self, payload: bytes, qos: int = 1) -> None:
        self.client.publish("eddie/hub/ack", payload, qos=qos)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
