"""Values of data sets: numbers with the units that meters write, time stamps, and blanks; pure functions of octets."""

import re

from decoders.clock import parse_time
from decoders.grammars.iec62056_21_codes import Name
from decoders.model import MeterTime, Register
from decoders.obis import UNITS

MAX_DIGITS = 18

_NUMBER = re.compile(rb" *([+-]?) *(\d{1,18})(?:[.,](\d{1,18}))?( *\* *| +|)([A-Za-z%][A-Za-z0-9/%]{0,7})? *")
_BLANK = re.compile(rb"[-. *]*(?:\*[A-Za-z0-9/%]{1,8})?")
_STAMP = re.compile(rb"([0-2])?(\d{6})(\d{4})(\d{2})?")
#: season digit of the time stamps ZSTs (EN 62056-61 annex): normal time, summer time; 2 is UTC
_SEASONS = {None: None, b"0": False, b"1": True, b"2": None}


def numbers(name: Name, values: list[bytes]) -> list[Register]:
    """All values as registers of that name, or none when one of them is no number."""
    parts = [part for value in values for part in value.split(b"&")]
    found = [number(name, part) for part in parts]
    return [register for register in found if register] if all(found) else []


def number(name: Name, value: bytes) -> Register | None:
    """`0001.50*kWh`, `-12.3 W`, `+4,5*kW`: as a register; a unit that is not known stays as it was sent."""
    match = _NUMBER.fullmatch(value)
    if match is None:
        return None
    sign, whole, fraction, separator, sent = match.groups(b"")
    unit = UNITS.get(sent)
    if len(whole + fraction) > MAX_DIGITS or (bool(separator.strip()) and not sent):
        return None
    if (unit is None and b"*" not in separator) or (name.needs_unit and not sent):
        return None
    return name.code, int(sign + whole + fraction), -len(fraction), sent.decode() if unit is None else unit


def is_blank(value: bytes) -> bool:
    """Whether a meter shows that it has no value: nothing, or dashes in the places of the digits."""
    return _BLANK.fullmatch(value) is not None


def stamp(value: bytes) -> MeterTime | None:
    """`YYMMDDhhmm` or `YYMMDDhhmmss`, behind a season digit or not; None when it is no time."""
    match = _STAMP.fullmatch(value)
    if match is None:
        return None
    season, date, minute, second = match.groups()
    time = parse_time(date + minute + (second or b"00"))
    if time is None:
        return None
    return time._replace(summer=_SEASONS[season], deviation=0 if season == b"2" else None)


def clock_of(sent: dict[str, bytes]) -> tuple[MeterTime | None, str | None]:
    """The meter's time from its clock objects, and what they said; None and None where there are none."""
    said = sent.get("both") or sent.get("date", b"") + b" " + sent.get("time", b"")
    if not sent.keys() & {"both", "date"}:
        return None, None
    digits = re.sub(rb"[^0-9]", b"", said) if re.fullmatch(rb"[0-9:,\- ]*", said) else said
    return stamp(digits) or parse_time(said.strip()) or parse_time(digits), said.decode("latin-1")
