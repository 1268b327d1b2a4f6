"""The whole way over mutual TLS: ledger, engine, Czech adapters, a test hub that others wrote; PND to the ledger."""

import dataclasses
import datetime as dt
import re
import ssl
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import zeep
from lxml import etree

from gateway.cli import main
from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.intervals.model import SeriesKey
from gateway.settings import LedgerSettings, MeterSettings, PointSettings, Settings
from gateway.stores.hubs import HubStore
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import IntervalStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.hub import Build
from gateway.uploader.hubs import cz_ote, cz_pnd
from gateway.uploader.line import Line
from gateway.uploader.session import HttpSession
from gateway.uploader.staging import new_id
from gateway.uploader.worker import Worker
from gateway.uploader.world import World
from tests.certificates import Authority
from tests.hubs.cz_parts import PARTY, PRAGUE, SAMPLES, SANDBOX, Outbox, delivery, ean, part, stored
from tests.hubs.house import HubHouse, started
from tests.ports import free_port
from tests.sandbox.conftest import Hub
from tests.uploader.lying import interval

DAY = dt.date(2026, 3, 3)
POINT, EXPORT, GAS = ean(1), ean(2), ean(3)
SERIES = {
    POINT: SeriesKey("main", 0, "active", "import"),
    EXPORT: SeriesKey("main", 0, "active", "export"),
    GAS: SeriesKey("main", 1, "gas", "import"),
}
#: what the hub calls them
ROLE = {POINT: "consumption", EXPORT: "production", GAS: "consumption"}


def midnight(day: dt.date, hour: int = 0) -> int:
    return int(dt.datetime.combine(day, dt.time(hour), PRAGUE).timestamp())


def energy_day(point: str, day: dt.date) -> list[int]:
    hour = 6 if point == GAS else 0
    return list(range(midnight(day, hour), midnight(day + dt.timedelta(days=1), hour) + 1, 900))


class House(HubHouse):
    """A household in Prague with gas."""

    adapter, zone = cz_ote.adapter, PRAGUE

    def __init__(self, folder: Path, hub: Hub, **changes: Any) -> None:
        cert, key = hub.folder.pair("clients/gridco")
        given = {
            "name": "ote", "kind": "cz-ote", "url": f"{hub.url}/ote", "party": PARTY, "points": (POINT, EXPORT, GAS),
            "legal_basis": "a contract", "since": DAY.isoformat(), "at": "07:00", "jitter_s": 0, "timeout_s": 30,
            "requests_per_minute": 60_000, "ca_file": str(hub.folder.ca), "cert_file": str(cert), "key_file": str(key),
        }  # fmt: skip
        super().__init__(folder, hub, HubSettings(**(given | changes)))

    def tell(self, event: Event) -> None:
        """Keep what went wrong, and that it is over; not that a run went well."""
        if event.severity != "info" or event.recovered:
            self.events.append(event)

    @property
    def settings(self) -> Settings:
        return Settings(
            meter=(MeterSettings(name="main", port="/dev/null", timezone="Europe/Prague"),),
            ledger=LedgerSettings(path=str(self.folder / "l.db")),
            point=(
                PointSettings(meter="main", id=POINT, id_export=EXPORT),
                PointSettings(meter="main", channel=1, id=GAS, gas_day=True, gas_kwh_per_m3="10.55"),
            ),
            hub=(self.hub,),
        )

    def fill(self, *days: dt.date, points: tuple[str, ...] = (POINT, EXPORT, GAS), **more: Any) -> None:
        given = {"status": "valid", "wh": 100, "version": 1} | more
        with self.file() as file:
            store = IntervalStore(file, lambda: self.now)
            for point in points:
                key = SERIES[point]
                store.add_series(SeriesRow(*key, "Wh", 0, "gas" if key.kind == "gas" else "electricity"))
                for day in days:
                    pairs = enumerate(pairwise(energy_day(point, day)))
                    made = [
                        interval(start, end, given["status"], given["wh"] + n, given["version"])
                        for n, (start, end) in pairs
                    ]
                    store.add(key, "PT15M", made)

    def fault(self, name: str, **switch: Any) -> None:
        answer = self.there.admin().put("/control/faults", json={name: {"p": 1, **switch}})
        assert answer.status_code == 200, answer.text

    def held(self) -> dict[tuple[str, int, int, str], list[tuple[int, Decimal]]]:
        """What took effect: (point, start, version, direction) -> values; the hub reports nothing twice."""
        found: dict[tuple[str, int, int, str], list[tuple[int, Decimal]]] = {}
        for effect in self.there.effects(profile="ote"):
            key = effect["point"], effect["start"], effect["version"], effect["direction"]
            assert key not in found, "one effect for each content"
            found[key] = [(start, Decimal(value)) for start, value, _ in effect["values"]]
        return found


