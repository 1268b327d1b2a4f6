"""A reload takes over what is right as a whole, leaves alone what did not change, and refuses what is wrong."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.commands.check import findings
from gateway.commands.run import _read_again
from gateway.control import ask
from gateway.daemon import Daemon
from gateway.reload import Loaded, plan
from gateway.settings import JournalSettings, MeterSettings, Settings
from gateway.sinks import registry
from gateway.sinks.made_of import made_of
from tests.sizes import MUTATED_CONFIGURATIONS


def until(condition: Callable[[], Any], what: str, deadline_s: float = 30.0) -> Any:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.01)
    return value


# -- what stays and what begins anew -------------------------------------------------------------------------------


def settings(*meters: MeterSettings, **tables: Any) -> Settings:
    return Settings(meter=meters, **tables)


MAIN, GARAGE = MeterSettings(name="main", port="/dev/a"), MeterSettings(name="garage", port="/dev/b")


def test_the_same_configuration_changes_nothing() -> None:
    found = plan(Loaded(settings(MAIN, GARAGE), {}), Loaded(settings(MAIN, GARAGE), {}))
    assert (found.added, found.changed, found.removed, found.relearn, found.waiting) == ((), (), (), (), ())


def test_meters_are_told_apart_by_name() -> None:
    other = msgspec.structs.replace(MAIN, port="/dev/c")
    new = MeterSettings(name="new", port="/dev/b")
    found = plan(Loaded(settings(MAIN, GARAGE), {}), Loaded(settings(new, other), {}))
    assert (found.added, found.changed, found.removed) == (("new",), ("main",), ("garage",))
    assert found.begins("new")
    assert found.begins("main")
    assert not found.begins("garage")


def test_tables_of_open_files_wait_for_the_next_start() -> None:
    before = settings(MAIN)
    after = settings(MAIN, GARAGE, journal=JournalSettings(max_days=1))
    found = plan(Loaded(before, {}), Loaded(after, {}))
    assert found.waiting == ("journal",)
    assert found.loaded.settings == settings(MAIN, GARAGE)


def test_another_profile_of_the_same_name_is_a_change() -> None:
    meter = MeterSettings(name="main", port="/dev/a", profile="x")
    old, new = Loaded(settings(meter), {"x": "old"}), Loaded(settings(meter), {"x": "new"})  # type: ignore[dict-item]
    assert plan(old, new).changed == ("main",)
    assert plan(old, old).changed == ()


def test_other_profiles_are_read_by_meters_that_look_for_theirs() -> None:
    named = MeterSettings(name="named", port="/dev/b", profile="x")
    old = Loaded(settings(MAIN, named), {"x": "same"}, ("one",))  # type: ignore[dict-item,arg-type]
    assert plan(old, old._replace(auto=("one", "two"))).relearn == ("main",)  # type: ignore[arg-type]


EVERY_SINK = """
[[meter]]
name = "main"
port = "/dev/null"
[mqtt]
host = "127.0.0.1"
username = "meterd"
password_file = "password"
[[compat]]
kind = "victron"
meter = "main"
topic = "victron/grid"
[[virtual_p1]]
meter = "main"
listen = "127.0.0.1:2001"
timezone = "Europe/Vienna"
[[homewizard]]
meter = "main"
listen = "127.0.0.1:2002"
timezone = "Europe/Vienna"
mdns = false
"""


def parts(folder: Path, text: str = EVERY_SINK) -> dict[str, Any]:
    (folder / "meterd.toml").write_text(text)
    found, errors, _ = findings(folder / "meterd.toml")
    assert found is not None, errors
    return made_of(found)


def test_every_sink_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    names = parts(tmp_path).keys()
    found, _, _ = findings(tmp_path / "meterd.toml")
    assert found is not None
    assert names == registry.create(found, bytes(16)).keys()
    assert "mqtt" in names


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ('host = "127.0.0.1"', 'host = "127.0.0.2"', {"mqtt", "compat 1"}),
        ('topic = "victron/grid"', 'topic = "grid"', {"compat 1"}),
        ('name = "main"\n', 'name = "main"\ntimezone = "Europe/Paris"\n', {"compat 1", "virtual_p1 1", "homewizard 1"}),
        ("[mqtt]", '[[meter]]\nname = "new"\nport = "/dev/zero"\n[mqtt]', {"mqtt"}),
        ("mdns = false", "mdns = false\nmax_clients = 2", {"homewizard 1"}),
    ],
)
def test_a_sink_stays_unless_what_it_is_made_of_changes(
    tmp_path: Path, before: str, after: str, changed: set[str]
) -> None:
    (tmp_path / "password").write_text("secret")
    old, new = parts(tmp_path), parts(tmp_path, EVERY_SINK.replace(before, after))
    assert {name for name in old if old[name] != new[name]} == changed


def test_another_password_in_the_same_file_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    old = parts(tmp_path)
    (tmp_path / "password").write_text("another")
    assert {name for name, one in parts(tmp_path).items() if one != old[name]} == {"mqtt", "compat 1"}


# -- 1,000 mutated configurations ------------------------------------------------------------------------------------

BASE = """[[meter]]
name = "main"
port = "/nowhere/main"
profile = "nl-dsmr5"
baud = 115200

