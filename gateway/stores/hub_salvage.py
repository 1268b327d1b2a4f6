"""What a damaged ledger kept of messages to hubs, into a new one: nothing may go out twice because a row was lost.

What cannot be known is `unknown`, never `new`: an open message may have left since its row was written.
Of a message whose row was lost, its parts, its slots and the audit log tell that it was there; it waits for a person.
Where numbers are missing of which nothing tells, every slot from before the damage that is not known may be among them
(hub_reading.LOST). A permission whose end may have been lost holds no more.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, cast
from zlib import compress

import msgspec

from gateway.hub_model import FINAL, Draft, State
from gateway.stores import files, interval_changes
from gateway.stores import hub_rows as rows
from gateway.stores.files import FAILURES
from gateway.stores.hub_audit import RENAMED, TABLE
from gateway.stores.hub_reading import LOST, LOST_NOTE, STATES
from gateway.stores.hub_rows import Head, PartData, PermissionData, SlotData
from gateway.stores.ledger_file import read_meta
from gateway.stores.ledger_rows import Entry, unpack
from gateway.stores.rows import Corrupt, seal, unseal
from gateway.stores.state import after_damage

_LAST: Final = 1 << 62
#: tables of octets that belong to a row: sealed with its number alone
_OCTETS: Final = ("hub_body", "hub_answer", "hub_raw", "hub_inbound_body", "hub_permission")
#: tables without which nobody knows what was sent
_NEEDED: Final = ("hub_message", "hub_part", "hub_slot")
_MAY_HAVE_ENDED: Final = "the ledger was damaged, and its end may have been lost: have a new permission confirmed"
#: numbers that are looked at one by one; more that are missing are lost as a whole
_MOST_MISSING: Final = 100_000


@dataclass(slots=True)
class _Found:
    """What is there of the messages."""

    #: messages by number: parts that each was made of; and what the audit log says of that
    parts: dict[int, int] = field(default_factory=dict)
    staged: dict[int, int] = field(default_factory=dict)
    #: parts that are there, and hubs, by number of the message
    there: dict[int, int] = field(default_factory=dict)
    hubs: dict[int, str] = field(default_factory=dict)
    #: what the audit log says of a message: its document, its last state
    documents: dict[int, str] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    bodies: set[int] = field(default_factory=set)
    #: items of permissions that the audit log tells of, and permissions that ended
    items: int = 0
    ended: set[str] = field(default_factory=set)


def carry_over(source: sqlite3.Connection, target: sqlite3.Connection, now: int) -> None:
    """Copy what can be read, within a transaction of `target`, which has its audit log already. Raises FAILURES."""
    found = _Found()
    whole = _there(source, _NEEDED)
    _read_audit(target, found)
    _copy_octets(source, target, found)
    _copy_parts(source, target, found)
    _copy_messages(source, target, found, now)
    _copy_slots(source, target, found)
    _copy_named(source, target)
    _keep_lost(source, target, now, lost=_restore(target, found, now) or not whole)
    _end_permissions(target, found, now, whole=_there(source, ("hub_permission",)))
    rows.count_anew(target)
    interval_changes.begin_at(target, after_damage(0))


def _keep_lost(source: sqlite3.Connection, target: sqlite3.Connection, now: int, *, lost: bool) -> None:
    """Note that messages were lost, now or with an earlier damage, so that a person is asked."""
    before: bytes | None = None
    try:
        before = read_meta(source, LOST)
    except (Corrupt, *FAILURES):
        lost = True
    if lost:
        before = now.to_bytes(8, "big")
        # what a person said of an earlier loss says nothing of this one
        target.execute("DELETE FROM hub_note WHERE name LIKE ?", (f"%\n{LOST_NOTE}",))
    if before is not None:
        target.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (LOST, seal(before, LOST)))


def _there(db: sqlite3.Connection, names: Iterable[str]) -> bool:
    """Whether tables can be read to their end, or there never were any."""
    try:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if b"meta" not in tables:
            return False
        for table in names:
            if table.encode() in tables:
                db.execute(f"SELECT count(data) FROM {table} NOT INDEXED").fetchone()  # noqa: S608 - names of ours
    except FAILURES:
        return False
    return True


def _rows(db: sqlite3.Connection, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
    statement = f"SELECT {columns} FROM {table} NOT INDEXED WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - names of ours
    for _, page in files.chunks(db, statement, 0, step=1, end=_LAST):
        for row in page:
            if isinstance(row[0], int) and row[0] > 0:
                yield row


def _read_audit(target: sqlite3.Connection, found: _Found) -> None:
    for row in target.execute("SELECT id, data, chain FROM hub_event ORDER BY id"):
        with suppress(Corrupt):
            written = unpack(Entry(*row), TABLE)
            number, state = written.facts.get("message"), written.facts.get("state")
            found.items += written.event in ("permission", "permission_ended")
            if written.event == "permission_ended":
                found.ended.add(str(written.facts.get("permission")))
            if written.event == RENAMED and written.meter is not None:
                before = written.facts.get("before")
                found.hubs |= {one: written.meter for one, hub in found.hubs.items() if hub == before}
            if not isinstance(number, int) or written.meter is None:
                continue
            found.hubs.setdefault(number, written.meter)
            if isinstance(document := written.facts.get("document"), str):
                found.documents[number] = document
            if written.event == "staged" and isinstance(parts := written.facts.get("parts"), int):
                found.staged[number] = parts
            if state in STATES:
                found.states[number] = cast("State", state)


def _copy_octets(db: sqlite3.Connection, target: sqlite3.Connection, found: _Found) -> None:
    for table in _OCTETS:
        for number, data in _rows(db, table, "id, data"):
            with suppress(Corrupt):
                unseal(data, table, number)
                target.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", (number, data))  # noqa: S608
                if table == "hub_body":
                    found.bodies.add(number)


def _copy_parts(db: sqlite3.Connection, target: sqlite3.Connection, found: _Found) -> None:
    for number, hub, name, data in _rows(db, "hub_part", "id, hub, name, data"):
        with suppress(Corrupt):
            columns = rows.text(hub), rows.text(name)
            rows.unpack(PartData, data, "hub_part", number, *columns)
            target.execute("INSERT OR IGNORE INTO hub_part VALUES (?, ?, ?, ?)", (number, *columns, data))
            message = number >> rows.SHIFT
            found.there[message] = found.there.get(message, 0) + 1
            found.hubs.setdefault(message, columns[0])


def _copy_messages(db: sqlite3.Connection, target: sqlite3.Connection, found: _Found, now: int) -> None:
    for number, hub, document, state, due, data in _rows(db, "hub_message", "id, hub, document, state, due, data"):
        with suppress(Corrupt):
            columns = rows.text(hub), rows.text(document), rows.text(state)
            head = rows.unpack(Head, data, "hub_message", number, *columns, due)
            _put_message(target, (number, *columns, due), head, found, now)
            found.parts[number] = head.parts
            found.hubs[number] = columns[0]


def _put_message(
    target: sqlite3.Connection, columns: tuple[int, str, str, str, int | None], head: Head, found: _Found, now: int
) -> None:
    number, hub, document, state, due = columns
    if state not in FINAL:
        # it may have left since, and what the audit log says last is newer than the row, or as old
        state = found.states[number] if found.states.get(number) in FINAL else "unknown"
        kept = number in found.bodies and head.operation != LOST_NOTE and head.way == "auto"
        due = None if state in FINAL else now if kept else rows.NEVER
        said = (("damaged", "the ledger was damaged: nobody knows whether it was sent since"),)
        head = msgspec.structs.replace(head, since=now, reasons=said if state == "unknown" else head.reasons)
    packed = rows.pack(head, "hub_message", number, hub, document, state, due)
    row = (number, hub, document, state, due, packed)
    target.execute("INSERT OR IGNORE INTO hub_message VALUES (?, ?, ?, ?, ?, ?)", row)


def _copy_slots(db: sqlite3.Connection, target: sqlite3.Connection, found: _Found) -> None:
    """Copy slots, and put right what their parts know better: the last content of each."""
    for _, name, wanted, data in _rows(db, "hub_slot", "id, name, wanted, data"):
        with suppress(Corrupt):
            columns = rows.text(name), None if wanted is None else rows.text(wanted)
            opened = rows.unpack(SlotData, data, "hub_slot", *columns)
            target.execute("INSERT OR IGNORE INTO hub_slot (name, wanted, data) VALUES (?, ?, ?)", (*columns, data))
            if opened.revision and opened.part:
                found.hubs.setdefault(opened.part >> rows.SHIFT, rows.slot_of(columns[0])[0])
                _restore_part(target, columns[0], opened, found)
    for number, hub, name, data in _rows(target, "hub_part", "id, hub, name, data"):
        columns_of = rows.text(hub), rows.text(name)
        _restore_slot(target, columns_of[0], number, rows.unpack(PartData, data, "hub_part", number, *columns_of))


def _restore_part(target: sqlite3.Connection, name: str, slot: SlotData, found: _Found) -> None:
    """A part whose row was lost, as its slot knows it; its transaction is known to nobody but the message's octets."""
    if target.execute("SELECT 1 FROM hub_part WHERE id = ?", (slot.part,)).fetchone():
        return
    hub, of = rows.slot_of(name)
    data = PartData(*of, end=slot.end, revision=slot.revision, content=slot.content, basis=LOST_NOTE)
    transaction = f"{LOST_NOTE}-{slot.part}"
    packed = rows.pack(data, "hub_part", slot.part, hub, transaction)
    target.execute("INSERT INTO hub_part VALUES (?, ?, ?, ?)", (slot.part, hub, transaction, packed))
    message = slot.part >> rows.SHIFT
    found.there[message] = found.there.get(message, 0) + 1


