"""`meterd decode --explain`: what each layer made of the bytes, for people; identifications stay hidden."""

import re
from collections.abc import Iterable, Iterator
from typing import TextIO
from zoneinfo import ZoneInfo

from decoders.decoder import GRAMMARS, LINKS, Decoder, Link
from decoders.errors import CODES, DecodeError, LinkError
from decoders.model import Frame, Reading, Telegram, decimal
from decoders.profile import Profile
from gateway import profiles
from gateway.item_p import QUANTITIES, utc

#: characters of a text that are shown
WIDTH = 48

#: objects that name a device or its owner: C = 96 and 42, and 0.0.x (IEC 62056-6-1)
_IDENTITY = re.compile(r":(96\.1|42\.0|0\.0)\.")
#: some meters put their serial number into the identification: the type is the head of it
_SERIAL = re.compile(r"(\d{3})(\d{5,})")


def explain(pieces: Iterable[bytes], candidates: list[Profile], tz: str | None, out: TextIO) -> int:
    """Write the explanation; 0 when a telegram gave a reading, 1 otherwise."""
    link, grammar, decoder = LINKS["p1"](), GRAMMARS["p1"](), Decoder(candidates, ZoneInfo, tz=tz)
    meanings, readings, number = profiles.objects(), 0, 0
    for number, outcome in enumerate(_outcomes(link, pieces), 1):
        out.write(f"telegram {number}\n")
        try:
            if isinstance(outcome, DecodeError):
                raise outcome
            out.write(f"  link     {outcome.size} octets, checksum {outcome.checksum}\n")
            telegram = grammar.parse(outcome)
            out.writelines(f"  grammar  {line}\n" for line in _telegram(telegram, meanings))
            reader = decoder.reader_for(telegram, outcome)
            out.write(f"  profile  {reader.profile.name}: {reader.profile.title}\n")
            reading = reader.read(telegram, auth="plain", size=outcome.size)
            out.writelines(f"  item P   {line}\n" for line in _reading(reading))
            readings += 1
        except DecodeError as error:
            out.write(f"  {error.stage:<8} REFUSED: {CODES[error.stage, error.code]} ({error.size} octets)\n")
    out.write(f"{link.noise} octets outside telegrams\n" if number else f"no telegram begins in {link.noise} octets\n")
    return 0 if readings else 1


def _outcomes(link: Link, pieces: Iterable[bytes]) -> Iterator[Frame | LinkError]:
    for piece in pieces:
        yield from link.feed(piece)
    yield from link.close()


def _telegram(telegram: Telegram, meanings: dict[str, tuple[str, str]]) -> Iterator[str]:
    """One line for the head and each object, in plain words."""
    yield f"identification {_safe(_SERIAL.sub(_masked, telegram.identification))}"
    yield f"clock          {_safe(telegram.clock) if telegram.clock else 'none'}"
    for code, integer, exponent, unit in telegram.registers:
        yield f"{code:<14} {decimal(integer, exponent) + ' ' + unit:<20} {_meaning(code, meanings)[1]}"
    for code, text in telegram.texts.items():
        kind, meaning = _meaning(code, meanings)
        hidden = kind == "identity" or _IDENTITY.search(code)
        yield f"{code:<14} {f'({len(text)} characters)' if hidden else _safe(text):<20} {meaning}"
    for channel in telegram.sub:
        value = channel.value
        shown = f"{decimal(value[1], value[2])} {value[3]}" if value else "no value"
        yield f"sub-meter {channel.channel}: device type {channel.device_type}, {shown}"
    if telegram.unread:
        yield f"{telegram.unread} lines are no data objects"


def _reading(reading: Reading) -> Iterator[str]:
    yield f"t              {utc(reading.t) or 'unknown'} (the meter says {reading.t_meter or 'no time'})"
    for name in QUANTITIES:
        value = getattr(reading, name)
        yield f"{name:<14} {'absent' if value is None else value}"
    yield f"auth           {reading.auth}"
    for flag in reading.flags:
        yield f"flag           {flag}"


def _meaning(code: str, meanings: dict[str, tuple[str, str]]) -> tuple[str, str]:
    return meanings.get(code) or meanings.get(re.sub(r"^0-[1-4]:", "0-n:", code)) or ("", "")


def _masked(digits: re.Match[str]) -> str:
    return digits[1] + "#" * len(digits[2])


def _safe(text: str) -> str:
    """Text of a meter as it may go to a terminal: printable, and not long."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return shown if len(shown) <= WIDTH else f"{shown[: WIDTH - 1]}…"
