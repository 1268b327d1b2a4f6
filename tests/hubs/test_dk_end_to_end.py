"""The whole way over TLS: ledger, engine, this adapter, a session with token, and a test hub that others wrote."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli import main
from gateway.hub_settings import HubSettings
from gateway.settings import PointSettings
from gateway.stores.files import StorageFault
from gateway.stores.hubs import HubStore
from gateway.uploader.hub import Build
from gateway.uploader.hubs.dk_datahub3 import adapter
from gateway.uploader.month_sums import MonthSums
from gateway.uploader.serving import Serving
from gateway.uploader.staging import new_id
from tests.hubs.house import HubHouse, started
from tests.sandbox.conftest import Hub
from tests.uploader.lying import POINT, ZONE, Home, days, midnight, noon, settings

PARTY = "5799999933318"
DAY = date(2026, 3, 3)
#: feeding in has a GSRN of its own
EXPORT = "571313000000002017"
#: a hub confirms by silence after it
SILENCE_S = 4 * 3_600


class House(HubHouse):
    """A household in Denmark."""

    adapter, zone = adapter, ZONE

    def __init__(self, folder: Path, hub: Hub, **changes: Any) -> None:
        files = hub.folder
        given = {
            "name": "dk",
            "kind": "dk-datahub3",
            "url": f"{hub.url}/dk",
            "party": PARTY,
            "role": "MDR",
            "points": (POINT, EXPORT),
            "legal_basis": "a contract",
            "since": DAY.isoformat(),
            "at": "01:00",
            "jitter_s": 0,
            "requests_per_minute": 60_000,
            "token_url": f"{hub.url}/oauth2/token",
            "client_id": "gridco-client",
            "client_secret_file": str(files.clients / "gridco.secret"),
            "ca_file": str(files.ca),
        }
        super().__init__(folder, hub, HubSettings(**(given | changes)))

    @property
    def settings(self) -> Any:
        return settings(self.folder, self.hub, (PointSettings(meter="main", id=POINT, id_export=EXPORT),))

    def fill(self, day: date, count: int = 1, **more: Any) -> None:
        with self.file() as file:
            home = Home(file, lambda: self.now)
            for direction in ("import", "export"):
                key = home.series(direction=direction)
                for one in days(day, count):
                    home.fill(key, one, **more)

    def enough(self, serving: Serving, inbox: bool) -> bool:
        """Without `inbox` the first message is tried once."""
        return not inbox and (first := serving._store.message("dk", 1)) is not None and first.attempts > 0

    def judged(self) -> None:
        """Wait until the hub has judged what it took."""
        deadline = time.monotonic() + 60
        while self.there.admin().get("/control").json()["pending"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ask(self, **arguments: str) -> Any:
        """Store a request as `meterd hub request` does."""
        draft = adapter(self.hub).request("sums", arguments, Build(self.hub, int(self.now), new_id))
        with self.store() as store:
            (message,) = store.stage("dk", [draft], int(self.now))
        return message

    def control(self, path: str, method: str = "PUT", **value: Any) -> None:
        answer = self.there.admin().request(method, f"/control/{path}", json=value)
        assert answer.status_code < 300, answer.text


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(clock: float, **changes: Any) -> House:
        hub = started(tmp_path, clock)
        hub.sandbox.options.delay_s = 0.0
        one = House(tmp_path, hub, **changes)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def expected(direction: str, day: date, wh: int = 100) -> list[tuple[int, Decimal]]:
    """What the ledger holds of a day: start and kWh of each quarter-hour."""
    starts = range(midnight(day), midnight(day + timedelta(days=1)), 900)
    return [(start, Decimal(wh + n) / 1000) for n, start in enumerate(starts)]


def held(one: House) -> dict[tuple[str, int], list[tuple[int, Decimal]]]:
    """What the hub took: direction and start of a day -> its values, and nothing twice."""
    found: dict[tuple[str, int], list[tuple[int, Decimal]]] = {}
    for effect in one.there.effects(profile="dk"):
        assert effect["version"] == 1
        start = min(t for t, _, _ in values_of(effect))
        assert found.setdefault((effect["direction"], start), values_of(effect) and []) == []
        found[effect["direction"], start] = [(t, Decimal(q)) for t, q, _ in values_of(effect)]
    return found


def values_of(effect: dict[str, Any]) -> list[tuple[int, str, str]]:
    from datetime import datetime

    def second(said: Any) -> int:
        return said if isinstance(said, int) else int(datetime.fromisoformat(said).timestamp())

    return [(second(at), quantity, quality) for at, quantity, quality in effect["values"]]


DIRECTIONS = {"import": "consumption", "export": "production"}


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("day", [DAY, date(2026, 3, 29), date(2026, 10, 25)], ids=["96", "92", "100"])
def test_a_whole_day_arrives_exactly_and_is_confirmed_by_silence(house, form, day) -> None:
    one = house(noon(day + timedelta(days=1)), format=form, since=day.isoformat())
    one.fill(day)
    one.run()
    one.judged()
    assert held(one) == {
        (DIRECTIONS[direction], midnight(day)): expected(direction, day) for direction in ("import", "export")
    }
    assert one.counts() == {"accepted": 1}
    one.run(until=one.now + SILENCE_S + 600)
    assert one.counts() == {"confirmed": 1}
    assert one.message(1).content_type == f"application/{form}"
    assert "rejected" not in one.names()


def test_a_reject_is_parked_with_its_reasons_and_repaired_by_a_correction(house) -> None:
    one = house(noon(DAY + timedelta(days=1)))
    facts = {"type": "E18", "resolution": "PT15M", "unit": "KWH", "owner": PARTY}
    one.control("points", profile="dk", points={POINT: facts, EXPORT: facts})
    one.control("options", "PATCH", points="registered")
    one.fill(DAY)
    one.run()
    one.judged()
    one.run()
    message = one.message(1)
    states = {part.slot.direction: part.state for part in message.parts}
    reasons = {part.slot.direction: [reason.code for reason in part.reasons] for part in message.parts}
    assert reasons["import"] == ["D18"]
    assert states["import"] == "rejected"
    assert [event.severity for event in one.events if event.name == "rejected"] == ["error"]
    one.run(until=one.now + SILENCE_S + 600)
    assert one.message(1).state == "rejected"
    assert [part.state for part in one.message(1).parts if part.slot.direction == "export"] == ["confirmed"]
    # the point is registered rightly, and a person corrects the day: newer content goes out by itself
    one.control("points", profile="dk", points={POINT: None})
    one.control("options", "PATCH", points="open")
    with one.file() as file:
        home = Home(file, lambda: one.now)
        home.fill(home.series(), DAY, wh=200, version=2)
    one.run()
    one.judged()
    one.run(until=one.now + SILENCE_S + 600)
    again = one.message(2)
    assert (again.state, [part.revision for part in again.parts]) == ("confirmed", [2])
    assert again.document != message.document
    assert not {part.transaction for part in again.parts} & {part.transaction for part in message.parts}
    assert held(one)["consumption", midnight(DAY)] == expected("import", DAY, 200)
    assert any(event.name == "rejected" and event.recovered for event in one.events)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ({"drop_response": {"p": 1, "count": 1}}, "unknown"),
        ({"drop_request": {"p": 1, "count": 1}}, "unknown"),
        # the second of the two answers is 00101
        ({"duplicate": {"p": 1, "count": 1}}, "accepted"),
        ({"error": {"p": 1, "count": 1, "value": 500}}, "unknown"),
        ({"error": {"p": 1, "count": 1, "value": 403}}, "new"),
        ({"error_after": {"p": 1, "count": 1, "value": 502}}, "unknown"),
        ({"error_after": {"p": 1, "count": 1, "value": 400}}, "unknown"),
        ({"error_after": {"p": 1, "count": 1, "value": 404}}, "new"),
        ({"overload": {"p": 1, "count": 1}}, "new"),
        ({"overload_date": {"p": 1, "count": 1}}, "new"),
        # one token renewal, within the attempt
        ({"expired_token": {"p": 1, "count": 1}}, "accepted"),
        ({"error_in_200": {"p": 1, "count": 1}}, "unknown"),
        ({"garbage": {"p": 1, "count": 1}}, "unknown"),
        ({"encoding": {"p": 1, "count": 1}}, "unknown"),
        ({"bomb": {"p": 1, "count": 1}}, "unknown"),
        ({"huge": {"p": 1, "count": 1}}, "unknown"),
    ],
    ids=lambda one: "" if isinstance(one, str) else "-".join([*one, *(str(v.get("value", "")) for v in one.values())]),
)
def test_whatever_happens_to_the_answer_there_is_one_effect(house, fault, state) -> None:
    one = house(noon(DAY + timedelta(days=1)))
    one.fill(DAY)
    one.control("faults", **{name: switch | {"profile": "dk"} for name, switch in fault.items()})
    one.run(inbox=False)
    assert one.there.admin().get("/control/faults").json()["hits"] == dict.fromkeys(fault, 1)
    assert one.message(1).attempts == 1
    assert one.message(1).state == state
    # a hub that says 403 or 404 is blocked until the next daily run
    one.run(until=midnight(DAY + timedelta(days=2)) + 8 * 3_600, step_s=900)
    one.judged()
    assert one.message(1).attempts == (1 if state == "accepted" else 2)
    assert held(one) == {
        (DIRECTIONS[direction], midnight(DAY)): expected(direction, DAY) for direction in ("import", "export")
    }
    assert one.counts() == {"confirmed": 1}


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize(
    "fault",
    ["drop_response", "duplicate", "undequeued", "error_after", "error_in_200", "garbage", "encoding", "bomb", "huge",
     "stranger", "slow"],
)  # fmt: skip
def test_whatever_happens_to_the_queue_a_reject_is_not_lost(house, fault, form) -> None:
    """The hub rejects what is not of the registered type; the first bundles that tell so come badly."""
    one = house(noon(DAY + timedelta(days=1)), format=form, timeout_s=5)
    one.control("options", "PATCH", points="registered")
    facts = {"type": "E18", "resolution": "PT15M", "unit": "KWH", "owner": PARTY}
    one.control("points", profile="dk", points={POINT: facts, EXPORT: facts})
    one.fill(DAY)
    one.run(inbox=False)
    one.judged()
    value = {"value": 0.2} if fault == "slow" else {}
    one.control("faults", **{fault: {"p": 1, "count": 2, "profile": "dk"} | value})
    one.run(until=one.now + SILENCE_S + 3_600)
    assert one.there.admin().get("/control/faults").json()["hits"][fault] == 2
    states = {part.slot.direction: part.state for part in one.message(1).parts}
    assert states == {"import": "rejected", "export": "confirmed"}
    assert one.counts() == {"rejected": 1}
    assert one.names().count("rejected") == 1
    with one.store() as store:
        assert len(store.received("dk", "rsm-009")) == (3 if fault == "stranger" else 1)


def test_drop_after_commit_is_told_00101_and_counts_as_accepted(house) -> None:
    one = house(noon(DAY + timedelta(days=1)))
    one.fill(DAY)
    one.control("faults", drop_response={"p": 1, "count": 1, "profile": "dk"})
    one.run(inbox=False)
    one.run(until=one.now + 1_000)
    message = one.message(1)
    assert (message.state, message.attempts) == ("accepted", 2)
    assert [reason.code for reason in message.reasons] == ["00101"]
    one.judged()
    assert len(held(one)) == 2


def test_a_reject_of_a_message_whose_answer_was_lost(house) -> None:
    """The queue tells first that one part is rejected; the re-send is told 00101, which is about the other one."""
    one = house(noon(DAY + timedelta(days=1)))
    one.control("options", "PATCH", points="registered")
    facts = {"type": "E18", "resolution": "PT15M", "unit": "KWH", "owner": PARTY}
    one.control("points", profile="dk", points={POINT: facts, EXPORT: facts})
    one.fill(DAY)
    one.control("faults", drop_response={"p": 1, "count": 1, "profile": "dk"})
    one.run(inbox=False)
    assert one.message(1).state == "unknown"
    one.judged()
    one.run(until=one.now + 1_000)
    one.judged()
    one.run(until=one.now + SILENCE_S + 600)
    assert one.message(1).attempts == 2
    assert {part.slot.direction: part.state for part in one.message(1).parts} == {
        "import": "rejected",
        "export": "confirmed",
    }
    assert list(held(one)) == [("production", midnight(DAY))]


def test_a_reject_that_comes_after_the_silence(house) -> None:
    """A hub that judges late: what counted as confirmed is rejected all the same, and told."""
    one = house(noon(DAY + timedelta(days=1)), confirm_after_s=60)
    one.control("options", "PATCH", points="registered", delay_s=1e6)
    facts = {"type": "E18", "resolution": "PT15M", "unit": "KWH", "owner": PARTY}
    one.control("points", profile="dk", points={POINT: facts, EXPORT: facts})
    one.fill(DAY)
    one.run(until=one.now + 120, step_s=60)
    assert one.counts() == {"confirmed": 1}
    hub = one.there
    work = hub.sandbox.store.run(lambda db: db.execute("UPDATE pending SET due = 0"))
    asyncio.run_coroutine_threadsafe(work, hub._loop).result(60)
    one.judged()
    one.run()
    assert one.counts() == {"rejected": 1}
    assert "rejected" in one.names()


def test_a_reminder_is_answered_within_what_may_be_sent(house) -> None:
    """A day before `since` was never sent: the hub misses it, and gets it. A point that is not ours gets nothing."""
    one = house(noon(DAY + timedelta(days=2)), since=(DAY + timedelta(days=1)).isoformat())
    one.fill(DAY, 2)
    one.run()
    one.judged()
    assert {start for _, start in held(one)} == {midnight(DAY + timedelta(days=1))}
    other = {"type": "E17", "resolution": "PT15M", "unit": "KWH", "owner": PARTY}
    one.control("points", profile="dk", points={"571313000000003007": other})
    one.control(
        "reminders",
        "POST",
        **{"from": DAY.isoformat(), "to": DAY.isoformat(), "points": [POINT, EXPORT, "571313000000003007"]},
    )
    one.run()
    one.run()
    one.judged()
    assert {start for _, start in held(one)} == {midnight(DAY), midnight(DAY + timedelta(days=1))}
    assert {effect["point"] for effect in one.there.effects(profile="dk")} == {POINT, EXPORT}
    assert "rsm_018" in one.names()


def test_sums_of_a_month_are_asked_answered_and_kept(house) -> None:
    """March has a day of 23 hours; the hub's sum is what the ledger holds, to the Wh."""
    first = date(2026, 3, 1)
    one = house(noon(date(2026, 4, 2)), since=first.isoformat())
    one.fill(first, 31)
    one.run()
    one.judged()
    request = one.ask(month="2026-03", role="DDM", **{"grid-area": "244"})
    one.run()
    one.judged()
    one.run()
    assert one.message(request.id).state == "confirmed"
    own = sum(wh for day in days(first, 31) for _, wh in expected("import", day)) * 1000
    own = int(own)
    with one.store() as store:
        (said,) = store.received("dk", "rsm-019")
    assert {(fact["point_type"], fact["energy_wh"]) for fact in said.data.facts["sums"]} == {("E17", own), ("E18", own)}


