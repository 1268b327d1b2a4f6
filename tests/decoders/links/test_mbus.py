"""M-Bus: long frames, the segments in them, and an L that wraps."""

from collections.abc import Callable
from typing import Any

import pytest

from decoders.links.mbus import MbusLink

Cut = Callable[..., tuple[Any, int]]
Read = Callable[[Any], list[Any]]
Write = Callable[..., bytes]

APDU = b"\xdb\x08TST\x00\x00\x00\x00\x01\x14\x20\x00\x00\x00\x01" + bytes(range(15))
OTHER = b"\xdb\x08TST\x00\x00\x00\x00\x01\x14\x20\x00\x00\x00\x02" + bytes(range(15, 30))


def segments(mbus: Write, apdu: bytes, parts: int = 4, **how: Any) -> list[bytes]:
    """An APDU in frames: CI 00, 01, ... and FIN on the last one."""
    size = -(-len(apdu) // parts)
    pieces = [apdu[at : at + size] for at in range(0, len(apdu), size)]
    last = len(pieces) - 1
    return [mbus(piece, ci=number | (0x10 if number == last else 0), **how) for number, piece in enumerate(pieces)]


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 16])
def test_segments_are_joined_in_order(parts: int, mbus: Write, cut: Cut, short: Read) -> None:
    frames = segments(mbus, APDU, parts)
    outcomes, noise = cut(MbusLink, *frames)
    assert (short(outcomes), noise) == ([APDU], 0)
    assert (outcomes[0].checksum, outcomes[0].size) == ("ok", sum(map(len, frames)))


@pytest.mark.parametrize(("control", "address"), [(0x53, 0xFF), (0x73, 0xFF), (0x53, 0), (0x73, 1), (0x53, 0xFD)])
@pytest.mark.parametrize("taps", [b"\x01\x67", b"\x01\x66", b"\x10\x01"], ids=bytes.hex)
def test_any_address_and_any_service_access_points(control: int, address: int, taps: bytes, mbus: Write) -> None:
    frames = segments(mbus, APDU, control=control, address=address, taps=taps)
    (found,) = MbusLink().feed(b"".join(frames))
    assert found.payload == APDU


