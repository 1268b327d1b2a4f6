"""Real telegrams at the pace of a line, through the daemon, to a subscriber over TLS and into the journal."""
# ruff: noqa: PLR0917 - fixtures are arguments

import json
import re
import tomllib
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from fastcrc.crc16 import arc

from gateway.control import ask

pytestmark = pytest.mark.e2e

#: an object with one value and a unit, as IEC 62056-21 prints it
OBJECT = re.compile(rb"^(\d-\d:\d+\.\d+\.\d+)\((-?\d+(?:\.\d+)?)\*([A-Za-z]+)\)\r$", re.MULTILINE)
QUANTITIES = ("p_import_w", "p_export_w", "a_import_wh", "a_export_wh")
#: item P that is everywhere: in `reading`, in a topic of its own, in the journal
NUMBERS = (*QUANTITIES, "p_net_w")
CLOCK = re.compile(rb"(?<=0-0:1\.0\.0\()\d{12}(?=[SW]\))")


def frames(checkout):
    """Each plain P1 frame of a profile that comes with a checksum, with what a person read in it."""
    folder = checkout / "config" / "profiles"
    for path in sorted(folder.glob("*.toml")):
        profile = tomllib.loads(path.read_text())
        if profile["link"] == "p1" and profile["checksum"] == "required":
            yield from ((folder / note["file"], profile["name"], note["expect"]) for note in profile["frame"])


def telegram(name, checkout):
    """A frame by its name."""
    return (checkout / "config" / "profiles" / "frames" / name).read_bytes()


def changed(octets, *changes):
    """A telegram with other octets and the checksum that belongs to them."""
    body = octets[: octets.rindex(b"!") + 1]
    for old, new in changes:
        assert old in body
        body = body.replace(old, new, 1)
    return body + f"{arc(body):04X}\r\n".encode()


def printed(octets):
    """Every object with a unit, by code; meters disagree on capitals (kvar, kVAr), which tell no unit apart here."""
    found = OBJECT.findall(octets)
    return {code.decode(): (Decimal(value.decode()), unit.decode().lower()) for code, value, unit in found}


def test_every_value_of_real_telegrams_arrives(guarded, subscribe, cable, daemon, until, checkout):
    wire, seen = cable(), subscribe(guarded.broker.port, guarded)
    running = daemon({"main": str(wire.link)}, guarded.mqtt, max_power_w=0).start()
    until(lambda: seen.last("status") == b"online", "the daemon at the broker")
    until(lambda: wire.is_read, "the port to be open")
    known = list(frames(checkout))
    assert len(known) >= 20
    sent = 0
    for path, profile, expect in known:
        octets = path.read_bytes()
        # Another meter, its registers and its sub-meters are believed when they were said again, and again.
        for _ in range(3):
            before, count = len(seen.messages), len(seen.readings())
            wire.send(octets)
            sent += 1
            until(lambda sent=sent: decoded(running) == sent, f"{path.name} to be decoded")
        until(lambda count=count: len(seen.readings()) > count, f"the reading of {path.name}")
        reading = seen.readings()[-1]
        assert reading["src"] == {"interface": "p1", "profile": profile}
        assert {key: reading.get(key, "") for key in (*QUANTITIES, "t_meter")} == {
            key: expect[key] for key in (*QUANTITIES, "t_meter")
        }
        # A capture is old: its clock is shown, and not believed.
        assert reading["t_source"] == "gateway"
        assert reading["auth"] == "plain"
        registers = {row["code"]: (Decimal(row["value"]), row.get("unit", "").lower()) for row in reading["registers"]}
        one_by_one = {code: value for code, value in printed(octets).items() if not re.match(r"0-[1-4]:24\.", code)}
        assert one_by_one or "p_import_w" not in reading
        assert one_by_one.items() <= registers.items(), path.name
        until(lambda before=before, reading=reading: numbers(seen, before) >= wanted(reading), f"the numbers of {path}")
        assert numbers(seen, before) == wanted(reading)
    assert running.stop() == 0
    until(lambda: seen.last("status") == b"offline", "the farewell")
    # The journal holds the same readings in the same order, and those of the sub-meters beside them.
    stored = running.export()
    subs = [sub for row in stored for sub in row.pop("sub", [])]
    seqs = {reading["seq"] for reading in seen.readings()}
    assert [row for row in stored if row["seq"] in seqs] == seen.readings()
    assert len(stored) < sent, "another meter was believed at once"
    # A time that is not believed is stored as it was said, and published without it.
    keys = ("channel", "device", "medium", "quantity", "unit")
    told = [json.loads(payload) for topic, payload in seen.messages if "/sub/" in topic]
    assert told
    assert {tuple(map(sub.get, keys)) for sub in told} <= {tuple(map(sub.get, keys)) for sub in subs}