def test_the_sums_agree_with_ours_until_ours_change(house, capsys) -> None:
    """Read and reconciled: `meterd hub reconcile` names a difference of the very Wh that differ."""
    first = date(2026, 3, 1)
    one = house(noon(date(2026, 4, 2)), since=first.isoformat())
    one.fill(first, 31)
    one.run()
    one.judged()
    one.ask(month="2026-03", role="DDQ")
    one.run()
    one.judged()
    one.run()
    place = one.folder / "meterd.toml"
    place.write_text(
        f'''[[meter]]
name = "main"
port = "/dev/null"
timezone = "{ZONE.key}"
[[point]]
meter = "main"
id = "{POINT}"
id_export = "{EXPORT}"
[ledger]
path = "{one.settings.ledger_path}"
[[hub]]
name = "dk"
kind = "dk-datahub3"
url = "{one.hub.url}"
party = "{PARTY}"
points = ["{POINT}", "{EXPORT}"]
legal_basis = "a contract"
'''
    )
    asked = ["hub", "reconcile", "dk", "--month", "2026-03", "--json", "-c", str(place)]

    def differences() -> dict[str, int]:
        return {sum_["point_type"]: sum_["difference_wh"] for sum_ in json.loads(capsys.readouterr().out)["sums"]}

    assert main(asked) == 0
    assert differences() == {"E17": 0, "E18": 0}
    with one.file() as file:
        home = Home(file, lambda: one.now)
        home.fill(home.series(), DAY, wh=101, version=2)
    assert main(asked) == 1
    assert differences() == {"E17": 96, "E18": 0}


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_request_that_is_not_answered_within_an_hour_is_an_event(house, form) -> None:
    one = house(noon(date(2026, 4, 2)), since="2026-04-01", format=form)
    one.control("options", "PATCH", no_sums=True)
    request = one.ask(month="2026-03", role="DDQ")
    one.run(until=one.now + 3_000)
    assert one.message(request.id).state == "accepted"
    assert "no_answer" not in one.names()
    one.run(until=one.now + 1_200)
    assert one.names().count("no_answer") == 1


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_request_that_the_hub_rejects_is_parked(house, form) -> None:
    """The hub holds nothing of the month."""
    one = house(noon(date(2026, 4, 2)), since="2026-04-01", format=form)
    request = one.ask(month="2026-03", role="DDQ")
    one.run()
    one.judged()
    one.run()
    message = one.message(request.id)
    assert message.state == "rejected"
    assert message.reasons[0].code == "E0H"


