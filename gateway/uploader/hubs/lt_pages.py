"""Lists of the hub page by page, whole: a list that changes between two pages is noticed, and read anew.

Each page begins with the last entry of the page before. When that is another one now, an entry came or went meanwhile,
and what was read so far may miss one: the list is read from its beginning again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.hub_model import Reason
from gateway.uploader import answers
from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Answer, Session
from gateway.uploader.hubs import lt_names as names
from gateway.uploader.hubs.lt_reader import Drift, Reader

#: entries of a list, readings of a list that changes all the time
MOST_ENTRIES: Final = 50_000
MOST_READINGS: Final = 5
_JSON: Final = "application/json"
#: statuses by which a hub says that a path is not there, or not any more (RFC 9110)
GONE: Final = frozenset((404, 405, 410, 501))


class RefusedError(Exception):
    """The hub did not give what was asked: its answer, and its reasons where it says any."""

    def __init__(self, answer: Answer, reasons: tuple[Reason, ...] = ()) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Read:
    """A list as it was read: sound entries, each once; the path that answered, and what was strange."""

    entries: tuple[Mapping[str, Any], ...]
    path: str
    drifts: tuple[Drift, ...]
    #: False: it changed during every reading, and entries may be missing
    whole: bool = True


def read(session: Session, listing: names.Listing, *, operation: str, count: int = names.PAGE) -> Read:
    """Read a list by its newest version that the hub has. Raises RefusedError, AnswerError and SessionError."""
    answer: Answer | None = None
    for path in listing.paths:
        try:
            return _Reading(session, listing, path, operation, count).stable()
        except RefusedError as error:
            if error.answer.status not in GONE or error.reasons:
                raise
            answer = error.answer
    assert answer is not None  # noqa: S101 - a listing has a path
    raise RefusedError(answer)


def business(answer: Answer) -> tuple[Reason, ...]:
    """Rules that are broken, by the hub's numbers; none where the answer tells of none."""
    try:
        told = answers.json_value(answer.body).get(names.ERRORS)
    except (answers.AnswerError, AttributeError):
        return ()
    found = [told] if isinstance(told, dict) else told if isinstance(told, list) else []
    return tuple(_reason(one) for one in found[: answers.MAX_REASONS] if isinstance(one, dict))


def _reason(one: Mapping[str, Any]) -> Reason:
    code, text = one.get(names.ERROR_CODE), one.get(names.ERROR_TEXT)
    return Reason(
        answers.words(str(code), 20) if isinstance(code, (int, str)) else "unnumbered",
        answers.words(text) if isinstance(text, str) else "",
    )


class _Reading:
    """Readings of one list by one of its paths."""

    def __init__(self, session: Session, listing: names.Listing, path: str, operation: str, count: int) -> None:
        self._session = session
        self._listing = listing
        self._path = path
        self._operation = operation
        self._count = count
        self._reader = Reader()

    def stable(self) -> Read:
        """The list as it was when it did not change while it was read."""
        entries: dict[Any, Mapping[str, Any]] = {}
        for reading in range(MOST_READINGS):
            found: dict[Any, Mapping[str, Any]] = {}
            if self._once(found, to_the_end=reading == MOST_READINGS - 1):
                return Read(tuple(found.values()), self._path, self._reader.drifts)
            entries |= found
        self._reader.strange(self._listing.entries, "changed each time while it was read: entries may be missing")
        return Read(tuple(entries.values()), self._path, self._reader.drifts, whole=False)

    def _once(self, found: dict[Any, Mapping[str, Any]], *, to_the_end: bool) -> bool:
        """Read from the beginning; False when the list changed meanwhile: then at once, or at its end."""
        first, last, sound = 0, None, True
        while first < MOST_ENTRIES:
            page = self._page(first)
            keys = [entry.get(self._listing.key) if isinstance(entry, dict) else None for _, entry in page]
            before = len(found)
            sound = self._take(page, found) and sound and (last is None or keys[:1] == [last])
            if not sound and (not to_the_end or len(found) == before):
                return False
            if len(page) != self._count:
                return sound
            first, last = first + len(page) - 1, keys[-1]
            if last is None or len(page) < 2:
                where = f"{self._listing.entries}[{len(page) - 1}].{self._listing.key}"
                self._reader.strange(where, "does not serve to turn the page")
                return False
        self._reader.strange(self._listing.entries, f"has more than {MOST_ENTRIES} entries: the rest is not read")
        return sound

    def _take(self, page: list[tuple[str, Any]], found: dict[Any, Mapping[str, Any]]) -> bool:
        """Put the entries of a page to the others; False when one was there already, and was another."""
        sound = True
        for where, entry in page:
            known = self._entry(entry, where)
            if known is not None:
                sound = found.setdefault(known[self._listing.key], known) == known and sound
        return sound

    def _entry(self, entry: Any, where: str) -> dict[str, Any] | None:
        """The known fields of an entry, and of what it holds a list of."""
        known = self._reader.record(entry, where, self._listing.fields)
        if known is None:
            return None
        for key, fields in self._listing.inner.items():
            held = self._reader.entries(known.get(key), f"{where}.{key}")
            known[key] = [one for place, raw in held if (one := self._reader.record(raw, place, fields)) is not None]
        return known

    def _page(self, first: int) -> list[tuple[str, Any]]:
        listing, posts = self._listing, self._listing.method == "POST"
        answer = self._session.request(
            listing.method,
            self._path,
            operation=self._operation,
            body=b"{}" if posts else b"",
            headers={"Accept": _JSON} | ({"Content-Type": _JSON} if posts else {}),
            params={
                "first": str(first),
                "count": str(self._count),
                "sortKey": listing.key,
                "sortOrder": "ASC",
            },
        )
        reasons = business(answer)
        if answer.status != 200 or reasons:
            raise RefusedError(answer, reasons)
        head = self._reader.record(answers.json_value(answer.body), "", listing.page_fields)
        if head is None:
            raise AnswerError(f"{listing.entries} cannot be read: {_told(self._reader)}")
        entries = list(self._reader.entries(head[listing.entries], listing.entries))
        if len(entries) > self._count:
            self._reader.strange(listing.entries, "has more entries than were asked for")
        return entries


def _told(reader: Reader) -> str:
    return "; ".join(f"{drift.path} {drift.what}" for drift in reader.drifts[:3])
