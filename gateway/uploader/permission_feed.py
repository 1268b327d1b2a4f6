"""Items I, J and L from a permission administrator: its notices are asked for, kept, and acted upon before all else.

The position behind the last notice is kept in one transaction with it, so that each notice is asked for until it is
kept. The last one that was kept is asked for again each time: when it is not there any more as it was, the notices
began anew, and are read from the first one on. Nobody who is silent can hide an end for long: data stop with the
silence (gateway.uploader.permissions.Grounds).
"""

from collections.abc import Callable, Collection
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from gateway.hub_model import Event, Inbound
from gateway.hub_settings import HubSettings
from gateway.stores.hubs import HubStore
from gateway.uploader.answers import AnswerError, json_value, retry_after_s, words
from gateway.uploader.hub import Session, SessionError
from gateway.uploader.inbox import View
from gateway.uploader.permissions import Ended, PermissionFormatError, read

#: notes: position and digest of the last notice, when all of them were read last, and of which points they were kept
CURSOR, HEARD, POINTS = "permissions.cursor", "permissions.heard", "permissions.points"
#: and which troubles are told and not over
TOLD: Final = "permissions.told"
#: notices of one answer, answers of one round, octets and values of an answer
PAGE, PAGES, MOST_OCTETS, MOST_VALUES = 100, 10, 4 << 20, 20_000
#: highest position that every reader of JSON can hold
MOST_N: Final = 2**53
#: how exact the time of the last reading outlives the process (s), and longest Retry-After that is obeyed (s)
KEPT_S, MOST_RETRY_S = 30, 900


class _Cursor(NamedTuple):
    n: int
    #: SHA-256 of the last notice, in hexadecimal
    digest: str


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: int | None


class _Notice(msgspec.Struct):
    n: int
    item: str
    body: msgspec.Raw


class _Seen(NamedTuple):
    """A notice with its exact octets."""

    n: int
    item: str
    raw: bytes

    @property
    def digest(self) -> str:
        return sha256(self.raw).hexdigest()


