"""Permissions as they were received: items I, and the items J and L that end them."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from gateway.hub_model import Permission
from gateway.stores import hub_rows as rows
from gateway.stores.hub_queries import HubQueries
from gateway.stores.hub_rows import PermissionData

_ENDS: Final[dict[str, Literal["J", "L"]]] = {"J": "J", "L": "L"}


class HubPermissions(HubQueries):
    """Permissions in an open ledger."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        super().__init__(db, path)
        #: rows of the items of each permission, and the last one that was looked at
        self._items_of: dict[str, list[int]] = {}
        self._items = 0

    def permissions(self) -> list[Permission]:
        """Every permission that was received, with its end; one that may have ended holds no more."""
        items: dict[str, list[PermissionData]] = {}
        for number, data in self._query("SELECT id, data FROM hub_permission ORDER BY id"):
            row = self._permission_item(number, data)
            items.setdefault(row.permission, []).append(row)
        return [one for kept in items.values() if (one := _permission(kept)) is not None]

    def permission(self, name: str) -> Permission | None:
        """One of them, whoever wrote it, as it is at this moment; None where no item I of it is kept."""
        return _permission(self._permission_data(name))

    def permission_items(self, permission: str) -> list[tuple[str, int, bytes]]:
        """Items of a permission as they came: item, when (UTC s), octets."""
        with self._reading():
            return [(row.item, row.at, rows.inflate(row.body)) for row in self._permission_data(permission)]

    def _permission_data(self, name: str) -> list[PermissionData]:
        """Items of a permission, by an index in memory: rows are added, and neither changed nor removed."""
        for number, data in self._query("SELECT id, data FROM hub_permission WHERE id > ? ORDER BY id", (self._items,)):
            self._items_of.setdefault(self._permission_item(number, data).permission, []).append(number)
            self._items = number
        found = [
            (number, self._query("SELECT data FROM hub_permission WHERE id = ?", (number,)))
            for number in self._items_of.get(name, ())
        ]
        return [self._permission_item(number, row[0][0]) for number, row in found if row]

    def _permission_item(self, number: int, data: object) -> PermissionData:
        with self._reading():
            return rows.unpack(PermissionData, data, "hub_permission", number)


def _permission(items: Sequence[PermissionData]) -> Permission | None:
    """What items of one permission say: the first item I, ended by the first of the others, whatever came before."""
    given = next((row.says for row in items if row.says is not None), None)
    end = next((row for row in items if row.says is None), None)
    if given is None or end is None:
        return given
    return given._replace(ended=end.at, reason=end.reason, item=_ENDS.get(end.item))
