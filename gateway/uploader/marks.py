"""Watermarks: of each series the first day that is not done, kept in some notes of the hub; too low does no harm."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, get_args

import msgspec

from gateway.intervals.model import Resolution
from gateway.uploader.schedule import Notes
from gateway.uploader.targets import Target

#: notes among which the watermarks are spread: each stays far below the 64 KiB of a note
SHARDS: Final = 64
#: octets from which on series are left out that do not go to the hub any more (permissions that ended)
FULL: Final = 56 << 10


class Mark(NamedTuple):
    """UTC s: start of the first day that is not done, and of the first day of all."""

    at: int
    origin: int


class Marks:
    """The watermarks of one hub and one resolution."""

    def __init__(self, notes: Notes, resolution: str) -> None:
        self._notes = notes
        self._resolution = resolution
        #: watermark and first day of each series, and a third number where it does not go to the hub now
        self._shards: dict[str, dict[str, tuple[int, ...]]] = {}
        self._changed: set[str] = set()
        #: by series: the first day that is not stored yet, whatever the watermark says
        self._held: dict[str, set[int]] = {}

    def get(self, target: Target) -> Mark | None:
        """The watermark of a series; None when it has none yet."""
        shard, name = self._place(target)
        found = self._shard(shard).get(name)
        return None if found is None else Mark(*found[:2])

    def meet(self, targets: Sequence[Target]) -> list[Target]:
        """Those of the targets that were known, and did not go for a while: nobody followed what changed in them.

        What is known and not among the targets is followed no more from now on; that is kept at once.
        """
        present = {self._place(target)[1] for target in targets}
        away = set()
        for number in range(SHARDS):
            name = _shard_name(number)
            for series, kept in self._shard(name).items():
                if len(kept) > 2:
                    away.add(series)
                elif series not in present:
                    self._shards[name][series] = (*kept, 1)
                    self._changed.add(name)
        self.save()
        back = [target for target in targets if self._place(target)[1] in away]
        for target in back:
            mark = self.get(target)
            if mark is not None:
                self.put(target, mark)
        return back

    def elsewhere(self, target: Target) -> Mark | None:
        """How far a series came in another resolution, the furthest of them."""
        places = (self._place(target, one) for one in get_args(Resolution))
        found = (self._shard(shard).get(name) for shard, name in places)
        return max((Mark(*one[:2]) for one in found if one is not None), default=None)

    def put(self, target: Target, mark: Mark) -> None:
        """Change a watermark; `save` keeps it."""
        shard, name = self._place(target)
        self._shard(shard)[name] = mark
        self._changed.add(shard)

    def hold(self, target: Target, start: int) -> None:
        """Keep no watermark beyond a day before it is released."""
        self._held.setdefault(self._place(target)[1], set()).add(start)

    def release(self, held: Iterable[tuple[Target, int]]) -> None:
        """Days are stored: the watermark may pass."""
        for target, start in held:
            shard, name = self._place(target)
            days = self._held.get(name, set())
            days.discard(start)
            if not days:
                self._held.pop(name, None)
            self._changed.add(shard)

    def save(self) -> None:
        """Keep what changed."""
        for shard in sorted(self._changed):
            kept = {name: (self._least(name, at), *more) for name, (at, *more) in self._shards[shard].items()}
            if len(encoded := msgspec.json.encode(kept)) > FULL:
                self._shards[shard] = {name: mark for name, mark in self._shards[shard].items() if len(mark) == 2}
                encoded = msgspec.json.encode({name: mark for name, mark in kept.items() if len(mark) == 2})
            self._notes.remember(shard, encoded)
        self._changed.clear()

    def _least(self, name: str, at: int) -> int:
        return min(at, *self._held.get(name, (at,)))

    def _place(self, target: Target, resolution: str | None = None) -> tuple[str, str]:
        name = f"{target.point} {target.direction} {target.kind} {resolution or self._resolution} {target.basis}"
        return _shard_name(blake2b(name.encode(), digest_size=1).digest()[0] % SHARDS), name

    def _shard(self, shard: str) -> dict[str, tuple[int, ...]]:
        if shard not in self._shards:
            try:
                kept = msgspec.json.decode(self._notes.note(shard) or b"{}", type=dict[str, tuple[int, ...]])
            except msgspec.DecodeError:
                kept = {}
            self._shards[shard] = {name: mark for name, mark in kept.items() if len(mark) >= 2}
        return self._shards[shard]


def _shard_name(number: int) -> str:
    return f"uploader.marks.{number:02}"
