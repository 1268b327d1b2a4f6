"""The journal: every reading of every meter, committed in groups by a thread of its own.

The loop's thread packs a reading and puts it into the open group (`append`); nothing there waits. At the end of a
group `cut` closes it together with the counters of that moment, so that the counters in the file are those that
admitted exactly the readings in the file. The writer's thread commits closed groups, one transaction each.

What a power cut or kill -9 takes is the open group, and what is not committed yet; a medium that fails for longer
takes the oldest readings of a bounded queue, counted as `journal_lost`. Sequence numbers are reserved ahead of use.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from gateway.beats import Beat
from gateway.item_p import ItemP, utc
from gateway.stores.groups import GroupQueue, Packed
from gateway.stores.outbox import Outbox, shown, standing
from gateway.stores.reader import Reader
from gateway.stores.rows import EPOCH, Interner, Ref, pack
from gateway.stores.schema import JournalError
from gateway.stores.state import TALLIES, State, Tally, after_damage, encode_names
from gateway.stores.writer import Writer

__all__ = ["Journal", "JournalError"]

#: octets of RAM for readings that cannot be committed: per meter (ten minutes at one reading per second), and at least
RAM_PER_METER = 256 * 1024
RAM_LEAST = 4 * 1024 * 1024
CLOSE_S = 3.0
#: a commit that takes longer is a trouble (s)
SILENT_S = 8.0
NONE: Mapping[str, int] = {}

#: something of each meter that it goes on from after a restart
SaveKept = Callable[[], Mapping[str, bytes]]
SaveCounters = Callable[[], Mapping[str, Mapping[str, int]]]


class Journal:
    """A journal file with its thread. Every method belongs to one thread, that of the event loop."""

    def __init__(  # noqa: PLR0913 - limits by name
        self,
        path: Path,
        *,
        max_bytes: int,
        max_age_s: int,
        group_s: float,
        meters: Sequence[str] = (),
        save_counters: SaveCounters = dict,
        save_trust: SaveKept = dict,
        save_sub_meters: SaveKept = dict,
        save_series: SaveKept = dict,
        beat: Beat | None = None,
    ) -> None:
        """`meters` names every meter that will ask for sequence numbers; `beat` gets the writer's signs of life.

        `save_counters` gives counters by meter, `save_trust` what admitted the readings of each, `save_sub_meters` what
        is known of its sub-meters, `save_series` what its registers go on from: all are committed with exactly the
        readings before them.
        """
        self.path = path
        self._max_bytes = max_bytes
        self._group_s = group_s
        self._meters = tuple(meters)
        self._save_counters = save_counters
        self._save_kept: dict[str, SaveKept] = {
            "trust": save_trust,
            "sub_meter": save_sub_meters,
            "series": save_series,
        }
        self._queue = GroupQueue(max(RAM_LEAST, RAM_PER_METER * len(self._meters)))
        self._writer = Writer(path, self._queue, max_bytes=max_bytes, max_age_s=max_age_s, beat=beat)
        self._interner = Interner({}, 1)
        self._given: dict[str, int] = {}
        #: the number before the first of a new meter
        self._first = 0
        self._cut_counters: dict[str, tuple[Ref, tuple[int, ...]]] = {}
        self._cut_kept: dict[tuple[str, str], bytes] = {}
        self._cut_settled = 0
        self._outboxes: WeakSet[Outbox] = WeakSet()
        self._running = False
        self._timer: asyncio.Handle | None = None

    def start(self) -> None:
        """Open or create the file, reserve sequence numbers, start the writer. Raises JournalError.

        A damaged file is set aside; a medium that takes nothing now is a fault in `status`, and tried again. Within a
        running event loop groups are cut by it every `group_s`; elsewhere the caller calls `cut`.
        """
        self._writer.open()
        state = self._state
        self._interner = Interner(state.layouts, state.next_layout)
        state.layouts = self._interner.layouts
        self._first = state.floor if state.complete else after_damage(state.floor)
        self._given = dict.fromkeys(self._meters, self._first) | state.reserved
        self._queue.lost = Counter({meter: tally.lost for meter, tally in state.tallies.items()})
        self._writer.start(self._given)
        self._running = True
        self._arm()

    def admit(self, meters: Iterable[str]) -> None:
        """Take meters on while running: numbers are reserved for them by a commit that is asked for at once."""
        for meter in meters:
            self._given.setdefault(meter, self._first)
        self.cut()

    def knows(self, meter: str) -> bool:
        """Whether numbers are reserved for a meter; until then they come from the wall clock."""
        return meter in self._state.reserved

    def append(self, item: ItemP) -> bool:
        """Take a reading, at once; False, and counted as lost, when the journal does not run."""
        return self._add(item, None)

    def quarantine(self, item: ItemP, reason: str) -> bool:
        """Take a reading that cannot be, and why: it is kept apart, and no sink gets it. At once; False as `append`."""
        return self._add(item, reason)

    def _add(self, item: ItemP, reason: str | None) -> bool:
        if not self._running:
            self._queue.lost[item.meter] += 1
            return False
        moment = item.t or item.t_rx
        t = 0 if moment is None else int((moment - EPOCH).total_seconds())
        open_octets = self._queue.add(Packed(item.meter, t, pack(item, self._interner), reason))
        if open_octets > self._queue.limit // 4 and self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_soon(self._tick)
        return True

    def cut(self) -> None:
        """Close the open group with the counters of this moment, and hand it to the writer.

        To be called where the counters have counted exactly the readings that were appended.
        """
        if self._running:
            counters = self._counters_now()
            kept = {(table, meter): data for table, save in self._save_kept.items() for meter, data in save().items()}
            settled = self._state.cursors.version
            news = (counters, kept, settled) != (self._cut_counters, self._cut_kept, self._cut_settled)
            self._cut_counters, self._cut_kept, self._cut_settled = counters, kept, settled
            self._queue.cut(counters, dict(self._given), kept, news=news)

    def next_seq(self, meter: str) -> int:
        """Give the next sequence number of a meter: above all before it, those before a kill -9 included.

        Numbers beyond what the medium let us reserve come from the wall clock: ahead of every count, never used twice.
        """
        seq = self._given.get(meter, 0) + 1
        if seq > self._state.reserved.get(meter, 0):
            seq = after_damage(seq)
        self._given[meter] = seq
        return seq

    def counters(self, meter: str) -> dict[str, int]:
        """The counters of a meter as they were committed with its last readings; empty for a new meter."""
        return dict(self._state.counters.get(meter, NONE))

    def trust(self, meter: str) -> bytes | None:
        """What admitted the last readings of a meter that were committed before this start; None for a new meter."""
        return self._state.kept.get(("trust", meter))

    def sub_meters(self, meter: str) -> bytes | None:
        """What was known of a meter's sub-meters with its last readings before this start; None for a new meter."""
        return self._state.kept.get(("sub_meter", meter))

    def known(self) -> dict[str, bytes | None]:
        """Every meter that was ever configured with this journal, with what `sub_meters` gives of it."""
        return {meter: self.sub_meters(meter) for meter in sorted({*self._state.tallies, *self._state.reserved})}

    def series(self, meter: str) -> bytes | None:
        """What the registers of a meter went on from before this start; None for a new meter."""
        return self._state.kept.get(("series", meter))

    def outbox(self, name: str) -> Outbox:
        """The journal as the sink of this name sees it; one that is new starts before the oldest reading.

        A sink that takes the place of another asks for its own: it goes on where that one came to.
        """
        with self._state.cursors.lock:
            evicted = {meter: tally.evicted for meter, tally in self._state.tallies.items()}
            user = self._state.cursors.begin(name, evicted)
        made = Outbox(name, user, self.path, self._state, self._writer.doubt)
        self._outboxes.add(made)
        return made

    @property
    def salt(self) -> bytes:
        """Key of the pseudonyms of this journal (gateway.pseudonym), 16 octets."""
        return self._state.salt

    def stored(self, meter: str) -> int:
        """Count the readings of a meter that were committed, in this run and before."""
        return self._state.tally(meter).stored

    def quarantined(self, meter: str) -> int:
        """Count the readings of a meter that were kept apart, because they cannot be."""
        return self._state.tally(meter).quarantined

    def lost(self, meter: str) -> int:
        """Count the readings of a meter that were appended and could not be kept."""
        return self._queue.lost[meter]

    def evicted(self, meter: str) -> int:
        """Count the readings of a meter that gave way to newer ones, by quota or age."""
        return self._state.tally(meter).evicted

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: `trouble` is a sentence while the medium fails, `notices` what happened."""
        writer, tallies = self._writer, list(self._state.tallies.values())
        trouble = writer.trouble or self._silence()
        return {
            "path": str(self.path),
            "state": "fault" if trouble else "ok" if writer.checked else "checking",
            "trouble": trouble,
            "notices": list(writer.notices),
            "stored": sum(tally.stored for tally in tallies),
            "lost": self._queue.lost.total(),
            "evicted": sum(tally.evicted for tally in tallies),
            "queued": self._queue.rows,
            "queued_bytes": self._queue.octets,
            "bytes": _size(self.path),
            "wal_bytes": _size(Path(f"{self.path}-wal")),
            "max_bytes": self._max_bytes,
            "last_commit": utc(writer.committed_at, "milliseconds"),
        }

    def conservation(self) -> dict[str, Any]:
        """Where every result of the decoders is, by meter and by sink; `holds` tells whether it adds up.

        received = stored + quarantined + rejected + held + lost, and for each sink
        stored = delivered + pending + evicted + dead_letter.
        """
        state, counters = self._state, self._save_counters()
        with state.cursors.lock:
            held, lost = self._queue.held(), self._queue.lost.copy()
            names = sorted({*state.tallies, *counters, *held, *lost})
            counted: dict[str, Mapping[str, int]] = {
                name: counters.get(name, state.counters.get(name, NONE)) for name in names
            }
            waiting = {name: values.get("waiting", 0) for name, values in counters.items()}
            meters = {
                name: _balance(state.tally(name), counted[name], waiting.get(name, 0), held[name], lost[name])
                for name in names
            }
            sinks = {sink: standing(state, sink) for sink in sorted(state.cursors.by_sink)}
        return {
            "holds": all(meter["holds"] for meter in meters.values())
            and all(terms["pending"] >= 0 for sink in sinks.values() for terms in sink.values()),
            "meters": meters,
            "sinks": sinks,
        }

    def dead_letters(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest dead letters that are committed, oldest first; it reads the disk. Raises JournalError."""
        reader = Reader(self.path)
        try:
            found = deque(reader.dead_letters(), maxlen=limit)
        finally:
            reader.close()
        return [shown(letter) for letter in found]

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Cut, and wait until everything is committed; False when that did not happen in time."""
        self.cut()
        return self._queue.drained(timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Commit what is queued and end; False when readings were left behind, because the medium took too long."""
        if not self._running:
            return True
        if self._timer is not None:
            self._timer.cancel()
        self.cut()
        self._running = False
        for outbox in list(self._outboxes):
            outbox.close()
        self._writer.stop()
        return self._writer.join(timeout_s) and not self._queue.rows

    def _silence(self) -> str | None:
        """Say that the medium takes long; the check of a large file may."""
        if not self._writer.checked or self._writer.busy_s < SILENT_S:
            return None
        return f"journal {self.path}: the medium has not answered for more than {SILENT_S:.0f} s"

    @property
    def _state(self) -> State:
        return self._writer.state

    def _arm(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._timer = loop.call_later(self._group_s, self._tick)

    def _tick(self) -> None:
        self.cut()
        if self._running:
            self._arm()

    def _counters_now(self) -> dict[str, tuple[Ref, tuple[int, ...]]]:
        """The counters of every meter, but for the tallies, which are the journal's own."""
        result: dict[str, tuple[Ref, tuple[int, ...]]] = {}
        # A meter that is not configured any more keeps what it had.
        kept = {meter: self._state.counters.get(meter, NONE) for meter in self._given}
        for meter, values in (kept | dict(self._save_counters())).items():
            names = tuple(name for name in values if name not in TALLIES)
            ref = self._interner.ref(meter, "counters", encode_names(names))
            result[meter] = (ref, tuple(values[name] for name in names))
        return result


def _balance(tally: Tally, counters: Mapping[str, int], waiting: int, held: int, lost: int) -> dict[str, Any]:
    """One meter; `waiting` readings are in the daemon's memory, and not among those that the counters call received."""
    terms = {
        "stored": tally.stored,
        "quarantined": tally.quarantined,
        "rejected": counters.get("rejected", 0),
        "held": held + waiting,
        "lost": lost,
    }
    received = counters.get("received", 0) + waiting + tally.recovered
    return {"received": received, **terms, "holds": received == sum(terms.values())}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
