"""HDLC: addresses, checksums, flags, control fields, and messages in segments."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from decoders.links.hdlc import HdlcLink

Cut = Callable[..., tuple[Any, int]]
Read = Callable[[Any], list[Any]]
Write = Callable[..., bytes]

LLC = b"\xe6\xe7\x00"
APDU = b"\x0f\x00\x00\x00\x01\x00\x02\x01\x06\x00\x00\x01\x02"
OTHER = b"\x0f\x00\x00\x00\x02\x00\x02\x01\x06\x00\x00\x03\x04"


def segments(hdlc: Write, apdu: bytes, parts: int = 3, **how: Any) -> list[bytes]:
    """An APDU in frames; only the first one has the LLC header, only the last one has S clear."""
    octets = LLC + apdu
    size = -(-len(octets) // parts)
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
    return [hdlc(piece, segmented=piece is not pieces[-1], **how) for piece in pieces]


ADDRESSES = [b"\x41", b"\x08\x83", b"\x00\x02\x00\x23"]


@pytest.mark.parametrize("addresses", [a + b for a, b in itertools.product(ADDRESSES, repeat=2)], ids=bytes.hex)
def test_addresses_of_every_length(addresses: bytes, hdlc: Write, cut: Cut, short: Read) -> None:
    assert short(cut(HdlcLink, hdlc(LLC + APDU, addresses=addresses))[0]) == [APDU]


@pytest.mark.parametrize(
    "addresses", [b"\x02\x02\x03\x41", b"\x41\x02\x02\x02\x02\x03", b"\x02\x02\x02\x02\x02\x03\x41"]
)
def test_an_address_of_no_length_is_no_frame(addresses: bytes, hdlc: Write, cut: Cut, short: Read) -> None:
    assert short(cut(HdlcLink, hdlc(LLC + APDU, addresses=addresses))[0]) == ["checksum"]


def test_flags_and_escapes_inside_are_content(hdlc: Write, cut: Cut, short: Read) -> None:
    """7E A0 inside is neither an end nor a start."""
    apdu = APDU + b"\x7e\x7e\x7d\x5e\x7d\x5d\x7e\xa0\x0a\x41\x03\x13" * 20
    assert short(cut(HdlcLink, hdlc(LLC + apdu) * 2)[0]) == [apdu] * 2


def test_one_flag_may_close_a_frame_and_open_the_next(hdlc: Write, cut: Cut, short: Read) -> None:
    frame = hdlc(LLC + APDU)
    outcomes, noise = cut(HdlcLink, frame + frame[1:] + frame[1:-1])
    assert short(outcomes) == [APDU] * 3
    assert noise == 0


def test_many_flags_stand_between_frames(hdlc: Write, cut: Cut, short: Read) -> None:
    frame = hdlc(LLC + APDU)
    assert (short(cut(HdlcLink, b"\x7e" * 9 + frame + b"\x7e" * 9 + frame + b"\x7e")[0])) == [APDU] * 2


def test_idle_flags_are_neither_pending_nor_cut_off(cut: Cut) -> None:
    link = HdlcLink()
    assert link.feed(b"\x7e\x7e") == []
    assert link.pending == 0
    assert link.close() == []
    assert link.noise == 0


def test_a_frame_is_complete_with_its_fcs(hdlc: Write) -> None:
    link = HdlcLink()
    frame = hdlc(LLC + APDU)
    assert link.feed(frame[:-2]) == []
    assert link.pending == len(frame) - 2
    (found,) = link.feed(frame[-2:-1])
    assert (found.payload, found.checksum, found.size) == (APDU, "ok", len(frame) - 1)
    assert link.pending == 0


@pytest.mark.parametrize("llc", [LLC, b"\xe6\xe6\x00", b""], ids=["response", "command", "none"])
def test_llc_is_stripped_where_it_is(llc: bytes, hdlc: Write, cut: Cut, short: Read) -> None:
    assert short(cut(HdlcLink, hdlc(llc + APDU))[0]) == [APDU]


@pytest.mark.parametrize("control", range(256))
def test_only_ui_and_i_frames_carry_a_push(control: int, hdlc: Write, cut: Cut, short: Read) -> None:
    carries = control & 0xEF == 0x03 or not control & 1
    expected = [APDU] if carries else ["header"]
    assert short(cut(HdlcLink, hdlc(LLC + APDU, control=control))[0]) == expected


@pytest.mark.parametrize("control", [0x93, 0x73, 0x53, 0x1F, 0x11, 0x13, 0x03])
def test_a_frame_without_information_has_one_checksum_and_no_push(
    control: int, hdlc: Write, cut: Cut, short: Read
) -> None:
    frame = hdlc(b"", control=control)
    assert len(frame) == 1 + 2 + 3 + 1 + 2 + 1
    outcomes, noise = cut(HdlcLink, frame + hdlc(LLC + APDU))
    assert (short(outcomes), noise) == (["header", APDU], 0)


def test_nothing_behind_llc_is_no_push(hdlc: Write, cut: Cut, short: Read) -> None:
    assert short(cut(HdlcLink, hdlc(LLC))[0]) == ["header"]


def test_a_wrong_header_checksum_ends_a_frame_at_once(hdlc: Write) -> None:
    """A length that is damaged cannot make the link wait, and the next frame is read."""
    frame = bytearray(hdlc(LLC + APDU))
    frame[1] |= 0x07
    link = HdlcLink()
    assert [outcome.code for outcome in link.feed(bytes(frame[:-1]))] == ["checksum"]
    assert [outcome.payload for outcome in link.feed(hdlc(LLC + APDU))] == [APDU]


def test_a_closing_flag_that_is_missing_or_junk_behind_it_does_no_harm(hdlc: Write, cut: Cut, short: Read) -> None:
    frame = hdlc(LLC + APDU)
    for junk in (b"", b"\x29\x12\x13\x14", b"\x7e\x29\x12\x13\x14", bytes(300)):
        assert short(cut(HdlcLink, frame[:-1] + junk + frame)[0]) == [APDU] * 2


def test_the_longest_frame(hdlc: Write, cut: Cut, short: Read) -> None:
    apdu = b"\x0f" + bytes(2047 - 14)
    frame = hdlc(LLC + apdu)
    assert int.from_bytes(frame[1:3], "big") & 0x7FF == 2047
    assert short(cut(HdlcLink, frame)[0]) == [apdu]


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_segments_are_joined_and_llc_comes_once(parts: int, hdlc: Write) -> None:
    frames = segments(hdlc, APDU, parts)
    link = HdlcLink()
    found = [outcome for frame in frames for outcome in link.feed(frame)]
    assert [(outcome.payload, outcome.checksum) for outcome in found] == [(APDU, "ok")]
    assert found[0].size == sum(len(frame) - 1 for frame in frames)
    assert link.pending == 0


def test_segments_of_two_pairs_of_addresses_do_not_mix(hdlc: Write, cut: Cut, short: Read) -> None:
    ours, others = segments(hdlc, APDU), segments(hdlc, OTHER, addresses=b"\xcf\x02\x25")
    mixed = b"".join(frame for pair in zip(ours, others, strict=True) for frame in pair)
    assert short(cut(HdlcLink, mixed)[0]) == [APDU, OTHER]


def test_a_first_segment_begins_again(hdlc: Write, cut: Cut, short: Read) -> None:
    old, new = segments(hdlc, OTHER), segments(hdlc, APDU)
    assert short(cut(HdlcLink, *old[:2], *new)[0]) == ["segment_lost", APDU]
    assert short(cut(HdlcLink, *old[:2], hdlc(LLC + APDU))[0]) == ["segment_lost", APDU]


def test_orphans_are_no_message(hdlc: Write, cut: Cut, short: Read) -> None:
    _, middle, last = segments(hdlc, APDU)
    assert short(cut(HdlcLink, middle, last)[0]) == ["segment_lost"] * 2
    assert short(cut(HdlcLink, last, hdlc(LLC + OTHER))[0]) == ["segment_lost", OTHER]


def test_the_end_of_input_and_silence_end_a_message(hdlc: Write) -> None:
    """Without it, the end of the next message would complete this one."""
    first, middle, last = segments(hdlc, APDU)
    for name in ("close", "expire"):
        link = HdlcLink()
        assert link.feed(first + middle) == []
        assert link.pending == len(first + middle) - 2
        assert [outcome.code for outcome in getattr(link, name)()] == ["segment_lost"]
        assert link.pending == 0
        assert [outcome.code for outcome in link.feed(last)] == ["segment_lost"]


def test_damage_in_any_segment_costs_the_whole_message(hdlc: Write, cut: Cut, apdus: Read) -> None:
    """Never the beginning of one message with the end of another."""
    frames, following = segments(hdlc, APDU), segments(hdlc, OTHER)
    for at, frame in enumerate(frames):
        for place in range(len(frame) - 1):
            damaged = bytearray(frame)
            damaged[place] ^= 0x55
            stream = [*frames[:at], bytes(damaged), *frames[at + 1 :], *following]
            assert apdus(cut(HdlcLink, *stream)[0]) == [OTHER], (at, place)


def lost(frames: Sequence[bytes], following: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Two messages of which the second half of one and the first half of the other became noise."""
    return [[*frames[:at], bytes(30), *following[at:]] for at in range(1, len(frames))]


