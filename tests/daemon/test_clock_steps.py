"""The clock of the host is not set, or is set while meterd runs: a meter by itself, and a real daemon with a shim."""

import asyncio
import re
import shutil
import sqlite3
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastcrc.crc16 import arc

from decoders.decoder import Decoder
from gateway import profiles
from gateway.host_clock import HostClock
from gateway.line_watch import LineWatch
from gateway.meter import Meter
from gateway.settings import MeterSettings
from gateway.sources import Chunk
from gateway.stamping import HELD_MOST

from .conftest import until

YEARS_56 = 56 * 365 * 86_400


def timeless(octets):
    """The telegram of a meter that has no clock."""
    body = re.sub(rb"0-0:1\.0\.0\(\w+\)\r\n", b"", octets[: octets.rindex(b"!") + 1])
    return body + f"{arc(body):04X}\r\n".encode()


class Host:
    """What a meter needs around it, and the clock that it goes by."""

    def __init__(self):
        self.live, self.kept, self.apart, self.notes = [], [], [], []
        self.off_s, self.seq = -YEARS_56, 0
        self.clock = HostClock(wall=lambda: time.time() + self.off_s, synchronised=lambda: True)

    def make_decoder(self, _):
        return Decoder([profiles.load("nl-dsmr5")], ZoneInfo)

    def min_auth(self, _):
        return "plain"

    def next_seq(self, _):
        self.seq += 1
        return self.seq

    def hand_over(self, _, item):
        self.live.append(item)

    def keep(self, _, item):
        self.kept.append(item)

    def quarantine(self, _, item, reason):
        self.apart.append((item, reason))

    def note(self, _, event, **facts):
        self.notes.append((event, facts))

    def take(self, meter, octets, monotonic=None):
        now = time.monotonic() if monotonic is None else monotonic
        meter._take(octets, Chunk(octets, datetime.now(UTC) + timedelta(seconds=self.off_s), now))


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def meter(host):
    settings = MeterSettings(name="main", port="/dev/null")
    return Meter(settings, None, LineWatch(enabled=True, line="", interval_s=1, port="open"), host, clock=host.clock)


def test_a_meter_with_a_clock_needs_none_of_the_host(host, meter, telegrams):
    octets, truth = telegrams(1)[0]
    host.take(meter, octets)
    (item,) = host.live
    assert (item.t_source, item.t_rx, item.clock_offset_s) == ("meter", None, None)
    assert item.t.isoformat() == truth["t"].replace("Z", "+00:00")
    assert meter.as_dict()["last_seen"] is None


def test_without_any_clock_a_reading_waits_and_gets_its_time(host, meter, telegrams):
    made = [timeless(octets) for octets, _ in telegrams(5)]
    began = time.monotonic()
    for number, octets in enumerate(made):
        host.take(meter, octets, began - 40 + 10 * number)
    assert (host.live, host.kept) == ([], [])
    meter.judge(began)
    assert meter.state.state == "stale"
    assert meter.state.evidence == "5 readings without a time wait until the clock of this host is set"
    assert meter.as_dict()["waiting"] == 5
    host.off_s = 0
    host.clock.look()
    meter.expire(time.monotonic())
    assert (host.live, len(host.kept)) == ([], 5), "they are no news any more"
    now = datetime.now(UTC)
    for item, due in zip(host.kept, (40, 30, 20, 10, 0), strict=True):
        assert abs((now - item.t).total_seconds() - due) < 2
        assert item.t == item.t_rx
    assert [item.seq for item in host.kept] == [1, 2, 3, 4, 5]
    host.take(meter, made[-1])
    assert len(host.live) == 1
    assert host.live[0].t.year >= 2025


def test_octets_that_came_before_the_clock_was_set_get_the_right_time(host, meter, telegrams):
    """They may wait for their turn while it is set."""
    early = time.monotonic() - 30
    host.clock.look()
    shown = host.clock.now()
    host.off_s = 0
    host.clock.look()
    octets = timeless(telegrams(1)[0][0])
    meter._take(octets, Chunk(octets, shown, early))
    (item,) = host.live
    assert abs((datetime.now(UTC) - item.t).total_seconds() - 30) < 2


def test_what_cannot_be_waits_too(host, meter, telegrams):
    first = second = timeless(telegrams(1)[0][0])
    body = re.sub(rb"(?<=1-0:1\.7\.0\()[\d.]+", b"99.999", second[: second.rindex(b"!") + 1])
    host.take(meter, first)
    host.take(meter, body + f"{arc(body):04X}\r\n".encode())
    assert host.apart == []
    host.off_s = 0
    host.clock.look()
    meter.expire(time.monotonic())
    ((item, reason),) = host.apart
    assert "max_power_w" in reason
    assert item.t.year >= 2025
    assert len(host.kept) == 1


def test_what_waits_is_bounded_and_never_forgotten(host, meter, telegrams):
    octets = timeless(telegrams(1)[0][0])
    for _ in range(HELD_MOST + 3):
        host.take(meter, octets)
    assert meter.as_dict()["waiting"] == HELD_MOST
    assert [reason for _, reason in host.apart] == ["its time is not known: the clock of this host was not set"] * 3
    meter.settle()
    assert len(host.apart) == HELD_MOST + 3
    assert all(item.t is None for item, _ in host.apart)


