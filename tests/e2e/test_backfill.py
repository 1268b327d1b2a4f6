"""Nothing that was stored is lost to MQTT, whatever dies: the daemon's process, a real broker, an independent consumer.

The consumer shares no code with the product: it keeps what it is given on `backfill/reading` and `reading`, by `seq`.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import paho.mqtt.client as paho
import pytest
from fastcrc.crc16 import arc
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from decoders.model import Reading
from gateway.item_p import stamp
from gateway.stores.intervals import IntervalReader
from gateway.stores.journal import Journal

pytestmark = pytest.mark.e2e

FIVE = MQTTProtocolVersion.MQTTv5
#: mosquitto drops messages to a subscriber that is slower than the publisher
EVERY_MESSAGE = "max_queued_messages 0"


def telegram(watts: int) -> bytes:
    """One with `watts` of import, and its number as energy, of now."""
    winter = datetime.now(UTC) + timedelta(hours=1)
    lines = (
        r"/ISK5\2M550T-1012", "", "1-3:0.2.8(50)", f"0-0:1.0.0({winter:%y%m%d%H%M%S}W)", "0-0:96.1.1(4530)",
        "1-0:1.8.1(000001.000*kWh)", "1-0:1.8.2(000001.000*kWh)", "1-0:2.8.1(000000.000*kWh)",
        "1-0:2.8.2(000000.000*kWh)", f"1-0:1.7.0({watts / 1000:06.3f}*kW)", "1-0:2.7.0(00.000*kW)", "!",
    )  # fmt: skip
    body = "\r\n".join(lines).encode()
    return body + f"{arc(body):04X}\r\n".encode()


class Collector:
    """Everything below `meterd/`, in order."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self._ready = threading.Event()
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, protocol=FIVE)
        client.on_connect = lambda *_: client.subscribe("meterd/#", qos=1)
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_message = lambda _c, _u, m: self.got.append((m.topic, m.payload, m.retain))
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert self._ready.wait(30)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def readings(self, topic: str, meter: str = "main") -> list[dict]:
        return [json.loads(payload) for name, payload, _ in list(self.got) if name == f"meterd/{meter}/{topic}"]

    def watts(self, meter: str = "main") -> set[int]:
        """Power of every reading that came, live or late."""
        both = self.readings("reading", meter) + self.readings("backfill/reading", meter)
        return {reading["p_import_w"] for reading in both}


@pytest.fixture
def collect() -> Iterator[Callable[[int], Collector]]:
    with ExitStack() as stack:

        def start(port: int) -> Collector:
            made = Collector(port)
            stack.callback(made.close)
            return made

        yield start


def stored(journal) -> int:
    """Readings in the file."""
    if not journal.exists():
        return 0
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        return db.execute("SELECT count(*) FROM record WHERE meter <> 0").fetchone()[0]


def check_order(readings: list[dict]) -> None:
    """Repetitions aside, each comes after those before it; what comes twice is the same."""
    first: dict[str, dict] = {}
    for reading in readings:
        assert first.setdefault(reading["id"], reading) == reading
    numbers = [reading["seq"] for reading in first.values()]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(numbers)


def send(wires, first: int, last: int) -> None:
    for watts in range(first, last + 1):
        for wire in wires:
            wire.send(telegram(watts), paced=False)
        time.sleep(0.005)


