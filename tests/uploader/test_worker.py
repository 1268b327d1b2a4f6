"""One hub from the ledger to a final state, among lies, losses and deaths: each content takes effect once."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from gateway.hub_model import Draft, Event, Inbound, Message, Reason, Receipt, Slot
from gateway.hub_settings import HubSettings
from gateway.settings import PointSettings
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_file import LedgerFile
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.hub import FOREIGN_ANSWER, Answer, BuildError, Policy, Session, SessionError
from gateway.uploader.line import Line
from gateway.uploader.serving import STATUS, Serving
from gateway.uploader.world import Nobody, World
from tests.uploader.lying import (
    POINT,
    ZONE,
    Home,
    Hub,
    Killed,
    Lying,
    Quiet,
    days,
    hub_settings,
    midnight,
    noon,
    settings,
)

FIRST = date(2026, 3, 2)


class House:
    """A ledger, a clock that is turned by hand, and an uploader that may die and begin again."""

    def __init__(self, folder: Path, hub: HubSettings, policy: Policy | None = None, **lies: Any) -> None:
        self.hub = hub
        self.folder = folder
        self.now = float(noon(FIRST))
        self.there = Hub()
        self.events: list[Event] = []
        self.runs: list[Event] = []
        self.lies, self.policy = lies, policy
        self.believed = True
        self.status: Any = {}
        self.session = Quiet()
        self.line = Line(lambda low, high: high / 2)
        self.points: tuple[PointSettings, ...] = (PointSettings(meter="main", id=POINT),)
        self.tick = 0.0
        self.book: Any = Nobody()

    @property
    def settings(self) -> Any:
        return settings(self.folder, self.hub, self.points)

    @contextmanager
    def home(self) -> Iterator[Home]:
        file = open_ledger(self.settings.ledger_path).file
        try:
            yield Home(file, lambda: self.now)
        finally:
            file.close()

    @contextmanager
    def store(self) -> Iterator[HubStore]:
        file = open_ledger(self.settings.ledger_path).file
        try:
            yield HubStore(file, lambda: self.now)
        finally:
            file.close()

    @contextmanager
    def serving(self) -> Iterator[Serving]:
        file = open_ledger(self.settings.ledger_path).file
        self.adapter = Lying(self.hub, self.there, self.policy, **self.lies)
        world = World(
            lambda _: self.adapter,
            lambda *_: self.session,
            lambda point: ZONE,
            lambda: self.believed,
            self._tell,
            lambda: self.now,
            self.book,
        )
        try:
            serving = Serving(self.settings, self.hub, world, file, self.session, self.line, self)
            serving.begin()
            yield serving
        finally:
            file.close()

    def _tell(self, event: Event) -> None:
        (self.runs if event.name == "run_done" else self.events).append(event)

    def live(self, rest_s: float) -> None:
        pass

    def ends(self) -> bool:
        return False

    def run(self, until: float | None = None, *, step_s: float = 1.0) -> None:
        """Serve until nothing is left to do now; with `until` go on by steps of the clock to that moment."""
        while True:
            try:
                with self.serving() as serving:
                    return self._steps(serving, until, step_s)
            except Killed:
                self.line = Line(lambda low, high: high / 2)

    def _steps(self, serving: Serving, until: float | None, step_s: float) -> None:
        while True:
            for name in ("plan", "series", "inbox", "prune", "status"):
                serving._due[name] = 0.0
            for _ in range(100_000):
                if serving.step():
                    break
            if until is None or self.now >= until:
                serving.end()
                return
            self.now = min(self.now + step_s, until)

    def names(self) -> list[str]:
        return [event.name for event in self.events if not event.recovered]


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., House]:
    def make(policy: Policy | None = None, hub: HubSettings | None = None, **lies: Any) -> House:
        return House(tmp_path, hub or hub_settings(since="2026-03-02"), policy, **lies)

    return make


def fill(house: House, count: int, **more: Any) -> None:
    with house.home() as home:
        key = home.series()
        for day in days(FIRST, count):
            home.fill(key, day, **more)


def test_each_day_goes_once_it_is_released_and_is_confirmed_by_silence(house: Any) -> None:
    one = house()
    fill(one, 3)
    one.now = midnight(date(2026, 3, 4)) + 5 * 3_600  # before 05:15 of the 4th: the 3rd is not released
    one.run()
    assert sorted(start for _, _, start in one.there.values) == [midnight(FIRST)]
    one.run(until=one.now + 1_000, step_s=100)
    assert sorted(start for _, _, start in one.there.values) == [midnight(day) for day in days(FIRST, 2)]
    assert one.there.values[POINT, "import", midnight(FIRST)] == (1, list(range(100, 196)))
    one.run(until=one.now + 7_200, step_s=600)
    with one.store() as store:
        assert store.counts("dk")["confirmed"] == 2
        assert sum(store.counts("dk").values()) == 2
    assert [event.key for event in one.runs] == ["2026-03-03", "2026-03-04"], "each daily run is told once"
    said = [event.text.partition("; messages: ")[2] for event in one.runs]
    parked = "wait for its word, 0 are parked as refused"
    assert said == [f"1 went to the hub, {waiting} {parked}" for waiting in (1, 2)]


def test_the_days_of_summer_time_have_92_and_100_quarter_hours(house: Any) -> None:
    one = house(hub=hub_settings(since="2026-03-28"))
    with one.home() as home:
        key = home.series()
        for day in (*days(date(2026, 3, 28), 3), *days(date(2026, 10, 24), 3)):
            home.fill(key, day)
    one.now = noon(date(2026, 10, 27))
    one.run()
    lengths = {start: len(values) for (_, _, start), (_, values) in one.there.values.items()}
    assert lengths[midnight(date(2026, 3, 29))] == 92
    assert lengths[midnight(date(2026, 10, 25))] == 100
    assert lengths[midnight(date(2026, 3, 28))] == 96


def test_backlog_goes_oldest_first(house: Any) -> None:
    one = house(Policy(max_parts=1, confirm_after_s=60))
    fill(one, 10)
    one.now = noon(date(2026, 3, 12))
    one.run()
    with one.store() as store:
        order = [store.message("dk", n).parts[0].slot.start for n in range(1, 11)]
    assert order == sorted(order)
    assert len(set(order)) == 10


@pytest.mark.parametrize("vain", [3, 40])
def test_backlog_goes_oldest_first_though_the_hub_was_away_when_it_was_stored(house: Any, vain: int) -> None:
    one = house(Policy(max_parts=1, confirm_after_s=60), script=iter(["before"] * vain))
    fill(one, 8)
    one.now = noon(date(2026, 3, 12))
    one.run(until=one.now + 8 * 3_600, step_s=120)
    assert [start for _, _, start in one.there.values] == [midnight(day) for day in days(FIRST, 8)]
    assert one.there.sends == 8 + vain


def test_raw_waits_and_goes_as_missing_when_its_time_is_over(house: Any) -> None:
    one = house()
    with one.home() as home:
        key = home.series()
        home.fill(key, FIRST)
        bounds = midnight(FIRST)
        from gateway.intervals.model import revised

        raw = next(iter(home.store.current(key, "PT15M", bounds, bounds + 900)))
        home.store.add(key, "PT15M", [revised(raw, status="raw")])
    one.now = noon(date(2026, 3, 3))
    one.run()
    assert not one.there.values
    one.now = midnight(date(2026, 3, 3)) + 37 * 3_600
    one.run()
    ((revision, values),) = one.there.values.values()
    assert (revision, values[0], values[1]) == (1, None, 101)


def test_a_day_without_anything_validated_never_goes_and_is_told(house: Any) -> None:
    one = house()
    fill(one, 1, status="raw")
    one.now = noon(date(2026, 3, 10))
    one.run()
    assert not one.there.sends
    assert "late_day" in one.names()
    # and goes when it is validated at last
    with one.home() as home:
        home.fill(home.series(), FIRST, version=2, wh=7)
    one.run()
    assert one.there.values[POINT, "import", midnight(FIRST)] == (1, list(range(7, 103)))
    told = [(event.recovered, event.key) for event in one.events if event.name == "late_day"]
    over = (True, f"{midnight(FIRST)}")
    assert told.count(over) == 1
    assert told.count((False, over[1])) == 1, "once, however often the day is looked at"
    assert one.events[-1].text == "the day from 2026-03-01T23:00Z is validated now, and goes"


def test_a_correction_is_the_next_revision_and_the_same_content_is_not_sent(house: Any) -> None:
    one = house(Policy(confirm_after_s=60))
    fill(one, 2)
    one.now = noon(date(2026, 3, 4))
    one.run()
    sends = one.there.sends
    with one.home() as home:
        key = home.series()
        home.fill(key, FIRST, version=2)  # the same quantities
        home.fill(key, date(2026, 3, 3), version=2, wh=500)
    one.run()
    assert one.there.sends == sends, "the first revision is not final yet"
    one.run(until=one.now + 120, step_s=30)
    assert one.there.values[POINT, "import", midnight(FIRST)][0] == 1
    assert one.there.values[POINT, "import", midnight(date(2026, 3, 3))] == (2, list(range(500, 596)))
    assert one.there.sends == sends + 1
    one.run(until=one.now + 120, step_s=30)
    with one.store() as store:
        row = store.slot("dk", Slot(POINT, "import", "active", "PT15M", midnight(date(2026, 3, 3))))
        assert (row.revision, row.confirmed, row.state) == (2, 2, "confirmed")


def test_a_reject_is_parked_and_newer_content_goes(house: Any) -> None:
    one = house(script=iter(["reject"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 20 * 3_600, step_s=1_800)
    assert one.there.sends == 1, "a reject is not repeated"
    assert one.names() == ["rejected"]
    assert "E10 metering point unknown" in one.events[0].text
    with one.home() as home:
        home.fill(home.series(), FIRST, version=2, wh=5)
    one.run(until=one.now + 7_200, step_s=600)
    assert one.there.values[POINT, "import", midnight(FIRST)] == (2, list(range(5, 101)))
    assert one.events[-1].recovered
    assert one.events[-1].key == one.events[0].key


def test_a_correction_of_what_was_never_refused_is_nothing_to_tell(house: Any) -> None:
    one = house(Policy(confirm_after_s=60))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 300, step_s=30)
    for version in (2, 3):
        with one.home() as home:
            home.fill(home.series(), FIRST, version=version, wh=version)
        one.run(until=one.now + 300, step_s=30)
    assert one.there.values[POINT, "import", midnight(FIRST)][0] == 3
    assert one.events == []


def test_a_message_of_a_time_when_the_clock_was_ahead_ends(house: Any) -> None:
    one = house(Policy(confirm_after_s=3_600))
    fill(one, 1)
    one.now = noon(date(2027, 3, 3))
    one.run()
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 8 * 3_600, step_s=600)
    with one.store() as store:
        assert store.message("dk", 1).state == "confirmed"
    assert one.there.sends == 1


def test_a_message_of_which_a_part_was_refused_says_what_the_hub_said(house: Any) -> None:
    one = house(Policy(max_parts=10), script=iter(["some"]))
    fill(one, 2)
    one.now = noon(date(2026, 3, 4))
    one.run()
    with one.store() as store:
        message = store.message("dk", 1)
    assert (message.state, [part.state for part in message.parts]) == ("rejected", ["rejected", "confirmed"])
    assert message.reasons == (Reason("A50", "not above the stored version"),)


def test_what_is_too_old_takes_no_younger_day_with_it(house: Any) -> None:
    one = house(Policy(max_parts=10, confirm_after_s=60, correction_days=3), script=iter(["503"]))
    fill(one, 3)
    one.now = noon(date(2026, 3, 5))
    one.run()
    with one.store() as store:
        assert len(store.message("dk", 1).parts) == 3
    one.now = noon(date(2026, 3, 7))
    one.run(until=one.now + 300, step_s=30)
    assert [start for _, _, start in sorted(one.there.values)] == [midnight(date(2026, 3, 4))]
    assert "given_up" in one.names()


def test_a_day_of_a_point_that_is_back_in_the_configuration_goes(house: Any) -> None:
    one = house(script=iter(["503"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run()
    whole, one.hub = one.hub, hub_settings(points=("9",), since="2026-03-02")
    one.run(until=one.now + 120, step_s=30)
    with one.store() as store:
        assert store.message("dk", 1).state == "dead"
    one.hub = whole
    one.run(until=one.now + 120, step_s=30)
    assert list(one.there.values) == [(POINT, "import", midnight(FIRST))]


def test_slots_that_nobody_can_send_hold_up_no_other(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uploader.plan.PAGE", 2)
    one = house(Policy(confirm_after_s=60))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 200, step_s=20)
    with one.store() as store:
        strange = [Slot(f"1{n}", "import", "active", "PT15M", midnight(FIRST)) for n in range(5)]
        wanted = [*strange, Slot(POINT, "import", "active", "PT15M", midnight(FIRST))]
        store.want("dk", wanted, "anna", int(one.now))
    one.run()
    assert one.there.values[POINT, "import", midnight(FIRST)][0] == 2


def test_a_retry_by_a_person_is_a_new_document(house: Any) -> None:
    one = house(script=iter(["reject"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run()
    with one.store() as store:
        store.retry(store.message("dk", 1), "anna", int(one.now))
    one.run()
    with one.store() as store:
        first, second = store.message("dk", 1), store.message("dk", 2)
    assert first.state == "rejected"
    assert second.state == "accepted"
    assert first.document != second.document
    assert second.parts[0].revision == 2


def test_duplicate_counts_as_accepted_and_bytes_never_change(house: Any) -> None:
    one = house(script=iter(["after", "ok"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 60)
    assert one.there.sends == 2
    assert not one.there.forged
    assert set(one.there.effects.values()) == {1}
    with one.store() as store:
        message = store.message("dk", 1)
        assert message.state == "accepted"
        assert [answer.verdict for answer, _ in store.history(1)] == ["unknown", "duplicate"]


def test_an_attempt_is_in_the_ledger_before_its_first_octet_leaves(house: Any) -> None:
    one = house()
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    seen = []

    def look(message: Message) -> None:
        with one.store() as store:
            found = store.message("dk", message.id)
        seen.append((found.state, found.attempts, found.body == message.body))

    with one.serving() as serving:
        one.adapter.looks = look
        one._steps(serving, None, 1)
    assert seen == [("sending", 1, True)]


def test_accepted_and_lost_is_sent_again_where_the_hub_is_known_for_it(house: Any) -> None:
    one = house(Policy(query_s=60, resend_after_s=600), script=iter(["lost"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 1_200, step_s=30)
    assert one.there.sends == 2
    with one.store() as store:
        assert store.message("dk", 1).state == "confirmed"


def test_retry_after_is_obeyed(house: Any) -> None:
    one = house(script=iter(["503"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 29)
    assert one.there.sends == 1
    one.run(until=one.now + 5)
    assert one.there.sends == 2


def test_blocked_waits_for_a_person_or_for_the_next_day(house: Any) -> None:
    one = house(script=iter(["blocked", "blocked"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 7_200, step_s=60)
    assert one.there.sends == 1
    assert one.names() == ["blocked"]
    one.session.changed += 1
    with one.serving() as serving:
        one._steps(serving, None, 1)
        assert one.there.sends == 1, "credentials were new at the start of this process only"
        one.session.changed += 1
        one._steps(serving, None, 1)
    assert one.there.sends == 2
    one.run(until=noon(date(2026, 3, 4)), step_s=600)
    assert one.there.sends == 3
    assert len(one.there.effects) == 2 or len(one.there.effects) == 1


def test_a_person_who_acted_says_retry_and_a_blocked_hub_is_tried_again(house: Any) -> None:
    one = house(script=iter(["blocked"]))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    with one.serving() as serving:
        one._steps(serving, one.now + 600, 60)
        assert one.there.sends == 1
        with one.store() as store:
            store.retry(store.message("dk", 1), "anna", int(one.now))
        one._steps(serving, None, 1)
        assert one.there.sends == 2
    assert [event.recovered for event in one.events if event.name == "blocked"] == [False, True]


def test_a_hub_that_is_away_is_told_once_and_so_is_its_return(house: Any) -> None:
    one = house(script=iter(["before"] * 14))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 600, step_s=10)
    tried = one.there.sends
    assert 5 < tried < 14, "it is left alone longer and longer"
    one.run(until=one.now + 4 * 3_600, step_s=30)
    assert [(event.name, event.recovered) for event in one.events if event.name == "hub_down"] == [
        ("hub_down", False),
        ("hub_down", True),
    ]
    assert one.there.sends == 15
    assert len(one.there.values) == 1


@pytest.mark.parametrize("how", ["new credentials", "another process", "the next daily run"])
def test_the_return_of_a_hub_that_was_down_is_told_whatever_came_between(house: Any, how: str) -> None:
    one = house(script=iter(["before"] * 13))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    told = lambda: [event.recovered for event in one.events if event.name == "hub_down"]  # noqa: E731
    with one.serving() as serving:
        while told() != [False]:
            one._steps(serving, one.now + 60, 30)
        one.lies["script"] = None
        one.adapter.script = iter(())
        if how == "new credentials":
            one.session.changed += 1
            one._steps(serving, None, 1)
        elif how == "the next daily run":
            one.now = noon(date(2026, 3, 4))
            one._steps(serving, None, 1)
    if how == "another process":
        one.line = Line(lambda low, high: high / 2)
        one.run(until=one.now + 3_600, step_s=60)
    assert told() == [False, True]
    one.line = Line(lambda low, high: high / 2)
    one.run(until=one.now + 60, step_s=30)
    assert told() == [False, True], "once"


def test_nothing_is_sent_while_the_clock_of_the_host_is_not_believed(house: Any) -> None:
    one = house()
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.believed = False
    one.run(until=one.now + 60, step_s=10)
    assert not one.there.sends
    with one.store() as store:
        assert b'"state":"clock"' in store.note("dk", STATUS)
    one.believed = True
    one.run()
    assert one.there.sends == 1


def test_silence_confirms_only_where_the_inbox_was_read(house: Any) -> None:
    one = house(Policy(confirm_after_s=600, inbox_s=60))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run()
    document = next(iter(one.there.known))
    refused = Receipt("rejected", (Reason("E73", "unit"),))
    one.there.queue.append(Inbound("m1", "rsm-009", b"{}", "application/json", {document: refused, "never": refused}))
    one.now += 10_000  # the inbox comes first
    one.run()
    with one.store() as store:
        assert store.message("dk", 1).state == "rejected"
    assert sorted(one.names()) == ["rejected", "unknown_answer"]
    one.there.queue.append(Inbound("m1", "rsm-009", b"{}", "application/json", {document: refused}))
    one.run()
    assert len(one.names()) == 2, "the same one again changes nothing"


@pytest.mark.parametrize(("ahead", "state"), [(0, "confirmed"), (10**8, "accepted")])
def test_an_inbox_that_was_read_by_a_clock_that_was_ahead_says_nothing(
    house: Any, monkeypatch: pytest.MonkeyPatch, ahead: int, state: str
) -> None:
    def broken(*_: object) -> Any:
        raise SessionError("the queue cannot be read", sent=True)

    one = house(Policy(confirm_after_s=600, inbox_s=60))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    with one.serving() as serving:
        one._steps(serving, None, 1.0)
        monkeypatch.setattr(one.adapter, "inbox", broken)
        one.now += 10_000
        serving._delivery.heard = int(one.now) + ahead
        one._steps(serving, None, 1.0)
    with one.store() as store:
        assert store.message("dk", 1).state == state


def test_what_is_refused_here_does_not_hold_up_the_others(house: Any) -> None:
    one = house(hub=hub_settings(points=(POINT, "2"), since="2026-03-02"))
    one.points = (PointSettings(meter="main", id=POINT), PointSettings(meter="other", id="2"))
    fill(one, 2)
    with one.home() as home:
        key = home.series("other")
        home.fill(key, FIRST)
    one.now = noon(date(2026, 3, 4))
    with one.serving() as serving:
        one.adapter.refuses = {"2"}
        one._steps(serving, None, 1)
        one.now += 1
        one._steps(serving, None, 1)
        assert one.status["trouble"] == "1 days are not sent: this point is not known"
        assert {point for point, _, _ in one.there.values} == {POINT}
        assert len(one.there.values) == 2
        one.adapter.refuses = set()
        with one.home() as home:
            home.fill(home.series("other"), FIRST, version=2, wh=1)
        one._steps(serving, None, 1)
    assert [(event.recovered, event.key) for event in one.events if event.name == "refused_here"] == [
        (recovered, f"2 import {midnight(FIRST)}") for recovered in (False, True)
    ]
    assert ("2", "import", midnight(FIRST)) in one.there.values


def test_what_is_refused_here_is_tried_again_by_the_next_process(house: Any) -> None:
    one = house()
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    with one.serving() as serving:
        one.adapter.refuses = {POINT}
        one._steps(serving, None, 1)
        serving.end()
    assert not one.there.sends
    one.run()
    assert one.there.sends == 1


def test_what_was_stored_while_the_clock_was_ahead_goes_when_it_is_right(house: Any) -> None:
    one = house(script=iter(["503"] * 5))
    fill(one, 1)
    one.now = noon(date(2027, 3, 3))
    one.run()
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 7_200, step_s=60)
    with one.store() as store:
        assert store.message("dk", 1).state == "confirmed" or store.message("dk", 1).attempts > 1
    assert set(one.there.effects.values()) == {1}


def test_what_was_too_old_by_a_clock_that_was_ahead_goes_when_it_is_right(house: Any) -> None:
    one = house(Policy(confirm_after_s=60), script=iter(["503"]))
    fill(one, 2)
    one.now = noon(date(2026, 3, 4))
    one.run()
    one.now = noon(date(2036, 3, 4))
    one.run()
    with one.store() as store:
        assert store.message("dk", 1).state == "dead"
    one.now = noon(date(2026, 3, 4)) + 60
    one.run(until=one.now + 600, step_s=60)
    assert [start for _, _, start in one.there.values] == [midnight(day) for day in days(FIRST, 2)]
    assert set(one.there.effects.values()) == {1}


def test_a_message_whose_bytes_were_lost_holds_up_no_other(house: Any) -> None:
    one = house(Policy(max_parts=1, confirm_after_s=60), script=iter(["lie"]))
    fill(one, 2)
    one.now = noon(date(2026, 3, 4))
    one.run()
    with one.store() as store:
        store._db.execute("DELETE FROM hub_body WHERE id = 1")
    one.run(until=one.now + 300, step_s=10)
    assert "message_stuck" in one.names()
    with one.store() as store:
        assert [store.message("dk", n).state for n in (1, 2)] == ["unknown", "confirmed"]
        store.retry(store.message("dk", 1), "anna", int(one.now))
    one.run(until=one.now + 300, step_s=10)
    assert one.there.values[POINT, "import", midnight(FIRST)][0] == 2


def test_what_the_hub_asks_for_goes_again(house: Any) -> None:
    one = house(Policy(confirm_after_s=60, inbox_s=10))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 200, step_s=20)
    slot = Slot(POINT, "import", "active", "PT15M", midnight(FIRST))
    one.there.queue.append(Inbound("r1", "rsm-018", b"{}", "application/json", wanted=(slot,), severity="warning"))
    one.run()
    assert one.there.values[POINT, "import", slot.start][0] == 2


def test_a_hub_that_answers_and_takes_nothing_is_down_though_its_queue_can_be_read(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ["lie"] * 60
    one = house(Policy(confirm_after_s=60, inbox_s=10), script=iter(()))
    one.lies["script"] = (broken.pop() if broken else "ok" for _ in repeat(None))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 3_600, step_s=60)
    assert one.names() == ["hub_down"]
    assert (one.status["state"], one.status["trouble"]) == ("unreachable", "internal error")
    said = [record for record in caplog.records if record.message == "hub_unserved"]
    assert [record.fields for record in said] == [{"hub": "dk", "reason": "internal error"}]
    broken.clear()
    one.run(until=one.now + 1_800, step_s=60)
    assert [(event.name, event.recovered) for event in one.events if event.name == "hub_down"][1:] == [
        ("hub_down", True)
    ]
    assert one.status["state"] == "ok"
    assert set(one.there.effects.values()) == {1}


def test_a_queue_that_can_be_read_is_enough_where_nothing_is_to_be_sent(house: Any) -> None:
    one = house(Policy(confirm_after_s=60, inbox_s=10), script=repeat("lie"))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 3_600, step_s=60)
    assert one.status["state"] == "unreachable"
    with one.store() as store:
        (message,) = store.open("dk")
        store.cancel(message, "a person", "broken for good", int(one.now))
    one.run(until=one.now + 1_800, step_s=60)
    assert one.status["state"] == "ok"


def test_a_queue_that_cannot_be_read_keeps_no_day_back(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise SessionError("status 500", sent=True)
        yield

    monkeypatch.setattr(Lying, "inbox", broken)
    one = house(Policy(confirm_after_s=60, inbox_s=10))
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 1_800, step_s=60)
    fill(one, 1)
    one.run(until=one.now + 3_600, step_s=60)
    assert one.there.effects == {(POINT, "import", midnight(FIRST), 1): 1}
    with one.store() as store:
        assert store.counts("dk")["accepted"] == 1


def test_a_queue_that_takes_longer_than_its_pause_keeps_no_day_back(house: Any) -> None:
    one = house(Policy(confirm_after_s=60, inbox_s=10))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    with one.serving() as serving:
        for _ in range(20):
            serving._due["inbox"] = 0.0
            serving.step()
    assert one.there.sends == 1


def test_each_request_is_a_sign_of_life(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long queue, or a list without end, is read for hours by the hub's budget."""
    one = house(Policy(confirm_after_s=60, inbox_s=10))
    lived, asked = [], []
    monkeypatch.setattr(one, "live", lived.append)
    monkeypatch.setattr(one.session, "request", lambda *_, **__: asked.append(len(lived)) or Answer(200, {}, b""))

    def pages(_: Lying, session: Session, *_more: object) -> Iterator[Inbound]:
        for _page in range(50):
            session.request("GET", "/page", operation="list")
        yield from ()

    monkeypatch.setattr(Lying, "inbox", pages)
    one.run()
    assert len(asked) == 50
    assert len(set(asked)) == 50


