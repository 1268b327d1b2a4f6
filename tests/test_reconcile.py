"""Two accounts side by side: differences exact, explained by quality, and nothing filled."""

import random
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from gateway.imports.record import ImportFileError, Row
from gateway.intervals import calendar
from gateway.reconcile import compare, sums

PRAGUE = ZoneInfo("Europe/Prague")
T = int(datetime(2026, 10, 25, tzinfo=PRAGUE).timestamp())


def row(n: int, quantity: int | None = 1_000, said="measured", step: int = 900) -> Row:
    return Row(T + n * step, T + (n + 1) * step, quantity, said)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "why"),
    [
        (row(0), row(0), "equal", ""),
        (row(0), row(0, 3_000), "differs", "both are measured: look at registers and clocks"),
        (row(0), row(0, 1_250), "differs", "less than 1 Wh: rounding of the format"),
        (row(0), row(0, 3_000, "estimated"), "differs", "theirs is estimated"),
        (row(0, said="edited"), row(0, 3_000, "estimated"), "differs", "ours is edited, theirs is estimated"),
        (row(0), row(0, None, "missing"), "only_ours", "theirs is missing"),
        (row(0, None, "missing"), row(0), "only_theirs", "ours is missing"),
        (row(0, None, "missing"), row(0, None, "missing"), "neither", "ours is missing, theirs is missing"),
        (row(0), None, "only_ours", "theirs is absent"),
        (None, row(0), "only_theirs", "ours is absent"),
    ],
)
def test_each_difference_is_explained(ours, theirs, verdict, why):
    (one,) = compare([ours] if ours else [], [theirs] if theirs else [])
    assert (one.verdict, one.why) == (verdict, why)
    known = ours and theirs and ours.quantity is not None and theirs.quantity is not None
    assert one.milli_wh == (ours.quantity - theirs.quantity if known else None)


def test_sums_by_local_day_and_month_of_25_hours():
    ours = [row(n, 1_000 + n) for n in range(100 + 4 * 24 * 7)]
    theirs = [row(n, 1_000) for n in range(100 + 4 * 24 * 7) if n != 5]
    days, months, everything = sums(compare(ours, theirs), PRAGUE)
    assert list(days) == [f"2026-10-{day}" for day in range(25, 32)] + ["2026-11-01"]
    assert days["2026-10-25"].verdicts.total() == 100
    assert list(months) == ["2026-10", "2026-11"]
    assert everything.difference == sum(range(100 + 4 * 24 * 7)) - 5
    assert everything.difference == sum(day.difference for day in days.values())
    assert everything.verdicts["only_ours"] == 1


@pytest.mark.parametrize("theirs", [[], [row(0, None, "missing")], [row(7)]])
def test_a_day_of_which_nothing_was_compared_has_no_sum(theirs):
    days, _, everything = sums(compare([row(0)], theirs), PRAGUE)
    assert {day.energy for day in days.values()} == {everything.energy} == {(None, None, None)}


def test_a_day_of_zeros_has_a_sum():
    (day,) = sums(compare([row(0, 0)], [row(0, 0)]), PRAGUE)[0].values()
    assert day.energy == (0, 0, 0)


def test_quarter_hours_are_added_up_to_hours_only_where_all_four_are_there():
    ours = [row(n, 250) for n in range(12) if n != 9]
    theirs = [row(n, 1_000, step=3_600) for n in range(3)]
    found = compare(ours, theirs)
    assert [one.verdict for one in found] == ["equal", "equal", "only_theirs"]
    assert [one.end - one.start for one in found] == [3_600] * 3


def test_the_worst_quarter_names_the_hour():
    ours = [row(0), row(1, said="estimated"), row(2, said="edited"), row(3)]
    (one,) = compare(ours, [row(0, 5_000, step=3_600)])
    assert one.why == "ours is estimated"


def test_a_side_that_contradicts_itself_is_refused():
    with pytest.raises(
        ImportFileError, match=r"theirs has two values for the interval from 2026-10-24T22:00Z: 1000, 2000"
    ):
        compare([row(0)], [row(0), row(0, 2_000)])
    assert len(compare([row(0), row(0)], [])) == 1


def test_random_accounts_add_up():
    chance = random.Random(4)
    for _ in range(300):
        values = [(chance.randrange(5_000), chance.randrange(5_000), chance.random()) for _ in range(60)]
        ours = [row(n, a) for n, (a, _, keep) in enumerate(values) if keep < 0.9]
        theirs = [row(n, b) for n, (_, b, keep) in enumerate(values) if keep > 0.1]
        days, _, everything = sums(compare(ours, theirs), PRAGUE)
        both = [(a, b) for a, b, keep in values if 0.1 < keep < 0.9]
        assert everything.difference == sum(a - b for a, b in both)
        assert everything.verdicts.total() == 60
        assert sum(day.ours for day in days.values()) == everything.ours


def test_quarter_hours_are_added_up_to_local_days_of_every_length():
    """Days of 23, 24 and 25 hours that begin at no multiple of anything in UTC, and hours of a zone of half an hour."""
    for zone, first in (("Europe/Prague", date(2026, 3, 28)), ("Europe/Prague", date(2026, 10, 24))):
        info = ZoneInfo(zone)
        bounds = [calendar.day_start(first + timedelta(n), info) for n in range(4)]
        ours = [Row(t, t + 900, 1_000, "measured") for t in range(bounds[0], bounds[-1], 900)]
        days = [Row(a, b, (b - a) // 900 * 1_000, "measured") for a, b in pairwise(bounds)]
        assert [one.verdict for one in compare(ours, days)] == ["equal"] * 3
        assert [one.verdict for one in compare(days, ours)] == ["equal"] * 3
    half = [Row(T + 1_800 + n * 3_600, T + 5_400 + n * 3_600, 4_000, "measured") for n in range(3)]
    ours = [Row(t, t + 900, 1_000, "measured") for t in range(T + 1_800, T + 1_800 + 3 * 3_600, 900)]
    assert [one.verdict for one in compare(ours, half)] == ["equal"] * 3


def test_what_fills_no_longer_interval_is_no_sum():
    day = Row(T, T + 3_600, 4_000, "measured")
    ours = [Row(T + n * 900, T + (n + 1) * 900, 1_000, "measured") for n in (0, 1, 3)]
    beside = Row(T + 7_200, T + 8_100, 5, "measured")
    one, two = compare([*ours, beside], [day])
    assert (one.ours, one.verdict) == (None, "only_theirs")
    assert (two.start, two.ours, two.verdict) == (beside.start, 5, "only_ours")


def test_hours_before_six_belong_to_the_gas_day_before():
    zone = ZoneInfo("Europe/Prague")
    start = calendar.day_start(date(2026, 11, 1), zone)
    rows = [Row(start + n * 3_600, start + (n + 1) * 3_600, 1_000, "measured") for n in range(24)]
    days, months, _ = sums(compare(rows, rows), zone, calendar.GAS_DAY)
    assert {name: found.ours for name, found in days.items()} == {"2026-10-31": 6_000, "2026-11-01": 18_000}
    assert set(months) == {"2026-10", "2026-11"}
