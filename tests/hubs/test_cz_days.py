"""Czech working days against known calendars, and what is due when."""

import datetime as dt

import pytest

from gateway.uploader.hubs import cz_days

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    "sunday",
    ["1961-04-02", "2000-04-23", "2008-03-23", "2011-04-24", "2016-03-27", "2019-04-21", "2024-03-31", "2025-04-20",
     "2026-04-05", "2027-03-28", "2035-03-25", "2038-04-25", "2049-04-18", "2285-03-22"],
)  # fmt: skip
def test_easter(sunday):
    assert cz_days.easter(int(sunday[:4])).isoformat() == sunday


def test_easter_is_always_a_sunday_in_its_five_weeks():
    for year in range(1900, 2300):
        found = cz_days.easter(year)
        assert found.weekday() == 6
        assert dt.date(year, 3, 22) <= found <= dt.date(year, 4, 25)


def test_the_holidays_of_a_year():
    expected = [
        "2026-01-01", "2026-04-03", "2026-04-06", "2026-05-01", "2026-05-08", "2026-07-05", "2026-07-06", "2026-09-28",
        "2026-10-28", "2026-11-17", "2026-12-24", "2026-12-25", "2026-12-26",
    ]  # fmt: skip
    assert sorted(day.isoformat() for day in cz_days.holidays(2026)) == expected
    assert dt.date(2015, 4, 3) not in cz_days.holidays(2015), "Good Friday is a holiday since 2016"


@pytest.mark.parametrize(
    ("day", "due"),
    [
        ("2026-03-03", "2026-03-05"),  # Tuesday: Thursday
        ("2026-03-05", "2026-03-09"),  # Thursday: Monday
        ("2026-03-06", "2026-03-10"), ("2026-03-07", "2026-03-10"), ("2026-03-08", "2026-03-10"),  # Friday to Sunday
        ("2026-04-01", "2026-04-07"),  # Good Friday and Easter Monday lie between
        ("2026-12-22", "2026-12-28"),  # Christmas, and a weekend
        ("2026-12-31", "2027-01-05"),
        ("2026-05-06", "2026-05-11"), ("2026-07-02", "2026-07-07"),
    ],
)  # fmt: skip
def test_values_are_due_on_the_second_working_day(day, due):
    early = dt.date(2020, 1, 1)
    assert cz_days.due(dt.date.fromisoformat(day), early).isoformat() == due


def test_after_activation_nothing_is_due_before_the_fifth_working_day():
    activated = dt.date(2026, 3, 3)
    for day in ("2023-05-01", "2026-03-02", "2026-03-05"):
        assert cz_days.due(dt.date.fromisoformat(day), activated) == dt.date(2026, 3, 10)
    assert cz_days.due(dt.date(2026, 3, 9), activated) == dt.date(2026, 3, 11)
    assert list(cz_days.overdue(dt.date(2026, 2, 1), activated, dt.date(2026, 3, 10))) == []
    late = list(cz_days.overdue(dt.date(2026, 2, 1), activated, dt.date(2026, 3, 11)))
    assert (late[0], late[-1], len(late)) == (dt.date(2026, 2, 1), dt.date(2026, 3, 8), 36)


def test_late_grows_with_the_days_and_never_names_one_that_is_in_time():
    activated = since = dt.date(2026, 1, 5)
    before: list[dt.date] = []
    for number in range(400):
        today = since + number * DAY
        late = list(cz_days.overdue(since, activated, today))
        assert late[: len(before)] == before
        for day in late:
            between = [one for one in (day + n * DAY for n in range(1, 15)) if one < today and cz_days.is_working(one)]
            assert len(between) >= 2, (day, today)
        before = late
    assert len(before) > 380
