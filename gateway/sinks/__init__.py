"""Sinks: where readings go. A sink never delays reading, and never another sink.

Lifecycle: `run()` connects and stays connected until it is cancelled; `deliver()` is synchronous and returns at once,
because it only hands over (LATEST: a newer reading of the meter replaces one that is not sent yet).
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from gateway.intervals.billed import Compared
from gateway.intervals.demand import DemandDay
from gateway.intervals.model import Direction, Interval, Resolution
from gateway.item_p import ItemP


class SinkError(Exception):
    """A reading was not taken. `retryable` says whether the same reading may be taken later."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


class Sink(Protocol):
    """A consumer of readings and line states."""

    delivery: Literal["LATEST", "EVERY"]

    async def run(self) -> None:
        """Connect, reconnect with back-off, and hand on until cancelled; on cancellation say good-bye and return."""
        ...

    def deliver(self, item: ItemP) -> None:
        """Take one reading, at once and without waiting; raises SinkError."""
        ...

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """Take the line state of a meter (`line_state.LineState.as_dict()`) and whether it delivers readings."""
        ...

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: counters; but for MQTT also `works`, and how it goes in a sentence, `text`."""
        ...


#: called when what was taken is with the consumer, or never will be
Done: TypeAlias = Callable[[], None]


def nobody_asks() -> None:
    """Tell nobody that it is done."""


@runtime_checkable
class IntervalSink(Protocol):
    """A sink that takes versions of intervals, too; of each it says when it is `done` with it, once and in the loop."""

    def deliver_interval(
        self, meter: str, direction: Direction, resolution: Resolution, version: Interval, done: Done = nobody_asks
    ) -> None:
        """Take a version of an interval of a meter's active energy, at once and without waiting."""
        ...

    def deliver_peak(self, meter: str, direction: Direction, peak: Compared, done: Done = nobody_asks) -> None:
        """Take the meter's own peak of a month beside ours, at once and without waiting."""
        ...

    def deliver_demands(self, meter: str, direction: Direction, day: DemandDay, done: Done = nobody_asks) -> None:
        """Take the meter's own means of the quarter-hours of a day beside ours, at once and without waiting."""
        ...
