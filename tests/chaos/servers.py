"""mosquitto, InfluxDB 1 and VictoriaMetrics as processes of a run: they can be killed, frozen and started again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

UP_S = 60.0
DATABASE = "meterd"


class Server:
    """One server in a folder of its own; what it keeps there outlasts a kill."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What is started."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + UP_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start: {(self.folder / 'log').read_text()[-1_000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: its kernel goes on taking octets."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in order."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


class Mosquitto(Server):
    """The broker: two users, all queues unbounded, and its sessions on disk."""

    name = "mosquitto"

    def __init__(self, folder: Path, passwords: dict[str, Path]) -> None:
        super().__init__(folder)
        users = self.folder / "users"
        for number, (user, file) in enumerate(passwords.items()):
            new = [] if number else ["-c"]
            command = ["mosquitto_passwd", *new, "-b", str(users), user, file.read_text().strip()]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        lines = [
            *(["user root"] if os.geteuid() == 0 else []), f"listener {self.port} 127.0.0.1", "allow_anonymous false",
            f"password_file {users}", "persistence true", f"persistence_location {self.folder}/",
            "autosave_on_changes true", "autosave_interval 1", "queue_qos0_messages true", "max_queued_messages 0",
            "max_inflight_messages 0", "",
        ]  # fmt: skip
        (self.folder / "conf").write_text("\n".join(lines))

    def command(self) -> list[str]:
        """Start with the configuration."""
        return [_program("mosquitto"), "-c", str(self.folder / "conf")]


class Influx(Server):
    """Debian's InfluxDB 1.6 with one database."""

    name = "influxdb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = f"""
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{self.folder}/meta"
[data]
dir = "{self.folder}/data"
wal-dir = "{self.folder}/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:{self.port}"
auth-enabled = false
log-enabled = false
[monitor]
store-enabled = false
"""
        (self.folder / "conf").write_text(text)

    def command(self) -> list[str]:
        """Start with the configuration."""
        return [_program("influxd"), "-config", str(self.folder / "conf")]


class Victoria(Server):
    """Debian's VictoriaMetrics, single node."""

    name = "victoria-metrics"

    def command(self) -> list[str]:
        """Start with what makes it exact: no loss by deduplication, nothing too old, answers at once."""
        return [
            _program("victoria-metrics"),
            f"-storageDataPath={self.folder}/data",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-dedup.minScrapeInterval=1ms",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            "-search.disableCache",
            "-memory.allowedBytes=128MiB",
        ]


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: tools/servers.py installs it when root")
    return found
