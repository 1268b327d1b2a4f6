"""Discovery on a real mosquitto: retained, again on a birth, bounded in a flood, and nothing of it from a meter."""
# ruff: noqa: PLR0917 - fixtures are arguments

import asyncio
import json
import time

import paho.mqtt.client as paho
import pytest

from gateway.sinks import announcer, mqtt

OK = {
    "state": "ok", "flags": [], "evidence": "1 frame", "last_seen": "2026-11-21T22:20:05Z", "missed": 0,
    "auth": "plain", "clock_offset_s": 0.1, "meter_time": "2026-11-21T22:20:05Z",
}  # fmt: skip
BIRTH = "homeassistant/status"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """A thirtieth of the seconds of waiting; the ratios stay."""
    monkeypatch.setattr(mqtt, "_TICK_S", 0.05)
    for name in ("SETTLE_S", "GAP_S", "PATIENCE_S", "BIRTH_GAP_S", "BIRTH_JITTER_S", "REPEAT_AFTER_S"):
        monkeypatch.setattr(announcer, name, getattr(announcer, name) / 30)


@pytest.fixture
def publish():
    """Publish at a broker as somebody else."""

    def send(port, *messages, retain=False, protocol=paho.MQTTv5):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=protocol)
        client.connect("127.0.0.1", port)
        client.loop_start()
        for sent in [client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages]:
            sent.wait_for_publish(20)
        client.disconnect()
        client.loop_stop()

    return send


def bundles(seen):
    return [m for m in seen.messages if "/device/" in m.topic and m.payload]


def retained(subscribe, port):
    late = subscribe(port, discovery=True)
    late.catch_up()
    return {m.topic: m.payload for m in late.messages if m.topic.startswith("homeassistant/") and m.payload}


def follow(home_assistant, seen):
    """A consumer that received everything in the order of its arrival."""
    consumer = home_assistant.HomeAssistant()
    for message in seen.messages:
        if message.topic != BIRTH:
            consumer.receive(message.topic, message.payload)
    return consumer


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_consumer_that_follows_discovery_gets_the_values(
    broker, subscribe, make_sink, running, until, make_item, home_assistant, version
) -> None:
    seen = subscribe(broker.port, discovery=True)

    async def main() -> None:
        sink = make_sink(broker.port, version=version, registers=("l1_voltage_v", "l1_p_import_w"))
        async with running(sink):
            sink.report("main", OK, available=True)
            sink.deliver(make_item())
            await until(lambda: len(bundles(seen)) == 2)
            sink.deliver(make_item(seq=2, p_net_w=-7))
            await until(lambda: seen.payload("meterd/main/p_net_w") == "-7")
            await asyncio.sleep(announcer.REPEAT_AFTER_S)
            before = len(seen.messages)

            def repeated() -> bool:
                sink.deliver(make_item(seq=3, p_net_w=-8))
                return "meterd/main/sub/1/reading" in seen.topics()[before:]

            await until(repeated)
            await until(lambda: seen.payload("meterd/main/p_net_w") == "-8")

    asyncio.run(main())
    before_farewell = [m for m in seen.messages if m.payload != b"offline"]
    seen.messages[:] = before_farewell
    consumer = follow(home_assistant, seen)
    expected = {"power_import": "132", "power_net": "-8", "energy_import": "65238377", "line_state": "ok",
                "register_l1_voltage_v": "231.4", "register_l1_p_import_w": "132", "_total": "1234.567"}  # fmt: skip
    assert {key: consumer.state(key) for key in expected} == expected
    assert all(m.retain and m.qos == 1 for m in bundles(seen))


def test_discovery_is_retained_and_an_empty_one_is_taken_back(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    def session(*wanted, **options):
        seen = subscribe(broker.port, discovery=True)

        def told() -> set[str]:
            last = {m.topic: m.payload for m in list(seen.messages) if m.topic.startswith("homeassistant/")}
            return {topic.split("/")[1] for topic, payload in last.items() if payload}

        async def main() -> None:
            sink = make_sink(broker.port, **options)
            async with running(sink):
                sink.deliver(make_item())
                await asyncio.sleep(3 * announcer.SETTLE_S)
                sink.deliver(make_item(seq=2))
                await asyncio.sleep(3 * announcer.GAP_S)
                await until(lambda: told() == set(wanted) and sink._link and not sink._link.unacked)

        asyncio.run(main())
        return {topic.split("/")[1] for topic in retained(subscribe, broker.port)} == set(wanted)

    assert session("device", "sensor", "binary_sensor", discovery="both")
    assert session("device")
    assert session("sensor", "binary_sensor", discovery="component")
    assert session(discovery="off")


def test_a_birth_message_is_answered_and_a_retained_one_is_not(
    broker, subscribe, make_sink, running, until, make_item, publish
) -> None:
    publish(broker.port, (BIRTH, "online"), retain=True)
    seen = subscribe(broker.port, discovery=True)

    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            sink.deliver(make_item(sub=()))
            await until(lambda: len(bundles(seen)) == 1)
            await asyncio.sleep(2 * announcer.BIRTH_GAP_S)
            assert len(bundles(seen)) == 1
            for payload in ("offline", "", "ONLINE", "online\n"):
                await asyncio.to_thread(publish, broker.port, (BIRTH, payload))
            await asyncio.sleep(2 * announcer.BIRTH_GAP_S)
            assert len(bundles(seen)) == 1
            await asyncio.to_thread(publish, broker.port, (BIRTH, "online"))
            await until(lambda: len(bundles(seen)) == 2)

    asyncio.run(main())


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_flood_of_births_is_named_bounded_and_left(
    broker, subscribe, make_sink, running, until, make_item, publish, version
) -> None:
    seen = subscribe(broker.port, discovery=True)

    async def main() -> None:
        sink = make_sink(broker.port, version=version)
        async with running(sink):
            sink.deliver(make_item(sub=()))
            await until(lambda: len(bundles(seen)) == 1)
            flood = [(BIRTH, "online")] * 400
            await asyncio.to_thread(publish, broker.port, *flood)
            await until(lambda: "a flood of births" in (sink.status()["last_error"] or ""))
            before = len(bundles(seen))
            await asyncio.to_thread(publish, broker.port, *flood)
            sink.deliver(make_item(seq=2, sub=()))
            await until(lambda: '"seq":2' in (seen.payload("meterd/main/reading") or ""))
            await asyncio.sleep(2 * announcer.BIRTH_GAP_S)
            assert len(bundles(seen)) <= before + 2
            assert sink.status()["reconnects"] == 0

    asyncio.run(main())


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_huge_birth_takes_no_memory_and_no_readings(
    broker, subscribe, make_sink, running, until, make_item, publish, version
) -> None:
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port, version=version)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            await asyncio.to_thread(publish, broker.port, (BIRTH, b"online" * 2_000_000))
            lost = 0 if version == "5" else 1
            await until(lambda: sink.status()["connected"] and sink.status()["reconnects"] == lost)
            await asyncio.to_thread(publish, broker.port, (BIRTH, b"online" * 2_000_000))
            sink.deliver(make_item())
            await until(lambda: seen.payload("meterd/main/reading"))
            # MQTT 5 forbids it beforehand; without, the first one costs the connection, and nobody listens any more
            assert sink.status()["reconnects"] == lost
            assert ("too large" in str(sink.status()["last_error"])) == (version != "5")

    asyncio.run(main())


