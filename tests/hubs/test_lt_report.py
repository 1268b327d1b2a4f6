"""Reports of the Lithuanian hub: exact rows or none, summer time, and what hypothesis makes of a sound report."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.imports.record import ImportFileError
from gateway.reconcile import compare, sums
from gateway.uploader import answers
from gateway.uploader.hubs import lt_report
from gateway.uploader.hubs.lt_report import Asked, Meter

SAMPLE = json.loads(
    (Path(__file__).parent / "samples" / "lt" / "order-flow-SANDBOX.json").read_text(), parse_float=Decimal
)
VILNIUS = ZoneInfo("Europe/Vilnius")
OBJECT = "99999917"


def midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=VILNIUS).timestamp())


def values(day: date, category: str = "P+", step: int = 900, last: date | None = None) -> list[dict[str, Any]]:
    """A value for each interval of a day, labelled with the local end; the quantity tells which interval it is of."""
    end = midnight((last or day) + timedelta(1))
    return [
        {
            "consumptionCategory": category,
            "amount": quantity(t),
            "consumptionTime": datetime.fromtimestamp(t + step, VILNIUS).replace(tzinfo=None).isoformat(),
            "valueStatus": "ESTIMATED" if t // step % 7 == 0 else "VALIDATED",
        }
        for t in range(midnight(day), end, step)
    ]


def quantity(start: int) -> Decimal:
    """kWh of the interval that begins at `start`: each has another one, in a year."""
    return Decimal(start // 900 % 36_000) / 1000


def report(*meters: dict[str, Any], order: int = 7, status: str = "DONE") -> dict[str, Any]:
    return {"orderId": order, "status": status, "data": list(meters)}


def meter(found: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"objectNumber": OBJECT, "meterNumber": "SAG1", "meterType": "SMART", "values": found} | more


def asked(day: date, order: int = 7, last: date | None = None) -> Asked:
    return Asked(order, {OBJECT}, midnight(day), midnight((last or day) + timedelta(1)))


def read(document: Any, day: date, step: int = 900, **more: Any) -> lt_report.Report:
    return lt_report.read(document, step=step, asked=asked(day), **more)


def right(found: lt_report.Report) -> int:
    """How many values there are, each of which is that of its interval."""
    count = 0
    for rows in found.series.values():
        for row in rows:
            if row.quantity is not None:
                assert row.quantity == int(quantity(row.start) * 1_000_000), row
                estimated = "estimated" if row.start // 900 % 7 == 0 else "measured"
                assert row.said in (estimated, "unknown")
                count += 1
    return count


def told(found: lt_report.Report) -> dict[str, str]:
    return {drift.path: drift.what for drift in found.drifts}


DAY = date(2026, 3, 3)


def test_the_sample_is_read_exactly() -> None:
    document = SAMPLE["3_data"]["response"]["body"]
    found = lt_report.read(
        document, step=900, asked=Asked(4711001, {OBJECT, "99999919"}, midnight(DAY), midnight(DAY) + 86_400)
    )
    assert found.state == "ready"
    assert found.drifts == ()
    rows = found.series[Meter(OBJECT, "", "SAG1030767000001"), "import"]
    start = midnight(DAY)
    assert rows == ((start, start + 900, 125_000, "measured"), (start + 900, start + 1800, 130_000, "estimated"))


def test_the_sample_of_an_order_under_way_says_wait() -> None:
    found = lt_report.read(SAMPLE["2_poll"]["response_pending"]["body"], step=900)
    assert (found.state, found.drifts) == ("pending", ())


@pytest.mark.parametrize(
    ("day", "count"), [(DAY, 96), (date(2026, 3, 29), 92), (date(2026, 10, 25), 100)], ids=["plain", "spring", "autumn"]
)
@pytest.mark.parametrize("step", [900, 3_600])
def test_each_day_has_all_of_its_intervals(day: date, count: int, step: int) -> None:
    found = read(report(meter(values(day, step=step) + values(day, "P-", step=step))), day, step)
    assert found.drifts == ()
    rows = found.series[Meter(OBJECT, "", "SAG1", "SMART"), "import"]
    assert [row.start for row in rows] == list(range(midnight(day), midnight(day + timedelta(1)), step))
    assert len(rows) == count * 900 // step
    assert right(found) == 2 * len(rows)


AUTUMN = date(2026, 10, 25)


def test_the_hour_that_comes_twice_is_refused_where_its_order_is_lost() -> None:
    mixed = values(AUTUMN)
    random.Random(1).shuffle(mixed)
    found = read(report(meter(mixed)), AUTUMN)
    assert right(found) == 92
    assert "comes twice" in "".join(told(found).values())


@pytest.mark.parametrize("gone", range(11, 19))
def test_the_hour_that_comes_twice_is_refused_where_one_of_its_values_is_missing(gone: int) -> None:
    given_ = values(AUTUMN)
    assert given_[gone]["consumptionTime"][11:13] == "03"
    del given_[gone]
    found = read(report(meter(given_)), AUTUMN)
    assert right(found) == 92
    assert "comes twice" in "".join(told(found).values())
    ends = {datetime.fromtimestamp(row.end, VILNIUS).hour for rows in found.series.values() for row in rows}
    assert ends == set(range(24)) - {3}


def test_null_marks_the_place_of_a_value_that_is_missing_in_the_hour_that_comes_twice() -> None:
    given_ = values(AUTUMN)
    given_[14] |= {"amount": None, "valueStatus": "MISSING"}
    found = read(report(meter(given_)), AUTUMN)
    assert (right(found), found.drifts) == (99, ())
    rows = found.series[Meter(OBJECT, "", "SAG1", "SMART"), "import"]
    assert [row.start for row in rows if row.quantity is None] == [midnight(AUTUMN) + 14 * 900]


def test_an_offset_tells_the_hours_apart_in_any_order() -> None:
    mixed = values(AUTUMN)
    for number, value in enumerate(mixed):
        end = midnight(AUTUMN) + (number + 1) * 900
        value["consumptionTime"] = datetime.fromtimestamp(end, VILNIUS).isoformat()
    random.Random(2).shuffle(mixed)
    found = read(report(meter(mixed)), AUTUMN)
    assert (right(found), found.drifts) == (100, ())


def test_a_time_that_the_clock_leaps_over_is_refused() -> None:
    spring = date(2026, 3, 29)
    odd = {
        "consumptionCategory": "P+",
        "amount": Decimal(9),
        "consumptionTime": "2026-03-29T03:30:00",
        "valueStatus": "VALIDATED",
    }
    found = read(report(meter([*values(spring), odd])), spring)
    assert right(found) == 92
    assert "leaps" in told(found)["data[0].values[92].consumptionTime"]


def test_the_end_of_the_last_hour_before_the_leap_may_be_told_by_either_name() -> None:
    spring = date(2026, 3, 29)
    given_ = values(spring)
    assert given_[11]["consumptionTime"] == "2026-03-29T04:00:00"
    given_[11]["consumptionTime"] = "2026-03-29T03:00:00"
    assert right(read(report(meter(given_)), spring)) == 92


def test_labels_of_the_start_make_the_report_unreadable_and_shift_nothing() -> None:
    given_ = values(DAY)
    for value in given_:
        at = datetime.fromisoformat(value["consumptionTime"]) - timedelta(minutes=15)
        value["consumptionTime"] = at.isoformat()
    found = read(report(meter(given_)), DAY)
    assert (found.state, found.series) == ("unreadable", {})
    assert "start of the first interval" in told(found)["data[0].values[0].consumptionTime"]


def test_meters_of_equal_number_are_told_apart_by_their_type() -> None:
    smart, other = values(DAY), values(DAY)
    for value in other:
        value["amount"] += 1
    found = read(report(meter(smart), meter(other, meterType="CHECK")), DAY)
    assert found.drifts == ()
    assert {key.type: rows[4].quantity for (key, _), rows in found.series.items()} == {
        "SMART": int(quantity(midnight(DAY) + 3600) * 1_000_000),
        "CHECK": int(quantity(midnight(DAY) + 3600) * 1_000_000) + 1_000_000,
    }
    points = {one.point for one in lt_report.account(report(meter(smart), meter(other, meterType="CHECK")), step=900)}
    assert points == {f"{OBJECT}/SAG1/SMART", f"{OBJECT}/SAG1/CHECK"}
    assert [one.point for one in lt_report.account(report(meter(smart)), step=900)] == [OBJECT]


def test_object_types_tell_meters_apart_too() -> None:
    found = read(report(meter(values(DAY), objectType="A"), meter(values(DAY), objectType="B")), DAY)
    assert [key.object_type for key, _ in found.series] == ["A", "B"]


def test_without_a_type_two_meters_that_disagree_are_not_believed() -> None:
    one, other = meter(values(DAY)), meter(values(DAY))
    del one["meterType"], other["meterType"]
    other["values"][3]["amount"] += 1
    found = read(report(one, other), DAY)
    assert right(found) == 95
    assert "something else" in "".join(told(found).values())


def test_a_value_that_comes_twice_counts_once() -> None:
    found = read(report(meter(values(DAY) + values(DAY)[:5])), DAY)
    assert (right(found), found.drifts) == (96, ())


@pytest.mark.parametrize(
    ("change", "path", "what"),
    [
        ({"amount": "0,125"}, "data[0].values[0].amount", "is a text, not a number"),
        ({"amount": True}, "data[0].values[0].amount", "is a truth value, not a number"),
        ({"amount": [1]}, "data[0].values[0].amount", "is a list, not a number"),
        ({"amount": Decimal("-0.1")}, "data[0].values[0].amount", "is below zero"),
        ({"amount": Decimal("0.0000001")}, "data[0].values[0].amount", "thousandths"),
        ({"consumptionCategory": "P*"}, "data[0].values[0].consumptionCategory", "'P*', which is not known"),
        ({"consumptionTime": "03.03.2026 00:15"}, "data[0].values[0].consumptionTime", "is no time"),
        ({"consumptionTime": "0001-01-01T00:00:00"}, "data[0].values[0].consumptionTime", "is no time"),
        ({"consumptionTime": "9999-12-31T23:59:00-14:00"}, "data[0].values[0].consumptionTime", "is no time"),
        ({"consumptionTime": "99999-01-01T00:00:00"}, "data[0].values[0].consumptionTime", "is no time"),
        ({"consumptionTime": "2026-03-03T00:15[Europe/Mars]"}, "data[0].values[0].consumptionTime", "is no time"),
        ({"consumptionTime": "2026-03-03T00:15:00.500"}, "data[0].values[0].consumptionTime", "is no time"),
        ({"consumptionTime": "2026-03-03T00:16:00"}, "data[0].values[0].consumptionTime", "is no end of an interval"),
        ({"consumptionTime": "2026-03-05T00:15:00"}, "data[0].values[0].consumptionTime", "outside the days"),
        ({"unit": "MWh"}, "data[0].values[0].unit", "could change what the values mean"),
        ({"multiplier": 1000}, "data[0].values[0].multiplier", "could change what the values mean"),
    ],
)
def test_a_value_that_is_not_as_it_was_is_left_out_and_told_by_its_path(change: dict, path: str, what: str) -> None:
    given_ = values(DAY)
    given_[0] |= change
    found = read(report(meter(given_)), DAY)
    assert right(found) == 95
    assert what in told(found)[path]


def test_a_field_that_says_nothing_of_quantities_is_told_and_changes_nothing() -> None:
    given_ = values(DAY)
    for value in given_:
        value["note"] = "x"
    found = read(report(meter(given_)), DAY)
    assert right(found) == 96
    assert [(one.path, one.what, one.times) for one in found.drifts] == [
        ("data[0].values[0].note", "is not known here", 96)
    ]


def test_a_flag_that_is_missing_or_unknown_leaves_nothing_validated() -> None:
    given_ = values(DAY)
    del given_[0]["valueStatus"]
    given_[1]["valueStatus"] = "PERHAPS"
    found = read(report(meter(given_)), DAY)
    rows = next(iter(found.series.values()))
    assert [row.said for row in rows[:3]] == ["unknown", "unknown", "measured"]
    assert told(found) == {
        "data[0].values[0].valueStatus": "is missing",
        "data[0].values[1].valueStatus": "is 'PERHAPS', which is not known here",
    }


def test_the_older_version_has_no_flags_and_is_not_blamed_for_it() -> None:
    given_ = values(DAY)
    for value in given_:
        del value["valueStatus"]
    found = read(report(meter(given_)), DAY, flagged=False)
    assert (right(found), found.drifts) == (96, ())
    assert {row.said for rows in found.series.values() for row in rows} == {"unknown"}


def test_an_object_in_place_of_a_list_is_read_as_its_only_entry() -> None:
    one = meter(values(DAY)[0])
    found = read({"orderId": 7, "status": "DONE", "data": one}, DAY)
    assert right(found) == 1
    assert told(found) == {"data": "is an object, not a list", "data.values": "is an object, not a list"}


@pytest.mark.parametrize(
    ("document", "state"),
    [
        ([], "unreadable"),
        ("DONE", "unreadable"),
        ({"orderId": 7}, "unreadable"),
        (report(order=8), "unreadable"),
        (report(status="ODD"), "unreadable"),
        ({"orderId": 7, "status": "DONE"}, "unreadable"),
        ({"orderId": 7, "status": "DONE", "data": "none"}, "ready"),
        ({"orderId": 7, "status": "FAILED"}, "failed"),
        (report(status="DONE", order=7) | {"unit": "MWh"}, "unreadable"),
    ],
)
def test_a_report_that_is_none_gives_no_value(document: Any, state: str) -> None:
    found = read(document, DAY)
    assert found.series == {}
    if state != "ready":
        assert found.state == state
    assert found.drifts or state == "failed"


def test_an_object_that_was_not_ordered_is_left_out() -> None:
    found = read(report(meter(values(DAY), objectNumber="99999918")), DAY)
    assert found.series == {}
    assert told(found) == {"data[0].objectNumber": "was not ordered"}


def test_differences_are_bounded_in_number() -> None:
    given_ = [{f"field{number}": number} for number in range(5_000)]
    assert len(read(report(meter(given_)), DAY).drifts) == 20


def test_the_account_names_each_difference_and_its_flag() -> None:
    theirs = next(iter(lt_report.account(report(meter(values(DAY))), step=900)))
    ours = [row._replace(said="measured") for row in theirs.rows]
    ours[5] = ours[5]._replace(quantity=(ours[5].quantity or 0) + 1_000)
    found = compare(ours, theirs.rows)
    assert [one.milli_wh for one in found if one.verdict == "differs"] == [1_000]
    assert sums(found, VILNIUS)[2].verdicts == {"equal": 95, "differs": 1}


def test_an_account_of_what_is_no_report_is_refused() -> None:
    with pytest.raises(ImportFileError, match="no values"):
        lt_report.account({"orderId": 1, "status": "PROCESSING"}, step=900)


# -- what others make of a sound report --------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every field and entry."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(child, (*path, key))


def mutate(document: Any, draw: Callable[[Any], Any], times: int) -> Any:
    """Drop, rename, retype, copy or wrap what is at some places."""
    document = copy.deepcopy(document)
    for _ in range(times):
        found = list(places(document))
        if not found:
            return document
        *path, key = draw(st.sampled_from(found))
        parent = document
        for step in path:
            parent = parent[step]
        how = draw(st.sampled_from(("drop", "rename", "text", "wrap", "open", "null", "bool", "float", "add")))
        if how == "drop":
            del parent[key]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(("amount2", "Amount", "kiekis", "value", "meter_type", "unit")))] = parent.pop(
                key
            )
        elif how == "add" and isinstance(parent, dict):
            parent[draw(st.sampled_from(("unit", "factor", "note", "amountScale")))] = draw(
                st.sampled_from((1, "MWh", []))
            )
        else:
            parent[key] = {
                "text": str(parent[key]),
                "wrap": [parent[key]],
                "open": parent[key][0] if isinstance(parent[key], list) and parent[key] else {"value": parent[key]},
                "null": None,
                "bool": True,
                "float": Decimal("1e3") if key != "amount" else [parent[key]],
            }.get(how, parent[key])
    return document


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_whatever_is_dropped_renamed_or_retyped_no_value_is_wrong(data: st.DataObject) -> None:
    sound = report(meter(values(DAY)[:6] + values(DAY, "P-")[:3]), meter(values(DAY)[6:9], meterType="CHECK"))
    changed = mutate(sound, data.draw, data.draw(st.integers(1, 4)))
    found = read(changed, DAY)
    count = right(found)
    whole = json.loads(json.dumps(changed, default=str)) == json.loads(json.dumps(sound, default=str))
    assert count <= 12
    # what was lost is told, and so is what cannot be read
    assert count == 12 or found.drifts or found.state != "ready" or whole or has_fewer(changed)
    try:
        for one in lt_report.account(changed, step=900):
            for row in one.rows:
                assert row.quantity in (None, int(quantity(row.start) * 1_000_000))
    except ImportFileError:
        assert read(changed, DAY, flagged=False).state != "ready" or found.state != "ready"


def has_fewer(changed: Any) -> bool:
    """Whether entries or values are gone, or null: a hub that sends fewer has changed nothing in its answers."""
    data = changed.get("data") if isinstance(changed, dict) else None
    if not isinstance(data, list) or len(data) < 2:
        return True
    found = [one.get("values") for one in data if isinstance(one, dict)]
    lengths = [len(one) for one in found if isinstance(one, list)]
    nulls = any(isinstance(value, dict) and value.get("amount", 0) is None for one in found for value in one or ())
    return sum(lengths) < 12 or nulls


@pytest.mark.parametrize("seed", range(20))
def test_octets_at_random_give_no_value(seed: int) -> None:
    chance = random.Random(seed)
    body = bytearray(json.dumps(report(meter(values(DAY)[:8])), default=float).encode())
    for _ in range(3):
        body[chance.randrange(len(body))] = chance.randrange(256)
    try:
        document = answers.json_value(bytes(body))
    except answers.AnswerError:
        return
    for rows in read(document, DAY).series.values():
        assert all(row.end - row.start == 900 and row.start >= midnight(DAY) for row in rows)


def test_stamps_are_those_of_the_calendar() -> None:
    assert datetime.fromtimestamp(midnight(DAY), UTC).isoformat() == "2026-03-02T22:00:00+00:00"
