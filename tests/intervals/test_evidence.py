"""What the fold keeps and forgets: cells out of memory, bounds on memory, readings that no time order knows."""

import random
from zoneinfo import ZoneInfo

import pytest

from gateway.intervals import calendar
from gateway.intervals.continuity import Origin, Rules
from gateway.intervals.evidence import MOST_BREAKS, Cell, Evidence
from gateway.intervals.fold import fold, refold
from gateway.intervals.model import RESOLUTIONS, total
from tests.intervals.histories import history
from tests.sizes import INTERVAL_HISTORIES

START = 1_790_000_100
ZONE = ZoneInfo("Europe/Prague")


class Shelf:
    """An archive in a dictionary; what is taken out is a copy, as it is from a file."""

    def __init__(self) -> None:
        self.cells: dict[int, Cell] = {}

    def cell(self, start: int) -> Cell | None:
        return self._copy(self.cells.get(start))

    def span(self, since: int, until: int) -> list[tuple[int, Cell]]:
        return [(start, self._copy(self.cells[start])) for start in sorted(self.cells) if since <= start < until]

    def before(self, start: int) -> Cell | None:
        found = [one for one in sorted(self.cells) if one < start and self.cells[one].last is not None]
        return self._copy(self.cells[found[-1]]) if found else None

    def after(self, start: int) -> Cell | None:
        found = [one for one in sorted(self.cells) if one >= start and self.cells[one].first is not None]
        return self._copy(self.cells[found[0]]) if found else None

    @staticmethod
    def _copy(cell: Cell | None) -> Cell | None:
        if cell is None:
            return None
        return Cell(cell.first, cell.last, cell.minutes, cell.watts, cell.count, cell.origins, cell.flags)


def usual(*origins: Origin, **rules: int) -> Evidence:
    evidence = Evidence(Rules(**rules))
    evidence.origins = list(origins or (Origin(device="a"), Origin(device="b")))
    return evidence


def test_forgetting_and_restarting_change_nothing():
    """Cells go to an archive at any time, and a new process goes on from it: the same intervals."""
    for seed in range(INTERVAL_HISTORIES // 50):
        found, dice, shelf = history(seed), random.Random(seed), Shelf()
        whole = Evidence(found.rules)
        whole.origins = found.origins
        whole.feed(found.deliveries)
        evidence, current = Evidence(found.rules, shelf), {one: {} for one in RESOLUTIONS}
        evidence.origins = found.origins
        rest = found.deliveries
        while rest:
            size = dice.randrange(1, 20)
            evidence.feed(rest[:size])
            rest = rest[size:]
            for resolution in RESOLUTIONS if evidence.changed else ():
                made = refold(evidence, evidence.changed, resolution, found.zone)
                current[resolution] |= {one.start: one for one in made}
            shelf.cells |= {start: Shelf._copy(cell) for start, cell in evidence.dirty_cells().items()}
            evidence.stored(evidence.newest.t - dice.choice((0, 900, 20_000)) if evidence.newest else 0)
            if dice.random() < 0.3:
                before = evidence
                evidence = Evidence(found.rules, shelf)
                evidence.origins = found.origins
                evidence.resume(before.newest, before.heard, before.breaks, behind=before.behind)
        for resolution, intervals in current.items():
            spans = sorted((one.start, one.end) for one in intervals.values())
            assert list(fold(whole, spans)) == [intervals[start] for start, _ in spans], (seed, resolution)


def test_memory_is_bounded():
    """A year of readings leaves two days of cells."""
    evidence, shelf = usual(), Shelf()
    for day in range(60):
        first = START + 86_400 * day
        evidence.feed([(t, t // 60, 100, 0) for t in range(first, first + 86_400, 60)])
        shelf.cells |= evidence.dirty_cells()
        evidence.stored(first)
    assert len(evidence._cells) <= 97
    assert len(evidence._starts) <= 97


def test_a_register_that_wavers_for_ever_fills_no_memory():
    evidence = usual()
    evidence.feed([(START + 10 * n, 5_000_000 if n % 2 else 1_000_000, None, 0) for n in range(8_640)])
    assert len(evidence.breaks) == MOST_BREAKS
    (day,) = fold(evidence, [(START, START + 85_500)])
    assert day.status == "suspect"
    assert day.quantity >= 0


def test_readings_of_the_old_meter_that_come_first_of_all_late():
    """The new meter was heard first; what the old one said until then comes later, in any order."""
    evidence = usual()
    evidence.feed([(START + 1_000, 50, None, 1), (START + 1_830, 80, None, 1)])
    evidence.feed([(START - 30, 9_000, None, 0), (START + 30, 9_010, None, 0), (START + 940, 9_200, None, 0)])
    evidence.feed([(START - 900, 8_990, None, 0)])
    (quarter, next_one) = fold(evidence, [(START, START + 900), (START + 900, START + 1_800)])
    assert (quarter.quantity, quarter.status) == (186, "estimated")
    assert (next_one.reason, next_one.status) == ("exchange", "estimated")
    assert next_one.quantity == 9 + 28


@pytest.mark.parametrize("modulus", [10**9, 1 << 32])
def test_rollover_between_two_bounds_and_at_one(modulus):
    evidence = usual()
    evidence.feed([(START - 30, modulus - 100, None, 0), (START + 30, 20, None, 0), (START + 900, 80, None, 0)])
    (quarter,) = fold(evidence, [(START, START + 900)])
    assert (quarter.low.value, quarter.quantity, quarter.sum_break) == (modulus - 40, 120, modulus)
    assert (quarter.status, quarter.reason) == ("raw", "rollover")


def test_digits_that_are_known_are_the_only_ones():
    known = usual(modulus=10**6)
    known.feed([(START, 999_990, None, 0), (START + 900, 10, None, 0)])
    assert next(fold(known, [(START, START + 900)])).quantity == 20
    other = usual(modulus=10**9)
    other.feed([(START, 999_990, None, 0), (START + 900, 10, None, 0)])
    (back,) = fold(other, [(START, START + 900)])
    assert (back.quantity, back.status, back.reason) == (0, "suspect", "back")


def test_an_empty_period_and_one_reading():
    evidence = usual()
    assert list(fold(evidence, [])) == []
    evidence.feed([(START + 5, 1_000, None, 0)])
    (only,) = fold(evidence, [(START, START + 900)])
    assert (only.quantity, only.status, only.reason) == (None, "missing", "no_reading")
    assert list(refold(evidence, (START, START + 86_400), "PT15M", ZONE)) == []


def test_a_year_adds_up_in_every_resolution():
    """Readings every half hour and a bit: 365 days of 23, 24 and 25 hours, each sum that of the register."""
    first, last = calendar.floor(START, "P1M", ZONE), calendar.end_of(START + 86_400 * 350, "P1M", ZONE)
    dice, evidence, register = random.Random(5), usual(), 10_000
    readings = []
    for t in sorted({first, last, *range(first, last, 1_870)}):
        register += dice.randrange(900)
        readings.append((t, register, None, 0))
    evidence.feed(readings)
    for resolution in RESOLUTIONS:
        made = list(fold(evidence, calendar.spans(first, last, resolution, ZONE)))
        assert total(made) == readings[-1][1] - readings[0][1]
        assert not [one for one in made if one.quantity is None or one.quantity < 0]
