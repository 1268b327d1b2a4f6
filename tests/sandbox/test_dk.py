"""The Danish profile over TLS: what it takes, refuses, rejects later, and gives to fetch."""

import asyncio
import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.sandbox import dk

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


def test_xml_and_json_mean_the_same(hub: Any, client: httpx.Client) -> None:
    body = (SAMPLES / "rsm012-pt15m-96points.xml").read_bytes()
    assert client.post(NOTIFY, content=body, headers=XML).status_code == 202
    other = hub.client("othergrid", certificate=False)
    document = json.loads(
        (SAMPLES / "rsm012-pt15m-96points.json").read_text().replace("5799999933318", "5790000432752")
    )
    assert other.post(NOTIFY, json=document).status_code == 202
    by_xml, by_json = until(lambda: len(found := hub.effects()) == 2 and found)
    for effect in (by_xml, by_json):
        for key in ("n", "at", "party", "version", "unchanged"):
            effect.pop(key)
    assert by_xml == by_json


def test_an_id_is_used_once_and_a_correction_is_a_new_version(
    hub: Any, client: httpx.Client, message: Callable[..., dict[str, Any]]
) -> None:
    first = message()
    assert judged(hub, client, first) == []
    assert codes(client.post(NOTIFY, json=first)) == ["00101"]
    assert codes(client.post(NOTIFY, json=message(mRID=first[DOCUMENT]["mRID"]))) == ["00101"]
    again = message(lambda series: series.update(mRID=first[DOCUMENT]["Series"][0]["mRID"]))
    assert codes(client.post(NOTIFY, json=again)) == ["00102"]
    # After a 400 the id of the message is still free.
    again[DOCUMENT]["Series"][0]["mRID"] = "a-new-transaction"
    again[DOCUMENT]["Series"][0]["Period"]["Point"][3]["quantity"] = 7.25
    assert judged(hub, client, again) == []
    assert [(e["version"], e["unchanged"], e["values"][3][1]) for e in hub.effects()] == [
        (1, False, "0.14"),
        (2, False, "7.25"),
    ]
    other = hub.client("othergrid", certificate=False)
    first[DOCUMENT]["sender_MarketParticipant.mRID"]["value"] = "5790000432752"
    assert other.post(NOTIFY, json=first).status_code == 202


def test_what_changes_nothing_is_reported_or_rejected(
    hub: Any, client: httpx.Client, message: Callable[..., dict[str, Any]]
) -> None:
    assert judged(hub, client, message()) == []
    assert judged(hub, client, message()) == []
    assert [effect["unchanged"] for effect in hub.effects()] == [False, True]
    (note,) = [json.loads(line) for line in hub.admin().get("/control/notes").text.splitlines()]
    assert (note["what"], note["point"]) == ("unchanged", "571313000000002000")
    hub.sandbox.options.reject_unchanged = True
    assert judged(hub, client, message()) == ["E87"]
    assert len(hub.effects()) == 2


