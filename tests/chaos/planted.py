"""Errors that are planted into the evidence of a run: each is what a defect of the daemon would leave behind.

A planted error takes the evidence and spoils it; the oracle must find it, by the check that is named beside it.
"""

import copy
from collections import Counter
from collections.abc import Callable

from tests.chaos.collect import sinks
from tests.chaos.evidence import Evidence, Row, S
from tests.chaos.oracle import owed

Plant = Callable[[Evidence], None]


def _middle(rows: list[Row]) -> Row:
    return rows[len(rows) // 2]


def _point(seen: Evidence) -> tuple[dict[str, Row], str]:
    """The points of a meter that has some, and the time of one in the middle."""
    points = max((meter for server in seen.points.values() for meter in server.values()), key=len)
    return points, sorted(points)[len(points) // 2]


def _journal_row(seen: Evidence) -> Row:
    """A stored reading that had to be stored."""
    must = {(row["meter"], row["id"]) for rows in seen.truth.values() for row in owed(seen, rows)}
    return _middle([row for row in seen.journal if (row["meter"], row["a_import_wh"]) in must])


def mqtt_drop(seen: Evidence) -> None:
    row = _middle(seen.journal)
    for rows in (seen.live, seen.late):
        rows[:] = [one for one in rows if (one["meter"], one["item"].get("seq")) != (row["meter"], row["seq"])]


def influx_drop(seen: Evidence) -> None:
    points, at = _point(seen)
    del points[at]


def journal_drop(seen: Evidence) -> None:
    row = _journal_row(seen)
    seen.journal.remove(row)


def journal_twice(seen: Evidence) -> None:
    row = _middle(seen.journal)
    seen.journal.append({**row, "seq": seen.journal[-1]["seq"] + 1_000_000})


def watt_changed(seen: Evidence) -> None:
    row = _middle(seen.live)
    row["item"] = row["item"] | {"p_import_w": row["item"]["p_import_w"] + 1}


def watt_hour_changed_in_the_database(seen: Evidence) -> None:
    points, at = _point(seen)
    points[at]["a_export_wh"] += 1


def sign_lost(seen: Evidence) -> None:
    row = next(row for row in seen.journal if row["p_net_w"] < 0)
    row["p_net_w"] = -row["p_net_w"]


def another_time(seen: Evidence) -> None:
    row = next(row for row in seen.journal if row["t_source"] == "meter")
    row["t"] = "2026-01-01T00:00:00Z"


def from_nowhere(seen: Evidence) -> None:
    row = copy.deepcopy(_middle(seen.live))
    row["item"]["a_import_wh"] += 77_777
    seen.live.append(row)


def impossible_published(seen: Evidence) -> None:
    row = _middle(seen.live)
    for one in seen.truth[row["meter"]]:
        if one["id"] == row["item"]["a_import_wh"]:
            one["possible"] = False


def spoiled_accepted(seen: Evidence) -> None:
    row = _middle(seen.live)
    for one in seen.truth[row["meter"]]:
        if one["id"] == row["item"]["a_import_wh"]:
            one["arrives"] = False


def unverified(seen: Evidence) -> None:
    row = next(row for row in seen.live if row["meter"] == "dlms")
    row["item"]["auth"] = "unverified"


def read_late(seen: Evidence) -> None:
    row = _middle([row for row in seen.journal if row["t_rx"] > seen.journal[len(seen.journal) // 2]["t_rx"]])
    for one in seen.truth[row["meter"]]:
        if one["id"] == row["a_import_wh"]:
            one["sent"] -= 7


def late_out_of_order(seen: Evidence) -> None:
    """Two late readings that came in no other way change places."""
    live = set(map(_key, seen.live))
    times = Counter(map(_key, seen.late))
    once = [n for n, row in enumerate(seen.late) if times[key := _key(row)] == 1 and key not in live]
    meters = Counter(seen.late[n]["meter"] for n in once)
    chosen = [n for n in once if seen.late[n]["meter"] == meters.most_common(1)[0][0]]
    first, last = chosen[0], chosen[-1]
    seen.late[first], seen.late[last] = seen.late[last], seen.late[first]


def _key(row: Row) -> tuple[str, int]:
    return row["meter"], row["item"]["seq"]


def duplicate_with_other_content(seen: Evidence) -> None:
    row = copy.deepcopy(seen.late[0])
    row["payload"] = row["payload"].replace("1", "2")
    seen.late.append(row)


def late_without_id(seen: Evidence) -> None:
    del seen.late[0]["item"]["id"]


def stale_as_news(seen: Evidence) -> None:
    row = _middle(seen.live)
    for one in seen.truth[row["meter"]]:
        if one["id"] == row["item"]["a_import_wh"]:
            one["sent"] -= 60


def stale_handed_on(seen: Evidence) -> None:
    calm = seen.moment("calm")
    row = next(row for row in seen.live if row["ns"] > calm)
    row["wall"] += 60
    row["ns"] += 60 * S


def power_retained(seen: Evidence) -> None:
    seen.retained.append("meterd/p1/p_import_w")


def counter_off_by_one(seen: Evidence) -> None:
    seen.status["conservation"]["meters"]["p1"]["received"] += 1


def counter_off_by_one_for_a_moment(seen: Evidence) -> None:
    looks = [row for row in seen.samples if row.get("status")]
    looks[len(looks) // 2]["status"]["conservation"]["meters"]["p1"]["held"] += 1


def no_answer(seen: Evidence) -> None:
    seen.status = {"meters": [], "conservation": None}


def no_metrics(seen: Evidence) -> None:
    seen.metrics = ""


def metric_off_by_one(seen: Evidence) -> None:
    before = seen.metrics
    name = 'meterd_meter_readings_stored_total{meter="p1"} '
    value = before.partition(name)[2].partition("\n")[0]
    seen.metrics = before.replace(name + value, f"{name}{float(value) + 1}")
    assert seen.metrics != before


def stored_off_by_one(seen: Evidence) -> None:
    counters = seen.status["meters"][0]["counters"]
    counters["stored"] += 1


def sink_off_by_one(seen: Evidence) -> None:
    terms = next(iter(sinks(seen.status)))[1]
    meter = next(iter(terms["meters"].values()))
    meter["delivered"] += 1


def dead_letter_lost(seen: Evidence) -> None:
    seen.counts["journal"]["rows"]["dead_letter"] = seen.counts["journal"]["rows"].get("dead_letter", 0) + 1


def quarantine_lost(seen: Evidence) -> None:
    seen.counts["journal"]["rows"]["quarantine"] = seen.counts["journal"]["rows"].get("quarantine", 0) + 1


def dead_letter_that_nobody_refused(seen: Evidence) -> None:
    terms = next(terms for name, terms in sinks(seen.status) if "influx" in name)
    terms["dead_letter"] += 50  # type: ignore[index]


def still_pending(seen: Evidence) -> None:
    _name, terms = next(iter(sinks(seen.status)))
    terms["pending"] += 1  # type: ignore[index]


def file_damaged(seen: Evidence) -> None:
    seen.counts["journal"]["integrity"] = "row 3 missing from index"


def store_set_aside(seen: Evidence) -> None:
    seen.counts["files"].append("journal.db.damaged-20261122")


def silent_afterwards(seen: Evidence) -> None:
    calm = seen.moment("calm")
    seen.live[:] = [row for row in seen.live if row["ns"] <= calm or row["meter"] != "p1"]


def crashed(seen: Evidence) -> None:
    seen.timeline.append({"ns": 1, "event": "violation", "text": "the daemon ended by itself, code 1"})


def slow_end(seen: Evidence) -> None:
    seen.timeline.append({"ns": 1, "event": "daemon", "what": "ended", "code": 0, "took_s": 9.0})


def memory_grew(seen: Evidence) -> None:
    _middle(seen.samples)["rss_kib"] = 200_000


def descriptors_leaked(seen: Evidence) -> None:
    _middle(seen.samples)["fds"] = 900


def key_leaked(seen: Evidence) -> None:
    seen.leaks.append("daemon.log holds ek as text")


#: planted error -> the check that finds it
PLANTED: dict[Plant, str] = {
    mqtt_drop: "obligations",
    influx_drop: "obligations",
    dead_letter_that_nobody_refused: "obligations",
    journal_drop: "kept",
    journal_twice: "kept",
    watt_changed: "payload",
    watt_hour_changed_in_the_database: "payload",
    sign_lost: "payload",
    another_time: "payload",
    unverified: "payload",
    from_nowhere: "issued",
    impossible_published: "issued",
    spoiled_accepted: "issued",
    read_late: "reading",
    late_out_of_order: "order",
    duplicate_with_other_content: "order",
    late_without_id: "order",
    stale_as_news: "stale",
    stale_handed_on: "stale",
    power_retained: "stale",
    counter_off_by_one: "conservation",
    counter_off_by_one_for_a_moment: "conservation",
    metric_off_by_one: "metrics",
    no_answer: "conservation",
    no_metrics: "metrics",
    stored_off_by_one: "conservation",
    sink_off_by_one: "conservation",
    dead_letter_lost: "conservation",
    quarantine_lost: "conservation",
    still_pending: "conservation",
    file_damaged: "conservation",
    store_set_aside: "conservation",
    silent_afterwards: "liveness",
    crashed: "liveness",
    slow_end: "liveness",
    memory_grew: "resources",
    descriptors_leaked: "resources",
    key_leaked: "secrecy",
}
