"""Versions of intervals on their way to the broker: QoS 1, in order, each until it is acknowledged; bounded."""

from collections import deque
from functools import partial
from typing import Any, Final

from gateway.sinks.mqtt_link import Link
from gateway.sinks.topics import Message

#: versions that wait for the broker, ten days of a meter's quarter-hours and hours; beyond that the oldest give way
MOST: Final = 2_500
#: under way at once: live readings go first
WINDOW: Final = 4
#: a version that was refused so often is given up
MAX_REFUSALS: Final = 3


class IntervalQueue:
    """What the broker has not acknowledged yet, over all connections of this process."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._under_way: list[Message] = []
        #: the connection that they are under way in
        self._link: Link | None = None
        self._refusals = 0
        self.published = self.dropped = 0

    def put(self, message: Message) -> None:
        """Let a version follow those that wait."""
        if len(self._waiting) >= MOST:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(message)

    def send(self, link: Link) -> None:
        """Hand over what may be under way; in a new connection what was, is sent again first."""
        if link is not self._link:
            self._waiting.extendleft(reversed(self._under_way))
            self._under_way, self._link = [], link
        while self._waiting and len(self._under_way) < WINDOW and link.writable:
            message = self._waiting[0]
            if not link.hand(message, partial(self._acked, link, message)):
                return
            self._under_way.append(self._waiting.popleft())

    def status(self) -> dict[str, Any]:
        """How many wait, were published, or gave way."""
        waiting = len(self._waiting) + len(self._under_way)
        return {"waiting": waiting, "published": self.published, "dropped": self.dropped}

    def _acked(self, link: Link, message: Message, code: int, _name: str) -> None:
        if link is not self._link or message not in self._under_way:
            return
        self._under_way.remove(message)
        if code < 0x80:
            self.published, self._refusals = self.published + 1, 0
            return
        self._refusals += 1
        if self._refusals < MAX_REFUSALS:
            self._waiting.appendleft(message)
        else:
            self.dropped += 1
