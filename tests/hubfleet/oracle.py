"""Judges what arrived at the test hub: one effect for each version that was sent, the last one last, nothing else.

The hub's own record of what it took over is read, and compared with what is true. A version that was overtaken before
it left needs no effect; no version has two, none comes after a later one, none comes while nothing of its point may,
and the newest is there.

One repetition is no error, and is counted apart: the outcome of a message was not known when a point of it lost its
ground. The message may not be sent again then, so nobody can find out; what else was in it, or comes back, goes anew.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from tests.hubfleet.truth import Fleet


class Repeat(NamedTuple):
    """A version that had two effects, the first in a document with a point that lost its ground before the second."""

    document: str
    text: str


class _Seen(NamedTuple):
    version: int
    n: int
    document: str


@dataclass
class Verdict:
    """What was found: effects by version, and every violation as a sentence."""

    effects: int = 0
    corrections: int = 0
    violations: list[str] = field(default_factory=list)
    #: what has not arrived: a violation once there was time enough
    overdue: list[str] = field(default_factory=list)
    #: no violations where the document was given up
    repeats: list[Repeat] = field(default_factory=list)
    #: documents of which something was taken over, and those with several parts
    documents: int = 0
    bundles: int = 0


class Judge:
    """The effects of one hub, as they come."""

    def __init__(self, fleet: Fleet, hub: str) -> None:
        self._fleet, self._hub = fleet, hub
        self._numbers = {fleet.name(number): number for number in fleet.of(hub)}
        self._days = {fleet.bounds(day)[0]: day for day in range(fleet.days)}
        self._seen: dict[tuple[int, int], list[_Seen]] = defaultdict(list)
        #: points of each document, one for each part
        self._documents: dict[str, list[int]] = defaultdict(list)
        #: points and days that a version came to twice, with both
        self._twice: list[tuple[int, int, _Seen, _Seen]] = []
        #: where each point has effects in the record
        self._places: dict[int, list[int]] = defaultdict(list)
        self._verdict = Verdict()

    def take(self, effects: Iterable[dict[str, Any]]) -> None:
        """Judge effects: as /control/effects gives them, oldest first."""
        for effect in effects:
            self._verdict.effects += 1
            if (why := self._take(effect)) is not None:
                self._verdict.violations.append(f"{self._hub}: {why}")

    def _take(self, effect: dict[str, Any]) -> str | None:
        number, day = self._numbers.get(effect["point"]), self._days.get(effect["start"])
        if number is None or day is None or effect["direction"] != "consumption":
            return f"nobody has sent {effect['point']} {effect['start']}"
        self._documents[effect["document"]].append(number)
        self._places[number].append(effect["n"])
        version = _version(self._fleet, number, day, effect)
        if version is None:
            return f"{effect['point']} day {day}: values that no version has"
        before, one = self._seen[number, day], _Seen(version, effect["n"], effect["document"])
        self._verdict.corrections += bool(before)
        last = before[-1] if before else None
        before.append(one)
        if last is not None and version < last.version:
            return f"{effect['point']} day {day}: version {version} after {last.version}"
        if last is not None and version == last.version:
            self._twice.append((number, day, last, one))
        return None

    def verdict(self) -> Verdict:
        """What is found by now, in view of what is true now."""
        kept, fleet = self._verdict, self._fleet
        found = Verdict(kept.effects, kept.corrections, list(kept.violations))
        for number, day, first, second in self._twice:
            text = f"{self._hub}: {fleet.name(number)} day {day}: version {first.version} had two effects"
            if self._is_excused(first, second):
                found.repeats.append(Repeat(first.document, text))
            else:
                found.violations.append(text)
        found.violations += self._unlawful()
        for slot, newest in fleet.versions.items():
            if fleet.hub(slot[0]) == self._hub:
                last = self._seen[slot][-1].version if self._seen.get(slot) else 0
                if last != newest:
                    found.overdue.append(
                        f"{self._hub}: point {slot[0]} day {slot[1]}: has version {last}, not {newest}"
                    )
        found.documents = len(self._documents)
        found.bundles = sum(len(parts) > 1 for parts in self._documents.values())
        return found

    def _unlawful(self) -> Iterator[str]:
        for shut in self._fleet.shut:
            for n in self._places.get(shut.number, ()):
                if shut.after < n <= shut.until:
                    name = self._fleet.name(shut.number)
                    yield f"{self._hub}: {name} came as {n}, and nothing of it may from {shut.after} to {shut.until}"

    def _is_excused(self, first: _Seen, second: _Seen) -> bool:
        with_it = set(self._documents[first.document])
        return any(
            loss.number in with_it and loss.after < second.n and (loss.until is None or first.n <= loss.until)
            for loss in self._fleet.losses
        )


def judge(fleet: Fleet, hub: str, effects: Iterable[dict[str, Any]]) -> Verdict:
    """Judge all effects of one hub."""
    one = Judge(fleet, hub)
    one.take(effects)
    return one.verdict()


def unexcused(verdict: Verdict, given_up: Collection[str]) -> list[str]:
    """Repetitions of documents that were not given up: violations."""
    return [one.text for one in verdict.repeats if one.document not in given_up]


def _version(fleet: Fleet, number: int, day: int, effect: dict[str, Any]) -> int | None:
    """Which version of its day an effect carries, whole; None where it is none."""
    if effect["end"] != fleet.bounds(day)[1] or effect["resolution"] != fleet.resolution(number):
        return None
    values = [(int(when), int(Decimal(kwh) * 1_000), quality) for when, kwh, quality in effect["values"]]
    if not values or any(quality not in ("measured", "A04", "M") for _, _, quality in values):
        return None
    version = values[0][1] // 1_000
    told = [wh for _, wh, _ in values]
    whens = [when for when, _, _ in values]
    right = told == fleet.day(number, day, version) and whens == list(fleet.starts(number, day))
    return version if right else None
