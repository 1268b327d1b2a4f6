"""Unwrapping: every security control, every damage, blocks whole or nothing, and the key that is to blame."""

import contextlib
import io
import itertools
import json
import logging
import random
import traceback
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.apdu import Plain, Unwrapper
from decoders.blocks import LIMIT
from decoders.cipher import Cipher, Keys
from decoders.counters import Identity, Seen
from decoders.errors import CODES, UnwrapError
from decoders.model import Auth, Frame

EK = bytes.fromhex("36C66639E48A8CA4D6BC8B282A793BBB")
AK = bytes.fromhex("90A1B2C3D4E5F60718293A4B5C6D7E8F")
TITLE = b"TST\x67\x00\x00\x12\x34"
NOTIFICATION = bytes.fromhex("0F000000000C07EA0B1607011935FF800000020209060100010700FF0600000084")
P1 = b"/TST5\\METER\r\n\r\n1-0:1.7.0(00.132*kW)\r\n!"

#: every way of holding keys: encryption only, with authentication, a person who lets unverified content in, no AAD
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "no key": {"keys": None},
    "no authentication key": {"keys": Keys(EK)},
    "both keys": {"keys": Keys(EK, AK)},
    "unverified by a person": {"keys": Keys(EK), "unverified_by_person": True},
    "both keys, unverified by a person": {"keys": Keys(EK, AK), "unverified_by_person": True},
    "no additional data": {"keys": Keys(EK), "empty_aad": True},
}


def length_of(content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([len(content)])
    octets = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([0x80 + len(octets)]) + octets


def seal(
    content: bytes = NOTIFICATION,
    control: int = 0x30,
    counter: int = 1000,
    *,
    ek: bytes = EK,
    ak: bytes = AK,
    title: bytes = TITLE,
    aad: bytes | None = None,
    on_wire: bytes | None = None,
) -> bytes:
    """General-glo-ciphering as a meter writes it, from the standard's definition."""
    nonce = title + counter.to_bytes(4, "big")
    aad = bytes([control]) + ak if aad is None else aad
    sealed = {
        0x00: lambda: content,
        0x10: lambda: content + AESGCM(ek).encrypt(nonce, b"", aad + content)[:12],
        0x20: lambda: AESGCM(ek).encrypt(nonce, content, None)[:-16],
        0x30: lambda: AESGCM(ek).encrypt(nonce, content, aad)[:-4],
    }[control & 0x30]()
    body = bytes([control]) + nonce[8:] + sealed
    shown = title if on_wire is None else on_wire
    return b"\xdb" + length_of(shown) + shown + length_of(body) + body


def blocks(content: bytes, count: int, *, first: int = 1) -> list[bytes]:
    """General-block-transfer, streaming, in `count` blocks."""
    size = -(-len(content) // count)
    parts = [content[at : at + size] for at in range(0, max(len(content), 1), size)]
    return [block(number, part, last=number - first == len(parts) - 1) for number, part in enumerate(parts, first)]


def block(number: int, data: bytes, *, last: bool = False, control: int = 0x40) -> bytes:
    return b"\xe0" + bytes([control | last << 7]) + number.to_bytes(2, "big") + b"\0\0" + length_of(data) + data


def frame(apdu: bytes) -> Frame:
    return Frame(apdu, "ok", len(apdu) + 12)


def outcome(unwrapper: Unwrapper, apdu: bytes) -> Plain | str | None:
    """Plain, None, or the code of the failure, which must be a known one with the frame's size."""
    try:
        return unwrapper.unwrap(frame(apdu))
    except UnwrapError as caught:
        error = caught
    assert ("unwrap", error.code) in CODES
    assert error.size == len(apdu) + 12
    return error.code


def outcomes(unwrapper: Unwrapper, *apdus: bytes) -> list[Plain | str | None]:
    return [outcome(unwrapper, apdu) for apdu in apdus]


def authentic() -> Unwrapper:
    return Unwrapper(Keys(EK, AK))


# --- What passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [NOTIFICATION, P1])
def test_plain_content_passes_as_it_is(content: bytes) -> None:
    assert outcome(Unwrapper(None), content) == Plain(content, "plain", None)


@pytest.mark.parametrize("content", [NOTIFICATION, P1])
@pytest.mark.parametrize(
    ("control", "auth"),
    [(0x10, "verified"), (0x30, "verified"), (0x31, "verified"), (0x20, "unverified"), (0x21, "unverified")],
)
def test_ciphered_content_is_opened(content: bytes, control: int, auth: Auth) -> None:
    assert outcome(authentic(), seal(content, control)) == Plain(content, auth, Cipher(TITLE, control, 1000))


@given(st.binary(max_size=700), st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0x10, 0x20, 0x30, 0x31]))
def test_any_content_in_any_number_of_blocks_is_opened(rest: bytes, counter: int, count: int, control: int) -> None:
    content = NOTIFICATION + rest
    sent = blocks(seal(content, control, counter), count)
    *before, last = outcomes(authentic(), *sent)
    assert before == [None] * (len(sent) - 1)
    assert isinstance(last, Plain)
    assert (last.payload, last.cipher) == (content, Cipher(TITLE, control, counter))


