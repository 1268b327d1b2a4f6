"""A-XDR: what an encoder of its own writes comes back, and what is damaged, endless or nested is refused at once."""

import contextlib
import random
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoders.errors import GrammarError
from decoders.grammars.axdr import MAX_DEPTH, MAX_ELEMENTS, Data

#: tag -> form of `struct`, octets: IEC 62056-6-2, clause 4.1.5, table 2
NUMBERS = {5: ">i", 6: ">I", 15: ">b", 16: ">h", 17: ">B", 18: ">H", 20: ">q", 21: ">Q", 22: ">B"}
RAW = {13: 1, 23: 4, 24: 8, 25: 12, 26: 5, 27: 4}
#: seconds for the largest hostile input; each takes milliseconds, and an endless one never ends
DEADLINE = 20


def length(n: int, octets: int = 0) -> bytes:
    """A length in its shortest form, or in `octets` further ones."""
    if n < 0x80 and not octets:
        return bytes([n])
    octets = octets or (n.bit_length() + 7) // 8
    return bytes([0x80 | octets]) + n.to_bytes(octets, "big")


def content(leaf: tuple[int, Any]) -> bytes:
    """A value without its tag."""
    tag, value = leaf
    if tag in NUMBERS:
        return struct.pack(NUMBERS[tag], value)
    if tag == 0:
        return b""
    if tag == 3:
        return bytes([value])
    if tag == 4:
        return length(8 * len(value)) + value
    return value if tag in RAW else length(len(value)) + value


def encoded(value: Any, tag: int = 2) -> bytes:
    """A value with its tag; lists are structures, or arrays where `tag` is 1."""
    if isinstance(value, list):
        return bytes([tag]) + length(len(value)) + b"".join(encoded(one, tag) for one in value)
    return bytes([value[0]]) + content(value)


def numbers(tag: int) -> st.SearchStrategy[tuple[int, Any]]:
    bits, signed = 8 * struct.calcsize(NUMBERS[tag]), NUMBERS[tag][1].islower()
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.tuples(st.just(tag), st.integers(low, high))


def octets(tag: int, least: int, most: int) -> st.SearchStrategy[tuple[int, Any]]:
    return st.tuples(st.just(tag), st.binary(min_size=least, max_size=most))


STRINGS = [octets(tag, 0, 300) for tag in (9, 10, 12)]
FIXED = [numbers(tag) for tag in NUMBERS] + [octets(tag, size, size) for tag, size in RAW.items()]
LEAVES = st.one_of(*STRINGS, *FIXED, st.just((0, None)), st.tuples(st.just(3), st.booleans()), octets(4, 0, 40))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=8), max_leaves=60)


def read(wire: bytes) -> Any:
    """All of the octets as one value."""
    data = Data(wire)
    value = data.value()
    assert data.rest == 0
    return value


@pytest.fixture
def refused() -> Callable[[bytes], str]:
    """The code of a refusal, which comes at once."""

    def run(wire: bytes) -> str:
        began = time.monotonic()
        with pytest.raises(GrammarError) as caught:
            Data(wire).value()
        assert time.monotonic() - began < DEADLINE
        assert caught.value.size == len(wire)
        return caught.value.code

    return run


@pytest.mark.untraced
@settings(max_examples=1_500, deadline=None)
@given(value=VALUES, tag=st.sampled_from([1, 2]))
def test_what_is_written_comes_back(value: Any, tag: int) -> None:
    assert read(encoded(value, tag)) == value


@settings(max_examples=400, deadline=None)
@given(value=VALUES)
def test_every_truncation_is_refused(value: Any) -> None:
    wire = encoded(value)
    for end in {*range(min(len(wire), 64)), len(wire) // 2, len(wire) - 1}:
        with pytest.raises(GrammarError):
            Data(wire[:end]).value()


@settings(max_examples=3_000, deadline=None)
@given(wire=st.binary(max_size=80))
def test_any_octets_are_a_value_or_refused(wire: bytes) -> None:
    for bare in (False, True):
        with contextlib.suppress(GrammarError):
            Data(wire, bare_descriptors=bare).value()


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("00", (0, None)),
        ("0300", (3, False)),
        ("0301", (3, True)),
        ("040DABC8", (4, b"\xab\xc8")),
        ("05FFFFFFFF", (5, -1)),
        ("06FFFFFFFF", (6, 4294967295)),
        ("0902ABCD", (9, b"\xab\xcd")),
        ("0A024142", (10, b"AB")),
        ("0C02C3A9", (12, b"\xc3\xa9")),
        ("0D42", (13, b"\x42")),
        ("0F80", (15, -128)),
        ("108000", (16, -32768)),
        ("11FF", (17, 255)),
        ("12FFFF", (18, 65535)),
        ("148000000000000000", (20, -(2**63))),
        ("15FFFFFFFFFFFFFFFF", (21, 2**64 - 1)),
        ("161E", (22, 30)),
        ("173F800000", (23, b"\x3f\x80\x00\x00")),
        ("183FF0000000000000", (24, b"\x3f\xf0\x00\x00\x00\x00\x00\x00")),
        ("1907E40C0E01093B28FF8000FF", (25, bytes.fromhex("07E40C0E01093B28FF8000FF"))),
        ("1A07E40C0E01", (26, bytes.fromhex("07E40C0E01"))),
        ("1B093B28FF", (27, bytes.fromhex("093B28FF"))),
        ("0100", []),
        ("0200", []),
        ("02021101120002", [(17, 1), (18, 2)]),
    ],
)
def test_every_type_as_the_standard_writes_it(wire: str, value: Any) -> None:
    assert read(bytes.fromhex(wire)) == value


