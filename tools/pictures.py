#!/usr/bin/env python3
"""Draw docs/pictures/*.svg: what a terminal shows when meterd runs, from real runs against simulated meters.

    .venv/bin/python tools/pictures.py [NAME ...]

Each scene runs its commands in a pseudo-terminal, in a folder of its own, and draws what came back; nothing is edited.
A test runs those again that do not change with time, and compares.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from terminal import background, converse, draw, environment, run, wait_for

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
#: authentication key of every meter of Luxembourg, as published
PUBLIC_KEY = "00112233445566778899AABBCCDDEEFF"

Scene = Callable[[Path], str]


def demo(folder: Path) -> str:
    """`make demo` as the README says it."""
    return run(folder, "meterd", "demo", "--seconds", "6", shown="make demo SECONDS=6")


def explain(folder: Path) -> str:
    """A capture, layer by layer."""
    shutil.copy(ROOT / "config" / "profiles" / "frames" / "nl-dsmr5-sagemcom-1ph.p1", folder / "telegram.p1")
    return run(folder, "meterd", "decode", "--explain", "telegram.p1")


def check(folder: Path) -> str:
    """Every mistake of a configuration at once."""
    (folder / "meterd.toml").write_text(
        '[[meter]]\nname = "Main meter"\nport = "/dev/ttyUSB0"\nbaud = 100\nprofil = "nl-dsmr5"\n\n'
        '[mqtt]\nhost = "broker.example"\nport = 70000\nlive_qos = 2\n'
    )
    return run(folder, "meterd", "check", "-c", "meterd.toml")


def status(folder: Path) -> str:
    """Three meters: one is read, one has a wrong key, one is silent."""
    house = ("meterd", "simulate", "--interval", "1")
    (folder / "meterd.toml").write_text(
        "".join(
            f'[[meter]]\nname = "{name}"\nport = "{folder}/{name}.port"\n{more}\n'
            for name, more in {
                "main": 'profile = "lu-smarty-encrypted"\nkey_file = "main.keys"',
                "flat": 'profile = "lu-smarty-encrypted"\nkey_file = "wrong.keys"',
                "garage": 'profile = "nl-dsmr5"',
            }.items()
        )
        + '[journal]\npath = "journal.db"\n[control]\nsocket = "control"\n'
    )
    (folder / "wrong.keys").write_text("0" * 31 + "1\n" + PUBLIC_KEY + "\n")
    (folder / "wrong.keys").chmod(0o400)
    with ExitStack() as scene:
        for name, variant in (("main", "lu-smarty"), ("flat", "lu-smarty"), ("garage", "dsmr5")):
            keys = [] if variant == "dsmr5" else ["--key-out", f"{name}.keys"]
            silent = ["--fault", "silence=1"] if name == "garage" else []
            scene.enter_context(
                background(folder, *house, "--variant", variant, "--link", f"{name}.port", *keys, *silent)
            )
            wait_for((folder / f"{name}.port").exists, f"the port of {name}")
        wait_for((folder / "main.keys").exists, "the keys")
        scene.enter_context(background(folder, "meterd", "run", "-c", "meterd.toml"))
        wait_for(lambda: _states(folder).startswith("ok key_rejected no_bytes"), "the three states")
        return run(folder, "meterd", "status", "-c", "meterd.toml").replace(f"{folder}/", "")


def _states(folder: Path) -> str:
    done = subprocess.run(
        ["meterd", "status", "-c", "meterd.toml", "--json"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join(re.findall(r'"state": ?"(ok|key_rejected|no_bytes)"', done.stdout))


def setup(folder: Path) -> str:
    """The wizard: an encrypted meter on a cable, a key from a letter, a broker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    meter = ("meterd", "simulate", "--variant", "lu-smarty", "--interval", "1", "--link", "p1", "--key-out", "letter")
    with background(folder, "mosquitto", "-c", "broker.conf"), background(folder, *meter):
        wait_for((folder / "letter").exists, "the meter")
        key = (folder / "letter").read_text().split()[0]
        answers = (
            ("socket://HOST:PORT:", str(folder / "p1")),
            ("Name of this meter", ""),
            ("Encryption key", f"{key[:31]}{'1' if key[31] == '0' else '0'}"),
            ("Authentication key", PUBLIC_KEY),
            ("Encryption key", key),
            ("Authentication key", PUBLIC_KEY),
            ("Main fuse", ""),
            ("Broker:", f"localhost:{port}"),
            ("With TLS?", ""),
            ("User name", ""),
            ("Write this?", ""),
        )
        screen = converse(folder, answers, "meterd", "setup", "-c", "meterd.toml")
    if key in screen:
        sys.exit("pictures: a key is on the screen")
    for path, instead in ((f":{port}", ":1883"), (f"{folder}/p1", "/dev/serial/by-id/p1"), (f"{folder}/", "~/")):
        screen = screen.replace(path, instead)
    return screen


#: scenes by the name of their picture: its title, and what happens
SCENES: dict[str, tuple[str, Scene]] = {
    "demo": ("a simulated meter, the daemon and a broker", demo),
    "setup": ("from the cable to readings", setup),
    "status": ("why is there no data?", status),
    "explain": ("a telegram, layer by layer", explain),
    "check": ("every mistake at once", check),
}
#: scenes that come out the same at any time
STEADY = ("explain", "check")


def picture(name: str) -> str:
    """Play a scene and draw it; nothing of this machine may be seen."""
    title, scene = SCENES[name]
    with tempfile.TemporaryDirectory(prefix="meterd-picture-") as folder:
        screen = scene(Path(folder))
    screen = screen.replace(f"{Path(sys.executable).parent}/", "")
    screen = re.sub(r"/\S*/(meterd-demo)-\w+", r"/tmp/\1", screen)  # noqa: S108 - shown, not used
    if str(ROOT) in screen or "meterd-picture-" in screen:
        sys.exit(f"pictures: {name} shows a path of this machine")
    return draw(title, screen)


def main() -> int:
    """Draw the scenes that are named, or all."""
    parser = argparse.ArgumentParser(description="pictures of the terminal")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(SCENES)}")
    names = parser.parse_args().names or list(SCENES)
    if unknown := set(names) - SCENES.keys():
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in names:
        (PICTURES / f"{name}.svg").write_text(picture(name), encoding="utf-8")
        print(f"docs/pictures/{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
