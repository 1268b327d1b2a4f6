"""Security mode 5: opened with the right key, named without it, refused where it is not enough."""

import runpy
from pathlib import Path

import pytest

from decoders.cipher import Keys
from decoders.errors import UnwrapError
from decoders.mode5 import Mode5
from decoders.model import Frame

KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
HEAD = "long 12345678 SAM 1 0E {access} 00 {configuration}\n"
RECORDS = "octets 2F2F\n04 03 int 1234\n04 2B int 567\n"


@pytest.fixture(scope="module")
def frame(checkout: Path):
    make = runpy.run_path(str(checkout / "tools" / "make_mbus.py"))["make"]

    def made(configuration: str = "1005", *, key: bytes | None = KEY, access: int = 3, ci: str = "5B") -> Frame:
        head = f"telegram 53 F0 {ci}" + (f" key {key.hex()}" if key else "")
        data = make(f"{head}\n{HEAD.format(access=access, configuration=configuration)}{RECORDS}")
        body = data[4:-2]
        return Frame(bytes([len(body)]) + body, "ok", len(data))

    return made


def test_the_right_key_opens_a_telegram(frame) -> None:
    opened, auth = Mode5(Keys(KEY)).unwrap(frame())
    assert auth == "unverified"
    assert opened.payload[16:].startswith(bytes.fromhex("2F2F 0403 D2040000 042B 37020000"))


def test_without_a_key_the_telegram_is_named_and_nothing_else(frame) -> None:
    with pytest.raises(UnwrapError) as raised:
        Mode5(None).unwrap(frame())
    error = raised.value
    assert (error.code, error.evidence, error.size) == ("key_missing", "mode 5, access number 3", frame().size)


def test_a_wrong_key_is_blamed_after_three_telegrams_in_a_row(frame) -> None:
    opener, codes = Mode5(Keys(KEY)), []
    for key in (bytes(15) + b"\x01", KEY[::-1], KEY, KEY[::-1], KEY[::-1], KEY[::-1]):
        try:
            codes.append(opener.unwrap(frame(key=key))[1])
        except UnwrapError as error:
            codes.append(error.code)
    assert codes == ["garbled", "garbled", "unverified", "garbled", "garbled", "key_rejected"]


def test_a_telegram_in_clear_passes_where_its_class_is_enough(frame) -> None:
    for configuration in ("0000", "1005", "27B6"):
        clear = frame(configuration, key=None)
        assert Mode5(None).unwrap(clear) == (clear, "plain")
        with pytest.raises(UnwrapError, match="downgrade"):
            Mode5(Keys(KEY), "unverified").unwrap(clear)
    with pytest.raises(UnwrapError, match="downgrade"):
        Mode5(Keys(KEY), "verified").unwrap(frame())


def test_one_telegram_in_clear_makes_a_readout_plain(frame) -> None:
    both = frame(access=3).payload + frame(key=None, access=4).payload
    opened, auth = Mode5(Keys(KEY)).unwrap(Frame(both, "ok", 99))
    assert (auth, len(opened.payload)) == ("plain", len(both))


def test_a_short_header_lacks_what_the_vector_is_made_of() -> None:
    body = bytes.fromhex("53F05A 03 00 1005") + bytes(range(16))
    with pytest.raises(UnwrapError, match="title_missing"):
        Mode5(Keys(KEY)).unwrap(Frame(bytes([len(body)]) + body, "ok", 30))


@pytest.mark.parametrize("length", range(40))
def test_a_telegram_of_any_length_is_opened_or_refused(length: int) -> None:
    body = (bytes.fromhex("53F05B 78563412 2D4C 01 0E 03 00 F005") + bytes(40))[:length]
    frame, opener = Frame(bytes([len(body)]) + body, "ok", length + 6), Mode5(Keys(KEY))
    if length < 31:
        assert opener.unwrap(frame) == (frame, "plain")
    else:
        with pytest.raises(UnwrapError, match="garbled"):
            opener.unwrap(frame)
