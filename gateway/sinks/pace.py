"""How often a meter's readings are published: at most every `min_interval_s`, but at once when power jumps.

Readings of sub-meters, which telegrams repeat for up to an hour, have a pace of their own: when they are new.
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from gateway.item_p import ItemP
from gateway.sinks.topics import Message

_Power: TypeAlias = tuple[int | None, int | None, int | None]

#: a meter that sends every 10 s sends now and then after 9.99 s: that one counts as in time
_JITTER = 0.9
#: who subscribes later waits no longer than this (s) for the reading of a sub-meter, which is not retained
REPEAT_S = 60.0


class Pace:
    """Decides for one meter which readings are published.

    A reading that is not due is dropped, and not published later when the interval ends: by then it would be old, and
    the next telegram is near. A change of power beyond `deadband_w` is due at once (0: only the interval counts). Two
    publications are never further apart than the validity of the first allows: the interval is cut to two thirds of
    `valid_for_s`, which leaves one telegram (a third of it) to arrive in time.
    """

    def __init__(self, min_interval_s: float, deadband_w: int) -> None:
        self._min_interval_s = min_interval_s
        self._deadband_w = deadband_w
        self._at: float | None = None
        self._power: _Power = (None, None, None)

    def is_due(self, item: ItemP, valid_for_s: int, now: float) -> bool:
        """Tell whether a reading received at `now` (monotonic, s) is to be published."""
        if self._at is None:
            return True
        interval = min(self._min_interval_s, valid_for_s * 2 / 3)
        return now - self._at >= interval * _JITTER or self._jumped(_power(item))

    def published(self, item: ItemP, now: float) -> None:
        """Count on from a reading that was published."""
        self._at = now
        self._power = _power(item)

    def forget(self) -> None:
        """Let the next reading be due: the meter was silent, and nobody has a valid one."""
        self._at = None

    def _jumped(self, power: _Power) -> bool:
        if not self._deadband_w:
            return False
        return any(
            (new is None) != (old is None) or abs((new or 0) - (old or 0)) > self._deadband_w
            for new, old in zip(power, self._power, strict=True)
        )


class Repeats:
    """Passes on messages that are new, and the others again now and then."""

    def __init__(self) -> None:
        #: topic -> payload that was passed on last, and when
        self._told: dict[str, tuple[bytes, float]] = {}

    def take(self, messages: Iterable[Message], now: float) -> Iterator[Message]:
        """Those of `messages` that are due at `now` (monotonic, s); they count as published."""
        for message in messages:
            payload, at = self._told.get(message.topic, (b"", 0.0))
            if payload != message.payload or now - at >= REPEAT_S:
                self._told[message.topic] = (message.payload, now)
                yield message

    def forget(self) -> None:
        """Let every message be new: nobody was told anything."""
        self._told.clear()


def _power(item: ItemP) -> _Power:
    reading = item.reading
    return reading.p_import_w, reading.p_export_w, reading.p_net_w
