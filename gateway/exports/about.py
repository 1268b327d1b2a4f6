"""What an export says beside the intervals themselves, and what it refuses."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from gateway.intervals.model import Interval, Series

#: a day of gas begins at this local hour (EN 1776 and the network codes: 06:00)
GAS_DAY_H: Final = 6
#: whole days are handed over by the year: at most so many intervals at once
MOST_DAYS: Final = 366
#: what has more than one local day in an interval
LONG: Final = frozenset(("P1D", "P1M"))


class ExportError(Exception):
    """The format cannot carry what was asked for: one sentence that says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class About:
    """What the exporter knows of the request: `start` and `end` in UTC seconds, parties by GLN (13 digits) or EIC."""

    start: int
    end: int
    #: when the document is made (UTC s)
    created: int
    sender: str | None = None
    receiver: str | None = None
    #: intervals that are not validated go along, marked, where the format can mark them
    raw: bool = False
    #: makes the ids of documents and series, at most 36 characters
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())


Writer: TypeAlias = Callable[[Iterable[Series], About], Iterator[bytes]]


def point_of(series: Series, form: str) -> str:
    """Give the metering point of a series; raises ExportError where the configuration names none."""
    if series.point is None:
        raise ExportError(
            f"{form} names the metering point, and meter {series.meter} has none: set `point` in the configuration"
        )
    return series.point


def shown(interval: Interval, about: About) -> Interval:
    """Give the interval as this export may show it: what is not item E is missing, unless raw data was asked for."""
    if interval.is_item_e or about.raw or interval.status == "missing":
        return interval
    return replace(interval, quantity=None, status="missing")


def validated_only(about: About, form: str) -> None:
    """Refuse raw data in a form that means validated data."""
    if about.raw:
        raise ExportError(
            f"{form} carries validated data only: leave out --include-raw, or take item-e, intervals-csv, pnd, espi"
        )


def by_day(series: Series) -> Iterator[list[Interval]]:
    """Intervals of one local day (of gas: one gas day) after the other; those of whole days by the year."""
    zone = ZoneInfo(series.zone)
    late = timedelta(hours=GAS_DAY_H if series.gas_day else 0)
    group: list[Interval] = []
    key: object = None
    for interval in series.intervals:
        local = datetime.fromtimestamp(interval.start, UTC).astimezone(zone) - late
        found = local.year if series.resolution in LONG else local.date()
        if group and (found != key or group[-1].end != interval.start or len(group) >= MOST_DAYS):
            yield group
            group = []
        key = found
        group.append(interval)
    if group:
        yield group


def decimal(integer: int, exponent: int) -> str:
    """An integer of `10**exponent` as an exact decimal: 125, -3 -> "0.125"."""
    if exponent >= 0:
        return str(integer * 10**exponent)
    digits = str(abs(integer)).rjust(1 - exponent, "0")
    return f"{'-' if integer < 0 else ''}{digits[:exponent]}.{digits[exponent:]}"


def minute(t: int) -> str:
    """UTC seconds as `2026-03-02T23:00Z`, as the time intervals of IEC 62325-451 want it; bounds are whole minutes."""
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%dT%H:%MZ}"


def second(t: int) -> str:
    """UTC seconds as `2026-03-02T23:00:00Z`."""
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%dT%H:%M:%SZ}"
