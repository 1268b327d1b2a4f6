"""Which parts are due: released days from the watermarks on, the change feed, jitter that outlives a restart."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from gateway.hub_model import Slot
from gateway.intervals.model import SeriesKey, Unit, revised
from gateway.settings import PointSettings
from gateway.stores import hubs as hub_stores
from gateway.stores.hubs import HubStore
from gateway.stores.intervals import IntervalStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader import plan as plans
from gateway.uploader import staging as stagings
from gateway.uploader import targets
from gateway.uploader.hub import Build, Policy
from gateway.uploader.line import LONGEST_S, MOST_ASKED_S, SINGLE, Line
from gateway.uploader.marks import Mark, Marks
from gateway.uploader.parts import Due
from gateway.uploader.plan import FEED, Plan
from gateway.uploader.schedule import HubNotes, Schedule
from gateway.uploader.staging import Staging, new_id
from gateway.uploader.targets import Target
from tests.uploader.lying import POINT, ZONE, Home, Hub, Lying, days, hub_settings, midnight, noon, settings

FIRST = date(2026, 3, 2)
KEY = SeriesKey("main", 0, "active", "import")
TARGET = Target(POINT, KEY, Unit("Wh", 0), "electricity", ZONE, False, "config")


class Memory:
    """Notes without a ledger."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def note(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def remember(self, key: str, value: bytes) -> None:
        self.kept[key] = value


# -- schedule ----------------------------------------------------------------------------------------------------------


def test_a_day_is_released_at_its_time_plus_a_jitter_that_is_drawn_once() -> None:
    memory, drawn = Memory(), []

    def draw(low: int, high: int) -> int:
        drawn.append((low, high))
        return 700

    schedule = Schedule(hub_settings(jitter_s=1_800), memory, draw)
    end = midnight(date(2026, 3, 3))
    at = end + 5 * 3_600 + 15 * 60 + 700
    assert not schedule.released(TARGET, end, at - 1)
    assert schedule.released(TARGET, end, at)
    again = Schedule(hub_settings(jitter_s=1_800), memory, lambda low, high: 0)
    assert again.release(ZONE, end) == at, "the next process keeps what was drawn"
    assert drawn == [(0, 1_800)]
    assert Schedule(hub_settings(jitter_s=60), memory, draw).release(ZONE, end) == at - 640


def test_a_gas_day_is_released_behind_its_end() -> None:
    gas = TARGET._replace(gas_day=True)
    start, end = gas.day(noon(FIRST))
    assert (end - start, datetime.fromtimestamp(end, ZONE).hour) == (86_400, 6)
    schedule = Schedule(hub_settings(), Memory(), lambda low, high: 0)
    assert not schedule.released(gas, end, end + 899)
    assert schedule.released(gas, end, end + 900)


@pytest.mark.parametrize("zone", ["Europe/Copenhagen", "Europe/Vilnius", "Atlantic/Azores", "UTC"])
def test_each_day_of_two_years_has_one_run(zone: str) -> None:
    where = ZoneInfo(zone)
    schedule = Schedule(hub_settings(at="02:30"), Memory(), lambda low, high: 0)
    now = int(datetime(2026, 1, 1, tzinfo=where).timestamp())
    seen = []
    for _ in range(730):
        now = schedule.next_run(where, now)
        assert schedule.last_run(where, now) == datetime.fromtimestamp(now, where).date()
        assert schedule.last_run(where, now - 1) < schedule.last_run(where, now)
        seen.append(schedule.last_run(where, now))
    assert seen == days(seen[0], 730)


@tuned(max_examples=30, deadline=None)
@given(st.binary(max_size=80))
def test_a_jitter_that_cannot_be_read_is_drawn_anew(kept: bytes) -> None:
    memory = Memory()
    memory.kept["uploader.jitter"] = kept
    schedule = Schedule(hub_settings(), memory, lambda low, high: 0)
    assert schedule.release(ZONE, midnight(FIRST)) >= midnight(FIRST)


# -- line --------------------------------------------------------------------------------------------------------------


