"""The fixed structure of M-Bus (EN 1434-3, EN 13757-3 annex C): two counters whose units stand in six bits each.

    identification 4 | access number | status | medium and units 2 | counter 1, 4 octets | counter 2, 4 octets

Bit 0 of the status: the counters are binary, else BCD. Unit 3E says that the second counter is the first one as it was
at a fixed date. Nothing here is called instantaneous or total, so the registers have codes of their own.
"""

from collections.abc import Callable

from decoders import vif as tables
from decoders.errors import GrammarError
from decoders.grammars import mbus_values
from decoders.grammars.mbus_header import LEAD
from decoders.model import Register

_SIZE = 16
_BINARY = 0x01
COUNTERS = ("mbus:counter1", "mbus:counter2")


def read(body: bytes, registers: list[Register], *, msb_first: bool) -> tuple[str, int]:
    """Read both counters; gives the identification and the medium; raises GrammarError."""
    data = body[LEAD:]
    if len(data) != _SIZE:
        raise GrammarError("length", len(body))
    number, status, first, second = data[:4], data[5], data[6], data[7]
    if not msb_first:
        number = number[::-1]
    units = [first & 0x3F, second & 0x3F]
    if units[1] == tables.FIXED_HISTORIC:
        units[1] = units[0]
    value_of: Callable[[bytes], int | None] = mbus_values.unsigned if status & _BINARY else mbus_values.bcd
    for code, unit, at in zip(COUNTERS, units, (8, 12), strict=True):
        counter = data[at : at + 4]
        value, vif = value_of(counter[::-1] if msb_first else counter), tables.FIXED.get(unit)
        if value is not None and vif is not None:
            registers.append((code, value, vif.exponent, vif.unit))
    return number.hex(), first >> 6 | (second >> 6) << 2
