"""`meterd hub retry`, `cancel` and `request`: what a person does with messages, each with an entry in the audit log."""

import argparse
import json
import sys
import time
from typing import Any

from gateway.commands.hub_ledger import RefusedError, adapter_of, hub_of, message_of, settings_of, shown, who, writing
from gateway.commands.hub_names import cancel_all
from gateway.hub_model import Message
from gateway.stores.hub_reading import LOST_NOTE


def retry_(args: argparse.Namespace) -> int:
    """Have a message tried again, or every one that was refused and waits for a person."""
    if (args.id is None) != args.parked:
        print("meterd hub: name one message by its ID, or all that were refused by --parked", file=sys.stderr)
        return 2
    if args.parked:
        return _retry_parked(args)
    with writing(args) as store:
        before = message_of(store, args.hub, args.id)
        after = store.retry(before, who(), int(time.time()))
        wanted = len(store.wanted(args.hub))
    if before.operation == LOST_NOTE:
        told = "what was lost is sent anew: restart meterd-uploader, so that it looks at every day again"
    elif after.state in ("rejected", "dead"):
        told = "its days go in a new message, with the next look of the uploader"
    else:
        told = "it is due now"
    _tell(after, told, args, wanted=wanted)
    return 0


def _retry_parked(args: argparse.Namespace) -> int:
    now, actor = int(time.time()), who()
    with writing(args) as store:
        numbers = store.parked(args.hub)
        for number in numbers:
            message = store.message(args.hub, number)
            if message is not None and message.parts:
                store.retry(message, actor, now)
    if args.json:
        print(json.dumps({"retried": numbers}))
    else:
        print(f"{len(numbers)} refused messages of {args.hub}: their days go in new messages")
    return 0


def cancel_(args: argparse.Namespace) -> int:
    """Give a message up."""
    if not args.reason.strip():
        raise RefusedError("--reason is empty: the audit log wants to know why")
    if (args.id is None) != args.all:
        raise RefusedError("name one message by its ID, or all of a hub that is not configured any more by --all")
    if args.all:
        return cancel_all(args)
    with writing(args) as store:
        before = message_of(store, args.hub, args.id)
        after = store.cancel(before, who(), args.reason.strip(), int(time.time()))
    perhaps = "; the hub may have it all the same" if before.state in ("sending", "unknown", "accepted") else ""
    _tell(after, f"given up{perhaps}", args)
    return 0


def request_(args: argparse.Namespace) -> int:
    """Stage a request; without WHAT say what can be asked."""
    settings = settings_of(args)
    hub = hub_of(settings, args.hub)
    adapter = adapter_of(settings, hub)
    if args.what is None:
        return _offer(dict(adapter.requests()), args)
    from gateway.uploader.hub import Build, BuildError
    from gateway.uploader.staging import new_id

    keys = [key for key, _ in args.arguments]
    if len(keys) != len(set(keys)):
        raise RefusedError(f"an argument is given twice: {', '.join(keys)}")
    now = int(time.time())
    try:
        draft = adapter.request(args.what, dict(args.arguments), Build(hub, now, new_id))
    except BuildError as error:
        raise RefusedError(f"hub {hub.name}: {error}") from None
    with writing(args) as store:
        message = store.stage(hub.name, [draft], now, who=who(), ground=hub.legal_basis)[0]
    _tell(message, "the uploader sends it; the answer comes with its inbox", args)
    return 0


def _offer(offered: dict[str, str], args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps(offered))
    elif not offered:
        print(f"nothing can be asked of hub {args.hub}")
    for name, takes in () if args.json else offered.items():
        print(f"{name}  {takes}")
    return 0 if offered else 1


def _tell(message: Message, told: str, args: argparse.Namespace, **more: Any) -> None:
    if args.json:
        print(json.dumps({"id": message.id, "document": message.document, "state": message.state, **more}))
    else:
        print(f"message {message.id} of {message.hub} ({shown(message.document)}) is {message.state}: {told}")
