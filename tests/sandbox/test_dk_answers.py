"""What the Danish profile gives to fetch: RSM-009, 017, 018 and 019, valid in JSON and XML, and sums that are exact."""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from lxml import etree
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas" / "hubs" / "dk-datahub3"
SAMPLES = Path(__file__).parent / "samples" / "dk-datahub3"
NOTIFY = "/dk/v1.0/cim/notifyvalidatedmeasuredata"
WHOLESALE = "/dk/v1.0/cim/requestwholesalesettlement"
NOTIFIED = "NotifyValidatedMeasureData_MarketDocument"
REQUESTED = "RequestWholesaleSettlement_MarketDocument"
#: 2026-04-02T08:00:00Z
NOW = 1_775_116_800
NAMES = {
    "rsm-009": ("Acknowledgement-assembly-model", "urn-ediel-org-general-acknowledgement-0-1"),
    "rsm-017": (
        "Reject-request-wholesale-settlement-assembly-model",
        "urn-ediel-org-measure-rejectrequestwholesalesettlement-0-1",
    ),
    "rsm-018": (
        "Reminder-of-missing-measure-data-assembly-model",
        "urn-ediel-org-measure-reminderofmissingmeasuredata-0-1",
    ),
    "rsm-019": ("Notify-wholesale-services-assembly-model", "urn-ediel-org-measure-notifywholesaleservices-0-1"),
}


@pytest.fixture
def hub(hub_at: Callable[[float], Any]) -> Any:
    found = hub_at(NOW)
    found.sandbox.options.delay_s = 0.0
    return found


@pytest.fixture
def client(hub: Any) -> httpx.Client:
    return hub.client("gridco", certificate=False)


def valid(kind: str, client: httpx.Client, category: str) -> dict[str, Any]:
    """Fetch a bundle in both forms, hold each against its schema, dequeue it, and give its JSON."""
    path, deadline = f"/dk/v1.0/cim/{category}", time.monotonic() + 60
    while (as_json := client.get(path, headers={"Content-Type": "application/json"})).status_code == 204:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    as_xml = client.get(path, headers={"Content-Type": "application/xml"})
    assert as_json.headers["MessageId"] == as_xml.headers["MessageId"]
    model, xsd = NAMES[kind]

    def beside(uri: str) -> Resource[Any]:
        text = (SCHEMAS / "json-schema" / uri.rsplit("/", 1)[-1]).read_text("utf-8-sig")
        return Resource(json.loads(text), DRAFT7)

    schema = json.loads((SCHEMAS / "json-schema" / f"{model}.schema.json").read_text("utf-8-sig"))
    jsonschema.Draft7Validator(schema, registry=Registry(retrieve=beside)).validate(as_json.json())
    etree.XMLSchema(etree.parse(str(SCHEMAS / "xsd" / f"{xsd}.xsd"))).assertValid(etree.fromstring(as_xml.content))
    assert client.delete(f"/dk/v1.0/cim/dequeue/{as_json.headers['MessageId']}").status_code == 200
    (found,) = json.loads(as_json.text, parse_float=Decimal).values()
    return found


def send(client: httpx.Client, number: int, **change: Any) -> None:
    """Send the day of the sample under new ids; `change` of its series."""
    document = json.loads((SAMPLES / "rsm012-pt15m-96points.json").read_text())
    document[NOTIFIED]["mRID"] = f"message {number}"
    series = document[NOTIFIED]["Series"][0]
    series |= {"mRID": f"transaction {number}"} | {k: v for k, v in change.items() if k != "Period"}
    series["Period"] |= change.get("Period", {})
    assert client.post(NOTIFY, json=document).status_code == 202


def ask(client: httpx.Client, change: Callable[[dict[str, Any]], object] | None = None, **head: Any) -> None:
    """Ask for the monthly sums of March 2026."""
    document = json.loads((SAMPLES / "brs028-request-wholesale.json").read_text())
    document[REQUESTED] |= {"mRID": "request"} | head
    if change:
        change(document[REQUESTED]["Series"][0])
    answer = client.post(WHOLESALE, json=document)
    assert answer.status_code == 202, answer.text


def test_a_reject_names_the_message_and_the_transaction(client: httpx.Client) -> None:
    send(client, 1, Period={"resolution": "PT1H"})
    found = valid("rsm-009", client, "Timeseries")
    assert found["received_MarketDocument.mRID"] == "message 1"
    assert found["received_MarketDocument.process.processType"] == {"value": "E23"}
    assert found["receiver_MarketParticipant.mRID"]["value"] == "5799999933318"
    assert [series["mRID"] for series in found["Series"]] == ["transaction 1"]
    reason = found["Series"][0]["Reason"][0]
    assert reason["code"]["value"] == "E87"
    assert "(96)" in reason["text"]
    assert "(24)" in reason["text"]
    assert " / " in reason["text"]


