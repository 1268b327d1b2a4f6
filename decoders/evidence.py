"""What the octets of a line tell: how many, of which kind, and which link cuts whole frames out of them."""

from collections import deque

from decoders.decoder import LINKS, UNCHECKED, Link
from decoders.errors import LinkError
from decoders.model import Frame

#: octets of a capture that are kept, the newest: many telegrams, so that the last ones are whole
CAPTURE = 128 * 1024
#: frames that are kept for each link: enough to prove a key
KEPT = 8
#: frames of a link without a checksum that convince
AGREE = 2
#: octets for each beginning of a frame from which on such beginnings are those of noise
RARE = 2_048
#: octets from which on their parity tells something; the share in % that has even parity on a line with 7E1
ENOUGH_OCTETS, EVEN_PERCENT = 64, 98
_ASCII = bytes(range(128))
_EVEN = bytes(octet for octet in range(256) if octet.bit_count() % 2 == 0)
_LOWER_SEVEN = bytes(octet & 0x7F for octet in range(256))
#: what finds text, which needs no eighth bit
_TEXT_LINKS = ("p1", "iec62056-21", "teleinfo")
#: octets that tell how much slower a line is than it was read: a line at its own speed has an odd one among them
ENOUGH_TO_TIME = 32
#: how many times slower than it is read a line is whose octets are all breaks, at least
SLOWEST_SEEN = 8.5


class Track:
    """One link that may be that of the line: its frames so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.link: Link = LINKS[name]()
        self.kept: deque[Frame] = deque(maxlen=KEPT)
        self.frames = self.proved = self.octets = self.damaged = 0

    @property
    def is_checked(self) -> bool:
        """Whether frames of this link carry a checksum, or such an end as text has."""
        return self.name not in UNCHECKED

    def convinces(self, octets: int) -> bool:
        """Whether these frames cannot be a chance among so many octets: by a checksum, or by what they make up."""
        agree = self.frames >= (AGREE if self.name in UNCHECKED else 1)
        return self.proved > 0 or (agree and 2 * self.octets >= octets)

    def take(self, outcomes: list[Frame | LinkError]) -> None:
        """Count frames and damaged ones; a header that is none is found in every noise."""
        for outcome in outcomes:
            if isinstance(outcome, Frame):
                self.frames += 1
                self.proved += outcome.checksum == "ok"
                self.octets += outcome.size
                self.kept.append(outcome)
            elif outcome.code != "header":
                self.damaged += 1


class Evidence:
    """Takes the octets of one line as they come. `names`: the links that are possible, every one unless told."""

    def __init__(self, names: tuple[str, ...] = tuple(LINKS)) -> None:
        self.octets = self.top_bit = self.even = 0
        self.capture = bytearray()
        self.tracks = [Track(name) for name in names]
        #: values that occurred, as bits
        self._values = 0

    def feed(self, data: bytes) -> None:
        """Take octets."""
        self.octets += len(data)
        self.top_bit += len(data.translate(None, _ASCII))
        self.even += len(data) - len(data.translate(None, _EVEN))
        self.capture += data
        del self.capture[:-CAPTURE]
        for value in set(data):
            self._values |= 1 << value
        for track in self.tracks:
            track.take(track.link.feed(data))

    def expire(self) -> None:
        """The line was silent for longer than a meter pauses within a message."""
        for track in self.tracks:
            track.take(track.link.expire())

    def close(self) -> None:
        """End of input: what is cut off becomes damage."""
        for track in self.tracks:
            track.take(track.link.close())

    @property
    def link(self) -> str | None:
        """The link of this line once that is certain: one with a checksum first, because others find frames in its."""
        found = [track for track in self.tracks if track.convinces(self.octets)]
        best = min(found, key=lambda track: (track.name in UNCHECKED, -track.octets), default=None)
        return best.name if best else None

    @property
    def frames(self) -> list[Frame]:
        """The newest whole frames of the link; none while it is not certain."""
        return next((list(track.kept) for track in self.tracks if track.name == self.link), [])

    @property
    def count(self) -> int:
        """Whole frames of the link that has most of them."""
        return max(track.frames for track in self.tracks)

    @property
    def damaged(self) -> int:
        """Damaged frames: of the link where it is certain, else of links that have a checksum: the line is right."""
        link = self.link
        told = (t.damaged for t in self.tracks if link == t.name or (not link and t.is_checked))
        most = max(told, default=0)
        return most if RARE * most > self.octets else 0

    @property
    def top_bit_percent(self) -> int:
        """Share of octets with their top bit set: text has none, text with a parity bit about half."""
        return 100 * self.top_bit // self.octets if self.octets else 0

    @property
    def looks_like_seven_bits(self) -> bool:
        """Whether the top bit of every octet is an even parity bit, as where 7E1 is read as 8N1."""
        enough = self.octets >= ENOUGH_OCTETS and self.top_bit > 0
        return enough and 100 * self.even >= EVEN_PERCENT * self.octets

    @property
    def times_slower(self) -> tuple[float, float] | None:
        """How many times slower the line is than it was read, between two numbers; None while that cannot be told.

        A start bit of two bit times or more puts a zero into bit 0 of every octet, and the shortest run of zeros from
        there is one bit of the line. Breaks, which a driver gives as 00, are longer than an octet.
        """
        if self.octets < ENOUGH_TO_TIME:
            return None
        runs = [(value & -value).bit_length() for value in range(1, 256) if self._values >> value & 1]
        shortest = min(runs, default=None)
        if shortest is None:
            return SLOWEST_SEEN, 1_000.0
        return shortest - 0.5, shortest + 0.5


class SevenBits(Evidence):
    """The evidence of the same octets, read as 7E1: without their top bit."""

    #: octets to what they are without it
    CHARACTERS = _LOWER_SEVEN

    def __init__(self) -> None:
        super().__init__(_TEXT_LINKS)

    def feed(self, data: bytes) -> None:
        """Take octets as they were read with 8N1."""
        super().feed(data.translate(_LOWER_SEVEN))
