"""Versions of intervals at a real broker: QoS 1, in order, once each that is acknowledged, also those of an outage."""

import asyncio
import json

from gateway.intervals.model import Bound, Interval, missing
from gateway.sinks import IntervalSink
from gateway.sinks.interval_queue import MOST, IntervalQueue
from gateway.sinks.topics import interval, meter_topics

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


def test_what_waits_is_bounded():
    queue = IntervalQueue(lambda _topic, _why: None, lambda _attempt, _cap_s: 0.05)
    topics = meter_topics("meterd", "main")
    for number in range(MOST + 7):
        queue.put("main", interval(topics, "import", "PT15M", version(number)), lambda: None)
    assert queue.status() == {"waiting": MOST, "published": 0, "dropped": 7}
