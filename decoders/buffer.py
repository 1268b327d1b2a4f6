"""Bounded receive buffer: octets that belong to no frame are counted and forgotten."""


class Buffer:
    """A growing run of octets with its search position; links bound its length by cutting.

    `gap` names the octets that may stand between frames and are no noise.
    """

    __slots__ = ("_gap", "data", "in_step", "noise", "searched")

    def __init__(self, gap: bytes = b"\r\n\x00") -> None:
        self._gap = gap
        self.data = bytearray()
        #: octets skipped so far that were neither a frame nor a gap
        self.noise = 0
        #: octets from the start that were searched in vain
        self.searched = 0
        #: whether a frame is expected right here: at first, behind a frame and behind a gap, not behind noise
        self.in_step = True

    def __len__(self) -> int:
        return len(self.data)

    @property
    def idle(self) -> bool:
        """Whether there is nothing but a gap."""
        return not self.data.strip(self._gap)

    def cut(self, n: int) -> None:
        """Drop the first n octets, which a frame held."""
        del self.data[:n]
        self.searched = max(0, self.searched - n)
        self.in_step = True

    def skip(self, n: int) -> None:
        """Drop the first n octets, which no frame held, and count those that are noise."""
        if n:
            self.noise += n - sum(self.data.count(octet, 0, n) for octet in self._gap)
            in_step = self.data[n - 1] in self._gap
            self.cut(n)
            self.in_step = in_step
