"""Meter clocks: the flag decides in every month, gaps and folds are not guessed, and nothing that is sent raises."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders.clock import Zone, instant, parse_time, shown
from decoders.model import Reading, Result
from gateway import profiles

Decode = Callable[..., list[Result]]
Write = Callable[..., bytes]

#: zone -> (standard, summer) offset in hours
ZONES = {
    "Europe/Amsterdam": (1, 2),
    "Europe/Helsinki": (2, 3),
    "Europe/Vilnius": (2, 3),
    "Europe/Dublin": (0, 1),
    "Europe/Lisbon": (0, 1),
    "Atlantic/Azores": (-1, 0),
    "America/Santiago": (-4, -3),
    "Etc/GMT-1": (1, 2),
}


@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("zone", ZONES)
def test_the_flag_decides_in_every_month(zone: str, month: int) -> None:
    """Nordic meters send W all year, and a Croatian one sent S in February."""
    for flag, hours in zip("WS", ZONES[zone], strict=True):
        time = parse_time(f"26{month:02}15123456{flag}".encode())
        assert time is not None
        offset = Zone(ZoneInfo(zone)).offset(time)
        assert offset == timedelta(hours=hours)
        t = instant(time, offset)
        assert t is not None
        assert t == time.wall.replace(tzinfo=UTC) - timedelta(hours=hours)


@pytest.mark.parametrize("flag", ["S", "s", "W", "w"])
def test_flags_in_either_case(flag: str) -> None:
    time = parse_time(f"260715123456{flag}".encode())
    assert time is not None
    assert time.summer is (flag in "Ss")


def test_without_a_flag_the_calendar_decides() -> None:
    zone = Zone(ZoneInfo("Europe/Amsterdam"))
    for text, hours in (
        (b"260115120000", 1),
        (b"260715120000", 2),
        (b"20260715 12:00:00", 2),
        (b"2026-07-15 120000", 2),
    ):
        time = parse_time(text)
        assert time is not None
        assert zone.offset(time) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", [b"260329020000", b"260329025959", b"261025020000", b"261025025959"], ids=["gap", "gap", "fold", "fold"]
)
def test_an_hour_that_occurs_twice_or_never_is_not_guessed(text: bytes) -> None:
    time = parse_time(text)
    assert time is not None
    zone = Zone(ZoneInfo("Europe/Amsterdam"))
    assert zone.offset(time) is None
    assert instant(time, None) is None
    assert shown(time, None) == time.wall.isoformat()
    for flag, hours in ((b"W", 1), (b"S", 2)):
        flagged = parse_time(text + flag)
        assert flagged is not None
        assert zone.offset(flagged) == timedelta(hours=hours)


@pytest.mark.parametrize("text", [b"260329015959", b"260329030000", b"261025015959", b"261025030000"])
def test_beside_these_hours_all_is_known(text: bytes) -> None:
    time = parse_time(text)
    assert time is not None
    assert Zone(ZoneInfo("Europe/Amsterdam")).offset(time) is not None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"000101010000W"[:-2],
        b"000000000000W",
        b"632525252525W",
        b"260230120000W",
        b"261301120000W",
        b"260101240000W",
        b"260101126000W",
        b"260101120060W",
        b"260101120000X",
        b"260101120000WW",
        b"26010112000",
        "".join(chr(0xFF10 + int(digit)) for digit in "260101120000").encode(),
        b"\xb2\xb3260101120W",
        b"-60101120000W",
        b"20260230 12:00:00",
        b"00010101 00:00:00",
        b"99991231 23:59:59",
        b"19991231 23:59:59",
        b"2026-01-01T12:00:00Z",
    ],
)
def test_what_is_no_time_is_none(text: bytes) -> None:
    assert parse_time(text) is None


@given(st.one_of(st.binary(max_size=24), st.from_regex(rb"[0-9]{4}-?[0-9]{2}-?[0-9]{2} [0-9:]{6,8}", fullmatch=True)))
def test_nothing_raises_in_any_zone(text: bytes) -> None:
    time = parse_time(text)
    for name in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Amsterdam"):
        if time is not None:
            offset = Zone(ZoneInfo(name)).offset(time)
            instant(time, offset)
            assert shown(time, offset).startswith(time.wall.isoformat())


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 12, 31)))  # noqa: DTZ001
def test_every_second_of_the_century_is_read_as_written(wall: datetime) -> None:
    text = f"{wall:%y%m%d%H%M%S}"
    time = parse_time(text.encode())
    assert time is not None
    assert f"{time.wall:%y%m%d%H%M%S}" == text


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (("260715123456S", "nl-dsmr5", None), ("2026-07-15T10:34:56", "2026-07-15T12:34:56+02:00", ())),
        (("260715123456S", "nl-dsmr5", "Europe/Helsinki"), ("2026-07-15T09:34:56", "2026-07-15T12:34:56+03:00", ())),
        (("260715123456S", "p1-generic", None), (None, "2026-07-15T12:34:56", ("zone_unknown",))),
        (("260715123456S", "p1-generic", "Europe/Lisbon"), ("2026-07-15T11:34:56", "2026-07-15T12:34:56+01:00", ())),
        (("261025023000", "nl-dsmr5", None), (None, "2026-10-25T02:30:00", ("clock_invalid",))),
        (("260329023000", "nl-dsmr5", None), (None, "2026-03-29T02:30:00", ("clock_invalid",))),
        (("no time", "nl-dsmr5", None), (None, None, ("clock_invalid",))),
        ((None, "nl-dsmr5", None), (None, None, ())),
        (("00010101 00:00:00", "nl-dsmr5", None), (None, None, ("clock_invalid",))),
    ],
)
def test_the_time_of_a_reading(
    said: tuple[str | None, str, str | None],
    expected: tuple[str | None, str | None, tuple[str, ...]],
    decode: Decode,
    write: Write,
) -> None:
    """Of (clock, profile, zone of the user): (t, t_meter, flags)."""
    clock, profile, tz = said
    t, t_meter, flags = expected
    lines = [f"0-0:1.0.0({clock})"] if clock else []
    telegram = write(*lines, "1-0:1.7.0(1*kW)", "1-0:1.8.0(1*kWh)")
    (reading,) = decode(telegram, by=[profiles.load(profile)], tz=tz)
    assert isinstance(reading, Reading)
    assert (reading.t and reading.t.isoformat()) == (t and f"{t}+00:00")
    assert (reading.t_meter, reading.flags, reading.reg_t) == (t_meter, flags, reading.t)


def test_a_clock_in_two_objects(decode: Decode, write: Write) -> None:
    by = [profiles.load("p1-iskra-split-clock")]
    power = "1-0:1.7.0(1*kW)"
    lines = {
        ("1-0:0.9.2(260715)", "1-0:0.9.1(123456)"): "2026-07-15T12:34:56",
        ("1-0:0.9.1(123456)", "1-0:0.9.2(260715)"): "2026-07-15T12:34:56",
        ("1-0:0.9.1(123456)", power): None,
        ("1-0:0.9.1(250000)", "1-0:0.9.2(260715)"): None,
    }
    for (first, second), said in lines.items():
        (reading,) = decode(write(power, first, *[second] * (second != power)), by=by)
        assert isinstance(reading, Reading)
        assert (reading.t_meter, reading.flags) == (said, ("zone_unknown",) if said else ("clock_invalid",))
