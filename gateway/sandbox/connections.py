"""Bounds of what connects: so many clients at once, and who is idle too long is closed by the server itself."""

import asyncio
from typing import Final

from aiohttp import web

#: connections at once; more are closed at once
MOST: Final = 512


class Connections:
    """Makes the protocol of each new connection."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def new(self) -> asyncio.BaseProtocol:
        """Return the protocol of a connection, or one that hangs up because there are too many."""
        return self._server() if len(self._server.connections) < MOST else _Full()


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        transport.close()
