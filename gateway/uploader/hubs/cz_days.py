"""Working days of the Czech Republic, and when the portal of measured data owes what (docs/hubs/cz-pnd.md).

Public holidays: Act No. 245/2000 Coll., sections 1 and 2; Easter by the Gregorian computus.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from typing import Final

#: month and day of the holidays that do not move
FIXED: Final = (
    (1, 1), (5, 1), (5, 8), (7, 5), (7, 6), (9, 28), (10, 28), (11, 17), (12, 24), (12, 25), (12, 26),
)  # fmt: skip
#: Good Friday is one since the amendment that came into force in 2016
_GOOD_FRIDAY_SINCE: Final = 2016
#: values of a day are due on the second working day; history between the second and the fifth after activation
VALUES_WITHIN: Final = 2
HISTORY_WITHIN: Final = 5
_DAY: Final = timedelta(days=1)


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (anonymous algorithm, Meeus, Astronomical Algorithms, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    z = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 19 * z) // 433
    month = (h + z - 7 * m + 90) // 25
    return date(year, month, (h + z - 7 * m + 33 * month + 19) % 32)


@cache
def holidays(year: int) -> frozenset[date]:
    """The public holidays of a year."""
    sunday = easter(year)
    moving = {sunday + _DAY} | ({sunday - 2 * _DAY} if year >= _GOOD_FRIDAY_SINCE else set())
    return frozenset({date(year, month, day) for month, day in FIXED} | moving)


def is_working(day: date) -> bool:
    """Monday to Friday, and no public holiday."""
    return day.weekday() < 5 and day not in holidays(day.year)


def working_day_after(day: date, count: int) -> date:
    """The `count`-th working day after a day."""
    while count:
        day += _DAY
        count -= is_working(day)
    return day


def due(day: date, activated: date) -> date:
    """The last day on which values of `day` are in time, for a point that was activated on another one."""
    return max(working_day_after(day, VALUES_WITHIN), working_day_after(activated, HISTORY_WITHIN))


def overdue(since: date, activated: date, today: date) -> Iterator[date]:
    """Days from `since` whose values were due before today, rising."""
    day = since
    while day < today and due(day, activated) < today:
        yield day
        day += _DAY
