"""ValidatedHistoricalData v1.04, the EU's common format (EDDIE CIM, IEC 62325-451 style; docs/exports.md).

One TimeSeries per local day and direction, so that a correction raises the version of that day alone. Each interval has
its position; one without a validated quantity says A02 (not available) and no number.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.exports.about import (
    LONG,
    About,
    ExportError,
    by_day,
    decimal,
    minute,
    point_of,
    second,
    shown,
    validated_only,
)
from gateway.intervals.model import Interval, Series, Status

#: literally so, without a colon: the target namespace of the published schema
NAMESPACE: Final = "https//eddie.energy/CIM/VHD_v1.04"
#: ENTSO-E lists: QualityTypeList, EnergyProductTypeList, UnitOfMeasureTypeList, BusinessTypeList, DirectionTypeList
QUALITY: Final[dict[Status, str]] = {"valid": "A04", "estimated": "A03", "edited": "A01", "missing": "A02"}
PRODUCT: Final = {"active": "8716867000030", "reactive": "8716867000047"}
#: quantity -> unit, and how its integers become that unit: a shift of the decimal point
UNITS: Final = {"Wh": ("KWH", -3), "kWh": ("KWH", 0), "m3": ("MTQ", 0)}
#: consumption is A04 and flows down (A02), production A01 and up (A01)
FLOW: Final = {"import": ("A04", "A02"), "export": ("A01", "A01")}
#: roles: A58 metered data administrator, A39 data provider
SENDER_ROLE, RECEIVER_ROLE = "A58", "A39"
MOST_VERSIONS: Final = 999
MOST_ID: Final = 16
#: what stands behind the time series
TAIL: Final = b"</MarketDocument>\n</VHD_Envelope>\n"


def write(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """The document in pieces; raises ExportError for what the format cannot carry."""
    validated_only(about, "VHD")
    sender, receiver = _party(about.sender, "--sender"), _party(about.receiver, "--receiver")
    yield head(
        about.new_id(), about.created, (about.start, about.end), (sender, SENDER_ROLE), (receiver, RECEIVER_ROLE)
    )
    for series in many:
        for day in by_day(series):
            version = min(MOST_VERSIONS, max(1, *(interval.version for interval in day)))
            yield time_series(series, [shown(interval, about) for interval in day], version, about.new_id())
    yield TAIL


def head(
    document: str, made: int, bounds: tuple[int, int], sender: tuple[str, str], receiver: tuple[str, str]
) -> bytes:
    """What stands before the time series: id, time of creation and bounds (UTC s), party and role of both sides.

    The coding scheme of a party is that of its form (`scheme`), which it must have.
    """
    created, (start, end) = second(made), bounds
    return (
        f"<?xml version='1.0' encoding='UTF-8'?>\n<VHD_Envelope xmlns={quoteattr(NAMESPACE)}>\n"
        f"<messageDocumentHeader.creationDateTime>{created}</messageDocumentHeader.creationDateTime>\n"
        "<messageDocumentHeader.metaInformation.documentType>validated-historical-data-market-document"
        "</messageDocumentHeader.metaInformation.documentType>\n"
        f"<MarketDocument>\n<mRID>{escape(document)}</mRID>\n<revisionNumber>104</revisionNumber>\n<type>A45</type>\n"
        f"<createdDateTime>{created}</createdDateTime>\n"
        f"{_participant('sender', *sender)}{_participant('receiver', *receiver)}"
        f"<period.timeInterval><start>{minute(start)}</start><end>{minute(end)}</end></period.timeInterval>\n"
        "<process.processType>A16</process.processType>\n"
    ).encode()


def scheme(party: str) -> str | None:
    """The coding scheme of a party or point: A10 (GS1) for 13 or 18 digits, A01 for an EIC of 16 characters."""
    if party.isdecimal() and party.isascii() and len(party) in (13, 18):
        return "A10"
    return "A01" if len(party) == MOST_ID and party.replace("-", "").isalnum() and party.isascii() else None


def _party(party: str | None, option: str) -> str:
    if party is None or scheme(party) is None or len(party) > MOST_ID:
        raise ExportError(f"VHD needs {option}: a GLN of 13 digits or an EIC of 16 characters")
    return party


def _participant(side: str, party: str, role: str) -> str:
    name = f"{side}_MarketParticipant"
    return (
        f'<{name}.mRID codingScheme="{scheme(party)}">{escape(party)}</{name}.mRID>\n'
        f"<{name}.marketRole.type>{escape(role)}</{name}.marketRole.type>\n"
    )


def time_series(series: Series, intervals: Sequence[Interval], version: int, identity: str) -> bytes:
    """A TimeSeries of `series` with intervals as they are to be shown: one Period for each run without a gap.

    Raises ExportError for a series without a metering point, or of a unit that the format does not have.
    """
    business, flow = FLOW[series.direction]
    unit, shift = _unit(series)
    product = PRODUCT.get(series.kind)
    point = point_of(series, "VHD")
    parts = [
        "<TimeSeries>",
        f"<version>{version}</version>",
        f"<mRID>{escape(identity)}</mRID><businessType>{business}</businessType>",
        f"<product>{product}</product>" if product else "",
        f"<energy_Measurement_Unit.name>{unit}</energy_Measurement_Unit.name>",
        f"<flowDirection.direction>{flow}</flowDirection.direction>\n",
        *(_period(series.resolution, period, shift) for period in _runs(series.resolution, intervals)),
        f'<marketEvaluationPoint.mRID codingScheme="{scheme(point) or "NAT"}">',
        f"{escape(point)}</marketEvaluationPoint.mRID>",
        "</TimeSeries>\n",
    ]
    return "".join(parts).encode()


def _runs(resolution: str, intervals: Sequence[Interval]) -> list[list[Interval]]:
    """Intervals that follow each other; days and months, whose lengths differ, stand alone."""
    runs: list[list[Interval]] = []
    for interval in intervals:
        if runs and resolution not in LONG and runs[-1][-1].end == interval.start:
            runs[-1].append(interval)
        else:
            runs.append([interval])
    return runs


def _period(resolution: str, intervals: list[Interval], shift: int) -> str:
    points = "".join(
        f"<Point><position>{position}</position>{_quantity(interval, shift)}"
        f"<energy_Quantity.quality>{QUALITY[interval.status]}</energy_Quantity.quality></Point>\n"
        for position, interval in enumerate(intervals, 1)
    )
    bounds = f"<start>{minute(intervals[0].start)}</start><end>{minute(intervals[-1].end)}</end>"
    return f"<Period><resolution>{resolution}</resolution><timeInterval>{bounds}</timeInterval>\n{points}</Period>"


def _quantity(interval: Interval, shift: int) -> str:
    if interval.quantity is None:
        return ""
    return f"<energy_Quantity.quantity>{decimal(interval.quantity, shift)}</energy_Quantity.quantity>"


def _unit(series: Series) -> tuple[str, int]:
    known = UNITS.get(series.unit.name)
    if known is None:
        raise ExportError(
            f"VHD has no unit for {series.unit.name} ({series.meter}, {series.kind}): take item-e or intervals-csv"
        )
    return known[0], known[1] + series.unit.exponent
