"""Every query of the dashboards in docs/grafana is run against a server with data in it, and gives what was written."""

import contextlib
import importlib.util
import json
import re
import sys
import time
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
    return parts.item(
        second,
        sub=parts.SubReading(1, "gas", "G1", t, None, 1_000 + n, -3, "m3", "measured"),
        p_import_w=n % 700,
        p_export_w=n % 300,
        a_import_wh=1_000_000 + 7 * n,
        a_export_wh=2_000 + 3 * n,
        quality="estimated" if n % 10 == 0 else "measured",
        auth="unverified" if n % 5 == 0 else "verified",
        registers=tuple(registers),
    )


def at(n):
    return FIRST_MS + n * STEP_MS


def each(value):
    return {at(n): value(n) for n in range(COUNT)}


def per_day(rate):
    """Differences of the last registers of two days, in kWh, at the beginning of the second."""
    return {FIRST_MS + day * DAY_MS: rate * 144 / 1_000 for day in range(1, DAYS)}


#: title of a panel -> what its targets give, in their order: name of the series -> ms -> value; steps of ten minutes
EXPECTED = {
    "Power": [{"": each(lambda n: n % 700)}, {"": each(lambda n: n % 300)}],
    "Highest power": [{"": each(lambda n: n % 700)}, {"": each(lambda n: n % 300)}],
    "Energy per day": [{"": per_day(7)}, {"": per_day(3)}],
    "Registers": [{"": each(lambda n: 1_000_000 + 7 * n)}, {"": each(lambda n: 2_000 + 3 * n)}],
    "Voltage": [{code: each(lambda n, k=k: (2_300 + n + k) / 10) for k, code in enumerate(PHASES["voltage"])}],
    "Current": [{code: each(lambda n, k=k: (n + k) / 100) for k, code in enumerate(PHASES["current"])}],
    "Sub-meters": [{"1": each(lambda n: (1_000 + n) / 1_000)}],
    "Readings per minute": [{"": each(lambda _n: 1)}],
    "Not measured, or not verified": [
        {"": {at(n): 1 for n in range(0, COUNT, 10)}},
        {"": {at(n): 1 for n in range(0, COUNT, 5)}},
    ],
    "Clock of the meter": [{"": each(lambda _n: 0)}],
}


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


def influxql(query, step="10m"):
    """A query as Grafana sends it: variables and macros replaced."""
    window = f"time >= {FIRST_MS}ms and time < {FIRST_MS + DAYS * DAY_MS}ms"
    query = query.replace("$timeFilter", window).replace("$__interval", step)
    query = query.replace("$meter", "(main|garage)").replace("$zone", "UTC")
    assert "$" not in query.replace("$/", "")
    return query


@pytest.mark.parametrize("title", EXPECTED)
def test_influxql(servers, checkout, title):
    [panel] = [panel for panel in board(checkout, "meterd-influxql")["panels"] if panel["title"] == title]
    for target, wanted in zip(panel["targets"], EXPECTED[title], strict=True):
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


def instants(panel):
    """Seconds of the grid on which a panel asks: ends of its steps, a moment after the reading of each."""
    step_s = {"1d": 86_400, "1m": 60}.get(panel.get("interval", ""), STEP_S)
    return STEP_S if step_s == 60 else step_s


@pytest.mark.parametrize("title", EXPECTED)
def test_metricsql(servers, checkout, title):
    [panel] = [panel for panel in board(checkout, "meterd-metricsql")["panels"] if panel["title"] == title]
    step = instants(panel)
    for target, wanted in zip(panel["targets"], EXPECTED[title], strict=True):
        query = target["expr"].replace("$__interval", "10m").replace("$meter", "main|garage")
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
    assert {panel["title"] for panel in dashboard["panels"]} == EXPECTED.keys()
    for panel in dashboard["panels"]:
        assert len(panel["targets"]) == len(EXPECTED[panel["title"]])
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
