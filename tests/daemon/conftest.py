"""The daemon as users run it: a process with a configuration, meters on pseudo-terminals, a subscriber."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.control import ControlError, ask
from gateway.simulator.meter import Meter

DEADLINE_S = 30.0


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until the condition is true, and give its value."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.01)
    return value


class Pty:
    """A meter's port: a pseudo-terminal behind a stable link, that can be pulled and put back."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.master = -1
        self.plug()

    def plug(self) -> None:
        self.master, slave = os.openpty()
        device = os.ttyname(slave)
        os.set_blocking(self.master, False)
        os.close(slave)
        self.link.symlink_to(device)

    def pull(self) -> None:
        self.link.unlink(missing_ok=True)
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def send(self, data: bytes) -> None:
        end = time.monotonic() + DEADLINE_S
        while data:
            try:
                data = data[os.write(self.master, data) :]
            except (BlockingIOError, OSError):
                assert time.monotonic() < end, "the daemon does not read"
                time.sleep(0.002)


class Subscriber:
    """Everything that the broker has been told under a topic, with the monotonic time of its arrival."""

    def __init__(self, port: int, topic: str = "meterd/#") -> None:
        self.messages: list[tuple[str, bytes, float]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda *_: self._client.subscribe(topic)
        self._client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload, time.monotonic()))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def of(self, topic: str) -> list[bytes]:
        return [payload for name, payload, _ in self.messages if name == f"meterd/{topic}"]

    def last(self, topic: str) -> bytes | None:
        found = self.of(topic)
        return found[-1] if found else None

    def readings(self, meter: str = "main") -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.of(f"{meter}/reading")]

    def state(self, meter: str = "main") -> str | None:
        payload = self.last(f"{meter}/state")
        return json.loads(payload)["state"] if payload else None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Daemon:
    """`meterd run` as a process."""

    def __init__(self, folder: Path, config: str) -> None:
        self.config = folder / "meterd.toml"
        self.config.write_text(config)
        self.log = folder / "daemon.log"
        self.socket = folder / "control"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "Daemon":
        before = self._starts()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", "-c", str(self.config)],
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment,
            )
        until(lambda: self._starts() > before or self.process.poll() is not None, "the daemon to start")
        assert self.process.poll() is None, self.log.read_text()
        until(self._ports_tried, "every port to be tried")
        return self

    def _ports_tried(self) -> bool:
        """What is sent before a port is open is lost: who opens a terminal begins with what comes from then on."""
        meters = ask(self.socket, "status")["meters"]
        return not any(meter["evidence"] in {"starting", "opening the port"} for meter in meters)

    def _starts(self) -> int:
        return self.log.read_text().count("event=started") if self.log.exists() else 0

    def status(self) -> dict[str, Any]:
        try:
            return dict(ask(self.socket, "status"))
        except ControlError as error:
            return {"error": str(error)}

    def meter(self, name: str = "main") -> dict[str, Any]:
        """The state of a meter; a daemon that is still starting says that it is, and is asked again."""
        deadline = time.monotonic() + DEADLINE_S
        while "meters" not in (status := self.status()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return next(meter for meter in status["meters"] if meter["meter"] == name)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it by a signal; exit code and seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        return code, time.monotonic() - began


@pytest.fixture
def telegrams() -> Callable[[int], list[tuple[bytes, dict[str, Any]]]]:
    """Make telegrams of one simulated meter with their truth, one second apart, beginning now."""
    last = datetime.now(UTC)
    meter = Meter(seed=7, variant="dsmr5", start=last)

    def make(count: int) -> list[tuple[bytes, dict[str, Any]]]:
        nonlocal last
        found = []
        last = max(last, datetime.now(UTC))
        for _ in range(count):
            last += timedelta(seconds=1)
            found.append((meter.telegram_at(last), meter.truth_at(last)))
        return found

    return make


@pytest.fixture
def pty(tmp_path: Path) -> Iterator[Callable[[str], Pty]]:
    made: list[Pty] = []

    def make(name: str = "main") -> Pty:
        made.append(Pty(tmp_path / f"port-{name}"))
        return made[-1]

    yield make
    for one in made:
        one.pull()


@pytest.fixture
def subscribe() -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def make(port: int, topic: str = "meterd/#") -> Subscriber:
        made.append(Subscriber(port, topic))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon: names of meters on `port-NAME`, the broker's port or None, more configuration."""
    made: list[Daemon] = []

    def make(*meters: str, mqtt: int | None = None, extra: str = "", meter_extra: str = "") -> Daemon:
        tables = [f'[[meter]]\nname = "{name}"\nport = "{tmp_path}/port-{name}"\n{meter_extra}\n' for name in meters]
        broker = f'[mqtt]\nhost = "127.0.0.1"\nport = {mqtt}\n' if mqtt else ""
        rest = f'[journal]\npath = "{tmp_path}/journal.db"\n[control]\nsocket = "{tmp_path}/control"\n'
        made.append(Daemon(tmp_path, "\n".join(tables) + broker + extra + rest))
        return made[-1]

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            one.process.kill()
            one.process.wait()
