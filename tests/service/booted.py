"""`make service`: the installed units under a systemd that booted, in a container; writes docs/measured/service.md.

systemd-nspawn boots a Debian of its own (debootstrap, made once) with what `make install` put there. Needs root, both
programs and the network; without them it prints NOT RUN with the reason, and writes nothing. The meter is simulated, on
a TCP port of this machine; the hub of the uploader takes connections, and never says a word.
"""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / ".make" / "service"
BASE, MACHINE = FOLDER / "debian", FOLDER / "machine"
REPORT = ROOT / "docs" / "measured" / "service.md"
PYTHON = "/usr/bin/python3"
RELEASE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3"
#: what each check may take at most (s), where a requirement says so
AT_MOST = {
    "a hang, to the first reading after it": 35,
    "kill -9, to the first reading after it": 10,
    "stop": 5,
    "uploader: a hang, until it runs again": 35,
    "uploader: kill -9, until it runs again": 10,
    "uploader: stop while the hub is silent": 5,
}
UPLOADER = "meterd-uploader"
#: what the user of the uploader may do, in the folders that it sees
MAY = {
    "test -r /etc/meterd/meterd.toml": True,
    "test -w /var/lib/meterd/ledger.db": True,
    "cat /etc/meterd/keys/main.ek": False,
    "ls /etc/meterd/keys": False,
    "cat /var/lib/meterd/journal.db": False,
    "ls /run/meterd": False,
    "ls /run/credentials/meterd.service": False,
    "ls /dev/ttyS0 || ls /dev/ttyUSB0 || ls /dev/ttyAMA0": False,
    "touch /etc/meterd/new": False,
    "touch /usr/new": False,
}

Row = tuple[str, str, bool]


def main() -> int:
    """Run every check; 0 when all held, or none could run."""
    reason = obstacle()
    if reason:
        print(f"make service: NOT RUN: {reason}")
        return 0
    prepare()
    with simulated() as port, silent() as hub, booted(port) as inside:
        rows = [*checks(inside), *uploader_checks(inside, hub)]
    width = max(len(what) for what, _, _ in rows)
    for what, figure, good in rows:
        print(f"{what:<{width}}  {figure}{'' if good else '  FAILED'}")
    write(rows)
    return 0 if all(good for _, _, good in rows) else 1


