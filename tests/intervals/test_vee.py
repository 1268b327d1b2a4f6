"""Every rule at its threshold, every estimate exact, and a judgement that stands when it is made again."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.intervals.calendar import bounds_of_day
from gateway.intervals.edit import edit
from gateway.intervals.estimate import spread
from gateway.intervals.findings import RULES, Clock, Day
from gateway.intervals.limits import Limits, of_direction
from gateway.intervals.model import WH, Bound, Interval, SeriesKey, Unit, missing, revised
from gateway.intervals.vee import run_day

PRAGUE = ZoneInfo("Europe/Prague")
#: a Wednesday, and the days on which the clock changes
DAY, SPRING, AUTUMN = date(2026, 6, 10), date(2026, 3, 29), date(2026, 10, 25)
GOOD = Clock(0.4, synchronised=True)
KEY = SeriesKey("main", 0, "active", "import")


def folded(bounds: list[int], quantities: list[int | None], register: int = 1_000_000) -> list[Interval]:
    """Intervals as the fold makes them of readings at every bound; None: there was no reading at its inner bounds."""
    found = []
    for start, end, quantity in zip(bounds, bounds[1:], quantities, strict=False):
        if quantity is None:
            found.append(replace(missing(start, end), version=1))
            continue
        low, high = Bound(start, register, "measured"), Bound(end, register + quantity, "measured")
        one = replace(missing(start, end), quantity=quantity, status="raw", quality="measured", auth="verified")
        found.append(replace(one, low=low, high=high, method="register", coverage=1_000, version=1))
        register += quantity
    return found


def usual(bounds: list[int], seed: int = 1) -> list[int | None]:
    chance = random.Random(seed)
    return [chance.randrange(40, 80) for _ in bounds[1:]]


def a_day(day: date = DAY, quantities=None, **more) -> Day:
    bounds = bounds_of_day(day, "PT15M", PRAGUE)
    found = more.pop("found", None) or folded(bounds, quantities or usual(bounds))
    given = {"key": KEY, "unit": WH, "zone": PRAGUE, "limits": Limits(), "clock": GOOD} | more
    return Day(bounds=bounds, found=found, **given)


def history(days: int, before: date = DAY, quantity: Callable[[int], int] = lambda n: 50 + n % 7) -> list[Interval]:
    found = []
    for back in range(days, 0, -1):
        bounds = bounds_of_day(before - timedelta(back), "PT15M", PRAGUE)
        for n, one in enumerate(folded(bounds, [quantity(n) for n in range(len(bounds) - 1)])):
            found.append(replace(one, status="valid", author="vee"))
            assert n < 100
    return found


def rules_of(outcome) -> set[str]:
    return {finding.rule for finding in outcome.findings}


@pytest.mark.parametrize(("day", "n"), [(DAY, 96), (SPRING, 92), (AUTUMN, 100)], ids=str)
def test_a_good_day_is_valid(day, n):
    outcome = run_day(a_day(day))
    assert len(outcome.versions) == n
    assert {one.status for one in outcome.versions} == {"valid"}
    assert not outcome.findings


def with_one(quantity: int | None, at: int = 40, seed: int = 1) -> list[int | None]:
    values = usual(bounds_of_day(DAY, "PT15M", PRAGUE), seed)
    values[at] = quantity
    return values


@pytest.mark.parametrize(
    ("clock", "by", "status", "told"),
    [
        (Clock(0.0, synchronised=False), "meter", "valid", set()),
        (Clock(3.0, synchronised=True), "meter", "valid", set()),
        (Clock(3.1, synchronised=True), "meter", "valid", {"V01"}),
        (Clock(-9.0, synchronised=True), "meter", "valid", {"V01"}),
        (Clock(9.1, synchronised=True), "meter", "suspect", {"V01"}),
        (Clock(-9.1, synchronised=True), "meter", "suspect", {"V01"}),
        (Clock(None, synchronised=True), "meter", "suspect", {"V01"}),
        (Clock(None, synchronised=True), "gateway", "valid", set()),
        (Clock(None, synchronised=False), "gateway", "suspect", {"V01"}),
    ],
)
def test_v01_clocks(clock, by, status, told):
    found = [replace(one, clock=by) for one in a_day().found]
    outcome = run_day(a_day(found=found, clock=clock))
    assert {one.status for one in outcome.versions} == {status}
    assert rules_of(outcome) == told


def test_v02_missing_stays_missing_without_anything_to_estimate_from():
    outcome = run_day(a_day(quantities=[None] * 96))
    assert not outcome.versions or {one.status for one in outcome.versions} == {"missing"}
    assert rules_of(outcome) == {"V02"}
    assert len([f for f in outcome.findings if f.rule == "V02"]) == 96


def test_v03_the_newest_of_two_values_holds_and_the_same_value_says_nothing():
    day = a_day()
    twice = [*day.found, replace(day.found[5], version=2), replace(day.found[6], version=2, quantity=77)]
    outcome = run_day(replace(day, found=twice, limits=replace(day.limits, sum_per_mille=1_000)))
    assert outcome.versions[5].quantity == day.found[5].quantity
    assert outcome.versions[6].quantity == 77
    (finding,) = [one for one in outcome.findings if one.rule == "V03"]
    assert finding.start == day.found[6].start


def test_v04_an_interval_off_the_grid_is_left_out():
    day = a_day()
    odd = replace(day.found[3], end=day.found[3].end + 900)
    outcome = run_day(replace(day, found=[*day.found[:3], odd, *day.found[4:]]))
    assert "V04" in rules_of(outcome)
    assert outcome.versions[3].status in ("estimated", "suspect", "missing")
    assert (outcome.versions[3].start, outcome.versions[3].end) == (day.found[3].start, day.found[3].start + 900)


@pytest.mark.parametrize(
    ("limits", "more", "refused"),
    [
        (Limits(), {}, False),
        (Limits(unit="Wh"), {}, False),
        (Limits(unit="varh"), {}, True),
        (Limits(multiplier=40), {}, True),
        (Limits(multiplier=40), {"multiplier": 40}, False),
    ],
)
def test_v05_unit_and_multiplier_of_the_point(limits, more, refused):
    outcome = run_day(a_day(limits=limits, **more))
    assert ("V05" in rules_of(outcome)) is refused
    assert ({one.status for one in outcome.versions} == {"valid"}) is not refused


def test_v06_a_register_that_goes_back_is_not_used_but_a_stated_break_is():
    found = list(a_day().found)
    back = replace(found[10], quantity=-5, high=Bound(found[10].end, (found[10].low.value or 0) - 5, "measured"))
    outcome = run_day(a_day(found=[*found[:10], back, *found[11:]]))
    assert "V06" in rules_of(outcome)
    assert all(one.quantity is None or one.quantity >= 0 for one in outcome.versions)
    wrapped = replace(back, quantity=30, sum_break=35, reason="rollover")
    assert "V06" not in rules_of(run_day(a_day(found=[*found[:10], wrapped, *found[11:]])))


@pytest.mark.parametrize(("quantity", "refused"), [(7_115, False), (7_116, False), (7_117, True), (10**9, True)])
def test_v07_no_more_than_the_connection_carries(quantity, refused):
    """25,875 W for a quarter-hour and 10 % more are 7,115 Wh; a step of the register may come on top."""
    limits = Limits(spike_per_mille=0)
    outcome = run_day(a_day(quantities=with_one(quantity), limits=limits))
    assert ("V07" in rules_of(outcome)) is refused
    one = outcome.versions[40]
    assert (one.quantity == quantity) is not refused
    assert (
        run_day(a_day(quantities=with_one(quantity), limits=replace(limits, max_power_w=0))).versions[40].quantity
        == quantity
    )


@pytest.mark.parametrize(("quantity", "suspect"), [(2_240, False), (2_241, True)])
def test_v08_a_spike_is_suspect(quantity, suspect):
    values = [800] * 96
    values[40] = quantity
    limits = Limits(frozen_times=0)
    outcome = run_day(a_day(quantities=values, limits=limits))
    assert (outcome.versions[40].status == "suspect") is suspect
    assert outcome.versions[39].status == "valid"


def test_v08_small_values_are_no_spikes():
    assert not run_day(a_day(quantities=[*[1] * 95, 400], limits=Limits(frozen_times=0))).findings


def edited_by(interval, wh):
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    return edit(interval, (interval.quantity or 0) + wh, reason=" display ", person="Jana", at=at)


def test_v09_an_edit_breaks_the_sum_by_what_it_states():
    day = a_day()
    edited = edited_by(day.found[7], 100)
    outcome = run_day(replace(day, found=[*day.found[:7], edited, *day.found[8:]]))
    assert "V09" not in rules_of(outcome)
    assert outcome.versions[7].sum_break == 100
    wrong = replace(edited, sum_break=0)
    assert "V09" in rules_of(run_day(replace(day, found=[*day.found[:7], wrong, *day.found[8:]])))


@pytest.mark.parametrize(("zeros", "suspect"), [(95, False), (96, True)])
def test_v10_a_day_without_energy(zeros, suspect):
    before = [replace(one, quantity=0) for one in history(1)][-(zeros - 40) :]
    values = [0] * 40 + [50 + n % 3 for n in range(56)]
    outcome = run_day(a_day(quantities=values, before=before, limits=Limits(like_low_per_mille=0)))
    assert ("V10" in rules_of(outcome)) is suspect


def test_v10_is_off_for_the_roof_and_during_an_outage():
    quiet = [0] * 96
    limits = Limits(like_low_per_mille=0)
    assert "V10" in rules_of(run_day(a_day(quantities=quiet, limits=limits)))
    assert "V10" not in rules_of(run_day(a_day(quantities=quiet, limits=of_direction(limits, "export"))))
    bounds = bounds_of_day(DAY, "PT15M", PRAGUE)
    outcome = run_day(a_day(quantities=quiet, limits=limits, outages=[(bounds[48], bounds[49])]))
    assert "V10" not in rules_of(outcome)


@pytest.mark.parametrize(("times", "suspect"), [(7, False), (8, True)])
def test_v11_the_same_value_again_and_again(times, suspect):
    values = [600 + n for n in range(96)]
    values[20 : 20 + times] = [800] * times
    assert ("V11" in rules_of(run_day(a_day(quantities=values)))) is suspect


def test_v11_a_house_at_rest_is_not_frozen():
    assert "V11" not in rules_of(run_day(a_day(quantities=[15] * 96)))


@pytest.mark.parametrize(("factor", "told"), [(49, True), (50, False), (100, False), (200, False), (201, True)])
def test_v12_far_from_the_same_weekday(factor, told):
    before = history(28, quantity=lambda _: 100)
    outcome = run_day(a_day(quantities=[factor] * 96, before=before, limits=Limits(frozen_times=0)))
    assert ("V12" in rules_of(outcome)) is told
    assert {one.status for one in outcome.versions} == {"valid"}


def test_v13_much_in_both_directions_is_told():
    values = with_one(3_000)
    start = bounds_of_day(DAY, "PT15M", PRAGUE)[40]
    other = {start: revised(missing(start, start + 900), quantity=2_000, status="valid")}
    limits = Limits(spike_per_mille=0)
    assert "V13" in rules_of(run_day(a_day(quantities=values, other=other, limits=limits)))
    other = {start: replace(other[start], quantity=1_000)}
    assert "V13" not in rules_of(run_day(a_day(quantities=values, other=other, limits=limits)))


@pytest.mark.parametrize(("days", "told"), [(2, False), (3, True)])
def test_v14_estimated_for_too_long(days, told):
    before = [replace(one, status="estimated") if n >= (20 - days) * 96 else one for n, one in enumerate(history(20))]
    outcome = run_day(a_day(quantities=with_one(None), before=before))
    assert ("V14" in rules_of(outcome)) is told
    assert bool(outcome.notices) is told


def test_v15_an_outage_is_told_and_no_end_of_an_interpolation():
    bounds = bounds_of_day(DAY, "PT15M", PRAGUE)
    outage = [(bounds[39] + 100, bounds[39] + 200)]
    outcome = run_day(a_day(quantities=with_one(None), outages=outage))
    assert "V15" in rules_of(outcome)
    assert outcome.versions[40].method != "E01"
    assert run_day(a_day(quantities=with_one(None))).versions[40].method == "E01"


def gap_day(first: int, n: int, **more) -> Day:
    """A day whose fold knows the registers on both sides of a gap, and nothing within."""
    values = usual(bounds_of_day(DAY, "PT15M", PRAGUE))
    whole = folded(bounds_of_day(DAY, "PT15M", PRAGUE), values)
    found = []
    for number, one in enumerate(whole):
        inside = first <= number < first + n
        low = one.low if number == first or not inside else Bound(one.start, None, "none")
        high = one.high if number == first + n - 1 or not inside else Bound(one.end, None, "none")
        lost = {"quantity": None, "status": "missing", "method": "none", "low": low, "high": high} if inside else {}
        found.append(replace(one, **lost))
    return a_day(found=found, **more)


@pytest.mark.parametrize("n", [1, 5, 8, 9, 40, 95])
def test_e03_a_gap_between_two_registers_adds_up_exactly(n):
    whole = a_day()
    day = gap_day(1, n, before=history(28))
    outcome = run_day(day)
    filled = outcome.versions[1 : 1 + n]
    assert {one.method for one in filled} == {"E03"}
    assert {one.status for one in filled} == {"estimated"}
    assert sum(one.quantity or 0 for one in filled) == sum(one.quantity or 0 for one in whole.found[1 : 1 + n])
    assert sum(one.quantity or 0 for one in outcome.versions) == sum(one.quantity or 0 for one in whole.found)
    assert "V09" not in rules_of(outcome)
    shape = {json.loads(one.inputs or "{}")["E03"]["shape"] for one in filled}
    assert shape == {"E01" if n <= 8 else "E02"}


def test_e01_is_the_line_between_the_neighbours():
    values = usual(bounds_of_day(DAY, "PT15M", PRAGUE))
    values[10:13], values[9], values[13] = [None] * 3, 40, 80
    filled = run_day(a_day(quantities=values)).versions[10:13]
    assert [one.quantity for one in filled] == [50, 60, 70]
    assert {one.method for one in filled} == {"E01"}


def test_e02_is_the_average_of_days_of_the_same_type():
    """Of the five newest working days; a Sunday has its own."""

    def quantity(n):
        return 100 + n

    before = history(28, quantity=quantity)
    values = usual(bounds_of_day(DAY, "PT15M", PRAGUE))
    values[20:40] = [None] * 20
    filled = run_day(a_day(quantities=values, before=before)).versions[20:40]
    assert [one.quantity for one in filled] == [quantity(n) for n in range(20, 40)]
    assert {one.method for one in filled} == {"E02"}
    few = run_day(a_day(quantities=values, before=before[-96 * 2 :])).versions[20:40]
    assert {one.method for one in few} == {"E05"}


def test_e04_the_energy_of_a_year_evenly_and_e05_nothing():
    values = usual(bounds_of_day(DAY, "PT15M", PRAGUE))
    values[20:40] = [None] * 20
    filled = run_day(a_day(quantities=values, limits=Limits(annual=3_506_400))).versions[20:40]
    assert {(one.quantity, one.method) for one in filled} == {(100, "E04")}
    assert {one.method for one in run_day(a_day(quantities=values)).versions[20:40]} == {"E05"}


def test_the_fold_estimates_by_power_and_validation_leaves_that():
    found = list(a_day().found)
    found[5] = replace(found[5], method="power", status="estimated")
    one = run_day(a_day(found=found)).versions[5]
    assert (one.status, one.method, one.quantity) == ("estimated", "power", found[5].quantity)


def test_judging_again_changes_nothing_and_late_data_takes_an_estimate_back():
    day = gap_day(10, 4, before=history(28))
    first = run_day(day)
    current = {one.start: one for one in first.versions}
    assert not run_day(replace(day, current=current)).versions
    whole = a_day(before=history(28))
    late = [replace(one, version=9) for one in whole.found]
    second = run_day(replace(day, found=late, current=current))
    assert [one.start for one in second.versions] == [one.start for one in day.found[10:14]]
    assert {(one.status, one.version) for one in second.versions} == {
        ("valid", current[day.found[10].start].version + 1)
    }


def test_an_edit_stays_whatever_is_judged():
    day = a_day()
    edited = edited_by(day.found[7], 1)
    found = [*day.found[:7], edited, *day.found[8:]]
    day = replace(day, found=found, clock=Clock(None, synchronised=False))
    outcome = run_day(day)
    one = outcome.versions[7]
    assert (one.status, one.quantity, one.author, one.reason) == ("edited", edited.quantity, "person", "display")
    assert json.loads(one.inputs)["edit"] == json.loads(edited.inputs)["edit"]
    assert not run_day(replace(day, current={one.start: one for one in outcome.versions})).versions


def test_random_days_add_up_are_never_negative_and_never_silent():
    """300 days with gaps, breaks and nonsense: what is said is explained, and measured values are not touched."""
    chance = random.Random(17)
    before = history(28)
    for _ in range(300):
        day = gap_day(chance.randrange(1, 60), chance.randrange(1, 30), before=before if chance.random() < 0.7 else [])
        found = [
            replace(one, quantity=chance.choice((None, -3, 10**6, one.quantity))) if chance.random() < 0.05 else one
            for one in day.found
        ]
        outcome = run_day(replace(day, found=found))
        by_start = {one.start: one for one in found}
        for one in outcome.versions:
            base = by_start[one.start]
            assert one.quantity is None or one.quantity >= 0
            assert (one.status == "missing") == (one.quantity is None)
            if one.status == "valid":
                assert one.quantity == base.quantity
            if one.quantity != base.quantity:
                assert one.rules
                assert one.method.startswith("E0")
        assert {finding.rule for finding in outcome.findings} <= RULES.keys()


def test_spreading_is_exact():
    chance = random.Random(3)
    for _ in range(2_000):
        weights = [chance.randrange(0, 50) for _ in range(chance.randrange(1, 30))] + [1]
        total = chance.randrange(0, 10**6)
        parts = spread(total, weights)
        assert sum(parts) == total
        assert all(part >= 0 for part in parts)


def test_water_has_no_limit_of_power():
    outcome = run_day(a_day(quantities=with_one(10**6), unit=Unit("m3", -3), limits=Limits(spike_per_mille=0)))
    assert "V07" not in rules_of(outcome)


def test_an_exchange_at_a_bound_nobody_read_is_no_energy():
    """The registers of two meters have no difference: nothing is scaled to it, and what breaks the sum is stated."""
    day = a_day()
    found = list(day.found)
    middle = Bound(found[41].start, None, "none")
    for n, changes in ((40, {"high": middle}), (41, {"low": middle})):
        found[n] = replace(found[n], quantity=None, status="missing", method="none", reason="exchange", **changes)
    # the new meter has counted 90 MWh before
    moved = 90_000_000
    found[41] = replace(found[41], high=replace_value(found[41].high, moved))
    for n in range(42, 96):
        low, high = (replace_value(bound, moved) for bound in (found[n].low, found[n].high))
        found[n] = replace(found[n], low=low, high=high)
    outcome = run_day(replace(day, found=found))
    one, two = outcome.versions[40:42]
    assert {one.method, two.method} == {"E01"}
    assert max(one.quantity, two.quantity) < 1_000
    assert one.high == two.low
    assert one.high.method == "estimated"
    for each in (one, two):
        assert each.quantity == each.high.value - each.low.value + each.sum_break
    assert "V09" not in rules_of(outcome)


def replace_value(bound: Bound, more: int) -> Bound:
    return bound._replace(value=None if bound.value is None else bound.value + more)


def test_a_hole_ends_a_run_of_zeros():
    limits = Limits(zero_hours=24)
    zero = a_day(quantities=[0] * 48 + [5] * 48, limits=limits)
    start = zero.bounds[0]
    far = [missing(start - 86_400 + 900 * n, start - 86_400 + 900 * (n + 1)) for n in range(4)]
    before = [revised(one, quantity=0, status="valid", method="register") for one in far]
    assert "V10" not in rules_of(run_day(replace(zero, before=before)))
    whole = [missing(start - 900 * n, start - 900 * (n - 1)) for n in range(96, 0, -1)]
    before = [revised(one, quantity=0, status="valid", method="register") for one in whole]
    assert "V10" in rules_of(run_day(replace(zero, before=before)))
