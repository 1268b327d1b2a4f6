"""`make consumers`: the pages of docs/consumers in real programs that package registries have; SECONDS= bounds it.

Each part installs its program into a folder of its own, points it at a broker and a daemon on the loopback, and says
what it read there. What registries do not have is run by hand; those results stand below the mark in the page.
"""

import argparse
import datetime as dt
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bench"))

from report import machine  # noqa: E402

HERE = Path(__file__).parent
PAGES = ROOT / "docs" / "consumers"
PAGE = ROOT / "docs" / "measured" / "consumers.md"
INSTALLED = ROOT / ".make" / "consumers"
#: what is below it was written by hand, and stays
MARK = "## By hand"
NODE_RED, IOBROKER, HOME_ASSISTANT = "node-red@4.1.15", "iobroker.mqtt@6.1.4", "homeassistant==2024.3.3"


class NotRunError(Exception):
    """A program that is not here, or did not do its part: one sentence."""


@dataclass
class Result:
    """What one program read: lines that say it, and whether all of it is right."""

    name: str
    version: str = ""
    good: bool = False
    said: list[str] = field(default_factory=list)


def snippet(page: str, language: str) -> str:
    """The only snippet of a language on a page."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


class Home:
    """A broker, a simulated meter and the daemon; used as a context, they end with it."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="meterd-consumers-")))
        self.port = free_port()

    def __enter__(self) -> Self:
        sbin = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        broker = shutil.which("mosquitto", path=sbin)
        if broker is None:
            raise NotRunError("mosquitto is not installed")
        user = ["user root"] if os.geteuid() == 0 else []
        lines = [*user, f"listener {self.port} 127.0.0.1", "allow_anonymous true", ""]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines))
        self.child(broker, "-c", str(self.folder / "mosquitto.conf"))
        self.until(lambda: answers(self.port), "mosquitto")
        self.meter = self.meterd("simulate", "--link", str(self.folder / "port"), "--interval", "1", "--seed", "3")
        self.until((self.folder / "port").exists, "the simulated meter")
        (self.folder / "meterd.toml").write_text(
            f'[[meter]]\nname = "main"\nport = "{self.folder}/port"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {self.port}\n'
            '[[compat]]\nkind = "dsmr-reader"\nmeter = "main"\ntopic = "dsmr/reading"\n'
            f'[journal]\npath = "{self.folder}/journal.db"\n[control]\nsocket = "{self.folder}/control"\n'
        )
        self.meterd("run", "-c", str(self.folder / "meterd.toml"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def meterd(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of meterd."""
        return self.child(sys.executable, "-m", "gateway.cli", *arguments)

    def child(self, *command: str) -> "subprocess.Popen[str]":
        """Start a process that ends with this home; what it prints can be read from its `stdout`."""
        log = self._stack.enter_context((self.folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log").open("w"))
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._stack.callback(end, process)
        return process

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        """Poll until a condition gives a value; raises NotRunError."""
        stop = min(time.monotonic() + seconds, self.deadline)
        while not (value := condition()):
            if time.monotonic() > stop:
                raise NotRunError(f"waited for {what} in vain")
            time.sleep(0.05)
        return value

    def install(self, name: str, *command: str) -> Path:
        """Install into a folder of its own, unless it was installed there before."""
        folder = INSTALLED / re.sub(r"[^a-z0-9.]+", "-", name)
        if not (folder / "installed").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            left = max(1.0, self.deadline - time.monotonic())
            try:
                done = subprocess.run(
                    [part.replace("{}", str(folder)) for part in command],
                    cwd=folder, capture_output=True, text=True, timeout=left, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NotRunError(f"{name} cannot be installed: {error}") from None
            if done.returncode:
                raise NotRunError(f"{name} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
            (folder / "installed").touch()
        return folder


def node_red(home: Home) -> Result:
    """The flow of the page, imported whole; three nodes beside it show what the flow knows."""
    npm = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "{}")
    folder = home.install(NODE_RED, *npm, NODE_RED)
    flow = json.loads(
        snippet("node-red.md", "json").replace("broker.example", "127.0.0.1").replace('"1883"', f'"{home.port}"')
    )
    tab = next(node["id"] for node in flow if node["type"] == "tab")
    shown = {"id": "shownanswer00001", "type": "http response", "z": tab, "wires": []}
    tell = {"id": "showntell0000001", "type": "function", "z": tab, "outputs": 1, "wires": [[shown["id"]]],
            "func": "msg.payload = {power: flow.get('power')};\nreturn msg;"}  # fmt: skip
    asked = {
        "id": "shownasked000001",
        "type": "http in",
        "z": tab,
        "url": "/power",
        "method": "get",
        "wires": [[tell["id"]]],
    }
    (home.folder / "flow.json").write_text(json.dumps([*flow, asked, tell, shown]))
    port = free_port()
    (home.folder / "settings.js").write_text("module.exports = {uiHost: '127.0.0.1', flowFile: 'flow.json'};\n")
    red = str(folder / "node_modules" / "node-red" / "red.js")
    home.child("node", red, "-p", str(port), "-u", str(home.folder), "-s", str(home.folder / "settings.js"))
    known = lambda: ask(port).get("power")  # noqa: E731
    power = home.until(lambda: isinstance(known(), int) and [known()], "a number in Node-RED")[0]
    result = Result("Node-RED", NODE_RED.partition("@")[2], said=[f"flow.get('power') = {power!r}, a number, W"])
    silent = silence(home, lambda: "power" in ask(port) and known() is None, "null")
    back = home.until(lambda: isinstance(known(), int) and [known()], "a number after the silence")[0]
    result.said += [f"meter silent: null after {silent:.0f} s", f"meter back: {back!r}"]
    result.good = 29 <= silent <= 40
    return result


def silence(home: Home, forgotten: Callable[[], bool], what: str) -> float:
    """Let the meter be silent until a consumer has forgotten its power; gives the seconds that it took."""
    home.meter.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        home.until(forgotten, what)
        return time.monotonic() - began
    finally:
        home.meter.send_signal(signal.SIGCONT)


def iobroker(home: Home) -> Result:
    """The adapter's own client with the settings of the page."""
    npm = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", "{}")
    adapter = home.install(IOBROKER, *npm, IOBROKER) / "node_modules" / "iobroker.mqtt"
    native = json.loads((adapter / "io-package.json").read_text())["native"]
    own = json.loads(snippet("iobroker.md", "json")) | {"url": "127.0.0.1", "port": home.port}
    child = home.child("node", str(HERE / "iobroker.js"), str(adapter), json.dumps(native | own))
    states: dict[str, Any] = {}
    stop = time.monotonic() + 30
    wanted = {f"mqtt.0.meterd.{name}" for name in ("status", "main.availability", "main.p_net_w", "main.a_import_kwh")}
    assert child.stdout is not None
    while not wanted <= states.keys() and time.monotonic() < stop and (line := child.stdout.readline()):
        row = json.loads(line)
        states[row["id"]] = row["value"]
    said = [f"{name} = {states.get(name)!r}" for name in sorted(wanted)]
    power, energy = states.get("mqtt.0.meterd.main.p_net_w"), states.get("mqtt.0.meterd.main.a_import_kwh")
    good = isinstance(power, int) and isinstance(energy, int | float) and states.get("mqtt.0.meterd.status") == "online"
    return Result("ioBroker, client of the adapter mqtt", IOBROKER.partition("@")[2], good, said)


def dsmr_reader(home: Home) -> Result:
    """The sensors of Home Assistant's integration for DSMR-reader."""
    made = f"{sys.executable} -m venv {{}} && {{}}/bin/pip install --quiet {HOME_ASSISTANT} paho-mqtt==1.6.1"
    folder = home.install("home-assistant", "sh", "-c", made)
    child = home.child(str(folder / "bin" / "python"), str(HERE / "dsmr_reader.py"), str(home.port), "4")
    answer = json.loads(child.communicate(timeout=120)[0] or "{}")
    states = answer.get("states", {})
    said = [f"{topic} = {' '.join(map(str, filter(None, state)))}" for topic, state in sorted(states.items())]
    good = len(states) >= 20 and not answer["without"]
    return Result("Home Assistant, integration dsmr_reader", answer.get("version", ""), good, said)


PARTS: dict[str, Callable[[Home], Result]] = {"node-red": node_red, "iobroker": iobroker, "dsmr-reader": dsmr_reader}


def main() -> int:
    """Run, print, write the page; 1 when a program read something wrong or did not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900.0, help="when to give up, installing included (900)")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only some of {', '.join(PARTS)}; writes no page")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    deadline, results = time.monotonic() + args.seconds, []
    for name in args.parts or PARTS:
        try:
            with Home(deadline) as home:
                results.append(PARTS[name](home))
        except NotRunError as error:
            results.append(Result(name, said=[f"not run: {error}"]))
        print(
            "\n".join([f"== {name}: {'as the page says' if results[-1].good else 'NOT'}", *results[-1].said]),
            flush=True,
        )
    if not args.parts:
        args.out.write_text(page(results, args.out, f"make consumers SECONDS={args.seconds:g}"))
        print(f"written to {args.out.name}")
    return 0 if all(result.good for result in results) else 1


def page(results: list[Result], old: Path, command: str) -> str:
    """The page: command, date, machine, what each program read; below the mark what was there before."""
    kept = old.read_text().partition(MARK)[2] if old.is_file() else "\n"
    rows = [f"| {r.name} | {r.version} | {'as the page says' if r.good else 'NOT'} |" for r in results]
    raw = [line for result in results for line in (f"== {result.name}", *result.said)]
    head = [
        "# Consumers that were run",
        "",
        f"- command: `{command}`",
        f"- date: {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        f"- machine: {machine()}",
        "",
        "Real programs, a real broker, the daemon, and a simulated three-phase DSMR 5 meter that sends each second.",
        "",
        "| program | version | read |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, "", "```", *raw, "```", "", MARK + kept])


def ask(port: int) -> dict[str, Any]:
    """What the flow knows; empty while Node-RED is not up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/power", timeout=5) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except (urllib.error.URLError, OSError, ValueError):
        return {}


def answers(port: int) -> bool:
    """Whether something listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: "subprocess.Popen[str]") -> None:
    """End a process, and go on when it does not."""
    process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    sys.exit(main())
