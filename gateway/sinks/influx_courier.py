"""Takes readings from the outbox to the database: one request at a time, and nothing is settled but by an answer.

A batch that the server refuses is halved until the refused rows stand alone: they become dead letters, all others go
on. Whether rows are to blame the server says, or it shows by taking others: a server that refuses everything is a
trouble, and costs no row. Writing twice is harmless: a point is found again by its tags and its time.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from gateway.sinks.influx_answers import Accepted, Refused, Trouble
from gateway.sinks.influx_points import Point, Points
from gateway.stores.outbox import Dead, Entry, Outbox

#: accepted requests after which a server that found one too large is offered more again
GROW_AFTER = 64
#: readings that are read and written out in one go: about a millisecond
MORSEL = 20


class Post(Protocol):
    """Sends lines and says what came of it."""

    def __call__(self, body: bytes) -> Accepted | Refused | Trouble:
        """One request; never raises but to end the sink."""
        ...


class TroubleError(Exception):
    """The database takes nothing now."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.reason)
        self.trouble = trouble


def backoff_s(attempt: int, trouble: Trouble) -> float:
    """Pause in s after `attempt` troubles in a row (1, 2 ...): what the server asked for, else full jitter from 1 s."""
    if trouble.retry_after_s is not None:
        return max(1.0, trouble.retry_after_s)
    return random.uniform(1.0, min(trouble.cap_s, 2.0 ** min(attempt, 8)))  # noqa: S311 - spreads load, no secret


class Courier:
    """The way of the readings of one outbox. Belongs to one thread."""

    def __init__(self, outbox: Outbox, points: Points, post: Post, batch: int) -> None:
        self._outbox = outbox
        self._points = points
        self._post = post
        self._most = self._limit = batch
        self._batch = batch
        self._accepted_since = 0
        self._has_looked_back = False
        #: read and not settled, oldest first; lines are made once, whatever becomes of them
        self._open: list[tuple[Entry, Point]] = []
        self.posts = 0
        self.last_refusal: str | None = None

    def work(self) -> bool:
        """Deliver what there is, one page at most; False when there was nothing. Raises TroubleError."""
        if not self._has_looked_back:
            self._look_back()
        if not self._open:
            self._fill()
        if not self._open:
            return False
        self._deliver()
        return True

    def _fill(self) -> None:
        """Read a page and make its lines, in morsels: whoever reads the meter waits for no more than one of them."""
        while (room := self._limit - len(self._open)) > 0:
            after = self._open[-1][0].id if self._open else None
            entries = self._page(after, min(room, MORSEL))
            self._open += [(entry, self._points.make(entry.id, entry.item)) for entry in entries]
            time.sleep(0)
            if len(entries) < min(room, MORSEL):
                return

    def _look_back(self) -> None:
        """Take the places of what was delivered before this start, so that what comes next finds its own."""
        position = self._outbox.position
        last = max(0, position - self._points.window)
        while last < position:
            entries = [entry for entry in self._page(last, MORSEL) if entry.id <= position]
            if not entries:
                break
            for entry in entries:
                self._points.look_back(entry.id, entry.item)
            last = entries[-1].id
            time.sleep(0)
        self._has_looked_back = True

    def _page(self, after: int | None, limit: int) -> list[Entry]:
        entries = self._outbox.page(after, limit)
        trouble = None if entries else self._outbox.trouble
        if trouble:
            raise TroubleError(Trouble(f"the journal gives nothing: {trouble}"))
        return entries

    def _deliver(self) -> None:
        """Send the page in parts, and halve the part that is refused. What stays open is what nothing is known of."""
        parts = [len(self._open)]
        unproven: list[Refused] = []
        while parts:
            size = min(parts[-1], self._limit)
            parts[-1] -= size
            if not parts[-1]:
                parts.pop()
            part = self._open[len(unproven) : len(unproven) + size]
            match self._send(part):
                case Refused() as refusal if size > 1:
                    self._shrink(size, refusal)
                    parts += [size - size // 2, size // 2]
                case Refused() as refusal:
                    unproven.append(refusal)
                    if refusal.by_rows:
                        unproven = self._settle(unproven)
                case None if unproven:
                    unproven += [Refused(point.why_not, by_rows=False) for _, point in part]
                case _:
                    unproven = self._settle(unproven, size)
        if unproven and self._takes_another():
            unproven = self._settle(unproven)
        if unproven:
            raise TroubleError(Trouble(f"the database takes no row: {unproven[-1].reason}; check influx.url", 120))

    def _takes_another(self) -> bool:
        """Whether the database takes the next reading of another meter: then those that are open are at fault."""
        after, meters = self._open[-1][0].id, {entry.item.meter for entry, _ in self._open}
        entries: list[Entry] = []
        last = after
        while not entries and last < self._outbox.newest:
            before = last
            entries, last = self._outbox.ahead(before, meters, 1)
            if last == before:
                break
        # as of this place in the journal: what it is compared with are the readings before
        parts = [(entry, self._points.make(after, entry.item)) for entry in entries]
        taken = bool(parts) and isinstance(self._send(parts), Accepted)
        for entry in entries if not taken else ():
            self._points.forget_subs(entry.item.meter)
        return taken

    def _send(self, part: Sequence[tuple[Entry, Point]]) -> Accepted | Refused | None:
        """What the database says to some rows; None where there is nothing to send."""
        body = b"".join(point.lines for _, point in part)
        if not body:
            return None
        self.posts += 1
        verdict = self._post(body)
        if isinstance(verdict, Trouble):
            self._limit = max(1, len(part) // 2)
            raise TroubleError(verdict)
        if isinstance(verdict, Accepted):
            self._grow()
        return verdict

    def _settle(self, refused: list[Refused], accepted: int = 0) -> list[Refused]:
        """Settle the oldest open rows: those that were refused, then some that were not. Gives what is left: none.

        Those among the latter that have no lines are dead letters, too.
        """
        count = len(refused) + accepted
        done, self._open = self._open[:count], self._open[count:]
        whys = [*(one.reason for one in refused), *(point.why_not for _, point in done[len(refused) :])]
        dead = [Dead(entry, why) for (entry, _), why in zip(done, whys, strict=True) if why]
        delivered = Counter(entry.item.meter for (entry, _), why in zip(done, whys, strict=True) if not why)
        self._outbox.settle(done[-1][0].id, delivered=delivered, dead=dead)
        for letter in dead:
            self.last_refusal = letter.reason
            self._points.forget_subs(letter.entry.item.meter)
        return []

    def _shrink(self, size: int, refusal: Refused) -> None:
        if refusal.too_large:
            self._most = self._limit = max(1, size // 2)
            self._accepted_since = 0

    def _grow(self) -> None:
        """A slow line gets smaller requests; it gets larger ones again as soon as they arrive."""
        self._accepted_since += 1
        if self._accepted_since >= GROW_AFTER:
            self._most, self._accepted_since = min(self._batch, self._most * 2), 0
        self._limit = min(self._most, self._limit * 2)
