"""Which parts are due: each day once it is released and validated, oldest first; then what changed since it was sent.

A day is ready when no interval of it is `raw` any more, or `wait_h` after its end. What is not item E goes as missing,
and a day that has no item E does not go. The watermark of a series is the first day that is not done; what changes
before it comes from the change feed of the ledger, and goes as the next revision unless the hub knows that content.

Nothing is remembered for good here but watermarks and a position in the feed, and both may be too low: what was sent,
the slots of the store say.
"""

import heapq
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final

from gateway.hub_model import Slot
from gateway.hub_settings import HubSettings
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.model import Interval, SeriesKey
from gateway.stores.hub_rows import SlotRow
from gateway.stores.hubs import Change, HubStore
from gateway.uploader.hub import Policy
from gateway.uploader.marks import Mark, Marks
from gateway.uploader.parts import Due, Parts, Reader
from gateway.uploader.permissions import CONFIG
from gateway.uploader.schedule import HubNotes, Schedule
from gateway.uploader.targets import Target

#: name of the note that keeps the position in the change feed
FEED: Final = "uploader.feed"
#: changes and wanted slots that are read at once, and slots that are watched at most until they can be judged
PAGE, MOST_WATCHED = 5_000, 50_000
#: days without data of one round that are told
MOST_EMPTY: Final = 20_000
_DAY_S: Final = 86_400


