"""`[[compat]]` against a real mosquitto: a reading is published when it arrives or never, and says nothing else."""

import asyncio
import logging
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
import pytest

from gateway.settings import BrokerSettings, CompatSettings, MeterSettings, MqttSettings, Settings
from gateway.sinks import registry
from gateway.sinks.compat import CompatSink

SALT = b"0123456789abcdef"
PASSWORD = "a-password-that-nobody-else-has"


@pytest.fixture
def make() -> Callable[..., CompatSink]:
    """A sink of the Victron format on a loopback port that tries again after 50 ms."""

    def sink(port: int, kind: str = "victron", topic: str = "victron/grid", **keys: Any) -> CompatSink:
        connection = {key: keys.pop(key) for key in ("username", "password_file", "keepalive_s") if key in keys}
        table = CompatSettings(kind=kind, meter="main", topic=topic, host="127.0.0.1", port=port, **keys, **connection)
        broker = BrokerSettings(host="127.0.0.1", port=port, **connection)
        return CompatSink(table, broker, table.client_id or "compat", backoff=lambda _attempt, _cap_s: 0.05)

    return sink


class Live(NamedTuple):
    """Run a sink inside a block; wait until a condition holds."""

    running: Callable[[CompatSink], Any]
    until: Callable[..., Any]


@pytest.fixture
def live(running, until) -> Live:
    return Live(running, until)


@pytest.fixture
def readers(start_broker, tmp_path) -> tuple[Path, Any]:
    """The password of the user aiida, and a broker where it may write aiida/mine only."""
    access, users, password = tmp_path / "acl", tmp_path / "users", tmp_path / "password"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(users), "aiida", PASSWORD], check=True, capture_output=True)
    access.write_text("user aiida\ntopic write aiida/mine/#\n")
    password.write_text(PASSWORD)
    password.chmod(0o600)
    return password, start_broker(f"password_file {users}", f"acl_file {access}", anonymous=False)


def connected(sink: CompatSink) -> Callable[[], bool]:
    """Whether a reading would leave now: a process that stood still for a second may hold its broker for silent."""
    return lambda: sink._link is not None and sink._link.writable


def test_readings_arrive_and_nothing_else_is_said(broker, make, subscribe, live, make_item):
    subscriber, sink = subscribe(broker.port), make(broker.port)

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))
            sink.deliver(make_item(seq=1))
            sink.deliver(make_item(seq=2, p_net_w=-5))
            sink.deliver(make_item(meter="garage"))
            sink.report("main", {"state": "stale"}, available=False)
            await live.until(lambda: len(subscriber.messages) == 2)

    asyncio.run(main())
    assert subscriber.topics() == ["victron/grid", "victron/grid"], "no will, no status, no word of another meter"
    assert b'"power":-5' in subscriber.messages[1].payload
    for message in subscriber.messages:
        assert not message.retain
        assert 0 < message.properties.MessageExpiryInterval <= 30
        assert message.properties.ContentType == "application/json"
    assert sink.status()["published"] == 2


def test_only_the_first_of_a_connection_is_acknowledged(broker, make, subscribe, live, make_item):
    subscriber, sink = subscribe(broker.port), make(broker.port, "dsmr-reader", "dsmr/reading")

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))
            sink.deliver(make_item())
            await live.until(lambda: subscriber.last("dsmr/reading/extra_device_delivered"))

    asyncio.run(main())
    assert [message.qos for message in subscriber.messages] == [1] + [0] * (len(subscriber.messages) - 1)
    assert subscriber.payload("dsmr/reading/electricity_currently_delivered") == "0.132"


def test_a_dead_broker_costs_its_own_readings_only(free_port, make, live, make_item):
    sink = make(free_port())

    async def main() -> None:
        async with live.running(sink):
            await live.until(lambda: sink.status()["last_error"])
            sink.deliver(make_item())

    asyncio.run(main())
    status = sink.status()
    assert (status["works"], status["published"], status["dropped"]) == (False, 0, 1)
    assert "refused the connection: check that it is running, and [[compat]] host and [[compat]] port" in status["text"]


def test_what_was_dropped_never_comes_later(start_broker, make, subscribe, live, make_item):
    broker = start_broker()
    sink = make(broker.port)

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))
            broker.stop()
            await live.until(lambda: not sink.status()["connected"])
            sink.deliver(make_item(p_net_w=111))
            broker.start()
            subscriber = subscribe(broker.port)
            await live.until(connected(sink))
            sink.deliver(make_item(p_net_w=222))
            await live.until(lambda: subscriber.messages)
            assert [b'"power":222' in message.payload for message in subscriber.messages] == [True]

    asyncio.run(main())
    assert (sink.status()["dropped"], sink.status()["published"]) == (1, 1)


