"""A report of intervals into rows in UTC, exactly or not at all: local labels, summer time, duplicates, flags.

`consumptionTime` is the local time (Europe/Vilnius) at which an interval ends (SANDBOX: seen in one example only). Each
label of the hour that comes twice has to be there twice, in the order of time; else none of them is taken, for nobody
could say which is which. Energy comes in kWh (SANDBOX) and becomes whole thousandths of a Wh.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from gateway.imports.record import Imported, ImportFileError, Row, Said, energy
from gateway.intervals.model import Direction
from gateway.uploader.answers import words
from gateway.uploader.hubs import lt_names as names
from gateway.uploader.hubs.lt_reader import Drift, Reader

ZONE: Final = ZoneInfo(names.ZONE)
_KWH: Final = Decimal(1000)
_AMBIGUOUS: Final = "comes twice on this day, and not both times in order: nobody can say which is which"
#: years that a time can be of: none near the ends of the calendar, where no zone can be reckoned with
_YEARS: Final = range(1970, 3000)
#: then every label means another interval than it is read as
_STARTS: Final = "is the start of the first interval, and ends are expected: no value of the report is taken"


class Meter(NamedTuple):
    """Which meter a value is of: the types tell meters of equal number apart."""

    object: str
    object_type: str = ""
    number: str = ""
    type: str = ""


class Asked(NamedTuple):
    """What was ordered: values of other objects or times are not taken."""

    order: int
    objects: Collection[str]
    #: UTC s
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an answer holds: state of the order, rows of each meter and direction, and what is strange in it."""

    state: Literal["pending", "ready", "failed", "unreadable"]
    series: dict[tuple[Meter, Direction], tuple[Row, ...]]
    drifts: tuple[Drift, ...]


class _Value(NamedTuple):
    path: str
    at: datetime
    quantity: int | None
    said: Said


def read(document: Any, *, step: int, flagged: bool = True, asked: Asked | None = None) -> Report:
    """Read a report whose intervals last `step` s; `flagged`: by the version that says which are estimated."""
    reader = Reader()
    head = reader.record(document, "", names.REPORT_FIELDS)
    state: Literal["pending", "ready", "failed", "unreadable"] = "unreadable"
    if head is not None:
        state = names.ORDER_STATUS.get(head["status"], "unreadable")
        if state == "unreadable":
            reader.strange("status", f"is {words(head['status'], 40)!r}, which is not known here")
        if asked is not None and head["orderId"] != asked.order:
            reader.strange("orderId", f"is {head['orderId']}, and {asked.order} was asked")
            state = "unreadable"
    series: dict[tuple[Meter, Direction], tuple[Row, ...]] = {}
    if head is not None and state == "ready":
        if "data" not in head:
            reader.strange("data", "is missing")
            state = "unreadable"
        values = _collect(reader, head.get("data"), flagged=flagged, asked=asked)
        for name, found in values.items():
            series[name] = tuple(_rows(reader, found, step, asked))
    if any(drift.what == _STARTS for drift in reader.drifts):
        return Report("unreadable", {}, reader.drifts)
    return Report(state, series, reader.drifts)


def account(document: Any, *, step: int) -> list[Imported]:
    """Rows of a report that was taken, by point; raises ImportFileError where it holds none.

    An object with several meters in one direction has no sum that anybody defined: each is a point of its own there,
    `object/meter/type`.
    """
    report = read(document, step=step, flagged=False)
    if report.state != "ready":
        raise ImportFileError("the report holds no values that can be read: see `meterd hub show`")
    alike = Counter((meter.object, direction) for meter, direction in report.series)
    return [
        Imported(meter.object if alike[meter.object, direction] == 1 else _long(meter), direction, rows)
        for (meter, direction), rows in report.series.items()
    ]


def label(text: str) -> datetime | None:
    """A time of the hub: local without an offset (naive), or with one; None where it is none."""
    try:
        found = datetime.fromisoformat(text) if 16 <= len(text) <= 32 and text[10] == "T" else None
    except ValueError:
        return None
    return None if found is None or found.microsecond or found.year not in _YEARS else found


def _collect(
    reader: Reader, data: Any, *, flagged: bool, asked: Asked | None
) -> dict[tuple[Meter, Direction], list[_Value]]:
    """Values by meter and direction, in the order of the answer."""
    found: dict[tuple[Meter, Direction], list[_Value]] = defaultdict(list)
    for path, entry in reader.entries(data, "data"):
        known = reader.record(entry, path, names.METER_FIELDS)
        if known is None:
            continue
        meter = Meter(*(known.get(key, "") for key in ("objectNumber", "objectType", "meterNumber", "meterType")))
        if asked is not None and meter.object not in asked.objects:
            reader.strange(f"{path}.objectNumber", "was not ordered")
            continue
        for where, value in reader.entries(known["values"], f"{path}.values"):
            taken = _value(reader, where, value, flagged=flagged)
            if taken is not None:
                found[meter, taken[0]].append(taken[1])
    return found


