"""P1 with a ciphered block: whole, in pieces, cut, torn, damaged, and with every octet of an end inside the block."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from decoders.errors import CODES, LinkError
from decoders.links.framing import APDU_LIMIT
from decoders.links.p1 import P1Link
from decoders.links.p1_sealed import P1SealedLink
from decoders.model import Frame

Cut = Callable[..., tuple[Any, int]]
Read = Callable[[Any], list[Any]]

HEAD = b"/TST5G15\r\n\r\n"
#: what ends a telegram of the P1 link, and what begins one, in the middle of a ciphertext
BLOCK = (
    b"\x30\x00\x00\x00\x07" + bytes(range(256)) + b"\n!\r\n)!1A2B\r\n!\r\n/ABC5\r\n/ABC5\r\n\r\n\x00\x81" + b"T" * 12
)


#: the same without a beginning
ENDS = BLOCK.replace(b"/ABC5\r\n", b"")


def crc16_arc(octets: bytes) -> int:
    """Polynomial x^16 + x^15 + x^2 + 1, reflected, initial value 0, bit by bit."""
    register = 0
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register


def sealed(block: bytes = BLOCK, *, head: bytes = HEAD, crc: str = "{:04X}") -> bytes:
    body = head + b"\x00\x82" + len(block).to_bytes(2, "big") + block + b"!"
    return body + crc.format(crc16_arc(body)).encode() + b"\r\n"


def apdu(block: bytes = BLOCK) -> bytes:
    return b"\xdb\x00\x82" + len(block).to_bytes(2, "big") + block


WHOLE = sealed()
#: the line end behind a frame is a gap, no part of it
SIZE = len(WHOLE) - 2
FRAME = Frame(apdu(), "ok", SIZE, HEAD)
OTHER = sealed(BLOCK[::-1])


def test_the_block_is_an_apdu_and_the_lines_before_it_are_the_head(cut: Cut) -> None:
    assert cut(P1SealedLink, WHOLE) == ([FRAME], 0)
    assert cut(P1SealedLink, WHOLE * 3) == ([FRAME] * 3, 0)


@pytest.mark.parametrize("crc", ["{:04X}", "{:04x}"])
@pytest.mark.parametrize("head", [HEAD, b"/KFM5KAIFA-METER\r\n\r\n", b"/TST5\n\n", b"/TST" + b"x" * 72 + b"\r\n\r\n"])
def test_heads_and_digits(head: bytes, crc: str, cut: Cut) -> None:
    frame = sealed(head=head, crc=crc)
    assert cut(P1SealedLink, frame) == ([Frame(apdu(), "ok", len(frame) - 2, head)], 0)


def test_it_depends_on_the_stream_alone(cut: Cut, told: Read) -> None:
    stream = b"noise/" + WHOLE + WHOLE[:100] + OTHER + b"\xff\xfe" + WHOLE
    whole = cut(P1SealedLink, stream)
    assert [o for o in whole[0] if isinstance(o, Frame)] == [FRAME, Frame(apdu(BLOCK[::-1]), "ok", SIZE, HEAD), FRAME]
    assert cut(P1SealedLink, *(bytes([octet]) for octet in stream))[1] == whole[1]
    chance = random.Random(56)
    for _ in range(300):
        places = sorted(chance.randrange(len(stream)) for _ in range(chance.randrange(1, 9)))
        pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
        outcomes, noise = cut(P1SealedLink, *pieces)
        assert (told(outcomes), noise) == (told(whole[0]), whole[1])


def test_a_frame_comes_out_with_its_last_digit() -> None:
    link = P1SealedLink()
    assert link.feed(WHOLE[: SIZE - 1]) == []
    assert link.pending == SIZE - 1
    assert link.feed(WHOLE[SIZE - 1 : SIZE]) == [FRAME]
    assert link.feed(b"\r\n") == []
    assert (link.pending, link.noise) == (0, 0)


@pytest.mark.parametrize("end", range(1, SIZE))
def test_what_is_cut_off_gives_no_frame_and_costs_none_behind_it(end: int, cut: Cut) -> None:
    outcomes, _ = cut(P1SealedLink, WHOLE[:end])
    assert outcomes
    assert outcomes[0].code == "truncated"
    assert not [o for o in outcomes if isinstance(o, Frame)]
    outcomes, _ = cut(P1SealedLink, WHOLE[:end] + OTHER)
    assert [o.payload for o in outcomes if isinstance(o, Frame)] == [apdu(BLOCK[::-1])]
    assert isinstance(outcomes[0], LinkError)


def test_two_that_ran_into_each_other_are_named_torn(cut: Cut, short: Read) -> None:
    outcomes, noise = cut(P1SealedLink, WHOLE[:100] + OTHER)
    assert short(outcomes)[0] == "truncated"
    assert outcomes[0].size == 100
    assert short(outcomes)[-1] == apdu(BLOCK[::-1])
    assert 0 < noise <= 100


@pytest.mark.parametrize("bit", range(8))
def test_no_flipped_bit_passes(bit: int, cut: Cut) -> None:
    """But that of a digit's case."""
    for place in range(SIZE):
        damaged = bytearray(WHOLE)
        damaged[place] ^= 1 << bit
        same = damaged[: SIZE - 4] == WHOLE[: SIZE - 4] and damaged[SIZE - 4 :].upper() == WHOLE[SIZE - 4 :]
        outcomes, _ = cut(P1SealedLink, bytes(damaged) + OTHER + OTHER)
        payloads = [o.payload for o in outcomes if isinstance(o, Frame)]
        assert payloads == [apdu()] * same + [apdu(BLOCK[::-1])] * 2, place
        assert all(("link", o.code) in CODES for o in outcomes if isinstance(o, LinkError))


