"""What happens to the gas meter behind a simulated meter: exchanges, moves, times that stand still or are none.

A change holds from a telegram on. `exchange`: another number on the same channel, from 0. `beside`: the same on the
next channel, while the old meter goes on being printed as it was. `move`: the same meter on the next channel. `stale`:
its reading stands still. `invalid`: its time is none. Every telegram repeats the last reading anyway.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from gateway.simulator.p1 import State
from gateway.simulator.registers import GasReading
from gateway.simulator.variants import Variant

Kind: TypeAlias = Literal["exchange", "beside", "move", "stale", "invalid"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: what Flemish meters were seen to print for a water meter that was never read
NO_TIME = "632525252525W"
_TIME = re.compile(r"\{gas_[a-z0-9]+\.t:(time|wall)\}")


class Change(NamedTuple):
    """A change that holds from telegram `number` (from 0) on."""

    kind: Kind
    number: int


#: (gas_5min, gas_hour) as they were at a second
Readings: TypeAlias = Callable[[int], tuple[GasReading, GasReading]]


def parse(text: str) -> Change:
    """`KIND@N`; raises ValueError."""
    name, _, number = text.partition("@")
    kind = next((kind for kind in KINDS if kind == name), None)
    if kind is None or not number.isdecimal():
        raise ValueError(f"{text!r} is no change of a sub-meter: write one of {', '.join(KINDS)} as KIND@TELEGRAM")
    return Change(kind, int(number))


def changed(
    state: State, variant: Variant, changes: Sequence[tuple[Kind, int]], at: Readings
) -> tuple[State, Variant, list[int]]:
    """What a meter knows and prints after its changes (kind, second), and the channels on which its gas meters are."""
    kinds = {kind: second for kind, second in sorted(changes, key=lambda change: change[1]) if state.t >= second}
    channel = 1
    if "move" in kinds:
        channel += 1
    if "beside" in kinds:
        second = kinds["beside"]
        five, hour = at(second)
        new = _exchanged(state, second, at)
        state = state._replace(
            gas_5min=five,
            gas_hour=hour,
            beside_serial=new.gas_serial,
            beside_5min=new.gas_5min,
            beside_hour=new.gas_hour,
        )
    elif "exchange" in kinds:
        state = _exchanged(state, kinds["exchange"], at)
    if "stale" in kinds:
        five, hour = at(kinds["stale"])
        state = state._replace(gas_5min=five, gas_hour=hour)
    lines = _lines(variant.lines, channel, beside="beside" in kinds, invalid="invalid" in kinds)
    channels = [channel, channel + 1] if "beside" in kinds else [channel]
    return state, replace(variant, lines=lines), channels


def shown(channel: int, reading: GasReading, *, has_time: bool, utc: Callable[[int], str]) -> dict[str, Any]:
    """A gas reading as a reader must find it."""
    cubic, litres = divmod(reading.litres, 1000)
    t = {"t": utc(reading.t)} if has_time else {}
    return {"channel": channel, "medium": "gas", **t, "quantity": f"{cubic}.{litres:03d}", "unit": "m3"}


def _exchanged(state: State, second: int, at: Readings) -> State:
    """Another meter that began at 0 in that second."""
    base = at(second)[0].litres
    five, hour = (
        GasReading(reading.t, reading.litres - base) if reading.t >= second else GasReading(second, 0)
        for reading in (state.gas_5min, state.gas_hour)
    )
    return state._replace(gas_serial=state.gas_serial.replace("SIMG", "SIMH"), gas_5min=five, gas_hour=hour)


@lru_cache(maxsize=16)
def _lines(lines: str, channel: int, *, beside: bool, invalid: bool) -> str:
    """The lines of a variant with its gas meter on that channel, and another one on the next."""
    head, mark, block = lines.rstrip("!").partition("0-1:")
    block = mark + block
    if invalid:
        block = _TIME.sub(NO_TIME, block)
    first = block.replace("0-1:", f"0-{channel}:")
    second = block.replace("0-1:", f"0-{channel + 1}:").replace("{gas_", "{beside_") if beside else ""
    return f"{head}{first}{second}!"
