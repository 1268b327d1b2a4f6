"""What the tests of profiles share: every profile, its frames, and what `auto` makes of octets."""

from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Result
from decoders.profile import Profile
from gateway import profiles


@pytest.fixture(scope="session")
def auto() -> list[Profile]:
    """Every P1 profile, as `profile = "auto"` takes them."""
    return profiles.load_auto()


@pytest.fixture(scope="session")
def frame_of() -> Callable[[str], bytes]:
    """The octets of a frame file."""
    return lambda file: profiles.shipped().joinpath(file).read_bytes()


@pytest.fixture(scope="session")
def decode() -> Callable[[list[Profile], bytes], list[Result]]:
    """Everything that a decoder of these profiles makes of a whole input."""

    def run(candidates: list[Profile], data: bytes) -> list[Result]:
        decoder = Decoder(candidates, ZoneInfo)
        return decoder.feed(data) + decoder.close()

    return run