def test_kills_in_the_middle_of_a_backlog_and_an_end_with_a_dead_broker(  # noqa: PLR0917  # fixtures
    broker, cable, daemon, collect, until, tmp_path
) -> None:
    """Two meters, an outage of the broker, SIGTERM meanwhile, then kill -9 twice while the backlog is sent."""
    mosquitto = broker(EVERY_MESSAGE)
    wires = {name: cable(name) for name in ("main", "heat")}
    ports = {name: str(wire.link) for name, wire in wires.items()}
    gate = daemon(ports, f'host = "127.0.0.1"\nport = {mosquitto.port}\ndiscovery = "off"\n', profile="nl-dsmr5")
    mosquitto.stop()
    gate.start()
    until(lambda: all(wire.is_read for wire in wires.values()), "the ports to be read")
    send(wires.values(), 1, 1_000)
    until(lambda: received(gate) >= 2_000, "every telegram to be decoded")
    began = time.monotonic()
    assert gate.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10  # 5 s, and a machine that is busy
    assert stored(tmp_path / "journal.db") == 2_000

    mosquitto.start()
    seen = collect(mosquitto.port)
    kills = 0
    for part in (200, 700):
        gate.start()
        until(lambda part=part: len(seen.readings("backfill/reading")) > part, "a part of the backlog")
        kills += len(seen.readings("backfill/reading")) < 1_000
        gate.stop(signal.SIGKILL)
    gate.start()
    until(lambda: all(len(seen.watts(name)) == 1_000 for name in wires), "the whole backlog", 90)
    until(lambda: status(gate)["pending"] == 0, "everything to be settled")
    assert gate.stop() == 0
    assert kills, "no kill fell into the backlog"
    for name in wires:
        late = seen.readings("backfill/reading", name)
        check_order(late)
        assert [*dict.fromkeys(reading["p_import_w"] for reading in late)] == list(range(1, 1_001))
        assert not seen.readings("reading", name), "nothing of it is live"
        assert not [1 for topic, _, _ in seen.got if topic == f"meterd/{name}/p_import_w"]
    assert not [topic for topic, _, retained in seen.got if retained and "backfill" in topic]


def hours_ago(hours: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours)


def fill(journal, meters: list[str], began: datetime, step_s: int = 1) -> None:
    """Store a reading of each of these meters, in this order; its power is its number, and its energy its time."""
    count = Counter[str]()
    kept = Journal(journal, max_bytes=64 << 20, max_age_s=10**7, group_s=3_600, meters=sorted({*meters}))
    kept.start()
    for n, meter in enumerate(meters):
        count[meter] += 1
        t, watts = began + timedelta(seconds=n * step_s), count[meter]
        reading = Reading(
            profile="nl-dsmr5", interface="p1", auth="plain", quality="measured", t=t, t_meter=None, p_import_w=watts,
            p_export_w=0, p_net_w=watts, a_import_wh=int(t.timestamp()), a_export_wh=0, reg_t=t, registers=(),
            register_times=(), sub=(), identity="4530", interval_s=1, flags=(), size=400,
        )  # fmt: skip
        kept.append(stamp(reading, meter, seq=kept.next_seq(meter), t_rx=t, max_clock_offset_s=3_600))
    assert kept.flush(60)
    assert kept.close(60)


def test_a_refused_meter_stands_first_and_the_daemon_is_killed(broker, daemon, collect, until, tmp_path) -> None:
    """The rights for one meter are missing; it fills page after page of what is late, and others stand behind it."""
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic write meterd/status\ntopic write meterd/main/#\ntopic write meterd/heat/#\n")
    mosquitto = broker("max_queued_messages 10000", f"acl_file {rules}")
    fill(tmp_path / "journal.db", ["garage"] * 1_500 + ["main", "heat"] * 500 + ["garage"] * 20, hours_ago(2))
    ports = {name: str(tmp_path / name) for name in ("garage", "main", "heat")}
    gate = daemon(ports, f'host = "127.0.0.1"\nport = {mosquitto.port}\ndiscovery = "off"\n', profile="nl-dsmr5")
    seen = collect(mosquitto.port)
    gate.start()
    until(lambda: len(seen.watts()) > 20, "a part of the backlog")
    gate.stop(signal.SIGKILL)
    gate.start()
    until(lambda: len(seen.watts()) == len(seen.watts("heat")) == 500, "the history of the others", 90)
    until(lambda: status(gate)["pending"] == 20, "what fits in hand waits")
    assert status(gate)["meters"]["garage"]["dead_letter"] == 1_500
    assert not seen.watts("garage")
    rules.write_text(f"{rules.read_text()}topic write meterd/garage/#\n")
    mosquitto.send_signal(signal.SIGHUP)
    until(lambda: len(seen.watts("garage")) == 20, "the rest, once the rights are there", 90)
    assert gate.stop() == 0
    for name in ("main", "heat", "garage"):
        check_order(seen.readings("backfill/reading", name))
    assert len(gate.export()) == 2_520, "a dead letter stays in the journal"