def _restore_slot(target: sqlite3.Connection, hub: str, number: int, part: PartData) -> None:
    name = rows.slot_name(hub, part.slot)
    found = target.execute("SELECT wanted, data FROM hub_slot WHERE name = ?", (name,)).fetchone()
    if found is not None:
        wanted = None if found[0] is None else rows.text(found[0])
        if rows.unpack(SlotData, found[1], "hub_slot", name, wanted).revision >= part.revision:
            return
    packed = rows.pack(SlotData(part.end, part.revision, number, part.content), "hub_slot", name, None)
    target.execute(
        "INSERT INTO hub_slot (name, wanted, data) VALUES (?, NULL, ?)"
        " ON CONFLICT (name) DO UPDATE SET wanted = NULL, data = excluded.data",
        (name, packed),
    )


def _copy_named(db: sqlite3.Connection, target: sqlite3.Connection) -> None:
    for _, name, data in _rows(db, "hub_note", "id, name, data"):
        with suppress(Corrupt):
            unseal(data, "hub_note", rows.text(name))
            target.execute("INSERT OR IGNORE INTO hub_note (name, data) VALUES (?, ?)", (rows.text(name), data))
    for number, hub, kind, name, data in _rows(db, "hub_inbound", "id, hub, kind, name, data"):
        with suppress(Corrupt):
            columns = rows.text(hub), rows.text(kind), rows.text(name)
            unseal(data, "hub_inbound", number, *columns)
            target.execute("INSERT OR IGNORE INTO hub_inbound VALUES (?, ?, ?, ?, ?)", (number, *columns, data))


