"""A service manager of our own: what systemd promises a unit of Type=notify with a watchdog, for one process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Manager:
    """Starts a process again whenever it ends; kills it by SIGABRT where its watchdog is not fed, or it asks for that.

    As systemd.service(5) has it: Type=notify, Restart=always, WatchdogSec=.
    """

    def __init__(self, folder: Path, command: list[str], watchdog_s: float) -> None:
        self.told: list[tuple[float, str]] = []
        #: (monotonic, "start" | "watchdog" | "trigger" | "exit")
        self.events: list[tuple[float, str]] = []
        self.log = folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._watchdog_s = watchdog_s
        self._path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.settimeout(0.05)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> "Manager":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._ends.set()
        self._thread.join(60)
        self._socket.close()

    def words(self, word: str) -> list[float]:
        """When a line was told."""
        return [at for at, text in list(self.told) if word in text.split("\n")]

    def happened(self, what: str) -> list[float]:
        return [at for at, event in list(self.events) if event == what]

    def _run(self) -> None:
        while not self._ends.is_set():
            self._serve_one()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _serve_one(self) -> None:
        environment = {
            "NOTIFY_SOCKET": str(self._path),
            "WATCHDOG_USEC": str(int(self._watchdog_s * 1e6)),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | environment
            )
        self._note("start")
        fed: float | None = None
        while self.process.poll() is None and not self._ends.is_set():
            text = self._receive()
            now = time.monotonic()
            if text is not None:
                self.told.append((now, text))
                lines = text.split("\n")
                fed = now if {"READY=1", "WATCHDOG=1"} & set(lines) else fed
                if "WATCHDOG=trigger" in lines:
                    self._abort("trigger")
            elif fed is not None and now - fed > self._watchdog_s:
                self._abort("watchdog")
        self._note("exit")

    def _receive(self) -> str | None:
        try:
            return self._socket.recv(4_096).decode()
        except TimeoutError:
            return None

    def _abort(self, why: str) -> None:
        assert self.process
        self._note(why)
        self.process.send_signal(signal.SIGABRT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _note(self, event: str) -> None:
        self.events.append((time.monotonic(), event))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Callable[..., Manager]]:
    """Run Python code as a service: `manager(code, watchdog_s)`."""
    made: list[Manager] = []

    def make(code: str, watchdog_s: float) -> Manager:
        made.append(Manager(tmp_path, [sys.executable, "-c", code], watchdog_s))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Poll until a condition is true, and give its value."""

    def wait(condition: Callable[[], Any], what: str, deadline_s: float = 60.0) -> Any:
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
            time.sleep(0.02)
        return value

    return wait
