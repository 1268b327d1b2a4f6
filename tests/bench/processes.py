"""The processes of a benchmark: broker, daemon, peer, simulator, subscriber; each ended by its own handle."""

import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from streams import ROOT

#: seconds for anything to come up or to answer
UP_S = 30.0
HERE = Path(__file__).parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A part of the benchmark did not do its part: one sentence, and its log."""


class Bench:
    """A folder and the processes of one measurement; used as a context, it ends them in reverse order."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="meterd-bench-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def child(self, name: str, *command: str, **pipes: int) -> "subprocess.Popen[bytes]":
        """Start a process that ends with this measurement; stderr goes to its log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=pipes.get("stdout", log),
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        self._stack.callback(end, child)
        return child

    def log(self, name: str) -> str:
        """The end of what a process said."""
        return self.said(name)[-2_000:]

    def said(self, name: str) -> str:
        """All that a process said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def until(self, condition: Callable[[], object], what: str, pause_s: float = 0.005) -> None:
        """Wait for a condition; raises BenchError with all logs."""
        deadline = time.monotonic() + UP_S
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{path.stem}: {self.log(path.stem)}" for path in sorted(self.folder.glob("*.log")))
                raise BenchError(f"waited {UP_S:.0f} s for {what}\n{logs}")
            time.sleep(pause_s)

    def broker(self, *lines: str) -> int:
        """Start mosquitto on a loopback port, with further lines of configuration; gives the port."""
        port = free_port()
        found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is None:
            raise BenchError("mosquitto is not installed: apt-get install mosquitto")
        config = self.folder / f"mosquitto-{port}.conf"
        # As root it would drop to a user that cannot read the keys of the measurement.
        user = ["user root"] if os.geteuid() == 0 else []
        text = [*user, f"listener {port} 127.0.0.1", *lines, "allow_anonymous true", "persistence false", ""]
        config.write_text("\n".join(text))
        self.child("broker", found, "-c", str(config))
        self.until(lambda: answers(port), "mosquitto")
        return port

    def daemon(self, ports: dict[str, str], mqtt: str) -> "subprocess.Popen[bytes]":
        """Start `meterd run` on meters by name, with the keys of [mqtt], a journal and a control socket."""
        config = self.folder / "meterd.toml"
        meters = "\n".join(f'[[meter]]\nname = "{name}"\nport = "{port}"\n' for name, port in ports.items())
        rest = f'[mqtt]\n{mqtt}\n[journal]\npath = "{self.folder}/journal.db"\n'
        config.write_text(f'{meters}\n{rest}[control]\nsocket = "{self.folder}/control"\n')
        return self.child("daemon", sys.executable, "-m", "gateway.cli", "run", "-c", str(config))

    def subscriber(self, port: int, topic: str) -> "Subscriber":
        """Start a process that tells each message of a topic filter with the time of its arrival."""
        script = str(HERE / "subscriber.py")
        child = self.child(
            f"subscriber-{topic.count('/')}", sys.executable, script, str(port), topic, stdout=subprocess.PIPE
        )
        subscriber = Subscriber(child)
        subscriber.next(UP_S)
        return subscriber

    def readers(self, port: int, count: int) -> "Subscriber":
        """Start clients of a virtual P1, and one more that never reads; their telegrams are told as messages are."""
        script = str(HERE / "readers.py")
        readers = Subscriber(
            self.child("readers", sys.executable, script, str(port), str(count), stdout=subprocess.PIPE)
        )
        readers.next(UP_S)
        return readers

    @contextmanager
    def pty(self) -> Iterator[tuple[int, str]]:
        """A meter's port: the descriptor to write to, and the path to read from."""
        master, slave = os.openpty()
        tty.setraw(slave)
        path = os.ttyname(slave)
        try:
            yield master, path
        finally:
            os.close(slave)
            os.close(master)


class Subscriber:
    """Lines `nanoseconds topic payload` of the subscriber's process; nanoseconds are of the monotonic clock."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._fd = child.stdout.fileno() if child.stdout else -1
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)

    def next(self, timeout_s: float = UP_S) -> tuple[int, str, bytes]:
        """The next message; raises BenchError when none comes in time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            self._read(max(0.0, deadline - time.monotonic()))
        line, _, self._buffer = self._buffer.partition(b"\n")
        stamp, topic, payload = line.split(b" ", 2)
        return int(stamp), topic.decode(), payload

    def drain(self, quiet_s: float) -> list[tuple[int, str, bytes]]:
        """Every message until none comes for a while."""
        found = []
        while True:
            try:
                found.append(self.next(quiet_s))
            except BenchError:
                return found

    def _read(self, timeout_s: float) -> None:
        if not self._selector.select(timeout_s):
            raise BenchError("no message arrived in time")
        octets = os.read(self._fd, 1 << 16)
        if not octets:
            raise BenchError("the subscriber ended")
        self._buffer += octets


def end(child: "subprocess.Popen[bytes]") -> None:
    """End a process in order, else at once."""
    child.terminate()
    try:
        child.wait(8)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout:
        child.stdout.close()


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory now and at its highest, in MB (10**6 octets)."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, highest = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return now, highest


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process and its threads took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def has_open(pid: int, path: str) -> bool:
    """Tell whether a process has a file open."""
    try:
        return any(str(fd.readlink()) == path for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def free_port() -> int:
    """A TCP port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Tell whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
