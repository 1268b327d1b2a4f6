"""Remove what the messages to hubs say of metering points; that they were sent, when and under which ids stays proof.

Of every message that names one of the points go the octets, the parts and slots of these points, the octets and words
of answers, and what a hub sent that names them. Hashes, the audit log and permissions stay: they are the proof that
data left lawfully, and name no quantity. A message that is open is given up, for it cannot be sent any more.
"""

import sqlite3
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import msgspec

from gateway.hub_model import FINAL, State
from gateway.stores import hub_audit
from gateway.stores import hub_rows as rows
from gateway.stores.hub_rows import Answered, Head, InboundData, PartData, SlotData
from gateway.stores.ledger_file import removed_of
from gateway.stores.ledger_rows import REMOVED, Entry, Note, pack, unpack
from gateway.stores.rows import EPOCH, Corrupt

_REASON: Final = (("forgotten", "everything of a metering point was removed at a person's wish"),)


def forget(db: sqlite3.Connection, points: Collection[str]) -> int:
    """Remove points by their identification, within a transaction; how many messages named them. Raises FAILURES."""
    names = [point.encode() for point in points]
    if not names:
        return 0
    messages = _remove_parts(db, frozenset(points)) | _requests(db, names)
    for number in sorted(messages):
        _remove_octets(db, number)
        _change_message(db, number)
    _remove_slots(db, points)
    _remove_inbound(db, names)
    for number, name, data in db.execute("SELECT id, name, data FROM hub_note").fetchall():
        if _names(name, names) or _names(data, names):
            db.execute("DELETE FROM hub_note WHERE id = ?", (number,))
    _remove_entries(db, names)
    rows.count_anew(db)
    return len(messages)


def _remove_parts(db: sqlite3.Connection, points: Collection[str]) -> set[int]:
    """Messages that parts were removed of."""
    messages: set[int] = set()
    last = 0
    statement = "SELECT id, hub, name, data FROM hub_part WHERE id > ? ORDER BY id LIMIT 1000"
    while page := db.execute(statement, (last,)).fetchall():
        last = page[-1][0]
        for number, hub, name, data in page:
            with suppress(Corrupt):
                part = rows.unpack(PartData, data, "hub_part", number, rows.text(hub), rows.text(name))
                if part.point in points:
                    db.execute("DELETE FROM hub_part WHERE id = ?", (number,))
                    messages.add(number >> rows.SHIFT)
    return messages


def _requests(db: sqlite3.Connection, names: list[bytes]) -> set[int]:
    """Messages without parts that name a point."""
    messages, last = set(), 0
    statement = "SELECT id, data FROM hub_body WHERE id > ? ORDER BY id LIMIT 20"
    parts = "SELECT 1 FROM hub_part WHERE id >= ? AND id < ? LIMIT 1"
    while page := db.execute(statement, (last,)).fetchall():
        last = page[-1][0]
        for number, data in page:
            if db.execute(parts, (number << rows.SHIFT, number + 1 << rows.SHIFT)).fetchone():
                continue
            with suppress(Corrupt):
                if _names(rows.unpack_bytes(data, "hub_body", number), names):
                    messages.add(number)
    return messages


def _remove_octets(db: sqlite3.Connection, number: int) -> None:
    ends = number << rows.SHIFT, number + 1 << rows.SHIFT
    db.execute("DELETE FROM hub_body WHERE id = ?", (number,))
    db.execute("DELETE FROM hub_raw WHERE id >= ? AND id < ?", ends)
    for row, data in db.execute("SELECT id, data FROM hub_answer WHERE id >= ? AND id < ?", ends).fetchall():
        with suppress(Corrupt):
            answer = rows.unpack(Answered, data, "hub_answer", row)
            silent = msgspec.structs.replace(answer, reasons=tuple((code, "") for code, _ in answer.reasons))
            db.execute("UPDATE hub_answer SET data = ? WHERE id = ?", (rows.pack(silent, "hub_answer", row), row))