def test_two_gateways_with_one_client_id_are_named_and_do_not_flood(
    broker, subscribe, make_sink, running, until, make_item
) -> None:
    seen = subscribe(broker.port, discovery=True)

    began = time.monotonic()

    async def main() -> None:
        one, two = (make_sink(broker.port, client_id="gateway", version="5") for _ in range(2))
        async with running(one), running(two):
            until_s = time.monotonic() + 20
            while not any("mqtt.client_id" in (sink.status()["last_error"] or "") for sink in (one, two)):
                assert time.monotonic() < until_s
                for sink in (one, two):
                    sink.deliver(make_item(sub=()))
                await asyncio.sleep(0.03)
            await asyncio.sleep(10 * announcer.SETTLE_S)

    asyncio.run(main())
    # each connection announces once, and only when it lived long enough
    assert len(bundles(seen)) <= 2 + 2 * (time.monotonic() - began) / announcer.SETTLE_S
    connected = [m for m in seen.messages if m.topic == "meterd/status" and m.payload == b"online"]
    assert len(bundles(seen)) <= len(connected)


def test_a_broker_that_forbids_discovery_is_named_and_readings_go_on(
    start_broker, subscribe, make_sink, running, until, make_item, tmp_path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite meterd/#\ntopic read #\n")
    broker = start_broker(f"acl_file {acl}")
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            sink.deliver(make_item())
            await until(lambda: "homeassistant/#" in (sink.status()["last_error"] or ""))
            assert 'mqtt.discovery = "off"' in sink.status()["last_error"]
            sink.deliver(make_item(seq=2))
            await until(lambda: '"seq":2' in (seen.payload("meterd/main/reading") or ""))

    asyncio.run(main())


def test_nothing_is_announced_under_ids_that_do_not_last(
    broker, subscribe, make_sink, running, until, make_item, monkeypatch
) -> None:
    seen = subscribe(broker.port, discovery=True)

    async def main() -> None:
        from gateway.settings import MqttSettings
        from gateway.sinks.mqtt import MqttSink

        sink = MqttSink(MqttSettings(host="127.0.0.1", port=broker.port), ["main"], salt=b"x" * 16, discovers=False)
        async with running(sink):
            sink.deliver(make_item())
            await until(lambda: seen.payload("meterd/main/reading"))
            await asyncio.sleep(3 * announcer.PATIENCE_S)

    asyncio.run(main())
    assert not [topic for topic in seen.topics() if topic.startswith("homeassistant/")]


HOSTILE = [
    "{{ states('lock.door') }}",
    "{% for x in range(10**9) %}",
    "#/+/$SYS",
    "\x00\x1b[31m\x7f",
    "\xff\xfe\x85",
    "A" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=["template", "loop", "topic", "control", "latin", "long"])
def test_texts_of_a_meter_get_nowhere(broker, subscribe, make_sink, running, until, make_item, text) -> None:
    seen = subscribe(broker.port, discovery=True)

    async def main() -> None:
        from dataclasses import replace

        item = make_item(identity=text, t_meter=text, profile="nl-dsmr5", registers=((text, 1, 0, text),))
        sub = replace(item.subs[0].reading, device=text, t_meter=text)
        strange = replace(sub, channel=2, unit=text)
        item = replace(
            item, subs=(replace(item.subs[0], reading=sub), replace(item.subs[0], device=None, reading=strange))
        )
        sink = make_sink(broker.port, registers=("l1_voltage_v",))
        async with running(sink):
            sink.deliver(item)
            await until(lambda: len(bundles(seen)) == 2)

    asyncio.run(main())
    # a unit that nobody knows makes no entity, and a device number is shown by its pseudonym only
    for message in seen.messages:
        if message.topic.startswith("homeassistant/"):
            whole = message.topic + message.payload.decode()
            assert text not in whole
            assert json.dumps(text)[1:-1] not in whole
            assert len(whole) < 10_000
