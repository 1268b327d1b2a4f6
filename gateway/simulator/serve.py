"""Runs a simulated meter on a port: each telegram at its time, with its faults, and a report of what happened to it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count as count_from
from typing import Any, NamedTuple

from gateway.simulator.clock import Clock
from gateway.simulator.faults import Outcome, Request
from gateway.simulator.meter import Meter
from gateway.simulator.port import Port
from gateway.simulator.values import Values, others

#: telegrams of another meter that a reader may doubt
DOUBTED = 2
#: s between two pieces of a telegram that is sent at the pace of its line
SLICE_S = 0.004


class Sent(NamedTuple):
    """What became of one telegram."""

    number: int
    t: datetime
    outcome: Outcome
    #: how many readers took it: nobody must have what nobody read
    readers: int
    #: monotonic clock in ns when its last octet was handed over
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a meter is run: what is None is as the real meter does it."""

    #: simulated s between telegrams
    interval_s: int | None = None
    #: telegrams to send; None: until cancelled
    count: int | None = None
    #: send at the pace of the line (baud / 10 octets per s) instead of at once
    line_pace: bool = False
    faults: tuple[Request, ...] = ()
    #: simulated s for which `unplug` lasts; None: two and a half intervals
    unplugged_s: float | None = None


async def serve(
    meter: Meter, port: Port, clock: Clock, plan: Plan | None = None, report: Callable[[Sent], None] | None = None
) -> None:
    """Send telegram n at `clock.start + n * interval`; the port must be open, and is left open."""
    plan = plan or Plan()
    step = timedelta(seconds=plan.interval_s or meter.variant.interval_s)
    values, faults = meter.values(plan.faults), meter.faults(others(plan.faults))
    plug = _Plug(port, clock, step * 2.5 if plan.unplugged_s is None else timedelta(seconds=plan.unplugged_s))
    octets_per_s = meter.variant.baud / 10 if plan.line_pace else None
    for number in count_from() if plan.count is None else range(plan.count):
        t = clock.start + number * step
        await plug.back_before(t)
        await clock.wait_until(t)
        outcome = _changed(meter, values, number, t) or faults.apply(number, meter.telegram_at(t))
        if plug.out_since is not None:
            outcome = Outcome(b"", False, "unplug", plug.out_since)
        readers = await _send(port, outcome.octets, octets_per_s)
        if report is not None:
            report(Sent(number, t, outcome, readers, time.monotonic_ns()))
        if outcome.fault == "unplug" and plug.out_since is None:
            await plug.pull(number, t)


def _changed(meter: Meter, values: Values, number: int, t: datetime) -> Outcome | None:
    """The telegram with values that no meter says, or one of a new meter, which may be doubted; None for any other."""
    since = values.lasting.get("exchange")
    if since is not None and since <= number < since + DOUBTED:
        return Outcome(meter.telegram_at(t), None, "exchange", since)
    struck = values.strike(number)
    telegram = meter.telegram_with(t, struck[1]) if struck else None
    return None if struck is None or telegram is None else Outcome(telegram, False, struck[0], number)


def truth(meter: Meter, sent: Sent) -> dict[str, Any]:
    """A line of the truth file: what the telegram said (or would have said), and whether a reader must have it."""
    return {
        "n": sent.number,
        "at": sent.t.isoformat().replace("+00:00", "Z"),
        "item_p": meter.truth_at(sent.t),
        **meter.security_at(sent.t),
        "fault": sent.outcome.fault,
        "since": sent.outcome.since,
        "arrives": sent.outcome.arrives,
        "readers": sent.readers,
        "size": len(sent.outcome.octets),
        "sent_ns": sent.sent_ns,
    }


class _Plug:
    """Whether the plug is in, and when it goes back."""

    def __init__(self, port: Port, clock: Clock, absence: timedelta) -> None:
        self.out_since: int | None = None
        self._port, self._clock, self._absence = port, clock, absence
        self._back: datetime | None = None

    async def pull(self, number: int, t: datetime) -> None:
        await self._port.close()
        self.out_since, self._back = number, t + self._absence

    async def back_before(self, t: datetime) -> None:
        """Plug in again when that is due before `t`."""
        if self._back is not None and self._back <= t:
            await self._clock.wait_until(self._back)
            await self._port.open()
            self.out_since = self._back = None


async def _send(port: Port, octets: bytes, octets_per_s: float | None) -> int:
    """Hand the octets over, all at once or at the pace of a line; returns how many readers took them."""
    if not octets:
        return 0
    readers = port.ready()
    if not readers:
        return 0
    if octets_per_s is None:
        return readers if await port.put(octets) else 0
    size, began = max(1, int(octets_per_s * SLICE_S)), time.monotonic()
    for first in range(0, len(octets), size):
        if not await port.put(octets[first : first + size]):
            return 0
        due = began + min(first + size, len(octets)) / octets_per_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    return readers
