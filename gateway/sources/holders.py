"""Who else has a port open: Linux tells it in /proc, for as many processes as this user may look into."""

import os
from collections.abc import Iterator
from pathlib import Path

#: enough to name; a port with more holders is no clearer
MOST_NAMED = 3


def other_holders(device: str) -> list[tuple[int, str]]:
    """Processes other than this one that have a device open, as (pid, command name); at most MOST_NAMED."""
    real = os.path.realpath(device)
    found: list[tuple[int, str]] = []
    for pid in _pids():
        if pid != os.getpid() and _has_open(pid, real):
            found.append((pid, _command(pid)))
            if len(found) == MOST_NAMED:
                break
    return found


def held_by_itself(device: str) -> bool:
    """Tell whether this process has a device open."""
    return _has_open(os.getpid(), os.path.realpath(device))


def _pids() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def _has_open(pid: int, real: str) -> bool:
    """A process that ended meanwhile, or that belongs to another user, counts as one that does not."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_target(entry.path) == real for entry in entries)
    except OSError:
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115  # thousands of links: no Path object for each
    except OSError:
        return ""


def _command(pid: int) -> str:
    """A process chooses its own name: nothing unprintable may reach a log."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
    return "".join(c if c.isprintable() else "?" for c in name)