def test_one_whole_block_inside_a_cipher_is_opened() -> None:
    [inner] = blocks(NOTIFICATION, 1)
    [outer] = blocks(seal(inner), 1)
    assert outcome(authentic(), outer) == Plain(NOTIFICATION, "verified", Cipher(TITLE, 0x30, 1000))


def as_length(octets: str) -> bytes:
    body = seal()[11:]
    return b"\xdb\x08" + TITLE + bytes.fromhex(octets.replace("LL", f"{len(body):02X}")) + body


@pytest.mark.parametrize("octets", ["LL", "81LL", "8200LL", "830000LL", "84000000LL"])
def test_lengths_are_short_or_long_and_need_not_be_minimal(octets: str) -> None:
    assert isinstance(outcome(authentic(), as_length(octets)), Plain)


@pytest.mark.parametrize(
    "octets",
    ["", "80", "81", "82", "8200", "84FFFFFFFF", "85", "8500000000LL", "FF", "00", "04", "7F", "81FF", "83FFFFFF"],
)
def test_a_length_that_does_not_fit_is_refused(octets: str) -> None:
    assert outcome(authentic(), as_length(octets)) == "length"


def test_every_cut_and_every_rest_is_refused() -> None:
    whole = [seal(), blocks(NOTIFICATION, 1)[0], blocks(seal(), 1)[0]]
    for apdu in whole:
        assert {outcome(authentic(), apdu[:size]) for size in range(len(apdu))} == {"length"}
        assert outcome(authentic(), apdu + b"\0") == "length"
        assert outcome(authentic(), apdu + apdu) == "length"


@pytest.mark.parametrize("size", [1, 7, 9, 16, 127, 200])
def test_a_title_of_another_size_is_refused(size: int) -> None:
    assert outcome(authentic(), seal(on_wire=bytes(size))) == "length"


def test_an_absent_title_comes_from_the_settings() -> None:
    unwrapper = Unwrapper(Keys(EK, AK), system_title=TITLE)
    assert outcome(unwrapper, seal(on_wire=b"")) == Plain(NOTIFICATION, "verified", Cipher(TITLE, 0x30, 1000))
    assert outcome(unwrapper, seal(title=b"OTHERONE")) == Plain(
        NOTIFICATION, "verified", Cipher(b"OTHERONE", 0x30, 1000)
    )
    assert outcome(authentic(), seal(on_wire=b"")) == "title_missing"
    assert outcome(authentic(), seal(on_wire=b"", control=0x20)) == "title_missing"
    assert outcome(authentic(), seal(on_wire=b"", control=0x00)) == Plain(NOTIFICATION, "plain", Cipher(b"", 0, 1000))


@pytest.mark.parametrize("title", [b"", b"short", b"far too long"])
def test_a_title_in_the_settings_has_eight_octets(title: bytes) -> None:
    with pytest.raises(ValueError, match="8 octets"):
        Unwrapper(None, system_title=title)


# --- Security control, class, least class ----------------------------------------------------------------------------


def expected_class(control: int, configuration: str) -> str:  # noqa: PLR0911
    """The table of the specification, written again: class or code of each octet under each configuration."""
    if control % 16 > 1:
        return "suite"
    if control >= 0x80:
        return "compression"
    if control >= 0x40:
        return "broadcast_key"
    if control < 0x10:
        return "plain"
    if configuration == "no key":
        return "key_missing"
    if control in (0x20, 0x21):
        return "unverified"
    if configuration.startswith("both keys") or (configuration == "no additional data" and control in (0x30, 0x31)):
        return "verified"
    return "unverified" if configuration == "unverified by a person" else "unauthenticated_refused"


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_all_256_security_controls(configuration: str) -> None:
    aad = b"" if configuration == "no additional data" else None
    for control in range(256):
        unwrapper = Unwrapper(**CONFIGURATIONS[configuration])
        got = outcome(unwrapper, seal(control=control, aad=aad))
        wanted = expected_class(control, configuration)
        if isinstance(got, Plain):
            assert got == Plain(NOTIFICATION, wanted, Cipher(TITLE, control, 1000)), hex(control)  # type: ignore[arg-type]
        else:
            assert got == wanted, hex(control)


