"""`meterd status`: what a person reads, and the exit code that a script reads."""

import asyncio
import copy
import json

import pytest

from gateway.cli import main
from gateway.commands.status import is_well, lines
from gateway.control import ControlServer

ANSWER = {
    "version": "0.1.0",
    "pid": 77,
    "uptime_s": 400,
    "meters": [
        {
            "meter": "main",
            "state": "ok",
            "flags": ["zone_unknown"],
            "evidence": "readings arrive, one is expected every 1 s",
            "since": "2026-11-21T22:20:05Z",
            "profile": "nl-dsmr5",
            "interface": "p1",
            "units": {"p": "W", "a": "Wh"},
            "keys": {"encryption": None, "authentication": None},
            "last_error": {"code": "link.checksum", "text": "damaged", "t": "2026-11-21T22:20:05Z"},
            "counters": {"bytes": 900, "frames": 2, "decoded": 1, "stored": 1, "fault.link.checksum": 1},
            "age_s": 0.4,
            "port": "/dev/ttyUSB0",
        },
    ],
    "mqtt": {"broker": "b:1883", "connected": True, "protocol": "5", "last_error": None, "published": 1},
    "journal": {"path": "/j.db", "trouble": None, "stored": 1, "queued": 0},
}


def changed(**changes):
    answer = copy.deepcopy(ANSWER)
    for path, value in changes.items():
        part, _, key = path.partition("__")
        target = answer["meters"][0] if part == "meter" else answer if not key else answer[part]
        target[key or part] = value
    return answer


def test_says_what_matters():
    text = "\n".join(lines(ANSWER))
    assert "main  ok zone_unknown: readings arrive, one is expected every 1 s" in text
    assert "last reading 0 s ago; /dev/ttyUSB0, profile nl-dsmr5; 900 bytes, 2 telegrams, 1 decoded, 1 stored" in text
    assert "running for 7 min" in text
    assert "connected with MQTT 5" in text
    assert "last error" not in text


def test_names_the_configured_profile_before_the_first_reading():
    text = "\n".join(lines(changed(meter__profile=None, meter__configured_profile="nl-dsmr5")))
    assert "profile nl-dsmr5 (as configured);" in text
    text = "\n".join(lines(changed(meter__profile=None, meter__configured_profile="auto")))
    assert "profile not known yet;" in text


SUB = {
    "channel": 1, "medium": "gas", "device": "5d3a0c9b1f6e2a48", "t": "2026-11-21T22:20:00Z",
    "since": "2026-11-01T00:00:00Z", "silent": False, "replaced": None, "ended": None,
}  # fmt: skip


def test_shows_each_sub_meter():
    old = SUB | {"device": None, "ended": "2026-11-01T00:00:00Z", "final": {"quantity": "5000.123", "unit": "m3"}}
    rows = [SUB, SUB | {"silent": True, "t": None}, SUB | {"replaced": "0123456789abcdef"}, old]
    text = "\n".join(lines(changed(meter__sub_meters=rows)))
    assert "gas on channel 1, device 5d3a0c9b1f6e2a48: last reading of 2026-11-21T22:20:00Z\n" in text
    assert "silent: its time stands still at an unknown time" in text
    assert "in the place of 0123456789abcdef since 2026-11-01T00:00:00Z" in text
    assert "device without a number: taken away by 2026-11-01T00:00:00Z, final 5000.123 m3" in text


def test_a_broker_that_refuses_topics_is_not_well():
    answer = changed(mqtt__trouble="broker b:1883 does not let this user publish meterd/main/state")
    assert not is_well(answer)
    assert "1 readings published, but broker b:1883 does not let this user publish" in "\n".join(lines(answer))


def test_says_why_there_is_no_data():
    text = "\n".join(lines(changed(meter__state="no_bytes", meter__age_s=None, meter__profile=None)))
    assert "no reading yet; /dev/ttyUSB0, profile not known yet;" in text
    assert "last error: damaged (2026-11-21T22:20:05Z)" in text
    text = "\n".join(lines(changed(mqtt__connected=False, mqtt__last_error="refused", journal__trouble="disk is full")))
    assert "b:1883: not connected: refused" in text
    assert "journal  does not store: disk is full" in text
    assert "not configured" in "\n".join(lines(changed(mqtt=None)))
    for connected in (True, False):
        text = "\n".join(lines(changed(mqtt__connected=connected, mqtt__history={"pending": 7})))
        assert "7 stored readings are not there yet" in text


@pytest.mark.parametrize(
    ("changes", "well"),
    [
        ({}, True),
        ({"mqtt": None}, True),
        ({"meter__state": "disabled"}, True),
        ({"meter__state": "stale"}, False),
        ({"mqtt__connected": False}, False),
        ({"journal__trouble": "disk is full"}, False),
    ],
)
def test_exit_code_follows_health(changes, well):
    assert is_well(changed(**changes)) is well


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_asks_the_socket_of_the_configuration(tmp_path, capsys, form):
    """Also when the configuration has an error somewhere else."""
    (tmp_path / "meterd.toml").write_text('nonsense = 1\n[control]\nsocket = "ask"\n')

    async def scene():
        server = ControlServer(tmp_path / "ask", {"status": lambda _: ANSWER})
        async with asyncio.timeout(30):
            await server.start()
            try:
                return await asyncio.to_thread(main, ["status", "-c", str(tmp_path / "meterd.toml"), *form])
            finally:
                await server.close()

    assert asyncio.run(scene()) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == ANSWER if form else out.startswith("meterd 0.1.0")


def test_says_that_the_daemon_does_not_run(tmp_path, capsys):
    assert main(["status", "--socket", str(tmp_path / "none"), "--json"]) == 1
    said = capsys.readouterr()
    assert said.err == (
        f"meterd status: meterd does not run: nobody answers on {tmp_path}/none; start it with `meterd run`\n"
    )
    assert json.loads(said.out)["error"] in said.err


def test_intervals_that_cannot_be_stored():
    folding = {"trouble": None, "series": 2, "versions": 96, "newest": 12, "position": 9}
    answer = changed(intervals=folding)
    assert "intervals  of 2 registers, 96 new versions, 3 readings wait" in list(lines(answer))
    assert is_well(answer)
    failing = changed(intervals=folding | {"trouble": "the disk is full"})
    assert "intervals  are not stored: the disk is full" in list(lines(failing))
    assert not is_well(failing)


def test_what_did_not_arrive_is_said_and_nothing_else():
    meter = {"received": 9, "stored": 9, "quarantined": 0, "rejected": 0, "held": 0, "lost": 0, "holds": True}
    sink = {"delivered": 9, "pending": 0, "evicted": 0, "dead_letter": 0}

    def said(sinks, **meters):
        return [line for line in lines(changed(conservation={"meters": meters, "sinks": sinks})) if "account" in line]

    assert said({"influx": {"main": sink}}, main=meter) == []
    assert said({}, main=meter | {"quarantined": 3, "lost": 2}) == ["account  main: 3 readings in quarantine, 2 lost"]
    assert said({}, main=meter | {"holds": False}) == ["account  main: 9 received do not add up; please report this"]
    (line,) = said({"influx": {"main": sink | {"dead_letter": 1}, "barn": sink | {"evicted": 4}}}, main=meter)
    assert line == "account  influx: 1 readings refused for good, 4 gave way before they were delivered"