@pytest.mark.parametrize("octets", [1, 2, 3, 4])
def test_a_length_need_not_be_the_shortest(octets: int) -> None:
    assert read(b"\x09" + length(3, octets) + b"abc") == (9, b"abc")
    assert read(b"\x02" + length(1, octets) + b"\x11\x07") == [(17, 7)]


@pytest.mark.parametrize(("n", "form"), [(127, "7F"), (128, "8180"), (255, "81FF"), (256, "820100"), (3000, "820BB8")])
def test_long_strings(n: int, form: str) -> None:
    assert read(b"\x09" + bytes.fromhex(form) + b"x" * n) == (9, b"x" * n)


@pytest.mark.parametrize("tag", sorted({*range(256)} - {0, 1, 2, 3, 4, 9, 10, 12, 19, *NUMBERS, *RAW}))
def test_every_other_tag_is_refused(tag: int, refused: Callable[[bytes], str]) -> None:
    assert refused(bytes([tag]) + bytes(40)) == "type"
    assert refused(bytes([2, 1, tag]) + bytes(40)) == "type"


class TestBounds:
    """A bound holds on both sides of its edge."""

    def test_depth(self, refused: Callable[[bytes], str]) -> None:
        value: Any = (17, 1)
        for _ in range(MAX_DEPTH):
            value = [value]
        assert read(encoded(value)) == value
        assert refused(encoded([value])) == "elements"

    def test_elements(self, refused: Callable[[bytes], str]) -> None:
        most = [(0, None)] * (MAX_ELEMENTS - 1)
        assert read(encoded(most)) == most
        assert refused(encoded([*most, (0, None)])) == "elements"
        assert refused(encoded([most[:3000], most[:3000]])) == "elements"

    @pytest.mark.parametrize("first", ["80", "85", "88", "FF"])
    def test_lengths_of_no_or_more_than_four_octets(self, first: str, refused: Callable[[bytes], str]) -> None:
        for tag in ("01", "02", "04", "09", "0A", "0C"):
            assert refused(bytes.fromhex(tag + first) + bytes(300)) == "length"

    @pytest.mark.parametrize("tag", ["09", "0A", "0C", "04"])
    def test_a_string_longer_than_the_rest(self, tag: str, refused: Callable[[bytes], str]) -> None:
        for form in ("02", "7F", "81FF", "82FFFF", "83FFFFFF", "84FFFFFFFF"):
            assert refused(bytes.fromhex(tag + form) + (b"" if tag == "04" else b"x")) == "length"

    @pytest.mark.parametrize("tag", ["01", "02"])
    def test_a_list_longer_than_the_rest(self, tag: str, refused: Callable[[bytes], str]) -> None:
        for form in ("02", "7F", "81FF", "82FFFF", "83FFFFFF", "84FFFFFFFF"):
            assert refused(bytes.fromhex(tag + form) + b"\x00") == "elements"

    @pytest.mark.parametrize("piece", ["0101", "0201", "018101", "0184000000" + "01", "1302", "130201", "1301FFFF"])
    def test_nests_without_end(self, piece: str, refused: Callable[[bytes], str]) -> None:
        assert refused(bytes.fromhex(piece) * 20_000) in ("elements", "length", "type")


