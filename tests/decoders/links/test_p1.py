"""Link p1: what is a telegram, what is damage, and what never happens whatever arrives."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from decoders.errors import LinkError
from decoders.links import p1
from decoders.links.p1 import LIMIT, RETRIES, P1Link
from decoders.model import Frame
from tests.sizes import HOSTILE_OCTETS

GOOD = b"/TST5\\A\r\n\r\n1-0:1.7.0(00.100*kW)\r\n!"

Sealed = Callable[[bytes], bytes]


def outcomes(*pieces: bytes) -> list[Frame | str]:
    """Frames, and the codes of failures, of these pieces and the end of input."""
    link = P1Link()
    found = [outcome for piece in pieces for outcome in link.feed(piece)] + link.close()
    assert link.pending == 0
    return [outcome.code if isinstance(outcome, LinkError) else outcome for outcome in found]


def test_a_telegram_is_what_stands_from_its_start_to_its_end(sealed: Sealed) -> None:
    assert outcomes(sealed(GOOD)) == [Frame(GOOD[:-1], "ok", len(GOOD) + 4)]


def test_a_telegram_is_given_at_its_last_checksum_digit(sealed: Sealed) -> None:
    """Waiting for the line end would delay a reading until the next telegram of a meter that sends none."""
    link, octets = P1Link(), sealed(GOOD)
    assert link.feed(octets[: len(GOOD) + 3]) == []
    assert link.pending == len(GOOD) + 3
    (frame,) = link.feed(octets[len(GOOD) + 3 : len(GOOD) + 4])
    assert isinstance(frame, Frame)


def test_octets_one_by_one_are_the_whole(sealed: Sealed) -> None:
    octets = b"noise" + sealed(GOOD) * 3
    assert outcomes(*(octets[i : i + 1] for i in range(len(octets)))) == outcomes(octets)


def test_checksum_against_an_independent_calculation(crc: Callable[[bytes], int]) -> None:
    assert crc(b"123456789") == 0xBB3D  # the check value of CRC-16/ARC
    assert p1.checksum_matches(GOOD, f"{crc(GOOD):04X}".encode())
    assert not p1.checksum_matches(GOOD, f"{crc(GOOD) ^ 1:04X}".encode())


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_checksum_digits_in_either_case(case: Callable[[str], str], sealed: Sealed) -> None:
    octets = sealed(GOOD).decode()
    (frame,) = outcomes((octets[: len(GOOD)] + case(octets[len(GOOD) :])).encode())
    assert isinstance(frame, Frame)


def test_a_checksum_without_leading_zeros_is_one(crc: Callable[[bytes], int]) -> None:
    body = next(
        body for i in range(5_000) if crc(body := GOOD[:-4].replace(b"00.100", f"{i:05}".encode()) + b")\r\n!") < 0x1000
    )
    digits = f"{crc(body):X}".encode()
    assert len(digits) < 4
    (frame,) = outcomes(body + digits + b"\r\n")
    assert isinstance(frame, Frame)
    assert frame.checksum == "ok"
    assert outcomes(body + digits[:-1] + b"\r\n") == ["checksum"] or len(digits) == 1


def test_a_telegram_without_checksum_says_so() -> None:
    (frame,) = outcomes(GOOD + b"\r\n")
    assert isinstance(frame, Frame)
    assert frame.checksum == "absent"


def test_blanks_after_the_end_are_no_checksum() -> None:
    (frame,) = outcomes(GOOD + b"  \r\n")
    assert isinstance(frame, Frame)
    assert frame.checksum == "absent"


@pytest.mark.parametrize("octet", [b"\r", b"\n"])
@pytest.mark.parametrize("place", range(4))
def test_a_damaged_digit_never_makes_a_telegram_without_checksum(octet: bytes, place: int, sealed: Sealed) -> None:
    telegram = sealed(GOOD)
    mark = telegram.rindex(b"!") + 1 + place
    damaged = telegram[:mark] + octet + telegram[mark + 1 :]
    found = outcomes(damaged, telegram)
    assert [frame.checksum for frame in found if isinstance(frame, Frame)] == ["ok"]


def test_a_wrong_checksum_gives_no_frame() -> None:
    assert outcomes(GOOD + b"0000\r\n") == ["checksum"]


def test_an_end_on_the_line_of_the_last_value(sealed: Sealed) -> None:
    """Aidon meters: `...*kvar)!ABCD`."""
    body = GOOD.replace(b"\r\n!", b"!")
    assert outcomes(sealed(body)) == [Frame(body[:-1], "ok", len(body) + 4)]


@pytest.mark.parametrize("text", [b"(see! 12", b"(stop!)", b"a!1234"])
def test_an_exclamation_mark_inside_a_text_is_no_end(text: bytes, sealed: Sealed) -> None:
    body = GOOD.replace(b"1-0:1.7.0", b"0-0:96.13.0(" + text + b")\r\n1-0:1.7.0")
    assert [type(outcome) for outcome in outcomes(sealed(body))] == [Frame]


def test_a_capture_that_lost_its_carriage_returns_is_judged_with_them(sealed: Sealed) -> None:
    octets = sealed(GOOD).replace(b"\r\n", b"\n")
    (frame,) = outcomes(octets)
    assert isinstance(frame, Frame)
    assert frame.checksum == "ok"
    assert outcomes(octets.replace(b"00.100", b"00.101")) == ["checksum"]


def test_a_telegram_with_lone_line_feeds_of_its_own_is_judged_as_it_is(sealed: Sealed) -> None:
    assert [type(outcome) for outcome in outcomes(sealed(GOOD.replace(b"\r\n", b"\n")))] == [Frame]


def test_one_lost_carriage_return_is_damage(sealed: Sealed) -> None:
    octets = sealed(GOOD)
    place = octets.index(b"\r", 20)
    assert outcomes(octets[:place] + octets[place + 1 :]) == ["checksum"]


@pytest.mark.parametrize("end", [b"!", b"!1", b"!12", b"!123"])
def test_the_end_of_input_ends_a_telegram_whose_mark_is_there(end: bytes) -> None:
    (outcome,) = outcomes(GOOD[:-1] + end)
    assert isinstance(outcome, Frame) if end == b"!" else outcome == "checksum"


@pytest.mark.parametrize(
    "octets", [b"/", b"/TS", b"/TST5\\METER", b"/TST)!", b"/1-0:1.8.0(1*kWh)!", b")!", b"!", b"\n!1234"]
)
def test_what_never_began_is_noise_and_no_frame(octets: bytes) -> None:
    link = P1Link()
    assert link.feed(octets) + link.close() == []
    assert link.noise == len(octets.replace(b"\n", b""))


def test_what_began_and_is_cut_off_is_a_failure() -> None:
    assert outcomes(GOOD[:-3]) == ["truncated"]


def test_a_start_needs_a_manufacturer_and_a_line_end() -> None:
    for head in (b"/12345\r\n", b"/AB\r\n", b"/ABC" + b"x" * 100 + b"\r\n", b"/ABC\x005\r\n"):
        assert outcomes(head + GOOD[10:] + b"\r\n") == [], head


def test_the_longest_start_is_one(sealed: Sealed) -> None:
    longest = GOOD.replace(b"/TST5\\A", b"/TST" + b"x" * 72)
    assert [type(outcome) for outcome in outcomes(sealed(longest))] == [Frame]
    assert outcomes(sealed(longest.replace(b"/TST", b"/TSTx"))) == []


def test_two_telegrams_in_one_piece(sealed: Sealed) -> None:
    assert len(outcomes(sealed(GOOD) + sealed(GOOD))) == 2


def test_a_good_telegram_beside_a_torn_one_is_read(sealed: Sealed) -> None:
    torn = sealed(GOOD)[: len(GOOD) - 12]
    assert outcomes(torn + sealed(GOOD)) == ["truncated", Frame(GOOD[:-1], "ok", len(GOOD) + 4)]


def test_a_good_telegram_after_many_torn_ones_is_read(sealed: Sealed) -> None:
    torn = GOOD[:20]
    for n in (1, RETRIES, RETRIES + 5, 100):
        assert outcomes(torn * n + sealed(GOOD))[-1] == Frame(GOOD[:-1], "ok", len(GOOD) + 4), n


def test_of_merged_telegrams_without_checksum_only_the_last_is_whole() -> None:
    assert outcomes(GOOD[:30] + GOOD + b"\r\n") == ["truncated", Frame(GOOD[:-1], "absent", len(GOOD))]


def test_a_telegram_up_to_the_limit_is_read_and_a_longer_one_is_refused(sealed: Sealed) -> None:
    def long(octets: int) -> bytes:
        filler = octets - len(sealed(GOOD)) - len("0-0:96.13.0()\r\n") + 2
        return sealed(GOOD[:-1] + b"0-0:96.13.0(" + b"x" * filler + b")\r\n!")

    assert len(long(LIMIT)) == LIMIT + 2
    assert [type(outcome) for outcome in outcomes(long(LIMIT))] == [Frame]
    assert outcomes(long(LIMIT + 1)) == ["oversized"]


def test_a_good_telegram_after_an_oversized_one_is_read(sealed: Sealed) -> None:
    octets = GOOD[:-1] + b"x" * (3 * LIMIT) + sealed(GOOD)
    expected = ["oversized", Frame(GOOD[:-1], "ok", len(GOOD) + 4)]
    assert outcomes(octets) == outcomes(*(octets[i : i + 7] for i in range(0, len(octets), 7))) == expected


def test_gaps_between_telegrams_are_no_noise(sealed: Sealed) -> None:
    link = P1Link()
    link.feed(b"\x00\r\n" + sealed(GOOD) + b"\r\n\r\n\x00" + sealed(GOOD))
    link.close()
    assert link.noise == 0
    link.feed(b"ab\r\ncd")
    assert link.noise == 4


HOSTILE = {
    "starts": b"/ABC\n",
    "starts with marks": b"/ABC\n!x",
    "starts with ends": b"/ABC\n!\n",
    "starts with wrong checksums": b"/ABC\n!0000",
    "starts with nearly ends": b"/ABC\n)!123G",
    "unfinished starts": b"/ABC",
    "slashes": b"/",
    "marks": b")!",
    "marks in one telegram": b"/ABC\n" + b")!" * 8_000,
    "line ends": b"\r\n",
    "zeros": b"\x00",
    "brackets": b"/ABC\n" + b"(" * 4_000 + b")" * 4_000 + b"\n!\n",
    "retries": b"/ABC\n" * 3_000 + b")!1234\n",
}


class Counted:
    """A compiled pattern that counts how often it is asked."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.asked = 0
        self._pattern = pattern

    def match(self, *args: Any) -> re.Match[bytes] | None:
        self.asked += 1
        return self._pattern.match(*args)

    def finditer(self, *args: Any) -> Iterator[re.Match[bytes]]:
        for found in self._pattern.finditer(*args):
            self.asked += 1
            yield found


