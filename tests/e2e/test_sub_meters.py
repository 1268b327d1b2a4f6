"""Sub-meters from the wire to MQTT, journal, export and status: real processes, a gas meter that is exchanged."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from gateway.simulator.meter import Meter
from gateway.simulator.sub_meters import Change

pytestmark = pytest.mark.e2e

TOPIC = "main/sub/1/reading"
#: a gas meter is read so often (s)
GAS_S = 300


def status(running):
    command = [sys.executable, "-m", "gateway.cli", "status", "-c", str(running.config), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    shown = json.loads(done.stdout) if done.stdout else {}
    return shown["meters"][0] if "meters" in shown else None  # nobody answers while it starts


def export(running, *options):
    command = [sys.executable, "-m", "gateway.cli", "export", "-c", str(running.config), "--sub-meters", *options]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def home(broker, cable, daemon, subscribe, until):
    """A started daemon on a cable, and who listens at its broker."""
    server, wire = broker(), cable()
    seen = subscribe(server.port)
    running = daemon(
        {"main": str(wire.link)}, f'host = "127.0.0.1"\nport = {server.port}\n', profile="nl-dsmr5"
    ).start()
    until(lambda: seen.last("status") == b"online" and wire.is_read, "the daemon")
    return wire, running, seen


def send(wire, seen, until, meter, seconds):
    """Send the telegrams of some seconds, one after the other."""
    for t in seconds:
        before = len(seen.readings())
        wire.send(meter.telegram_at(t))
        until(lambda before=before: len(seen.readings()) > before, "the reading")


def test_a_gas_meter_that_is_exchanged_while_the_gateway_is_off(home, until):
    wire, running, seen = home
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    if (start.timestamp() + 602) % GAS_S <= 22:  # a reading of gas would fall between the telegrams
        start -= timedelta(seconds=30)
    meter = Meter(3, "dsmr5", start, sub_changes=[Change("exchange", 595)])
    send(wire, seen, until, meter, [start + timedelta(seconds=n) for n in (580, 581, 582, 583)])
    told = seen.of(TOPIC)
    assert len(told) == 1, "a reading that is repeated is no news"
    old = json.loads(told[0])
    truth = meter.truth_at(start + timedelta(seconds=583))["sub"][0]
    assert {key: old[key] for key in truth} == truth
    assert running.stop() == 0

    running.start()
    until(lambda: wire.is_read and status(running), "the daemon again")
    send(wire, seen, until, meter, [start + timedelta(seconds=n) for n in (600, 601, 602)])
    new = json.loads(until(lambda: seen.of(TOPIC)[1:] and seen.last(TOPIC), "the new meter"))
    assert (new["quantity"], new["medium"], new["channel"]) == ("0.000", "gas", 1)
    assert new["device"] != old["device"]
    line = next(line for line in running.log.read_text().splitlines() if "sub_meter_exchanged" in line)
    for part in (f"before={old['device']}", f"device={new['device']}", f'final="{old["quantity"]} m3"'):
        assert part in line
    ended, current = sorted(status(running)["sub_meters"], key=lambda row: row["ended"] is None)
    assert (ended["device"], ended["final"]["quantity"]) == (old["device"], old["quantity"])
    assert (current["device"], current["replaced"]) == (new["device"], old["device"])
    assert running.stop() == 0
    assert [(row["device"], row["quantity"]) for row in export(running)] == [
        (old["device"], old["quantity"]),
        (new["device"], "0.000"),
    ]
    everything = running.log.read_text() + repr(seen.messages)
    for serial in ("SIMG", "SIMH", "53494D47", "53494D48"):
        assert serial not in everything


def test_a_meter_that_stands_still_and_one_without_a_time(home, until):
    wire, running, seen = home
    now = datetime.now(UTC).replace(microsecond=0)
    meter = Meter(4, "dsmr5", now - timedelta(hours=30), sub_changes=[Change("stale", 60)])
    send(wire, seen, until, meter, [now, now + timedelta(seconds=1)])
    until(lambda: "sub_meter_silent" in running.log.read_text(), "the log")
    assert seen.of(TOPIC) == [], "what is stale is never published as new"
    (row,) = until(lambda: status(running)["sub_meters"], "the status")
    assert (row["silent"], row["medium"]) == (True, "gas")

    odd = Meter(5, "dsmr5", now - timedelta(minutes=1), sub_changes=[Change("invalid", 0)])
    for n in (2, 3):  # another meter proves itself first
        wire.send(odd.telegram_at(now + timedelta(seconds=n)))
    send(wire, seen, until, odd, [now + timedelta(seconds=n) for n in (4, 5)])
    live = json.loads(until(lambda: seen.last(TOPIC), "the reading without a time"))
    assert ("t" in live, live["quality"]) == (False, "suspect")
    assert live["quantity"] == odd.truth_at(now)["sub"][0]["quantity"]


def test_two_gas_meters_of_a_real_telegram(checkout):
    """Channels 1 and 4 have gas meters, 2 and 3 water meters that were never read (times 632525252525S)."""
    cases = map(json.loads, (checkout / "tests/corpus/p1-ascii.jsonl").read_text().splitlines())
    found = next(case for case in cases if "luxembourgh-spec-example" in case["id"])
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "decode", "-"], input=found["data"].encode("latin-1"),
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    subs = json.loads(done.stdout)["sub"]
    assert [(sub["channel"], sub["medium"], sub["t"], sub["quantity"]) for sub in subs] == [
        (1, "gas", "2020-07-06T08:31:40Z", "0.006"),
        (4, "gas", "2020-07-06T08:29:00Z", "28.103"),
    ]