@pytest.mark.parametrize("least", ["verified", "unverified", "plain"])
@pytest.mark.parametrize("control", [0x00, 0x01, 0x10, 0x20, 0x21, 0x30, 0x31])
def test_what_is_less_than_the_least_class_is_refused(least: Auth, control: int) -> None:
    rank = ["plain", "unverified", "verified"]
    auth = expected_class(control, "both keys")
    got = outcome(Unwrapper(Keys(EK, AK), min_auth=least), seal(control=control))
    assert (got if isinstance(got, str) else got and got.auth) == (
        auth if rank.index(auth) >= rank.index(least) else "downgrade"
    )


def test_plain_content_is_less_than_unverified() -> None:
    for least in ("unverified", "verified"):
        unwrapper = Unwrapper(Keys(EK, AK), min_auth=least)  # type: ignore[arg-type]
        assert outcomes(unwrapper, NOTIFICATION, P1, *blocks(NOTIFICATION, 1)) == ["downgrade"] * 3


def test_unverified_content_needs_a_person_whatever_a_profile_asks() -> None:
    assert outcome(Unwrapper(Keys(EK), min_auth="unverified"), seal()) == "unauthenticated_refused"
    assert outcome(Unwrapper(Keys(EK), min_auth="plain"), seal()) == "unauthenticated_refused"
    allowed = Unwrapper(Keys(EK), min_auth="unverified", unverified_by_person=True)
    assert outcome(allowed, seal()) == Plain(NOTIFICATION, "unverified", Cipher(TITLE, 0x30, 1000))


def test_a_person_who_has_the_authentication_key_still_has_every_tag_checked() -> None:
    unwrapper = Unwrapper(Keys(EK, AK), unverified_by_person=True)
    assert outcome(unwrapper, seal(ak=EK)) == "tag"


def test_empty_additional_data_is_never_tried_by_itself() -> None:
    sealed = seal(aad=b"")
    assert outcome(authentic(), sealed) == "tag"
    assert outcome(Unwrapper(Keys(EK)), sealed) == "unauthenticated_refused"
    assert outcome(Unwrapper(Keys(EK), empty_aad=True), seal()) == "tag"
    for keys in (Keys(EK), Keys(EK, AK)):
        assert outcome(Unwrapper(keys, empty_aad=True), sealed) == Plain(
            NOTIFICATION, "verified", Cipher(TITLE, 0x30, 1000)
        )
    assert outcome(Unwrapper(Keys(EK, AK), empty_aad=True), seal(control=0x10)) == Plain(
        NOTIFICATION, "verified", Cipher(TITLE, 0x10, 1000)
    )


def test_a_failure_says_title_counter_and_control() -> None:
    for unwrapper, apdu in [(Unwrapper(None), seal()), (authentic(), seal(ak=EK)), (authentic(), seal(control=0xF2))]:
        with pytest.raises(UnwrapError) as error:
            unwrapper.unwrap(frame(apdu))
        control = f"{apdu[11]:02X}"
        assert error.value.evidence == f"system title {TITLE.hex().upper()}, counter 1000, security control {control}"


# --- Other APDUs -----------------------------------------------------------------------------------------------------


def expected_name(tag: int) -> str:
    """By DLMS UA 1000-2 clause 9.5 (ASN.1 tags of xDLMS APDUs), written again."""
    glo = {0x21, 0x25, 0x26, 0x28, 0x2C, 0x2D, 0x2E, 0x36, 0x38, 0xC8, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCF}
    ded = {0x41, 0x45, 0x46, 0x48, 0x4C, 0x4D, 0x4E, 0x56, 0x58, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD7}
    named = {0xDC: "general_ciphering", 0xDD: "general_ciphering", 0xDF: "signing"}
    return "ciphered_service" if tag in glo | ded else named.get(tag, "unknown_apdu")