def test_a_hub_that_fails_again_and_again_is_left_alone_longer_and_longer() -> None:
    line, now = Line(lambda low, high: high), 1_000.0
    pauses = []
    for _ in range(20):
        line.failed("no answer", now)
        pauses.append(line.until - now)
    assert pauses[:SINGLE] == [0] * SINGLE, "a single failure holds up its own message only"
    assert pauses[SINGLE : SINGLE + 4] == [1, 2, 4, 8]
    assert pauses[-1] == LONGEST_S
    assert not line.free(now + LONGEST_S - 1)
    assert line.free(now + LONGEST_S)
    assert line.good() is True
    assert line.free(now)
    assert line.good() is False


def test_what_a_hub_asks_for_is_bounded() -> None:
    line = Line(lambda low, high: 0)
    line.failed("503", 0.0, 30)
    assert (line.free(29.0), line.free(30.0)) == (False, True)
    line.failed("503", 0.0, 10**9)
    assert not line.free(MOST_ASKED_S - 1)
    assert line.free(MOST_ASKED_S)
    line.failed("503", 0.0, -5)
    assert line.free(0.0)


def test_a_clock_that_was_set_back_does_not_lengthen_a_pause() -> None:
    line = Line(lambda low, high: 0)
    line.failed("503", 10_000_000.0, 3_600)
    assert line.free(1_000.0)


# -- marks -------------------------------------------------------------------------------------------------------------


def test_a_watermark_on_disk_never_passes_a_day_that_is_not_stored() -> None:
    memory = Memory()
    marks = Marks(memory, "PT15M")
    marks.put(TARGET, Mark(500, 100))
    marks.hold(TARGET, 300)
    marks.hold(TARGET, 400)
    marks.save()
    assert Marks(memory, "PT15M").get(TARGET) == (300, 100)
    marks.release([(TARGET, 300)])
    marks.save()
    assert Marks(memory, "PT15M").get(TARGET) == (400, 100)
    marks.release([(TARGET, 400)])
    marks.save()
    assert Marks(memory, "PT15M").get(TARGET) == (500, 100)
    assert Marks(memory, "PT1H").get(TARGET) is None


def test_the_watermarks_of_20000_series_fit_into_notes() -> None:
    memory = Memory()
    marks = Marks(memory, "PT15M")
    for number in range(20_000):
        marks.put(TARGET._replace(point=f"57131300000{number:07}"), Mark(1_800_000_000, 1_700_000_000))
    marks.save()
    assert len(memory.kept) <= 64
    assert max(map(len, memory.kept.values())) <= hub_stores.MOST_NOTE


def test_watermarks_of_permissions_that_ended_do_not_fill_the_notes() -> None:
    memory = Memory()
    for year in range(8):
        marks = Marks(memory, "PT15M")
        targets = [TARGET._replace(basis=f"{year}-{number:034}") for number in range(8_000)]
        marks.meet(targets)
        for target in targets:
            marks.put(target, Mark(1_800_000_000 + year, 1_700_000_000))
        marks.save()
        assert max(map(len, memory.kept.values())) <= hub_stores.MOST_NOTE
    again = Marks(memory, "PT15M")
    assert all(again.get(target) == (1_800_000_007, 1_700_000_000) for target in targets)


# -- plan --------------------------------------------------------------------------------------------------------------


