"""`make soak`: 30 simulated days at 10 s through the real daemon, as fast as it takes them (docs/chaos.md, Soak).

The daemon is a process with all its sinks: a pseudo-terminal, journal, ledger, mosquitto, VictoriaMetrics. Its wall
clock is led by a library (clock.c) and is that of the meter; every other clock is true. It begins with the journal of
an older version, sees both changes of summer time and another meter.
"""

import argparse
import contextlib
import datetime as dt
import fcntl
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.simulator.meter import Meter
from tests.bench.report import Figure, machine, table
from tests.chaos.collect import is_settled, sinks
from tests.chaos.plant import ROOT, resources, until
from tests.chaos.servers import Mosquitto, Victoria
from tests.sizes import SOAK_DAYS, SOAK_TELEGRAMS

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "measured" / "soak.md"
PICTURE = ROOT / "docs" / "pictures" / "soak.svg"
#: a journal of schema 3: one hour of the same meter, a day before the first span
OLD_JOURNAL, OLD_ROWS = HERE / "journal-v3.bin", 360
#: s between telegrams; both spans hold a change of summer time, and in the second one the meter is exchanged
STEP_S = 10
SPANS = (dt.datetime(2026, 3, 15, 12, 0, tzinfo=dt.UTC), dt.datetime(2026, 10, 11, 12, 0, tzinfo=dt.UTC))
EXCHANGED_AT, SERIALS = 0.75, (7, 8)
HOME = ZoneInfo("Europe/Amsterdam")
#: local days with 23 and with 25 hours
SHORT_DAY, LONG_DAY = dt.date(2026, 3, 29), dt.date(2026, 10, 25)
#: telegrams between two looks at the process
LOOK = 1_080
#: what the figures must be: MiB per simulated day, readings that an exchange may hold back until it is proven
SLOPE_MIB, PROOF = 1.0, 3
#: share of the run, at its beginning, that says nothing about a slope
WARM = 0.2
#: threads that the event loop makes when it needs them, and keeps (asyncio: processors + 4)
POOL = (os.cpu_count() or 1) + 4
JOURNAL_MIB = 128
READ_S = 30.0


@dataclass
class Look:
    """The process at one moment: simulated days since the start, memory, descriptors, threads, octets."""

    day: float
    rss_kib: int
    fds: int
    threads: int
    written: int
    disk: int


@dataclass
class Soak:
    """What was sent, and what was seen."""

    sent: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    seconds: float = 0.0


