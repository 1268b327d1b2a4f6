"""The meter's own peaks in real telegrams, and beside intervals: equal, different, unknown."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles
from gateway.intervals.billed import Compared, Peak, compare, peaks_of, quarter_of
from gateway.intervals.model import Interval, missing, revised

FRAMES = Path(__file__).parents[2] / "config" / "profiles" / "frames"
MONTH = int(datetime(2026, 10, 31, 23, tzinfo=UTC).timestamp())


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def quarter(n: int, wh: int | None, step: int = 1) -> Interval:
    start = MONTH + 900 * n
    status = "missing" if wh is None else "valid"
    return revised(missing(start, start + 900, resolution_wh=step), quantity=wh, status=status)


@pytest.mark.parametrize(
    ("frame", "profile", "watts", "at"),
    [
        ("be-fluvius-emucs-3ph.p1", "be-fluvius-emucs", 2_589, "2020-05-09T13:45:58+02:00"),
        ("be-fluvius-emucs-bare.p1", "be-fluvius-emucs", 1_566, "2023-06-01T02:00:00+02:00"),
        ("be-emucs-3ph.p1", "be-emucs", 4_589, "2025-09-09T13:45:00+02:00"),
        ("ch-groupe-e-xt211-3ph.p1", "ch-groupe-e-xt211", 15_206, "2025-03-15T01:45:00+01:00"),
    ],
)
def test_real_telegrams_tell_their_peak(frame, profile, watts, at):
    decoder = Decoder([profiles.load(profile)], ZoneInfo)
    octets = (FRAMES / frame).read_bytes()
    (reading,) = [one for one in [*decoder.feed(octets), *decoder.close()] if isinstance(one, Reading)]
    (found,) = peaks_of(reading)
    assert found == ("import", Peak(stamp(at), watts, 1))


def test_a_peak_that_agrees_in_its_quarter_hour():
    month = [quarter(n, 100 + n % 7) for n in range(96)] + [quarter(96, 647)]
    found = compare(Peak(MONTH + 97 * 900, 2_589, 1), month)
    assert (found.ours, found.difference, found.highest, found.agrees) == (2_588, -1, 2_588, True)
    assert found.start == MONTH + 96 * 900


def test_a_peak_that_differs_by_more_than_a_step():
    found = compare(Peak(MONTH + 900, 2_589, 1), [quarter(0, 640), quarter(1, 20)])
    assert (found.difference, found.allowed, found.agrees) == (-29, 9, False)
    # a register of whole 10 Wh makes demands of 40 W
    assert compare(Peak(MONTH + 900, 2_589, 1), [quarter(0, 640, step=10)]).agrees is True


def test_a_higher_quarter_hour_of_ours_is_told():
    found = compare(Peak(MONTH + 900, 2_560, 1), [quarter(0, 640), quarter(1, 700)])
    assert (found.difference, found.highest, found.highest_start, found.agrees) == (0, 2_800, MONTH + 900, False)


@pytest.mark.parametrize("month", [[], [quarter(0, None)], [quarter(5, 100)]])
def test_what_is_not_known_is_not_compared(month):
    found = compare(Peak(MONTH + 900, 2_589, 1), month)
    assert isinstance(found, Compared)
    assert (found.ours, found.agrees) == (None, None)


def test_stamps_lie_at_the_end_of_their_quarter_hour():
    end = MONTH + 9_000
    assert {quarter_of(end + late) for late in (-60, -2, 0, 58)} == {end - 900}
    assert quarter_of(end + 61) is None
    assert quarter_of(end - 450) is None


@pytest.mark.parametrize(
    ("register", "time"),
    [
        (("1-0:1.6.0", 2589, 0, "W"), None),
        (("1-0:1.6.0", 2589, 0, "W"), "2026-11-09T13:45:00"),
        (("1-0:1.6.0", 2589, 0, "W"), "nonsense"),
        (("1-0:1.6.0", -1, 0, "W"), "2026-11-09T13:45:00+01:00"),
        (("1-0:1.6.0", 10**9, 3, "kW"), "2026-11-09T13:45:00+01:00"),
        (("1-0:1.6.0", 1, 10**9, "kW"), "2026-11-09T13:45:00+01:00"),
        (("1-0:1.6.0*1", 5, 0, "W"), "2026-11-09T13:45:00+01:00"),
        (("1-0:31.6.0", 5, 0, "W"), "2026-11-09T13:45:00+01:00"),
        (("1-0:1.6.0", 5, 0, "kWh"), "2026-11-09T13:45:00+01:00"),
    ],
)
def test_a_register_that_is_no_peak_with_a_time_says_nothing(register, time):
    times = () if time is None else ((0, time),)
    reading = Reading(
        "p", "p1", "plain", "measured", None, None, None, None, None, None, None, None, (register,), times, (), None,
        10, (), 1,
    )  # fmt: skip
    assert list(peaks_of(reading)) == []
