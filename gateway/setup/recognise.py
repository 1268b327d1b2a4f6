"""Names the meter in a capture, as `profile = "auto"` does: profile, reading, encryption."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from decoders.cipher import AUTHENTICATED, Keys
from decoders.decoder import TITLES, Decoder, Security
from decoders.errors import CODES
from decoders.model import Auth, Fault, Reading, Result
from decoders.profile import Profile
from gateway import profiles
from gateway.profiles import ProfileSyntaxError

#: the country of profiles that hold for meters of many: `auto` stays then, so that a better one is found
ANYWHERE = "EU"
_SAID = re.compile(r"system title (\w+), counter (\d+), security control ([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Ciphered:
    """What encrypted telegrams say in clear."""

    system_title: str
    counter: int
    security_control: str

    @property
    def has_tag(self) -> bool:
        """Whether the telegrams carry a tag, which an authentication key proves."""
        return bool(int(self.security_control, 16) & AUTHENTICATED)

    def as_dict(self) -> dict[str, Any]:
        """The three for a program."""
        return {
            "system_title": self.system_title,
            "counter": self.counter,
            "security_control": self.security_control,
        }


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a capture is: `reading` is the newest one, `ciphered` stands where telegrams do not open without a key."""

    reading: Reading | None = None
    profile: Profile | None = None
    ciphered: Ciphered | None = None
    #: why there is no reading, in a sentence
    trouble: str = ""

    @property
    def is_certain(self) -> bool:
        """Whether there is a reading, or encrypted telegrams that would be one."""
        return self.reading is not None or self.ciphered is not None


def candidates(name: str) -> list[Profile]:
    """The profile of that name, or with `auto` every one that can be used; raises KeyError, ProfileSyntaxError."""
    if name != "auto":
        return [profiles.load(name)]
    found = []
    for each in profiles.names():
        try:
            found.append(profiles.load(each))
        except ProfileSyntaxError:
            continue  # a profile of the user's own that `meterd check` names
    return found


def recognise(  # noqa: PLR0913  # what a decoder takes
    octets: bytes,
    among: Sequence[Profile],
    *,
    link: str,
    keys: Keys | None = None,
    system_title: str | None = None,
    timezone: str | None = None,
    min_auth: Auth = "plain",
    unverified_by_person: bool = False,
) -> Recognised:
    """Decode a capture of a line whose link is known; an incomplete telegram at its ends counts for nothing."""
    title = bytes.fromhex(system_title) if system_title else TITLES.get(link)
    cipher = among[0].cipher if len(among) == 1 else None
    security = Security(keys, title, min_auth, unverified_by_person, cipher is not None and cipher.aad == "empty")
    decoder = Decoder(among, ZoneInfo, tz=timezone, security=security)
    results: list[Result] = [*decoder.feed(octets), *decoder.close()]
    readings = [result for result in results if isinstance(result, Reading)]
    faults = [result for result in results if isinstance(result, Fault)]
    names = {reading.profile for reading in readings}
    profile = next((p for p in among if len(names) == 1 and p.name in names), None)
    return Recognised(readings[-1] if readings else None, profile, _ciphered(faults), _trouble(readings, faults))


def _ciphered(faults: list[Fault]) -> Ciphered | None:
    said = [match for fault in faults if fault.code == "key_missing" and (match := _SAID.search(fault.evidence))]
    return Ciphered(said[-1][1], int(said[-1][2]), said[-1][3]) if said else None


def _trouble(readings: list[Reading], faults: list[Fault]) -> str:
    told = [fault for fault in faults if fault.stage != "link"] or faults
    if readings or not told:
        return ""
    last = told[-1]
    return CODES.get((last.stage, last.code), last.code)


__all__ = ["ANYWHERE", "Ciphered", "ProfileSyntaxError", "Recognised", "candidates", "recognise"]
