#!/usr/bin/env python3
"""Draw docs/pictures/*.svg: what a terminal shows when meterd runs, from real runs against simulated meters.

    .venv/bin/python tools/pictures.py [NAME ...]

Each scene runs its commands in a pseudo-terminal, in a folder of its own, and draws what came back; nothing is edited.
A test runs those again that do not change with time, and compares.
"""

import argparse
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 110
#: width of a character, height of a line, margin and title bar in pixels
CHAR, LINE, MARGIN, BAR = 8.0, 18, 16, 30
#: what a command may take (s)
LIMIT_S = 90
#: authentication key of every meter of Luxembourg, as published
PUBLIC_KEY = "00112233445566778899AABBCCDDEEFF"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x1b\][^\x07]*\x07")

Scene = Callable[[Path], str]


def draw(title: str, screen: str) -> str:
    """An SVG of a terminal window with these lines on it; a line that begins with `$ ` is what was typed."""
    lines = [piece for line in screen.rstrip("\n").split("\n") for piece in _folded(line)]
    width = round(max([len(title) + 12, *map(len, lines)]) * CHAR + 2 * MARGIN)
    height = BAR + len(lines) * LINE + 2 * MARGIN
    dots = "".join(f'<circle cx="{16 + 16 * n}" cy="15" r="5" fill="#5c6370"/>' for n in range(3))
    rows = "\n".join(_row(number, line) for number, line in enumerate(lines) if line.strip())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title, quote=True)}">\n'
        f'<rect width="{width}" height="{height}" rx="8" fill="#1f2430"/>\n{dots}\n'
        f'<text x="{width / 2:g}" y="20" fill="#8a91a0" font-family="sans-serif" font-size="13" text-anchor="middle">'
        f"{escape(title)}</text>\n"
        f'<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13.3" fill="#d8dce6" '
        f'xml:space="preserve">\n{rows}\n</g>\n</svg>\n'
    )


def _row(number: int, line: str) -> str:
    """One line of text, stretched to the grid whatever the font."""
    y = BAR + MARGIN + LINE * number + 12
    style = ' fill="#7fd1b9"' if line.startswith("$ ") else ""
    return f'<text x="{MARGIN}" y="{y}" textLength="{len(line) * CHAR:g}"{style}>{escape(line, quote=False)}</text>'


def _folded(line: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, subsequent_indent=" " * 8, drop_whitespace=False) or [""]


def run(folder: Path, *arguments: str, shown: str = "") -> str:
    """What a terminal shows of one command, with the line that was typed before it."""
    typed = shown or " ".join(arguments)
    return f"$ {typed}\n{_CONTROL.sub('', _terminal(folder, arguments))}"


def _terminal(folder: Path, arguments: tuple[str, ...]) -> str:
    """The output of a command whose stdin, stdout and stderr are a pseudo-terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(arguments, cwd=folder, env=_env(), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    screen = bytearray()
    try:
        while data := _read(master):
            screen += data
        process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return screen.decode("utf-8", "replace")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:  # Linux: the last one closed the other end
        return b""


def _env() -> dict[str, str]:
    home = tempfile.gettempdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": home, "COLUMNS": str(COLUMNS), "TERM": "xterm", "LANG": "C.UTF-8"}


@contextmanager
def background(folder: Path, *arguments: str) -> Iterator[None]:
    """A command that runs beside the scene; its output goes to a file of the folder."""
    with (folder / f"{arguments[1]}-{time.monotonic_ns()}.log").open("wb") as log:
        process = subprocess.Popen(arguments, cwd=folder, env=_env(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until the scene is set."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"pictures: waited {LIMIT_S} s for {what}")
        time.sleep(0.2)


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
        env=_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join(re.findall(r'"state": ?"(ok|key_rejected|no_bytes)"', done.stdout))


#: scenes by the name of their picture: its title, and what happens
SCENES: dict[str, tuple[str, Scene]] = {
    "demo": ("a simulated meter, the daemon and a broker", demo),
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
