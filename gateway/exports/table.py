"""CSV of intervals (RFC 4180, UTF-8): one line for each, by its start in UTC and in local time with its offset."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from gateway.exports.about import About, by_day, decimal, second, shown
from gateway.intervals.model import Interval, Series

COLUMNS: Final = (
    "meter", "point", "medium", "product", "direction", "resolution", "start", "end", "start_local", "quantity", "unit",
    "status", "quality", "auth", "coverage", "method", "version", "rules", "validated",
)  # fmt: skip
#: what a spreadsheet would take for a formula when a cell begins with it
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def write(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """The header and the lines, a day at a time; `validated` is `no` for what is not item E."""
    yield _lines([COLUMNS])
    for series in many:
        zone = ZoneInfo(series.zone)
        for day in by_day(series):
            yield _lines([_row(series, zone, shown(interval, about)) for interval in day])


def _row(series: Series, zone: ZoneInfo, interval: Interval) -> tuple[object, ...]:
    quantity = "" if interval.quantity is None else decimal(interval.quantity, series.unit.exponent)
    local = datetime.fromtimestamp(interval.start, UTC).astimezone(zone).isoformat()
    return (
        series.meter, cell(series.point or ""), series.medium, series.kind, series.direction, series.resolution,
        second(interval.start), second(interval.end), local, quantity, series.unit.name,
        interval.status, interval.quality, interval.auth, interval.coverage, interval.method, interval.version,
        " ".join(interval.rules), "yes" if interval.is_item_e else "no",
    )  # fmt: skip


def cell(text: str) -> str:
    """A text that a spreadsheet takes for text, too."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
