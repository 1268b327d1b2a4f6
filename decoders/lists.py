"""Meters that send no codes, or no units: the lists and scales of a profile give their values both.

A positional list applies only when the number of values and the kind of each agree with it, because nothing else tells
one layout from another. What the meter says itself always wins over a scale of the profile.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from decoders.clock import parse_date_time
from decoders.grammars.axdr import OCTETS
from decoders.model import Register, Telegram
from decoders.obis import CLOCK
from decoders.profile import Item, Profile, Scale, agrees


def named(profile: Profile, telegram: Telegram) -> Telegram:
    """The telegram with the codes and units of its profile's list; the same telegram where none applies."""
    for list_ in profile.list:
        if agrees(list_, telegram.values):
            return _positional(list_.items, telegram)
    return telegram


def scaled(scales: Mapping[str, Scale], registers: tuple[Register, ...]) -> tuple[Register, ...]:
    """The registers, those without unit in the unit and scale that the profile gives them."""
    return tuple(
        [
            register
            if register[3] or (scale := scales.get(register[0])) is None
            else (register[0], register[1], register[2] + scale.exponent, scale.unit)
            for register in registers
        ]
    )


def _positional(items: tuple[Item, ...], telegram: Telegram) -> Telegram:
    registers, texts = [], {}
    time, clock, valid = telegram.time, telegram.clock, telegram.clock_valid
    for item, (tag, value) in zip(items, telegram.values, strict=True):
        if item.code == CLOCK and tag in (OCTETS, 25):
            if clock is None:
                (time, valid), clock = parse_date_time(value), value.hex()
        elif value is None or item.unit == "skip":
            continue
        elif item.unit == "text":
            texts[item.code] = value.decode("latin-1")
        else:
            registers.append((item.code, value, item.exponent, "" if item.unit == "none" else item.unit))
    return replace(
        telegram,
        registers=tuple(registers),
        texts={**telegram.texts, **texts},
        time=time,
        clock=clock,
        clock_valid=valid,
    )
