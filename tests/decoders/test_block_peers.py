"""Independent parsers say the same of data blocks and teleinfo frames; where not, why is here.

`iec62056-21` (pwitab) reads data blocks behind STX and checks their BCC; `teleinfo` (Demeter) reads frames in
historique mode. No parser of the standard mode runs on this Python: its frames are compared with the corpus
(test_blocks).
"""

import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from iec62056_21.messages import ReadoutDataMessage
from teleinfo import Parser
from teleinfo.base_vendor import BASE_vendor

from decoders.grammars.iec62056_21 import Iec62056Grammar
from decoders.grammars.iec62056_21_codes import decode_name
from decoders.grammars.teleinfo import TeleinfoGrammar
from decoders.links.iec62056_21 import Iec62056Link
from decoders.links.teleinfo import TeleinfoLink
from decoders.model import Frame, Telegram, decimal
from gateway import profiles

FRAMES = sorted(
    (entry.name, entry.read_bytes()) for entry in profiles.shipped().joinpath("frames").iterdir()
    if entry.name.endswith((".d0", ".tic"))
)  # fmt: skip
BLOCKS = [(name, data) for name, data in FRAMES if name.endswith(".d0") and b"\x03" in data]
HISTORIQUE = [(name, data) for name, data in FRAMES if "historique" in name and data.startswith(b"\x02")]


def block_of(data: bytes) -> Telegram:
    (frame,) = Iec62056Link().feed(data)
    assert isinstance(frame, Frame)
    return Iec62056Grammar().parse(frame)


def peer_sets(data: bytes) -> list[tuple[str, str, str | None]]:
    """What the peer reads: address, value, unit. Raises ValueError when it finds the BCC wrong."""
    message = ReadoutDataMessage.from_representation(data[data.index(b"\x02") :].decode("latin-1"))
    return [(one.address, one.value, one.unit) for line in message.data_block.data_lines for one in line.data_sets]


@pytest.mark.parametrize(("name", "data"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_every_measured_value_of_a_block_is_the_same(name: str, data: bytes) -> None:
    telegram = block_of(data)
    ours: dict[str, tuple[Decimal, str]] = {}
    for code, integer, exponent, unit in telegram.registers:
        ours.setdefault(code, (Decimal(decimal(integer, exponent)), unit))
    compared = 0
    for address, value, unit in peer_sets(data):
        if address is None or unit is None:  # a second bracket: the time of a maximum, which the peer does not know
            continue
        known = decode_name(address.encode(), False)
        assert known is not None
        assert ours[known.code] == (Decimal(value), unit), address
        compared += 1
    assert compared >= 5
    assert compared == len([unit for _, _, _, unit in telegram.registers if unit])


@pytest.mark.parametrize(("name", "data"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_both_refuse_a_wrong_bcc(name: str, data: bytes) -> None:
    damaged = bytearray(data)
    damaged[data.index(b"1.7.0") + 8] ^= 1
    with pytest.raises(ValueError, match="BCC"):
        peer_sets(bytes(damaged))
    assert not [frame for frame in Iec62056Link().feed(bytes(damaged)) if isinstance(frame, Frame)]


class Octets(BASE_vendor):  # type: ignore[misc]
    """A port of the peer that plays a frame; it throws the first frame away, because it looks for two starts."""

    def __init__(self, frame: bytes) -> None:
        self._octets: Iterator[int] = iter(b"\x02" + frame)

    def read_char(self) -> str:
        return chr(next(self._octets))


def peer_groups(frame: bytes) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)  # it logs an error for a frame that it cannot read
    try:
        return dict(Parser(Octets(frame)).get_frame())
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("name", "data"), HISTORIQUE, ids=[name for name, _ in HISTORIQUE])
def test_every_group_of_a_historique_frame_is_the_same(name: str, data: bytes) -> None:
    (frame,) = TeleinfoLink().feed(data)
    assert isinstance(frame, Frame)
    telegram = TeleinfoGrammar().parse(frame)
    ours = {code: Decimal(value) for code, value, _, _ in telegram.registers}
    theirs = peer_groups(data)
    assert theirs
    assert {label: Decimal(value) for label, value in theirs.items() if label in ours} == ours
    assert {label: value for label, value in theirs.items() if label not in ours} == telegram.texts


def test_the_peer_drops_a_group_with_a_wrong_checksum_or_the_whole_frame_and_we_the_frame() -> None:
    """Its code for one bad group ends in an exception on Python 3: then it gives an empty frame."""
    data = dict(HISTORIQUE)["fr-linky-historique-ejp.tic"]
    damaged = data.replace(b"PAPP 04830", b"PAPP 04831")
    assert damaged != data
    assert peer_groups(damaged) == {}
    assert not [frame for frame in TeleinfoLink().feed(damaged) if isinstance(frame, Frame)]
