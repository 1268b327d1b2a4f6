"""APDUs without a link: lengths as met, beginnings, ends that only silence tells."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from decoders.links.bare import BareLink

Cut = Callable[..., tuple[Any, int]]
Read = Callable[[Any], list[Any]]
Write = Callable[..., bytes]

LLC = b"\xe6\xe7\x00"
PLAIN = b"\x0f\x00\x00\x00\x01\x0c\x07\xe7\x01\x02\x03\x04\x05\x06\x00\x80\x00\x00\x02\x01\x06\x00\x00\x01\x02"
UNDATED = b"\x0f\x40\x00\x00\x00\x00\x01\x01\x02\x03\x06\x00\x00\x01\x02"
SEALED = b"\x30\x00\x00\x00\x01"
FORMS = ["{:02x}", "81{:02x}", "82{:04x}", "83{:06x}", "84{:08x}"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [20, 100, 127])
def test_a_length_in_any_form(form: str, size: int, ciphered: Write, cut: Cut, short: Read) -> None:
    """Kamstrup sends 82 00 E7."""
    apdu = ciphered(SEALED + bytes(size - 5), form=form)
    outcomes, noise = cut(BareLink, apdu * 3)
    assert (short(outcomes), noise) == ([apdu] * 3, 0)
    assert (outcomes[0].checksum, outcomes[0].size) == ("absent", len(apdu))


@pytest.mark.parametrize("length", ["84ffffffff", "83100000", "821001", "82ffff"])
def test_a_length_bomb_is_refused_at_once(length: str, ciphered: Write, cut: Cut, short: Read) -> None:
    good = ciphered(SEALED + bytes(40))
    link = BareLink()
    found = short(link.feed(b"\xdb\x08TST\x00\x00\x00\x00\x02" + bytes.fromhex(length) + SEALED + bytes(10)))
    assert found == ["oversized"]
    assert link.pending == 0
    assert short(link.feed(good)) == [good]


@pytest.mark.parametrize("length", ["80", "85", "ff"])
def test_a_length_of_no_form_is_a_damaged_header(length: str, ciphered: Write, cut: Cut, short: Read) -> None:
    good = ciphered(SEALED + bytes(40))
    bad = b"\xdb\x08TST\x00\x00\x00\x00\x02" + bytes.fromhex(length) + SEALED + bytes(10)
    assert short(cut(BareLink, bad + good)[0]) == ["header", good]


def test_the_longest_apdu(ciphered: Write, cut: Cut, short: Read) -> None:
    apdu = ciphered(bytes(4096 - 13), form="82{:04x}")
    assert len(apdu) == 4096
    assert short(cut(BareLink, apdu * 2)[0]) == [apdu] * 2


def test_a_system_title_may_be_left_out(ciphered: Write, cut: Cut, short: Read) -> None:
    apdu = ciphered(SEALED + bytes(40), title=b"")
    assert short(cut(BareLink, apdu * 2)[0]) == [apdu] * 2


@pytest.mark.parametrize("control", range(256))
def test_any_security_control_passes_in_step(control: int, ciphered: Write, cut: Cut, short: Read) -> None:
    """What is refused is refused by name, behind the link."""
    apdu = ciphered(bytes([control]) + bytes(40))
    assert short(cut(BareLink, apdu * 2)[0]) == [apdu] * 2


def test_blocks_say_their_length(cut: Cut, short: Read) -> None:
    blocks = [b"\xe0\x40\x00\x01\x00\x00\x05hello", b"\xe0\xc0\x00\x02\x00\x00\x81\x05world"]
    assert short(cut(BareLink, *blocks)[0]) == blocks


@pytest.mark.parametrize("apdu", [PLAIN, UNDATED], ids=["dated", "undated"])
@pytest.mark.parametrize("llc", [LLC, b"\xe6\xe6\x00", b""], ids=["response", "command", "none"])
def test_a_notification_ends_where_the_next_begins_and_with_the_input(
    apdu: bytes, llc: bytes, cut: Cut, short: Read
) -> None:
    outcomes, noise = cut(BareLink, (llc + apdu) * 3)
    assert (short(outcomes), noise) == ([apdu] * 3, 0)
    assert [outcome.size for outcome in outcomes] == [len(llc + apdu)] * 3


def test_a_notification_ends_with_silence() -> None:
    link = BareLink()
    for _ in range(3):
        assert link.feed(LLC + PLAIN) == []
        assert link.pending == len(LLC + PLAIN)
        assert [outcome.payload for outcome in link.expire()] == [PLAIN]


def test_a_notification_without_end_is_bounded() -> None:
    link = BareLink()
    outcomes = link.feed(PLAIN + bytes(100_000))
    assert [(outcome.code, outcome.size) for outcome in outcomes] == [("oversized", 4096)]
    assert link.pending == 0


def test_a_ciphered_apdu_may_follow_llc(ciphered: Write, cut: Cut, short: Read) -> None:
    apdu = ciphered(SEALED + bytes(40))
    assert short(cut(BareLink, (LLC + apdu) * 2)[0]) == [apdu] * 2


def test_a_ciphered_apdu_behind_llc_octet_by_octet(ciphered: Write, cut: Cut, short: Read) -> None:
    apdu = ciphered(SEALED + bytes(40))
    stream = (LLC + apdu) * 2
    assert short(cut(BareLink, *(stream[at : at + 1] for at in range(len(stream))))[0]) == [apdu] * 2


def test_a_torn_apdu_costs_itself_only(ciphered: Write, cut: Cut, apdus: Read) -> None:
    """Torn anywhere: in its head, by one octet, with LLC or without, and before one of another length."""
    for llc in (b"", LLC):
        torn = llc + ciphered(SEALED + bytes(range(60, 120)))
        good = [ciphered(SEALED + bytes(range(n))) for n in (50, 70)]
        for end in range(1, len(torn)):
            found = apdus(cut(BareLink, torn[:end] + b"".join(llc + apdu for apdu in good))[0])
            assert found[-2:] == good, (llc, end)


def test_a_beginning_by_chance_inside_a_torn_apdu_swallows_nothing(ciphered: Write, cut: Cut, apdus: Read) -> None:
    """Ciphertext may hold what looks like the head of another APDU, with or without the head of its own before it."""
    good = [ciphered(SEALED + bytes([n]) * 80) for n in range(3)]
    for size in range(20, 120):
        chance = b"\xdc\x08\xfe\x01\xa5\x64\x42\xd2\xea\x59" + bytes([size]) + b"\x20"
        torn = ciphered(SEALED + b"\x55" * 30 + chance + b"\x55" * 40)[:-10]
        for start in (0, 20):
            found = apdus(cut(BareLink, good[0] + torn[start:] + good[1] + good[2])[0])
            assert [apdu for apdu in found if apdu in good] == good, (size, start)


def test_a_torn_apdu_is_told_as_soon_as_the_next_begins(ciphered: Write) -> None:
    torn, good = ciphered(SEALED + b"\x55" * 3000, form="82{:04x}"), ciphered(SEALED + bytes(40))
    link = BareLink()
    assert link.feed(torn[:100]) == []
    truncated, frame = link.feed(good)
    assert (truncated.code, truncated.size, frame.payload) == ("truncated", 100, good)


@pytest.mark.parametrize("first", [0x0F, 0xDB, 0xDC, 0xDD, 0xDF, 0xE0, 0xE6])
def test_a_tag_by_chance_where_the_stream_is_joined_costs_one_at_most(
    first: int, ciphered: Write, cut: Cut, short: Read
) -> None:
    dice = random.Random(first)
    good = ciphered(SEALED + bytes(range(100)))
    for _ in range(200):
        middle = bytes([first]) + dice.randbytes(60)
        assert short(cut(BareLink, middle + good * 3)[0])[-2:] == [good] * 2, middle.hex()


def test_text_is_no_apdu(cut: Cut) -> None:
    outcomes, noise = cut(BareLink, b"/XMX5\\METER\r\n\r\n1-0:1.7.0(00.244*kW)\r\n!1234\r\n")
    assert outcomes == []
    assert noise > 0
