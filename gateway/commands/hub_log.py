"""`meterd hub log`: the audit log of what went to hubs, and whether anybody changed it."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from gateway.commands import configuration
from gateway.commands.hub_ledger import reading, shown
from gateway.stores.hub_audit import Audited
from gateway.stores.hub_reading import HubRows


def log_(args: argparse.Namespace) -> int:
    """Print or verify the log; 1 when no entry matched, or with `verify` when it is not what was written."""
    with reading(args) as rows:
        return _verify(rows, as_json=args.json) if args.verify else _print(rows, args)


def _print(rows: HubRows, args: argparse.Namespace) -> int:
    count = 0
    for one in _matching(rows, args.hub, args.since):
        print(json.dumps(_object(one)) if args.json else _line(one))
        count += 1
    return 0 if count else configuration.complain("hub", ["no entry matches"])


def _matching(rows: HubRows, hub: str | None, since: datetime | None) -> Iterator[Audited]:
    """Entries of a hub, or all; one that cannot be read belongs to every choice."""
    for one in rows.audit.entries():
        fits = hub in (None, one.hub) and (since is None or not one.at or datetime.fromisoformat(one.at) >= since)
        if one.what is None or fits:
            yield one


def _object(one: Audited) -> dict[str, Any]:
    if one.what is None:
        return {"id": one.id, "damaged": True}
    return {"id": one.id, "t": one.at, "hub": one.hub, "what": one.what, "who": one.who, "facts": dict(one.facts)}


def _line(one: Audited) -> str:
    if one.what is None:
        return f"{one.id:>6}  cannot be read: `meterd hub log verify` says more"
    facts = " ".join(f"{name}={_text(value)}" for name, value in one.facts.items() if value not in (None, [], ""))
    return f"{one.id:>6}  {one.at}  {one.hub or '-'}  {one.what}  {shown(one.who) or '-'}  {facts}".rstrip()


def _text(value: Any) -> str:
    return shown(value) if isinstance(value, str) and " " not in value else json.dumps(value)


def _verify(rows: HubRows, *, as_json: bool) -> int:
    """Walk the chain, and compare the bytes of messages, and items of permissions, with their hashes in it."""
    entries = sum(1 for _ in rows.audit.entries())
    breaks = rows.audit.verify()
    altered, lost = list(rows.altered()), list(rows.lost_items())
    intact = not (altered or lost) and all(found.explained is not None for found in breaks)
    if as_json:
        numbers = [{"message": message, "entry": entry} for message, entry in altered]
        told = {"entries": entries, "intact": intact, "breaks": [found._asdict() for found in breaks]}
        items = [{"permission": name, "item": item, "entry": entry} for name, item, entry in lost]
        print(json.dumps(told | {"altered": numbers, "items": items}))
        return 0 if intact else 1
    for found in breaks:
        by = "" if found.explained is None else f"; entry {found.explained} tells of it"
        print(f"{found.reason}{by}", file=sys.stdout if found.explained else sys.stderr)
    for message, entry in altered:
        print(f"the bytes of message {message} are not those that entry {entry} tells of", file=sys.stderr)
    for name, item, entry in lost:
        print(f"item {item} of permission {shown(name)}, of which entry {entry} tells, is not kept", file=sys.stderr)
    print(f"{entries} entries, {'all as they were written' if intact else 'not what was written'}")
    return 0 if intact else 1
