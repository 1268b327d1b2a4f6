"""The real processes of a test: `meterd sandbox`, and `meterd uploader` with a ledger of some validated days."""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.sandbox.folder import Folder
from gateway.stores.hubs import HubReader
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.schedule import SETTLES_S
from tests.uploader.lying import POINT, ZONE, Home


def until(condition: Callable[[], Any], what: str, deadline_s: float = 60.0) -> Any:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:.0f} s for {what}"
        time.sleep(0.05)
    return value


class Sandbox:
    """`meterd sandbox` in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = Folder(folder / "sandbox")
        self.folder.make()
        self.place = folder / "sandbox"
        port_file = folder / "port"
        command = [sys.executable, "-m", "gateway.cli", "sandbox", "--folder", self.place, "--listen", "127.0.0.1:0"]
        with (folder / "sandbox.log").open("ab") as log:
            self.process = subprocess.Popen([*command, "--port-file", port_file, *options], stdout=log, stderr=log)
        until(lambda: port_file.is_file() or self.process.poll() is not None, "the test hub")
        assert self.process.poll() is None, (folder / "sandbox.log").read_text()
        self.port = int(port_file.read_text())

    def effects(self) -> list[dict[str, Any]]:
        """What the hub accepted, from its own record."""
        token = (self.place / "admin.token").read_text().strip()
        context = ssl.create_default_context(cafile=str(self.place / "ca.pem"))
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/control/effects", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return [json.loads(line) for line in answer.read().splitlines() if line]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


class Uploader:
    """`meterd uploader` in a process of its own, with a ledger that has some validated days."""

    def __init__(self, folder: Path, port: int, place: Path, days: int = 3, more: str = "") -> None:
        self.folder = folder
        self.config = folder / "meterd.toml"
        self.ledger = folder / "ledger.db"
        self.days = days
        # Until a quarter past midnight the day before is not released yet.
        today = (datetime.now(UTC) - timedelta(seconds=SETTLES_S)).astimezone(ZONE).date()
        self.dates = [today - timedelta(n) for n in range(days, 0, -1)]
        self.config.write_text(
            f'[[meter]]\nname = "main"\nport = "{folder}/none"\ntimezone = "{ZONE.key}"\n'
            f'[ledger]\npath = "{self.ledger}"\n[[point]]\nmeter = "main"\nid = "{POINT}"\n'
            f'[[hub]]\nname = "dk"\nkind = "dk-datahub3"\nurl = "https://127.0.0.1:{port}/dk"\n'
            f'token_url = "https://127.0.0.1:{port}/oauth2/token"\nclient_id = "gridco-client"\n'
            f'client_secret_file = "{place}/clients/gridco.secret"\nca_file = "{place}/ca.pem"\n'
            f'points = ["{POINT}"]\nlegal_basis = "a test"\nparty = "5799999933318"\nrole = "MDR"\n'
            f'since = "{self.dates[0]}"\nat = "00:00"\njitter_s = 0\nconfirm_after_s = 1\ninbox_s = 1\nbundle = 1\n'
            f"requests_per_minute = 6000\n{more}"
        )
        self.fill(1)
        self.process: subprocess.Popen[bytes] | None = None

    def fill(self, version: int) -> None:
        """Validate every day anew."""
        file = open_ledger(self.ledger).file
        try:
            home = Home(file, time.time)
            key = home.series()
            for day in self.dates:
                home.fill(key, day, version=version, wh=1_000 * version)
        finally:
            file.close()

    def start(self) -> None:
        with (self.folder / "uploader.log").open("ab") as log:
            command = [sys.executable, "-m", "gateway.cli", "uploader", "-c", self.config]
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self) -> float:
        """End it by SIGTERM; how long that took (s)."""
        assert self.process
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log
        return time.monotonic() - began

    def counts(self) -> dict[str, int]:
        reader = HubReader(self.ledger)
        try:
            return dict(reader.counts("dk"))
        finally:
            reader.close()

    def done(self, messages: int) -> bool:
        try:
            counts = self.counts()
        except Exception:
            return False
        return counts["confirmed"] == messages == sum(counts.values())

    @property
    def log(self) -> str:
        return (self.folder / "uploader.log").read_text()
