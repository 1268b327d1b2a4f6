"""A reading of another meter, behind all that is in hand: whoever takes it refuses some meters, and not everything.

Where all readings in hand are refused it cannot be told whether the consumer refuses these or whatever it gets. The
next one of another meter tells: it is sent out of its turn, and is the oldest of its meter that was not delivered.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

from gateway.stores.outbox import Entry, Outbox

#: readings that are looked at in one go
LOOK: Final = 20
#: where there was none, what came since is looked at after so long (s), and all of it once more after so long (s)
SOON_S, ANEW_S = 1.0, 30.0


class Bystanders:
    """Looks for bystanders of an outbox for a sink in the loop; a thread reads the disk."""

    def __init__(self, outbox: Outbox, found: Callable[[], None], monotonic: Callable[[], float] = time.monotonic):
        """`found` is called when there is something to ask `next` for."""
        self._outbox = outbox
        self._found = found
        self._monotonic = monotonic
        self._looking: asyncio.Task[tuple[list[Entry], int]] | None = None
        self._without: frozenset[str] = frozenset()
        #: meters of which one was passed over that may be wanted yet: no later one goes before it
        self._unsure: set[str] = set()
        self._upto, self._soon, self._anew = 0, 0.0, 0.0

    def next(self, after: int, without: Collection[str], wanted: Callable[[Entry], bool | None]) -> Entry | None:
        """The oldest reading behind `after` of none of the meters `without` that is wanted; None: ask again.

        `wanted` gives None where that is to be seen yet.
        """
        found = self._take(after, without, wanted)
        if found is not None or self._looking is not None:
            return found
        now = self._monotonic()
        if now >= self._anew or not self._without <= frozenset(without):
            self._upto, self._anew = after, now + ANEW_S
            self._unsure.clear()
        elif now < self._soon:
            return None
        self._without = frozenset(without)
        start = self._upto = max(self._upto, after)
        self._looking = asyncio.create_task(asyncio.to_thread(self._outbox.ahead, start, self._without, LOOK))
        self._looking.add_done_callback(lambda _looking: self._found())
        return None

    def _take(self, after: int, without: Collection[str], wanted: Callable[[Entry], bool | None]) -> Entry | None:
        """What the last look found; it is looked at again from there."""
        if self._looking is None or not self._looking.done():
            return None
        (entries, upto), self._looking = self._looking.result(), None
        for entry in entries:
            meter = entry.item.meter
            if entry.id <= after or meter in without or meter in self._unsure:
                continue
            verdict = wanted(entry)
            if verdict:
                self._upto = entry.id - 1
                return entry
            if verdict is None:
                self._unsure.add(meter)
        self._upto = max(self._upto, upto)
        self._soon = self._monotonic() + (SOON_S if self._upto >= self._outbox.newest else 0.0)
        return None
