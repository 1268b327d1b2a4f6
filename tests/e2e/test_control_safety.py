"""No consumer acts on a stale value: one that holds the last value as an energy management system does, in every fault.

The power of each telegram is its number, so that the age of a value is known however it came. Bounds are those of
docs/control-safety.md; a machine that is busy may be late by SLACK_S, and what must never happen is never seen at all.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import paho.mqtt.client as paho
import pytest
from fastcrc.crc16 import arc
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

pytestmark = pytest.mark.e2e

#: of a meter that sends every second
VALID_S, SLACK_S = 3.0, 6.0
KEEPALIVE_S = 5
FIVE, THREE = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311


class Sender:
    """A meter that sends telegram n with n W every second, until it is told to be silent."""

    def __init__(self, cable) -> None:
        self.sent: dict[int, float] = {}
        self._cable = cable
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def silence(self) -> None:
        self._silent.set()
        self._thread.join()

    def _run(self) -> None:
        watts = 0
        while not self._silent.wait(1):
            watts += 1
            self.sent[watts] = time.monotonic()
            try:
                os.write(self._cable._master, telegram(watts))
            except OSError:  # nobody reads and the terminal is full, or it was pulled
                del self.sent[watts]


def telegram(watts: int) -> bytes:
    winter = datetime.now(UTC) + timedelta(hours=1)
    lines = (
        r"/ISK5\2M550T-1012", "", "1-3:0.2.8(50)", f"0-0:1.0.0({winter:%y%m%d%H%M%S}W)", "0-0:96.1.1(4530)",
        "1-0:1.8.1(000001.000*kWh)", "1-0:1.8.2(000001.000*kWh)", "1-0:2.8.1(000000.000*kWh)",
        "1-0:2.8.2(000000.000*kWh)", f"1-0:1.7.0({watts / 1000:06.3f}*kW)", "1-0:2.7.0(00.000*kW)", "!",
    )  # fmt: skip
    body = "\r\n".join(lines).encode()
    return body + f"{arc(body):04X}\r\n".encode()


class Consumer:
    """Holds the newest net power, and acts on it while status and availability are `online`.

    `timed`: also lets a value go when it is over, by the expiry that came with it (MQTT 5) or by `valid_for_s`.
    """

    def __init__(self, port: int, sent: dict[int, float], protocol=FIVE, *, timed: bool, qos: int = 0) -> None:
        self.sent, self.timed = sent, timed
        self.words: dict[str, bytes] = {}
        #: when power came, and which
        self.got: list[tuple[float, int]] = []
        #: power that came as late: nothing to act on
        self.late: set[int] = set()
        self.power: tuple[float, int] | None = None
        self._until = 0.0
        self._protocol, self._port, self._qos = protocol, port, qos
        self.client: paho.Client | None = None

    def connect(self, *, session_s: int = 0) -> "Consumer":
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2, f"ems-{id(self)}", protocol=self._protocol,
            clean_session=None if self._protocol == FIVE else True,
        )  # fmt: skip
        ready = threading.Event()
        options = {"options": SubscribeOptions(qos=self._qos)} if self._protocol == FIVE else {"qos": self._qos}
        client.on_connect = lambda *_: client.subscribe("meterd/#", **options)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _c, _u, message: self._take(message)
        properties = None
        if session_s:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = session_s
        kwargs = {"clean_start": not session_s, "properties": properties} if self._protocol == FIVE else {}
        client.connect("127.0.0.1", self._port, keepalive=600, **kwargs)
        client.loop_start()
        assert ready.wait(30)
        return self

    def close(self) -> None:
        if self.client is not None:
            self.client.disconnect()
            self.client.loop_stop()
            self.client = None

    def _take(self, message: paho.MQTTMessage) -> None:
        now, name = time.monotonic(), message.topic.removeprefix("meterd/")
        if name in {"status", "main/availability"}:
            self.words[name] = message.payload
        elif name == "main/reading":
            self._until = now + json.loads(message.payload)["valid_for_s"]
        elif name == "main/backfill/reading":
            self.late.add(json.loads(message.payload)["p_net_w"])
        elif name == "main/p_net_w":
            if self._protocol == FIVE:
                # a broker leaves out what is down to 0
                self._until = now + getattr(message.properties, "MessageExpiryInterval", 0)
            self.power = now, int(message.payload)
            self.got.append(self.power)

    @property
    def told_offline(self) -> bool:
        return b"offline" in self.words.values()

    @property
    def acts_on(self) -> int | None:
        """The power that it would steer by now."""
        if self.power is None or set(self.words.values()) != {b"online"} or len(self.words) < 2:
            return None
        return None if self.timed and time.monotonic() >= self._until else self.power[1]

    def age_s(self) -> float:
        """Seconds since the meter sent the value that is acted on; 0 where none is."""
        watts = self.acts_on
        return 0.0 if watts is None else time.monotonic() - self.sent[watts]


class Scene:
    """A meter, the daemon, a broker, and a consumer of each kind, all well."""

    def __init__(self, wire, sender: Sender, running, mqtt, consumers: dict[str, Consumer]) -> None:
        self.wire, self.sender, self.daemon, self.broker = wire, sender, running, mqtt
        self.consumers = consumers

    def oldest(self, seconds: float, *names: str) -> float:
        """The highest age of what consumers act on in the next seconds."""
        end, oldest = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            oldest = max(oldest, *(self.consumers[name].age_s() for name in names or self.consumers))
            time.sleep(0.01)
        return oldest


@pytest.fixture
def consume() -> Iterator[Callable[..., Consumer]]:
    with ExitStack() as stack:

        def make(port: int, sent: dict[int, float], protocol=FIVE, **options) -> Consumer:
            made = Consumer(port, sent, protocol, **options)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def scene(broker, cable, daemon, consume, until) -> Iterator[Callable[..., Scene]]:
    with ExitStack() as stack:

        def make(*broker_lines: str, mqtt: str = "") -> Scene:
            server, wire = broker(*broker_lines), cable()
            lines = f'host = "127.0.0.1"\nport = {server.port}\nkeepalive_s = {KEEPALIVE_S}\n{mqtt}'
            running = daemon({"main": str(wire.link)}, lines, profile="nl-dsmr5").start()
            until(lambda: wire.is_read, "the port to be open")
            sender = Sender(wire)
            stack.callback(sender.silence)
            consumers = {
                "5 timed": consume(server.port, sender.sent, timed=True).connect(),
                "5 by topics": consume(server.port, sender.sent, timed=False).connect(),
                "3.1.1 timed": consume(server.port, sender.sent, THREE, timed=True).connect(),
                "3.1.1 by topics": consume(server.port, sender.sent, THREE, timed=False).connect(),
            }
            until(lambda: all(one.acts_on for one in consumers.values()), "everybody to act")
            return Scene(wire, sender, running, server, consumers)

        yield make


TIMED = ("5 timed", "3.1.1 timed")


def nobody_acts(scene: Scene, until, *names: str) -> None:
    """Nobody does, soon, and nobody begins again."""
    chosen = [scene.consumers[name] for name in names or scene.consumers]
    until(lambda: not any(one.acts_on for one in chosen), "nobody to act", VALID_S + SLACK_S)
    assert scene.oldest(0.5, *names) == 0


def test_the_meter_falls_silent(scene, until) -> None:
    made = scene()
    made.sender.silence()
    assert made.oldest(VALID_S) < VALID_S + SLACK_S
    nobody_acts(made, until)
    assert all(one.words["main/availability"] == b"offline" for one in made.consumers.values())


def test_the_cable_is_pulled(scene, until) -> None:
    made = scene()
    made.wire.pull()
    nobody_acts(made, until)
    assert all(one.words["main/availability"] == b"offline" for one in made.consumers.values())


def test_the_daemon_is_killed_and_who_comes_later_finds_no_power(scene, consume, until) -> None:
    made = scene()
    made.daemon.stop(signal.SIGKILL)
    nobody_acts(made, until)
    assert all(one.words["status"] == b"offline" for one in made.consumers.values())
    late = consume(made.broker.port, made.sender.sent, timed=False).connect()
    until(lambda: len(late.words) == 2, "what is retained")
    assert late.words["status"] == b"offline"
    assert late.power is None


def test_the_daemon_stands_still_and_wakes(scene, until) -> None:
    """The will comes after 1.5 x keepalive_s; what waited in the terminal meanwhile is no news when it wakes."""
    made = scene()
    frozen = time.monotonic()
    made.daemon.process.send_signal(signal.SIGSTOP)
    try:
        nobody_acts(made, until, *TIMED)
        everybody = made.consumers.values()
        until(lambda: all(one.told_offline for one in everybody), "the will", 1.5 * KEEPALIVE_S + 4 * SLACK_S)
    finally:
        made.daemon.process.send_signal(signal.SIGCONT)
    woken = time.monotonic()
    # `online` is told a moment before the reading: who looks at topics only may hold the old value for that moment
    until(lambda: all((one.acts_on or 0) in fresh(made, woken - 1) for one in everybody), "everybody to act again")
    assert not waited(made, frozen, woken)


def test_what_waited_for_a_daemon_that_stood_still_is_stored_and_no_news(scene, until) -> None:
    """Too short for the will: the connection lives, and would carry what waited in the terminal."""
    made = scene()
    frozen = time.monotonic()
    made.daemon.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(VALID_S + 1.5)
    finally:
        made.daemon.process.send_signal(signal.SIGCONT)
    woken = time.monotonic()
    until(lambda: all((one.acts_on or 0) in fresh(made, woken) for one in made.consumers.values()), "new values")
    made.sender.silence()
    assert not waited(made, frozen, woken)
    assert "stood_still" in made.daemon.log.read_text()
    assert made.daemon.stop() == 0
    stored = {reading["p_import_w"] for reading in made.daemon.export()}
    came = {watts for watts, at in made.sender.sent.items() if frozen + 1 < at < woken - 1}
    assert came <= stored, made.daemon.log.read_text()


def waited(made: Scene, frozen: float, woken: float) -> list[int]:
    """Power that a consumer got, although its telegram waited while the process stood still."""
    got = [watts for one in made.consumers.values() for at, watts in one.got if at >= woken]
    return [watts for watts in got if frozen + 1 < made.sender.sent[watts] < woken - 1]


def test_the_broker_stands_still_and_wakes(scene, until) -> None:
    """Whoever looks at the clock lets the value go; a moment after it woke everybody has a new one."""
    made = scene()
    frozen = time.monotonic()
    made.broker.send_signal(signal.SIGSTOP)
    try:
        nobody_acts(made, until, *TIMED)
    finally:
        woken = time.monotonic()
        made.broker.send_signal(signal.SIGCONT)
    until(lambda: all((one.acts_on or 0) in fresh(made, woken) for one in made.consumers.values()), "new values")
    for one in made.consumers.values():
        held = [watts for at, watts in one.got if at >= woken and frozen <= made.sender.sent[watts] < woken - 1]
        assert len(held) <= 3, "the kernel of the broker kept more than it may"


def test_a_backlog_is_no_news(scene, until) -> None:
    """What was missed while the broker stood still comes late, before everybody's eyes, and nobody acts on it."""
    made = scene()
    made.broker.send_signal(signal.SIGSTOP)
    try:
        time.sleep(2)
        backlog = set(range(5_000, 5_300))
        for watts in backlog:
            made.sender.sent[watts] = time.monotonic()
            made.wire.send(telegram(watts), paced=False)
            time.sleep(0.003)
        until(lambda: "is silent" in made.daemon.log.read_text(), "the daemon to give the connection up")
        time.sleep(VALID_S)
    finally:
        woken = time.monotonic()
        made.broker.send_signal(signal.SIGCONT)
    everybody = made.consumers.values()
    until(lambda: all(backlog <= one.late for one in everybody), "the backlog")
    until(lambda: all((one.acts_on or 0) in fresh(made, woken) for one in everybody), "new values")
    assert made.oldest(1) < VALID_S + SLACK_S
    for one in everybody:
        assert not backlog & {watts for _, watts in one.got}
        old = [watts for at, watts in one.got if at >= woken and made.sender.sent[watts] < woken - VALID_S]
        assert len(old) <= 3, "more than the kernel of the broker may keep"


