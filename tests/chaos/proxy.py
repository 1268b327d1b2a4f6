"""TCP and HTTP between the daemon and its servers: they refuse, reset, hold, slow down, lose answers.

Each proxy is a thread with an event loop of its own; a mode holds until the next one is set.
"""

import asyncio
import contextlib
import gzip
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

#: octets per s of `slow`
SLOW = 1_000
PUBACK = 4
#: share of the acknowledgements that `puback` drops
DROPPED = 0.3


class Proxy:
    """Listens at `port` on 127.0.0.1 and leads to `target`; `mode` says how, `log` has what it did."""

    def __init__(self, target: int, seed: int = 0) -> None:
        self.target = target
        self.mode = "pass"
        self.connections = 0
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def set(self, mode: str) -> None:
        """Change the mode: pass, refuse, reset (then pass), hole, slow, puback, or one of HttpProxy."""
        self._loop.call_soon_threadsafe(self._set, mode)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _set(self, mode: str) -> None:
        self.mode = "pass" if mode == "reset" else mode
        if mode in ("reset", "refuse"):
            for writer in tuple(self._open):
                _reset(writer)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def serve() -> None:
            await asyncio.start_server(self._client, sock=self._socket, limit=1 << 20)
            self._ready.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._socket.close()
        self._loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            _reset(writer)
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._open.add(back)
        try:
            state = {"dead": self.mode == "hole"}
            one = asyncio.create_task(self._pump(reader, back, state, _as_it_is))
            two = asyncio.create_task(self._pump(there, writer, state, Acknowledgements(self).filtered))
            await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED)
            one.cancel()
            two.cancel()
        finally:
            self._open.discard(back)
            back.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        state: dict[str, bool],
        change: Callable[[bytes], bytes],
    ) -> None:
        """Hand octets on. A connection that met a hole once is dead for ever: nothing passes, nobody is told."""
        while True:
            slow = self.mode == "slow"
            octets = await reader.read(SLOW // 10 if slow else 65_536)
            state["dead"] = state["dead"] or self.mode == "hole"
            if state["dead"]:
                await asyncio.sleep(3_600)
            if not octets:
                return
            writer.write(change(octets))
            await writer.drain()
            if slow:
                await asyncio.sleep(0.1)


class Acknowledgements:
    """The octets from a broker, without some of its PUBACKs while the mode is `puback`; packets stay whole."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._rest = b""

    def filtered(self, octets: bytes) -> bytes:
        """What is handed on."""
        self._rest += octets
        kept = b""
        while (size := _packet(self._rest)) is not None:
            packet, self._rest = self._rest[:size], self._rest[size:]
            lost = packet[0] >> 4 == PUBACK and self._proxy.mode == "puback" and self._proxy._rng.random() < DROPPED
            kept += b"" if lost else packet
        return kept


def _packet(octets: bytes) -> int | None:
    """Octets of the MQTT packet in front; None while it is incomplete."""
    length = 0
    for place, octet in enumerate(octets[1:5]):
        length |= (octet & 127) << 7 * place
        if octet < 128:
            size = 2 + place + length
            return size if len(octets) >= size else None
    return None


def _as_it_is(octets: bytes) -> bytes:
    return octets


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class HttpProxy(Proxy):
    """Whole requests: also `429`, `503` (both with Retry-After), `401`, `400` (some rows), `late`, `lost` (no answer).

    `log` gets one JSON line for each write: when, the mode, the status that was answered, and what `400` refused.
    """

    def __init__(self, target: int, log: Path, seed: int = 0) -> None:
        self._log = log.open("a", buffering=1)
        super().__init__(target, seed)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            _reset(writer)
            return
        while True:
            request = await _message(reader)
            if request is None:
                return
            head, body = request
            answer = await self._answer(head, body)
            if answer is None:
                return
            writer.write(answer)
            await writer.drain()

    async def _answer(self, head: bytes, body: bytes) -> bytes | None:
        mode = self.mode
        if mode == "hole":
            await asyncio.sleep(3_600)
        if mode in ("429", "503"):
            return self._say(mode, int(mode), "Retry-After: 2\r\n", b"")
        if mode == "401":
            return self._say(mode, 401, "", b'{"code":"unauthorized","message":"unauthorized access"}')
        lines = _lines(head, body)
        if mode == "400" and any(map(is_refused, lines)):
            rows = [line.decode() for line in lines] if len(lines) == 1 else []
            return self._say(mode, 400, "", b'{"code":"invalid","message":"unable to parse"}', rows=rows)
        if mode == "slow":
            await asyncio.sleep(len(body) / SLOW)
        if mode == "late":
            await asyncio.sleep(4)
        answer = await self._forward(head, body)
        self._say(mode, int(answer.split()[1]), "", b"", numbers=[_number(line) for line in lines])
        return None if mode == "lost" else answer

    def _say(self, mode: str, status: int, more: str, text: bytes, **facts: Any) -> bytes:
        """An answer; the log has it, with the rows that were refused or the numbers that were written."""
        self._log.write(json.dumps({"ns": time.monotonic_ns(), "mode": mode, "status": status, **facts}) + "\n")
        head = (
            f"HTTP/1.1 {status} Answer\r\n{more}Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        return head.encode() + text

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
            writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
            answer = await reader.read(-1)
        finally:
            writer.close()
        if not answer:
            raise ConnectionResetError
        return answer


def is_refused(line: bytes) -> bool:
    """Whether `400` takes a line of the line protocol amiss: those of one second in forty."""
    return (int(_stamp(line)) // 1_000_000_000) % 40 == 7 if line else False


def _stamp(line: bytes) -> bytes:
    """The time of a line, in ns whatever its precision was."""
    stamp = line.rsplit(b" ", 1)[-1]
    return stamp + b"0" * (19 - len(stamp))


def _number(line: bytes) -> tuple[str, int]:
    """The meter of a point, and its secret number."""
    tags, fields = line.decode().split(" ", 2)[:2]
    values = dict(field.split("=") for field in fields.split(","))
    return tags.partition("meter=")[2], int(values.get("a_import_wh", "0").rstrip("i"))


def _lines(head: bytes, body: bytes) -> list[bytes]:
    """The lines of a write that are item P."""
    if not head.startswith(b"POST ") or b"/write" not in head.split(b"\r\n", 1)[0]:
        return []
    if b"content-encoding: gzip" in head.lower():
        body = gzip.decompress(body)
    return [line for line in body.split(b"\n") if line.startswith(b"item_p,")]


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """A request: its head and its body; None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    size = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    return head, await reader.readexactly(size)


Change = Callable[[bytes], Awaitable[Any]]
