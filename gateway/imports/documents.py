"""JSON and XML back into rows: item E, ValidatedHistoricalData v1.04, RSM-012 and Green Button.

XML comes through defusedxml: no document type, no entity, nothing fetched. It is read by element, so that memory
is bounded.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import Element, ParseError

from gateway.imports.record import Imported, ImportFileError, Row, Said, energy
from gateway.imports.text import OWN, UNITS
from gateway.intervals.model import Direction

#: qualities of ENTSO-E's QualityTypeList; none means as provided
QUALITY: Final[dict[str, Said]] = {
    "A01": "edited", "A02": "missing", "A03": "estimated", "A04": "measured", "A05": "unknown", "A06": "unknown",
}  # fmt: skip
ESPI: Final[dict[str, Said]] = {
    "7": "edited", "8": "estimated", "9": "estimated", "10": "suspect", "14": "raw", "17": "measured", "18": "measured",
    "19": "measured",
}  # fmt: skip
STEP: Final = {"PT15M": 900, "PT1H": 3_600, "PT60M": 3_600}
WH: Final = {"KWH": Decimal(1000), "MWH": Decimal(1_000_000), "WTT": Decimal(1)}
FLOW: Final[dict[str, Direction]] = {"A02": "import", "A01": "export", "E17": "import", "E18": "export"}
ESPI_FLOW: Final[dict[str, Direction]] = {"1": "import", "19": "export"}


def item_e(source: BinaryIO) -> Iterator[Imported]:
    """Rows of meterd's item E JSON; raises ImportFileError."""
    try:
        document = json.load(source, parse_float=Decimal)
        if document["schema"] != "meterd.item-e/1":
            raise ImportFileError(f"the schema is {str(document['schema'])[:40]!r}, not meterd.item-e/1")
        for series in document["series"]:
            wh = UNITS.get(series["unit"])
            if wh is None:
                raise ImportFileError(f"unit {series['unit']!r} is no energy")
            rows = [_own(one, wh) for one in series["intervals"]]
            yield Imported(series.get("point"), _direction(series["direction"]), rows)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImportFileError(f"the file is no item E of meterd: {type(error).__name__} {str(error)[:60]}") from None


def vhd(source: BinaryIO) -> Iterator[Imported]:
    """Rows of ValidatedHistoricalData, a series for each TimeSeries; raises ImportFileError."""
    for series in _elements(source, "TimeSeries"):
        unit = _text(series, "energy_Measurement_Unit.name")
        flow = FLOW.get(_text(series, "flowDirection.direction"))
        if unit not in WH or flow is None:
            raise ImportFileError(f"a TimeSeries has unit {unit!r} and a direction that is not known here")
        point = _find(series, "marketEvaluationPoint.mRID")
        rows = [row for period in _all(series, "Period") for row in _period(period, WH[unit], "energy_Quantity.")]
        yield Imported(None if point is None else point.text, flow, rows)


def rsm012(source: BinaryIO) -> Iterator[Imported]:
    """Rows of RSM-012 as CIM XML; raises ImportFileError."""
    for series in _elements(source, "Series"):
        flow = FLOW.get(_text(series, "marketEvaluationPoint.type"))
        if flow is None:
            raise ImportFileError("a Series is of neither consumption (E17) nor production (E18)")
        rows = [row for period in _all(series, "Period") for row in _period(period, WH["KWH"], "")]
        yield Imported(_text(series, "marketEvaluationPoint.mRID"), flow, rows)


def espi(source: BinaryIO) -> Iterator[Imported]:
    """Rows of a Green Button feed: each IntervalBlock by the ReadingType before it; raises ImportFileError."""
    flow: Direction | None = None
    factor, point = Decimal(1), None
    for element in _elements(source, "entry"):
        kind = _find(element, "ReadingType")
        if _find(element, "UsagePoint") is not None:
            point = _text(element, "title") or None
        if kind is not None:
            flow = ESPI_FLOW.get(_text(kind, "flowDirection"))
            factor = _espi_unit(kind)
        for block in element.iter():
            if _name(block) == "IntervalBlock":
                if flow is None:
                    raise ImportFileError("an IntervalBlock comes before its ReadingType, or its flow is not known")
                yield Imported(point, flow, [_reading(one, factor) for one in _all(block, "IntervalReading")])


