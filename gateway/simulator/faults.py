"""Faults on request: what a line does to telegrams, seeded, and told afterwards, so that nothing is left to guess.

A telegram has at most one fault: the first asked for that strikes it. `noise` comes before a telegram and leaves it
whole; `silence`, `unplug`, `damaged`, `truncated` and `torn` take theirs away; `merged` takes the next one too.
Faults that only pushes can have are in `push_faults`, those of values in `values`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias, get_args

from gateway.simulator.dice import dice

LineKind: TypeAlias = Literal["noise", "silence", "unplug", "damaged", "truncated", "merged", "torn"]
PushKind: TypeAlias = Literal["replay", "rollback", "downgrade", "tag", "title", "doubled", "missing", "swapped"]
#: of values (simulator.values): at single telegrams, and from one on
ValueKind: TypeAlias = Literal["power_spike", "energy_spike", "register_fall"]
LastingKind: TypeAlias = Literal["register_rollover", "exchange"]
Kind: TypeAlias = LineKind | PushKind | ValueKind | LastingKind
KINDS: tuple[Kind, ...] = get_args(LineKind)
PUSH_KINDS: tuple[Kind, ...] = get_args(PushKind)
VALUE_KINDS: tuple[Kind, ...] = get_args(ValueKind)
LASTING_KINDS: tuple[Kind, ...] = get_args(LastingKind)
ALL_KINDS: tuple[Kind, ...] = (*KINDS, *PUSH_KINDS, *VALUE_KINDS, *LASTING_KINDS)
DEFAULT_RATE = 0.05
NOISE_MAX = 200


@dataclass(frozen=True, slots=True)
class Request:
    """A fault that was asked for: at a rate of telegrams, or at telegrams by number (from 0)."""

    kind: Kind
    rate: float = 0.0
    numbers: frozenset[int] = frozenset()

    def strikes(self, number: int, seed: int) -> bool:
        """Tell whether that telegram is hit; the same answer whatever else was asked."""
        return number in self.numbers or dice(seed, self.kind, number).random() < self.rate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What goes out in place of a telegram. `arrives` is None where a reader without a checksum cannot know better."""

    octets: bytes
    arrives: bool | None = True
    fault: Kind | None = None
    #: the telegram at which the fault began
    since: int | None = None


def parse(text: str) -> Request:
    """`KIND` (at a rate of 0.05), `KIND=RATE`, or `KIND@3,7-9` (telegram numbers from 0); raises ValueError."""
    name, mark, value = text.partition("@" if "@" in text else "=")
    kind = next((kind for kind in ALL_KINDS if kind == name), None)
    if kind is None:
        raise ValueError(f"no fault is called {name!r}: choose one of {', '.join(ALL_KINDS)}")
    if kind in LASTING_KINDS and mark != "@":
        raise ValueError(f"{text!r} happens once: write {name}@3 for the telegram at which it does")
    try:
        if mark == "@":
            return Request(kind, numbers=_numbers(value))
        rate = float(value) if mark else DEFAULT_RATE
    except ValueError:
        raise ValueError(f"{text!r} is no fault: write {name}=0.1 for a rate, {name}@3,7-9 for telegrams") from None
    if not 0 <= rate <= 1:
        raise ValueError(f"{text!r}: a rate is between 0 and 1")
    return Request(kind, rate=rate)


class Faults:
    """Spoils telegrams in order of their numbers."""

    def __init__(
        self,
        requests: Sequence[Request] = (),
        *,
        seed: int = 1,
        checksum: bool = True,
        kinds: tuple[Kind, ...] = KINDS,
    ) -> None:
        """Raises ValueError for a fault that is not among `kinds`, which the telegrams can have."""
        for request in requests:
            if request.kind not in kinds:
                raise ValueError(f"this meter cannot have the fault {request.kind}: choose one of {', '.join(kinds)}")
        self._requests = tuple(requests)
        self._seed = seed
        self._checksum = checksum
        #: the telegram that lost its tail, and where
        self._merging: tuple[int, int] | None = None

    def apply(self, number: int, telegram: bytes) -> Outcome:
        """What becomes of this telegram."""
        rng = dice(self._seed, "shape", number)
        if self._merging is not None:
            (since, cut), self._merging = self._merging, None
            at = self._inside(number, telegram, rng)
            # Cut at the same place, two telegrams that begin alike would make a whole one.
            tail = telegram[at + (at == cut) :]
            # No checksum proves that the head and the tail of two telegrams are none.
            return Outcome(tail, False if self._checksum else None, "merged", since)
        for request in self._requests:
            if request.strikes(number, self._seed):
                return self._spoil(request.kind, number, telegram, rng)
        return Outcome(telegram)

    def _spoil(self, kind: Kind, number: int, telegram: bytes, rng: Random) -> Outcome:
        if kind == "noise":
            return Outcome(rng.randbytes(rng.randint(1, NOISE_MAX)) + telegram, True, kind, number)
        if kind == "silence":
            return Outcome(b"", False, kind, number)
        if kind == "damaged":
            damaged = _flip(telegram, self._covered(number, telegram, rng), rng)
            return Outcome(damaged, False if self._checksum else None, kind, number)
        cut = self._inside(number, telegram, rng)
        if kind == "torn":
            return Outcome(telegram[cut:], False, kind, number)
        if kind == "merged":
            self._merging = number, cut
        return Outcome(telegram[:cut], False, kind, number)

    def _inside(self, _number: int, telegram: bytes, rng: Random) -> int:
        """A place behind the identification line and before the `!`: both halves of a cut there are no telegram."""
        return rng.randint(telegram.index(b"\n") + 1, telegram.rindex(b"!") - 1)

    def _covered(self, _number: int, telegram: bytes, rng: Random) -> int:
        """An octet that the checksum covers (in its own digits a flip can be a mere change of case)."""
        return rng.randint(0, telegram.rindex(b"!"))


def _flip(telegram: bytes, at: int, rng: Random) -> bytes:
    """One bit wrong."""
    octets = bytearray(telegram)
    octets[at] ^= 1 << rng.randrange(8)
    return bytes(octets)


def _numbers(text: str) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) - int(first) > 1_000_000:
            raise ValueError("too many telegrams")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
