"""Frames without a checksum: their head alone says where they end, and a torn one would swallow the next.

The frames of one meter begin with the same octets. Where these stand again inside a frame, it was torn there, and the
next one begins; where they straddle the end of a frame, it was torn by a few octets, and the next one is found again.
What stands before the next beginning is dropped at once: ciphertext may look like a beginning by chance.
Nothing else can tell: whether the octets of a frame are right is for the tag of its APDU to prove.
"""

from abc import abstractmethod
from collections.abc import Iterable

from decoders.errors import LinkError
from decoders.links.framing import FALSE_START, MORE, FramedLink, Outcome, Verdict
from decoders.model import Frame


class UncheckedLink(FramedLink):
    """A link whose frames carry no checksum."""

    def __init__(self) -> None:
        super().__init__()
        #: heads of the latest frames, newest first: one may be a chance inside ciphertext, hardly both
        self._heads: tuple[bytes, ...] = ()
        #: the last octets of the last frame, as long as it may have swallowed the start of the next one
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
        again = self._first_again(data, start, end)
        self._buffer.searched = min(len(data), end)
        if again > 0:
            return LinkError("truncated", again)
        return end if len(data) >= end else MORE

    def _first_again(self, data: bytearray, start: int, end: int) -> int:
        """Where the next frame begins, by the head of this one or, should this one be a chance, of those before it."""
        own = self._head_of(data)
        return self._any_again(data, {own, *self._heads} if own else (), start, end)

    def _take(self, verdict: Verdict) -> list[Outcome]:
        if isinstance(verdict, LinkError) and verdict.code == "truncated" and verdict.size < len(self._buffer):
            self._buffer.searched = 0
            self._buffer.skip(verdict.size)
            return self._damaged(verdict)
        return super()._take(verdict)

    def _accept(self, frame: bytes) -> list[Outcome]:
        head = self._head_of(frame)
        self._tail = frame[1 - self.LEAD :] if head else b""
        if head and head not in self._heads[:1]:
            self._heads = (head, *self._heads[:1])
        return [Frame(self._payload(frame), "absent", len(frame))]

    def _align(self) -> bool:
        return self._settled() and super()._align()

    def _settled(self) -> bool:
        """Whether it is known how the last frame ended; gives the next one back what the last one swallowed of it."""
        data = self._buffer.data
        if not self._tail or data.startswith(self._heads):
            self._tail = b""
            return True
        if len(data) < self.LEAD - 1:
            return False
        both = bytearray(self._tail) + data[: self.LEAD - 1]
        at = self._any_again(both, self._heads, 0, len(both))
        if at >= 0:
            data[:0] = self._tail[at:]
        self._tail = b""
        return True

    def _any_again(self, data: bytearray, heads: Iterable[bytes], start: int, end: int) -> int:
        """The first of `_again` for any of these heads; -1 if there is none."""
        found = [self._again(data, head, start, end) for head in heads]
        return min((at for at in found if at >= 0), default=-1)

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
