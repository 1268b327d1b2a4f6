"""Sources: where bytes come from. A source knows ports and time, and no protocol.

Lifecycle: `chunks()` opens the port, yields what arrives, closes it, waits and opens it again for as long as it is
iterated; closing the iterator releases the port. Failures of the port are events, never exceptions.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

PortState = Literal["open", "no_port", "port_busy", "closed"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Octets as they arrived, with the wall clock and the monotonic clock (s) of their arrival."""

    data: bytes
    received_at: datetime
    monotonic: float


@dataclass(frozen=True, slots=True)
class PortEvent:
    """The port changed its state; `detail` is one sentence: what, where, what to do."""

    state: PortState
    detail: str
    monotonic: float


class Source(Protocol):
    """A stream of octets that reconnects by itself."""

    #: how a person knows it: `/dev/serial/by-id/...`, `socket://10.0.0.2:2001`
    name: str

    def chunks(self) -> AsyncIterator[Chunk | PortEvent]:
        """Yield what arrives and what becomes of the port; ends only where the source itself ends (a replayed file)."""
        ...
