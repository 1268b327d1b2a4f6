"""What a subscriber sees of readings that did not arrive live: all of them, in order, on a topic of their own."""
# ruff: noqa: PLR0917 - fixtures are arguments

import asyncio
import json
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.settings import MqttSettings
from gateway.sinks import mqtt_link
from gateway.sinks.backfill import PROBE_BESIDE, WINDOW
from gateway.sinks.mqtt import MqttSink
from gateway.stores.journal import Journal
from tests import mqtt_proxy

BEGAN = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
LATE = "meterd/main/backfill/reading"
LIVE = "meterd/main/reading"
#: mosquitto drops messages to a subscriber that is slower than the publisher
EVERY_MESSAGE = "max_queued_messages 0"
#: without a bound mosquitto 2.0.11 ends the connection behind each PUBLISH that its access list denies
MANY_MESSAGES = "max_queued_messages 10000"
TERMS = ("delivered", "pending", "evicted", "dead_letter")


class Gateway:
    """A sink and the journal behind it; `take` is what the daemon does with a reading."""

    def __init__(self, folder: Path, make_item: Callable[..., Any], meters: tuple[str, ...], options: dict[str, Any]):
        self._make_item = make_item
        self.journal = Journal(
            folder / "journal.db", max_bytes=64 << 20, max_age_s=10**9, group_s=3_600, meters=list(meters)
        )
        self.journal.start()
        self.outbox = self.journal.outbox("mqtt")
        outbox = self.outbox if options.get("backfill", True) else None
        settings = MqttSettings(host="127.0.0.1", discovery="off", **options)
        self._make_sink = partial(
            MqttSink, settings, meters, salt=b"0123456789abcdef", backoff=lambda _attempt, _cap_s: 0.05
        )
        self.sink = self._make_sink(outbox=outbox)

    def renewed(self) -> MqttSink:
        """A sink in place of the one that is there, with an outbox of its own."""
        self.outbox = self.journal.outbox("mqtt")
        return self._make_sink(outbox=self.outbox)

    def make(self, meter: str = "main", **fields: Any) -> Any:
        seq = self.journal.next_seq(meter)
        t = BEGAN + timedelta(seconds=seq % 3_000)
        return self._make_item(seq, meter, **({"t": t, "reg_t": t} | fields))

    def take(self, n: int = 1, meter: str = "main", **fields: Any) -> list[int]:
        items = [self.make(meter, **fields) for _ in range(n)]
        for item in items:
            self.sink.deliver(item)
            self.journal.append(item)
        return [item.seq for item in items]

    def keep(self, n: int = 1, meter: str = "main", **fields: Any) -> list[int]:
        """Store readings of unknown age, as the daemon does, or as an earlier run did."""
        items = [self.make(meter, **fields) for _ in range(n)]
        for item in items:
            self.journal.append(item)
        return [item.seq for item in items]

    @property
    def terms(self) -> tuple[int, ...]:
        """Delivered, pending, evicted, dead letters."""
        status = self.outbox.status()
        assert sum(status[name] for name in TERMS) == self.journal.status()["stored"]
        return tuple(status[name] for name in TERMS)

    def commit(self) -> None:
        assert self.journal.flush(20)

    def close(self) -> None:
        self.outbox.close()
        assert self.journal.close(20)


@pytest.fixture
def gateway(tmp_path: Path, make_item) -> Iterator[Callable[..., Gateway]]:
    with ExitStack() as stack:

        def make(port: int, meters: tuple[str, ...] = ("main",), **options: Any) -> Gateway:
            made = Gateway(tmp_path, make_item, meters, {"port": port} | options)
            stack.callback(made.close)
            return made

        yield make


def late(seen, meter: str = "main") -> list[dict[str, Any]]:
    return [json.loads(m.payload) for m in list(seen.messages) if m.topic == f"meterd/{meter}/backfill/reading"]


def seqs(readings: list[dict[str, Any]]) -> list[int]:
    """Sequence numbers, repetitions left out."""
    return list(dict.fromkeys(reading["seq"] for reading in readings))


