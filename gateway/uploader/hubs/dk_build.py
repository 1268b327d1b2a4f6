"""RSM-012 from parts: bundles, the octets of each document, and every check that DataHub makes, made before it leaves.

Each transaction is validated by the published schema and by the business rules in a document of its own, which has the
octets that the bundle has: what is wrong is told by its slot, and memory holds one day at a time, not 150,000 points.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.exports.about import minute, second
from gateway.exports.rsm012 import (
    DATAHUB,
    POINT_TYPE,
    TAIL_JSON,
    TAIL_XML,
    head_json,
    head_xml,
    transaction_json,
    transaction_xml,
)
from gateway.hub_content import content
from gateway.hub_model import Draft, Part, PartRow, Reason, Slot
from gateway.hub_settings import HubSettings
from gateway.intervals.model import WH, Interval, Series
from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Build, BuildError
from gateway.uploader.hubs.dk_reading import JSON, XML, Document
from gateway.uploader.hubs.dk_rules import STEPS, broken, head_faults
from gateway.uploader.hubs.dk_transaction import transactions
from gateway.uploader.schemas import SchemaError, json_schema, xsd

#: transactions and points of a bundle: what DataHub itself bundles by default (BundlingOptions of opengeh-edi); its own
#: load tests send 2,150 transactions of 96 points as JSON, 2,750 as XML. What it takes at most is not published
MOST_PARTS: Final = 2_000
MOST_POINTS: Final = 150_000
_NAME: Final = "NotifyValidatedMeasureData_MarketDocument"


@dataclass(frozen=True, slots=True)
class Form:
    """A carrier of RSM-012; texts as gateway.exports.rsm012 writes them."""

    media: str
    head: Callable[[str, str, str, str], str]
    transaction: Callable[[Series, str, str, Sequence[Interval], str], str]
    between: str
    tail: str
    schema: str


FORMS: Final = {
    "json": Form(
        JSON,
        head_json,
        transaction_json,
        ",\n",
        TAIL_JSON,
        "dk-datahub3/json-schema/Notify-Validated-measure-data-assembly-model.schema.json",
    ),
    "xml": Form(
        XML,
        head_xml,
        transaction_xml,
        "",
        TAIL_XML,
        "dk-datahub3/xsd/urn-ediel-org-measure-notifyvalidatedmeasuredata-0-1.xsd",
    ),
}


def drafts(parts: Sequence[Part], about: Build) -> Iterator[Draft]:
    """The documents that carry the parts; raises BuildError, which names each slot that breaks the same rule."""
    form = FORMS[about.settings.format or "json"]
    for bundle in bundles(parts, about.settings.bundle):
        yield _draft(bundle, about, form)


def bundles(parts: Sequence[Part], most: int | None) -> Iterator[list[Part]]:
    """Parts in their order, as many together as one message holds."""
    bundle: list[Part] = []
    points = 0
    for part in parts:
        count = len(part.series.intervals)
        if bundle and (len(bundle) >= min(most or MOST_PARTS, MOST_PARTS) or points + count > MOST_POINTS):
            yield bundle
            bundle, points = [], 0
        bundle.append(part)
        points += count
    if bundle:
        yield bundle


def check(octets: bytes, form: Form, now: int) -> tuple[Document, Reason | None]:
    """A document by schema, header and rules: as it was read, and the first rule that it breaks."""
    try:
        document = Document(octets, form.media)
        if document.name != _NAME:
            return document, Reason("00401", f"the document is no {_NAME}")
        _validate(document, form)
        first = next(head_faults(document.root), None)
        for transaction in transactions(document.root) if first is None else ():
            first = first or next(broken(transaction, now), None)
    except AnswerError as error:
        raise BuildError(f"what was built cannot be read: {error}", code="00302") from None
    except SchemaError as error:
        return document, Reason("00302", str(error))
    return document, first


def _validate(document: Document, form: Form) -> None:
    if form.media == JSON:
        json_schema(form.schema)(document.raw)
    else:
        xsd(form.schema).check(document.raw)


def _draft(bundle: Sequence[Part], about: Build, form: Form) -> Draft:
    settings, created = about.settings, second(about.now)
    document = about.new_id()
    head = form.head(document, party(settings), settings.receiver or DATAHUB, created)
    texts, faults = [], []
    for part in bundle:
        text, fault = _transaction(part, about, form, head)
        texts.append(text)
        if fault is not None:
            faults.append((part.slot, fault))
    if len({part.transaction for part in bundle}) != len(bundle):
        faults.append((bundle[0].slot, Reason("00102", "two parts have the same transaction id")))
    _refuse(faults)
    body = b"".join((f"{head}\n".encode(), form.between.encode().join(texts), form.tail.encode()))
    rows = tuple(_row(part, about) for part in bundle)
    return Draft("readings", "send", document, body, form.media, rows)


def party(settings: HubSettings) -> str:
    """Who sends; raises BuildError."""
    if settings.role not in (None, "MDR"):
        text = (
            f"hub {settings.name}: RSM-012 comes from a metered data responsible (role MDR), not from {settings.role}"
        )
        raise BuildError(text, code="00003")
    if not settings.party:
        text = f"hub {settings.name}: RSM-012 needs `party`, the GLN of the metered data responsible"
        raise BuildError(text, code="gln")
    return settings.party


def _transaction(part: Part, about: Build, form: Form, head: str) -> tuple[bytes, Reason | None]:
    fault = _of_part(part, about.settings)
    if fault is not None:
        return b"", fault
    intervals = [_shown(interval) for interval in part.series.intervals]
    text = form.transaction(part.series, part.slot.point, part.transaction, intervals, second(about.now)).encode()
    alone = b"".join((f"{head}\n".encode(), text, form.tail.encode()))
    document, fault = check(alone, form, about.now)
    return text, fault or _of_document(part, document)


def _of_part(part: Part, settings: HubSettings) -> Reason | None:
    """What a document could not tell any more: intervals that positions would hide, another quantity, another slot."""
    slot, series = part.slot, part.series
    step = STEPS.get(slot.resolution)
    if step is None or slot.resolution != settings.resolution or series.resolution != slot.resolution:
        return Reason("D23", f"{series.resolution} is not the resolution of hub {settings.name}, {settings.resolution}")
    if slot.kind != "active" or series.kind != "active" or series.medium != "electricity" or series.unit != WH:
        return Reason(
            "E73", f"{series.kind} of {series.medium} in {series.unit.name}: RSM-012 carries active energy in Wh"
        )
    if series.direction != slot.direction or slot.direction not in POINT_TYPE:
        return Reason("D18", f"the series is of {series.direction}, the slot of {slot.direction}")
    expected = range(slot.start, part.end, step)
    found = [(interval.start, interval.end) for interval in series.intervals]
    if found != [(start, start + step) for start in expected]:
        return Reason("E87", f"{len(found)} intervals are not the {len(expected)} of the period, one after the other")
    return None


def _of_document(part: Part, document: Document) -> Reason | None:
    """Whether the document says what the part says: read back by the names of the schema."""
    (said,) = transactions(document.root)
    slot = part.slot
    if (said.id, said.point, said.point_type) != (part.transaction, slot.point, POINT_TYPE[slot.direction]):
        return Reason("D18", "the document names another transaction, point or type than its slot")
    if (said.start, said.end) != (minute(slot.start), minute(part.end)):
        return Reason("E50", "the document names another period than its slot")
    return None


def _shown(interval: Interval) -> Interval:
    """The interval as a hub may see it: what is not item E is missing (Regulation (EU) 2023/1162, Art. 2)."""
    return interval if interval.is_item_e else replace(interval, quantity=None, status="missing")


def _row(part: Part, about: Build) -> PartRow:
    digest = content(part.series.intervals, part.series.unit)
    basis = about.basis.get(part.transaction, "config")
    return PartRow(part.slot, part.end, part.revision, part.transaction, digest, basis)


def _refuse(faults: Sequence[tuple[Slot, Reason]]) -> None:
    """Raise BuildError for the first rule that is broken, with every slot that breaks it."""
    if not faults:
        return
    slot, reason = faults[0]
    slots = tuple(one for one, why in faults if why.code == reason.code)
    more = f" (and {len(slots) - 1} more)" if len(slots) > 1 else ""
    raise BuildError(
        f"{slot.direction} of {slot.point} from {second(slot.start)}{more} is not sent, {reason.code}: {reason.text}",
        slots,
        reason.code,
    )
