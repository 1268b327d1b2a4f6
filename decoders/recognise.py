"""Whose octets these are, once their link is known: each meter in them with its profile, reading and encryption.

The profile is the one that `profile = "auto"` takes. Telegrams that do not open without a key still say who sent them:
system title, invocation counter and security control stand in clear (DLMS UA 1000-2 clause 9.2.7).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from decoders.cipher import AUTHENTICATED, ENCRYPTED, REFUSALS
from decoders.decoder import PLAIN, Decoder, Security, Step
from decoders.errors import CODES
from decoders.model import Fault, Frame, Reading, Result, Telegram
from decoders.profile import Profile, fits

#: meters of one stream that are told apart; a line has one or two
MOST_METERS = 16
#: octets that are decoded at a time
PIECE = 16_384
_SAID = re.compile(r"system title (\w+), counter (\d+), security control ([0-9A-F]{2})")
_MODE_5 = re.compile(r"mode 5, access number (\d+)")
#: the three letters of a manufacturer (IEC 62056-21, FLAG association) that begin a system title
_MAKER = re.compile(rb"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Ciphered:
    """What encrypted telegrams say in clear; of M-Bus mode 5 only the access number is said, and nothing else."""

    system_title: str
    counter: int
    security_control: str

    @property
    def has_tag(self) -> bool:
        """Whether the telegrams carry a tag, which an authentication key proves."""
        return bool(self.security_control) and bool(int(self.security_control, 16) & AUTHENTICATED)

    @property
    def maker(self) -> str:
        """The letters of the manufacturer in the system title; empty where they are none."""
        found = self.system_title[:6]
        octets = bytes.fromhex(found) if re.fullmatch(r"[0-9A-F]{6}", found) else b""
        return octets.decode("latin-1") if _MAKER.fullmatch(octets) else ""

    @property
    def is_plausible(self) -> bool:
        """Whether a meter says this, and not noise by chance: a manufacturer, and a security control that is met."""
        control = int(self.security_control, 16) if self.security_control else 0
        return bool(self.maker) and bool(control & ENCRYPTED) and not control & 0x0E and REFUSALS[control] is None

    def __str__(self) -> str:
        if not self.security_control:
            return f"M-Bus mode 5, access number {self.counter}"
        return f"system title {self.system_title}, counter {self.counter}, security control {self.security_control}"

    def as_dict(self) -> dict[str, Any]:
        """The three for a program."""
        return {
            "system_title": self.system_title or None,
            "counter": self.counter,
            "security_control": self.security_control or None,
        }


@dataclass(slots=True)
class Meter:
    """One meter of a stream: its telegrams, and who it is as far as they say it."""

    #: whole telegrams, their octets, and how many a checksum proves
    telegrams: int = 0
    octets: int = 0
    proved: int = 0
    #: octets of the newest telegram
    size: int = 0
    grammar: str | None = None
    #: every profile that fits, the one that `auto` takes first
    profiles: tuple[Profile, ...] = ()
    reading: Reading | None = None
    ciphered: Ciphered | None = None
    #: why there is no reading, in a sentence
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a stream is: `reading` is the newest one, `ciphered` stands where telegrams do not open without a key."""

    reading: Reading | None = None
    #: only where every reading has the same
    profile: Profile | None = None
    ciphered: Ciphered | None = None
    #: why there is no reading, in a sentence
    trouble: str = ""
    #: every meter in the stream
    meters: tuple[Meter, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether there is a reading, or encrypted telegrams that would be one."""
        return self.reading is not None or self.ciphered is not None


def recognise(  # noqa: PLR0913  # what a decoder takes
    octets: bytes,
    among: Sequence[Profile],
    zone_of: Callable[[str], tzinfo],
    *,
    link: str,
    tz: str | None = None,
    security: Security | None = None,
) -> Recognised:
    """Decode a capture of a line whose link is known; an incomplete telegram at its ends counts for nothing."""
    watch = _Watch(link, among)
    decoder = Decoder(among, zone_of, tz=tz, link=link, security=security, observe=watch.take)
    for piece in pieces(octets):
        watch.end_all(decoder.feed(piece))
    watch.end_all(decoder.close())
    meters = tuple(watch.meters.values())
    names = {meter.reading.profile for meter in meters if meter.reading}
    profile = next((p for p in among if len(names) == 1 and p.name in names), None)
    ciphered = next((meter.ciphered for meter in reversed(meters) if meter.ciphered), None)
    return Recognised(watch.reading, profile, ciphered, watch.trouble, meters)


def pieces(octets: bytes) -> Iterator[bytes]:
    """Octets in pieces, so that what a link gives at once is bounded."""
    return (octets[at : at + PIECE] for at in range(0, len(octets), PIECE))


@dataclass(slots=True)
class _Watch:
    """Watches a decoder, and parts what it does by the meter that sent it."""

    link: str
    among: Sequence[Profile]
    #: by profile, system title or failure, the order is that of their first telegrams
    meters: dict[tuple[str, str], Meter] = field(default_factory=dict)
    reading: Reading | None = None
    _fault: Fault | None = None
    _frames: list[Frame] = field(default_factory=list)
    _telegram: Telegram | None = None
    _payload: bytes = b""

    def take(self, step: Step) -> None:
        """Take one step; a reading or a fault ends a telegram."""
        if isinstance(step, Frame):
            self._frames.append(step)
            self._telegram, self._payload = None, step.payload
        elif isinstance(step, Telegram):
            self._telegram = step
        elif isinstance(step, Reading | Fault):
            self._end(step)
        elif not isinstance(step, Profile):
            self._payload = step.payload

    def end_all(self, results: Sequence[Result]) -> None:
        """Keep the newest failure behind the link, else the newest of the link."""
        faults = [result for result in results if isinstance(result, Fault)]
        for fault in (*faults[-1:], *[fault for fault in faults if fault.stage != "link"][-1:]):
            if fault.stage != "link" or self._fault is None or self._fault.stage == "link":
                self._fault = fault

    @property
    def trouble(self) -> str:
        """Why there is no reading, in a sentence."""
        fault = self._fault
        return "" if self.reading or fault is None else CODES.get((fault.stage, fault.code), fault.code)

    def _end(self, result: Result) -> None:
        frames, self._frames = self._frames, []
        if isinstance(result, Fault) and (result.stage == "link" or not frames):
            return
        meter = self._meter(result)
        if meter is None:
            return
        meter.telegrams += 1
        meter.size = sum(frame.size for frame in frames)
        meter.octets += meter.size
        meter.proved += all(frame.checksum == "ok" for frame in frames)
        if isinstance(result, Reading):
            self.reading = meter.reading = result
        else:
            meter.ciphered = _ciphered(result)
            meter.trouble = CODES[result.stage, result.code]

    def _meter(self, result: Result) -> Meter | None:
        """The meter of a telegram; None where there are too many, which is noise."""
        key = _key(result)
        if key not in self.meters and len(self.meters) < MOST_METERS:
            self.meters[key] = Meter(grammar=self._grammar(), profiles=self._fitting(result))
        return self.meters.get(key)

    def _grammar(self) -> str | None:
        """The grammar of the content, None for a cipher that is closed."""
        if self.link in PLAIN:
            return PLAIN[self.link]
        return {b"/": "p1", b"\x0f": "axdr"}.get(self._payload[:1])

    def _fitting(self, result: Result) -> tuple[Profile, ...]:
        """Every profile that fits the telegram: that of the reading, then those of this link, by their priority."""
        telegram, grammar = self._telegram, self._grammar()
        if telegram is None:
            return ()
        taken = result.profile if isinstance(result, Reading) else ""
        found = [p for p in self.among if p.name == taken or (p.grammar == grammar and fits(p, telegram))]
        return tuple(sorted(found, key=lambda p: (p.name != taken, p.link != self.link, -p.match.priority, p.name)))


def _key(result: Result) -> tuple[str, str]:
    """What tells the meters of one stream apart."""
    if isinstance(result, Reading):
        return "profile", result.profile
    ciphered = _ciphered(result)
    return ("title", ciphered.system_title) if ciphered else ("fault", result.code)


def _ciphered(fault: Fault) -> Ciphered | None:
    """What a telegram said that lacks only its key."""
    if fault.code != "key_missing":
        return None
    if said := _SAID.search(fault.evidence):
        return Ciphered(said[1], int(said[2]), said[3])
    mode_5 = _MODE_5.search(fault.evidence)
    return Ciphered("", int(mode_5[1]), "") if mode_5 else None
