"""Readings of M-Bus meters in the journal: exact floats have more digits than 64 bits, and come back as they were."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles
from gateway.item_p import stamp
from gateway.stores import rows

NAMES = [name for name in profiles.names() if profiles.load(name).link == "mbus-records"]


@pytest.mark.parametrize("name", NAMES)
def test_a_reading_comes_back_as_it_was(name: str) -> None:
    profile = profiles.load(name)
    for note in profile.frame:
        decoder = Decoder([profile], ZoneInfo)
        data = profiles.shipped().joinpath(note.file).read_bytes()
        for reading in (r for r in decoder.feed(data) + decoder.close() if isinstance(r, Reading)):
            item = stamp(
                reading, "main", seq=7, t_rx=datetime(2026, 3, 12, 14, 30, tzinfo=UTC), max_clock_offset_s=3600
            )
            interner = rows.Interner({}, 1)
            packed = [rows.pack(item, interner) for _ in range(3)]
            assert [rows.unpack(row, "main", interner.layouts.__getitem__) for row in packed] == [item] * 3


def test_floats_are_wider_than_64_bits() -> None:
    """Else the test above shows less than it says."""
    profile = profiles.load("mbus-schneider-iem3000")
    (reading,) = Decoder([profile], ZoneInfo).feed(profiles.shipped().joinpath(profile.frame[0].file).read_bytes())
    assert isinstance(reading, Reading)
    assert max(abs(register[1]) for register in reading.registers) > 1 << 64
