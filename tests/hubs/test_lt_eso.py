"""The Lithuanian hub end to end: adapter and engine against the test hub over TLS, with outages and kills."""

import asyncio
import dataclasses
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from gateway.hub_model import Event, Message
from gateway.hub_settings import HubSettings
from gateway.imports.record import ImportFileError
from gateway.sandbox.folder import Folder
from gateway.sandbox.server import Sandbox, serving
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.hub import Answer, Build, BuildError
from gateway.uploader.hubs import lt_days, lt_eso, lt_names
from gateway.uploader.line import Line
from gateway.uploader.serving import Serving
from gateway.uploader.session import HttpSession
from gateway.uploader.world import World

VILNIUS = ZoneInfo("Europe/Vilnius")
DAY = date(2026, 3, 3)
POINTS = ("99999917", "99999919")
#: the tests say when the inbox is looked into
POLICY = dataclasses.replace(lt_eso.POLICY, inbox_s=86_400)


def at(day: date, hour: int, minute: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=VILNIUS).timestamp())


def trusting(folder: Folder) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder.ca))


class Killed(BaseException):
    """The process ends here."""


class Hub:
    """The test hub in a thread."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        shutil.copytree(certificates, folder)
        self.folder = Folder(folder)
        self.now = at(DAY + timedelta(1), 5, 30)
        self.url = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(60)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serving(Sandbox(self.folder, clock=lambda: self.now)) as port:
            self.url = f"https://127.0.0.1:{port}"
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def control(self, method: str, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.folder.admin_token()}"}
        with httpx.Client(verify=trusting(self.folder), trust_env=False, timeout=60) as client:
            answer = client.request(method, f"{self.url}/control{path}", headers=headers, json=body or None)
        assert answer.status_code < 300, answer.text
        return answer.json()


class Uploader:
    """The engine of one hub, on a ledger; `kill` leaves it as a kill -9 does."""

    def __init__(self, path: Path, hub: Hub, settings: HubSettings, events: list[Event]) -> None:
        self.settings = settings
        self.session = HttpSession(settings, clock=lambda: hub.now)
        self.file = open_ledger(path).file
        world = World(
            adapter=lambda one: lt_eso.LtEso(one, clock=lambda: hub.now, policy=POLICY),
            session=lambda *_: self.session,
            zone_of=lambda _: VILNIUS,
            believed=lambda: True,
            tell=events.append,
            clock=lambda: hub.now,
        )
        thread = SimpleNamespace(status={}, live=lambda _=0.0: None, ends=lambda: False)
        everything = SimpleNamespace(point=[SimpleNamespace(id=POINTS[0], id_export=None)], hub=(settings,))
        self.store = HubStore(self.file, lambda: hub.now)
        self.serving = Serving(everything, settings, world, self.file, self.session, Line(), thread)
        self.serving.begin()

    def run(self, rounds: int = 4) -> None:
        """So many looks into the inbox, each with what there is to do behind it."""
        for _ in range(rounds):
            self.serving._due["inbox"] = 0.0
            for _ in range(200):
                if self.serving.step():
                    break

    def kill(self) -> None:
        self.session.close()
        self.file.close()

    def inbounds(self, kind: str) -> list[Any]:
        return self.store.received(self.settings.name, kind)

    def orders(self) -> list[Message]:
        states = ("new", "sending", "unknown", "accepted", "confirmed", "rejected", "dead")
        found = [
            self.store.message(self.settings.name, one.id) for one in self.store.in_state(self.settings.name, *states)
        ]
        return sorted((one for one in found if one is not None and one.operation == "order"), key=lambda one: one.id)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the test hub, made once."""
    folder = Folder(tmp_path_factory.mktemp("lt") / "sandbox")
    folder.make()
    return folder.path


@pytest.fixture
def hub(tmp_path: Path, certificates: Path) -> Iterator[Hub]:
    made = Hub(tmp_path / "sandbox", certificates)
    yield made
    made.close()


@pytest.fixture
def configured(hub: Hub) -> Callable[..., HubSettings]:
    def make(**more: Any) -> HubSettings:
        known: dict[str, Any] = {
            "name": "lt",
            "kind": "lt-eso",
            "url": f"{hub.url}/lt",
            "points": POINTS,
            "legal_basis": "contract of the customer",
            "ca_file": str(hub.folder.ca),
            "token_url": f"{hub.url}/oauth2/token",
            "client_id": "gridco-client",
            "client_secret_file": str(hub.folder.clients / "gridco.secret"),
            "jitter_s": 0,
            "requests_per_minute": 6_000,
        }
        return HubSettings(**(known | more))

    return make


