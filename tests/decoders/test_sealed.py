"""Encrypted P1 of Stoen Operator through the decoder: opened, refused, told apart from plain P1, and never guessed."""

import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from decoders.cipher import Keys
from decoders.decoder import Decoder, Security
from decoders.model import Fault, Reading, Result
from decoders.profile import Profile
from gateway import profiles

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
HEAD = b"/EGM5G15\r\n\r\n"
LINES = b"0-0:1.0.0(250410150553S)\r\n1-0:1.8.0(002345.035*kWh)\r\n1-0:1.7.0(00.278*kW)\r\n1-0:2.7.0(00.000*kW)\r\n"
NAME = "pl-stoen-gama-encrypted"


def crc16_arc(octets: bytes) -> int:
    register = 0
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register


def with_crc(body: bytes) -> bytes:
    return body + f"{crc16_arc(body):04X}\r\n".encode()


def seal(text: bytes, counter: int = 1, *, title: bytes = bytes(8), control: int = 0x30) -> bytes:
    """The telegram on the wire, from its definition."""
    octet, count = bytes([control]), counter.to_bytes(4, "big")
    block = octet + count + AESGCM(EK).encrypt(title + count, text, octet + AK)[: -4 if control & 0x10 else -16]
    return with_crc(HEAD + b"\x00\x82" + len(block).to_bytes(2, "big") + block + b"!")


def lines(inner: bytes = b"!1234\r\n") -> bytes:
    return LINES + inner


def decoder(candidates: list[Profile] | None = None, keys: Keys | None = None, **security: Any) -> Decoder:
    chosen = Security(keys=keys or Keys(EK, AK), **security)
    return Decoder(candidates or [profiles.load(NAME)], ZoneInfo, security=chosen)


def codes(results: list[Result]) -> list[str]:
    return [result.code if isinstance(result, Fault) else result.profile for result in results]


@pytest.fixture(scope="module", params=["p1", None], ids=["auto", "everything"])
def candidates(request: pytest.FixtureRequest) -> list[Profile]:
    """What `auto` may choose from."""
    return profiles.load_auto(request.param)


def test_the_telegram_inside_is_read_and_verified() -> None:
    (reading,) = decoder().feed(seal(lines()))
    assert isinstance(reading, Reading)
    assert (reading.p_import_w, reading.p_export_w, reading.a_import_wh) == (278, 0, 2_345_035)
    assert (reading.auth, reading.profile) == ("verified", NAME)
    assert reading.seen is not None
    assert reading.seen.identity is not None
    assert (reading.seen.identity.system_title, reading.seen.counter) == ("00" * 8, 1)


def test_auto_settles_on_it_beside_every_other_profile(candidates: list[Profile]) -> None:
    data = seal(lines())
    one = decoder(candidates)
    assert codes([result for octet in data * 3 for result in one.feed(bytes([octet]))] + one.close()) == [NAME] * 3
    assert codes(decoder(candidates).feed(data[100:] + data)) == [NAME]


def test_auto_takes_plain_telegrams_of_the_same_meter_for_plain(candidates: list[Profile]) -> None:
    assert codes(decoder(candidates).feed(with_crc(HEAD + LINES + b"!"))) == ["pl-stoen-gama"]


#: what may stand in ciphertext and tag as it does at the end of a P1 telegram
ENDS = [re.compile(rb"[\n)]\Z"), re.compile(rb"[\n)]!"), re.compile(rb"!\r|\r\n")]


@pytest.mark.parametrize("end", ENDS, ids=["tag ends as a line", "line end and !", "! or line end"])
def test_no_end_of_a_line_in_the_ciphertext_makes_it_plain(end: re.Pattern[bytes], candidates: list[Profile]) -> None:
    found = (seal(lines(), counter) for counter in range(20_000))
    data = next(data for data in found if end.search(data[len(HEAD) + 9 : data.rindex(b"!")]))
    assert codes(decoder(candidates).feed(data)) == [NAME]
    assert codes(decoder(candidates, Keys(AK, AK)).feed(data * 3)) == ["tag", "tag", "key_rejected"]


def test_the_crc_inside_is_not_asked_for_where_the_tag_is_right() -> None:
    assert codes(decoder().feed(seal(lines(b"!\r\n")))) == [NAME]
    assert codes(decoder().feed(seal(LINES))) == ["truncated"]


def test_without_the_authentication_key_a_person_may_open_it_and_the_crc_inside_decides() -> None:
    inner = with_crc(HEAD + LINES + b"!")[len(HEAD) :]
    keys = Keys(EK)
    assert codes(decoder(keys=keys).feed(seal(inner))) == ["unauthenticated_refused"]
    (reading,) = decoder(keys=keys, unverified_by_person=True).feed(seal(inner))
    assert isinstance(reading, Reading)
    assert reading.auth == "unverified"
    assert codes(decoder(keys=keys, unverified_by_person=True).feed(seal(lines()))) == ["checksum"]


def test_the_wrong_key_is_named() -> None:
    telegrams = b"".join(seal(lines(), counter) for counter in range(3))
    assert codes(decoder(keys=Keys(AK, AK)).feed(telegrams)) == ["tag", "tag", "key_rejected"]
    assert codes(decoder(keys=Keys(EK, EK)).feed(telegrams)) == ["tag", "tag", "auth_key_rejected"]
    assert codes(Decoder([profiles.load(NAME)], ZoneInfo).feed(telegrams)) == ["key_missing"] * 3


def test_a_system_title_of_the_configuration_wins() -> None:
    title = b"EGM\x00\x00\x12\x34\x56"
    data = seal(lines(), title=title)
    assert codes(decoder(system_title=title).feed(data)) == [NAME]
    assert codes(decoder().feed(data)) == ["tag"]


def test_no_title_is_assumed_on_another_link() -> None:
    apdu = b"\xdb" + seal(lines())[len(HEAD) : -7]
    assert codes(decoder([profiles.load("lu-smarty-encrypted")]).feed(apdu)) == ["title_missing"]


def test_a_damaged_telegram_gives_no_reading_and_the_next_one_does(candidates: list[Profile]) -> None:
    data = seal(lines())
    for place in range(0, len(data) - 2, 5):
        damaged = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        results = decoder(candidates).feed(damaged + seal(lines(), 2))
        assert [result.seen.counter for result in results if isinstance(result, Reading) and result.seen] == [2], place
        assert len([result for result in results if isinstance(result, Reading)]) == 1
