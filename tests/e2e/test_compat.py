"""`[[compat]]` in the real daemon: AIIDA's broker behind TLS and a password, brokers that are dead or stand still."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json
import signal
import subprocess
import sys
from decimal import Decimal

import pytest

pytestmark = pytest.mark.e2e

TOPIC = "aiida/7d2b2547-27dd-4fe0-9516-707540e1184f/data"
#: types of AIIDA's quantities, and how many of ours make one of theirs
TYPES = {"2": ("p_import_w", 1000), "3": ("p_export_w", 1000), "0": ("a_import_wh", 1000), "1": ("a_export_wh", 1000)}


@pytest.fixture
def meter(simulator, tmp_path):
    """Start a simulated meter that sends each second; gives its port."""
    simulator("--link", str(tmp_path / "port-main"), "--interval", "1", "--seed", "3")
    return str(tmp_path / "port-main")


@pytest.fixture
def status():
    """Ask a daemon how it is: the exit code and the answer."""

    def ask(running):
        command = [sys.executable, "-m", "gateway.cli", "status", "-c", str(running.config), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
        return done.returncode, json.loads(done.stdout)

    return ask


def test_aiida_gets_what_the_meter_says_and_nothing_else(guarded, broker, subscribe, daemon, meter, until):
    main = broker()
    ours, theirs = subscribe(main.port), subscribe(guarded.broker.port, guarded)
    own = "\n".join(line for line in guarded.mqtt.splitlines() if not line.startswith("reading_registers"))
    compat = f'[[compat]]\nkind = "aiida-cim"\nmeter = "main"\ncountry = "LU"\ntopic = "{TOPIC}"\n{own}\n'
    running = daemon({"main": meter}, f'host = "127.0.0.1"\nport = {main.port}\n{compat}').start()
    until(lambda: len(theirs.messages) >= 4, "readings at the broker of AIIDA")
    assert running.stop() == 0
    assert {topic for topic, _ in theirs.messages} == {TOPIC}, "no status, no will, no discovery"
    # the two brokers are connected to one after the other: only the journal has every reading
    readings = {reading["t"]: reading for reading in running.export()}
    assert ours.readings()
    for _, payload in theirs.messages:
        series = json.loads(payload, parse_float=Decimal, parse_int=Decimal)
        reading = readings[series["dateAndOrTime.dateTime"]]
        found = {row["type"]: row["quantity"] for row in series["Quantity"]}
        assert {kind: found[kind] * factor for kind, (_, factor) in TYPES.items()} == {
            kind: reading[name] for kind, (name, _) in TYPES.items()
        }


def test_brokers_that_are_dead_or_stand_still_delay_nobody(broker, subscribe, daemon, meter, status, until):
    main, dead, frozen = broker(), broker(), broker()
    dead.stop()
    table = '[[compat]]\nkind = "victron"\nmeter = "main"\ntopic = "victron/grid"\nhost = "127.0.0.1"\nport = {}\n'
    more = "".join(table.format(other.port) for other in (dead, frozen))
    ours, theirs = subscribe(main.port), subscribe(frozen.port)
    running = daemon({"main": meter}, f'host = "127.0.0.1"\nport = {main.port}\n{more}').start()
    until(lambda: theirs.messages and ours.readings(), "readings at both brokers that live")
    frozen._process.send_signal(signal.SIGSTOP)
    try:
        before = len(ours.readings())
        until(lambda: status(running)[1]["outputs"][1]["dropped"], "a reading that the frozen broker did not take")
        until(lambda: len(ours.readings()) >= before + 4, "readings at the main broker")
        code, answer = status(running)
    finally:
        frozen._process.send_signal(signal.SIGCONT)
    numbers = [reading["seq"] for reading in ours.readings()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "the main broker misses none"
    assert code == 1, "an output does not work"
    assert answer["outputs"][0]["works"] is False
    assert "refused the connection" in answer["outputs"][0]["text"]
    until(lambda: len(theirs.messages) >= 2 and status(running)[1]["outputs"][1]["works"], "the broker that woke")
    assert all(topic == "victron/grid" for topic, _ in theirs.messages)
