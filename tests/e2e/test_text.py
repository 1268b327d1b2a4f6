"""Linky and data blocks end to end: a simulated meter on a pseudo-terminal at its pace, the daemon, a broker."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json

import pytest

SOURCES = {
    "d0-block": ({"interface": "iec62056-21", "profile": "iec62056-21-generic"}, 9600),
    "fr-historique": ({"interface": "teleinfo", "profile": "fr-linky-historique"}, 1200),
    "fr-standard": ({"interface": "teleinfo", "profile": "fr-linky-standard"}, 9600),
}
NAMES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "t_meter")


@pytest.mark.e2e
@pytest.mark.parametrize("variant", SOURCES)
def test_readings_reach_the_broker(variant, broker, subscribe, daemon, simulator, until, tmp_path):
    mqtt, (source, baud) = broker(), SOURCES[variant]
    seen, port, told = subscribe(mqtt.port), tmp_path / "port", tmp_path / "truth.jsonl"
    meter = simulator(
        "--variant", variant, "--link", str(port), "--line-pace", "--truth", str(told), "--fault", "noise=0.3"
    )
    assert meter.stdout.readline()
    # a pseudo-terminal has no parity: the profile's framing is tested with a mocked port
    running = daemon({"main": str(port)}, f'host = "127.0.0.1"\nport = {mqtt.port}', baud=baud, framing="8N1").start()
    until(lambda: len(seen.readings()) >= 3, "the readings")
    assert running.stop() == 0
    rows = [json.loads(line) for line in told.read_text().splitlines()]
    truth = [{key: row["item_p"][key] for key in NAMES if key in row["item_p"]} for row in rows]
    for reading in seen.readings():
        assert {key: reading[key] for key in NAMES if key in reading} in truth
        assert (reading["src"], reading["auth"]) == (source, "plain")
        assert reading["t_source"] == ("meter" if variant == "fr-standard" else "gateway")
    if variant != "d0-block":
        assert not any(seen.of(f"main/{name}") for name in ("p_import_w", "p_export_w", "p_net_w"))
    assert "ok" in seen.states()
