"""Silence on the line as the daemon meets it: what is open then is over, and a stall of the daemon is no silence."""

import json
import os
import signal
import stat
import time
from datetime import datetime

import pytest

pytestmark = pytest.mark.e2e

#: octets of the first of the two segments
FIRST = 256


def until(condition, what, deadline_s=30.0):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.01)
    return value


@pytest.fixture
def push(checkout):
    """A push in two M-Bus segments and its key."""
    case = json.loads((checkout / "tests/corpus/mbus-link-push-encrypted.jsonl").read_text().splitlines()[0])
    return bytes.fromhex(case["data"]), case["keys"]["encryption"]


@pytest.fixture
def netznoe(daemon, pty, push, tmp_path):
    """A port, and the daemon that reads it with the key of the push."""
    port, path = pty(), tmp_path / "key"
    path.touch(stat.S_IRUSR | stat.S_IWUSR)
    path.write_text(f"{push[1]}\n")
    running = daemon("main", meter_extra=f'profile = "at-netznoe"\nkey_file = "{path}"\n').start()
    until(lambda: running.meter()["counters"]["opens"], "the port to be open")
    return port, running


def test_segments_with_a_pause_between_them_give_no_reading(netznoe, push):
    (port, running), octets = netznoe, push[0]
    assert octets[FIRST] == octets[FIRST + 3] == 0x68
    port.send(octets[:FIRST])
    time.sleep(5)
    port.send(octets[FIRST:])
    found = until(lambda: (meter := running.meter())["counters"].get("fault.link.segment_lost") and meter, "the fault")
    assert found["counters"]["decoded"] == 0
    port.send(octets)
    until(lambda: running.meter()["counters"]["decoded"] == 1, "the same push whole")


def test_a_stall_of_the_daemon_is_no_silence(netznoe, push):
    """The process stands still between the segments, as on a machine that swaps; the rest waits in the kernel."""
    (port, running), octets = netznoe, push[0]
    before = running.meter()["counters"]["bytes"]
    port.send(octets[:FIRST])
    until(lambda: running.meter()["counters"]["bytes"] == before + FIRST, "the first segment to be read")
    running.process.send_signal(signal.SIGSTOP)
    try:
        os.write(port.master, octets[FIRST:])
        time.sleep(4)
    finally:
        running.process.send_signal(signal.SIGCONT)
    counters = until(lambda: (meter := running.meter())["counters"]["frames"] and meter, "the push")["counters"]
    assert (counters["decoded"], [name for name in counters if name.startswith("fault.")]) == (1, [])


def test_a_notification_without_end_is_read_when_it_is_over(checkout, daemon, pty, broker, subscribe):
    """Nothing says how long the notification of an XT211 is: the next one comes a minute later, silence at once."""
    octets = (checkout / "config/profiles/frames/cz-sagemcom-xt211.bin").read_bytes()
    port, mqtt = pty(), broker()
    seen = subscribe(mqtt.port)
    running = daemon("main", mqtt=mqtt.port, meter_extra='profile = "cz-sagemcom-xt211"\n').start()
    until(lambda: seen.last("status") == b"online" and running.meter()["counters"]["opens"], "the daemon")
    for n in (1, 2):
        port.send(octets)
        sent = time.time()
        until(lambda n=n: len(seen.readings()) == n, "the reading")
        reading = seen.readings()[-1]
        assert (reading["p_import_w"], reading["a_import_wh"]) == (1_956, 4_913_794)
        assert abs(_seconds(reading["t_rx"]) - sent) < 1.5, "it is that of the octets: 2 s of silence prove the end"
    assert until(lambda: seen.state() == "ok", "the state")


def _seconds(text):
    return datetime.fromisoformat(text).timestamp()
