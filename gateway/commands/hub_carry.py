"""`meterd hub export` and `import`: what a person carries to a portal and back, through the same outbox.

An exported day is a message like any other: its slot is taken, so that the uploader does not send it, too, until the
portal's answer was imported or the message was cancelled. A file that is lost is written again by the same command.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from gateway.commands import configuration
from gateway.commands.hub_ledger import RefusedError, adapter_of, at, hub_of, settings_of, shown, who, writing
from gateway.commands.output import output
from gateway.hub_model import Draft, Inbound, Message, PartRow, Receipt, State
from gateway.hub_settings import HubSettings
from gateway.imports.record import ImportFileError
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.settings import Settings
from gateway.stores.hub_rows import NEVER
from gateway.stores.hubs import HubError, HubStore
from gateway.stores.intervals import IntervalReader
from gateway.stores.ledger_place import LedgerError

if TYPE_CHECKING:
    from gateway.uploader.hub import Carried, HubAdapter
    from gateway.uploader.parts import Due
    from gateway.uploader.targets import Target

#: days of one export: metering is kept for 36 months
MOST_DAYS: Final = 1_110
#: octets of a file that is imported
MOST_OCTETS: Final = 64 << 20
#: parts that are built at once
MOST_PARTS: Final = 2_000


@dataclass(slots=True)
class Exported:
    """What an export came to."""

    messages: list[Message] = field(default_factory=list)
    #: messages of an earlier export that are still open, whose files were written again
    again: list[Message] = field(default_factory=list)
    #: days that the hub has already, or that are on their way
    known: int = 0
    #: days without validated data, by sentence
    refused: list[str] = field(default_factory=list)


def export_(args: argparse.Namespace) -> int:
    """Write files of whole days for the portal; 1 when there was nothing to write, or something was refused."""
    if args.since > args.until or (args.until - args.since).days >= MOST_DAYS:
        raise RefusedError(f"--from must not be behind --to, nor more than {MOST_DAYS} days before it")
    settings = settings_of(args)
    hub = hub_of(settings, args.hub)
    adapter = adapter_of(settings, hub)
    if not adapter.policy.manual:
        raise RefusedError(f"hub {hub.name} ({hub.kind}) takes no files: its data go by `meterd uploader` alone")
    if not args.folder.is_dir():
        raise RefusedError(f"{args.folder} is no folder: make it first")
    with writing(args) as store:
        found = _export(args, settings, hub, adapter, store)
        files = {one.id: _write(args.folder, cast("Carried", adapter), one) for one in found.again + found.messages}
        for one in found.again + found.messages:
            if one.state == "new":
                store.hand_over(one, who(), int(time.time()))
    _tell_export(found, files, hub, args)
    return 0 if files and not found.refused else 1


def import_(args: argparse.Namespace) -> int:
    """Take a file in: items of permissions, or the portal's answer; 1 when it says no, or changes nothing."""
    data = _octets(args.file)
    settings = settings_of(args)
    hub = hub_of(settings, args.hub)
    items = _items(data)
    if items:
        with writing(args) as store:
            told = [_take_item(store, hub, item) for item in items]
        _print(args, {"items": told}, [one["text"] for one in told])
        return 0 if all(one["kept"] for one in told) else 1
    adapter = adapter_of(settings, hub)
    if not hasattr(adapter, "read_answer"):
        raise RefusedError(
            f"{args.file}: hub {hub.name} ({hub.kind}) has no answers on files, and this is no item I, J or L"
        )
    with writing(args) as store:
        return _take_answer(args, hub, cast("Carried", adapter), store, data)


# -- export ------------------------------------------------------------------------------------------------------------


def _export(
    args: argparse.Namespace, settings: Settings, hub: HubSettings, adapter: "HubAdapter", store: HubStore
) -> Exported:
    now, found = int(time.time()), Exported()
    found.again = list(_carried(args, store, hub))
    for group in _groups(_dues(args, settings, hub, adapter, store, found, now)):
        drafts, rows = _built(adapter, hub, group, found, now)
        if drafts:
            basis = rows[0].basis
            ground = hub.legal_basis if basis == "config" else f"permission {basis}"
            found.messages += store.stage(hub.name, drafts, NEVER, who=who(), ground=ground)
    return found


def _carried(args: argparse.Namespace, store: HubStore, hub: HubSettings) -> Iterator[Message]:
    """Messages that a person carries already, of days of this period."""
    for one in reversed(store.in_state(hub.name, "new", "unknown", limit=100_000)):
        if one.head.way == "manual":
            message = store.message(hub.name, one.id)
            if message is not None and message.body and any(_is_within(args, part) for part in message.parts):
                yield message


