"""Wall clocks: the zone that is configured or that the profile states, summer and winter time, and the hour twice."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.sinks import SinkError
from gateway.sinks.local_time import LocalTime, stamp, tst


@pytest.mark.parametrize(
    ("t", "zone", "expected"),
    [
        ("2026-11-21T22:20:05", "Europe/Amsterdam", "261121232005W"),
        ("2026-06-21T22:20:05", "Europe/Amsterdam", "260622002005S"),
        ("2026-10-25T00:30:00", "Europe/Amsterdam", "261025023000S"),
        ("2026-10-25T01:30:00", "Europe/Amsterdam", "261025023000W"),
        ("2026-03-29T01:00:00", "Europe/Amsterdam", "260329030000S"),
        ("2026-06-21T22:20:05", "Europe/Helsinki", "260622012005S"),
        ("2026-06-21T22:20:05", "Etc/GMT-1", "260621232005W"),
    ],
)
def test_tst(t, zone, expected):
    instant = datetime.fromisoformat(t).replace(tzinfo=UTC)
    assert tst(instant, ZoneInfo(zone)) == expected
    assert stamp(instant, ZoneInfo(zone)) == expected[:12]


def test_the_configured_zone_comes_first(make_item):
    assert LocalTime("Europe/Vilnius", "[[virtual_p1]]").of(make_item()).key == "Europe/Vilnius"


def test_else_the_profile_states_it(make_item):
    assert LocalTime(None, "[[virtual_p1]]").of(make_item()).key == "Europe/Amsterdam"


@pytest.mark.parametrize("profile", ["no-aidon", "a-file-that-was-taken-away"])
def test_it_is_never_guessed(make_item, profile):
    zones = LocalTime(None, "[[virtual_p1]]")
    for _ in range(2):
        with pytest.raises(SinkError, match=r"knows no zone: set timezone in \[\[virtual_p1\]\]"):
            zones.of(make_item(profile=profile))