def _change_message(db: sqlite3.Connection, number: int) -> None:
    found = db.execute("SELECT hub, document, state, due, data FROM hub_message WHERE id = ?", (number,)).fetchone()
    if found is None:
        return
    hub, document, state = (rows.text(column) for column in found[:3])
    with suppress(Corrupt):
        head = rows.unpack(Head, found[4], "hub_message", number, hub, document, state, found[3])
        new: State = "dead"
        if state in FINAL:
            new = state
        elif head.attempts == 0:
            # it never left: what it held of other points is sent in another one
            _want(db, number)
        ends = number << rows.SHIFT, number + 1 << rows.SHIFT
        left = db.execute("SELECT count(*) FROM hub_part WHERE id >= ? AND id < ?", ends).fetchone()[0]
        reasons = _REASON if new == "dead" else ()
        head = msgspec.structs.replace(head, parts=left, reasons=reasons, about={})
        packed = rows.pack(head, "hub_message", number, hub, document, new, None)
        statement = "UPDATE hub_message SET state = ?, due = NULL, data = ? WHERE id = ?"
        db.execute(statement, (new, packed, number))


def _want(db: sqlite3.Connection, message: int) -> None:
    ends = message << rows.SHIFT, message + 1 << rows.SHIFT
    for number, hub, name, data in db.execute(
        "SELECT id, hub, name, data FROM hub_part WHERE id >= ? AND id < ?", ends
    ).fetchall():
        part = rows.unpack(PartData, data, "hub_part", number, rows.text(hub), rows.text(name))
        slot = rows.slot_name(rows.text(hub), part.slot)
        found = db.execute("SELECT wanted, data FROM hub_slot WHERE name = ?", (slot,)).fetchone()
        wanted = None if found is None or found[0] is None else rows.text(found[0])
        if found is not None and rows.unpack(SlotData, found[1], "hub_slot", slot, wanted).part == number:
            opened = rows.unpack(SlotData, found[1], "hub_slot", slot, wanted)
            packed = rows.pack(opened, "hub_slot", slot, rows.text(hub))
            db.execute("UPDATE hub_slot SET wanted = ?, data = ? WHERE name = ?", (rows.text(hub), packed, slot))


def _remove_slots(db: sqlite3.Connection, points: Collection[str]) -> None:
    for hub in _hubs(db):
        for point in points:
            ends = f"{hub}\n{point}\n", f"{hub}\n{point}\x0b"
            db.execute("DELETE FROM hub_slot WHERE name > ? AND name < ?", ends)


def _hubs(db: sqlite3.Connection) -> list[str]:
    """Hubs that there are slots of, each by one look at the index."""
    found: list[str] = []
    last = ""
    while row := db.execute("SELECT name FROM hub_slot WHERE name > ? ORDER BY name LIMIT 1", (last,)).fetchone():
        hub = rows.text(row[0]).split("\n")[0]
        found.append(hub)
        last = f"{hub}\x0b"
    return found


def _remove_inbound(db: sqlite3.Connection, names: list[bytes]) -> None:
    statement = (
        "SELECT i.hub, i.kind, i.name, i.data, b.data FROM hub_inbound i LEFT JOIN hub_inbound_body b USING (id)"
    )
    for (number,) in db.execute("SELECT id FROM hub_inbound").fetchall():
        hub, kind, name, data, body = db.execute(f"{statement} WHERE id = ?", (number,)).fetchone()
        with suppress(Corrupt):
            columns = rows.text(hub), rows.text(kind), rows.text(name)
            known = rows.unpack(InboundData, data, "hub_inbound", number, *columns)
            octets = b"" if body is None else rows.unpack_bytes(body, "hub_inbound_body", number)
            if _names(octets, names) or _names(data, names):
                silent = msgspec.structs.replace(known, text="", facts={})
                packed = rows.pack(silent, "hub_inbound", number, *columns)
                db.execute("UPDATE hub_inbound SET data = ? WHERE id = ?", (packed, number))
                db.execute("DELETE FROM hub_inbound_body WHERE id = ?", (number,))


def _remove_entries(db: sqlite3.Connection, names: list[bytes]) -> None:
    """Remove what entries of the audit log say that name a point, and tell which; their places and hashes stay."""
    positions = []
    for entry in hub_audit.read(db):
        if _names(entry.data, names) and _is_readable(entry):
            positions.append(entry.id)
            sealed = pack(Note(REMOVED, None, EPOCH, {}), entry.id, hub_audit.TABLE)
            db.execute("UPDATE hub_event SET data = ? WHERE id = ?", (sealed, entry.id))
    if positions:
        hub_audit.append(db, removed_of(positions))


def _is_readable(entry: Entry) -> bool:
    with suppress(Corrupt):
        unpack(entry, hub_audit.TABLE)
        return True
    return False


def _names(octets: object, names: list[bytes]) -> bool:
    return isinstance(octets, bytes) and any(name in octets for name in names)