def _is_within(args: argparse.Namespace, part: PartRow) -> bool:
    """Whether a day is of the period, in the middle of the day, whatever its zone."""
    middle = time.gmtime((part.slot.start + part.end) // 2)
    return bool(args.since.timetuple()[:3] <= middle[:3] <= args.until.timetuple()[:3])


def _dues(  # noqa: PLR0913, PLR0917 - what a plan looks at
    args: argparse.Namespace,
    settings: Settings,
    hub: HubSettings,
    adapter: "HubAdapter",
    store: HubStore,
    found: Exported,
    now: int,
) -> Iterator["Due"]:
    """Days of the period that the hub does not know as they are, and that are over."""
    from gateway.uploader import targets
    from gateway.uploader.permission_feed import heard
    from gateway.uploader.permissions import Grounds, usable
    from gateway.uploader.plan import Plan
    from gateway.uploader.schedule import HubNotes, Schedule

    try:
        reader = IntervalReader(store.path)
    except LedgerError as error:
        raise RefusedError(str(error)) from None
    ask = None if hub.permissions_url is None else (lambda: heard(store, hub))
    silent = Grounds(hub, store.permission, heard=ask).silent(now)
    if silent is not None and usable(store.permissions(), hub, now):
        found.refused.append(silent)
    try:
        chosen = targets.find(
            settings,
            hub,
            adapter.policy.kinds,
            reader.series(),
            () if silent else store.permissions(),
            zone_of=configuration.zones(settings),
            now=now,
            one_direction=adapter.policy.one_direction,
        )
        found.refused += chosen.problems
        schedule = Schedule(hub, HubNotes(store, hub.name))
        plan = Plan(hub, adapter.policy, store, reader, targets=chosen.targets, schedule=schedule, now=now)
        for target in chosen.targets:
            since, until = _period(args, target)
            for due in plan.days_of(target, since, min(until, target.day(now)[0]), now):
                row = store.slot(hub.name, due.part.slot)
                if row is not None and row.state == "confirmed" and row.content == due.row.content:
                    found.known += 1
                else:
                    yield due
    finally:
        reader.close()


def _period(args: argparse.Namespace, target: "Target") -> tuple[int, int]:
    """Start of the first day and end of the last one, within what the ground covers (UTC s)."""
    begin = GAS_DAY if target.gas_day else MIDNIGHT
    since = calendar.day_start(args.since, target.zone, begin)
    until = calendar.day_start(args.until + timedelta(1), target.zone, begin)
    if target.start is not None and since < target.start:
        start, end = target.day(target.start)
        since = start if start == target.start else end
    return since, until if target.until is None else min(until, target.day(target.until)[0])


def _groups(dues: Iterator["Due"]) -> Iterator[list["Due"]]:
    """Parts that are built together: of one ground, and no more than memory should hold."""
    taken: list[Due] = []
    for due in dues:
        if taken and (len(taken) == MOST_PARTS or due.row.basis != taken[0].row.basis):
            yield taken
            taken = []
        taken.append(due)
    if taken:
        yield taken


def _built(
    adapter: "HubAdapter", hub: HubSettings, dues: Sequence["Due"], found: Exported, now: int
) -> tuple[list[Draft], list[PartRow]]:
    """Messages of the parts that the hub's rules do not refuse here."""
    from gateway.uploader.hub import Build, BuildError
    from gateway.uploader.staging import new_id

    left = list(dues)
    while left:
        try:
            drafts = adapter.build([due.part for due in left], Build(hub, now, new_id, way="manual"))
        except BuildError as error:
            found.refused.append(f"{len(error.slots) or len(left)} days are refused here already: {error}")
            kept = [due for due in left if due.part.slot not in error.slots]
            left = kept if len(kept) < len(left) else []
            continue
        rows: Mapping[str, PartRow] = {due.part.transaction: due.row for due in left}
        own = [
            replace(draft, way="manual", parts=tuple(rows[part.transaction] for part in draft.parts))
            for draft in drafts
        ]
        return own, list(rows.values())
    return [], []


def _write(folder: Path, adapter: "Carried", message: Message) -> Path:
    path = folder / Path(adapter.file_name(message)).name
    with output(str(path)) as out:
        out.write(message.body)
    return path


def _tell_export(found: Exported, files: Mapping[int, Path], hub: HubSettings, args: argparse.Namespace) -> None:
    messages = [
        {
            "id": one.id,
            "document": one.document,
            "file": str(files[one.id]),
            "octets": len(one.body),
            "digest": one.digest,
            "days": len({part.slot.start for part in one.parts}),
            "points": len({part.slot.point for part in one.parts}),
            "again": one in found.again,
        }
        for one in found.again + found.messages
    ]
    said = {"hub": hub.name, "files": messages, "known": found.known, "refused": found.refused}
    lines = [f"{one['file']}: message {one['id']}, {one['days']} days" + _more(one) for one in messages]
    if found.known:
        lines.append(f"{found.known} days (each series counts) are left out: the hub has them as they are")
    lines += [shown(one) for one in found.refused]
    if messages:
        lines.append(f"take them to the portal; then `meterd hub import {hub.name} ANSWER` with what it answers")
    elif not found.refused:
        lines.append("nothing to export: no day of the period has validated data that the hub does not know")
    _print(args, said, lines)


def _more(one: Mapping[str, Any]) -> str:
    points = f" of {one['points']} points" if one["points"] > 1 else ""
    return points + (", written again" if one["again"] else "")


# -- import ------------------------------------------------------------------------------------------------------------


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            data = source.read(MOST_OCTETS + 1)
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}") from None
    if len(data) > MOST_OCTETS:
        raise RefusedError(f"{path} is larger than {MOST_OCTETS >> 20} MiB: it is no answer of a portal")
    return data


