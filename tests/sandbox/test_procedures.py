"""Procedures 1 to 4, items A to L, over the REST API: who may do what, what everybody is told, what stops at once."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.sandbox.transmission import is_due
from tests.sandbox.conftest import Hub

POINT = "571313000000002000"
#: 2026-03-04 04:53:20 UTC
NOW = 1_772_600_000
DAY = int(dt.datetime(2026, 3, 3, tzinfo=dt.UTC).timestamp())
API = "/api/v1"


def at(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Scene:
    """A hub with a day of data, and the logins of the parties."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.customer, self.neighbour = hub.client("customer"), hub.client("neighbour", certificate=False)
        self.party, self.rival = hub.client("supplier"), hub.client("aggregator", certificate=False)
        self.administrator = hub.client("gridco")
        hub.take(POINT, DAY, [f"0.{n:03d}" for n in range(96)])

    def link(self) -> None:
        answer = self.customer.post(f"{API}/metering-points", json={"meteringPoint": POINT})
        assert answer.status_code == 201, answer.text

    def request(self, client: httpx.Client | None = None, **changes: Any) -> dict[str, Any]:
        asked = {
            "meteringPoint": POINT, "product": "active", "direction": "consumption",
            "readingStart": at(DAY), "readingEnd": at(DAY + 86_400),
        } | changes  # fmt: skip
        answer = (client or self.customer).post(f"{API}/requests", json=asked)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def permit(self, client: httpx.Client | None = None, **changes: Any) -> dict[str, Any]:
        terms = {
            "meteringPoint": POINT, "eligibleParty": "supplier", "product": "active", "direction": "combined",
            "readingStart": at(DAY), "readingEnd": None, "purpose": "advice", "transmissionSchedule": "as-available",
            "maximumLifetime": "2027-01-01T00:00:00Z",
        } | changes  # fmt: skip
        answer = (client or self.customer).post(f"{API}/permissions", json=terms)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def permitted(self, **changes: Any) -> str:
        answer = self.permit(**changes)
        assert answer["validation"] == {"result": "valid", "reasons": []}
        return str(answer["permission"]["permissionId"])

    def items(self, client: httpx.Client, path: str, **query: Any) -> list[dict[str, Any]]:
        answer = client.get(f"{API}/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    def notices(self, client: httpx.Client, id_: str) -> list[str]:
        found = self.items(client, "notices")
        return [it["item"] for it in found if it["body"].get("permissionId") == id_]


@pytest.fixture
def scene(hub_at: Callable[[float], Hub]) -> Scene:
    made = Scene(hub_at(NOW))
    made.link()
    return made


def codes(answer: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in answer["validation"]["reasons"]]


def test_procedure_1_a_customer_gets_his_data(scene: Scene) -> None:
    made = scene.request()
    assert made["validation"] == {"result": "valid", "reasons": []}
    data = scene.customer.get(f"{API}/requests/{made['requestId']}/data").json()
    assert (data["meteringPoint"], data["unit"], data["created"]) == (POINT, "kWh", at(NOW))
    assert len(data["intervals"]) == 96
    assert data["intervals"][7] == {
        "start": at(DAY + 7 * 900), "end": at(DAY + 8 * 900), "direction": "consumption", "quality": "measured",
        "quantity": "0.007",
    }  # fmt: skip
    (entry,) = scene.items(scene.customer, "access-log")
    assert (entry["who"], entry["meteringPoint"], entry["permissionId"]) == ("customer", POINT, None)
    assert entry["record"]["request"] == made["requestId"]
    assert [it["item"] for it in scene.items(scene.administrator, "notices")] == ["D"]
    assert scene.items(scene.customer, "requests") == [made]


def test_the_last_version_holds_and_what_is_missing_says_so(scene: Scene) -> None:
    scene.hub.take(POINT, DAY, ["9.5", None])
    scene.hub.take(POINT, DAY + 1800, ["0.001"], quality="A03")
    made = scene.request(readingEnd=at(DAY + 2700))
    intervals = scene.customer.get(f"{API}/requests/{made['requestId']}/data").json()["intervals"]
    assert [(it["quantity"], it["quality"]) for it in intervals] == [
        ("9.5", "measured"), (None, "missing"), ("0.001", "estimated"),
    ]  # fmt: skip


def test_hours_beside_quarter_hours_do_not_count_twice(scene: Scene) -> None:
    scene.hub.take(POINT, DAY, ["7"] * 24, resolution="PT1H", step=3600, profile="eu")
    made = scene.request()
    assert len(scene.customer.get(f"{API}/requests/{made['requestId']}/data").json()["intervals"]) == 96
    (total,) = scene.items(scene.customer, "monthly-sums", meteringPoint=POINT, month="2026-03", zone="UTC")
    assert total["sum"] == "4.560"
    assert [it["record"]["what"] for it in scene.items(scene.customer, "access-log")] == [
        "validated historical data", "monthly sums",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"meteringPoint": "570000000000000000"}, "not-linked"),
        ({"readingEnd": at(DAY)}, "period"),
        ({"readingStart": "2020-01-01T00:00:00Z"}, "period"),
        ({"readingStart": at(NOW + 60), "readingEnd": at(NOW + 120)}, "future"),
        ({"product": "reactive"}, "no-data"),
        ({"direction": "production"}, "no-data"),
    ],
)
def test_an_invalid_request_says_why_and_gives_nothing(scene: Scene, changes: dict[str, Any], code: str) -> None:
    made = scene.request(**changes)
    assert (made["validation"]["result"], codes(made)) == ("invalid", [code])
    assert scene.customer.get(f"{API}/requests/{made['requestId']}/data").status_code == 409
    assert scene.items(scene.customer, "access-log") == []
    assert scene.items(scene.administrator, "notices") == []


