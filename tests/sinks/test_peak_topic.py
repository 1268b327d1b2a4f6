"""The meter's own peak and means at a real broker: once, QoS 1, never retained, what is not known left out."""

import asyncio
import json

from gateway.intervals.billed import Compared, Peak
from gateway.intervals.demand import ComparedDemand, Demand, DemandDay
from gateway.sinks import IntervalSink

PEAK = Compared(Peak(1_772_492_400, 2_589, 1), 1_772_491_500, 2_588, 2_600, 1_772_400_600, 9)
UNKNOWN = Compared(Peak(1_772_492_400, 2_589, 1), None, None, None, None, 9)

WORST = ComparedDemand(Demand(1_772_492_399, 2_351, 1, 7_000), 2_360, 8)
DAY = DemandDay(1_772_406_000, 1_772_492_400, 95, 1, WORST)


def test_a_peak_reaches_the_broker(broker, subscribe, make_sink, running, until):
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port)
        assert isinstance(sink, IntervalSink)
        sink.deliver_peak("main", "import", PEAK)
        sink.deliver_peak("main", "export", UNKNOWN)
        sink.deliver_peak("nobody", "import", PEAK)
        async with running(sink):
            await until(lambda: sink.status()["intervals"]["published"] == 2)

    asyncio.run(main())
    seen.catch_up()
    found = [message for message in seen.messages if message.topic.endswith("/interval/peak")]
    one, other = [json.loads(message.payload) for message in found]
    assert one == {
        "direction": "import", "meter_w": 2_589, "meter_t": "2026-03-02T23:00:00Z", "ours_w": 2_588,
        "difference_w": -1, "allowed_w": 9, "highest_w": 2_600, "agrees": False,
    }  # fmt: skip
    assert set(other) == {"direction", "meter_w", "meter_t", "allowed_w"}
    assert {(message.qos, bool(message.retain)) for message in found} == {(1, False)}


def test_the_means_of_a_day_reach_the_broker(broker, subscribe, make_sink, running, until):
    seen = subscribe(broker.port)

    async def main() -> None:
        sink = make_sink(broker.port)
        sink.deliver_demands("main", "import", DAY)
        sink.deliver_demands("main", "export", DAY._replace(exceeded=0))
        sink.deliver_demands("nobody", "import", DAY)
        async with running(sink):
            await until(lambda: sink.status()["intervals"]["published"] == 2)

    asyncio.run(main())
    seen.catch_up()
    found = [message for message in seen.messages if message.topic.endswith("/interval/demand")]
    one, other = [json.loads(message.payload) for message in found]
    assert one == {
        "direction": "import", "start": "2026-03-01T23:00:00Z", "end": "2026-03-02T23:00:00Z", "compared": 95,
        "exceeded": 1, "worst_start": "2026-03-02T22:45:00Z", "meter_w": 2_351, "ours_w": 2_360, "difference_w": 9,
        "allowed_w": 8, "agrees": False,
    }  # fmt: skip
    assert (other["direction"], other["agrees"]) == ("export", True)
    assert {(message.qos, bool(message.retain)) for message in found} == {(1, False)}