def test_other_apdus_are_named_and_not_opened() -> None:
    for tag in set(range(256)) - {0x0F, 0x2F, 0xDB, 0xE0}:
        apdu = bytes([tag]) + NOTIFICATION
        assert outcome(Unwrapper(Keys(EK, AK)), apdu) == expected_name(tag), hex(tag)
        assert outcome(Unwrapper(Keys(EK, AK)), seal(apdu)) == expected_name(tag), hex(tag)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0xDD, "general-ciphering (tag DD)"),
        (0xDC, "general-ded-ciphering (tag DC)"),
        (0xDF, "general-signing (tag DF)"),
        (0xC8, "glo-ciphered service (tag C8)"),
        (0xD4, "ded-ciphered service (tag D4)"),
        (0x61, "association (tag 61)"),
        (0xB0, "APDU (tag B0)"),
    ],
)
def test_a_failure_names_the_apdu(tag: int, name: str) -> None:
    with pytest.raises(UnwrapError) as error:
        Unwrapper(None).unwrap(frame(bytes([tag]) + bytes(20)))
    assert error.value.evidence == name


def test_an_empty_frame_is_refused() -> None:
    assert outcomes(authentic(), b"", seal(b""), block(1, b"", last=True)) == ["length"] * 3


# --- Damage ----------------------------------------------------------------------------------------------------------


