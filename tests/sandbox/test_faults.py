"""Fault switches: each one seen by a client over TLS, and what it leaves in the store."""

import email.utils
import json
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox import faults

SAMPLE = Path(__file__).parent / "samples" / "dk-datahub3" / "rsm012-pt15m-96points.json"
NOTIFY = "/dk/v1.0/cim/notifyvalidatedmeasuredata"
JSON = {"Content-Type": "application/json"}
#: 2026-04-02T08:00:00Z
NOW = 1_775_116_800
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.fixture
def hub(hub_at: Callable[[float], Any]) -> Any:
    found = hub_at(NOW)
    found.sandbox.options.delay_s = 0.0
    return found


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Any:
    """What goes wrong on purpose is no error of ours in the log."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.records] == []


@pytest.fixture
def client(hub: Any) -> httpx.Client:
    return hub.client("gridco", certificate=False)


def send(client: httpx.Client) -> httpx.Response:
    return client.post(NOTIFY, content=SAMPLE.read_bytes(), headers=JSON)


def on(hub: Any, name: str, **settings: Any) -> None:
    answer = hub.admin().put("/control/faults", json={name: {"p": 1, "count": 1} | settings})
    assert answer.status_code == 200, answer.text


def is_there(client: httpx.Client) -> bool:
    """Say whether the message was taken: then it is a duplicate now."""
    answer = send(client)
    if answer.status_code == 202:
        return False
    assert answer.json()["Error"]["Code"] == "00101"
    return True


def effects(hub: Any, count: int) -> list[dict[str, Any]]:
    """Every effect, when nothing waits any more."""
    deadline = time.monotonic() + 60
    while hub.admin().get("/control").json()["pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found = hub.effects()
    assert len(found) == count
    return list(found)


@pytest.mark.parametrize(("name", "kept"), [("drop_request", False), ("drop_response", True)])
def test_a_connection_breaks_before_or_after_the_commit(hub: Any, client: httpx.Client, name: str, kept: bool) -> None:
    on(hub, name)
    with pytest.raises(BROKEN):
        send(client)
    assert is_there(client) is kept
    effects(hub, 1)


def test_accepted_but_lost(hub: Any, client: httpx.Client) -> None:
    on(hub, "lost")
    assert send(client).status_code == 202
    effects(hub, 0)
    (note,) = [json.loads(line) for line in hub.admin().get("/control/notes").text.splitlines()]
    assert note["what"] == "lost"
    assert not is_there(client)
    effects(hub, 1)


def test_a_request_that_is_processed_twice_gets_the_second_answer(hub: Any, client: httpx.Client) -> None:
    on(hub, "duplicate")
    answer = send(client)
    assert (answer.status_code, answer.json()["Error"]["Code"]) == (400, "00101")
    effects(hub, 1)


def test_slow(hub: Any, client: httpx.Client) -> None:
    on(hub, "slow", value=0.5)
    began = time.monotonic()
    assert send(client).status_code == 202
    assert time.monotonic() - began >= 0.4
    on(hub, "slow", value=0.5)
    began = time.monotonic()
    answer = send(client)
    assert (answer.status_code, answer.json()["Error"]["Code"]) == (400, "00101")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(("name", "kept"), [("error", False), ("error_after", True)])
@pytest.mark.parametrize("status", [404, 503])
def test_a_status_before_or_after_the_commit(
    hub: Any, client: httpx.Client, name: str, kept: bool, status: int
) -> None:
    on(hub, name, value=status)
    answer = send(client)
    assert (answer.status_code, answer.text) == (status, f"this is the fault `{name}`\n")
    assert is_there(client) is kept


def test_overload(hub: Any, client: httpx.Client) -> None:
    on(hub, "overload", value=7, count=2)
    answers = [send(client) for _ in range(2)]
    assert [(a.status_code, a.headers["Retry-After"]) for a in answers] == [(429, "7"), (503, "7")]
    on(hub, "overload_date", value=60)
    answer = send(client)
    assert answer.status_code == 503
    assert email.utils.parsedate_to_datetime(answer.headers["Retry-After"]).timestamp() == NOW + 60
    assert not is_there(client)


def test_a_token_expires_in_mid_session(hub: Any, client: httpx.Client) -> None:
    on(hub, "expired_token")
    answer = send(client)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert send(client).status_code == 401
    assert not is_there(hub.client("gridco"))
    assert hub.admin().post("/control/tokens/expire").json() == {"expired": True}
    assert send(client).status_code == 401


def test_a_certificate_of_a_foreign_authority(hub: Any, client: httpx.Client) -> None:
    admin = hub.admin()
    admin.put("/control/faults", json={"wrong_certificate": {"p": 1}})
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        hub.client().get("/")
    context = ssl.create_default_context(cafile=str(hub.folder.path / "foreign-ca.pem"))
    with httpx.Client(base_url=hub.url, verify=context, trust_env=False) as fooled:
        assert fooled.get("/dk/").status_code == 401
    assert admin.put("/control/faults", json={"wrong_certificate": None}).json()["on"] == {}
    assert hub.client("gridco")


def test_the_clock_of_the_hub_is_wrong(hub: Any, client: httpx.Client) -> None:
    on(hub, "skew", value=-86_400 * 60)
    assert hub.admin().get("/control").json()["now"] == "2026-02-01T08:00:00Z"
    assert send(client).headers["Date"] == "Sun, 01 Feb 2026 08:00:00 GMT"


@pytest.mark.parametrize("name", ["error_in_200", "garbage", "encoding", "bomb", "huge"])
def test_answers_that_are_none(hub: Any, client: httpx.Client, name: str) -> None:
    on(hub, name, **({"value": 200_000} if name == "huge" else {}))
    request = client.build_request("POST", NOTIFY, content=SAMPLE.read_bytes(), headers=JSON)
    answer = client.send(request, stream=True)
    raw = b"".join(answer.iter_raw())
    assert answer.status_code == 200
    expected = {
        "error_in_200": b"internal error",
        "garbage": b"\x00\xff\xfe",
        "encoding": b"not gzip",
        "bomb": b"<!ENTITY a9",
        "huge": bytes(200_000),
    }
    assert expected[name] in raw
    assert answer.headers.get("Content-Encoding") == ("gzip" if name == "encoding" else None)
    assert is_there(client)


def test_a_bundle_that_comes_once_more_and_one_about_nothing(hub: Any, client: httpx.Client) -> None:
    on(hub, "stranger")
    peeked = client.get("/dk/v1.0/cim/Timeseries", headers=JSON)
    assert peeked.json()["Acknowledgement_MarketDocument"]["Series"][0]["Reason"][0]["code"]["value"] == "E10"
    on(hub, "undequeued")
    for _ in range(2):
        again = client.get("/dk/v1.0/cim/Timeseries", headers=JSON)
        assert again.content == peeked.content
        assert client.delete(f"/dk/v1.0/cim/dequeue/{peeked.headers['MessageId']}").status_code == 200
    assert client.get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204


def test_a_fault_of_one_profile_spares_the_others(hub: Any, client: httpx.Client) -> None:
    on(hub, "error", profile="ee", count=None)
    assert send(client).status_code == 202
    assert client.get("/ee/api/v2/metering-data/status").status_code == 500
    assert hub.admin().get("/control/faults").json() == {
        "on": {"error": {"p": 1.0, "value": 500.0, "profile": "ee", "count": None}},
        "hits": {"error": 1},
    }


def test_every_fault_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert [name for name in faults.FAULTS if f'"{name}"' not in text] == []


def test_the_chances_follow_from_the_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        made = faults.Faults(seed)
        made.set("error", {"p": 0.3})
        return [made.hit("error", "dk") is not None for _ in range(1000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 200 < sum(drawn(1)) < 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error", {"p": 1.0}),
        ("error=0.5", {"p": 0.5}),
        ("error=0.5:503", {"p": 0.5, "value": 503.0}),
        ("error=0.5:503@ee", {"p": 0.5, "value": 503.0, "profile": "ee"}),
        ("error=1@ee", {"p": 1.0, "profile": "ee"}),
    ],
)
def test_a_fault_of_the_command_line(text: str, expected: dict[str, Any]) -> None:
    assert faults.parse(text) == ("error", expected)


@pytest.mark.parametrize(
    "text",
    [
        "other=1",
        "error=2",
        "error=x",
        "error=0.5:x",
        "error=nan",
        "error=1:1e99",
        "error=1@dkk",
        "error=1:999",
        "slow=1:-5",
    ],
)
def test_a_fault_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is|are"):
        faults.parse(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"other": 1},
        {"p": "1"},
        {"p": True},
        {"count": -1},
        {"count": 1.5},
        {"profile": 1},
        {"profile": "dkk"},
        {"value": 999},
        {"value": "x"},
        {"value": True},
    ],
)
def test_settings_that_are_none(hub: Any, settings: dict[str, Any]) -> None:
    answer = hub.admin().put("/control/faults", json={"error": settings})
    assert (answer.status_code, answer.text.count("\n")) == (400, 1)
    assert hub.admin().put("/control/faults", json={"error": 1}).status_code == 400
