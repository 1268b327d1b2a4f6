"""Where the journal lies: the folder must be there and writable, and one process at a time may write."""

import errno
import fcntl
import os
from pathlib import Path

from gateway.stores.schema import JournalError, StorageFault

#: what the medium does to us; everything else is a mistake in the configuration
PASSING = {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO}


def lock(path: Path) -> int:
    """Take the journal for this process, by a lock on `<name>.lock` beside it; returns what `os.close` gives back.

    Raises JournalError where a person must act, StorageFault where the medium may recover.
    """
    folder = path.parent
    try:
        if not folder.is_dir():
            raise JournalError(
                f"the folder of the journal, {folder}, does not exist: create it, writable for the user that runs"
                " meterd, or set [journal] path"
            )
        if path.exists() and not path.is_file():
            raise JournalError(f"{path} is not a file: set [journal] path to a file")
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise refused(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise JournalError(f"another meterd writes the journal {path}: stop it, or set [journal] path") from error
    return handle


def refused(place: Path, error: OSError) -> JournalError | StorageFault:
    """Say what an error of the operating system means for the journal."""
    if error.errno in PASSING:
        return StorageFault(f"journal {place}: {error.strerror}")
    return JournalError(
        f"the journal cannot be written, {place}: {error.strerror}: make it writable for the user that runs meterd"
        f" (uid {os.geteuid()}), or set [journal] path"
    )


def accessible(path: Path) -> None:
    """Check the rights of the folder and of an existing file; raises JournalError or StorageFault."""
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            code = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
            raise refused(place, OSError(code, os.strerror(code)))
