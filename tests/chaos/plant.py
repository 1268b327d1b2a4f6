"""What a run is made of: the daemon as a service, meters, servers, proxies, and the record of it all.

Everything lies in one folder: `truth-*.jsonl`, `mqtt.jsonl`, `http.jsonl`, `timeline.jsonl`, `samples.jsonl` and what
the processes said. The daemon's process is watched as systemd does it: notification socket, watchdog, restart.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.chaos.proxy import HttpProxy, Proxy
from tests.chaos.servers import DATABASE, Influx, Mosquitto, Server, Victoria
from tests.ports import free_port

#: what the service manager allows: seconds without a sign of life, and until a process that ended is started again
WATCHDOG_S, RESTART_S = 30.0, 0.5
#: the folder of the stores, where a file system of its own can be made (MiB)
STATE_MIB = 24
UP_S = 60.0
PASSWORDS = ("meterd", "oracle")

#: name, kind of simulated meter, seconds between telegrams, and the lines of its table in the configuration
METERS: tuple[tuple[str, str, float, str], ...] = (
    ("p1", "dsmr5", 1.0, ""),
    ("dlms", "dk-kamstrup", 2.0, 'profile = "dk-kamstrup"\ninterval_s = 2\ntimezone = "Europe/Copenhagen"\n'),
    ("sml", "de-sml", 1.0, ""),
)


class Record:
    """A file of JSON lines, each with the time of the monotonic clock."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def __call__(self, **row: Any) -> None:
        """Write a line."""
        with self._lock:
            self._file.write(json.dumps({"ns": time.monotonic_ns(), **row}) + "\n")