@pytest.mark.parametrize("digits", [b"", b"\r\n", b"12\r\n", b"GGGG", b"0x12"])
def test_without_its_four_digits_it_is_none(digits: bytes, cut: Cut, apdus: Read) -> None:
    assert apdus(cut(P1SealedLink, WHOLE[: SIZE - 4] + digits + b"\r\n" + WHOLE)[0]) == [apdu()]


def test_a_plain_telegram_is_none(cut: Cut, write: Callable[..., bytes]) -> None:
    outcomes, _ = cut(P1SealedLink, write("1-0:1.7.0(00.100*kW)"))
    assert {outcome.code for outcome in outcomes} == {"header"}


def test_the_length_is_bounded(cut: Cut, short: Read) -> None:
    assert short(cut(P1SealedLink, sealed(bytes(APDU_LIMIT)))[0]) == [apdu(bytes(APDU_LIMIT))]
    assert short(cut(P1SealedLink, sealed(bytes(APDU_LIMIT + 1)) + WHOLE)[0]) == ["oversized", apdu()]


def test_noise_without_end_stays_bounded() -> None:
    link, chance = P1SealedLink(), random.Random(57)
    for _ in range(200):
        link.feed(HEAD + b"\x00\x82\x0f\xff" + chance.randbytes(500))
        assert link.pending <= APDU_LIMIT + len(HEAD) + 9


@pytest.mark.parametrize("block", [ENDS, ENDS[:-1] + b"\n", ENDS[:-1] + b")", b"\x30\n!\r\n", b"\x30" * 20])
def test_the_p1_link_takes_none_for_a_telegram(block: bytes, write: Callable[..., bytes]) -> None:
    """Even where its CRC fits because the last octet of the tag stands as a line end before `!`."""
    plain = write("1-0:1.7.0(00.100*kW)")
    link = P1Link()
    outcomes = link.feed(sealed(block) * 2 + plain) + link.close()
    assert [o.payload for o in outcomes if isinstance(o, Frame)] == [plain[: plain.rindex(b"!")]]
