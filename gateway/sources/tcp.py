"""Meters behind raw TCP: ser2net, ESP bridges and whatever else hands on the octets of a port unchanged."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

from gateway.beats import alive
from gateway.sources.link import Link
from gateway.sources.model import PortEvent, PortState
from gateway.sources.reconnecting import BACK_OFF_S, ReconnectingSource

CONNECT_TIMEOUT_S = 5.0
#: addresses of one name that are tried in one attempt
MOST_ADDRESSES = 4

#: A bridge that lost power says nothing: it is probed after 15 s of silence, and given up after 30 s.
KEEPALIVE: tuple[tuple[int, int, int], ...] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)

#: what ser2net says to a client before it hangs up
REFUSALS: dict[bytes, tuple[PortState, str]] = {
    b"Port already in use": ("port_busy", "another client is connected; allow more (max-connections) or end it"),
    b"Port's device already in use": ("port_busy", "another program on the bridge has the serial port"),
    b"Port's device failed open": ("no_port", "the bridge cannot open its serial port: is the cable plugged in there?"),
}

_ADVICE: dict[int | None, str] = {
    errno.ECONNREFUSED: "refuses the connection: does ser2net or the bridge run, on this port?",
    errno.EHOSTUNREACH: "cannot be reached: is the bridge powered, and the address right?",
    errno.ENETUNREACH: "cannot be reached: has this machine a network?",
    errno.ETIMEDOUT: "does not answer: is the bridge powered, and the address right?",
}

_Address: TypeAlias = tuple[socket.AddressFamily, Any]


class TcpSource(ReconnectingSource):
    """A client of `socket://host:port`; the name is resolved at every attempt, off the loop."""

    def __init__(self, host: str, port: int, *, back_off_s: Sequence[float] = BACK_OFF_S) -> None:
        """`host`: ASCII name or address, IPv6 without brackets; `back_off_s`: see BACK_OFF_S."""
        super().__init__(f"socket://[{host}]:{port}" if ":" in host else f"socket://{host}:{port}", back_off_s)
        self._host = host
        self._port = port
        self._known: list[_Address] = []

    async def _open(self) -> Link | PortEvent:
        """Try each address in turn; where the name service fails, those that it gave last."""
        detail = await self._resolve()
        for family, address in self._known:
            alive()
            try:
                sock = await _connect(family, address)
            except OSError as error:
                detail = f"{self.name} {_ADVICE.get(error.errno, f'cannot be connected: {error.strerror}')}"
            else:
                return Link(
                    sock.fileno(),
                    sock.close,
                    detail=f"{self.name} is connected (address {address[0]})",
                    lost=f"{self.name} lost the connection: the other side closed it, or is gone",
                )
        return PortEvent.now("no_port", detail)

    async def _resolve(self) -> str:
        """Renew the known addresses; the answer says what is wrong when there are none."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._known = await _addresses(self._host, self._port)
        except (TimeoutError, socket.gaierror) as error:
            reason = error.strerror or f"no answer within {CONNECT_TIMEOUT_S:g} s"
            return (
                f"{self.name}: the name cannot be resolved ({reason}): is it spelt right, and the name service there?"
            )
        return f"{self.name}: the name has no address"

    def _judge(self, event: PortEvent, last: bytes) -> PortEvent:
        refusal = REFUSALS.get(last.strip())
        if refusal is None:
            return event
        state, advice = refusal
        return PortEvent.now(state, f"{self.name} refuses ({last.strip().decode('ascii')}): {advice}")


async def _addresses(host: str, port: int) -> list[_Address]:
    """Resolve in a thread, except an address in digits. As octets, because a str would load the IDNA tables."""
    name = host.encode("ascii")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found[:MOST_ADDRESSES]]


async def _connect(family: socket.AddressFamily, address: Any) -> socket.socket:
    """Connect within CONNECT_TIMEOUT_S; raises OSError (ETIMEDOUT for the timeout)."""
    with ExitStack() as undo:
        sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setblocking(False)
        for option in KEEPALIVE:
            sock.setsockopt(*option)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(sock, address)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error
        if sock.getsockname() == sock.getpeername():
            # TCP can connect a free local port to itself, and would so keep its server from starting
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        undo.pop_all()
        return sock