ORDERS = {
    "first missing": ((1, 2, 3), ["segment_lost"] * 3),
    "second missing": ((0, 2, 3), ["segment_lost", "segment_lost"]),
    "third missing": ((0, 1, 3), ["segment_lost"]),
    "last missing": ((0, 1, 2), ["segment_lost"]),
    "only the last": ((3,), ["segment_lost"]),
    "first doubled": ((0, 0, 1, 2, 3), ["segment_lost", APDU]),
    "second doubled": ((0, 1, 1, 2, 3), ["segment_order", "segment_lost", "segment_lost"]),
    "last doubled": ((0, 1, 2, 3, 3), [APDU, "segment_lost"]),
    "middle swapped": ((0, 2, 1, 3), ["segment_lost"] * 3),
    "ends swapped": ((3, 1, 2, 0), ["segment_lost"] * 4),
    "late": ((0, 1, 2, 1, 3), ["segment_order", "segment_lost"]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_whole_or_nothing(name: str, mbus: Write, cut: Cut, short: Read) -> None:
    order, expected = ORDERS[name]
    frames, following = segments(mbus, APDU), segments(mbus, OTHER)
    assert short(cut(MbusLink, *(frames[number] for number in order))[0]) == expected
    outcomes = short(cut(MbusLink, *(frames[number] for number in order), *following)[0])
    assert outcomes[-1] == OTHER
    assert set(map(type, outcomes[:-1])) <= {str, bytes}
    assert outcomes.count(APDU) == expected.count(APDU)


def test_real_pushes_with_a_segment_lost_swapped_or_doubled(pushes: dict[str, Any], cut: Cut, apdus: Read) -> None:
    first, last = pushes["fkw9-kaifa-real"].data[:256], pushes["fkw9-kaifa-real"].data[256:]
    whole = pushes["fkw9-kaifa-real"].apdus
    assert apdus(cut(MbusLink, first + last)[0]) == whole
    for pieces in ((first,), (last,), (last, first)):
        assert apdus(cut(MbusLink, *pieces)[0]) == []
    for pieces in ((first, first, last), (first, last, last), (last, first, last)):
        assert apdus(cut(MbusLink, *pieces)[0]) == whole


def test_silence_ends_a_message(mbus: Write) -> None:
    first, *rest = segments(mbus, APDU)
    link = MbusLink()
    assert link.feed(first) == []
    assert link.pending == len(first)
    assert [outcome.code for outcome in link.expire()] == ["segment_lost"]
    assert link.pending == 0
    assert {outcome.code for frame in rest for outcome in link.feed(frame)} == {"segment_lost"}


def test_a_segment_cut_off_by_silence_does_not_delay_the_next_push(mbus: Write, short: Read) -> None:
    frame = mbus(APDU)
    link = MbusLink()
    assert link.feed(frame[:20]) == []
    assert short(link.expire()) == ["truncated"]
    assert short(link.feed(frame)) == [APDU]


def test_damage_in_any_segment_costs_the_whole_message(mbus: Write, cut: Cut, apdus: Read) -> None:
    frames, following = segments(mbus, APDU), segments(mbus, OTHER)
    for at, frame in enumerate(frames):
        for place in range(len(frame)):
            damaged = bytearray(frame)
            damaged[place] ^= 0x55
            stream = [*frames[:at], bytes(damaged), *frames[at + 1 :], *following, *following]
            assert apdus(cut(MbusLink, *stream)[0])[-1:] == [OTHER], (at, place)
            assert set(apdus(cut(MbusLink, *stream)[0])) == {OTHER}, (at, place)


def test_halves_of_two_messages_with_noise_between_are_none(mbus: Write, cut: Cut, apdus: Read) -> None:
    frames, following = segments(mbus, APDU), segments(mbus, OTHER)
    for at in range(1, len(frames)):
        assert apdus(cut(MbusLink, *frames[:at], bytes(30), *following[at:])[0]) == []


@pytest.mark.parametrize("size", range(256, 262))
def test_a_length_that_wrapped_is_known_by_its_body(size: int, mbus: Write, cut: Cut, short: Read) -> None:
    """The body of a T210-D has 257 octets, its L says 1."""
    apdu = b"\xdb\x08" + bytes(size - 5 - 2)
    frame = mbus(apdu)
    assert (frame[1], len(frame)) == (size - 256, size + 6)
    assert short(cut(MbusLink, frame * 2)[0]) == [apdu] * 2
    damaged = bytearray(frame)
    damaged[100] ^= 1
    assert short(cut(MbusLink, bytes(damaged) + frame)[0]) == ["checksum", apdu]


def test_the_longest_body_that_does_not_wrap(mbus: Write, cut: Cut, short: Read) -> None:
    apdu = b"\xdb" + bytes(249)
    assert short(cut(MbusLink, mbus(apdu))[0]) == [apdu]


def long_frame(body: bytes) -> bytes:
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])


OTHERS = {
    "data of a meter": long_frame(b"\x08\x01\x72\x78\x56\x34\x12\x24\x40\x01\x07\x55\x00\x00\x00\x03\x13\x15\x31\x00"),
    "data to a meter": long_frame(b"\x53\xfe\x51\x01\x7f"),
    "only control, address and CI": long_frame(b"\x53\xfe\x50"),
    "another control": long_frame(b"\x08\xff\x10\x01\x67" + APDU),
    "an error of a meter": long_frame(b"\x08\x05\x70"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_frames_of_the_bus_are_told_apart(name: str, mbus: Write, cut: Cut, short: Read) -> None:
    outcomes, noise = cut(MbusLink, OTHERS[name] + mbus(APDU))
    assert (short(outcomes), noise) == (["header", APDU], 0)


def test_acknowledgements_are_no_noise(mbus: Write, cut: Cut, short: Read) -> None:
    frames = segments(mbus, APDU)
    outcomes, noise = cut(MbusLink, b"\xe5" + b"\xe5".join(frames) + b"\xe5" * 20)
    assert (short(outcomes), noise) == ([APDU], 0)


def test_two_lengths_that_differ_are_a_damaged_header(mbus: Write, cut: Cut, short: Read) -> None:
    frame = bytearray(mbus(APDU))
    frame[2] ^= 1
    assert short(cut(MbusLink, bytes(frame) + mbus(OTHER))[0]) == ["header", OTHER]


def test_no_single_flip_passes_the_sum(mbus: Write, cut: Cut, apdus: Read) -> None:
    stream = b"".join(segments(mbus, APDU))
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        assert apdus(cut(MbusLink, bytes(damaged))[0]) == [], bit
