"""One connection at a time to a database, which ends at its deadline or at once by `abort`, whatever the peer does.

Time-outs of sockets bound one wait each: a peer that sends an octet a second outlives them all. So a second descriptor
of the same connection is kept, by which another thread shuts it down; that also wakes a connect and a TLS handshake.
"""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

#: octets of an answer's body that are read; the rest is not
BODY_LIMIT = 8_192


class Answer(NamedTuple):
    """What a server answered: status, the first octets of its body, and two header fields where they are there."""

    status: int
    body: bytes = b""
    retry_after: str | None = None
    date: str | None = None


def answer(response: http.client.HTTPResponse) -> Answer:
    """Status and the beginning of the body; a body that breaks off or lies about its length costs its rest only."""
    try:
        body = b"" if response.status == 204 else response.read(BODY_LIMIT)
    except (OSError, http.client.HTTPException, ValueError):
        body = b""
    return Answer(response.status, body, response.headers.get("Retry-After"), response.headers.get("Date"))


class StoppedError(Exception):
    """`abort` was called."""


class Wire:
    """The connection that is under way, if any. `request` is for one thread; `abort` for any other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._deadline = 0.0
        self._late = False
        self._stopped = False

    @contextmanager
    def request(self, seconds: float) -> Iterator[None]:
        """Within it all connections end after `seconds`; raises TimeoutError then, and StoppedError after `abort`."""
        self._deadline, self._late = time.monotonic() + seconds, False
        timer = threading.Timer(seconds, self._expire)
        timer.name, timer.daemon = "influx-deadline", True
        timer.start()
        try:
            self._check()
            yield
        finally:
            timer.cancel()
            self._release()
            # whatever the end looked like to the library in between
            self._check()

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address that answers before the deadline; raises OSError, of the last one tried."""
        failure: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self._check()
            try:
                return self._open(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
        raise failure

    def abort(self) -> None:
        """End what is under way, and everything after it."""
        with self._lock:
            self._stopped = True
            self._shut()

    def _open(self, sock: socket.socket, address: tuple[object, ...]) -> socket.socket:
        try:
            with self._lock:
                self._close_control()
                self._control = sock.dup()
            self._check()
            sock.settimeout(max(0.001, self._deadline - time.monotonic()))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _check(self) -> None:
        if self._stopped:
            raise StoppedError
        if self._late:
            raise TimeoutError

    def _expire(self) -> None:
        with self._lock:
            if time.monotonic() >= self._deadline:
                self._late = True
                self._shut()

    def _release(self) -> None:
        with self._lock:
            self._close_control()

    def _shut(self) -> None:
        if self._control is not None:
            try:
                self._control.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is not connected, or not any more

    def _close_control(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