def versions(ledger) -> dict[tuple, tuple]:
    """Every version of active energy in the ledger, and by what it is told: when it was made, its end."""
    reader, found = IntervalReader(ledger), {}
    for key in reader.series():
        for resolution in ("PT15M", "PT1H", "P1D", "P1M"):
            for current in reader.current(key, resolution, 0, 1 << 40):
                for one in reader.history(key, resolution, current.start):
                    start = f"{datetime.fromtimestamp(one.start, UTC):%FT%TZ}"
                    found[key.meter, resolution, key.direction, start, one.version] = one.made, one.end
    reader.close()
    return found


def published(seen) -> list[tuple]:
    """Every version that came, in order."""
    found = []
    for topic, payload, retained in list(seen.got):
        _, meter, *rest = topic.split("/")
        if rest[:1] == ["interval"]:
            one = json.loads(payload)
            found.append((meter, rest[1], one["direction"], one["start"], one["version"]))
            assert not retained
    return found


def test_intervals_of_an_outage_are_published_after_restarts(broker, daemon, collect, until, tmp_path) -> None:
    """The broker is away over a kill and an end in order; of what was there by then nothing is published again."""
    mosquitto, journal, ledger = broker(EVERY_MESSAGE), tmp_path / "journal.db", tmp_path / "ledger.db"
    ports = {name: str(tmp_path / name) for name in ("main", "heat")}
    table = f'host = "127.0.0.1"\nport = {mosquitto.port}\ndiscovery = "off"\n'
    gate = daemon(ports, table, profile="nl-dsmr5", timezone="Europe/Amsterdam")

    def run(number: int, *, until_sent: bool = False) -> None:
        gate.start()
        until(lambda: folded(gate), "the journal to be folded")
        if until_sent:
            until(lambda: is_all_sent() and set(published(seen)) == set(versions(ledger)), "every version", 60)
        gate.stop(number)

    def is_all_sent() -> bool:
        sent = ask(gate)["mqtt"]["intervals"]
        return sent["waiting"] == 0 < sent["published"]

    mosquitto.stop()
    for hours, number in ((30, signal.SIGKILL), (24, signal.SIGTERM)):
        fill(journal, ["main", "heat"] * 180, hours_ago(hours), 60)
        run(number)
    assert len(versions(ledger)) > 100
    mosquitto.start()
    seen = collect(mosquitto.port)
    run(signal.SIGTERM, until_sent=True)
    assert len(published(seen)) == len(set(published(seen))), "each once"
    order = versions(ledger)
    for meter in ports:
        places = [order[one] for one in published(seen) if one[0] == meter]
        assert places == sorted(places)
    before = len(published(seen))
    fill(journal, ["main", "heat"] * 60, hours_ago(9), 60)
    run(signal.SIGTERM, until_sent=True)
    fresh = published(seen)[before:]
    assert fresh
    assert not {*fresh} & {*published(seen)[:before]}, "what the broker had is not published again"


def test_intervals_that_wait_go_to_the_broker_of_a_new_configuration(broker, daemon, collect, until, tmp_path) -> None:
    mosquitto, ledger = broker(EVERY_MESSAGE), tmp_path / "ledger.db"
    seen = collect(mosquitto.port)
    fill(tmp_path / "journal.db", ["main"] * 180, hours_ago(9), 60)
    gate = daemon(
        {"main": str(tmp_path / "main")}, 'host = "127.0.0.1"\nport = 1\ndiscovery = "off"\n', profile="nl-dsmr5"
    )
    gate.start()
    until(lambda: folded(gate) and ask(gate)["mqtt"]["intervals"]["waiting"], "versions that wait")
    gate.config.write_text(gate.config.read_text().replace("port = 1\n", f"port = {mosquitto.port}\n"))
    gate.process.send_signal(signal.SIGHUP)
    until(lambda: set(published(seen)) == set(versions(ledger)), "every version at the new broker")
    assert gate.stop() == 0