def points(*quantities: str | None) -> dict[str, Any]:
    """A period of 24 hours with these quantities, and 1 kWh in every other hour."""
    values: list[Any] = [{"position": {"value": i + 1}, "quantity": 1} for i in range(24)]
    for i, quantity in enumerate(quantities):
        values[i] = {"position": {"value": i + 1}, "quality": {"value": "A02"}}
        if quantity is not None:
            values[i] = {"position": {"value": i + 1}, "quantity": float(quantity)}
    return {"resolution": "PT1H", "Point": values}


def whole_march(client: httpx.Client, first: int, point: str, quantity: str = "1") -> int:
    """Every day of March 2026 of a point, in hours, all the same; the number of hours."""
    from datetime import datetime, timedelta
    from zoneinfo import ZoneInfo

    zone, hours = ZoneInfo("Europe/Copenhagen"), 0
    for day in range(31):
        start = datetime(2026, 3, 1, tzinfo=zone) + timedelta(day)
        ends = [d.astimezone(ZoneInfo("UTC")) for d in (start, start + timedelta(1))]
        count = int((ends[1] - ends[0]).total_seconds()) // 3600
        hours += count
        period = {
            "resolution": "PT1H",
            "timeInterval": {k: {"value": f"{t:%Y-%m-%dT%H:%MZ}"} for k, t in zip(("start", "end"), ends, strict=True)},
            "Point": [{"position": {"value": i + 1}, "quantity": float(quantity)} for i in range(count)],
        }
        gsrn = {"marketEvaluationPoint.mRID": {"codingScheme": "A10", "value": point}}
        send(client, first + day, Period=period, **gsrn)
    return hours


def test_monthly_sums_are_exact_and_of_the_newest_versions(hub: Any, client: httpx.Client) -> None:
    hours = whole_march(client, 0, "571313000000002000", "0.1")
    assert hours == 743
    whole_march(client, 100, "571313000000002001", "9999999999.999")
    # A correction of one day: only its newest version counts.
    send(client, 200, Period=points("5.125"))
    ask(client)
    found = valid("rsm-019", client, "Aggregations")
    assert found["process.processType"] == {"value": "D05"}
    (series,) = found["Series"]
    assert series["originalTransactionIDReference_Series.mRID"] == "2c1a0e12-85c2-4e0e-8f2a-7e5f0c281001"
    assert series["marketEvaluationPoint.type"] == {"value": "E17"}
    assert (series["chargeType.mRID"], series["chargeType.type"]["value"]) == ("EA-001", "D03")
    (point,) = series["Period"]["Point"]
    expected = Decimal("0.1") * (743 - 24) + Decimal("5.125") + 23 + Decimal("9999999999.999") * 743
    assert (point["energySum_Quantity.quantity"], point["quality"]["value"]) == (expected, "A04")
    assert series["Period"]["timeInterval"]["end"]["value"] == "2026-03-31T22:00Z"


def test_a_sum_says_when_values_are_missing(client: httpx.Client) -> None:
    send(client, 1, Period=points(None, "2.5"))
    ask(client, lambda series: series.pop("ChargeType"))
    (series,) = valid("rsm-019", client, "Aggregations")["Series"]
    (point,) = series["Period"]["Point"]
    assert (point["energySum_Quantity.quantity"], point["quality"]["value"]) == (Decimal("24.5"), "A05")


def test_sums_are_of_ones_own_points_and_of_the_criteria(hub: Any, client: httpx.Client) -> None:
    send(client, 1)
    supplier = hub.client("supplier", certificate=False)
    own = {"sender_MarketParticipant.mRID": {"codingScheme": "A10", "value": "5790001103040"}}
    mine = {"energySupplier_MarketParticipant.mRID": {"codingScheme": "A10", "value": "5790001103040"}}
    ask(supplier, lambda series: series.update(mine), **own)
    assert valid("rsm-017", supplier, "Aggregations")["Series"][0]["Reason"][0]["code"]["value"] == "E0H"
    facts = {"supplier": "5790001103040", "area": "244"}
    hub.admin().put("/control/points", json={"points": {"571313000000002000": facts}})
    ask(supplier, lambda series: series.update(mine, mRID="second"), **own | {"mRID": "second"})
    assert len(valid("rsm-019", supplier, "Aggregations")["Series"]) == 1
    area = {"meteringGridArea_Domain.mRID": {"codingScheme": "NDK", "value": "791"}}
    ask(supplier, lambda series: series.update(mine | area, mRID="third"), **own | {"mRID": "third"})
    assert valid("rsm-017", supplier, "Aggregations")["Series"][0]["Reason"][0]["code"]["value"] == "E0H"


def bounds(start: str, end: str) -> Callable[[dict[str, Any]], None]:
    return lambda s: s.update({"start_DateAndOrTime.dateTime": start, "end_DateAndOrTime.dateTime": end})


def with_version(version: str) -> Callable[[dict[str, Any]], None]:
    return lambda s: s.update({"settlement_Series.version": {"value": version}})