@pytest.fixture
def start(tmp_path: Path, hub: Hub, configured: Callable[..., HubSettings]) -> Iterator[Callable[..., Uploader]]:
    """Start the engine, or start it again on the same ledger."""
    running: list[Uploader] = []
    events: list[Event] = []

    def make(**more: Any) -> Uploader:
        for one in running:
            one.kill()
        running[:] = [Uploader(tmp_path / "ledger.db", hub, configured(**more), events)]
        running[0].events = events
        return running[0]

    yield make
    for one in running:
        one.kill()


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]


def test_a_day_is_ordered_polled_fetched_and_kept(hub: Hub, start: Callable[..., Uploader]) -> None:
    uploader = start()
    uploader.run()
    order = uploader.orders()[0]
    assert order.state == "confirmed"
    assert json.loads(order.body) == {"dateFrom": "2026-03-03", "dateTo": "2026-03-04", "objects": list(POINTS)}
    assert order.reference == "4711001"
    report = uploader.inbounds("report")[0]
    assert report.data.facts["values"] == 4 * 96
    assert report.data.facts["estimated"] > 0
    found = uploader.serving._adapter.account("report", report.body, report.data.content_type)
    assert sorted((one.point, one.direction) for one in found) == [
        ("99999917", "export"), ("99999917", "import"), ("99999919", "export"), ("99999919", "import"),
    ]  # fmt: skip
    assert all(len(list(one.rows)) == 96 for one in found)
    assert not named(uploader.events, "late_day")
    # whole: it is not ordered again
    hub.now += 86_400
    uploader.run()
    assert [json.loads(one.body)["dateFrom"] for one in uploader.orders()] == ["2026-03-03", "2026-03-04"]


def test_a_first_start_at_noon_is_no_late_day(hub: Hub, start: Callable[..., Uploader]) -> None:
    hub.now = at(DAY + timedelta(1), 12)
    uploader = start()
    uploader.run()
    assert uploader.orders()[0].state == "confirmed"
    assert uploader.events == []


def test_the_account_is_what_the_hub_has(hub: Hub, start: Callable[..., Uploader]) -> None:
    start_s = at(DAY, 0)
    seeded = [[start_s, "0.125", "VALIDATED"], [start_s + 900, "1.5", "ESTIMATED"]]
    hub.control("PUT", "/lt/values", objectNumber="99999917", meterType="SMART", category="P+", values=seeded)
    uploader = start()
    uploader.run()
    report = uploader.inbounds("report")[0]
    found = uploader.serving._adapter.account("report", report.body, report.data.content_type)
    rows = next(list(one.rows) for one in found if (one.point, one.direction) == ("99999917", "import"))
    assert rows[0] == (start_s, start_s + 900, 125_000, "measured")
    assert rows[1] == (start_s + 900, start_s + 1_800, 1_500_000, "estimated")
    with pytest.raises(ImportFileError):
        uploader.serving._adapter.account("objects", b"[]", "application/json")


def test_lists_are_read_and_told_once(hub: Hub, start: Callable[..., Uploader]) -> None:
    uploader = start(points=(*POINTS, "99999920"))
    uploader.run()
    objects = json.loads(uploader.inbounds("objects")[0].body)
    assert [one["objectNumber"] for one in objects] == list(POINTS)
    assert {one["meterType"] for one in objects[1]["meters"]} == {"SMART", "GENERATION"}
    assert len(json.loads(uploader.inbounds("statistics")[0].body)) == 30
    assert [event.text for event in named(uploader.events, "object_unlisted")] == [
        "the hub does not list as active objects of ours: 99999920; ask for the right (access-right)"
    ]
    # an order for an object that is not ours was refused by its number; then only the others are ordered
    assert uploader.orders()[0].state == "rejected"
    assert uploader.orders()[0].reasons[0].code == "8"
    hub.now += 86_400
    uploader.run()
    assert json.loads(uploader.orders()[-1].body)["objects"] == list(POINTS)


