"""Keys and AES-GCM: published vectors, every damage, the probe's error rates, and that keys never show themselves."""

import base64
import copy
import pickle
import random
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from decoders.cipher import REFUSALS, Cipher, Keys, KeyTextError, fingerprint, pair_warning, parse_key, plausible, probe

EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
APDU = bytes.fromhex("C0010000080000010000FF0200")

#: the example of DLMS UA 1000-2 clause 9.2.7: security control, content and tag for one APDU
BOOK = {
    0x10: "C0010000080000010000FF0200 06725D910F9221D263877516",
    0x30: "411312FF935A47566827C467BC 7D825C3BE4A77C3FCC056B6B",
}

#: AES-128 cases of the GCM specification (NIST submission, appendix B): key, nonce, plaintext, ciphertext, tag
NIST = [
    ("00" * 16, "00" * 12, "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    (
        "00" * 16,
        "00" * 12,
        "00" * 16,
        "0388dace60b6a392f328c2b971b2fe78",
        "ab6e47d42cec13bdf53a67b21257bddf",
    ),
    (
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        (
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
        ),
        (
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
        ),
        "4d5c2af327cd64a62cf35abd2ba6fab4",
    ),
]


def header(control: int, counter: int = 0x01234567) -> Cipher:
    return Cipher(TITLE, control, counter)


def seal(control: int, content: bytes, *, counter: int = 0x01234567, ek: bytes = EK, ak: bytes = AK) -> bytes:
    """Content and tag as a meter sends them, straight from the standard's definition."""
    nonce, aad = TITLE + counter.to_bytes(4, "big"), bytes([control]) + ak
    if control & 0x20:
        return AESGCM(ek).encrypt(nonce, content, aad)[: len(content) + 12]
    return content + AESGCM(ek).encrypt(nonce, b"", aad + content)[:12]


@pytest.mark.parametrize("control", sorted(BOOK))
def test_the_example_of_the_green_book_verifies(control: int) -> None:
    assert Keys(EK, AK).verify(header(control), bytes.fromhex(BOOK[control])) == APDU


def test_the_example_of_the_green_book_decrypts_without_tag() -> None:
    assert Keys(EK).decrypt(header(0x20), bytes.fromhex(BOOK[0x30].split()[0])) == APDU


@pytest.mark.parametrize(("key", "nonce", "plain", "sealed", "tag"), NIST, ids=["1", "2", "3"])
def test_the_cases_of_the_gcm_specification_verify(key: str, nonce: str, plain: str, sealed: str, tag: str) -> None:
    octets = bytes.fromhex(nonce)
    cipher = Cipher(octets[:8], 0x30, int.from_bytes(octets[8:], "big"))
    body = bytes.fromhex(sealed + tag)[:-4]
    keys = Keys(bytes.fromhex(key))
    assert keys.verify(cipher, body, empty_aad=True) == bytes.fromhex(plain)
    assert keys.decrypt(cipher, bytes.fromhex(sealed)) == bytes.fromhex(plain)
    assert keys.verify(cipher, body[:-1] + bytes([body[-1] ^ 1]), empty_aad=True) is None


@given(
    st.binary(max_size=600),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0x10, 0x11, 0x30, 0x31]),
)
def test_what_a_meter_seals_is_verified(content: bytes, ek: bytes, ak: bytes, counter: int, control: int) -> None:
    body = seal(control, content, counter=counter, ek=ek, ak=ak)
    assert Keys(ek, ak).verify(header(control, counter), body) == content


