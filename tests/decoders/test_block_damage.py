"""Damage of data blocks and teleinfo frames, through the whole decoder: what is noticed, and what is not."""

import random
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading
from decoders.profile import Profile
from gateway import profiles

#: damaged frames of each kind
DAMAGES = 3_000
DIGITS = bytes.maketrans(b"123456789", b"000000000")

Named = tuple[Profile, bytes]


def frames(link: str, wanted: Callable[[bytes], bool]) -> list[Named]:
    """The frames of all profiles of a link, those of other kinds left out."""
    found = [
        (profile, profiles.shipped().joinpath(note.file).read_bytes())
        for profile in map(profiles.load, profiles.names())
        if profile.link == link
        for note in profile.frame
    ]
    return [(profile, data) for profile, data in found if wanted(data) and len(data) < 2_000]


PUSHED = frames("iec62056-21", lambda data: b"\x02" not in data)
PROVED = frames("iec62056-21", lambda data: b"\x03" in data)
TELEINFO = frames("teleinfo", lambda data: data.startswith(b"\x02"))


def item_p(profile: Profile, data: bytes) -> tuple[object, ...] | None:
    """What a decoder that knows the meter makes of it; None for no reading."""
    decoder = Decoder([profile], ZoneInfo)
    readings = [result for result in decoder.feed(data) + decoder.close() if isinstance(result, Reading)]
    if not readings:
        return None
    (one,) = readings
    return one.t_meter, one.p_import_w, one.p_export_w, one.a_import_wh, one.a_export_wh


def is_wrong(said: tuple[object, ...] | None, meant: tuple[object, ...] | None) -> bool:
    """Whether a quantity has another value; one that went missing is no wrong one."""
    return said is not None and meant is not None and any(
        value not in (None, right) for value, right in zip(said, meant, strict=True)
    )  # fmt: skip


def flipped(data: bytes, bits: list[int]) -> bytes:
    changed = bytearray(data)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def share(found: list[Named], flips: int, check: Callable[[bytes, bytes], None] = lambda *_: None) -> float:
    """The share of random damage by so many flipped bits that gives another item P."""
    dice = random.Random(flips)
    wrong = 0
    meant = [item_p(profile, data) for profile, data in found]
    for _ in range(DAMAGES):
        place = dice.randrange(len(found))
        profile, data = found[place]
        damaged = flipped(data, dice.sample(range(8 * len(data)), flips))
        if is_wrong(item_p(profile, damaged), meant[place]):
            wrong += 1
            check(data, damaged)
    return wrong / DAMAGES


def test_no_single_flip_of_a_block_with_bcc_gives_another_item_p() -> None:
    """Nor any two in one octet or in different bit columns; two in the same column cancel each other out."""
    assert share(PROVED, 1) == 0
    assert share(PROVED, 2) < 0.05


def test_without_bcc_only_a_digit_can_pass_for_another(record_property: Callable[[str, object], None]) -> None:
    def check(data: bytes, damaged: bytes) -> None:
        assert damaged.translate(DIGITS) == data.translate(DIGITS) or b"-" in damaged or b"+" in damaged

    found = share(PUSHED, 1, check)
    record_property("share of single flips that give another item P without BCC", found)
    print(f"{found:.1%} of single flips without BCC and parity give another item P")
    assert 0 < found < 0.25


@pytest.mark.parametrize("bit_of_the_octet", range(8))
def test_no_single_flip_of_teleinfo_gives_another_item_p(bit_of_the_octet: int) -> None:
    for profile, data in TELEINFO:
        meant = item_p(profile, data)
        for octet in range(len(data)):
            said = item_p(profile, flipped(data, [8 * octet + bit_of_the_octet]))
            assert not is_wrong(said, meant), (profile.name, octet)


def test_what_six_bits_do_not_notice(record_property: Callable[[str, object], None]) -> None:
    """Two flips in one index that cancel each other out; the share is reported, not promised."""
    dice = random.Random(64)
    wrong = tried = 0
    for profile, data in TELEINFO:
        meant = item_p(profile, data)
        digits = [at for at in range(len(data)) if data[at : at + 1].isdigit()]
        pairs = [(one, two) for one in digits for two in digits if one < two < one + 9]
        for _ in range(DAMAGES // len(TELEINFO)):
            said = item_p(profile, flipped(data, [8 * at + dice.randrange(8) for at in dice.choice(pairs)]))
            tried += 1
            wrong += is_wrong(said, meant)
    record_property("share of two flips within one group that give another item P", wrong / tried)
    print(f"{wrong / tried:.1%} of two flips in neighbouring digits give another item P")
    assert 0 < wrong / tried < 0.1


def test_parity_notices_what_the_checksums_do_not() -> None:
    """A receiver of 8N1 hands the parity bits on: no single flip passes, whatever the frame has."""
    for profile, data in PUSHED + TELEINFO:
        seen = bytes(octet | (octet.bit_count() % 2) << 7 for octet in data)
        meant = item_p(profile, data)
        assert item_p(profile, seen) == meant
        for octet in range(1, len(data)):
            assert not is_wrong(item_p(profile, flipped(seen, [8 * octet + octet % 8])), meant), (profile.name, octet)