@pytest.mark.untraced
@pytest.mark.parametrize("piece", [4_096, HOSTILE_OCTETS], ids=["in pieces", "at once"])
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_hostile_streams_take_work_in_proportion(unit: bytes, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start and each mark is looked at a few times at most, however they are arranged."""
    start, end = Counted(p1._START), Counted(p1._END)
    monkeypatch.setattr(p1, "_START", start)
    monkeypatch.setattr(p1, "_END", end)
    stream = (unit * (HOSTILE_OCTETS // len(unit) + 1))[:HOSTILE_OCTETS]
    link = P1Link()
    for i in range(0, len(stream), piece):
        link.feed(stream[i : i + piece])
        assert link.pending < LIMIT
    pieces = len(stream) // piece
    assert start.asked <= 2 * stream.count(b"/") + pieces
    assert end.asked <= 2 * stream.count(b"!") + 8 * pieces
    link.close()
    assert link.pending == 0


def test_a_telegram_after_every_hostile_stream_is_read(sealed: Sealed) -> None:
    for name, unit in HOSTILE.items():
        found = outcomes((unit * (40_000 // len(unit) + 1)) + b"\r\n" + sealed(GOOD))
        assert found[-1] == Frame(GOOD[:-1], "ok", len(GOOD) + 4), name
