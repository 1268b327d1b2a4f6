"""The test hub as a server: who gets in, hostile clients, and what a restart leaves."""

import contextlib
import json
import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import connections, guard

#: 2026-04-02T08:00:00Z
NOW = 1_775_116_800
NOTIFY = "/dk/v1.0/cim/notifyvalidatedmeasuredata"
JSON = {"Content-Type": "application/json"}
SAMPLE = Path(__file__).parent / "samples" / "dk-datahub3" / "rsm012-pt15m-96points.json"


@pytest.fixture
def hub(hub_at: Callable[[float], Any]) -> Any:
    found = hub_at(NOW)
    found.sandbox.options.delay_s = 0.0
    return found


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing that a client does is logged as an error of ours."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def wrapped(hub: Any) -> ssl.SSLSocket:
    port = int(hub.url.rpartition(":")[2])
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    return hub.context("gridco").wrap_socket(plain, server_hostname="127.0.0.1")


def told(hub: Any, octets: bytes) -> bytes:
    """What the hub answers to octets, until it hangs up."""
    with wrapped(hub) as connection:
        connection.sendall(octets)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/dk/v1.0/cim/Timeseries", 401, "no token, or one that expired\n"),
        ("/ee/api/v2/metering-data/status", 401, "no token, or one that expired\n"),
        ("/eu/ack", 403, "this profile needs a client certificate\n"),
        ("/control", 401, "/control needs the token of admin.token as bearer\n"),
        ("/control/effects", 401, "/control needs the token of admin.token as bearer\n"),
    ],
)
def test_who_says_nothing_gets_nothing(hub: Any, path: str, status: int, text: str) -> None:
    answer = hub.client().get(path)
    assert (answer.status_code, answer.text) == (status, text)


def test_tokens(hub: Any) -> None:
    client = hub.client()
    secret = (hub.folder.clients / "gridco.secret").read_text().strip()
    form = {"grant_type": "client_credentials", "client_id": "gridco-client", "client_secret": secret}
    answer = client.post("/oauth2/token", data=form)
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 3599)
    basic = client.post("/oauth2/token", data={"grant_type": "client_credentials"}, auth=("gridco-client", secret))
    assert basic.status_code == 200
    wrong = [
        (form | {"client_secret": "x"}, 401, "invalid_client"),
        (form | {"client_id": "x"}, 401, "invalid_client"),
        (form | {"client_secret": ""}, 401, "invalid_client"),
        (form | {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
        ({str(i): "x" for i in range(50)}, 400, "invalid_request"),
    ]
    for data, status, error in wrong:
        refused = client.post("/oauth2/token", data=data)
        assert (refused.status_code, refused.json()) == (status, {"error": error})
    assert client.post("/oauth2/token", content=b"\xff\xfe").status_code == 400
    assert client.post("/oauth2/token", content=b"a" * 10_000).status_code == 413
    assert client.post("/oauth2/token", content=iter([b"grant_type=x"])).status_code == 411


def test_a_token_expires(hub: Any) -> None:
    client = hub.client("gridco", certificate=False)
    assert client.get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204
    hub.clock = NOW + 3598.0
    assert client.get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204
    hub.clock = NOW + 3600.0
    assert client.get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 401


@pytest.mark.parametrize(
    "octets",
    [
        b"\x00\xff\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /eu/vhd HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /eu/vhd HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /eu/vhd HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http(hub: Any, octets: bytes) -> None:
    assert told(hub, octets)[:13] == b"HTTP/1.0 400 "
    assert hub.client("gridco").get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204


def test_a_client_that_goes_in_the_middle_of_a_body(hub: Any) -> None:
    for _ in range(3):
        connection = wrapped(hub)
        connection.sendall(b"POST /eu/vhd HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        connection.close()
    assert hub.client("gridco").get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204


def test_a_body_that_never_ends_has_an_end(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_BODY_S", 0.2)
    with wrapped(hub) as connection:
        connection.sendall(b"POST /eu/vhd HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_body_is_not_larger_than_it_may_be(hub: Any) -> None:
    with wrapped(hub) as connection:
        connection.sendall(b"POST /eu/vhd HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_there_is_an_end_to_connections(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = hub.client("gridco")
    monkeypatch.setattr(connections, "MOST", 1)
    with contextlib.suppress(OSError):
        assert told(hub, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    assert client.get("/dk/v1.0/cim/Timeseries", headers=JSON).status_code == 204


def test_plain_http_and_old_tls_get_nothing(hub: Any) -> None:
    port = int(hub.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in plain.recv(1000)
    old = hub.context("gridco")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(plain, server_hostname="127.0.0.1")
    assert hub.client().get("/control").status_code == 401


def test_what_was_answered_is_there_after_a_restart(hub: Any) -> None:
    client = hub.client("gridco")
    assert client.post(NOTIFY, content=SAMPLE.read_bytes(), headers=JSON).status_code == 202
    token = client.headers["Authorization"]
    hub.restart()
    old = hub.client(token=False)
    assert old.get("/dk/v1.0/cim/Timeseries", headers=JSON | {"Authorization": token}).status_code == 401
    again = hub.client("gridco").post(NOTIFY, content=SAMPLE.read_bytes(), headers=JSON)
    assert again.json()["Error"]["Code"] == "00101"


def test_the_control_shows_and_sets(hub: Any) -> None:
    admin = hub.admin()
    whole = admin.get("/control").json()
    assert whole["now"] == "2026-04-02T08:00:00Z"
    assert whole["parties"][0]["ids"]["dk"] == "5799999933318"
    assert (whole["pending"], whole["waiting"], whole["faults"]) == ({}, {}, {"on": {}, "hits": {}})
    assert "secret" not in json.dumps(whole)
    assert admin.patch("/control/options", json={"delay_s": 1}).json()["delay_s"] == 1.0
    wrong: list[dict[str, Any]] = [
        {"other": 1},
        {"delay_s": "1"},
        {"delay_s": -1},
        {"points": "x"},
        {"no_sums": 1},
        {"bundle": True},
        {"bundle": 1.5},
        {"ack": ["queued"]},
    ]
    for options in wrong:
        answer = admin.patch("/control/options", json=options)
        assert (answer.status_code, answer.text.count("\n")) == (400, 1)
    for body in (b"", b"[]", b"{", b"[" * 10_000):
        assert admin.patch("/control/options", content=body).status_code == 400
    for points in ({}, {"points": []}, {"points": {"1": 1}}, {"points": {}, "profile": 1}):
        assert admin.put("/control/points", json=points).status_code == 400
    for query in ("after=x", "after=-1", "limit=1e3", "after=9999999999999999999"):
        assert admin.get(f"/control/effects?{query}").status_code == 400


def test_effects_are_read_in_pieces(hub: Any) -> None:
    client, admin = hub.client("gridco"), hub.admin()
    for n in range(5):
        body = SAMPLE.read_text().replace("9b1d3c9e-6b0f-4b5d-9a6e-0d6a1f3c", f"9b1d3c9e-6b0f-4b5d-9a6e-0d6a1f{n:02d}")
        assert client.post(NOTIFY, content=body, headers=JSON).status_code == 202
    found: list[int] = []
    while len(found) < 5:
        answer = admin.get("/control/effects", params={"after": found[-1] if found else 0, "limit": 2})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert len(lines) <= 2
        found += [line["n"] for line in lines]
    assert found == [1, 2, 3, 4, 5]
    assert hub.effects(profile="ee") == []
    assert len(hub.effects(point="571313000000002000", party="gridco")) == 5
