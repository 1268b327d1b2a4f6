"""How octets look that no link can cut: shares, typical beginnings, and protocols that meterd does not read.

Nothing here is an answer; it is what a person needs who asks for help.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastcrc.crc16 import en_13757, modbus

#: octets that are searched for other protocols: the first ones
SEARCHED = 65_536
_ASCII = bytes(range(128))
_PRINTABLE = bytes((*range(0x20, 0x7F), 9, 10, 13))
#: what frames begin with, and of which link
BEGINNINGS: dict[str, re.Pattern[bytes]] = {
    "/XXX of P1 or IEC 62056-21": re.compile(rb"/[A-Za-z]{3}"),
    "7E A. of HDLC": re.compile(rb"\x7e[\xa0-\xaf]"),
    "68 L L 68 of M-Bus": re.compile(rb"\x68(.)\1\x68", re.DOTALL),
    "1B1B1B1B 01010101 of SML": re.compile(rb"\x1b{4}\x01{4}"),
    "DB 08 of a ciphered APDU": re.compile(rb"\xdb\x08[A-Z]{3}"),
    "02 0A of teleinfo": re.compile(rb"\x02[\r\n]"),
}
#: addresses and functions of Modbus, both ways: octets of a request, and where an answer says its length
_REQUEST = re.compile(rb"[\x01-\xf7][\x01-\x06]")
_TCP = re.compile(rb"..\x00\x00\x00([\x04-\xfd])[\x00-\xf7][\x01-\x06\x0f\x10\x81-\x90]", re.DOTALL)
_WIRELESS = re.compile(rb"([\x0a-\xff])([\x44\x46\x08])")
#: letters of a manufacturer in two octets (EN 13757-3, clause 5.5), five bits each, and the block before the first CRC
_BLOCK, _CRC = 10, 2
_DIGITS = re.compile(rb"[0-9A-Fa-f\s]{16,}")
#: matches of a protocol that are counted
_ENOUGH = 8
#: share in % of octets with their top bit set from which on text is no longer text, and an inverted line is likely
INVERTED_PERCENT = 60
_MUCH_TEXT = 85


@dataclass(frozen=True, slots=True)
class Looks:
    """Figures of a capture; `resembles` names protocols that are not read, with what was counted."""

    octets: int
    top_bit_percent: int
    printable_percent: int
    #: beginnings that occur, and how often
    beginnings: tuple[tuple[str, int], ...]
    #: the commonest values, in hexadecimal digits, with their share in %
    commonest: tuple[tuple[str, int], ...]
    resembles: tuple[str, ...]


def looks(octets: bytes) -> Looks:
    """Describe octets; linear in their number."""
    size = max(1, len(octets))
    top = 100 * len(octets.translate(None, _ASCII)) // size
    printable = 100 * (len(octets) - len(octets.translate(None, _PRINTABLE))) // size
    counted = ((name, len(found.findall(octets[:SEARCHED]))) for name, found in BEGINNINGS.items())
    common = Counter(octets[:SEARCHED]).most_common(3)
    shares = tuple((f"{value:02X}", 100 * n // min(size, SEARCHED)) for value, n in common)
    starts = tuple((name, n) for name, n in counted if n)
    return Looks(len(octets), top, printable, starts, shares, tuple(_resembles(octets[:SEARCHED], top, printable)))


def _resembles(octets: bytes, top: int, printable: int) -> Iterator[str]:
    for what, count in _COUNTS.items():
        if found := count(octets):
            yield f"{what} ({found}{' or more' if found == _ENOUGH else ''} found), which meterd does not read"
    if top >= INVERTED_PERCENT:
        yield "a line that is read inverted, or at another speed: most octets have their top bit set"
    if _DIGITS.fullmatch(octets):
        yield "hexadecimal digits of a dump: --hex reads them"
    elif printable >= _MUCH_TEXT and len(octets) >= _BLOCK:
        yield "text of another kind than meters send"


def _modbus_rtu(octets: bytes) -> int:
    """Requests of eight octets, and answers that say their length, whose CRC fits."""
    return _counted(octets, _REQUEST, _modbus_end)


def _modbus_end(octets: bytes, at: int) -> int:
    answer = at + 3 + octets[at + 2] + _CRC if at + 2 < len(octets) and octets[at + 2] else 0
    for end in (at + 8, answer):
        if at + 5 <= end <= len(octets) and modbus(octets[at : end - _CRC]) == int.from_bytes(
            octets[end - _CRC : end], "little"
        ):
            return end
    return 0


def _modbus_tcp(octets: bytes) -> int:
    """Headers of Modbus TCP in a row, from the first octet."""
    at = found = 0
    while found < _ENOUGH and (head := _TCP.match(octets, at)):
        at, found = at + 6 + head[1][0], found + 1
    return found if at == len(octets) or found > 1 else 0


def _wireless(octets: bytes) -> int:
    """Telegrams of wireless M-Bus: L, C and the block behind them with its CRC, or one that is as long as it says."""
    if len(octets) > _BLOCK and octets[0] == len(octets) - 1 and _WIRELESS.match(octets):
        return 1
    return _counted(octets, _WIRELESS, _wireless_end)


def _wireless_end(octets: bytes, at: int) -> int:
    """Format A has its CRC behind ten octets, format B at the end of the first 128 (EN 13757-4, clause 12)."""
    length = octets[at]
    for end in (at + _BLOCK + _CRC, at + 1 + min(length, 127)):
        if end <= len(octets) and end - at > _BLOCK:
            crc = int.from_bytes(octets[end - _CRC : end], "big")
            if en_13757(octets[at : end - _CRC]) == crc:
                return end
    return 0


def _counted(octets: bytes, start: re.Pattern[bytes], end_of: Callable[[bytes, int], int]) -> int:
    """How many telegrams there are, up to _ENOUGH; a single one among much else is a chance."""
    found = covered = at = 0
    while found < _ENOUGH and (match := start.search(octets, at)):
        end = end_of(octets, match.start())
        found, covered = (found + 1, covered + end - match.start()) if end else (found, covered)
        at = end or match.start() + 1
    return found if found == _ENOUGH or 4 * covered >= len(octets) else 0


_COUNTS: dict[str, Callable[[bytes], int]] = {
    "Modbus RTU": _modbus_rtu,
    "Modbus TCP": _modbus_tcp,
    "wireless M-Bus": _wireless,
}
