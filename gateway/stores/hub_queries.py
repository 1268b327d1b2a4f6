"""Rows of messages to hubs as they are read: opened by their checksums, and told where they are damaged."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from gateway.hub_model import Message, PartRow, Reason, State
from gateway.stores import hub_rows as rows
from gateway.stores.files import FAILURES
from gateway.stores.hub_audit import AuditLog
from gateway.stores.hub_rows import Head, PartData
from gateway.stores.ledger_file import read_meta
from gateway.stores.rows import Corrupt, unseal

STATES: Final[tuple[State, ...]] = get_args(State)
MESSAGE = "SELECT id, hub, document, state, due, data FROM hub_message WHERE "


class Listed(NamedTuple):
    """A message in a list: without its body and its parts."""

    id: int
    hub: str
    document: str
    state: State
    #: None: it is final
    due: int | None
    head: Head


class HubQueries:
    """What every look into the outbox has in common. Methods raise Damaged and StorageFault (a reader: LedgerError)."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        self.audit = AuditLog(db, path)

    def note(self, hub: str, key: str) -> bytes | None:
        """What `remember` kept under a key; None where nothing was, or nobody knows any more."""
        name = f"{hub}\n{key}"
        found = self._query("SELECT data FROM hub_note WHERE name = ?", (name,))
        with suppress(Corrupt):
            return unseal(found[0][0], "hub_note", name) if found else None
        return None

    def _listed(self, row: Sequence[Any]) -> Listed:
        with self._reading():
            number, hub, document, state, due, data = row
            columns = rows.text(hub), rows.text(document), rows.text(state), due
            head = rows.unpack(Head, data, "hub_message", number, *columns)
            return Listed(number, columns[0], columns[1], _state(columns[2]), due, head)

    def _whole(self, row: Sequence[Any]) -> Message:
        one = self._listed(row)
        return as_message(one, self._body(one.id), tuple(self._parts(one)))

    def _body(self, number: int) -> bytes:
        """The exact octets of a message; none once their time is over."""
        found = self._query("SELECT data FROM hub_body WHERE id = ?", (number,))
        with self._reading():
            return rows.unpack_bytes(found[0][0], "hub_body", number) if found else b""

    def _parts(self, one: Listed) -> Iterator[PartRow]:
        for _, transaction, data in self._part_rows(one.id):
            yield rows.part_row(data, transaction, one.state)

    def _part_rows(self, number: int) -> list[tuple[int, str, PartData]]:
        """Row, transaction and content of each part of a message."""
        ends = number << rows.SHIFT, number + 1 << rows.SHIFT
        found = self._query("SELECT id, hub, name, data FROM hub_part WHERE id >= ? AND id < ? ORDER BY id", ends)
        with self._reading():
            return [part_of(row) for row in found]

    def _count(self, hub: str, state: str) -> int:
        name = f"{hub}\n{state}"
        found = self._query("SELECT data FROM hub_count WHERE name = ?", (name,))
        with self._reading():
            return int.from_bytes(unseal(found[0][0], "hub_count", name), "big") if found else 0

    def _meta(self, row: int) -> bytes | None:
        try:
            return read_meta(self._db, row)
        except FAILURES as error:
            raise self._failed(error) from error

    def _query(self, statement: str, parameters: Iterable[int | str | bytes] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, tuple(parameters)).fetchall()
        except FAILURES as error:
            raise self._failed(error) from error

    def _reading(self) -> "_Reading":
        return _Reading(self)

    def _failed(self, error: Exception) -> Exception:
        raise NotImplementedError


class _Reading:
    """Tells a damaged row as the reader tells a damaged file."""

    def __init__(self, of: HubQueries) -> None:
        self._of = of

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Corrupt):
            raise self._of._failed(error) from error  # noqa: SLF001 - its other half


def part_of(row: Sequence[Any]) -> tuple[int, str, PartData]:
    """Row, transaction and content of a part. Raises Corrupt."""
    number, hub, name, data = row
    transaction = rows.text(name)
    return number, transaction, rows.unpack(PartData, data, "hub_part", number, rows.text(hub), transaction)


def _state(word: str) -> State:
    for state in STATES:
        if state == word:
            return state
    raise Corrupt("a state is none")


def as_message(one: Listed, body: bytes, parts: tuple[PartRow, ...]) -> Message:
    """A message with its octets and its parts."""
    head = one.head
    return Message(
        id=one.id,
        hub=one.hub,
        kind=head.kind,
        operation=head.operation,
        document=one.document,
        body=body,
        digest=head.digest,
        content_type=head.content_type,
        parts=parts,
        about=head.about,
        way=head.way,
        state=one.state,
        created=head.created,
        first=head.first,
        since=head.since,
        due=rows.NEVER if one.due is None else one.due,
        attempts=head.attempts,
        reasons=tuple(Reason(*reason) for reason in head.reasons),
        reference=head.reference,
    )