def live(seen, meter: str = "main") -> list[int]:
    return [json.loads(m.payload)["seq"] for m in list(seen.messages) if m.topic == f"meterd/{meter}/reading"]


def history(gate: Gateway) -> dict[str, Any]:
    return gate.sink.status()["history"]


def connected(gate: Gateway) -> Callable[[], bool]:
    return lambda: gate.sink.status()["connected"]


def settled(gate: Gateway) -> Callable[[], bool]:
    return lambda: gate.terms[1] == 0


@pytest.mark.parametrize("options", [{}, {"version": "3.1.1"}, {"live_qos": 1}])
def test_a_reading_that_is_proven_to_have_arrived_live_is_not_sent_again(
    broker, subscribe, gateway, running, until, options
) -> None:
    seen, gate = subscribe(broker.port), gateway(broker.port, **options)

    async def main() -> None:
        async with running(gate.sink):
            await until(connected(gate))
            for _ in range(30):
                (seq,) = gate.take()
                await until(lambda seq=seq: seq in live(seen))
            gate.commit()
            await until(settled(gate))
        assert gate.terms == (30, 0, 0, 0)

    asyncio.run(main())
    assert not late(seen)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_came_while_the_broker_was_down_comes_late_and_in_order(
    broker, subscribe, gateway, running, until, checkout, version: str, caplog
) -> None:
    caplog.set_level(logging.INFO, "gateway.sinks.mqtt")
    seen = subscribe(broker.port)
    with mqtt_proxy.proxy(broker.port) as between:
        gate = gateway(between.port, version=version)

        async def main() -> list[int]:
            async with running(gate.sink):
                await until(connected(gate))
                gate.take(3)
                await until(lambda: seen.last(LIVE))
                between.is_open = False
                seen.ready.clear()
                broker.stop()
                await until(lambda: not gate.sink.status()["connected"])
                missed = gate.take(40)
                gate.commit()
                assert gate.terms[1] >= 40
                broker.start()
                await until(seen.ready.is_set)
                between.is_open = True
                await until(settled(gate))
                assert history(gate)["state"] == "up_to_date"
            return missed

        missed = asyncio.run(main())
    seen.catch_up()
    got = late(seen)
    assert set(missed) - set(live(seen)) <= set(seqs(got))
    assert seqs(got) == sorted(seqs(got))
    assert set(seqs(got)) | set(live(seen)) >= set(range(missed[-1] - 42, missed[-1] + 1))
    # the broker may have been told the newest one live, and nothing else that is old by now
    assert {seq for seq in live(seen) if seq in missed} <= {missed[-1]}
    schema = json.loads((checkout / "docs/schemas/item-p.schema.json").read_text())
    sub = json.loads((checkout / "docs/schemas/sub.schema.json").read_text())
    registry = jsonschema.validators.validator_for(schema)
    for reading in got:
        assert reading["id"] == f"{gate.outbox.store}-main-{reading['seq']}"
        assert reading["backfill"] is True
        registry(schema, registry=_registry(sub)).validate(reading)
    message = seen.last(LATE)
    assert (message.qos, message.retain) == (1, False)
    assert not hasattr(message.properties, "MessageExpiryInterval")
    if version == "5":
        assert message.properties.UserProperty == [("id", got[-1]["id"])]
        assert message.properties.ContentType == "application/json"
    text = caplog.text
    assert text.count("were not published live") == text.count("the broker has all that is stored") <= 2
    assert f"{len(got)} late readings" in text


def _registry(sub: dict[str, Any]) -> Any:
    from referencing import Registry, Resource

    return Registry().with_resource("urn:meterd:sub:1", Resource.from_contents(sub))


def test_a_long_history_of_two_meters_and_of_one_that_is_gone(start_broker, subscribe, gateway, running, until) -> None:
    """The whole of what the journal keeps goes to a broker that is new, each meter in its order."""
    broker = start_broker(EVERY_MESSAGE)
    seen = subscribe(broker.port)
    gate = gateway(broker.port, ("main", "heat"))
    names = random.Random(6).choices(["main", "heat", "former"], k=1_500)
    kept: dict[str, list[int]] = {}
    for name in names:
        kept.setdefault(name, []).extend(gate.keep(1, name))
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(settled(gate), 60)
            assert gate.terms == (1_500, 0, 0, 0)

    asyncio.run(main())
    seen.catch_up()
    for name, wanted in kept.items():
        assert [reading["seq"] for reading in late(seen, name)] == wanted
    ids = [reading["id"] for name in kept for reading in late(seen, name)]
    assert len(set(ids)) == 1_500


