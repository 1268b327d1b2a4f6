"""Procedures 2 to 4 from end to end over TLS: who permits and revokes in the test hub is obeyed by the uploader."""

import json
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from gateway.cli import main
from gateway.stores.hubs import HubReader
from gateway.uploader.serving import Serving
from gateway.uploader.session import HttpSession
from tests.hubs.house import started
from tests.hubs.test_dk_end_to_end import DAY, House, expected, held
from tests.sandbox.conftest import Hub
from tests.uploader.lying import POINT, midnight, noon
from tests.uploader.processes import Sandbox, Uploader, until

API = "/api/v1"
PERMISSIONS = {"points": (), "legal_basis": None, "permissions_party": "supplier"}


class Permitted(House):
    """A household without a legal basis: what goes to the test hub, goes by permissions that were heard there."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        super().__init__(folder, hub, **PERMISSIONS, permissions_url=f"{hub.url}{API}")
        self.feed = HttpSession(msgspec.structs.replace(self.hub, url=self.hub.permissions_url))
        self.customer, self.supplier, self.grid = (hub.client(name) for name in ("customer", "supplier", "gridco"))
        self.say(self.customer, "metering-points", meteringPoint=POINT)

    def enough(self, serving: Serving, inbox: bool) -> bool:
        return False

    def at(self, day: date) -> None:
        """It is noon of a day, and everybody logs in again."""
        self.there.at(noon(day))

    def say(self, who: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
        answer = who.post(f"{API}/{path}", **({"json": body} if body else {}))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def permit(self, **changes: Any) -> str:
        """The customer takes a preset of the supplier (G, H; steps 2.2 to 2.13)."""
        terms = {
            "meteringPoint": None,
            "readingStart": _instant(DAY),
            "readingEnd": None,
            "direction": "combined",
            "purpose": "advice",
            "transmissionSchedule": "daily",
            "permissionExpiry": "2028-01-01T00:00:00Z",
        } | changes
        lifetime = terms.pop("maximumLifetime", "2027-01-01T00:00:00Z")
        preset = self.say(self.supplier, "presets", **terms)["presetId"]
        wanted = {"meteringPoint": POINT, "product": "active", "maximumLifetime": lifetime}
        answer = self.say(self.customer, f"presets/{preset}/permissions", **wanted)
        assert answer["validation"]["result"] == "valid", answer
        return str(answer["permission"]["permissionId"])

    def end(self, how: str, name: str) -> None:
        if how == "termination":
            self.say(self.supplier, f"permissions/{name}/termination")
        elif how == "revocation":
            self.say(self.customer, f"permissions/{name}/revocation")
        else:
            assert self.say(self.grid, f"metering-points/{POINT}/move-out")["revoked"]

    def days(self) -> dict[str, set[int]]:
        self.judged()
        found: dict[str, set[int]] = {"consumption": set(), "production": set()}
        for direction, start in held(self):
            found[direction].add(start)
        return found

    def items(self, name: str) -> list[tuple[str, bytes]]:
        with self.store() as store:
            return [(item, body) for item, _, body in store.permission_items(name)]


def _instant(day: date) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(midnight(day)))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Permitted]:
    hub = started(tmp_path, noon(DAY + timedelta(days=3)))
    hub.sandbox.options.delay_s = 0.0
    one = Permitted(tmp_path, hub)
    one.fill(DAY, 3)
    yield one
    one.close()


def test_a_permission_from_its_beginning_to_its_revocation(house: Permitted, capsys: Any, checkout: Path) -> None:
    house.run()
    assert not held(house), "nothing leaves without a ground"
    name = house.permit()
    house.run()
    first = {midnight(DAY + timedelta(days=n)) for n in range(3)}
    assert house.days() == {"consumption": first, "production": set()}, "the history, and yesterday (2.17)"
    assert held(house)["consumption", midnight(DAY)] == expected("import", DAY)
    with house.store() as store:
        assert {part.basis for part in store.message("dk", 1).parts} == {name}
    (delivery,) = house.supplier.get(f"{API}/deliveries").json()["items"]
    assert delivery["content"]["permissionId"] == name
    assert len(delivery["content"]["data"]["intervals"]) == 3 * 96
    house.fill(DAY + timedelta(days=3))
    house.at(DAY + timedelta(days=4))
    house.run()
    assert len(house.days()["consumption"]) == 4, "and each day that comes (2.18)"

    house.control("faults", overload={"p": 1, "value": 60, "profile": "dk"})
    house.fill(DAY + timedelta(days=4))
    house.at(DAY + timedelta(days=5))
    house.run(inbox=False)
    assert house.counts()["new"] == 1, "on its way"
    reads = len(house.customer.get(f"{API}/access-log").json()["items"])
    house.end("revocation", name)
    house.control("faults", overload=None)
    house.run()
    assert house.counts().get("new", 0) == 0
    assert house.counts()["dead"] == 1
    effects = house.there.effects()
    house.fill(DAY + timedelta(days=5))
    house.at(DAY + timedelta(days=7))
    house.run(until=house.now + 86_400, step_s=7_200)
    assert house.there.effects() == effects
    house.there.at(house.now)
    assert len(house.customer.get(f"{API}/access-log").json()["items"]) == reads
    events = [one["event"] for one in house.customer.get(f"{API}/permission-log").json()["items"]]
    assert events == ["granted", "revoked"]

    kept = house.items(name)
    show_proof(house, name, kept, capsys)
    agree_with_the_schema(house, kept, json.loads((checkout / "docs/schemas/permission.schema.json").read_text()))


def show_proof(house: Permitted, name: str, kept: list[tuple[str, bytes]], capsys: Any) -> None:
    """What is kept is what came, octet by octet, and is shown so."""
    notices = house.grid.get(f"{API}/notices")
    assert [item for item, _ in kept] == ["I", "L"]
    assert all(body in notices.content for _, body in kept)
    path = str(house.settings.ledger_path)
    assert main(["hub", "permissions", "--ledger", path, "--id", name, "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["body"].encode() for one in shown] == [body for _, body in kept]
    assert main(["hub", "log", "verify", "--ledger", path]) == 0


def agree_with_the_schema(house: Permitted, kept: list[tuple[str, bytes]], schema: dict[str, Any]) -> None:
    """Items G, I, K and L of the test hub are what our schema says."""
    said = [(item, json.loads(body)["body"]) for item, body in kept]
    said += [("K", one) for one in house.customer.get(f"{API}/permissions").json()["items"]]
    said += [("G", one) for one in house.supplier.get(f"{API}/presets").json()["items"]]
    assert {item for item, _ in said} == {"G", "I", "K", "L"}
    for item, body in said:
        jsonschema.validate(body, {**schema, "anyOf": [{"$ref": f"#/$defs/{item}"}]})
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({}, {**schema, "anyOf": [{"$ref": f"#/$defs/{item}"}]})
    for _, body in kept:
        jsonschema.validate(json.loads(body), schema)


@pytest.mark.parametrize("how", ["termination", "revocation", "move-out"])
def test_every_end_stops_what_waits(house: Permitted, how: str) -> None:
    """Procedures 3 and 4; a move-out ends every permission of the point, each with its own item L."""
    names = [house.permit(direction="consumption"), house.permit(direction="production")]
    house.control("faults", overload={"p": 1, "value": 60, "profile": "dk"})
    house.run(inbox=False)
    assert house.counts().get("new", 0) > 0
    for name in names[: 1 if how == "move-out" else 2]:
        house.end(how, name)
    house.control("faults", overload=None)
    house.run(until=house.now + 86_400, step_s=3_600)
    assert not house.there.effects()
    counts = house.counts()
    assert counts == {"dead": sum(counts.values())}
    item = "J" if how == "termination" else "L"
    assert [[one for one, _ in house.items(name)] for name in names] == [["I", item]] * 2
    with house.store() as store:
        assert {one.item for one in store.permissions()} == {item}


def test_a_permission_that_runs_out(house: Permitted) -> None:
    """The hub says so by an item L; the uploader knew."""
    day = DAY + timedelta(days=4)
    name = house.permit(maximumLifetime=_instant(day))
    house.run()
    assert len(house.days()["consumption"]) == 3
    house.control("faults", overload=None)
    house.fill(DAY + timedelta(days=3))
    house.at(day)
    house.run(until=house.now + 2 * 86_400, step_s=7_200)
    assert len(house.days()["consumption"]) == 3
    assert [item for item, _ in house.items(name)] == ["I", "L"]


def test_once_is_the_history_alone(house: Permitted) -> None:
    house.permit(transmissionSchedule="once")
    house.run()
    assert len(house.days()["consumption"]) == 3
    house.fill(DAY + timedelta(days=3))
    house.at(DAY + timedelta(days=5))
    house.run()
    assert len(house.days()["consumption"]) == 3


# -- the real process --------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_killed_again_and_again_between_a_permission_and_its_revocation(tmp_path: Path) -> None:
    """Wall clock, real processes: what was revoked does not leave after the notice was kept, whenever it is killed."""
    hub = Sandbox(tmp_path, "--fault", "slow=0.5:0.2", "--seed", "7")
    one = Uploader(tmp_path, hub.port, hub.place, days=40)
    ground = f'points = ["{POINT}"]\nlegal_basis = "a test"\n'
    url = f"https://127.0.0.1:{hub.port}"
    heard = f'permissions_url = "{url}{API}"\npermissions_party = "supplier"\npermissions_s = 1\n'
    one.config.write_text(one.config.read_text().replace(ground, heard))
    customer = httpx.Client(base_url=url, verify=_context(hub), trust_env=False, timeout=60)
    try:
        secret = (hub.place / "clients/customer.secret").read_text().strip()
        form = {"grant_type": "client_credentials", "client_id": "customer-client", "client_secret": secret}
        token = customer.post("/oauth2/token", data=form).json()["access_token"]
        customer.headers["Authorization"] = f"Bearer {token}"
        customer.post(f"{API}/metering-points", json={"meteringPoint": POINT})
        one.start()
        until(lambda: "uploader_started" in one.log, "the start")
        asked = {
            "meteringPoint": POINT,
            "eligibleParty": "supplier",
            "product": "active",
            "direction": "combined",
            "readingStart": _instant(one.dates[0]),
            "readingEnd": None,
            "purpose": "advice",
            "transmissionSchedule": "daily",
            "maximumLifetime": "2090-01-01T00:00:00Z",
        }
        answer = customer.post(f"{API}/permissions", json=asked).json()
        name = answer["permission"]["permissionId"]
        for pause in (0.4, 0.1, 0.7):
            time.sleep(pause)
            one.kill()
            one.start()
        until(lambda: len(hub.effects()) >= 3, f"the first days: {one.log}")
        began = time.monotonic()
        assert customer.post(f"{API}/permissions/{name}/revocation").status_code == 201
        one.kill()
        one.start()
        until(lambda: "L" in _items(one, name), f"item L: {one.log}")
        stopped = time.monotonic() - began
        until(lambda: _waiting(one) == 0, "no message that may be tried")
        there = len(hub.effects())
        one.kill()
        one.start()
        time.sleep(2.5)
        assert len(hub.effects()) == there < 40
        assert _items(one, name) == ["I", "L"], f"after {stopped:.1f} s"
        assert one.counts()["new"] == one.counts()["unknown"] == 0
        assert one.end() < 25.0
    finally:
        customer.close()
        if one.process is not None and one.process.poll() is None:
            one.kill()
        hub.stop()


def _context(hub: Sandbox) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(hub.place / "ca.pem"))


def _items(one: Uploader, name: str) -> list[str]:
    reader = HubReader(one.ledger)
    try:
        return [item for item, _, _ in reader.permission_items(name)]
    finally:
        reader.close()


def _waiting(one: Uploader) -> int:
    counts = one.counts()
    return counts["new"] + counts["sending"] + counts["unknown"]
