"""Link mbus-records: frames of EN 13757-2, readouts of several telegrams, and what is no answer of a meter."""

import random

import pytest

from decoders.errors import LinkError
from decoders.links.framing import Outcome
from decoders.links.mbus_endings import Endings
from decoders.links.mbus_records import LIMIT, TELEGRAMS, MbusRecordsLink
from decoders.model import Frame

HEADER = bytes.fromhex("78563412 B515 10 02")
RECORD = bytes.fromhex("04 03 01000000")
SND_NKE, REQ_UD2 = bytes.fromhex("1040F03016"), bytes.fromhex("107B017C16")


def body(access: int, records: bytes = RECORD, *, address: int = 1, header: bytes = HEADER) -> bytes:
    return bytes([0x08, address, 0x72]) + header + bytes([access, 0, 0, 0]) + records


def long(content: bytes) -> bytes:
    return bytes([0x68, len(content), len(content), 0x68]) + content + bytes([sum(content) & 0xFF, 0x16])


def outcomes(data: bytes) -> list[Outcome]:
    link = MbusRecordsLink()
    return link.feed(data) + link.close()


def payloads(data: bytes) -> list[bytes]:
    return [outcome.payload for outcome in outcomes(data) if isinstance(outcome, Frame)]


def codes(data: bytes) -> list[str]:
    return [outcome.code for outcome in outcomes(data) if isinstance(outcome, LinkError)]


def test_a_frame_carries_a_telegram_behind_its_length() -> None:
    (frame,) = outcomes(long(body(1)))
    assert frame == Frame(bytes([len(body(1))]) + body(1), "ok", len(long(body(1))))


def test_a_telegram_that_says_so_waits_for_the_next_one() -> None:
    first, second = body(255, RECORD + b"\x1f\x01\x02"), body(0)
    link = MbusRecordsLink()
    assert link.feed(long(first)) == []
    assert link.pending == len(long(first))
    (frame,) = link.feed(REQ_UD2 + long(second))
    assert isinstance(frame, Frame)
    assert frame.payload == bytes([len(first)]) + first + bytes([len(second)]) + second
    assert (frame.size, link.pending) == (len(long(first) + long(second)), 0)


@pytest.mark.parametrize(
    "second",
    [body(8), body(6, address=2), body(6, header=bytes.fromhex("79563412 B515 10 02")), body(5, RECORD * 2)],
    ids=["access number", "address", "identification", "same number"],
)
def test_another_readout_ends_the_open_one(second: bytes) -> None:
    first = body(5, RECORD + b"\x1f")
    assert payloads(long(first) + long(second)) == [bytes([len(b)]) + b for b in (first, second)]


def test_a_telegram_that_was_asked_for_twice_counts_once() -> None:
    first, second = body(5, RECORD + b"\x1f"), body(6)
    assert len(payloads(long(first) + REQ_UD2 + long(first) + long(second))) == 1


@pytest.mark.parametrize("between", [b"\x55\x55\x55", b"\x68\x05\x05\x68\x08\x01\x72\x01\x02\x00\x16"])
def test_lost_octets_end_the_open_readout(between: bytes) -> None:
    """A telegram may have been among them; what came is true, and leaves alone."""
    assert len(payloads(long(body(5, RECORD + b"\x1f")) + between + long(body(6)))) == 2


def test_silence_and_the_end_release_what_is_open() -> None:
    link = MbusRecordsLink()
    link.feed(long(body(5, b"\x1f")))
    assert [type(outcome) for outcome in link.expire()] == [Frame]
    assert link.expire() == []
    link.feed(long(body(6, b"\x1f")))
    assert [type(outcome) for outcome in link.close()] == [Frame]


def test_an_endless_readout_is_bounded() -> None:
    data = b"".join(long(body(n % 256, RECORD + b"\x1f")) for n in range(100))
    link = MbusRecordsLink()
    frames = [outcome for outcome in link.feed(data) if isinstance(outcome, Frame)]
    assert all(len(frame.payload) <= LIMIT for frame in frames)
    assert len(frames) == 100 // TELEGRAMS
    assert link.pending <= LIMIT


@pytest.mark.parametrize("asked", [SND_NKE, REQ_UD2, b"\xe5", long(bytes.fromhex("53FE51017A08"))])
def test_what_a_master_sends_passes_without_a_word(asked: bytes) -> None:
    assert outcomes(asked + long(body(1)) + asked) == outcomes(long(body(1)))


