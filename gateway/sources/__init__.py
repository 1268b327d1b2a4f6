"""Sources: where bytes come from. A source knows ports and time, and no protocol.

Lifecycle: `chunks()` opens the port, yields what arrives, closes it, waits and opens it again for as long as it is
iterated; closing the iterator releases the port. Failures of the port are events, never exceptions.
"""

from gateway.sources.model import Chunk, PortEvent, PortState, Source
from gateway.sources.registry import SCHEMES, create, problem

__all__ = ["SCHEMES", "Chunk", "PortEvent", "PortState", "Source", "create", "problem"]
