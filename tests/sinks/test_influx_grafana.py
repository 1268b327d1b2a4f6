"""Every query of the dashboards in docs/grafana is run against a server with data in it, and gives what was written."""

import contextlib
import importlib.util
import itertools
import json
import re
import statistics
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.databases import InfluxDB, VictoriaMetrics

_spec = importlib.util.spec_from_file_location("influx_parts", Path(__file__).with_name("influx_parts.py"))
parts = sys.modules["influx_parts"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parts)

#: readings every ten minutes over three whole days in UTC, the last of which ended before START
STEP_S, DAYS = 600, 3
FIRST = parts.START.replace(hour=0, minute=0, second=0) - timedelta(days=DAYS)
FIRST_MS = int(FIRST.timestamp()) * 1_000
COUNT = DAYS * 86_400 // STEP_S
DAY_MS, STEP_MS = 86_400_000, STEP_S * 1_000
PHASES = {"voltage": ("1-0:32.7.0", "1-0:52.7.0", "1-0:72.7.0"), "current": ("1-0:31.7.0", "1-0:51.7.0", "1-0:71.7.0")}


def reading(n):
    """Reading number n, every tenth estimated, every fifth unverified."""
    second = int((FIRST - parts.START).total_seconds()) + n * STEP_S
    registers = [(code, 2_300 + n + at, -1, "V") for at, code in enumerate(PHASES["voltage"])]
    registers += [(code, n + at, -2, "A") for at, code in enumerate(PHASES["current"])]
    registers += [("1-0:1.8.0", 5, 0, "Wh"), ("1-1:32.7.0", 9_999, 0, "V")]
    t = FIRST + timedelta(seconds=n * STEP_S)
    item = parts.item(
        second,
        sub=parts.SubReading(1, "gas", "G1", t, None, 1_000 + n, -3, "m3", "measured"),
        p_import_w=n % 700,
        p_export_w=n % 300,
        a_import_wh=energy(n, 7),
        a_export_wh=energy(n, 3),
        quality="estimated" if n % 10 == 0 else "measured",
        auth="unverified" if n % 5 == 0 else "verified",
        registers=tuple(registers),
    )
    offset = timedelta(milliseconds=n % 90)
    return replace(item, t_rx=t + offset, clock_offset_s=round(offset.total_seconds(), 3))


def energy(n, rate):
    """A register that rises, and not evenly."""
    return 1_000_000 * rate + rate * n * n // 4


def at(n):
    return FIRST_MS + n * STEP_MS


#: steps of a graph have two readings: those at its beginning and after it, or before it, as the languages have it
INFLUXQL, METRICSQL = 0, -1


def each(value, how, first):
    """ms -> the value of a step: `how` makes one of those of its readings."""
    pairs = {n: [k for k in (n + first, n + first + 1) if 0 <= k < COUNT] for n in range(0, COUNT, 2)}
    return {at(n): how([value(k) for k in pair]) for n, pair in pairs.items()}


def per_day(rate, first):
    """kWh of the second and the third day: between the last readings of two days, or between two midnights."""
    ends = [(day + 1) * 144 - 1 if first == INFLUXQL else day * 144 for day in range(DAYS)]
    risen = [(energy(new, rate) - energy(old, rate)) / 1_000 for old, new in itertools.pairwise(ends)]
    return {FIRST_MS + day * DAY_MS: kwh for day, kwh in enumerate(risen, 1)}


def counted(every, first):
    """ms -> how many readings of a step have a number that is divided by `every`; steps without one are left out."""
    found = each(lambda n: n % every == 0, sum, first)
    return {ms: count for ms, count in found.items() if count}


def last(values):
    return values[-1]


def expected(first):
    """Title of a panel -> what its targets give, in their order: name of the series -> ms -> value."""
    mean, (volt, amp) = statistics.mean, PHASES.values()
    return {
        "Power": [{"": each(lambda n: n % 700, mean, first)}, {"": each(lambda n: n % 300, mean, first)}],
        "Highest power": [{"": each(lambda n: n % 700, max, first)}, {"": each(lambda n: n % 300, max, first)}],
        "Energy per day": [{"": per_day(7, first)}, {"": per_day(3, first)}],
        "Registers": [{"": each(lambda n, r=rate: energy(n, r), last, first)} for rate in (7, 3)],
        "Voltage": [{code: each(lambda n, k=k: (2_300 + n + k) / 10, mean, first) for k, code in enumerate(volt)}],
        "Current": [{code: each(lambda n, k=k: (n + k) / 100, mean, first) for k, code in enumerate(amp)}],
        "Sub-meters": [{"1": each(lambda n: (1_000 + n) / 1_000, last, first)}],
        "Readings per minute": [{"": {at(n): 1 for n in range(COUNT)}}],
        "Not measured, or not verified": [{"": counted(10, first)}, {"": counted(5, first)}],
        "Clock of the meter": [{"": each(lambda n: n % 90, mean, first)}],
    }


