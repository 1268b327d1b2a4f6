"""Days that were passed over because nothing in them is validated: told once, and once more when all of them went."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b

import msgspec

from gateway.hub_model import Event
from gateway.uploader.schedule import Notes
from gateway.uploader.targets import Target

#: name of the note that keeps what was told, and series by day that it holds: it stays below the 64 KiB of a note
LATE, MOST = "uploader.late", 4_000


class Late:
    """The late days of one hub; what was told outlives a restart."""

    def __init__(
        self, hub: str, notes: Notes, tell: Callable[[Event], None], flush: Callable[[], None] = lambda: None
    ) -> None:
        """`flush` waits until what was told outlives the process."""
        self._flush = flush
        self._hub = hub
        self._notes = notes
        self._tell = tell
        #: start of a day (UTC s) -> series of which nothing went, by a hash
        self._days: dict[int, list[str]] = {}
        with suppress(msgspec.DecodeError):
            self._days = msgspec.json.decode(notes.note(LATE) or b"{}", type=dict[int, list[str]])

    def passed(self, empty: Iterable[tuple[Target, int]], now: int) -> None:
        """Tell of days that were passed over, unless that was told."""
        fresh: dict[int, list[Target]] = {}
        for target, start in empty:
            if _hash(target) not in self._days.get(start, ()):
                fresh.setdefault(start, []).append(target)
        for start, some in sorted(fresh.items()):
            self._days.setdefault(start, []).extend(map(_hash, some))
            names = ", ".join(f"{one.direction} of {one.point}" for one in some[:3])
            more = f" and {len(some) - 3} more" if len(some) > 3 else ""
            self._say(start, "warning", f"has no validated interval: {names}{more}", now)
        if fresh:
            self._keep()

    @property
    def days(self) -> tuple[int, ...]:
        """Days that were told, and have not gone (UTC s)."""
        return tuple(self._days)

    def went(self, parts: Iterable[tuple[Target, int]], now: int) -> None:
        """Days of series are stored to be sent: tell where that was the last one of a late day."""
        changed = False
        for target, start in parts:
            if (missing := self._days.get(start)) is None or _hash(target) not in missing:
                continue
            changed = True
            missing.remove(_hash(target))
            if not missing:
                del self._days[start]
                self._say(start, "info", "is validated now, and goes", now)
        if changed:
            self._keep()

    def _say(self, start: int, severity: str, what: str, now: int) -> None:
        text = f"the day from {datetime.fromtimestamp(start, UTC):%Y-%m-%dT%H:%MZ} {what}"
        event = Event("late_day", self._hub, severity, text, now, f"{start}", severity == "info")  # type: ignore[arg-type]
        self._tell(event)

    def _keep(self) -> None:
        """The newest days, as many as fit; not before it is sure that they are told."""
        self._flush()
        room = MOST
        for start in sorted(self._days, reverse=True):
            self._days[start] = self._days[start][:room]
            room -= len(self._days[start])
            if not self._days[start]:
                del self._days[start]
        self._notes.remember(LATE, msgspec.json.encode(self._days))


def _hash(target: Target) -> str:
    return blake2b(f"{target.point} {target.direction} {target.kind}".encode(), digest_size=5).hexdigest()
