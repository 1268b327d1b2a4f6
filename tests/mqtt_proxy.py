"""A TCP proxy in front of a broker that knows MQTT packets by their fixed header, and nothing else (clause 2.1)."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from tests.ports import stop_serving

CONNACK, PUBLISH, PUBACK = 2, 3, 4


def kind(packet: bytes) -> int:
    """Control packet type."""
    return packet[0] >> 4


def qos(packet: bytes) -> int:
    """QoS of a PUBLISH."""
    return packet[0] >> 1 & 3


def message_id(packet: bytes) -> int:
    """Message id of a PUBLISH with QoS 1, or of a PUBACK."""
    start = 2
    while packet[start - 1] & 0x80:
        start += 1
    if kind(packet) == PUBLISH:
        start += 2 + int.from_bytes(packet[start : start + 2])
    return int.from_bytes(packet[start : start + 2])


def refusal(packet: bytes, code: int) -> bytes:
    """Make a PUBACK of MQTT 5 say this reason code."""
    return bytes((packet[0], 3)) + message_id(packet).to_bytes(2) + bytes((code,))


async def packets(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Cut a stream into packets."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readexactly(2)
            while head[-1] & 0x80:
                head += await reader.readexactly(1)
            size = sum((octet & 0x7F) << 7 * n for n, octet in enumerate(head[1:]))
            yield head + await reader.readexactly(size)


class Proxy:
    """Hands on every packet for which `up` (to the broker) or `down` (to the client) does not say False.

    Where one of them gives octets, those are handed on instead.
    """

    def __init__(
        self, port: int, *, up: Callable[[bytes], object] = bool, down: Callable[[bytes], object] = bool
    ) -> None:
        self.connections = 0
        #: otherwise a new connection is reset at once
        self.is_open = True
        self._target, self._up, self._down = port, up, down
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        """End it with all its connections."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self.is_open = False
        await stop_serving(self._server)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            self._abort()  # again: one that is still being connected has its writers later
            await asyncio.wait(others, timeout=0.1)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        both = {writer, back}
        self._writers |= both
        await asyncio.gather(self._hand_on(reader, back, self._up), self._hand_on(there, writer, self._down))
        self._writers -= both

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, judge) -> None:
        async for packet in packets(reader):
            if (said := judge(packet)) is not False:
                writer.write(said if isinstance(said, bytes) else packet)
        writer.close()


@contextlib.contextmanager
def proxy(port: int, **judges: Callable[[bytes], object]) -> Iterator[Proxy]:
    """Start one in front of a port."""
    made = Proxy(port, **judges)
    try:
        yield made
    finally:
        made.close()