def test_a_stream_of_requests_only_says_so_at_its_end() -> None:
    link = MbusRecordsLink()
    assert link.feed((SND_NKE + b"\xe5" + REQ_UD2) * 5) == []
    (error,) = link.close()
    assert isinstance(error, LinkError)
    assert (error.code, error.size) == ("no_data", 50)


def test_a_push_of_a_meter_has_the_control_of_a_master() -> None:
    content = bytes([0x53, 0xF0, 0x5B]) + HEADER + bytes(4) + RECORD
    assert payloads(long(content)) == [bytes([len(content)]) + content]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (long(bytes.fromhex("53FF100167DB08")), "no_data"),
        (long(bytes.fromhex("0801100167DB08")), "header"),
        (long(body(1))[:-2] + b"\x00\x16", "checksum"),
        (long(body(1))[:-1] + b"\x17", "checksum"),
        (long(body(1))[:-3], "truncated"),
        (b"\x68\x13\x12\x68" + bytes(25), "header"),
        (b"\x68\x00\x00\x68\x00\x16", "header"),
    ],
    ids=["DLMS push", "DLMS answer", "sum", "stop", "cut", "lengths differ", "no length"],
)
def test_what_is_no_telegram_is_named(data: bytes, code: str) -> None:
    assert payloads(data) == []
    assert codes(data)[0] == code


def test_a_frame_is_found_behind_noise_and_inside_a_false_start() -> None:
    whole = long(body(1))
    assert payloads(b"\x68\x68\x10\x40" + whole) == payloads(whole)
    assert payloads(b"\x68\xff\xff\x68" + whole * 2 + bytes(300)) == payloads(whole * 2)


def test_ten_mebibytes_of_noise_hold_nothing_and_are_bounded() -> None:
    rng, link = random.Random(7), MbusRecordsLink()
    for _ in range(160):
        assert not [o for o in link.feed(rng.randbytes(1 << 16)) if isinstance(o, Frame)]
        assert link.pending <= 261
    assert link.noise > 10 << 20 >> 1


def test_damage_that_keeps_the_sum_passes_one_time_in_256() -> None:
    """Eight bits are all there is against bursts: docs/interfaces/mbus.md says the rate."""
    rng, whole, passed = random.Random(11), long(body(1, RECORD * 20)), 0
    for _ in range(20_000):
        at = rng.randrange(4, len(whole) - 10)
        damaged = whole[:at] + rng.randbytes(8) + whole[at + 8 :]
        passed += damaged != whole and bool(payloads(damaged))
    assert 1 / 400 < passed / 20_000 < 1 / 170


def test_how_a_telegram_ends_is_remembered_by_its_structure_only() -> None:
    endings = Endings()
    assert endings.more_follow(body(1, RECORD + b"\x1f"))
    assert not endings.more_follow(body(2, bytes.fromhex("04031F001F00") + b"\x0f"))
    assert not endings.more_follow(body(3, bytes.fromhex("04031F1F1F1F") + b"\x2f"))
    for access in range(4, 9):
        value = bytes([access, 0x1F, 0x1F, 0x1F])
        assert endings.more_follow(body(access, b"\x04\x03" + value + b"\x1f"))


@pytest.mark.parametrize(
    ("records", "more"),
    [
        ("02FC0348522574 2215 1F", True),
        ("0D7C05736564616B 03 414243 1F", True),
        ("0D7C05736564616B 03 41421F", False),
        ("2F2F 04031F1F1F1F 2F 1F 00", True),
        ("04031F1F", False),
        ("0D781F", False),
        ("0F1F", False),
        ("808080808080808080808080801F", False),
    ],
)
def test_only_a_walk_over_all_records_finds_the_end(records: str, more: bool) -> None:
    assert Endings().more_follow(body(1, bytes.fromhex(records))) is more


def test_random_structures_end_alike_with_memory_and_without() -> None:
    rng, endings = random.Random(3), Endings()
    for _ in range(5_000):
        telegram = body(
            rng.randrange(256), bytes(rng.choice(b"\x04\x03\x02\x1f\x0f\x0d\x7c\x85\x2f") for _ in range(12))
        )
        assert endings.more_follow(telegram) is Endings().more_follow(telegram)