class Plan:
    """The plan of one hub for its targets; used by the thread of the hub."""

    def __init__(  # noqa: PLR0913 - what it looks at, by name
        self,
        hub: HubSettings,
        policy: Policy,
        store: HubStore,
        reader: Reader,
        *,
        targets: Sequence[Target],
        schedule: Schedule,
        now: int,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`alive` is called for each day that is looked at: a long past takes its time."""
        self.hub = hub
        self.targets = targets
        #: series and days (UTC s) that the last round passed over: they have no validated interval
        self.empty: list[tuple[Target, int]] = []
        self._policy = policy
        self._store = store
        self._reader = reader
        self._schedule = schedule
        self._parts = Parts(hub.resolution, reader, new_id)
        self._alive = alive
        self.marks = Marks(HubNotes(store, hub.name), hub.resolution)
        self._by_key: dict[SeriesKey, list[Target]] = defaultdict(list)
        self._by_slot: dict[tuple[str, str, str], list[Target]] = defaultdict(list)
        for target in targets:
            self._by_key[target.key].append(target)
            self._by_slot[target.point, target.direction, target.kind].append(target)
        #: slots that changed and cannot be judged yet: position in the feed, first seen (UTC s), target
        self._watched: dict[Slot, tuple[int, int, Target]] = {}
        #: slots that are to be compared because nobody followed their changes; None: none are left
        self._scan: Iterator[tuple[Target, int]] | None = None
        away = self.marks.meet(targets)
        self._feed = self._position([*away, *self._on_other_ground(now)], now)
        #: slots that this round gave out
        self._given: set[Slot] = set()
        #: what was given out and is not stored: the target, and of a correction what was watched
        self._out: dict[Slot, tuple[Target, tuple[int, int, Target] | None]] = {}
        #: of these, what was refused here: it waits for newer content, or for the next process
        self._refused: set[Slot] = set()
        self._begin(now)

    def due(self, now: int) -> Iterator[Due]:
        """One round: parts that are due, days oldest first, then corrections and what the hub asks for again.

        Evaluated as it is consumed. What is neither `staged` nor `refused` is due again in the next round, or after a
        restart, also where the round was broken off.
        """
        self.empty = []
        self._given = set()
        self._take_back()
        for one in self._all(now):
            slot = one.part.slot
            if slot not in self._given:
                self._given.add(slot)
                self._out[slot] = one.target, self._watched.pop(slot, None)
                self.marks.hold(one.target, slot.start)
                yield one

    def staged(self, dues: Sequence[Due]) -> None:
        """The parts are stored: watermarks and the position in the feed may pass them."""
        self.marks.release((one.target, one.part.slot.start) for one in dues)
        for one in dues:
            self._out.pop(one.part.slot, None)
            self._refused.discard(one.part.slot)

    def holds(self, due: Due) -> bool:
        """Whether a part was given out, and is not stored."""
        return due.part.slot in self._out

    def refused(self, due: Due) -> None:
        """A part is refused here: on disk watermark and position stay before it, this process tries it no more."""
        self._refused.add(due.part.slot)

    def save(self) -> None:
        """Keep how far the plan came."""
        kept = b"%d" % self._safe_position()
        if self._store.note(self.hub.name, FEED) != kept:
            self._store.remember(self.hub.name, FEED, kept)
        self.marks.save()

    def days_of(self, target: Target, since: int, until: int, now: int) -> Iterator[Due]:
        """Parts of whole days within since <= t < until, validated or not, for an export by hand."""
        start = target.day(since)[0]
        while start < until:
            end = target.next_day(start)
            row = self._store.slot(self.hub.name, self._parts.slot(target, start))
            found = self._parts.intervals(target, start, end)
            if (row is None or row.message is None) and any(one.is_item_e for one in found):
                yield self._parts.made(target, (start, end), found, row, now)
            start = end

    def _safe_position(self) -> int:
        """The position in the feed up to which everything is stored."""
        if self._scan is not None:
            return 0
        watched = [*self._watched.values(), *(one for _, one in self._out.values() if one is not None)]
        least = min((position for position, _, _ in watched), default=self._feed + 1)
        return max(0, min(self._feed, least - 1))

    def _take_back(self) -> None:
        """What the last round gave out and nobody stored is due again."""
        for slot in [slot for slot in self._out if slot not in self._refused]:
            target, watched = self._out.pop(slot)
            if watched is not None:
                self._watched.setdefault(slot, watched)
            if (mark := self.marks.get(target)) is not None and watched is None:
                self.marks.put(target, Mark(min(mark.at, slot.start), mark.origin))
            self.marks.release([(target, slot.start)])

    def _all(self, now: int) -> Iterator[Due]:
        if not self._policy.takes_readings:
            return
        yield from self._fresh(now)
        yield from self._wanted(now)
        self._listen(now)
        yield from self._changed(now)

    # -- days ----------------------------------------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        """Give each series its watermark: the day of the first start, `since`, or the start of its permission."""
        for target in self.targets:
            mark, origin = self.marks.get(target), self._origin(target, now)
            if mark is None and target.basis == CONFIG and (other := self.marks.elsewhere(target)) is not None:
                # the resolution was changed: what went in the other one is done
                self.marks.put(target, other)
            elif mark is None:
                extent = self._reader.extent(target.key, self.hub.resolution)
                first = origin if extent is None else target.day(extent[0])[0]
                self.marks.put(target, Mark(max(origin, first), origin))
            elif origin < mark.origin and (self.hub.since or target.basis != CONFIG):
                # `since` was moved back: what was sent already, the slots say
                self.marks.put(target, Mark(origin, origin))

    def _origin(self, target: Target, now: int) -> int:
        if target.basis == CONFIG and self.hub.since:
            begin = GAS_DAY if target.gas_day else MIDNIGHT
            return calendar.day_start(date.fromisoformat(self.hub.since), target.zone, begin)
        if target.start is None:
            return target.day(now)[0]
        start, end = target.day(target.start)
        return start if start == target.start else end

    def _mark(self, target: Target, now: int) -> Mark | None:
        """The watermark of a series; one that was put while the clock of this host was ahead is taken back."""
        mark = self.marks.get(target)
        if mark is None or mark.at <= now:
            return mark
        origin = min(mark.origin, self._origin(target, now))
        at = min(mark.at, max(origin, target.day(self._reach(now))[0]))
        if at < mark.at:
            # what was sent, the slots say
            mark = Mark(at, origin)
            self.marks.put(target, mark)
        return mark

    def _fresh(self, now: int) -> Iterator[Due]:
        """Days from the watermarks on, the oldest of all series first."""
        heap = [(mark.at, number) for number, one in enumerate(self.targets) if (mark := self._mark(one, now))]
        heapq.heapify(heap)
        stuck: set[int] = set()
        while heap:
            start, number = heapq.heappop(heap)
            target = self.targets[number]
            end = target.next_day(start)
            if not self._schedule.released(target, end, now) or (target.until is not None and end > target.until):
                continue
            found = self._judge(target, start, end, now)
            if isinstance(found, Due):
                yield found
            if found is None:
                stuck.add(number)
            elif number not in stuck and (mark := self.marks.get(target)):
                self.marks.put(target, Mark(end, mark.origin))
            heapq.heappush(heap, (end, number))

    def _judge(self, target: Target, start: int, end: int, now: int) -> Due | bool | None:
        """What is due of a day; True: nothing (any more), None: not yet."""
        self._alive()
        row = self._store.slot(self.hub.name, self._parts.slot(target, start))
        # a slot without content is to be sent anew (hub_rows.SlotRow)
        if (row is not None and self._is_done(row, target, end)) or self._is_old(end, now):
            return True
        found = self._parts.intervals(target, start, end)
        if not self._ready(found, end, now):
            return None
        if not any(one.is_item_e for one in found):
            if len(self.empty) < MOST_EMPTY:
                self.empty.append((target, start))
            return True
        return self._parts.made(target, (start, end), found, row, now)

    def _is_done(self, row: SlotRow, target: Target, end: int) -> bool:
        """Whether a day is at the hub, on its way, or given up for another reason than the end of its ground, or age.

        It was too old by a clock that was ahead; by one that is right it is too old still, or goes.
        """
        if row.message is not None or not row.content or row.state != "dead":
            return row.message is not None or bool(row.content)
        last = self._store.message(self.hub.name, row.last)
        if last is None or self._is_old(end, last.since):
            return last is None
        return not any(one.slot == row.slot and one.basis != target.basis for one in last.parts)

    def _ready(self, found: Sequence[Interval], since: int, now: int) -> bool:
        waits = any(one.status == "raw" for one in found) or not any(one.is_item_e for one in found)
        return not waits or now >= since + self.hub.wait_h * 3_600

    def _is_old(self, end: int, now: int) -> bool:
        return end < now - self._policy.correction_days * _DAY_S

    # -- corrections ---------------------------------------------------------------------------------------------------

    def _wanted(self, now: int) -> Iterator[Due]:
        """What the hub, or a person by `meterd hub retry`, wants anew."""
        after = None
        while page := self._store.wanted(self.hub.name, PAGE, after):
            after = page[-1]
            for slot in page:
                targets = self._by_slot.get((slot.point, slot.direction, slot.kind), ())
                row = self._store.slot(self.hub.name, slot) if targets else None
                again = (self._again(row, target, now) for target in targets if row is not None)
                if (due := next(filter(None, again), None)) is not None:
                    yield due

    def _again(self, row: SlotRow, target: Target, now: int) -> Due | None:
        start, end = target.day(row.slot.start)
        fits = row.slot.resolution == self.hub.resolution and start == row.slot.start
        if not fits or row.message is not None or self._is_outside(target, start, end) or end > now:
            return None
        found = self._parts.intervals(target, start, end)
        if not self._ready(found, end, now) or not any(one.is_item_e for one in found):
            return None
        return self._parts.made(target, (start, end), found, row, now)

    def _position(self, away: Sequence[Target], now: int) -> int:
        """Where the feed was left; it begins with what is there at the first start, and anew behind a gap.

        `away`: series whose changes nobody followed, because they did not go to the hub for a while, or on this ground.
        """
        kept = self._store.note(self.hub.name, FEED)
        oldest = self._store.oldest_change
        position = int(kept) if kept is not None and kept.isdigit() else self._store.last_change
        unseen = self.targets if position + 1 < oldest else away
        if unseen:
            self._look_again(unseen, now)
            self._scan = self._unseen(unseen, now)
        return max(position, oldest - 1)

    def _on_other_ground(self, now: int) -> Iterator[Target]:
        """Series that are new, though days of theirs were sent: on another ground, and nobody followed them since."""
        for target in self.targets:
            if self.marks.get(target) is None and next(self._unseen([target], now), None) is not None:
                yield target

    def _look_again(self, unseen: Sequence[Target], now: int) -> None:
        """Days that were passed over as empty may have been validated since."""
        for target in unseen:
            if (mark := self.marks.get(target)) is not None:
                first = max(mark.origin, target.day(self._reach(now))[0])
                self.marks.put(target, Mark(min(mark.at, first), mark.origin))

    def _unseen(self, unseen: Sequence[Target], now: int) -> Iterator[tuple[Target, int]]:
        """Every slot of some series within the days that may still be corrected."""
        for target in unseen:
            for row in self._store.slots(self.hub.name, target.point, target.direction, since=self._reach(now)):
                if (row.slot.kind, row.slot.resolution) == (target.kind, self.hub.resolution):
                    yield target, row.slot.start

    def _reach(self, now: int) -> int:
        return now - min(self._policy.correction_days, 1_095) * _DAY_S

    def _listen(self, now: int) -> None:
        """Take what changed, where it is about a day before the watermark, or one that was sent."""
        while self._scan is not None and len(self._watched) < MOST_WATCHED:
            if (one := next(self._scan, None)) is None:
                self._scan = None
            else:
                self._watch(*one, 0, now)
        while len(self._watched) < MOST_WATCHED and (page := self._store.changes(self._feed, PAGE)):
            for change in page:
                self._take(change, now)
            self._feed = page[-1].id

    def _take(self, change: Change, now: int) -> None:
        if change.resolution != self.hub.resolution:
            return
        for target in self._by_key.get(change.key, ()):
            start, _ = target.day(change.start)
            while start < change.end:
                self._watch(target, start, change.id, now)
                start = target.next_day(start)

    def _watch(self, target: Target, start: int, position: int, now: int) -> None:
        slot, end = self._parts.slot(target, start), target.next_day(start)
        if not self._is_outside(target, start, end) and not self._is_old(end, now):
            self._watched.setdefault(slot, (position, now, target))

    def _is_outside(self, target: Target, start: int, end: int) -> bool:
        """Whether the ground of a target does not cover a day."""
        before = target.start is not None and start < target.start
        return before or (target.until is not None and end > target.until)

    def _changed(self, now: int) -> Iterator[Due]:
        for slot, (_, seen, target) in sorted(self._watched.items(), key=lambda item: item[0].start):
            found = self._correction(slot, target, seen, now)
            if isinstance(found, Due):
                yield found
            elif found is not None:
                self._watched.pop(slot, None)

    def _correction(self, slot: Slot, target: Target, seen: int, now: int) -> Due | bool | None:
        """What is due of a slot that changed; True: nothing (any more), None: not yet."""
        if slot in self._given:
            return None  # what was read of it before may not be stored yet: compared in the next round
        self._alive()
        row, end = self._store.slot(self.hub.name, slot), target.next_day(slot.start)
        mark = self.marks.get(target)
        if row is None and (mark is None or slot.start >= mark.at):
            return True  # its day comes by itself
        if row is not None and row.message is not None:
            return None
        found = self._parts.intervals(target, slot.start, end)
        if not self._ready(found, max(end, seen), now):
            return None
        if not any(one.is_item_e if row is None else one.version for one in found):
            return True  # what the ledger does not have, or has no more, corrects nothing
        due = self._parts.made(target, (slot.start, end), found, row, now)
        return True if row is not None and row.content == due.row.content else due
