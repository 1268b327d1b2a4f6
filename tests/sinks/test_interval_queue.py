"""Versions of intervals at a real broker: QoS 1, in order, once each that is acknowledged, also those of an outage."""

# ruff: noqa: PLR0917 - fixtures are arguments

import asyncio
import json
import signal
from functools import partial

import pytest

from gateway.intervals.model import Bound, Interval, missing
from gateway.sinks import IntervalSink
from gateway.sinks.interval_queue import MOST, IntervalQueue
from gateway.sinks.topics import interval, meter_topics
from tests import mqtt_proxy

TOPIC = "meterd/main/interval/PT15M"
START = 1_790_000_100


def version(number: int, **changes: object) -> Interval:
    start = START + 900 * number
    fields: dict[str, object] = {
        "start": start, "end": start + 900, "quantity": 105 + number, "status": "raw", "quality": "measured",
        "auth": "plain", "clock": "meter", "coverage": 1_000, "low": Bound(start, 5, "measured"),
        "high": Bound(start + 900, 110 + number, "measured"), "method": "register", "resolution_wh": 1,
    }  # fmt: skip
    return Interval(**(fields | changes))  # type: ignore[arg-type]


def seen_of(subscriber) -> list[dict]:
    return [json.loads(message.payload) for message in subscriber.messages if message.topic == TOPIC]


def test_payload():
    message = interval(meter_topics("meterd", "main"), "import", "PT15M", version(0))
    assert (message.topic, message.qos, message.retain, message.expires) == (TOPIC, 1, False, False)
    assert json.loads(message.payload) == {
        "start": "2026-09-21T14:15:00Z",
        "end": "2026-09-21T14:30:00Z",
        "direction": "import",
        "quantity_wh": 105,
        "status": "raw",
        "quality": "measured",
        "coverage": 1_000,
        "version": 1,
    }


def test_what_is_missing_has_no_quantity():
    message = interval(meter_topics("meterd", "main"), "export", "P1D", missing(START, START + 86_400))
    assert "quantity_wh" not in json.loads(message.payload)


def test_versions_arrive_in_order_and_again_when_there_is_a_new_one(broker, subscribe, make_sink, running, until):
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port)
        assert isinstance(sink, IntervalSink)
        for number in range(50):
            sink.deliver_interval("main", "import", "PT15M", version(number))
        sink.deliver_interval("nobody", "import", "PT15M", version(0))
        async with running(sink):
            await until(lambda: sink.status()["intervals"]["published"] == 50)
            sink.deliver_interval("main", "import", "PT15M", version(3, version=2, status="valid"))
            await until(lambda: sink.status()["intervals"] == {"waiting": 0, "published": 51, "dropped": 0})

    asyncio.run(main())
    seen.catch_up()
    found = seen_of(seen)
    assert [one["quantity_wh"] for one in found[:50]] == [105 + number for number in range(50)]
    assert (found[50]["version"], found[50]["status"]) == (2, "valid")
    assert len(found) == 51
    message = seen.last(TOPIC)
    assert (message.qos, message.retain) == (1, False)


def test_an_outage_of_the_broker_loses_none(broker, subscribe, make_sink, running, until):
    async def main() -> None:
        sink = make_sink(broker.port)
        async with running(sink):
            await until(lambda: sink.status()["connected"])
            broker.stop()
            await until(lambda: not sink.status()["connected"])
            for number in range(20):
                sink.deliver_interval("main", "import", "PT15M", version(number))
            assert sink.status()["intervals"]["waiting"] == 20
            broker.start()
            seen = subscribe(broker.port)
            await until(lambda: sink.status()["intervals"]["waiting"] == 0)
            await asyncio.to_thread(seen.catch_up)
            # the subscriber may have come after the first ones
            found = [one["quantity_wh"] for one in seen_of(seen)]
            assert found == sorted(found)
            assert sink.status()["intervals"]["published"] == 20

    asyncio.run(main())


def test_a_meter_that_may_not_be_published_waits_in_order_and_holds_up_no_other(
    start_broker, subscribe, make_sink, running, until, tmp_path, caplog
):
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic write meterd/+\ntopic write meterd/main/#\ntopic write caught/up\n")
    broker = start_broker(f"acl_file {rules}")
    seen, done = subscribe(broker.port), []

    async def main() -> None:
        sink = make_sink(broker.port, ("garage", "main"), discovery="off")
        for number in range(30):
            for meter in ("garage", "main"):
                done_with = partial(done.append, (meter, number))
                sink.deliver_interval(meter, "import", "PT15M", version(number), done_with)
        async with running(sink):
            await until(lambda: len(done) == 30)
            await until(lambda: "meterd/garage/interval/PT15M" in caplog.text)
            assert sink.status()["intervals"] == {"waiting": 30, "published": 30, "dropped": 0}
            rules.write_text(f"{rules.read_text()}topic write meterd/garage/#\n")
            broker.process.send_signal(signal.SIGHUP)
            await until(lambda: sink.status()["intervals"] == {"waiting": 0, "published": 60, "dropped": 0})

    asyncio.run(main())
    seen.catch_up()
    assert done == [("main", n) for n in range(30)] + [("garage", n) for n in range(30)]
    for topic in ("meterd/main/interval/PT15M", "meterd/garage/interval/PT15M"):
        found = [json.loads(message.payload)["quantity_wh"] for message in seen.messages if message.topic == topic]
        assert found == [105 + n for n in range(30)]


def test_a_meter_that_is_not_configured_is_done_at_once(make_sink, free_port):
    sink, done = make_sink(free_port()), []
    sink.deliver_interval("nobody", "import", "PT15M", version(0), lambda: done.append(1))
    assert (done, sink.status()["intervals"]["waiting"]) == ([1], 0)


@pytest.mark.parametrize("code", [0x80, 0x99])
def test_a_version_that_alone_is_refused_is_given_up(broker, make_sink, running, until, code):
    refused, done = set(), []

    def up(packet: bytes) -> None:
        if mqtt_proxy.kind(packet) == mqtt_proxy.PUBLISH and b'"quantity_wh":112' in packet:
            refused.add(mqtt_proxy.message_id(packet))

    def down(packet: bytes) -> bytes | None:
        if mqtt_proxy.kind(packet) != mqtt_proxy.PUBACK or mqtt_proxy.message_id(packet) not in refused:
            return None
        refused.remove(mqtt_proxy.message_id(packet))
        return mqtt_proxy.refusal(packet, code)

    async def main(port: int) -> None:
        sink = make_sink(port, ("garage", "main"), discovery="off")
        async with running(sink):
            for number in range(20):
                sink.deliver_interval("main", "import", "PT15M", version(number), partial(done.append, number))
            for number in range(100):
                sink.deliver_interval("garage", "import", "PT15M", version(number + 900))
                await asyncio.sleep(0.01)
            await until(lambda: sink.status()["intervals"] == {"waiting": 0, "published": 119, "dropped": 1})

    with mqtt_proxy.proxy(broker.port, up=up, down=down) as between:
        asyncio.run(main(between.port))
    assert sorted(done) == list(range(20))


def test_what_waits_is_bounded():
    queue = IntervalQueue(lambda _topic, _why: None, lambda _attempt, _cap_s: 0.05)
    topics = meter_topics("meterd", "main")
    for number in range(MOST + 7):
        queue.put("main", interval(topics, "import", "PT15M", version(number)), lambda: None)
    assert queue.status() == {"waiting": MOST, "published": 0, "dropped": 7}
