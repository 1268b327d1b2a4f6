"""Simulated time: real or accelerated, and the wall clock of a zone with its summer flag."""

import asyncio
import time
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


class Clock:
    """Simulated time: `start` is `delay_s` after this clock is made, then it runs `speed` times as fast as real time.

    A speed of infinity waits for nothing.
    """

    def __init__(self, start: datetime, speed: float = 1.0, *, delay_s: float = 0.0) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a simulation needs a zone")
        if not speed > 0:
            raise ValueError("the speed of a simulation is a factor above 0")
        self.start = start.astimezone(UTC)
        self.speed = speed
        self._began = time.monotonic() + delay_s

    @classmethod
    def from_now(cls, speed: float = 1.0) -> "Clock":
        """Start at the next whole second of real time, in step with it."""
        now = time.time_ns()
        start = -(-now // 1_000_000_000)
        return cls(datetime.fromtimestamp(start, UTC), speed, delay_s=start - now / 1e9)

    def begin(self) -> None:
        """Let simulated time be `start` now, however long ago this clock was made."""
        self._began = time.monotonic()

    async def wait_until(self, t: datetime) -> None:
        """Sleep until simulated time `t`; when it is past, other tasks get their turn all the same."""
        due = self._began + (t - self.start).total_seconds() / self.speed
        await asyncio.sleep(max(0.0, due - time.monotonic()))


@lru_cache(maxsize=32)
def zone(name: str) -> ZoneInfo:
    """The zone of that name; raises ZoneInfoNotFoundError."""
    return ZoneInfo(name)


def wall(second: int, tz: tzinfo) -> datetime:
    """The local time of a second since 1970, with its offset."""
    return datetime.fromtimestamp(second, tz)


def local_midnight(second: int, tz: tzinfo) -> int:
    """The second since 1970 at which the local day of `second` began."""
    return int(wall(second, tz).replace(hour=0, minute=0, second=0, fold=0).timestamp())