@pytest.mark.parametrize("control", [0x10, 0x30])
def test_no_flipped_bit_is_verified(control: int) -> None:
    body = bytearray(seal(control, b"\x0f" + bytes(40)))
    for at in range(len(body) * 8):
        body[at // 8] ^= 1 << at % 8
        assert Keys(EK, AK).verify(header(control), bytes(body)) is None, at
        body[at // 8] ^= 1 << at % 8
    assert Keys(EK, AK).verify(header(control), bytes(body)) is not None


@pytest.mark.parametrize(
    "cipher",
    [
        Cipher(bytes(8), 0x30, 0x01234567),
        Cipher(TITLE, 0x31, 0x01234567),
        Cipher(TITLE, 0x30, 0x01234568),
        Cipher(TITLE, 0x10, 0x01234567),
    ],
)
def test_no_other_header_is_verified(cipher: Cipher) -> None:
    assert Keys(EK, AK).verify(cipher, seal(0x30, APDU)) is None


def test_another_key_or_other_additional_data_is_not_verified() -> None:
    body = seal(0x30, APDU)
    assert Keys(AK, AK).verify(header(0x30), body) is None
    assert Keys(EK, EK).verify(header(0x30), body) is None
    assert Keys(EK).verify(header(0x30), body) is None
    assert Keys(EK, AK).verify(header(0x30), body, empty_aad=True) is None


@pytest.mark.parametrize("size", range(13))
def test_a_body_shorter_than_its_tag_is_not_verified(size: int) -> None:
    assert Keys(EK, AK).verify(header(0x30), seal(0x30, b"")[:size]) == (b"" if size == 12 else None)


# --- Security control ------------------------------------------------------------------------------------------------


def test_all_256_security_controls_are_classified() -> None:
    accepted = {0x00, 0x01, 0x10, 0x11, 0x20, 0x21, 0x30, 0x31}
    assert {control for control in range(256) if REFUSALS[control] is None} == accepted
    for control in set(range(256)) - accepted:
        suite, compressed, broadcast = control % 16 > 1, control > 127, control % 128 > 63
        wanted = "suite" if suite else "compression" if compressed else "broadcast_key"
        assert suite or compressed or broadcast
        assert REFUSALS[control] == wanted, hex(control)


# --- Probe -----------------------------------------------------------------------------------------------------------

#: beginnings that meters send, with the length of the whole
BEGINNINGS = [
    ("0f00000000 0c07ea030c040f181eff800000 02 41", 447),  # Kamstrup
    ("0f40000000 090c07e40119060e000aff800000 02 12", 142),  # Kaifa, with the type of the time
    ("0f40000000 00 011b0202", 566),  # Aidon, no time
    ("0f8000f1d5 00 02020002", 355),  # no time, structure
    ("0f0017fa98 0c07e60b0c0610360000ffc400 02 10", 336),  # Salzburg
    ("0f00000000 0cffffffffffffffffff8000ff 02 10", 100),  # a clock that says nothing
    ("0f00000000 0c07d00101061621 00ff800001 02 19", 214),  # a cold clock
    ("c200 0001 0000010000ff 02 09", 30),
    ("e0c0 0001 0000 10 0f", 23),
    ("e0c0 0001 0000 8200e7 0f", 240),
    (b"/Lux5\\253663629_D".hex(), 681),
    (b"/EST5\\253710000_A".hex(), 481),
    (b"/ISk5\\2MT382".hex(), 900),
    (b"0-0:1.0.0(250410150553S)".hex(), 630),  # Stoen: the identification stands in clear before the block
    (b"1-3:0.2.8(50)\r\n0-0:1".hex(), 630),
]


@pytest.mark.parametrize(("beginning", "length"), BEGINNINGS)
def test_what_meters_send_is_plausible(beginning: str, length: int) -> None:
    content = bytes.fromhex(beginning).ljust(length, b"\0")
    sealed = seal(0x30, content)[:-12]
    assert probe(Keys(EK), header(0x30), sealed)
    assert not probe(Keys(AK), header(0x30), sealed)
    assert plausible(content, length)


@pytest.mark.parametrize(
    ("time", "fits"),
    [
        ("0700 0C", True),
        ("06FF 0C", False),
        ("08FF 0C", True),
        ("0900 0C", False),
        ("FFFF 0C", True),
        ("FFFE 0C", False),
        ("07EA 0D", False),
        ("07EA FC", False),
        ("07EA FD", True),
    ],
)
def test_the_time_of_a_notification_has_a_year_and_a_month(time: str, fits: bool) -> None:
    head = bytes.fromhex("0F00000000 0C" + time) + bytes(9) + b"\x02"
    assert plausible(head, 300) is plausible(head[:5] + b"\x09" + head[5:], 300) is fits
    assert not plausible(head[:-1], 300)
    assert not plausible(head[:5] + b"\x0d" + head[6:], 300)


@pytest.mark.parametrize(
    ("head", "length", "fits"),
    [
        ("E0C00001000010", 23, True),
        ("E0C00001000010", 24, False),
        ("E0C00001000081", 300, True),
        ("E0C00001000080", 300, False),
        ("E0C00001000080", 135, True),
        ("E0C00002000010", 23, False),
        ("E0C000010000", 6, False),
        ("0F0000000000", 6, False),
        ("0F000000000002", 7, True),
    ],
)
def test_blocks_and_notifications_are_judged_to_the_octet(head: str, length: int, fits: bool) -> None:
    assert plausible(bytes.fromhex(head), length) is fits


@pytest.mark.parametrize("size", range(8))
def test_what_is_cut_off_is_judged_without_error(size: int) -> None:
    for beginning, _ in BEGINNINGS:
        assert plausible(bytes.fromhex(beginning)[:size], size) in (True, False)


def test_random_octets_are_hardly_ever_plausible() -> None:
    """Less than once in a million: each form's share is counted behind its first octet, which is 1 of 256."""
    chance = random.Random(20)
    trials = 60_000
    shares = {}
    for first in b"\x0f\xc2\xe0/01":
        heads = (bytes([first]) + chance.randbytes(23) for _ in range(trials))
        shares[first] = sum(plausible(head, 300) for head in heads) / trials / 256
    # Expected hits of 60,000: 2.7 for 0F, 0 for C2, E0 and digits, 2.0 for `/`; 12 of both has a chance below 1e-3.
    assert sum(shares.values()) <= 12 / trials / 256
    assert sum(shares.values()) < 1e-6
    assert not any(plausible(bytes([first]) + bytes(23), 24) for first in range(256) if first not in b"\x0f\xc2\xe0/01")


@pytest.mark.parametrize("text", ["0-0:", "2-0:1.0.0", "0.0:1.0.0", "a-0:1", "0-a:1", "0-0.1", " 0-0:1", "00-0:1"])
def test_text_that_begins_with_no_object_is_not_plausible(text: str) -> None:
    assert not plausible(text.encode().ljust(24, b"("), 300)


def test_no_wrong_key_is_plausible_in_twenty_thousand() -> None:
    chance = random.Random(21)
    keys = Keys(EK, AK)
    sealed = [seal(0x30, b"\x0f" + bytes(5) + b"\x02" + bytes(60), ek=chance.randbytes(16)) for _ in range(20_000)]
    assert not any(probe(keys, header(0x30), body[:-12]) for body in sealed)


# --- Keys ------------------------------------------------------------------------------------------------------------


def forms(key: bytes) -> list[str]:
    """How a key could stand in a text."""
    spaced = [key.hex(separator) for separator in " :-"]
    shown = [key.hex(), *spaced, base64.b64encode(key).decode(), repr(key)[2:-1], str(list(key))[1:-1]]
    return [form.lower() for form in shown]


def shows(text: str, *keys: bytes) -> bool:
    return any(form in text.lower() for key in keys for form in forms(key))


def test_the_search_for_keys_finds_one() -> None:
    assert all(shows(f"the key is {text}", AK) for text in (AK.hex(), AK.hex(" ").upper(), f"{AK!r}", f"{list(AK)}"))


def test_keys_do_not_show_themselves() -> None:
    keys = Keys(EK, AK)
    texts = [repr(keys), str(keys), f"{keys}", f"{keys!r}", "%s %r" % (keys, keys), repr([keys]), repr(dir(keys))]  # noqa: UP031
    texts += [repr(getattr(keys, name)) for name in dir(keys) if not name.startswith("_")]
    assert not any(shows(text, EK, AK) for text in texts)
    assert not hasattr(keys, "__dict__")
    assert repr(keys) == f"Keys(encryption {fingerprint(EK)}, authentication {fingerprint(AK)})"
    assert repr(Keys(EK)) == f"Keys(encryption {fingerprint(EK)}, authentication absent)"


@pytest.mark.parametrize("taken", [pickle.dumps, copy.copy, copy.deepcopy, lambda keys: keys.__getstate__()])
def test_keys_are_neither_copied_nor_stored(taken: object) -> None:
    assert callable(taken)
    with pytest.raises(TypeError, match="neither copied nor stored") as error:
        taken(Keys(EK, AK))
    assert not shows("".join(traceback.format_exception(error.value)), EK, AK)


@pytest.mark.parametrize(("ek", "ak"), [(b"", None), (EK + EK, None), (EK, b""), (EK, AK + AK), (EK[1:], AK)])
def test_keys_have_128_bits(ek: bytes, ak: bytes | None) -> None:
    with pytest.raises(ValueError, match="16 octets"):
        Keys(ek, ak)


def test_a_fingerprint_is_the_beginning_of_an_hmac() -> None:
    # `printf fp | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102030405060708090a0b0c0d0e0f`
    assert fingerprint(EK) == "28adde07"
    assert Keys(EK, AK).fingerprint == fingerprint(EK) != fingerprint(AK) == Keys(EK, AK).authentication_fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "36C66639E48A8CA4D6BC8B282A793BBB",
        "36c66639e48a8ca4d6bc8b282a793bbb\n",
        "0x36C66639E48A8CA4D6BC8B282A793BBB",
        " 36 C6 66 39 E4 8A 8C A4 D6 BC 8B 28 2A 79 3B BB ",
        "36:c6:66:39:e4:8a:8c:a4:d6:bc:8b:28:2a:79:3b:bb",
        "36C66639-E48A8CA4-D6BC8B28-2A793BBB",
        "0x36 0xC6 0x66 0x39 0xE4 0x8A 0x8C 0xA4 0xD6 0xBC 0x8B 0x28 0x2A 0x79 0x3B 0xBB",
    ],
)
def test_a_key_is_read_as_operators_write_it(text: str) -> None:
    assert parse_key(text) == bytes.fromhex("36C66639E48A8CA4D6BC8B282A793BBB")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this text has 0"),
        ("36C66639E48A8CA4D6BC8B282A793B", "this text has 30"),
        ("36C66639E48A8CA4D6BC8B282A793BB", "this text has 31"),
        ("36C66639E48A8CA4D6BC8B282A793BBB" * 2, "this text has 64"),
        ("36C66639E48A8CA4D6BC8B282A793BBG", "hexadecimal digits"),
        ("36C66639E48A8CA4D6BC8B282A793B\u0664\u0664", "hexadecimal digits"),
        ("00" * 16, "zeros"),
        ("11" * 16, "one repeated octet"),
        ("00112233445566778899aabbccddeeff", "sample key"),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str, reason: str) -> None:
    with pytest.raises(KeyTextError, match=reason) as error:
        parse_key(text)
    shown = "".join(traceback.format_exception_only(error.value)) + repr(error.value)
    assert not any(text[at : at + 6].lower() in shown.lower() for at in range(len(text) - 5))
    assert error.value.__context__ is None


def test_the_public_sample_is_an_authentication_key_only() -> None:
    sample = "00112233445566778899AABBCCDDEEFF"
    assert parse_key(sample, "authentication") == bytes.fromhex(sample)
    with pytest.raises(KeyTextError, match="zeros"):
        parse_key("00" * 16, "authentication")


def test_the_same_key_twice_is_odd() -> None:
    assert "the same" in (pair_warning(EK, EK) or "")
    assert pair_warning(EK, AK) is None
