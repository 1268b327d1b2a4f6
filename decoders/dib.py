"""Heads of M-Bus data records (EN 13757-3, clause 6.3): DIF, DIFE, VIF, VIFE, as the codes of registers spell them.

    DIF   extension | storage bit 0 | function (2) | data field (4)
    DIFE  extension | subunit bit | tariff (2) | storage (4)          at most ten, each more significant than the last
    VIF   extension | unit and multiplier (7)                         at most ten VIFE behind it

A code is `mbus:` and the octets of the head in hexadecimal digits, so it says storage, tariff, subunit and function.
"""

import re
from functools import lru_cache
from typing import NamedTuple

PREFIX = "mbus:"
#: heads that are remembered: far more than any bus of meters has
HEADS_KEPT = 1_024

#: ten extensions of either kind at most
HEAD = re.compile(rb"([\x80-\xff]{0,10}[\x00-\x7f])([\x80-\xff]{0,10}[\x00-\x7f])")

#: low half of a DIF -> octets of data; -1: the first octet of the data says how many; absent: no record begins so
LENGTHS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 8, 8: 0, 9: 1, 10: 2, 11: 3, 12: 4, 13: -1, 14: 6}
VARIABLE = -1

#: DIFs that are no record: filler, manufacturer data to the end, the same with more records in the next telegram
FILLER, MANUFACTURER, MORE_FOLLOW = 0x2F, 0x0F, 0x1F
#: VIF whose unit is a text behind it
PLAIN_TEXT = 0x7C

FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")


class Dib(NamedTuple):
    """What the data information block says beside the kind of data."""

    function: int
    storage: int
    tariff: int
    subunit: int


def variable_size(lvar: int) -> int | None:
    """Octets behind the octet that says how many there are (LVAR, table 5); None where the standard knows none."""
    for first, last, size in (
        (0x00, 0xBF, lvar),
        (0xC0, 0xC9, lvar - 0xC0),
        (0xD0, 0xD9, lvar - 0xD0),
        (0xE0, 0xEF, lvar - 0xE0),
        (0xF0, 0xF4, 4 * (lvar - 0xEC)),
        (0xF5, 0xF5, 48),
        (0xF6, 0xF6, 64),
    ):
        if first <= lvar <= last:
            return size
    return None


def parse_dib(dib: bytes) -> Dib:
    """Function, storage, tariff and subunit of a DIF with its DIFEs."""
    storage, tariff, subunit = dib[0] >> 6 & 1, 0, 0
    for place, octet in enumerate(dib[1:]):
        storage |= (octet & 0x0F) << (1 + 4 * place)
        tariff |= (octet >> 4 & 0x03) << (2 * place)
        subunit |= (octet >> 6 & 0x01) << place
    return Dib(dib[0] >> 4 & 0x03, storage, tariff, subunit)


@lru_cache(maxsize=HEADS_KEPT)
def dib_of(code: str) -> Dib | None:
    """What the code of a register says of it; None for a code that is none of M-Bus records."""
    if not code.startswith(PREFIX):
        return None
    try:
        head = HEAD.match(bytes.fromhex(code[len(PREFIX) :]))
    except ValueError:
        return None
    return parse_dib(head[1]) if head else None


#: VIFs of numbers that name the meter or its owner, in the primary table and behind FD
_NAMES, _NAMES_FD = frozenset((0x78, 0x79)), frozenset((0x08, 0x10, 0x11))


@lru_cache(maxsize=HEADS_KEPT)
def is_identification(code: str) -> bool:
    """Whether a register is a number that names the meter, its place or its owner: personal data, no measurement."""
    if not code.startswith(PREFIX) or dib_of(code) is None:
        return False
    head = HEAD.match(bytes.fromhex(code[len(PREFIX) :]))
    vib = head[2] if head else b""
    return vib[0] & 0x7F in _NAMES or (vib[0] == 0xFD and vib[1] & 0x7F in _NAMES_FD)


def annotations(code: str) -> dict[str, str | int]:
    """The members that the code of a register adds to it in JSON: what is not zero, and not instantaneous."""
    dib = dib_of(code)
    if dib is None:
        return {}
    numbers = {"storage": dib.storage, "tariff": dib.tariff, "subunit": dib.subunit}
    shown: dict[str, str | int] = {name: number for name, number in numbers.items() if number}
    return shown | ({"function": FUNCTIONS[dib.function]} if dib.function else {})
