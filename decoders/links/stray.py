"""Lines of a capture in which no frame begins nor ends: some are cut from their frame by those who publish them."""


class Stray:
    """Keeps all octets of a stream while none of them delimits a frame, and not more than `limit`."""

    def __init__(self, delimiters: bytes, limit: int) -> None:
        self._delimiters = frozenset(delimiters)
        self._limit = limit
        self._octets: bytearray | None = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next octets."""
        if self._octets is None:
            return
        self._octets += data[: self._limit + 1]
        if len(self._octets) > self._limit or not self._delimiters.isdisjoint(data):
            self._octets = None

    def take(self) -> bytes:
        """Everything, once; nothing where a frame began."""
        octets, self._octets = self._octets, None
        return bytes(octets or b"")
