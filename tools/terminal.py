"""A terminal: commands in a pseudo-terminal, what they show, and an SVG of it."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path

COLUMNS = 110
#: width of a character, height of a line, margin and title bar in pixels
CHAR, LINE, MARGIN, BAR = 8.0, 18, 16, 30
#: what a command may take (s)
LIMIT_S = 90
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x1b\][^\x07]*\x07")


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
    return converse(folder, (), *arguments, shown=shown)


def converse(folder: Path, answers: Sequence[tuple[str, str]], *arguments: str, shown: str = "") -> str:
    """As `run`, where a person answers prompts: each answer is typed once its prompt is on the screen, in order."""
    screen = _CONTROL.sub("", _terminal(folder, arguments, list(answers)))
    return f"$ {shown or ' '.join(arguments)}\n{screen}"


def _terminal(folder: Path, arguments: tuple[str, ...], answers: list[tuple[str, str]]) -> str:
    """The output of a command whose stdin, stdout and stderr are a pseudo-terminal of its own."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env=environment(folder),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread only
    )
    os.close(slave)
    screen, seen, deadline = bytearray(), 0, time.monotonic() + LIMIT_S
    try:
        while data := _read(master, deadline):
            screen += data
            if answers and answers[0][0].encode() in screen[seen:]:
                seen = len(screen)
                os.write(master, f"{answers.pop(0)[1]}\n".encode())
        process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return screen.decode("utf-8", "replace")


def _read(master: int, deadline: float) -> bytes:
    """What appears next; nothing when the command ended, or when it took too long."""
    if not select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
        return b""
    try:
        return os.read(master, 65_536)
    except OSError:  # Linux: the last one closed the other end
        return b""


def environment(folder: Path) -> dict[str, str]:
    """A person's environment whose home is the folder of the scene."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}
    return {"PATH": path, "COLUMNS": str(COLUMNS), "TERM": "xterm", "LANG": "C.UTF-8", **home}


@contextmanager
def background(folder: Path, *arguments: str) -> Iterator[None]:
    """A command that runs beside the scene; its output goes to a file of the folder."""
    with (folder / f"{time.monotonic_ns()}.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, cwd=folder, env=environment(folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
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
