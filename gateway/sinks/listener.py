"""The listening half of an output: binds, and binds again after a failure; admits few clients, and not too often.

Connections are accepted by hand, because asyncio's servers accept all that come: a flood of them would take the loop's
time. What comes faster than RATE waits in the kernel, and beyond BACKLOG outside of it.
"""

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import Callable

from gateway import log
from gateway.beats import alive
from gateway.listen import parse

#: between two attempts to bind (s): the address of an interface may come up late
RETRY_S = 10.0
BACKLOG = 16
#: connections accepted in a second, and at once; after that many in one turn of the loop others have theirs
RATE, BURST, TURN = 50.0, 100.0, 4
#: how long no more are accepted when there were too many (s)
_PAUSE_S = 0.2
#: a client that is gone without a word is noticed after about a minute (s, s, times; ms)
_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_UNACKED_MS = 60_000
#: on close: send nothing any more, and forget what is queued
_AT_ONCE = struct.pack("ii", 1, 0)


class Client(asyncio.Protocol):
    """One connection; its listener may have no place for it, then `transport` stays None and nothing else happens."""

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the listener for a place."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        if self.listener.admit(self, transport):
            self.transport = transport
            self.admitted()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.listener.clients.discard(self)
        self.transport = None

    def admitted(self) -> None:
        """Begin."""

    def drop(self) -> None:
        """Close at once; what the kernel still holds for this client is old, and is forgotten."""
        if self.transport is not None:
            _forget_queue(self.transport)
            self.transport.abort()


class Listener:
    """A TCP port with at most `limit` clients at a time; lifecycle as `Sink.run`."""

    def __init__(self, name: str, listen: str, limit: int, make: Callable[["Listener"], Client]) -> None:
        """`name` is that of the log; `listen` is as in `gateway.listen`; raises ValueError for one that is not."""
        self.clients: set[Client] = set()
        self.connections = self.refused = 0
        self.trouble: str | None = "not listening yet"
        #: as bound; the port of `listen` until then
        self.port = parse(listen)[1]
        self._name = name
        self._listen = listen
        self._limit = limit
        self._make = make
        self._tokens, self._filled = BURST, time.monotonic()
        self._pause: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen until cancelled; then every client is dropped."""
        while True:
            try:
                sock = self._bind()
            except OSError as error:
                self._fail(error)
                alive(RETRY_S)
                await asyncio.sleep(RETRY_S)
                continue
            try:
                self._resume(sock)
                while True:
                    alive(RETRY_S)
                    await asyncio.sleep(RETRY_S)
            finally:
                self._end(sock)

    def admit(self, client: Client, transport: asyncio.Transport) -> bool:
        """Take a client on, or close its connection."""
        if self.trouble is not None or len(self.clients) >= self._limit:
            self.refused += 1
            _forget_queue(transport)
            transport.abort()
            return False
        self.connections += 1
        self.clients.add(client)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (*_ALIVE, (socket.TCP_USER_TIMEOUT, _UNACKED_MS)):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return True

    def status(self) -> dict[str, object]:
        """What every output that listens shows."""
        return {
            "listen": self._listen,
            "works": self.trouble is None,
            "trouble": self.trouble,
            "clients": len(self.clients),
            "connections": self.connections,
            "refused": self.refused,
        }

    def _bind(self) -> socket.socket:
        host, port = parse(self._listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self.trouble = None
        log.event("output_listens", output=self._name)
        return sock

    def _end(self, sock: socket.socket) -> None:
        self.trouble = "not listening any more"
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(sock)
        sock.close()
        for client in list(self.clients):
            client.drop()

    def _resume(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        """Accept what waits, as long as the rate allows it; then leave it to the kernel for a while."""
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        loop = asyncio.get_running_loop()
        for _ in range(min(TURN, int(self._tokens))):
            try:
                connection, _ = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError:  # such as no descriptor left: trying again at once would take the whole loop
                self._tokens = 0
                break
            self._tokens -= 1
            self._take(loop, connection)
        if self._tokens < 1:
            loop.remove_reader(sock)
            self._pause = loop.call_later(_PAUSE_S, self._resume, sock)

    def _take(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = loop.create_task(self._connect(loop, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(lambda: self._make(self), connection)
        except OSError:  # it is gone already
            connection.close()

    def _fail(self, error: OSError) -> None:
        reason = f"{self._listen}: {_reason(error)}"
        if reason != self.trouble:
            log.event("output_trouble", output=self._name, reason=reason)
        self.trouble = reason


def _forget_queue(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


_REASONS = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "this machine has no such address (yet)",
    errno.EACCES: (
        "this user may not take a port below 1024: take a higher one, or allow it by "
        "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
    ),
}


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
