"""mDNS service announcements (RFC 6762, 6763) by python-zeroconf, which is imported only where they are configured."""

import asyncio
import importlib
import ipaddress
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gateway import log
from gateway.listen import ZEROCONF_MISSING, parse

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

SERVICE = "_hwenergy._tcp.local."
#: between two looks at the addresses of this machine (s): they change with DHCP, and come up late
LOOK_S = 30.0
SOON_S = 0.5


class Announcement:
    """One service on the addresses at which an output listens; it follows them as they change."""

    def __init__(self, output: str, listen: str, txt: Mapping[str, str], instance: str) -> None:
        self._output = output
        self._listen = listen
        self._txt = dict(txt)
        self._instance = instance
        self._trouble: str | None = None
        self._zeroconf: AsyncZeroconf | None = None
        #: addresses on which the service is registered
        self._announced: tuple[str, ...] = ()

    async def run(self, port: Callable[[], int], tell: Callable[[str | None], None]) -> None:
        """Announce until cancelled, then say good-bye; `port` gives 0 while nobody listens, `tell` gets troubles."""
        try:
            # It takes a few tenths of a second, in which meters go on being read.
            await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
        except ImportError:
            self._note(ZEROCONF_MISSING, tell)
            await asyncio.Event().wait()
        try:
            while True:
                addresses = _addresses(self._listen) if port() else ()
                if addresses != self._announced:
                    await self._stop()
                    self._note(await self._start(addresses, port()), tell)
                await asyncio.sleep(LOOK_S if self._announced else SOON_S)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        zeroconf, self._zeroconf, self._announced = self._zeroconf, None, ()
        if zeroconf is not None:
            await zeroconf.async_close()  # says good-bye for each service

    async def _start(self, addresses: tuple[str, ...], port: int) -> str | None:
        """Register the service, or say why that is not possible."""
        from zeroconf import Error, ServiceInfo
        from zeroconf.asyncio import AsyncZeroconf

        if not addresses:
            return "mDNS: nobody listens, or this machine has no address (yet)"
        info = ServiceInfo(
            SERVICE,
            f"{self._instance}.{SERVICE}",
            port=port,
            properties=self._txt,
            server=f"{self._instance}.local.",
            parsed_addresses=list(addresses),
        )
        try:
            self._zeroconf = AsyncZeroconf(interfaces=list(addresses))
            await self._zeroconf.async_register_service(info)
        except (Error, OSError) as error:
            await self._stop()
            return f"mDNS: {type(error).__name__}: is another service of this name there, or no network?"
        self._announced = addresses
        return None

    def _note(self, trouble: str | None, tell: Callable[[str | None], None]) -> None:
        if trouble and trouble != self._trouble:
            log.event("output_trouble", output=self._output, reason=trouble)
        self._trouble = trouble
        tell(trouble)


def _addresses(listen: str) -> tuple[str, ...]:
    """The addresses at which a client finds the output; of an output on every address those that are no loopback."""
    host = ipaddress.ip_address(parse(listen)[0])
    if not host.is_unspecified:
        return (str(host),)
    import ifaddr

    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return tuple(sorted({str(ip) for ip in found if not ipaddress.ip_address(str(ip)).is_loopback}))
