"""Seven data bits and even parity, as a receiver of eight data bits hands them on (IEC 62056-21 clause 5.1).

Whether a capture has the parity bits in it shows at the start of each frame: `/` and STX have an odd number of ones.
"""

#: octets with even parity lose their parity bit; the others become 0xFF, which no meter sends
_CHARACTERS = bytes(octet & 0x7F if octet.bit_count() % 2 == 0 else 0xFF for octet in range(256))


def characters(octets: bytes | bytearray) -> bytes | None:
    """The characters of a frame without their parity bits; None where an octet was damaged."""
    if octets[0] < 0x80:
        return bytes(octets) if octets.isascii() else None
    text = octets.translate(_CHARACTERS)
    return None if b"\xff" in text else bytes(text)