class Clock:
    """The wall clock of the daemon."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        self.path = path
        with path.open("r+b") as file:
            self._place = mmap.mmap(file.fileno(), 8)

    def show(self, t: dt.datetime) -> None:
        """Let it be that time now."""
        self._place[:] = struct.pack("q", int(t.timestamp()) * 1_000_000_000 - time.time_ns())


class Line:
    """A pseudo-terminal that takes the next telegram when the last one was read."""

    def __init__(self, link: Path) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        link.symlink_to(os.ttyname(self._slave))
        os.set_blocking(self._master, False)
        self._speed = termios.tcgetattr(self._slave)[4]

    @property
    def is_read(self) -> bool:
        """Whether somebody has set it up: what was sent before is dropped."""
        return termios.tcgetattr(self._master)[4] != self._speed

    def send(self, octets: bytes) -> None:
        """Send, and wait until everything was read."""
        deadline = time.monotonic() + READ_S
        while octets or self._unread():
            with contextlib.suppress(BlockingIOError):
                octets = octets[os.write(self._master, octets) :] if octets else b""
            if time.monotonic() > deadline:
                raise RuntimeError("the daemon does not read its line")
            time.sleep(0.000_05)

    def close(self) -> None:
        """Hang up."""
        os.close(self._slave)
        os.close(self._master)

    def _unread(self) -> int:
        return int(struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4)))[0])


class Rig:
    """The daemon with its servers, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()
        shutil.copy(OLD_JOURNAL, self.state / "journal.db")
        (folder / "password").write_text("soak\n")
        (folder / "password").chmod(0o600)
        self.mosquitto = Mosquitto(folder, {"meterd": folder / "password"})
        self.victoria = Victoria(folder)
        self.clock = Clock(folder / "clock")
        self.line = Line(folder / "port")
        self.config = folder / "meterd.toml"
        self._library = build(folder)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start everything; the daemon's clock must show its time already."""
        for server in (self.mosquitto, self.victoria):
            server.start()
        self.config.write_text(self._text())
        environment = os.environ | {
            "LD_PRELOAD": str(self._library), "METERD_CLOCK": str(self.clock.path), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        with (self.folder / "daemon.log").open("ab") as log:
            command = [sys.executable, "-m", "gateway.cli", "run", "-c", str(self.config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=environment, cwd=ROOT)
        until(lambda: self.line.is_read and self.status(), "the daemon")

    def status(self) -> dict[str, Any]:
        """`meterd status --json`; empty while nobody answers."""
        command = [sys.executable, "-m", "gateway.cli", "status", "--json", "-c", str(self.config)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30, cwd=ROOT)
        answer: dict[str, Any] = json.loads(done.stdout)
        return {} if "error" in answer else answer

    def look(self, day: float) -> Look:
        """Look at the process."""
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended: {(self.folder / 'daemon.log').read_text()[-2_000:]}")
        pid = self.process.pid
        seen = resources(pid)
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        disk = sum(path.stat().st_size for path in self.state.iterdir())
        return Look(day, seen["rss_kib"], seen["fds"], seen["threads"], int(io["write_bytes"]), disk)

    def export(self) -> Iterator[dict[str, Any]]:
        """What the journal holds, when the daemon has ended."""
        command = [sys.executable, "-m", "gateway.cli", "export", "-c", str(self.config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout
            yield from map(json.loads, process.stdout)

    def end(self) -> int:
        """End the daemon in order; gives its exit code."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        """End everything."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.line.close()
        for server in (self.mosquitto, self.victoria):
            server.stop()

    def _text(self) -> str:
        return "\n".join(
            [
                f'[[meter]]\nname = "main"\nport = "{self.folder}/port"\ninterval_s = {STEP_S}',
                f'[mqtt]\nhost = "127.0.0.1"\nport = {self.mosquitto.port}\nusername = "meterd"',
                f'password_file = "{self.folder}/password"',
                f'[influx]\nurl = "http://127.0.0.1:{self.victoria.port}"\nversion = "v1"\ndatabase = "meterd"',
                f'[journal]\npath = "{self.state}/journal.db"\nmax_mib = {JOURNAL_MIB}',
                f'[ledger]\npath = "{self.state}/ledger.db"',
                f'[control]\nsocket = "{self.folder}/control"\n',
            ]
        )


def build(folder: Path) -> Path:
    """Compile the clock; RuntimeError where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("make soak compiles a clock of 50 lines: apt-get install gcc libc6-dev")
    library = folder / "clock.so"
    command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(HERE / "clock.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


def telegrams(days: float) -> Iterator[tuple[dt.datetime, Meter]]:
    """The time of every telegram, and the meter that sends it: half of the days in each span."""
    count = int(days * SOAK_TELEGRAMS) // 2
    meter = Meter(SERIALS[0], "dsmr5", SPANS[0], interval_s=STEP_S)
    for span, start in enumerate(SPANS):
        for number in range(count):
            if meter.seed == SERIALS[0] and span + number / count >= 2 * EXCHANGED_AT:
                meter = Meter(SERIALS[1], "dsmr5", start + dt.timedelta(seconds=STEP_S * number), interval_s=STEP_S)
            yield start + dt.timedelta(seconds=STEP_S * number), meter


def run(rig: Rig, days: float, seconds: float) -> Soak:
    """Send everything, or what the time allows; then wait until every sink has it."""
    soak = Soak()
    rig.clock.show(SPANS[0])
    rig.start()
    began = time.monotonic()
    for number, (t, meter) in enumerate(telegrams(days)):
        if number % LOOK == 0:
            if time.monotonic() - began > seconds:
                break
            soak.looks.append(rig.look(number / SOAK_TELEGRAMS))
        truth = meter.truth_at(t)
        soak.sent[truth["t"]] = truth["a_import_wh"], truth["a_export_wh"], truth["p_net_w"]
        rig.clock.show(t)
        rig.line.send(meter.telegram_at(t))
    soak.seconds = time.monotonic() - began
    until(lambda: (status := rig.status()) and is_settled(status), "every sink to have everything", 120)
    soak.looks.append(rig.look(len(soak.sent) / SOAK_TELEGRAMS))
    return soak


def slope_mib(looks: list[Look]) -> float:
    """MiB of memory per simulated day: least squares over what is left when the process is warm."""
    last = looks[-1].day
    points = [(look.day, look.rss_kib / 1024) for look in looks if look.day >= WARM * last]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def figures(rig: Rig, soak: Soak, days: float) -> list[Figure]:
    """Judge what is stored and what it cost."""
    status = rig.status()
    counters = status["meters"][0]["counters"]
    code = rig.end()
    stored = wrong = 0
    seen: set[str] = set()
    hours = {SHORT_DAY: set(), LONG_DAY: set()}  # type: dict[dt.date, set[int]]
    for row in rig.export():
        t = dt.datetime.fromisoformat(row["t"])
        if t < SPANS[0]:
            stored += 1
            continue
        truth = soak.sent.get(row["t"])
        said = row["a_import_wh"], row["a_export_wh"], row["p_net_w"]
        wrong += truth != said or row["t"] in seen or row["t_source"] != "meter"
        seen.add(row["t"])
        if (local := t.astimezone(HOME).date()) in hours:
            hours[local].add(int(t.timestamp()) // 3_600)
    looks, simulated = soak.looks, len(soak.sent) / SOAK_TELEGRAMS
    warm = [look for look in looks if look.day >= WARM * looks[-1].day]
    whole = days >= SOAK_DAYS
    lost = len(soak.sent) - len(seen) - counters["quarantined"]
    pending = sum(terms["pending"] + terms["dead_letter"] + terms["evicted"] for _, terms in sinks(status))
    return [
        Figure("simulated days", simulated, "", days, rises=True),
        Figure("telegrams lost", abs(lost), "", 0.0),
        Figure("readings that are wrong, or stored twice", wrong, "", 0.0),
        Figure("set aside until the exchanged meter was proven", counters["quarantined"], "", PROOF),
        Figure("readings of the older journal that are kept", stored, "", OLD_ROWS, rises=True),
        Figure("readings that a sink has not, or gave up", pending, "", 0.0),
        Figure("hours of 2026-03-29", len(hours[SHORT_DAY]), "", 23 if whole else None, rises=True),
        Figure("hours of 2026-10-25", len(hours[LONG_DAY]), "", 25 if whole else None, rises=True),
        Figure("memory, slope per simulated day", slope_mib(looks), "MiB", SLOPE_MIB),
        Figure("memory, most", max(look.rss_kib for look in looks) / 1024, "MiB", 96.0),
        Figure("descriptors, from least to most", max(x.fds for x in warm) - min(x.fds for x in warm), "", 3),
        Figure("threads, from least to most", max(x.threads for x in warm) - min(x.threads for x in warm), "", POOL),
        Figure("stores on disk", max(look.disk for look in looks) / (1 << 20), "MiB", JOURNAL_MIB + 8),
        Figure("octets of the stores for each reading", looks[-1].disk / max(1, len(seen)), ""),
        Figure("written by the process, per simulated day", looks[-1].written / 1e6 / simulated, "MB"),
        Figure("telegrams per second", len(soak.sent) / soak.seconds, ""),
        Figure("exit code of SIGTERM", code, "", 0.0),
    ]


def picture(looks: list[Look]) -> str:
    """Memory over simulated days, as SVG."""
    days, most = max(look.day for look in looks) or 1, 96.0
    points = " ".join(f"{60 + 520 * x.day / days:.1f},{220 - 200 * x.rss_kib / 1024 / most:.1f}" for x in looks)
    marks = "".join(
        f'<text x="52" y="{224 - 200 * mib / most:.0f}" text-anchor="end">{mib}</text>'
        f'<path d="M60 {220 - 200 * mib / most:.0f}h520" stroke="#ddd"/>'
        for mib in (0, 24, 48, 72, 96)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 260" font-family="sans-serif" font-size="12">'
        f'<rect width="600" height="260" fill="#fff"/>{marks}'
        f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="2"/>'
        f'<text x="60" y="240">0</text><text x="580" y="240" text-anchor="end">{days:.0f} simulated days</text>'
        '<text x="60" y="14">resident memory of meterd, MiB</text></svg>\n'
    )


def page(found: list[Figure], seconds: float) -> str:
    """The page."""
    return "\n".join(
        [
            "# Measured: soak", "",
            f"- command: `make soak SECONDS={seconds:g}`",
            f"- date: {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
            f"- machine: {machine()}", "",
            "What is simulated, and what an accelerated run cannot show: [chaos.md](../chaos.md#soak).", "",
            *table(found), "", f"![memory over simulated days](../pictures/{PICTURE.name})", "",
        ]
    )  # fmt: skip


def main() -> int:
    """Run, print, write the page; 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900.0, help="stop sending after so long (900)")
    parser.add_argument("--days", type=float, default=SOAK_DAYS, help="simulated days (30)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meterd-soak-") as folder:
        rig = Rig(Path(folder))
        try:
            soak = run(rig, args.days, args.seconds)
            found = figures(rig, soak, args.days)
        finally:
            rig.close()
    text = page(found, args.seconds)
    print(text)
    if args.days >= SOAK_DAYS or args.out != PAGE:
        args.out.write_text(text)
        (PICTURE if args.out == PAGE else args.out.with_suffix(".svg")).write_text(picture(soak.looks))
    return 1 if any(figure.reached is False for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