def _head(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.update({name.replace("__", "."): value for name, value in change.items()})


def _twice(body: dict[str, Any]) -> None:
    body["Series"] *= 2


def _transaction(id_: str) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["Series"][0].update(mRID=id_)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_head(sender_MarketParticipant__mRID={"codingScheme": "A10", "value": "5790000432752"}), ["00002"]),
        (_head(sender_MarketParticipant__marketRole__type={"value": "EZ"}), ["00001", "00003"]),
        (_head(sender_MarketParticipant__marketRole__type={"value": "DDQ"}), ["00003"]),
        (_head(receiver_MarketParticipant__mRID={"codingScheme": "A10", "value": "5790000432752"}), ["00303"]),
        (_head(receiver_MarketParticipant__marketRole__type={"value": "DDQ"}), ["00304"]),
        (_head(type={"value": "E73"}), ["00401"]),
        (_head(process__processType={"value": "E30"}), ["00402"]),
        (_head(businessSector__type={"value": "27"}), ["00403"]),
        (_head(mRID=""), ["00201"]),
        (_head(mRID="m" * 37), ["00205"]),
        (_transaction(" "), ["00202"]),
        (_transaction("t" * 37), ["00305"]),
        (_twice, ["00102"]),
        (_head(mRID="", type={"value": "E73"}), ["00401", "00201"]),
        (_head(createdDateTime="yesterday"), ["00302"]),
        (_head(surprise=1), ["00302"]),
    ],
)
def test_what_is_refused_at_once(
    hub: Any,
    client: httpx.Client,
    message: Callable[..., dict[str, Any]],
    change: Callable[[dict[str, Any]], None],
    expected: list[str],
) -> None:
    document = message()
    change(document[DOCUMENT])
    answer = client.post(NOTIFY, json=document)
    assert codes(answer) == expected
    details = answer.json()["Error"]
    for detail in details.get("Details", [details]):
        assert set(detail) == {"Code", "Message", "Target"}
    assert hub.effects() == []


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"{", JSON, ["00302"]),
        (b'{"a": NaN}', JSON, ["00302"]),
        (b"[" * 100_000, JSON, ["00302"]),
        (b'{"Other_MarketDocument": {}}', JSON, ["00301"]),
        (b'"text"', JSON, ["00301"]),
        (b"\xff\xfe\x00", JSON, ["00302"]),
        (b'{"a": ' + b"9" * 10_000 + b"}", JSON, ["00302"]),
        (b"<a/>", XML, ["00301"]),
        (b"<a", XML, ["00302"]),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', XML, ["00302"]),
        (b"<cim:NotifyValidatedMeasureData_MarketDocument xmlns:cim='urn:other'/>", XML, ["00301"]),
        (
            '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"),
            XML,
            ["00302"],
        ),
    ],
)
def test_what_is_no_document(client: httpx.Client, body: bytes, headers: dict[str, str], expected: list[str]) -> None:
    answer = client.post(NOTIFY, content=body, headers=headers)
    assert codes(answer) == expected
    assert "\n" not in answer.json()["Error"]["Message"]


def test_points_that_are_not_plain_are_held_against_the_schema(
    client: httpx.Client, message: Callable[..., dict[str, Any]]
) -> None:
    good = message()
    wrong: list[Any] = [
        {"position": {"value": 0}},
        {"position": {"value": 1_000_000}},
        {"position": {"value": True}},
        {"position": {"value": "1"}},
        {"position": {"value": 1}, "quantity": "0.1"},
        {"position": {"value": 1}, "quantity": None},
        {"position": {"value": 1}, "quantity": True},
        {"position": {"value": 1}, "quality": {"value": "A99"}},
        {"position": {"value": 1}, "quality": None},
        {"position": {"value": 1}, "quality": {"value": "A04", "other": 1}},
        {"position": {"value": 1}, "other": 1},
        {"position": {"value": 1, "other": 1}},
        {"position": 1},
        {},
        [],
    ]
    for point in wrong:
        document = copy.deepcopy(good)
        document[DOCUMENT]["Series"][0]["Period"]["Point"][5] = point
        assert codes(client.post(NOTIFY, json=document)) == ["00302"], point
    document[DOCUMENT]["Series"][0]["Period"]["Point"] = []
    assert codes(client.post(NOTIFY, json=document)) == ["00302"]
    assert client.post(NOTIFY, json=good).status_code == 202


