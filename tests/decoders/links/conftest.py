"""What the tests of the links share: real pushes with the places of their APDUs, and frames written by hand."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from decoders.errors import LinkError
from decoders.links.bare import BareLink
from decoders.links.framing import FramedLink
from decoders.links.hdlc import HdlcLink
from decoders.links.mbus import MbusLink
from decoders.links.wrapper import WrapperLink
from decoders.model import Frame

Outcomes = list[Frame | LinkError]

CORPUS = Path(__file__).resolve().parents[2] / "corpus"
LINKS: dict[str, type[FramedLink]] = {
    "hdlc-push": HdlcLink,
    "hdlc-push-encrypted": HdlcLink,
    "mbus-link-push-encrypted": MbusLink,
    "wrapper-push-encrypted": WrapperLink,
    "llc-apdu": BareLink,
    "apdu": BareLink,
    "p1-encrypted": BareLink,
}
#: where the APDUs stand in each case, read off by hand: for each APDU its parts, each from one octet up to another
PLACES: dict[str, list[list[tuple[int, int]]]] = {
    "dlmsparser-hdlc-landis-gyr-zmf100": [],
    "nodedsmr-iskra-1": [[(11, 89)]],
    "nodedsmr-kamstrup-example-3": [[(11, 173)]],
    "nodedsmr-kamstrup-example-1": [[(11, 225)]],
    "nodedsmr-slovenia-list-1": [[(12, 131)]],
    "nodedsmr-slovenia-list-2": [[(12, 98)]],
    "amshan-hdlc-frame-with-escape-character-in-info": [[(12, 41)]],
    "amshan-hdlc-frame-with-flag-sequence-character-in-info": [[(12, 38)]],
    "dlmsparser-hdlc-kamstrup-omnipower": [[(11, 488)]],
    "dlmsparser-hdlc-lgz-e450-2": [[(12, 138)], [(150, 279)], [(291, 329)]],
    "nodedsmr-aidon-example-2-with-aad": [[(11, 607)]],
    "nodedsmr-aidon-example-2-without-aad": [[(11, 607)]],
    "bad-gbt-block-missing": [[(12, 138)], [(150, 188)]],
    "dlmsparser-mbus-netz-noe-p1": [[(9, 254), (265, 280)]],
    "fkw9-kaifa-real": [[(9, 254), (265, 280)]],
    "fkw9-sagemcom-t210d-real": [[(9, 261), (272, 280)]],
    "fkw9-vkw-kaifa-nokey": [[(9, 254), (265, 374)]],
    "dlmscosem-udp-wrapper-1": [[(8, 78)]],
    "dlmscosem-udp-wrapper-3-datagrams": [[(8, 78)], [(86, 156)], [(164, 234)]],
    "amshan-aidon-no-list-1": [[(3, 32)]],
    "amshan-aidon-no-list-3": [[(3, 365)]],
    "amshan-aidon-se-list": [[(3, 569)]],
    "amshan-kaifa-no-list-3": [[(3, 145)]],
    "amshan-kamstrup-no-list-2-single-phase-real-sample": [[(3, 251)]],
    "amshan-kamstrup-se-list-real-sample": [[(3, 217)]],
    "dlmsparser-raw-salzburg-netz": [[(0, 336)]],
    "dlmsparser-raw-sagecom-xt211": [[(0, 355)]],
    "nodedsmr-dsmr-luxembourgh-spec-example-without-aad": [[(0, 1515)]],
    "esphomelibs-encrypted-est5": [[(0, 511)]],
}


class Push(NamedTuple):
    """A case of the corpus: its octets on the wire, and the APDUs in them."""

    name: str
    family: str
    link: type[FramedLink]
    data: bytes
    apdus: list[bytes]


def load(family: str) -> list[Push]:
    cases = [json.loads(line) for line in (CORPUS / f"{family}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [push(family, case["id"], bytes.fromhex(case["data"])) for case in cases]


def push(family: str, name: str, data: bytes) -> Push:
    apdus = [b"".join(data[start:end] for start, end in parts) for parts in PLACES[name]]
    return Push(name, family, LINKS[family], data, apdus)


PUSHES = [push for family in LINKS for push in load(family)]
PARAMETERS = {
    "push": PUSHES,
    "whole_push": [push for push in PUSHES if push.apdus],
    "checked_push": [push for push in PUSHES if push.link in (HdlcLink, MbusLink)],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `push`, `whole_push` (an APDU is in it) or `checked_push` runs once for each of them."""
    for name, found in PARAMETERS.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, found, ids=[push.name for push in found])