def test_a_refusal_with_very_many_reasons_is_one_short_line(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = tuple(Reason(f"E{n % 2_000}", "no such point") for n in range(5_000))
    monkeypatch.setattr(Lying, "send", lambda *_: Receipt("rejected", reasons, status=400))
    one = house()
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run()
    (event,) = [event for event in one.events if event.name == "rejected"]
    assert "refused: E0 no such point; E1 no such point; " in event.text
    assert "; and 1995 more; correct it" in event.text
    assert len(event.text) < 500


def test_answers_to_another_message_are_told_once(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = Reason(FOREIGN_ANSWER, "it is about document 7")
    monkeypatch.setattr(Lying, "send", lambda *_: Receipt("unknown", (reason,), status=200))
    one = house()
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 3_000, step_s=60)
    with one.store() as store:
        assert store.message("dk", 1).attempts > 5
    assert one.names().count("unknown_answer") == 1


@pytest.mark.parametrize("commits", range(8))
def test_what_is_asked_each_day_is_asked_once_whenever_the_process_dies(
    house: Any, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    whole, left = LedgerFile.writing, [commits]

    @contextmanager
    def writing(self: LedgerFile) -> Iterator[None]:
        with whole(self):
            yield
        left[0] -= 1
        if left[0] == -1:
            raise Killed

    def daily(_: Lying, about: Any, __: Any) -> list[Draft]:
        return [Draft("request", "ask", about.new_id(), b'{"parts": []}', "application/json")]

    monkeypatch.setattr(Lying, "daily", daily)
    one = house(Policy(confirm_after_s=60))
    fill(one, 1)
    monkeypatch.setattr(LedgerFile, "writing", writing)
    one.run()
    assert left[0] < 0, "it died"
    with one.store() as store:
        assert [message.head.operation for message in store.in_state("dk")] == ["ask"]


def test_what_cannot_be_asked_of_a_hub_each_day_holds_up_nothing_else(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Any:
        raise BuildError("an order takes 1 to 500 objects", code="arguments")

    monkeypatch.setattr(Lying, "daily", refused)
    one = house(Policy(confirm_after_s=60))
    fill(one, 1)
    one.now = noon(date(2026, 3, 3))
    one.run(until=one.now + 200, step_s=20)
    assert one.there.values[POINT, "import", midnight(FIRST)][0] == 1
    assert [(event.name, event.severity) for event in one.events] == [("arguments", "error")]
    assert "an order takes 1 to 500 objects" in one.events[0].text


@tuned(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_hub_that_lies_and_an_uploader_that_dies_make_one_effect_each(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(seed)
    policy = rng.choice([Policy(max_parts=2, confirm_after_s=900), Policy(max_parts=3, query_s=60, resend_after_s=900)])
    one = House(tmp_path_factory.mktemp("house"), hub_settings(since="2026-03-02"), policy, rng=rng)
    fill(one, 4)
    one.now = noon(date(2026, 3, 7))
    for version in (2, 3):
        one.run(until=one.now + 86_400, step_s=900)
        with one.home() as home:
            home.fill(home.series(), date(2026, 3, 3), version=version, wh=version * 1_000)
    one.run(until=one.now + 3 * 86_400, step_s=1_800)
    one.lies = {}
    for _ in range(4):
        with one.store() as store:
            for parked in store.in_state("dk", "rejected"):
                store.retry(store.message("dk", parked.id), "anna", int(one.now))
        one.run(until=one.now + 2 * 86_400, step_s=3_600)
    assert not one.there.forged
    assert set(one.there.effects.values()) <= {1}
    with one.store() as store:
        counts = store.counts("dk")
        assert counts["new"] == counts["sending"] == counts["unknown"] == counts["accepted"] == counts["dead"] == 0
        assert not store.audit.verify()
        confirmed = [store.message("dk", found.id) for found in store.in_state("dk", "confirmed")]
    if policy.query_s:
        # a hub that can be asked: what is confirmed is there
        assert {message.document for message in confirmed} == set(one.there.known)
    last = one.there.values.get((POINT, "import", midnight(date(2026, 3, 3))))
    assert policy.confirm_after_s or (last is not None and last[1][0] == 3_000)