def expected(point: str, day: dt.date, wh: int = 100) -> list[tuple[int, Decimal]]:
    return [(start, Decimal(wh + n) / 1_000) for n, start in enumerate(energy_day(point, day)[:-1])]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(day: dt.date = DAY, **changes: Any) -> House:
        """Noon of the second day after `day`, so that its gas day is over, too."""
        hub = started(tmp_path, float(midnight(day + dt.timedelta(days=2), 12)))
        made.append(House(tmp_path, hub, **{"since": day.isoformat(), **changes}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "day",
    [DAY, dt.date(2026, 3, 28), dt.date(2026, 3, 29), dt.date(2026, 10, 24), dt.date(2026, 10, 25)],
)
def test_the_previous_day_arrives_exactly_and_is_confirmed_at_once(house: Any, day: dt.date) -> None:
    one = house(day)
    one.fill(day)
    one.run()
    assert one.held() == {
        (point, energy_day(point, day)[0], 1, ROLE[point]): expected(point, day) for point in (POINT, EXPORT, GAS)
    }
    assert one.counts() == {"confirmed": 3}
    message = one.message(1)
    assert [reason.code for reason in message.reasons] == ["0200"]
    assert message.reference is not None
    assert message.reference.startswith("6000000000000")
    assert not one.events


def test_days_that_were_missed_come_oldest_first(house: Any) -> None:
    one = house(DAY + dt.timedelta(days=3), since=DAY.isoformat())
    days = [DAY + dt.timedelta(days=n) for n in range(4)]
    one.fill(*days, points=(POINT,))
    one.run()
    starts = [start for _, start, *_ in one.held()]
    assert starts == sorted(starts) == [energy_day(POINT, day)[0] for day in days]


def test_a_correction_is_a_new_version(house: Any) -> None:
    one = house()
    one.fill(DAY, points=(POINT,))
    one.run()
    one.fill(DAY, points=(POINT,), wh=300, version=2, status="estimated")
    one.run()
    assert one.held() == {
        (POINT, energy_day(POINT, DAY)[0], 1, ROLE[POINT]): expected(POINT, DAY),
        (POINT, energy_day(POINT, DAY)[0], 2, ROLE[POINT]): expected(POINT, DAY, 300),
    }
    assert one.counts() == {"confirmed": 2}


@pytest.mark.parametrize(
    ("fault", "switch"),
    [
        ("drop_request", {}), ("drop_response", {}), ("duplicate", {}), ("slow", {"value": 1}),
        ("error", {"value": 500}), ("error", {"value": 502}),
        ("error_after", {"value": 500}), ("error_after", {"value": 503}), ("overload", {"value": 5}),
        ("overload_date", {"value": 5}), ("error_in_200", {}), ("garbage", {}), ("encoding", {}),
        ("huge", {"value": 5_000_000}), ("bomb", {}),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_each_content_takes_effect_once(house: Any, fault: str, switch: dict[str, Any]) -> None:
    one = house()
    one.fill(DAY)
    one.fault(fault, count=2, profile="ote", **switch)
    one.run(one.now + 3_600)
    assert set(one.held()) == {(point, energy_day(point, DAY)[0], 1, ROLE[point]) for point in (POINT, EXPORT, GAS)}
    assert one.counts() == {"confirmed": 3}
    assert one.there.sandbox.faults.hits[fault] == 2


def test_a_refusal_is_parked_with_code_and_text(house: Any) -> None:
    one = house(party="8591824000984")  # the certificate is that of another party
    one.fill(DAY, points=(POINT,))
    one.run()
    assert one.counts() == {"rejected": 1}
    (reason,) = one.message(1).reasons
    assert (reason.code, reason.text) == ("0303", "Odesílatel neodpovídá certifikátu: 8591824000984")
    assert [event.name for event in one.events] == ["rejected"]
    one.run(one.now + 7_200)
    assert one.counts() == {"rejected": 1}, "it is not sent again by itself"


def test_an_answer_to_another_message_is_told_and_changes_nothing(house: Any, monkeypatch: Any) -> None:
    """A hub that mixes up its answers, once: the real one with another number in it."""
    one = house()
    one.fill(DAY, points=(POINT,))
    asked, mixed = one.session.request, []

    def request(*args: Any, **given: Any) -> Any:
        answer = asked(*args, **given)
        if mixed:
            return answer
        mixed.append(answer.body)
        number = etree.fromstring(answer.body).find(".//{*}Reference").get("id")
        return dataclasses.replace(answer, body=answer.body.replace(number.encode(), b"10000000000000"))

    monkeypatch.setattr(one.session, "request", request)
    one.run()
    (event,) = [event for event in one.events if event.name == "unknown_answer"]
    assert "the answer is to message 10000000000000, not to" in event.text
    assert one.counts() in ({"unknown": 1}, {"confirmed": 1})
    one.run(one.now + 3_600)
    assert one.counts() == {"confirmed": 1}
    assert len(one.held()) == 1


@pytest.mark.parametrize("name", ["expired", "foreign", None])
def test_a_wrong_certificate_stops_the_hub_and_loses_nothing(house: Any, name: str | None) -> None:
    one = house()
    pair = one.there.folder.pair(f"clients/{name}") if name else (None, None)
    files = {"cert_file": str(pair[0]), "key_file": str(pair[1])} if name else {"cert_file": None, "key_file": None}
    right = one.hub
    one.hub = HubSettings(**({key: getattr(right, key) for key in right.__struct_fields__} | files))
    one.session = HttpSession(one.hub)
    one.fill(DAY, points=(POINT,))
    one.run()
    assert one.held() == {}
    assert set(one.counts()) <= {"new", "unknown"}
    assert name == "foreign" or "blocked" in [event.name for event in one.events], "some servers just hang up"
    one.session.close()
    one.hub, one.session = right, HttpSession(right)
    one.line = Line(lambda low, high: high / 2)
    one.run(one.now + 3_600)
    assert one.counts() == {"confirmed": 1}
    assert len(one.held()) == 1


def test_zeep_sends_what_our_adapter_built_and_reads_what_it_reads(house: Any) -> None:
    """The same document by zeep from the hub's own description, and the answer of the hub by both."""
    one = house()
    hub = one.hub
    drafts = cz_ote.adapter(hub).build([part(DAY), part(DAY, direction="export")], Build(hub, int(one.now), new_id))
    sent = stored(drafts[0])
    with requests.Session() as session:
        session.trust_env, session.verify = False, str(one.there.folder.ca)
        session.cert = tuple(map(str, one.there.folder.pair("clients/gridco")))
        client = zeep.Client(f"{one.there.url}/ote/cdsdata?wsdl", transport=zeep.transports.Transport(session=session))
        element = client.get_element(f"{{{SANDBOX}}}CDSDATA")
        parsed = element.parse(etree.fromstring(sent.body), client.wsdl.types)
        answer = client.service.SendData(**zeep.helpers.serialize_object(parsed))
    assert (answer.Reference.id, answer.Reason[0].type) == (sent.document, "A01")
    effects = one.held()
    assert [value for _, value in effects[POINT, energy_day(POINT, DAY)[0], 1, ROLE[POINT]]][:2] == [
        Decimal("0.126"),
        Decimal("0.127"),
    ]
    receipt = cz_ote.adapter(hub).send(one.session, sent)
    assert (receipt.verdict, receipt.reasons[0].code) in (("confirmed", "0200"), ("rejected", "0302"))
    assert one.held() == effects


def test_a_month_by_hand_is_the_same_rows_and_is_not_sent_again(house: Any) -> None:
    """Files for the portal, their answer as a file, and nothing left for the daily run."""
    one = house(DAY + dt.timedelta(days=3), since="2026-03-20")
    days = [DAY + dt.timedelta(days=n) for n in range(4)]
    adapter = cz_ote.adapter(one.hub)
    parts = [part(day, GAS, gas=True) for day in days] + [part(day) for day in days]
    drafts = adapter.build(parts, Build(one.hub, int(one.now), new_id, way="manual"))
    assert [draft.about["commodity"] for draft in drafts] == ["electricity", "gas"]
    with one.file() as file:
        store = HubStore(file, lambda: one.now)
        store.stage("ote", drafts, int(one.now))
    one.run()
    assert (one.counts(), one.held()) == ({"accepted": 2}, {}), "the uploader sends nothing that a person carries"
    client = one.there.client("gridco", token=False)
    for number in (1, 2):
        message = one.message(number)
        answer = client.post("/ote/cdsdata", content=soap(message.body), headers={"Content-Type": "text/xml"})
        with one.file() as file:
            store = HubStore(file, lambda: one.now)
            inbound = adapter.read_answer(answer.content, Lookup(store))
            settle = [(message, receipt, "confirmed") for receipt in inbound.receipts.values()]
            assert store.inbound("ote", inbound, settle, int(one.now))
            assert not store.inbound("ote", inbound, settle, int(one.now)), "an answer counts once"
    assert one.counts() == {"confirmed": 2}
    assert len(one.held()) == 8


def test_a_month_by_hand_by_commands(house: Any, tmp_path: Path, capsys: Any) -> None:
    """What docs/hubs/cz-ote.md says to a person: files out, portal, answers in; then the uploader has nothing to do."""
    first = dt.datetime.now(PRAGUE).date() - dt.timedelta(days=40)
    days = [first, first + dt.timedelta(days=1)]
    one = house(since=first.isoformat())
    one.there.clock = time.time()
    one.fill(*days)
    config, files = tmp_path / "meterd.toml", tmp_path / "files"
    config.write_text(toml(one))
    files.mkdir()
    span = ["--from", str(days[0]), "--to", str(days[1]), "--folder", str(files)]
    assert main(["hub", "export", "ote", "-c", str(config), *span]) == 0
    assert re.findall(r"message \d, (.*)", capsys.readouterr().out) == ["2 days of 2 points", "2 days"]
    names = sorted(path.name.rpartition("-")[0] for path in files.iterdir())
    assert names == [f"{what}-{days[0]}-{days[1]}" for what in ("electricity", "gas")]
    one.run()
    assert one.held() == {}, "the uploader sends nothing that a person carries"
    client = one.there.client("gridco", token=False)
    for path in sorted(files.iterdir()):
        answer = client.post("/ote/cdsdata", content=soap(path.read_bytes()), headers={"Content-Type": "text/xml"})
        said = tmp_path / f"answer-{path.name}"
        said.write_bytes(answer.content)
        assert main(["hub", "import", "ote", str(said), "-c", str(config)]) == 0
        assert "is confirmed: 0200 Zpráva úspěšně přijata" in capsys.readouterr().out
    assert main(["hub", "import", "ote", str(said), "-c", str(config)]) == 0
    assert "it was imported before, and nothing changed" in capsys.readouterr().out
    one.run(one.now + 600)
    assert one.counts() == {"confirmed": 2}
    assert len(one.held()) == 6
    assert main(["hub", "export", "ote", "-c", str(config), *span]) == 1
    assert "6 days (each series counts) are left out" in capsys.readouterr().out
    one.fill(days[1], points=(POINT,), wh=500, version=2)
    one.run(one.now + 600)
    assert one.held()[POINT, energy_day(POINT, days[1])[0], 2, "consumption"] == expected(POINT, days[1], 500)


def toml(one: House) -> str:
    hub = one.hub
    return (
        '[[meter]]\nname = "main"\nport = "/dev/null"\ntimezone = "Europe/Prague"\n'
        f'[ledger]\npath = "{one.settings.ledger_path}"\n'
        f'[[point]]\nmeter = "main"\nid = "{POINT}"\nid_export = "{EXPORT}"\n'
        f'[[point]]\nmeter = "main"\nchannel = 1\nid = "{GAS}"\ngas_day = true\ngas_kwh_per_m3 = "10.55"\n'
        f'[[hub]]\nname = "ote"\nkind = "cz-ote"\nurl = "{hub.url}"\nparty = "{hub.party}"\n'
        f'points = {list(hub.points)}\nlegal_basis = "a contract"\nsince = "{hub.since}"\n'
        f'ca_file = "{hub.ca_file}"\ncert_file = "{hub.cert_file}"\nkey_file = "{hub.key_file}"\n'
    )


class Lookup(Outbox):
    def __init__(self, store: HubStore) -> None:
        super().__init__()
        self._store = store

    def document(self, document: str) -> Any:
        return self._store.document("ote", document)


def soap(document: bytes) -> bytes:
    """An envelope as the portal's own upload might make it."""
    root = etree.Element("{http://schemas.xmlsoap.org/soap/envelope/}Envelope")
    etree.SubElement(root, "{http://schemas.xmlsoap.org/soap/envelope/}Body").append(etree.fromstring(document))
    return etree.tostring(root)


# -- PND ---------------------------------------------------------------------------------------------------------------


class Beaten:
    def __call__(self, rest_s: float = 0.0) -> None:
        pass


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Any]:  # noqa: C901 - a class that knows its certificates
    """A worker of PND as the uploader runs it, on a ledger of its own; `start` begins one, `stop` ends it."""
    authority = Authority(tmp_path / "authority")
    server, sender = authority.sign("receiver"), authority.sign("pnd")

    class Portal:
        port = free_port()
        now = float(midnight(dt.date(2026, 3, 5), 8))
        settings = Settings(
            meter=(MeterSettings(name="main", port="/dev/null", timezone="Europe/Prague"),),
            ledger=LedgerSettings(path=str(tmp_path / "l.db")),
            point=(PointSettings(meter="main", id=POINT),),
            hub=(
                HubSettings(
                    name="pnd", kind="cz-pnd", points=(POINT,), legal_basis="a contract", timeout_s=60,
                    listen=f"127.0.0.1:{port}", ca_file=str(authority.ca), cert_file=str(server.cert),
                    key_file=str(server.key),
                ),
            ),
        )  # fmt: skip
        worker: Worker | None = None

        def __init__(self) -> None:
            self.events: list[Event] = []

        def tell(self, event: Event) -> None:
            """Keep what is told, but not that the certificates of a test end soon."""
            if not event.name.endswith("_expires"):
                self.events.append(event)

        def start(self) -> None:
            world = World(
                lambda hub: cz_pnd.CzPnd(hub, clock=lambda: self.now), lambda hub, *_: HttpSession(hub),
                lambda _: PRAGUE, lambda: True, self.tell, lambda: self.now,
            )  # fmt: skip
            self.worker = Worker(self.settings, self.settings.hub[0], world, Beaten())  # type: ignore[arg-type]
            self.worker.start()

        def stop(self) -> None:
            if self.worker is not None:
                self.worker.stop.set()
                self.worker.join(30)
                assert not self.worker.is_alive()
                self.worker = None

        def deliver(self, body: bytes) -> tuple[str, str]:
            context = ssl.create_default_context(cafile=str(authority.ca))
            context.load_cert_chain(sender.cert, sender.key)
            until = time.monotonic() + 60
            while True:
                try:
                    with httpx.Client(verify=context, trust_env=False, timeout=120) as client:
                        url = f"https://localhost:{self.port}/pnd"
                        answer = client.post(url, content=body, headers={"Content-Type": "text/xml; charset=utf-8"})
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            assert answer.status_code == 200, answer.text
            found = etree.fromstring(answer.content)[0][0]
            return found.get("id"), found.get("result")

        def kept(self, kind: str = "measured-data") -> list[Any]:
            file = open_ledger(self.settings.ledger_path).file
            try:
                return list(HubStore(file).received("pnd", kind))
            finally:
                file.close()

    made = Portal()
    yield made
    made.stop()


def test_a_delivery_is_in_the_ledger_when_it_is_answered_and_outlives_the_uploader(portal: Any) -> None:
    body = delivery([DAY], quantities=("+A", "-A"))
    portal.start()
    assert portal.deliver(body) == ("2026-03-04-1", "stored")
    (kept,) = portal.kept()
    assert kept.body == body
    portal.stop()
    portal.start()
    assert portal.deliver(body) == ("2026-03-04-1", "known")
    assert len(portal.kept()) == 1
    assert portal.events == []


def test_a_late_day_and_its_end_are_told_once(portal: Any) -> None:
    portal.start()
    assert portal.deliver(delivery([dt.date(2026, 3, 4)], name="first"))[1] == "stored"
    wait(lambda: portal.kept("activation"))
    portal.now = float(midnight(dt.date(2026, 3, 13), 8))
    late = wait(lambda: portal.events)
    assert [(event.name, event.key, event.recovered) for event in late] == [("late_day", POINT, False)]
    days = [dt.date(2026, 3, day) for day in range(5, 11)]
    portal.deliver(delivery(days, name="second"))
    both = wait(lambda: len(portal.events) > 1 and portal.events)
    assert [(event.name, event.key, event.recovered) for event in both] == [
        ("late_day", POINT, False), ("late_day", POINT, True),
    ]  # fmt: skip


def wait(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until
        time.sleep(0.02)
    return found()


def test_an_export_of_the_portal_is_reconciled_by_commands(tmp_path: Path, capsys: Any) -> None:
    """The sample of an export beside a ledger that holds the same day, and beside one that differs in one interval."""
    lines = (SAMPLES / "pnd-simplified.csv").read_bytes().decode("cp1250").splitlines()[1:]
    wh = [int(Decimal(line.split(";")[1].replace(",", ".")) * 250) for line in lines]
    ledger, config = tmp_path / "l.db", tmp_path / "meterd.toml"
    config.write_text(
        f'[[meter]]\nname = "main"\nport = "/dev/null"\ntimezone = "Europe/Prague"\n[ledger]\npath = "{ledger}"\n'
        f'[[point]]\nmeter = "main"\nid = "{POINT}"\n'
        f'[[hub]]\nname = "pnd"\nkind = "cz-pnd"\npoints = ["{POINT}"]\nlegal_basis = "our own data"\n'
    )
    key, bounds = SERIES[POINT], energy_day(POINT, DAY)
    file = open_ledger(ledger).file
    store = IntervalStore(file)
    store.add_series(SeriesRow(*key, "Wh", 0, "electricity"))
    store.add(key, "PT15M", [interval(*pair, "valid", one, 1) for pair, one in zip(pairwise(bounds), wh, strict=True)])
    where = ["-c", str(config)]
    assert main(["hub", "import", "pnd", str(SAMPLES / "pnd-simplified.csv"), *where]) == 0
    assert f"import of {POINT}, 96 values" in capsys.readouterr().out
    assert main(["hub", "reconcile", "pnd", "--month", "2026-03", *where]) == 0
    assert "96 equal" in capsys.readouterr().out
    store.add(key, "PT15M", [interval(bounds[0], bounds[1], "edited", wh[0] + 7, 2)])
    file.close()
    assert main(["hub", "reconcile", "pnd", "--month", "2026-03", *where]) == 1
    told = capsys.readouterr().out
    assert "1 differs" in told
    assert " 7 " in told
