"""RSM-012 of the Danish DataHub 3: NotifyValidatedMeasureData, as CIM JSON and CIM XML (docs/exports.md).

One Series (a transaction) per local day and direction, complete: as many positions as the day has intervals in UTC, 92
and 100 at the changes of summer time. An interval without a validated quantity says A02 and has no quantity; measured
is said by leaving the quality out. DataHub takes A02, A03 and A04 only (reject D12), so that an edited value goes out
as A03, estimated: it was not measured.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from gateway.exports.about import About, ExportError, by_day, decimal, minute, point_of, second, shown, validated_only
from gateway.intervals.model import Interval, Series, Status

NAMESPACE: Final = "urn:ediel.org:measure:notifyvalidatedmeasuredata:0:1"
#: GLN of DataHub, the metered data administrator
DATAHUB: Final = "5790001330552"
QUALITY: Final[dict[Status, str | None]] = {"valid": None, "estimated": "A03", "edited": "A03", "missing": "A02"}
#: type of metering point: E17 consumption, E18 production
POINT_TYPE: Final = {"import": "E17", "export": "E18"}
PRODUCT: Final = "8716867000030"
RESOLUTIONS: Final = ("PT15M", "PT1H")
#: E50: a period has at least four hours; E89: at most 10 digits before and 3 behind the point
LEAST_S: Final = 4 * 3_600
MOST: Final = 10**13 - 1

#: what ends a document
TAIL_JSON: Final = "\n]}}\n"
TAIL_XML: Final = "</cim:NotifyValidatedMeasureData_MarketDocument>\n"


def write_json(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """The document as CIM JSON, in pieces; raises ExportError for what DataHub would reject."""
    yield head_json(about.new_id(), *_parties(about), second(about.created)).encode()
    between = ""
    for transaction in _transactions(many, about, transaction_json):
        yield f"{between}\n{transaction}".encode()
        between = ","
    yield TAIL_JSON.encode()


def write_xml(many: Iterable[Series], about: About) -> Iterator[bytes]:
    """The document as CIM XML, in pieces; raises ExportError for what DataHub would reject."""
    yield head_xml(about.new_id(), *_parties(about), second(about.created)).encode()
    for transaction in _transactions(many, about, transaction_xml):
        yield transaction.encode()
    yield TAIL_XML.encode()


def head_json(document: str, sender: str, receiver: str, created: str) -> str:
    """What stands before the transactions, which are parted by ","; `created` is UTC with seconds."""
    head = {
        "mRID": document,
        "businessSector.type": {"value": "23"},
        "createdDateTime": created,
        "process.processType": {"value": "E23"},
        "receiver_MarketParticipant.mRID": {"codingScheme": _scheme(receiver), "value": receiver},
        "receiver_MarketParticipant.marketRole.type": {"value": "DGL"},
        "sender_MarketParticipant.mRID": {"codingScheme": _scheme(sender), "value": sender},
        "sender_MarketParticipant.marketRole.type": {"value": "MDR"},
        "type": {"value": "E66"},
    }
    return f'{{"NotifyValidatedMeasureData_MarketDocument":{json.dumps(head)[:-1]},"Series":['


def head_xml(document: str, sender: str, receiver: str, created: str) -> str:
    """What stands before the transactions; `created` is UTC with seconds."""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        f'<cim:NotifyValidatedMeasureData_MarketDocument xmlns:cim="{NAMESPACE}">\n'
        f"<cim:mRID>{escape(document)}</cim:mRID><cim:type>E66</cim:type>\n"
        "<cim:process.processType>E23</cim:process.processType><cim:businessSector.type>23</cim:businessSector.type>\n"
        f'<cim:sender_MarketParticipant.mRID codingScheme="{_scheme(sender)}">{escape(sender)}'
        "</cim:sender_MarketParticipant.mRID>\n"
        "<cim:sender_MarketParticipant.marketRole.type>MDR</cim:sender_MarketParticipant.marketRole.type>\n"
        f'<cim:receiver_MarketParticipant.mRID codingScheme="{_scheme(receiver)}">{escape(receiver)}'
        "</cim:receiver_MarketParticipant.mRID>\n"
        "<cim:receiver_MarketParticipant.marketRole.type>DGL</cim:receiver_MarketParticipant.marketRole.type>\n"
        f"<cim:createdDateTime>{created}</cim:createdDateTime>\n"
    )


def is_gs1(number: str, digits: int) -> bool:
    """Tell whether a GLN (13 digits) or GSRN (18) is whole: its length and check digit (GS1 Gen. Spec. 7.9)."""
    if len(number) != digits or not (number.isascii() and number.isdecimal()):
        return False
    weighed = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(number[:-1])))
    return (weighed + int(number[-1])) % 10 == 0


def _scheme(party: str) -> str:
    """Coding scheme of a party: A10 of a GLN, A01 of an EIC."""
    return "A10" if party.isdecimal() else "A01"


def _parties(about: About) -> tuple[str, str]:
    validated_only(about, "RSM-012")
    sender, receiver = about.sender or "", about.receiver or DATAHUB
    for party, option in ((sender, "--sender"), (receiver, "--receiver")):
        if not is_gs1(party, 13):
            raise ExportError(
                f"RSM-012 needs {option}: a GLN of 13 digits with a right check digit, not {party or 'none'}"
            )
    return sender, receiver


def _transactions(
    many: Iterable[Series], about: About, render: Callable[[Series, str, str, Sequence[Interval], str], str]
) -> Iterator[str]:
    empty = True
    for series in many:
        point = _judge(series)
        for day in by_day(series):
            empty = False
            intervals = [shown(interval, about) for interval in day]
            _judge_day(series, intervals)
            yield render(series, point, about.new_id(), intervals, second(about.created))
    if empty:
        raise ExportError("there is nothing to send: no interval lies in the period")


def _judge(series: Series) -> str:
    """The metering point of a series that DataHub can take; raises ExportError."""
    point = point_of(series, "RSM-012")
    if not is_gs1(point, 18):
        raise ExportError(f"RSM-012 needs a GSRN of 18 digits with a right check digit as `point`, not {point}")
    if series.resolution not in RESOLUTIONS:
        raise ExportError(f"RSM-012 carries {' and '.join(RESOLUTIONS)}, not {series.resolution} (reject D23)")
    if series.kind != "active" or series.medium != "electricity" or series.unit.name != "Wh":
        raise ExportError(f"RSM-012 carries active energy of electricity, not {series.kind} of {series.medium}")
    return point


def _judge_day(series: Series, intervals: list[Interval]) -> None:
    if intervals[-1].end - intervals[0].start < LEAST_S:
        raise ExportError("RSM-012 needs at least 4 hours of a day (reject E50): choose whole days")
    step = 900 if series.resolution == "PT15M" else 3_600
    if any(interval.end - interval.start != step or interval.start % step for interval in intervals):
        raise ExportError(f"the intervals are not on the grid of {series.resolution} (reject D66)")
    if any(interval.quantity is not None and not 0 <= interval.quantity <= MOST for interval in intervals):
        raise ExportError("a quantity is negative or has more than 10 digits before the point (rejects E86, E89)")


def transaction_json(series: Series, point: str, mrid: str, intervals: Sequence[Interval], created: str) -> str:
    """One Series: the intervals in order, each as it is to be seen; `created` is UTC with seconds."""
    head: dict[str, Any] = {
        "mRID": mrid,
        "marketEvaluationPoint.mRID": {"codingScheme": "A10", "value": point},
        "marketEvaluationPoint.type": {"value": POINT_TYPE[series.direction]},
        "product": PRODUCT,
        "quantity_Measure_Unit.name": {"value": "KWH"},
        "registration_DateAndOrTime.dateTime": created,
    }
    start, end = minute(intervals[0].start), minute(intervals[-1].end)
    points = ",\n".join(_json_point(position, interval) for position, interval in enumerate(intervals, 1))
    return (
        f'{json.dumps(head)[:-1]},"Period":{{"resolution":"{series.resolution}",'
        f'"timeInterval":{{"start":{{"value":"{start}"}},"end":{{"value":"{end}"}}}},"Point":[\n{points}]}}}}'
    )


def _json_point(position: int, interval: Interval) -> str:
    """A point; the quantity is written as the exact decimal that it is, never by way of a float."""
    quality = QUALITY[interval.status]
    said = f',"quality":{{"value":"{quality}"}}' if quality else ""
    quantity = "" if interval.quantity is None else f',"quantity":{decimal(interval.quantity, -3)}'
    return f'{{"position":{{"value":{position}}}{said}{quantity}}}'


def transaction_xml(series: Series, point: str, mrid: str, intervals: Sequence[Interval], created: str) -> str:
    """One Series: the intervals in order, each as it is to be seen; `created` is UTC with seconds."""
    points = "".join(_xml_point(position, interval) for position, interval in enumerate(intervals, 1))
    return (
        f"<cim:Series><cim:mRID>{escape(mrid)}</cim:mRID>\n"
        f'<cim:marketEvaluationPoint.mRID codingScheme="A10">{point}</cim:marketEvaluationPoint.mRID>\n'
        f"<cim:marketEvaluationPoint.type>{POINT_TYPE[series.direction]}</cim:marketEvaluationPoint.type>\n"
        f"<cim:registration_DateAndOrTime.dateTime>{created}</cim:registration_DateAndOrTime.dateTime>\n"
        f"<cim:product>{PRODUCT}</cim:product><cim:quantity_Measure_Unit.name>KWH</cim:quantity_Measure_Unit.name>\n"
        f"<cim:Period><cim:resolution>{series.resolution}</cim:resolution><cim:timeInterval>"
        f"<cim:start>{minute(intervals[0].start)}</cim:start><cim:end>{minute(intervals[-1].end)}</cim:end>"
        f"</cim:timeInterval>\n{points}</cim:Period></cim:Series>\n"
    )


def _xml_point(position: int, interval: Interval) -> str:
    """A point; schema order: position, quantity, quality."""
    quality = QUALITY[interval.status]
    quantity = "" if interval.quantity is None else f"<cim:quantity>{decimal(interval.quantity, -3)}</cim:quantity>"
    said = f"<cim:quality>{quality}</cim:quality>" if quality else ""
    return f"<cim:Point><cim:position>{position}</cim:position>{quantity}{said}</cim:Point>\n"