def _direction(text: str) -> Direction:
    if text not in ("import", "export"):
        raise ImportFileError(f"direction {text[:40]!r} is neither import nor export")
    return "import" if text == "import" else "export"


def _own(one: dict[str, Any], wh: Decimal) -> Row:
    quantity = one.get("quantity")
    where = str(one["start"])[:40]
    return Row(
        _instant(one["start"]),
        _instant(one["end"]),
        None if quantity is None else energy(str(quantity), wh, where),
        OWN[one["status"]],
    )


def _instant(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ImportFileError(f"{text[:40]!r} is no time") from None
    if found.tzinfo is None:
        raise ImportFileError(f"{text} has no zone")
    return int(found.timestamp())


def _elements(source: BinaryIO, name: str) -> Iterator[Element]:
    """Every element of a name, whole, and forgotten after it was looked at."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        for _, element in iterparse(source, ["end"], forbid_dtd=True):
            if _name(element) == name:
                yield element
                element.clear()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise ImportFileError(
            f"the file is no XML that can be read: {type(error).__name__} {str(error)[:60]}"
        ) from None


def _period(period: Element, wh: Decimal, prefix: str) -> Iterator[Row]:
    """Points of a period by their positions: start + (position - 1) x resolution; longer ones have a single point."""
    resolution = _text(period, "resolution")
    bounds = _find(period, "timeInterval")
    if bounds is None:
        raise ImportFileError("a Period has no timeInterval")
    start, end = _instant(_text(bounds, "start")), _instant(_text(bounds, "end"))
    points = list(_all(period, "Point"))
    step = STEP.get(resolution, end - start)
    if resolution not in STEP and len(points) != 1:
        raise ImportFileError(
            f"a Period of {resolution[:20]} has {len(points)} points: the bounds of each are not said"
        )
    for point in points:
        position = _text(point, "position")
        if not position.isdecimal() or not 1 <= int(position) <= (end - start) // step:
            raise ImportFileError(f"position {position[:20]!r} lies outside its Period")
        begin = start + (int(position) - 1) * step
        quantity, quality = _find(point, f"{prefix}quantity"), _find(point, f"{prefix}quality")
        said = QUALITY.get("A04" if quality is None else quality.text or "", "unknown")
        text = None if quantity is None else quantity.text
        yield Row(begin, begin + step, None if text is None else energy(text, wh, position), said)


def _espi_unit(kind: Element) -> Decimal:
    """Wh of a value: uom 72 is Wh, times a power of ten."""
    if _text(kind, "uom") != "72":
        raise ImportFileError("the ReadingType is not in Wh (uom 72)")
    power = _text(kind, "powerOfTenMultiplier") or "0"
    if not power.lstrip("-").isdecimal() or abs(int(power)) > 9:
        raise ImportFileError(f"powerOfTenMultiplier {power[:20]!r} is not known here")
    return Decimal(10) ** int(power)


def _reading(element: Element, wh: Decimal) -> Row:
    time = _find(element, "timePeriod")
    quality = next((_text(one, "quality") for one in _all(element, "ReadingQuality")), "")
    if time is None:
        raise ImportFileError("an IntervalReading has no timePeriod")
    start, duration = _text(time, "start"), _text(time, "duration")
    if not (start.isdecimal() and duration.isdecimal()):
        raise ImportFileError("a timePeriod has no start or no duration")
    quantity = energy(_text(element, "value"), wh, start)
    return Row(int(start), int(start) + int(duration), quantity, ESPI.get(quality, "unknown"))


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _find(element: Element, name: str) -> Element | None:
    return next((child for child in element.iter() if _name(child) == name), None)


def _all(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element.iter() if _name(child) == name)


def _text(element: Element, name: str) -> str:
    found = _find(element, name)
    return "" if found is None else (found.text or "").strip()
