"""The ESO-like hub over real TLS: lists, orders, reports, late days, drift, rules with numbers, days of summer time."""

import datetime as dt
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest

from tests.sandbox.conftest import Hub

ZONE = ZoneInfo("Europe/Vilnius")
#: 2026-03-04 05:15 in Vilnius
NOW = dt.datetime(2026, 3, 4, 5, 15, tzinfo=ZONE).timestamp()
GATEWAY = "/lt/gateway"
FIXED = "99999917"
TWO_METERS = "99999919"
GUARDED = "99999920"
POINT = "571313000000002000"


@pytest.fixture
def hub(hub_at: Callable[[float], Hub]) -> Hub:
    return hub_at(NOW)


class Client:
    """A supplier that orders, polls and fetches."""

    def __init__(self, hub: Hub, party: str = "gridco") -> None:
        self.hub = hub
        self.http = hub.client(party)
        self.admin = hub.admin()

    def post(self, path: str, value: Any = None) -> httpx.Response:
        return self.http.post(f"{GATEWAY}/{path}", json={} if value is None else value)

    def error(self, path: str, value: Any = None) -> int:
        answer = self.post(path, value)
        assert answer.status_code == 400, answer.text
        ((error,),) = answer.json().values()
        assert error["message"]
        return int(error["code"])

    def order(self, first: str, last: str, *objects: str, kind: str = "report-obj") -> int:
        answer = self.post(f"order/{kind}", {"dateFrom": first, "dateTo": last, "objects": list(objects)})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["orderId"])

    def fetch(self, order: int, version: str = "v2/", kind: str = "report-obj") -> dict[str, Any]:
        answer = self.http.get(f"{GATEWAY}/order/{version}{order}/{kind}")
        assert answer.status_code == 200, answer.text
        return dict(msgspec.json.Decoder(float_hook=Decimal).decode(answer.content))

    def report(self, first: str, last: str, *objects: str, version: str = "v2/") -> list[dict[str, Any]]:
        order = self.order(first, last, *objects)
        assert self.fetch(order, version) == {"orderId": order, "status": "PROCESSING"}
        done = self.fetch(order, version)
        assert done["status"] == "DONE"
        return list(done["data"])

    def switch(self, **switches: Any) -> httpx.Response:
        return self.admin.patch("/control/lt", json=switches)


@pytest.fixture
def client(hub: Hub) -> Client:
    return Client(hub)


def test_an_order_is_polled_and_fetched(client: Client) -> None:
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED)
    assert (entry["objectNumber"], entry["meterNumber"], entry["meterType"]) == (FIXED, "SAG1030767000001", "SMART")
    counts = Counter(value["consumptionCategory"] for value in entry["values"])
    assert counts == {"P+": 96, "P-": 96}
    assert [entry["values"][n]["consumptionTime"] for n in (0, 95)] == ["2026-03-03T00:15:00", "2026-03-04T00:00:00"]
    flags = Counter(value["valueStatus"] for value in entry["values"])
    assert set(flags) == {"ESTIMATED", "VALIDATED"}
    # The same order again says the same, and each access is in the log.
    assert client.report("2026-03-03", "2026-03-04", FIXED) == [entry]


def test_version_1_has_neither_flag_nor_type(client: Client) -> None:
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED, version="")
    assert set(entry) == {"objectNumber", "meterNumber", "values"}
    assert set(entry["values"][0]) == {"consumptionCategory", "amount", "consumptionTime"}


