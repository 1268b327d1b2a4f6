"""Writes an acknowledgement, ACK v1.12 of EDDIE, in the order of its XSD."""

from collections.abc import Mapping
from typing import Any, Final

from lxml import etree

_SPACE: Final = "https://eddie.energy/CIM/ACK_v1.12"


def write(facts: Mapping[str, Any]) -> bytes:
    """Write the acknowledgement of a document; `facts` as gateway.sandbox.eu makes them."""
    envelope = etree.Element(f"{{{_SPACE}}}Acknowledgement_Envelope", nsmap={None: _SPACE})
    market = _add(envelope, "MarketDocument")
    identification, scheme, role = facts["receiver"]
    _add(market, "mRID", facts["id"])
    _add(market, "createdDateTime", facts["created"])
    _add(market, "sender_MarketParticipant.mRID", facts["hub"]).set("codingScheme", "A01")
    _add(market, "sender_MarketParticipant.marketRole.type", "A39")
    _add(market, "receiver_MarketParticipant.mRID", identification).set("codingScheme", scheme)
    _add(market, "receiver_MarketParticipant.marketRole.type", role)
    _add(market, "received_MarketDocument.mRID", facts["document"])
    for name, key in (("revisionNumber", "revision"), ("type", "type"), ("process.processType", "process")):
        if facts[key]:
            _add(market, f"received_MarketDocument.{name}", facts[key])
    _add(market, "received_MarketDocument.createdDateTime", facts["sent"])
    _reasons(market, facts["reasons"])
    for entry in facts["rejected"]:
        series = _add(market, "Rejected_TimeSeries")
        _add(series, "mRID", entry["id"])
        _add(series, "version", entry["version"])
        _reasons(series, entry["reasons"])
    return bytes(etree.tostring(envelope, xml_declaration=True, encoding="UTF-8"))


def _reasons(parent: etree._Element, reasons: list[list[str]]) -> None:
    for code, text in reasons:
        reason = _add(parent, "Reason")
        _add(reason, "code", code)
        _add(reason, "text", text[:512])


def _add(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    child = etree.SubElement(parent, f"{{{_SPACE}}}{name}")
    child.text = text
    return child
