"""SML files of a simulated meter (SML 1.03, BSI TR-03109-1 annex IV): elements, messages, transport version 1.

Elements are what `tl` and the functions beside it give; a message gets its checksum, a file its escapes, fill and CRC.
"""

from gateway.simulator.hdlc import x25

ABSENT = b"\x01"
_ESCAPE = bytes.fromhex("1b1b1b1b")
_VERSION = bytes.fromhex("01010101")
_OCTETS, _SIGNED, _UNSIGNED, _LIST = 0, 5, 6, 7
#: tags of the responses
OPEN, CLOSE, GET_LIST = 0x0101, 0x0201, 0x0701


def octets(data: bytes) -> bytes:
    """An octet string."""
    return _head(_OCTETS, len(data), own=True) + data


def unsigned(value: int, size: int) -> bytes:
    """A number without sign in `size` octets."""
    return _head(_UNSIGNED, size, own=True) + value.to_bytes(size, "big")


def signed(value: int, size: int) -> bytes:
    """A number with sign in `size` octets."""
    return _head(_SIGNED, size, own=True) + value.to_bytes(size, "big", signed=True)


def sequence(*elements: bytes) -> bytes:
    """A list of elements."""
    return _head(_LIST, len(elements), own=False) + b"".join(elements)


def seconds(index: int) -> bytes:
    """A time that counts seconds from an unknown moment (SML_Time, choice 1)."""
    return sequence(unsigned(1, 1), unsigned(index, 4))


def message(transaction: bytes, tag: int, body: bytes) -> bytes:
    """One message: group 0, nothing aborted on errors."""
    head = b"\x76" + octets(transaction) + unsigned(0, 1) + unsigned(0, 1)
    content = head + sequence(unsigned(tag, 2), body)
    return content + b"\x63" + x25(content) + b"\x00"


def file(*messages: bytes) -> bytes:
    """Messages on the wire."""
    content = b"".join(messages)
    fill = -len(content) % 4
    body = _ESCAPE + _VERSION + content.replace(_ESCAPE, _ESCAPE * 2) + bytes(fill) + _ESCAPE + bytes([0x1A, fill])
    return body + x25(body)


def _head(kind: int, length: int, *, own: bool) -> bytes:
    """A type-length field: four bits of length in each octet; `own`: its own octets count, too."""
    size = next(size for size in (1, 2, 3, 4) if length + size * own < 16**size)
    digits = f"{length + size * own:0{size}x}"
    fields = [int(digit, 16) | 0x80 for digit in digits]
    fields[0] |= kind << 4
    fields[-1] &= 0x7F
    return bytes(fields)