def test_an_outage_a_late_day_and_its_back_fill(hub: Hub, start: Callable[..., Uploader]) -> None:
    """Partial data, then none, then an outage over two days, killed in between; at the end every day is whole."""
    hub.control("PATCH", "/lt", late="partial", late_day="2026-03-03")
    uploader = start()
    uploader.run()
    assert [(event.key, event.severity) for event in named(uploader.events, "late_day")] == [("2026-03-03", "warning")]
    assert "99999917, 99999919" in uploader.events[0].text
    # the next day the hub is down
    hub.control("PUT", "/faults", error={"p": 1, "value": 503, "profile": "lt"})
    hub.now = at(DAY + timedelta(2), 5, 30)
    uploader.run(4)
    uploader = start()
    hub.now = at(DAY + timedelta(2), 8, 0)
    uploader.run(4)
    late = [event.key for event in named(uploader.events, "late_day")]
    assert late == ["2026-03-03", "2026-03-04"]
    # it comes back, with all of its data
    hub.control("PUT", "/faults", error=None)
    hub.control("PATCH", "/lt", late=None)
    for _ in range(5):
        hub.now += 3_600
        uploader.run(4)
        uploader = start()
    hub.now = at(DAY + timedelta(3), 5, 30)
    uploader.run()
    over = [event.key for event in named(uploader.events, "late_day") if event.recovered]
    assert sorted(over) == ["2026-03-03", "2026-03-04"]
    days = {json.loads(one.body)["dateFrom"] for one in uploader.orders() if one.state == "confirmed"}
    assert days == {"2026-03-03", "2026-03-04", "2026-03-05"}
    book = lt_days.Days(uploader.store.note("lt", lt_days.NOTE), POINTS, DAY)
    assert book.days() == []


@pytest.mark.parametrize(
    ("number", "after"), [(2, False), (2, True), (4, True), (6, True), (7, False), (7, True)], ids=str
)
def test_a_kill_at_any_request_loses_nothing(
    hub: Hub, start: Callable[..., Uploader], number: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploader, real = start(), HttpSession.request
    calls = 0

    def request(self: HttpSession, *args: Any, **more: Any) -> Answer:
        nonlocal calls
        calls += 1
        if calls == number and not after:
            raise Killed
        answer = real(self, *args, **more)
        if calls == number:
            raise Killed
        return answer

    monkeypatch.setattr(HttpSession, "request", request)
    with pytest.raises(Killed):
        uploader.run()
    uploader = start()
    uploader.run()
    hub.now += 120
    uploader.run()
    values = [one.data.facts["values"] for one in uploader.inbounds("report")]
    assert values == [4 * 96]
    assert [one.state for one in uploader.orders()] == ["confirmed"]
    assert len(uploader.inbounds("objects")) == 1


def test_a_schema_that_drifts_is_told_by_the_path_of_the_field(hub: Hub, start: Callable[..., Uploader]) -> None:
    hub.control("PATCH", "/lt", drift="renamed")
    uploader = start()
    uploader.run()
    texts = [event.text for event in named(uploader.events, "schema_drift")]
    assert len(texts) == 1
    assert "data[0].values[0].amount is missing" in texts[0]
    assert "data[0].values[0].quantity is not known here" in texts[0]
    assert uploader.inbounds("report")[0].data.facts["values"] == 0
    assert [event.key for event in named(uploader.events, "late_day")] == ["2026-03-03"]
    # as soon as it is as it was, the day is filled
    hub.control("PATCH", "/lt", drift=None)
    hub.now += 86_400
    uploader.run()
    assert [event.key for event in named(uploader.events, "late_day") if event.recovered] == ["2026-03-03"]


def test_a_right_is_asked_for_and_a_rule_that_is_broken_keeps_its_number(
    hub: Hub, start: Callable[..., Uploader]
) -> None:
    uploader = start()
    adapter, about = uploader.serving._adapter, uploader.serving._staging.about(hub.now)
    drafts = [
        adapter.request("access-right", {"object": "99999920"}, about),
        adapter.request("access-right", {"object": "12345678"}, about),
        adapter.request("order", {"from": "2026-02-01", "to": "2026-02-28", "objects": "99999917"}, about),
        adapter.request("order", {"from": "2026-02-01", "report": "bill-bss-b2c"}, about),
        adapter.request("list objects", {}, about),
        adapter.request("list contract", {}, about),
    ]
    uploader.store.stage("lt", drafts, hub.now)
    uploader.run()
    found = [uploader.store.document("lt", draft.document) for draft in drafts]
    assert [one.state for one in found] == ["confirmed", "rejected", "confirmed", "confirmed", "confirmed", "confirmed"]
    assert found[1].reasons == (("608", "there is no object 12345678"),)
    months = [one.data.facts for one in uploader.inbounds("report") if one.data.facts["first"] == "2026-02-01"]
    assert [one["values"] for one in months] == [28 * 96 * 2]
    assert len(uploader.inbounds("bill-bss-b2c")) == 1


def test_notifications_are_kept_once(hub: Hub, start: Callable[..., Uploader]) -> None:
    with httpx.Client(verify=trusting(hub.folder), trust_env=False, timeout=60) as client:
        secret = (hub.folder.clients / "gridco.secret").read_text().strip()
        form = {"grant_type": "client_credentials", "client_id": "gridco-client", "client_secret": secret}
        token = client.post(f"{hub.url}/oauth2/token", data=form).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        for day in range(1, 29):
            body = {"objectNumber": "99999917", "date": f"2026-03-{day:02d}"}
            assert client.post(f"{hub.url}/lt/gateway/notification/contract", json=body).status_code == 200
        uploader = start()
        uploader.run()
        assert len(uploader.inbounds("notification")) == 28
        cancelled = client.post(f"{hub.url}/lt/gateway/notification/cancellation", json={"notificationId": 3})
        assert cancelled.status_code == 200
    hub.now += 3_700
    uploader.run()
    assert len(uploader.inbounds("notification")) == 29
    assert any("contract 3 of object 99999917: CANCELLED" in event.text for event in uploader.events)


def answering(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, Answer], Answer]) -> list[str]:
    """Change what the hub answers, by the path of the request; the paths."""
    real, paths = HttpSession.request, []

    def request(self: HttpSession, method: str, path: str, **more: Any) -> Answer:
        paths.append(path)
        return change(path, real(self, method, path, **more))

    monkeypatch.setattr(HttpSession, "request", request)
    return paths


