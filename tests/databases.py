"""Real databases on loopback ports for the tests: Debian's InfluxDB 1.6 and VictoriaMetrics, and what they hold."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

UP_S = 60.0
#: s since 1970: VictoriaMetrics shows nothing after now unless it is asked to
FUTURE = "4102444800"


class Server:
    """A database process with a folder of its own; `stop`, `kill` and `start` play an outage on the same port."""

    program = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        found = shutil.which(self.program)
        if found is None:
            pytest.fail(f"{self.program} is not installed: make test does it when root")
        with self.log.open("ab") as log:
            command = [found, *self.options()]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + UP_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.program} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, *, hard: bool = False) -> None:
        """End it in order, or as a power cut does."""
        if self._process is None:
            return
        self._process.kill() if hard else self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def send_signal(self, number: int) -> None:
        """SIGSTOP: its kernel still takes connections, and nobody answers."""
        assert self._process
        self._process.send_signal(number)

    def options(self) -> list[str]:
        """What stands behind the program's name."""
        raise NotImplementedError

    def get(self, path: str, method: str = "GET", **query: str) -> bytes:
        """Ask it; raises OSError."""
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        try:
            self.get("/ping")
        except (urllib.error.HTTPError, OSError) as error:
            return isinstance(error, urllib.error.HTTPError)
        return True


class InfluxDB(Server):
    """InfluxDB 1.6: the API v1."""

    program = "influxd"

    def __init__(self, folder: Path, *lines: str) -> None:
        """`lines` are further ones of its configuration, in the table [http]."""
        super().__init__(folder)
        self._rpc = free_port()
        self._lines = lines

    def options(self) -> list[str]:
        config = self.folder / "influxdb.conf"
        config.write_text(
            "\n".join(
                [
                    "reporting-disabled = true",
                    f'bind-address = "127.0.0.1:{self._rpc}"',
                    "[meta]",
                    f'dir = "{self.folder}/meta"',
                    "[data]",
                    f'dir = "{self.folder}/data"',
                    f'wal-dir = "{self.folder}/wal"',
                    "query-log-enabled = false",
                    "[monitor]",
                    "store-enabled = false",
                    "[http]",
                    f'bind-address = "127.0.0.1:{self.port}"',
                    "log-enabled = false",
                    *self._lines,
                    "",
                ]
            )
        )
        return ["-config", str(config)]

    def query(self, text: str, database: str = "meterd", **more: str) -> list[dict[str, Any]]:
        """The rows of every series of an InfluxQL query, each with its tags; times in ms."""
        answer = json.loads(self.get("/query", "POST", q=text, db=database, epoch="ms", **more))
        result = answer["results"][0]
        assert "error" not in result, result
        return [
            dict(zip(series["columns"], row, strict=True)) | series.get("tags", {})
            for series in result.get("series", ())
            for row in series["values"]
        ]


class VictoriaMetrics(Server):
    """VictoriaMetrics: takes lines by either API, answers by its own."""

    program = "victoria-metrics"

    def options(self) -> list[str]:
        return [
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.folder}/data",
            "-retentionPeriod=100y",
            "-dedup.minScrapeInterval=1ms",
            "-search.latencyOffset=0s",
            "-search.disableCache",
            "-memory.allowedBytes=64MiB",
        ]

    def points(self, match: str = '{__name__!=""}') -> dict[tuple[str, str, str], dict[int, float]]:
        """Every value by (metric, meter, register or channel) and ms."""
        self.get("/internal/force_flush")
        found: dict[tuple[str, str, str], dict[int, float]] = {}
        for line in self.get("/api/v1/export", **{"match[]": match, "start": "0", "end": FUTURE}).splitlines():
            row = json.loads(line)
            name = row["metric"]
            key = (name["__name__"], name["meter"], name.get("register", name.get("channel", "")))
            found.setdefault(key, {}).update(zip(row["timestamps"], row["values"], strict=True))
        return found

    def query(self, text: str, start: float, end: float, step: str = "60") -> list[dict[str, Any]]:
        """The series of a MetricsQL range query."""
        answer = json.loads(
            self.get("/api/v1/query_range", query=text, start=str(start), end=str(end), step=step, nocache="1")
        )
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])
