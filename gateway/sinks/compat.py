"""The sinks of `[[compat]]`: each hands the readings of one meter to one broker in the format of another system.

A reading is published at the moment at which it arrives, or never: the systems on the other side stamp what they get
with their own clock, and none of them knows how old a reading is. So nothing waits, nothing is retained, and where the
meter is silent nothing is said: each of those systems has a time-out for that (docs/compat.md). Each table is a
connection of its own with a client id of its own; a broker that hangs costs its own readings only.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.item_p import ItemP
from gateway.settings import BrokerSettings, CompatSettings
from gateway.sinks.formats import KINDS
from gateway.sinks.mqtt_connector import Connector, backoff_s
from gateway.sinks.mqtt_errors import place
from gateway.sinks.mqtt_link import Link
from gateway.sinks.pace import Pace

_TICK_S = 0.5
_FAREWELL_S = 1.0
#: the names of the keys of [mqtt], as the sentences about a connection have them
_KEY = re.compile(
    r"\bmqtt\.(?=(?:host|port|version|client_id|username|password_file|tls|ca_file|cert_file|key_file)\b)"
)


class CompatSink:
    """Publishes the readings of one meter, newest only: what cannot leave at once is dropped and counted."""

    delivery: Literal["LATEST", "EVERY"] = "LATEST"

    def __init__(
        self,
        settings: CompatSettings,
        broker: BrokerSettings,
        client_id: str,
        *,
        backoff: Callable[[int, int], float] = backoff_s,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._format = KINDS[settings.kind](settings)
        self._pace = Pace(settings.min_interval_s, 0)
        self._monotonic = monotonic
        worded = _own_keys if settings.host else str
        self._connector = Connector(broker, client_id, backoff=backoff, monotonic=monotonic, worded=worded)
        self._link: Link | None = None
        self._probed = False
        self._refused: str | None = None
        self._counters = dict.fromkeys(("published", "dropped", "suppressed", "unfit"), 0)

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until cancelled."""
        await self._connector.run(self._session)

    def deliver(self, item: ItemP) -> None:
        """Publish a reading of this meter now, or drop it."""
        if item.meter != self._settings.meter or item.valid_for_s is None:
            return
        now = self._monotonic()
        if not self._pace.is_due(item, item.valid_for_s, now):
            self._counters["suppressed"] += 1
            return
        link = self._link
        if link is None or not link.writable:
            self._counters["dropped"] += 1
            return
        messages = self._format(item)
        if not messages:
            self._counters["unfit"] += 1
            return
        if not self._probed and link.is_five:
            # the broker answers for QoS 1 only: one message of each connection asks whether we may write at all
            messages[0] = messages[0]._replace(qos=1)
        self._probed = True
        link.publish(messages, item.valid_for_s)
        self._pace.published(item, now)
        self._counters["published"] += 1

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """Say nothing: no format has a word for the line state, and the silence itself is what its reader notices."""

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: a sentence, the table, connection and counters."""
        shown = self._connector.status(self._link)
        return {
            "works": self._link is not None and self._refused is None,
            "text": self._text(shown),
            "kind": self._settings.kind,
            "meter": self._settings.meter,
            "topic": self._settings.topic,
            **shown,
            **self._counters,
        }

    def _text(self, shown: Mapping[str, Any]) -> str:
        what = f"{self._settings.kind} of {self._settings.meter} to {place(self._broker)} {self._settings.topic}"
        if self._link is None:
            return f"{what}: not connected: {shown['last_error'] or 'connecting'}"
        if self._refused:
            return f"{what}: {self._refused}"
        counters = ", ".join(f"{self._counters[name]} {name}" for name in self._counters)
        return f"{what}: connected with MQTT {shown['protocol']}, readings: {counters}"

    async def _session(self, link: Link) -> None:
        """One connection from its beginning to its loss (ConnectionFailedError) or to cancellation."""
        link.on_refused = self._on_refused
        self._link, self._probed, self._refused = link, False, None
        try:
            while True:
                await link.wait(_TICK_S)
        except asyncio.CancelledError:
            await link.disconnect(_FAREWELL_S)
            raise
        finally:
            self._link = None

    def _on_refused(self, topic: str) -> None:
        self._refused = f"the broker does not let this user publish {topic}: allow it in the broker's access list"
        self._connector.fail(f"broker {place(self._broker)}: {self._refused}")


def _own_keys(reason: str) -> str:
    """Name the keys of [[compat]] where a sentence names those of [mqtt]."""
    return _KEY.sub("[[compat]] ", reason)