def test_a_session_that_comes_back_is_not_given_old_power(broker, make, subscribe, live, make_item):
    """AIIDA subscribes with QoS 2 and keeps its session: what waits for it must be gone when it is no longer valid."""
    witness = subscribe(broker.port)
    properties = paho.Properties(paho.PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    seen: list[bytes] = []

    def session() -> paho.Client:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, "aiida", protocol=paho.MQTTv5)
        client.on_message = lambda _c, _u, message: seen.append(message.payload)
        client.on_connect = lambda *_: client.subscribe("victron/grid", 2)
        client.connect("127.0.0.1", broker.port, clean_start=False, properties=properties)
        client.loop_start()
        return client

    async def main() -> None:
        sink = make(broker.port)
        async with live.running(sink):
            await live.until(connected(sink))
            client = session()
            await live.until(client.is_connected)
            for seq in range(1, 500):
                sink.deliver(make_item(seq=seq))
                if seen:
                    break
                await asyncio.sleep(0.05)
            await asyncio.to_thread(client.disconnect)
            await asyncio.to_thread(client.loop_stop)
            assert seen
            # what the broker has not read yet would be news to the session
            for seq in range(600, 610):
                await live.until(connected(sink))
                sink.deliver(make_item(seq=seq, p_net_w=999))
            await live.until(lambda: sum(b"999" in message.payload for message in witness.messages) == 10)
        client = session()
        await live.until(client.is_connected)
        await asyncio.sleep(0.5)
        client.disconnect()
        client.loop_stop()
        assert not any(b"999" in payload for payload in seen), "QoS 0 waits for nobody"

    asyncio.run(main())


def test_a_broker_that_lets_us_not_write_is_named(readers, make, live, caplog, make_item):
    password, broker = readers
    login = {"username": "aiida", "password_file": str(password)}
    sink, allowed = make(broker.port, **login), make(broker.port, topic="aiida/mine/data", client_id="allowed", **login)

    async def main() -> None:
        async with live.running(sink), live.running(allowed):
            await live.until(lambda: connected(sink)() and connected(allowed)())
            sink.deliver(make_item())
            allowed.deliver(make_item())
            await live.until(lambda: not sink.status()["works"])

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    text = "does not let this user publish victron/grid: allow it in the broker's access list"
    assert text in sink._refused
    assert [text in record.getMessage() for record in caplog.records] == [True]
    assert allowed._refused is None
    assert PASSWORD not in caplog.text + str(sink.status())


def test_a_password_that_others_can_read_is_named_by_its_table(readers, make, live, caplog):
    password, broker = readers
    password.chmod(0o644)
    sink = make(broker.port, username="aiida", password_file=str(password))

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    said = f"[[compat]] password_file {password} can be read by other users: chmod 600 it"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_a_broker_that_stands_still_drops_readings_and_holds_nobody(broker, make, live, make_item):
    sink = make(broker.port)

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))
            broker.process.send_signal(signal.SIGSTOP)
            try:
                for seq in range(200_000):
                    sink.deliver(make_item(seq=seq))
                    if sink.status()["dropped"]:
                        break
                    await asyncio.sleep(0)
                assert sink.status()["connected"], "what a lost connection drops proves nothing"
            finally:
                broker.process.send_signal(signal.SIGCONT)

    asyncio.run(main())
    assert sink.status()["dropped"] == 1


def test_readings_come_no_faster_than_asked_for(broker, make, live, make_item):
    sink = make(broker.port, min_interval_s=900)

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))
            for seq in range(5):
                sink.deliver(make_item(seq=seq))

    asyncio.run(main())
    assert (sink.status()["published"], sink.status()["suppressed"]) == (1, 4)


def test_a_reading_without_what_the_format_needs_is_counted(broker, make, live, make_item):
    sink = make(broker.port)

    async def main() -> None:
        async with live.running(sink):
            await live.until(connected(sink))
            sink.deliver(make_item(p_net_w=None))
            status = sink.status()
            assert (status["published"], status["unfit"], status["works"]) == (0, 1, True)
            assert status["text"].endswith("0 published, 0 dropped, 0 suppressed, 1 unfit")

    asyncio.run(main())


def test_each_table_is_a_client_of_its_own_and_mqtt_is_not_needed(free_port):
    meters = (MeterSettings(name="main", port="/dev/null"),)
    victron = CompatSettings(kind="victron", meter="main", topic="victron/grid")
    other = CompatSettings(kind="victron", meter="main", topic="victron/grid", host="gx", client_id="mine")
    made = registry.create(Settings(meter=meters, mqtt=MqttSettings(port=free_port()), compat=(victron, other)), SALT)
    ids = [made[name].status()["client_id"] for name in ("mqtt", "compat 1", "compat 2")]
    assert ids[1:] == [f"{ids[0]}-1", "mine"]
    assert list(registry.create(Settings(meter=meters, compat=(other,)), SALT)) == ["compat 1"]
    named = MqttSettings(client_id="cellar")
    made = registry.create(Settings(meter=meters, mqtt=named, compat=(victron,)), SALT)
    assert made["compat 1"].status()["client_id"] == "cellar-1"
