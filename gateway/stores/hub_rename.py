"""Carry everything that the ledger has of a hub over to another name: messages, parts, slots, what came in, notes.

What is sealed with the name is sealed anew. Entries of the audit log stay as they were written, under the old name.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from gateway.stores import hub_rows as rows
from gateway.stores.hub_rows import Head, InboundData, PartData, SlotData
from gateway.stores.rows import seal, unseal

_AT_ONCE = 1_000


def rename(db: sqlite3.Connection, before: str, name: str) -> int:
    """Rename within a transaction; how many messages. Notes of the new name go. Raises Corrupt, FAILURES."""
    db.execute("DELETE FROM hub_note WHERE name > ? AND name < ?", _ends(name))
    messages = 0
    for number, document, state, due, data in _of(db, "hub_message", "id, document, state, due, data", before):
        columns = rows.text(document), rows.text(state), due
        head = rows.unpack(Head, data, "hub_message", number, before, *columns)
        packed = rows.pack(head, "hub_message", number, name, *columns)
        db.execute("UPDATE hub_message SET hub = ?, data = ? WHERE id = ?", (name, packed, number))
        messages += 1
    for number, transaction, data in _of(db, "hub_part", "id, name, data", before):
        part = rows.unpack(PartData, data, "hub_part", number, before, rows.text(transaction))
        packed = rows.pack(part, "hub_part", number, name, rows.text(transaction))
        db.execute("UPDATE hub_part SET hub = ?, data = ? WHERE id = ?", (name, packed, number))
    for number, kind, said, data in _of(db, "hub_inbound", "id, kind, name, data", before):
        known = rows.unpack(InboundData, data, "hub_inbound", number, before, rows.text(kind), rows.text(said))
        packed = rows.pack(known, "hub_inbound", number, name, rows.text(kind), rows.text(said))
        db.execute("UPDATE hub_inbound SET hub = ?, data = ? WHERE id = ?", (name, packed, number))
    _rename_slots(db, before, name)
    _rename_notes(db, before, name)
    rows.count_anew(db)
    return messages


def _rename_slots(db: sqlite3.Connection, before: str, name: str) -> None:
    for number, slot, wanted, data in _named(db, "hub_slot", "id, name, wanted, data", before):
        known, after = rows.text(slot), name + rows.text(slot).removeprefix(before)
        was, wants = (None, None) if wanted is None else (rows.text(wanted), name)
        packed = rows.pack(rows.unpack(SlotData, data, "hub_slot", known, was), "hub_slot", after, wants)
        db.execute("UPDATE hub_slot SET name = ?, wanted = ?, data = ? WHERE id = ?", (after, wants, packed, number))


def _rename_notes(db: sqlite3.Connection, before: str, name: str) -> None:
    for number, note, data in _named(db, "hub_note", "id, name, data", before):
        after = name + rows.text(note).removeprefix(before)
        sealed = seal(unseal(data, "hub_note", rows.text(note)), "hub_note", after)
        db.execute("UPDATE hub_note SET name = ?, data = ? WHERE id = ?", (after, sealed, number))


def _of(db: sqlite3.Connection, table: str, columns: str, hub: str) -> Iterator[tuple[Any, ...]]:
    """Rows of a hub, some at a time: each leaves the hub as it is seen."""
    statement = f"SELECT {columns} FROM {table} WHERE hub = ? LIMIT {_AT_ONCE}"  # noqa: S608 - names of ours
    while page := db.execute(statement, (hub,)).fetchall():
        yield from page


def _named(db: sqlite3.Connection, table: str, columns: str, hub: str) -> Iterator[tuple[Any, ...]]:
    """Rows whose name begins with that of a hub, likewise."""
    statement = f"SELECT {columns} FROM {table} WHERE name > ? AND name < ? LIMIT {_AT_ONCE}"  # noqa: S608
    while page := db.execute(statement, _ends(hub)).fetchall():
        yield from page


def _ends(hub: str) -> tuple[str, str]:
    return f"{hub}\n", f"{hub}\x0b"
