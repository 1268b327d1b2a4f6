"""Where the ledger lies: its rights, and the lock by which several processes share it.

Beside the file lies `<name>.lock`. A transaction holds it shared; who creates, migrates or replaces the file holds it
alone. So a file that turns out to be damaged is never set aside under a transaction of another process, which finds
the new file with its next one.
"""

import fcntl
import grp
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.stores import files
from gateway.stores.files import StorageFault, StoreError
from gateway.stores.place import PASSING

GROUP = "meterd-data"
SHARED = 0o660
#: how long the lock is waited for (s)
LOCK_S = 2.0


class LedgerError(StoreError):
    """The ledger cannot be used as configured: one sentence that says what, where and what to do."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the ledger alone: no other process has a transaction meanwhile. Raises LedgerError, StorageFault."""
    if not path.parent.is_dir():
        raise LedgerError(
            f"the folder of the ledger, {path.parent}, does not exist: create it, writable for the user that runs"
            " meterd, or set [ledger] path"
        )
    if path.exists() and not path.is_file():
        raise LedgerError(f"{path} is not a file: set [ledger] path to a file")
    with held(path, fcntl.LOCK_EX):
        yield


@contextmanager
def held(path: Path, how: int, *, again: bool = False) -> Iterator[None]:
    """Hold the lock, shared (fcntl.LOCK_SH) or alone (LOCK_EX). Raises LedgerError, StorageFault.

    `again`: this process held it before, and gave it its rights then.
    """
    handle = _known_lock_file(path) if again else _lock_file(path)
    try:
        _wait_for(handle, how, path)
        yield
    finally:
        os.close(handle)


def _known_lock_file(path: Path) -> int:
    try:
        return os.open(f"{path}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return _lock_file(path)


def _lock_file(path: Path) -> int:
    try:
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE)
        with suppress(PermissionError):  # the file of another user
            files.share(handle, *rights())
    except OSError as error:
        raise refused(path.parent, error) from error
    return handle


def _wait_for(handle: int, how: int, path: Path) -> None:
    """Take the lock; a process that stands still with it is not waited for."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageFault(f"ledger {path}: another program keeps it locked") from None
            time.sleep(0.01)
        except OSError as error:
            raise refused(path.parent, error) from error
        else:
            return


def refused(place: Path, error: OSError) -> LedgerError | StorageFault:
    """Say what an error of the operating system means for the ledger."""
    if error.errno in PASSING:
        return StorageFault(f"ledger {place}: {error.strerror}")
    return LedgerError(
        f"the ledger cannot be written, {place}: {error.strerror}: make it writable for the user that runs meterd"
        f" (uid {os.geteuid()}), or set [ledger] path"
    )


def keep_shared(path: Path) -> None:
    """Give the files of a ledger that are ours to its group, where somebody made them private.

    By name: a file that SQLite has open loses its locks when another handle of it is closed.
    """
    mode, group = rights()
    for suffix in ("", "-wal", "-shm") if group != -1 else ():
        with suppress(OSError):  # it is not there, or it is not ours
            file = path.with_name(path.name + suffix)
            found = file.stat()
            if found.st_gid != group:
                os.chown(file, -1, group)
            if stat.S_IMODE(found.st_mode) != mode:
                file.chmod(mode)


def rights() -> tuple[int, int]:
    """Mode and group of the files: shared with the group of those who write the ledger, where the system has it."""
    try:
        return SHARED, grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return files.PRIVATE, -1
