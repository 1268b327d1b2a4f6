"""When the days of a hub are released: once a day, by the local time of each point, with a jitter that is drawn."""

import random
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import msgspec

from gateway.hub_settings import HubSettings
from gateway.stores.hubs import HubStore
from gateway.uploader.targets import Target

#: telegrams of the last minutes of a day are folded and validated so long behind its end (s)
SETTLES_S: Final = 900
#: name of the note that keeps what was drawn, and days that it keeps
JITTER, KEPT_DAYS = "uploader.jitter", 8
_DAY: Final = timedelta(days=1)


class Notes(Protocol):
    """What is remembered of one hub (gateway.stores.hubs)."""

    def note(self, key: str) -> bytes | None:
        """What was remembered under a key."""
        ...

    def remember(self, key: str, value: bytes) -> None:
        """Keep something, durable."""
        ...


class HubNotes:
    """The notes of one hub in the ledger."""

    def __init__(self, store: HubStore, hub: str) -> None:
        self._store, self._hub = store, hub

    def note(self, key: str) -> bytes | None:
        """What was remembered under a key."""
        return self._store.note(self._hub, key)

    def remember(self, key: str, value: bytes) -> None:
        """Keep something, durable."""
        self._store.remember(self._hub, key, value)


class Schedule:
    """The daily run of one hub."""

    def __init__(self, hub: HubSettings, notes: Notes, draw: Callable[[int, int], int] = random.randint) -> None:
        """`draw(low, high)` draws the jitter of a day: not a secret, it spreads the load of the hub."""
        hours, minutes = hub.at.split(":")
        self._at = time(int(hours), int(minutes))
        self._jitter_s = hub.jitter_s
        self._notes = notes
        self._draw = draw
        self._drawn = _read(notes.note(JITTER))

    def released(self, target: Target, end: int, now: int) -> bool:
        """Whether the day of a target that ends then may go."""
        if end >= now:
            return False
        return end + 2 * 86_400 < now or now >= self.release(target.zone, end)

    def release(self, zone: ZoneInfo, end: int) -> int:
        """When a day that ends then is released, UTC s."""
        day = datetime.fromtimestamp(end, zone).date()
        return max(self._run(day, zone), end + SETTLES_S) + self._jitter(day)

    def next_run(self, zone: ZoneInfo, now: int) -> int:
        """When the next daily run begins, UTC s."""
        today = datetime.fromtimestamp(now, zone).date()
        runs = (self._run(day, zone) + self._jitter(day) for day in (today, today + _DAY, today + 2 * _DAY))
        return next(run for run in runs if run > now)

    def last_run(self, zone: ZoneInfo, now: int) -> date:
        """The day of the daily run that began last."""
        today = datetime.fromtimestamp(now, zone).date()
        return today if now >= self._run(today, zone) + self._jitter(today) else today - _DAY

    def _run(self, day: date, zone: ZoneInfo) -> int:
        return int(datetime.combine(day, self._at, tzinfo=zone).timestamp())

    def _jitter(self, day: date) -> int:
        """What was drawn for a day; it outlives a restart, so that a run is neither early nor twice."""
        name = day.isoformat()
        if name not in self._drawn:
            kept = sorted(self._drawn.items())[-KEPT_DAYS + 1 :]
            self._drawn = dict(kept) | {name: self._draw(0, self._jitter_s)}
            self._notes.remember(JITTER, msgspec.json.encode(self._drawn))
        return min(self._drawn[name], self._jitter_s)


def _read(kept: bytes | None) -> dict[str, int]:
    try:
        return msgspec.json.decode(kept or b"{}", type=dict[str, int])
    except msgspec.DecodeError:
        return {}
