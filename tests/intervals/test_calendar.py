"""Local days, months and gas days against a reference that only knows the rule of the European Union."""

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.intervals import calendar

#: every zone of the Union with its standard offset in hours. Directive 2000/84/EC: all change at 01:00 UTC on the last
#: Sundays of March and October.
ZONES = {
    **dict.fromkeys(("Atlantic/Azores",), -1),
    **dict.fromkeys(("Europe/Lisbon", "Atlantic/Madeira", "Atlantic/Canary", "Europe/Dublin"), 0),
    **dict.fromkeys(
        (
            "Europe/Amsterdam", "Europe/Berlin", "Europe/Bratislava", "Europe/Brussels", "Europe/Budapest",
            "Europe/Busingen", "Europe/Copenhagen", "Europe/Ljubljana", "Europe/Luxembourg", "Europe/Madrid",
            "Europe/Malta", "Europe/Paris", "Europe/Prague", "Europe/Rome", "Europe/Stockholm", "Europe/Vienna",
            "Europe/Warsaw", "Europe/Zagreb", "Africa/Ceuta", "Europe/Oslo", "Europe/Vaduz",
        ),
        1,
    ),
    **dict.fromkeys(
        (
            "Asia/Nicosia", "Europe/Athens", "Europe/Bucharest", "Europe/Helsinki", "Europe/Mariehamn",
            "Europe/Riga", "Europe/Sofia", "Europe/Tallinn", "Europe/Vilnius",
        ),
        2,
    ),
}  # fmt: skip
#: regions of the Union that do not change their clocks
OUTERMOST = {
    "America/Martinique": -4, "America/Guadeloupe": -4, "America/Marigot": -4, "America/Cayenne": -3,
    "Indian/Mayotte": 3, "Indian/Reunion": 4,
}  # fmt: skip
YEARS = range(2015, 2041)
EPOCH = date(1970, 1, 1)


def last_sunday(year: int, month: int) -> date:
    """31 March and 31 October: the Sunday on or before them."""
    day = date(year, month, 31)
    return day - timedelta(days=(day.weekday() + 1) % 7)


def changes(year: int) -> tuple[int, int]:
    """When summer time begins and ends, UTC seconds."""
    return tuple(((last_sunday(year, month) - EPOCH).days * 24 + 1) * 3_600 for month in (3, 10))


def reference(day: date, standard: int, hour: int = 0) -> int:
    """Start of a local day: the earlier UTC moment at which the wall clock shows the hour, or else leaps over it."""
    begin, end = changes(day.year)
    wall = ((day - EPOCH).days * 24 + hour) * 3_600
    summer, winter = wall - (standard + 1) * 3_600, wall - standard * 3_600
    if begin <= summer < end:
        return summer
    return winter


@pytest.fixture(scope="module")
def days() -> list[date]:
    first = date(YEARS[0], 1, 1)
    return [first + timedelta(days=n) for n in range((date(YEARS[-1] + 1, 1, 1) - first).days)]


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("hour", [0, 6])
def test_days(name, hour, days):
    zone, begin = ZoneInfo(name), time(hour)
    wrong = [day for day in days if calendar.day_start(day, zone, begin) != reference(day, ZONES[name], hour)]
    assert not wrong


@pytest.mark.parametrize("name", OUTERMOST)
def test_days_without_summer_time(name, days):
    zone = ZoneInfo(name)
    expected = [((day - EPOCH).days * 24 - OUTERMOST[name]) * 3_600 for day in days]
    assert [calendar.day_start(day, zone) for day in days] == expected


