"""Watermarks: of each series the first day that is not done, kept in some notes of the hub; too low does no harm."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from gateway.uploader.schedule import Notes
from gateway.uploader.targets import Target

#: notes among which the watermarks are spread: each stays far below the 64 KiB of a note
SHARDS: Final = 64


class Mark(NamedTuple):
    """UTC s: start of the first day that is not done, and of the first day of all."""

    at: int
    origin: int


class Marks:
    """The watermarks of one hub and one resolution."""

    def __init__(self, notes: Notes, resolution: str) -> None:
        self._notes = notes
        self._resolution = resolution
        self._shards: dict[str, dict[str, tuple[int, int]]] = {}
        self._changed: set[str] = set()
        #: by series: the first day that is not stored yet, whatever the watermark says
        self._held: dict[str, set[int]] = {}

    def get(self, target: Target) -> Mark | None:
        """The watermark of a series; None when it has none yet."""
        shard, name = self._place(target)
        found = self._shard(shard).get(name)
        return None if found is None else Mark(*found)

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
            kept = {name: (self._least(name, at), origin) for name, (at, origin) in self._shards[shard].items()}
            self._notes.remember(shard, msgspec.json.encode(kept))
        self._changed.clear()

    def _least(self, name: str, at: int) -> int:
        return min(at, *self._held.get(name, (at,)))

    def _place(self, target: Target) -> tuple[str, str]:
        name = f"{target.point} {target.direction} {target.kind} {self._resolution} {target.basis}"
        return f"uploader.marks.{blake2b(name.encode(), digest_size=1).digest()[0] % SHARDS:02}", name

    def _shard(self, shard: str) -> dict[str, tuple[int, int]]:
        if shard not in self._shards:
            try:
                kept = msgspec.json.decode(self._notes.note(shard) or b"{}", type=dict[str, tuple[int, int]])
            except msgspec.DecodeError:
                kept = {}
            self._shards[shard] = kept
        return self._shards[shard]
