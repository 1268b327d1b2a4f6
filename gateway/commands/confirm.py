"""Asking a person before something is removed for good, and making sure that no daemon is in the way."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.control import ControlError, NotRunningError, ask


class RefusedError(Exception):
    """Nothing was done: one sentence that says why, and what to do."""


def confirm(question: str, word: str, *, yes: bool) -> None:
    """Ask for `word`, unless the answer was given by --yes; raises RefusedError. Ctrl-C and Ctrl-D remove nothing."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError("nobody is there to ask, nothing was removed: say --yes")
    try:
        answer = input(f"{question}\nType {word} to go on: ")
    except EOFError:
        answer = ""
    except KeyboardInterrupt:
        print("\nnothing was removed", file=sys.stderr)
        raise
    if answer.strip() != word:
        raise RefusedError("nothing was removed")


@contextmanager
def alone(journal: Path, socket: Path) -> Iterator[None]:
    """Keep every daemon from these stores; raises RefusedError where one runs."""
    from gateway.stores.place import lock
    from gateway.stores.schema import JournalError, StorageFault

    try:
        ask(socket, "status")
    except NotRunningError:
        pass
    except ControlError as error:
        raise RefusedError(f"it is not known whether meterd runs: {error}") from error
    else:
        raise RefusedError("meterd runs: stop it (systemctl stop meterd), and say this again")
    if not journal.parent.is_dir():
        yield
        return
    known = Path(f"{journal}.lock").exists()
    try:
        handle = lock(journal)
    except (JournalError, StorageFault) as error:
        raise RefusedError(str(error)) from error
    try:
        if not known and os.geteuid() == 0:
            owner = journal.parent.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)
        yield
    finally:
        os.close(handle)
