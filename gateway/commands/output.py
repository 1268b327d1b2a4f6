"""Where a command writes: stdout, or a file that appears when it is complete."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def output(name: str) -> Iterator[BinaryIO]:
    """Give stdout, or a file that takes its name, private to its owner, only when it is complete."""
    if name == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    path = Path(name)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).rename(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
