"""A-XDR values of the simulator, against octets worked out by hand and the examples of IEC 62056-6-2."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.simulator import axdr
from gateway.simulator.axdr import TimeForm

VIENNA = ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("kind", "value", "octets"),
    [
        ("bool", 1, "0301"),
        ("u8", 255, "11ff"),
        ("i8", -1, "0fff"),
        ("u16", 2337, "120921"),
        ("i16", -2, "10fffe"),
        ("u32", 12937, "0600003289"),
        ("u32", 2**32 + 5, "0600000005"),
        ("i32", -1, "05ffffffff"),
        ("u64", 862055, "1500000000000d2767"),
        ("i64", -1, "14ffffffffffffffff"),
        ("enum", 30, "161e"),
    ],
)
def test_integers(kind, value, octets):
    assert axdr.integer(kind, value).hex() == octets


@pytest.mark.parametrize(
    ("count", "octets"), [(0, "00"), (127, "7f"), (128, "8180"), (255, "81ff"), (256, "820100"), (70_000, "83011170")]
)
def test_lengths_take_their_shortest_form(count, octets):
    assert axdr.length(count).hex() == octets


def test_strings_and_lists():
    assert axdr.string("visible", b"KFM").hex() == "0a034b464d"
    assert axdr.string("octets", axdr.code("1-1:0.2.129")).hex() == "09060101000281ff"
    assert axdr.structure([axdr.integer("i8", 0), axdr.integer("enum", 27)]).hex() == "02020f00161b"
    assert axdr.array([axdr.integer("u8", 1)] * 130)[:3].hex() == "018182"


@pytest.mark.parametrize(
    ("local", "form", "octets"),
    [
        (datetime(2022, 2, 4, 16, 43, 20, tzinfo=VIENNA), TimeForm(0, "said"), "07e6020405102b1400ffc400"),
        (datetime(2021, 9, 27, 9, 47, 15, tzinfo=VIENNA), TimeForm(0, "said"), "07e5091b01092f0f00ff8880"),
        (datetime(2023, 11, 10, 10, 58, 50, tzinfo=VIENNA), TimeForm(), "07e70b0a050a3a32ff800000"),
        (datetime(2020, 1, 21, 16, 0, 0, tzinfo=VIENNA), TimeForm(deviation="zero"), "07e4011502100000ff000000"),
    ],
)
def test_date_times_of_captures(local, form, octets):
    assert axdr.date_time(local, form).hex() == octets
