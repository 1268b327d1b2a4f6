"""Values that no meter says, and what happens to a meter's registers, on request: seeded, and told afterwards.

`power_spike`, `energy_spike` and `register_fall` strike single telegrams: power above what a house can have, a register
far above or below its own. `register_rollover` and `exchange` happen once, at a telegram, and last: the register of the
tariff that holds passes its last digit with the next Wh; another meter with another number counts from 0.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple, TypeAlias

from gateway.simulator.dice import dice
from gateway.simulator.faults import LASTING_KINDS, VALUE_KINDS, Kind, Request
from gateway.simulator.p1 import Energy, State
from gateway.simulator.variants import VARIANTS, Variant

Change: TypeAlias = Callable[[State], State]


class Lasting(NamedTuple):
    """Something that happened to the registers at second `at`, when they were `then`."""

    kind: Kind
    at: int
    then: State


class Values:
    """What is changed in the telegrams of one meter, by their numbers."""

    def __init__(self, requests: Sequence[Request], seed: int) -> None:
        self._requests = tuple(request for request in requests if request.kind in VALUE_KINDS)
        self._seed = seed
        #: number of the telegram at which it begins
        self.lasting = {
            request.kind: min(request.numbers)
            for request in requests
            if request.kind in LASTING_KINDS and request.numbers
        }

    def strike(self, number: int) -> tuple[Kind, Change] | None:
        """What strikes this telegram alone, and how it changes what the meter knows."""
        for request in self._requests:
            if request.strikes(number, self._seed):
                rng = dice(self._seed, request.kind, number, "value")
                return request.kind, partial(_spoilt, kind=request.kind, rng=rng)
        return None


def kinds(variant: Variant) -> tuple[Kind, ...]:
    """What can happen to the values of this kind of meter; what lasts, where its number stands in its telegrams."""
    return VALUE_KINDS + (LASTING_KINDS if variant.name in VARIANTS else ())


def others(requests: Sequence[Request]) -> tuple[Request, ...]:
    """The faults that are not of values."""
    return tuple(request for request in requests if request.kind not in (*VALUE_KINDS, *LASTING_KINDS))


def lasted(state: State, happened: Sequence[Lasting], turn_wh: int) -> State:
    """What the meter knows after what happened to it; a register that is full has `turn_wh`."""
    for kind, at, then in happened:
        if kind == "register_rollover":
            state = _turned(state, then, turn_wh)
        elif state.t >= at:
            state = state._replace(
                serial=then.serial.replace("SIM", "SIX"),
                a_import=_less(state.a_import, then.a_import),
                a_export=_less(state.a_export, then.a_export),
            )
    return state


def _spoilt(state: State, kind: Kind, rng: Random) -> State:
    if kind == "power_spike":
        return state._replace(p_import=rng.randint(60_000, 99_000), p_export=0)
    far = rng.randint(50_000, 5_000_000) * (1 if kind == "energy_spike" else -1)
    low, normal, total = state.a_import
    return state._replace(a_import=Energy(low, max(0, normal + far), max(0, total + far)))


def _turned(state: State, then: State, turn_wh: int) -> State:
    """Registers, the one of the tariff that holds then among them, that lack one Wh at the moment of `then`."""
    full = Energy(*(now - before + turn_wh - 1 for now, before in zip(state.a_import, then.a_import, strict=True)))
    kept = {"normal": state.a_import.normal} if then.low_tariff else {"low": state.a_import.low}
    return state._replace(a_import=full._replace(**kept))


def _less(now: Energy, then: Energy) -> Energy:
    return Energy(*(new - old for new, old in zip(now, then, strict=True)))
