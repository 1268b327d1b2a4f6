"""What a subscriber of a real mosquitto sees of the sink, in good and in bad times."""
# ruff: noqa: PLR0917 - fixtures are arguments

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from paho.mqtt.client import MQTTMessage

from gateway.settings import MqttSettings
from gateway.sinks import SinkError
from gateway.sinks.mqtt import MqttSink, backoff_s
from tests.ports import stop_serving

ROOT = Path(__file__).parents[2]
OK = {"state": "ok", "flags": [], "evidence": "1 frame"}
QUANTITIES = {
    "p_import_w": "132",
    "p_export_w": "0",
    "p_net_w": "132",
    "a_import_wh": "65238377",
    "a_export_wh": "5",
    "a_import_kwh": "65238.377",
    "a_export_kwh": "0.005",
}


def expiry(message: MQTTMessage | None) -> int | None:
    assert message is not None
    return getattr(message.properties, "MessageExpiryInterval", None)


def is_fresh(expiry_s: int | None) -> bool:
    """The broker takes off the whole seconds that it held a message, so 30 may have become 29."""
    return expiry_s is not None and 25 <= expiry_s <= 30


def content_type(message: MQTTMessage | None) -> str | None:
    assert message is not None
    return getattr(message.properties, "ContentType", None)


@pytest.mark.parametrize("retain_energy", [False, True])
def test_topics_qos_retention_and_expiry(
    broker, subscribe, make_sink, running, until, make_item, retain_energy: bool
) -> None:
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port, retain_energy=retain_energy, registers=("l1_voltage_v",))
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            sink.report("main", OK, available=True)
            sink.deliver(make_item())
            await until(lambda: seen.last("meterd/main/sub/1/reading"))
            assert sink.status()["protocol"] == "5"

    asyncio.run(main())
    order = seen.topics()
    live = order[order.index("meterd/main/reading") :]
    assert live[: 1 + len(QUANTITIES)] == ["meterd/main/reading", *(f"meterd/main/{name}" for name in QUANTITIES)]
    for name, value in QUANTITIES.items():
        message = seen.last(f"meterd/main/{name}")
        is_energy = name.startswith("a_")
        assert (message.payload.decode(), message.qos) == (value, 0)
        assert message.retain is (is_energy and retain_energy)
        assert is_fresh(expiry(message)) is not is_energy
    reading = seen.last("meterd/main/reading")
    assert (reading.qos, reading.retain, is_fresh(expiry(reading))) == (0, False, True)
    assert content_type(reading) == "application/json"
    assert json.loads(reading.payload)["p_import_w"] == 132
    assert "registers" not in json.loads(reading.payload)
    voltage = seen.last("meterd/main/register/l1_voltage_v")
    assert (voltage.payload, voltage.qos, voltage.retain) == (b"231.4", 0, False)
    for topic in ("meterd/status", "meterd/main/availability", "meterd/main/state"):
        assert (seen.last(topic).qos, seen.last(topic).retain) == (1, True)
    assert json.loads(seen.payload("meterd/main/state")) == OK
    states = [m.payload for m in seen.messages if m.topic in {"meterd/status", "meterd/main/availability"}]
    # the meter's own first: the broker may hold `online` from before, and only both together let a consumer act
    assert states == [b"offline", b"online", b"online", b"offline", b"offline"]

    late = subscribe(broker.port)
    late.catch_up()
    energy = {f"meterd/main/{name}" for name in QUANTITIES if name.startswith("a_")} if retain_energy else set()
    assert set(late.topics()) == {"meterd/status", "meterd/main/availability", "meterd/main/state"} | energy
    assert late.payload("meterd/status") == late.payload("meterd/main/availability") == "offline"


def test_reading_with_registers_by_option(broker, subscribe, make_sink, running, until, make_item) -> None:
    seen = subscribe(broker.port)

    async def main() -> None:
        async with running(sink := make_sink(broker.port, reading_registers=True)):
            sink.deliver(make_item())
            await until(lambda: seen.last("meterd/main/reading"))

    asyncio.run(main())
    registers = json.loads(seen.payload("meterd/main/reading"))["registers"]
    assert registers[0] == {"code": "1-0:32.7.0", "value": "231.4", "unit": "V"}