def test_a_restart_sends_only_what_is_not_settled(broker, subscribe, gateway, running, until) -> None:
    seen, first = subscribe(broker.port), gateway(broker.port)
    before = first.keep(20)
    first.commit()

    async def drain(gate: Gateway) -> None:
        async with running(gate.sink):
            await until(settled(gate))

    asyncio.run(drain(first))
    first.close()
    second = gateway(broker.port)
    after = second.keep(5)
    second.commit()
    asyncio.run(drain(second))
    seen.catch_up()
    assert [reading["seq"] for reading in late(seen)] == before + after
    assert second.terms == (25, 0, 0, 0)


def test_an_end_proves_what_went_before_it(start_broker, subscribe, gateway, running, until) -> None:
    """The last group is committed while the sink says good-bye: its readings do not come once more after the start."""
    broker = start_broker(EVERY_MESSAGE)
    seen, gate = subscribe(broker.port), gateway(broker.port)

    async def main() -> None:
        async with running(gate.sink):
            await until(connected(gate))
            gate.keep(1)
            gate.commit()
            await until(settled(gate))
            for n in range(250):
                gate.take(1)
                await until(lambda n=n: len(live(seen)) > n)
            gate.commit()
        assert gate.terms == (251, 0, 0, 0)

    asyncio.run(main())
    seen.catch_up()
    assert seqs(late(seen)) == [1]


def test_an_end_proves_nothing_where_the_broker_says_nothing(broker, subscribe, gateway, running, until) -> None:
    answers = True
    with mqtt_proxy.proxy(broker.port, down=lambda _packet: answers) as between:
        gate = gateway(between.port)

        async def main() -> None:
            nonlocal answers
            async with running(gate.sink):
                await until(connected(gate))
                answers = False
                gate.take(3)
                gate.commit()
            assert gate.terms == (0, 3, 0, 0)

        asyncio.run(main())


def test_a_sink_in_place_of_another_sends_what_that_one_did_not(broker, subscribe, gateway, running, until) -> None:
    """As a reload does: the new one is made before the old one says good-bye."""
    seen, gate = subscribe(broker.port), gateway(broker.port)

    async def main() -> None:
        async with running(gate.sink):
            await until(connected(gate))
            for n in (1, 2):
                gate.take()
                await until(lambda n=n: len(live(seen)) == n)
            after = gate.renewed()
            gate.commit()
        gate.sink = after
        wanted = gate.keep(3)
        gate.commit()
        async with running(after):
            await until(settled(gate))
        assert gate.terms == (5, 0, 0, 0)
        seen.catch_up()
        assert seqs(late(seen)) == wanted

    asyncio.run(main())


def test_acknowledgements_that_get_lost(broker, subscribe, gateway, running, until, monkeypatch) -> None:
    """Nothing is lost, and what comes twice has the same id: three in ten PUBACKs are dropped (reliability.md 56)."""
    monkeypatch.setattr(mqtt_link, "ACK_S", 0.3)
    chance = random.Random(56)
    seen = subscribe(broker.port)

    def down(packet: bytes) -> bool:
        return mqtt_proxy.kind(packet) != mqtt_proxy.PUBACK or chance.random() >= 0.3

    with mqtt_proxy.proxy(broker.port, down=down) as between:
        gate = gateway(between.port, ("main", "heat"))
        wanted = {name: gate.keep(40, name) for name in ("main", "heat")}
        gate.commit()

        async def main() -> None:
            async with running(gate.sink):
                await until(settled(gate), 90)
                assert gate.terms == (80, 0, 0, 0)

        asyncio.run(main())
        assert between.connections > 2
    seen.catch_up()
    for name, numbers in wanted.items():
        got = late(seen, name)
        assert seqs(got) == numbers
        assert len({reading["id"] for reading in got}) == len(numbers)
    assert max(Counter(reading["id"] for reading in late(seen)).values()) > 1