class PermissionFeed:
    """The notices of the permission administrator of one hub, in its thread."""

    def __init__(  # noqa: PLR0913 - what it works with, by name
        self,
        hub: HubSettings,
        store: HubStore,
        session: Session,
        points: Collection[str],
        *,
        receive: Callable[[Inbound, View], bool],
        clock: Callable[[], float],
        tell: Callable[[Event], None],
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        """`receive` keeps an inbound with what the view remembers; permissions of other points are not kept.

        `flush` waits until what was told outlives the process.
        """
        self._flush = flush
        self._hub, self._store, self._session, self._points = hub, store, session, points
        self._receive, self._clock, self._tell = receive, clock, tell
        #: when the administrator was heard last, UTC s
        self.heard = heard(store, hub)
        self._kept = self.heard or 0
        self._began = int(clock())
        #: why it is not heard
        self.trouble: str | None = None
        self._told = set((store.note(hub.name, TOLD) or b"").decode().split())

    def poll(self, stop: Callable[[], bool]) -> float | None:
        """Read what is new; seconds until it is to be asked again, where they are not those of the configuration."""
        self._retry: float | None = None
        now = int(self._clock())
        try:
            whole = self._read(stop)
        except (SessionError, AnswerError) as error:
            self._failed(words(str(error)), int(self._clock()))
            return self._retry
        if not whole:
            return 0.0
        self.heard, self.trouble = now, None
        if now - self._kept >= KEPT_S:
            self._store.remember(self._hub.name, HEARD, b"%d" % now)
            self._kept = now
        self._recovered(now)
        return None

    def _read(self, stop: Callable[[], bool]) -> bool:
        """Keep every notice behind the last one; False when there are more. Raises SessionError and AnswerError."""
        cursor, unread = self._start(), ""
        after, last = max(0, cursor.n - 1), cursor
        for _ in range(PAGES):
            found, follows = self._page(after)
            if cursor.n and after == cursor.n - 1:
                if not found or (found[0].n, found[0].digest) != cursor:
                    self._begin_anew(cursor)
                    return False
                found = found[1:]
            for one in found:
                unread = self._take(one, hold=bool(unread)) or unread
                last = last if unread else _Cursor(one.n, one.digest)
            if last != cursor:
                self._store.remember(self._hub.name, CURSOR, msgspec.json.encode(last))
            if follows is None or stop():
                break
            if follows <= after:
                raise AnswerError("the permission administrator gives the same page again")
            after = follows
        else:
            if not unread:
                return False
        if unread:
            raise AnswerError(unread)
        return True

    def _start(self) -> _Cursor:
        """Behind which notice to read: behind none, when points came whose permissions were passed over."""
        points = sha256("\n".join(sorted(self._points)).encode()).hexdigest().encode()
        if self._store.note(self._hub.name, POINTS) != points:
            self._store.remember(self._hub.name, CURSOR, b"")
            self._store.remember(self._hub.name, POINTS, points)
        try:
            return msgspec.json.decode(self._store.note(self._hub.name, CURSOR) or b"", type=_Cursor)
        except msgspec.DecodeError:
            return _Cursor(0, "")

    def _begin_anew(self, cursor: _Cursor) -> None:
        self._store.remember(self._hub.name, CURSOR, b"")
        text = f"notice {cursor.n} of the permission administrator is not what it was: all of them are read again"
        self._tell(Event("permissions_anew", self._hub.name, "warning", text, int(self._clock()), str(cursor.n)))

    def _page(self, after: int) -> tuple[list[_Seen], int | None]:
        """Notices behind a position, in their order, and behind which to go on."""
        answer = self._session.request(
            "GET",
            "/notices",
            operation="permissions",
            params={"after": str(after), "limit": str(PAGE)},
            max_answer=MOST_OCTETS,
        )
        if answer.status != 200:
            if (rest := retry_after_s(answer, self._clock())) is not None:
                self._retry = float(min(MOST_RETRY_S, max(rest, self._hub.permissions_s)))
            raise AnswerError(f"the permission administrator answers {answer.status}")
        json_value(answer.body, most=MOST_OCTETS, marks=MOST_VALUES)
        try:
            page = msgspec.json.decode(answer.body, type=_Page)
            found = [_seen(bytes(one)) for one in page.items]
        except (msgspec.DecodeError, RecursionError) as error:
            raise AnswerError(f"the permission administrator gives no notices: {words(str(error))}") from None
        places = [after, *(one.n for one in found)]
        if len(found) > PAGE or places[-1] > MOST_N or any(a >= b for a, b in pairwise(places)):
            raise AnswerError("the permission administrator gives notices without order, or more than were asked for")
        return found, page.next

    def _take(self, one: _Seen, *, hold: bool) -> str:
        """Keep a notice; why the reading may not pass it. `hold`: an earlier one may not be passed."""
        if one.item not in ("I", "J", "L"):
            return ""
        text, said = f"notice {one.n} of the permission administrator", None
        try:
            said = read(one.raw)
            if not isinstance(said, Ended) and said.point not in self._points:
                return ""
            text = f"permission {said.id} {_word(one.item)}"
        except PermissionFormatError:
            pass
        view = View(self._store, self._hub.name)
        unread = said is None and one.item != "I"
        if not hold and not unread:
            view.remember(CURSOR, msgspec.json.encode(_Cursor(one.n, one.digest)))
        facts = {"n": one.n, "item": one.item, "permission": None if said is None else said.id}
        name = f"notice {one.n} {one.digest[:32]}"
        self._receive(Inbound(name, "permission", one.raw, "application/json", {}, text, facts, "info"), view)
        return f"nobody knows what item {one.item} in notice {one.n} ended: it cannot be read" if unread else ""

    # -- what is told --------------------------------------------------------------------------------------------------

    def _failed(self, why: str, now: int) -> None:
        self.trouble = f"the permission administrator is not heard: {why}"
        since = self._began if self.heard is None else self.heard
        hours = self._hub.permissions_stop_h
        if now - since >= self._hub.permissions_late_s:
            self._say("permissions_late", "warning", f"{self.trouble}; data by permissions stop after {hours} h", now)
        if now - since > hours * 3_600:
            text = f"{self.trouble} for {hours} h: data by permissions wait until it is"
            self._say("permissions_stopped", "error", text, now)

    def _say(self, name: str, severity: str, text: str, now: int) -> None:
        if name not in self._told:
            self._told.add(name)
            self._tell(Event(name, self._hub.name, severity, text, now))  # type: ignore[arg-type]
            self._flush()
            self._store.remember(self._hub.name, TOLD, " ".join(self._told).encode())

    def _recovered(self, now: int) -> None:
        for name in sorted(self._told):
            text = "the permission administrator is heard again"
            self._tell(Event(name, self._hub.name, "info", text, now, recovered=True))
        if self._told:
            self._flush()
            self._told.clear()
            self._store.remember(self._hub.name, TOLD, b"")


def heard(store: HubStore, hub: HubSettings) -> int | None:
    """When the permission administrator of a hub was heard last (UTC s), as the ledger says; None: never."""
    kept = store.note(hub.name, HEARD)
    return int(kept) if kept is not None and kept.isdigit() else None


def _seen(raw: bytes) -> _Seen:
    notice = msgspec.json.decode(raw, type=_Notice)
    return _Seen(notice.n, notice.item, raw)


def _word(item: str) -> str:
    return {"I": "was given (item I)", "J": "was terminated (item J)", "L": "was revoked (item L)"}[item]
