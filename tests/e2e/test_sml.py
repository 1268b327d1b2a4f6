"""SML end to end: a simulated meter on a pseudo-terminal at 9600 Bd, the daemon, a broker."""

import json
from datetime import UTC, datetime, timedelta

import pytest


@pytest.fixture
def metering(simulator, tmp_path):
    """Start a simulated meter; gives where it is, and the file of its truth."""

    def start(variant, *options):
        port, truth = tmp_path / "port", tmp_path / "truth.jsonl"
        process = simulator("--variant", variant, "--link", str(port), "--line-pace", "--truth", str(truth), *options)
        assert process.stdout.readline()
        return {"main": str(port)}, truth

    return start


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def known(reading):
    names = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")
    return {name: reading[name] for name in names if name in reading}


def test_readings_of_an_sml_meter_reach_the_broker(broker, subscribe, daemon, metering, until):
    mqtt = broker()
    seen = subscribe(mqtt.port)
    ports, told = metering("de-sml", "--fault", "damaged=0.2", "--fault", "noise=0.2")
    running = daemon(ports, f'host = "127.0.0.1"\nport = {mqtt.port}', baud=9600, framing="8N1").start()
    until(lambda: len(seen.readings()) >= 5, "the readings")
    assert running.stop() == 0
    truth = [row["item_p"] for row in rows(told) if row["arrives"]]
    for reading in seen.readings():
        assert known(reading) in truth
        assert (reading["t_source"], reading["src"]) == ("gateway", {"interface": "sml", "profile": "sml-generic"})
        assert "t_meter" not in reading
        assert abs(datetime.now(UTC) - datetime.fromisoformat(reading["t"])) < timedelta(minutes=2)
    state = json.loads(seen.last("main/state"))
    assert state["flags"] == []


def test_a_locked_meter_is_ok_and_says_that_its_pin_is_missing(broker, subscribe, daemon, metering, until):
    mqtt = broker()
    seen = subscribe(mqtt.port)
    ports, told = metering("de-sml-locked")
    daemon(ports, f'host = "127.0.0.1"\nport = {mqtt.port}', baud=9600, framing="8N1").start()
    until(seen.readings, "a reading")
    state = until(lambda: next((s for s in map(json.loads, seen.of("main/state")) if s["flags"]), None), "the flag")
    assert (state["state"], state["flags"]) == ("ok", ["pin_locked"])
    reading = known(seen.readings()[0])
    until(lambda: reading in [row["item_p"] for row in rows(told)], "its truth")
    assert set(reading) == {"a_import_wh", "a_export_wh"}
    assert not seen.of("main/p_import_w")
    assert not seen.of("main/p_net_w")