def period(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda series: series["Period"].update(change)


def interval(start: str, end: str) -> Callable[[dict[str, Any]], None]:
    return period(timeInterval={"start": {"value": start}, "end": {"value": end}})


def series_(**change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda series: series.update({name.replace("__", "."): value for name, value in change.items()})


def at(index: int, **change: Any) -> Callable[[dict[str, Any]], None]:
    def apply(series: dict[str, Any]) -> None:
        point = series["Period"]["Point"][index]
        point.pop("quality", None)
        point.update(change)
        if change.get("quantity", 0) is None:
            del point["quantity"]

    return apply


RULES = [
    (series_(marketEvaluationPoint__mRID={"codingScheme": "A10", "value": "5713"}), ["E10"]),
    (period(resolution="PT30M"), ["D23", "E87"]),
    (period(resolution="P1M"), ["D23", "E87"]),
    (series_(quantity_Measure_Unit__name={"value": "MWH"}), ["E73"]),
    (at(4, quality={"value": "A01"}), ["D12"]),
    (at(4, quality={"value": "A06"}), ["D12"]),
    (at(4, quality={"value": "A02"}), ["D12"]),
    (at(4, quantity=-0.001), ["E86"]),
    (at(4, quantity=None), ["E86"]),
    (at(4, quantity=0.1234), ["E89"]),
    (at(4, quantity=12345678901), ["E89"]),
    (at(4, position={"value": 6}), ["E87"]),
    (lambda series: series["Period"]["Point"].pop(), ["E87"]),
    (interval("2026-03-03T23:00Z", "2026-03-02T23:00Z"), ["E50", "E87"]),
    (interval("2026-03-02T23:00Z", "2026-03-03T02:45Z"), ["E50", "E87"]),
    (interval("2026-03-02T23:05Z", "2026-03-03T23:05Z"), ["D66"]),
    (interval("2022-03-02T23:00Z", "2022-03-03T23:00Z"), ["E17"]),
    (at(4, quality={"value": "A02"}, quantity=None), []),
    (at(4, quality={"value": "A03"}), []),
    (at(4, quantity=9999999999.999), []),
]


@pytest.mark.parametrize(("change", "expected"), RULES)
def test_what_is_rejected_later(
    hub: Any,
    client: httpx.Client,
    message: Callable[..., dict[str, Any]],
    change: Callable[[dict[str, Any]], None],
    expected: list[str],
) -> None:
    assert judged(hub, client, message(change)) == expected
    assert len(hub.effects()) == (not expected)


def test_a_number_that_would_fill_the_memory_is_a_rejected_one(
    hub: Any, client: httpx.Client, message: Callable[..., dict[str, Any]]
) -> None:
    body = json.dumps(message(at(4, quantity=77))).replace('"quantity": 77', '"quantity": 1e999999999')
    assert client.post(NOTIFY, content=body, headers=JSON).status_code == 202
    peeked = until(lambda: (a := client.get("/dk/v1.0/cim/Timeseries", headers=JSON)).status_code == 200 and a)
    assert peeked.json()["Acknowledgement_MarketDocument"]["Series"][0]["Reason"][0]["code"]["value"] == "E89"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"type": "E18"}, ["D18"]),
        ({"state": "closed-down"}, ["D16"]),
        ({"subtype": "calculated"}, ["D37"]),
        ({"owner": "5790000432752"}, ["D50"]),
        ({"resolution": "PT1H"}, ["D23"]),
        ({"unit": "K3"}, ["E73"]),
        ({"type": "E17", "resolution": "PT15M", "unit": "KWH", "owner": "5799999933318", "subtype": "virtual"}, []),
        (None, ["E10"]),
    ],
)
def test_master_data_is_compared(
    hub: Any,
    client: httpx.Client,
    message: Callable[..., dict[str, Any]],
    facts: dict[str, str] | None,
    expected: list[str],
) -> None:
    admin = hub.admin()
    assert admin.patch("/control/options", json={"points": "registered"}).json()["points"] == "registered"
    answer = admin.put("/control/points", json={"points": {"571313000000002000": facts}})
    assert answer.json() == {"points": 1}
    assert admin.get("/control/points").json() == ({} if facts is None else {"571313000000002000": facts})
    assert judged(hub, client, message()) == expected


def test_days_of_23_and_25_hours(hub: Any, client: httpx.Client) -> None:
    for name, hours in (("rsm012-pt15m-92points-dst-spring.json", 23), ("rsm012-pt15m-100points-dst-autumn.json", 25)):
        assert judged(hub, client, sample(name)) == []
        assert len(hub.effects()[-1]["values"]) == 4 * hours