def test_a_point_of_one_customer_is_no_other_ones(scene: Scene) -> None:
    taken = scene.neighbour.post(f"{API}/metering-points", json={"meteringPoint": POINT})
    assert taken.status_code == 409
    assert codes(scene.request(scene.neighbour)) == ["not-linked"]
    made = scene.request()
    assert scene.neighbour.get(f"{API}/requests/{made['requestId']}/data").status_code == 404
    assert codes(scene.permit(scene.neighbour)) == ["not-linked"]
    assert scene.items(scene.neighbour, "metering-points") == []
    again = scene.customer.post(f"{API}/metering-points", json={"meteringPoint": POINT}).json()
    assert [again] == scene.items(scene.customer, "metering-points")


def test_procedure_2_an_eligible_party_gets_data_under_a_permission(scene: Scene) -> None:
    id_ = scene.permitted()
    for client in (scene.customer, scene.party, scene.administrator):
        assert scene.notices(client, id_) == ["I"]
    (delivery,) = scene.items(scene.party, "deliveries")
    content = delivery["content"]
    assert (content["permissionId"], content["customer"]) == (id_, {"customer": "customer"})
    assert len(content["data"]["intervals"]) == 96
    # It waits until it is acknowledged, and what comes later is another delivery.
    assert scene.items(scene.party, "deliveries") == [delivery]
    assert scene.party.delete(f"{API}/deliveries/{delivery['deliveryId']}").status_code == 204
    assert scene.items(scene.party, "deliveries") == []
    scene.hub.take(POINT, DAY, ["1.5"])
    (later,) = scene.items(scene.party, "deliveries")
    assert [it["quantity"] for it in later["content"]["data"]["intervals"]] == ["1.5"]
    log = scene.items(scene.customer, "access-log")
    assert [(it["who"], it["permissionId"]) for it in log] == [("supplier", id_)] * 2
    assert [(it["event"], it["permissionId"]) for it in scene.items(scene.customer, "permission-log")] == [
        ("granted", id_)
    ]


def test_only_its_party_gets_the_data_of_a_permission(scene: Scene) -> None:
    id_ = scene.permitted()
    assert scene.party.get(f"{API}/permissions/{id_}/data").json()["data"]["intervals"][5]["quantity"] == "0.005"
    assert scene.rival.get(f"{API}/permissions/{id_}/data").status_code == 404
    assert scene.rival.get(f"{API}/permissions/{id_}").status_code == 404
    assert scene.rival.post(f"{API}/permissions/{id_}/termination").status_code == 404
    assert scene.neighbour.post(f"{API}/permissions/{id_}/revocation").status_code == 404
    assert scene.items(scene.rival, "deliveries") == scene.items(scene.rival, "permissions") == []
    assert scene.customer.get(f"{API}/permissions/{id_}/data").status_code == 403


def test_a_permission_covers_its_direction_and_period_alone(scene: Scene) -> None:
    scene.hub.take(POINT, DAY, ["0.5"] * 4, direction="production")
    id_ = scene.permitted(direction="production", readingStart=at(DAY + 900), readingEnd=at(DAY + 2700))
    data = scene.party.get(f"{API}/permissions/{id_}/data").json()["data"]
    assert [(it["direction"], it["start"]) for it in data["intervals"]] == [
        ("production", at(DAY + 900)), ("production", at(DAY + 1800)),
    ]  # fmt: skip
    (delivery,) = scene.items(scene.party, "deliveries")
    assert delivery["content"]["data"]["intervals"] == data["intervals"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"meteringPoint": "570000000000000000"}, "not-linked"),
        ({"eligibleParty": "nobody"}, "unknown-party"),
        ({"eligibleParty": "neighbour"}, "unknown-party"),
        ({"readingEnd": at(DAY)}, "period"),
        ({"maximumLifetime": at(NOW)}, "lifetime"),
    ],
)
def test_an_invalid_permission_is_none(scene: Scene, changes: dict[str, Any], code: str) -> None:
    answer = scene.permit(**changes)
    assert (codes(answer), answer["permission"]) == ([code], None)
    assert scene.items(scene.customer, "permissions") == []


