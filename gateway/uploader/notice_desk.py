"""The book of notices among threads: who takes, who writes, who sends; nothing is done here while the lock is held."""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from gateway.hub_model import Event
from gateway.uploader.notice_book import Book, Notice

#: events that are kept until the book of the last run is read
_MOST_EARLY: Final = 1_000
_MOST_WAIT_S: Final = 5.0
#: so long is waited for the ledger (s), and then gone on without it
_PATIENCE_S: Final = 10.0
#: entries of the audit log of which nothing was to be told, and that may be looked through again after a restart
_MOST_AGAIN: Final = 5_000


class Desk:
    """A book, and the signs by which its threads wake each other."""

    def __init__(self, book: Book, clock: Callable[[], float]) -> None:
        self._book = book
        self._clock = clock
        self._change = threading.Condition()
        self._early: deque[Event] | None = deque(maxlen=_MOST_EARLY)
        self._changes = 0
        self._written = 0
        #: by which change a notice was made: it leaves when that is written
        self._made: dict[str, int] = {}
        self._stopping = False
        self._closing = False
        #: by hub: the last mark, and the one that is written; and hubs of which events came since
        self._marked: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._fresh: set[str] = set()

    def take(self, event: Event) -> None:
        """Note an event."""
        with self._change:
            self._fresh.add(event.hub)
            if self._early is not None:
                self._early.append(event)
            else:
                self._book.take(event, self._now())
                self._changed()

    def mark(self, hub: str, entry: int) -> None:
        """Every event of a hub that comes of entries of the audit log up to this one was taken: kept with these."""
        with self._change:
            self._marked[hub] = entry
            if self._early is None:
                self._book.mark(hub, entry)
                if hub in self._fresh or entry >= self._kept.get(hub, -_MOST_AGAIN) + _MOST_AGAIN:
                    self._fresh.discard(hub)
                    self._kept[hub] = entry
                    self._changed()

    def seen(self, hub: str) -> int | None:
        """Up to which entry the events of a hub were taken, by this run or the last one; None: it is new here."""
        with self._change:
            self._change.wait_for(lambda: self._early is None or self._closing, _PATIENCE_S)
            return self._book.seen(hub)

    def troubles(self, hub: str) -> frozenset[str]:
        """Names of the troubles of a hub of which people were told, or are to be."""
        with self._change:
            self._change.wait_for(lambda: self._early is None or self._closing, _PATIENCE_S)
            return frozenset(one.name for one in self._book.troubles() if one.hub == hub)

    def flush(self) -> None:
        """Wait until what was taken is written."""
        with self._change:
            self._change.wait_for(lambda: self._early is None or self._closing, _PATIENCE_S)
            change = self._changes
            self._change.wait_for(lambda: self._written >= change or self._closing, _PATIENCE_S)

    def open(self, data: bytes | None, hubs: Collection[str] | None) -> bool:
        """Go on from the book of the last run; False: it cannot be read, and a new one is begun."""
        with self._change:
            good = data is None or self._book.load(data, hubs)
            early, self._early = self._early or (), None
            for event in early:
                self._book.take(event, self._now())
            for hub, entry in self._marked.items():
                self._book.mark(hub, entry)
            self._changed()
            return good

    def to_write(self) -> tuple[int, bytes] | None:
        """Wait until the book has changed, or has a notice to make: what to write; None: everything is written, end."""
        with self._change:
            while True:
                self._form()
                if self._changes > self._written:
                    return self._changes, self._book.dump()
                if self._closing:
                    return None
                self._change.wait(self._idle_s())

    def written(self, change: int) -> None:
        """The book is written as it was at a change (or cannot be, and notices leave all the same)."""
        with self._change:
            self._written = change
            self._made = {id_: made for id_, made in self._made.items() if made > change}
            self._change.notify_all()

    def rest(self, seconds: float) -> None:
        """Wait, unless the end comes."""
        with self._change:
            self._change.wait_for(lambda: self._closing, seconds)

    def next(self, channel: str, pause_s: float = 0.0) -> Notice | None:
        """Wait for `pause_s`, then for the next notice of a channel; None: the end."""
        until = time.monotonic() + pause_s
        with self._change:
            while not self._stopping:
                left = until - time.monotonic()
                notice = self._book.head(channel) if left <= 0 else None
                if notice is not None and notice.id not in self._made:
                    return notice
                self._change.wait(left if left > 0 else None)
            return None

    def sent(self, channel: str, notice: str) -> None:
        """A channel has sent a notice."""
        with self._change:
            self._book.done(channel, notice)
            self._changed()

    def counts(self, channel: str) -> tuple[int, int]:
        """How many notices wait for a channel, and how many it has lost."""
        with self._change:
            return self._book.waiting(channel), self._book.lost(channel)

    def stop(self) -> None:
        """No further notice is begun."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    def close(self) -> None:
        """Nothing comes any more: write and end."""
        with self._change:
            self._changes += 1  # with the last marks
            self._stopping = self._closing = True
            self._change.notify_all()

    def _form(self) -> None:
        if self._stopping or self._early is not None:
            return
        if notices := self._book.form(self._now()):
            self._changed()
            self._made |= {notice.id: self._changes for notice in notices}

    def _idle_s(self) -> float:
        due = self._book.next_due()
        return _MOST_WAIT_S if due is None else min(_MOST_WAIT_S, max(0.05, due - self._clock()))

    def _now(self) -> int:
        return int(self._clock())

    def _changed(self) -> None:
        self._changes += 1
        self._change.notify_all()
