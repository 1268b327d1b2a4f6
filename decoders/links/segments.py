"""Messages in segments: joined per sender while the line is undisturbed, whole or nothing.

Nothing on HDLC or M-Bus sends a lost segment again, and the segments of the next message look the same. So whatever
may have cost a frame ends every message that is open: a damaged frame, as much noise as a frame has, silence. Without
that, the beginning of one message and the end of another would become values that no meter measured.
"""

from abc import abstractmethod
from dataclasses import dataclass, field

from decoders.errors import LinkError
from decoders.links.apdus import strip_llc
from decoders.links.framing import APDU_LIMIT, FramedLink, Outcome
from decoders.model import Frame

#: octets of the smallest frame that carries a segment: fewer octets of noise hide none
_SMALLEST = 9
#: messages that are open at the same time, one for each pair of addresses
_OPEN = 4


@dataclass(slots=True)
class _Message:
    """The segments of a message so far: their information, their number, and the octets of their frames."""

    information: bytearray = field(default_factory=bytearray)
    segments: int = 0
    size: int = 0


class SegmentedLink(FramedLink):
    """A link whose frames may carry a segment of a message."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[bytes, _Message] = {}
        self._noise_before = 0

    @property
    def pending(self) -> int:
        """Octets of a frame and of messages that are not complete yet."""
        return super().pending + sum(message.size for message in self._open.values())

    def close(self) -> list[Outcome]:
        """End of input: what is cut off becomes a LinkError, a message in segments too."""
        return [*super().close(), *self._drop_all()]

    @abstractmethod
    def _join(self, frame: bytes) -> list[Outcome]:
        """Take a whole frame: begin, continue or end its message."""

    def _accept(self, frame: bytes) -> list[Outcome]:
        lost = self._drop_all() if self.noise - self._noise_before >= _SMALLEST else []
        self._noise_before = self.noise
        return [*lost, *self._join(frame)]

    def _damaged(self, error: LinkError) -> list[Outcome]:
        return [error, *self._drop_all()]

    def _begin(self, sender: bytes) -> list[Outcome]:
        """Begin a message; one that its sender, or the oldest of too many senders, did not end is lost."""
        lost = self._drop(sender)
        if len(self._open) == _OPEN:
            lost += self._drop(next(iter(self._open)))
        self._open[sender] = _Message()
        return lost

    def _add(self, sender: bytes, information: bytes, size: int, *, last: bool) -> list[Outcome]:
        """Add a segment, from a frame of `size` octets, to the open message of its sender."""
        message = self._open[sender]
        message.information += information
        message.segments += 1
        message.size += size
        if len(message.information) > APDU_LIMIT:
            return self._drop(sender, "oversized")
        if not last:
            return []
        del self._open[sender]
        apdu = strip_llc(bytes(message.information))
        return [Frame(apdu, "ok", message.size) if apdu else LinkError("header", message.size)]

    def _drop(self, sender: bytes, code: str = "segment_lost") -> list[Outcome]:
        message = self._open.pop(sender, None)
        return [LinkError(code, message.size)] if message else []

    def _drop_all(self) -> list[Outcome]:
        return [outcome for sender in list(self._open) for outcome in self._drop(sender)]