class Planned:
    """A ledger and the plan of its only hub, which may begin anew."""

    def __init__(self, folder: Path, **hub: Any) -> None:
        self.folder = folder
        self.hub = hub_settings(**({"since": "2026-03-02"} | hub))
        self.now = noon(date(2026, 3, 6))

    @contextmanager
    def plan(
        self,
        points: tuple[PointSettings, ...] = (),
        policy: Policy | None = None,
        *,
        away: bool = False,
        basis: str = "config",
    ) -> Iterator[Plan]:
        """`away`: none of the points goes to the hub for now; `basis`: the ground on which they go."""
        whole = settings(self.folder, self.hub, points)
        file = open_ledger(whole.ledger_path).file
        try:
            store, reader = HubStore(file, lambda: self.now), IntervalStore(file, lambda: self.now)
            found = targets.find(
                whole, self.hub, frozenset(("active",)), reader.series(), [], zone_of=lambda _: ZONE, now=self.now
            )
            self.home, self.store = Home(file, lambda: self.now), store
            schedule = Schedule(self.hub, HubNotes(store, "dk"))
            policy = policy or Policy(max_parts=100)
            start = None if basis == "config" else midnight(FIRST)
            chosen = () if away else tuple(one._replace(basis=basis, start=start) for one in found.targets)
            made = Plan(self.hub, policy, store, reader, targets=chosen, schedule=schedule, now=self.now)
            self.adapter = Lying(self.hub, Hub(), policy)
            self.staging = Staging(self.hub, self.adapter, store, lambda _: None, "law")
            yield made
        finally:
            file.close()

    def take(self, plan: Plan) -> list[tuple[int, int]]:
        """Stage everything that is due: start and revision of each."""
        found = []
        for dues in self.staging.slices(plan.due(self.now)):
            self.staging.stage(dues, plan, self.now)
            found += [(due.part.slot.start, due.part.revision) for due in dues]
        plan.save()
        return found

    def confirm(self) -> None:
        from gateway.hub_model import Receipt

        for message in self.store.open("dk"):
            self.store.settle(message, Receipt("confirmed"), "confirmed", self.now, self.now)


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    one = Planned(tmp_path)
    with one.plan():
        key = one.home.series()
        for day in days(FIRST, 3):
            one.home.fill(key, day)
    return one


def test_what_is_staged_is_not_due_again_neither_now_nor_after_a_restart(planned: Planned) -> None:
    with planned.plan() as plan:
        assert planned.take(plan) == [(midnight(day), 1) for day in days(FIRST, 3)]
        assert planned.take(plan) == []
    with planned.plan() as plan:
        assert planned.take(plan) == []


def test_what_was_due_and_not_staged_is_due_again_after_a_restart(planned: Planned) -> None:
    with planned.plan() as plan:
        assert len(list(plan.due(planned.now))) == 3
        plan.save()
    with planned.plan() as plan:
        assert len(planned.take(plan)) == 3


def test_the_first_day_is_that_of_the_first_start_where_none_is_set(tmp_path: Path) -> None:
    one = Planned(tmp_path, since=None)
    with one.plan():
        for day in days(FIRST, 8):
            one.home.fill(one.home.series(), day)
    with one.plan() as plan:
        assert one.take(plan) == []
    one.now = noon(date(2026, 3, 8))
    with one.plan() as plan:
        assert [start for start, _ in one.take(plan)] == [midnight(day) for day in days(date(2026, 3, 6), 2)]
    one.hub = hub_settings(since="2026-03-04")
    with one.plan() as plan:
        assert [start for start, _ in one.take(plan)] == [midnight(day) for day in days(date(2026, 3, 4), 2)]


def test_a_change_that_came_while_nothing_ran_is_the_next_revision(planned: Planned) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
    with planned.plan():
        planned.home.fill(KEY, FIRST, version=2, wh=9)
    with planned.plan() as plan:
        assert planned.take(plan) == [(midnight(FIRST), 2)]


def test_a_change_of_an_open_slot_waits_over_a_restart(planned: Planned) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        assert planned.take(plan) == []
    with planned.plan() as plan:
        assert planned.take(plan) == []
        planned.confirm()
        assert planned.take(plan) == [(midnight(FIRST), 2)]
        assert planned.take(plan) == []


def test_a_change_between_reading_a_day_and_storing_it_is_the_next_revision(planned: Planned) -> None:
    """The last slice of a round is stored when its corrections were looked at: they had seen the day read before."""
    with planned.plan() as plan:
        dues = plan.due(planned.now)
        read = [next(dues)]
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        read += dues
        planned.staging.stage(read, plan, planned.now)
        plan.save()
        planned.confirm()
        assert planned.take(plan) == [(midnight(FIRST), 2)]
        assert planned.take(plan) == []


