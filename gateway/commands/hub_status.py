"""`meterd hub status` and `meterd hub permissions`: how far each hub is, and on what ground data leave."""

import argparse
import json
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from gateway.commands.hub_ledger import RefusedError, at, reading, settings_of, shown, table
from gateway.hub_model import FINAL, Permission
from gateway.settings import SettingsError
from gateway.stores.hub_reading import HubRows

#: a status of the uploader that is older is no word of a running one (s)
STALE_S: Final = 180
#: the state of one that no [[hub]] is any more
GONE: Final = "not configured"
#: messages that wait for a person and are named
_MOST_NAMED: Final = 5


def status_(args: argparse.Namespace) -> int:
    """Print the state of each hub; 0 when every hub is well."""
    with reading(args) as rows:
        configured = _configured(args)
        names = sorted({*(configured or ()), *rows.hubs()})
        if args.hub and args.hub not in names:
            raise RefusedError(f"nothing is known of a hub {args.hub!r}: {', '.join(names) or 'there is none'}")
        hubs = [_hub(rows, name, configured) for name in ([args.hub] if args.hub else names)]
    if args.json:
        print(json.dumps({"ledger": str(rows.path), "hubs": hubs}))
    else:
        print("\n".join(line for hub in hubs for line in _lines(hub)) or "no hub is configured, and none was ever used")
    return 0 if all(hub["state"] in ("ok", GONE) and not hub["trouble"] for hub in hubs) else 1


def permissions_(args: argparse.Namespace) -> int:
    """Print permissions, or the items of one as they came."""
    with reading(args) as rows:
        if args.id is not None:
            return _items(rows, args)
        found = rows.permissions()
    if args.json:
        print(json.dumps([_permission(one) for one in found]))
        return 0
    lines: list[tuple[str, ...]] = [("PERMISSION", "PARTY", "POINT", "DIRECTIONS", "FROM", "UNTIL", "STATE")]
    lines += [_cells(one) for one in found]
    print("\n".join(table(lines)) if found else "no permission was received")
    return 0


def _configured(args: argparse.Namespace) -> set[str] | None:
    """The hubs of the configuration; None where a ledger is named, and nobody knows."""
    try:
        return {hub.name for hub in settings_of(args).hub}
    except SettingsError:
        if args.ledger is None:
            raise
    return None


def _hub(rows: HubRows, name: str, configured: Collection[str] | None) -> dict[str, Any]:
    """What the uploader said last, and what the ledger holds now."""
    try:
        said: Mapping[str, Any] = json.loads(rows.note(name, "status") or b"{}")
    except ValueError:
        said = {}
    counts = rows.counts(name)
    waiting = [one for one in rows.in_state(name, "unknown", limit=1_000) if one.due is not None and one.due > _far()]
    open_ = sum(n for word, n in counts.items() if word not in FINAL)
    is_gone = configured is not None and name not in configured
    state, trouble = (GONE, _orphaned(name, open_)) if is_gone else _state(said)
    return {
        "hub": name,
        "kind": said.get("kind"),
        "state": state,
        "told": said.get("t"),
        "last_run": said.get("last_run"),
        "next_run": None if is_gone else said.get("next_run"),
        "messages": counts,
        "open": open_,
        "oldest_open": at(rows.oldest(name)),
        "waiting_for_a_person": sorted(one.id for one in waiting),
        "parked": [] if is_gone else rows.parked(name),
        "wanted": len(rows.wanted(name)),
        "trouble": trouble,
    }


def _orphaned(name: str, open_: int) -> str | None:
    """What to do with open messages that no uploader looks at."""
    if not open_:
        return None
    return (
        f"no [[hub]] has this name any more, and nobody looks at its {open_} open messages. If it has another name now:"
        f" stop the uploader, `meterd hub rename {name} NAME`. If it is gone: `meterd hub cancel {name} --all --reason"
        " TEXT`"
    )


def _far() -> int:
    return int(time.time()) + 10 * 366 * 86_400


def _state(said: Mapping[str, Any]) -> tuple[str, str | None]:
    """The state that the uploader told last, unless it is too long ago."""
    told = said.get("t")
    if not isinstance(told, str):
        return "never run", "no uploader has served this hub yet: `systemctl status meterd-uploader`"
    age = time.time() - datetime.fromisoformat(told).timestamp()
    trouble = said.get("trouble")
    if age > STALE_S:
        return "silent", f"the uploader has said nothing since {told}: `systemctl status meterd-uploader`"
    return str(said.get("state")), None if trouble is None else str(trouble)


def _lines(hub: Mapping[str, Any]) -> Iterator[str]:
    name, width = hub["hub"], len(hub["hub"])
    run = f", last run {hub['last_run']}" if hub["last_run"] else ""
    soon = f", next {hub['next_run']}" if hub["next_run"] else ""
    yield f"{name}  {hub['state']}{run}{soon}"
    counts = ", ".join(f"{n} {state}" for state, n in hub["messages"].items() if n)
    oldest = f"; the oldest open one is of {hub['oldest_open']}" if hub["oldest_open"] else ""
    yield f"{'':<{width}}  {counts or 'no message'}{oldest}"
    if hub["wanted"]:
        yield f"{'':<{width}}  {hub['wanted']} days are wanted anew"
    if hub["waiting_for_a_person"]:
        yield f"{'':<{width}}  waiting for a person: {_named(name, hub['waiting_for_a_person'])}"
    if hub["parked"]:
        yield f"{'':<{width}}  rejected, and nothing newer was sent: {_named(name, hub['parked'])}"
    if hub["trouble"]:
        yield f"{'':<{width}}  trouble: {shown(hub['trouble'])}"


def _named(hub: str, numbers: list[int]) -> str:
    some = ", ".join(map(str, numbers[:_MOST_NAMED]))
    more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
    return f"{some}{more} (`meterd hub show {hub} {numbers[0]}`)"


def _permission(one: Permission) -> dict[str, Any]:
    times = {name: at(getattr(one, name)) for name in ("start", "until", "created", "expires", "ended")}
    found = one._asdict() | {"directions": sorted(one.directions), "kinds": sorted(one.kinds)}
    return found | times


def _cells(one: Permission) -> tuple[str, ...]:
    state = "holds" if one.ended is None else f"ended {at(one.ended)} ({one.item or '-'}): {shown(one.reason or '')}"
    if one.ended is None and one.expires is not None and one.expires <= time.time():
        state = f"expired {at(one.expires)}"
    until = at(one.until) or "open"
    return one.id, one.party, one.point, ",".join(sorted(one.directions)), str(at(one.start)), until, state


def _items(rows: HubRows, args: argparse.Namespace) -> int:
    items = rows.permission_items(args.id)
    if not items:
        raise RefusedError(f"no permission {args.id!r} was received: see `meterd hub permissions`")
    for item, moment, body in items:
        text = body.decode(errors="replace")
        if args.json:
            print(json.dumps({"item": item, "t": at(moment), "body": text}))
        else:
            print(f"item {item}, {at(moment)}: {shown(text)}")
    return 0
