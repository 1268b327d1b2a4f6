"""Meters that send no codes, or no units: the lists and scales of a profile give their values both.

A positional list applies only when the number of values and the kind of each agree with it, because nothing else tells
one layout from another. What the meter says itself always wins over a scale of the profile.
"""

from dataclasses import replace

from decoders.clock import parse_date_time
from decoders.grammars.axdr import OCTETS
from decoders.model import Register, Telegram
from decoders.obis import CLOCK
from decoders.profile import Item, Profile, agrees


def named(profile: Profile, telegram: Telegram) -> Telegram:
    """The telegram with the codes, units and scales of its profile; the same telegram where there is nothing to add."""
    for list_ in profile.list:
        if agrees(list_, telegram.values):
            return _positional(list_.items, telegram)
    if profile.scales:
        return replace(telegram, registers=tuple(_scaled(profile, register) for register in telegram.registers))
    return telegram


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


def _scaled(profile: Profile, register: Register) -> Register:
    code, integer, exponent, unit = register
    scale = None if unit else profile.scales.get(code)
    return register if scale is None else (code, integer, exponent + scale.exponent, scale.unit)
