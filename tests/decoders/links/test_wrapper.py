"""The wrapper of TCP and UDP: headers, lengths, and finding the stream again without a checksum."""

from collections.abc import Callable
from typing import Any

import pytest

from decoders.links.wrapper import WrapperLink

Cut = Callable[..., tuple[Any, int]]
Read = Callable[[Any], list[Any]]
Write = Callable[..., bytes]

APDU = b"\x0f\x00\x00\x00\x01\x00\x02\x01\x06\x00\x00\x01\x02"


@pytest.mark.parametrize("ports", [b"\x00\x01\x00\x01", b"\x00\x01\x00\x66", b"\x00\x10\x10\x00"], ids=bytes.hex)
def test_any_ports(ports: bytes, wrapped: Write, cut: Cut, short: Read) -> None:
    frame = wrapped(APDU, ports=ports)
    outcomes, noise = cut(WrapperLink, frame)
    assert (short(outcomes), noise) == ([APDU], 0)
    assert (outcomes[0].checksum, outcomes[0].size) == ("absent", len(frame))


@pytest.mark.parametrize("tag", [0x0F, 0xDB, 0xDC, 0xDD, 0xDF, 0xE0])
def test_every_tag_of_a_push(tag: int, wrapped: Write, cut: Cut, short: Read) -> None:
    apdu = bytes([tag]) + APDU[1:]
    assert short(cut(WrapperLink, wrapped(apdu))[0]) == [apdu]


def test_frames_of_several_clients_and_lengths_in_a_row(wrapped: Write, cut: Cut, short: Read) -> None:
    apdus = [APDU, APDU * 9, b"\xdb" + bytes(4095), APDU[:1]]
    stream = b"".join(wrapped(apdu, ports=bytes([0, n, 0, 1])) for n, apdu in enumerate(apdus))
    outcomes, noise = cut(WrapperLink, stream)
    assert (short(outcomes), noise) == (apdus, 0)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x00\x01\x00\x01\x00\x01\x00\x00",
        b"\x00\x01\x00\x01\x00\x01\x10\x01\x0f",
        b"\x00\x01\x00\x01\x00\x01\xff\xff\xdb",
        b"\x00\x01\x00\x01\x00\x01\x00\x46\x61",
    ],
    ids=["no length", "one octet too long", "length bomb", "another APDU"],
)
def test_an_impossible_header_is_told_and_passed(bad: bytes, wrapped: Write, cut: Cut, short: Read) -> None:
    link = WrapperLink()
    assert short(link.feed(bad + wrapped(APDU))) == ["header", APDU]
    assert link.pending == 0


@pytest.mark.parametrize("version", [0, 2, 256])
def test_another_version_is_no_frame(version: int, wrapped: Write, cut: Cut, short: Read) -> None:
    assert short(cut(WrapperLink, wrapped(APDU, version=version) + wrapped(APDU))[0]) == [APDU]


def test_a_torn_frame_costs_itself_only(wrapped: Write, ciphered: Write, cut: Cut, apdus: Read) -> None:
    """Torn anywhere, by one octet too, and before a frame of another length."""
    for ports in (b"\x00\x01\x00\x01", b"\x00\x01\x00\x66"):
        torn = wrapped(ciphered(b"\x30\x00\x00\x00\x01" + bytes(range(60, 120))), ports=ports)
        good = [wrapped(ciphered(b"\x30\x00\x00\x00\x02" + bytes(range(n))), ports=ports) for n in (50, 70)]
        for end in range(1, len(torn)):
            found = apdus(cut(WrapperLink, torn[:end] + b"".join(good))[0])
            assert found[-2:] == [frame[8:] for frame in good], (ports, end)


def test_a_torn_frame_is_told_as_soon_as_the_next_begins(wrapped: Write) -> None:
    torn, good = wrapped(b"\xdb" + b"\x55" * 3000), wrapped(APDU)
    link = WrapperLink()
    assert link.feed(torn[:100]) == []
    truncated, frame = link.feed(good)
    assert (truncated.code, truncated.size, frame.payload) == ("truncated", 100, APDU)


def test_small_numbers_inside_are_no_header(wrapped: Write, cut: Cut, short: Read) -> None:
    """00 01 00 01 00 01 is common in what meters say; with no possible length and tag behind it, it is content."""
    apdu = b"\x0f" + b"\x00\x01" * 40
    assert short(cut(WrapperLink, wrapped(apdu, ports=b"\x00\x01\x00\x01") * 2)[0]) == [apdu] * 2