def _items(data: bytes) -> list[bytes]:
    """The octets of each item I, J or L: JSON, one or an array of them; none where it is something else."""
    text = data.strip()
    try:
        found = (
            [bytes(one) for one in msgspec.json.decode(text, type=list[msgspec.Raw])] if text[:1] == b"[" else [text]
        )
        heads = [msgspec.json.decode(one, type=dict[str, msgspec.Raw]) for one in found]
    except (msgspec.DecodeError, RecursionError):
        return []
    return found if heads and all(head.keys() & {"permissionId", "item"} for head in heads) else []


def _take_item(store: HubStore, hub: HubSettings, item: bytes) -> dict[str, Any]:
    from gateway.uploader.permissions import Ended, PermissionFormatError, is_for, read

    now = int(time.time())
    try:
        found = read(item)
        if isinstance(found, Ended):
            ended = now if found.at is None else found.at
            fresh = store.end_permission(found.id, found.item, item, ended, found.reason, who())
            text = f"permission {found.id} ended {at(ended)} (item {found.item})"
            return {"permission": found.id, "kept": True, "text": text + ("" if fresh else ", as was known before")}
        fresh = store.permit(found, item, now, who())
    except (PermissionFormatError, HubError) as error:
        return {"permission": None, "kept": False, "text": str(error)}
    kept = store.permission(found.id)
    if kept is not None and kept.ended is not None:
        text = f"permission {found.id} ended {at(kept.ended)} (item {kept.item or '-'}): nothing goes by it"
        return {"permission": found.id, "kept": True, "text": text}
    text = f"permission {found.id}: {found.party} may have {', '.join(sorted(found.directions))} of {found.point}"
    if not is_for(found, hub):
        text += f"; nothing goes to hub {hub.name} by it: its receiver is {hub.receiver or 'not set'}"
    return {"permission": found.id, "kept": True, "text": text + ("" if fresh else " (as was known before)")}


def _take_answer(args: argparse.Namespace, hub: HubSettings, adapter: "Carried", store: HubStore, data: bytes) -> int:
    from gateway.uploader.inbox import View

    view = View(store, hub.name)
    try:
        inbound = adapter.read_answer(data, view)
    except ImportFileError as error:
        raise RefusedError(f"{args.file}: {error}") from None
    settle = list(_settled(inbound, view))
    fresh = store.inbound(hub.name, inbound, settle, int(time.time()), notes=dict(view.notes), who=who())
    after = [one for message, _, _ in settle if (one := store.message(hub.name, message.id)) is not None]
    text = shown(inbound.text or inbound.kind)
    lines = [text] if fresh else [f"{text}: it was imported before, and nothing changed"]
    lines += [f"message {one.id} ({one.document}) is {one.state}" for one in after]
    states = [{"id": one.id, "document": one.document, "state": one.state} for one in after]
    said = {"hub": hub.name, "kind": inbound.kind, "text": inbound.text, "fresh": fresh, "messages": states}
    _print(args, said, lines)
    refused = any(one.state in ("rejected", "dead") for one in after)
    return 1 if refused or (inbound.severity in ("warning", "error") and not after) else 0


def _settled(inbound: Inbound, view: Any) -> Iterator[tuple[Message, Receipt, State]]:
    """What the answer says of messages that are known; of others nothing follows."""
    from gateway.uploader.delivery import DECIDED

    for document, receipt in inbound.receipts.items():
        message = view.document(document)
        if message is not None:
            yield message, receipt, DECIDED.get(receipt.verdict, message.state)


def _print(args: argparse.Namespace, said: Mapping[str, Any], lines: Sequence[str]) -> None:
    print(json.dumps(said) if args.json else "\n".join(lines))