# -- sums that are asked for by themselves -----------------------------------------------------------------------------


@pytest.fixture
def asking(house) -> House:
    """A house that asks on the first of a month; its day of March is at the hub."""
    one = house(noon(DAY + timedelta(days=1)), sums_on_day=1, sums={"role": "DDM", "grid-area": "244"})
    one.fill(DAY)
    one.run()
    one.judged()
    assert requests(one) == [], "nothing of February is kept here"
    one.there.clock = noon(date(2026, 4, 1))
    return one


def requests(one: House) -> list[Any]:
    with one.store() as store:
        listed = store.in_state("dk", "new", "sending", "unknown", "accepted", "confirmed", "rejected", "dead")
        found = [store.message("dk", each.id) for each in listed]
    return [each for each in found if each.operation == "request-sums"]


def compared(one: House) -> list[tuple[Any, ...]]:
    """What the audit log says of sums."""
    with one.store() as store:
        told = [entry.facts for entry in store.audit.entries() if entry.what == "sums"]
    return [(facts["month"], facts["type"], facts["sum"]) for facts in told]


AGREES = [("2026-03", "E17", "agrees"), ("2026-03", "E18", "agrees")]


def test_sums_are_asked_for_once_a_month_and_agree(asking) -> None:
    one = asking
    one.run(inbox=False)
    one.run()
    one.judged()
    (request,) = requests(one)
    assert (request.state, request.about["start"]) == ("accepted", "2026-02-28T23:00:00Z")
    for day in range(1, 9):
        one.there.clock = noon(date(2026, 4, day)) + 600
        one.run()
        one.judged()
    assert [each.state for each in requests(one)] == ["confirmed"]
    assert sorted(compared(one)) == AGREES
    assert "sums_differ" not in one.names()
    one.there.clock = noon(date(2026, 5, 2))
    one.run()
    assert len(requests(one)) == 1, "nothing of April is kept here"


