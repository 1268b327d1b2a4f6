"""Rules of BRS-028 at DataHub 3, held against a request of sums before it leaves.

Codes are those with which DataHub would reject (opengeh-process-manager, BRS_028, BusinessValidation); those in lower
case are ours.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from gateway.exports.rsm012 import is_gs1
from gateway.hub_model import Reason
from gateway.uploader.answers import AnswerError, words
from gateway.uploader.hubs import dk_reading as cim
from gateway.uploader.hubs.dk_reading import DENMARK, JSON, XML, Document, Node
from gateway.uploader.hubs.dk_rules import id_faults, is_eic, is_old
from gateway.uploader.schemas import SchemaError, json_schema, xsd

NAME: Final = "RequestWholesaleSettlement_MarketDocument"
ROLES: Final = frozenset(("DDQ", "DDM", "EZ"))
#: no sums of a month that is older (E17)
YEARS: Final = 3
MONTHS: Final = 6
VERSIONS: Final = frozenset(("D01", "D02", "D03"))
_SCHEMAS: Final = {
    JSON: "dk-datahub3/json-schema/Request-wholesale-settlement-assembly-model.schema.json",
    XML: "dk-datahub3/xsd/urn-ediel-org-measure-requestwholesalesettlement-0-1.xsd",
}
#: element of the header -> code and what it must say
_HEAD: Final = {
    "type": ("00401", ("D21",)),
    "process.processType": ("00402", ("D05", "D32")),
    "businessSector.type": ("00403", ("23",)),
    "receiver_MarketParticipant.marketRole.type": ("00304", ("DGL",)),
    "sender_MarketParticipant.marketRole.type": ("00003", tuple(sorted(ROLES))),
}
_AREA: Final = re.compile(r"[0-9]{3}", re.ASCII)


def check(octets: bytes, media: str, now: int) -> Reason | None:
    """The first rule that a request breaks, by schema, header and business rules; None where it breaks none."""
    try:
        document = Document(octets, media)
        if document.name != NAME:
            return Reason("00401", f"the document is no {NAME}")
        if media == JSON:
            json_schema(_SCHEMAS[media])(document.raw)
        else:
            xsd(_SCHEMAS[media]).check(document.raw)
        return next(broken(document.root, now), None)
    except (AnswerError, SchemaError) as error:
        return Reason("00302", words(str(error)))


def broken(root: Node, now: int) -> Iterator[Reason]:
    """Every rule that a request breaks at `now` (UTC s); raises AnswerError."""
    yield from _header(root)
    for series in cim.nodes(root, "Series"):
        yield from _period(series, now)
        yield from _criteria(series)
        yield from _of_role(series, root)
        version = cim.text(series, "settlement_Series.version")
        if version is not None and (version not in VERSIONS or cim.text(root, "process.processType") != "D32"):
            yield Reason("E86", f"settlement version {words(version, 20)}: D01, D02 or D03, and with D32 alone")


def is_party(said: str) -> bool:
    """Whether this is a GLN with a right check digit, or an EIC."""
    return is_gs1(said, 13) or is_eic(said)


def _header(root: Node) -> Iterator[Reason]:
    yield from id_faults(cim.text(root, "mRID"), "message", "00201", "00205")
    for name, (code, allowed) in _HEAD.items():
        if (said := cim.text(root, name)) not in allowed:
            yield Reason(code, f"{name} is {words(str(said), 40)}, not {' or '.join(allowed)}")
    for end, code in (("sender", "gln"), ("receiver", "00303")):
        if not is_party(party := cim.text(root, f"{end}_MarketParticipant.mRID") or ""):
            yield Reason(code, f"the {end} {words(party, 40)!r} is neither a GLN with a right check digit nor an EIC")


def _period(series: Node, now: int) -> Iterator[Reason]:
    yield from id_faults(cim.text(series, "mRID"), "transaction", "00202", "00305")
    if (resolution := cim.text(series, "aggregationSeries_Period.resolution")) not in (None, "P1M"):
        yield Reason("D23", f"resolution {words(str(resolution), 20)}: sums are of whole months, P1M")
    start = cim.instant(cim.text(series, "start_DateAndOrTime.dateTime"), seconds=True)
    end = cim.instant(cim.text(series, "end_DateAndOrTime.dateTime"), seconds=True)
    if start is None or end is None or cim.day(start)[0] != start or cim.day(end)[0] != end:
        yield Reason("D66", "start and end are midnight in Denmark: ...T23:00:00Z, in summer ...T22:00:00Z")
        return
    if month_of(cim.local(start)) != (start, end):
        yield Reason("E17", "the period is not one whole month")
    if is_old(month_of(cim.local(start))[0], month_of(cim.local(now))[0], YEARS, MONTHS):
        yield Reason("E17", f"the month is more than {YEARS} years and {MONTHS} months back")
    if end > now:
        yield Reason("future", "the month has not ended yet")


def _criteria(series: Node) -> Iterator[Reason]:
    area = cim.text(series, "meteringGridArea_Domain.mRID")
    if area is not None and not _AREA.fullmatch(area):
        yield Reason("E86", f"grid area {words(area, 20)}: it has three digits")
    owner = cim.text(series, "chargeTypeOwner_MarketParticipant.mRID")
    if owner is not None and not is_party(owner):
        yield Reason(
            "gln", f"the price owner {words(owner, 40)!r} is neither a GLN with a right check digit nor an EIC"
        )
    for charge in cim.nodes(series, "ChargeType"):
        if (price := cim.text(charge, "mRID")) is not None and not 0 < len(price) <= 10:
            yield Reason("D14", f"the price id has {len(price)} characters, more than 10 or none")
        if cim.text(charge, "type") not in (None, "D01", "D02", "D03"):
            yield Reason("00302", "the price type is D01 subscription, D02 fee or D03 tariff")


def _of_role(series: Node, root: Node) -> Iterator[Reason]:
    role = cim.text(root, "sender_MarketParticipant.marketRole.type")
    supplier = cim.text(series, "energySupplier_MarketParticipant.mRID")
    if role == "DDM" and not cim.text(series, "meteringGridArea_Domain.mRID"):
        yield Reason("D64", "a grid company (DDM) names its grid area")
    if supplier is not None and not is_party(supplier):
        yield Reason("E16", f"the supplier {words(supplier, 40)!r} is neither a GLN nor an EIC")
    elif role == "DDQ" and supplier != cim.text(root, "sender_MarketParticipant.mRID"):
        yield Reason("E16", "a supplier (DDQ) asks for its own sums: the supplier is not the sender")


def month_of(at: datetime) -> tuple[int, int]:
    """First second of the Danish month of a Danish time, and of the next, in UTC seconds."""
    later = (at.year + at.month // 12, at.month % 12 + 1)
    return int(datetime(at.year, at.month, 1, tzinfo=DENMARK).timestamp()), int(
        datetime(*later, 1, tzinfo=DENMARK).timestamp()
    )
