"""Names of data sets: OBIS codes in full or reduced form (IEC 62056-6-1 annex A, EN 62056-61), to `A-B:C.D.E*F`.

Reduced codes leave A and B out, and E where it is 0; the letters C, F, L and P stand for 96, 97, 98 and 99. A meter of
another medium sends pairs such as `6.8`, whose A nobody knows: its codes stay as they were sent. It is known by having
pairs and none of the codes that every electricity meter has, such as `1.8.0` or `1.8.1`.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from decoders.obis import CODES_KEPT

_NAME = re.compile(
    rb"(?:(\d{1,3})-(\d{1,3}):)?(\d{1,3}|[CFLP])(?:\.(\d{1,3}|[CFLP])(?:\.(\d{1,3}|[CFLP]))?)?(?:[*&.](\d{1,3}))?"
)
_PAIR = re.compile(rb"(?!0\.)\d{1,2}\.\d{1,3}(?:[*&]\d{1,3})?")
_ELECTRICITY = re.compile(rb"(?:1-\d{1,3}:.*|(?:[1-9]|15|16)\.[678]\.\d{1,3}.*)")
#: the same codes name heat with tariffs, `6.8.1`
_HEAT = re.compile(rb"6\.8(?:\.\d)?(?:[*&]\d{1,3})?")
_LETTERS = {b"C": 96, b"F": 97, b"L": 98, b"P": 99}
#: objects of the meter's clock: time, date, and both (IEC 62056-6-1 table 9); the abstract clock of COSEM
_CLOCKS = {(0, 9, 1): "time", (0, 9, 2): "date", (0, 9, 4): "both"}


class Name(NamedTuple):
    """A code in its normal form, and what its values are."""

    code: str
    #: the values may be measured ones
    measured: bool
    #: a value of it that is no number is damage
    certain: bool = False
    #: without unit its values are a state or an identification
    needs_unit: bool = False
    #: "time", "date" or "both" for the meter's clock
    clock: str = ""


def is_other_medium(codes: Iterable[bytes]) -> bool:
    """Whether the codes of a block are those of a meter that does not measure electricity."""
    codes = tuple(codes)
    if not any(map(_PAIR.fullmatch, codes)):
        return False
    return not any(_ELECTRICITY.fullmatch(code) and not _HEAT.fullmatch(code) for code in codes)


@lru_cache(maxsize=CODES_KEPT)
def decode_name(raw: bytes, as_sent: bool) -> Name | None:
    """What a code means, `as_sent` where the meter is of another medium; None when the octets are no code."""
    match = _NAME.fullmatch(raw)
    if match is None:
        return None
    a, b, c, d, e, f = (None if group is None else _LETTERS.get(group) or int(group) for group in match.groups())
    if c is None or max(a or 0, b or 0, c, d or 0, e or 0, f or 0) > 255:
        return None
    if a is None and (as_sent or d is None):
        return Name(raw.decode("latin-1"), measured=True, needs_unit=True)
    if a is None or b is None:
        a, b = (0 if c >= 96 else 1), 0
    d, e = d or 0, e or 0
    code = f"{a}-{b}:{c}.{d}.{e}" + ("" if f in (None, 255) else f"*{f}")
    if f in (None, 255) and ((c, d, e) in _CLOCKS or (a, c, d, e) == (0, 1, 0, 0)):
        return Name(code, measured=False, clock=_CLOCKS.get((c, d, e), "both"))
    if c in (97, 98, 99) or (c == 0 and d != 4) or (c == 96 and d == 1):
        return Name(code, measured=False)
    return Name(code, measured=True, certain=0 < c < 96, needs_unit=c == 96)
