"""Business rules of ValidatedHistoricalData that its schema does not say, checked on the octets before they leave.

Codes are those with which an acknowledgement would refuse (ENTSO-E ReasonCodeTypeList).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from gateway.exports.rsm012 import is_gs1
from gateway.exports.vhd import NAMESPACE
from gateway.hub_model import Part, Reason

STEPS: Final = {"PT15M": 900, "PT1H": 3_600}
#: ids fit every index of ours (the schema allows 60 characters)
MOST_ID: Final = 36
MOST_DECIMALS: Final = 3
_FLOWS: Final = {"A02": "A04", "A01": "A01"}


def head_faults(document: Any) -> Iterator[Reason]:
    """What is wrong with the header of a MarketDocument (lxml element)."""
    for side in ("sender", "receiver"):
        element = document.find(_name(f"{side}_MarketParticipant.mRID"))
        party, scheme = (element.text or ""), element.get("codingScheme")
        if scheme == "A10" and not is_gs1(party, 13):
            yield Reason("A69", f"the {side} {party} is no GLN: its check digit is wrong")
    if not 0 < len(_text(document, "mRID")) <= MOST_ID:
        yield Reason("A51", f"the id of the document has not 1 to {MOST_ID} characters")
    series = document.findall(_name("TimeSeries"))
    bounds = [_bounds(period) for one in series for period in one.findall(_name("Period"))]
    whole = _bounds(document, "period.timeInterval")
    if bounds and whole != (min(start for start, _ in bounds), max(end for _, end in bounds)):
        yield Reason("A04", "the bounds of the document are not those of its series")
    ids = [_text(one, "mRID") for one in series]
    if len(set(ids)) != len(ids):
        yield Reason("A55", "two time series of the document have the same id")


def series_faults(series: Any, part: Part) -> Iterator[Reason]:
    """What is wrong with a TimeSeries (lxml element) that is to carry a part."""
    point = series.find(_name("marketEvaluationPoint.mRID"))
    if point.get("codingScheme") == "A10" and not is_gs1(point.text or "", len(point.text or "")):
        yield Reason("A69", f"metering point {point.text} has 13 or 18 digits and a wrong check digit")
    if not 0 < len(_text(series, "mRID")) <= MOST_ID:
        yield Reason("A55", f"the id of a time series has not 1 to {MOST_ID} characters")
    if _text(series, "version") != str(part.revision):
        yield Reason("A50", f"the version is {_text(series, 'version')}, and the revision {part.revision}")
    if _FLOWS.get(_text(series, "flowDirection.direction")) != _text(series, "businessType"):
        yield Reason("A59", "business type and direction contradict each other")
    bounds = []
    for period in series.findall(_name("Period")):
        yield from _period_faults(period)
        bounds.append(_bounds(period))
    if not bounds or (bounds[0][0], bounds[-1][1]) != (part.slot.start, part.end):
        yield Reason("A04", "the periods do not cover the day that they are to carry")
    if any(before[1] != after[0] for before, after in pairwise(bounds)):
        yield Reason("A04", "there is a gap between two periods")


def _period_faults(period: Any) -> Iterator[Reason]:
    """Positions are 1 to the number of intervals in the period, in UTC: 92 or 100 on days that change the clock."""
    step, (start, end) = STEPS.get(_text(period, "resolution")), _bounds(period)
    points = period.findall(_name("Point"))
    if step is None or start % step or end % step or end <= start:
        yield Reason("A41", f"resolution {_text(period, 'resolution')} does not fit the bounds of its period")
        return
    if [_text(point, "position") for point in points] != [str(n) for n in range(1, (end - start) // step + 1)]:
        yield Reason("A49", f"{len(points)} positions for {(end - start) // step} intervals")
    for point in points:
        yield from _point_faults(point)


def _point_faults(point: Any) -> Iterator[Reason]:
    quantity, quality = _text(point, "energy_Quantity.quantity"), _text(point, "energy_Quantity.quality")
    where = f"position {_text(point, 'position')}"
    if bool(quantity) == (quality == "A02"):
        yield Reason("A69", f"{where}: quality {quality} and a quantity contradict each other, or both are missing")
    if not quantity:
        return
    value = Decimal(quantity)
    if value.is_signed():
        yield Reason("A46", f"{where}: {quantity} is less than nothing")
    if -int(value.as_tuple().exponent) > MOST_DECIMALS:
        yield Reason("A59", f"{where}: {quantity} has more than {MOST_DECIMALS} decimals")


def _bounds(period: Any, name: str = "timeInterval") -> tuple[int, int]:
    interval = period.find(_name(name))
    return _instant(_text(interval, "start")), _instant(_text(interval, "end"))


def _instant(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())


def _text(element: Any, name: str) -> str:
    return element.findtext(_name(name)) or ""


def _name(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
