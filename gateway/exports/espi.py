"""Green Button: an Atom feed of NAESB REQ.21 ESPI 3.3 resources, energy in Wh (docs/exports.md).

A UsagePoint for each metering point and direction, with its time parameters, reading type, meter reading and one
IntervalBlock for each local day. Intervals without a quantity are left out: ESPI has no missing value.
"""

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from gateway.exports.about import About, ExportError, by_day, second, shown
from gateway.intervals.model import Interval, Series, Status

#: ReadingQuality: 17 validated, 8 estimated by reference day, 9 by interpolation, 7 edited by a person; not validated:
#: 14 raw, 10 questionable
QUALITY: Final[dict[Status, int]] = {"valid": 17, "estimated": 9, "edited": 7, "raw": 14, "suspect": 10}
REFERENCE_DAY: Final = 8
#: flowDirection: 1 forward (delivered to the customer), 19 reverse
FLOW: Final = {"import": 1, "export": 19}
LENGTH: Final = {"PT15M": 900, "PT1H": 3_600, "P1D": 86_400, "P1M": 0}
SPACE: Final = 'xmlns:espi="http://naesb.org/espi"'
BASE: Final = "/espi/1_1/resource"
#: DstRuleType: no change of time; and the operator "last such weekday of the month", which every change in the EU is
NO_RULE, _LAST = "FFFFFFFF", 7


def write(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """The feed in pieces; raises ExportError for what is not active energy in Wh."""
    updated = second(about.created)
    yield (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<id>urn:uuid:{uuid.uuid4()}</id><title>Item E</title><updated>{updated}</updated>\n"
    ).encode()
    for number, series in enumerate(many, 1):
        yield from _usage_point(number, series, about, updated)
    yield b"</feed>\n"


def _usage_point(number: int, series: Series, about: About, updated: str) -> Iterator[bytes]:
    if series.kind != "active" or series.unit != ("Wh", 0):
        raise ExportError(f"Green Button is written for active energy in Wh, not {series.kind} ({series.meter})")
    base = f"{BASE}/UsagePoint/{number}"
    title = series.point or series.meter
    yield _entry(base, title, updated, f"<espi:UsagePoint {SPACE}><espi:ServiceCategory><espi:kind>0</espi:kind>"
                 "</espi:ServiceCategory></espi:UsagePoint>")  # fmt: skip
    yield _entry(f"{BASE}/LocalTimeParameters/{number}", series.zone, updated, _local_time(series.zone, about.start))
    yield _entry(f"{base}/MeterReading/1", title, updated, f"<espi:MeterReading {SPACE}/>")
    yield _entry(
        f"{BASE}/ReadingType/{number}", f"{series.direction} {series.resolution}", updated, _reading_type(series)
    )
    for block, day in enumerate(by_day(series), 1):
        intervals = [interval for one in day if (interval := shown(one, about)).quantity is not None]
        if intervals:
            place = f"{base}/MeterReading/1/IntervalBlock/{block}"
            yield _entry(place, second(day[0].start), updated, _block(day, intervals))


def _entry(place: str, title: str, updated: str, content: str) -> bytes:
    return (
        f'<entry><id>urn:uuid:{uuid.uuid4()}</id><link rel="self" href="{place}"/><title>{escape(title)}</title>'
        f"<published>{updated}</published><updated>{updated}</updated>\n<content>{content}</content></entry>\n"
    ).encode()


def _reading_type(series: Series) -> str:
    return (
        f"<espi:ReadingType {SPACE}><espi:accumulationBehaviour>4</espi:accumulationBehaviour>"
        "<espi:commodity>1</espi:commodity><espi:dataQualifier>12</espi:dataQualifier>"
        f"<espi:flowDirection>{FLOW[series.direction]}</espi:flowDirection>"
        f"<espi:intervalLength>{LENGTH[series.resolution]}</espi:intervalLength><espi:kind>12</espi:kind>"
        "<espi:powerOfTenMultiplier>0</espi:powerOfTenMultiplier><espi:uom>72</espi:uom></espi:ReadingType>"
    )


def _block(day: list[Interval], intervals: list[Interval]) -> str:
    readings = "".join(
        f"<espi:IntervalReading><espi:ReadingQuality><espi:quality>{_quality(interval)}</espi:quality>"
        f"</espi:ReadingQuality><espi:timePeriod><espi:duration>{interval.end - interval.start}</espi:duration>"
        f"<espi:start>{interval.start}</espi:start></espi:timePeriod><espi:value>{interval.quantity}</espi:value>"
        "</espi:IntervalReading>\n"
        for interval in intervals
    )
    return (
        f"<espi:IntervalBlock {SPACE}><espi:interval><espi:duration>{day[-1].end - day[0].start}</espi:duration>"
        f"<espi:start>{day[0].start}</espi:start></espi:interval>\n{readings}</espi:IntervalBlock>"
    )


def _quality(interval: Interval) -> int:
    return (
        REFERENCE_DAY
        if interval.status == "estimated" and interval.method.startswith("E02")
        else QUALITY[interval.status]
    )


def _local_time(zone_name: str, at: int) -> str:
    """LocalTimeParameters: the offset of winter time, and the rules of the year in which the period begins.

    A rule has 32 bits (DstRuleType): month (4), operator (3), day of the month (5), day of the week (3, Monday is 1),
    hours (5), seconds (12).
    """
    zone = ZoneInfo(zone_name)
    changes = _changes(zone, datetime.fromtimestamp(at, UTC).year)
    january = datetime(datetime.fromtimestamp(at, UTC).year, 1, 1, tzinfo=zone)
    standard = min(
        (offset for _, offset in changes), default=int((january.utcoffset() or january - january).total_seconds())
    )
    start = next((_rule(t, standard) for t, offset in changes if offset != standard), NO_RULE)
    end = next((_rule(t, standard + 3_600) for t, offset in changes if offset == standard), NO_RULE)
    return (
        f"<espi:LocalTimeParameters {SPACE}><espi:dstEndRule>{end}</espi:dstEndRule>"
        f"<espi:dstOffset>{3_600 if changes else 0}</espi:dstOffset><espi:dstStartRule>{start}</espi:dstStartRule>"
        f"<espi:tzOffset>{standard}</espi:tzOffset></espi:LocalTimeParameters>"
    )


def _changes(zone: ZoneInfo, year: int) -> list[tuple[int, int]]:
    """Moments (UTC s) of a year at which the offset of a zone changes, with the offset (s) from then on."""
    first, last = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 1))
    found: list[tuple[int, int]] = []
    before = _offset(zone, first)
    for t in range(first, last, 3_600):
        offset = _offset(zone, t)
        if offset != before:
            found.append((t, offset))
            before = offset
    return found


def _offset(zone: ZoneInfo, t: int) -> int:
    offset = datetime.fromtimestamp(t, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _rule(t: int, offset: int) -> str:
    """The rule of a change at `t`, in the local time that held until then, which is `offset` (s) from UTC."""
    local = datetime.fromtimestamp(t + offset, UTC)
    weekday = local.isoweekday()
    return f"{local.month << 28 | _LAST << 25 | weekday << 17 | local.hour << 12:08X}"
