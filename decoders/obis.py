"""OBIS codes as P1 telegrams print them (EN 62056-61, IEC 62056-6-1), their units, and the media of sub-meters."""

import re
from enum import Enum
from functools import lru_cache

#: number of codes that are remembered: far more than any meter has
CODES_KEPT = 1_024
#: one octet more than the longest code has: what is longer is none, and is not worth remembering
CODE_LIMIT = 24

#: `A-B:C.D.E`, with the storage group F = 255 written as `*255` or `.255`, or left out
_CODE = re.compile(rb"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[*.](\d{1,3}))?")

#: spellings met in telegrams -> the unit as meterd prints it
UNITS: dict[bytes, str] = {
    spelling.encode(): unit
    for unit, spellings in {
        "W": "W",
        "kW": "kW KW",
        "MW": "MW",
        "Wh": "Wh wh",
        "kWh": "kWh kwh KWh KWH kWH",
        "MWh": "MWh",
        "var": "var VAr VAR Var",
        "kvar": "kvar kVAr kVar KVAR kVAR",
        "varh": "varh VArh VARh Varh",
        "kvarh": "kvarh kVArh kVarh KVARh kVARh KVARH",
        "VA": "VA",
        "kVA": "kVA KVA",
        "VAh": "VAh",
        "kVAh": "kVAh",
        "V": "V",
        "kV": "kV",
        "A": "A",
        "mA": "mA",
        "kA": "kA",
        "Hz": "Hz HZ hz",
        "kHz": "kHz",
        "m3": "m3 M3",
        "dm3": "dm3",
        "l": "l L",
        "GJ": "GJ",
        "MJ": "MJ",
        "s": "s",
        "min": "min",
        "h": "h",
        "C": "C",
        "K": "K",
        "%": "%",
    }.items()
    for spelling in spellings.split()
} | {b"": ""}

#: power and energy units of item P -> the power of ten that leads to W or Wh
POWER_SCALE = {"W": 0, "kW": 3, "MW": 6}
ENERGY_SCALE = {"Wh": 0, "kWh": 3, "MWh": 6}

#: M-Bus device type (EN 13757-3, table 13) -> medium of a sub-meter reading
MEDIA: dict[int, str] = {
    1: "oil",
    2: "electricity",
    3: "gas",
    4: "heat",
    5: "steam",
    6: "warm water",
    7: "water",
    8: "heat cost allocator",
    9: "compressed air",
    10: "cooling",
    11: "cooling",
    12: "heat",
    13: "heat and cooling",
    21: "hot water",
    22: "cold water",
    40: "waste water",
}


#: clock of the meter
CLOCK = "0-0:1.0.0"


class Kind(Enum):
    """What an object of a P1 telegram holds."""

    NUMBER = 1
    TEXT = 2
    CLOCK = 3
    SUB_METER = 4


@lru_cache(maxsize=CODES_KEPT)
def classify(raw: bytes) -> tuple[str, Kind] | None:
    """Give the normal form of a code as sent and what its object holds; None when the octets are no OBIS code."""
    match = _CODE.fullmatch(raw)
    if match is None:
        return None
    a, b, c, d, e, f = (None if group is None else int(group) for group in match.groups())
    if max(a or 0, b or 0, c or 0, d or 0, e or 0, f or 0) > 255:
        return None
    code = f"{a}-{b}:{c}.{d}.{e}" + ("" if f in (None, 255) else f"*{f}")
    return code, _kind(a, b, c, d, e)


def _kind(a: int | None, b: int | None, c: int | None, d: int | None, e: int | None) -> Kind:
    if (a, b, c, d, e) == (0, 0, 1, 0, 0):
        return Kind.CLOCK
    if a == 0 and b and 1 <= b <= 4 and (c == 24 or (c == 96 and d == 1)):
        return Kind.SUB_METER
    if c in (97, 98, 99) or (c == 0 and d != 4) or (c == 96 and d == 1):
        return Kind.TEXT
    if a == 0 and (c == 42 or (c == 96 and d in (2, 4, 5, 13))):
        return Kind.TEXT
    return Kind.NUMBER


#: COSEM unit enumeration (IEC 62056-6-2, table 4) -> unit as meterd prints it; 255 is a count
COSEM_UNITS: dict[int, str] = {
    6: "min",
    7: "s",
    8: "deg",
    9: "C",
    13: "m3",
    27: "W",
    28: "VA",
    29: "var",
    30: "Wh",
    31: "VAh",
    32: "varh",
    33: "A",
    35: "V",
    44: "Hz",
    255: "",
}
