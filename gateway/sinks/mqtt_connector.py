"""Keeps one connection to a broker: which version of MQTT is offered, how long is waited, what the last error was."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from gateway.beats import alive
from gateway.item_p import utc
from gateway.settings import BrokerSettings
from gateway.sinks.mqtt_dial import DIAL_TIMEOUT_S, exposed_password
from gateway.sinks.mqtt_errors import (
    ClosedError,
    ConnectionFailedError,
    UnansweredError,
    UnsupportedVersionError,
    place,
    taken_over,
)
from gateway.sinks.mqtt_link import Link

_FIVE, _THREE = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
#: a connection that lived so long was a good one: the pause before the next attempt starts small again
_GOOD_AFTER_S = 30.0
#: connections in a row that the broker closed, without saying why, within _GOOD_AFTER_S
_SUSPICIOUS_CLOSES = 3

#: the event in the log is `mqtt`, whichever module says it
_log = logging.getLogger("gateway.sinks.mqtt")


def backoff_s(attempt: int, cap_s: int) -> float:
    """Pause in s after `attempt` failures in a row (0, 1 ...): full jitter up to 1, 2, 4 ... `cap_s`."""
    return random.uniform(0, min(cap_s, 2 ** min(attempt, 7)))  # noqa: S311 - spreads load, guards no secret


class Connector:
    """Connects, and connects again whenever the connection is lost; a failure is logged when it is another one."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        backoff: Callable[[int, int], float] = backoff_s,
        monotonic: Callable[[], float] = time.monotonic,
        worded: Callable[[str], str] = str,
    ) -> None:
        """`worded` rewrites a sentence for a person, where its keys stand in another table than `[mqtt]`."""
        self._settings = settings
        self._client_id = client_id
        self._backoff = backoff
        self._monotonic = monotonic
        self._worded = worded
        self._only_three = settings.version == "3.1.1"
        self._said_three = False
        #: it spoke MQTT 5: from then on silence means that it stands still, and not that it is old
        self._spoke_five = False
        self._last_error: str | None = None
        self._last_error_t: datetime | None = None

    async def run(self, session: Callable[[Link], Awaitable[None]]) -> None:
        """Hand each new connection to `session`, which ends with ConnectionFailedError, until cancelled."""
        if exposed := exposed_password(self._settings):
            _log.warning("%s", self._worded(exposed))
        attempt = closes = 0
        while True:
            began = self._monotonic()
            try:
                link = await self._connect()
                try:
                    await session(link)
                finally:
                    link.close()
            except ConnectionFailedError as failure:
                good = self._monotonic() - began >= _GOOD_AFTER_S
                attempt = 0 if good else attempt + 1
                closes = closes + 1 if isinstance(failure, ClosedError) and not good else 0
                if closes >= _SUSPICIOUS_CLOSES:
                    failure = taken_over(self._settings, self._client_id)
                self.fail(failure.reason)
                pause_s = failure.least_s + self._backoff(attempt, failure.cap_s - failure.least_s)
                alive(pause_s)
                await asyncio.sleep(pause_s)

    def fail(self, reason: str) -> None:
        """Remember an error; it is logged when it is another one than before, and not again with every attempt."""
        reason = self._worded(reason)
        if reason != self._last_error:
            _log.warning("%s", reason)
        self._last_error = reason
        self._last_error_t = datetime.now(UTC)

    def status(self, link: Link | None) -> dict[str, Any]:
        """What `meterd status` shows of the broker: connection, protocol, last error in a sentence."""
        return {
            "broker": place(self._settings),
            "client_id": self._client_id,
            "connected": link is not None,
            "protocol": None if link is None else link.protocol,
            "last_error": self._last_error,
            "last_error_t": utc(self._last_error_t, "seconds"),
        }

    async def _connect(self) -> Link:
        """Offer MQTT 5, then 3.1.1 to a broker that refuses it by name (remembered), or does not answer."""
        if self._only_three:
            return await self._open(_THREE)
        try:
            link = await self._open(_FIVE)
        except (UnsupportedVersionError, UnansweredError) as failure:
            if self._settings.version == "5" or (self._spoke_five and isinstance(failure, UnansweredError)):
                raise
            link = await self._open(_THREE)
            self._only_three = isinstance(failure, UnsupportedVersionError)
            self._say_three("does not speak" if self._only_three else "gave no answer to")
        else:
            self._spoke_five = True
        return link

    async def _open(self, version: MQTTProtocolVersion) -> Link:
        alive(DIAL_TIMEOUT_S)
        return await Link.open(self._settings, self._client_id, version)

    def _say_three(self, why: str) -> None:
        if not self._said_three:
            self._said_three = True
            _log.warning("broker %s %s MQTT 5: 3.1.1 is used, without message expiry", place(self._settings), why)