def decoded(running):
    """How many telegrams the daemon has decoded so far."""
    return ask(running.config.parent / "control", "status")["meters"][0]["counters"]["decoded"]


def numbers(seen, since):
    """The plain numbers that arrived since a message, as texts by topic."""
    plain = {f"meterd/main/{name}" for name in (*NUMBERS, "a_import_kwh", "a_export_kwh")}
    return {(topic.rpartition("/")[2], payload.decode()) for topic, payload in seen.messages[since:] if topic in plain}


def wanted(reading):
    """The plain numbers that belong to a reading: each that it has, and Wh as kWh, exactly."""
    own = {(name, str(reading[name])) for name in NUMBERS if name in reading}
    energy = {name: reading[name] for name in ("a_import_wh", "a_export_wh") if name in reading}
    return own | {(name.replace("_wh", "_kwh"), f"{wh // 1000}.{wh % 1000:03d}") for name, wh in energy.items()}


def test_the_plug_is_pulled_within_a_telegram_and_put_back(guarded, subscribe, cable, daemon, until, checkout):
    octets = telegram("nl-dsmr5-iskra-gas.p1", checkout)
    other = changed(octets, (b"1-0:1.7.0(00.302", b"1-0:1.7.0(04.711"))
    wire, seen = cable(), subscribe(guarded.broker.port, guarded)
    running = daemon({"main": str(wire.link)}, guarded.mqtt, interval_s=30).start()
    until(lambda: wire.is_read and seen.last("status") == b"online", "the daemon")
    wire.send(octets)
    until(seen.readings, "a reading")
    until(lambda: seen.last("main/availability") == b"online", "the meter online")
    wire.send(other[:500])
    wire.pull()
    until(lambda: seen.last("main/availability") == b"offline", "the meter offline")
    until(lambda: seen.states()[-1] == "no_port", "the state")
    state = json.loads(seen.last("main/state"))
    assert str(wire.link) in state["evidence"]
    # The link leads to another terminal now, as after a real replug.
    wire.plug()
    until(lambda: wire.is_read, "the new terminal to be open")
    wire.send(other[500:] + other)
    until(lambda: len(seen.readings()) > 1, "the first whole telegram")
    until(lambda: seen.states()[-1] == "ok", "ok again")
    assert seen.last("main/availability") == b"online"
    assert [reading["p_import_w"] for reading in seen.readings()] == [302, 4711]
    assert running.stop() == 0
    assert [row["p_import_w"] for row in running.export()] == [302, 4711]


