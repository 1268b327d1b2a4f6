"""General-block-transfer: the blocks of one message, put together whole or not at all (DLMS UA 1000-2 clause 9.3).

    E0 | control | number (2) | acknowledged (2) | length | data        control: 80 last, 40 streaming, 3F window

A push is never acknowledged, so window and streaming mean nothing here: numbers rise by one from 1 to the last block.
"""

from decoders.errors import UnwrapError

#: octets of one message, and blocks that it may come in: the longest known push has 2,000 octets in 20 blocks
LIMIT = 16_384
BLOCKS = 256


class Blocks:
    """One message of general-block-transfer in the making: whole, or nothing and one UnwrapError."""

    def __init__(self) -> None:
        self._data = bytearray()
        #: number of the block that must come next; 1 between messages
        self._next = 1
        #: highest number of the latest message
        self._seen = 0
        #: the rest of a message that was given up is passed over
        self._skipping = False

    @property
    def pending(self) -> int:
        """Octets of a message whose last block is not here yet."""
        return len(self._data)

    def add(self, apdu: bytes) -> bytes | None:
        """The message that this block completes; None while blocks are missing; block 1 always begins a new one."""
        try:
            number, last, data = read_block(apdu)
        except UnwrapError:
            self._give_up(last=False)
            raise
        interrupted = number == 1 and self._next > 1
        if number == 1:
            self._data.clear()
            self._next, self._seen, self._skipping = 1, 0, False
        elif number != self._next:
            self._misplaced(number, last)
            return None
        self._data += data
        self._next = self._seen = number
        self._next += 1
        if len(self._data) > LIMIT or number > BLOCKS:
            self._give_up(last)
            raise UnwrapError("oversized")
        if last:
            message = bytes(self._data)
            self._give_up(last)
            return message
        if interrupted:
            raise UnwrapError("block_lost")
        return None

    def end(self) -> None:
        """End of input; raises UnwrapError when a message is incomplete."""
        incomplete = self._next > 1
        self._give_up(last=True)
        if incomplete:
            raise UnwrapError("block_lost")

    def _misplaced(self, number: int, last: bool) -> None:
        """A block that is not the next one costs its message; one failure is told of each message."""
        told, code = self._skipping, "block_order" if number <= self._seen else "block_lost"
        self._seen = max(self._seen, number)
        self._give_up(last)
        if not told:
            raise UnwrapError(code)

    def _give_up(self, last: bool) -> None:
        """Be between messages again, and pass over the rest of one that is not at its last block."""
        self._data.clear()
        self._next, self._skipping = 1, not last


def read_block(apdu: bytes) -> tuple[int, bool, bytes]:
    """Number, whether it is the last, and data of one block; window and acknowledgement mean nothing in a push."""
    length, at = read_length(apdu, 6)
    if at + length != len(apdu):
        raise UnwrapError("length")
    return int.from_bytes(apdu[2:4], "big"), apdu[1] >= 0x80, apdu[at:]


def read_length(apdu: bytes, at: int) -> tuple[int, int]:
    """A length and where its contents begin: short, or long with 1 to 4 octets, minimal or not (BER, X.690 8.1.3)."""
    if at >= len(apdu):
        raise UnwrapError("length")
    first = apdu[at]
    if first < 0x80:
        return first, at + 1
    octets = first - 0x80
    if not 1 <= octets <= 4 or at + 1 + octets > len(apdu):
        raise UnwrapError("length")
    return int.from_bytes(apdu[at + 1 : at + 1 + octets], "big"), at + 1 + octets
