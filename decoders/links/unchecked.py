"""Frames without a checksum: their head alone says where they end, and a torn one would swallow the next.

The frames of one meter begin with the same octets. Where these stand again inside a frame, it was torn there, and the
next one begins; where they straddle the end of a frame, it was torn by a few octets, and the next one is found again.
Nothing else can tell: whether the octets of a frame are right is for the tag of its APDU to prove.
"""

from abc import abstractmethod

from decoders.errors import LinkError
from decoders.links.framing import FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.model import Frame


class UncheckedLink(FramedLink):
    """A link whose frames carry no checksum."""

    def __init__(self) -> None:
        super().__init__()
        #: the head of the last frame and its last octets, as long as it may have swallowed the start of the next one
        self._head = b""
        self._tail = b""

    def close(self) -> list[Outcome]:
        """End of input: what is cut off becomes a LinkError."""
        self._tail = b""
        return super().close()

    @abstractmethod
    def _length(self, data: bytearray) -> Verdict:
        """Octets from the start to the end of the frame, by its head."""

    @abstractmethod
    def _head_of(self, data: bytes | bytearray) -> bytes:
        """The octets with which all frames of this meter begin; none where they tell too little."""

    @abstractmethod
    def _payload(self, frame: bytes) -> bytes:
        """The APDU that a frame carries."""

    def _judge(self, data: bytearray) -> Verdict:
        end = self._length(data)
        if isinstance(end, LinkError) or end in (MORE, FALSE_START):
            return end
        start = max(1, self._buffer.searched - self.LEAD)
        again = self._again(data, self._head_of(data), start, end)
        self._buffer.searched = min(len(data), end)
        if again > 0:
            return LinkError("truncated", again)
        return end if len(data) >= end else MORE

    def _accept(self, frame: bytes) -> list[Outcome]:
        self._head = self._head_of(frame)
        self._tail = frame[1 - self.LEAD :] if self._head else b""
        return [Frame(self._payload(frame), "absent", len(frame))]

    def _align(self) -> bool:
        return self._settled() and super()._align()

    def _settled(self) -> bool:
        """Whether it is known how the last frame ended; gives the next one back what the last one swallowed of it."""
        data = self._buffer.data
        if not self._tail or data.startswith(self._head):
            self._tail = b""
            return True
        if len(data) < self.LEAD - 1:
            return False
        both = bytearray(self._tail) + data[: self.LEAD - 1]
        at = self._again(both, self._head, 0, len(both))
        if at >= 0:
            data[:0] = self._tail[at:]
        self._tail = b""
        return True

    def _again(self, data: bytearray, head: bytes, start: int, end: int) -> int:
        """Where a frame of the same meter begins whose lead stands before `end`; -1 if there is none."""
        last = min(len(data), end) - self.LEAD + len(head)
        at = data.find(head, start, last) if head else -1
        while at >= 0 and not self._plausible(data[at : at + self.LEAD]):
            at = data.find(head, at + 1, last)
        return at

    def _plausible(self, lead: bytearray) -> bool:
        length = self._length(lead)
        return isinstance(length, int) and length != FALSE_START
