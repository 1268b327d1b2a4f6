"""What the journal keeps in memory, and what a transaction changes of it once it is in the file."""

import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from gateway.stores.cursors import Cursor, Cursors, DeadLetter
from gateway.stores.rows import Ref

#: names of counters, and their values
Saved: TypeAlias = tuple[Ref, tuple[int, ...]]


@dataclass(slots=True)
class Tally:
    """Readings of one meter: committed, never taken, and committed but evicted since."""

    stored: int = 0
    lost: int = 0
    #: gave way to newer ones, or to damage
    evicted: int = 0
    #: kept apart, because they cannot be
    quarantined: int = 0
    #: found after the counters that knew them were lost: received, too
    recovered: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the tally by the names of telemetry.COUNTERS."""
        return {
            "stored": self.stored,
            "quarantined": self.quarantined,
            "journal_lost": self.lost,
            "journal_evicted": self.evicted,
        }


#: telemetry.COUNTERS that the journal counts itself
TALLIES = frozenset(Tally().as_dict())


@dataclass(slots=True)
class Draft:
    """What a transaction changes: it counts in memory from the moment on at which it is in the file."""

    serial: int
    next_id: int
    newest: int
    tallies: dict[str, Tally]
    cursors: dict[str, Cursor]
    salvages: dict[str, int]
    saved: dict[str, Saved]
    ceiling: int | None
    #: time of the oldest reading that each sink has to deliver, s since 1970
    oldest: dict[str, int | None] = field(default_factory=dict)
    #: the group that it takes
    group: object = None
    #: readings (id, meter) that gave way, and those that a salvage brought back
    evicted: list[tuple[int, str]] = field(default_factory=list)
    adopted: list[tuple[int, str]] = field(default_factory=list)
    #: rows that a salvage found, and no counter knew
    unknown: Counter[str] = field(default_factory=Counter)
    #: the file is new: what the last one had counts as evicted until it is found again
    forsaken: bool = False
    #: dead letters that it takes along
    letters: list[DeadLetter] = field(default_factory=list)

    def tally(self, meter: str) -> Tally:
        """Return the tally of a meter, a new one for a new meter."""
        return self.tallies.setdefault(meter, Tally())

    def evict(self, rows: list[tuple[int, str]]) -> None:
        """Count rows (id, meter) that give way."""
        self.evicted += rows
        for _, meter in rows:
            self.tally(meter).evicted += 1
        for cursor in self.cursors.values():
            cursor.evict(rows)

    def forsake(self) -> None:
        """Count all rows as evicted: the file is damaged, and a new one begins."""
        self.forsaken = True
        for tally in self.tallies.values():
            tally.evicted = tally.stored
        for cursor in self.cursors.values():
            cursor.forsake({meter: tally.stored for meter, tally in self.tallies.items()})

    def adopt(self, rows: list[tuple[int, str]], name: str, upto: int | None) -> None:
        """Take back rows (id, meter) of the damaged file `name`, which is copied up to an id now; None: to its end."""
        if upto is None:
            self.salvages.pop(name, None)
        else:
            self.salvages[name] = upto
        self.ceiling = min(self.salvages.values(), default=None)
        if rows:
            self.newest = max(self.newest, rows[-1][0])
        self.adopted = rows
        for meter, n in Counter(meter for _, meter in rows).items():
            tally = self.tally(meter)
            more = max(0, n - tally.evicted)
            self.unknown[meter] = more
            tally.stored += more
            tally.recovered += more
            tally.evicted += more - n
        for cursor in self.cursors.values():
            cursor.take_back(rows, self.unknown)


@dataclass(slots=True)
class State:
    """In memory this is the truth; the file has a copy that every commit brings up to date."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    #: names this journal, also after a salvage
    store: bytes = field(default_factory=lambda: secrets.token_bytes(8))
    #: highest sequence number of each meter that may have been given out
    reserved: dict[str, int] = field(default_factory=dict)
    #: the highest that a meter had which was forgotten
    floor: int = 0
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    #: what each meter goes on from, by table of schema.KEPT and meter, as the module named there packs it
    kept: dict[tuple[str, str], bytes] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    cursors: Cursors = field(default_factory=Cursors)
    #: the counters of each meter as the file holds them
    saved: dict[str, Saved] = field(default_factory=dict)
    layouts: dict[int, bytes] = field(default_factory=dict)
    next_layout: int = 1
    #: how often this state was written
    serial: int = 0
    #: no row of the journal has this id or a higher one
    next_id: int = 1
    #: as the file told when it was read: no row of it has this id or a higher one, whatever can be read of its rows
    ids_end: int = 0
    #: files that were set aside and are not copied to their end, by name, with the id that was copied last
    salvages: dict[str, int] = field(default_factory=dict)
    #: what a transaction would have changed, of which nobody knows whether it is in the file
    draft: Draft | None = None
    #: tallies and cursors may not be those of the rows: they are to be counted
    recount: bool = False
    #: False where the file could not be read until now
    known: bool = True
    #: False where numbers may have been given out that this state does not know
    complete: bool = True

    def tally(self, meter: str) -> Tally:
        """Return the tally of a meter, a new one for a new meter."""
        return self.tallies.setdefault(meter, Tally())

    def begin(self, group: object = None) -> Draft:
        """Begin the draft of a transaction, as a copy of what is."""
        with self.cursors.lock:
            self.draft = Draft(
                serial=self.serial + 1,
                next_id=self.next_id,
                newest=self.cursors.newest,
                tallies={meter: replace(tally) for meter, tally in dict(self.tallies).items()},
                cursors={sink: cursor.copy() for sink, cursor in self.cursors.by_sink.items()},
                salvages=dict(self.salvages),
                saved=self.saved,
                ceiling=self.cursors.ceiling,
                group=group,
                letters=list(self.cursors.waiting),
            )
        return self.draft

    def learn(self, found: "State") -> None:
        """Take up what the file has, after a start at which it could not be read.

        What was received before is not in the counters of this run: it counts as recovered.
        """
        with self.cursors.lock:
            for meter, tally in found.tallies.items():
                recovered = tally.stored + tally.quarantined + tally.lost
                self.tallies[meter] = replace(tally, recovered=recovered)
            self.cursors.learn(found.cursors, {meter: tally.evicted for meter, tally in found.tallies.items()})
            self.store, self.saved, self.salvages = found.store, found.saved | self.saved, found.salvages
            self.serial, self.next_id = found.serial, max(self.next_id, found.next_id)
            self.recount, self.known = found.recount, True

    def take(self, draft: Draft) -> None:
        """Let a draft count that is in the file: all of it in one moment, for whoever holds the lock of the cursors."""
        with self.cursors.lock:
            self.draft, self.known = None, True
            self.serial, self.next_id, self.saved = draft.serial, draft.next_id, draft.saved
            self.tallies, self.salvages = draft.tallies, draft.salvages
            if draft.forsaken:
                self.cursors.forsake({meter: tally.stored for meter, tally in draft.tallies.items()})
            self.cursors.take(draft.evicted, draft.adopted, draft.unknown, draft.letters)
            self.cursors.newest, self.cursors.ceiling = draft.newest, draft.ceiling
            self.cursors.oldest = draft.oldest
            if draft.group is not None:
                draft.group.done = True  # type: ignore[attr-defined]
