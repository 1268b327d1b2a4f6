"""What link and grammar both know of SML messages: type-length fields, the frame of a message, and its checksum.

SML 1.03 (EMSYCON), clauses 5 and 6; BSI TR-03109-1, annex IV. Each element begins with a type-length field: bits 4 to 6
are the type, bits 0 to 3 the length, bit 7 says that four more bits of length follow in the next octet. The length of a
list counts its elements, every other one the octets of the element with its type-length field. `01`, an octet string of
no octets, stands for an optional element that is left out.

    76 | transaction id | group | abort on error | 72 | tag | body | checksum | 00

The checksum is CRC-16/X-25, low octet first. Holley sent CRC-16/KERMIT, high octet first, here and in the transport.
"""

import re
from typing import Final

from fastcrc.crc16 import ibm_sdlc, kermit

from decoders.errors import GrammarError

#: types, and whole type-length fields
OCTETS, BOOLEAN, SIGNED, UNSIGNED, LIST = 0x00, 0x40, 0x50, 0x60, 0x70
MESSAGE, CHOICE, ABSENT, END = 0x76, 0x72, 0x01, 0x00
#: checksums that fit, as bits
X25, KERMIT = 1, 2
#: tags of messages: the first and the last one of a file, and the one with the values
OPEN_RESPONSE, CLOSE_RESPONSE, GET_LIST_RESPONSE = 0x0101, 0x0201, 0x0701

#: octets that a type-length field has at most: lists and strings up to 65,535
_LONGEST_FIELD: Final = 4


def sizes(kind: int, *octets: int) -> bytes:
    """The pattern of an element of a type with so many octets."""
    return b"|".join(b"\\x%02x.{%d}" % (kind | size + 1, size) for size in octets)


#: what stands before the tag of nearly every message
LEAD = rb"\x76(?:" + sizes(OCTETS, *range(1, 15)) + rb")\x62\x00\x62\x00\x72"
#: what stands before the body of nearly every message, with its tag in two octets or four; and what stands behind it
_OPENING = re.compile(LEAD + rb"(?:\x63|\x65\x00\x00)(..)", re.DOTALL).match
_CLOSING = re.compile(rb"\x63(..)\x00", re.DOTALL).match


def checksums(octets: bytes, sent: bytes | bytearray, among: int = X25 | KERMIT) -> int:
    """Which of these checksums was sent: bits X25 and KERMIT; 0 for none, and rarely both."""
    fits = X25 if among & X25 and ibm_sdlc(octets) == int.from_bytes(sent, "little") else 0
    return fits | KERMIT if among & KERMIT and kermit(octets) == int.from_bytes(sent, "big") else fits


def field(data: bytes | bytearray, pos: int) -> tuple[int, int, int]:
    """Type, octets (elements of a list) and where they begin; raises IndexError at the end, GrammarError."""
    octet, first = data[pos], pos
    kind, length, pos = octet & 0x70, octet & 0x0F, pos + 1
    while octet & 0x80:
        octet = data[pos]
        length, pos = length << 4 | octet & 0x0F, pos + 1
        if octet & 0x70 or pos - first > _LONGEST_FIELD:
            raise GrammarError("type")
    if kind != LIST:
        length -= pos - first
        if length < 0:
            raise GrammarError("length")
    return kind, length, pos


def skip(data: bytes | bytearray, pos: int) -> int:
    """Where the element at `pos` ends; where the data end before it, the least that it needs. Raises GrammarError."""
    left, end = 1, len(data)
    while left and pos < end:
        octet = data[pos]
        if octet < LIST and octet & 0x0F:
            # nearly all: a field of one octet, which its own length counts
            left, pos = left - 1, pos + (octet & 0x0F)
            continue
        try:
            kind, length, pos = field(data, pos)
        except IndexError:
            return end + left
        left += length - 1 if kind == LIST else -1
        pos += 0 if kind == LIST else length
    return pos + left


def opening(data: bytes | bytearray, pos: int) -> tuple[int, int]:
    """Tag of the message at `pos`, and where its body begins; raises IndexError at the end, GrammarError."""
    usual = _OPENING(data, pos)
    if usual:
        return int.from_bytes(usual[1], "big"), usual.end()
    if data[pos] != MESSAGE:
        raise GrammarError("type")
    kind, length, pos = field(data, pos + 1)
    pos += length
    for expected in (UNSIGNED, UNSIGNED):
        number, length, start = field(data, pos)
        if kind != OCTETS or number != expected:
            raise GrammarError("type")
        pos = start + length
    if data[pos] != CHOICE:
        raise GrammarError("type")
    kind, length, pos = field(data, pos + 1)
    if kind != UNSIGNED or length > _LONGEST_FIELD:
        raise GrammarError("type")
    body = pos + length
    if body > len(data):
        raise IndexError
    return int.from_bytes(data[pos:body], "big"), body


def closing(data: bytes | bytearray, start: int, pos: int, among: int) -> tuple[int, int]:
    """Where the message from `start` ends whose body ends at `pos`, and which checksums fit; raises as `opening`.

    A checksum that begins with 00 is sent in one octet by some meters.
    """
    usual = _CLOSING(data, pos)
    if usual:
        return usual.end(), checksums(bytes(data[start:pos]), usual[1], among)
    kind, length, at = field(data, pos)
    end = at + length
    if kind != UNSIGNED or not 1 <= length <= 2 or data[end] != END:
        raise GrammarError("type")
    return end + 1, checksums(bytes(data[start:pos]), bytes(data[at:end]).rjust(2, b"\x00"), among)
