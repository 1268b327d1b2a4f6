"""Energy registers that fall or leap: held back until the meter has proven by more readings that it means it.

A register of energy only rises, and no faster than its connection allows. One that falls was reset, ran over or belongs
to another meter, or the telegram was damaged; who adds up rises (Home Assistant's `total_increasing`) would take a
single wrong value for a whole new meter. Nothing is corrected: the reading is marked, and says what the meter said.
"""

import math
from typing import Literal, NamedTuple

from decoders.model import Reading

#: readings in a row with energy that go on from each other; or as few as two, when so much time (s) lies between them:
#: damage does not repeat itself, and a register that comes once an hour would be held back for hours
PROOF, PROOF_S = 3, 60.0
#: a doubt that came to nothing shows for so long (s): a register that wavers is told once, and not with each reading
SHOWN_S = 60.0
#: no connection of a customer carries more (W); and what counting and clocks may add (Wh)
MOST_W, SLACK_WH = 100_000_000, 1_000


class _Said(NamedTuple):
    """Both registers in Wh, the last that is known of each, and when (monotonic, s)."""

    a_import: int | None
    a_export: int | None
    at: float


class Leaps:
    """The energy registers of one meter since the process began."""

    def __init__(self) -> None:
        self._believed: _Said | None = None
        self._doubted: _Said | None = None
        self._agreed = 0
        #: when the first of those that agree came (monotonic, s)
        self._since = 0.0
        #: when the last reading came, and until when a doubt shows (monotonic, s)
        self._latest = self._shown = -math.inf

    @property
    def doubts(self) -> bool:
        """Whether registers are held back, or were lately and then were right again."""
        return self._doubted is not None or self._latest < self._shown

    def take(self, reading: Reading, at: float) -> Literal["believed", "held", "first_held", "proven"]:
        """Judge the registers of a reading that arrived `at` (monotonic, s); one without registers is believed."""
        said, shown = _Said(reading.a_import_wh, reading.a_export_wh, at), self.doubts
        self._latest = at
        if said[:2] == (None, None):
            return "believed"
        if self._believed is None or _goes_on(self._believed, said):
            self._believe(self._believed, said)
            return "believed"
        doubted = self._doubted
        agrees = doubted is not None and _goes_on(doubted, said)
        self._agreed, self._since = (self._agreed + 1, self._since) if agrees else (1, at)
        if self._agreed >= PROOF or at - self._since >= PROOF_S:
            self._believe(doubted, said)
            self._shown = -math.inf
            return "proven"
        self._doubted, self._shown = _later(doubted if agrees else None, said), at + SHOWN_S
        return "held" if shown else "first_held"

    def _believe(self, before: _Said | None, said: _Said) -> None:
        self._believed, self._doubted, self._agreed = _later(before, said), None, 0


def _later(before: _Said | None, said: _Said) -> _Said:
    """What is known after both: a register that was not said is as it was."""
    if before is None or (said.a_import is not None and said.a_export is not None):
        return said
    return _Said(
        before.a_import if said.a_import is None else said.a_import,
        before.a_export if said.a_export is None else said.a_export,
        said.at,
    )


def _goes_on(before: _Said, said: _Said) -> bool:
    """Whether both registers rose, and by no more than the connection carries in the time."""
    if before[:2] == said[:2]:
        return True
    most = SLACK_WH + int(MOST_W * (said.at - before.at) / 3_600)
    return _rose(before.a_import, said.a_import, most) and _rose(before.a_export, said.a_export, most)


def _rose(old: int | None, new: int | None, most: int) -> bool:
    return old is None or new is None or 0 <= new - old <= most
