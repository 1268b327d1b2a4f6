"""The limit of a connection, from what an installer knows."""

import pytest

from gateway.settings import MAX_POWER_W
from gateway.setup.limit import watts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3x25A", MAX_POWER_W),
        ("3 x 25 A", MAX_POWER_W),
        ("3\u00d725", MAX_POWER_W),
        ("3*35a", 36_225),
        ("1x40A", 13_800),
        ("17250", 17_250),
        ("17 kW", 17_000),
        (" 5750W ", 5_750),
        ("0", 0),
    ],
)  # fmt: skip
def test_fuse_and_watts(text, found):
    assert watts(text) == found


@pytest.mark.parametrize(
    "text", ["", "25A", "4x25A", "x", "-1", "3x", "1.5", "3x25B", "25 875", "999999999", "\u0663x25A"]
)
def test_what_is_no_limit(text):
    with pytest.raises(ValueError, match="no limit"):
        watts(text)