def test_noise_as_long_as_a_frame_ends_a_message(hdlc: Write, cut: Cut, apdus: Read, short: Read) -> None:
    frames = segments(hdlc, APDU)
    for stream in lost(frames, segments(hdlc, OTHER)):
        assert apdus(cut(HdlcLink, *stream)[0]) == []
    assert short(cut(HdlcLink, frames[0], b"\x00\xff\x55", *frames[1:])[0]) == [APDU]


def test_a_message_without_end_is_bounded(hdlc: Write) -> None:
    link = HdlcLink()
    first = hdlc(LLC + b"\x0f" + bytes(500), segmented=True)
    more = hdlc(bytes(500), segmented=True)
    codes = [outcome.code for frame in [first] + [more] * 20 for outcome in link.feed(frame)]
    assert codes[0] == "oversized"
    assert set(codes[1:]) == {"segment_lost"}
    assert link.pending == 0


def test_messages_of_many_senders_are_bounded(hdlc: Write) -> None:
    link = HdlcLink()
    starts = [hdlc(LLC + APDU, addresses=bytes([0x41, 2 * n + 1]), segmented=True) for n in range(100)]
    codes = [outcome.code for frame in starts for outcome in link.feed(frame)]
    assert codes == ["segment_lost"] * 96
    assert link.pending == sum(len(frame) - 1 for frame in starts[-4:])


def test_the_library_computes_x25_as_the_definition_says(x25: Callable[[bytes], bytes]) -> None:
    """Check value of CRC-16/X-25: 906E for the nine digits."""
    assert x25(b"123456789") == b"\x6e\x90"