@pytest.fixture(scope="session")
def pushes() -> dict[str, Push]:
    """All of them by name."""
    return {push.name: push for push in PUSHES}


@pytest.fixture(scope="session")
def cut() -> Callable[..., tuple[Outcomes, int]]:
    """What a new link makes of some pieces and the end of input: outcomes and octets of noise."""

    def run(link: type[FramedLink], *pieces: bytes) -> tuple[Outcomes, int]:
        one = link()
        outcomes = [outcome for piece in pieces for outcome in one.feed(piece)] + one.close()
        assert one.pending == 0
        return outcomes, one.noise

    return run


@pytest.fixture(scope="session")
def apdus() -> Callable[[Outcomes], list[bytes]]:
    """The APDUs among outcomes."""
    return lambda outcomes: [outcome.payload for outcome in outcomes if isinstance(outcome, Frame)]


@pytest.fixture(scope="session")
def told() -> Callable[[Outcomes], list[object]]:
    """Outcomes to compare: APDUs, and the codes and sizes of failures."""
    return lambda outcomes: [tuple(o) if isinstance(o, Frame) else (o.code, o.size) for o in outcomes]


@pytest.fixture(scope="session")
def short() -> Callable[[Outcomes], list[object]]:
    """Outcomes to read: APDUs, and the codes of failures."""
    return lambda outcomes: [o.payload if isinstance(o, Frame) else o.code for o in outcomes]


@pytest.fixture(scope="session")
def hdlc() -> Callable[..., bytes]:
    """An HDLC frame, with both flags, from its information."""

    def frame(
        information: bytes, *, addresses: bytes = b"\xcf\x02\x23", control: int = 0x13, segmented: bool = False
    ) -> bytes:
        header = addresses + bytes([control])
        size = 2 + len(header) + 2 + (len(information) + 2 if information else 0)
        header = (0xA000 | segmented << 11 | size).to_bytes(2, "big") + header
        octets = header + crc16_x25(header)
        return b"\x7e" + octets + (information + crc16_x25(octets + information) if information else b"") + b"\x7e"

    return frame


@pytest.fixture(scope="session")
def mbus() -> Callable[..., bytes]:
    """An M-Bus long frame of a segment; its L wraps where the body is longer than it can say."""

    def frame(
        data: bytes, *, ci: int = 0x10, control: int = 0x53, taps: bytes = b"\x01\x67", address: int = 255
    ) -> bytes:
        body = bytes([control, address, ci]) + taps + data
        length = len(body) & 0xFF
        return bytes([0x68, length, length, 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])

    return frame


@pytest.fixture(scope="session")
def wrapped() -> Callable[..., bytes]:
    """An APDU in its wrapper."""

    def frame(apdu: bytes, *, ports: bytes = b"\x00\x01\x00\x66", version: int = 1) -> bytes:
        return version.to_bytes(2, "big") + ports + len(apdu).to_bytes(2, "big") + apdu

    return frame


@pytest.fixture(scope="session")
def ciphered() -> Callable[..., bytes]:
    """A general-glo-ciphering APDU with some content, its length in the form that `form` gives it."""

    def apdu(content: bytes, *, title: bytes = b"TST\x00\x00\x00\x00\x01", form: str = "{:02x}") -> bytes:
        length = bytes.fromhex(form.format(len(content)))
        return b"\xdb" + bytes([len(title)]) + title + length + content

    return apdu


@pytest.fixture(scope="session")
def x25() -> Callable[[bytes], bytes]:
    """CRC-16/X-25 as HDLC sends it, bit by bit from its definition: shares nothing with the library of the link."""
    return crc16_x25


def crc16_x25(octets: Sequence[int]) -> bytes:
    """Polynomial x^16 + x^12 + x^5 + 1, reflected, all ones at first, inverted, low octet first (ISO/IEC 13239)."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (0x8408 if register & 1 else 0)
    return (register ^ 0xFFFF).to_bytes(2, "little")
