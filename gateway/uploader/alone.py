"""One uploader for each ledger: two would have two messages of one slot in flight."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.stores.ledger_place import SHARED


class UploaderError(Exception):
    """It cannot run: one sentence."""


@contextmanager
def alone(ledger: Path) -> Iterator[None]:
    """Be the only uploader of a ledger, or what no uploader may run beside. Raises UploaderError."""
    place = Path(os.path.realpath(ledger))  # one ledger by two names is one
    path = place.with_name(f"{place.name}.uploader")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SHARED)
    except OSError as error:
        raise UploaderError(f"{path} cannot be opened: {error.strerror}") from error
    with suppress(PermissionError):  # the file of another user
        os.fchmod(handle, SHARED)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UploaderError(f"another uploader runs with the ledger {ledger}: end it first") from None
    finally:
        os.close(handle)