def test_a_preset_becomes_a_permission(scene: Scene) -> None:
    preset = {
        "meteringPoint": None, "readingStart": at(DAY), "readingEnd": None, "direction": "consumption",
        "purpose": "advice", "transmissionSchedule": "once", "permissionExpiry": "2028-01-01T00:00:00Z",
    }  # fmt: skip
    made = scene.party.post(f"{API}/presets", json=preset).json()
    other = scene.party.post(f"{API}/presets", json={**preset, "meteringPoint": "570000000000000000"}).json()
    assert scene.items(scene.customer, "presets") == [made]
    assert scene.customer.get(f"{API}/presets/{other['presetId']}").status_code == 404
    given = {"meteringPoint": POINT, "product": "active", "maximumLifetime": "2027-01-01T00:00:00Z"}
    answer = scene.customer.post(f"{API}/presets/{made['presetId']}/permissions", json=given).json()
    assert answer["permission"] | {"eligibleParty": "supplier", "transmissionSchedule": "once"} == answer["permission"]
    assert scene.rival.delete(f"{API}/presets/{made['presetId']}").status_code == 404
    assert scene.party.delete(f"{API}/presets/{made['presetId']}").status_code == 204
    assert len(scene.items(scene.party, "permissions", state="active")) == 1


def test_a_preset_for_another_point_of_the_customer_is_refused(scene: Scene) -> None:
    second = "571313000000002017"
    scene.customer.post(f"{API}/metering-points", json={"meteringPoint": second})
    preset = {
        "meteringPoint": second, "readingStart": at(DAY), "readingEnd": None, "direction": "consumption",
        "purpose": "advice", "transmissionSchedule": "once", "permissionExpiry": "2028-01-01T00:00:00Z",
    }  # fmt: skip
    made = scene.party.post(f"{API}/presets", json=preset).json()
    given = {"meteringPoint": POINT, "product": "active", "maximumLifetime": "2027-01-01T00:00:00Z"}
    answer = scene.customer.post(f"{API}/presets/{made['presetId']}/permissions", json=given).json()
    assert codes(answer) == ["preset-point"]


@pytest.mark.parametrize("end", ["termination", "revocation", "move-out", "lifetime"])
def test_an_end_stops_delivery_at_once_and_everybody_is_told(scene: Scene, end: str) -> None:
    id_ = scene.permitted(maximumLifetime=at(NOW + 100))
    assert len(scene.items(scene.party, "deliveries")) == 1
    scene.hub.at(NOW + (100 if end == "lifetime" else 10))
    when = at(int(scene.hub.clock))
    if end == "termination":
        answer = scene.party.post(f"{API}/permissions/{id_}/termination")
    elif end == "revocation":
        answer = scene.customer.post(f"{API}/permissions/{id_}/revocation")
    elif end == "move-out":
        answer = scene.administrator.post(f"{API}/metering-points/{POINT}/move-out")
    if end != "lifetime":
        assert answer.status_code == 201, answer.text
    # Not even what was made before the end is given.
    assert scene.items(scene.party, "deliveries") == []
    assert scene.party.get(f"{API}/permissions/{id_}/data").status_code == 409
    item = "J" if end == "termination" else "L"
    for client in (scene.customer, scene.party, scene.administrator):
        assert scene.notices(client, id_) == ["I", item]
    (listed,) = scene.items(scene.customer, "permissions", state="ended")
    reasons = {
        "termination": "terminated by the party", "revocation": "revoked by the customer", "move-out": "moved out",
        "lifetime": "maximum lifetime",
    }  # fmt: skip
    assert (listed["permissionId"], listed["end"], listed["endReason"]) == (id_, when, reasons[end])
    assert scene.items(scene.customer, "permissions", state="active") == []
    event = "revoked" if end in ("revocation", "move-out") else "ended"
    assert [it["event"] for it in scene.items(scene.customer, "permission-log")] == ["granted", event]
    # An end is final.
    assert scene.party.post(f"{API}/permissions/{id_}/termination").status_code == 409
    assert scene.customer.post(f"{API}/permissions/{id_}/revocation").status_code == 409


