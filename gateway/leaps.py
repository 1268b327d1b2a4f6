"""Energy registers that fall or leap: held back until the meter has proven by three readings that it means it.

A register of energy only rises, and no faster than its connection allows. One that falls was reset, ran over or belongs
to another meter, or the telegram was damaged; who adds up rises (Home Assistant's `total_increasing`) would take a
single wrong value for a whole new meter. Nothing is corrected: the reading is marked, and says what the meter said.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from decoders.model import Reading

#: readings in a row with energy that go on from each other
PROOF = 3
#: no connection of a customer carries more (W); and what counting and clocks may add (Wh)
MOST_W, SLACK_WH = 100_000_000, 1_000

_Energy: TypeAlias = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class _Said:
    """Both registers in Wh, the last that is known of each, and when (monotonic, s)."""

    energy: _Energy
    at: float


class Leaps:
    """The energy registers of one meter since the process began."""

    def __init__(self) -> None:
        self._believed: _Said | None = None
        self._doubted: _Said | None = None
        self._agreed = 0

    @property
    def doubts(self) -> bool:
        """Whether registers are held back now."""
        return self._doubted is not None

    def take(self, reading: Reading, at: float) -> Literal["believed", "held", "first_held", "proven"]:
        """Judge the registers of a reading that arrived `at` (monotonic, s); one without registers is believed."""
        energy = reading.a_import_wh, reading.a_export_wh
        if energy == (None, None):
            return "believed"
        if self._believed is None or _goes_on(self._believed, energy, at):
            self._believe(self._believed, energy, at)
            return "believed"
        agrees = self._doubted is not None and _goes_on(self._doubted, energy, at)
        is_first, self._agreed = self._doubted is None, self._agreed + 1 if agrees else 1
        if self._agreed >= PROOF:
            self._believe(self._doubted, energy, at)
            return "proven"
        self._doubted = _later(self._doubted if agrees else None, energy, at)
        return "first_held" if is_first else "held"

    def _believe(self, before: _Said | None, energy: _Energy, at: float) -> None:
        self._believed, self._doubted, self._agreed = _later(before, energy, at), None, 0


def _later(before: _Said | None, energy: _Energy, at: float) -> _Said:
    if before is None:
        return _Said(energy, at)
    return _Said((_or(energy[0], before.energy[0]), _or(energy[1], before.energy[1])), at)


def _or(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


def _goes_on(said: _Said, energy: _Energy, at: float) -> bool:
    """Whether both registers rose, and by no more than the connection carries in the time."""
    most = SLACK_WH + int(MOST_W * (at - said.at) / 3_600)
    pairs = zip(said.energy, energy, strict=True)
    return all(old is None or new is None or 0 <= new - old <= most for old, new in pairs)