@pytest.mark.parametrize("name", ZONES)
def test_lengths(name, days):
    """Each day has 92, 96 or 100 quarter-hours and 23, 24 or 25 hours, and the days that differ are the right ones."""
    zone = ZoneInfo(name)
    starts = [calendar.day_start(day, zone) for day in days]
    odd = {day: (b - a) // 900 for day, a, b in zip(days, starts, starts[1:], strict=False) if b - a != 86_400}
    expected = {}
    for year in YEARS:
        expected |= {last_sunday(year, 3): 92, last_sunday(year, 10): 100}
    assert odd == expected
    for day, quarters in odd.items():
        bounds = calendar.bounds_of_day(day, "PT15M", zone)
        assert len(bounds) == quarters + 1
        assert {b - a for a, b in itertools.pairwise(bounds)} == {900}
        assert len(calendar.bounds_of_day(day, "PT1H", zone)) == quarters // 4 + 1


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("begin", [calendar.MIDNIGHT, calendar.GAS_DAY])
def test_months_are_made_of_days(name, begin):
    zone = ZoneInfo(name)
    since = calendar.day_start(date(2015, 1, 1), zone, begin)
    until = calendar.day_start(date(2041, 1, 1), zone, begin)
    months = list(calendar.spans(since, until, "P1M", zone, begin))
    assert len(months) == 12 * len(YEARS)
    firsts = [date(year, month, 1) for year in YEARS for month in range(1, 13)]
    assert [start for start, _ in months] == [reference(day, ZONES[name], begin.hour) for day in firsts]
    assert months[-1][1] == until
    assert all(a[1] == b[0] for a, b in itertools.pairwise(months))


@pytest.mark.parametrize("name", ["Atlantic/Azores", "Europe/Lisbon", "Europe/Dublin", "Europe/Prague", "Asia/Nicosia"])
@pytest.mark.parametrize("resolution", ["PT15M", "PT1H", "P1D", "P1M"])
def test_every_moment_has_its_interval(name, resolution):
    """Over two years, at moments that no bound is near to and at bounds themselves."""
    zone = ZoneInfo(name)
    since = calendar.day_start(date(2026, 1, 1), zone)
    for t in range(since, since + 2 * 366 * 86_400, 40_507):
        start = calendar.floor(t, resolution, zone)
        end = calendar.end_of(start, resolution, zone)
        assert start <= t < end
        assert calendar.floor(start, resolution, zone) == start
        assert calendar.floor(end - 1, resolution, zone) == start
        assert calendar.floor(end, resolution, zone) == end


def test_hours_begin_with_the_local_hour():
    """India is half an hour off; Nepal a quarter."""
    for name, shift in (("Asia/Kolkata", 1_800), ("Asia/Kathmandu", 2_700), ("Europe/Berlin", 0)):
        start = calendar.floor(1_781_234_567, "PT1H", ZoneInfo(name))
        assert (start + datetime.fromtimestamp(start, ZoneInfo(name)).utcoffset().seconds) % 3_600 == 0
        assert -start % 3_600 == shift
        assert calendar.floor(start, "PT15M", ZoneInfo(name)) == start


def test_an_empty_period_has_no_interval():
    zone = ZoneInfo("Europe/Prague")
    assert list(calendar.spans(1_781_234_567, 1_781_234_567, "PT15M", zone)) == []
    assert list(calendar.spans(1_781_234_567, 1_781_234_000, "P1M", zone)) == []


def test_days_known_from_hubs():
    """Prague 2026-03-29 has 23 hours, 2026-10-25 25 hours; the gas day of the Sunday before is as short or long."""
    zone = ZoneInfo("Europe/Prague")
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    assert calendar.day_start(spring, zone) == int(datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp())
    assert len(calendar.bounds_of_day(spring, "PT1H", zone)) == 24
    assert len(calendar.bounds_of_day(autumn, "PT1H", zone)) == 26
    day = timedelta(days=1)
    assert len(calendar.bounds_of_day(spring - day, "PT1H", zone, calendar.GAS_DAY)) == 24
    assert len(calendar.bounds_of_day(spring, "PT1H", zone, calendar.GAS_DAY)) == 25
    assert len(calendar.bounds_of_day(autumn - day, "PT1H", zone, calendar.GAS_DAY)) == 26
