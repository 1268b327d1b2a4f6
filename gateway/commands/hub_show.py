"""`meterd hub show`: messages; of one its parts, everything that came of it with reasons, and its exact bytes."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from gateway.commands.hub_ledger import RefusedError, at, message_of, reading, shown, table
from gateway.hub_model import Message, PartRow
from gateway.stores.hub_reading import HubRows, Listed
from gateway.stores.hub_rows import NEVER, Answered

#: parts of a message that are listed; those that were judged apart always are
_MOST_PARTS: Final = 20
#: characters of a reason in a list
_MOST_WORDS: Final = 60


def show_(args: argparse.Namespace) -> int:
    """Print a list, or one message; 1 when there is none."""
    with reading(args) as rows:
        if args.id is None:
            if args.bytes or args.answer is not None:
                print("meterd hub: --bytes and --answer are of one message: add its ID", file=sys.stderr)
                return 2
            return _list(rows, args)
        message = message_of(rows, args.hub, args.id)
        history = rows.history(message.id)
    if args.bytes or args.answer is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(_octets(message, history, args.answer))
        return 0
    print(json.dumps(_object(message, history)) if args.json else "\n".join(_lines(message, history)))
    return 0


def _list(rows: HubRows, args: argparse.Namespace) -> int:
    found = rows.in_state(args.hub, *(args.state or ()), limit=args.limit)
    if not found:
        known = rows.hubs()
        there = f": there are messages of {', '.join(known)}" if args.hub not in known and known else ""
        raise RefusedError(f"hub {args.hub} has no such message{there}")
    if args.json:
        for one in found:
            print(json.dumps(_brief(one)))
        return 0
    lines = [("ID", "STATE", "OPERATION", "MADE", "DUE", "ATTEMPTS", "PARTS", "DOCUMENT", "REASON")]
    print("\n".join(table(lines + [_cells(one) for one in found])))
    return 0


def _brief(one: Listed) -> dict[str, Any]:
    return {
        "id": one.id,
        "document": one.document,
        "state": one.state,
        "operation": one.head.operation,
        "way": one.head.way,
        "created": at(one.head.created),
        "since": at(one.head.since),
        "due": _due(one.due),
        "attempts": one.head.attempts,
        "parts": one.head.parts,
        "reasons": [list(reason) for reason in one.head.reasons],
    }


def _cells(one: Listed) -> tuple[str, ...]:
    head = one.head
    reason = " ".join(head.reasons[0]) if head.reasons else ""
    due = _due(one.due) or "-"
    made = str(at(head.created))
    return (
        str(one.id), one.state, head.operation, made, due, str(head.attempts), str(head.parts), one.document,
        _short(shown(reason)),
    )  # fmt: skip


def _short(words: str) -> str:
    return words if len(words) <= _MOST_WORDS else f"{words[: _MOST_WORDS - 3]}..."


def _due(due: int | None) -> str | None:
    return "a person" if due is not None and due >= NEVER else at(due)


def _octets(message: Message, history: list[tuple[Answered, bytes | None]], answer: int | None) -> bytes:
    if answer is None:
        if not message.body and message.digest:
            raise RefusedError(
                f"the bytes of message {message.id} are not kept any more (raw_days); SHA-256: {message.digest}"
            )
        return message.body
    if not 1 <= answer <= len(history):
        raise RefusedError(f"message {message.id} has {len(history)} entries in its history: choose one of them")
    said, raw = history[answer - 1]
    if raw is None:
        kept = f"are not kept any more (raw_days); SHA-256: {said.digest}" if said.digest else "were none"
        raise RefusedError(f"the bytes of answer {answer} to message {message.id} {kept}")
    return raw


def _object(message: Message, history: list[tuple[Answered, bytes | None]]) -> dict[str, Any]:
    times = {name: at(getattr(message, name)) for name in ("created", "first", "since")}
    return {
        "id": message.id,
        "hub": message.hub,
        "document": message.document,
        "kind": message.kind,
        "operation": message.operation,
        "way": message.way,
        "state": message.state,
        "attempts": message.attempts,
        "due": _due(message.due),
        **times,
        "reference": message.reference,
        "content_type": message.content_type,
        "octets": len(message.body),
        "digest": message.digest,
        "about": dict(message.about),
        "reasons": [list(reason) for reason in message.reasons],
        "parts": [_part(part) for part in message.parts],
        "history": [_entry(said, raw) for said, raw in history],
    }


def _part(part: PartRow) -> dict[str, Any]:
    slot = part.slot
    return {
        "point": slot.point,
        "direction": slot.direction,
        "product": slot.kind,
        "resolution": slot.resolution,
        "start": at(slot.start),
        "end": at(part.end),
        "revision": part.revision,
        "transaction": part.transaction,
        "content": part.content.hex(),
        "basis": part.basis,
        "state": part.state,
        "reasons": [list(reason) for reason in part.reasons],
    }


def _entry(said: Answered, raw: bytes | None) -> dict[str, Any]:
    return {
        "t": at(said.at),
        "who": said.who,
        "what": said.what,
        "verdict": said.verdict,
        "state": said.state,
        "status": said.status,
        "digest": said.digest,
        "octets": None if raw is None else len(raw),
        "certificate": said.certificate,
        "reference": said.reference,
        "transactions": said.transactions,
        "reasons": [list(reason) for reason in said.reasons],
    }


def _lines(message: Message, history: list[tuple[Answered, bytes | None]]) -> Iterator[str]:
    by_hand = ", carried by a person" if message.way == "manual" else ""
    yield f"message {message.id} of {message.hub}: {message.state} since {at(message.since)}{by_hand}"
    yield f"  document {message.document}, {message.operation}, {message.content_type or 'no content'}"
    yield f"  made {at(message.created)}, {message.attempts} attempts, the first one {at(message.first) or 'never'}"
    kept = f"{len(message.body)} octets" if message.body else "bytes are not kept any more"
    yield f"  {kept}, SHA-256 {message.digest}"
    if message.reference:
        yield f"  the hub calls it {shown(message.reference)}"
    if _due(message.due) and message.state in ("new", "sending", "unknown", "accepted"):
        yield f"  due: {_due(message.due)}"
    yield from (f"  {reason.code}: {shown(reason.text)}" for reason in message.reasons)
    yield from _parts(message)
    yield "history:" if history else "history: nothing yet"
    for number, (said, raw) in enumerate(history, 1):
        yield from _entry_lines(number, said, raw)


def _parts(message: Message) -> Iterator[str]:
    if not message.parts:
        return
    states = ", ".join(f"{n} {state}" for state, n in Counter(part.state for part in message.parts).items())
    yield f"parts: {len(message.parts)} ({states})"
    apart = [part for part in message.parts if part.state != message.state or part.reasons]
    listed = apart or list(message.parts[:_MOST_PARTS])
    for part in listed:
        slot = part.slot
        words = "; ".join(f"{reason.code} {shown(reason.text)}" for reason in part.reasons)
        span = f"{at(slot.start)} to {at(part.end)}"
        yield (
            f"  {slot.point} {slot.direction} {slot.kind} {slot.resolution} {span} revision {part.revision}"
            f" {part.state} ({part.basis}) {words}".rstrip()
        )
    if len(listed) < len(message.parts):
        yield f"  and {len(message.parts) - len(listed)} more (--json has all)"


def _entry_lines(number: int, said: Answered, raw: bytes | None) -> Iterator[str]:
    verdict = f" {said.verdict}" if said.verdict else ""
    status = f", HTTP {said.status}" if said.status is not None else ""
    octets = f", {len(raw)} octets (--answer {number})" if raw is not None else ""
    about = f", of {said.transactions} transactions" if said.transactions else ""
    yield f"  {number}. {at(said.at)} {shown(said.who)}: {said.what}{verdict} -> {said.state}{status}{octets}{about}"
    yield from (f"     {code}: {shown(text)}" for code, text in said.reasons)
