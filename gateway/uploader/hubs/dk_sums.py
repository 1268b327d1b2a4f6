"""BRS-028: the request for DataHub's sums of a month, RSM-017 (docs/hubs/dk-datahub3.md)."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

from gateway.exports.about import second
from gateway.exports.rsm012 import DATAHUB
from gateway.hub_model import Draft
from gateway.uploader.hub import Build, BuildError
from gateway.uploader.hubs.dk_reading import DENMARK, JSON, XML
from gateway.uploader.hubs.dk_sums_rules import NAME, check, month_of

OPERATION: Final = "request-sums"
NAMESPACE: Final = "urn:ediel.org:measure:requestwholesalesettlement:0:1"
#: argument of `meterd hub request` -> what it says
ARGUMENTS: Final[Mapping[str, str]] = {
    "month": "YYYY-MM, or start and end: midnight in Denmark, such as 2026-02-28T23:00:00Z",
    "process": "D05 wholesale fixing (default), or D32 correction",
    "version": "of D32: D01, D02, D03 for the first, second, third correction; the latest where absent",
    "grid-area": "three digits; a grid company (DDM) must name its own",
    "supplier": "GLN or EIC; a supplier (DDQ) asks for itself",
    "price-owner": "GLN or EIC",
    "price-type": "D01 subscription, D02 fee, D03 tariff",
    "price-id": "at most 10 characters",
    "role": "DDQ supplier, DDM grid company, EZ system operator; that of [[hub]] where absent",
}
_BOUNDS: Final = frozenset(("start", "end"))
_MONTH: Final = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)


class Field(NamedTuple):
    """An element of the document in the order of its XSD; JSON has the same names."""

    name: str
    #: empty: the document does not hold it
    value: str
    #: JSON says `{"value": ...}`
    code: bool = False
    scheme: str | None = None


def draft(arguments: Mapping[str, str], about: Build) -> Draft:
    """The request; raises BuildError, whose code is that of DataHub's reject where it has one."""
    if unknown := sorted(set(arguments) - set(ARGUMENTS) - _BOUNDS):
        raise BuildError(f"sums: {unknown[0][:40]!r} is none of {', '.join(ARGUMENTS)}", code="arguments")
    media = XML if about.settings.format == "xml" else JSON
    document, transaction = about.new_id(), about.new_id()
    said = _said(arguments, about)
    head, series, charge = _head(said, document), _series(said, transaction), _charge(said)
    body = (_xml if media == XML else _json)(head, series, charge).encode()
    if (fault := check(body, media, about.now)) is not None:
        raise BuildError(f"the request for sums is not sent, {fault.code}: {fault.text}", code=fault.code)
    kept = {name: value for name, value in said.items() if value and name not in ("sender", "receiver", "created")}
    return Draft("request", OPERATION, document, body, media, (), kept | {"transaction": transaction})


def _said(arguments: Mapping[str, str], about: Build) -> dict[str, str]:
    """What the document says, by argument; empty: it does not."""
    settings = about.settings
    role = arguments.get("role") or settings.role or "DDQ"
    start, end = _bounds(arguments)
    return {name: arguments.get(name, "") for name in ARGUMENTS if name != "month"} | {
        "sender": settings.party or "",
        "receiver": settings.receiver or DATAHUB,
        "created": second(about.now),
        "role": role,
        "process": arguments.get("process") or "D05",
        "start": start,
        "end": end,
        "supplier": arguments.get("supplier") or (settings.party or "" if role == "DDQ" else ""),
    }


def _bounds(arguments: Mapping[str, str]) -> tuple[str, str]:
    """Start and end as the document names them."""
    month = arguments.get("month")
    if month is None:
        return arguments.get("start", ""), arguments.get("end", "")
    found = _MONTH.fullmatch(month)
    if found is None or not _BOUNDS.isdisjoint(arguments):
        raise BuildError(f"sums: month {month[:20]!r}: give YYYY-MM, or else start and end", code="arguments")
    start, end = month_of(datetime(int(found[1]), int(found[2]), 1, tzinfo=DENMARK))
    return second(start), second(end)


def _head(said: Mapping[str, str], document: str) -> list[Field]:
    return [
        Field("mRID", document),
        Field("type", "D21", code=True),
        Field("process.processType", said["process"], code=True),
        Field("businessSector.type", "23", code=True),
        _party("sender_MarketParticipant.mRID", said["sender"]),
        Field("sender_MarketParticipant.marketRole.type", said["role"], code=True),
        _party("receiver_MarketParticipant.mRID", said["receiver"]),
        Field("receiver_MarketParticipant.marketRole.type", "DGL", code=True),
        Field("createdDateTime", said["created"]),
    ]


def _series(said: Mapping[str, str], transaction: str) -> list[Field]:
    return [
        Field("mRID", transaction),
        Field("settlement_Series.version", said["version"], code=True),
        Field("start_DateAndOrTime.dateTime", said["start"]),
        Field("end_DateAndOrTime.dateTime", said["end"]),
        Field("meteringGridArea_Domain.mRID", said["grid-area"], code=True, scheme="NDK"),
        _party("energySupplier_MarketParticipant.mRID", said["supplier"]),
        _party("chargeTypeOwner_MarketParticipant.mRID", said["price-owner"]),
        Field("aggregationSeries_Period.resolution", "P1M"),
    ]


def _charge(said: Mapping[str, str]) -> list[Field]:
    return [Field("type", said["price-type"], code=True), Field("mRID", said["price-id"])]


def _party(name: str, party: str) -> Field:
    """A party: a GLN is of scheme A10, an EIC of A01."""
    return Field(name, party, code=True, scheme="A10" if party.isdecimal() else "A01")


def _json(head: Sequence[Field], series: Sequence[Field], charge: Sequence[Field]) -> str:
    one = _object(series)
    if price := _object(charge):
        one["ChargeType"] = [price]
    return json.dumps({NAME: _object(head) | {"Series": [one]}}, ensure_ascii=False, indent=1) + "\n"


def _object(fields: Sequence[Field]) -> dict[str, Any]:
    return {field.name: _value(field) for field in fields if field.value}


def _value(field: Field) -> str | dict[str, str]:
    if not field.code:
        return field.value
    return ({"codingScheme": field.scheme} if field.scheme else {}) | {"value": field.value}


def _xml(head: Sequence[Field], series: Sequence[Field], charge: Sequence[Field]) -> str:
    price = _elements(charge)
    inside = _elements(series) + (f"<cim:ChargeType>{price}</cim:ChargeType>\n" if price else "")
    return (
        f"<?xml version='1.0' encoding='UTF-8'?>\n<cim:{NAME} xmlns:cim=\"{NAMESPACE}\">\n{_elements(head)}"
        f"<cim:Series>\n{inside}</cim:Series>\n</cim:{NAME}>\n"
    )


def _elements(fields: Sequence[Field]) -> str:
    return "".join(
        f"<cim:{field.name}{f' codingScheme={chr(34)}{field.scheme}{chr(34)}' if field.scheme else ''}>"
        f"{escape(field.value)}</cim:{field.name}>\n"
        for field in fields
        if field.value
    )
