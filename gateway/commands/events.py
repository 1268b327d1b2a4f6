"""Print the metrology log: what happened to the meters and to the trust in them, in the order in which it was noted.

Works beside a running daemon. The log is part of the ledger (docs/ledger.md); no entry of it is ever changed or
deleted. --verify walks its chain and names each position at which an entry was changed, deleted or moved. Exit code 0,
or 1 when no entry matched, when the ledger cannot be read, or with --verify when the log is not what was written.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway import log
from gateway.commands import configuration
from gateway.commands.arguments import moment
from gateway.settings import SettingsError
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_reader import LedgerReader, Noted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd events`."""
    configuration.add_option(parser)
    parser.add_argument("meter", nargs="?", metavar="METER", help="events of this meter only")
    parser.add_argument("--since", type=moment, metavar="ISO", help="events from this time on")
    parser.add_argument("--ledger", type=Path, metavar="PATH", help="the ledger, instead of the configuration's")
    parser.add_argument("--verify", action="store_true", help="check that no entry was changed, deleted or moved")
    parser.add_argument("--json", action="store_true", help="one JSON object per line; with --verify one in all")


def run(args: argparse.Namespace) -> int:
    """Print or verify the log."""
    try:
        reader = LedgerReader(_ledger(args))
    except SettingsError as error:
        return configuration.complain("events", error.problems)
    except LedgerError as error:
        return configuration.complain("events", [str(error)])
    try:
        return _verify(reader, as_json=args.json) if args.verify else _print(reader, args)
    except LedgerError as error:
        return configuration.complain("events", [str(error)])
    finally:
        reader.close()


def _ledger(args: argparse.Namespace) -> Path:
    return Path(args.ledger or configuration.read(configuration.place(args.config), "run").ledger_path)


def _print(reader: LedgerReader, args: argparse.Namespace) -> int:
    shown = 0
    for noted in _matching(reader, args.meter, args.since):
        print(json.dumps(_object(noted)) if args.json else _line(noted))
        shown += 1
    if not shown:
        return configuration.complain("events", ["no entry matches"])
    return 0


def _matching(reader: LedgerReader, meter: str | None, since: datetime | None) -> Iterator[Noted]:
    """Entries of a meter, or all; one that cannot be read belongs to every choice."""
    for noted in reader:
        written = noted.written
        if written is None or (
            meter in (None, written.meter) and (since is None or datetime.fromisoformat(written.t) >= since)
        ):
            yield noted


def _object(noted: Noted) -> dict[str, Any]:
    if noted.written is None:
        return {"id": noted.id, "damaged": True}
    written = noted.written
    return {"id": noted.id, "t": written.t, "event": written.event, "meter": written.meter, "facts": written.facts}


def _line(noted: Noted) -> str:
    if noted.written is None:
        return f"{noted.id:>6}  cannot be read: `meterd events --verify` says more"
    facts = " ".join(f"{name}={_text(value)}" for name, value in noted.written.facts.items())
    return f"{noted.id:>6}  {noted.written.t}  {noted.written.meter or '-'}  {noted.written.event}  {facts}".rstrip()


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if text.isascii() and text.isprintable() and " " not in text else log.escape(text)


def _verify(reader: LedgerReader, *, as_json: bool) -> int:
    entries = sum(1 for _ in reader)
    breaks = reader.breaks()
    intact = all(found.explained is not None for found in breaks)
    if as_json:
        print(json.dumps({"entries": entries, "intact": intact, "breaks": [found._asdict() for found in breaks]}))
    else:
        for found in breaks:
            by = "" if found.explained is None else f"; entry {found.explained} tells of it: the file was damaged"
            print(f"{found.reason}{by}", file=sys.stdout if found.explained else sys.stderr)
        print(f"{entries} entries, {'all as they were written' if intact else 'not what was written'}")
    return 0 if intact else 1
