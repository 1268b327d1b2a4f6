"""The daemon as a process, on pseudo-terminals, with a real broker: what users rely on, and what must not happen."""

import fcntl
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.simulator.meter import Meter
from gateway.telemetry import COUNTERS

pytestmark = pytest.mark.e2e

ITEM_P = ("t", "t_meter", "p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")


def until(condition, what, deadline_s=30.0):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.01)
    return value


def same(reading, truth):
    return all(reading.get(key) == truth[key] for key in ITEM_P)


def test_readings_arrive_with_the_values_of_the_meter(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port).start()
    until(lambda: seen.last("status") == b"online", "the connection")
    made = telegrams(20)
    for n, (octets, _) in enumerate(made):
        port.send(octets)
        until(lambda n=n: len(seen.readings()) > n, "a reading")
    assert all(same(reading, truth) for reading, (_, truth) in zip(seen.readings(), made, strict=True))
    assert [reading["seq"] for reading in seen.readings()] == list(range(1, 21))
    assert all(reading["meter"] == "main" and reading["valid_for_s"] == 3 for reading in seen.readings())
    until(lambda: seen.state() == "ok", "the state")
    assert seen.of("main/availability")[-1] == b"online"
    state = json.loads(seen.last("main/state"))
    assert state["profile"].startswith("nl-dsmr5")
    assert state["units"] == {"p": "W", "a": "Wh"}
    assert set(COUNTERS) <= state["counters"].keys()
    assert not {"p_import_w", "p_export_w", "p_net_w"} & state.keys()
    status = running.status()
    counters = status["meters"][0]["counters"]
    assert counters["decoded"] == counters["frames"] == counters["checksum_ok"] == 20
    assert counters["bytes"] == sum(len(octets) for octets, _ in made)
    assert status["mqtt"]["connected"]
    assert running.stop() == (0, pytest.approx(0, abs=5))
    until(lambda: seen.last("status") == b"offline", "the farewell")
    assert seen.last("main/availability") == b"offline"


def test_the_port_may_be_pulled_and_put_back(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port).start()
    port.send(telegrams(1)[0][0])
    until(lambda: seen.state() == "ok", "ok")
    port.pull()
    until(lambda: seen.state() == "no_port", "no_port")
    assert seen.last("main/availability") == b"offline"
    port.plug()
    pulled = time.monotonic()
    until(lambda: running.meter()["counters"]["opens"] == 2, "the port to be open again")
    assert time.monotonic() - pulled < 15
    octets, truth = telegrams(1)[0]
    port.send(octets)
    until(lambda: len(seen.readings()) == 2, "a reading after the port came back")
    assert same(seen.readings()[1], truth)
    until(lambda: seen.state() == "ok" and seen.last("main/availability") == b"online", "ok again")


def test_silence_takes_the_meter_offline_before_its_value_expires(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    daemon("main", mqtt=mqtt.port).start()
    until(lambda: seen.last("status") == b"online", "the connection")
    port.send(telegrams(1)[0][0])
    until(lambda: seen.last("main/availability") == b"online", "online")
    until(lambda: seen.last("main/availability") == b"offline", "offline")
    times = {topic: at for topic, payload, at in seen.messages if topic.endswith(("reading", "availability"))}
    silence = times["meterd/main/availability"] - times["meterd/main/reading"]
    valid_for_s = seen.readings()[0]["valid_for_s"]
    assert silence > valid_for_s * 0.8, "one late telegram is no silence"
    assert silence < valid_for_s + 1.0  # the margin is for a busy machine, the daemon aims below
    assert seen.state() == "stale"
    until(lambda: seen.state() == "no_bytes", "the silence to be named")


def test_garbage_between_telegrams_costs_no_telegram(daemon, pty, broker, subscribe, telegrams):
    rng = random.Random(5)
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port).start()
    until(lambda: seen.last("status") == b"online", "the connection")
    made = telegrams(30)
    for n, (octets, _) in enumerate(made):
        port.send(rng.randbytes(rng.randint(0, 4_000)) + octets)
        until(lambda n=n: len(seen.readings()) > n, f"reading {n}")
    assert all(same(reading, truth) for reading, (_, truth) in zip(seen.readings(), made, strict=True))
    assert running.meter()["counters"]["noise"] > 10_000


def test_damaged_telegrams_give_no_reading_and_are_named(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port).start()
    for octets, _ in telegrams(5):
        port.send(octets.replace(b"1-0:1.7.0(", b"1-0:1.7.0(9", 1))
    until(lambda: seen.state() == "bad_checksum", "the state")
    assert seen.readings() == []
    meter = running.meter()
    assert meter["counters"]["fault.link.checksum"] == 5
    assert meter["last_error"]["code"] == "link.checksum"
    assert running.log.read_text().count("event=fault") == 1


