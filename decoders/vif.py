"""Units and multipliers of M-Bus records (EN 13757-3, clause 6.4, tables 10 to 15; annex C for the fixed structure).

A table row covers a run of VIFs: the first of it, how many there are, the unit, and the power of ten of the first; the
power rises by one with each. Where it does not (seconds, minutes, hours, days), each VIF has its own row.
"""

from typing import NamedTuple


class Vif(NamedTuple):
    """What a value information block says: the value is number * 10**exponent in the unit."""

    quantity: str
    unit: str
    exponent: int


def _rows(*rows: tuple[int, int, str, str, int]) -> dict[int, Vif]:
    return {first + n: Vif(what, unit, power + n) for first, count, what, unit, power in rows for n in range(count)}


def _spans(first: int, what: str, units: str) -> dict[int, Vif]:
    return {first + n: Vif(what, unit, 0) for n, unit in enumerate(units.split())}


#: primary VIFs
PRIMARY: dict[int, Vif] = {
    **_rows(
        (0x00, 8, "energy", "Wh", -3),
        (0x08, 8, "energy", "J", 0),
        (0x10, 8, "volume", "m3", -6),
        (0x18, 8, "mass", "kg", -3),
        (0x28, 8, "power", "W", -3),
        (0x30, 8, "power", "J/h", 0),
        (0x38, 8, "volume flow", "m3/h", -6),
        (0x40, 8, "volume flow", "m3/min", -7),
        (0x48, 8, "volume flow", "m3/s", -9),
        (0x50, 8, "mass flow", "kg/h", -3),
        (0x58, 4, "flow temperature", "C", -3),
        (0x5C, 4, "return temperature", "C", -3),
        (0x60, 4, "temperature difference", "K", -3),
        (0x64, 4, "external temperature", "C", -3),
        (0x68, 4, "pressure", "bar", -3),
        (0x6E, 1, "heat cost allocation", "HCA", 0),
        (0x78, 1, "fabrication number", "", 0),
        (0x79, 1, "enhanced identification", "", 0),
        (0x7A, 1, "bus address", "", 0),
    ),
    **_spans(0x20, "on time", "s min h d"),
    **_spans(0x24, "operating time", "s min h d"),
    **_spans(0x70, "averaging duration", "s min h d"),
    **_spans(0x74, "actuality duration", "s min h d"),
}
#: VIFs of a date, and of a date and time
DATE, DATE_TIME = 0x6C, 0x6D
#: VIFs that say: the true one is in the table of this extension
ALTERNATIVE, EXTENSION = 0xFB, 0xFD
MANUFACTURER = 0x7F

#: first VIFE behind FB
FB: dict[int, Vif] = _rows(
    (0x00, 2, "energy", "Wh", 5),
    (0x02, 2, "reactive energy", "varh", 3),
    (0x04, 2, "apparent energy", "VAh", 3),
    (0x08, 2, "energy", "J", 8),
    (0x0C, 4, "energy", "cal", 5),
    (0x10, 2, "volume", "m3", 2),
    (0x14, 4, "reactive power", "var", 0),
    (0x18, 2, "mass", "kg", 5),
    (0x1A, 2, "relative humidity", "%", -1),
    (0x20, 1, "volume", "ft3", 0),
    (0x21, 1, "volume", "ft3", -1),
    (0x28, 2, "power", "W", 5),
    (0x2A, 1, "phase U-U", "deg", -1),
    (0x2B, 1, "phase U-I", "deg", -1),
    (0x2C, 4, "frequency", "Hz", -3),
    (0x30, 2, "power", "J/h", 8),
    (0x34, 4, "apparent power", "VA", 0),
    (0x68, 1, "resulting rating factor", "", 0),
    (0x74, 4, "temperature limit", "C", -3),
    (0x78, 8, "cumulative maximum of power", "W", -3),
)

#: first VIFE behind FD
FD: dict[int, Vif] = {
    **_rows(
        (0x00, 4, "credit", "", -3),
        (0x04, 4, "debit", "", -3),
        (0x3A, 1, "dimensionless", "", 0),
        (0x40, 16, "voltage", "V", -9),
        (0x50, 16, "current", "A", -12),
        (0x71, 1, "radio level", "dBm", 0),
    ),
    **_spans(0x24, "storage interval", "s min h d month year"),
    **_spans(0x2C, "duration since last readout", "s min h d"),
    **_spans(0x31, "duration of tariff", "min h d"),
    **_spans(0x34, "period of tariff", "s min h d month year"),
    **_spans(0x68, "duration since last cumulation", "h d month year"),
    **_spans(0x6C, "operating time of battery", "h d month year"),
    0x74: Vif("remaining battery life", "d", 0),
}
#: values behind FD that are bits, not a number with a sign: error flags, error mask, digital output and input
FD_UNSIGNED = frozenset((0x17, 0x18, 0x1A, 0x1B, 0x60, 0x61, 0x66))

#: units of time -> seconds, in which all of them are given
SECONDS = {"min": 60, "h": 3_600, "d": 86_400}

#: combinable VIFEs (table 15): powers of ten, and what divides the unit; errors of the record are 0x01 to 0x1F
FACTORS = {0x70 + n: n - 6 for n in range(8)} | {0x7D: 3}
PER = {0x20: "s", 0x21: "min", 0x22: "h", 0x23: "d", 0x24: "week", 0x25: "month", 0x26: "year"}
#: the value is a date or time (start date, begin or end of a limit exceed, date of the value)
DATES = frozenset((0x39, 0x42, 0x43, 0x46, 0x47, 0x4A, 0x4B, 0x4E, 0x4F, 0x6A, 0x6B, 0x6E, 0x6F))
#: the value is a rate, a count, a duration or a correction, and no longer in the unit of its VIF
OTHER_UNIT = frozenset((*range(0x27, 0x39), 0x41, 0x49, *range(0x50, 0x68), *range(0x78, 0x7C))) | DATES
LAST_ERROR = 0x1F
#: all VIFEs behind this one are the manufacturer's
VIFE_MANUFACTURER = 0x7F
#: the next VIFE is from another table
VIFE_EXTENSION = 0x7C

#: units of the fixed structure (CI 73): runs of powers of ten as above; 3E is the unit of the first counter, historic
FIXED: dict[int, Vif] = {
    **_rows(
        (0x02, 9, "energy", "Wh", 0),
        (0x0B, 9, "energy", "J", 3),
        (0x14, 9, "power", "W", 0),
        (0x1D, 9, "power", "J/h", 3),
        (0x26, 6, "volume", "l", -3),
        (0x2C, 3, "volume", "m3", 0),
        (0x2F, 6, "volume flow", "l/h", -3),
        (0x35, 3, "volume flow", "m3/h", 0),
        (0x38, 1, "temperature", "C", -3),
        (0x39, 1, "heat cost allocation", "HCA", 0),
        (0x3F, 1, "count", "", 0),
    )
}
FIXED_HISTORIC = 0x3E
