"""Data blocks: cut whatever the pieces, proved by BCC, told from P1, bounded."""

import random
from collections.abc import Callable, Iterator
from functools import reduce
from operator import xor
from typing import TypeAlias

import pytest

from decoders.errors import GrammarError, LinkError
from decoders.grammars.iec62056_21 import Iec62056Grammar
from decoders.links.iec62056_21 import LIMIT, Iec62056Link
from decoders.links.p1 import P1Link
from decoders.model import Frame
from gateway import profiles

Outcomes: TypeAlias = list[Frame | LinkError]


def frames() -> Iterator[tuple[str, bytes]]:
    for entry in sorted(profiles.shipped().joinpath("frames").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".d0"):
            yield entry.name, entry.read_bytes()


FRAMES = list(frames())
SHORT = [(name, data) for name, data in FRAMES if len(data) < 2_000]
CHECKED = [(name, data) for name, data in SHORT if b"\x03" in data]
UNCHECKED = [(name, data) for name, data in SHORT if b"\x02" not in data]


def block(lines: bytes = b"1.8.0(000001.0*kWh)\r\n", head: bytes = b"/XYZ5METER\r\n") -> bytes:
    """A block with BCC, by its definition."""
    covered = lines + b"!\r\n\x03"
    return head + b"\x02" + covered + bytes([reduce(xor, covered)])


def cut(*pieces: bytes) -> Outcomes:
    link = Iec62056Link()
    return [outcome for piece in pieces for outcome in link.feed(piece)] + link.close()


def shown(outcomes: Outcomes) -> list[object]:
    return [(o.payload, o.checksum, o.size) if isinstance(o, Frame) else (o.code, o.size) for o in outcomes]


def frame_of(outcomes: Outcomes) -> list[Frame]:
    return [outcome for outcome in outcomes if isinstance(outcome, Frame)]


def with_parity(octets: bytes) -> bytes:
    """The octets of a 7E1 line as a receiver of 8N1 sees them."""
    return bytes(octet | (octet.bit_count() % 2) << 7 for octet in octets)


@pytest.mark.parametrize(("name", "data"), FRAMES, ids=[name for name, _ in FRAMES])
def test_a_block_is_cut_the_same_whole_and_octet_by_octet(name: str, data: bytes) -> None:
    whole = cut(data)
    assert len(frame_of(whole)) == len(whole) == 1
    assert shown(cut(*(data[i : i + 1] for i in range(len(data))))) == shown(whole)


def test_a_stream_is_cut_the_same_whatever_the_pieces() -> None:
    dice = random.Random(62056)
    stream = b"\x7f\x7f/?!\r\n" + b"".join(data + dice.randbytes(9).replace(b"/", b"?") for _, data in SHORT)
    whole = shown(cut(stream))
    assert len(whole) >= len(SHORT)
    for _ in range(100):
        edges = sorted(dice.sample(range(len(stream)), dice.randint(1, 60)))
        pieces = [stream[a:b] for a, b in zip([0, *edges], [*edges, len(stream)], strict=True)]
        assert shown(cut(*pieces)) == whole


def test_a_pushed_block_is_given_with_its_last_octet() -> None:
    link, data = Iec62056Link(), UNCHECKED[0][1]
    assert link.feed(data[:-1]) == []
    assert len(link.feed(data[-1:])) == 1
    assert link.pending == 0


def read(frame: Frame) -> object:
    """Registers, texts and time; the fault where the grammar refuses the block."""
    try:
        telegram = Iec62056Grammar().parse(frame)
    except GrammarError as error:
        return error.code
    return telegram.registers, dict(telegram.texts), telegram.time


@pytest.mark.parametrize(("name", "data"), CHECKED, ids=[name for name, _ in CHECKED])
def test_no_single_flip_passes_a_bcc(name: str, data: bytes) -> None:
    """BCC covers what stands behind STX; the identification before it is not covered and is no measurement."""
    (whole,) = frame_of(cut(data))
    start = data.index(b"\x02")
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        for found in frame_of(cut(bytes(damaged))):
            assert bit // 8 <= start, bit
            assert read(found) in (read(whole), "line"), bit


def test_a_truncated_block_gives_nothing_or_its_whole_content() -> None:
    for _, data in CHECKED:
        (whole,) = frame_of(cut(data))
        for length in range(len(data)):
            found = frame_of(cut(data[:length]))
            assert not found or (found[0].payload, found[0].checksum) == (whole.payload, "absent"), length
            # without BCC only where `!` is the last thing that came
            assert not found or data[:length].rstrip().endswith(b"!")


def test_bcc_is_expected_where_anything_follows() -> None:
    data = block()
    assert [frame.checksum for frame in frame_of(cut(data))] == ["ok"]
    assert [frame.checksum for frame in frame_of(cut(data[:-2]))] == ["absent"]
    assert [frame.checksum for frame in frame_of(cut(data[:-2] + data))] == ["absent", "ok"]
    assert [frame.checksum for frame in frame_of(cut(data[:-2] + b"/?!\r\n" + data))] == ["absent", "ok"]
    assert frame_of(cut(data[:-2] + b"x")) == []
    assert shown(cut(data[:-1] + b"\x7f")) == [("checksum", len(data))]


