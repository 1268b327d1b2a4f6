"""Remove everything that meterd has stored on this machine: journal, ledger, damaged files set aside, and keys.

`--factory` says that this is wanted. The configuration stays, unless --config-too is given. The daemon must not run.
What was handed on already, to a broker, a database or a data hub, is theirs.
Exit code 0 done, 1 the answer is no, or something could not be removed.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from gateway import keys
from gateway.commands import configuration
from gateway.commands.confirm import RefusedError, alone, confirm
from gateway.commands.forget import CARD
from gateway.control import socket_path
from gateway.settings import Settings, SettingsError

WORD = "reset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd reset`."""
    configuration.add_option(parser)
    parser.add_argument("--factory", action="store_true", required=True, help="remove everything that meterd stored")
    parser.add_argument("--config-too", action="store_true", help="remove the configuration, too")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """List what is there, ask, then remove it."""
    path = configuration.place(args.config)
    try:
        settings = configuration.read(path)
        socket = socket_path(settings.control.socket)
        with alone(Path(settings.journal.path), socket):
            found = [*stored(settings), *([path] if args.config_too else [])]
            if not args.json:
                print("\n".join([f"meterd stored {len(found)} files:", *(f"  {file}" for file in found)]))
            confirm("All of them will be removed for good.", WORD, yes=args.yes)
            failed = dict(_remove(found))
    except SettingsError as error:
        return configuration.complain("reset", error.problems)
    except RefusedError as error:
        return configuration.complain("reset", [str(error)])
    removed = [str(file) for file in found if file not in failed]
    if args.json:
        print(json.dumps({"removed": removed, "failed": {str(file): why for file, why in failed.items()}}))
    else:
        print(f"{len(removed)} of {len(found)} files removed; {CARD}")
    return configuration.complain("reset", [f"{file} is still there: {why}" for file, why in failed.items()]) * bool(
        failed
    )


def stored(settings: Settings) -> list[Path]:
    """Every file that meterd wrote under this configuration and that is there, keys first."""
    files = [*_keys(settings), *_store(settings.ledger_path), *_store(Path(settings.journal.path))]
    socket = socket_path(settings.control.socket)
    return [*files, *([socket] if socket.is_socket() else [])]


def _keys(settings: Settings) -> list[Path]:
    """Keys in our store, those of meters that are configured no more included."""
    folder = keys.store()
    try:
        there = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    return [file for file in there if file.is_file() and any(file.name.endswith(f".{end}") for end in _ends())]


def _ends() -> set[str]:
    return set(keys.SUFFIXES.values())


def _store(path: Path) -> Iterator[Path]:
    from gateway.stores.files import files_of, set_aside_before

    for file in (path, *set_aside_before(path)):
        yield from files_of(file)
    # Last: while it is held no daemon begins a new file.
    beside = Path(f"{path}.lock")
    if beside.exists():
        yield beside


def _remove(files: list[Path]) -> Iterator[tuple[Path, str]]:
    """Remove files; yields those that are still there, with the reason. One that fails keeps no other."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            yield file, error.strerror or str(error)
