"""A real mosquitto on a loopback port, a subscriber that keeps what it sees, and readings to publish."""

import asyncio
import importlib.util
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

from decoders.model import Reading, SubReading
from gateway.item_p import ItemP, LiveSub, stamp
from gateway.pseudonym import pseudonym
from gateway.settings import MqttSettings
from gateway.sinks.mqtt import MqttSink
from tests import ports

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

SALT = b"0123456789abcdef"


@dataclass
class Broker:
    """A mosquitto process of this test."""

    config: Path
    port: int
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def start(self) -> None:
        self.process = launch(self.config, self.port)


def launch(config: Path, port: int) -> subprocess.Popen[bytes]:
    assert MOSQUITTO, "mosquitto is not installed: apt-get install mosquitto"
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        assert process.poll() is None, f"mosquitto refuses {config.read_text()}"
        time.sleep(0.02)
    process.kill()
    process.wait()
    pytest.fail("mosquitto does not listen")


@pytest.fixture
def free_port() -> Callable[[], int]:
    return ports.free_port


@pytest.fixture
def start_broker(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Broker]]:
    """Start a broker with further lines of configuration; it stays root where pytest is, to read its files."""
    brokers: list[Broker] = []

    def start(*lines: str, anonymous: bool = True) -> Broker:
        port = free_port()
        config = tmp_path / f"mosquitto-{port}.conf"
        allow = f"allow_anonymous {str(anonymous).lower()}"
        config.write_text("\n".join(["user root", f"listener {port} 127.0.0.1", allow, *lines, ""]))
        broker = Broker(config, port, launch(config, port))
        brokers.append(broker)
        return broker

    yield start
    for broker in brokers:
        broker.process.kill()
        broker.process.wait(10)


@pytest.fixture
def broker(start_broker: Callable[..., Broker]) -> Broker:
    return start_broker()


@dataclass
class Subscriber:
    """Sees every topic; with MQTT 5 the retain flag is the one of the publisher."""

    client: paho.Client
    messages: list[paho.MQTTMessage] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]

    def catch_up(self) -> None:
        """Wait for what the broker has for it by now: what it says itself comes back behind that."""
        self.client.publish("caught/up", qos=1)
        deadline = time.monotonic() + 30
        while "caught/up" not in self.topics():
            assert time.monotonic() < deadline, "the broker says nothing"
            time.sleep(0.01)
        self.messages[:] = [message for message in self.messages if message.topic != "caught/up"]

    def last(self, topic: str) -> paho.MQTTMessage | None:
        return next((message for message in reversed(self.messages) if message.topic == topic), None)

    def payload(self, topic: str) -> str | None:
        message = self.last(topic)
        return None if message is None else message.payload.decode()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    """Connect a subscriber to `#` with MQTT 5; it sees discovery only when it asks for it."""
    with ExitStack() as stack:

        def start(port: int, discovery: bool = False, **login: str) -> Subscriber:
            client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
            subscriber = Subscriber(client)
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            client.on_connect = lambda *_: client.subscribe("#", options=options)
            client.on_subscribe = lambda *_: subscriber.ready.set()
            client.on_message = lambda _client, _data, message: (
                subscriber.messages.append(message)
                if discovery or not message.topic.startswith("homeassistant/")
                else None
            )
            if login:
                client.username_pw_set(login["username"], login["password"])
            client.reconnect_delay_set(1, 1)
            client.connect("127.0.0.1", port)
            client.loop_start()
            stack.callback(client.loop_stop)
            stack.callback(client.disconnect)
            assert subscriber.ready.wait(30)
            return subscriber

        yield start


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait in a coroutine until a condition holds."""

    async def wait(condition: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def make_item() -> Callable[..., ItemP]:
    """A reading of meter `main` as the daemon stamps it, with any field of `Reading` replaced."""

    def make(seq: int = 1, meter: str = "main", interval_s: int | None = None, **fields: Any) -> ItemP:
        now = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
        sub = SubReading(1, "gas", "G0012345", now, "2026-11-21T23:20:05+01:00", 1234567, -3, "m3", "measured")
        known: dict[str, Any] = {
            "profile": "nl-dsmr5",
            "interface": "p1",
            "auth": "plain",
            "quality": "measured",
            "t": now,
            "t_meter": "2026-11-21T23:20:05+01:00",
            "p_import_w": 132,
            "p_export_w": 0,
            "p_net_w": 132,
            "a_import_wh": 65238377,
            "a_export_wh": 5,
            "reg_t": now,
            "registers": (("1-0:32.7.0", 2314, -1, "V"), ("1-0:21.7.0", 132, -3, "kW")),
            "register_times": (),
            "sub": (sub,),
            "identity": "E0012345",
            "interval_s": 10,
            "flags": (),
            "size": 890,
        }
        reading = Reading(**(known | fields))
        item = stamp(reading, meter, seq=seq, t_rx=now, max_clock_offset_s=3600, interval_s=interval_s)
        subs = (LiveSub(sub, pseudonym(SALT, sub.device or ""), reading.auth, seq) for sub in reading.sub)
        return replace(item, subs=tuple(subs))

    return make


@pytest.fixture
def make_sink() -> Callable[..., MqttSink]:
    """A sink of meter `main` on a loopback port that tries again after 50 ms."""

    def make(port: int, meters: tuple[str, ...] = ("main",), **options: Any) -> MqttSink:
        settings = MqttSettings(host=options.pop("host", "127.0.0.1"), port=port, **options)
        return MqttSink(settings, meters, salt=SALT, backoff=lambda _attempt, _cap_s: 0.05)

    return make


@pytest.fixture
def running() -> Callable[[MqttSink], AbstractAsyncContextManager[None]]:
    """Run a sink inside a block, and end it as the daemon does."""

    @asynccontextmanager
    async def run(sink: MqttSink) -> AsyncIterator[None]:
        task = asyncio.create_task(sink.run())
        try:
            yield
        finally:
            task.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait([task])
        assert task.cancelled(), task.exception()

    return run


@pytest.fixture(scope="session")
def home_assistant() -> ModuleType:
    """The facts of Home Assistant and a consumer that follows them: tests/sinks/home_assistant.py."""
    spec = importlib.util.spec_from_file_location("home_assistant", Path(__file__).with_name("home_assistant.py"))
    assert spec
    assert spec.loader
    module = sys.modules["home_assistant"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
