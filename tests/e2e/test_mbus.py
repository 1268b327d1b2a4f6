"""Wired M-Bus end to end: a meter on a pseudo-terminal at 2400 Bd that a master asks, the daemon, a broker."""

import json

import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture
def line(simulator, tmp_path):
    """A bus with one meter; gives its terminal, and the file of its truth."""
    port, told = tmp_path / "port", tmp_path / "truth.jsonl"
    options = ("--interval", "1", "--line-pace", "--fault", "damaged=0.2", "--fault", "noise=0.2")
    process = simulator("--variant", "mbus", "--link", str(port), "--truth", str(told), *options)
    assert process.stdout.readline()
    return port, told


def test_answers_of_an_mbus_meter_reach_the_broker(broker, subscribe, daemon, line, until):
    mqtt = broker()
    seen = subscribe(mqtt.port)
    port, told = line
    running = daemon({"main": str(port)}, f'host = "127.0.0.1"\nport = {mqtt.port}', baud=2400, framing="8E1").start()
    until(lambda: len(seen.readings()) >= 5, "the readings")
    assert running.stop() == 0
    truth = [row["item_p"] for row in map(json.loads, told.read_text().splitlines()) if row["arrives"]]
    names = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")
    for reading in seen.readings():
        assert {name: reading[name] for name in names if name in reading} in truth
        assert (reading["t_source"], reading["src"]) == ("gateway", {"interface": "mbus", "profile": "mbus-generic"})
        assert "registers" not in reading
    assert json.loads(seen.last("main/state"))["flags"] == []
