"""Show everything at work, without root and without any hardware: simulated meter, daemon, broker, hub, live readings.

A simulated house with solar panels stands on a pseudo-terminal. Its meter is one of Luxembourg, which encrypts and
signs each telegram; its keys are test keys, made for this run. `meterd run` has them in a file, reads the meter,
publishes to a broker of its own and keeps a journal; what arrives over MQTT is printed and compared with what the
simulator says is true. The meter's day before is in the journal: the daemon makes intervals of it and validates them,
and `meterd uploader` brings them to a test hub, which refuses them once. All files are in a temporary folder. Ctrl-C
ends it; exit code 0 means that readings arrived, that all of them were right, in their proof of authenticity too, and
that nothing wrong came to the hub.
"""

import argparse
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gateway
from gateway.commands import demo_broker, demo_day, demo_hub

#: seconds for a part to come up, and to end
UP_S, DOWN_S = 20.0, 6.0
#: by which people end it
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: the simulated meter; the real ones send every 10 s
SIMULATED = ("--variant", "lu-smarty")
CONFIG = """\
[[meter]]
name = "main"
port = "{folder}/meter"
profile = "lu-smarty-encrypted"
interval_s = 1
key_file = "{folder}/keys"

[mqtt]
host = "127.0.0.1"
port = {port}
version = "{version}"

[journal]
path = "{folder}/journal.db"

[ledger]
path = "{folder}/ledger.db"

[control]
socket = "{folder}/control"
"""