def _value(reader: Reader, path: str, value: Any, *, flagged: bool) -> tuple[Direction, _Value] | None:
    known = reader.record(value, path, names.VALUE_FIELDS)
    if known is None:
        return None
    category, at = known["consumptionCategory"], label(known["consumptionTime"])
    if category not in names.CATEGORIES:
        reader.strange(f"{path}.consumptionCategory", f"is {words(category, 20)!r}, which is not known here")
        return None
    if at is None:
        reader.strange(f"{path}.consumptionTime", "is no time")
        return None
    direction = names.CATEGORIES[category]
    try:
        quantity = energy(str(known["amount"]), _KWH, "amount") if "amount" in known else None
    except ImportFileError:
        reader.strange(f"{path}.amount", "is no energy in whole thousandths of a Wh")
        return None
    if quantity is not None and quantity < 0:
        reader.strange(f"{path}.amount", "is below zero")
        return None
    return (
        None
        if direction is None
        else (direction, _Value(path, at, quantity, _said(reader, path, known, flagged=flagged)))
    )


def _said(reader: Reader, path: str, known: dict[str, Any], *, flagged: bool) -> Said:
    """What the flag says of a value: without one that is known it is neither validated nor estimated."""
    if "amount" not in known:
        return "missing"
    status = known.get("valueStatus")
    if status is None:
        if flagged:
            reader.strange(f"{path}.valueStatus", "is missing")
        return "unknown"
    said = names.VALUE_STATUS.get(status, "unknown")
    if said == "unknown":
        reader.strange(f"{path}.valueStatus", f"is {words(status, 40)!r}, which is not known here")
    # a value that the hub calls missing is a contradiction: it is kept, and nothing is believed of it
    return "unknown" if said == "missing" else said


def _rows(reader: Reader, values: Sequence[_Value], step: int, asked: Asked | None) -> Iterable[Row]:
    """Rows of one meter and direction, rising; what is said twice is taken once, or not at all where it differs."""
    found: dict[int, Row] = {}
    refused: set[int] = set()
    for value, end in zip(values, _ends(reader, values, step), strict=True):
        if end is None or end in refused:
            continue
        if end % step or (asked is not None and not asked.start + step <= end <= asked.end):
            what = "is no end of an interval" if end % step else "lies outside the days that were ordered"
            if asked is not None and end == asked.start:
                what = _STARTS
            reader.strange(f"{value.path}.consumptionTime", what)
            continue
        row = Row(end - step, end, value.quantity, value.said)
        if found.setdefault(end, row) != row:
            reader.strange(value.path, "says something else of an interval than another value")
            del found[end]
            refused.add(end)
    return (found[end] for end in sorted(found))


def _ends(reader: Reader, values: Sequence[_Value], step: int) -> list[int | None]:
    """End of each interval in UTC s; None where nobody can tell."""
    naive = [value.at if value.at.tzinfo is None else None for value in values]
    second = _second_pass([at for at in naive if at is not None], step)
    seen: Counter[datetime] = Counter()
    ends: list[int | None] = []
    for value in values:
        at = value.at
        if at.tzinfo is not None:
            ends.append(_seconds(at))
            continue
        fold = 0
        if _is_twice(at):
            if second is None or not second(at):
                reader.strange(f"{value.path}.consumptionTime", _AMBIGUOUS)
                ends.append(None)
                continue
            fold, seen[at] = min(seen[at], 1), seen[at] + 1
        local = at.replace(tzinfo=ZONE, fold=fold)
        if local.astimezone(UTC).astimezone(ZONE).replace(tzinfo=None) != at and not _is_leap(at):
            reader.strange(f"{value.path}.consumptionTime", "does not exist on that day: the clock leaps over it")
            ends.append(None)
            continue
        ends.append(_seconds(local))
    return ends


def _second_pass(labels: Sequence[datetime], step: int) -> Callable[[datetime], bool] | None:
    """Whether a label of a repeated hour can be told apart: all labels rise, but once, and each is there twice."""
    by_day: dict[object, list[datetime]] = defaultdict(list)
    for at in labels:
        by_day[at.date()].append(at)
    sound = set()
    for day, found in by_day.items():
        twice = [at for at in found if _is_twice(at)]
        falls = sum(later <= earlier for earlier, later in pairwise(twice))
        whole = len(twice) == 2 * len(set(twice)) == 2 * (3_600 // step)
        rest = [at for at in found if not _is_twice(at)]
        if twice and falls == 1 and whole and all(a < b for a, b in pairwise(rest)):
            sound.add(day)
    return lambda at: at.date() in sound


def _is_twice(at: datetime) -> bool:
    """Whether a local time comes twice (PEP 495)."""
    first, second = (at.replace(tzinfo=ZONE, fold=fold) for fold in (0, 1))
    return (first.utcoffset() or 0) > (second.utcoffset() or 0)  # type: ignore[operator]


def _is_leap(at: datetime) -> bool:
    """Whether it is the moment itself at which the clock leaps ahead, by the time that was left: 03:00 for 04:00."""
    before = at.replace(tzinfo=ZONE, fold=0)
    moment = datetime.fromtimestamp(_seconds(before) - 1, UTC).astimezone(ZONE)
    return moment.replace(tzinfo=None, fold=0) < at and moment.utcoffset() == before.utcoffset()


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _long(meter: Meter) -> str:
    return "/".join(filter(None, (meter.object, meter.number, meter.object_type, meter.type)))
