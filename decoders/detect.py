"""Detection: what a capture is, as ranked candidates with their evidence; it only suggests, and raises for nothing.

Every link cuts what it finds out of the same octets, and where one finds whole telegrams they are decoded as
`profile = "auto"` would. What is believed first:

    a checksum that fits         then text with its own end, then a head without any checksum
    a reading, or a cipher       then telegrams that no profile reads, then damaged ones
    a meter of one country       then a profile for meters of many

A link without a checksum finds frames in noise and inside the damaged frames of others: it is believed where it covers
most of the octets, where one meter comes again, or where its header names a manufacturer.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from decoders.cipher import TAG
from decoders.decoder import CONVINCING, LINKS, PLAIN
from decoders.evidence import Evidence, SevenBits, Track
from decoders.model import Reading
from decoders.profile import Profile
from decoders.recognise import Ciphered, Meter, pieces, recognise
from decoders.resemblance import Looks, looks

#: the country of profiles that hold for meters of many
ANYWHERE = "EU"
#: octets that are looked at, from the first: an hour of a meter that sends every second
MOST_OCTETS = 4 * 1024 * 1024
#: octets per beginning of a telegram from which on it is a chance of noise
TOO_RARE = 8_192
#: telegrams that are known of a profile, by its name: octets, and security control (empty in clear)
Sizes = Mapping[str, frozenset[tuple[int, str]]]
#: manufacturers by the letters that begin their system titles, as profiles name them
MAKERS = {
    "EGM": "Elgama",
    "ISK": "Iskraemeco",
    "KAM": "Kamstrup",
    "KFM": "Kaifa",
    "LGZ": "Landis+Gyr",
    "SAG": "Sagemcom",
    "SIE": "Siemens",
    "SMS": "Siemens",
}
_PROVED, _TEXT, _HEAD_ONLY, _DAMAGED, _DOUBTED = 60, 45, 35, 6, 4
#: links whose telegrams begin alike: what stands in them, and whether that speaks for the link
_DLMS = re.compile(rb"\x68(.)\1\x68..[\x00-\x1f]", re.DOTALL)  # by its CI (EN 13757-3)
_DSMR = re.compile(rb"[01]-\d:\d")
_ALIKE = {"mbus": (_DLMS, True), "mbus-records": (_DLMS, False), "p1": (_DSMR, True), "iec62056-21": (_DSMR, False)}
#: octets of general-glo-ciphering around what is ciphered, and how many its length may have less
_HEADER, _LENGTH = 18, 3
_READING, _CIPHERED, _UNREAD, _NATIONAL, _COVERS = 25, 25, 5, 5, 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the octets may be: a link, and one meter on it. `score` is 0 to 100, for comparison only."""

    link: str
    score: int
    evidence: tuple[str, ...]
    #: octets were read as 8N1 and hold a parity bit: the line is 7E1
    seven_bits: bool = False
    telegrams: int = 0
    damaged: int = 0
    #: whether a checksum proves the telegrams: "ok", "absent", or "damaged" where none is whole
    checksum: str = "damaged"
    #: share of the octets that are telegrams of this meter
    percent: int = 0
    #: None inside a cipher
    grammar: str | None = None
    #: the likeliest first
    profiles: tuple[Profile, ...] = ()
    reading: Reading | None = None
    ciphered: Ciphered | None = None
    #: why there is no reading, in a sentence
    trouble: str = ""

    @property
    def is_certain(self) -> bool:
        """Whether there is a reading, or encrypted telegrams that would be one."""
        return self.reading is not None or self.ciphered is not None

    @property
    def is_weak(self) -> bool:
        """Whether nothing of it is whole, or it stands inside what another link takes for its own."""
        return self.score <= _DAMAGED


@dataclass(frozen=True, slots=True)
class Detection:
    """The candidates, the best first, and how the octets look."""

    candidates: tuple[Candidate, ...]
    looks: Looks

    @property
    def best(self) -> Candidate | None:
        """The answer, where there is one."""
        first = self.candidates[0] if self.candidates else None
        return first if first and first.is_certain and not first.is_weak else None


def detect(
    octets: bytes,
    among: Sequence[Profile],
    zone_of: Callable[[str], tzinfo],
    *,
    sizes: Callable[[str], Sizes] = lambda link: {},
) -> Detection:
    """Rank what octets may be. `among`: the profiles; `zone_of` gives the tzinfo of an IANA name.

    `sizes` gives, for a link, the telegrams that are known of its profiles: encrypted ones are told apart by them.
    """
    octets = octets[:MOST_OCTETS]
    evidence = _heard(Evidence(), octets)
    read = octets
    if evidence.looks_like_seven_bits:
        evidence, read = _heard(SevenBits(), octets), octets.translate(SevenBits.CHARACTERS)
    found = _of_stream(evidence, read, among, zone_of, sizes)
    order = list(LINKS)
    ranked = sorted(found, key=lambda each: (-each.score, -each.percent, order.index(each.link)))
    return Detection(tuple(ranked), looks(octets))


def _heard(evidence: Evidence, octets: bytes) -> Evidence:
    for piece in pieces(octets):
        evidence.feed(piece)
    evidence.close()
    return evidence


