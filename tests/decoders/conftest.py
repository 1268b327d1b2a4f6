"""What the tests of the decoders share: real telegrams, a way to write one, and what a decoder makes of octets."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.links.p1 import P1Link
from decoders.model import Frame, Result
from decoders.profile import Profile
from gateway import profiles

CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "p1-ascii.jsonl"


class Capture(NamedTuple):
    """Octets as on the wire: one telegram, or a few."""

    name: str
    data: bytes


def captures() -> list[Capture]:
    """Every frame of a profile and every telegram of tests/corpus, ended as a meter ends it."""
    frames = sorted((entry.name, entry.read_bytes()) for entry in profiles.shipped().joinpath("frames").iterdir())
    cases = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    octets = [(case["id"], case["data"].encode("latin-1")) for case in cases if case["encoding"] == "text"]
    octets += [(case["id"], bytes.fromhex(case["data"])) for case in cases if case["encoding"] == "hex"]
    found = [(name.removesuffix(".p1"), data) for name, data in frames if name.endswith(".p1")] + octets
    return [Capture(name, data if data.endswith(b"\n") else data + b"\r\n") for name, data in found]


CAPTURES = captures()


def with_one_frame(checksum: str) -> list[Capture]:
    """The captures that are one telegram and nothing else, with a right checksum ("ok") or without any ("absent")."""
    frames = [(capture, P1Link().feed(capture.data)) for capture in CAPTURES]
    return [
        capture
        for capture, found in frames
        if len(found) == 1 and isinstance(found[0], Frame) and found[0].checksum == checksum
    ]


PARAMETERS = {"capture": CAPTURES, "checked": with_one_frame("ok"), "unchecked": with_one_frame("absent")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `capture`, `checked` or `unchecked` runs once for each of them."""
    for name, found in PARAMETERS.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, found, ids=[capture.name for capture in found])


@pytest.fixture(scope="session")
def every_capture() -> list[Capture]:
    """All of them, for tests that need them together."""
    return CAPTURES


@pytest.fixture(scope="session")
def every_checked() -> list[Capture]:
    """Those whose one telegram has a checksum."""
    return PARAMETERS["checked"]


@pytest.fixture(scope="session")
def every_unchecked() -> list[Capture]:
    """Those whose one telegram has none."""
    return PARAMETERS["unchecked"]


@pytest.fixture(scope="session")
def auto() -> list[Profile]:
    """Every P1 profile, as `profile = "auto"` takes them."""
    return profiles.load_auto()


@pytest.fixture(scope="session")
def frame_of() -> Callable[[str], bytes]:
    """The octets of a profile's frame by its short name."""
    return lambda name: profiles.shipped().joinpath(f"frames/{name}.p1").read_bytes()


@pytest.fixture(scope="session")
def decode(auto: list[Profile]) -> Callable[..., list[Result]]:
    """Everything that a new decoder makes of some pieces; by `auto` unless profiles are given."""

    def run(*pieces: bytes, by: Sequence[Profile] = auto, tz: str | None = None) -> list[Result]:
        decoder = Decoder(by, ZoneInfo, tz=tz)
        return [result for piece in pieces for result in decoder.feed(piece)] + decoder.close()

    return run


@pytest.fixture(scope="session")
def write() -> Callable[..., bytes]:
    """A telegram from its lines, with its checksum unless told otherwise."""

    def telegram(*lines: str | bytes, head: str | bytes = "TST5\\METER", checksum: bool = True) -> bytes:
        texts = [line if isinstance(line, bytes) else line.encode("latin-1") for line in (head, "", *lines)]
        body = b"/" + b"\r\n".join(texts) + b"\r\n!"
        return body + (f"{crc16_arc(body):04X}".encode() if checksum else b"") + b"\r\n"

    return telegram


@pytest.fixture(scope="session")
def sealed(write: Callable[..., bytes]) -> Callable[[bytes], bytes]:
    """The octets from `/` to `!` with the checksum that belongs to them."""
    return lambda body: body + f"{crc16_arc(body):04X}\r\n".encode()


@pytest.fixture(scope="session")
def crc() -> Callable[[Iterable[int]], int]:
    """CRC-16/ARC, bit by bit from its definition: shares nothing with the library that the link uses."""
    return crc16_arc


def crc16_arc(octets: Iterable[int]) -> int:
    """Polynomial x^16 + x^15 + x^2 + 1, reflected, initial value 0 (DSMR P1 companion standard 5.0.2 clause 6.2)."""
    register = 0
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register