@pytest.mark.parametrize("allowed", [20, 6])
def test_few_are_under_way_at_once(start_broker, subscribe, gateway, running, until, allowed: int) -> None:
    """At most 20 without an acknowledgement, and no more than the broker says in CONNACK (Receive Maximum)."""
    broker = start_broker(f"max_inflight_messages {allowed}")
    seen = subscribe(broker.port)
    under_way, most = 0, 0

    def up(packet: bytes) -> None:
        nonlocal under_way, most
        if mqtt_proxy.kind(packet) == mqtt_proxy.PUBLISH and mqtt_proxy.qos(packet):
            under_way += 1
            most = max(most, under_way)

    def down(packet: bytes) -> None:
        nonlocal under_way
        under_way -= mqtt_proxy.kind(packet) == mqtt_proxy.PUBACK

    with mqtt_proxy.proxy(broker.port, up=up, down=down) as between:
        gate = gateway(between.port)
        wanted = gate.keep(600)
        gate.commit()

        async def main() -> None:
            async with running(gate.sink):
                await until(settled(gate), 60)

        asyncio.run(main())
    seen.catch_up()
    assert seqs(late(seen)) == wanted
    assert 2 <= most <= allowed


def test_few_are_under_way_on_a_slow_line(broker, subscribe, gateway, running, until) -> None:
    """At 8 kB/s a live reading must not wait behind many late ones: fewer are sent once acknowledgements queue up."""
    seen = subscribe(broker.port)

    def up(packet: bytes) -> None:
        time.sleep(len(packet) / 8_000)

    with mqtt_proxy.proxy(broker.port, up=up) as between:
        gate = gateway(between.port)
        gate.keep(200)
        gate.commit()
        most = 0

        async def main() -> None:
            nonlocal most
            async with running(gate.sink):
                while len(late(seen)) < 60:
                    most = max(most, history(gate)["in_flight"])
                    await asyncio.sleep(0.01)

        asyncio.run(main())
    assert 2 <= most <= 10


def test_fewer_are_under_way_once_acknowledgements_queue_up(gateway) -> None:
    """Half as many, once for those that were under way together; then one more for each round that is fast."""
    paced = gateway(1).sink._history
    for n in range(2 * WINDOW):
        paced._pace(float(n), n + 0.05)
    assert paced._window == WINDOW
    for n in range(8):
        paced._pace(100.0 + n / 100, 101.0 + n / 100)
    assert paced._window == WINDOW / 2
    paced._pace(102.0, 103.0)
    assert paced._window == WINDOW / 4
    for n in range(WINDOW):
        paced._pace(104.0 + n, 104.05 + n)
    assert WINDOW / 4 < paced._window < WINDOW
    for n in range(20):
        paced._pace(200.0 + 2 * n, 201.0 + 2 * n)
    assert paced._window == 1


def test_after_a_refusal_one_is_under_way(broker, gateway, running, until) -> None:
    """None overtakes the one that was refused; then a second one beside it, which tells a row from a broker."""
    under_way, most, refuses = set(), [], True

    def up(packet: bytes) -> bool:
        if mqtt_proxy.kind(packet) == mqtt_proxy.PUBLISH and b'"backfill":true' in packet:
            under_way.add(mqtt_proxy.message_id(packet))
            most.append(len(under_way))
        return True

    def down(packet: bytes) -> bytes | None:
        if mqtt_proxy.kind(packet) != mqtt_proxy.PUBACK or mqtt_proxy.message_id(packet) not in under_way:
            return None
        under_way.remove(mqtt_proxy.message_id(packet))
        return mqtt_proxy.refusal(packet, 0x97) if refuses else None

    with mqtt_proxy.proxy(broker.port, up=up, down=down) as between:
        gate = gateway(between.port)
        gate.keep(60)
        gate.commit()

        async def main() -> None:
            nonlocal refuses
            async with running(gate.sink):
                await until(lambda: len(most) >= 8)
                assert max(most) <= PROBE_BESIDE
                refuses = False
                await until(settled(gate))
                refuses = True
                gate.keep(60)
                gate.commit()
                await until(lambda: gate.sink.status()["trouble"])
                await asyncio.sleep(0.2)
                most.clear()
                await until(lambda: len(most) >= 8)
                assert max(most) <= PROBE_BESIDE

        asyncio.run(main())


