"""The feed of intervals that changed, as the uploader reads it."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from gateway.intervals.model import Resolution, SeriesKey
from gateway.stores import hub_rows as rows
from gateway.stores import interval_changes, interval_rows
from gateway.stores.files import FAILURES
from gateway.stores.hub_queries import HubQueries
from gateway.stores.hub_rows import ChangeData
from gateway.stores.rows import Corrupt


class Change(NamedTuple):
    """Validated versions of a series changed: intervals with start <= their start < end (UTC s)."""

    #: position in the feed
    id: int
    key: SeriesKey
    resolution: Resolution
    start: int
    end: int


class HubChanges(HubQueries):
    """The feed in an open ledger."""

    def changes(self, after: int, limit: int = 1_000) -> list[Change]:
        """The feed: which validated intervals changed, behind a position that is not before `oldest_change` - 1."""
        statement = "SELECT id, data FROM interval_change WHERE id > ? ORDER BY id LIMIT ?"
        # a page may be of series alone that were forgotten
        while page := self._query(statement, (after, limit)):
            after = page[-1][0]
            if changes := list(self._changes(page)):
                return changes
        return []

    def _changes(self, page: Iterable[Sequence[Any]]) -> Iterator[Change]:
        for number, data in page:
            with self._reading():
                row = rows.unpack(ChangeData, data, "interval_change", number)
            if (key := self._key(row.series)) is not None:
                yield Change(number, key, row.resolution, row.start, row.end)

    @property
    def oldest_change(self) -> int:
        """The first position that the feed has: who stands before it less 1 missed some, and looks at everything."""
        return self._position(interval_changes.oldest)

    @property
    def last_change(self) -> int:
        """The last position of the feed; 0 where nothing ever changed."""
        return self._position(interval_changes.last)

    def _position(self, read: Callable[[sqlite3.Connection], int]) -> int:
        try:
            with self._reading():
                return read(self._db)
        except FAILURES as error:
            raise self._failed(error) from error

    def _key(self, series: int) -> SeriesKey | None:
        """Which series a number is of; None where it was forgotten."""
        found = self._query("SELECT data FROM interval_series WHERE id = ?", (series,))
        with suppress(Corrupt):
            return interval_rows.unpack_series(series, found[0][0]).key if found else None
        return None