[[meter]]
name = "garage"
port = "/nowhere/garage"
profile = "hu-p1"
timezone = "Europe/Vienna"
min_auth = "plain"

[journal]
path = "journal.db"
max_mib = 64

[control]
socket = "control"

[log]
level = "error"
"""


def mutated(rng: random.Random, text: str) -> bytes:
    """One to three of the things that happen to a file: by an editor, a half-finished write, a bad card."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) or 1)
        lines = data.split(b"\n")
        line = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                data[at : at + rng.randint(1, 8)] = b""
            case 1:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 2:
                data = data[:at]
            case 3:
                data = bytearray(b"\n".join([*lines[:line], *lines[line + 1 :]]))
            case 4:
                data = bytearray(b"\n".join([*lines[:line], lines[line], *lines[line:]]))
            case 5:
                word = rng.choice([b"true", b"-1", b"1e400", b'""', b"[[[[", b"nan", b'"\\u0000"', b"{a = 1}"])
                lines[line] = lines[line].partition(b"=")[0] + b"= " + word
                data = bytearray(b"\n".join(lines))
            case _:
                lines[line] = lines[line].replace(b"a", b"e")
                data = bytearray(b"\n".join(lines))
    return bytes(data)


def test_no_mutated_configuration_stops_what_runs(tmp_path: Path) -> None:
    """Each is judged as `meterd check` judges it: refused, and nothing is touched; or in force, exactly as written."""
    rng = random.Random(68)
    path = tmp_path / "meterd.toml"
    path.write_text(BASE)

    async def main() -> tuple[int, int]:
        daemon = Daemon(*_read_again(path), lambda: _read_again(path))
        running = asyncio.create_task(daemon.run())
        refused = taken = 0
        while not daemon._ready.is_set():
            await asyncio.sleep(0.01)
        for _ in range(MUTATED_CONFIGURATIONS):
            before, meters = daemon._loaded, dict(daemon.meters)
            path.write_bytes(mutated(rng, BASE))
            wanted, errors, _ = findings(path)
            answer = await daemon.reload()
            assert answer["reloaded"] == (not errors), (path.read_bytes(), answer, errors)
            if errors:
                refused += 1
                assert answer["errors"] == errors
                assert daemon._loaded is before
                assert all(daemon.meters[name] is meter for name, meter in meters.items())
                assert daemon.status()["configuration"]["refused"] == errors
            else:
                taken += 1
                assert daemon._loaded.settings.meter == wanted.meter
                assert list(daemon.meters) == [meter.name for meter in wanted.meter]
                assert daemon.status()["configuration"]["refused"] == []
                path.write_text(BASE)
                assert (await daemon.reload())["reloaded"]
            assert not running.done()
        daemon.stop()
        async with asyncio.timeout(30):
            await running
        return refused, taken

    refused, taken = asyncio.run(main())
    assert refused + taken == MUTATED_CONFIGURATIONS
    assert refused > MUTATED_CONFIGURATIONS // 2
    assert taken > 0, "no mutation was harmless: the other branch was not tested"


# -- the process -----------------------------------------------------------------------------------------------------


#: a port that is silent is opened anew after three intervals: not while a busy machine takes its time
PATIENT = "interval_s = 600"


def reload(running: Any) -> dict[str, Any]:
    return ask(running.socket, "reload", 30)