class TestCompactArray:
    """Green Book, compact-array: a description, then the octets of all elements without tags."""

    @settings(max_examples=400, deadline=None)
    @given(data=st.data())
    def test_what_is_written_comes_back(self, data: st.DataObject) -> None:
        columns = data.draw(st.lists(st.sampled_from([*FIXED, *STRINGS]), min_size=1, max_size=6))
        first = data.draw(st.tuples(*columns))
        rows = [list(first), *map(list, data.draw(st.lists(st.tuples(*columns), max_size=5)))]
        body = b"".join(content(leaf) for row in rows for leaf in row)
        description = bytes([2, len(first), *(leaf[0] for leaf in first)])
        assert read(b"\x13" + description + length(len(body)) + body) == rows

    @pytest.mark.parametrize(
        ("wire", "value"),
        [
            ("13 11 03 010203", [(17, 1), (17, 2), (17, 3)]),
            ("13 12 00", []),
            ("13 09 05 02 4142 01 43", [(9, b"AB"), (9, b"C")]),
            ("13 04 04 03 A0 04 50", [(4, b"\xa0"), (4, b"\x50")]),
            ("13 01 0002 11 04 01020304", [[(17, 1), (17, 2)], [(17, 3), (17, 4)]]),
            ("13 02 02 12 02 01 11 06 000105 000206", [[(18, 1), [(17, 5)]], [(18, 2), [(17, 6)]]]),
            ("13 02 02 00 11 02 0708", [[(0, None), (17, 7)], [(0, None), (17, 8)]]),
            ("02 02 13 11 01 07 11 08", [[(17, 7)], (17, 8)]),
        ],
    )
    def test_forms(self, wire: str, value: Any) -> None:
        assert read(bytes.fromhex(wire)) == value

    @pytest.mark.parametrize(
        ("wire", "code"),
        [
            ("13 13 11 00", "type"),  # no compact array in another's description
            ("13 07 01 00", "type"),
            ("13 12 03 000102", "length"),  # one element and a half
            ("13 12 05 0001", "length"),  # contents longer than what there is
            ("13 12 84 FFFFFFFF", "length"),
            ("13 09 03 05 4142", "length"),  # a string that leads out of the contents
            ("13 09 02 05 4142434445", "length"),
            ("13 00 01 00", "elements"),  # elements of no octets never fill the contents
            ("13 02 00 01 00", "elements"),
            ("13 01 0000 11 01 00", "elements"),
            ("13 01 FFFF 11 01 00", "elements"),
            ("13 02 84 FFFFFFFF", "elements"),
            ("13 02", "length"),
            ("13", "length"),
        ],
    )
    def test_refused(self, wire: str, code: str, refused: Callable[[bytes], str]) -> None:
        assert refused(bytes.fromhex(wire)) == code

    @pytest.mark.parametrize("inner", ["00", "11", "09", "0200"])
    @pytest.mark.parametrize(("count", "levels"), [(4000, 2), (1300, 3), (255, 14), (2, 14)])
    def test_arrays_of_arrays_do_not_multiply(
        self, inner: str, count: int, levels: int, refused: Callable[[bytes], str]
    ) -> None:
        """250 nulls in each of 14 levels are 10 to the 33 values, and not one octet."""
        wire = b"\x13" + (b"\x01" + count.to_bytes(2, "big")) * levels + bytes.fromhex(inner) + b"\x82\x0f\xff"
        assert refused(wire + bytes(0xFFF)) == "elements"

    def test_elements_are_counted_over_all_arrays(self, refused: Callable[[bytes], str]) -> None:
        one = b"\x13\x11" + length(1000) + bytes(1000)
        assert len(read(encoded([]).replace(b"\x02\x00", b"\x02\x04") + one * 4)) == 4
        assert refused(b"\x02\x05" + one * 5) == "elements"


def test_random_damage_never_escapes() -> None:
    """Any octet of a long and deep value changed: a value or a refusal, never another error."""
    chance = random.Random(4)
    wire = encoded([[(9, b"\1\0\1\7\0\xff"), (6, 5), [(15, 0), (22, 27)]] for _ in range(20)])
    wire = b"\x02\x02" + wire + bytes.fromhex("13 02 02 12 09 06 0001 0141 00 00".replace("06", "07"))
    for _ in range(5_000):
        damaged = bytearray(wire)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with contextlib.suppress(GrammarError):
            Data(bytes(damaged)).value()


def test_untagged_descriptors() -> None:
    """Sagemcom XT211: in a structure of two within another, class, code and attribute come without tags."""
    wire = bytes.fromhex("02 01 02 02 0003 0100010700FF 02 06 000007A4")
    descriptor = [(18, 3), (9, bytes.fromhex("0100010700FF")), (15, 2)]
    data = Data(wire, bare_descriptors=True)
    assert data.value() == [[descriptor, (6, 1956)]]
    assert data.rest == 0
    with pytest.raises(GrammarError):
        Data(wire[:-1], bare_descriptors=True).value()