def test_a_silent_line_ends_a_block_without_bcc() -> None:
    link = Iec62056Link()
    assert link.feed(block()[:-2]) == []
    assert [outcome.checksum for outcome in link.expire() if isinstance(outcome, Frame)] == ["absent"]


def test_the_request_and_the_acknowledgement_of_a_reader_are_passed_over() -> None:
    data = b"\x7f" * 20 + b"/?00000001!\r\n" + block(head=b"/XYZ5METER\r\n\x06050\r\n") + b"\x7f"
    (frame,) = cut(data)
    assert isinstance(frame, Frame)
    assert frame.payload == b"/XYZ5METER\r\n1.8.0(000001.0*kWh)\r\n"


@pytest.mark.parametrize(
    "command", [b"\x01P0\x02(00000000)\x03`", b"\x01R1\x021.8.0()\x03Z", b"\x02(000001.0*kWh)\x03\x1f"]
)
def test_the_programming_mode_has_no_data_blocks(command: bytes) -> None:
    assert frame_of(cut(b"/XYZ5METER\r\n\x06051\r\n" + command)) == []
    assert len(frame_of(cut(b"/XYZ5METER\r\n\x06051\r\n" + command + block()))) == 1


def test_a_torn_block_costs_itself_only() -> None:
    good = block(b"1.8.0(000002.0*kWh)\r\n")
    for torn in (block(), UNCHECKED[0][1]):
        for length in range(1, len(torn) - 4):
            found = frame_of(cut(torn[:length] + good))
            assert [frame.payload for frame in found][-1:] == [frame_of(cut(good))[0].payload], length
            assert len(found) == 1, length


@pytest.mark.parametrize(("name", "data"), SHORT, ids=[name for name, _ in SHORT])
def test_the_parity_bits_of_7e1_are_taken_off_and_checked(name: str, data: bytes) -> None:
    (plain,) = frame_of(cut(data))
    (stripped,) = frame_of(cut(with_parity(data)))
    assert stripped.payload.strip() == plain.payload.strip()
    assert stripped.checksum == plain.checksum
    damaged = bytearray(with_parity(data))
    damaged[data.index(b"(") + 1] ^= 1
    assert frame_of(cut(bytes(damaged))) == []


def test_each_telegram_belongs_to_one_of_two_links() -> None:
    for _, data in SHORT:
        assert frame_of(P1Link().feed(data)) == []
    for entry in profiles.shipped().joinpath("frames").iterdir():
        if entry.name.endswith(".p1"):
            assert frame_of(cut(entry.read_bytes())) == [], entry.name


def test_a_p1_telegram_with_parity_bits_is_no_block() -> None:
    """A P1 meter of 7E1 on a line of 8N1 has the wrong framing, and no damaged blocks."""
    telegram = profiles.shipped().joinpath("frames", "nl-dsmr5-iskra-gas.p1").read_bytes()
    old = telegram[: telegram.rindex(b"!")] + b"!\r\n"
    for octets in (telegram, old):
        assert shown(cut(with_parity(octets) * 2)) == shown(cut(octets * 2)) == [("header", 1)] * 2


def test_lines_without_frame_are_read_at_the_end_of_a_capture_that_holds_nothing_else() -> None:
    lines = b"1-1:32.7.0(230.1*V)\r\n1-1:1.7.0(0.076*kW)\r\n1-1:2.7.0(0.000*kW)\r\n1-1:52.7.0(230.5*V)\r\n"
    assert [frame.payload for frame in frame_of(cut(b"\x19vf(j\r\n" + lines))] == [lines]
    assert frame_of(cut(lines[:-4])) == []
    assert frame_of(cut(b"\r\n" + lines + b"!\r\n")) == []
    assert frame_of(cut(b"\r\n" + lines.replace(b"1-1:", b"1-0:"))) == []
    link = Iec62056Link()
    assert link.feed(b"\r\n" + lines) + link.expire() == []


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "starts": lambda n: (b"/ABC5\r\n" * n)[:n],
    "no end": lambda n: b"/ABC5\r\n\x02" + b"1.8.0(1*kWh)\r\n" * (n // 14),
    "brackets": lambda n: b"/ABC5\r\n\x02" + b"(" * n,
    "ends": lambda n: b"/ABC5\r\n\x021.8.0(1)\r\n" + b"!\r" * (n // 2),
    "slashes": lambda n: b"/" * n,
    "acknowledgements": lambda n: b"/ABC5\r\n" + b"\x06050\r\n" * (n // 6),
    "parity": lambda n: b"\xaf" * n,
    "noise": lambda n: random.Random(3).randbytes(n),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_streams_are_bounded_and_cost_no_block_after_them(kind: str) -> None:
    link, data = Iec62056Link(), HOSTILE[kind](300_000)
    found: Outcomes = []
    for at in range(0, len(data), 4096):
        found += link.feed(data[at : at + 4096])
        assert link.pending <= LIMIT + 4096
    assert [frame for frame in frame_of(found) if frame.checksum == "ok"] == []
    link.expire()
    assert [frame.checksum for frame in frame_of(link.feed(block()))] == ["ok"]