def test_the_journal_bridges_an_outage_of_the_broker(guarded, subscribe, cable, daemon, until, checkout):
    octets = telegram("nl-dsmr5-iskra-gas.p1", checkout)
    sent = [changed(octets, (b"1-0:1.7.0(00.302", b"1-0:1.7.0(%02d.000" % n)) for n in range(30)]
    wire, seen = cable(), subscribe(guarded.broker.port, guarded)
    running = daemon({"main": str(wire.link)}, guarded.mqtt, max_power_w=0).start()
    until(lambda: wire.is_read and seen.last("status") == b"online", "the daemon")
    for n, part in enumerate(sent[:10], 1):
        wire.send(part)
        until(lambda n=n: len(seen.readings()) == n, f"reading {n} of ten")
    guarded.broker.stop()
    greetings = len(seen.of("status"))
    for part in sent[10:20]:
        wire.send(part)
    guarded.broker.start()
    until(lambda: len(seen.of("status")) > greetings and seen.last("status") == b"online", "the daemon back")
    for part in sent[20:]:
        wire.send(part)
    until(lambda: any(row["p_import_w"] == 29_000 for row in seen.readings()), "the last reading")
    assert running.stop() == 0
    stored = running.export()
    assert [row["p_import_w"] for row in stored] == [n * 1000 for n in range(30)]
    assert all(earlier["seq"] < later["seq"] for earlier, later in pairwise(stored))
    by_seq = {row["seq"]: row for row in stored}
    live = seen.readings()
    assert all(row["p_import_w"] == by_seq[row["seq"]]["p_import_w"] for row in live)
    assert [row["seq"] for row in live] == sorted({row["seq"] for row in live})


HOSTILE = (
    rb"#/+/$SYS/../meterd/other/reading",
    b'{"p_import_w": 9999}\\n\\u0000"\'`;$(reboot)',
    b"=cmd|' /C calc'!A0,-2+3;@SUM(A1)",
    b"\x00\x01\x07\x1b[31m\x7f\x80\xff\xfe\xe2\x80\xae\xc2\x85",
    b"<script>alert(1)</script>%s%n%00",
    b"9" * 900,
)


@pytest.mark.parametrize("text", HOSTILE, ids=["topic", "json", "formula", "control", "markup", "long"])
def test_hostile_text_changes_nothing(broker, subscribe, cable, daemon, until, checkout, text):
    octets = telegram("nl-dsmr5-iskra-gas.p1", checkout)
    old = re.search(rb"0-0:96\.1\.1\(([^)]*)\)", octets)[1]
    gas = re.search(rb"0-1:96\.1\.0\(([^)]*)\)", octets)[1]
    message = re.search(rb"0-0:96\.13\.0\(([^)]*)\)", octets)[0]
    hostile = changed(octets, (old, text), (gas, text), (message, b"0-0:96.13.0(" + text + b")"))
    wire, mqtt = cable(), broker()
    seen = subscribe(mqtt.port)
    table = f'host = "127.0.0.1"\nport = {mqtt.port}\nreading_registers = true'
    running = daemon({"main": str(wire.link)}, table).start()
    until(lambda: wire.is_read and seen.last("status") == b"online", "the daemon")
    for n in (1, 2):  # a sub-meter is believed when it is met again; live is the newest, and two at once may be one
        wire.send(octets, paced=False)
        until(lambda n=n: len(seen.readings()) == n, f"good telegram {n}")
    until(lambda: seen.last("main/sub/1/reading"), "its gas")
    known = {topic for topic, _ in seen.messages}
    wire.send(hostile + octets, paced=False)
    until(lambda: len(seen.readings()) >= 3, "what came behind")
    until(lambda: seen.states()[-1] == "ok", "ok")
    assert running.stop() == 0
    until(lambda: seen.last("status") == b"offline", "the farewell")
    own = {topic for topic, _ in seen.messages if not topic.startswith("homeassistant/")}
    assert own <= known | {"meterd/main/state", "meterd/main/availability"}
    for reading in seen.readings():
        assert {key: reading[key] for key in QUANTITIES} == {
            "p_import_w": 302, "p_export_w": 0, "a_import_wh": 34326, "a_export_wh": 2376,
        }  # fmt: skip
    shown = running.log.read_bytes() + b"".join(
        topic.encode() + payload for topic, payload in seen.messages if "state" in topic or topic not in own
    )
    assert text not in shown
    assert not re.search(rb"[^\n\x20-\x7e]", running.log.read_bytes())
    assert text not in json.dumps(running.export(), ensure_ascii=False).encode()


def test_the_shipped_frames_are_where_this_test_looks(checkout: Path):
    assert {name for _, name, _ in frames(checkout)} >= {"nl-dsmr4", "nl-dsmr5", "se-efs2", "hu-p1", "lt-eso"}
