"""Virtual P1: a meter's readings as DSMR 5 telegrams on a TCP port, for many clients (docs/consumers/virtual-p1.md).

A client gets each telegram once, at the moment of the reading, as from a real port: nothing is repeated, and a silent
meter is silence. A client that does not read keeps one telegram waiting and misses the ones after it, until what waits
is no longer valid: then its connection ends. No client waits for another.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from gateway.item_p import ItemP
from gateway.settings import VirtualP1Settings
from gateway.sinks import SinkError
from gateway.sinks.dsmr import equipment_id, telegram
from gateway.sinks.listener import Client, Listener
from gateway.sinks.local_time import LocalTime

#: after a reading (s): on a small machine the broker and its clients get the processor before twenty others wake up
_BEHIND_S = 0.001
#: what the kernel may hold for one client (octets): a few telegrams, not minutes of them
_QUEUE = 8_192
#: what a client may say (octets): nothing is read from it, and it has no reason to say more
_MAX_SAID = 4_096


class VirtualP1Sink:
    """Sink of one `[[virtual_p1]]` table: LATEST, client by client."""

    delivery: Literal["LATEST", "EVERY"] = "LATEST"

    def __init__(
        self,
        name: str,
        settings: VirtualP1Settings,
        *,
        timezone: str | None,
        salt: bytes,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timezone` is that of the meter's table; `salt` (16 octets) makes the equipment identifier."""
        self._meter = settings.meter
        self._zone = LocalTime(settings.timezone or timezone, "[[virtual_p1]]")
        self._equipment = equipment_id(salt, settings.meter)
        self._monotonic = monotonic
        self._sent = self._skipped = self._dropped = 0
        self._withheld: str | None = None
        #: a telegram and its validity (s), between a reading and the moment at which clients get it
        self._waiting: tuple[bytes, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.listener = Listener(name, settings.listen, settings.max_clients, lambda it: _Reader(it, self._drop))

    async def run(self) -> None:
        """Listen until cancelled."""
        await self.listener.run()

    def deliver(self, item: ItemP) -> None:
        """Send a reading of the meter to every client that takes it; raises SinkError where it can be no telegram."""
        if item.meter != self._meter:
            return
        try:
            octets = telegram(item, self._zone.of(item), self._equipment)
        except SinkError as error:
            self._withheld = error.reason
            raise
        self._withheld = None
        self._flush()
        if self.listener.clients:
            self._waiting = (octets, item.valid_for_s or 0)
            self._timer = asyncio.get_running_loop().call_later(_BEHIND_S, self._flush)

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """A line state has no telegram: a silent meter is silence."""

    def status(self) -> dict[str, Any]:
        """Clients, telegrams sent, skipped for clients that did not read, and clients dropped."""
        shown = self.listener.status()
        text = f"{shown['listen']}: {shown['clients']} clients, {self._sent} telegrams sent"
        problem = self.listener.trouble or self._withheld
        return {
            "meter": self._meter,
            **shown,
            "sent": self._sent,
            "skipped": self._skipped,
            "dropped": self._dropped,
            "works": problem is None,
            "trouble": problem,
            "text": problem or text,
        }

    def _flush(self) -> None:
        """Send what waits."""
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting, self._timer = self._waiting, None, None
        if waiting is None:
            return
        now = self._monotonic()
        for client in list(self.listener.clients):
            assert isinstance(client, _Reader)  # noqa: S101
            self._give(client, waiting[0], now, waiting[1])

    def _give(self, client: "_Reader", octets: bytes, now: float, valid_for_s: int) -> None:
        if client.transport is None or client.transport.is_closing():
            return
        if client.write(octets, now + valid_for_s):
            self._sent += 1
            return
        self._skipped += 1
        if now > client.holds_until:
            self._drop(client)

    def _drop(self, client: "_Reader") -> None:
        self._dropped += 1
        client.drop()


class _Reader(Client):
    """A client: it gets telegrams, and what it says is not listened to."""

    def __init__(self, listener: Listener, drop: Callable[["_Reader"], None]) -> None:
        super().__init__(listener)
        self.holds_until = 0.0
        self._drop_me = drop
        self._said = 0

    def admitted(self) -> None:
        assert self.transport is not None  # noqa: S101
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)

    def data_received(self, data: bytes) -> None:
        self._said += len(data)
        if self._said > _MAX_SAID:
            self._drop_me(self)

    def write(self, octets: bytes, holds_until: float) -> bool:
        """Send a telegram that holds until then (monotonic, s); False while an earlier one is still waiting."""
        if self.transport is None or self.transport.get_write_buffer_size():
            return False
        self.holds_until = holds_until
        self.transport.write(octets)
        return True
