"""The Estfeed-like profile over TLS: 202, a status to ask for, reports, full queues, messages that get lost."""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

SAMPLE = Path(__file__).parent / "samples" / "ee-estfeed" / "post-metering-data-electricity.json"
SEND = "/ee/api/v2/metering-data/electricity"
STATUS = "/ee/api/v2/metering-data/status"
METER = "38ZEE-1000009--Z"
#: 2026-03-04T08:00:00Z
NOW = 1_772_611_200


@pytest.fixture
def hub(hub_at: Callable[[float], Any]) -> Any:
    found = hub_at(NOW)
    found.sandbox.options.delay_s = 0.0
    return found


@pytest.fixture
def client(hub: Any) -> httpx.Client:
    return hub.client("gridco", certificate=False)


def body() -> Any:
    return json.loads(SAMPLE.read_text())["body"]


def number(n: int) -> str:
    return f"{n:08x}-0000-4000-8000-000000000000"


def headers(n: int, **change: str) -> dict[str, str]:
    fields = {
        "x-document-identification": number(n),
        "x-market-participant-eic": "38X-EIN-ALL----B",
        "x-market-participant-role": "GRID_OPERATOR",
        "x-commodity-type": "ELECTRICITY",
        "Content-Type": "application/json; charset=UTF-8",
    }
    return fields | {name.replace("_", "-"): value for name, value in change.items()}


def status(client: httpx.Client, n: int) -> httpx.Response:
    return client.get(STATUS, params={"documentIdentification": number(n)})


def judged(client: httpx.Client, n: int) -> Any:
    deadline = time.monotonic() + 60
    while (found := status(client, n).json())["status"] == "PROCESSING":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def sent(client: httpx.Client, n: int, message: Any) -> Any:
    """Send a message that is received, and give its final status."""
    answer = client.post(SEND, json=message, headers=headers(n))
    assert (answer.status_code, answer.content) == (202, b""), answer.text
    return judged(client, n)


def test_the_sample_is_accepted_and_is_an_effect_each_way(hub: Any, client: httpx.Client) -> None:
    found = sent(client, 1, body())
    assert (found["status"], found["documentIdentification"]) == ("SUCCESSFUL", number(1))
    production, consumption = hub.effects()
    assert (production["direction"], consumption["direction"]) == ("production", "consumption")
    assert {value[1] for value in production["values"]} == {"0.0"}
    assert (consumption["start"], consumption["end"]) == (1_772_488_800, 1_772_575_200)
    assert consumption["values"][:2] == [[1_772_488_800, "0.125", "A04"], [1_772_489_700, "0.13", "A04"]]
    assert (consumption["point"], consumption["resolution"], len(consumption["values"])) == (METER, "PT15M", 96)


def test_a_message_is_received_once_and_a_correction_is_a_new_version(hub: Any, client: httpx.Client) -> None:
    sent(client, 1, body())
    answer = client.post(SEND, json=body(), headers=headers(1))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "opp.error.business.metering-data-is-duplicated"
    assert status(client, 1).json()["status"] == "SUCCESSFUL"
    changed = body()
    quantity = changed["meteringData"][0]["periods"][0]["aI"][0]["outQty"]
    quantity |= {"kwh": 9.5, "rType": "E"}
    assert sent(client, 2, changed)["status"] == "SUCCESSFUL"
    found = [(e["direction"], e["version"], e["unchanged"], e["values"][0][1:]) for e in hub.effects()]
    assert found[2:] == [("production", 2, True, ["0.0", "A04"]), ("consumption", 2, False, ["9.5", "A03"])]


def test_a_status_is_ones_own_and_has_an_end(hub: Any, client: httpx.Client) -> None:
    wrong = body()
    wrong["meteringData"][0]["periods"][0]["r"] = "PT30M"
    found = sent(client, 1, wrong)
    assert found["errors"][0]["code"] == "opp.error.business.wrong-resolution"
    other = hub.client("othergrid", certificate=False)
    assert status(other, 1).status_code == 404
    assert status(client, 2).status_code == 404
    assert client.get(STATUS).status_code == 400
    hub.sandbox.options.token_s = 10_000_000
    late = hub.client("gridco", certificate=False)
    hub.clock = NOW + 8 * 86_400
    assert status(late, 1).json()["status"] == "ERROR"
    assert "errors" not in status(late, 1).json()
    hub.clock = NOW + 31 * 86_400
    assert status(late, 1).status_code == 404


