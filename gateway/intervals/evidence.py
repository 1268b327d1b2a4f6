"""What bounds of intervals depend on: of each quarter-hour its first and last register reading, and its power.

Readings are taken in any order, and most of them leave nothing behind but a bit: a bound depends on the register
readings next to it, on the mean power of the quarter-hours around it where they are far away, and on what broke the
register. That is the same whatever order the readings came in, so that late ones are taken like any other.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeAlias

import msgspec

from gateway.intervals.continuity import SLACK, Break, Knot, Origin, Rules, break_between, follows, is_same_device

#: seconds of a cell: every bound of every resolution is one of its bounds
CELL_S: Final = 900
MINUTES: Final = 15
#: after every cell
FAR: Final = 1 << 36

#: flags of a cell: readings in it contradicted those that it had; the meter's clock was set back in it
CONTRADICTION, CLOCK_BACK = 1, 2
#: a clock that was set back is told for as many cells at most
MOST_FLAGGED: Final = 7 * 96

#: a register that breaks more often in a day is not believed any more
MOST_BREAKS, BREAKS_S = 24, 86_400

#: t (UTC seconds), register in the unit of the series, power in W, index of Origin; None where the telegram has it not
Reading: TypeAlias = tuple[int, int | None, int | None, int]


class Cell(msgspec.Struct, array_like=True):
    """The evidence of one quarter-hour."""

    #: the first and the last register reading that it has
    first: Knot | None = None
    last: Knot | None = None
    #: a bit for each minute in which a reading came
    minutes: int = 0
    #: sum of power (W), and how many readings made it
    watts: int = 0
    count: int = 0
    #: a bit for each Origin of its register readings
    origins: int = 0
    flags: int = 0


class Archive(Protocol):
    """Cells that are not in memory."""

    def cell(self, start: int) -> Cell | None:
        """The cell that begins at `start`."""
        ...

    def span(self, since: int, until: int) -> Iterable[tuple[int, Cell]]:
        """Cells with since <= start < until, rising."""
        ...

    def before(self, start: int) -> Cell | None:
        """The last cell before `start` that has a register reading."""
        ...

    def after(self, start: int) -> Cell | None:
        """The first cell from `start` on that has a register reading."""
        ...


class Nothing:
    """An archive without cells."""

    def cell(self, start: int) -> Cell | None:
        """No cell."""
        return None

    def span(self, since: int, until: int) -> Iterable[tuple[int, Cell]]:
        """No cells."""
        return ()

    def before(self, start: int) -> Cell | None:
        """No cell."""
        return None

    def after(self, start: int) -> Cell | None:
        """No cell."""
        return None


class Evidence:
    """The evidence of one series. `origins` may grow at any time; what an index says stays."""

    def __init__(self, rules: Rules = Rules(), archive: Archive | None = None) -> None:  # noqa: B008  # immutable
        self.rules = rules
        self.origins: list[Origin] = []
        #: in the order of time
        self.breaks: list[Break] = []
        #: the register reading of the latest time
        self.newest: Knot | None = None
        #: starts of cells that changed since they were stored
        self.dirty: set[int] = set()
        #: from the first to the last moment between which bounds may have changed
        self.changed: tuple[int, int] | None = None
        #: readings that contradicted others, since the process began
        self.contradictions = 0
        #: the clock was set back: the register is ahead of `newest`
        self.behind = False
        self._archive: Archive = archive or Nothing()
        self._cells: dict[int, Cell] = {}
        #: starts of those in memory that have a register reading, rising
        self._starts: list[int] = []
        #: before this moment cells may be in the archive only
        self._cold_until = 0
        #: time of the telegram before
        self._heard: int | None = None

    # -- taking ------------------------------------------------------------------------------------------------------

    def feed(self, readings: Iterable[Reading]) -> None:
        """Take readings in the order in which they came; one that repeats the time of the one before counts once.

        The usual reading, next in time and of the same register, passes through local variables only.
        """
        start = end = minutes = watts = count = 0
        cell: Cell | None = None
        heard, last_t, last_value, last_origin = self._heard, 0, 0, -1
        for t, value, power, origin in readings:
            if not start <= t < end:
                if cell is not None:
                    self._put_back(start, cell, (minutes, watts, count), Knot(last_t, last_value, last_origin))
                start = t - t % CELL_S
                end = start + CELL_S
                cell, last_origin = self._open(start), -1
                minutes, watts, count = cell.minutes, cell.watts, cell.count
            if t != heard:
                heard = t
                minutes |= 1 << (t - start) // 60
                if power is not None:
                    watts += power
                    count += 1
            if value is None:
                continue
            if origin == last_origin and t > last_t and 0 <= value - last_value <= SLACK:
                last_t, last_value = t, value
                continue
            self._move_on(Knot(last_t, last_value, last_origin))
            self._take(Knot(t, value, origin))
            newest = self.newest
            last_origin = -1
            if newest is not None and start <= newest.t < end and not self.behind:
                last_t, last_value, last_origin = newest
        if cell is not None:
            self._put_back(start, cell, (minutes, watts, count), Knot(last_t, last_value, last_origin))
        self._heard = heard

    def flag(self, since: int, until: int, flag: int) -> None:
        """Flag the cells of a time."""
        first = since - since % CELL_S
        for start in range(first, min(until + 1, first + MOST_FLAGGED * CELL_S), CELL_S):
            self._open(start).flags |= flag
            self.dirty.add(start)
        self._mark(first, until)

    # -- giving ------------------------------------------------------------------------------------------------------

    def before(self, t: int) -> Knot | None:
        """The last register reading of the cells before the one that begins at `t`."""
        place = bisect_left(self._starts, t)
        known = self._cells[self._starts[place - 1]].last if place else None
        if known is not None and known.t >= self._cold_until:
            return known
        cold = self._archive.before(min(t, self._cold_until))
        found = None if cold is None else cold.last
        return max((knot for knot in (known, found) if knot is not None), default=None)

    def after(self, t: int) -> Knot | None:
        """The first register reading of the cells from the one on that begins at `t`."""
        place = bisect_left(self._starts, t)
        known = self._cells[self._starts[place]].first if place < len(self._starts) else None
        if t >= self._cold_until:
            return known
        cold = self._archive.after(t)
        found = None if cold is None else cold.first
        return min((knot for knot in (known, found) if knot is not None), default=None)

    def cell(self, start: int) -> Cell | None:
        """The cell that begins at `start`."""
        return self._cells.get(start) or self._archive.cell(start)

    def span(self, since: int, until: int) -> Iterator[tuple[int, Cell]]:
        """Cells with since <= start < until, rising; `since` is a bound of one."""
        cold = dict(self._archive.span(since, min(until, self._cold_until))) if since < self._cold_until else {}
        cells = self._cells
        for start in range(since, until, CELL_S):
            cell = cells.get(start) or cold.get(start)
            if cell is not None:
                yield start, cell

    def epoch(self, t: int) -> int:
        """How often the register was broken up to a reading of this time."""
        return bisect_right(self.breaks, t, key=_after)

    def resume(self, newest: Knot | None, heard: int | None, breaks: list[Break], *, behind: bool) -> None:
        """Go on from what was stored; all cells are in the archive."""
        self.newest, self._heard, self.breaks, self.behind = newest, heard, breaks, behind
        if newest is not None:
            # power may have come for later cells than the newest register
            last = newest.t - newest.t % CELL_S
            self._cold_until = max([last, *(start for start, _ in self._archive.span(last, FAR))]) + CELL_S

    @property
    def heard(self) -> int | None:
        """Time of the last telegram."""
        return self._heard

    def dirty_cells(self) -> dict[int, Cell]:
        """Cells that changed since `stored`."""
        return {start: self._cells[start] for start in sorted(self.dirty)}

    def stored(self, before: int) -> None:
        """All that changed is stored: drop cells from memory that begin before a moment."""
        self.changed = None
        self.dirty.clear()
        self.forget_before(before)

    def forget_before(self, t: int) -> None:
        """Drop cells from memory that are stored; those that are not stored yet stay."""
        hot = t - t % CELL_S
        for start in [start for start in self._cells if start < hot and start not in self.dirty]:
            del self._cells[start]
        self._starts = [start for start in self._starts if start in self._cells]
        self._cold_until = max(self._cold_until, hot)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _open(self, start: int) -> Cell:
        cell = self._cells.get(start)
        if cell is None:
            cell = self._cells[start] = self._archive.cell(start) or Cell()
            if cell.first is not None:
                insort(self._starts, start)
        return cell

    def _put_back(self, start: int, cell: Cell, sums: tuple[int, int, int], knot: Knot) -> None:
        late = self.newest is not None and start + CELL_S <= self.newest.t
        if late and sums != (cell.minutes, cell.watts, cell.count):
            before, after = self.before(start), self.after(start + CELL_S)
            self._mark(before.t if before else start, after.t if after else start + CELL_S)
        cell.minutes, cell.watts, cell.count = sums
        self.dirty.add(start)
        self._move_on(knot)

    def _move_on(self, knot: Knot) -> None:
        """The newest reading of the cell that it is in moved on by usual ones; without an origin there was none."""
        if self.newest is not None and knot.origin >= 0 and knot.t > self.newest.t:
            self.newest = self._cells[knot.t - knot.t % CELL_S].last = knot

    def _take(self, knot: Knot) -> None:
        """Take a register reading that is not simply the next one of its cell."""
        if self.newest is None or knot.t > self.newest.t:
            self._append(knot)
        else:
            self._insert(knot)

    def _append(self, knot: Knot) -> None:
        newest = self.newest
        if newest is not None:
            broken = break_between(self.rules, self.origins, newest, knot)
            if broken is not None and self._wavers(knot.t):
                self._contradict(knot)
                return
            if broken is not None:
                self.breaks.append(broken)
            if self.behind:
                self.flag(newest.t, knot.t, CLOCK_BACK)
                self.behind = False
        self.newest = knot
        self._keep(knot)
        self._mark(knot.t if newest is None else newest.t, knot.t)

    def _wavers(self, t: int) -> bool:
        """Whether the register broke too often lately: what breaks for ever must not fill memory."""
        return len(self.breaks) >= MOST_BREAKS and self.breaks[-MOST_BREAKS].after.t > t - BREAKS_S

    def _insert(self, knot: Knot) -> None:
        """Take a reading of a time that is past: it has its place, or contradicts what is known."""
        knots = self._around(knot.t)
        same = next((known for known in knots if known.t == knot.t), None)
        if same is not None and same.value == knot.value:
            return
        before = max((known for known in knots if known.t < knot.t), default=None)
        after = min((known for known in knots if known.t > knot.t), default=None)
        if same is not None:
            self._contradict(knot)
            self._replace(same, knot, before, after)
        elif self._fits(knot, before, after):
            self._keep(knot)
            self._mark(knot.t if before is None else before.t, knot.t if after is None else after.t)
        else:
            self._contradict(knot)

    def _around(self, t: int) -> set[Knot]:
        """The readings that bounds depend on, of the cell of `t` and next to it."""
        start = t - t % CELL_S
        cell = self._cells[start]
        found = {cell.first, cell.last, self.before(start), self.after(start + CELL_S)}
        place = self.epoch(t)
        for broken in self.breaks[max(0, place - 1) : place + 1]:
            found |= {broken.before, broken.after}
        return {knot for knot in found if knot is not None}

    def _fits(self, knot: Knot, before: Knot | None, after: Knot | None) -> bool:
        """Whether a late reading has its place between two; a break between them moves to one of its sides."""
        place = bisect_right(self.breaks, knot.t, key=_after)
        broken = self.breaks[place] if place < len(self.breaks) and self.breaks[place].before.t < knot.t else None
        on = before is not None and self._follows(before, knot)
        to = after is not None and self._follows(knot, after)
        if broken is not None and (on or to):
            ends = (knot, broken.after) if on else (broken.before, knot)
            moved = break_between(self.rules, self.origins, *ends)
            self.breaks[place : place + 1] = [] if moved is None else [moved]
            return True
        if broken is None and before is None and after is not None and not to:
            return self._begins(knot, after)
        return broken is None and to and (on or before is None)

    def _begins(self, knot: Knot, after: Knot) -> bool:
        """Whether a reading from before everything that is known is of the meter that was there before."""
        if is_same_device(self.origins[knot.origin], self.origins[after.origin]):
            return False
        self.breaks.insert(0, Break("exchange", knot, after, knot.value - after.value))
        return True

    def _replace(self, same: Knot, knot: Knot, before: Knot | None, after: Knot | None) -> None:
        """Of two readings of one time the newer one holds, where it has its place and nothing broke there."""
        ends = {end for broken in self.breaks for end in (broken.before, broken.after)}
        on = before is None or (self.epoch(before.t) == self.epoch(knot.t) and self._follows(before, knot))
        to = after is None or (self.epoch(after.t) == self.epoch(knot.t) and self._follows(knot, after))
        if same in ends or not on or not to or not self._follows_device(same, knot):
            return
        cell = self._cells[knot.t - knot.t % CELL_S]
        cell.first = knot if cell.first == same else cell.first
        cell.last = knot if cell.last == same else cell.last
        cell.origins |= 1 << knot.origin
        if self.newest == same:
            self.newest = knot
        self._mark(knot.t if before is None else before.t, knot.t if after is None else after.t)

    def _follows(self, before: Knot, after: Knot) -> bool:
        return follows(self.rules, self.origins, before, after)

    def _follows_device(self, before: Knot, after: Knot) -> bool:
        return is_same_device(self.origins[before.origin], self.origins[after.origin])

    def _contradict(self, knot: Knot) -> None:
        self.contradictions += 1
        if self.newest is not None and knot.t < self.newest.t and knot.value > self.newest.value:
            self.behind = True
        cell = self._cells[knot.t - knot.t % CELL_S]
        if not cell.flags & CONTRADICTION:
            self.flag(knot.t, knot.t, CONTRADICTION)

    def _keep(self, knot: Knot) -> None:
        """Let a reading that has its place be first or last of its cell, or neither."""
        start = knot.t - knot.t % CELL_S
        cell = self._cells[start]
        cell.origins |= 1 << knot.origin
        if cell.first is None:
            insort(self._starts, start)
        if cell.first is None or knot.t < cell.first.t:
            cell.first = knot
        if cell.last is None or knot.t > cell.last.t:
            cell.last = knot

    def _mark(self, since: int, until: int) -> None:
        self.changed = (
            (since, until) if self.changed is None else (min(self.changed[0], since), max(self.changed[1], until))
        )


def _after(broken: Break) -> int:
    return broken.after.t
