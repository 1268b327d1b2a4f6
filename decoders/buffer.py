"""Bounded receive buffer: octets that belong to no frame are counted and forgotten."""

#: octets that stand between frames and are no noise
_GAP = b"\r\n\x00"


class Buffer:
    """A growing run of octets with its search position; links bound its length by cutting."""

    __slots__ = ("data", "noise", "searched")

    def __init__(self) -> None:
        self.data = bytearray()
        #: octets skipped so far that were neither a frame nor a gap
        self.noise = 0
        #: octets from the start that were searched in vain
        self.searched = 0

    def __len__(self) -> int:
        return len(self.data)

    def cut(self, n: int) -> None:
        """Drop the first n octets, which a frame held."""
        del self.data[:n]
        self.searched = max(0, self.searched - n)

    def skip(self, n: int) -> None:
        """Drop the first n octets, which no frame held, and count those that are noise."""
        if n:
            self.noise += n - sum(self.data.count(octet, 0, n) for octet in _GAP)
            self.cut(n)
