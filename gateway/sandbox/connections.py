"""Bounds of what connects: so many clients at once, and who is idle too long is closed by the server itself."""

import asyncio
import logging
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

#: connections at once; more are closed at once
MOST: Final = 512


class Connections:
    """Makes the protocol of each new connection."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def new(self) -> asyncio.BaseProtocol:
        """Return the protocol of a connection, or one that hangs up because there are too many."""
        return self._server() if len(self._server.connections) < MOST else _Full()


class OwnFaults(logging.Filter):
    """Lets only faults of ours into the log: octets that are no HTTP are answered 400, and that is all."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what says that a client sent something else than HTTP, or went away."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError | web.RequestPayloadError)


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        transport.close()