class Manager:
    """The daemon as a service: started again when it ends, killed when it gives no sign of life."""

    def __init__(self, folder: Path, config: Path, record: Record, module: list[str]) -> None:
        self._folder, self._config, self._record, self._module = folder, config, record, module
        self._wanted = False
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._alive = 0.0
        self.ready = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / "notify"))
        self._notify.settimeout(0.2)
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._supervise)]
        for thread in self._threads:
            thread.start()

    def start(self) -> None:
        """Start the daemon, and want it from now on."""
        with self._lock:
            self._wanted = True
            self._spawn()

    def end(self, number: int, *, wanted: bool = False) -> int | None:
        """End it by a signal and do not start it again before `start`; gives its exit code, None when it hung."""
        with self._lock:
            self._wanted = wanted
            process = self.process
            if process is None or process.poll() is not None:
                return None
            began = time.monotonic()
            self._record(event="daemon", what=signal.Signals(number).name, pid=process.pid)
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            try:
                code = process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
                self._record(event="violation", text=f"SIGTERM: the daemon did not end within 20 s (code {code})")
            took = time.monotonic() - began
            self._record(event="daemon", what="ended", pid=process.pid, code=code, took_s=round(took, 2))
            return code

    def signal(self, number: int) -> None:
        """Send a signal that does not end it."""
        if self.process is not None and self.process.poll() is None:
            self._record(event="daemon", what=signal.Signals(number).name, pid=self.process.pid)
            self.process.send_signal(number)

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        self._notify.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _spawn(self) -> None:
        self.ready.clear()
        self._alive = time.monotonic()
        environment = os.environ | {
            "NOTIFY_SOCKET": str(self._folder / "notify"), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }  # fmt: skip
        environment.pop("WATCHDOG_PID", None)
        with (self._folder / "daemon.log").open("ab") as log:
            command = [sys.executable, "-m", *self._module, "run", "-c", str(self._config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self._record(event="daemon", what="start", pid=self.process.pid)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._notify.recv(4_096).decode(errors="replace")
            except TimeoutError:
                continue
            if "READY=1" in message:
                self._record(event="daemon", what="ready")
                self.ready.set()
            if "WATCHDOG=1" in message or "READY=1" in message:
                self._alive = time.monotonic()

    def _supervise(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                process = self.process
                if process is None or not self._wanted:
                    continue
                if process.poll() is not None:
                    self._record(event="violation", text=f"the daemon ended by itself, code {process.returncode}")
                    time.sleep(RESTART_S)
                    self._spawn()
                elif time.monotonic() - self._alive > WATCHDOG_S:
                    self._record(event="daemon", what="watchdog", pid=process.pid)
                    process.kill()
                    process.wait()
                    time.sleep(RESTART_S)
                    self._spawn()


class Meters:
    """The processes of the simulated meters, and their orders."""

    def __init__(self, folder: Path, key_file: Path, seed: int) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for number, (name, variant, interval_s, _) in enumerate(METERS, 1):
            command = [
                sys.executable, "-m", "tests.chaos.meters", "--name", name, "--variant", variant,
                "--link", str(folder / f"port-{name}"), "--truth", str(folder / f"truth-{name}.jsonl"),
                "--seed", str(seed % 1_000 * 10 + number), "--interval", str(interval_s),
            ]  # fmt: skip
            if name == "dlms":
                command += ["--key-file", str(key_file)]
            with (folder / f"meter-{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=Path(__file__).resolve().parents[2]
                )

    def order(self, name: str, **order: Any) -> None:
        """Order a fault of the next telegrams."""
        pipe = self._processes[name].stdin
        assert pipe
        pipe.write(json.dumps(order).encode() + b"\n")
        pipe.flush()

    def end(self) -> None:
        """Let them end after the telegram that is under way."""
        for name, process in self._processes.items():
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    self.order(name, kind="end")
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                with contextlib.suppress(OSError):
                    process.stdin.close()


class Plant:
    """Everything, from `start` to `close`."""

    def __init__(self, folder: Path, seed: int, defect: str | None = None, *, mounts: bool = True) -> None:
        """`defect` is planted into the daemon (tests.chaos.defects); without `mounts` as where we are not root."""
        self.folder, self.seed, self.defect = folder, seed, defect
        self.secrets = folder / "secrets"
        self.state = folder / "state"
        self.config = folder / "config" / "meterd.toml"
        for path in (self.secrets, self.state, self.config.parent):
            path.mkdir()
        self.mounted = mounts and self._mount()
        self.record = Record(folder / "timeline.jsonl")
        self._samples = Record(folder / "samples.jsonl")
        # a socket's path has at most 107 octets
        self.control = Path(tempfile.mkdtemp(prefix="meterd-")) / "control"
        self._write_secrets()
        self.mosquitto = Mosquitto(folder, {name: self.secrets / name for name in PASSWORDS})
        self.databases: dict[str, Server] = {"influxdb": Influx(folder), "victoria-metrics": Victoria(folder)}
        self.database = "influxdb"
        self.virtual, self.metrics = free_port(), free_port()
        self.mqtt_proxy: Proxy
        self.influx_proxy: HttpProxy
        self.meters: Meters
        self.manager: Manager
        self._watcher: subprocess.Popen[bytes] | None = None
        self._sampling = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    def start(self) -> None:
        """Start servers, proxies, the subscriber, meters and the daemon."""
        for server in (self.mosquitto, *self.databases.values()):
            server.start()
        self._make_database()
        self.mqtt_proxy = Proxy(self.mosquitto.port, self.seed)
        self.influx_proxy = HttpProxy(self.databases[self.database].port, self.folder / "http.jsonl", self.seed)
        command = [sys.executable, "-m", "tests.chaos.watch", str(self.mosquitto.port), str(self.folder / "mqtt.jsonl")]
        with (self.folder / "watch.log").open("ab") as log:
            self._watcher = subprocess.Popen([*command, str(self.secrets / "oracle")], stderr=log, cwd=ROOT)
        until(lambda: self.subscriptions() == 1, "the subscriber")
        self.meters = Meters(self.folder, self.secrets / "keys", self.seed)
        until(lambda: all((self.folder / f"port-{name}").exists() for name, *_ in METERS), "the meters")
        self.write_config()
        module = ["tests.chaos.defects", self.defect] if self.defect else ["gateway.cli"]
        self.manager = Manager(self.folder, self.config, self.record, module)
        self.manager.start()
        until(self.manager.ready.is_set, "the daemon")
        self._sampler.start()

    def close(self) -> None:
        """End everything."""
        self._sampling.set()
        if self._sampler.ident:
            self._sampler.join(20)
        if hasattr(self, "manager"):
            self.manager.close()
        if hasattr(self, "meters"):
            self.meters.end()
        if self._watcher:
            self._watcher.kill()
            self._watcher.wait()
        for proxy in ("mqtt_proxy", "influx_proxy"):
            if hasattr(self, proxy):
                getattr(self, proxy).close()
        for server in (self.mosquitto, *self.databases.values()):
            server.thaw()
            server.stop()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.state)], check=False)
        with contextlib.suppress(OSError):
            self.control.unlink(missing_ok=True)
            self.control.parent.rmdir()

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def write_config(self, *, level: str = "info", broken: bool = False) -> None:
        """Write the configuration in one step; a `broken` one is no TOML."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text("[[meter\nname = nothing" if broken else self._text(level))
        fresh.replace(self.config)

    def status(self, timeout_s: float = 5.0) -> dict[str, Any] | None:
        """`meterd status --json`, None when the daemon does not answer."""
        command = [sys.executable, "-m", "gateway.cli", "status", "--json", "-c", str(self.config)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False, cwd=ROOT)
            answer: dict[str, Any] = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        return None if "error" in answer else answer

    def subscriptions(self) -> int:
        """How often the subscriber has subscribed."""
        path = self.folder / "mqtt.jsonl"
        return path.read_text().count('"event": "subscribed"') if path.exists() else 0

    def switch(self, database: str) -> None:
        """Let the proxy lead to the other server from now on."""
        self.database = database
        self.influx_proxy.target = self.databases[database].port
        self.record(event="switch", database=database)

    def _text(self, level: str) -> str:
        tables = []
        for name, _, _, more in METERS:
            keys = f'key_file = "{self.secrets}/ek"\nauth_key_file = "{self.secrets}/ak"\n' if name == "dlms" else ""
            tables.append(f'[[meter]]\nname = "{name}"\nport = "{self.folder}/port-{name}"\n{more}{keys}')
        mqtt = (
            f'[mqtt]\nhost = "127.0.0.1"\nport = {self.mqtt_proxy.port}\n'
            f'username = "meterd"\nclient_id = "meterd-chaos"\n'
            f'password_file = "{self.secrets}/meterd"\nkeepalive_s = 10\n'
        )
        stores = (
            f'[journal]\npath = "{self.state}/journal.db"\nmax_mib = 8\n[ledger]\npath = "{self.state}/ledger.db"\n'
        )
        outputs = f'[[virtual_p1]]\nmeter = "p1"\nlisten = "127.0.0.1:{self.virtual}"\n'
        influx = (
            f'[influx]\nurl = "http://127.0.0.1:{self.influx_proxy.port}"\nversion = "v1"\ndatabase = "{DATABASE}"\n'
            f'username = "meterd"\npassword_file = "{self.secrets}/influx"\n'
        )

        metrics = f'[metrics]\nlisten = "127.0.0.1:{self.metrics}"\n'
        rest = f'[control]\nsocket = "{self.control}"\n[log]\nlevel = "{level}"\n'
        return "\n".join([*tables, mqtt, stores, outputs, influx, metrics, rest])

    # -- how it is made ------------------------------------------------------------------------------------------------

    def _mount(self) -> bool:
        """Give the stores a file system of their own, where this machine lets us."""
        command = ["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m", "tmpfs", str(self.state)]
        return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _write_secrets(self) -> None:
        # random by the system, never by the seed: nobody shall guess what a search must not find
        ek, ak = secrets.token_hex(16), secrets.token_hex(16)
        texts = {"ek": ek, "ak": ak, "keys": f"{ek}\n{ak}"}
        texts |= {name: secrets.token_urlsafe(18) for name in (*PASSWORDS, "influx")}
        for name, text in texts.items():
            path = self.secrets / name
            path.touch(mode=0o600)
            path.write_text(text + "\n")

    def _make_database(self) -> None:
        port = self.databases["influxdb"].port
        body = f"q=CREATE DATABASE {DATABASE}".replace(" ", "+").encode()
        with urlopen(Request(f"http://127.0.0.1:{port}/query", data=body), timeout=UP_S) as answer:
            answer.read()

    def _sample(self) -> None:
        """Look at the daemon every few seconds: its status, and what it uses."""
        while not self._sampling.wait(4.0):
            process = self.manager.process
            if process is None or process.poll() is not None:
                continue
            self._samples(**resources(process.pid), status=self.status(3.0), disk=disk(self.state))


ROOT = Path(__file__).resolve().parents[2]


def resources(pid: int) -> dict[str, Any]:
    """What a process uses, and what everybody can see of it; empty when it is gone."""
    proc = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return {
            "pid": pid, "rss_kib": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]),
            "fds": len(list((proc / "fd").iterdir())),
            "cmdline": (proc / "cmdline").read_bytes().decode(errors="replace"),
            "environ": (proc / "environ").read_bytes().decode(errors="replace"),
        }  # fmt: skip
    except (OSError, KeyError, ValueError):
        return {"pid": pid}


def disk(folder: Path) -> int:
    """Octets of the daemon's files."""
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            sizes.append(path.stat().st_size if path.is_file() and path.name != FILLER else 0)
    return sum(sizes)


FILLER = "filler"


def until(condition: Any, what: str, seconds: float = UP_S) -> None:
    """Wait for a condition; RuntimeError when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)