def folded(gate) -> bool:
    status = ask(gate).get("intervals")
    return bool(status) and status["state"] == "up_to_date" and status["position"] > 0


def received(gate) -> int:
    return sum(meter["counters"]["decoded"] for meter in ask(gate)["meters"])


def status(gate) -> dict:
    return ask(gate)["mqtt"]["history"]


def ask(gate) -> dict:
    """`meterd status --json` by the control socket."""
    command = [sys.executable, "-m", "gateway.cli", "status", "-c", str(gate.config), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    nobody = {"meters": [], "mqtt": {"history": {"pending": None}}}  # it starts, or has ended
    return nobody | (json.loads(done.stdout) if done.stdout else {})


def test_a_meter_that_is_configured_no_more_is_taken_back(broker, cable, daemon, collect, until) -> None:
    """What the broker keeps of it after a kill -9, at the next start; what others keep there stays."""
    mosquitto = broker()
    wires = {name: cable(name) for name in ("main", "heat")}
    ports = {name: str(wire.link) for name, wire in wires.items()}
    mqtt = f'host = "127.0.0.1"\nport = {mosquitto.port}\nretain_energy = true\n'
    gate = daemon(ports, mqtt, profile="nl-dsmr5")
    other = paho.Client(CallbackAPIVersion.VERSION2, protocol=FIVE)
    other.connect("127.0.0.1", mosquitto.port)
    other.loop_start()
    other.publish("meterd/heat2/availability", b"online", 1, retain=True).wait_for_publish(30)
    other.disconnect()
    other.loop_stop()
    gate.start()
    until(lambda: all(wire.is_read for wire in wires.values()), "the ports to be read")
    wires["heat"].send(telegram(1), paced=False)
    wires["main"].send(telegram(1), paced=False)
    until(lambda: {"heat", "main"} <= announced(mosquitto.port), "both to be announced")
    gate.stop(signal.SIGKILL)
    before = retained(mosquitto.port)
    assert {"meterd/heat/availability", "meterd/heat/state", "meterd/heat/a_import_wh"} <= before.keys()

    daemon({"main": ports["main"]}, mqtt, profile="nl-dsmr5").start()
    until(lambda: "heat" not in announced(mosquitto.port), "the announcement to be taken back")
    until(lambda: not [topic for topic in retained(mosquitto.port) if "/heat/" in topic], "its topics to be taken back")
    after = retained(mosquitto.port)
    assert {"meterd/main/availability", "meterd/heat2/availability"} <= after.keys()
    assert "main" in announced(mosquitto.port)


def retained(port: int) -> dict[str, bytes]:
    """What a broker keeps."""
    found: dict[str, bytes] = {}
    ready = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=FIVE)
    client.on_connect = lambda *_: client.subscribe([("meterd/#", 1), ("homeassistant/#", 1), ("caught/up", 1)])
    client.on_subscribe = lambda *_: client.publish("caught/up", b"", 1)
    client.on_message = lambda _c, _u, m: ready.set() if m.topic == "caught/up" else found.update({m.topic: m.payload})
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(30)
    client.disconnect()
    client.loop_stop()
    return {topic: payload for topic, payload in found.items() if payload}


def announced(port: int) -> set[str]:
    """Meters that Home Assistant would find."""
    texts = [payload.decode() for topic, payload in retained(port).items() if topic.startswith("homeassistant/")]
    return {name for name in ("main", "heat") if any(f"meterd/{name}/" in text for text in texts)}