MDR = {"value": "DDM"}
REFUSED: list[tuple[Callable[[dict[str, Any]], object], dict[str, Any], str]] = [
    (bounds("2026-02-28T22:00:00Z", "2026-03-31T22:00:00Z"), {}, "D66"),
    (bounds("2026-02-28T23:00:00Z", "2026-03-30T22:00:00Z"), {}, "E17"),
    (bounds("2026-01-31T23:00:00Z", "2026-03-31T22:00:00Z"), {}, "E17"),
    (bounds("2022-08-31T22:00:00Z", "2022-09-30T22:00:00Z"), {}, "E17"),
    (lambda s: s.update({"aggregationSeries_Period.resolution": "PT1H"}), {}, "D23"),
    (lambda s: s.update(ChargeType=[{"mRID": "12345678901"}]), {}, "D14"),
    (
        lambda s: s.pop("meteringGridArea_Domain.mRID"),
        {"sender_MarketParticipant.marketRole.type": {"value": "DDM"}},
        "D64",
    ),
    (lambda s: s["meteringGridArea_Domain.mRID"].update(value="24"), {}, "E86"),
    (with_version("D01"), {}, "E86"),
    (with_version("D04"), {"process.processType": {"value": "D32"}}, "E86"),
    (
        lambda s: s["energySupplier_MarketParticipant.mRID"].update(value="5790001103040"),
        {},
        "E16",
    ),
]


@pytest.mark.parametrize(("change", "head", "code"), REFUSED)
def test_rules_of_a_request(
    client: httpx.Client, change: Callable[[dict[str, Any]], object], head: dict[str, Any], code: str
) -> None:
    send(client, 1)
    ask(client, change, **head)
    found = valid("rsm-017", client, "Aggregations")
    assert found["reason.code"] == {"value": "A02"}
    (series,) = found["Series"]
    assert series["originalTransactionIDReference_Series.mRID"] == "2c1a0e12-85c2-4e0e-8f2a-7e5f0c281001"
    assert [reason["code"]["value"] for reason in series["Reason"]] == [code]


def test_a_correction_has_its_version(client: httpx.Client) -> None:
    send(client, 1)
    ask(client, with_version("D02"), **{"process.processType": {"value": "D32"}})
    found = valid("rsm-019", client, "Aggregations")
    assert (found["process.processType"]["value"], found["Series"][0]["settlement_Series.version"]["value"]) == (
        "D32",
        "D02",
    )


def test_a_request_may_stay_without_answer(hub: Any, client: httpx.Client) -> None:
    send(client, 1)
    hub.admin().patch("/control/options", json={"no_sums": True})
    ask(client)
    deadline = time.monotonic() + 60
    while hub.admin().get("/control").json()["pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.get("/dk/v1.0/cim/Aggregations", headers={"Content-Type": "application/json"}).status_code == 204


def test_a_day_with_a_hole_is_missing(hub: Any, client: httpx.Client) -> None:
    for n, (first, last) in enumerate((("04T23", "05T09"), ("05T11", "05T23"))):
        hours = (int(last[3:]) - int(first[3:])) % 24
        interval = {"start": {"value": f"2026-03-{first}:00Z"}, "end": {"value": f"2026-03-{last}:00Z"}}
        values = [{"position": {"value": i + 1}, "quantity": 1} for i in range(hours)]
        send(client, n, Period={"resolution": "PT1H", "timeInterval": interval, "Point": values})
    deadline = time.monotonic() + 60
    while len(hub.effects()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer = hub.admin().post("/control/reminders", json={"from": "2026-03-05"}).json()
    assert answer["missing"] == {"gridco": {"2026-03-05": ["571313000000002000"]}}


def test_reminders_name_the_days_that_are_missing(hub: Any, client: httpx.Client) -> None:
    send(client, 1)
    facts = {"571313000000002000": {}, "571313000000002009": {"owner": "5790000432752"}}
    admin = hub.admin()
    admin.put("/control/points", json={"points": facts})
    deadline = time.monotonic() + 60
    while not hub.effects():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    answer = admin.post("/control/reminders", json={"from": "2026-03-02", "to": "2026-03-04"}).json()
    assert answer["missing"] == {
        "gridco": {"2026-03-02": ["571313000000002000"], "2026-03-04": ["571313000000002000"]},
        "othergrid": {day: ["571313000000002009"] for day in ("2026-03-02", "2026-03-03", "2026-03-04")},
    }
    found = valid("rsm-018", client, "Timeseries")
    days = [series["request_DateAndOrTime.dateTime"] for series in found["Series"]]
    assert days == ["2026-03-01T23:00:00Z", "2026-03-03T23:00:00Z"]
    (point,) = found["Series"][0]["MarketEvaluationPoint"]
    assert point["mRID"] == {"codingScheme": "A10", "value": "571313000000002000"}
    named = admin.post("/control/reminders", json={"from": "2026-03-02", "points": ["571313000000002000"]})
    assert list(named.json()["missing"]) == ["gridco"]
    for wrong in (
        {},
        {"from": "2026-13-01"},
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"from": "2026-03-02", "points": 1},
    ):
        assert admin.post("/control/reminders", json=wrong).status_code == 400
