"""Installing, upgrading, rolling back and removing in a root folder of our own, with the program that is installed."""

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import install as installer
from gateway.cli import COMMANDS
from gateway.control import ControlError, ask
from gateway.simulator.meter import Meter

# Environments are made, from a registry that may be slow.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def run(*command: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, **more)


def tool(action: str, root: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, tools / "install.py", action, "--destdir", root)


@pytest.fixture(scope="module")
def frozen(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: what is built from it twice is the same twice."""
    folder = tmp_path_factory.mktemp("frozen")
    names = ("gateway", "decoders", "config", "docs", "requirements", "systemd", "tools")
    done = run("cp", "-r", *(checkout / name for name in (*names, "README.md", "LICENSE", "pyproject.toml")), folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def root(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder in which the checkout is installed."""
    folder = tmp_path_factory.mktemp("root")
    done = tool("install", folder, frozen / "tools")
    assert done.returncode == 0, done.stderr
    assert "systemctl enable --now meterd" in done.stdout
    return folder


@pytest.fixture(scope="module")
def newer(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A later version: the same files, another number."""
    folder = tmp_path_factory.mktemp("newer")
    done = run("cp", "-r", *frozen.iterdir(), folder)
    assert done.returncode == 0, done.stderr
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "', 'version = "9.', 1))
    return folder


def meterd(root: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return run(root / "opt/meterd/bin/meterd", *arguments, cwd="/")


class Running:
    """The installed daemon on a pseudo-terminal, for a few telegrams."""

    def __init__(self, root: Path, until: Any) -> None:
        self.until = until
        self.socket = root / "run/meterd/control"
        self.master, slave = os.openpty()
        port = root / "dev-meter"
        port.unlink(missing_ok=True)
        port.symlink_to(os.ttyname(slave))
        self.config = root / "etc/meterd/meterd.toml"
        if not self.config.is_file():
            self.config.write_text(
                f'[[meter]]\nname = "main"\nport = "{port}"\n[journal]\npath = "{root}/var/lib/meterd/journal.db"\n'
                f'[control]\nsocket = "{self.socket}"\n'
            )
        (root / "var/lib/meterd").mkdir(parents=True, exist_ok=True)
        command = [root / "opt/meterd/bin/meterd", "run", "-c", self.config]
        self.process = subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(slave)
        until(self.answers, "the daemon")
        until(lambda: self.counters()["opens"] == 1, "the port")

    def answers(self) -> bool:
        """Whether somebody listens at the socket: its name is there a moment earlier."""
        try:
            ask(self.socket, "status")
        except ControlError:
            return False
        return True

    def counters(self) -> dict[str, int]:
        return ask(self.socket, "status")["meters"][0]["counters"]

    def read(self, count: int) -> None:
        start = datetime.now(UTC)
        meter = Meter(seed=11, variant="dsmr5", start=start)
        before = self.counters()["decoded"]
        for n in range(count):
            os.write(self.master, meter.telegram_at(start + timedelta(seconds=n)))
            self.until(lambda n=n: self.counters()["decoded"] == before + n + 1, "a reading")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.process.stderr.read()
        self.process.stderr.close()
        os.close(self.master)


def stored(root: Path) -> list[int]:
    done = meterd(root, "export", "-c", root / "etc/meterd/meterd.toml")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["seq"] for line in done.stdout.splitlines()]


def test_what_is_installed_runs_is_upgraded_rolled_back_and_removed(  # noqa: PLR0915 - one life of an installation
    checkout: Path, frozen: Path, root: Path, newer: Path, until: Any
) -> None:
    # what is where
    for path in installer.SYSTEM_FILES.values():
        assert (root / path).is_file(), path
    assert stat.S_IMODE((root / "etc/meterd/keys").stat().st_mode) == 0o700
    assert (root / "etc/meterd/meterd.example.toml").read_text() == (checkout / "config/meterd.toml").read_text()
    assert not (root / "etc/meterd/meterd.toml").exists(), "a configuration is a person's"
    assert (root / "usr/local/bin/meterd").readlink() == Path("/opt/meterd/bin/meterd")
    first = (root / "opt/meterd/current").readlink()
    assert meterd(root, "--version").stdout.startswith("meterd ")
    code = "import gateway; print(gateway.__file__)"
    inside = run(root / "opt/meterd/current/bin/python", "-I", "-c", code, cwd="/").stdout
    assert inside.startswith(str(root)), "the checkout is not what runs"
    uploader = run(root / "opt/meterd/current/bin/python", "-I", "-c", "import gateway.uploader.process", cwd="/")
    assert (uploader.returncode, uploader.stderr) == (0, ""), "what it needs is installed with it"

    # it runs
    running = Running(root, until)
    assert meterd(root, "check", "-c", running.config).returncode == 0
    running.read(5)
    running.stop()
    assert stored(root) == [1, 2, 3, 4, 5]

    # the same version once more changes nothing
    config, key = running.config.read_text(), root / "etc/meterd/keys/main.ek"
    key.write_text("4B384547303034303436354D4F475536\n")
    assert tool("install", root, frozen / "tools").returncode == 0
    assert (root / "opt/meterd/current").readlink() == first
    assert not (root / "opt/meterd/previous").exists()

    # an upgrade that would refuse the configuration is not used
    running.config.write_text(config + "\n[nonsense]\n")
    done = tool("install", root, newer / "tools")
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert (root / "opt/meterd/current").readlink() == first
    running.config.write_text(config)

    # an upgrade keeps configuration, keys and readings, and the version before
    done = tool("install", root, newer / "tools")
    assert done.returncode == 0, done.stderr
    assert "make rollback" in done.stdout
    assert (root / "opt/meterd/previous").readlink() == first
    second = (root / "opt/meterd/current").readlink()
    assert second.name.startswith("9.")
    assert running.config.read_text() == config
    assert key.is_file()
    running = Running(root, until)
    running.read(3)
    running.stop()
    assert stored(root) == list(range(1, 9)), "numbers go on where the version before ended"

    # back, and forth
    assert tool("rollback", root, checkout / "tools").returncode == 0
    assert (root / "opt/meterd/current").readlink() == first
    assert (root / "opt/meterd/previous").readlink() == second
    assert stored(root) == list(range(1, 9))

    # removal leaves what is the person's, and says where
    done = tool("uninstall", root, checkout / "tools")
    assert done.returncode == 0, done.stderr
    assert not (root / "opt/meterd").exists()
    assert not (root / "usr/local/bin/meterd").is_symlink()
    assert not [path for path in installer.SYSTEM_FILES.values() if (root / path).exists()]
    assert running.config.read_text() == config
    assert key.is_file()
    assert (root / "var/lib/meterd/journal.db").is_file()
    for path in ("etc/meterd", "var/lib/meterd"):
        assert f"left: {root / path} " in done.stdout
    assert tool("uninstall", root, checkout / "tools").returncode == 0, "a second time does no harm"


def test_another_prefix_stands_in_the_unit(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = installer.Place(str(tmp_path), "/srv/meter/")
    place.folder.mkdir(parents=True)
    installer.copy_files(place)
    unit = (tmp_path / "usr/lib/systemd/system/meterd.service").read_text()
    assert "ExecStart=/srv/meter/bin/meterd run" in unit
    assert "/opt/meterd" not in unit
    pages = {page.name for page in (tmp_path / "srv/meter/share/doc/hubs").iterdir()}
    assert pages == {page.name for page in (checkout / "docs/hubs").iterdir()}, "what commands and pages refer to"


def test_what_cannot_be_done_is_said_in_a_line(checkout: Path, tmp_path: Path) -> None:
    done = tool("rollback", tmp_path, checkout / "tools")
    assert done.returncode == 1
    assert "no version before" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = run(sys.executable, checkout / "tools/install.py", "install", "--prefix", "relative")
    assert done.returncode == 1
    assert "absolute" in done.stderr


def test_the_unit_of_the_uploader_is_installed_with_its_command() -> None:
    assert "meterd-uploader.service" in installer.SYSTEM_FILES
    assert "uploader" in COMMANDS
