"""Writes what the Danish profile answers with: RSM-009, RSM-017 (reject), RSM-018 and RSM-019, as CIM JSON and XML.

A document is a list of (name, value) in the order of its XSD; a value is text, `Coded`, `Schemed`, `Position`,
`Number`, a list of the same, or `Many` for what may come several times.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.sandbox.dk_check import HUB


class Coded(NamedTuple):
    """A code: {"value": ...} in JSON, bare in XML."""

    value: str


class Schemed(NamedTuple):
    """An id with its coding scheme: an object in JSON, an attribute in XML."""

    scheme: str
    value: str


class Number(NamedTuple):
    """A decimal: a bare number in both."""

    text: str


class Position(NamedTuple):
    """A position: {"value": 1} in JSON, bare in XML."""

    value: int


class Many(NamedTuple):
    """Parts of one name: an array in JSON, repeated in XML."""

    parts: list["Parts"]


Parts = list[tuple[str, Any]]
_MEASURE: Final = "urn:ediel.org:measure"


def document(kind: str, facts: Mapping[str, Any], xml: bool) -> tuple[bytes, str]:
    """Write a bundle; returns content and media type."""
    root, space, write = _KINDS[kind]
    parts = write(facts)
    if xml:
        return _xml(root, space, parts), "application/xml"
    mark = secrets.token_hex(8)
    return _dumps({root: _json(parts, mark)}, mark).encode(), "application/json"


def name(kind: str) -> str:
    """Return the name of the document of a kind."""
    return _KINDS[kind][0]


def _head(facts: Mapping[str, Any], type_: str | None, process: str | None) -> Parts:
    parts: Parts = [("mRID", facts["id"])]
    if type_:
        parts.append(("type", Coded(type_)))
    if process:
        parts.append(("process.processType", Coded(process)))
    parts.append(("businessSector.type", Coded("23")))
    parts += [
        ("sender_MarketParticipant.mRID", Schemed("A10", HUB)),
        ("sender_MarketParticipant.marketRole.type", Coded("DGL")),
        ("receiver_MarketParticipant.mRID", Schemed("A10", facts["receiver"])),
        ("receiver_MarketParticipant.marketRole.type", Coded(facts["role"])),
        ("createdDateTime", facts["created"]),
    ]
    return parts


def _reasons(reasons: list[list[str]]) -> Many:
    return Many([[("code", Coded(code)), ("text", text)] for code, text in reasons])


def _rsm009(facts: Mapping[str, Any]) -> Parts:
    series: list[Parts] = [[("mRID", entry["id"]), ("Reason", _reasons(entry["reasons"]))] for entry in facts["series"]]
    return [
        *_head(facts, None, None),
        ("received_MarketDocument.mRID", facts["received"]),
        ("received_MarketDocument.process.processType", Coded(facts["process"])),
        ("Series", Many(series)),
    ]


def _rsm017(facts: Mapping[str, Any]) -> Parts:
    series: list[Parts] = [
        [
            ("mRID", entry["id"]),
            ("originalTransactionIDReference_Series.mRID", entry["original"]),
            ("Reason", _reasons(entry["reasons"])),
        ]
        for entry in facts["series"]
    ]
    head = _head(facts, "ERR", facts["process"])
    return [*head, ("reason.code", Coded("A02")), ("Series", Many(series))]


def _rsm018(facts: Mapping[str, Any]) -> Parts:
    series: list[Parts] = [
        [
            ("mRID", entry["id"]),
            ("request_DateAndOrTime.dateTime", entry["day"]),
            ("MarketEvaluationPoint", Many([[("mRID", Schemed("A10", point))] for point in entry["points"]])),
        ]
        for entry in facts["series"]
    ]
    return [*_head(facts, "D24", "D24"), ("Series", Many(series))]


def _rsm019(facts: Mapping[str, Any]) -> Parts:
    return [*_head(facts, "E31", facts["process"]), ("Series", Many([_sum(entry) for entry in facts["series"]]))]


def _sum(entry: Mapping[str, Any]) -> Parts:
    """A monthly sum: one point of a month."""
    interval: Parts = [("start", Coded(entry["start"])), ("end", Coded(entry["end"]))]
    point: Parts = [
        ("position", Position(1)),
        ("energySum_Quantity.quantity", Number(entry["sum"])),
        ("quality", Coded(entry["quality"])),
    ]
    optional = (
        ("settlement_Series.version", "version", Coded),
        ("chargeType.type", "charge_type", Coded),
        ("chargeType.mRID", "charge", str),
        ("chargeType.chargeTypeOwner_MarketParticipant.mRID", "owner", _gln),
        ("meteringGridArea_Domain.mRID", "area", _area),
        ("energySupplier_MarketParticipant.mRID", "supplier", _gln),
    )
    given = [(name_, make(entry[key])) for name_, key, make in optional if entry.get(key)]
    return _ordered(
        [
            ("mRID", entry["id"]),
            ("version", "1"),
            ("originalTransactionIDReference_Series.mRID", entry["original"]),
            *given,
            ("marketEvaluationPoint.type", Coded(entry["type"])),
            ("product", "5790001330590"),
            ("quantity_Measure_Unit.name", Coded("KWH")),
            ("Period", [("resolution", "P1M"), ("timeInterval", interval), ("Point", Many([point]))]),
        ]
    )


#: order of a series in the XSD of RSM-019
_SERIES_019: Final = (
    "mRID",
    "version",
    "settlement_Series.version",
    "originalTransactionIDReference_Series.mRID",
    "marketEvaluationPoint.type",
    "marketEvaluationPoint.settlementMethod",
    "chargeType.mRID",
    "chargeType.type",
    "chargeType.chargeTypeOwner_MarketParticipant.mRID",
    "meteringGridArea_Domain.mRID",
    "energySupplier_MarketParticipant.mRID",
    "product",
    "quantity_Measure_Unit.name",
    "Period",
)


def _ordered(parts: Parts) -> Parts:
    return sorted(parts, key=lambda part: _SERIES_019.index(part[0]))


def _gln(value: str) -> Schemed:
    return Schemed("A10", value)


def _area(value: str) -> Schemed:
    return Schemed("NDK", value)


_KINDS: Final[dict[str, tuple[str, str, Callable[[Mapping[str, Any]], Parts]]]] = {
    "rsm-009": ("Acknowledgement_MarketDocument", "urn:ediel.org:general:acknowledgement:0:1", _rsm009),
    "rsm-017": (
        "RejectRequestWholesaleSettlement_MarketDocument",
        f"{_MEASURE}:rejectrequestwholesalesettlement:0:1",
        _rsm017,
    ),
    "rsm-018": (
        "ReminderOfMissingMeasureData_MarketDocument",
        f"{_MEASURE}:reminderofmissingmeasuredata:0:1",
        _rsm018,
    ),
    "rsm-019": ("NotifyWholesaleServices_MarketDocument", f"{_MEASURE}:notifywholesaleservices:0:1", _rsm019),
}


def _json(value: Any, mark: str) -> Any:
    match value:
        case Coded(found) | Position(found):
            return {"value": found}
        case Schemed(scheme, text):
            return {"codingScheme": scheme, "value": text}
        case Number(text):
            return f"{mark}{text}{mark}"
        case Many(parts):
            return [_json(part, mark) for part in parts]
        case list():
            return {name_: _json(part, mark) for name_, part in value}
        case _:
            return value


def _dumps(body: Any, mark: str) -> str:
    """Write JSON; the digits of a number are never rounded, so they go through as text between random marks."""
    return re.sub(f'"{mark}([0-9.-]+){mark}"', r"\1", json.dumps(body, ensure_ascii=False))


def _xml(root: str, space: str, parts: Parts) -> bytes:
    element = etree.Element(f"{{{space}}}{root}", nsmap={"cim": space})
    _fill(element, space, parts)
    return bytes(etree.tostring(element, xml_declaration=True, encoding="UTF-8"))


def _fill(element: etree._Element, space: str, parts: Parts) -> None:
    for name_, value in parts:
        for part in value.parts if isinstance(value, Many) else [value]:
            child = etree.SubElement(element, f"{{{space}}}{name_}")
            if isinstance(part, list):
                _fill(child, space, part)
            elif isinstance(part, Schemed):
                child.set("codingScheme", part.scheme)
                child.text = part.value
            else:
                child.text = str(part[0] if isinstance(part, tuple) else part)
