"""Reads what is sent to the Danish profile, CIM JSON or XML, into one form; schema first, nothing is corrected.

hubs of the kind accept NotifyValidatedMeasureData (RSM-012) and RequestWholesaleSettlement (BRS-028).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from gateway.sandbox.schemas import (
    DK_JSON,
    DK_XSD,
    DocumentError,
    check_json,
    check_xml,
    fits,
    parse_json,
    parse_xml,
)

NOTIFY: Final = "NotifyValidatedMeasureData_MarketDocument"
WHOLESALE: Final = "RequestWholesaleSettlement_MarketDocument"
#: document -> its JSON schema, its XSD and the namespace of its XML
_KINDS: Final = {
    NOTIFY: (
        "Notify-Validated-measure-data-assembly-model.schema.json",
        "urn-ediel-org-measure-notifyvalidatedmeasuredata-0-1.xsd",
        "urn:ediel.org:measure:notifyvalidatedmeasuredata:0:1",
    ),
    WHOLESALE: (
        "Request-wholesale-settlement-assembly-model.schema.json",
        "urn-ediel-org-measure-requestwholesalesettlement-0-1.xsd",
        "urn:ediel.org:measure:requestwholesalesettlement:0:1",
    ),
}
_QUALITIES: Final = "urn-entsoe-eu-wgedi-codelists.schema.json#/definitions/QualityTypeList"
_POINT: Final = [{"position": {"value": 1}}]


class NamespaceError(DocumentError):
    """The document is not the one that belongs here."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a document says."""

    id: str
    type: str
    process: str
    sector: str | None
    sender: str
    sender_role: str
    receiver: str
    receiver_role: str
    created: str


