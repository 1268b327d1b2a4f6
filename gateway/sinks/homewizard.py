"""HomeWizard P1: a meter's readings by the local API v1 of a HomeWizard P1 meter (docs/consumers/homewizard.md).

What is served is the newest reading with power while it holds; after that, and while the meter is not available, the
answer is 503: clients take an absent number for 0, and an old one for the present.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from gateway import __version__
from gateway.item_p import ItemP
from gateway.settings import HomeWizardSettings
from gateway.sinks import SinkError
from gateway.sinks.dsmr import equipment_id, telegram
from gateway.sinks.homewizard_data import Energy, data, energy
from gateway.sinks.http import HttpClient, Request, Response, error
from gateway.sinks.listener import Listener
from gateway.sinks.local_time import LocalTime

PRODUCT_TYPE, PRODUCT_NAME = "HWE-P1", "P1 Meter"


def serial(salt: bytes, meter: str) -> str:
    """12 hex digits in the form of a MAC address that no maker gives (locally administered, IEEE 802, unicast)."""
    octets = bytearray(blake2b(f"homewizard {meter}".encode(), key=salt, digest_size=6).digest())
    octets[0] = octets[0] & 0xFE | 0x02
    return octets.hex()


class HomeWizardSink:
    """Sink of one `[[homewizard]]` table: LATEST, asked for by its clients."""

    delivery: Literal["LATEST", "EVERY"] = "LATEST"

    def __init__(
        self,
        name: str,
        settings: HomeWizardSettings,
        *,
        timezone: str | None,
        salt: bytes,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timezone` is that of the meter's table; `salt` (16 octets) makes the serial number and the identifiers."""
        self.serial = serial(salt, settings.meter)
        self._name = name
        self._settings = settings
        self._zone = LocalTime(settings.timezone or timezone, "[[homewizard]]")
        self._equipment = equipment_id(salt, settings.meter)
        self._monotonic = monotonic
        self._newest: ItemP | None = None
        self._until = 0.0
        self._energy: Energy | None = None
        self._withheld: str | None = None
        self._requests = self._unavailable = 0
        self._mdns: str | None = None
        self._answers: dict[str, tuple[ItemP, Response]] = {}
        hosts = frozenset(host.lower() for host in settings.hosts)
        self.listener = Listener(
            name, settings.listen, settings.max_clients, lambda it: HttpClient(it, self.answer, hosts)
        )

    async def run(self) -> None:
        """Listen, and answer to mDNS where that is configured, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.listener.run())
            if self._settings.mdns:
                group.create_task(self._announce())

    def deliver(self, item: ItemP) -> None:
        """Take a reading of the meter; one without power leaves the last one in its place while that holds."""
        if item.meter != self._settings.meter:
            return
        reading = item.reading
        if reading.a_import_wh is not None or reading.a_export_wh is not None:
            self._energy = energy(reading)
        if reading.p_net_w is None or reading.quality != "measured" or item.valid_for_s is None:
            if self._is_valid():
                return
            self._withheld = "the meter tells no measured net power"
            raise SinkError(self._withheld, retryable=False)
        self._withheld = None
        self._newest, self._until = item, self._monotonic() + item.valid_for_s

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """Forget the reading of a meter that does not deliver."""
        if meter == self._settings.meter and not available:
            self._newest = None

    def status(self) -> dict[str, Any]:
        """Clients, requests answered, and requests for which there was no valid reading."""
        shown = self.listener.status()
        problem = self.listener.trouble or self._mdns or self._withheld
        text = f"{shown['listen']}: {self._requests} requests, {self._unavailable} without a valid reading"
        return {
            "meter": self._settings.meter,
            "serial": self.serial,
            "mdns": self._settings.mdns,
            **shown,
            "requests": self._requests,
            "unavailable": self._unavailable,
            "works": problem is None,
            "trouble": problem,
            "text": problem or text,
        }

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        self._requests += 1
        make = self._paths().get(request.path)
        if make is None:
            return error(404, f"there is no such path: {', '.join(self._paths())}")
        if request.method != "GET":
            return error(405, "only GET is answered here")._replace(allow="GET")
        try:
            return make()
        except SinkError as reason:
            self._unavailable += 1
            return error(503, reason.reason)

    def _made(self, path: str, item: ItemP, make: Callable[[ItemP], Response]) -> Response:
        """Give the answer that was made for a reading, or make it: clients ask more often than meters send."""
        cached = self._answers.get(path)
        if cached is None or cached[0] is not item:
            cached = self._answers[path] = (item, make(item))
        return cached[1]

    def _paths(self) -> dict[str, Callable[[], Response]]:
        return {"/api": self._device, "/api/v1/data": self._data, "/api/v1/telegram": self._telegram}

    def _device(self) -> Response:
        known = {
            "product_type": PRODUCT_TYPE,
            "product_name": PRODUCT_NAME,
            "serial": self.serial,
            "firmware_version": __version__,
            "api_version": "v1",
        }
        return Response(200, msgspec.json.encode(known))

    def _data(self) -> Response:
        return self._made("data", self._valid(), self._data_of)

    def _telegram(self) -> Response:
        return self._made("telegram", self._valid(), self._telegram_of)

    def _data_of(self, item: ItemP) -> Response:
        return Response(200, data(item, self._energy, self._zone.of(item), self._equipment))

    def _telegram_of(self, item: ItemP) -> Response:
        return Response(200, telegram(item, self._zone.of(item), self._equipment), "text/plain")

    def _valid(self) -> ItemP:
        """Give the newest reading; raises SinkError when it does not hold any more."""
        if self._newest is None or not self._is_valid():
            raise SinkError(f"no valid reading: {self._withheld or 'the meter is silent'}", retryable=True)
        return self._newest

    def _is_valid(self) -> bool:
        return self._newest is not None and self._monotonic() < self._until

    async def _announce(self) -> None:
        from gateway.sinks.mdns import Announcement

        announcement = Announcement(self._name, self._settings.listen, self._txt(), f"p1meter-{self.serial[-6:]}")
        await announcement.run(lambda: 0 if self.listener.trouble else self.listener.port, self._tell)

    def _txt(self) -> dict[str, str]:
        """TXT record of `_hwenergy._tcp` (HomeWizard's API documentation, discovery)."""
        return {
            "api_enabled": "1",
            "path": "/api/v1",
            "serial": self.serial,
            "product_type": PRODUCT_TYPE,
            "product_name": PRODUCT_NAME,
        }

    def _tell(self, trouble: str | None) -> None:
        self._mdns = trouble
