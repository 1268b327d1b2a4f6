"""The processes of a fleet: `meterd sandbox`, `meterd uploader`, and the commands that an operator would type."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.plant import ROOT, until
from tests.hubfleet.truth import Fleet

#: how each hub of a fleet is spoken to: keys of its table; the test hub knows these parties (meterd sandbox init)
HUBS: dict[str, dict[str, str]] = {
    "dk": {"kind": "dk-datahub3", "role": "MDR", "party": "5799999933318"},
    "ee": {"kind": "ee-estfeed", "role": "GRID_OPERATOR", "party": "38X-EIN-ALL----B"},
    "eu": {"kind": "eu-vhd", "role": "A58", "party": "10X1001A1001B54W", "receiver": "99X-SANDBOX-HUBX"},
}
#: an orderly end that takes longer is none (s); within 5 s is what is promised
END_S = 25.0


@dataclass
class Table:
    """A `[[hub]]` table: the numbers of the points that it names, and keys of its own (None: absent)."""

    points: set[int]
    keys: dict[str, object] = field(default_factory=dict)


class Plant:
    """One folder with a test hub and an uploader, each a process of its own."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder, self._fleet, self.hubs = folder, fleet, fleet.hubs
        self.ledger = folder / "ledger.db"
        self.config = folder / "meterd.toml"
        self._hub: subprocess.Popen[bytes] | None = None
        self.uploader: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.kills = 0
        #: how long each orderly end took (s)
        self.ends: list[float] = []
        self._keys: dict[str, object] = {}

    # -- the test hub ------------------------------------------------------------------------------------------------

    def start_hub(self, *options: str) -> None:
        """Start the test hub and learn its address."""
        files = self.folder / "hub"
        if not files.exists():
            self.meterd("sandbox", "init", "--folder", str(files))
        port = self.folder / "port"
        port.unlink(missing_ok=True)
        self._hub = self._start(
            "hub", "sandbox", "--folder", str(files), "--listen", "127.0.0.1:0", "--port-file", str(port), *options
        )
        until(lambda: port.exists() and port.read_text().strip(), "the test hub")
        self.address = f"https://127.0.0.1:{port.read_text().strip()}"

    def effects(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """What the hub took over behind a position of its record, oldest first."""
        while rows := [json.loads(line) for line in self.ask(f"/control/effects?after={after}").splitlines()]:
            yield from rows
            after = rows[-1]["n"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Ask the hub's control; with a body, change it (PUT)."""
        files = self.folder / "hub"
        context = ssl.create_default_context(cafile=str(files / "ca.pem"))
        headers = {"Authorization": f"Bearer {(files / 'admin.token').read_text().strip()}"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.address + path, data, headers, method="GET" if body is None else "PUT")
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            content: bytes = answer.read()
        return content

    # -- the uploader ------------------------------------------------------------------------------------------------

    def configure(self, tables: Mapping[str, Table], **keys: object) -> None:
        """Write the configuration of the uploader; `keys` go to each hub, also the next time."""
        self._keys |= keys
        fresh = self.config.with_suffix(".new")
        fresh.write_text("\n".join(self._tables(tables)))
        fresh.replace(self.config)

    def start_uploader(self) -> None:
        """Start the uploader; it sends by itself."""
        self.uploader = self._start("uploader", "uploader", "-c", str(self.config))

    def kill_uploader(self) -> None:
        """End it as a power cut does."""
        if self.uploader is not None:
            self.uploader.send_signal(signal.SIGKILL)
            self.uploader.wait()
            self.kills += 1

    def end_uploader(self) -> None:
        """End it as systemd does; RuntimeError where that takes too long, or is no orderly end."""
        if self.uploader is not None:
            began = time.monotonic()
            self.uploader.send_signal(signal.SIGTERM)
            try:
                code = self.uploader.wait(END_S)
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"SIGTERM did not end the uploader within {END_S:.0f} s") from None
            self.ends.append(time.monotonic() - began)
            # before it listens to signals it ends by them
            if code not in {0, -signal.SIGTERM}:
                raise RuntimeError(f"SIGTERM ended the uploader with exit code {code}")

    def reload(self) -> None:
        """Have it read its configuration anew, once it listens to signals."""
        if self.uploader is not None:
            until(self._listens, "the uploader")
            self.uploader.send_signal(signal.SIGHUP)

    def _listens(self) -> bool:
        """Whether it catches SIGHUP by now (SigCgt, proc(5)), which would end it before."""
        assert self.uploader is not None
        for line in Path(f"/proc/{self.uploader.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGHUP - 1) & 1)
        return self.uploader.poll() is not None

    def status(self) -> dict[str, Any]:
        """What `meterd hub status` says."""
        answer: dict[str, Any] = json.loads(self.meterd("hub", "status", "-c", str(self.config), "--json"))
        return answer

    def meterd(self, *arguments: str, code: int | None = None) -> str:
        """Run a command; RuntimeError where its exit code is another one than `code` (None: any but a crash)."""
        done = subprocess.run(self._command(*arguments), check=False, capture_output=True, text=True, timeout=300)
        if "Traceback" in done.stderr or (code is not None and done.returncode != code):
            raise RuntimeError(
                f"meterd {' '.join(arguments)}: {done.returncode}\n{done.stdout[-500:]}{done.stderr[-2000:]}"
            )
        return done.stdout

    def peak_mib(self) -> float:
        """The most memory that the uploader ever had (VmHWM, proc(5))."""
        assert self.uploader is not None
        for line in Path(f"/proc/{self.uploader.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """End both."""
        for process in (self.uploader, self._hub):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._command(*arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                env=os.environ | {"PYTHONFAULTHANDLER": "1"},
            )  # fmt: skip

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "gateway.cli", *arguments]

    def _tables(self, tables: Mapping[str, Table]) -> Iterator[str]:
        fleet = self._fleet
        places = [fleet.place(number) for number in range(fleet.points)]
        for meter in sorted({meter for meter, _ in places}):
            yield f'[[meter]]\nname = "{meter}"\nport = "/dev/{meter}"\nenabled = false'
        for number, (meter, channel) in enumerate(places):
            zone = 'timezone = "Europe/Copenhagen"'
            yield f'[[point]]\nmeter = "{meter}"\nchannel = {channel}\nid = "{fleet.name(number)}"\n{zone}'
        yield f'[ledger]\npath = "{self.ledger}"\n[journal]\npath = "{self.folder}/journal.db"'
        yield f'[control]\nsocket = "{self.folder}/control"'
        for hub, table in tables.items():
            yield "\n".join(self._hub_table(hub, table))

    def _hub_table(self, hub: str, table: Table) -> Iterator[str]:
        files = self.folder / "hub"
        said: dict[str, object] = {
            "name": hub,
            **HUBS[hub],
            "url": f"{self.address}/{hub}",
            "legal_basis": "test fleet",
            "resolution": self._fleet.resolution(self._fleet.of(hub)[0]),
            "since": self._fleet.first.isoformat(),
            "at": "00:00",
            "jitter_s": 0,
            "requests_per_minute": 60_000,
            "ca_file": str(files / "ca.pem"),
        }
        if hub == "eu":
            said |= {"cert_file": str(files / "clients/gridco.pem"), "key_file": str(files / "clients/gridco.key")}
        else:
            said |= {
                "token_url": f"{self.address}/oauth2/token",
                "client_id": "gridco-client",
                "client_secret_file": str(files / "clients/gridco.secret"),
            }
        yield "[[hub]]"
        for key, value in (said | self._keys | table.keys).items():
            if value is not None:
                yield f"{key} = {json.dumps(value)}"
        yield f"points = {json.dumps([self._fleet.name(number) for number in sorted(table.points)])}"