def test_wrong_parity_is_named_within_30_s(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    daemon("main", mqtt=mqtt.port).start()
    began = time.monotonic()
    while seen.state() != "no_frame":
        octets = telegrams(1)[0][0]
        port.send(bytes(c | (c.bit_count() % 2) << 7 for c in octets))
        assert time.monotonic() - began < 40, "30 s, and some for a busy machine"
        time.sleep(0.5)
    assert "try framing 7E1" in json.loads(seen.last("main/state"))["evidence"]


def test_a_flood_on_one_line_leaves_the_other_alone(daemon, pty, broker, subscribe, telegrams):
    good, bad, mqtt = pty("good"), pty("bad"), broker()
    seen = subscribe(mqtt.port, "meterd/good/reading")
    running = daemon("good", "bad", mqtt=mqtt.port).start()
    stop = threading.Event()
    flood = b"".join(octets for octets, _ in telegrams(200))

    def pour() -> None:
        while not stop.is_set():
            try:
                os.write(bad.master, flood)
            except BlockingIOError:
                time.sleep(0.001)

    thread = threading.Thread(target=pour)
    thread.start()
    delays = []
    try:
        until(lambda: running.meter("bad")["counters"]["decoded"] > 500, "the flood to be read")
        for n, (octets, _) in enumerate(telegrams(20)):
            sent = time.monotonic()
            good.send(octets)
            until(lambda n=n: len(seen.readings("good")) > n, "the reading of the good meter")
            delays.append(time.monotonic() - sent)
    finally:
        stop.set()
        thread.join(10)
    assert max(delays) < 2.0
    assert running.meter("good")["counters"]["decoded"] == 20
    assert running.stop()[0] == 0


def test_ten_mebibytes_of_noise_cost_no_memory(daemon, pty, telegrams):
    port = pty("main")
    running = daemon("main").start()
    port.send(telegrams(1)[0][0])
    until(lambda: running.meter()["state"] == "ok", "ok")
    before = rss_kib(running.process.pid)
    rng = random.Random(1)
    for _ in range(160):
        port.send(rng.randbytes(65_536))
    for octets, _ in telegrams(100):
        port.send(octets)
    until(lambda: running.meter()["counters"]["decoded"] >= 100, "the telegrams behind the noise", 60)
    assert running.meter()["counters"]["decoded"] == 101
    assert rss_kib(running.process.pid) - before < 4_096


def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def test_a_port_that_cannot_be_opened_is_named_and_the_other_reads_on(  # noqa: PLR0917  # fixtures
    daemon, pty, broker, subscribe, telegrams, tmp_path
):
    port, mqtt = pty("main"), broker()
    (tmp_path / "port-absent").unlink(missing_ok=True)
    (tmp_path / "port-file").write_text("no device")
    seen = subscribe(mqtt.port)
    running = daemon("main", "absent", "file", mqtt=mqtt.port).start()
    port.send(telegrams(1)[0][0])
    until(lambda: seen.state("main") == "ok", "the good meter")
    until(lambda: seen.state("absent") == "no_port" and seen.state("file") == "no_port", "the bad ones")
    assert seen.last("absent/availability") == b"offline"
    assert f"{tmp_path}/port-absent" in running.meter("absent")["evidence"]
    time.sleep(2.5)
    assert running.log.read_text().count("meter=absent") == 1, "one line for a change, none for an attempt"


def test_a_busy_port_is_named(daemon, pty, broker, subscribe, telegrams):
    port = pty("main")
    holder = os.open(port.link, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.ioctl(holder, termios.TIOCEXCL)
    try:
        running = daemon("main").start()
        until(lambda: running.meter()["state"] == "port_busy", "port_busy")
    finally:
        fcntl.ioctl(holder, termios.TIOCNXCL)
        os.close(holder)


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_a_dead_broker_delays_neither_reading_nor_the_end(daemon, pty, telegrams, kind):
    port = pty("main")
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))
        if kind == "silent":
            broker.listen()
        running = daemon("main", mqtt=broker.getsockname()[1]).start()
        for octets, _ in telegrams(3):
            port.send(octets)
        until(lambda: running.meter()["counters"]["decoded"] == 3, "readings without a broker")
        status = running.status()
        assert not status["mqtt"]["connected"]
        assert status["journal"]["stored"] + status["journal"]["queued"] == 3
        code, seconds = running.stop()
        assert code == 0
        assert seconds < 5
    assert "event=stopped" in running.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_loses_nothing(daemon, pty, telegrams, number, tmp_path):
    port = pty("main")
    running = daemon("main").start()
    for octets, _ in telegrams(7):
        port.send(octets)
    until(lambda: running.meter()["counters"]["decoded"] == 7, "readings")
    code, seconds = running.stop(number)
    assert code == 0
    assert seconds < 5
    again = running.start()
    meter = again.meter()
    assert meter["counters"]["decoded"] == 7
    assert meter["counters"]["stored"] == 7
    assert "Traceback" not in running.log.read_text()


def test_after_kill_9_the_will_speaks_and_seq_goes_on(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port).start()
    until(lambda: seen.last("status") == b"online", "the connection")
    for n, (octets, _) in enumerate(telegrams(5)):
        port.send(octets)
        until(lambda n=n: len(seen.readings()) > n, f"reading {n}")
    running.process.kill()
    running.process.wait()
    until(lambda: seen.last("status") == b"offline", "the will")
    running.start()
    port.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings()) == 6, "a reading after the restart")
    seqs = [reading["seq"] for reading in seen.readings()]
    assert seqs == sorted(set(seqs))


