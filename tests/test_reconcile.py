"""Two accounts side by side: differences exact, explained by quality, and nothing filled."""

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.imports.record import ImportFileError, Row
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
