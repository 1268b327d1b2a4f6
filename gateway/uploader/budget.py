"""The request budget of a hub: never more requests within a minute than it allows, in all and of one method."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from gateway.uploader.hub import SessionError

WINDOW_S = 60.0


class Budget:
    """Requests of the last minute, in all and by operation; `take` waits until one more fits into each."""

    def __init__(
        self,
        per_minute: int,
        by_operation: Mapping[str, int],
        *,
        wait: Callable[[float], object] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the limits; `wait(s)` gives a true value when the process is to end meanwhile (Event.wait)."""
        self._all: deque[float] = deque(maxlen=per_minute)
        self._by = {operation: deque[float](maxlen=most) for operation, most in by_operation.items()}
        self._wait = wait
        self._monotonic = monotonic

    def take(self, operation: str) -> None:
        """Wait until a request of this operation may leave, and count it; raises SessionError at the end of us."""
        taken = [self._all, *([self._by[operation]] if operation in self._by else [])]
        while (pause := max(self._pause(one) for one in taken)) > 0:
            if self._wait(pause):
                raise SessionError("the uploader ends: the request waits for its next start", sent=False)
        now = self._monotonic()
        for one in taken:
            one.append(now)

    def _pause(self, taken: deque[float]) -> float:
        """How long the oldest request of a full window stays in it (s)."""
        return taken[0] + WINDOW_S - self._monotonic() if len(taken) == taken.maxlen else 0.0