def test_no_flipped_bit_gives_content_of_a_verified_meter() -> None:
    for apdu in (seal(), seal(P1), seal(control=0x31), seal(control=0x10)):
        unwrapper = Unwrapper(Keys(EK, AK), min_auth="verified")
        for at in range(len(apdu) * 8):
            damaged = bytearray(apdu)
            damaged[at // 8] ^= 1 << at % 8
            assert isinstance(outcome(unwrapper, bytes(damaged)), str), at


def test_without_least_class_only_the_flip_to_an_untagged_telegram_opens_and_is_unverified() -> None:
    """The tag is then a rest behind the content, which no grammar accepts; the pinned class refuses it before."""
    opened = []
    for at in range(len(seal()) * 8):
        damaged = bytearray(seal())
        damaged[at // 8] ^= 1 << at % 8
        got = outcome(authentic(), bytes(damaged))
        opened += [(at, got)] if isinstance(got, Plain) else []
    [(at, plain)] = opened
    assert at == 11 * 8 + 4
    assert isinstance(plain, Plain)
    assert plain.auth == "unverified"
    assert plain.payload[: len(NOTIFICATION)] == NOTIFICATION
    assert len(plain.payload) == len(NOTIFICATION) + 12


@settings(max_examples=300)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xdb", b"\xe0", b"\xe0\xc0\0\1\0\0", b"\xdb\x08" + TITLE]))
def test_whatever_is_fed_gives_a_known_code(rest: bytes, start: bytes) -> None:
    unwrapper = Unwrapper(Keys(EK, AK), min_auth="verified", system_title=TITLE)
    got = outcomes(unwrapper, start + rest, rest, start + rest)
    assert not any(isinstance(one, Plain) for one in got)


def test_a_length_bomb_allocates_nothing() -> None:
    bombs = [
        bytes.fromhex("DB0884FFFFFFFF"),
        b"\xdb\x84\xff\xff\xff\xff" + bytes(20),
        b"\xdb\x08" + TITLE + bytes.fromhex("84FFFFFFFF30000003E8"),
        bytes.fromhex("E0C00001000084FFFFFFFF") + bytes(20),
        bytes.fromhex("E040FFFF0000840000FFFF") + bytes(20),
        bytes.fromhex("0184FFFFFFFF"),
    ]
    unwrapper = authentic()
    tracemalloc.start()
    try:
        for bomb in bombs * 50:
            assert outcome(unwrapper, bomb) in ("length", "unknown_apdu")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layers", [2, 3, 20_000])
def test_what_is_nested_deeper_than_meters_do_is_refused(layers: int) -> None:
    shells: list[bytes] = []
    size = min(layers, 40)
    apdu = NOTIFICATION
    for _ in range(size):  # blocks in blocks
        apdu = block(1, apdu, last=True)
    shells.append(apdu)
    apdu = NOTIFICATION
    for counter in range(size):  # ciphers in ciphers
        apdu = seal(apdu, counter=counter)
    shells.append(apdu)
    apdu = NOTIFICATION
    for counter in range(size):  # a block in a cipher in a block, and on
        apdu = block(1, seal(block(1, apdu, last=True), counter=counter), last=True)
    shells += [apdu, b"\xe0\xc0\0\1\0\0\x84" * (layers * 2)]
    for shell in shells:
        assert outcome(authentic(), shell) in ("nesting", "length")
    assert (
        outcome(authentic(), shells[0])
        == outcome(authentic(), shells[1])
        == outcome(authentic(), shells[2])
        == "nesting"
    )


def test_blocks_that_are_ciphered_one_by_one_are_refused() -> None:
    """Their counters would have to be judged together; no meter is known that sends them."""
    inner = blocks(NOTIFICATION, 2)
    got = [outcome(authentic(), seal(part, counter=counter)) for counter, part in enumerate(inner)]
    assert got == ["nesting", "nesting"]


# --- Blocks ----------------------------------------------------------------------------------------------------------

FIRST, SECOND = NOTIFICATION + b"\x01" * 90, NOTIFICATION + b"\x02" * 90


def test_a_lost_block_costs_its_message_and_no_other() -> None:
    one, two = blocks(FIRST, 5), blocks(SECOND, 5)
    for lost in range(5):
        unwrapper = Unwrapper(None)
        got = outcomes(unwrapper, *(part for at, part in enumerate(one) if at != lost), *two)
        assert [plain for plain in got if isinstance(plain, Plain)] == [Plain(SECOND, "plain", None)]
        assert [code for code in got if isinstance(code, str)] == ["block_lost"], lost


def test_a_doubled_block_costs_its_message_and_no_other() -> None:
    one, two = blocks(FIRST, 5), blocks(SECOND, 5)
    for doubled in range(1, 4):
        got = outcomes(Unwrapper(None), *one[: doubled + 1], *one[doubled:], *two)
        assert [code for code in got if code] == ["block_order", Plain(SECOND, "plain", None)], doubled


def test_a_doubled_last_block_is_told_and_costs_nothing() -> None:
    one = blocks(FIRST, 5)
    assert outcomes(Unwrapper(None), *one, one[4])[4:] == [Plain(FIRST, "plain", None), "block_order"]


def test_a_doubled_first_block_begins_again() -> None:
    one = blocks(FIRST, 3)
    assert outcomes(Unwrapper(None), one[0], *one) == [None, "block_lost", None, Plain(FIRST, "plain", None)]


def test_block_1_begins_a_new_message_and_tells_that_the_old_one_is_lost() -> None:
    one, two = blocks(FIRST, 5), blocks(SECOND, 3)
    got = outcomes(Unwrapper(None), *one[:3], *two)
    assert got == [None, None, None, "block_lost", None, Plain(SECOND, "plain", None)]


def test_a_message_of_one_block_is_not_lost_behind_an_incomplete_one() -> None:
    assert outcomes(Unwrapper(None), blocks(FIRST, 5)[0], *blocks(SECOND, 1)) == [None, Plain(SECOND, "plain", None)]


def test_a_stream_that_begins_in_the_middle_of_a_message_gives_the_next_one() -> None:
    got = outcomes(Unwrapper(None), *blocks(FIRST, 5)[2:], *blocks(SECOND, 2))
    assert got == ["block_lost", None, None, None, Plain(SECOND, "plain", None)]


def test_every_order_of_blocks_is_whole_or_nothing() -> None:
    one, two = blocks(FIRST, 4), blocks(SECOND, 4)
    for order in itertools.permutations(range(4)):
        got = outcomes(Unwrapper(None), *(one[at] for at in order), *two)
        told = [code for code in got if isinstance(code, str)]
        plains = [plain.payload for plain in got if isinstance(plain, Plain)]
        whole = order == (0, 1, 2, 3)
        assert plains == ([FIRST, SECOND] if whole else [SECOND]), order
        assert bool(told) is not whole, order


@settings(max_examples=300)
@given(st.data())
def test_nothing_is_put_together_that_was_not_sent_together(data: st.DataObject) -> None:
    """Blocks of ciphered messages in any order, doubled and lost: what opens is one of the messages, in full."""
    messages = [NOTIFICATION + bytes([n]) * 60 for n in range(3)]
    sent = [part for n, message in enumerate(messages) for part in blocks(seal(message, counter=n), 4)]
    order = data.draw(st.lists(st.sampled_from(range(len(sent))), max_size=24))
    unwrapper = authentic()
    for got in outcomes(unwrapper, *(sent[at] for at in order)):
        assert not isinstance(got, Plain) or got.payload in messages
    assert unwrapper.pending <= len(seal(messages[0]))


def test_the_end_of_input_tells_an_incomplete_message() -> None:
    unwrapper = Unwrapper(None)
    unwrapper.close()
    outcomes(unwrapper, *blocks(FIRST, 4)[:3])
    assert 0 < unwrapper.pending < len(FIRST)
    with pytest.raises(UnwrapError) as error:
        unwrapper.close()
    assert error.value.code == "block_lost"
    assert unwrapper.pending == 0
    unwrapper.close()


def test_a_message_is_bounded_in_octets_and_blocks() -> None:
    large = [block(number, bytes(1000)) for number in range(1, 40)]
    small = [block(number, b"") for number in range(1, 400)]
    for sent in (large, small):
        unwrapper = Unwrapper(None)
        got = outcomes(unwrapper, *sent)
        assert got.count("oversized") == 1
        assert set(got) == {None, "oversized"}
        assert unwrapper.pending == 0
        assert isinstance(outcomes(unwrapper, *blocks(FIRST, 2))[-1], Plain)
    whole = NOTIFICATION + bytes(LIMIT - len(NOTIFICATION))
    assert outcomes(Unwrapper(None), *blocks(whole, 100))[-1] == Plain(whole, "plain", None)
    assert outcomes(Unwrapper(None), *blocks(whole + b"\0", 100))[-1] == "oversized"


@pytest.mark.parametrize("control", [0x00, 0x01, 0x3F, 0x40, 0x46, 0x7F])
def test_window_and_streaming_change_nothing_in_a_push(control: int) -> None:
    sent = [block(1, FIRST[:50], control=control), block(2, FIRST[50:], control=control, last=True)]
    assert outcomes(Unwrapper(None), *sent) == [None, Plain(FIRST, "plain", None)]


def test_a_damaged_block_costs_its_message() -> None:
    one, two = blocks(FIRST, 3), blocks(SECOND, 3)
    got = outcomes(Unwrapper(None), one[0], one[1][:-1], one[2], *two)
    assert [code for code in got if code] == ["length", Plain(SECOND, "plain", None)]


def test_other_telegrams_between_blocks_do_not_disturb() -> None:
    one = blocks(seal(FIRST), 3)
    unwrapper = authentic()
    got = outcomes(unwrapper, one[0], NOTIFICATION, one[1], seal(SECOND), b"\xc2\0", one[2])
    assert [one.payload for one in got if isinstance(one, Plain)] == [NOTIFICATION, SECOND, FIRST]


# --- Which key is wrong ----------------------------------------------------------------------------------------------


class Captured(NamedTuple):
    """A case of the corpus: its keys, the APDUs that its frames hold, and what they are."""

    name: str
    ek: bytes
    ak: bytes | None
    apdus: list[bytes]
    auth: str | None
    valid: bool


def hdlc_apdus(data: bytes) -> Iterator[bytes]:
    """The information fields of unsegmented HDLC frames, without LLC."""
    at = 0
    while at < len(data) - 3:
        size = (data[at + 1] & 7) << 8 | data[at + 2]
        if data[at] != 0x7E or data[at + 1] & 0xF8 != 0xA0:
            at += 1
            continue
        body = data[at + 3 : at + 1 + size - 2]
        for _ in range(2):  # destination and source address: the lowest bit ends each
            body = body[next(i for i, octet in enumerate(body) if octet & 1) + 1 :]
        yield body[3:].removeprefix(b"\xe6\xe7\0")
        at += 1 + size


def mbus_apdus(data: bytes) -> Iterator[bytes]:
    """The user data of M-Bus long frames, put together up to the final one; a length may have wrapped at 256."""
    at, apdu = 0, b""
    while at < len(data):
        size = next(n for n in (data[at + 1], data[at + 1] + 256) if data[at + n + 5 : at + n + 6] == b"\x16")
        apdu += data[at + 9 : at + 4 + size]
        if data[at + 6] & 0x10:
            yield apdu
            apdu = b""
        at += size + 6


SLICERS = {
    "hdlc-push-encrypted": hdlc_apdus,
    "mbus-link-push-encrypted": mbus_apdus,
    "p1-encrypted": lambda data: iter([data]),
    "wrapper-push-encrypted": lambda data: (data[at + 8 : at + 78] for at in range(0, len(data), 78)),
}


def captures(folder: Path) -> list[Captured]:
    found = []
    for family, slicer in SLICERS.items():
        path = folder / f"{family}.jsonl"
        for case in map(json.loads, path.read_text().splitlines() if path.exists() else ()):
            keys = {name: bytes.fromhex(key) for name, key in case["keys"].items()}
            apdus = list(slicer(bytes.fromhex(case["data"])))
            auth, ek = case["item_p"].get("auth"), keys.get("encryption", b"")
            found.append(Captured(case["id"], ek, keys.get("authentication"), apdus, auth, case["valid"]))
    return found


@pytest.fixture(scope="module")
def captured(corpus: Path) -> list[Captured]:
    """Every ciphered case of the shared corpus."""
    found = captures(corpus / "open") + captures(corpus / "reference")
    assert len(found) >= 20, "the corpus is elsewhere: this test looks at nothing"
    return found


def plain_of(unwrapper: Unwrapper, apdus: list[bytes]) -> list[Plain | str]:
    return [got for got in outcomes(unwrapper, *apdus) if got is not None]


@pytest.mark.corpus
def test_every_capture_with_keys_opens_in_its_class(captured: list[Captured]) -> None:
    opened = 0
    for case in captured:
        if not case.ek or not case.valid:
            continue
        unwrapper = Unwrapper(Keys(case.ek, case.ak), unverified_by_person=True)
        got = plain_of(unwrapper, case.apdus)
        assert got, case.name
        for plain in got:
            assert isinstance(plain, Plain), (case.name, plain)
            assert plain.auth == (case.auth or "unverified"), case.name
            opened += 1
    assert opened >= 12


@pytest.mark.corpus
def test_captures_that_authenticate_nothing_are_verified_where_a_profile_says_so(captured: list[Captured]) -> None:
    without = [case for case in captured if case.name.endswith("-without-aad")]
    assert len(without) == 2
    for case in without:
        [plain] = plain_of(Unwrapper(Keys(case.ek), empty_aad=True, min_auth="verified"), case.apdus)
        assert isinstance(plain, Plain)
        assert plain.auth == "verified"
        assert plain_of(Unwrapper(Keys(case.ek)), case.apdus) == ["unauthenticated_refused"]


@pytest.mark.corpus
def test_captures_without_key_say_whose_they_are(captured: list[Captured]) -> None:
    keyless = [case for case in captured if case.valid]
    for case in keyless:
        unwrapper = Unwrapper(None)
        errors = []
        for apdu in case.apdus:
            with contextlib.suppress(StopIteration):
                try:
                    assert unwrapper.unwrap(frame(apdu)) is None
                except UnwrapError as error:
                    errors.append(error)
        assert errors, case.name
        assert {error.code for error in errors} == {"key_missing"}, case.name
        assert all("system title" in error.evidence and "counter" in error.evidence for error in errors)


def named(apdus: list[bytes], ek: bytes, ak: bytes | None, **more: Any) -> list[Plain | str]:
    """What is said of the same message three times: the third time a wrong key is named."""
    unwrapper = Unwrapper(Keys(ek, ak), **more)
    return [one for _ in range(3) for one in plain_of(unwrapper, apdus)]


def fresh(chance: random.Random) -> tuple[bytes, bytes, list[bytes]]:
    """Keys and a telegram of a new meter: notification with or without time, or P1; whole or in blocks."""
    ek, ak, title = chance.randbytes(16), chance.randbytes(16), chance.randbytes(8)
    content = chance.choice([NOTIFICATION, P1, bytes.fromhex("0F40000000000102") + bytes(60)]) + chance.randbytes(99)
    apdu = seal(content, 0x30, chance.randrange(2**32), ek=ek, ak=ak, title=title)
    return ek, ak, blocks(apdu, 3) if chance.random() < 0.3 else [apdu]


def test_a_wrong_encryption_key_is_named_in_100_of_100() -> None:
    chance = random.Random(3)
    for _ in range(100):
        ek, ak, apdus = fresh(chance)
        assert plain_of(Unwrapper(Keys(ek, ak)), apdus) != []
        assert named(apdus, chance.randbytes(16), ak) == ["tag", "tag", "key_rejected"]
        assert named(apdus, chance.randbytes(16), chance.randbytes(16)) == ["tag", "tag", "key_rejected"]


def test_a_wrong_authentication_key_is_named_in_100_of_100() -> None:
    chance = random.Random(4)
    for _ in range(100):
        ek, _, apdus = fresh(chance)
        assert named(apdus, ek, chance.randbytes(16)) == ["tag", "tag", "auth_key_rejected"]


def test_a_wrong_encryption_key_without_tag_is_named_in_100_of_100() -> None:
    chance = random.Random(5)
    for _ in range(100):
        ek = chance.randbytes(16)
        assert named([seal(control=0x20)], ek, None) == ["garbled", "garbled", "key_rejected"]
        assert named([seal()], ek, None, unverified_by_person=True) == ["garbled", "garbled", "key_rejected"]


@pytest.mark.corpus
def test_wrong_keys_of_captures_are_named_in_100_of_100(captured: list[Captured]) -> None:
    chance = random.Random(6)
    tagged = [case for case in captured if case.ak and case.valid]
    assert len(tagged) >= 5
    for trial in range(100):
        case = tagged[trial % len(tagged)]
        assert named(case.apdus, chance.randbytes(16), case.ak) == ["tag", "tag", "key_rejected"], case.name
        assert named(case.apdus, case.ek, chance.randbytes(16)) == ["tag", "tag", "auth_key_rejected"], case.name
    untagged = [case for case in captured if case.ek and not case.ak and case.valid]
    for trial in range(100):
        case = untagged[trial % len(untagged)]
        got = named(case.apdus, chance.randbytes(16), None, unverified_by_person=True)
        assert got == ["garbled", "garbled", "key_rejected"], case.name


def test_no_key_is_named_before_three_telegrams_in_a_row_agree() -> None:
    good, wrong_ek, wrong_ak = seal(), seal(ek=AK), seal(ak=EK)
    for order in itertools.product((good, wrong_ek, wrong_ak), repeat=6):
        got = outcomes(authentic(), *order)
        for at, code in enumerate(got):
            agree = at >= 2 and order[at - 2] == order[at - 1] == order[at]
            assert (code in ("key_rejected", "auth_key_rejected")) == (agree and order[at] != good)


def test_authentication_alone_cannot_tell_which_key_is_wrong() -> None:
    for keys in (Keys(AK, AK), Keys(EK, EK)):
        assert outcomes(Unwrapper(keys), *[seal(control=0x10)] * 5) == ["tag"] * 5


# --- What the counter rules are told ---------------------------------------------------------------------------------


def test_only_a_counter_that_opened_or_proved_something_is_judged() -> None:
    identity = Identity(TITLE.hex().upper(), Keys(EK).fingerprint, "unicast")
    for control, keys, wanted in [
        (0x30, Keys(EK, AK), Seen("verified", identity, 1000, 5)),
        (0x10, Keys(EK, AK), Seen("verified", identity, 1000, 5)),
        (0x20, Keys(EK), Seen("unverified", identity, 1000, 5)),
        (0x30, Keys(EK), Seen("unverified", identity, 1000, 5)),
        (0x10, Keys(EK), Seen("unverified", None, 0, 5)),
        (0x00, Keys(EK), Seen("plain", None, 0, 5)),
    ]:
        unwrapper = Unwrapper(keys, unverified_by_person=True)
        plain = unwrapper.unwrap(frame(seal(control=control)))
        assert plain is not None
        assert unwrapper.seen(plain, 5) == wanted
    unwrapper = Unwrapper(None)
    assert unwrapper.seen(Plain(NOTIFICATION, "plain", None), None) == Seen("plain", None, 0, None)


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_no_text_holds_a_key_or_content(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    chance = random.Random(7)
    texts = io.StringIO()
    for _ in range(60):
        ek, ak = chance.randbytes(16), chance.randbytes(16)
        content = NOTIFICATION + chance.randbytes(16)
        unwrappers = [
            Unwrapper(Keys(*pair), unverified_by_person=person)
            for pair in [(ek, ak), (ek, ek), (ak, ak), (ek, None), (ak, None)]
            for person in (False, True)
        ]
        apdus = [seal(content, control, ek=ek, ak=ak) for control in (0x10, 0x20, 0x30, 0x40, 0x02, 0x80)]
        apdus += [apdu[:-1] for apdu in apdus] + [seal(b"\xdd" + content, ek=ek, ak=ak), seal(apdus[0], ek=ek, ak=ak)]
        for unwrapper, apdu in itertools.product(unwrappers, apdus):
            try:
                unwrapper.unwrap(frame(apdu))
            except UnwrapError as error:
                texts.write("".join(traceback.format_exception(error)) + f"{error!r} {error.evidence} {vars(error)}")
        texts.write("".join(f"{unwrapper!r} {unwrapper._keys!r} {unwrapper}" for unwrapper in unwrappers))
        shown = texts.getvalue() + caplog.text + "".join(capfd.readouterr())
        for secret in (ek, ak, content[-16:]):
            assert not any(form in shown for form in (secret.hex(), secret.hex().upper(), repr(secret)[2:-1])), (
                "a secret"
            )
        texts = io.StringIO()
    assert Keys(EK).fingerprint in repr(Keys(EK))