def test_a_reading_that_the_broker_never_read_comes_late(broker, subscribe, gateway, running, until) -> None:
    """A socket takes what nobody reads: PUBLISH packets vanish on the way, then the connection breaks."""
    swallows = False

    def up(_packet: bytes) -> bool:
        return not swallows

    seen = subscribe(broker.port)
    with mqtt_proxy.proxy(broker.port, up=up) as between:
        gate = gateway(between.port)

        async def main() -> list[int]:
            nonlocal swallows
            async with running(gate.sink):
                await until(connected(gate))
                for n in (1, 2):
                    gate.take()
                    await until(lambda n=n: len(live(seen)) == n)
                await asyncio.sleep(1)
                swallows = True
                lost = gate.take(2)  # of two at once the first is not published where the broker is busy
                await until(lambda: gate.sink.status()["published"] > 2)
                gate.commit()
                await asyncio.sleep(0.3)
                between.cut()
                await until(lambda: not gate.sink.status()["connected"])
                swallows = False
                await until(settled(gate))
            return lost

        lost = asyncio.run(main())
    seen.catch_up()
    assert lost[0] in seqs(late(seen))
    assert set(lost) <= {*seqs(late(seen)), *live(seen)}
    assert gate.terms == (4, 0, 0, 0)


def test_a_broker_that_stands_still_and_wakes(broker, subscribe, gateway, running, until) -> None:
    seen, gate = subscribe(broker.port), gateway(broker.port, keepalive_s=5)

    async def main() -> None:
        async with running(gate.sink):
            await until(connected(gate))
            gate.take(2)
            await until(lambda: live(seen))
            broker.process.send_signal(signal.SIGSTOP)
            try:
                for _ in range(30):
                    gate.take(5)
                    await asyncio.sleep(0.1)
                gate.commit()
            finally:
                broker.process.send_signal(signal.SIGCONT)
            await until(settled(gate), 40)

    asyncio.run(main())
    seen.catch_up()
    assert gate.terms == (152, 0, 0, 0)
    assert {*live(seen), *seqs(late(seen))} == set(range(1, 153))
    assert seqs(late(seen)) == sorted(seqs(late(seen)))


