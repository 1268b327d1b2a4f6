"""HDLC, M-Bus, block transfer and ciphering of the simulator, against check values and examples that were published."""

import pytest

from gateway.simulator import apdu, hdlc, mbus
from gateway.simulator.apdu import Seal
from gateway.simulator.keys import MeterKeys

#: DLMS UA 1000-2, clause 9.2.7.4: the example of a ciphered get-request
TITLE = bytes.fromhex("4d4d4d0000bc614e")
KEYS = MeterKeys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
CONTENT = bytes.fromhex("c0010000080000010000ff0200")


def test_the_check_value_of_x25():
    assert hdlc.x25(b"123456789") == b"\x6e\x90"


def test_a_frame_of_a_capture_is_made_again():
    # a list 1 of an Aidon meter (toreamun/amshan, MIT): P+ 1661 W
    capture = bytes.fromhex(
        "7ea02a410883130413e6e7000f40000000000101020309060100010700ff060000067d02020f00161b"
    )  # fmt: skip
    information = capture[9:]
    made = hdlc.frame(hdlc.Address.parse("41 0883 13"), information)
    assert made[: len(capture)] == capture
    assert len(made) == len(capture) + 3


def test_segments_have_the_llc_header_once_and_the_poll_bit_last():
    frames = hdlc.segments(hdlc.Address.parse("cf 0223 13"), bytes(range(100)), 40)
    assert [frame[1] >> 3 & 1 for frame in frames] == [1, 1, 0]
    assert [frame[6] for frame in frames] == [0x03, 0x03, 0x13]
    assert b"".join(frame[9:-3] for frame in frames) == hdlc.LLC + bytes(range(100))
    assert len(hdlc.segments(hdlc.Address.parse("cf 0223 13"), bytes(37), 40)) == 1


def test_equal_segments_are_not_taken_for_the_last():
    frames = hdlc.segments(hdlc.Address.parse("cf 0223 13"), bytes(117), 40)
    assert [frame[1] >> 3 & 1 for frame in frames] == [1, 1, 0]


def test_mbus_segments_are_numbered_and_the_last_says_so():
    frames = mbus.segments(bytes(600), 250)
    assert [frame[:9].hex() for frame in frames] == ["68fafa6853ff000167", "68fafa6853ff010167", "6873736853ff120167"]
    assert all(frame[-2] == sum(frame[4:-2]) % 256 and frame[-1] == 0x16 for frame in frames)
    assert [frame[6] for frame in mbus.segments(bytes(10), 250)] == [0x10]
    assert mbus.segments(bytes(252), 257)[0][:4].hex() == "68010168"


def test_blocks_say_which_is_the_last():
    parts = apdu.blocks(bytes(300), 129, 126)
    assert [len(part) for part in parts] == [126, 129, 7 + 300 - 119 - 122]
    assert [part[:6].hex() for part in parts] == ["e04000010000", "e04000020000", "e0c000030000"]
    assert [part[6] for part in parts] == [119, 122, 59]


@pytest.mark.parametrize(
    ("control", "sealed"),
    [
        (0x30, "411312ff935a47566827c467bc7d825c3be4a77c3fcc056b6b"),
        (0x20, "411312ff935a47566827c467bc"),
        (0x00, "c0010000080000010000ff0200"),
    ],
)
def test_ciphering_is_that_of_the_example(control, sealed):
    made = apdu.cipher(CONTENT, Seal(TITLE, control, 0x01234567), KEYS)
    size = 5 + len(sealed) // 2
    assert made.hex() == f"db084d4d4d0000bc614e{size:02x}{control:02x}01234567{sealed}"


def test_a_spoiled_tag_differs_in_one_bit():
    seal = Seal(TITLE, 0x30, 1)
    good, bad = apdu.cipher(CONTENT, seal, KEYS), apdu.cipher(CONTENT, seal, KEYS, spoil_tag=True)
    assert good[:-1] == bad[:-1]
    assert (good[-1] ^ bad[-1]).bit_count() == 1