def test_a_bundle_stays_until_it_is_dequeued(
    hub: Any, client: httpx.Client, message: Callable[..., dict[str, Any]]
) -> None:
    for _ in range(2):
        assert client.post(NOTIFY, json=message(period(resolution="PT1H"))).status_code == 202
    until(lambda: hub.admin().get("/control").json()["waiting"] == {"dk": 2})
    peek = lambda headers=JSON: client.get("/dk/v1.0/cim/Timeseries", headers=headers)  # noqa: E731
    first = peek()
    assert first.headers["MessageType"] == "Acknowledgement"
    assert (peek().content, peek().headers["MessageId"]) == (first.content, first.headers["MessageId"])
    assert peek(XML).headers["MessageId"] == first.headers["MessageId"]
    assert client.delete("/dk/v1.0/cim/dequeue/unknown").status_code == 400
    other = hub.client("othergrid", certificate=False)
    assert other.get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204
    assert other.delete(f"/dk/v1.0/cim/dequeue/{first.headers['MessageId']}").status_code == 400
    assert client.delete(f"/dk/v1.0/cim/dequeue/{first.headers['MessageId']}").status_code == 200
    assert client.delete(f"/dk/v1.0/cim/dequeue/{first.headers['MessageId']}").status_code == 400
    second = peek()
    assert second.headers["MessageId"] != first.headers["MessageId"]
    assert client.get("/dk/v1.0/cim/Aggregations", headers=JSON).status_code == 204
    assert client.delete(f"/dk/v1.0/cim/dequeue/{second.headers['MessageId']}").status_code == 200
    assert peek().status_code == 204


