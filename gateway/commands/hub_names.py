"""`meterd hub rename` and `meterd hub cancel --all`: a [[hub]] that has another name now, or is gone."""

import argparse
import json
import time
from typing import Final

from gateway.commands.hub_ledger import RefusedError, hub_of, ledger_of, settings_of, who, writing
from gateway.hub_model import FINAL
from gateway.settings import Settings
from gateway.stores.hub_reading import LOST_NOTE, RETIRED, STATES
from gateway.stores.hubs import HubStore

_AT_ONCE: Final = 500


def rename_(args: argparse.Namespace) -> int:
    """Carry everything of a hub over to the name that it has now."""
    settings = settings_of(args)
    hub = hub_of(settings, args.name)
    _gone(settings, args.hub)
    from gateway.uploader.alone import UploaderError, alone

    try:
        with alone(ledger_of(args)), writing(args) as store:
            kind = _kind(store, args.hub)
            if kind not in (None, hub.kind):
                raise RefusedError(f"hub {args.hub} is of kind {kind}, and {hub.name} of {hub.kind}: another hub")
            messages = store.rename(args.hub, hub.name, who(), int(time.time()))
    except UploaderError as error:
        raise RefusedError(f"{error} (systemctl stop meterd-uploader)") from None
    if args.json:
        print(json.dumps({"before": args.hub, "hub": hub.name, "messages": messages}))
    else:
        print(f"hub {args.hub} is {hub.name} now: {messages} messages, and how far it came; start the uploader")
    return 0


def cancel_all(args: argparse.Namespace) -> int:
    """Give up whatever is open of a hub that is not configured any more, and that none is the follower of."""
    _gone(settings_of(args), args.hub)
    now, actor, why = int(time.time()), who(), args.reason.strip()
    with writing(args) as store:
        if args.hub not in store.hubs():
            raise RefusedError(f"there are no messages of a hub {args.hub}")
        numbers = _end(store, args.hub, actor, why, now)
        store.remember(args.hub, RETIRED, b"%d" % now)
        store.say("retired", args.hub, actor, now, {"messages": len(numbers), "reason": why})
    if args.json:
        print(json.dumps({"cancelled": numbers}))
    else:
        print(f"{len(numbers)} open messages of {args.hub} are given up; the hub may have them all the same")
    return 0


def _end(store: HubStore, hub: str, actor: str, why: str, now: int) -> list[int]:
    """Cancel open messages, some at a time; their numbers. What stands for what was lost has an end by `retry` only."""
    numbers: list[int] = []
    is_open = [state for state in STATES if state not in FINAL]
    while found := store.in_state(hub, *is_open, limit=_AT_ONCE):
        for one in found:
            message = store.message(hub, one.id)
            if message is None:
                continue
            if message.operation == LOST_NOTE:
                store.retry(message, actor, now)
            else:
                store.cancel(message, actor, why, now)
            numbers.append(one.id)
    return sorted(numbers)


def _gone(settings: Settings, name: str) -> None:
    if name in (hub.name for hub in settings.hub):
        raise RefusedError(f"hub {name} is in the configuration: this is for one that is not any more")


def _kind(store: HubStore, name: str) -> str | None:
    try:
        said = json.loads(store.note(name, "status") or b"{}")
    except ValueError:
        return None
    kind = said.get("kind") if isinstance(said, dict) else None
    return kind if isinstance(kind, str) else None