def test_the_older_version_of_a_report_is_read_when_the_newer_is_gone(
    hub: Hub, start: Callable[..., Uploader], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, lambda path, answer: Answer(410, {}, b"") if "/order/v2/" in path else answer)
    uploader = start()
    uploader.run()
    report = uploader.inbounds("report")[0].data
    assert (report.facts["values"], report.facts["unknown"], report.facts["flagged"]) == (4 * 96, 4 * 96, False)
    assert ["an older one" in event.text for event in named(uploader.events, "older_version")] == [True]
    assert not named(uploader.events, "schema_drift")
    found = uploader.serving._adapter.account("report", uploader.inbounds("report")[0].body, "application/json")
    assert {row.said for one in found for row in one.rows} == {"unknown"}


def test_a_hub_that_lies_about_an_order_is_not_believed(
    hub: Hub, start: Callable[..., Uploader], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(path: str, answer: Answer) -> Answer:
        body = answer.body.replace(b'"orderId":4711001', b'"orderId":4711002') if "report-obj" in path else answer.body
        return Answer(answer.status, answer.headers, body)

    answering(monkeypatch, lambda path, answer: lie(path, answer) if "/v2/" in path else answer)
    uploader = start()
    uploader.run()
    assert uploader.inbounds("report") == []
    assert uploader.orders()[0].state == "rejected"
    assert "orderId is 4711002, and 4711001 was asked" in named(uploader.events, "schema_drift")[0].text


@pytest.mark.parametrize(("status", "name"), [(403, "blocked"), (429, None), (500, None)])
def test_an_answer_that_serves_nothing_leaves_the_order_open(
    hub: Hub, start: Callable[..., Uploader], monkeypatch: pytest.MonkeyPatch, status: int, name: str | None
) -> None:
    answering(monkeypatch, lambda path, answer: Answer(status, {}, b"") if "/v2/4" in path else answer)
    uploader = start()
    uploader.run(4)
    assert uploader.orders()[0].state == "accepted"
    assert uploader.inbounds("report") == []
    if name:
        assert named(uploader.events, name)


def test_a_list_that_is_not_there_costs_no_order(
    hub: Hub, start: Callable[..., Uploader], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, lambda path, answer: Answer(404, {}, b"") if path.endswith("/list") else answer)
    uploader = start()
    uploader.run()
    assert uploader.orders()[0].state == "confirmed"
    assert {event.name for event in uploader.events} == {"schema_drift"}


@pytest.mark.parametrize(
    ("status", "body", "verdict", "code"),
    [
        (200, b'{"orderId":7}', "accepted", None),
        (200, b"{}", "rejected", "schema_drift"),
        (200, b'{"orderId":"x"}', "rejected", "schema_drift"),
        (200, b'{"orderId":true}', "rejected", "schema_drift"),
        (200, b'{"orderId":-1}', "rejected", "schema_drift"),
        (200, b'{"orderId":1.5}', "rejected", "schema_drift"),
        (200, b"[]", "unknown", "bad_answer"),
        (200, b"\xff", "unknown", "bad_answer"),
        (200, b'{"errors":[{"code":1010,"message":"too many"}]}', "rejected", "1010"),
        (400, b'{"errors":[{"code":608,"message":"no object"}]}', "rejected", "608"),
        (400, b"", "rejected", "http_400"),
        (401, b"", "blocked", "http_401"),
        (404, b"", "blocked", "http_404"),
        (429, b"", "busy", "http_429"),
        (500, b'{"errors":[{"code":8,"message":"x"}]}', "unknown", "http_500"),
        (503, b"", "busy", "http_503"),
        (302, b"", "blocked", "http_302"),
    ],
)
def test_what_an_answer_to_an_order_means(
    configured: Callable[..., HubSettings], status: int, body: bytes, verdict: str, code: str | None
) -> None:
    adapter = lt_eso.adapter(configured())
    message = SimpleNamespace(operation="order", body=b"{}", about={"report": "report-obj"})
    session = SimpleNamespace(certificate=None, request=lambda *_, **__: Answer(status, {}, body))
    receipt = adapter.send(session, message)
    assert (receipt.verdict, receipt.reference) == (verdict, "7" if verdict == "accepted" else None)
    assert [one.code for one in receipt.reasons] == ([code] if code else [])


@pytest.mark.parametrize("fault", ["garbage", "huge", "error_in_200", "drop_response"])
def test_a_hub_that_answers_badly_costs_time_and_no_value(hub: Hub, start: Callable[..., Uploader], fault: str) -> None:
    hub.control("PUT", "/faults", **{fault: {"p": 1, "profile": "lt", "count": 6}})
    uploader = start()
    for _ in range(6):
        uploader.run(2)
        hub.now += 7_200
    hub.now = at(DAY + timedelta(2), 5, 30)
    uploader.run()
    values = [
        one.data.facts["values"] for one in uploader.inbounds("report") if one.data.facts["first"] == "2026-03-03"
    ]
    assert max(values, default=0) == 4 * 96
    assert not lt_days.Days(uploader.store.note("lt", lt_days.NOTE), POINTS, DAY).days()


def test_it_takes_no_readings_and_asks_nothing_without_points(configured: Callable[..., HubSettings]) -> None:
    adapter = lt_eso.adapter(configured(points=()))
    about = Build(adapter.settings, at(DAY, 6), lambda: "1")
    with pytest.raises(BuildError, match="takes no readings"):
        adapter.build([], about)
    assert adapter.daily(about, SimpleNamespace()) == []
    assert not adapter.policy.takes_readings


@pytest.mark.parametrize(
    ("what", "arguments", "says"),
    [
        ("orders", {}, "cannot be asked"),
        ("order", {}, "is no day"),
        ("order", {"from": "2026-03-03", "unit": "x"}, "does not take unit"),
        ("order", {"from": "2026-03-03", "to": "2026-03-02"}, "does not follow"),
        ("order", {"from": "2026-01-01", "to": "2026-03-01"}, "within 31 days"),
        ("order", {"from": "2026-03-05"}, "not over yet"),
        ("order", {"from": "2026-03-03", "report": "bills"}, "is not known"),
        ("order", {"from": "2026-03-03", "objects": "1,1"}, "each once"),
        ("order", {"from": "2026-03-03", "objects": ",".join(map(str, range(501)))}, "1 to 500 objects"),
        ("order", {"from": "2026-03-03", "objects": "1,/../x"}, "is no number of an object"),
        ("access-right", {}, "is no number of an object"),
        ("list objects", {"first": "0"}, "does not take first"),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    configured: Callable[..., HubSettings], what: str, arguments: dict[str, str], says: str
) -> None:
    adapter = lt_eso.adapter(configured())
    with pytest.raises(BuildError, match=says):
        adapter.request(what, arguments, Build(adapter.settings, at(DAY + timedelta(1), 6), lambda: "1"))


def test_five_hundred_objects_are_one_order_and_more_are_several(configured: Callable[..., HubSettings]) -> None:
    points = tuple(str(10_000_000 + number) for number in range(1_201))
    adapter, notes = lt_eso.adapter(configured(points=points)), {}
    about = Build(adapter.settings, at(DAY + timedelta(1), 6), iter(map(str, range(99))).__next__)
    open_ = SimpleNamespace(note=notes.get, remember=notes.__setitem__, document=lambda _: None)
    drafts = adapter.daily(about, open_)
    sizes = [len(json.loads(draft.body)["objects"]) for draft in drafts]
    assert sizes == [500, 500, 201]
    assert max(map(len, notes.values())) < 64 << 10


def test_each_type_of_report_is_an_order_of_its_own(configured: Callable[..., HubSettings]) -> None:
    adapter = lt_eso.adapter(configured())
    about = Build(adapter.settings, at(DAY + timedelta(1), 6), lambda: "1")
    drafts = [adapter.request("order", {"from": "2026-03-03", "report": one}, about) for one in lt_names.REPORTS]
    assert [draft.about["report"] for draft in drafts] == list(lt_names.REPORTS)