def test_sums_that_differ_are_told_with_both_until_they_agree(asking) -> None:
    one = asking
    one.run()
    one.judged()
    with one.file() as file:
        home = Home(file, lambda: one.now)
        home.fill(home.series(), DAY, wh=101, version=2)
    one.run()
    told = {event.key: event for event in one.events if event.name == "sums_differ" and not event.recovered}
    assert list(told) == ["2026-03 E17"]
    text = told["2026-03 E17"].text
    ours = sum(int(wh * 1000) for _, wh in expected("import", DAY)) + 96
    assert text.startswith(
        f"sums of 2026-03, E17 import: ours {ours} Wh, the hub's {ours - 96} Wh, ours - theirs 96 Wh"
    )
    assert text.endswith("; 2876 intervals of ours have no value"), "March has 2972 quarter-hours"
    assert sorted(compared(one)) == [("2026-03", "E17", "differs"), ("2026-03", "E18", "agrees")]
    # the correction went meanwhile; a person asks once more
    one.judged()
    one.ask(month="2026-03", role="DDM", **{"grid-area": "244"})
    one.run()
    one.judged()
    one.run()
    over = [event.key for event in one.events if event.name == "sums_differ" and event.recovered]
    assert over.count("2026-03 E17") == 1
    assert compared(one)[-2:] == AGREES


