"""Simulated time: real or accelerated, and the wall clock of a zone with its summer flag."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


class Clock:
    """Simulated time that starts at `start` when it is made and runs `speed` times as fast as real time."""

    def __init__(self, start: datetime, speed: float = 1.0) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a simulation needs a zone")
        if not speed > 0:
            raise ValueError("the speed of a simulation is a factor above 0")
        self.start = start.astimezone(UTC)
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> datetime:
        """Simulated time in UTC."""
        return self.start + timedelta(seconds=(time.monotonic() - self._began) * self.speed)

    async def wait_until(self, t: datetime) -> None:
        """Sleep until simulated time `t`; at once when it is past, but other tasks get their turn."""
        await asyncio.sleep(max(0.0, (t - self.now()).total_seconds() / self.speed))


def next_second() -> datetime:
    """The first whole second of real time that is not past, in UTC."""
    return datetime.fromtimestamp(-(-time.time_ns() // 1_000_000_000), UTC)


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
