"""What every source yields and offers: Chunk, PortEvent and the Source protocol."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, Self

#: `open`: octets can arrive; `no_port`: it cannot be opened; `port_busy`: another program has it; `closed`: it was open
#: and is not any more (unplugged, hung up, reopened on request, end of a replayed file).
PortState = Literal["open", "no_port", "port_busy", "closed"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Octets as they arrived, with the wall clock and the monotonic clock (s) of their arrival."""

    data: bytes
    received_at: datetime
    monotonic: float

    @classmethod
    def now(cls, data: bytes) -> Self:
        """Stamp octets that arrived just now."""
        return cls(data, datetime.now(UTC), time.monotonic())


@dataclass(frozen=True, slots=True)
class PortEvent:
    """The port changed its state; `detail` is one sentence: what, where, what to do."""

    state: PortState
    detail: str
    monotonic: float

    @classmethod
    def now(cls, state: PortState, detail: str) -> Self:
        """Stamp a change of state that was noticed just now."""
        return cls(state, detail, time.monotonic())


class Source(Protocol):
    """A stream of octets that reconnects by itself."""

    #: how a person knows it: `/dev/serial/by-id/...`, `socket://10.0.0.2:2001`
    name: str

    def chunks(self) -> AsyncIterator[Chunk | PortEvent]:
        """Yield what arrives and what becomes of the port; ends only where the source itself ends (a replayed file).

        One iterator at a time. Cancelling the task that waits for an item ends the iterator and releases the port.
        """
        ...

    def reopen(self) -> None:
        """Close the port and open it again (a silent line); at once, and without effect while the port is not open."""
        ...
