"""RSM-012 from parts: read back by plain json and lxml, which know nothing of how it was written."""

import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from gateway.hub_content import content
from gateway.intervals.model import VARH
from gateway.uploader.hub import BuildError
from gateway.uploader.hubs.dk_build import bundles
from gateway.uploader.hubs.dk_datahub3 import adapter

XSD = (
    Path(__file__).parents[2]
    / "docs/schemas/hubs/dk-datahub3/xsd"
    / "urn-ediel-org-measure-notifyvalidatedmeasuredata-0-1.xsd"
)
WINTER, SPRING, AUTUMN = date(2026, 3, 3), date(2026, 3, 29), date(2026, 10, 25)
STATUSES = ("valid", "estimated", "edited", "missing", "suspect", "raw")
#: what a hub may be told of each status
TOLD = {"valid": None, "estimated": "A03", "edited": "A03", "missing": "A02", "suspect": "A02", "raw": "A02"}


def after(part, hours: int = 6) -> int:
    return part.end + hours * 3_600


def at(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())


def read_json(octets: bytes) -> tuple[dict, list[tuple[dict, list]]]:
    head = json.loads(octets, parse_float=Decimal)["NotifyValidatedMeasureData_MarketDocument"]
    found = []
    for series in head.pop("Series"):
        bounds = series["Period"]["timeInterval"]
        facts = {
            "id": series["mRID"],
            "point": series["marketEvaluationPoint.mRID"]["value"],
            "type": series["marketEvaluationPoint.type"]["value"],
            "unit": series["quantity_Measure_Unit.name"]["value"],
            "resolution": series["Period"]["resolution"],
            "start": at(bounds["start"]["value"]),
            "end": at(bounds["end"]["value"]),
        }
        points = [
            (one["position"]["value"], one.get("quantity"), one.get("quality", {}).get("value"))
            for one in series["Period"]["Point"]
        ]
        found.append((facts, points))
    return head, found


def read_xml(octets: bytes) -> tuple[dict, list[tuple[dict, list]]]:
    root = etree.fromstring(octets)
    space = {"c": "urn:ediel.org:measure:notifyvalidatedmeasuredata:0:1"}

    def text(node, path: str):
        return node.findtext("/".join(f"c:{name}" for name in path.split("/")), namespaces=space)

    found = []
    for series in root.findall("c:Series", space):
        facts = {
            "id": text(series, "mRID"),
            "point": text(series, "marketEvaluationPoint.mRID"),
            "type": text(series, "marketEvaluationPoint.type"),
            "unit": text(series, "quantity_Measure_Unit.name"),
            "resolution": text(series, "Period/resolution"),
            "start": at(text(series, "Period/timeInterval/start")),
            "end": at(text(series, "Period/timeInterval/end")),
        }
        points = [
            (int(text(one, "position")), _decimal(text(one, "quantity")), text(one, "quality"))
            for one in series.findall("c:Period/c:Point", space)
        ]
        found.append((facts, points))
    head = {etree.QName(one).localname: one.text for one in root if not len(one)}
    return head, found


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


READ = {"json": read_json, "xml": read_xml}


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize(
    ("day", "step", "count"),
    [
        (WINTER, 900, 96),
        (SPRING, 900, 92),
        (AUTUMN, 900, 100),
        (WINTER, 3600, 24),
        (SPRING, 3600, 23),
        (AUTUMN, 3600, 25),
    ],
)
@pytest.mark.parametrize("direction", ["import", "export"])
def test_whole_days_say_what_the_intervals_say(make_part, make_build, *, form, day, step, count, direction) -> None:
    part = make_part(day, step=step, direction=direction, statuses=STATUSES)
    about = make_build(after(part), format=form, resolution=part.slot.resolution)
    (draft,) = adapter(about.settings).build([part], about)
    _, ((facts, points),) = READ[form](draft.body)
    assert facts == {
        "id": part.transaction,
        "point": part.slot.point,
        "type": {"import": "E17", "export": "E18"}[direction],
        "unit": "KWH",
        "resolution": part.slot.resolution,
        "start": part.slot.start,
        "end": part.end,
    }
    assert len(points) == count
    for position, (interval, (found, quantity, quality)) in enumerate(
        zip(part.series.intervals, points, strict=True), 1
    ):
        shown = interval.status in ("valid", "estimated", "edited")
        assert found == position
        assert interval.start == facts["start"] + (position - 1) * step
        assert quality == TOLD[interval.status]
        assert quantity == (Decimal(interval.quantity) / 1000 if shown else None)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_document_follows_the_published_schema_as_a_whole(make_part, make_build, form) -> None:
    parts = [
        make_part(WINTER + timedelta(days=n), statuses=STATUSES, direction=d)
        for n in range(3)
        for d in ("import", "export")
    ]
    about = make_build(after(parts[-1]), format=form)
    (draft,) = adapter(about.settings).build(parts, about)
    head, transactions = READ[form](draft.body)
    assert head["mRID"] == draft.document
    assert [facts["id"] for facts, _ in transactions] == [part.transaction for part in parts]
    if form == "xml":
        etree.XMLSchema(etree.parse(XSD)).assertValid(etree.fromstring(draft.body))


