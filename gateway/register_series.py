"""The energy registers of one meter as they were last believed, when by each clock, and whose they are."""

import math
from dataclasses import dataclass
from datetime import datetime

import msgspec

from decoders.model import Reading, Register
from gateway.item_p import ItemP, utc

#: the quantities of a series, by direction
ENERGY = ("a_import_wh", "a_export_wh")


class SavedMark(msgspec.Struct, array_like=True, frozen=True):
    """A register as the journal keeps it, by the clocks that go on while this process does not run."""

    wh: int
    meter: datetime | None
    believed: bool
    host: datetime | None

    def restored(self) -> "Mark":
        """The register in the next process: when it was said and since when it stands, this one cannot know."""
        return Mark(self.wh, self.meter, self.believed, self.host, None, math.inf)


@dataclass(slots=True)
class Mark:
    """One register in Wh as it was last believed, and when by each clock; `moved`: since when (monotonic, s)."""

    wh: int
    #: by the meter's clock, whether that was believed, and by this host's clock; None where there was none
    meter: datetime | None
    believed: bool
    host: datetime | None
    #: None: before this start
    at: float | None
    moved: float

    def saved(self) -> SavedMark:
        """What the journal keeps of it."""
        return SavedMark(self.wh, self.meter, self.believed, self.host)


class Series:
    """The registers of one meter as far as they go on from each other."""

    def __init__(self) -> None:
        self.profile: str | None = None
        #: identification and system title as sent
        self.who: tuple[str | None, str | None] = (None, None)
        self.marks: list[Mark | None] = [None, None]
        #: the registers of the last reading, for those that run over behind a sum
        self.registers: tuple[Register, ...] = ()

    def take(self, item: ItemP, at: float) -> None:
        """Go on with a reading; a register that was not said is as it was."""
        reading = item.reading
        self.profile = reading.profile
        self.registers = reading.registers
        for index, wh in enumerate((reading.a_import_wh, reading.a_export_wh)):
            if wh is None:
                continue
            mark = self.marks[index]
            if mark is None:
                mark = self.marks[index] = Mark(wh, None, False, None, None, at)
            elif wh != mark.wh:
                mark.wh, mark.moved = wh, at
            mark.meter = reading.reg_t or reading.t
            mark.believed = item.t_source == "meter"
            mark.host, mark.at = item.t_rx, at

    def values(self) -> dict[str, int]:
        """The registers that were said, in Wh, by name."""
        return {name: mark.wh for name, mark in zip(ENERGY, self.marks, strict=True) if mark}

    def said_at(self) -> str | None:
        """When the registers were last believed: by the meter's clock, else by this host's."""
        times = (mark.meter or mark.host for mark in self.marks if mark is not None)
        return utc(max((t for t in times if t is not None), default=None))


def identification(reading: Reading) -> tuple[str | None, str | None]:
    """Identification and system title, as sent."""
    identity = None if reading.seen is None else reading.seen.identity
    return reading.identity, None if identity is None else identity.system_title
