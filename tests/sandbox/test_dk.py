"""The Danish profile over TLS: what it takes, refuses, rejects later, and gives to fetch."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

SAMPLES = Path(__file__).parent / "samples" / "dk-datahub3"
NOTIFY = "/dk/v1.0/cim/notifyvalidatedmeasuredata"
WHOLESALE = "/dk/v1.0/cim/requestwholesalesettlement"
DOCUMENT = "NotifyValidatedMeasureData_MarketDocument"
#: 2026-04-02T08:00:00Z
NOW = 1_775_116_800
JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml"}


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_text("utf-8-sig"))


@pytest.fixture
def hub(hub_at: Callable[[float], Any]) -> Any:
    found = hub_at(NOW)
    found.sandbox.options.delay_s = 0.0
    return found


@pytest.fixture
def client(hub: Any) -> httpx.Client:
    return hub.client("gridco", certificate=False)


@pytest.fixture
def numbers() -> Iterator[str]:
    return (f"{n:08d}-0000-4000-8000-000000000000" for n in range(1_000_000))


@pytest.fixture
def message(numbers: Iterator[str]) -> Callable[..., dict[str, Any]]:
    """`message()` is a new RSM-012 of one series of a day; its series and its head may be changed."""
    made = sample("rsm012-pt15m-96points.json")

    def make(change: Callable[[dict[str, Any]], object] | None = None, **head: Any) -> dict[str, Any]:
        document = copy.deepcopy(made)
        body = document[DOCUMENT]
        body["mRID"], body["Series"][0]["mRID"] = next(numbers), next(numbers)
        body |= {name.replace("__", "."): value for name, value in head.items()}
        if change:
            change(body["Series"][0])
        return document

    return make


def until(found: Callable[[], Any]) -> Any:
    """Wait until something is true, generously."""
    deadline = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def judged(hub: Any, client: httpx.Client, document: dict[str, Any]) -> list[str]:
    """Send a message that is accepted, and say with which codes it was rejected later: none for accepted."""
    answer = client.post(NOTIFY, json=document)
    assert (answer.status_code, answer.content) == (202, b"")
    until(lambda: hub.admin().get("/control").json()["pending"] == {})
    peeked = client.get("/dk/v1.0/cim/Timeseries", headers=JSON)
    if peeked.status_code == 204:
        return []
    acknowledgement = peeked.json()["Acknowledgement_MarketDocument"]
    assert acknowledgement["received_MarketDocument.mRID"] == document[DOCUMENT]["mRID"]
    assert acknowledgement["Series"][0]["mRID"] == document[DOCUMENT]["Series"][0]["mRID"]
    assert client.delete(f"/dk/v1.0/cim/dequeue/{peeked.headers['MessageId']}").status_code == 200
    return [reason["code"]["value"] for reason in acknowledgement["Series"][0]["Reason"]]


def codes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 400, answer.text
    error = answer.json()["Error"]
    return [detail["Code"] for detail in error["Details"]] if error["Code"] == "BadRequest" else [error["Code"]]


def test_a_day_is_accepted_and_is_one_effect(hub: Any, client: httpx.Client) -> None:
    document = sample("rsm012-pt15m-96points.json")
    assert judged(hub, client, document) == []
    (effect,) = hub.effects(profile="dk")
    series = document[DOCUMENT]["Series"][0]
    assert {key: effect[key] for key in ("point", "direction", "start", "end", "resolution", "unit", "version")} == {
        "point": "571313000000002000",
        "direction": "consumption",
        "start": 1_772_492_400,
        "end": 1_772_578_800,
        "resolution": "PT15M",
        "unit": "KWH",
        "version": 1,
    }
    assert (effect["document"], effect["transaction"]) == (document[DOCUMENT]["mRID"], series["mRID"])
    sent = [
        [1_772_492_400 + 900 * i, p.get("quantity"), p.get("quality")] for i, p in enumerate(series["Period"]["Point"])
    ]
    for (when, kwh, quality), told in zip(sent, effect["values"], strict=True):
        assert told == [when, None if kwh is None else str(kwh), quality["value"] if quality else "A04"]
