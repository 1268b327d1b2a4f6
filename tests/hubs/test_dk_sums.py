"""BRS-028: a request for the sums of a month, its rules, and the sums that come back."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from gateway.uploader.hub import BuildError
from gateway.uploader.hubs.dk_answer_sums import sums
from gateway.uploader.hubs.dk_datahub3 import adapter
from gateway.uploader.hubs.dk_reading import JSON, Document
from gateway.uploader.hubs.dk_sums_rules import check

HERE = Path(__file__).parent / "samples" / "dk-datahub3" / "built"
XSD = (
    Path(__file__).parents[2]
    / "docs/schemas/hubs/dk-datahub3/xsd"
    / "urn-ediel-org-measure-requestwholesalesettlement-0-1.xsd"
)
NOW = int(datetime(2026, 4, 2, 8, tzinfo=UTC).timestamp())
PARTY, OWNER = "5799999933318", "5790000432752"
ALL = {
    "month": "2026-03",
    "process": "D32",
    "version": "D02",
    "grid-area": "244",
    "supplier": PARTY,
    "price-owner": OWNER,
    "price-type": "D03",
    "price-id": "EA-001",
    "role": "DDQ",
}


@pytest.fixture
def ask(make_build):
    """The draft of a request."""

    def request(now: int = NOW, form: str | None = None, role: str | None = None, **arguments: str):
        about = make_build(now, format=form, role=role, points=())
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return adapter(about.settings).request("sums", named, about)

    return request


def series_of(draft) -> dict:
    head = json.loads(draft.body)["RequestWholesaleSettlement_MarketDocument"]
    (series,) = head["Series"]
    return head | series


def test_every_criterion_is_in_the_document(ask) -> None:
    draft = ask(**{name.replace("-", "_"): value for name, value in ALL.items()})
    said = series_of(draft)
    assert said["process.processType"] == {"value": "D32"}
    assert said["settlement_Series.version"] == {"value": "D02"}
    assert said["start_DateAndOrTime.dateTime"] == "2026-02-28T23:00:00Z"
    assert said["end_DateAndOrTime.dateTime"] == "2026-03-31T22:00:00Z"
    assert said["meteringGridArea_Domain.mRID"] == {"codingScheme": "NDK", "value": "244"}
    assert said["energySupplier_MarketParticipant.mRID"] == {"codingScheme": "A10", "value": PARTY}
    assert said["chargeTypeOwner_MarketParticipant.mRID"] == {"codingScheme": "A10", "value": OWNER}
    assert said["ChargeType"] == [{"type": {"value": "D03"}, "mRID": "EA-001"}]
    assert said["aggregationSeries_Period.resolution"] == "P1M"
    assert said["sender_MarketParticipant.marketRole.type"] == {"value": "DDQ"}
    assert (draft.kind, draft.operation) == ("request", "request-sums")
    head = json.loads(draft.body)["RequestWholesaleSettlement_MarketDocument"]
    assert head["mRID"] == draft.document
    assert head["Series"][0]["mRID"] == draft.about["transaction"] != draft.document


def test_xml_says_the_same_and_follows_its_schema(ask) -> None:
    given = {name.replace("-", "_"): value for name, value in ALL.items()}
    draft = ask(form="xml", **given)
    assert draft.content_type == "application/xml"
    root = etree.fromstring(draft.body)
    etree.XMLSchema(etree.parse(XSD)).assertValid(root)
    found = {etree.QName(one).localname: one.text for one in root.iter() if not len(one)}
    assert found["settlement_Series.version"] == "D02"
    assert found["start_DateAndOrTime.dateTime"] == "2026-02-28T23:00:00Z"
    assert found["chargeTypeOwner_MarketParticipant.mRID"] == OWNER
    assert found["mRID"] == "EA-001"


def test_the_least_request(ask) -> None:
    said = series_of(ask(month="2026-03"))
    assert said["process.processType"] == {"value": "D05"}
    assert said["energySupplier_MarketParticipant.mRID"]["value"] == PARTY
    for name in ("settlement_Series.version", "meteringGridArea_Domain.mRID", "ChargeType"):
        assert name not in said


def test_the_latest_correction_has_no_version(ask) -> None:
    assert "settlement_Series.version" not in series_of(ask(month="2026-03", process="D32"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"start": "2026-03-01T00:00:00Z", "end": "2026-03-31T22:00:00Z"}, "D66"),
        ({"start": "2026-02-28T22:00:00Z", "end": "2026-03-31T22:00:00Z"}, "D66"),
        ({"start": "2026-02-28T23:00Z", "end": "2026-03-31T22:00Z"}, "00302"),
        ({"start": "2026-02-28T23:00:00Z"}, "D66"),
        ({"start": "2026-02-28T23:00:00Z", "end": "2026-03-30T22:00:00Z"}, "E17"),
        ({"start": "2026-03-01T23:00:00Z", "end": "2026-03-31T22:00:00Z"}, "E17"),
        ({"start": "2026-01-31T23:00:00Z", "end": "2026-03-31T22:00:00Z"}, "E17"),
        ({"start": "2026-03-31T22:00:00Z", "end": "2026-02-28T23:00:00Z"}, "E17"),
        ({"month": "2022-09"}, "E17"),
        ({"month": "2026-04"}, "future"),
        ({"month": "2026-03", "version": "D01"}, "E86"),
        ({"month": "2026-03", "process": "D32", "version": "D04"}, "E86"),
        ({"month": "2026-03", "process": "D04"}, "00402"),
        ({"month": "2026-03", "grid_area": "2444"}, "E86"),
        ({"month": "2026-03", "grid_area": "24A"}, "E86"),
        ({"month": "2026-03", "role": "DDM"}, "D64"),
        ({"month": "2026-03", "role": "MDR"}, "00003"),
        ({"month": "2026-03", "role": "XXX"}, "00302"),
        ({"month": "2026-03", "supplier": OWNER}, "E16"),
        ({"month": "2026-03", "supplier": "5799999933319", "role": "EZ"}, "E16"),
        ({"month": "2026-03", "price_owner": "570001110111"}, "gln"),
        ({"month": "2026-03", "price_id": "12345678901"}, "D14"),
        ({"month": "2026-03", "price_type": "D04"}, "00302"),
        ({"month": "2026-3"}, "arguments"),
        ({"month": "2026-03", "start": "2026-02-28T23:00:00Z"}, "arguments"),
        ({"month": "2026-03", "colour": "red"}, "arguments"),
        ({"month": "9999-12"}, "arguments"),
        ({}, "00302"),
    ],
)
@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_request_that_would_be_rejected_does_not_leave(ask, form, arguments, code) -> None:
    with pytest.raises(BuildError) as caught:
        ask(form=form, **arguments)
    assert caught.value.code == code


def test_three_years_and_six_months(ask) -> None:
    assert ask(month="2022-10")
    with pytest.raises(BuildError):
        ask(month="2022-09")


def test_a_grid_company_and_the_system_operator_ask_for_others(ask) -> None:
    said = series_of(ask(month="2026-03", role="DDM", grid_area="244"))
    assert "energySupplier_MarketParticipant.mRID" not in said
    assert ask(month="2026-03", role="EZ", supplier=OWNER)


def test_a_role_that_has_no_sums(ask) -> None:
    with pytest.raises(BuildError) as caught:
        ask(month="2026-03", role="MDR")
    assert caught.value.code == "00003"


def test_nothing_else_can_be_asked(make_build) -> None:
    about = make_build(NOW)
    assert list(adapter(about.settings).requests()) == ["sums"]
    with pytest.raises(BuildError):
        adapter(about.settings).request("weather", {}, about)


def answer(point: dict, unit: str = "KWH") -> bytes:
    value = json.loads((HERE / "rsm019-notify-wholesale-monthly.json").read_bytes())
    series = value["NotifyWholesaleServices_MarketDocument"]["Series"][0]
    series["Period"]["Point"] = [{"position": {"value": 1}} | point]
    series["quantity_Measure_Unit.name"]["value"] = unit
    return json.dumps(value, default=str).encode()


def fact(octets: bytes) -> dict:
    (found,) = sums(Document(octets, JSON).root)
    return found


def test_the_sample_is_read_exactly() -> None:
    assert fact((HERE / "rsm019-notify-wholesale-monthly.json").read_bytes()) == {
        "process": "D05",
        "transaction": "2c1a0e12-85c2-4e0e-8f2a-7e5f0c281001",
        "series": "2c1a0e12-85c2-4e0e-8f2a-7e5f0c283001",
        "version": "1",
        "settlement_version": None,
        "grid_area": "244",
        "supplier": PARTY,
        "price_owner": OWNER,
        "price_type": "D03",
        "price_id": "EA-001",
        "point_type": "E17",
        "settlement_method": "D01",
        "unit": "KWH",
        "currency": "DKK",
        "resolution": "P1M",
        "start": int(datetime(2026, 2, 28, 23, tzinfo=UTC).timestamp()),
        "end": int(datetime(2026, 3, 31, 22, tzinfo=UTC).timestamp()),
        "energy_wh": 18_427_310,
        "energy_from": "energySum_Quantity.quantity",
        "sure": False,
        "amount": None,
        "quality": "A03",
    }


def test_energy_beside_money_is_the_energy() -> None:
    found = fact(answer({"energySum_Quantity.quantity": 123.45, "energy_Quantity.quantity": 18427.31}))
    assert (found["energy_wh"], found["sure"], found["amount"]) == (18_427_310, True, "123.45")


@pytest.mark.parametrize(
    ("point", "unit", "wh"),
    [
        ({"energySum_Quantity.quantity": 0}, "KWH", 0),
        ({"energySum_Quantity.quantity": 9999999999.999}, "KWH", 9_999_999_999_999),
        ({"energySum_Quantity.quantity": 18.42731}, "MWH", 18_427_310),
        ({"energySum_Quantity.quantity": 0.1234567}, "KWH", None),
        ({"energySum_Quantity.quantity": 12}, "H87", None),
        ({}, "KWH", None),
    ],
)
def test_what_is_no_whole_energy_is_absent(point, unit, wh) -> None:
    assert fact(answer(point, unit))["energy_wh"] == wh


def test_no_float_is_on_the_way() -> None:
    octets = (HERE / "rsm019-notify-wholesale-monthly.json").read_bytes()
    exact = octets.replace(b"18427.31", b"123456789012345.678")
    assert fact(exact)["energy_wh"] == int(Decimal("123456789012345.678") * 1000)


HEAD = "RequestWholesaleSettlement_MarketDocument"


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (("mRID",), "", "00201"),
        (("mRID",), "x" * 37, "00205"),
        (("Series", 0, "mRID"), "", "00202"),
        (("Series", 0, "mRID"), "x" * 37, "00305"),
        (("type", "value"), "E73", "00401"),
        (("process.processType", "value"), "E23", "00402"),
        (("businessSector.type", "value"), "Z99", "00302"),
        (("receiver_MarketParticipant.marketRole.type", "value"), "DDZ", "00304"),
        (("receiver_MarketParticipant.mRID", "value"), "5790001330551", "00303"),
        (("sender_MarketParticipant.marketRole.type", "value"), "DDK", "00003"),
        (("sender_MarketParticipant.mRID", "value"), "5799999933310", "gln"),
        (("Series", 0, "aggregationSeries_Period.resolution"), "P1D", "D23"),
        (("Series", 0, "energySupplier_MarketParticipant.mRID", "value"), OWNER, "E16"),
        (("Series", 0, "start_DateAndOrTime.dateTime"), "2026-02-28T22:00:00Z", "D66"),
        (("Series", 0, "end_DateAndOrTime.dateTime"), "2026-04-01T22:00:00Z", "E17"),
        (("Series", 0, "ChargeType", 0, "mRID"), "12345678901", "D14"),
        (("Series", 0, "meteringGridArea_Domain.mRID", "value"), "24", "E86"),
        (("Series",), [], "00302"),
    ],
)
def test_a_changed_field_of_a_request_is_refused_by_its_rule(path, value, code) -> None:
    right = json.loads((HERE / "brs028-request-wholesale.json").read_bytes())
    assert check(json.dumps(right).encode(), JSON, NOW) is None
    place = right[HEAD]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    reason = check(json.dumps(right).encode(), JSON, NOW)
    assert reason is not None
    assert reason.code == code