@pytest.mark.e2e
def test_a_wrong_file_is_refused_with_every_error(daemon, pty, broker, subscribe, telegrams) -> None:  # type: ignore[no-untyped-def]
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port, meter_extra=PATIENT).start()
    port.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings()) == 1, "a reading")
    good = running.config.read_text()
    running.config.write_text(good + '\n[log]\nlevel = "loud"\nfrom = 3\n')
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "event=reload_refused" in running.log.read_text(), "the answer to SIGHUP")
    status = running.status()
    assert any("level" in problem for problem in status["configuration"]["refused"])
    assert any("from" in problem for problem in status["configuration"]["refused"])
    command = [sys.executable, "-m", "gateway.cli"]
    options = ["--socket", str(running.socket)]
    done = subprocess.run([*command, "reload", *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "level" in done.stderr
    assert "from" in done.stderr
    shown = subprocess.run([*command, "status", *options], capture_output=True, text=True, timeout=60, check=False)
    assert "refused at the last reload" in shown.stdout
    port.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings()) == 2, "a reading after the refusal")
    running.config.write_text(good)
    done = subprocess.run([*command, "reload", *options], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert running.status()["configuration"]["refused"] == []
    assert running.stop()[0] == 0


@pytest.mark.e2e
def test_meters_come_change_and_go_beside_one_that_stays(daemon, pty, broker, subscribe, telegrams) -> None:  # type: ignore[no-untyped-def]
    main, garage, mqtt = pty("main"), pty("garage"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port, meter_extra=PATIENT).start()
    main.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings()) == 1, "a reading")
    one = running.config.read_text()
    two = f'[[meter]]\nname = "garage"\nport = "{garage.link}"\n{PATIENT}\n'

    running.config.write_text(two + one)
    assert reload(running)["meters"] == {"added": ["garage"], "changed": [], "removed": []}
    until(lambda: running.meter("garage")["counters"]["opens"] == 1, "the new port")
    garage.send(telegrams(1)[0][0])
    main.send(telegrams(1)[0][0])
    until(lambda: seen.readings("garage") and len(seen.readings()) == 2, "readings of both")
    assert seen.readings("garage")[0]["seq"] == 1
    assert running.meter("main")["counters"]["opens"] == 1, "the port of a meter that stays is not closed"

    running.config.write_text(two + "max_clock_offset_s = 60\n" + one)
    answer = reload(running)
    assert answer["meters"] == {"added": [], "changed": ["garage"], "removed": []}
    assert answer["outlets"] == {"stopped": [], "started": []}, "the broker was not left"
    until(lambda: running.meter("garage")["counters"]["opens"] == 2, "the port to be open again")
    garage.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings("garage")) == 2, "a reading after the change")
    assert seen.readings("garage")[1]["seq"] == 2
    assert running.meter("garage")["counters"]["decoded"] == 2

    running.config.write_text(one)
    assert reload(running)["meters"] == {"added": [], "changed": [], "removed": ["garage"]}
    until(lambda: b"offline" in seen.of("garage/availability"), "the farewell of the meter that went")
    running.config.write_text(two + one)
    reload(running)
    until(lambda: running.meter("garage")["counters"]["opens"] == 3, "the port of a meter that came back")
    garage.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings("garage")) == 3, "a reading of a meter that came back")
    assert seen.readings("garage")[2]["seq"] == 3
    assert running.meter("main")["counters"]["opens"] == 1
    assert running.stop()[0] == 0


@pytest.mark.e2e
def test_another_broker_takes_over_and_the_journal_waits(daemon, pty, broker, subscribe, telegrams) -> None:  # type: ignore[no-untyped-def]
    port, first, second = pty("main"), broker(), broker()
    old, new = subscribe(first.port), subscribe(second.port)
    running = daemon("main", mqtt=first.port, meter_extra=PATIENT).start()
    port.send(telegrams(1)[0][0])
    until(lambda: len(old.readings()) == 1, "a reading at the first broker")
    text = running.config.read_text().replace(f"port = {first.port}", f"port = {second.port}")
    running.config.write_text(text.replace("[journal]", "[journal]\nmax_days = 7"))
    answer = reload(running)
    assert answer["outlets"] == {"stopped": ["mqtt"], "started": ["mqtt"]}
    assert answer["restart_needed"] == ["journal"]
    assert running.status()["configuration"]["restart_needed"] == ["journal"]
    until(lambda: old.last("status") == b"offline", "the farewell at the first broker")
    until(lambda: new.last("status") == b"online", "the second broker")
    port.send(telegrams(1)[0][0])
    until(lambda: len(new.readings()) == 1, "a reading at the second broker")
    assert running.meter()["counters"]["opens"] == 1
    assert running.stop()[0] == 0


