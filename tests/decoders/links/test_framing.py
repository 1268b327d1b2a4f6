"""Every push of the corpora through its link: in any pieces, cut, joined late, torn, damaged, and much noise."""

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decoders.errors import CODES, LinkError
from decoders.links.bare import BareLink
from decoders.links.framing import FramedLink
from decoders.links.hdlc import HdlcLink
from decoders.links.mbus import MbusLink
from decoders.links.wrapper import WrapperLink
from tests.sizes import FLIPS, HOSTILE_OCTETS, NOISE_OCTETS

Cut = Callable[..., tuple[Any, int]]
Read = Callable[[Any], list[Any]]

#: random splits of each push: well over 2,000 of each kind of link
SPLITS = 1_000
#: octets that a link may hold at most: two APDUs, two pieces, and what Python needs to hold them
BOUND = 128 * 1024
LINKS: dict[str, type[FramedLink]] = {
    "hdlc-push": HdlcLink,
    "hdlc-push-encrypted": HdlcLink,
    "mbus-link-push-encrypted": MbusLink,
    "wrapper-push-encrypted": WrapperLink,
    "llc-apdu": BareLink,
    "apdu": BareLink,
    "p1-encrypted": BareLink,
}
#: what is neither the start of a frame nor a gap
JUNK = b"\x33\x44\x55"


def test_the_boundaries_of_each_apdu_are_right(push: Any, cut: Cut, apdus: Read) -> None:
    outcomes, noise = cut(push.link, push.data)
    assert apdus(outcomes) == push.apdus
    if push.apdus:
        assert len(outcomes) == len(push.apdus)
        assert noise == 0
        assert {outcome.checksum for outcome in outcomes} == {"ok" if push.link in (HdlcLink, MbusLink) else "absent"}
        assert len(push.data) - 2 * len(outcomes) <= sum(outcome.size for outcome in outcomes) <= len(push.data)
    else:
        assert [outcome.code for outcome in outcomes] == ["checksum"]


#: what is wrong with the frames of the shared corpus that are damaged or incomplete
BROKEN = {
    "ams-kamstrup-gh175-1": ["checksum"],
    "ams-iskraemeco-gh1072-1": ["segment_lost"],
    "ams-kamstrup-gh111-1": ["truncated"],
    "ams-kaifa-gh539-1": ["segment_lost"],
    "ams-kaifa-gh539-2": ["segment_lost"],
    "bad-mbus-checksum": ["checksum", "segment_lost"],
}
#: octets behind the last frame that some captures have
TRAILING = 4


@pytest.mark.corpus
@pytest.mark.parametrize("family", LINKS)
def test_frames_of_the_shared_corpus(family: str, corpus: Path, cut: Cut) -> None:
    """Those that may not be copied: whole where they are whole, and named where they are broken."""
    path = corpus / "reference" / f"{family}.jsonl"
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    assert cases or family in ("wrapper-push-encrypted", "llc-apdu")
    for case in cases:
        outcomes, noise = cut(LINKS[family], bytes.fromhex(case["data"]))
        assert [o.code for o in outcomes if isinstance(o, LinkError)] == BROKEN.get(case["id"], []), case["id"]
        if case["id"] not in BROKEN:
            assert outcomes, case["id"]
            assert noise <= TRAILING, case["id"]


def test_a_frame_is_there_with_its_last_octet(whole_push: Any) -> None:
    """Nothing waits for the closing flag of HDLC; only an APDU without a length waits for what follows."""
    link = whole_push.link()
    found = [at for at in range(len(whole_push.data)) if link.feed(whole_push.data[at : at + 1])]
    if whole_push.family in ("llc-apdu", "apdu"):
        assert found == []
    else:
        assert len(found) == len(whole_push.apdus)
        assert found[-1] == len(whole_push.data) - (2 if whole_push.link is HdlcLink else 1)


