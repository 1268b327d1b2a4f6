"""Link sml: transport version 1 whole, in pieces, torn, in noise; messages without transport; bounded in all of it."""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from decoders.errors import LinkError
from decoders.links.sml import BARE_LIMIT, LIMIT, SmlLink
from decoders.model import Frame
from gateway import profiles

FOLDER = profiles.shipped().joinpath("frames")
FILES = {entry.name: entry.read_bytes() for entry in FOLDER.iterdir() if entry.name.endswith(".sml")}
WHOLE = {name: data for name, data in FILES.items() if data.startswith(b"\x1b")}
BARE = FILES["de-iskra-mt631-bare.sml"]
ONE, OTHER = FILES["de-itron-openway.sml"], FILES["de-holley-dtz541-kermit.sml"]
CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "sml.jsonl"
CAPTURES = [bytes.fromhex(json.loads(line)["data"]) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
ESCAPE = bytes.fromhex("1b1b1b1b")
START = ESCAPE + bytes.fromhex("01010101")

Outcome = Frame | LinkError


def run(*pieces: bytes) -> list[Outcome]:
    link = SmlLink()
    return [outcome for piece in pieces for outcome in link.feed(piece)] + link.close()


def told(outcomes: Iterable[Outcome]) -> list[object]:
    """Frames as their payload, errors as code and size: comparable."""
    return [o.payload if isinstance(o, Frame) else (o.code, o.size) for o in outcomes]


def payloads(outcomes: Iterable[Outcome]) -> list[bytes]:
    return [outcome.payload for outcome in outcomes if isinstance(outcome, Frame)]


def octets(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def crc(data: bytes) -> bytes:
    """CRC-16/X-25 from its definition, low octet first."""
    register = 0xFFFF
    for octet in data:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    return (register ^ 0xFFFF).to_bytes(2, "little")


def framed(content: bytes, fill: int | None = None) -> bytes:
    """A frame around any content."""
    count = -len(content) % 4 if fill is None else fill
    body = START + content.replace(ESCAPE, ESCAPE + ESCAPE) + bytes(count) + ESCAPE + bytes([0x1A, count])
    return body + crc(body)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_one_frame_however_it_is_cut(name: str) -> None:
    data = FILES[name]
    (frame,) = run(data)
    assert isinstance(frame, Frame)
    assert (frame.checksum, frame.size) == ("ok", len(data))
    assert told(run(*octets(data))) == [frame.payload]


@pytest.mark.parametrize("seed", range(20))
def test_how_a_stream_is_cut_changes_nothing(seed: int) -> None:
    """Captures, damage, noise and bare messages in a row, by random pieces: the same outcomes."""
    rng = random.Random(seed)
    parts = []
    for _ in range(8):
        data = bytearray(rng.choice([*FILES.values(), *CAPTURES]))
        if rng.random() < 0.3:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        if rng.random() < 0.2:
            data += rng.choice([rng.randbytes(rng.randrange(40)), ESCAPE[: rng.randrange(5)], START, bytes(3)])
        parts.append(bytes(data))
    stream = b"".join(parts)
    pieces, at = [], 0
    while at < len(stream):
        size = rng.choice([1, 2, 3, 7, 32, 500])
        pieces.append(stream[at : at + size])
        at += size
    whole, cut = SmlLink(), SmlLink()
    once = whole.feed(stream) + whole.close()
    assert told([o for piece in pieces for o in cut.feed(piece)] + cut.close()) == told(once)
    assert cut.noise == whole.noise


def test_a_frame_comes_with_its_last_octet() -> None:
    link = SmlLink()
    assert link.feed(ONE[:-1]) == []
    assert link.pending == len(ONE) - 1
    assert len(link.feed(ONE[-1:])) == 1
    assert (link.pending, link.noise) == (0, 0)


def test_messages_without_transport_wait_for_what_follows_or_for_silence() -> None:
    link = SmlLink()
    assert link.feed(BARE) == []
    (frame,) = link.expire()
    assert isinstance(frame, Frame)
    link = SmlLink()
    assert len(link.feed(BARE + BARE[:1])) == 1


def test_messages_of_a_damaged_frame_are_not_taken_without_their_transport() -> None:
    """Their own checksums are right: only the escape sequence behind them tells."""
    assert payloads(run(ONE[len(START) :])) == []
    assert payloads(run(ONE[: len(START)][:3] + ONE[len(START) :])) == []
    damaged = ONE[:-1] + bytes([ONE[-1] ^ 1])
    assert told(run(damaged)) == [("checksum", len(ONE))]


def test_bare_messages_behind_noise_are_not_taken() -> None:
    assert payloads(run(b"noise" + BARE)) == []


def test_bare_messages_must_be_whole_from_open_to_close() -> None:
    for end in range(1, len(BARE)):
        assert payloads(run(BARE[:end])) == []
    for start in range(1, len(BARE)):
        assert payloads(run(BARE[start:])) == []


def test_escapes_in_the_content_are_taken_out() -> None:
    for content in (
        ESCAPE,
        ESCAPE * 3,
        b"a" + ESCAPE,
        b"\x1b" + ESCAPE + b"\x1bab",
        ESCAPE + b"\x01" * 4,
        b"\x1b" * 5 + b"x",
    ):
        padded = content + bytes(-len(content) % 4)
        assert payloads(run(framed(padded))) == [padded]
        assert payloads(run(*octets(framed(padded)))) == [padded]


def test_an_escaped_escape_is_no_end() -> None:
    assert told(run(bytes.fromhex("1b1b1b1b01010101 1b1b1b1b1b1b1b1b 1a000000"))) == [("truncated", 20)]


def test_fill_octets_are_taken_out_and_counted() -> None:
    for size in range(1, 9):
        content = bytes(range(0x30, 0x30 + size))
        assert payloads(run(framed(content))) == [content]
    assert told(run(framed(b"abcd", fill=4))) == [("header", 24)]
    claims = START + ESCAPE + b"\x1a\x02"
    assert told(run(claims + crc(claims))) == [("header", 16)]


def test_both_checksums_are_known_and_go_with_the_frame() -> None:
    variants = {name: frame.variant for name, data in FILES.items() for frame in run(data) if isinstance(frame, Frame)}
    assert variants.pop("de-holley-dtz541-kermit.sml") == 2
    assert set(variants.values()) == {1}


@pytest.mark.parametrize("lost", range(1, 20))
def test_a_frame_that_lost_its_end_does_not_cost_the_next_one(lost: int) -> None:
    assert payloads(run(ONE[:-lost] + OTHER)) == payloads(run(OTHER))
    assert payloads(run(ONE + OTHER[lost:] + ONE)) == payloads(run(ONE)) * 2


def test_no_damage_costs_more_than_its_own_frame() -> None:
    """A bit of the middle one of three: the others come whole."""
    good, rng = payloads(run(ONE)), random.Random(4)
    for bit in rng.sample(range(8 * len(OTHER)), 400):
        damaged = bytearray(OTHER)
        damaged[bit // 8] ^= 1 << bit % 8
        found = payloads(run(ONE + bytes(damaged) + ONE))
        assert [p for p in found if p == good[0]] == good * 2, bit
        assert len(found) == 2


def test_noise_in_front_is_counted() -> None:
    link = SmlLink()
    outcomes = link.feed(bytes.fromhex("001b1b1b1b1b0102ff") + ONE)
    assert [type(outcome) for outcome in outcomes] == [Frame]
    assert link.noise == 9


def test_the_start_of_another_frame_ends_the_first() -> None:
    assert told(run(START + b"abc" + ONE)) == [("truncated", len(START) + 3), *payloads(run(ONE))]


def test_another_escape_sequence_is_damage() -> None:
    assert [o.code for o in run(START + ESCAPE + b"\x02" * 4) if isinstance(o, LinkError)] == ["checksum"]


def test_a_frame_without_end_is_given_up() -> None:
    link = SmlLink()
    outcomes = link.feed(START + b"a" * (2 * LIMIT))
    assert told(outcomes) == [("oversized", LIMIT)]
    assert link.pending < LIMIT


@pytest.mark.parametrize(
    "filler",
    [
        START,
        ESCAPE,
        b"\x1b",
        b"v",
        BARE[:40],
        b"\x76\x05",
        ESCAPE + b"\x1a",
        START + ESCAPE * 2,
        b"\x76\x01\x62\x00\x62\x00\x72\xff",
    ],
)
def test_hostile_repetitions_stay_bounded(filler: bytes) -> None:
    link = SmlLink()
    stream = filler * (200_000 // len(filler))
    for at in range(0, len(stream), 1_000):
        link.feed(stream[at : at + 1_000])
        assert link.pending <= LIMIT + 1_000
    assert payloads(link.feed(b"\xff" * LIMIT + ONE) + link.close()) == payloads(run(ONE))


def test_a_list_that_claims_more_than_a_file_holds_is_none() -> None:
    bomb = b"\x76\x01\x62\x00\x62\x00\x72\x63\x01\x01" + b"\xff\x8f\x8f\x0f"
    assert payloads(run(bomb + bytes(BARE_LIMIT * 2) + ONE)) == payloads(run(ONE))


def test_ten_mebibytes_of_noise_give_nothing_and_hide_nothing() -> None:
    rng, link = random.Random(11), SmlLink()
    found = []
    for _ in range(160):
        found += link.feed(rng.randbytes(65_536))
        assert link.pending <= LIMIT
    assert payloads(found) == []
    assert payloads(link.feed(ONE)) == payloads(run(ONE))


def test_noise_of_escapes_and_starts_hides_nothing() -> None:
    rng = random.Random(12)
    pieces = [b"\x1b", ESCAPE, b"\x01", START, b"\x1a", b"\x76", b"\x00"]
    for _ in range(300):
        noise = b"".join(rng.choice(pieces) for _ in range(rng.randrange(30)))
        found = payloads(run(noise + ONE + OTHER))
        assert found[-1:] == payloads(run(OTHER)), noise.hex()


def test_transport_hides_in_no_regular_text() -> None:
    """What other links carry is no start: P1, HDLC and M-Bus frames give no outcome but a header error at most."""
    for entry in FOLDER.iterdir():
        if re.search(r"\.(p1|bin)$", entry.name):
            codes = {o.code if isinstance(o, LinkError) else "frame" for o in run(entry.read_bytes())}
            assert codes <= {"header"}, entry.name


def test_a_head_that_claims_much_does_not_hold_back_the_frame_behind_it() -> None:
    """An escape sequence is none of a message without transport: its rest is not waited for."""
    claims = b"\x76\x01\x62\x00\x62\x00\x72\x63\x01\x01" + b"\x88\x8f\x0f"
    assert payloads(SmlLink().feed(claims + ONE)) == payloads(run(ONE))
