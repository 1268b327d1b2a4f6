"""An open descriptor that the event loop reads as soon as the kernel has octets, never more than the consumer takes."""

import asyncio
import os
from collections.abc import Awaitable, Callable

from gateway.sources.model import Chunk, PortEvent

#: a consumer that waits is told so often (s) that nothing came: then it knows that it would be woken
IDLE_S = 5.0
#: a tty gives 4095 octets at most; a socket may have more, and the next read takes them
READ_SIZE = 16_384


class Link:
    """One opening of a port: chunks until it is lost, then the reason.

    Each read goes straight into the future of a consumer that waits. When nobody waits, one chunk is held and the
    descriptor is not read any further: the kernel buffers the rest, and a slow consumer costs no memory.
    """

    def __init__(self, fd: int, close: Callable[[], Awaitable[None] | None], *, detail: str, lost: str) -> None:
        """Take over a non-blocking descriptor; `detail` describes the open port, `lost` its loss, in sentences."""
        self.detail = detail
        self._fd = fd
        self._close = close
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[Chunk | PortEvent | None] | None = None
        self._held: Chunk | None = None
        self._end: PortEvent | None = None
        self._reading = False
        self._timer = self._loop.call_later(IDLE_S, self._idle)

    async def receive(self) -> Chunk | PortEvent | None:
        """Wait for the next chunk, or None now and then; a PortEvent (`closed`) is the last thing that a link gives."""
        if self._held is not None:
            chunk, self._held = self._held, None
            return chunk
        if self._end is not None:
            return self._end
        self._waiter = self._loop.create_future()
        if not self._reading:
            self._loop.add_reader(self._fd, self._readable)
            self._reading = True
        return await self._waiter

    def end(self, detail: str) -> None:
        """Stop reading: after the chunk that is held, if any, `receive` gives `closed` with this detail."""
        if self._end is None:
            self._pause()
            self._end = PortEvent.now("closed", detail)
            self._hand_over(self._end)

    async def close(self) -> None:
        """Release the descriptor. Closing a USB port may block on its adapter, so it may be awaited."""
        self._pause()
        self._timer.cancel()
        closing = self._close()
        if closing is not None:
            await asyncio.shield(closing)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.end(f"{self._lost} ({error.strerror})")
            return
        if not data:
            self.end(self._lost)
        elif not self._hand_over(chunk := Chunk.now(data)):
            self._held = chunk
            self._pause()

    def _idle(self) -> None:
        self._hand_over(None)
        self._timer = self._loop.call_later(IDLE_S, self._idle)

    def _hand_over(self, item: Chunk | PortEvent | None) -> bool:
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_result(item)
        return True

    def _pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False
