"""Faults of pushes: what an attacker does to ciphered ones, and what a line does to those in several frames.

- `replay`: an earlier push again, instead of the present one. `rollback`: the present one under a counter of long ago.
- `downgrade`: without its tag, or in clear. `tag`: one bit of the tag is wrong. `title`: another system title.
- `doubled`, `missing`, `swapped`: one frame of several twice, none, or behind the next one. A message whose first or
  last frame comes twice is whole all the same: the first begins it anew, and the last stands alone.

The reader that the truth is about accepts nothing below what the meter sends, keeps the counter, and has its keys.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from gateway.simulator.apdu import ENCRYPTED
from gateway.simulator.faults import KINDS, Faults, Kind, Outcome, Request
from gateway.simulator.push_meter import FIRST_COUNTER, Change, PushMeter
from gateway.simulator.pushes import PushVariant
from gateway.simulator.variants import Variant

#: how many pushes can come again
REPLAY_MAX = 20
#: octets of a frame that must be missing at its start and at its end, so that it is none: flags are shared between
#: HDLC frames, and one is complete without the last
_ESSENTIAL = {"hdlc": (2, 2), "mbus": (1, 1), "bare": (1, 1)}
#: octets at the start and the end of a frame that damage leaves alone: flags, one of which is enough; tag, system title
#: and length of an APDU without a link, which are all that the next one is found by
_UNCOVERED = {"hdlc": (1, 1), "mbus": (0, 0), "bare": (13, 0)}


def kinds(variant: Variant) -> tuple[Kind, ...]:
    """The faults that telegrams of this kind of meter can have."""
    possible: tuple[Kind, ...] = KINDS
    if not isinstance(variant, PushVariant):
        return possible
    if variant.encrypts:
        possible += ("replay", "rollback", "downgrade", "title")
    if variant.authenticates:
        possible += ("tag",)
    return possible + (("doubled", "missing", "swapped") if variant.envelope.size else ())


class PushFaults(Faults):
    """Spoils the pushes of one meter in order of their numbers."""

    def __init__(self, requests: Sequence[Request], meter: PushMeter) -> None:
        super().__init__(requests, seed=meter.seed, kinds=kinds(meter.variant))
        self._meter = meter
        self._link = meter.variant.envelope.link
        #: the latest pushes that went out whole: they are old for every reader
        self._whole: deque[bytes] = deque(maxlen=REPLAY_MAX)
        self._ways: dict[Kind, Callable[[int, Random], Change]] = {
            "rollback": lambda number, _: Change(counter=max(0, FIRST_COUNTER - 1 - number)),
            "downgrade": lambda _, rng: Change(control=self._lower(rng)),
            "tag": lambda _number, _rng: Change(spoil_tag=True),
            "title": lambda _number, _rng: Change(title=_other(meter.system_title)),
        }

    def apply(self, number: int, telegram: bytes) -> Outcome:
        """What becomes of this push."""
        outcome = super().apply(number, telegram)
        if outcome.arrives:
            self._whole.append(telegram)
        return outcome

    def _spoil(self, kind: Kind, number: int, telegram: bytes, rng: Random) -> Outcome:
        if kind == "replay":
            return self._replay(number, telegram, rng)
        if kind in self._ways:
            return Outcome(b"".join(self._frames(number, self._ways[kind](number, rng))), False, kind, number)
        if kind in ("doubled", "missing", "swapped"):
            return self._rearranged(kind, number, rng)
        return super()._spoil(kind, number, telegram, rng)

    def _replay(self, number: int, telegram: bytes, rng: Random) -> Outcome:
        """An earlier push; before the first one arrived there is none, and the push stays as it is."""
        if not self._whole:
            return Outcome(telegram)
        return Outcome(rng.choice(self._whole), False, "replay", number)

    def _rearranged(self, kind: Kind, number: int, rng: Random) -> Outcome:
        frames = self._frames(number)
        last = len(frames) - 1
        at = rng.randint(0, last - (kind == "swapped"))
        if kind == "doubled":
            frames.insert(at, frames[at])
        elif kind == "missing":
            del frames[at]
        else:
            frames[at : at + 2] = frames[at + 1], frames[at]
        return Outcome(b"".join(frames), kind == "doubled" and at in (0, last), kind, number)

    def _lower(self, rng: Random) -> int:
        """A security control with less protection than the meter's: encrypted only, or neither; same suite."""
        control = self._meter.variant.envelope.control or 0
        suite = control & 0x0F
        return suite | (ENCRYPTED if self._meter.variant.authenticates and rng.random() < 0.5 else 0)

    def _frames(self, number: int, change: Change | None = None) -> list[bytes]:
        return self._meter.frames_at(self._meter.time_of(number), change or Change())

    def _inside(self, number: int, _telegram: bytes, rng: Random) -> int:
        """A place in one of the frames: both halves of a cut there lack something of it."""
        return self._place(number, rng, _ESSENTIAL[self._link])

    def _covered(self, number: int, _telegram: bytes, rng: Random) -> int:
        return self._place(number, rng, _UNCOVERED[self._link])

    def _place(self, number: int, rng: Random, margins: tuple[int, int]) -> int:
        frames = self._frames(number)
        chosen = rng.randrange(len(frames))
        before = sum(map(len, frames[:chosen]))
        return before + rng.randint(margins[0], len(frames[chosen]) - 1 - margins[1])


def _other(title: bytes) -> bytes:
    """The system title of another meter of the same manufacturer."""
    return title[:-1] + bytes([title[-1] ^ 0xFF])
