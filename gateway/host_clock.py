"""Whether the wall clock of this host can be believed: many gateways have none that runs while they are off.

Such a host boots in 1970, or at the time at which it was shut down, until the network tells it the time. Two things say
that the clock is not set: it is earlier than any version of meterd, or earlier than a reading that was stored. It is
believed again after a step beyond both. The kernel's word that it is synchronised outweighs what is stored: a reading
may have been stored while the clock was ahead. All that waits runs by the monotonic clock, which no step touches.
"""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: no clock that is set is earlier: there was no meterd yet
MADE = datetime(2025, 1, 1, tzinfo=UTC)
#: systemd-timesyncd makes this file when it has set the clock (systemd-timesyncd.service(8))
SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
#: a clock that leaps by so much was set (s); one that is slewed runs at most 0.5 ms per second wrong (adjtimex(2))
STEP_S = 2.0
#: a clock that nobody sets, and that ran past what is stored by itself, is believed after so long (s)
ALONE_S = 3_600.0
#: a meter's clock may be wrong by 9 s in 900 s of an interval (PTB-A 50.7); a line delays a telegram now and then, so
#: that so many readings in a row have to agree
DRIFT_S, DRIFTED = 9.0, 3
#: who says when the kernel calls its clock synchronised (<timex.h>)
_STA_UNSYNC, _TIME_ERROR = 0x0040, 5


class HostClock:
    """The wall clock of this host beside its monotonic clock; `look` once a second keeps it up."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        synchronised: Callable[[], bool] | None = None,
        made: datetime = MADE,
    ) -> None:
        """The clocks give seconds; `synchronised` tells whether the kernel's clock is."""
        self._wall, self._monotonic = wall, monotonic
        self._synchronised = synchronised or is_synchronised
        self.floor = self._made = made
        self._began = monotonic()
        self._offset = wall() - self._began
        #: stepped since the start
        self._stepped = False
        self.believed = True
        #: since when it is believed (monotonic, s)
        self._since = -math.inf
        self.raise_floor(made)

    def raise_floor(self, floor: datetime | None) -> None:
        """Learn of a time that was certainly passed."""
        self.floor = max(self.floor, floor or self.floor)
        now = self.now()
        if now < self._made or (now < self.floor and not self._synchronised()):
            self.believed = False

    def now(self) -> datetime:
        """The time that the clock shows, in UTC, right or not."""
        return datetime.fromtimestamp(self._wall(), UTC)

    def at(self, monotonic: float) -> datetime:
        """The time, by the present clock, at which the monotonic clock showed `monotonic` s."""
        return self.now() - timedelta(seconds=self._monotonic() - monotonic)

    def time_of(self, shown: datetime, monotonic: float) -> datetime | None:
        """When something happened that was stamped with both clocks; None while this clock is not believed."""
        if not self.believed:
            return None
        return shown if monotonic >= self._since else self.at(monotonic)

    def look(self) -> float:
        """Notice a step, and judge the clock anew: by how many seconds it was set since the last look, else 0."""
        offset = self._wall() - self._monotonic()
        step, self._offset = offset - self._offset, offset
        stepped = abs(step) >= STEP_S
        self._stepped = self._stepped or stepped
        if not self.believed:
            now, alone = self.now(), self._monotonic() - self._began >= ALONE_S
            passed = now >= self.floor and (self._stepped or alone)
            if passed or (now >= self._made and self._synchronised()):
                self.believed, self._since = True, self._monotonic()
        return step if stepped else 0.0


def is_synchronised() -> bool:
    """Whether systemd or the kernel says that the clock is synchronised; never asked of a clock that looks right."""
    if SYNCHRONISED.exists():
        return True
    import ctypes

    class Timex(ctypes.Structure):
        """`struct timex` as adjtimex(2) fills it in; only `status` is read, the rest is room."""

        _fields_ = (
            ("modes", ctypes.c_uint),
            *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
            ("status", ctypes.c_int),
            ("room", ctypes.c_char * 256),
        )

    timex = Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    return state not in (-1, _TIME_ERROR) and not timex.status & _STA_UNSYNC


class Drift:
    """How far a meter's clock is from this host's, and when that changed for good."""

    def __init__(self) -> None:
        self._told: float | None = None
        self._changed = 0

    def take(self, offset_s: float | None) -> tuple[float | None, float] | None:
        """Take `clock_offset_s` of a reading; (before, now) where it changed by more than DRIFT_S for DRIFTED readings.

        The first offset of a run is a change when it is larger than that itself.
        """
        if offset_s is None or abs(offset_s - (self._told or 0.0)) <= DRIFT_S:
            self._changed = 0
            return None
        self._changed += 1
        if self._changed < DRIFTED:
            return None
        before, self._told, self._changed = self._told, offset_s, 0
        return before, offset_s
