"""The description of the REST API and the API itself: schemathesis over real TLS, and what it cannot know."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.sandbox.conftest import Hub

NOW = 1_772_600_000  # 2026-03-04 04:53:20 UTC
#: so many examples of each operation and login
EXAMPLES = 8


POINT = "571313000000002000"


@pytest.fixture
def hub(hub_at: Callable[[float], Hub]) -> Hub:
    """A hub that has something of everything that the examples of the description name."""
    hub = hub_at(NOW)
    day = NOW - NOW % 86_400 - 2 * 86_400
    hub.take(POINT, day, ["0.125"] * 96)
    customer, supplier = hub.client("customer"), hub.client("supplier")
    assert customer.post("/api/v1/metering-points", json={"meteringPoint": POINT}).status_code == 201
    terms = {
        "meteringPoint": POINT, "eligibleParty": "supplier", "product": "active", "direction": "combined",
        "readingStart": "2026-03-01T00:00:00Z", "readingEnd": None, "purpose": "tests",
        "transmissionSchedule": "as-available", "maximumLifetime": "2027-01-01T00:00:00Z",
    }  # fmt: skip
    for _ in range(3):
        answer = customer.post("/api/v1/permissions", json=terms).json()
        assert answer["validation"]["result"] == "valid"
    assert len(supplier.get("/api/v1/deliveries").json()["items"]) == 3
    return hub


#: login -> role
ROLES = {"customer": "customer", "supplier": "eligible", "gridco": "administrator"}


def operations(hub: Hub) -> dict[str, set[str]]:
    """Id of each operation, and roles that may use it."""
    paths = hub.client().get("/openapi.json").json()["paths"]
    found = [it for path in paths.values() for it in path.values()]
    return {it["operationId"]: {role for one in it["security"] for role in one["login"]} for it in found}


@pytest.mark.parametrize("party", ROLES)
def test_schemathesis_finds_nothing(hub: Hub, party: str, tmp_path: Path) -> None:
    token = hub.token(hub.client(), party)
    own = [id_ for id_, roles in operations(hub).items() if ROLES[party] in roles]
    chosen = [part for id_ in own for part in ("--include-operation-id", id_)]
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "st"), "run", f"{hub.url}/openapi.json",
            "--tls-verify", str(hub.folder.ca), "-H", f"Authorization: Bearer {token}", *chosen,
            "--phases", "examples,coverage,fuzzing,stateful", "--checks", "all", "--max-examples", str(EXAMPLES),
            "--seed", "8", "--workers", "1", "--generation-deterministic",
            "--suppress-health-check", "all", "--no-color",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"{len(own)} selected / 24 total" in done.stdout


def test_no_operation_is_for_whom_it_is_not(hub: Hub) -> None:
    paths = hub.client().get("/openapi.json").json()["paths"]
    clients = {role: hub.client(party) for party, role in ROLES.items()}
    refused = 0
    for path, methods in paths.items():
        for method, it in methods.items():
            allowed = {role for one in it["security"] for role in one["login"]}
            for role, client in clients.items():
                status = client.request(method, path.replace("{", "").replace("}", "")).status_code
                assert (status == 403) == (role not in allowed), (path, method, role, status)
                refused += status == 403
    assert refused == 39


def test_the_document_is_openapi_and_every_schema_is_one(hub: Hub) -> None:
    document = hub.client().get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    ids = [it["operationId"] for path in document["paths"].values() for it in path.values()]
    assert len(ids) == len(set(ids)) == 24


def problem(answer: httpx.Response, status: int) -> str:
    kind = answer.headers["content-type"].partition(";")[0]
    assert (answer.status_code, kind) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    return str(answer.json()["detail"])


BAD = {
    "a key twice": b'{"meteringPoint": "1", "meteringPoint": "2"}',
    "not a number": b'{"meteringPoint": NaN}',
    "a lone surrogate": b'{"meteringPoint": "\\ud800"}',
    "UTF-16": '{"meteringPoint": "1"}'.encode("utf-16"),
    "deep": b"[" * 30_000,
    "another type": b'{"meteringPoint": 5}',
    "one key more": b'{"meteringPoint": "5", "x": 1}',
    "a newline at the end": b'{"meteringPoint": "5\\n"}',
    "a number of 5000 digits": b'{"meteringPoint": ' + b"9" * 5_000 + b"}",
    "nothing": b"",
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_is_refused(hub: Hub, what: str) -> None:
    answer = hub.client("customer").post(
        "/api/v1/metering-points", content=BAD[what], headers={"Content-Type": "application/json"}
    )
    assert problem(answer, 400)


def test_other_refusals(hub: Hub) -> None:
    client, path = hub.client("customer"), "/api/v1/metering-points"
    assert "application/json" in problem(client.post(path, content=b"x", headers={"Content-Type": "text/plain"}), 415)
    large = b'{"meteringPoint": "' + b"1" * 70_000 + b'"}'
    assert problem(client.post(path, content=large, headers={"Content-Type": "application/json"}), 413)
    assert "twice" in problem(client.get(f"{path}?limit=1&limit=2"), 400)
    assert "no query parameter" in problem(client.get(f"{path}?x=1"), 400)
    assert "whole number" in problem(client.get(f"{path}?limit=1.0"), 400)
    assert problem(client.get(f"{path}?limit=501"), 400)
    assert "missing" in problem(client.get("/api/v1/monthly-sums?month=2026-03"), 400)
    assert problem(client.get("/api/v1/permissions/no-id"), 404)
    assert "role" in problem(client.get("/api/v1/deliveries"), 403)
    assert problem(hub.client().get(path), 401)
    assert client.put(path).status_code == 405


def test_a_day_that_is_not_there_is_refused(hub: Hub) -> None:
    asked: dict[str, Any] = {
        "meteringPoint": POINT, "product": "active", "direction": "combined", "readingEnd": "2026-03-01T00:00:00Z",
    }  # fmt: skip
    client = hub.client("customer")
    for start, status in (("2025-02-29", 400), ("2024-02-29", 201), ("2026-04-31", 400), ("2026-13-01", 400)):
        answer = client.post("/api/v1/requests", json={**asked, "readingStart": f"{start}T00:00:00Z"})
        assert answer.status_code == status, answer.text
