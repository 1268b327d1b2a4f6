"""Writes several files as one step: all of them whole, or none; what was made on the way is taken away again."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway import durable

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Changes:
    """What was done so far, and how it is undone in reverse order."""

    def __init__(self) -> None:
        self.written: list[Path] = []
        self._undo: list[Callable[[], object]] = []

    def folder(self, path: Path, mode: int = 0o755) -> None:
        """Make a folder and those above it, where they are not there yet; raises OSError."""
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(mode=mode)
            self.undo_by(missing.rmdir)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Write a file, in place of an older one; raises OSError."""
        if path.exists():
            old, old_mode = path.read_bytes(), path.stat().st_mode & 0o777
            path.unlink()
            self.undo_by(lambda: durable.create(path, old, old_mode))
        durable.create(path, data, mode)
        self.written.append(path)
        self.undo_by(lambda: path.unlink(missing_ok=True))

    def replace(self, path: Path, fresh: Path, old: Path | None) -> None:
        """Put a written file in its place; an older one there is kept as `old`. Without `old` it must not be there."""
        if old is None:
            os.link(fresh, path)
            fresh.unlink()
            self.undo_by(path.unlink)
        else:
            spare = old.with_name(f".{old.name}.{os.getpid()}")
            durable.create(spare, path.read_bytes(), path.stat().st_mode & 0o777)
            spare.replace(old)
            fresh.replace(path)
        self.written = [each for each in self.written if each != fresh] + [path]
        durable.sync_folder(path.parent)

    def undo_by(self, step: Callable[[], object]) -> None:
        """Remember how a step is undone."""
        self._undo.append(step)

    def undo(self) -> None:
        """Undo everything; what cannot be undone is left behind."""
        while self._undo:
            try:
                self._undo.pop()()
            except OSError:
                continue


@contextmanager
def all_or_nothing() -> Iterator[Changes]:
    """Give a Changes that is undone when the block raises; Ctrl-C and the end of the terminal come too late for it."""
    changes = Changes()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTS}
    try:
        yield changes
    except BaseException:
        changes.undo()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
