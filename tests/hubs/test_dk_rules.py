"""Business rules: one field of a right document is changed, and its rule refuses it, in JSON and in XML."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.uploader.hubs.dk_build import FORMS, check
from gateway.uploader.hubs.dk_datahub3 import adapter
from gateway.uploader.hubs.dk_reading import JSON, Document, day
from gateway.uploader.hubs.dk_rules import broken
from gateway.uploader.hubs.dk_transaction import transactions

NOTIFY = "NotifyValidatedMeasureData_MarketDocument"
SPACE = "{urn:ediel.org:measure:notifyvalidatedmeasuredata:0:1}"
DAY = date(2026, 3, 3)


BUILT = Path(__file__).parent / "samples" / "dk-datahub3" / "built"


@pytest.fixture(scope="module")
def right() -> bytes:
    return (BUILT / "rsm012-pt15m-96points.json").read_bytes()


@pytest.fixture(scope="module")
def right_xml() -> bytes:
    return (BUILT / "rsm012-pt15m-96points.xml").read_bytes()


NOW = int(datetime(2026, 3, 5, tzinfo=UTC).timestamp())


def code_of(octets: bytes, form: str = "json", now: int = NOW) -> str | None:
    _, reason = check(octets, FORMS[form], now)
    return None if reason is None else reason.code


def spoilt(right: bytes, change) -> bytes:
    value = json.loads(right)
    change(value[NOTIFY])
    return json.dumps(value).encode()


def series(head: dict) -> dict:
    return head["Series"][0]


def point(head: dict, position: int = 1) -> dict:
    return head["Series"][0]["Period"]["Point"][position - 1]


def put(*path, value):
    """Change what lies at a path of a header."""

    def change(head: dict) -> None:
        *way, last = path
        for step in way:
            head = head[step]
        head[last] = value

    return change


def drop(*path):
    def change(head: dict) -> None:
        *way, last = path
        for step in way:
            head = head[step]
        del head[last]

    return change


PERIOD = ("Series", 0, "Period")
POINT = (*PERIOD, "Point")
BOUNDS = (*PERIOD, "timeInterval")
CASES = [
    (put("mRID", value=""), "00201"),
    (put("mRID", value="x" * 37), "00205"),
    (put("type", "value", value="E73"), "00401"),
    (put("process.processType", "value", value="E30"), "00402"),
    (put("process.processType", "value", value="D42"), "00402"),
    (drop("businessSector.type"), "00403"),
    (put("sender_MarketParticipant.marketRole.type", "value", value="DDQ"), "00003"),
    (put("receiver_MarketParticipant.marketRole.type", "value", value="DDZ"), "00304"),
    (put("receiver_MarketParticipant.mRID", "value", value="5790001330550"), "00303"),
    (put("sender_MarketParticipant.mRID", "value", value="5799999933310"), "gln"),
    (put("sender_MarketParticipant.mRID", "value", value=""), "gln"),
    (put("Series", 0, "mRID", value=""), "00202"),
    (put("Series", 0, "mRID", value="x" * 37), "00305"),
    (put("Series", 0, "marketEvaluationPoint.mRID", "value", value="571313000000002001"), "gsrn"),
    (put("Series", 0, "marketEvaluationPoint.mRID", "value", value="57131300000000200"), "gsrn"),
    (put("Series", 0, "marketEvaluationPoint.type", "value", value="Z99"), "00302"),
    (put("Series", 0, "product", value="8716867000016"), "product"),
    (drop("Series", 0, "product"), "product"),
    (put("Series", 0, "quantity_Measure_Unit.name", "value", value="MWH"), "E73"),
    (put("Series", 0, "quantity_Measure_Unit.name", "value", value="K3"), "E73"),
    (put(*PERIOD, "resolution", value="P1M"), "D23"),
    (put(*PERIOD, "resolution", value="PT5M"), "D23"),
    (put(*PERIOD, "resolution", value="PT1H"), "E87"),
    (drop(*PERIOD, "resolution"), "00302"),
    (put(*POINT, 0, "quality", value={"value": "A01"}), "D12"),
    (put(*POINT, 0, "quality", value={"value": "A05"}), "D12"),
    (put(*POINT, 95, "quality", value={"value": "A06"}), "D12"),
    (put(*POINT, 0, "quality", value={"value": "A99"}), "00302"),
    (put(*POINT, 0, "quality", value={"value": "A02"}), "quality"),
    (drop(*POINT, 0, "quantity"), "quality"),
    (put(*POINT, 3, "quantity", value=-0.001), "E86"),
    (put(*POINT, 3, "quantity", value=10000000000), "E89"),
    (put(*POINT, 3, "quantity", value=0.1234), "E89"),
    (put(*POINT, 3, "quantity", value="0.125"), "00302"),
    (drop(*POINT, 3), "E87"),
    (drop(*POINT, 95), "E87"),
    (put(*POINT, 3, "position", "value", value=3), "E87"),
    (put(*POINT, 3, "position", "value", value=97), "E87"),
    (put(*POINT, 0, "position", "value", value=0), "00302"),
    (put(*BOUNDS, "end", "value", value="2026-03-02T23:00Z"), "E87"),
    (put(*BOUNDS, "start", "value", value="2026-03-02T23:00:00Z"), "00302"),
    (drop(*BOUNDS, "end"), "00302"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_changed_field_is_refused_by_its_rule(right, case) -> None:
    change, code = CASES[case]
    assert code_of(right) is None
    assert code_of(spoilt(right, change)) == code


def test_two_transactions_of_one_id(right) -> None:
    assert code_of(spoilt(right, lambda head: head["Series"].append(head["Series"][0]))) == "00102"


def shifted(head: dict, start: str, end: str, count: int) -> None:
    bounds, points = head["Series"][0]["Period"]["timeInterval"], head["Series"][0]["Period"]["Point"]
    bounds["start"]["value"], bounds["end"]["value"] = start, end
    head["Series"][0]["Period"]["Point"] = [
        {"position": {"value": n}, "quantity": 0.5} for n in range(1, min(count, len(points) + 4) + 1)
    ]


@pytest.mark.parametrize(
    ("start", "end", "count", "code"),
    [
        ("2026-03-02T23:05Z", "2026-03-03T23:05Z", 96, "D66"),
        ("2026-03-02T22:00Z", "2026-03-03T22:00Z", 96, "whole_day"),
        ("2026-03-02T23:00Z", "2026-03-03T02:45Z", 15, "E50"),
        ("2026-03-02T23:00Z", "2026-03-03T03:00Z", 16, "whole_day"),
        ("2023-03-03T23:00Z", "2023-03-04T23:00Z", 96, "E17"),
        ("2023-03-04T23:00Z", "2023-03-05T23:00Z", 96, None),
        ("2026-03-04T23:00Z", "2026-03-05T23:00Z", 96, "future"),
        ("2025-10-25T22:00Z", "2025-10-26T23:00Z", 100, None),
        ("2025-10-25T22:00Z", "2025-10-26T22:00Z", 96, "whole_day"),
        ("2025-03-29T23:00Z", "2025-03-30T22:00Z", 92, None),
        ("2025-03-29T23:00Z", "2025-03-30T22:00Z", 96, "E87"),
    ],
)
def test_periods(right, start, end, count, code) -> None:
    assert code_of(spoilt(right, lambda head: shifted(head, start, end, count))) == code


@pytest.mark.parametrize(
    ("start", "end", "codes"),
    [
        ("2026-03-03T23:00Z", "2026-03-02T23:00Z", {"E87", "E50"}),
        ("2026-03-02T23:00Z", "2026-03-03T23:05Z", {"E87", "D66"}),
        ("2026-03-02T23:05Z", "2026-03-03T23:00Z", {"E87", "D66"}),
    ],
)
def test_every_rule_that_is_broken_is_known(right, start, end, codes) -> None:
    """A count that does not fit the period is found first, and the others beside it."""
    found = spoilt(right, lambda head: shifted(head, start, end, 96))
    assert code_of(found) == "E87"
    (said,) = transactions(Document(found, JSON).root)
    assert {reason.code for reason in broken(said, NOW)} == codes


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("quality", "A05", "D12"),
        ("quantity", "-0.5", "E86"),
        ("quantity", "0.1234", "E89"),
        ("quantity", "12345678901", "E89"),
        ("quantity", "1e3", "00302"),
        ("position", "7", "E87"),
        ("resolution", "PT30M", "D23"),
        ("product", "5790001330590", "product"),
        ("quantity_Measure_Unit.name", "MWH", "E73"),
        ("marketEvaluationPoint.mRID", "571313000000002009", "gsrn"),
        ("start", "2026-03-02T22:00Z", "E87"),
    ],
)
def test_the_same_rules_in_xml(right_xml, name, text, code) -> None:
    root = etree.fromstring(right_xml)
    assert code_of(right_xml, "xml") is None
    next(root.iter(f"{SPACE}{name}")).text = text
    assert code_of(etree.tostring(root), "xml") == code


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**13 - 1))
def test_every_quantity_in_range_is_right(right, wh) -> None:
    text = f"{wh // 1000}.{wh % 1000:03}"
    octets = right.replace(b'"quantity": 0.125', f'"quantity": {text}'.encode(), 1)
    assert text.encode() in octets
    assert code_of(octets) is None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([1, 7, 96]), st.integers(1, 200))
def test_every_wrong_position_is_refused(right, position, other) -> None:
    octets = spoilt(right, lambda head: point(head, position)["position"].update(value=other))
    assert code_of(octets) == (None if other == position else "E87")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_days_are_danish_days(which) -> None:
    """By the offset rules of Denmark alone: UTC+1, UTC+2 from the last Sunday of March to that of October."""

    def offset(d: date) -> int:
        spring = max(date(d.year, 3, n) for n in range(25, 32) if date(d.year, 3, n).weekday() == 6)
        autumn = max(date(d.year, 10, n) for n in range(25, 32) if date(d.year, 10, n).weekday() == 6)
        return 7_200 if spring < d <= autumn else 3_600

    midnight = int(datetime(which.year, which.month, which.day, tzinfo=UTC).timestamp())
    following = date.fromordinal(which.toordinal() + 1)
    start, end = midnight - offset(which), midnight + 86_400 - offset(following)
    assert day(start) == day(end - 1) == (start, end)


def test_what_was_built_is_refused_with_any_octet_of_a_value_changed(make_part, make_build) -> None:
    """The planted error: a quantity that says something else than the part is still a document; the ids are not."""
    part = make_part(DAY)
    about = make_build(part.end + 3_600)
    (draft,) = adapter(about.settings).build([part], about)
    assert code_of(draft.body, now=about.now) is None
    assert code_of(draft.body.replace(b'"KWH"', b'"MWH"'), now=about.now) == "E73"
