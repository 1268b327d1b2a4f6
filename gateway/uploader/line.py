"""Whether a hub can be spoken to: how long it rests after a failure, and whether a person must act before."""

import random
from collections.abc import Callable

#: first and longest pause after failures in a row (s), and the longest one that a hub may ask for
FIRST_S, LONGEST_S, MOST_ASKED_S = 1, 900, 86_400
#: failures in a row that hold up their own message only: others may fare better
SINGLE = 4
#: failures in a row, and time that they lasted (s), after which people are told that a hub is down
DOWN_AFTER, DOWN_S = 5, 600


def backoff_s(failures: int, draw: Callable[[float, float], float] = random.uniform) -> float:
    """Pause after so many failures in a row: full jitter over 1, 2, 4 ... 900 s."""
    return draw(0, min(LONGEST_S, FIRST_S * 2 ** min(failures, 10)))


def asked_s(retry_after_s: int | None) -> int:
    """What a hub may ask to be waited for (s): not less than nothing, a day at most."""
    return min(max(retry_after_s or 0, 0), MOST_ASKED_S)


class Line:
    """The state of the way to one hub, on the wall clock of this host (UTC s)."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self.failures = 0
        #: since when it fails, until when it rests, and the last reason as a sentence
        self.since: float | None = None
        self.until = 0.0
        self.trouble: str | None = None
        #: no retry helps before a person acts; and that this was so since the hub served us last
        self.blocked = self._was_blocked = False
        #: people were told that it is down, by this process, or by one before
        self.is_down = self._told_before = False

    def resume(self) -> None:
        """A process before this one told that the hub is down or blocked: its first answer is news."""
        self._told_before = True

    def free(self, now: float) -> bool:
        """Whether something may be sent. A clock that was set back does not lengthen a pause beyond its most."""
        return not self.blocked and not now < self.until <= now + MOST_ASKED_S

    def pause_s(self, attempts: int, retry_after_s: int | None = None) -> int:
        """How long one message rests after so many vain attempts (whole s, 1 at least)."""
        return max(1, round(backoff_s(attempts - 1, self._draw)), asked_s(retry_after_s))

    def good(self) -> bool:
        """The hub answered; whether it had been down, or blocked."""
        was_down = self._was_blocked or self.is_down or self._told_before
        self.failures, self.since, self.until, self.trouble = 0, None, 0.0, None
        self.blocked = self._was_blocked = self.is_down = self._told_before = False
        return was_down

    def failed(self, why: str, now: float, retry_after_s: int | None = None, *, whole: bool = False) -> None:
        """It did not serve us. `whole`: it cannot be reached at all, so that no other message would fare better."""
        self.failures += 1
        self.since = now if self.since is None else self.since
        if whole:
            rest = max(1.0, backoff_s(self.failures - 1, self._draw))
        else:
            rest = backoff_s(self.failures - 1 - SINGLE, self._draw) if self.failures > SINGLE else 0
        self.until = now + max(rest, asked_s(retry_after_s))
        self.is_down = self.is_down or (self.failures >= DOWN_AFTER and self.until - self.since >= DOWN_S)
        self.trouble = why

    def block(self, why: str, now: float) -> bool:
        """Stop until a person acted; whether that is news."""
        news = not self._was_blocked
        self.blocked = self._was_blocked = True
        self.trouble = why
        self.since = now if self.since is None else self.since
        return news

    def unblock(self) -> None:
        """Try again: a person acted, credentials changed, or a new day began."""
        self.blocked = False
        self.until = 0.0
