"""Teleinfo frames: cut whatever the pieces, every group checked, interrupted frames void, bounded."""

import random
from collections.abc import Callable
from typing import TypeAlias

import pytest

from decoders.errors import LinkError
from decoders.links.teleinfo import LIMIT, TeleinfoLink
from decoders.model import Frame
from gateway import profiles

Outcomes: TypeAlias = list[Frame | LinkError]

FRAMES = sorted(
    (entry.name, entry.read_bytes())
    for entry in profiles.shipped().joinpath("frames").iterdir()
    if entry.name.endswith(".tic")
)
CUT = [(name, data) for name, data in FRAMES if data.startswith(b"\x02")]


def group(*fields: str, mode: int = 1) -> bytes:
    """A group with its checksum by definition: over label to value, or with the separator behind it."""
    separator = "\t" if len(fields) > 2 or (mode == 2 and "\t" in "".join(fields)) else " "
    text = separator.join(fields)
    covered = text + separator if mode == 2 else text
    return f"\n{text}{separator}{chr((sum(covered.encode()) & 0x3F) + 0x20)}\r".encode()


def cut(*pieces: bytes) -> Outcomes:
    link = TeleinfoLink()
    return [outcome for piece in pieces for outcome in link.feed(piece)] + link.close()


def shown(outcomes: Outcomes) -> list[object]:
    return [(o.payload, o.size) if isinstance(o, Frame) else (o.code, o.size) for o in outcomes]


def frame_of(outcomes: Outcomes) -> list[Frame]:
    return [outcome for outcome in outcomes if isinstance(outcome, Frame)]


GOOD = b"\x02" + group("ADCO", "000000000001") + group("OPTARIF", "BASE") + group("BASE", "000000007") + b"\x03"


@pytest.mark.parametrize(("name", "data"), FRAMES, ids=[name for name, _ in FRAMES])
def test_a_frame_is_cut_the_same_whole_and_octet_by_octet(name: str, data: bytes) -> None:
    whole = cut(data)
    assert len(frame_of(whole)) == len(whole) == 1
    assert shown(cut(*(data[i : i + 1] for i in range(len(data))))) == shown(whole)


def test_a_stream_is_cut_the_same_whatever_the_pieces() -> None:
    dice = random.Random(54)
    stream = b"".join(data + dice.randbytes(7) for _, data in CUT * 2)
    whole = shown(cut(stream))
    assert len(whole) >= len(CUT)
    for _ in range(200):
        edges = sorted(dice.sample(range(len(stream)), dice.randint(1, 60)))
        pieces = [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]
        assert shown(cut(*pieces)) == whole


def test_a_frame_is_given_with_its_last_octet() -> None:
    link = TeleinfoLink()
    assert link.feed(GOOD[:-1]) == []
    assert len(link.feed(GOOD[-1:])) == 1


def test_one_wrong_group_refuses_the_frame() -> None:
    wrong = GOOD.replace(b"000000007", b"000000008")
    assert shown(cut(wrong)) == [("checksum", len(wrong))]
    assert len(frame_of(cut(wrong + GOOD))) == 1


@pytest.mark.parametrize("mode", [1, 2])
def test_both_modes_of_checksum_are_known_but_not_in_one_frame(mode: int) -> None:
    groups = [group("ADCO", "000000000001", mode=mode), group("BASE", "000000007", mode=mode)]
    (frame,) = cut(b"\x02" + b"".join(groups) + b"\x03")
    assert isinstance(frame, Frame)
    assert frame.payload == b"historique\nADCO\t\t000000000001\nBASE\t\t000000007"
    mixed = groups[0] + group("BASE", "000000007", mode=3 - mode)
    assert frame_of(cut(b"\x02" + mixed + b"\x03")) == []


def test_a_blank_is_a_checksum_like_any_other() -> None:
    blank = group("PTEC", "HP..")
    assert blank.endswith(b"HP..  \r")
    assert len(frame_of(cut(b"\x02" + blank + group("BASE", "000000007") + b"\x03"))) == 1


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\n\n", b"\n\r"])
def test_line_ends_may_differ(end: bytes) -> None:
    changed = GOOD.replace(b"\r\n", end)
    assert [frame.payload for frame in frame_of(cut(changed))] == [frame_of(cut(GOOD))[0].payload]