def test_a_clock_before_everything_is_no_clock_of_the_meter_either(host, meter, telegrams):
    octets = re.sub(rb"(?<=0-0:1\.0\.0\()\d{12}[SW]", b"000101000000W", telegrams(1)[0][0])
    body = octets[: octets.rindex(b"!") + 1]
    host.take(meter, body + f"{arc(body):04X}\r\n".encode())
    assert host.live == []
    assert meter.as_dict()["waiting"] == 1


@pytest.mark.parametrize("step", [3_600, -3_600])
def test_a_step_stalls_no_timer_and_doubles_no_reading(host, meter, telegrams, step):
    host.off_s = 0
    host.clock.look()
    # the same registers each time: what a house uses in a second cannot be in the moment between two of them
    octets = timeless(telegrams(1)[0][0])
    for number in range(6):
        if number == 3:
            host.off_s = step
            assert host.clock.look() == pytest.approx(step, abs=1)
        host.take(meter, octets)
        meter.expire(time.monotonic())
        meter.judge(time.monotonic())
        assert meter.state.state == "ok"
    assert [item.seq for item in host.live] == [1, 2, 3, 4, 5, 6]
    assert len({item.t for item in host.live}) == 6


@pytest.fixture
def shim(tmp_path):
    """The library that turns the wall clock of a process, and the file with its offset; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library, offset = tmp_path / "clock_shim.so", tmp_path / "offset"
    source = Path(__file__).with_name("clock_shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True, timeout=60)

    def turn(seconds):
        fresh = offset.with_suffix(".new")
        fresh.write_text(f"{seconds}\n")
        fresh.replace(offset)

    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}, turn


def in_process(tmp_path, telegrams):
    """Without a compiler: the same in this process, to the file of a journal and back."""
    from gateway.stores.journal import Journal

    async def run():
        host = Host()
        settings = MeterSettings(name="mute", port="/dev/null")
        watch = LineWatch(enabled=True, line="", interval_s=1, port="open")
        meter = Meter(settings, None, watch, host, clock=host.clock)
        octets = timeless(telegrams(1)[0][0])
        for _ in range(5):
            host.take(meter, octets)
        host.off_s = 0
        host.clock.look()
        meter.expire(time.monotonic())
        journal = Journal(tmp_path / "journal.db", max_bytes=1 << 24, max_age_s=10**8, group_s=60, meters=["mute"])
        journal.start()
        for item in host.kept:
            journal.append(item)
        assert journal.close()
        return len(host.kept)

    return asyncio.run(run())


def heard(port, octets, seen, what):
    """Send until one more reading of the meter without a clock is live.

    What comes while a silent port is opened anew is lost, as on a real line.
    """
    before = len(seen.readings("mute"))
    for _ in range(10):
        port.send(octets)
        with suppress(AssertionError):
            return until(lambda: len(seen.readings("mute")) > before, what, 3)
    raise AssertionError(what)


@pytest.mark.e2e
def test_a_host_that_boots_in_1970_stores_nothing_of_1970(  # noqa: PLR0917 - fixtures
    daemon, pty, broker, subscribe, telegrams, tmp_path, shim
):
    made = telegrams(5)
    # the same registers each time: what a house uses in a second cannot be in the moment between two of them
    same = timeless(made[0][0])
    if shim is None:
        assert in_process(tmp_path, telegrams) == 5
    else:
        environment, turn = shim
        turn(-YEARS_56)
        mqtt = broker()
        seen, main, mute = subscribe(mqtt.port), pty(), pty("mute")
        running = daemon("main", "mute", mqtt=mqtt.port, meter_extra='profile = "nl-dsmr5"')
        running.start(**environment)
        until(lambda: seen.state() and seen.state("mute"), "the connection: readings before it are published late")
        for n, (octets, _) in enumerate(made, 1):
            main.send(octets)
            mute.send(same)
            until(lambda n=n: len(seen.readings()) == n, "the meter with a clock")
        assert [reading["t"] for reading in seen.readings()] == [truth["t"] for _, truth in made]
        assert not any("t_rx" in reading for reading in seen.readings())
        until(lambda: running.meter("mute")["waiting"] == 5, "the one without")
        assert seen.readings("mute") == []
        conservation = running.status()["conservation"]
        assert (conservation["holds"], conservation["meters"]["mute"]["held"] >= 5) == (True, True)
        until(lambda: "wait until the clock" in running.meter("mute")["evidence"], "the reason")
        turn(0)
        until(lambda: running.meter("mute")["waiting"] == 0, "the clock to be believed")
        heard(mute, same, seen, "life")
        turn(3_600)
        until(lambda: running.log.read_text().count("event=clock_step") == 2, "the step to be told")
        heard(mute, same, seen, "a reading after the step")
        assert running.meter("mute")["state"] == "ok"
        turn(0)
        until(lambda: running.log.read_text().count("event=clock_step") == 3, "the step back")
        heard(mute, same, seen, "a reading after the step back")
        heard_in_all = running.meter("mute")["counters"]["received"]
        code, seconds = running.stop()
        assert (code, seconds < 5) == (0, True)
        with sqlite3.connect(f"file:{tmp_path}/ledger.db?mode=ro", uri=True) as ledger:
            text = b" ".join(bytes(row[0]) for row in ledger.execute("SELECT data FROM event"))
        assert text.count(b"clock_step") == 3
    with sqlite3.connect(f"file:{tmp_path}/journal.db?mode=ro", uri=True) as db:
        times = [t for (t,) in db.execute("SELECT t FROM record WHERE meter > 0")]
    assert len(times) == (5 + heard_in_all if shim else 5)
    assert min(times) > datetime(2025, 1, 1, tzinfo=UTC).timestamp()