def test_meters_of_equal_number_are_told_apart_by_their_type(client: Client) -> None:
    entries = client.report("2026-03-03", "2026-03-04", TWO_METERS)
    assert {entry["meterNumber"] for entry in entries} == {"SAG1030767000002"}
    assert [(entry["meterType"], entry["values"][0]["consumptionCategory"]) for entry in entries] == [
        ("SMART", "P+"), ("GENERATION", "P-"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "next_day", "count", "labels"),
    [
        # The interval before the leap ends at 03:00 of the old time, which is 04:00 of the new one.
        ("2026-03-29", "2026-03-30", 92, ["02:45", "04:00", "04:15"]),
        ("2026-10-25", "2026-10-26", 100, ["03:00", "03:15", "03:30", "03:45"] * 2 + ["04:00"]),
    ],
)  # fmt: skip
def test_days_of_summer_time(
    hub_at: Callable[[float], Hub], day: str, next_day: str, count: int, labels: list[str]
) -> None:
    hub = hub_at(dt.datetime.fromisoformat(next_day).replace(hour=9, tzinfo=ZONE).timestamp())
    start = int(dt.datetime.fromisoformat(day).replace(tzinfo=ZONE).timestamp())
    hub.take(POINT, start, [f"0.{n:03d}" for n in range(count)])
    (entry,) = Client(hub).report(day, next_day, POINT)
    times = [value["consumptionTime"][11:16] for value in entry["values"]]
    assert len(times) == count
    assert [value["amount"] for value in entry["values"]] == [Decimal(f"0.{n:03d}") for n in range(count)]
    first = times.index(labels[0])
    assert times[first : first + len(labels)] == labels


def test_what_is_missing_in_the_repeated_hour_is_said(hub_at: Callable[[float], Hub]) -> None:
    hub = hub_at(dt.datetime(2026, 10, 26, 9, tzinfo=ZONE).timestamp())
    start = int(dt.datetime(2026, 10, 25, tzinfo=ZONE).timestamp())
    values: list[str | None] = ["1"] * 100
    values[12], values[50] = None, None
    hub.take(POINT, start, values)
    (entry,) = Client(hub).report("2026-10-25", "2026-10-26", POINT)
    twice = [value["amount"] for value in entry["values"] if value["consumptionTime"] == "2026-10-25T03:15:00"]
    assert twice == [None, 1]
    assert len(entry["values"]) == 99


def test_values_of_a_point_are_those_that_were_sent(hub: Hub, client: Client) -> None:
    start = int(dt.datetime(2026, 3, 3, tzinfo=ZONE).timestamp())
    hub.take(POINT, start, ["0.125", "0.130", None], quality="A03")
    hub.take(POINT, start, ["2.5"])
    (entry,) = client.report("2026-03-03", "2026-03-04", POINT)
    assert [(value["amount"], value["valueStatus"]) for value in entry["values"]] == [
        (Decimal("2.5"), "VALIDATED"), (Decimal("0.130"), "ESTIMATED"),
    ]  # fmt: skip
    answer = hub.client("customer").post("/api/v1/metering-points", json={"meteringPoint": POINT})
    assert answer.status_code == 201
    client.fetch(client.order("2026-03-03", "2026-03-04", POINT))
    assert hub.client("customer").get("/api/v1/access-log").json()["items"] == []
    client.report("2026-03-03", "2026-03-04", POINT)
    (entry,) = hub.client("customer").get("/api/v1/access-log").json()["items"]
    assert (entry["who"], entry["record"]["what"]) == ("gridco", "report of an order")


def test_seeded_values_take_the_place_of_others(client: Client) -> None:
    start = int(dt.datetime(2026, 3, 3, tzinfo=ZONE).timestamp())
    seeds = {
        "objectNumber": FIXED, "meterType": "SMART", "category": "P+",
        "values": [[start, "4.75", "ESTIMATED"], [start + 900, None, "VALIDATED"]],
    }  # fmt: skip
    assert client.admin.put("/control/lt/values", json=seeds).json() == {"values": 2}
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED)
    assert entry["values"][0] | {"amount": Decimal("4.75"), "valueStatus": "ESTIMATED"} == entry["values"][0]
    assert entry["values"][1]["amount"] is None
    for wrong in (
        {"values": [[1, "1", "VALIDATED"]]}, {"objectNumber": "x"}, {"meterType": "x"},
        {"values": [[start, 1, "VALIDATED"]]}, {"values": [[start, "x", "VALIDATED"]]}, {"values": 5},
    ):  # fmt: skip
        assert client.admin.put("/control/lt/values", json=seeds | wrong).status_code == 400


