"""`meterd decode --explain`: what each layer made of the bytes, for people; identifications stay hidden."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TextIO, TypeAlias

from decoders.decoder import Decoder, Step
from decoders.dib import PREFIX, is_identification
from decoders.errors import CODES
from decoders.meaning import words
from decoders.model import Fault, Frame, Reading, Register, Telegram, decimal
from decoders.profile import Profile
from gateway import profiles
from gateway.item_p import QUANTITIES, utc

if TYPE_CHECKING:
    from decoders.apdu import Plain

MakeDecoder: TypeAlias = Callable[[Callable[[Step], None]], Decoder]

#: characters of a text that are shown
WIDTH = 48

#: objects that name a device or its owner: C = 96 and 42, and 0.0.x (IEC 62056-6-1)
_IDENTITY = re.compile(r":(96\.1|42\.0|0\.0)\.")
#: some meters put their serial number into the identification: the type is the head of it
_SERIAL = re.compile(r"(\d{3})(\d{5,})")


def explain(pieces: Iterable[bytes], decoder: MakeDecoder, out: TextIO) -> int:
    """Write the explanation; 0 when a telegram gave a reading, 1 otherwise. `decoder` makes one that is observed."""
    explainer = _Explainer(out)
    decoding = decoder(explainer.take)
    for piece in pieces:
        decoding.feed(piece)
    decoding.close()
    noise = decoding.noise
    out.write(f"{noise} octets outside telegrams\n" if decoding.frames else f"no telegram begins in {noise} octets\n")
    return 0 if explainer.readings else 1


class _Explainer:
    """Writes each step of a decoder as it is taken."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._meanings = profiles.objects()
        self._telegrams = 0
        self._begun = self._coded = self._told_subs = False
        self.readings = 0

    def take(self, step: Step) -> None:
        """Write one step; a reading or a fault ends its telegram."""
        if not self._begun and not (isinstance(step, Fault) and step.code == "no_frame"):
            self._telegrams += 1
            self._begun = True
            self._out.write(f"telegram {self._telegrams}\n")
        layer, lines = self._lines(step)
        self._out.writelines(f"  {layer:<8} {line}\n" for line in lines)
        if isinstance(step, Reading | Fault):
            self._begun = False
            self.readings += isinstance(step, Reading)

    def _lines(self, step: Step) -> tuple[str, Iterable[str]]:
        if isinstance(step, Frame):
            return "link", [f"{step.size} octets, checksum {step.checksum}"]
        if isinstance(step, Telegram):
            self._coded, self._told_subs = bool(step.registers), bool(step.sub)
            return "grammar", _telegram(step, self._meanings)
        if isinstance(step, Profile):
            return "profile", [f"{step.name}: {step.title}"]
        if isinstance(step, Reading):
            named = [] if self._coded else _registers(step.registers, self._meanings)
            return "item P", [*named, *_reading(step), *([] if self._told_subs else _sub_meters(step))]
        if isinstance(step, Fault):
            told = f"; {step.evidence}" if step.evidence else ""
            return step.stage, [f"REFUSED: {CODES[step.stage, step.code]} ({step.size} octets{told})"]
        return "unwrap", [_plain(step)]


def _plain(plain: "Plain") -> str:
    """What was opened, and how."""
    if plain.cipher is None:
        return f"{len(plain.payload)} octets in clear"
    title, control, counter = plain.cipher
    return (
        f"{len(plain.payload)} octets, {plain.auth}: security control {control:02X}, counter {counter}, "
        f"manufacturer {_safe(title[:3].decode('latin-1'))}"
    )


def _registers(registers: Iterable[Register], meanings: dict[str, tuple[str, str]]) -> Iterator[str]:
    for code, integer, exponent, unit in registers:
        kind, meaning = _meaning(code, meanings)
        value = decimal(integer, exponent)
        shown = f"({len(value)} characters)" if kind == "identity" else f"{value} {unit}"
        yield f"{code:<14} {shown:<20} {meaning}"


def _telegram(telegram: Telegram, meanings: dict[str, tuple[str, str]]) -> Iterator[str]:
    """One line for the head and each object, in plain words."""
    yield f"identification {_safe(_SERIAL.sub(_masked, telegram.identification))}"
    yield f"clock          {_safe(telegram.clock) if telegram.clock else 'none'}"
    yield from _registers(telegram.registers, meanings)
    for code, text in telegram.texts.items():
        kind, meaning = _meaning(code, meanings)
        hidden = kind == "identity" or _IDENTITY.search(code)
        yield f"{code:<14} {f'({len(text)} characters)' if hidden else _safe(text):<20} {meaning}"
    for channel in telegram.sub:
        value = channel.value
        shown = f"{decimal(value[1], value[2])} {value[3]}" if value else "no value"
        yield f"sub-meter {channel.channel}: device type {channel.device_type}, {shown}"
    if telegram.values and not telegram.registers:
        yield f"{len(telegram.values)} values without codes: a profile names them by their order"
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


def _sub_meters(reading: Reading) -> Iterator[str]:
    for sub in reading.sub:
        yield f"sub-meter {sub.channel:<4} {sub.medium}, {decimal(sub.integer, sub.exponent)} {sub.unit}, {sub.quality}"


def _meaning(code: str, meanings: dict[str, tuple[str, str]]) -> tuple[str, str]:
    if code.startswith(PREFIX):
        hidden = is_identification(code) or len(code) == len(PREFIX) + 2
        return "identity" if hidden else "", words(code)
    return meanings.get(code) or meanings.get(re.sub(r"^0-[1-4]:", "0-n:", code)) or ("", "")


def _masked(digits: re.Match[str]) -> str:
    return digits[1] + "#" * len(digits[2])


def _safe(text: str) -> str:
    """Text of a meter as it may go to a terminal: printable, and not long."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return shown if len(shown) <= WIDTH else f"{shown[: WIDTH - 1]}…"
