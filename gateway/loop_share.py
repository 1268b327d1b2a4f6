"""What one meter may take of the event loop, so that a flood on one line cannot starve the others."""

import asyncio
import time

#: what one meter may take without a pause (s), and of each second
TURN_S, SHARE = 0.005, 0.4


class LoopShare:
    """The share of one meter: it pauses after a turn, and rests when it took its share of a second."""

    def __init__(self) -> None:
        self._second = time.monotonic()
        self._spent = self._turn = 0.0

    async def spend(self, began: float) -> None:
        """Account for work that began at `began` and ended now."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._spent = now, 0.0
        self._spent += now - began
        self._turn += now - began
        if self._spent >= SHARE:
            await asyncio.sleep(self._second + 1 - now)
        elif self._turn >= TURN_S:
            self._turn = 0.0
            await asyncio.sleep(0)