def obstacle() -> str | None:
    """Say what is missing to boot a container."""
    if os.geteuid() != 0:
        return "a container is booted by root only"
    missing = [name for name in ("systemd-nspawn", "debootstrap") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not there: apt-get install systemd-container debootstrap"
    done = subprocess.run([PYTHON, "-c", "import venv, ensurepip"], capture_output=True, check=False, timeout=60)
    return None if done.returncode == 0 else f"{PYTHON} with venv is not there: apt-get install python3 python3-venv"


def prepare() -> None:
    """Make a Debian, once, and install meterd in a copy of it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (BASE / "usr/bin/python3").exists():
        print("making a Debian for the container (once; some minutes)", flush=True)
        shutil.rmtree(BASE, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, BASE)
    shutil.rmtree(MACHINE, ignore_errors=True)
    run("cp", "-a", BASE, MACHINE)
    run("make", "install", f"DESTDIR={MACHINE}", f"PYTHON={PYTHON}", f"BUILD={FOLDER / 'build'}", cwd=ROOT)
    key = MACHINE / "etc/meterd/keys/main.ek"
    key.write_text(os.urandom(16).hex())
    key.chmod(0o400)


@contextmanager
def simulated() -> Iterator[int]:
    """A meter that sends each second, on a TCP port of this machine."""
    command = [sys.executable, "-m", "gateway.cli", "simulate", "--tcp", "127.0.0.1:0", "--json", "--interval", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(json.loads(process.stdout.readline())["port"].rpartition(":")[2])
        finally:
            process.terminate()


@contextmanager
def silent() -> Iterator[int]:
    """A hub that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


class Inside:
    """A booted container, by the process that is its PID 1."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __call__(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", "--", *command],
            capture_output=True, text=True, timeout=120, check=False, **more,
        )  # fmt: skip

    def show(self, name: str, unit: str = "meterd") -> str:
        """A property of a unit."""
        return self("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def status(self) -> dict[str, Any] | None:
        """What `meterd status` answers."""
        text = self("/opt/meterd/bin/meterd", "status", "--json").stdout
        answer = json.loads(text) if text else {"error": "nothing"}
        return None if "error" in answer else answer

    def stored(self) -> int:
        """How many readings were stored."""
        answer = self.status()
        return 0 if answer is None else int(answer["meters"][0]["counters"]["stored"])

    def reads(self) -> bool:
        """Whether the meter is read by a daemon that runs."""
        answer = self.status()
        return answer is not None and answer["meters"][0]["state"] == "ok"


@contextmanager
def booted(port: int) -> Iterator[Inside]:
    """Boot the container; its systemd makes users and folders."""
    (MACHINE / "etc/meterd/meterd.toml").write_text(
        f'[[meter]]\nname = "main"\nport = "socket://127.0.0.1:{port}"\nprofile = "nl-dsmr5"\n'
    )
    log = (FOLDER / "boot.log").open("wb")
    command = ["systemd-nspawn", "--quiet", "--directory", MACHINE, "--boot", "--register=no", "--keep-unit"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = until(lambda: children.read_text().split(), 30)
        inside = Inside(int(pid[0]))
        until(lambda: inside("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"), 60)
        yield inside
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def checks(inside: Inside) -> Iterator[Row]:
    """Every check, with its figure and whether it held."""
    inside("mkdir", "-p", "/etc/credstore.encrypted/meterd")
    secret = os.urandom(16).hex()
    made = inside(
        "systemd-creds", "encrypt", "--with-key=host", "--name=meterd_other.ek",
        "-", "/etc/credstore.encrypted/meterd/other.ek", input=secret,
    )  # fmt: skip
    began = time.monotonic()
    started = inside("systemctl", "start", "meterd")
    yield "systemctl start, to READY", f"{time.monotonic() - began:.2f} s", started.returncode == 0
    if started.returncode:
        print(inside("journalctl", "-n", "40", "-u", "meterd", "--no-pager").stdout)
        return
    until(inside.reads, 30)
    yield "readings under every filter of the unit", "yes", True
    pid = inside.show("MainPID")
    yield from confinement(inside, pid, "")
    status = inside.status() or {}
    place = status["meters"][0]["keys"]["places"].get("encryption", "none")
    yield "key of /etc/meterd/keys as a credential", place, place.endswith("/stored_main.ek")
    names = inside("ls", f"/proc/{pid}/cwd/run/credentials/meterd.service").stdout.split()
    yield (
        "credential that systemd-creds encrypted",
        " ".join(names),
        made.returncode == 0 and "meterd_other.ek" in names,
    )
    folder = "/var/lib/meterd"
    paths = (folder, f"{folder}/journal.db", f"{folder}/ledger.db", "/run/meterd", "/run/meterd/control")
    modes = inside("stat", "-c", "%a %U:%G %n", *paths)
    shared, people = "meterd:meterd-data", "meterd:meterd-admin"
    wanted = [f"2770 {shared}", "600 meterd:", f"660 {shared}", f"2750 {people}", f"660 {people}"]
    good = all(line.startswith(want) for line, want in zip(modes.stdout.splitlines(), wanted, strict=True))
    yield "modes and owners of files", "; ".join(modes.stdout.splitlines()), good
    done = inside("systemctl", "reload", "meterd")
    yield "systemctl reload", "in force, same process", done.returncode == 0 and inside.show("MainPID") == pid
    config = MACHINE / "etc/meterd/meterd.toml"
    text = config.read_text()
    config.write_text(text + "[[[")
    refused = inside("systemctl", "reload", "meterd").returncode != 0
    told = bool((inside.status() or {}).get("configuration", {}).get("refused"))
    runs_on = (inside.show("MainPID"), inside.show("ActiveState")) == (pid, "active")
    yield "systemctl reload with a wrong file", "refused, runs on", refused and told and runs_on
    config.write_text(text)
    yield timed("a hang, to the first reading after it", inside, "STOP")
    yield timed("kill -9, to the first reading after it", inside, "KILL")
    yield memory(inside, "memory", "meterd")
    yield stopped(inside, "stop", "meterd")


def uploader_checks(inside: Inside, hub: int) -> Iterator[Row]:
    """The other unit: without a hub, with one that is silent, with a wrong configuration."""
    config = MACHINE / "etc/meterd/meterd.toml"
    plain = config.read_text()
    right = plain + (
        '[[hub]]\nname = "dk"\nkind = "dk-datahub3"\n'
        f'url = "https://127.0.0.1:{hub}/dk"\ntoken_url = "https://127.0.0.1:{hub}/token"\nclient_id = "us"\n'
    )
    inside("mkdir", "-p", f"/etc/credstore.encrypted/{UPLOADER}")
    inside(
        "systemd-creds", "encrypt", "--with-key=host", "--name=meterd_dk.secret",
        "-", f"/etc/credstore.encrypted/{UPLOADER}/dk.secret", input=os.urandom(16).hex(),
    )  # fmt: skip
    inside("systemctl", "start", "meterd")
    until(inside.reads, 30)

    began = time.monotonic()
    started = inside("systemctl", "start", UPLOADER)
    yield "uploader: systemctl start, to READY", f"{time.monotonic() - began:.2f} s", started.returncode == 0
    if started.returncode:
        print(inside("journalctl", "-n", "40", "-u", UPLOADER, "--no-pager").stdout)
        return
    pid = inside.show("MainPID", UPLOADER)
    until(lambda: inside.show("StatusText", UPLOADER), 30)
    said = inside.show("StatusText", UPLOADER)
    yield "uploader: without a [[hub]]", said, "waits" in said and inside.show("NRestarts", UPLOADER) == "0"
    config.write_text(right)
    done = inside("systemctl", "reload", UPLOADER)
    until(lambda: "1 hubs" in inside.show("StatusText", UPLOADER), 30)
    same = inside.show("MainPID", UPLOADER) == pid
    yield "uploader: systemctl reload with a [[hub]]", "in force, same process", done.returncode == 0 and same
    until(lambda: hub_state(inside) not in ("never run", "starting"), 30)
    state = hub_state(inside)
    yield "uploader: the hub, with the daemon's ledger", state, state in ("ok", "unreachable")
    config.write_text(right.replace("dk-datahub3", "dk-datahub4"))
    done = inside("systemctl", "reload", UPLOADER)
    until(lambda: "refused" in inside.show("StatusText", UPLOADER), 30)
    runs_on = (inside.show("MainPID", UPLOADER), inside.show("ActiveState", UPLOADER)) == (pid, "active")
    yield "uploader: systemctl reload with a wrong file", "refused, runs on", done.returncode != 0 and runs_on
    config.write_text(right)

    yield from confinement(inside, pid, "uploader: ")
    names = inside("ls", f"/proc/{pid}/cwd/run/credentials/{UPLOADER}.service").stdout.split()
    yield "uploader: credentials", " ".join(names), names == ["meterd_dk.secret"]
    wrong = [what for what, may in MAY.items() if allowed(inside, pid, what) != may]
    yield "uploader: reads no key, port, journal or socket, writes the ledger", "; ".join(wrong) or "yes", not wrong
    # the same folders for root, who is kept out by no mode: what would fail for every file proves nothing
    yield "a file of mode 0600 that is there", "seen by root", bool(inside("cat", "/etc/meterd/keys/main.ek").stdout)

    yield timed("uploader: a hang, until it runs again", inside, "STOP", UPLOADER)
    yield timed("uploader: kill -9, until it runs again", inside, "KILL", UPLOADER)
    yield memory(inside, "uploader: memory", UPLOADER)
    yield stopped(inside, "uploader: stop while the hub is silent", UPLOADER)
    config.write_text(right.replace("dk-datahub3", "dk-datahub4"))
    before = inside.show("NRestarts", UPLOADER)
    failed = inside("systemctl", "start", UPLOADER).returncode != 0
    time.sleep(8)
    again = inside.show("NRestarts", UPLOADER) not in ("0", before)
    status = inside.show("ExecMainStatus", UPLOADER)
    told = "kind" in inside("systemctl", "status", "--no-pager", UPLOADER).stdout
    good = failed and not again and status == "78" and told
    yield "uploader: start with a wrong file", f"fails with {status}, {'again' if again else 'once'}", good


def hub_state(inside: Inside) -> str:
    """What `meterd hub status` says of the hub."""
    done = inside("/opt/meterd/bin/meterd", "hub", "status", "--json")
    return str(json.loads(done.stdout)["hubs"][0]["state"]) if done.stdout else done.stderr


def allowed(inside: Inside, pid: str, command: str) -> bool:
    """Whether the user of the uploader can do something, in the folders that its process sees."""
    user = ["setpriv", f"--reuid={UPLOADER}", f"--regid={UPLOADER}", "--groups=meterd-data", "--bounding-set=-all"]
    done = inside("nsenter", "--target", pid, "--mount", "--", *user, "--no-new-privs", "sh", "-c", command)
    return done.returncode == 0


def confinement(inside: Inside, pid: str, of: str) -> Iterator[Row]:
    """What the kernel says of a process."""
    process = dict(line.split(":\t", 1) for line in inside("cat", f"/proc/{pid}/status").stdout.splitlines())
    confined = (process["NoNewPrivs"], process["Seccomp"], int(process["CapEff"], 16)) == ("1", "2", 0)
    yield f"{of}no new privileges, seccomp filter, no capability", "yes" if confined else "no", confined
    yield f"{of}user, not root", process["Uid"].split()[0], process["Uid"].split()[0] != "0"


def memory(inside: Inside, what: str, unit: str) -> Row:
    """What a process has in memory."""
    told = inside("cat", f"/proc/{inside.show('MainPID', unit)}/status").stdout
    rss = next(line.split(":")[1].strip() for line in told.splitlines() if line.startswith("VmRSS"))
    return what, rss, int(rss.split()[0]) < 96 * 1024


def stopped(inside: Inside, what: str, unit: str) -> Row:
    """Stop a unit, and measure."""
    began = time.monotonic()
    inside("systemctl", "stop", unit)
    took = time.monotonic() - began
    result = inside.show("Result", unit)
    return what, f"{took:.2f} s, {result}", took <= AT_MOST[what] + 1 and result == "success"


def timed(what: str, inside: Inside, name: str, unit: str = "meterd") -> Row:
    """Send a signal to a service, and measure until the daemon reads again, or the uploader is ready."""
    pid, began = inside.show("MainPID", unit), time.monotonic()
    inside("sh", "-c", f"kill -{name} {pid}")
    works = inside.reads if unit == "meterd" else lambda: inside.show("StatusText", unit) != ""
    running = ("0", pid)
    until(
        lambda: (
            inside.show("MainPID", unit) not in running and inside.show("ActiveState", unit) == "active" and works()
        ),
        90,
    )
    took = time.monotonic() - began
    return what, f"{took:.1f} s", took <= AT_MOST[what]


def until(condition: Callable[[], Any], seconds: float) -> Any:
    """Poll; raises TimeoutError."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s; see {FOLDER / 'boot.log'}")
        time.sleep(0.1)
    return value


def write(rows: list[Row]) -> None:
    """Write the page."""
    version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release().split('-')[0]}"
    lines = [
        "# The service under systemd",
        "",
        f"Written by `make service` on {datetime.now(UTC):%Y-%m-%d} ({machine}).",
        f"The installed unit in a container of Debian {RELEASE}, booted by systemd {version} (systemd-nspawn);",
        "a simulated meter sends each second.",
        "",
        "| check | figure | held |",
        "|---|---|---|",
        *(f"| {what} | {figure.replace('|', '/')} | {'yes' if good else 'no'} |" for what, figure, good in rows),
        "",
        f"At most: {', '.join(f'{what} {limit} s' for what, limit in AT_MOST.items())}.",
        "",
    ]
    REPORT.write_text("\n".join(lines))


def run(*command: Any, cwd: Path | None = None) -> None:
    subprocess.run([str(one) for one in command], check=True, stdin=subprocess.DEVNULL, cwd=cwd, timeout=900)


if __name__ == "__main__":
    sys.exit(main())