def test_what_is_stored_beside_the_octets(make_part, make_build) -> None:
    part = make_part(WINTER, statuses=STATUSES)
    about = make_build(after(part), format="json")
    (draft,) = adapter(about.settings).build([part], about)
    assert (draft.kind, draft.operation, draft.content_type) == ("readings", "send", "application/json")
    (row,) = draft.parts
    assert (row.slot, row.end, row.revision, row.transaction) == (part.slot, part.end, 1, part.transaction)
    assert row.content == content(part.series.intervals, part.series.unit)
    assert len(draft.document) == 36


def test_bundles_hold_what_datahub_bundles(make_part, make_build) -> None:
    """1,562 days of 96 quarter-hours are 149,952 points, and one more is too many."""
    part = make_part(WINTER)
    hours = make_part(WINTER, step=3600)
    assert [len(bundle) for bundle in bundles([part] * 1_563, None)] == [1_562, 1]
    assert [len(bundle) for bundle in bundles([hours] * 2_001, None)] == [2_000, 1]
    assert [len(bundle) for bundle in bundles([hours] * 5, 2)] == [2, 2, 1]
    assert list(bundles([], None)) == []


def test_every_part_is_in_one_message(make_part, make_build) -> None:
    parts = [make_part(WINTER + timedelta(days=n), step=3600) for n in range(7)]
    about = make_build(after(parts[-1]), resolution="PT1H", bundle=3)
    drafts = adapter(about.settings).build(parts, about)
    assert [len(draft.parts) for draft in drafts] == [3, 3, 1]
    assert [row.transaction for draft in drafts for row in draft.parts] == [part.transaction for part in parts]
    assert len({draft.document for draft in drafts}) == 3


def test_the_largest_quantity_is_exact(make_part, make_build) -> None:
    part = make_part(WINTER, step=3600, quantity=lambda n: 10**13 - 1 - n)
    about = make_build(after(part), resolution="PT1H")
    (draft,) = adapter(about.settings).build([part], about)
    _, ((_, points),) = read_json(draft.body)
    assert points[0][1] == Decimal("9999999999.999")
    assert points[1][1] == Decimal("9999999999.998")
    assert b"9999999999.999" in draft.body


def changed(part, **changes):
    return replace(part, series=replace(part.series, **changes))


def one_interval(part, position: int, **changes):
    intervals = list(part.series.intervals)
    intervals[position] = replace(intervals[position], **changes)
    return changed(part, intervals=intervals)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda part: one_interval(part, 5, quantity=-1), "E86"),
        (lambda part: one_interval(part, 5, quantity=10**13), "E89"),
        (lambda part: changed(part, intervals=part.series.intervals[:-1]), "E87"),
        (lambda part: changed(part, intervals=part.series.intervals[1:]), "E87"),
        (lambda part: changed(part, intervals=[*part.series.intervals[:5], *part.series.intervals[6:]]), "E87"),
        # a gap and an interval twice: the count is right, and every value behind would be shifted
        (
            lambda part: one_interval(part, 5, start=part.series.intervals[4].start, end=part.series.intervals[4].end),
            "E87",
        ),
        (lambda part: changed(part, resolution="PT1H"), "D23"),
        (lambda part: replace(part, slot=part.slot._replace(resolution="PT1H")), "D23"),
        (lambda part: replace(part, slot=part.slot._replace(resolution="P1D")), "D23"),
        (lambda part: changed(part, direction="export"), "D18"),
        (lambda part: changed(part, unit=VARH), "E73"),
        (lambda part: changed(part, kind="reactive"), "E73"),
        (lambda part: changed(part, medium="gas"), "E73"),
        (lambda part: replace(part, slot=part.slot._replace(point="571313000000002001")), "gsrn"),
        (lambda part: replace(part, transaction="x" * 37), "00305"),
        (lambda part: replace(part, transaction=""), "00202"),
    ],
)
@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_wrong_part_is_refused_by_its_rule_and_named(make_part, make_build, form, spoil, code) -> None:
    good, wrong = make_part(WINTER), spoil(make_part(WINTER + timedelta(days=1)))
    about = make_build(after(wrong, 48), format=form)
    with pytest.raises(BuildError) as caught:
        adapter(about.settings).build([good, wrong], about)
    assert caught.value.code == code
    assert caught.value.slots == (wrong.slot,)
    assert wrong.slot.point in str(caught.value)