def test_pieces_of_any_size_give_the_same(push: Any, cut: Cut, told: Read) -> None:
    dice = random.Random(push.name)
    stream = JUNK + push.data + push.data[: len(push.data) // 2] + push.data + JUNK
    whole, noise = cut(push.link, stream)
    one_by_one = [stream[at : at + 1] for at in range(len(stream))]
    splits = [one_by_one, *(pieces(stream, dice) for _ in range(SPLITS))]
    for split in splits:
        found, its_noise = cut(push.link, *split)
        assert (told(found), its_noise) == (told(whole), noise), list(map(len, split))


@pytest.mark.parametrize("link", [HdlcLink, MbusLink, WrapperLink])
def test_a_push_of_another_link_is_noise(link: type[FramedLink], push: Any, cut: Cut, apdus: Read) -> None:
    """Detection relies on it; only an APDU is also an APDU inside any other frame."""
    for start in range(len(push.data)):
        found = apdus(cut(link, push.data[start:] + push.data)[0])
        assert link is push.link or found == [], start


#: what starts, titles, lengths and frames are made of, whole and in part
TOKENS = [
    *(b"\x7e", b"\x7e\xa0", b"\x7e\xa8\x12\x41\x03\x13", b"\x68", b"\x68\x07\x07\x68\x53\xff\x10", b"\x16", b"\xe5"),
    *(b"\x00\x01", b"\x00\x01\x00\x01\x00\x01", b"\x00\x01\x00\x01\x00\x01\x00\x09\x0f", b"\x00", b"\x82\x00"),
    *(
        b"\xe6\xe7\x00",
        b"\xe6",
        b"\xdb",
        b"\xdb\x08",
        b"\xdb\x08TST12345",
        b"\xdb\x08TST12345\x09\x30",
        b"\xdb\x00\x07",
    ),
    *(b"\x0f", b"\x0f\x00\x00\x00\x01\x00\x02", b"\xe0\x40\x00\x01\x00\x00\x04", b"TST1", b"\x84\xff", b"\x81\x10"),
]


@pytest.mark.untraced
@pytest.mark.parametrize("link", [HdlcLink, MbusLink, WrapperLink, BareLink])
def test_pieces_of_hostile_streams_give_the_same(
    link: type[FramedLink], pushes: dict[str, Any], cut: Cut, told: Read
) -> None:
    """Tokens of all framings in any order: no call fails, and the pieces do not matter."""
    dice = random.Random(link.__name__)
    frames = [push.data[:300] for push in pushes.values() if push.link is link and len(push.data) < 300] or [b""]
    for _ in range(3_000):
        tokens = [dice.choice(TOKENS) for _ in range(dice.randint(2, 40))] + [dice.choice(frames)] * dice.randint(0, 2)
        dice.shuffle(tokens)
        stream = b"".join(tokens)
        whole, noise = cut(link, stream)
        for split in ([stream[at : at + 1] for at in range(len(stream))], pieces(stream, dice)):
            found, its_noise = cut(link, *split)
            assert (told(found), its_noise) == (told(whole), noise), stream.hex()


def pieces(stream: bytes, dice: random.Random) -> list[bytes]:
    cuts = sorted(dice.sample(range(1, len(stream)), min(len(stream) - 1, dice.randint(1, 8))))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def test_a_push_cut_anywhere_gives_whole_apdus_or_none(push: Any, cut: Cut, apdus: Read) -> None:
    for end in range(len(push.data)):
        outcomes, noise = cut(push.link, push.data[:end])
        found = apdus(outcomes)
        if push.family in ("llc-apdu", "apdu"):
            assert b"".join(found) == (push.apdus[0][: end - len(push.data)] if found else b""), end
        else:
            assert found == push.apdus[: len(found)], end
            assert outcomes or noise or end <= 1, end


def test_a_link_that_joins_late_loses_one_push_at_most(push: Any, cut: Cut, apdus: Read) -> None:
    for start in range(len(push.data)):
        outcomes, _ = cut(push.link, push.data[start:] + push.data * 2)
        whole = push.apdus * 2
        assert apdus(outcomes)[-len(whole) :] == whole, start
        if push.link in (HdlcLink, MbusLink):
            assert set(apdus(outcomes)) <= set(push.apdus), start


def test_two_in_one_piece_are_two(whole_push: Any, cut: Cut, apdus: Read) -> None:
    outcomes, noise = cut(whole_push.link, whole_push.data * 2)
    assert apdus(outcomes) == whole_push.apdus * 2
    assert (len(outcomes), noise) == (2 * len(whole_push.apdus), 0)


def test_a_torn_push_does_not_take_the_next_one_with_it(whole_push: Any, cut: Cut, apdus: Read) -> None:
    good, checked = whole_push.apdus, whole_push.link in (HdlcLink, MbusLink)
    for torn in range(1, len(whole_push.data)):
        outcomes, noise = cut(whole_push.link, whole_push.data[:torn] + whole_push.data)
        found = apdus(outcomes)
        assert found[-len(good) :] == good, torn
        assert len(outcomes) > len(good) or noise or torn == 1, torn
        if checked:
            assert set(found) <= set(good), torn


def test_no_flipped_bit_passes_a_checksum(checked_push: Any, cut: Cut, apdus: Read) -> None:
    """Every bit, once; and a frame beside the damaged one is not lost."""
    for bit in range(8 * len(checked_push.data)):
        damaged = flipped(checked_push.data, [bit])
        found = apdus(cut(checked_push.link, damaged)[0])
        assert set(found) <= set(checked_push.apdus), bit
        assert len(found) >= len(checked_push.apdus) - 1, bit


def test_no_flips_and_no_bursts_pass_x25(pushes: dict[str, Any], cut: Cut, apdus: Read) -> None:
    dice = random.Random(13239)
    those = [push for push in pushes.values() if push.link is HdlcLink]
    for _ in range(FLIPS):
        push = dice.choice(those)
        bits = burst(8 * len(push.data), dice) if dice.random() < 0.25 else some(8 * len(push.data), dice)
        found = apdus(cut(push.link, flipped(push.data, bits))[0])
        assert set(found) <= set(push.apdus), (push.name, bits)


def some(length: int, dice: random.Random) -> list[int]:
    return dice.sample(range(length), dice.randint(1, 3))


def burst(length: int, dice: random.Random) -> list[int]:
    span = dice.randint(2, 16)
    start = dice.randrange(length - span)
    return [start, *(bit for bit in range(start + 1, start + span - 1) if dice.random() < 0.5), start + span - 1]


def flipped(octets: bytes, bits: list[int]) -> bytes:
    changed = bytearray(octets)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


HOSTILE = {
    "any octets": (NOISE_OCTETS, lambda n: random.Random(7).randbytes(n)),
    "zeros": (NOISE_OCTETS, bytes),
    "flags": (HOSTILE_OCTETS // 8, lambda n: b"\x7e\xa7" * (n // 2)),
    "idle flags": (HOSTILE_OCTETS // 8, lambda n: b"\x7e" * n),
    "long frames": (HOSTILE_OCTETS // 8, lambda n: b"\x68\xff\xff\x68\x53\xff\x00" * (n // 7)),
    "wrapped lengths": (HOSTILE_OCTETS // 8, lambda n: b"\x68\x01\x01\x68\x53\xff\x00" * (n // 7)),
    "headers": (HOSTILE_OCTETS // 8, lambda n: b"\x00\x01\x00\x01\x00\x66\x10\x00\xdb" * (n // 9)),
    "titles": (HOSTILE_OCTETS // 8, lambda n: b"\xdb\x08TST\x00\x00\x00\x00\x01\x82\x0f\xff\x30" * (n // 14)),
    "notifications": (HOSTILE_OCTETS // 8, lambda n: b"\x0f\x00\x00\x00\x00\x00\x01" * (n // 7)),
    "tags": (HOSTILE_OCTETS // 8, lambda n: b"\xdb\x0f\xe0\xe6" * (n // 4)),
}


@pytest.mark.untraced
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(
    ("link", "name"),
    [
        (HdlcLink, "dlmsparser-hdlc-kamstrup-omnipower"),
        (MbusLink, "fkw9-sagemcom-t210d-real"),
        (WrapperLink, "dlmscosem-udp-wrapper-1"),
        (BareLink, "esphomelibs-encrypted-est5"),
    ],
)
def test_much_noise_is_forgotten(link: type[FramedLink], name: str, kind: str, pushes: dict[str, Any]) -> None:
    """Whatever comes, little is kept, no call fails, and after silence the next push is read."""
    size, make = HOSTILE[kind]
    one, noise = link(), make(size)
    tracemalloc.start()
    try:
        for at in range(0, len(noise), 65_536):
            one.feed(noise[at : at + 65_536])
            assert one.pending < 8_192
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < BOUND
    one.expire()
    assert one.pending == 0
    assert [outcome.payload for outcome in one.feed(pushes[name].data)] == pushes[name].apdus


def test_every_code_has_its_sentence(cut: Cut, pushes: dict[str, Any]) -> None:
    """Whatever a link says of damaged and of foreign octets is in CODES."""
    dice = random.Random(62056)
    for push in pushes.values():
        for link in (HdlcLink, MbusLink, WrapperLink, BareLink):
            outcomes, _ = cut(link, flipped(push.data, some(8 * len(push.data), dice)))
            assert {("link", outcome.code) for outcome in outcomes if hasattr(outcome, "code")} <= set(CODES)
