"""What a connection carries, as an installer knows it: phases and main fuse, or watts."""

import re

#: the nominal voltage of low-voltage networks in Europe (EN 60038), V
VOLT = 230
#: a fuse carries more than its rating for an hour (gG of IEC 60269-1: 1.25 times), and a network has up to 253 V: half
#: as much again is above all of that, and far below what a damaged telegram says
MARGIN = 3, 2
MOST_W = 100_000_000
_FUSE = re.compile(r"([123])\s*[x*\u00d7]\s*([0-9]{1,5})\s*a?", re.IGNORECASE)
_WATTS = re.compile(r"([0-9]{1,9})\s*(k?)w?", re.IGNORECASE)


def watts(text: str) -> int:
    """Watts for `max_power_w`: of `3x25A` by the fuse, of `17250` or `17 kW` as they are; 0 is no limit.

    Raises ValueError with what is allowed.
    """
    if match := _FUSE.fullmatch(text.strip()):
        return _bounded(int(match[1]) * int(match[2]) * VOLT * MARGIN[0] // MARGIN[1], text)
    if match := _WATTS.fullmatch(text.strip()):
        return _bounded(int(match[1]) * (1_000 if match[2] else 1), text)
    raise ValueError(f"{text!r} is no limit: say phases and main fuse such as 3x25A, or watts; 0 for none")


def _bounded(value: int, text: str) -> int:
    if value > MOST_W:
        raise ValueError(f"{text!r} is more than any connection of a customer carries: say 0 for no limit")
    return value