@pytest.mark.e2e
def test_what_arrived_live_comes_late_after_no_reload_and_no_restart(daemon, pty, broker, subscribe, telegrams) -> None:  # type: ignore[no-untyped-def]
    port, there = pty("main"), broker()
    seen = subscribe(there.port)
    running = daemon("main", mqtt=there.port, meter_extra=PATIENT).start()
    for life in (1, 2):
        port.send(telegrams(1)[0][0])
        until(lambda n=2 * life - 1: len(seen.readings()) == n, "a reading before the reload")
        text = running.config.read_text()
        running.config.write_text(text.replace("[mqtt]", f"[mqtt]\nclient_id = 'life-{life}'"))
        assert reload(running)["outlets"]["started"] == ["mqtt"]
        until(lambda: running.status()["mqtt"]["connected"], "the broker after the reload")
        port.send(telegrams(1)[0][0])
        until(lambda n=2 * life: len(seen.readings()) == n, "a reading after the reload")
        running.config.write_text(text)
        assert running.stop()[0] == 0
        running.start()
        until(lambda: running.status()["mqtt"]["connected"], "the broker after the restart")
        until(lambda n=2 * life: _settled(running) == (n, 0), "the history to be settled")
    assert running.stop()[0] == 0
    late = [json.loads(payload)["seq"] for payload in seen.of("meterd/main/backfill/reading")]
    assert set(late) <= {1, 3}, "only readings that no group had when their sink was replaced"


def _settled(running) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    history = running.status()["mqtt"]["history"]
    return history["delivered"], history["pending"]


@pytest.mark.e2e
def test_a_reload_under_load_loses_no_reading(daemon, pty, broker, telegrams) -> None:  # type: ignore[no-untyped-def]
    """Every telegram of 200 is stored, while the configuration is read anew again and again, right and wrong."""
    port, mqtt = pty("main"), broker()
    running = daemon("main", mqtt=mqtt.port, meter_extra=PATIENT).start()
    good = running.config.read_text()
    variants = [
        good,
        good + '\n[log]\nlevel = "debug"\n',
        good.replace('host = "127.0.0.1"', 'host = "127.0.0.1"\nretain_energy = true'),
        good + f'\n[[meter]]\nname = "new"\nport = "{port.link}-none"\n',
        good + "\n[[[",
    ]
    stop, answers = threading.Event(), []

    def reloads() -> None:
        while not stop.is_set():
            running.config.write_text(variants[len(answers) % len(variants)])
            answers.append(reload(running)["reloaded"])

    thread = threading.Thread(target=reloads)
    thread.start()
    try:
        for n, (octets, _) in enumerate(telegrams(200)):
            port.send(octets)
            if n % 20 == 0:
                until(lambda n=n: running.meter()["counters"]["decoded"] > n, "the telegram to be read")
        until(lambda: running.meter()["counters"]["decoded"] == 200, "every telegram to be read")
        until(lambda: len(answers) >= 2 * len(variants), "ten reloads")
    finally:
        stop.set()
        thread.join(60)
    assert {True, False} == set(answers)
    assert running.meter()["counters"]["opens"] == 1
    assert running.stop()[0] == 0
    export = [sys.executable, "-m", "gateway.cli", "export", "-c", str(running.config)]
    running.config.write_text(good)
    rows = subprocess.run(export, capture_output=True, timeout=60, check=True).stdout.splitlines()
    assert [json.loads(row)["seq"] for row in rows] == list(range(1, 201))


@pytest.mark.e2e
def test_keys_are_looked_for_again(daemon, pty, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pty("main")
    running = daemon("main").start(XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert running.meter()["keys"]["encryption"] is None
    folder = tmp_path / "config" / "meterd" / "keys"
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    key = random.Random(5).randbytes(16).hex()
    (folder / "main.ek").write_text(key)
    (folder / "main.ek").chmod(0o400)
    reload(running)
    shown = running.meter()["keys"]
    assert shown["encryption"]
    assert shown["places"]["encryption"].startswith("store ")
    assert key not in running.log.read_text()

    entered = random.Random(6).randbytes(16).hex()
    used = ask(running.socket, "key", meter="main", encryption=entered)["encryption"]
    reload(running)
    assert running.meter()["keys"]["encryption"] == used, "a key that a person entered stays in use"
    (folder / "main.ek").unlink()
    reload(running)
    assert running.meter()["keys"]["encryption"] is None, "until those that are kept change"
    assert running.stop()[0] == 0
