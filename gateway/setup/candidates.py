"""The meters that a line may have: profiles for `auto`, and their own telegrams, by which encrypted ones are told."""

from collections.abc import Sequence
from functools import cache
from zoneinfo import ZoneInfo

from decoders.decoder import Security
from decoders.detect import Detection, detect
from decoders.profile import Profile
from decoders.recognise import Recognised, recognise
from gateway import profiles
from gateway.profiles import ProfileSyntaxError


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


def detected(octets: bytes, among: Sequence[Profile]) -> Detection:
    """What these octets may be, best first."""
    return detect(octets, among, ZoneInfo, sizes=sizes)


def recognised(
    octets: bytes, among: Sequence[Profile], *, link: str, tz: str | None = None, security: Security | None = None
) -> Recognised:
    """Whose octets these are, where their link is known; a profile that was named says how its tags are made."""
    cipher = among[0].cipher if len(among) == 1 else None
    security = (security or Security())._replace(empty_aad=cipher is not None and cipher.aad == "empty")
    return recognise(octets, among, ZoneInfo, link=link, tz=tz, security=security)


@cache
def sizes(link: str) -> dict[str, frozenset[tuple[int, str]]]:
    """Octets and security control of the telegrams that are shipped with the profiles of a link, by profile."""
    return {profile.name: _sizes(profile) for profile in candidates("auto") if profile.link == link}


def _sizes(profile: Profile) -> frozenset[tuple[int, str]]:
    found = set()
    for note in profile.frame:
        try:
            octets = profiles.shipped().joinpath(note.file).read_bytes()
        except OSError:
            continue  # a profile of the user's own has its telegrams elsewhere
        meters = recognise(octets, [profile], ZoneInfo, link=profile.link).meters
        found |= {(meter.size, meter.ciphered.security_control if meter.ciphered else "") for meter in meters}
    return frozenset(found)