def test_a_broker_that_comes_back_is_told_everything(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    running = daemon("main", mqtt=mqtt.port).start()
    until(lambda: running.status()["mqtt"]["connected"], "the first connection")
    port.send(telegrams(1)[0][0])
    until(lambda: running.status()["mqtt"]["published"] >= 1, "the first reading")
    mqtt.stop()
    until(lambda: not running.status()["mqtt"]["connected"], "the loss to be noticed")
    mqtt.start()
    until(lambda: running.status()["mqtt"]["connected"], "the connection")
    seen = subscribe(mqtt.port)
    until(lambda: seen.last("status") == b"online" and seen.state(), "what is retained")
    due = 0.0

    def told():
        """A meter goes on: a port that was silent for three intervals is opened anew, and misses what comes then."""
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + 1
            port.send(telegrams(1)[0][0])
        return seen.readings() and seen.state() == "ok"

    until(told, "a reading")
    assert seen.last("main/availability") == b"online"


def test_systemd_is_told(daemon, pty, telegrams, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        port = pty("main")
        running = daemon("main").start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="3000000")
        port.send(telegrams(1)[0][0])
        told = set()
        while not {"READY=1", "WATCHDOG=1", "STATUS=1 of 1 meters ok"} <= told:
            told.add(systemd.recv(1000).decode())
        running.stop()
        while "STOPPING=1" not in told:
            told.add(systemd.recv(1000).decode())


def test_a_disabled_meter_is_left_alone(daemon, pty, broker, subscribe):
    pty("main")
    mqtt = broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port, meter_extra="enabled = false").start()
    until(lambda: seen.state() == "disabled", "the state")
    assert running.meter()["counters"]["opens"] == 0


def test_min_auth_is_kept(daemon, pty, broker, subscribe, telegrams):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port, meter_extra='min_auth = "verified"').start()
    for octets, _ in telegrams(3):
        port.send(octets)
    until(lambda: seen.state() == "unauthenticated_refused", "the refusal")
    assert seen.readings() == []
    assert running.meter()["counters"]["decoded"] == 0


def test_a_clock_that_is_not_believed_is_flagged(daemon, pty, broker, subscribe):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    daemon("main", mqtt=mqtt.port).start()
    long_ago = datetime.now(UTC) - timedelta(days=900)
    port.send(Meter(start=long_ago).telegram_at(long_ago + timedelta(seconds=5)))
    until(lambda: seen.state() == "ok", "ok")
    assert seen.readings()[0]["t_source"] == "gateway"
    assert json.loads(seen.last("main/state"))["flags"] == ["clock_invalid"]


def test_nothing_of_the_meter_is_logged(daemon, pty, broker, telegrams):
    port, mqtt = pty("main"), broker()
    running = daemon("main", mqtt=mqtt.port, extra="").start()
    made = telegrams(6)
    for octets, _ in made:
        port.send(octets + octets[:200] + b"\xff" * 50)
    until(lambda: running.meter()["counters"]["decoded"] == 6, "readings")
    running.stop()
    log = running.log.read_text()
    identification = made[0][0].split(b"\r\n")[0][1:].decode()
    serial = re.search(rb"0-0:96\.1\.1\((\w+)\)", made[0][0])[1].decode()
    assert identification not in log
    assert serial not in log
    assert str(made[0][1]["a_import_wh"]) not in log
    assert len(log.splitlines()) <= 6


def test_a_journal_that_cannot_be_opened_stops_nothing_else(  # noqa: PLR0917  # fixtures
    daemon, pty, broker, subscribe, telegrams, tmp_path
):
    port, mqtt = pty("main"), broker()
    seen = subscribe(mqtt.port)
    (tmp_path / "journal.db").mkdir()
    running = daemon("main", mqtt=mqtt.port).start()
    port.send(telegrams(1)[0][0])
    until(lambda: len(seen.readings()) == 1, "the live reading")
    status = running.status()
    assert "journal.db" in status["journal"]["trouble"]
    assert status["meters"][0]["counters"]["journal_lost"] == 1
    assert "event=journal_trouble" in running.log.read_text()


def test_a_driver_that_hangs_does_not_keep_the_daemon(tmp_path):
    """Opening blocks in the kernel, as a wedged USB adapter makes it: the end comes within 5 s all the same."""
    config = tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "/dev/null"\n[journal]\npath = "{tmp_path}/j.db"\n'
        f'[control]\nsocket = "{tmp_path}/control"\n'
    )
    code = (
        "import sys, time; import gateway.sources.serial as serial; from gateway.cli import main\n"
        "serial.open_port = lambda *_: time.sleep(120)\n"
        f"sys.exit(main(['run', '-c', {str(config)!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        until((tmp_path / "control").exists, "the start")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait(30) == 0
    assert time.monotonic() - began < 6  # 5 s, and a second for a busy machine
    assert "event=stopped" in log
    assert "event=stop_forced" in log
