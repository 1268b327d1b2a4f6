"""Which days are ordered, late, whole and given up; what is kept of it is small and outlives a restart."""

import random
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.uploader.hubs import lt_days
from gateway.uploader.hubs.lt_days import Days, Order

DAY = date(2026, 3, 3)
ONE = timedelta(1)
POINTS = ("99999917", "99999919")
T = lt_days.run(DAY, "05:15")


def test_days_are_taken_up_once_and_ordered_oldest_first() -> None:
    book = Days(None, POINTS, DAY)
    assert book.orders(()) == []
    assert book.open_until(DAY + 3 * ONE, T)
    assert not book.open_until(DAY + 3 * ONE, T)
    assert book.orders(()) == [Order(DAY + n * ONE, POINTS) for n in range(3)]
    assert book.orders({(DAY, POINTS[0]), (DAY + ONE, POINTS[0]), (DAY + ONE, POINTS[1])}) == [
        Order(DAY, POINTS[1:]),
        Order(DAY + 2 * ONE, POINTS),
    ]
    assert book.orders((), unlisted={POINTS[0]})[0] == Order(DAY, POINTS[1:])


def test_a_long_past_is_taken_up_by_the_month() -> None:
    book = Days(None, POINTS, DAY)
    book.open_until(DAY + 100 * ONE, T)
    assert len(book.days()) == lt_days.MOST_NEW_DAYS


def test_a_day_is_whole_when_every_object_is() -> None:
    book = Days(None, POINTS, DAY)
    book.open_until(DAY + ONE, T)
    assert not book.whole(DAY, POINTS[:1])
    assert book.lacking(DAY) == [POINTS[1]]
    assert book.late(DAY)
    assert not book.late(DAY)
    again = Days(book.pack(), POINTS, DAY + 9 * ONE)
    assert again.lacking(DAY) == [POINTS[1]]
    assert again.whole(DAY, POINTS[1:])
    assert again.days() == []
    assert not again.whole(DAY, POINTS)
    assert not again.late(DAY)


def test_a_day_of_which_nobody_was_told_is_whole_without_a_word() -> None:
    book = Days(None, POINTS, DAY)
    book.open_until(DAY + ONE, T)
    assert not book.whole(DAY, POINTS)
    assert book.days() == []


def test_other_objects_begin_the_days_that_are_open_anew() -> None:
    book = Days(None, POINTS, DAY)
    book.open_until(DAY + 2 * ONE, T)
    book.whole(DAY, POINTS)
    book.whole(DAY + ONE, POINTS[:1])
    again = Days(book.pack(), (*POINTS, "00000001"), DAY)
    assert again.days() == [DAY + ONE]
    assert again.lacking(DAY + ONE) == ["00000001", *POINTS]


def test_a_day_is_late_two_hours_behind_the_run_and_behind_its_first_order() -> None:
    book, run = Days(None, POINTS, DAY), lt_days.run(DAY, "05:15")
    book.open_until(DAY + ONE, run + 30)
    assert not book.overdue(DAY, run + 7_229, "05:15", 0)
    assert book.overdue(DAY, run + 7_230, "05:15", 0)
    assert not book.overdue(DAY, run + 7_230, "05:15", 600)
    noon = Days(None, POINTS, DAY)
    noon.open_until(DAY + ONE, run + 25_000)
    assert not noon.overdue(DAY, run + 25_000 + 7_199, "05:15", 0)
    assert noon.overdue(DAY, run + 25_000 + 7_200, "05:15", 0)
    assert not noon.overdue(DAY + ONE, run + 10**6, "05:15", 0)


def test_days_that_stay_open_are_given_up() -> None:
    book = Days(None, POINTS, DAY)
    book.open_until(DAY + ONE, T)
    book.open_until(DAY + 2 * ONE, T + 86_400)
    assert book.give_up(T + 60 * 86_400) == []
    assert book.give_up(T + 60 * 86_400 + 1) == [DAY]
    assert book.days() == [DAY + ONE]


def test_days_of_a_long_past_are_not_given_up_before_they_were_ordered() -> None:
    book = Days(None, POINTS, DAY - 300 * ONE)
    book.open_until(DAY, T)
    assert book.give_up(T + 86_400) == []
    assert len(book.orders(())) == lt_days.MOST_NEW_DAYS


@pytest.mark.parametrize("kept", [None, b"", b"x", b"\x78\x9c", Days(None, POINTS, DAY).pack()[:-5]])
def test_a_note_that_cannot_be_read_is_begun_anew(kept: bytes | None) -> None:
    book = Days(kept, POINTS, DAY)
    book.open_until(DAY + ONE, T)
    assert book.days() == [DAY]


def test_ten_thousand_objects_over_two_months_fit_the_note() -> None:
    points = [f"{number:08d}" for number in range(10_000)]
    book, chance = Days(None, points, DAY), random.Random(3)
    for day in range(60):
        book.open_until(DAY + (day + 1) * ONE, T)
        book.whole(DAY + day * ONE, chance.sample(points, 9_990))
    assert len(book.days()) == 60
    assert len(book.pack()) < 64 << 10
    assert len(book.orders(())) == 60
    assert Days(book.pack(), points, DAY).lacking(DAY) == book.lacking(DAY)


def test_days_are_those_of_vilnius() -> None:
    zone = ZoneInfo("Europe/Vilnius")
    for day, hours in ((DAY, 24), (date(2026, 3, 29), 23), (date(2026, 10, 25), 25)):
        start, end = lt_days.bounds(day, day)
        assert end - start == hours * 3_600
        assert lt_days.today(start) == lt_days.today(end - 1) == day
        assert lt_days.today(start - 1) == day - ONE
        assert datetime.fromtimestamp(lt_days.run(day, "05:15"), zone).isoformat()[:16] == f"{day + ONE}T05:15"
        assert lt_days.due(day, "05:15", 600) == lt_days.run(day, "05:15") + 600 + 7_200


def test_objects_are_whole_when_each_of_their_series_is() -> None:
    counts = {"a": [96, 96], "b": [96, 95], "c": [], "d": [96]}
    assert lt_days.whole_objects(counts, 96) == ["a", "d"]