def _restore(target: sqlite3.Connection, found: _Found, now: int) -> bool:
    """Messages that are known to have been there; whether there were others, or parts, that nothing tells of."""
    last = max((*found.parts, *found.hubs, *found.bodies), default=0)
    missing = [number for number in range(1, last + 1) if number not in found.parts]
    lost = len(missing) > _MOST_MISSING
    for number in missing[:_MOST_MISSING]:
        if number not in found.hubs:
            lost = True
            continue
        _restore_message(target, number, found, now)
        lost |= number not in found.staged or found.there.get(number, 0) < found.staged[number]
    return lost or any(found.there.get(number, 0) < parts for number, parts in found.parts.items())


def _restore_message(target: sqlite3.Connection, number: int, found: _Found, now: int) -> None:
    state = found.states.get(number, "unknown")
    if state not in FINAL:
        # of what held nothing that is known, the one message that stands for all that was lost says `unknown`
        state = "unknown" if found.there.get(number) else "dead"
    draft = Draft("readings", LOST_NOTE, found.documents.get(number) or f"{LOST_NOTE}-{number}", b"", "")
    said = (("damaged", "the ledger was damaged: of this message only what stands here is known"),)
    head = msgspec.structs.replace(
        rows.head_of(draft, sha256(b"").hexdigest(), now), parts=found.there.get(number, 0), split=True, reasons=said
    )
    columns = number, found.hubs[number], draft.document, state, None if state in FINAL else rows.NEVER
    packed = rows.pack(head, "hub_message", *columns)
    target.execute("INSERT OR IGNORE INTO hub_message VALUES (?, ?, ?, ?, ?, ?)", (*columns, packed))


def _end_permissions(target: sqlite3.Connection, found: _Found, now: int, *, whole: bool) -> None:
    """Where items of permissions are missing, an end may be among them: then none that had no end holds any more."""
    open_: dict[str, None] = {}
    numbers: list[int] = []
    for number, data in target.execute("SELECT id, data FROM hub_permission ORDER BY id").fetchall():
        row = rows.unpack(PermissionData, data, "hub_permission", number)
        numbers.append(number)
        if row.says is not None:
            open_[row.permission] = None
        else:
            open_.pop(row.permission, None)
    last = max(numbers, default=0)
    missing = not whole or len(numbers) < max(last, found.items)
    for permission in open_ if missing else [one for one in open_ if one in found.ended]:
        last += 1
        packed = rows.pack(PermissionData("-", permission, now, compress(b""), _MAY_HAVE_ENDED), "hub_permission", last)
        target.execute("INSERT INTO hub_permission VALUES (?, ?)", (last, packed))
