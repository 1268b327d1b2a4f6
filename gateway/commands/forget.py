"""Remove everything that meterd keeps of one meter: its readings, counters and sub-meters, and its keys.

The daemon must not run: it has the meter in memory, and the file is written anew. What was handed on already, to a
broker, a database or a person, is theirs. In the metrology log of the ledger the places of its entries stay, and what
they said is removed (docs/ledger.md); intervals stay: they must be kept. Exit code 0 done, 1 the answer is no.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import keys
from gateway.commands import configuration
from gateway.commands.confirm import RefusedError, alone, confirm
from gateway.control import socket_path
from gateway.key_material import KeyFileError
from gateway.settings import Settings, SettingsError

if TYPE_CHECKING:
    from gateway.stores.forget import Forgotten

CARD = "an SD card may keep old blocks of what was removed until it writes over them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `meterd forget`."""
    configuration.add_option(parser)
    parser.add_argument("meter", metavar="METER", help="the name of the meter, also of one that is configured no more")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Ask, then remove."""
    try:
        settings = configuration.read(configuration.place(args.config))
        answer = _forget(args, settings)
    except SettingsError as error:
        return configuration.complain("forget", error.problems)
    except (RefusedError, KeyFileError) as error:
        return configuration.complain("forget", [str(error)])
    print(json.dumps(answer) if args.json else "\n".join(_lines(answer)))
    return 0 if answer["trouble"] is None else 1


def _forget(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    path, meter = Path(settings.journal.path), args.meter
    with alone(path, socket_path(settings.control.socket)):
        known = _known(path)
        if meter not in known and not _has_keys(meter):
            there = sorted({*known, *(one.name for one in settings.meter if _has_keys(one.name))})
            names = ", ".join(there) or "none"
            raise RefusedError(f"nothing is kept of a meter {meter!r}; something is kept of: {names}")
        confirm(f"Everything of meter {meter} in {path} and its keys will be removed for good.", meter, yes=args.yes)
        entries, messages = _remove_from_ledger(settings, meter)
        gone = _remove(path, meter) if meter in known else None
        removed = [str(file) for file in keys.remove(meter)]
    configured = next((one for one in settings.meter if one.name == meter), None)
    left = keys.find(meter, configured.key_file, configured.auth_key_file).places if configured else {}
    return {
        "meter": meter,
        "journal": str(path),
        "readings": gone.readings if gone else 0,
        "quarantined": gone.quarantined if gone else 0,
        "dead_letters": gone.dead_letters if gone else 0,
        "entries": entries,
        "messages": messages,
        "files": list(gone.files) if gone else [],
        "keys": removed,
        "keys_left": {role: str(place) for role, place in left.items()},
        "configured": configured is not None,
        "trouble": gone.not_rebuilt if gone else None,
    }


def _known(path: Path) -> list[str]:
    from gateway.stores.reader import Reader
    from gateway.stores.schema import JournalError

    if not path.exists():
        return []
    try:
        reader = Reader(path)
    except JournalError as error:
        raise RefusedError(f"{error}; nothing was removed") from error
    try:
        return reader.meters
    finally:
        reader.close()


def _has_keys(meter: str) -> bool:
    return any(keys.stored(meter, role).exists() for role in keys.SUFFIXES)


def _remove(path: Path, meter: str) -> "Forgotten":
    from gateway.stores.forget import forget
    from gateway.stores.schema import Damaged, JournalError, StorageFault

    try:
        return forget(path, meter)
    except Damaged as damage:
        raise RefusedError(
            f"the journal is damaged ({damage}), nothing was removed: start meterd, which salvages it, and stop it"
        ) from damage
    except (JournalError, StorageFault) as error:
        raise RefusedError(f"{error}; nothing was removed") from error


def _remove_from_ledger(settings: Settings, meter: str) -> tuple[int, int]:
    """How many entries of the metrology log and how many messages to hubs say nothing any more."""
    from gateway.stores.files import Damaged, StorageFault
    from gateway.stores.hub_forget import forget
    from gateway.stores.ledger_place import LedgerError
    from gateway.stores.ledger_salvage import open_ledger

    if not settings.ledger_path.exists():
        return 0, 0
    points = {name for one in settings.point if one.meter == meter for name in (one.id, one.id_export) if name}
    messages: list[int] = []
    try:
        file = open_ledger(settings.ledger_path).file
        try:
            entries = file.forget(meter, lambda db: messages.append(forget(db, points)))
        finally:
            file.close()
    except (LedgerError, StorageFault, Damaged) as error:
        raise RefusedError(f"{error}; nothing was removed") from error
    return entries, sum(messages)


def _lines(answer: dict[str, Any]) -> list[str]:
    meter = answer["meter"]
    counts = f"{answer['readings']} readings, {answer['quarantined']} in quarantine"
    lines = [f"{meter}: {counts}, {answer['dead_letters']} dead letters: removed from {answer['journal']}"]
    if answer["entries"]:
        lines.append(f"{meter}: {answer['entries']} entries of the metrology log say nothing any more")
    if answer["messages"]:
        lines.append(
            f"{meter}: {answer['messages']} messages to hubs were emptied: their ids, hashes and audit log stay"
        )
    lines += [f"{meter}: removed {file}, which may have held readings of it" for file in answer["files"]]
    lines += [f"{meter}: removed {file}" for file in answer["keys"]]
    lines += [f"{meter}: the {role} key is still in {place}" for role, place in answer["keys_left"].items()]
    if answer["configured"]:
        lines.append(f"{meter}: it is still in the configuration, and begins anew at the next start of meterd")
    if answer["trouble"]:
        lines.append(f"{meter}: removed, but the file is as large as before: {answer['trouble']}")
    return [*lines, f"{meter}: {CARD}"]