def test_media_types_and_paths(client: httpx.Client) -> None:
    answer = client.post(NOTIFY, content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert "application/json, application/xml, application/ebix" in answer.text
    assert client.get("/dk/v1.0/cim/Timeseries", headers={"Accept": "application/xml"}).status_code == 204
    assert client.get("/dk/v1.0/cim/Timeseries").status_code == 415
    assert client.get("/dk/v1.0/cim/Other", headers=JSON).status_code == 404
    assert client.post("/dk/v1.0/cim/other", json={}).status_code == 404
    assert client.post(NOTIFY, content=b"{}", headers=JSON | {"Content-Encoding": "gzip"}).status_code == 415


def test_a_large_document_is_rejected_in_bundles(
    hub: Any, client: httpx.Client, message: Callable[..., dict[str, Any]]
) -> None:
    hub.sandbox.options.bundle = 3
    document = message(period(resolution="PT1H"))
    series = document[DOCUMENT]["Series"][0]
    document[DOCUMENT]["Series"] = [{**series, "mRID": f"transaction {i}"} for i in range(7)]
    assert client.post(NOTIFY, json=document).status_code == 202
    until(lambda: hub.admin().get("/control").json()["waiting"] == {"dk": 3})
    found = []
    while (peeked := client.get("/dk/v1.0/cim/Timeseries", headers=JSON)).status_code == 200:
        found += [entry["mRID"] for entry in peeked.json()["Acknowledgement_MarketDocument"]["Series"]]
        client.delete(f"/dk/v1.0/cim/dequeue/{peeked.headers['MessageId']}")
    assert found == [f"transaction {i}" for i in range(7)]


def test_two_parallel_posts_of_one_message_can_both_be_processed(
    hub: Any, client: httpx.Client, message: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser is told that it is a duplicate, and is processed."""
    inside: list[float] = []

    async def until_both_are_inside(seconds: float) -> None:
        inside.append(seconds)
        while len(inside) < 2:
            await asyncio.sleep(0.01)

    monkeypatch.setattr(dk, "asyncio", SimpleNamespace(sleep=until_both_are_inside))
    hub.sandbox.options.race_s = 1.0
    document, answers = message(), []
    other = hub.client("gridco", certificate=False)
    threads = [
        threading.Thread(target=lambda c=c: answers.append(c.post(NOTIFY, json=document))) for c in (client, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answer.status_code for answer in answers) == [202, 400]
    assert inside == [1.0, 1.0]
    effects = until(lambda: len(found := hub.effects()) == 2 and found)
    assert effects[0]["transaction"] == effects[1]["transaction"]
    assert codes(client.post(NOTIFY, json=document)) == ["00101"]


def test_what_waited_for_judgement_is_judged_after_a_restart(
    hub_at: Callable[..., Any], message: Callable[..., dict[str, Any]]
) -> None:
    hub = hub_at(NOW)
    hub.sandbox.options.delay_s = 3600.0
    assert hub.client("gridco").post(NOTIFY, json=message()).status_code == 202
    hub.restart()
    assert hub.effects() == []
    assert hub.admin().get("/control").json()["pending"] == {"dk": 1}
    hub.stored("UPDATE pending SET due = 0")
    assert until(hub.effects)[0]["version"] == 1


#: every sample: what is posted where, and the codes of the answer (None: 202)
POSTED = [
    ("rsm012-pt15m-96points.json", NOTIFY, None),
    ("rsm012-pt15m-92points-dst-spring.json", NOTIFY, None),
    ("rsm012-pt15m-100points-dst-autumn.json", NOTIFY, None),
    ("rsm012-pt1h-24points.json", NOTIFY, None),
    ("rsm012-pt15m-96points.xml", NOTIFY, None),
    # Upstream test data: it fits the schema; what is wrong with it is for the business rules.
    ("IncomingMessages__MeteredDataForMeteringPoint.json", NOTIFY, None),
    ("IncomingMessages__MeteredDataForMeteringPoint.xml", NOTIFY, None),
    ("IncomingMessages__EbixMeteredDataForMeteringPoint.xml", NOTIFY, ["00301"]),
    ("IncomingMessages__RequestAggregatedMeasureDataAsDdk.json", NOTIFY, ["00301"]),
    ("IncomingMessages__RequestAggregatedMeasureDataAsMdr.json", NOTIFY, ["00301"]),
    ("IncomingMessages__FailSchemeValidationAggregatedMeasureData.json", NOTIFY, ["00301"]),
    ("MessageParsers__Json__RequestValidatedMeasurements__ValidRequestValidatedMeasurements.json", NOTIFY, ["00301"]),
    ("MessageParsers__Xml__RequestValidatedMeasurements__ValidRequestValidatedMeasurements.xml", NOTIFY, ["00301"]),
    ("rsm009-reject.json", NOTIFY, ["00301"]),
    ("rsm009-reject.xml", NOTIFY, ["00301"]),
    ("brs028-request-wholesale.json", NOTIFY, ["00301"]),
    ("brs028-request-wholesale.json", WHOLESALE, None),
    ("IncomingMessages__RequestWholesaleSettlement.json", WHOLESALE, None),
    ("IncomingMessages__RequestWholesaleSettlementWithUnusedBusinessReason.json", WHOLESALE, ["00402"]),
    ("IncomingMessages__FailSchemeValidationRequestWholesaleSettlement.json", WHOLESALE, ["00302"]),
    ("brs028-reject.json", WHOLESALE, ["00301"]),
    ("rsm018-reminder.json", WHOLESALE, ["00301"]),
    ("rsm019-notify-wholesale-monthly.json", WHOLESALE, ["00301"]),
]


@pytest.mark.parametrize(("name", "path", "expected"), POSTED)
def test_every_sample_is_accepted_or_refused_as_it_should(
    client: httpx.Client, name: str, path: str, expected: list[str] | None
) -> None:
    answer = client.post(path, content=(SAMPLES / name).read_bytes(), headers=XML if name.endswith("xml") else JSON)
    assert (None if answer.status_code == 202 else codes(answer)) == expected


def test_no_sample_is_left_out() -> None:
    twins = {"ValidRequestValidatedMeasurementsWithTwoTransactions", "Ebix__RequestValidatedMeasurements"}
    left = {path.name for path in SAMPLES.iterdir()} - {name for name, _, _ in POSTED} - {"README.md"}
    assert not {name for name in left if not any(twin in name for twin in twins)}