@dataclass(frozen=True, slots=True)
class Point:
    """A position with its quantity as it was written, and its quality; None where there is none."""

    position: int
    quantity: Decimal | None
    quality: str | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A transaction of RSM-012."""

    id: str
    point: str
    type: str
    unit: str
    product: str | None
    resolution: str
    start: str
    end: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A transaction of BRS-028: sums that somebody asks for."""

    id: str
    resolution: str | None
    start: str
    end: str | None
    area: str | None
    supplier: str | None
    owner: str | None
    version: str | None
    #: (id, type) of each charge
    charges: tuple[tuple[str | None, str | None], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document that fits its schema."""

    header: Header
    measured: tuple[Measured, ...] = ()
    wanted: tuple[Wanted, ...] = ()

    @property
    def transactions(self) -> tuple[str, ...]:
        """Id of each transaction, in order."""
        return (*(series.id for series in self.measured), *(series.id for series in self.wanted))


def read(kind: str, content: bytes, xml: bool) -> Document:
    """Read a document of a kind; raises NamespaceError when it is another one, DocumentError when it does not fit."""
    tree = _xml(kind, content) if xml else _json(kind, content)
    series = tree.get("Series") or []
    header = _header(tree)
    if kind == NOTIFY:
        return Document(header, measured=tuple(_measured(entry) for entry in series))
    return Document(header, wanted=tuple(_wanted(entry) for entry in series))


def _json(kind: str, content: bytes) -> Mapping[str, Any]:
    value = parse_json(content)
    if not isinstance(value, dict) or kind not in value:
        raise NamespaceError(f"the document is no {kind}")
    # Most of a document are points, and most points are plain: they need no validator of the general kind.
    schema, _, _ = _KINDS[kind]
    check_json(DK_JSON, schema, _without_plain_points(value, kind) if kind == NOTIFY else value)
    found: Mapping[str, Any] = value[kind]
    return found


def _without_plain_points(value: dict[str, Any], kind: str) -> dict[str, Any]:
    """Replace lists of points that surely fit the schema by one that does."""
    head = value[kind]
    if not isinstance(head, dict) or not isinstance(head.get("Series"), list):
        return value
    return {**value, kind: {**head, "Series": [_thinned(series) for series in head["Series"]]}}


def _thinned(series: Any) -> Any:
    period: Any = series.get("Period") if isinstance(series, dict) else None
    points = period.get("Point") if isinstance(period, dict) else None
    if not isinstance(points, list) or not points or not all(map(_plain, points)):
        return series
    return {**series, "Period": {**period, "Point": _POINT}}


def _plain(point: Any) -> bool:
    """Say that a point surely fits the schema: position, and quantity or quality or both."""
    if type(point) is not dict or not point.keys() <= _POINT_KEYS:
        return False
    position, quality = point.get("position"), point.get("quality")
    if type(position) is not dict or len(position) != 1 or type(number := position.get("value")) is not int:
        return False
    if "quality" in point and not _plain_quality(quality):
        return False
    return type(point.get("quantity", 0)) in (int, Decimal) and 1 <= number <= 999_999


def _plain_quality(quality: Any) -> bool:
    if type(quality) is not dict or len(quality) != 1:
        return False
    code = quality.get("value")
    return type(code) is str and len(code) == 3 and fits(DK_JSON, _QUALITIES, code)


_POINT_KEYS: Final = {"position", "quantity", "quality"}


def _xml(kind: str, content: bytes) -> Mapping[str, Any]:
    root = parse_xml(content)
    _, name, space = _KINDS[kind]
    if root.tag != f"{{{space}}}{kind}":
        raise NamespaceError(f"the document is no {kind} of {space}")
    check_xml(f"{DK_XSD}/{name}", root)
    return _tree(root, len(space) + 2)


def _tree(element: etree._Element, skip: int) -> dict[str, Any]:
    """Give an element the form that its JSON has: lists where there may be several, {value: ...} for coded values."""
    tree: dict[str, Any] = {}
    for child in element.iterchildren(tag=etree.Element):
        name = str(child.tag)[skip:]
        if name in _LISTS:
            tree.setdefault(name, []).append(_leaf(name, child, skip))
        else:
            tree[name] = _leaf(name, child, skip)
    return tree


def _leaf(name: str, element: etree._Element, skip: int) -> Any:
    if name in ("position", "quantity"):
        text = (element.text or "").strip()
        return {"value": int(text)} if name == "position" else Decimal(text)
    if len(element):
        return _tree(element, skip)
    text = element.text or ""
    return text if name in _BARE else {"value": text}


#: elements that may come several times, and those that JSON has as bare strings
_LISTS: Final = {"Series", "Point", "ChargeType"}
_BARE: Final = {
    "mRID",
    "createdDateTime",
    "product",
    "resolution",
    "registration_DateAndOrTime.dateTime",
    "aggregationSeries_Period.resolution",
    "start_DateAndOrTime.dateTime",
    "end_DateAndOrTime.dateTime",
}


def _header(tree: Mapping[str, Any]) -> Header:
    return Header(
        id=tree["mRID"],
        type=tree["type"]["value"],
        process=tree["process.processType"]["value"],
        sector=_value(tree, "businessSector.type"),
        sender=tree["sender_MarketParticipant.mRID"]["value"],
        sender_role=tree["sender_MarketParticipant.marketRole.type"]["value"],
        receiver=tree["receiver_MarketParticipant.mRID"]["value"],
        receiver_role=tree["receiver_MarketParticipant.marketRole.type"]["value"],
        created=tree["createdDateTime"],
    )


def _measured(series: Mapping[str, Any]) -> Measured:
    period = series["Period"]
    return Measured(
        id=series["mRID"],
        point=series["marketEvaluationPoint.mRID"]["value"],
        type=series["marketEvaluationPoint.type"]["value"],
        unit=series["quantity_Measure_Unit.name"]["value"],
        product=series.get("product"),
        resolution=period["resolution"],
        start=period["timeInterval"]["start"]["value"],
        end=period["timeInterval"]["end"]["value"],
        points=tuple(_points(period["Point"])),
    )


def _points(points: list[Mapping[str, Any]]) -> Iterator[Point]:
    for point in points:
        quality = point.get("quality")
        quantity = point.get("quantity")
        exact = Decimal(quantity) if isinstance(quantity, int) else quantity
        yield Point(point["position"]["value"], exact, quality["value"] if quality else None)


def _wanted(series: Mapping[str, Any]) -> Wanted:
    charges = series.get("ChargeType") or []
    return Wanted(
        id=series["mRID"],
        resolution=series.get("aggregationSeries_Period.resolution"),
        start=series["start_DateAndOrTime.dateTime"],
        end=series.get("end_DateAndOrTime.dateTime"),
        area=_value(series, "meteringGridArea_Domain.mRID"),
        supplier=_value(series, "energySupplier_MarketParticipant.mRID"),
        owner=_value(series, "chargeTypeOwner_MarketParticipant.mRID"),
        version=_value(series, "settlement_Series.version"),
        charges=tuple((charge.get("mRID"), _value(charge, "type")) for charge in charges),
    )


def _value(tree: Mapping[str, Any], name: str) -> str | None:
    found = tree.get(name)
    return None if found is None else str(found["value"])
