"""The time of readings: each gets its own, and those that come before this host's clock is believed wait for it."""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from decoders.model import Reading
from gateway import log
from gateway.host_clock import HostClock
from gateway.item_p import ItemP, stamp, utc
from gateway.settings import MeterSettings

#: readings of one meter that wait for the time, at most; and how many get it at one look
HELD_MOST, RELEASED = 3_600, 500


class Held(NamedTuple):
    """A reading without a time, when it arrived (monotonic, s), and why it is set aside if it is."""

    item: ItemP
    at: float
    reason: str | None = None


class Stamping:
    """Stamps the readings of one meter."""

    def __init__(self, settings: MeterSettings, clock: HostClock) -> None:
        self._settings = settings
        self._clock = clock
        self._held: deque[Held] = deque()

    @property
    def waiting(self) -> int:
        """How many readings wait for the time."""
        return len(self._held)

    def take_over(self, before: "Stamping") -> None:
        """Go on with what waited under an earlier configuration."""
        self._held = before._held  # noqa: SLF001 - the same meter

    def stamp(self, reading: Reading, t_rx: datetime | None, seq: int) -> ItemP:
        """Make item P of a reading that arrived at `t_rx`; None: nobody knows when."""
        return stamp(
            reading,
            self._settings.name,
            seq=seq,
            t_rx=t_rx,
            max_clock_offset_s=self._settings.max_clock_offset_s,
            interval_s=self._settings.interval_s,
            floor=self._clock.floor,
        )

    def hold(self, held: Held) -> Held | None:
        """Keep a reading until there is a time for it; when too many wait, the oldest, which will never have one."""
        if not self._held:
            log.event("clock_waits", meter=self._settings.name, shown=utc(self._clock.now(), "seconds"))
        self._held.append(held)
        return self._held.popleft() if len(self._held) > HELD_MOST else None

    def release(self) -> Iterator[tuple[ItemP, str | None]]:
        """Give readings that waited, with their time and why they are set aside if they are; none without a time."""
        if not self._clock.believed:
            return
        for _ in range(min(len(self._held), RELEASED)):
            held = self._held.popleft()
            t_rx = self._clock.at(held.at)
            yield self.stamp(held.item.reading, t_rx, held.item.seq or 0), held.reason

    def give_up(self) -> Iterator[Held]:
        """Give what still waits, at the end."""
        while self._held:
            yield self._held.popleft()
