"""What the tests of profiles share: every profile, its frames, and what `auto` makes of octets."""

from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

import pytest

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.model import Result
from decoders.profile import Profile
from gateway import profiles

Decode = Callable[..., list[Result]]


@pytest.fixture(scope="session")
def auto() -> list[Profile]:
    """Every profile of plain P1, and of the data blocks that begin alike."""
    return [profile for profile in map(profiles.load, profiles.names()) if profile.link in ("p1", "iec62056-21")]


@pytest.fixture(scope="session")
def everything() -> list[Profile]:
    """Every profile, as `profile = "auto"` takes them for a case of the corpus."""
    return [profiles.load(name) for name in profiles.names()]


@pytest.fixture(scope="session")
def frame_of() -> Callable[[str], bytes]:
    """The octets of a frame file."""
    return lambda file: profiles.shipped().joinpath(file).read_bytes()


@pytest.fixture(scope="session")
def decode() -> Decode:
    """Everything that a decoder of these profiles makes of a whole input; with a person's leave to do without a tag."""

    def run(candidates: list[Profile], data: bytes, keys: Mapping[str, str] | None = None) -> list[Result]:
        decoder = Decoder(candidates, ZoneInfo, security=_security(keys or {}))
        return decoder.feed(data) + decoder.close()

    return run


def _security(keys: Mapping[str, str]) -> Security:
    encryption, authentication = (bytes.fromhex(keys.get(name) or "") for name in ("encryption", "authentication"))
    return Security(
        keys=Keys(encryption, authentication or None) if encryption else None,
        min_auth="plain",
        unverified_by_person=True,
    )
