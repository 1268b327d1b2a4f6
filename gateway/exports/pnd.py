"""CSV in the style of CEZ Distribuce's portal of measured data (PND): mean kW, stamped with the local end, cp1250.

A line is `dd.mm.yyyy HH:MM:SS;0,5;status;`. The hour that occurs twice in autumn has the same stamps twice, in order:
the style has no offset. Columns are profiles: +A import, -A export; one file has one direction of one meter.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.exports.about import LONG, About, ExportError, by_day, point_of, shown
from gateway.intervals.model import Interval, Series, Status

ENCODING: Final = "cp1250"
SIGN: Final = {"import": "+A", "export": "-A"}
#: statuses as the portal writes them; it has no word for estimated
STATUS: Final[dict[Status, str]] = {
    "valid": "naměřená data OK",
    "estimated": "nedefinovaný status",
    "edited": "nedefinovaný status",
    "suspect": "neplatná data",
    "raw": "neznámá hodnota",
    "missing": "nedostupná data",
}
#: decimals of a mean power in kW: a Wh in a quarter-hour is 0.004 kW
DECIMALS: Final = 3


def write(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """The header and the lines; raises ExportError for more than one series, and for what has no mean power in kW."""
    found = None
    for series in many:
        if found is not None:
            raise ExportError("a PND file holds one meter and one direction: choose with --meter and --direction")
        found = series
        yield from _series(series, about)
    if found is None:
        raise ExportError("no series matches")


def _series(series: Series, about: About) -> Iterator[bytes]:
    if series.kind != "active" or series.resolution in LONG:
        raise ExportError("PND carries active energy as mean power of PT15M or PT1H: choose one of them")
    yield f'"Datum";"{SIGN[series.direction]}/{point_of(series, "PND")} [kW]";"Status";\r\n'.encode(ENCODING, "replace")
    zone = ZoneInfo(series.zone)
    for day in by_day(series):
        lines = "".join(_line(shown(interval, about), zone) for interval in day)
        yield lines.encode(ENCODING)


def _line(interval: Interval, zone: ZoneInfo) -> str:
    return f"{stamp(interval.end, zone)};{mean_kw(interval)};{STATUS[interval.status]};\r\n"


def stamp(end: int, zone: ZoneInfo) -> str:
    """The local end of an interval; midnight is hour 24 of the day that it ends."""
    local = datetime.fromtimestamp(end, UTC).astimezone(zone)
    if local.hour or local.minute:
        return f"{local:%d.%m.%Y %H:%M:%S}"
    return f"{local - timedelta(days=1):%d.%m.%Y} 24:00:00"


def mean_kw(interval: Interval) -> str:
    """Mean power in kW with a decimal comma, without zeros at the end: exact for quarter-hours, else rounded."""
    if interval.quantity is None:
        return ""
    seconds = interval.end - interval.start
    watts = (interval.quantity * 3_600 * 2 + seconds) // (2 * seconds)
    text = f"{watts // 1000},{watts % 1000:0{DECIMALS}d}"
    return text.rstrip("0").rstrip(",")
