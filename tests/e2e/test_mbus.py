"""Wired M-Bus end to end: a meter on a pseudo-terminal at 2400 Bd that a master asks, the daemon, a broker."""

import json
import runpy
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

pytestmark = pytest.mark.e2e
ITEM_P = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")


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
    for reading in seen.readings():
        assert {name: reading[name] for name in ITEM_P if name in reading} in truth
        assert (reading["t_source"], reading["src"]) == ("gateway", {"interface": "mbus", "profile": "mbus-generic"})
        assert "registers" not in reading
    assert json.loads(seen.last("main/state"))["flags"] == []


@pytest.fixture
def amis(checkout, cable, tmp_path):
    """The telegram of an AMIS meter of now, on a cable, and the file of its key."""
    make = runpy.run_path(str(checkout / "tools" / "make_mbus.py"))["make"]
    key, file = "0123456789ABCDEFFEDCBA9876543210", tmp_path / "key"
    file.write_text(key)
    file.chmod(0o600)

    def telegram(access):
        now = datetime.now(ZoneInfo("Europe/Vienna")).replace(tzinfo=None, microsecond=0)
        summer = "S" if datetime.now(ZoneInfo("Europe/Vienna")).dst() else ""
        return make(
            f"telegram 53 F0 5B key {key}\nlong 00000000 SAM 1 0E {access} 00 5005\noctets 2F2F\n"
            f"06 6D time {now.isoformat()}{summer}\n04 03 int 8765432\n04 833C int 4321\n04 2B int 432\n04 AB3C int 0\n"
            f"octets {'2F' * 40}\n"
        )

    return cable("main"), telegram, file


def test_an_amis_meter_is_opened_with_its_key(broker, subscribe, daemon, amis, until):
    mqtt = broker()
    seen = subscribe(mqtt.port)
    wire, telegram, key = amis
    settings = {"baud": 9600, "framing": "8E1", "profile": "at-netzooe-amis", "key_file": str(key)}
    running = daemon({"main": str(wire.link)}, f'host = "127.0.0.1"\nport = {mqtt.port}', **settings).start()
    until(lambda: wire.is_read and seen.last("status") == b"online", "the daemon")
    wire.send(telegram(1))
    (reading,) = until(seen.readings, "the reading")
    state = until(lambda: next((s for s in map(json.loads, seen.of("main/state")) if s["state"] == "ok"), None), "ok")
    assert running.stop() == 0
    assert [reading[name] for name in ITEM_P] == [432, 0, 432, 8765432, 4321]
    assert (reading["auth"], reading["t_source"]) == ("unverified", "meter")
    assert abs(reading["clock_offset_s"]) < 60
    assert state["flags"] == ["unverified"]
