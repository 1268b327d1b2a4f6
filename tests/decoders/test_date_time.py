"""COSEM date-times (IEC 62056-6-2, 4.1.6.1) and what a reader makes of their deviation, by the rule of a profile."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.clock import parse_date_time
from decoders.model import MeterTime, Telegram
from decoders.reader import Reader
from gateway import profiles


def octets(
    wall: datetime, deviation: int = -0x8000, status: int = 0, hundredths: int = 0xFF, weekday: int = 0xFF
) -> bytes:
    return (
        wall.year.to_bytes(2, "big")
        + bytes([wall.month, wall.day, weekday, wall.hour, wall.minute, wall.second, hundredths])
        + deviation.to_bytes(2, "big", signed=True)
        + bytes([status])
    )


WALL = datetime(2024, 7, 1, 12, 0, 0)  # noqa: DTZ001


@given(
    wall=st.datetimes(timezones=st.none()).map(lambda wall: wall.replace(microsecond=0, fold=0)),
    deviation=st.integers(-720, 720),
    hundredths=st.integers(0, 255),
    weekday=st.integers(0, 255),
)
def test_every_time_is_read_as_written(wall: datetime, deviation: int, hundredths: int, weekday: int) -> None:
    """Hundredths and day of week are passed over: some meters set them to FF, some to another day."""
    written = octets(wall, deviation, hundredths=hundredths, weekday=weekday)
    assert parse_date_time(written) == (MeterTime(wall, deviation=deviation), True)


@pytest.mark.parametrize("deviation", [-0x8000, 721, -721, 0x7FFF])
def test_a_deviation_that_is_none(deviation: int) -> None:
    assert parse_date_time(octets(WALL, deviation)).time == MeterTime(WALL)


@pytest.mark.parametrize("status", range(256))
def test_only_the_bit_of_an_invalid_clock_counts(status: int) -> None:
    """Bit 0 is invalid; 1 doubtful, 2 another base, 3 invalid status, 7 summer time; FF is "not specified"."""
    said = parse_date_time(octets(WALL, status=status))
    assert said.time == MeterTime(WALL)
    assert said.valid == (status == 0xFF or status % 2 == 0)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "07E8070101",
        "07E80701FF0C0000FF80000000",  # 13 octets
        "FFFFFFFFFFFFFFFFFF8000FF",  # nothing specified
        "07E80D01FF0C0000FF800000",
        "07E8021EFF0C0000FF800000",  # 30 February
        "07E80701FF180000FF800000",
        "07E80701FF0C3C00FF800000",
        "07E80701FF0C003CFF800000",
        "07E80701FFFF0000FF800000",
        "000000000000000000000000",
        "07E807FEFF0C0000FF800000",  # last day of the month
    ],
)
def test_what_is_no_time(wrong: str) -> None:
    assert parse_date_time(bytes.fromhex(wrong)) == (None, False)


@given(st.binary(min_size=12, max_size=12))
def test_any_octets_are_a_time_or_none(any_octets: bytes) -> None:
    time, _ = parse_date_time(any_octets)
    assert time is None or octets(time.wall)[:4] == any_octets[:4]


def read(clock: bytes, rule: str = "standard", zone: str | None = None) -> tuple[object, ...]:
    """t, t_meter and flags of a telegram with this clock."""
    shipped = profiles.load("dk-kamstrup")
    profile = msgspec.structs.replace(shipped, clock=msgspec.structs.replace(shipped.clock, deviation=rule))
    time, valid = parse_date_time(clock)
    telegram = Telegram("", time, clock.hex(), (("1-1:1.7.0", 5, 0, "W"),), {}, {}, (), clock_valid=valid)
    reading = Reader(profile, ZoneInfo(zone) if zone else None).read(telegram, auth="plain", size=1)
    return reading.t, reading.t_meter, reading.flags


@pytest.mark.parametrize(("rule", "hours"), [("standard", 2), ("inverted", -2)])
def test_the_sign_of_the_deviation(rule: str, hours: int) -> None:
    """The standard adds it to local time to get UTC: -120 is UTC+2. Some meters have it the other way round."""
    t, t_meter, flags = read(octets(WALL, -120), rule, "Europe/Helsinki")
    assert t == datetime(2024, 7, 1, 12, tzinfo=UTC) - timedelta(hours=hours)
    assert t_meter == f"2024-07-01T12:00:00{'+' if hours > 0 else '-'}02:00"
    assert flags == ()


def test_a_deviation_that_says_nothing_true_is_ignored() -> None:
    """Aidon of Norway sends 0 with local time."""
    assert read(octets(WALL, 0), "ignore", "Europe/Oslo")[0] == datetime(2024, 7, 1, 10, tzinfo=UTC)
    assert read(octets(WALL, 0), "ignore") == (None, "2024-07-01T12:00:00", ("zone_unknown",))


def test_without_deviation_the_zone_tells_or_nobody_does() -> None:
    assert read(octets(WALL), zone="Europe/Vienna")[:2] == (
        datetime(2024, 7, 1, 10, tzinfo=UTC),
        "2024-07-01T12:00:00+02:00",
    )
    assert read(octets(WALL)) == (None, "2024-07-01T12:00:00", ("zone_unknown",))


def test_an_hour_that_occurs_twice_is_known_by_its_deviation_alone() -> None:
    twice = datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001
    assert read(octets(twice), zone="Europe/Vienna") == (None, "2024-10-27T02:30:00", ("clock_invalid",))
    for deviation, hour in ((-120, 0), (-60, 1)):
        t, _, flags = read(octets(twice, deviation), zone="Europe/Vienna")
        assert (t, flags) == (datetime(2024, 10, 27, hour, 30, tzinfo=UTC), ())


@pytest.mark.parametrize("deviation", [-60, -0x8000])
def test_a_clock_that_calls_itself_invalid_is_shown_and_not_used(deviation: int) -> None:
    t, t_meter, flags = read(octets(WALL, deviation, status=0x01), zone="Europe/Vienna")
    assert (t, flags) == (None, ("clock_invalid",))
    assert str(t_meter).startswith("2024-07-01T12:00:00")


def test_a_clock_that_is_no_time() -> None:
    assert read(bytes(12), zone="Europe/Vienna") == (None, None, ("clock_invalid",))
