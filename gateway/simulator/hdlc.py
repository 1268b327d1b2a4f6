"""HDLC frames of a simulated meter: format type 3 (IEC 62056-46, clause 6.4), each between flags of its own.

    7E | A S LLL | destination | source | control | HCS | information | FCS | 7E

S says that more segments follow. HCS and FCS are the CRC-16 of ITU-T X.25, low octet first. Nothing is stuffed.
"""

from dataclasses import dataclass

LLC = bytes.fromhex("e6e700")
_FLAG = b"\x7e"
_TYPE, _MORE = 0xA000, 0x0800
#: poll (or final) bit of the control field
_POLL = 0x10
_CHECK = 2


@dataclass(frozen=True, slots=True)
class Address:
    """Addresses as on the wire, and the control field of a whole message."""

    destination: bytes
    source: bytes
    control: int = 0x13

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`41 0883 13`: destination, source, control in hexadecimal."""
        destination, source, control = map(bytes.fromhex, text.split())
        return cls(destination, source, control[0])


def frame(address: Address, information: bytes, *, more: bool = False) -> bytes:
    """One frame; a segment that is followed by another has no poll bit."""
    control = address.control & ~_POLL if more else address.control
    head = address.destination + address.source + bytes([control])
    size = 2 + len(head) + _CHECK + len(information) + _CHECK
    header = (_TYPE | (_MORE if more else 0) | size).to_bytes(2, "big") + head
    body = header + x25(header) + information
    return _FLAG + body + x25(body) + _FLAG


def segments(address: Address, apdu: bytes, size: int) -> list[bytes]:
    """A message in frames with at most `size` octets of information; only the first has the LLC header."""
    message = LLC + apdu
    pieces = [message[first : first + size] for first in range(0, len(message), size)]
    return [frame(address, piece, more=piece is not pieces[-1]) for piece in pieces]


def x25(octets: bytes) -> bytes:
    """CRC-16 of ITU-T X.25 (x16 + x12 + x5 + 1, reflected, all ones before, inverted after), low octet first."""
    crc = 0xFFFF
    for octet in octets:
        crc = crc >> 8 ^ _CRC[(crc ^ octet) & 0xFF]
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def _crc_row(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (0x8408 if index & 1 else 0)
    return index


_CRC = tuple(map(_crc_row, range(256)))
