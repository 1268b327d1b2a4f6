"""Item E of Regulation (EU) 2023/1162 as JSON: one object for each series (docs/schemas/item-e.schema.json)."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.exports.about import About, by_day, decimal, second, shown
from gateway.intervals.model import Interval, Series

SCHEMA: Final = "meterd.item-e/1"


def write(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """A JSON document `{"schema", "series": [...]}` in pieces, one line for each interval."""
    head = {"schema": SCHEMA, "created": second(about.created), "validated": not about.raw}
    yield f'{json.dumps(head)[:-1]},"series":['.encode()
    between = ""
    for series in many:
        yield f'{between}\n{json.dumps(_head(series, about))[:-1]},"intervals":['.encode()
        yield from _intervals(series, about)
        yield b"]}"
        between = ","
    yield b"\n]}\n"


def _head(series: Series, about: About) -> dict[str, Any]:
    """The attributes of item E that all intervals share; absent is left out."""
    known = {
        "meter": series.meter,
        "point": series.point,
        "channel": series.channel or None,
        "medium": series.medium,
        "product": series.kind,
        "direction": series.direction,
        "resolution": series.resolution,
        "unit": series.unit.name,
        "zone": series.zone,
        "start": second(about.start),
        "end": second(about.end),
    }
    return {key: value for key, value in known.items() if value is not None}


def _intervals(series: Series, about: About) -> Iterator[bytes]:
    zone, between = ZoneInfo(series.zone), ""
    for day in by_day(series):
        lines = ",".join(
            f"\n{json.dumps(_interval(shown(one, about), series, zone), ensure_ascii=False)}" for one in day
        )
        yield f"{between}{lines}".encode()
        between = ","


def _interval(interval: Interval, series: Series, zone: ZoneInfo) -> dict[str, Any]:
    """One interval: energy in whole Wh as an integer, everything else as an exact decimal; none where it is missing."""
    found: dict[str, Any] = {
        "start": second(interval.start),
        "end": second(interval.end),
        "start_local": datetime.fromtimestamp(interval.start, UTC).astimezone(zone).isoformat(),
    }
    if interval.quantity is not None:
        found["quantity"] = (
            interval.quantity if series.unit.exponent == 0 else decimal(interval.quantity, series.unit.exponent)
        )
    found |= {
        "status": interval.status,
        "quality": interval.quality,
        "auth": interval.auth,
        "coverage": interval.coverage,
        "method": interval.method,
        "version": interval.version,
    }
    return found | ({"rules": list(interval.rules)} if interval.rules else {})
