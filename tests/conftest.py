"""What every area shares: the checkout, the shared corpus, a real broker, and the record that `make test` counts."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest
from hypothesis import settings

from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parent.parent

# A job in the background starts with SIGINT ignored, and hands that on to every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, here as in CI, and none has to be fast: two cores may be busy with something else.
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command or daemon that runs in this process sets logging up: the next test gets it as it was."""
    root = logging.getLogger()
    handlers, raises = list(root.handlers), logging.raiseExceptions
    levels = {logger: logger.level for logger in (root, logging.getLogger("meterd"), logging.getLogger("gateway"))}
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    logging.raiseExceptions = raises
    for logger, level in levels.items():
        logger.setLevel(level)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return CHECKOUT


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The shared corpus beside the checkout, or where METERD_CORPUS says; a test that uses it has the mark `corpus`."""
    named = os.environ.get("METERD_CORPUS")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "corpus"
    if named and not folder.is_dir():
        pytest.fail(f"METERD_CORPUS names {folder}, which is no folder")
    if not folder.is_dir():
        pytest.skip("no shared corpus beside the checkout")
    return folder


@pytest.fixture(scope="session")
def uart() -> Callable[..., tuple[bytes, int]]:
    """What is read of octets: `uart(octets, sent, read)`, with the lines of gateway.setup.listen."""
    from tests.cables import received

    return received


@pytest.fixture(scope="session")
def household() -> Callable[..., Any]:
    """A simulated meter and its telegrams: tests.cables.Household."""
    from tests.cables import Household

    return Household


class Broker:
    """A mosquitto of one test on a loopback port of its own; `stop` and `start` play an outage on the same port."""

    def __init__(self, folder: Path, *lines: str) -> None:
        """Write its configuration: one plain listener, anonymous clients allowed, unless `lines` say otherwise."""
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        listener = [] if any(line.startswith("listener ") for line in lines) else [f"listener {self.port} 127.0.0.1"]
        access = [] if any(line.startswith("allow_anonymous") for line in lines) else ["allow_anonymous true"]
        # As root it would drop to a user that cannot read the keys of the test.
        user = ["user root"] if os.geteuid() == 0 else []
        text = "\n".join([*user, *listener, *access, "persistence false", "log_type all", *lines, ""])
        self._config.write_text(text.replace("{port}", str(self.port)))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with self.log.open("ab") as log:
            command = [_mosquitto(), "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"mosquitto did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it; a client sees its connection close."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def send_signal(self, number: int) -> None:
        """SIGSTOP freezes it: it reads nothing, and its kernel goes on taking octets. SIGCONT wakes it."""
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut does: no will is published, nothing is saved."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Broker]]:
    """Start brokers: `broker()` or `broker("line of mosquitto.conf with {port}", ...)`; all end with the test."""
    started: list[Broker] = []

    def start(*lines: str) -> Broker:
        started.append(Broker(tmp_path_factory.mktemp("mosquitto"), *lines))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def _mosquitto() -> str:
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.fail("mosquitto is not installed: apt-get install mosquitto (make test does it when root)")
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", metavar="FILE", help="write one JSON object per outcome (tools/check.py counts them)")


def pytest_configure(config: pytest.Config) -> None:
    # Where tests run in several processes (pytest-xdist), the one that hands them out hears of every outcome.
    if config.getoption("--record") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(config.getoption("--record"))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the mark `corpus` in the report, which travels between processes; the item does not."""
    report = yield
    report.on_corpus = item.get_closest_marker("corpus") is not None
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Take the tracer of coverage away from a test that is marked `untraced`: its threefold time shows no new line."""
    tracing = coverage.Coverage.current() if item.get_closest_marker("untraced") else None
    if tracing is None:
        return (yield)
    tracing.stop()
    try:
        return (yield)
    finally:
        tracing.start()


class Recorder:
    """One JSON line per outcome, written at once: what a crash leaves behind still says how far the run came."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self._write(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._write(report)

    def _write(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
        reason = f"expected to fail: {report.wasxfail}" if hasattr(report, "wasxfail") else reason
        on_corpus = getattr(report, "on_corpus", False)
        suite = "shared corpus" if on_corpus else "/".join(Path(report.nodeid).parts[:-1][:2])
        row = {
            "id": report.nodeid,
            "suite": suite,
            "outcome": report.outcome,
            "reason": reason.removeprefix("Skipped: "),
        }
        with self._path.open("a") as out:
            out.write(json.dumps(row) + "\n")
