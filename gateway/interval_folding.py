"""One series as it is folded: its evidence, its point, and what is still to be validated."""

from dataclasses import dataclass, field
from datetime import time
from typing import Final
from zoneinfo import ZoneInfo

from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.evidence import Evidence
from gateway.intervals.model import Resolution
from gateway.settings import PointSettings
from gateway.stores.interval_rows import SeriesRow, StateRow

#: days of which the offset of the clock is kept
KEPT_DAYS: Final = 45
#: resolutions that need no zone
_ABSOLUTE: Final[tuple[Resolution, ...]] = ("PT15M", "PT1H")


@dataclass(slots=True)
class Folding:
    """One series: what is known of it, and how it is folded."""

    row: SeriesRow
    evidence: Evidence
    point: PointSettings
    #: None: not known, and then days and months have no bounds
    zone: ZoneInfo | None
    #: by resolution: up to which moment it was validated; and (resolution, start) of what must be once more
    validated: dict[str, int] = field(default_factory=dict)
    due: set[tuple[Resolution, int]] = field(default_factory=set)
    #: worst offset of the clock (ms) by UTC day, and the least one of this hour
    offsets: dict[int, int] = field(default_factory=dict)
    hour: tuple[int, int] | None = None

    @property
    def begin(self) -> time:
        """When a local day begins."""
        return GAS_DAY if self.point.gas_day else MIDNIGHT

    @property
    def resolutions(self) -> tuple[Resolution, ...]:
        """Those that are folded."""
        return tuple(one for one in self.point.intervals if self.zone is not None or one in _ABSOLUTE)

    def state(self) -> StateRow:
        """What the next start goes on from."""
        evidence = self.evidence
        return StateRow(
            newest=evidence.newest,
            behind=evidence.behind,
            heard=evidence.heard,
            breaks=evidence.breaks,
            origins=evidence.origins,
            validated=self.validated,
            due=sorted(self.due),
            offsets=self.offsets,
        )

    def take_offset(self, t: int, offset_s: float) -> None:
        """Take the offset of the clock: a line only ever delays, so the least offset of an hour is the clock's."""
        hour, offset = t // 3_600, abs(round(offset_s * 1_000))
        if self.hour is not None and self.hour[0] == hour:
            offset = min(offset, self.hour[1])
        elif self.hour is not None:
            self._close(*self.hour)
        self.hour = hour, offset

    def _close(self, hour: int, offset: int) -> None:
        """An hour is over."""
        day = hour // 24
        self.offsets[day] = max(offset, self.offsets.get(day, 0))
        for old in sorted(self.offsets)[:-KEPT_DAYS]:
            del self.offsets[old]