def fresh(made: Scene, since: float) -> set[int]:
    return {watts for watts, at in list(made.sender.sent.items()) if at >= since}


def test_a_persistent_session_is_handed_no_old_power(scene, consume, until) -> None:
    made = scene("queue_qos0_messages true", mqtt="live_qos = 1\n")
    asleep = consume(made.broker.port, made.sender.sent, timed=False, qos=1)
    asleep.connect(session_s=600)
    until(lambda: asleep.acts_on, "it to act")
    asleep.close()
    seen = len(made.consumers["5 timed"].got)
    until(lambda: len(made.consumers["5 timed"].got) >= seen + 2, "power that it misses")
    made.sender.silence()
    nobody_acts(made, until)
    # brokers count whole seconds
    time.sleep(max(0.0, max(made.sender.sent.values()) + VALID_S + 3 - time.monotonic()))
    asleep.got.clear()
    asleep.words.clear()
    asleep.connect(session_s=600)
    until(lambda: len(asleep.words) == 2, "what is retained")
    time.sleep(0.5)
    assert asleep.got == []


def test_a_broker_that_restarts_with_its_memory_has_no_power(scene, consume, until, tmp_path) -> None:
    """Broker and daemon lose power together: what the broker kept may say `online`, and has no value to act on."""
    memory = (
        "persistence true",
        f"persistence_location {tmp_path}/",
        "autosave_on_changes true",
        "autosave_interval 1",
    )
    made = scene(*memory)
    made.daemon.stop(signal.SIGKILL)
    made.broker.kill()
    made.broker.start()
    late = consume(made.broker.port, made.sender.sent, THREE, timed=False).connect()
    until(lambda: "status" in late.words, "what is retained")
    nobody_acts(made, until, *TIMED)
    assert late.power is None