def _of_stream(
    heard: Evidence,
    octets: bytes,
    among: Sequence[Profile],
    zone_of: Callable[[str], tzinfo],
    sizes: Callable[[str], Sizes],
) -> Iterator[Candidate]:
    """The candidates of one reading of the octets."""
    seven = isinstance(heard, SevenBits)
    failed = sum(track.frames + track.damaged for track in heard.tracks if track.is_checked)
    for track in heard.tracks:
        meters = recognise(octets, among, zone_of, link=track.name).meters if track.frames else ()
        is_doubted = not track.is_checked and failed > 0 and track.frames < max(CONVINCING, 2 * failed + 1)
        # nothing but its frames: the damage of others is a chance inside them
        is_doubted = is_doubted and sum(meter.octets for meter in meters) < len(octets)
        for meter in meters:
            if _is_believed(track, meter, len(octets)):
                yield _candidate(track, meter, len(octets), _profiles(track, meter, among, sizes), seven, is_doubted)
        if not meters and track.is_checked and len(octets) < TOO_RARE * track.damaged:
            yield _damaged_only(track, octets)


def _is_believed(track: Track, meter: Meter, octets: int) -> bool:
    """Whether a meter on a link is no chance; see above."""
    if track.is_checked or meter.reading or 2 * meter.octets >= octets:
        return True
    if meter.ciphered is None:
        return False
    return meter.telegrams > 1 or meter.ciphered.is_plausible


def _candidate(  # noqa: PLR0913, PLR0917  # what was found of it
    track: Track, meter: Meter, octets: int, profiles: tuple[Profile, ...], seven: bool, is_doubted: bool
) -> Candidate:
    percent = 100 * meter.octets // octets if octets else 0
    proof = _PROVED if meter.proved else _TEXT if track.is_checked else _HEAD_ONLY
    score = proof + _COVERS * percent // 100
    score += _READING if meter.reading else _CIPHERED if meter.ciphered else _UNREAD
    score += _NATIONAL if meter.reading and profiles and profiles[0].country != ANYWHERE else 0
    return Candidate(
        link=track.name,
        score=_DOUBTED if is_doubted else score,
        evidence=tuple(_sentences(track, meter, percent, profiles, seven=seven, is_doubted=is_doubted)),
        seven_bits=seven,
        telegrams=meter.telegrams,
        damaged=track.damaged,
        checksum="ok" if meter.proved else "absent",
        percent=percent,
        grammar=meter.grammar,
        profiles=profiles,
        reading=meter.reading,
        ciphered=meter.ciphered,
        trouble="" if meter.reading else meter.trouble,
    )


def _damaged_only(track: Track, octets: bytes) -> Candidate:
    """A link whose telegrams begin, told from the other one that begins alike by what its telegrams hold."""
    other = _ALIKE.get(track.name)
    is_other = other is not None and bool(other[0].search(octets)) is not other[1]
    sentence = f"{_count(track.damaged, 'telegram')} of link {track.name} begin{'s' if track.damaged == 1 else ''}"
    return Candidate(
        track.name,
        _DAMAGED - is_other,
        (f"{sentence} and none is whole",),
        damaged=track.damaged,
        grammar=PLAIN.get(track.name),
        trouble="no telegram is whole: it is cut off, or the line damages it",
    )


def _sentences(  # noqa: PLR0913  # what was found of it
    track: Track, meter: Meter, percent: int, profiles: tuple[Profile, ...], *, seven: bool, is_doubted: bool
) -> Iterator[str]:
    """Why a candidate is one."""
    proof = f"{meter.proved} with a checksum that fits" if meter.proved else "without a checksum"
    yield f"{_count(meter.telegrams, 'whole telegram')} ({percent} % of the octets), {proof}"
    if track.damaged:
        yield f"{_count(track.damaged, 'telegram')} damaged or cut off"
    if is_doubted:
        yield "stands inside what another link takes for its own"
    if seven:
        yield "every octet has even parity in its top bit: the line is 7E1, read as 8N1"
    if meter.ciphered:
        yield from _cipher_sentences(meter.ciphered)
    elif meter.reading:
        others = len(profiles) - 1
        yield f"profile {meter.reading.profile} fits{f', and {others} more general' if others else ''}"
    elif meter.trouble:
        yield meter.trouble


def _cipher_sentences(ciphered: Ciphered) -> Iterator[str]:
    maker = MAKERS.get(ciphered.maker, ciphered.maker)
    yield f"encrypted: {ciphered}{f', of {maker}' if maker else ''}"
    if ciphered.security_control:
        yield "its tag asks for the authentication key too" if ciphered.has_tag else "without a tag: one key opens it"


def _profiles(
    track: Track, meter: Meter, among: Sequence[Profile], sizes: Callable[[str], Sizes]
) -> tuple[Profile, ...]:
    """Those that fit; for an encrypted meter those of its link that it can be, the likeliest first."""
    if meter.ciphered is None:
        return meter.profiles
    known = sizes(track.name)
    of_link = [profile for profile in among if profile.link == track.name and profile.country != ANYWHERE]
    general = [profile for profile in among if profile.link == track.name and profile.country == ANYWHERE]
    ranked = sorted(of_link, key=lambda each: (-_likeness(each, meter, known), -each.match.priority, each.name))
    return (*ranked, *general)


def _likeness(profile: Profile, meter: Meter, sizes: Sizes) -> int:
    """How well a profile fits an encrypted telegram by what is in clear: length, tag, manufacturer."""
    ciphered = meter.ciphered
    assert ciphered is not None  # noqa: S101  # called with an encrypted meter
    maker = MAKERS.get(ciphered.maker)
    is_made = maker is not None and any(each.startswith(maker) for each in profile.meters)
    wanted = "verified" if ciphered.has_tag else "unverified"
    known = sizes.get(profile.name, frozenset())
    header = meter.size - TAG * ciphered.has_tag - _HEADER
    is_long = any(size == meter.size if control else size - _LENGTH <= header <= size for size, control in known)
    is_secured = ciphered.security_control in {control for _, control in known}
    return 4 * is_long + 2 * (profile.min_auth == wanted) + 2 * is_made + is_secured


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