def test_all_slots_of_the_same_fault_are_named_at_once(make_part, make_build) -> None:
    parts = [make_part(WINTER + timedelta(days=n)) for n in range(4)]
    parts[1], parts[3] = (one_interval(part, 0, quantity=10**13) for part in (parts[1], parts[3]))
    about = make_build(after(parts[-1]))
    with pytest.raises(BuildError, match="and 1 more") as caught:
        adapter(about.settings).build(parts, about)
    assert caught.value.slots == (parts[1].slot, parts[3].slot)


def test_a_day_of_another_zone_is_no_danish_day(make_part, make_build) -> None:
    part = make_part(WINTER, zone="Europe/Vilnius")
    about = make_build(after(part))
    with pytest.raises(BuildError) as caught:
        adapter(about.settings).build([part], about)
    assert caught.value.code == "whole_day"


def test_a_day_off_the_grid(make_part, make_build) -> None:
    part = make_part(WINTER, zone="Asia/Kathmandu", step=3600)
    about = make_build(after(part), resolution="PT1H")
    with pytest.raises(BuildError) as caught:
        adapter(about.settings).build([part], about)
    assert caught.value.code == "D66"


def test_three_years_back_by_the_danish_date(make_part, make_build) -> None:
    """2024-02-29 may be sent until 2027-02-28 is over: three years before that day is the last of February 2024."""
    part = make_part(date(2024, 2, 29), step=3600)

    def build(now: str):
        about = make_build(int(datetime.fromisoformat(now).timestamp()), resolution="PT1H")
        return adapter(about.settings).build([part], about)

    assert build("2027-02-28T23:59:00+01:00")
    with pytest.raises(BuildError) as caught:
        build("2027-03-01T00:00:00+01:00")
    assert caught.value.code == "E17"


def test_a_day_that_is_not_over(make_part, make_build) -> None:
    part = make_part(WINTER)
    about = make_build(part.end - 1)
    with pytest.raises(BuildError) as caught:
        adapter(about.settings).build([part], about)
    assert caught.value.code == "future"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"party": None}, "gln"),
        ({"party": "5799999933319"}, "gln"),
        ({"receiver": "5790001330553"}, "00303"),
        ({"role": "DDQ"}, "00003"),
    ],
)
def test_who_sends(make_part, make_build, settings, code) -> None:
    part = make_part(WINTER)
    about = make_build(after(part), **settings)
    with pytest.raises(BuildError) as caught:
        adapter(about.settings).build([part], about)
    assert caught.value.code == code


def test_two_parts_of_one_transaction_id(make_part, make_build) -> None:
    part = make_part(WINTER)
    other = replace(make_part(WINTER, direction="export"), transaction=part.transaction)
    about = make_build(after(part))
    with pytest.raises(BuildError) as caught:
        adapter(about.settings).build([part, other], about)
    assert caught.value.code == "00102"


@pytest.mark.parametrize("form", ["json", "xml"])
def test_memory_is_that_of_the_octets_and_not_of_the_points(make_part, make_build, form) -> None:
    """A tree of every point at once would be some thirty times the octets."""
    parts = [make_part(WINTER + timedelta(days=n)) for n in range(120)]
    about = make_build(after(parts[-1]), format=form)
    one = adapter(about.settings)
    one.build(parts[:1], about)  # the schema is compiled
    tracemalloc.start()
    try:
        (draft,) = one.build(parts, about)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(draft.parts) == 120
    assert peak < 3 * len(draft.body) + (2 << 20)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_party_with_an_eic_says_so(make_part, make_build, form) -> None:
    part = make_part(WINTER)
    about = make_build(after(part), format=form, party="45X000000000001A")
    (draft,) = adapter(about.settings).build([part], about)
    if form == "json":
        head, _ = read_json(draft.body)
        assert head["sender_MarketParticipant.mRID"] == {"codingScheme": "A01", "value": "45X000000000001A"}
        assert head["receiver_MarketParticipant.mRID"] == {"codingScheme": "A10", "value": "5790001330552"}
    else:
        found = {etree.QName(one).localname: one.get("codingScheme") for one in etree.fromstring(draft.body)}
        assert found["sender_MarketParticipant.mRID"] == "A01"
        assert found["receiver_MarketParticipant.mRID"] == "A10"
