"""Versions of intervals on their way to the broker: QoS 1, in order, each until it is acknowledged; bounded.

Each meter has a queue of its own: one that this user may not publish holds up no other.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from gateway.sinks.mqtt_errors import NOT_AUTHORIZED, ROW_AT_FAULT
from gateway.sinks.mqtt_link import Link
from gateway.sinks.topics import Message

Done: TypeAlias = Callable[[], None]

#: versions of a meter that wait; beyond that the oldest give way (gateway.intervals.owed sends fewer)
MOST: Final = 2_500
#: under way at once: live readings go first
WINDOW: Final = 4
#: a version is given up when it was refused so often while others were taken
MAX_REFUSALS: Final = 3
#: the longest pause after a refusal (s)
RETRY_CAP_S: Final = 120


@dataclass(slots=True, eq=False)
class _Version:
    number: int
    message: Message
    done: Done
    refusals: int = 0
    #: versions that were accepted before its first refusal
    accepted_before: int = 0


@dataclass(slots=True, eq=False)
class _Lane:
    """The versions of one meter."""

    waiting: deque[_Version] = field(default_factory=deque)
    under_way: list[_Version] = field(default_factory=list)
    #: refusals in a row; while there are any, one goes alone
    refusals: int = 0
    paused_until: float = -math.inf
    #: that the broker refuses it was told in this connection
    is_told: bool = False

    def put_back(self, version: _Version) -> None:
        """Let one wait again in its place."""
        place = next((n for n, one in enumerate(self.waiting) if one.number > version.number), len(self.waiting))
        self.waiting.insert(place, version)

    def begin(self) -> None:
        """Send again in a new connection what was under way in the last one."""
        self.waiting.extendleft(reversed(self.under_way))
        self.under_way, self.refusals, self.paused_until, self.is_told = [], 0, -math.inf, False


class IntervalQueue:
    """What the broker has not acknowledged yet, over all connections of this process."""

    def __init__(
        self,
        told: Callable[[str, str], None],
        backoff: Callable[[int, int], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told` gets a topic that is refused, and why; `backoff(attempt, cap_s)` a pause in s."""
        self._told = told
        self._backoff = backoff
        self._monotonic = monotonic
        self._lanes: dict[str, _Lane] = {}
        #: the connection that they are under way in
        self._link: Link | None = None
        self._numbers = 0
        self.published = self.dropped = 0

    def put(self, meter: str, message: Message, done: Done) -> None:
        """Let a version follow those of its meter that wait; `done` is called when the broker has it, or never will."""
        lane = self._lanes.setdefault(meter, _Lane())
        if len(lane.waiting) >= MOST:
            lane.waiting.popleft()
            self.dropped += 1
        self._numbers += 1
        lane.waiting.append(_Version(self._numbers, message, done))

    def send(self, link: Link) -> None:
        """Hand over what may be under way, of each meter in turn; in a new connection what was, is sent again first."""
        if link is not self._link:
            self._link = link
            for lane in self._lanes.values():
                lane.begin()
        sent = True
        while sent:
            turn = [self._send_one(link, lane) for lane in self._lanes.values()]
            sent = any(turn)

    def status(self) -> dict[str, Any]:
        """How many wait, were published, or gave way."""
        waiting = sum(len(lane.waiting) + len(lane.under_way) for lane in self._lanes.values())
        return {"waiting": waiting, "published": self.published, "dropped": self.dropped}

    def _send_one(self, link: Link, lane: _Lane) -> bool:
        under_way = sum(len(one.under_way) for one in self._lanes.values())
        may_go = under_way < WINDOW and not (lane.refusals and lane.under_way) and link.writable
        if not may_go or not lane.waiting or self._monotonic() < lane.paused_until:
            return False
        version = lane.waiting[0]
        if not link.hand(version.message, partial(self._acked, link, lane, version)):
            return False
        lane.under_way.append(lane.waiting.popleft())
        return True

    def _acked(self, link: Link, lane: _Lane, version: _Version, code: int, name: str) -> None:
        if link is not self._link or version not in lane.under_way:
            return
        lane.under_way.remove(version)
        if code >= 0x80:
            self._refused(lane, version, code, name)
        else:
            self.published, lane.refusals = self.published + 1, 0
            version.done()
        self.send(link)

    def _refused(self, lane: _Lane, version: _Version, code: int, name: str) -> None:
        """Give up one that is the only one refused; otherwise its meter waits, and all of it is tried again."""
        version.accepted_before = version.accepted_before if version.refusals else self.published
        version.refusals += 1
        is_alone = version.refusals >= MAX_REFUSALS and self.published > version.accepted_before
        if code in ROW_AT_FAULT or (is_alone and code != NOT_AUTHORIZED):
            self.dropped += 1
            version.done()
            return
        lane.put_back(version)
        now = self._monotonic()
        if now >= lane.paused_until:
            lane.paused_until = now + self._backoff(lane.refusals, RETRY_CAP_S)
            lane.refusals += 1
        if not lane.is_told:
            lane.is_told = True
            self._told(version.message.topic, f"{name} (0x{code:02X})")
