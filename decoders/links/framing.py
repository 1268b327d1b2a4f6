"""What binary links share: frames are found by trial, and the stream is found again one octet behind a false start.

A link says where a frame may start and judges what stands there. Its judgement asks for more octets only after the
octets that it has make a frame likely, and never for more than one frame is long, so the buffer is bounded. A frame
that is damaged costs its start only: the search goes on inside it, because the octets that it lacks are the beginning
of the next one. Every decision depends on the stream alone, never on how it was cut into pieces.
"""

import re
from abc import ABC, abstractmethod
from typing import Final, TypeAlias

from decoders.buffer import Buffer
from decoders.errors import LinkError
from decoders.model import Frame

Outcome: TypeAlias = Frame | LinkError

#: what a link says of the octets at a start: the length of a frame, one of these two, or what damaged it
Verdict: TypeAlias = int | LinkError
MORE: Final = -1
FALSE_START: Final = 0

#: octets of an APDU: four times what the longest known push has, and an encrypted P1 telegram of 3,500 octets fits
APDU_LIMIT = 4096


#: octets that are taken at a time: what a caller hands over at once does not make the buffer longer
_PIECE = 4096


class FramedLink(ABC):
    """Cuts frames from a stream; each gives a Frame or a LinkError, nothing while more octets are needed."""

    #: where a frame may start; an incomplete start at the end of the octets must match
    START: re.Pattern[bytes]
    #: octets of a frame that tell it from a chance
    LEAD: int
    #: octets between frames that are no noise
    GAP: bytes = b""
    #: the code of a false start where a frame was expected
    FALSE_CODE: str = "header"

    def __init__(self) -> None:
        self._buffer = Buffer(self.GAP)

    @property
    def noise(self) -> int:
        """Octets outside every whole frame so far."""
        return self._buffer.noise

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete yet."""
        return 0 if self._buffer.idle else len(self._buffer)

    def feed(self, data: bytes) -> list[Outcome]:
        """Take the next octets of the stream and give every frame that they complete."""
        results: list[Outcome] = []
        for at in range(0, len(data), _PIECE):
            self._buffer.data += data[at : at + _PIECE]
            results += self._cut(final=False)
        return results

    def close(self) -> list[Outcome]:
        """End of input: what is cut off becomes a LinkError, and whole frames behind its start come out."""
        results = self._cut(final=True)
        self._buffer.skip(len(self._buffer))
        self._buffer.in_step = True
        return results

    def expire(self) -> list[Outcome]:
        """The line was silent for longer than a meter pauses within a message: nothing completes what is pending."""
        return self.close()

    @abstractmethod
    def _judge(self, data: bytearray) -> Verdict:
        """Say what the octets are, which begin with a start."""

    @abstractmethod
    def _accept(self, frame: bytes) -> list[Outcome]:
        """Take a frame that was judged whole."""

    def _damaged(self, error: LinkError) -> list[Outcome]:
        """Take notice of damage; a link that joins frames drops what it joined."""
        return [error]

    def _align(self) -> bool:
        """Skip to the next start; False when there is none."""
        start = self.START.search(self._buffer.data)
        self._buffer.skip(start.start() if start else len(self._buffer))
        return bool(start)

    def _cut(self, *, final: bool) -> list[Outcome]:
        results: list[Outcome] = []
        buffer = self._buffer
        while buffer.data and self._align() and not (final and buffer.idle):
            verdict = self._judge(buffer.data)
            if verdict == MORE and not final:
                break
            results += self._take(self._at_end(buffer.data) if verdict == MORE else verdict)
        return results

    def _at_end(self, data: bytearray) -> Verdict:
        """Say what the octets are, which no more will follow."""
        begun = self._buffer.in_step or len(data) >= self.LEAD
        return LinkError("truncated", len(data)) if begun else FALSE_START

    def _take(self, verdict: Verdict) -> list[Outcome]:
        """Act on a verdict that is not MORE."""
        buffer = self._buffer
        buffer.searched = 0
        if verdict == FALSE_START and buffer.in_step:
            verdict = LinkError(self.FALSE_CODE, 1)
        if isinstance(verdict, int) and verdict > 0:
            frame = bytes(buffer.data[:verdict])
            buffer.cut(verdict)
            return self._accept(frame)
        buffer.skip(1)
        return self._damaged(verdict) if isinstance(verdict, LinkError) else []