class DemoError(Exception):
    """A part of the demo did not come up: one sentence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd demo`."""
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="end by itself after N seconds")
    parser.add_argument("--port", metavar="P", type=_port, help="TCP port of the broker (a free one)")
    parser.add_argument("--broker", choices=["auto", "mosquitto", "amqtt"], default="auto", help="which broker to use")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when readings arrived over MQTT and were all right."""
    try:
        with ExitStack() as stack:
            for number in (signal.SIGTERM, signal.SIGHUP):
                stack.callback(signal.signal, number, signal.signal(number, _interrupt))
            demo = Demo(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meterd-demo-"))), stack)
            with suppress(KeyboardInterrupt):
                demo.start(args.broker, args.port or _free_port())
                demo.show(args.seconds)
            return demo.verdict()
    except DemoError as error:
        print(f"meterd demo: {error}", file=sys.stderr)
        return 1


@dataclass
class Demo:
    """The parts of the demo in one temporary folder; `stack` ends them in reverse order, each by its own process id."""

    folder: Path
    stack: ExitStack
    arrived: "queue.SimpleQueue[bytes]" = field(default_factory=queue.SimpleQueue)
    right: int = 0
    wrong: int = 0
    upload: demo_hub.Upload | None = None
    hub_address: str = ""

    def start(self, kind: str, port: int) -> None:
        """Start broker, simulator, daemon and subscriber."""
        found = demo_broker.command(kind, port, self.folder)
        if found is None:
            raise DemoError(
                "no broker: install mosquitto (apt install mosquitto) or amqtt (pip install 'meterd[demo]')"
            )
        name, command = found
        self._child("broker", command, lambda: _answers(port))
        since = self._day_before()
        places = {"--link": "meter", "--key-file": "keys", "--truth": "truth.jsonl"}
        files = [part for option, name in places.items() for part in (option, f"{self.folder}/{name}")]
        self._child("simulator", _meterd("simulate", *SIMULATED, "--interval", "1", *files), self._has("meter"))
        config = self.folder / "meterd.toml"
        tables = CONFIG.format(folder=self.folder, port=port, version=demo_broker.VERSION[name])
        missing = demo_hub.missing()
        config.write_text(tables + ("" if missing else self._start_hub(since)))
        self._subscribe(port)
        self._child("daemon", _meterd("run", "-c", str(config)), self._has("control"))
        if not missing:
            self._child("uploader", _meterd("uploader", "-c", str(config)), lambda: True)
        print(
            f"A simulated house, its encrypted meter on {self.folder}/meter, read by `meterd run`.\n"
            f"broker   {name} on 127.0.0.1:{port}; listen: mosquitto_sub -h 127.0.0.1 -p {port} -v -t 'meterd/#'\n"
            f"status   {_shown()} status --socket {self.folder}/control\n"
            f"keys     {self.folder}/keys: test keys, made for this run\n"
            f"journal  {self.folder}/journal.db; config, logs and truth are beside it\n"
            f"hub      {missing or self.hub_address}\n",
            flush=True,
        )

    def show(self, seconds: float | None) -> None:
        """Print readings until the time is over; without one, until Ctrl-C."""
        end = time.monotonic() + seconds if seconds else float("inf")
        silent_since = time.monotonic()
        while (now := time.monotonic()) < end:
            with suppress(queue.Empty):
                self._take(json.loads(self.arrived.get(timeout=min(1.0, end - now))))
                silent_since = now
            if now - silent_since > UP_S:
                raise DemoError(f"no reading for {UP_S:.0f} s\n{self._log('daemon')}")
        if self.upload is not None and not self.upload.wait(UP_S):
            raise DemoError(f"the day before did not reach the hub\n{self._log('uploader')}")

    def verdict(self) -> int:
        """Say how it went, as an exit code."""
        print(f"\n{self.right} readings arrived over MQTT and were right, {self.wrong} were not", flush=True)
        if self.upload is not None:
            said = {True: "is at the hub, to the Wh", False: "is not right at the hub", None: "was still on its way"}
            print(f"the day before {said[self.upload.right]}", flush=True)
        return 0 if self.right and not self.wrong and (self.upload is None or self.upload.right is not False) else 1

    def _day_before(self) -> datetime:
        """Put the meter's day before into the journal; its first moment."""
        start, count = demo_day.last_day(datetime.now(UTC))
        places = {"--out": "day", "--key-out": "keys", "--truth": "day.jsonl"}
        files = [part for option, name in places.items() for part in (option, f"{self.folder}/{name}")]
        span = ("--interval", str(demo_day.STEP_S), "--start", start.isoformat(), "--count", str(count))
        self._done("simulator", _meterd("simulate", *SIMULATED, *span, *files))
        demo_day.keep(self.folder / "day", self.folder / "keys", self.folder / "journal.db", "main")
        return start

    def _start_hub(self, since: datetime) -> str:
        """Start the test hub; the tables of the configuration that name it."""
        files, port = self.folder / "hub", self.folder / "hub.port"
        self._done("hub", _meterd("sandbox", "init", "--folder", str(files)))
        command = _meterd("sandbox", "--folder", str(files), "--listen", "127.0.0.1:0", "--port-file", str(port))
        self._child("hub", [*command, "--set", "points=registered"], lambda: port.exists() and bool(port.read_text()))
        self.hub_address = f"https://127.0.0.1:{port.read_text().strip()}"
        hub = demo_hub.Hub(files, self.hub_address)
        truth = demo_day.energy(self.folder / "day.jsonl", since)
        self.upload = demo_hub.Upload(hub, self.folder, _meterd(), lambda line: print(line, flush=True), truth)
        self.stack.callback(self.upload.stop)
        return demo_hub.config(self.folder, self.hub_address, since.astimezone(demo_day.ZONE))

    def _has(self, name: str) -> Callable[[], bool]:
        return (self.folder / name).exists

    def _done(self, name: str, command: list[str]) -> None:
        """Run a part that ends by itself; raises DemoError."""
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=_environment())  # noqa: S603
        if done.returncode:
            raise DemoError(f"the {name} did not start: {done.stderr[-2_000:].strip()}")

    def _take(self, item: dict[str, Any]) -> None:
        truth = self._truth(item["t"])
        is_right = truth is not None and all(item.get(key) == truth[key] for key in truth if key != "sub")
        self.right += is_right
        self.wrong += not is_right
        print(_line(item) + ("" if is_right else f"   WRONG: the simulator says {truth}"), flush=True)

    def _truth(self, t: str) -> dict[str, Any] | None:
        """What the simulator says of a second; its file is written after the telegram, so wait a moment for it."""
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            for line in reversed((self.folder / "truth.jsonl").read_text().splitlines()[-60:]):
                with suppress(ValueError):
                    row = json.loads(line)
                    truth: dict[str, Any] = row["item_p"] | {"auth": row["auth"]}
                    if truth["t"] == t:
                        return truth
            time.sleep(0.02)
        return None

    def _subscribe(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        def subscribe(*_: Any) -> None:
            client.subscribe("meterd/main/reading")

        client = Client(CallbackAPIVersion.VERSION2)
        client.on_connect = subscribe
        client.on_message = lambda _client, _data, message: self.arrived.put(bytes(message.payload))
        client.connect("127.0.0.1", port)
        client.loop_start()
        self.stack.callback(client.loop_stop)
        self.stack.callback(client.disconnect)

    def _child(self, name: str, command: list[str], is_up: Any) -> None:
        """Start a part in a session of its own, so that Ctrl-C reaches only us, and wait until it is up."""
        with (self.folder / f"{name}.log").open("wb") as log, _uninterrupted():
            child = subprocess.Popen(  # noqa: S603  # our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )
            self.stack.callback(_end, child)
        deadline = time.monotonic() + UP_S
        while not is_up():
            if child.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"the {name} did not start: {self._log(name)}")
            time.sleep(0.02)

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2_000:].strip()


def _line(item: dict[str, Any]) -> str:
    """One reading for a person: local time, powers, counters, proof; a dash where the meter says nothing."""
    t = datetime.fromisoformat(item["t"]).astimezone()
    power = [f"{item.get(key, '-'):>6} W" for key in ("p_import_w", "p_export_w")]
    energy = [_kwh(item.get(key)) for key in ("a_import_wh", "a_export_wh")]
    said = f"P+ {power[0]}   P- {power[1]}   A+ {energy[0]} kWh   A- {energy[1]} kWh   auth {item.get('auth', '-')}"
    return f"{t:%H:%M:%S}   {said}"


def _kwh(wh: int | None) -> str:
    return f"{'-':>10}" if wh is None else f"{wh // 1000:>6}.{wh % 1000:03d}"


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(gateway.__file__).parents[1])}


def _meterd(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway.cli", *arguments]


def _shown() -> str:
    """How the person who started the demo calls meterd."""
    return sys.argv[0] if Path(sys.argv[0]).name == "meterd" else f"{sys.executable} -m gateway.cli"


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(DOWN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep signals until the end of the block: one between a start and the note of it would leave a process behind.

    They are not blocked, because a child would inherit that.
    """
    came: list[int] = []
    before = {number: signal.signal(number, lambda one, _: came.append(one)) for number in ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no TCP port from 1 to 65535")
    return int(text)