TITLES = list(expected(INFLUXQL))


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Both databases, with the same readings, brought there by the sink."""
    with contextlib.ExitStack() as stack:
        found = {}
        for kind, version in ((InfluxDB, "v1"), (VictoriaMetrics, "v2")):
            folder = tmp_path_factory.mktemp(kind.program)
            database = found[kind] = kind(folder)
            database.start()
            stack.callback(database.stop)
            if kind is InfluxDB:
                database.query("CREATE DATABASE meterd")
            store = parts.Store(folder)
            store.add(*map(reading, range(COUNT)))
            with parts.delivering(parts.settings(database.port, folder, version=version), store):
                end = time.monotonic() + 40
                while store.counts()["delivered"] < COUNT:
                    assert time.monotonic() < end, store.counts()
                    time.sleep(0.02)
            store.close()
        found[VictoriaMetrics].get("/internal/force_flush")
        yield found


def board(checkout, name):
    return json.loads((checkout / "docs" / "grafana" / f"{name}.json").read_text())


def same(got, wanted):
    """Equal series; of several points in a step, and of what is 0 or null by filling, nothing is left here."""
    assert got.keys() == wanted.keys()
    for name, values in wanted.items():
        assert got[name] == pytest.approx(values, rel=1e-12, abs=1e-12), name


# -- InfluxQL --------------------------------------------------------------------------------------------------------


def influxql(query, step="20m"):
    """A query as Grafana sends it: variables and macros replaced."""
    window = f"time >= {FIRST_MS}ms and time < {FIRST_MS + DAYS * DAY_MS}ms"
    query = query.replace("$timeFilter", window).replace("$__interval", step)
    query = query.replace("$meter", "(main|garage)").replace("$zone", "UTC")
    assert "$" not in query.replace("$/", "")
    return query


@pytest.mark.parametrize("title", TITLES)
def test_influxql(servers, checkout, title):
    [panel] = [panel for panel in board(checkout, "meterd-influxql")["panels"] if panel["title"] == title]
    for target, wanted in zip(panel["targets"], expected(INFLUXQL)[title], strict=True):
        got = {}
        for row in servers[InfluxDB].query(influxql(target["query"])):
            column = next(name for name in row if name not in ("time", "meter", "register", "channel"))
            empty = row[column] is None or (title == "Readings per minute" and row[column] == 0)
            if not empty:
                got.setdefault(row.get("register", row.get("channel", "")), {})[row["time"]] = row[column]
        same(got, wanted)
        names = re.findall(r"\$tag_(\w+)", target["alias"])
        assert set(names) <= set(re.findall(r'"(\w+)"', target["query"].rpartition("GROUP BY")[2]))


def test_influxql_of_the_zone(servers, checkout):
    [panel] = [panel for panel in board(checkout, "meterd-influxql")["panels"] if panel["title"] == "Energy per day"]
    rows = servers[InfluxDB].query(influxql(panel["targets"][0]["query"].replace("$zone", "Europe/Amsterdam")))
    assert {(row["time"] - FIRST_MS) % DAY_MS for row in rows} == {DAY_MS - 3_600_000}, "days begin at local midnight"


# -- MetricsQL -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", TITLES)
def test_metricsql(servers, checkout, title):
    [panel] = [panel for panel in board(checkout, "meterd-metricsql")["panels"] if panel["title"] == title]
    step = {"1d": 86_400, "1m": STEP_S}.get(panel.get("interval"), 2 * STEP_S)
    for target, wanted in zip(panel["targets"], expected(METRICSQL)[title], strict=True):
        query = target["expr"].replace("$__interval", "20m").replace("$meter", "main|garage")
        assert "$" not in query
        got = {}
        first = FIRST_MS / 1_000
        for series in servers[VictoriaMetrics].query(query, first, first + DAYS * 86_400 - 1, str(step)):
            labels = series["metric"]
            values = {round(t * 1_000): float(value) for t, value in series["values"]}
            got[labels.get("register", labels.get("channel", ""))] = values
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels.keys()
        if title == "Energy per day":
            got = {name: {ms: v for ms, v in values.items() if ms in wanted[name]} for name, values in got.items()}
        if title == "Not measured, or not verified":
            got = {name: {ms: v for ms, v in values.items() if v} for name, values in got.items()}
        same(got, wanted)


# -- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["meterd-influxql", "meterd-metricsql"])
def test_every_panel_and_every_variable_is_tested(servers, checkout, name):
    dashboard = board(checkout, name)
    assert {panel["title"] for panel in dashboard["panels"]} == set(TITLES)
    for panel in dashboard["panels"]:
        assert len(panel["targets"]) == len(expected(INFLUXQL)[panel["title"]])
        assert panel["datasource"]["uid"] == "${database}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    [meter] = [one for one in dashboard["templating"]["list"] if one["name"] == "meter"]
    if name == "meterd-influxql":
        assert [row["value"] for row in servers[InfluxDB].query(meter["query"])] == ["main"]
    else:
        metric = re.fullmatch(r"label_values\((\w+), meter\)", meter["query"])[1]
        answer = servers[VictoriaMetrics].get(
            "/api/v1/label/meter/values",
            **{"match[]": metric, "start": str(FIRST_MS / 1_000), "end": str(FIRST_MS / 1_000 + DAYS * 86_400)},
        )
        assert json.loads(answer)["data"] == ["main"]
    assert not re.search(r"[\d.]+:\d{4}|password|token", json.dumps(dashboard)), "a dashboard names no server"