def interval(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message["meteringData"][0]["periods"][0]["aI"][7]
    return found


WRONG: list[tuple[Callable[[Any], object], str]] = [
    (lambda m: m["meteringData"][0].update(meterEic="short"), "sandbox.error.metering-point-not-found"),
    (lambda m: m["meteringData"][0]["periods"][0].update(r="PT5M"), "opp.error.business.wrong-resolution"),
    (lambda m: interval(m).update(pS="2026-03-03T00:07:00+02:00"), "sandbox.error.invalid-period-start"),
    (lambda m: interval(m).update(pS="2026-03-03T00:15:00"), "sandbox.error.invalid-period-start"),
    (lambda m: interval(m).update(pS="2026-03-03T00:15:00+02:00"), "opp.error.business.metering-data-is-duplicated"),
    (lambda m: interval(m).update(pS="2026-04-19T00:00:00Z"), "opp.error.business.period-start-too-far-in-future"),
    (lambda m: interval(m).update(pS="2025-02-19T00:00:00Z"), "sandbox.error.period-start-too-old"),
    (lambda m: interval(m)["outQty"].update(kwh=-1), "sandbox.error.invalid-quantity"),
    (lambda m: interval(m)["outQty"].update(kwh=0.1234), "sandbox.error.invalid-quantity"),
    (lambda m: interval(m)["outQty"].update(kwh=1e300), "sandbox.error.invalid-quantity"),
]


@pytest.mark.parametrize(("change", "code"), WRONG)
def test_one_bad_value_fails_the_whole_message(
    hub: Any, client: httpx.Client, change: Callable[[Any], object], code: str
) -> None:
    message = body()
    change(message)
    found = sent(client, 1, message)
    assert (found["status"], {error["code"] for error in found["errors"]}) == ("ERROR", {code})
    assert hub.effects() == []


def test_master_data_is_compared(hub: Any, client: httpx.Client) -> None:
    admin = hub.admin()
    admin.put("/control/points", json={"profile": "ee", "points": {METER: {"owner": "38X-OTHER-GRID-C"}}})
    found = sent(client, 1, body())
    assert {e["code"] for e in found["errors"]} == {"opp.error.business.market-participant-mismatch-error"}
    admin.put("/control/points", json={"profile": "ee", "points": {METER: {"resolution": "PT1H"}}})
    assert sent(client, 2, body())["errors"][0]["code"] == "opp.error.business.wrong-resolution"
    admin.put("/control/points", json={"profile": "ee", "points": {METER: None}})
    admin.patch("/control/options", json={"points": "registered"})
    assert sent(client, 3, body())["errors"][0]["code"] == "sandbox.error.metering-point-not-found"


def test_a_gap_is_no_fault_and_unchanged_is_reported_or_rejected(hub: Any, client: httpx.Client) -> None:
    message = body()
    del message["meteringData"][0]["periods"][0]["aI"][10:20]
    assert sent(client, 1, message)["status"] == "SUCCESSFUL"
    assert len(hub.effects()[0]["values"]) == 86
    assert sent(client, 2, message)["status"] == "SUCCESSFUL"
    notes = [json.loads(line)["what"] for line in hub.admin().get("/control/notes").text.splitlines()]
    assert notes == ["unchanged", "unchanged"]
    hub.sandbox.options.reject_unchanged = True
    assert sent(client, 3, message)["errors"][0]["code"] == "opp.error.business.metering-data-is-duplicated"
    assert len(hub.effects()) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(other=1),
        lambda m: m.update(meteringData=[]),
        lambda m: m["meteringData"][0].pop("meterEic"),
        lambda m: m["meteringData"][0]["periods"][0].update(aI=[]),
        lambda m: interval(m).pop("pS"),
        lambda m: [interval(m).pop("inQty"), interval(m).pop("outQty")],
        lambda m: interval(m).update(more=1),
        lambda m: interval(m)["outQty"].update(kwh="1"),
        lambda m: interval(m)["outQty"].update(kwh=True),
        lambda m: interval(m)["outQty"].update(rType="X"),
        lambda m: interval(m)["outQty"].pop("kwh"),
        lambda m: interval(m).update(outQty=None),
        lambda m: m["meteringData"][0]["periods"][0].update(aI=[interval(m)] * 35_041),
    ],
)
def test_what_is_no_message(hub: Any, client: httpx.Client, change: Callable[[Any], object]) -> None:
    message = copy.deepcopy(body())
    change(message)
    answer = client.post(SEND, json=message, headers=headers(1))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "sandbox.error.invalid-message")
    assert status(client, 1).status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x_document_identification": "1"}, 400),
        ({"x_commodity_type": "NATURAL_GAS"}, 400),
        ({"x_market_participant_role": "OPEN_SUPPLIER"}, 403),
        ({"x_market_participant_eic": "38X-OTHER-GRID-C"}, 403),
        ({"Content_Type": "application/xml"}, 415),
    ],
)
def test_header_fields(client: httpx.Client, change: dict[str, str], code: int) -> None:
    fields = headers(1) | {name.replace("_", "-"): value for name, value in change.items()}
    answer = client.post(SEND, json=body(), headers=fields)
    assert (answer.status_code, answer.text.count("\n")) == (code, 1)


def test_a_full_queue_answers_503(hub: Any, client: httpx.Client) -> None:
    hub.admin().patch("/control/options", json={"queue_length": 2, "queue_retry_s": 7, "delay_s": 3600})
    answers = [client.post(SEND, json=body(), headers=headers(n)) for n in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert answers[2].headers["Retry-After"] == "7"
    assert [status(client, n).status_code for n in range(3)] == [200, 200, 404]
    assert status(client, 0).json()["status"] == "PROCESSING"


def test_accepted_but_lost_never_gets_a_status_and_may_be_sent_again(hub: Any, client: httpx.Client) -> None:
    hub.sandbox.faults.set("lost", {"p": 1, "count": 1})
    assert client.post(SEND, json=body(), headers=headers(1)).status_code == 202
    assert status(client, 1).status_code == 404
    assert sent(client, 1, body())["status"] == "SUCCESSFUL"
    assert [effect["version"] for effect in hub.effects()] == [1, 1]