def test_a_correction_that_was_read_and_not_stored_outlives_the_process(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice is known to be full when the next part was read: nothing of that one may be forgotten."""
    monkeypatch.setattr(stagings, "MOST_DRAFTS", 1)
    policy = Policy(max_parts=1)
    with planned.plan(policy=policy) as plan:
        planned.take(plan)
        planned.confirm()
        for day in days(FIRST, 3):
            planned.home.fill(KEY, day, version=2, wh=9)
        slices = planned.staging.slices(plan.due(planned.now))
        planned.staging.stage(next(slices), plan, planned.now)
        plan.save()
    with planned.plan(policy=policy) as plan:
        planned.confirm()
        assert planned.take(plan) == [(midnight(day), 2) for day in days(FIRST, 3)[1:]]


@pytest.mark.parametrize("version", [1, 2])
def test_a_round_that_was_broken_off_is_made_good_by_the_next_one(planned: Planned, version: int) -> None:
    """A permission that comes ends a round where it stands."""
    with planned.plan() as plan:
        if version == 2:
            planned.take(plan)
            planned.confirm()
            for day in days(FIRST, 3):
                planned.home.fill(KEY, day, version=2, wh=9)
        dues = plan.due(planned.now)
        next(dues)
        next(dues)
        dues.close()  # type: ignore[attr-defined]
        plan.save()
        assert planned.take(plan) == [(midnight(day), version) for day in days(FIRST, 3)]
        assert planned.take(plan) == []


def test_a_correction_goes_though_a_person_exported_the_day_meanwhile(planned: Planned) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        carried = list(plan.days_of(plan.targets[0], midnight(FIRST), midnight(FIRST) + 1, planned.now))
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        read = list(plan.due(planned.now))
        drafts = planned.adapter.build([due.part for due in carried], planned.staging.about(planned.now))
        planned.store.stage("dk", stagings._own(drafts, carried), planned.now)
        assert planned.staging.stage(read, plan, planned.now) == 0
        plan.save()
        planned.confirm()
        assert planned.take(plan) == [(midnight(FIRST), 3)]
        assert planned.take(plan) == []


def test_a_correction_that_was_refused_here_is_tried_again_by_the_next_process(planned: Planned) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        planned.adapter.refuses.add(POINT)
        planned.take(plan)
        assert list(plan.due(planned.now)) == [], "the same content is not built again and again"
        plan.save()
    with planned.plan() as plan:
        assert planned.take(plan) == [(midnight(FIRST), 2)]


def test_a_day_that_turns_raw_again_is_not_withdrawn_before_its_time(planned: Planned) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        first = next(iter(planned.home.store.current(KEY, "PT15M", midnight(FIRST), midnight(FIRST) + 1)))
        planned.home.store.add(KEY, "PT15M", [revised(first, status="raw")])
        assert planned.take(plan) == []
        raw = next(iter(planned.home.store.current(KEY, "PT15M", midnight(FIRST), midnight(FIRST) + 1)))
        planned.home.store.add(KEY, "PT15M", [revised(raw, status="valid", quantity=1)])
        assert planned.take(plan) == [(midnight(FIRST), 2)]


def test_a_feed_that_does_not_reach_back_has_every_slot_compared(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        last = planned.store.last_change
    monkeypatch.setattr(HubStore, "oldest_change", property(lambda _: last + 1))
    monkeypatch.setattr(HubStore, "changes", lambda *_: [])
    with planned.plan() as plan:
        assert planned.take(plan) == [(midnight(FIRST), 2)]


def test_what_changed_while_a_point_did_not_go_is_made_good(planned: Planned) -> None:
    """Its permission is not used while the administrator is silent, or it was out of the configuration for a while."""
    empty = days(FIRST, 4)[3]
    planned.now = noon(date(2026, 3, 9))
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
    with planned.plan(away=True) as plan:
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        planned.home.fill(KEY, empty)
        assert planned.take(plan) == []
    for _ in range(2):
        with planned.plan(away=True) as plan:
            assert planned.take(plan) == []
    with planned.plan() as plan:
        plan.save()
    with planned.plan() as plan:
        assert planned.take(plan) == [(midnight(empty), 1), (midnight(FIRST), 2)]
        assert planned.take(plan) == []


@pytest.mark.parametrize(("before", "after"), [("p-1", "p-2"), ("config", "p-1")])
def test_what_changed_before_another_ground_came_is_made_good(planned: Planned, before: str, after: str) -> None:
    """A permission was revoked, the day was corrected, and another permission was given."""
    empty = days(FIRST, 4)[3]
    planned.now = noon(date(2026, 3, 9))
    with planned.plan(basis=before) as plan:
        planned.take(plan)
        planned.confirm()
    with planned.plan(away=True) as plan:
        planned.home.fill(KEY, FIRST, version=2, wh=9)
        planned.home.fill(KEY, empty)
        assert planned.take(plan) == []
    with planned.plan(basis=after) as plan:
        plan.save()
    with planned.plan(basis=after) as plan:
        assert planned.take(plan) == [(midnight(empty), 1), (midnight(FIRST), 2)]
        assert planned.take(plan) == []


def test_a_day_that_was_empty_before_a_gap_of_the_feed_goes(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = days(FIRST, 4)[3]
    planned.now = noon(date(2026, 3, 9))
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        planned.home.fill(KEY, empty)
        last = planned.store.last_change
    monkeypatch.setattr(HubStore, "oldest_change", property(lambda _: last + 1))
    monkeypatch.setattr(HubStore, "changes", lambda *_: [])
    with planned.plan() as plan:
        assert planned.take(plan) == [(midnight(empty), 1)]


def test_what_the_ledger_has_no_more_is_no_correction(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        last = planned.store.last_change
    monkeypatch.setattr(HubStore, "oldest_change", property(lambda _: last + 2))
    monkeypatch.setattr(IntervalStore, "current", lambda *_: iter(()))
    with planned.plan() as plan:
        assert planned.take(plan) == []


def test_a_long_past_is_compared_a_bounded_piece_at_a_time(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.confirm()
        for day in days(FIRST, 3):
            planned.home.fill(KEY, day, version=2, wh=9)
        last = planned.store.last_change
    monkeypatch.setattr(HubStore, "oldest_change", property(lambda _: last + 1))
    monkeypatch.setattr(plans, "MOST_WATCHED", 1)
    went = []
    for _ in range(4):
        with planned.plan() as plan:
            for _ in range(2):
                went += planned.take(plan)
                assert len(plan._watched) <= 1
            planned.confirm()
    with planned.plan() as plan:
        for _ in range(4):
            went += planned.take(plan)
            planned.confirm()
    assert sorted(went) == [(midnight(day), 2) for day in days(FIRST, 3)]


def test_another_resolution_begins_where_the_last_one_ended(tmp_path: Path) -> None:
    one = Planned(tmp_path, since=None)
    with one.plan():
        one.home.fill(one.home.series(), FIRST)
    one.now = noon(FIRST)
    with one.plan() as plan:
        assert one.take(plan) == [], "the day of the first start has not ended"
    one.hub = hub_settings(since=None, resolution="PT1H")
    one.now = noon(date(2026, 3, 5))
    with one.plan() as plan:
        assert plan.marks.get(plan.targets[0]) == (midnight(FIRST), midnight(FIRST))


def test_a_position_that_cannot_be_read_begins_with_what_is_there(planned: Planned) -> None:
    with planned.plan() as plan:
        planned.take(plan)
        planned.store.remember("dk", FEED, b"\xff")
    with planned.plan() as plan:
        assert planned.take(plan) == []


def test_what_is_too_old_for_the_hub_is_not_due(planned: Planned) -> None:
    policy = Policy(max_parts=100, correction_days=2)
    with planned.plan(policy=policy) as plan:
        assert [start for start, _ in planned.take(plan)] == [midnight(date(2026, 3, 4))]


@pytest.mark.parametrize("since", ["2026-03-02", None])
def test_days_that_were_passed_over_while_the_clock_was_ahead_go_when_it_is_right(tmp_path: Path, since: Any) -> None:
    one = Planned(tmp_path, since=since)
    with one.plan():
        key = one.home.series()
        one.home.fill(key, FIRST)
    for _ in range(2):
        # the next process reads what this one kept
        one.now = noon(date(2036, 3, 6))
        with one.plan() as plan:
            assert one.take(plan) == []
    one.now = noon(FIRST)
    with one.plan() as plan:
        assert one.take(plan) == []
        one.now = noon(FIRST + timedelta(1))
        assert one.take(plan) == [(midnight(FIRST), 1)]
        one.confirm()
        assert one.take(plan) == []


def test_points_of_feeding_in_go_under_their_own_id(planned: Planned) -> None:
    with planned.plan():
        planned.home.fill(planned.home.series(direction="export"), FIRST)
    planned.hub = hub_settings(points=("2",), since="2026-03-02")
    with planned.plan(points=(PointSettings(meter="main", id=POINT, id_export="2"),)) as plan:
        assert [(one.point, one.direction) for one in plan.targets] == [("2", "export")]
        assert planned.take(plan) == [(midnight(FIRST), 1)]


def test_a_hub_that_has_a_point_by_one_direction_gets_no_feeding_in_under_its_id(planned: Planned) -> None:
    with planned.plan():
        planned.home.series(direction="export")
        known = planned.home.store.series()
    for id_export, wanted in ((None, ["import"]), ("2", ["import", "export"])):
        points = (PointSettings(meter="main", id=POINT, id_export=id_export),)
        whole, hub = settings(planned.folder, planned.hub, points), hub_settings(points=(POINT, "2"))
        kinds = frozenset(("active",))
        for one_direction in (True, False):
            found = targets.find(
                whole, hub, kinds, known, [], zone_of=lambda _: ZONE, now=1, one_direction=one_direction
            )
            directions = ["import", "export"] if not one_direction else wanted
            assert sorted(one.direction for one in found.targets) == sorted(directions)


def test_a_point_without_a_zone_is_told_and_does_not_go(planned: Planned) -> None:
    whole = settings(planned.folder, planned.hub)
    with planned.plan():
        found = targets.find(
            whole, planned.hub, frozenset(("active",)), planned.home.store.series(), [], zone_of=lambda _: None, now=1
        )
    assert found.targets == ()
    assert found.problems == (f"the zone of point {POINT} is not known: set timezone in its [[point]]",)


def test_slices_are_bounded_and_of_one_ground(planned: Planned) -> None:
    def due(n: int, basis: str) -> Due:
        with_basis = TARGET._replace(basis=basis)
        one = next(iter(plan.due(planned.now)))
        return one._replace(target=with_basis, row=one.row._replace(basis=basis))

    policy = Policy(max_parts=2_000)
    with planned.plan(policy=policy) as plan:
        many = [due(n, "config") for n in range(3)] + [due(0, "p-1"), due(0, "p-2")] + [due(0, "config")] * 300
        sizes = [(len(some), some[0].row.basis) for some in planned.staging.slices(iter(many))]
    assert sizes[:3] == [(3, "config"), (1, "p-1"), (1, "p-2")]
    assert sum(size for size, _ in sizes) == len(many)
    assert max(size for size, _ in sizes) <= 250


@tuned(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_order_days_become_valid_each_goes_once(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    one = Planned(tmp_path_factory.mktemp("plan"))
    order = days(FIRST, 4)
    rng.shuffle(order)
    went = []
    with one.plan():
        one.home.series()
    for day in order:
        with one.plan() as plan:
            one.home.fill(KEY, day)
            went += one.take(plan)
            one.confirm()
        one.now += rng.choice((60, 3_600, 86_400))
    assert sorted(went) == [(midnight(day), 1) for day in days(FIRST, 4)]


def test_building_needs_no_clock_of_its_own(planned: Planned) -> None:
    with planned.plan() as plan:
        one = next(iter(plan.due(planned.now)))
        made = planned.staging.about(planned.now)
    assert isinstance(made, Build)
    assert one.part.series.created == planned.now
    assert len(new_id()) == 36
    assert Slot(POINT, "import", "active", "PT15M", midnight(FIRST)) == one.part.slot
    assert one.part.end - one.part.slot.start == timedelta(days=1).total_seconds()