def test_an_interrupted_frame_is_void_up_to_the_next_end() -> None:
    interrupted = GOOD[:40] + b"\x04" + GOOD
    assert shown(cut(interrupted)) == [("interrupted", len(interrupted))]
    assert len(frame_of(cut(interrupted + GOOD))) == 1
    link = TeleinfoLink()
    assert link.feed(GOOD[:40] + b"\x04") == []
    assert [outcome.code for outcome in link.expire() if isinstance(outcome, LinkError)] == ["truncated"]
    assert len(frame_of(link.feed(GOOD))) == 1


def test_a_torn_frame_costs_itself_only() -> None:
    for length in range(1, len(GOOD)):
        found = cut(GOOD[:length] + GOOD)
        assert len(frame_of(found)) == 1, length


def test_a_truncated_frame_gives_nothing() -> None:
    for length in range(len(GOOD)):
        assert frame_of(cut(GOOD[:length])) == []


def test_groups_alone_are_a_frame_at_the_end_of_a_capture_that_begins_with_the_address() -> None:
    lines = [group("ADCO", "000000000001"), group("OPTARIF", "BASE"), group("ISOUSC", "30"),
             group("BASE", "000000007"), group("PAPP", "00390")]  # fmt: skip
    text = b"\n".join(line.strip(b"\r\n") for line in lines)
    assert len(frame_of(cut(text))) == 1
    assert frame_of(cut(text.replace(b"000000007", b"000000008"))) == []
    assert frame_of(cut(text.partition(b"\n")[2])) == []
    link = TeleinfoLink()
    assert link.feed(text) + link.expire() == []
    assert frame_of(cut(text, b"\x03")) == []


@pytest.mark.parametrize(("name", "data"), CUT, ids=[name for name, _ in CUT])
def test_the_parity_bits_of_7e1_are_taken_off_and_checked(name: str, data: bytes) -> None:
    seen = bytes(octet | (octet.bit_count() % 2) << 7 for octet in data)
    assert frame_of(cut(seen))[0].payload == frame_of(cut(data))[0].payload
    for at in range(1, len(data)):
        damaged = seen[:at] + bytes([seen[at] ^ 1]) + seen[at + 1 :]
        assert frame_of(cut(damaged)) == [], at


def test_what_a_single_flip_makes_of_a_frame(record_property: Callable[[str, object], None]) -> None:
    """Six bits of a sum see every flip of the bits 0 to 5; bit 6 makes a letter of a digit, bit 7 is no character."""
    other = tried = 0
    for _, data in CUT:
        (whole,) = frame_of(cut(data))
        for bit in range(8 * len(data)):
            tried += 1
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            for frame in frame_of(cut(bytes(damaged))):
                if frame.payload == whole.payload:
                    continue
                other += 1
                if 0x02 in damaged[1:]:  # a checksum became STX: what follows it is right
                    assert set(frame.payload.splitlines()) < set(whole.payload.splitlines())
                    continue
                assert bit % 8 == 6, (bit // 8, bit % 8)
                assert not damaged[bit // 8 : bit // 8 + 1].isdigit()
    record_property("single flips that give another frame", f"{other} of {tried}")
    print(f"{other} of {tried} single flips give another text, none another number")
    assert 0 < other < tried / 8


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "starts": lambda n: b"\x02" * n,
    "no end": lambda n: b"\x02" + group("BASE", "000000007") * (n // 18),
    "interrupted": lambda n: (b"\x02\nADCO 1\x04" * n)[:n],
    "ends": lambda n: b"\x03" * n,
    "labels": lambda n: b"\x02" + b"A" * n,
    "noise": lambda n: random.Random(3).randbytes(n),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_streams_are_bounded_and_cost_no_frame_after_them(kind: str) -> None:
    link, data = TeleinfoLink(), HOSTILE[kind](300_000)
    found: Outcomes = []
    for at in range(0, len(data), 4096):
        found += link.feed(data[at : at + 4096])
        assert link.pending <= LIMIT + 4096
    assert frame_of(found) == []
    link.expire()
    assert len(frame_of(link.feed(GOOD))) == 1