def test_a_sub_reading_is_published_when_it_is_new_and_after_a_reconnection(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    seen = subscribe(broker.port)
    topic = "meterd/main/sub/1/reading"

    async def main() -> None:
        sink = make_sink(broker.port)
        subs = make_item(1).subs
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            for seq in range(1, 20):
                sink.deliver(replace(make_item(seq), subs=subs))
            await until(lambda: seen.topics().count("meterd/main/reading") == 19)
            assert seen.topics().count(topic) == 1
            broker.stop()
            await until(lambda: not sink.status()["connected"])
            broker.start()
            await until(lambda: sink.status()["connected"])
            await until(seen.client.is_connected)
            await asyncio.sleep(0.2)
            sink.report("main", {"state": "stale", "flags": []}, available=False)
            sink.deliver(replace(make_item(21), subs=subs))
            await until(lambda: seen.topics().count(topic) >= 2)
            assert {m.payload for m in seen.messages if m.topic == topic} == {seen.last(topic).payload}

    asyncio.run(main())


def test_every_reading_of_many_meters_arrives_whole_and_in_order(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    seen = subscribe(broker.port)
    meters = tuple(f"m{n}" for n in range(20))

    async def main() -> None:
        sink = make_sink(broker.port, meters)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            for seq in range(30):
                for meter in meters:
                    sink.deliver(make_item(seq, meter, p_net_w=seq))
                await asyncio.sleep(0.01)
            await until(lambda: sink.status()["published"] + sink.status()["dropped"] == 600)
            await until(lambda: seen.topics().count("meterd/m19/sub/1/reading") == 30)
            assert sink.status()["dropped"] == 0

    asyncio.run(main())
    for meter in meters:
        readings = [json.loads(m.payload)["seq"] for m in seen.messages if m.topic == f"meterd/{meter}/reading"]
        net = [int(m.payload) for m in seen.messages if m.topic == f"meterd/{meter}/p_net_w"]
        assert readings == net == list(range(30))


def test_offline_meter_publishes_nothing_but_availability_and_state(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            sink.deliver(make_item())
            await until(lambda: seen.last("meterd/main/sub/1/reading"))
            before = len(seen.messages)
            sink.report("main", {"state": "no_bytes", "flags": []}, available=False)
            await until(lambda: seen.payload("meterd/main/state"))
            await asyncio.sleep(0.2)
            after = sorted(message.topic for message in seen.messages[before:])
            assert after == ["meterd/main/availability", "meterd/main/state"]
            assert seen.payload("meterd/main/availability") == "offline"
            sink.deliver(make_item(seq=2))
            await until(lambda: seen.payload("meterd/main/availability") == "online")

    asyncio.run(main())


def test_state_is_published_at_once_when_it_changes_and_evidence_at_most_every_10_s(
    broker, subscribe, until, running, make_item
) -> None:
    seen = subscribe(broker.port)
    clock = [1000.0]

    def states() -> list[str]:
        return [json.loads(m.payload)["evidence"] for m in seen.messages if m.topic == "meterd/main/state"]

    async def main() -> None:
        settings = MqttSettings(host="127.0.0.1", port=broker.port)
        sink = MqttSink(settings, ["main"], salt=b"x" * 16, monotonic=lambda: clock[0])
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            for evidence in "abc":
                sink.report("main", {"state": "ok", "flags": [], "evidence": evidence}, available=True)
            sink.report("main", {"state": "stale", "flags": [], "evidence": "d"}, available=True)
            sink.report("main", {"state": "stale", "flags": ["pin_locked"], "evidence": "e"}, available=True)
            sink.report("main", {"state": "stale", "flags": ["pin_locked"], "evidence": "f"}, available=True)
            await until(lambda: len(states()) == 3)
            await asyncio.sleep(0.7)
            assert states() == ["a", "d", "e"]
            clock[0] += 10
            await until(lambda: len(states()) == 4)

    asyncio.run(main())
    assert states() == ["a", "d", "e", "f"]


def test_live_qos_1_with_mqtt_5(broker, subscribe, make_sink, running, until, make_item) -> None:
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port, live_qos=1)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            for seq in range(50):
                sink.deliver(make_item(seq))
                await asyncio.sleep(0.005)
            await until(lambda: '"seq":49' in (seen.payload("meterd/main/reading") or ""))

    asyncio.run(main())
    assert seen.last("meterd/main/reading").qos == seen.last("meterd/main/p_net_w").qos == 1
    assert is_fresh(expiry(seen.last("meterd/main/reading")))


# -- MQTT 3.1.1 ------------------------------------------------------------------------------------------------------


class OldBroker:
    """Answers a CONNECT of MQTT 5 as given and closes, or is silent; hands every other connection on to mosquitto."""

    def __init__(self, port: int, answer: bytes | None) -> None:
        self.behind, self.answer, self.refused = port, answer, 0
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await stop_serving(self._server)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            connect = await reader.read(4096)
            if connect and connect[8] == 5:
                self.refused += 1
                if self.answer is None:
                    await reader.read()
                else:
                    writer.write(self.answer)
            elif connect:
                await self._hand_on(connect, reader, writer)
        except ConnectionError:
            pass
        finally:
            await self._close(writer)

    async def _hand_on(self, connect: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, there_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        there_writer.write(connect)
        pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, there_writer), (there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await self._close(there_writer)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)

    @staticmethod
    async def _close(writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


CONNACKS = {
    "v5 0x84": (b"\x20\x03\x00\x84\x00", 1),
    "v3 0x01": (b"\x20\x02\x00\x01", 1),
    "closes": (b"", 2),
}


@pytest.mark.parametrize("answer", CONNACKS)
def test_falls_back_to_3_1_1_and_says_so_once(
    broker, subscribe, make_sink, running, until, make_item, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    """A broker that refuses by name is not asked again; one that only closed may have been restarting, and is."""
    seen = subscribe(broker.port)

    async def main() -> None:
        async with OldBroker(broker.port, CONNACKS[answer][0]) as old:
            sink = make_sink(old.port)
            async with running(sink):
                await until(lambda: sink.status()["connected"])
                assert sink.status()["protocol"] == "3.1.1"
                sink.deliver(make_item())
                await until(lambda: seen.last("meterd/main/sub/1/reading"))
                broker.stop()
                await until(lambda: not sink.status()["connected"])
                broker.start()
                await until(lambda: sink.status()["connected"])
                assert old.refused >= CONNACKS[answer][1]
                if CONNACKS[answer][1] == 1:
                    assert old.refused == 1

    asyncio.run(main())
    reading = next(m for m in seen.messages if m.topic == "meterd/main/reading")
    assert (reading.qos, reading.retain, expiry(reading)) == (0, False, None)
    said = "does not speak MQTT 5" if CONNACKS[answer][1] == 1 else "gave no answer to MQTT 5"
    assert caplog.text.count(said) == caplog.text.count("3.1.1 is used") == 1


def test_falls_back_when_mqtt_5_is_met_with_silence(
    broker, make_sink, running, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sinks.mqtt_link.CONNECT_TIMEOUT_S", 1.0)

    async def main() -> None:
        async with OldBroker(broker.port, None) as old:
            sink = make_sink(old.port)
            async with running(sink):
                await until(lambda: sink.status()["connected"])
                assert (sink.status()["protocol"], old.refused) == ("3.1.1", 1)

    asyncio.run(main())


def test_version_3_1_1_by_setting(broker, make_sink, running, until) -> None:
    async def main() -> None:
        sink = make_sink(broker.port, version="3.1.1")
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            assert sink.status()["protocol"] == "3.1.1"

    asyncio.run(main())


def test_version_5_by_setting_never_falls_back(broker, make_sink, running, until) -> None:
    async def main() -> None:
        async with OldBroker(broker.port, CONNACKS["v5 0x84"][0]) as old:
            sink = make_sink(old.port, version="5")
            async with running(sink):
                await until(lambda: old.refused > 2)
                assert not sink.status()["connected"]
                assert 'set mqtt.version = "auto"' in sink.status()["last_error"]

    asyncio.run(main())


def test_live_qos_1_is_refused_without_mqtt_5(broker, subscribe, make_sink, running, until, make_item) -> None:
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port, live_qos=1, version="3.1.1")
        sink.deliver(make_item())
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            sink.report("main", OK, available=True)
            await until(lambda: "live_qos" in sink.status()["last_error"])
            with pytest.raises(SinkError, match="live_qos") as raised:
                sink.deliver(make_item())
            assert not raised.value.retryable
            await until(lambda: seen.last("meterd/main/state"))
            await asyncio.sleep(0.2)
            assert "live_qos" in sink.status()["last_error"]

    asyncio.run(main())
    assert set(seen.topics()) == {"meterd/status", "meterd/main/availability", "meterd/main/state"}
    assert {m.payload for m in seen.messages if m.topic == "meterd/main/availability"} == {b"offline"}


# -- loss and return -------------------------------------------------------------------------------------------------


def test_broker_restart(broker, subscribe, make_sink, running, until, make_item) -> None:
    """After the return: status, availability and state again, then the newest reading that is still valid."""

    async def main() -> None:
        sink = make_sink(broker.port, ("main", "old"))
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            sink.report("main", OK, available=True)
            sink.deliver(make_item(1))
            broker.stop()
            await until(lambda: not sink.status()["connected"])
            sink.deliver(make_item(1, "old", interval_s=1))
            for seq in (2, 3, 4):
                sink.deliver(make_item(seq))
            assert sink.status()["dropped"] == 2
            await asyncio.sleep(3.1)
            broker.start()
            seen = subscribe(broker.port)
            await until(lambda: seen.last("meterd/main/reading"))
            await until(lambda: seen.payload("meterd/status") == "online")
            # a consumer that holds the reading of before the outage has the new one before it may act again
            order = seen.topics()
            assert order.index("meterd/main/reading") < len(order) - 1 - order[::-1].index("meterd/status")
            assert seen.payload("meterd/main/availability") == "online"
            assert json.loads(seen.payload("meterd/main/state")) == OK
            await until(lambda: seen.last("meterd/main/sub/1/reading"))
            assert [json.loads(m.payload)["seq"] for m in seen.messages if m.topic == "meterd/main/reading"] == [4]
            assert expiry(seen.last("meterd/main/reading")) <= 27
            assert seen.last("meterd/old/reading") is None
            assert sink.status()["dropped"] == 3
            assert sink.status()["reconnects"] == 1

    asyncio.run(main())


def test_broker_absent_at_start(start_broker, subscribe, make_sink, running, until, make_item) -> None:
    broker = start_broker()
    broker.stop()

    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            sink.deliver(make_item())
            await until(lambda: sink.status()["last_error"])
            assert "refused the connection" in sink.status()["last_error"]
            assert sink.status()["last_error_t"].endswith("Z")
            broker.start()
            await until(lambda: sink.status()["connected"])
            assert sink.status()["published"] == 1

    asyncio.run(main())


def test_frozen_broker_costs_readings_and_no_memory(broker, make_sink, running, until, make_item) -> None:
    meters = tuple(f"m{n}" for n in range(10))

    async def main() -> None:
        sink = make_sink(broker.port, meters, keepalive_s=5)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            os.kill(broker.process.pid, signal.SIGSTOP)
            sizes: list[int] = []
            for seq in range(20_000):
                for meter in meters:
                    sink.deliver(make_item(seq, meter))
                link = sink._link
                if link is None:
                    break
                sizes.append(len(link._unsent) + sum(p["to_process"] for p in link._client._out_packet))
                await asyncio.sleep(0.001)
            await until(lambda: not sink.status()["connected"], 30)
            assert "does not answer" in sink.status()["last_error"]
            assert sink.status()["dropped"] > 1000
            assert max(sizes) < 100_000
            os.kill(broker.process.pid, signal.SIGCONT)
            await until(lambda: sink.status()["connected"])

    asyncio.run(main())


def test_broker_that_stands_still_for_a_moment_gets_whole_packets(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    """What the socket took in part goes on where it stopped; the readings between are dropped, the newest arrives."""
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port, reading_registers=True)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            os.kill(broker.process.pid, signal.SIGSTOP)
            seq = 0
            while sink.status()["dropped"] < 100:
                seq += 1
                sink.deliver(make_item(seq, registers=(("1-0:32.7.0", 2314, -1, "V"),) * 200))
                await asyncio.sleep(0)
            os.kill(broker.process.pid, signal.SIGCONT)
            await until(lambda: f'"seq":{seq},' in (seen.payload("meterd/main/reading") or ""))
            assert sink.status()["connected"]
            assert sink.status()["last_error"] is None

    asyncio.run(main())
    numbers = [json.loads(m.payload)["seq"] for m in seen.messages if m.topic == "meterd/main/reading"]
    assert numbers == sorted(set(numbers))


def test_a_meter_that_went_silent_has_no_reading_after_the_return(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            broker.stop()
            await until(lambda: not sink.status()["connected"])
            sink.deliver(make_item())
            sink.report("main", {"state": "no_bytes", "flags": []}, available=False)
            broker.start()
            seen = subscribe(broker.port)
            await until(lambda: seen.last("meterd/main/state"))
            await asyncio.sleep(0.7)
            assert seen.payload("meterd/main/availability") == "offline"
            assert seen.last("meterd/main/reading") is None
            assert sink.status()["dropped"] == 1

    asyncio.run(main())


def test_ends_in_time_with_a_frozen_broker(broker, make_sink, until, make_item) -> None:
    async def main() -> None:
        sink = make_sink(broker.port)
        task = asyncio.create_task(sink.run())
        await until(lambda: sink.status()["connected"])
        os.kill(broker.process.pid, signal.SIGSTOP)
        sink.deliver(make_item())
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        os.kill(broker.process.pid, signal.SIGCONT)
        assert task.cancelled()

    asyncio.run(main())


def test_ends_while_it_waits_for_somebody_who_is_silent(make_sink) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            task = asyncio.create_task(make_sink(silent.getsockname()[1]).run())
            await asyncio.sleep(0.3)
            task.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait([task])

    asyncio.run(main())


CHILD = """
import asyncio, sys
from gateway.settings import MqttSettings
from gateway.sinks.mqtt import MqttSink
sink = MqttSink(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), ["main"], salt=b"0" * 16)
sink.report("main", {"state": "ok", "flags": []}, available=True)
asyncio.run(sink.run())
"""


def test_kill_9_leaves_the_will(broker, subscribe, until) -> None:
    seen = subscribe(broker.port)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port)], cwd=ROOT)
    try:
        for topic in ("meterd/main/availability", "meterd/status"):
            asyncio.run(until(lambda topic=topic: seen.payload(topic) == "online"))
    finally:
        child.kill()
        child.wait(10)
    asyncio.run(until(lambda: seen.payload("meterd/status") == "offline"))
    will = seen.last("meterd/status")
    assert (will.qos, will.retain) == (1, True)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_clients_of_one_id_are_named(broker, make_sink, running, until, version: str) -> None:
    def knows(sink: MqttSink) -> bool:
        return "another client uses this client id (twin)" in (sink.status()["last_error"] or "")

    async def main() -> None:
        one, two = (make_sink(broker.port, version=version, client_id="twin") for _ in range(2))
        async with running(one):
            await until(lambda: one.status()["connected"])
            async with running(two):
                await until(lambda: knows(one) or knows(two))

    asyncio.run(main())


# -- seam ------------------------------------------------------------------------------------------------------------


def test_rate_limit(broker, make_sink, running, until, make_item) -> None:
    async def main() -> None:
        sink = make_sink(broker.port, min_interval_s=60, deadband_w=100)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            for power in (100, 150, 300, 310):
                # a process that stood still for a second may hold its broker for silent
                await until(lambda: sink._link is not None and sink._link.writable)
                sink.deliver(make_item(p_import_w=power, p_net_w=power, interval_s=100))
            assert (sink.status()["published"], sink.status()["suppressed"]) == (2, 2)

    asyncio.run(main())


def test_reading_of_another_meter_is_refused(make_sink, make_item) -> None:
    sink = make_sink(1)
    with pytest.raises(SinkError, match="other"):
        sink.deliver(make_item(meter="other"))
    with pytest.raises(SinkError, match="other"):
        sink.report("other", OK, available=True)


def test_construction_refuses_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="salt"):
        MqttSink(MqttSettings(), ["main"], salt=b"short")
    with pytest.raises(ValueError, match="l9_voltage_v"):
        MqttSink(MqttSettings(registers=("l9_voltage_v",)), ["main"], salt=b"x" * 16)
    with pytest.raises(ValueError, match="meter name"):
        MqttSink(MqttSettings(), ["a/b"], salt=b"x" * 16)


@pytest.mark.parametrize("cap_s", [30, 120])
def test_backoff_has_full_jitter_and_a_cap(cap_s: int) -> None:
    pauses = [[backoff_s(attempt, cap_s) for _ in range(200)] for attempt in (0, 1, 3, 50)]
    assert [max(row) <= limit for row, limit in zip(pauses, (1, 2, 8, cap_s), strict=True)] == [True] * 4
    assert max(pauses[3]) > cap_s / 2 > min(pauses[3]) >= 0


def test_client_id_of_the_installation(make_sink) -> None:
    assert make_sink(1).status()["client_id"].startswith("meterd-")
    assert make_sink(1, client_id="mine").status()["client_id"] == "mine"