def test_a_refused_topic_is_named_holds_nothing_up_and_heals(
    start_broker, subscribe, gateway, running, until, tmp_path, caplog
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic write meterd/status\ntopic write meterd/main/+\ntopic write caught/up\n")
    broker = start_broker(f"acl_file {rules}")
    seen, gate = subscribe(broker.port), gateway(broker.port)
    wanted = gate.keep(30)
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(lambda: history(gate)["state"] == "refused")
            assert gate.terms == (0, 30, 0, 0)
            trouble = gate.sink.status()["trouble"]
            assert LATE in trouble
            assert "access list" in trouble
            fresh = gate.take(3)
            await until(lambda: live(seen)[-1:] == fresh[-1:])
            assert not late(seen)
            rules.write_text(f"{rules.read_text()}topic write meterd/#\n")
            broker.process.send_signal(signal.SIGHUP)
            gate.commit()
            await until(settled(gate))
            assert gate.sink.status()["trouble"] is None

    asyncio.run(main())
    assert seqs(late(seen))[:30] == wanted
    assert gate.terms == (33, 0, 0, 0)
    assert caplog.text.count("does not let this user publish") == 1


def test_a_meter_that_may_not_be_published_holds_up_no_other(
    start_broker, subscribe, gateway, running, until, tmp_path
) -> None:
    """Its readings wait as long as there is room; then they give way, named, and nothing of the others is lost."""
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic write meterd/status\ntopic write meterd/main/#\ntopic write caught/up\n")
    broker = start_broker(f"acl_file {rules}")
    seen, gate = subscribe(broker.port), gateway(broker.port, ("garage", "main"))
    wanted = []
    for _ in range(40):
        gate.keep(1, "garage")
        wanted += gate.keep(1)
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(lambda: set(seqs(late(seen))) == set(wanted))
            assert gate.terms == (0, 80, 0, 0), "there is room: nothing is given up"
            assert "meterd/garage/backfill/reading" in history(gate)["trouble"]
            for _ in range(200):
                gate.keep(1, "garage")
                wanted.extend(gate.keep(1))
            gate.commit()
            await until(lambda: set(seqs(late(seen))) == set(wanted))
            pending = gate.terms[1]
            rules.write_text(f"{rules.read_text()}topic write meterd/garage/#\n")
            broker.process.send_signal(signal.SIGHUP)
            await until(settled(gate))
            assert gate.terms[3] >= 100
            assert gate.terms == (480 - gate.terms[3], 0, 0, gate.terms[3])
            assert len(seqs(late(seen, "garage"))) == 240 - gate.terms[3] <= pending
            assert history(gate)["trouble"] is None

    asyncio.run(main())
    seen.catch_up()
    assert seqs(late(seen)) == sorted(wanted)
    assert seqs(late(seen, "garage")) == sorted(seqs(late(seen, "garage")))


RIGHTS = "topic read #\ntopic write meterd/status\ntopic write caught/up\n"


def test_a_refused_meter_whose_history_stands_first_holds_up_no_other(
    start_broker, subscribe, gateway, running, until, tmp_path
) -> None:
    """Of what stands first nothing is taken: the broker is asked by a reading of another meter, behind all of that."""
    rules = tmp_path / "acl"
    rules.write_text(f"{RIGHTS}topic write meterd/main/#\ntopic write meterd/cabin/#\n")
    broker = start_broker(MANY_MESSAGES, f"acl_file {rules}")
    seen = subscribe(broker.port)
    gate = gateway(broker.port, ("garage", "main", "cabin"))
    gate.keep(1_000, "garage")
    for _ in range(200):
        gate.keep(1)
        gate.keep(1, "cabin")
    last = gate.keep(30, "garage")
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(lambda: len(seqs(late(seen))) == len(seqs(late(seen, "cabin"))) == 200)
            await until(lambda: gate.terms == (400, 30, 0, 1_000))
            assert "meterd/garage/backfill/reading" in history(gate)["trouble"]
            rules.write_text(f"{rules.read_text()}topic write meterd/garage/#\n")
            broker.process.send_signal(signal.SIGHUP)
            await until(settled(gate))
            assert history(gate)["trouble"] is None

    asyncio.run(main())
    seen.catch_up()
    assert gate.terms == (430, 0, 0, 1_000)
    for name in ("main", "cabin"):
        assert seqs(late(seen, name)) == list(range(1, 201))
        assert len(late(seen, name)) == 200, "none comes twice"
    assert seqs(late(seen, "garage")) == last
    gate.keep(1)
    gate.commit()
    assert {one["reason"] for one in gate.outbox.status()["dead_letters"]} == {
        "the broker lets this user publish other meters, and not this one (0x87)"
    }


def test_where_no_meter_may_be_published_nothing_is_given_up(
    start_broker, subscribe, gateway, running, until, tmp_path
) -> None:
    """However long the history is, and however often it is tried; put right, all of it comes in order."""
    rules = tmp_path / "acl"
    rules.write_text(f"{RIGHTS}topic write meterd/+/state\ntopic write meterd/+/availability\n")
    broker = start_broker(MANY_MESSAGES, f"acl_file {rules}")
    seen, gate = subscribe(broker.port), gateway(broker.port, ("garage", "main", "cabin"))
    gate.keep(500, "garage")
    gate.keep(100)
    gate.keep(100, "cabin")
    gate.commit()
    tried = set()

    async def main() -> None:
        async with running(gate.sink):
            for name in ("garage", "main", "cabin"):
                await until(lambda name=name: f"meterd/{name}/" in (history(gate)["trouble"] or ""))
                tried.add(name)
            assert gate.terms == (0, 700, 0, 0)
            rules.write_text(f"{rules.read_text()}topic write meterd/#\n")
            broker.process.send_signal(signal.SIGHUP)
            await until(settled(gate))

    asyncio.run(main())
    seen.catch_up()
    assert gate.terms == (700, 0, 0, 0)
    for name, n in (("garage", 500), ("main", 100), ("cabin", 100)):
        assert seqs(late(seen, name)) == list(range(1, n + 1))


def test_a_refused_meter_gives_way_to_nobody_where_nobody_waits(
    start_broker, subscribe, gateway, running, until, tmp_path
) -> None:
    """Other meters have nothing that is late: what is refused waits until the rights are there."""
    rules = tmp_path / "acl"
    rules.write_text(f"{RIGHTS}topic write meterd/main/#\n")
    broker = start_broker(MANY_MESSAGES, f"acl_file {rules}")
    seen, gate = subscribe(broker.port), gateway(broker.port, ("garage", "main"))
    gate.keep(5)
    gate.keep(600, "garage")
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(lambda: gate.terms == (5, 600, 0, 0))
            await asyncio.sleep(1)
            assert gate.terms == (5, 600, 0, 0)
            rules.write_text(f"{rules.read_text()}topic write meterd/garage/#\n")
            broker.process.send_signal(signal.SIGHUP)
            await until(settled(gate))

    asyncio.run(main())
    assert gate.terms == (605, 0, 0, 0)
    seen.catch_up()
    assert seqs(late(seen, "garage")) == list(range(1, 601))


@pytest.mark.parametrize("limit", ["message_size_limit 1500", "max_packet_size 1500"])
def test_a_reading_that_the_broker_finds_too_large_is_a_dead_letter_and_holds_nothing_up(
    start_broker, subscribe, gateway, running, until, limit: str
) -> None:
    broker = start_broker(limit)
    seen, gate = subscribe(broker.port), gateway(broker.port, reading_registers=True)
    wide = tuple((f"1-0:{n}.7.0", n, -1, "V") for n in range(1, 100))
    wanted = gate.keep(10)
    gate.keep(1, registers=wide)
    wanted += gate.keep(10)
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(settled(gate))

    asyncio.run(main())
    seen.catch_up()
    assert gate.terms == (20, 0, 0, 1)
    assert seqs(late(seen)) == wanted
    assert "packet" in gate.sink.status()["last_error"].lower()


@pytest.mark.parametrize("code", [0x80, 0x97, 0x99])
def test_one_that_is_refused_while_others_are_taken(broker, subscribe, gateway, running, until, code: int) -> None:
    """It becomes a dead letter with the reason, and holds up no other."""
    seen, refused = subscribe(broker.port), set()

    def up(packet: bytes) -> None:
        if mqtt_proxy.kind(packet) == mqtt_proxy.PUBLISH and b'"seq":7,' in packet and b'"backfill"' in packet:
            refused.add(mqtt_proxy.message_id(packet))

    def down(packet: bytes) -> bytes | None:
        if mqtt_proxy.kind(packet) != mqtt_proxy.PUBACK or mqtt_proxy.message_id(packet) not in refused:
            return None
        refused.remove(mqtt_proxy.message_id(packet))
        return mqtt_proxy.refusal(packet, code)

    with mqtt_proxy.proxy(broker.port, up=up, down=down) as between:
        gate = gateway(between.port)
        wanted = gate.keep(40)
        gate.commit()

        async def main() -> None:
            async with running(gate.sink):
                await until(settled(gate))
                assert f"0x{code:02X}" in gate.sink.status()["last_error"]
                assert gate.sink.status()["trouble"] is None
                assert between.connections == 1

        asyncio.run(main())
    seen.catch_up()
    assert gate.terms == (39, 0, 0, 1)
    assert set(seqs(late(seen))) == set(wanted)


def test_a_quota_that_holds_for_all_makes_no_dead_letters(broker, subscribe, gateway, running, until) -> None:
    """Everything is refused, live topics go on, nothing is given up; when there is room again, all comes in order."""
    full, late_ids = True, set()

    def up(packet: bytes) -> bool:
        is_late = mqtt_proxy.kind(packet) == mqtt_proxy.PUBLISH and b'"backfill":true' in packet
        if is_late:
            late_ids.add(mqtt_proxy.message_id(packet))
        return True

    def down(packet: bytes) -> bytes | None:
        is_late = mqtt_proxy.kind(packet) == mqtt_proxy.PUBACK and mqtt_proxy.message_id(packet) in late_ids
        return mqtt_proxy.refusal(packet, 0x97) if is_late and full else None

    seen = subscribe(broker.port)
    with mqtt_proxy.proxy(broker.port, up=up, down=down) as between:
        gate = gateway(between.port)
        wanted = gate.keep(30)
        gate.commit()

        async def main() -> None:
            nonlocal full
            async with running(gate.sink):
                await until(lambda: len(late_ids) > 8)
                assert gate.terms == (0, 30, 0, 0)
                assert "0x97" in gate.sink.status()["trouble"]
                (fresh,) = gate.take()
                await until(lambda: fresh in live(seen))
                full = False
                await until(lambda: gate.terms[0] >= 30)
                assert gate.sink.status()["trouble"] is None

        asyncio.run(main())
    seen.catch_up()
    assert gate.terms[3] == 0
    assert seqs(late(seen)) == wanted


@pytest.mark.parametrize(("backfill", "comes"), [(True, False), ("all", True)])
def test_readings_that_a_person_left_out(broker, subscribe, gateway, running, until, backfill, comes: bool) -> None:
    seen, gate = subscribe(broker.port), gateway(broker.port, min_interval_s=900, backfill=backfill)

    async def main() -> None:
        async with running(gate.sink):
            await until(connected(gate))
            gate.take(10)
            await until(lambda: live(seen))
            await until(lambda: gate.sink.status()["suppressed"] == 9)
            gate.commit()
            await until(settled(gate))

    asyncio.run(main())
    seen.catch_up()
    assert len(late(seen)) == (9 if comes else 0)
    assert gate.terms == (10, 0, 0, 0)


def test_without_backfill_nothing_comes_late(broker, subscribe, gateway, running, until) -> None:
    seen, gate = subscribe(broker.port), gateway(broker.port, backfill=False)
    gate.keep(5)
    gate.commit()

    async def main() -> None:
        async with running(gate.sink):
            await until(connected(gate))
            gate.take(2)
            gate.commit()
            await until(lambda: len(live(seen)) == 2)
            assert history(gate) == {"state": "off", "trouble": None}

    asyncio.run(main())
    assert not late(seen)
    assert gate.terms == (0, 7, 0, 0)


def test_without_a_journal_the_state_says_so(broker, make_sink) -> None:
    assert make_sink(broker.port).status()["history"] == {"state": "no_journal", "trouble": None}


def test_live_goes_before_late(start_broker, subscribe, gateway, running, until) -> None:
    """A live reading that comes while a backlog is sent does not wait for its end."""
    broker = start_broker(EVERY_MESSAGE)
    seen, gate = subscribe(broker.port), gateway(broker.port)
    backlog = gate.keep(1_500)
    gate.commit()

    async def main() -> int:
        async with running(gate.sink):
            await until(lambda: len(late(seen)) > 50)
            (fresh,) = gate.take(1)
            await until(lambda: fresh in live(seen))
            order = seen.topics()
            before = order[: order.index(LIVE)].count(LATE)
            await until(settled(gate), 60)
            return before

    before = asyncio.run(main())
    assert before < len(backlog)
    seen.catch_up()
    assert seqs(late(seen))[: len(backlog)] == backlog
    powers = {m.topic for m in seen.messages if m.topic.startswith("meterd/main/p_")}
    assert powers == {"meterd/main/p_import_w", "meterd/main/p_export_w", "meterd/main/p_net_w"}
    assert len([m for m in seen.messages if m.topic == "meterd/main/p_net_w"]) == len(live(seen))
