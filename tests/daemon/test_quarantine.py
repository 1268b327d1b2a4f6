"""Values that cannot be, through a real daemon: nobody sees them, the journal keeps them apart, the line says why."""

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from gateway.control import ask
from gateway.simulator.faults import parse
from gateway.simulator.meter import Meter
from gateway.simulator.serve import _changed

from .conftest import until


class Sender:
    """A simulated meter with faults of values, one telegram after the other: live topics have the newest reading."""

    def __init__(self, port, seen, *faults, seed=7):
        self.start = datetime.now(UTC) - timedelta(seconds=120)
        self.meter, self.port, self.number = Meter(seed, "dsmr5", self.start, solar_wp=0), port, 0
        self.values = self.meter.values(tuple(map(parse, faults)))
        self.seen, self.true, self.false = seen, [], []

    def send(self, count):
        """Send the next telegrams, and wait for those that a reader must have."""
        for _ in range(count):
            t = self.start + timedelta(seconds=self.number)
            outcome = _changed(self.meter, self.values, self.number, t)
            (self.true if outcome is None else self.false).append(self.meter.truth_at(t)["a_import_wh"])
            self.port.send(outcome.octets if outcome else self.meter.telegram_at(t))
            self.number += 1
            if outcome is None:
                until(lambda: len(self.seen.readings()) == len(self.true), "a reading")


def rows(path, table):
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return db.execute(f"SELECT count(*) FROM {table} WHERE meter > 0").fetchone()[0]


@pytest.mark.e2e
def test_no_consumer_sees_what_cannot_be(daemon, pty, broker, subscribe, tmp_path):
    mqtt = broker()
    seen, port = subscribe(mqtt.port, "#"), pty()
    running = daemon("main", mqtt=mqtt.port, meter_extra='profile = "nl-dsmr5"').start()
    until(seen.state, "the connection: readings before it are published late")
    sender = Sender(port, seen, "power_spike@3,4,11", "energy_spike@6,7,13", "register_fall@9,15")
    sender.send(20)
    assert (len(sender.true), len(sender.false)) == (12, 8)
    last = until(lambda: (now := running.meter())["counters"]["decoded"] == 20 and now, "the last one")
    assert "quarantined" in last["flags"]
    assert [reading["a_import_wh"] for reading in seen.readings()] == sender.true
    assert {reading["quality"] for reading in seen.readings()} == {"measured"}
    powers = [int(payload) for topic, payload, _ in seen.messages if topic.endswith("/p_import_w")]
    assert max(powers) < 25_876
    assert len(powers) == len(sender.true)
    energies = [int(payload) for topic, payload, _ in seen.messages if topic.endswith("/a_import_wh")]
    assert energies == sender.true
    assert running.status()["conservation"]["holds"]
    code, _ = running.stop()
    assert code == 0
    assert rows(tmp_path / "journal.db", "record") == len(sender.true)
    assert rows(tmp_path / "journal.db", "quarantine") == len(sender.false)
    assert running.log.read_text().count("event=quarantined") == 1


@pytest.mark.e2e
def test_only_what_cannot_be_names_the_line_and_ends_by_itself(daemon, pty, broker, subscribe):
    mqtt = broker()
    seen, port = subscribe(mqtt.port), pty()
    running = daemon("main", mqtt=mqtt.port, meter_extra='profile = "nl-dsmr5"').start()
    until(seen.state, "the connection: readings before it are published late")
    sender = Sender(port, seen, "power_spike@0-5")
    sender.send(6)
    until(lambda: seen.state() == "implausible", "the state")
    assert seen.last("main/availability") == b"offline"
    assert seen.readings() == []
    assert "is above max_power_w = 25875" in running.meter()["evidence"]
    sender.send(1)
    until(lambda: seen.state() == "ok", "the meter to be right again")
    until(lambda: seen.last("main/availability") == b"online", "the meter to be available")
    assert running.meter()["counters"]["decoded"] == 7


@pytest.mark.e2e
def test_a_rollover_is_exact_and_another_meter_waits_for_a_person(daemon, pty, broker, subscribe, tmp_path):
    mqtt = broker()
    seen, port = subscribe(mqtt.port), pty()
    running = daemon("main", mqtt=mqtt.port, meter_extra='profile = "nl-dsmr5"').start()
    until(seen.state, "the connection: readings before it are published late")
    sender = Sender(port, seen, "register_rollover@2", "exchange@80")
    sender.send(90)
    assert (len(sender.true), len(sender.false)) == (88, 2), "the new meter proves itself first"
    assert "exchanged" in running.meter()["flags"]
    assert running.meter()["exchange"]["confirmed"] is False
    running.stop()
    running.start()
    assert running.meter()["exchange"]["confirmed"] is False, "a restart confirms nothing"
    command = [sys.executable, "-m", "gateway.cli", "meter", "confirm", "main", "--socket", str(running.socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "main" in done.stdout
    assert ask(running.socket, "status")["meters"][0]["exchange"]["confirmed"] is True
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=30, check=False)
    assert again.returncode == 1
    assert json.loads(again.stdout)["confirmed"] is False
    running.stop()
    log = running.log.read_text()
    assert [log.count(f"event={name}") for name in ("rollover", "rollback", "meter_exchanged", "meter_confirmed")] == [
        1, 0, 1, 1,
    ]  # fmt: skip
    assert "modulus_wh=1000000000" in log
    assert rows(tmp_path / "journal.db", "quarantine") == 2
