"""The life of a port: open, read, notice its loss, close, back off, open again."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from gateway.beats import alive
from gateway.sources.link import Link
from gateway.sources.model import Chunk, PortEvent

#: seconds before the 1st, 2nd ... attempt to open a port again; the last one holds from there on
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0)
#: a driver may take so long to let a port go (s)
CLOSE_S = 30.0


class ReconnectingSource(ABC):
    """A source whose port can be lost and found; a subclass says how the port is opened."""

    def __init__(self, name: str, back_off_s: Sequence[float]) -> None:
        self.name = name
        self._back_off_s = back_off_s
        self._link: Link | None = None

    async def chunks(self) -> AsyncIterator[Chunk | PortEvent]:
        """Yield what arrives and every change of the port, for as long as it is iterated (see Source).

        A port that cannot be opened is reported once, and again when the reason changes. The back-off starts over after
        a port that stayed open for longer than the longest wait: one that opens and fails at once is no busy loop.
        """
        said: PortEvent | None = None
        attempt = 0
        while True:
            alive()
            event = await self._open()
            if isinstance(event, Link):
                link, last, said = event, b"", None
                opened = PortEvent.now("open", link.detail)
                self._link = link
                try:
                    yield opened
                    while not isinstance(item := await link.receive(), PortEvent):
                        alive()
                        if item is not None:
                            last = item.data
                            yield item
                finally:
                    self._link = None
                    alive(CLOSE_S)
                    await link.close()
                event = self._judge(item, last)
                attempt = 0 if event.monotonic - opened.monotonic > self._back_off_s[-1] else attempt
            if said is None or (event.state, event.detail) != (said.state, said.detail):
                said = event
                yield event
            pause_s = self._back_off_s[min(attempt, len(self._back_off_s) - 1)]
            alive(pause_s)
            await asyncio.sleep(pause_s)
            attempt += 1

    def reopen(self) -> None:
        """Close the port and open it again after the first wait; without effect while it is not open."""
        if self._link is not None:
            self._link.end(f"{self.name} is closed to be opened again")

    @abstractmethod
    async def _open(self) -> Link | PortEvent:
        """Open the port within a bounded time, or say why that is not possible."""

    def _judge(self, event: PortEvent, _last: bytes) -> PortEvent:
        """Say what the loss of the port means, given the octets that came last (b"": none came)."""
        return event
