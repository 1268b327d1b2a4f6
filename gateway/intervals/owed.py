"""What the consumers of one meter's intervals are still to be told: everything from a mark on; no I/O and no clock.

Versions have an order, that of the moments at which they were made. The mark is the first that is not confirmed. It is
stored now and then; after a restart everything from there on is told, some of it once more.
"""

from typing import Final, NamedTuple, get_args

from gateway.intervals.model import RESOLUTIONS, Direction, Interval, Resolution

#: versions of a meter that are told and not confirmed, at most: the ledger has the others
MOST: Final = 500
#: versions of intervals that had ended longer before (s) are no news: a first start folds all that the journal has
NEWS_S: Final = 7 * 86_400
#: what was made longer ago (s) is not told any more
OWED_S: Final = 40 * 86_400


class Mark(NamedTuple):
    """Place of a version in the order in which they are told; of those of one second the earlier interval is first."""

    #: UTC, seconds since 1970
    made: int
    end: int = 0
    #: places in RESOLUTIONS and of the Direction
    resolution: int = 0
    direction: int = 0
    version: int = 0


def mark_of(direction: Direction, resolution: Resolution, version: Interval) -> Mark:
    """The mark of a version that is stored."""
    places = RESOLUTIONS.index(resolution), get_args(Direction).index(direction)
    return Mark(version.made or 0, version.end, *places, version.version)


def is_news(version: Interval) -> bool:
    """Whether a version that is stored is told at all: one of late, and what a person says of any."""
    return version.author == "person" or version.end >= (version.made or 0) - NEWS_S


class Owed:
    """What one meter's consumers are owed, from a mark on: at the beginning, all of it is still to be looked up."""

    def __init__(self, mark: Mark) -> None:
        #: the first that was not told; None: all were
        self.rest: Mark | None = mark
        self._top = mark
        self._open: dict[int, Mark] = {}
        self._tickets = 0

    @property
    def mark(self) -> Mark:
        """Everything before it is confirmed."""
        return min([*self._open.values(), *([] if self.rest is None else [self.rest])], default=self._top)

    @property
    def wants(self) -> Mark | None:
        """From where on versions are to be looked up, once all that was told is confirmed; else None."""
        return None if self._open else self.rest

    def tell(self, mark: Mark) -> int | None:
        """The ticket of a version that is told now; None where it has to wait."""
        if self.rest is not None or len(self._open) >= MOST:
            self.leave(mark)
            return None
        self._tickets += 1
        self._open[self._tickets] = mark
        return self._tickets

    def leave(self, mark: Mark) -> None:
        """Let a version, and those behind it, wait in the ledger."""
        self.rest = mark if self.rest is None else min(self.rest, mark)

    def confirm(self, ticket: int) -> None:
        """Let a version be confirmed; one that is told anew since is not."""
        mark = self._open.pop(ticket, None)
        if mark is not None:
            self._top = max(self._top, mark._replace(version=mark.version + 1))

    def anew(self) -> None:
        """Have everything that is not confirmed looked up and told once more."""
        self.rest = self.mark
        self._open.clear()