def test_sums_that_are_not_answered_are_an_event_and_not_asked_for_again(asking) -> None:
    one = asking
    one.control("options", "PATCH", no_sums=True)
    one.run(until=one.now + 4_500)
    assert one.names().count("no_answer") == 1
    for day in (2, 3):
        one.there.clock = noon(date(2026, 4, day))
        one.run()
    assert len(requests(one)) == 1
    assert compared(one) == []


def test_sums_are_compared_by_the_next_process_when_one_dies_before_it_told(asking, monkeypatch) -> None:
    one = asking
    one.run()
    one.judged()

    def dies(*_: Any) -> None:
        raise StorageFault("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(MonthSums, "_compare", dies)
        with pytest.raises(StorageFault):
            one.run()
    assert requests(one)[0].state == "confirmed"
    assert compared(one) == []
    one.run()
    one.run()
    assert sorted(compared(one)) == AGREES


def test_sums_are_asked_for_once_by_a_process_that_dies_right_behind(asking, monkeypatch) -> None:
    one, say = asking, HubStore.say

    def dies(store: HubStore, what: str, *facts: Any) -> None:
        if what == "run":
            raise StorageFault("the power went")
        say(store, what, *facts)

    with monkeypatch.context() as patched:
        patched.setattr(HubStore, "say", dies)
        with pytest.raises(StorageFault):
            one.run()
    assert [each.state for each in requests(one)] == ["new"]
    one.run()
    one.judged()
    one.run()
    assert [each.state for each in requests(one)] == ["confirmed"]
    assert sorted(compared(one)) == AGREES


def test_sums_that_cannot_be_asked_for_are_told_and_tried_the_next_day(house) -> None:
    one = house(noon(DAY + timedelta(days=1)), sums_on_day=2)
    one.fill(DAY)
    one.run()
    one.there.clock = noon(date(2026, 4, 1))
    one.run()
    assert "00003" not in one.names(), "it is not the second yet"
    one.there.clock = noon(date(2026, 4, 3))
    one.run()
    (told,) = [event for event in one.events if event.name == "00003"]
    assert told.text.startswith("the sums of 2026-03 cannot be asked: the request for sums is not sent, 00003")
    one.hub = msgspec.structs.replace(one.hub, sums={"role": "DDQ"})
    one.there.clock = noon(date(2026, 4, 4))
    one.run()
    assert len(requests(one)) == 1