def test_a_move_out_ends_every_permission_and_keeps_the_past_from_the_next_one(scene: Scene) -> None:
    ids = {scene.permitted(), scene.permitted(eligibleParty="aggregator")}
    made = scene.request()
    assert scene.customer.get(f"{API}/requests/{made['requestId']}/data").status_code == 200
    scene.hub.at(NOW + 50)
    left = scene.administrator.post(f"{API}/metering-points/{POINT}/move-out").json()
    assert {it["permissionId"] for it in left["revoked"]} == ids
    assert scene.administrator.post(f"{API}/metering-points/{POINT}/move-out").status_code == 404
    assert scene.customer.get(f"{API}/requests/{made['requestId']}/data").status_code == 409
    assert len(scene.items(scene.customer, "access-log")) == 1
    assert scene.neighbour.post(f"{API}/metering-points", json={"meteringPoint": POINT}).status_code == 201
    assert codes(scene.request(scene.neighbour)) == ["before-link"]
    assert codes(scene.permit(scene.neighbour)) == ["before-link"]
    missing = scene.neighbour.get(f"{API}/monthly-sums", params={"meteringPoint": POINT, "month": "2026-03"})
    assert missing.status_code == 404
    # Each sees the accesses of his own time.
    scene.hub.take(POINT, NOW + 100 - NOW % 900 + 900, ["1"])
    scene.hub.at(NOW + 4_000)
    own = scene.request(scene.neighbour, readingStart=at(NOW + 50), readingEnd=at(NOW + 4_000))
    assert scene.neighbour.get(f"{API}/requests/{own['requestId']}/data").status_code == 200
    for client, name in ((scene.neighbour, "neighbour"), (scene.customer, "customer")):
        assert [it["who"] for it in scene.items(client, "access-log")] == [name]


def test_monthly_sums_of_a_month_with_a_change_of_the_clock(scene: Scene) -> None:
    start = int(dt.datetime(2026, 2, 28, 23, tzinfo=dt.UTC).timestamp())
    scene.hub.at(NOW + 40 * 86_400)
    scene.hub.take("570715000000000010", start, ["0.250"] * 2972 + ["0.1"])
    (total,) = scene.items(scene.administrator, "monthly-sums", meteringPoint="570715000000000010", month="2026-03")
    # 31 days less one hour are 2972 quarter-hours; the one behind belongs to April.
    assert (total["sum"], total["expected"], total["intervals"], total["missing"]) == ("743.000", 2972, 2972, 0)
    assert (total["unit"], total["direction"]) == ("kWh", "consumption")


def test_lists_are_read_page_by_page(scene: Scene) -> None:
    ids = [scene.permitted() for _ in range(5)]
    found, after = [], 0
    while after is not None:
        answer = scene.customer.get(f"{API}/permissions", params={"limit": 2, "after": after}).json()
        found += [it["permissionId"] for it in answer["items"]]
        after = answer["next"]
    assert found == ids


@pytest.mark.parametrize(
    ("schedule", "last", "now", "due"),
    [
        ("once", None, "03-04T04:00", True),
        ("once", "03-04T04:00", "04-04T04:00", False),
        ("as-available", "03-04T04:00", "03-04T04:00", True),
        ("daily", "03-04T05:00", "03-04T05:59", False),
        ("daily", "03-04T05:59", "03-04T06:00", True),
        ("daily", "03-04T06:00", "03-05T05:59", False),
        ("monthly", "03-04T06:00", "03-31T23:59", False),
        ("monthly", "03-31T23:59", "04-01T00:00", True),
    ],
)
def test_when_a_transfer_is_due(schedule: str, last: str | None, now: str, due: bool) -> None:
    def second(text: str) -> int:
        return int(dt.datetime.fromisoformat(f"2026-{text}+00:00").timestamp())

    assert is_due(schedule, None if last is None else second(last), second(now)) is due


def test_what_comes_later_waits_for_the_schedule(scene: Scene) -> None:
    scene.permitted(transmissionSchedule="daily")
    scene.permitted(transmissionSchedule="once")
    for delivery in scene.items(scene.party, "deliveries"):
        scene.party.delete(f"{API}/deliveries/{delivery['deliveryId']}")
    scene.hub.take(POINT, DAY, ["3"])
    assert scene.items(scene.party, "deliveries") == []
    scene.hub.at(NOW + 86_400)
    (delivery,) = scene.items(scene.party, "deliveries")
    assert [it["quantity"] for it in delivery["content"]["data"]["intervals"]] == ["3"]