def test_a_late_day_is_absent_or_partial_until_it_is_there(client: Client) -> None:
    client.switch(late="absent")
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED)
    assert entry["values"] == []
    client.switch(late="partial")
    (entry,) = client.report("2026-03-02", "2026-03-04", FIXED)
    assert len(entry["values"]) == 2 * (96 + 24)
    client.switch(late_day="2026-03-02")
    (entry,) = client.report("2026-03-02", "2026-03-04", FIXED)
    assert len(entry["values"]) == 2 * (24 + 96)
    client.switch(late=None, late_day=None)
    (entry,) = client.report("2026-03-02", "2026-03-04", FIXED)
    assert len(entry["values"]) == 2 * 192


def test_a_schema_drifts(client: Client) -> None:
    client.switch(drift="renamed")
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED)
    assert set(entry["values"][0]) == {"consumptionCategory", "quantity", "consumptionTime", "valueStatus"}
    client.switch(drift="retyped")
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED)
    assert entry["values"][0]["amount"].startswith("0,")
    for wrong in ({"drift": "x"}, {"late": 1}, {"late_day": "2026-02-30"}, {"polls": -1}, {"polls": True}, {"x": 1}):
        assert client.switch(**wrong).status_code == 400
    assert client.admin.get("/control/lt").json()["drift"] == "retyped"


def test_lists_are_paged_and_sorted(hub: Hub, client: Client) -> None:
    for n in range(5):
        hub.take(f"57131300000000200{n}", int(NOW) - 86_400, ["1"])
    answer = client.post("object/v2/my/active/list?first=2&count=3&sortKey=objectNumber&sortOrder=ASC").json()
    assert (answer["total"], answer["first"], answer["count"]) == (7, 2, 3)
    assert [it["objectNumber"][-1] for it in answer["objects"]] == ["2", "3", "4"]
    down = client.post("object/v2/my/active/list?sortOrder=DSC").json()["objects"]
    assert [down[0]["objectNumber"], len(down[0]["meters"])] == [TWO_METERS, 2]
    assert client.post("object/v2/all/active/list").json()["total"] == 8
    for wrong in ("first=-1", "first=x", "count=0", "count=1001", "sortKey=x", "sortOrder=DESC", "first=9999999999"):
        assert client.error(f"object/v2/my/active/list?{wrong}") == 9001


def test_access_to_an_object_is_asked_for(client: Client) -> None:
    asked = {"dateFrom": "2026-03-03", "dateTo": "2026-03-04", "objects": [GUARDED]}
    assert client.error("order/report-obj", asked) == 8
    assert client.post("access-right", {"objectNumber": GUARDED}).json()["status"] == "ACTIVE"
    assert client.report("2026-03-03", "2026-03-04", GUARDED)[0]["objectNumber"] == GUARDED
    other = Client(client.hub, "supplier")
    assert other.error("order/report-obj", asked) == 8
    assert client.error("access-right", {"objectNumber": "1"}) == 608


def test_what_another_party_sent_is_not_mine(hub: Hub) -> None:
    hub.take(POINT, int(NOW) - 86_400, ["1"])
    other = Client(hub, "supplier")
    asked = {"dateFrom": "2026-03-03", "dateTo": "2026-03-04", "objects": [POINT]}
    assert other.error("order/report-obj", asked) == 8
    order = Client(hub).order("2026-03-03", "2026-03-04", POINT)
    assert other.http.get(f"{GATEWAY}/order/v2/{order}/report-obj").json()["errors"][0]["code"] == 9002


