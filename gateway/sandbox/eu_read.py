"""Reads a ValidatedHistoricalData document v1.04 into plain values; its XSD is held against it first."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from lxml import etree

from gateway.sandbox.instants import minutes
from gateway.sandbox.schemas import VHD_XSD, DocumentError, check_xml, parse_xml

#: the namespace is literally this, without a colon behind https (hubs.md 4.1)
SPACE: Final = "https//eddie.energy/CIM/VHD_v1.04"
_DURATION: Final = re.compile(
    r"P(?:0+Y)?(?:0+M)?(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,6})(?:\.0+)?S)?)?"
)
_NAMES: Final = {900: "PT15M", 1800: "PT30M", 3600: "PT1H", 86_400: "P1D"}


@dataclass(frozen=True, slots=True)
class Period:
    """Bounds in UTC s, resolution in s (None: of no fixed length), and (position, quantity, quality) of its points."""

    start: int
    end: int
    step: int | None
    points: tuple[tuple[int, Decimal | None, str], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """A time series; what may be absent is None."""

    version: int
    id: str | None
    business: str | None
    unit: str
    direction: str
    point: str | None
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document that fits its XSD; parties are (id, coding scheme, role)."""

    id: str
    revision: str | None
    type: str | None
    created: str
    process: str
    sender: tuple[str, str, str]
    receiver: tuple[str, str, str]
    start: int
    end: int
    series: tuple[Series, ...]


def read(content: bytes) -> Document:
    """Read a document; raises DocumentError."""
    root = parse_xml(content)
    if root.tag != f"{{{SPACE}}}VHD_Envelope":
        raise DocumentError(f"the document is no VHD_Envelope of {SPACE}")
    check_xml(VHD_XSD, root)
    market = root.find(_name("MarketDocument"))
    if market is None:
        raise DocumentError("the envelope is empty")
    interval = market.find(_name("period.timeInterval"))
    return Document(
        id=_must(market, "mRID"),
        revision=_text(market, "revisionNumber"),
        type=_text(market, "type"),
        created=_must(market, "createdDateTime"),
        process=_must(market, "process.processType"),
        sender=_party(market, "sender"),
        receiver=_party(market, "receiver"),
        start=_bound(interval, "start"),
        end=_bound(interval, "end"),
        series=tuple(_series(element) for element in market.iterchildren(_name("TimeSeries"))),
    )


def resolution(step: int) -> str:
    """Name a resolution of so many seconds."""
    return _NAMES.get(step, f"PT{step}S")


def _series(element: etree._Element) -> Series:
    return Series(
        version=int(_must(element, "version")),
        id=_text(element, "mRID"),
        business=_text(element, "businessType"),
        unit=_must(element, "energy_Measurement_Unit.name"),
        direction=_must(element, "flowDirection.direction"),
        point=_text(element, "marketEvaluationPoint.mRID"),
        periods=tuple(_period(period) for period in element.iterchildren(_name("Period"))),
    )


def _period(element: etree._Element) -> Period:
    interval = element.find(_name("timeInterval"))
    points = tuple(_point(point) for point in element.iterchildren(_name("Point")))
    return Period(_bound(interval, "start"), _bound(interval, "end"), _step(_must(element, "resolution")), points)


def _point(element: etree._Element) -> tuple[int, Decimal | None, str]:
    quantity = _text(element, "energy_Quantity.quantity")
    quality = _text(element, "energy_Quantity.quality") or "A04"
    return int(_must(element, "position")), None if quantity is None else Decimal(quantity), quality


def _party(element: etree._Element, side: str) -> tuple[str, str, str]:
    found = element.find(_name(f"{side}_MarketParticipant.mRID"))
    scheme = "" if found is None else str(found.get("codingScheme"))
    return (
        _must(element, f"{side}_MarketParticipant.mRID"),
        scheme,
        _must(element, f"{side}_MarketParticipant.marketRole.type"),
    )


def _step(text: str) -> int | None:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    days, hours, mins, seconds = (int(part or 0) for part in found.groups())
    return (days * 86_400 + hours * 3600 + mins * 60 + seconds) or None


def _bound(interval: etree._Element | None, name: str) -> int:
    t = None if interval is None else minutes(_must(interval, name))
    if t is None:
        raise DocumentError(f"timeInterval: {name} is no YYYY-MM-DDThh:mmZ")
    return t


def _text(element: etree._Element, name: str) -> str | None:
    found = element.find(_name(name))
    return None if found is None else (found.text or "").strip()


def _must(element: etree._Element, name: str) -> str:
    text = _text(element, name)
    if not text:
        raise DocumentError(f"{name} is empty")
    return text


def _name(local: str) -> str:
    return f"{{{SPACE}}}{local}"
