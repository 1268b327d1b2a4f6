"""Install, upgrade, roll back and remove meterd as a service: `tools/install.py install --destdir DIR --prefix DIR`.

Each version is an environment of its own below PREFIX/versions, with the runtime lock and the wheel of this checkout.
`current` points to the one in use, `previous` to the one before; the switch is one rename. Configuration, keys and data
are never touched. With --destdir everything goes below another root, as packagers and tests want it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: where the units say that meterd is; another PREFIX is put in its place
DEFAULT_PREFIX = "/opt/meterd"
#: what systemd reads, from systemd/ to its place; what a person changes there goes into /etc, and wins
SYSTEM_FILES: dict[str, str] = {
    "meterd.service": "usr/lib/systemd/system/meterd.service",
    "meterd-uploader.service": "usr/lib/systemd/system/meterd-uploader.service",
    "sysusers.d/meterd.conf": "usr/lib/sysusers.d/meterd.conf",
    "tmpfiles.d/meterd.conf": "usr/lib/tmpfiles.d/meterd.conf",
}
DOCUMENTS = ("service.md", "operations.md", "configuration.md", "hubs/*.md")
EXAMPLE = "etc/meterd/meterd.example.toml"
LINK = "usr/local/bin/meterd"
#: what ProtectHome= hides
HOMES = tuple(f"/{name}" for name in ("home", "root", "run/user"))
#: what is left behind by `uninstall`, with what it is
LEFT: dict[str, str] = {
    "etc/meterd": "configuration and keys",
    "etc/credstore.encrypted/meterd": "encrypted keys",
    "etc/credstore.encrypted/meterd-uploader": "encrypted secrets for hubs",
    "var/lib/meterd": "readings: journal and ledger",
}
#: an environment that is moved keeps its scripts: this one finds its interpreter beside itself
SCRIPT = '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/python" -I -m gateway.cli "$@"\n'


class InstallError(Exception):
    """Nothing was changed: one sentence that says why."""


class Place:
    """Where everything goes: PREFIX below DESTDIR."""

    def __init__(self, destdir: str, prefix: str) -> None:
        if not prefix.startswith("/"):
            raise InstallError(f"PREFIX={prefix}: name an absolute folder, such as {DEFAULT_PREFIX}")
        self.root = Path(destdir or "/").absolute()
        self.prefix = prefix.rstrip("/")
        self.folder = self.root / self.prefix.lstrip("/")
        self.versions = self.folder / "versions"
        self.current, self.previous = self.folder / "current", self.folder / "previous"
        self.live = self.root == Path("/") and Path("/run/systemd/system").is_dir()

    def version(self, link: Path) -> str | None:
        """The version that a link points to."""
        return link.readlink().name if link.is_symlink() else None


def main(arguments: list[str]) -> int:
    """Do one of ACTIONS; 0 done, 1 nothing was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("--destdir", default="")
    parser.add_argument("--prefix", default=DEFAULT_PREFIX)
    args = parser.parse_args(arguments)
    try:
        ACTIONS[args.action](Place(args.destdir, args.prefix))
    except InstallError as error:
        print(f"meterd {args.action}: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"meterd {args.action}: {error.filename}: no permission; be root, or set DESTDIR", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"meterd {args.action}: {error.cmd[0]} ended with {error.returncode}, see above", file=sys.stderr)
        return 1
    return 0


def install(place: Place) -> None:
    """Install this checkout, beside a version that is there; the new one is used once it accepts the configuration."""
    if place.live and hidden(interpreter()):
        raise InstallError(
            f"{interpreter()} is in a home folder, which the service cannot see: apt-get install python3 python3-venv, "
            "then make install PYTHON=/usr/bin/python3"
        )
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        name = f"{wheel.name.split('-')[1]}-{hashlib.sha256(wheel.read_bytes()).hexdigest()[:8]}"
        fresh = place.versions / name
        if not (fresh / "complete").is_file():
            shutil.rmtree(fresh, ignore_errors=True)
            make(fresh, wheel)
    accept(place, fresh)
    before = place.version(place.current)
    switch(place, name)
    copy_files(place)
    for old in place.versions.iterdir():
        if old.name not in (place.version(place.current), place.version(place.previous)):
            shutil.rmtree(old)
    tell_systemd(place)
    print("\n".join(next_steps(place, name, before)))


def rollback(place: Place) -> None:
    """Use the version before again."""
    before = place.version(place.previous)
    if before is None or not (place.versions / before).is_dir():
        raise InstallError(f"{place.folder} has no version before this one")
    accept(place, place.versions / before)
    switch(place, before)
    print(f"meterd {before} is in use again; the service takes it at its next start: systemctl restart meterd")


def uninstall(place: Place) -> None:
    """Remove the program; configuration, keys and data stay, and it is said where."""
    if place.live:
        subprocess.run(["systemctl", "disable", "--now", "meterd.service", "meterd-uploader.service"], check=False)
    for path in (*SYSTEM_FILES.values(), LINK, EXAMPLE):
        (place.root / path).unlink(missing_ok=True)
    shutil.rmtree(place.folder, ignore_errors=True)
    if place.live:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    print(f"meterd is removed from {place.folder}")
    for path, what in LEFT.items():
        if (place.root / path).exists():
            print(f"left: {place.root / path} ({what})")
    print("left: users meterd and meterd-uploader, groups meterd-data and meterd-admin, where systemd made them")


ACTIONS = {"install": install, "rollback": rollback, "uninstall": uninstall}


def build(folder: Path) -> Path:
    """Build the wheel of this checkout, by an environment that has the build backend of requirements/build.txt."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def interpreter() -> Path:
    """The interpreter of the machine, not that of the environment that builds."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def hidden(path: Path) -> bool:
    """Whether a service with ProtectHome= cannot see a file."""
    return any(path.resolve().is_relative_to(home) for home in HOMES)


def make(folder: Path, wheel: Path) -> None:
    """Make the environment of a version; its last file says that it is whole."""
    run(str(interpreter()), "-m", "venv", str(folder))
    # Twice quiet: errors only. A machine's own index settings may warn once per package.
    options = ["--quiet", "--quiet", "--disable-pip-version-check", "--no-input"]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", *options]
    run(*pip, "--require-hashes", "--no-deps", "-r", str(ROOT / "requirements" / "runtime.txt"))
    run(*pip, "--no-index", "--no-deps", str(wheel))
    script = folder / "bin" / "meterd"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    (folder / "complete").write_text(f"{wheel.name}\n")


def accept(place: Place, version: Path) -> None:
    """Raise InstallError where a version refuses the configuration that is there: after a restart nothing would run."""
    config = place.root / "etc/meterd/meterd.toml"
    if not config.is_file():
        return
    done = subprocess.run(
        [version / "bin" / "meterd", "check", "-c", config], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise InstallError(f"version {version.name} refuses the configuration, nothing was changed:\n{done.stderr}")


def switch(place: Place, name: str) -> None:
    """Let `current` point to a version by one rename, and `previous` to the one that it was."""
    before = place.version(place.current)
    if before == name:
        return
    if before is not None:
        point(place.previous, f"versions/{before}")
    point(place.current, f"versions/{name}")


def point(link: Path, target: str) -> None:
    """Make or change a symbolic link in one step."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def copy_files(place: Place) -> None:
    """Put units, example and pages where they belong; nothing that a person wrote is there."""
    (place.folder / "bin").mkdir(exist_ok=True)
    point(place.folder / "bin" / "meterd", "../current/bin/meterd")
    for source, target in SYSTEM_FILES.items():
        write(place.root / target, (ROOT / "systemd" / source).read_text().replace(DEFAULT_PREFIX, place.prefix))
    write(place.root / EXAMPLE, (ROOT / "config" / "meterd.toml").read_text())
    (place.root / "etc/meterd/keys").mkdir(mode=0o700, exist_ok=True)
    for page in (page for names in DOCUMENTS for page in (ROOT / "docs").glob(names)):
        write(place.folder / "share" / "doc" / page.relative_to(ROOT / "docs"), page.read_text())
    link = place.root / LINK
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or not link.exists():
        point(link, f"{place.prefix}/bin/meterd")


def write(path: Path, text: str) -> None:
    """Write a file whole, for everybody to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)


def tell_systemd(place: Place) -> None:
    """Make users and folders, and let systemd read the units; a root that is not this machine's does so itself."""
    if place.live:
        run("systemd-sysusers", "meterd.conf")
        run("systemd-tmpfiles", "--create", "meterd.conf")
        run("systemctl", "daemon-reload")


def next_steps(place: Place, name: str, before: str | None) -> Iterator[str]:
    """Say what a person does now."""
    yield f"meterd {name} is installed in {place.folder}"
    if before not in (None, name):
        yield f"before: {before}; back to it: make rollback"
        yield "the services take the new version at their next start: systemctl restart meterd meterd-uploader"
    elif not (place.root / "etc/meterd/meterd.toml").is_file():
        yield "set it up:  meterd setup -c /etc/meterd/meterd.toml"
        yield "start it:   systemctl enable --now meterd"
        yield "with [[hub]]: systemctl enable --now meterd-uploader"


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a program outside the environment of the caller; raises CalledProcessError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, cwd=cwd, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