def test_an_order_has_at_most_500_objects(client: Client) -> None:
    asked = {"dateFrom": "2026-03-03", "dateTo": "2026-03-04", "objects": [FIXED] * 501}
    assert client.error("order/report-obj", asked) == 1010
    assert client.post("order/report-obj", asked | {"objects": [FIXED] * 500}).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"dateFrom": "2026-02-30"}, {"dateTo": "2026-03-03"}, {"dateTo": "2026-05-03"}, {"dateFrom": None},
        {"objects": []}, {"objects": [5]}, {"objects": "x"}, {"objects": None}, {"dateFrom": "20260303"},
    ],
)  # fmt: skip
def test_a_wrong_order_is_refused_by_number(client: Client, changes: dict[str, Any]) -> None:
    asked = {"dateFrom": "2026-03-03", "dateTo": "2026-03-04", "objects": [FIXED]} | changes
    assert client.error("order/report-obj", asked) == 9001


def test_other_refusals(client: Client) -> None:
    unknown = {"dateFrom": "2026-03-03", "dateTo": "2026-03-04", "objects": ["1"]}
    assert client.error("order/report-obj", unknown) == 608
    assert client.error("order/report-obj", []) == 9001
    order = client.order("2026-03-03", "2026-03-04", FIXED)
    wrong = client.http.get(f"{GATEWAY}/order/v2/{order}/report-obj-acr").json()
    assert wrong["errors"][0]["code"] == 9003
    assert client.http.post(f"{GATEWAY}/order/report-obj", content=b"{").json()["errors"][0]["code"] == 9001
    assert client.http.post(f"{GATEWAY}/order/report-obj", content=b"[" * 90_000).status_code == 413
    assert client.http.post(f"{GATEWAY}/order/unknown").status_code == 404
    assert client.hub.client().get(f"{GATEWAY}/statistic/list").status_code == 401


def test_bills_are_sums(client: Client) -> None:
    order = client.order("2026-03-03", "2026-03-04", FIXED, kind="bill-bss-b2c")
    client.fetch(order, "", "bill-bss-b2c")
    bills = client.fetch(order, "", "bill-bss-b2c")["data"]
    (entry,) = client.report("2026-03-03", "2026-03-04", FIXED)
    for bill in bills:
        own = [it["amount"] for it in entry["values"] if it["consumptionCategory"] == bill["consumptionCategory"]]
        assert bill["amount"] == sum(own)
    assert {bill["consumptionCategory"] for bill in bills} == {"P+", "P-"}


def test_statistics_of_days(client: Client) -> None:
    answer = client.http.get(f"{GATEWAY}/statistic/list?count=2&sortOrder=DSC").json()
    assert answer["total"] == 30
    assert [it["date"] for it in answer["statistics"]] == ["2026-03-03", "2026-03-02"]
    assert (answer["statistics"][0]["objects"], answer["statistics"][0]["values"]) == (2, 4 * 96)
    client.switch(late="absent")
    late = client.http.get(f"{GATEWAY}/statistic/list?count=1&sortOrder=DSC").json()
    assert late["statistics"][0]["values"] == 0


def test_notifications_are_listed_and_cancelled(client: Client) -> None:
    ids = [
        client.post(f"notification/{kind}", {"objectNumber": FIXED, "date": "2026-04-01"}).json()["notificationId"]
        for kind in ("contract", "contract/termination", "contract/tariff-plan", "contract")
    ]
    listed = client.post("notification/v2/contract/list?sortKey=notificationId&sortOrder=DSC").json()
    assert [it["notificationId"] for it in listed["notifications"]] == [ids[3], ids[0]]
    assert client.post("notification/cancellation", {"notificationId": ids[1]}).json()["status"] == "CANCELLED"
    (ended,) = client.post("notification/v2/contract/termination/list").json()["notifications"]
    assert (ended["status"], ended["objectNumber"], ended["date"]) == ("CANCELLED", FIXED, "2026-04-01")
    assert client.error("notification/cancellation", {"notificationId": 10**9}) == 9004
    assert client.error("notification/cancellation", {"notificationId": True}) == 9001
    assert client.error("notification/contract", {"objectNumber": GUARDED, "date": "2026-04-01"}) == 8
    other = Client(client.hub, "supplier")
    assert other.error("notification/cancellation", {"notificationId": ids[0]}) == 9004
    assert other.post("notification/v2/contract/list").json()["total"] == 0
