"""M-Bus long frames of a simulated meter (EN 13757-2), with the transport layer of DLMS (IEC 62056-7-3).

    68 | L | L | 68 | C = 53 | A = FF | CI | STSAP = 01 | DTSAP = 67 | data | sum of C to data | 16

CI numbers the segments of a message from 0; bit 4 says that a segment is the last one.
"""

_LAST = 0x10
_SAPS = bytes([0x01, 0x67])
#: octets of C, A, CI, STSAP and DTSAP
_HEADER = 5


def segments(apdu: bytes, body_size: int) -> list[bytes]:
    """A message in frames whose bodies have at most `body_size` octets; an L above 255 wraps, as in the T210-D."""
    size = body_size - _HEADER
    pieces = [apdu[first : first + size] for first in range(0, len(apdu), size)]
    last = len(pieces) - 1
    return [frame(number | (_LAST if number == last else 0), piece) for number, piece in enumerate(pieces)]


def frame(control_information: int, data: bytes) -> bytes:
    """One long frame."""
    body = bytes([0x53, 0xFF, control_information]) + _SAPS + data
    head = bytes([0x68, len(body) & 0xFF, len(body) & 0xFF, 0x68])
    return head + body + bytes([sum(body) & 0xFF, 0x16])
