"""The page for Prometheus: what a parser of Prometheus and a strict one read, and that it is what `status` says."""

import contextlib
import json
import math
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from decoders.errors import CODES
from gateway import line_state, metrics
from gateway.metrics import METRICS, PREFIX, STORE_STATES, values
from gateway.metrics_page import CONTENT_TYPE, MetricsPage
from gateway.settings import MetricsSettings
from gateway.sinks.http import Request
from gateway.telemetry import COUNTERS
from tests.ports import free_port

NOW = datetime(2026, 11, 21, 22, 20, 5, tzinfo=UTC)
#: one line of a value: name, labels, value (prometheus.io/docs/instrumenting/exposition_formats)
LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|Inf|NaN))")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
UNITS = ("_bytes", "_seconds", "_total", "_info")


def status(**changes: Any) -> dict[str, Any]:
    """An answer of `meterd status --json` with everything in it."""
    meter = {
        "meter": "main", "state": "ok", "flags": ["unverified"], "age_s": 1.5, "clock_offset_s": -0.412,
        "sub_meters": [{}],
        "counters": {name: n for n, name in enumerate(COUNTERS, 100)}
        | {"fault.link.checksum": 7, "fault.unwrap.no_such_code": 2},
    }  # fmt: skip
    terms = {"received": 9, "stored": 5, "quarantined": 1, "rejected": 1, "held": 2, "lost": 0, "holds": True}
    sink = {"delivered": 3, "pending": 1, "evicted": 0, "dead_letter": 1}
    outbox = {"position": 40, "newest": 50, "oldest_pending": "2026-11-21T22:19:05Z", **sink}
    return {
        "version": "1.2.3",
        "uptime_s": 77,
        "meters": [meter],
        "mqtt": {"connected": True, "trouble": None, "published": 12, "history": outbox},
        "outputs": [
            {"name": "influx", "works": False, "outbox": outbox | {"oldest_pending": None}},
            {"name": "compat 1", "works": True},
        ],
        "journal": {
            "state": "ok", "trouble": None, "queued": 1, "queued_bytes": 2, "bytes": 3, "wal_bytes": 4, "max_bytes": 5,
            "last_commit": "2026-11-21T22:20:00.500Z",
        },
        "ledger": {"state": "off", "trouble": "no folder"},
        "conservation": {"holds": True, "meters": {"main": terms}, "sinks": {"mqtt": {"main": sink}}},
        "configuration": {"refused": ["x"]},
        "tasks": {"watched": ["a", "b"], "late": ["b"]},
    } | changes  # fmt: skip


def page(answer: dict[str, Any]) -> str:
    made = MetricsPage(MetricsSettings(), lambda: answer)
    return made.answer(Request("GET", "/metrics")).body.decode()


def strict(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Read the text format line by line, and refuse what a scraper might not: values by name and sorted labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    kinds: dict[str, str] = {}
    helped: list[str] = []
    current = None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, meaning = line.removeprefix("# HELP ").partition(" ")
            assert meaning, line
            assert name not in helped, "a family is in one piece"
            helped.append(name)
        elif line.startswith("# TYPE "):
            current, kind = line.removeprefix("# TYPE ").split(" ")
            assert current == helped[-1], "HELP and TYPE belong together"
            assert kind in ("counter", "gauge")
            kinds[current] = kind
        else:
            match = LINE.fullmatch(line)
            assert match, line
            assert match[1] == current, line
            pairs = LABEL.findall(match[2] or "")
            assert ",".join(f'{name}="{value}"' for name, value in pairs) == (match[2] or ""), line
            key = tuple(sorted(pairs))
            assert key not in found.setdefault(current, {}), f"twice: {line}"
            found[current][key] = float(match[3])
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        assert all(math.isfinite(value) for value in found[name].values())
        assert kind != "counter" or all(value >= 0 for value in found[name].values())
    return found


def parsed(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The same by the parser of prometheus_client."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def wanted(answer: dict[str, Any], now: datetime | None = None) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """What the page must hold of a status, by the full names."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for value in values(answer, now):
        metric = METRICS[value.name]
        labels = tuple(sorted(zip(metric.labels, value.labels, strict=True)))
        found.setdefault(metric.full_name, {})[labels] = float(value.value)
    return found


def own(found: dict[str, Any]) -> dict[str, Any]:
    return {name: values for name, values in found.items() if name.startswith(PREFIX)}


def test_two_parsers_read_the_same_and_everything_is_there() -> None:
    text = page(status())
    assert strict(text) == parsed(text)
    found, expected = own(strict(text)), wanted(status())
    for name in ("meterd_sink_oldest_pending_seconds",):  # it grows
        assert found.pop(name).keys() == expected.pop(name).keys()
    assert found == expected
    assert {"process_open_fds", "process_resident_memory_bytes"} <= strict(text).keys()


def test_the_values_are_those_of_the_status() -> None:
    found = wanted(status(), NOW)
    main, influx, mqtt = ("meter", "main"), ("sink", "influx"), ("sink", "mqtt")
    for number, name in enumerate(COUNTERS, 100):
        assert found[METRICS[metrics.counter_name(name)].full_name] == {(main,): number}
    assert found["meterd_meter_faults_total"] == {
        (("code", "checksum"), main, ("stage", "link")): 7,
        (("code", "other"), main, ("stage", "other")): 2,
    }
    states = found["meterd_meter_line_state"]
    assert [key for key, value in states.items() if value] == [(main, ("state", "ok"))]
    assert {dict(key)["state"] for key in states} >= {state for state, _ in line_state.RULES} | {"stale"}
    flags = found["meterd_meter_flag"]
    assert [key for key, value in flags.items() if value] == [(("flag", "unverified"), main)]
    assert found["meterd_meter_last_reading_age_seconds"] == {(main,): 1.5}
    assert found["meterd_meter_clock_offset_seconds"] == {(main,): -0.412}
    assert found["meterd_meter_readings_held"] == {(main,): 2}
    assert found["meterd_sink_readings_dead_letters_total"] == {(main, mqtt): 1}
    assert found["meterd_sink_works"] == {(mqtt,): 1, (influx,): 0, (("sink", "compat 1"),): 1}
    assert found["meterd_sink_lag_positions"] == {(mqtt,): 10, (influx,): 10}
    assert found["meterd_sink_oldest_pending_seconds"] == {(mqtt,): 60, (influx,): 0}
    assert found["meterd_journal_last_commit_timestamp_seconds"] == {(): 1_795_299_600.5}
    assert found["meterd_ledger_trouble"] == {(): 1}
    assert found["meterd_ledger_state"] == {(("state", state),): state == "off" for state in STORE_STATES}
    assert found["meterd_tasks_late"] == {(): 1}
    assert found["meterd_configuration_refused"] == {(): 1}


def test_what_is_absent_is_absent() -> None:
    answer = status(mqtt=None, outputs=[], conservation=None)
    answer["meters"][0] |= {"age_s": None, "clock_offset_s": None}
    answer["journal"] = {"state": "off", "trouble": "no folder"}
    names = strict(page(answer)).keys()
    assert not [name for name in names if "sink" in name or "mqtt" in name or "conservation" in name]
    assert not names & {"meterd_meter_last_reading_age_seconds", "meterd_meter_clock_offset_seconds"}
    assert "meterd_journal_size_bytes" not in names


def test_names_follow_the_conventions() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"meterd_[a-z][a-z_]*[a-z]", metric.full_name)
        assert not metric.name.endswith("_total")
        for word, unit in (("size", "_bytes"), ("age", "_seconds"), ("offset", "_seconds"), ("uptime", "_seconds")):
            assert word not in metric.name.split("_") or metric.name.endswith(unit), metric.name
        assert set(metric.labels) <= {"meter", "sink", "state", "flag", "stage", "code", "version"}


def test_cardinality_is_bounded() -> None:
    """Whatever faults come: no more series than the decoders have codes."""
    answer = status()
    many = {f"fault.{stage}.{code}": 1 for stage, code in CODES} | {f"fault.link.made_up_{n}": 1 for n in range(5_000)}
    answer["meters"][0]["counters"] |= many
    faults = strict(page(answer))["meterd_meter_faults_total"]
    assert len(faults) == len(CODES) + 1
    assert sum(faults.values()) == len(many) + 2


def test_the_table_of_the_documentation_is_that_of_the_program(checkout: Path) -> None:
    text = (checkout / "docs" / "metrics.md").read_text()
    table = text.partition("<!-- metrics:begin -->\n")[2].partition("<!-- metrics:end -->")[0]
    rows = [
        f"| `{metric.full_name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or '-'} |"
        f" {metric.help} |"
        for metric in METRICS.values()
    ]
    assert table.splitlines()[2:] == rows


def test_queries_of_the_documentation_name_metrics_that_exist(checkout: Path) -> None:
    named = set(re.findall(r"\bmeterd_[a-z_]+", (checkout / "docs" / "metrics.md").read_text()))
    assert named == {metric.full_name for metric in METRICS.values()}


def test_a_page_is_made_once_in_a_second() -> None:
    now, made = [0.0], []

    def answer() -> dict[str, Any]:
        made.append(now[0])
        return status()

    served = MetricsPage(MetricsSettings(), answer, monotonic=lambda: now[0])
    for now[0] in (0.0, 0.5, 0.9, 1.0, 1.9, 5.0):
        assert served.answer(Request("GET", "/metrics")).status == 200
    assert made == [0.0, 1.0, 5.0]
    assert served.status()["scrapes"] == 6


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/", 404), ("POST", "/metrics", 405)])
def test_nothing_else_is_answered(method: str, path: str, code: int) -> None:
    served = MetricsPage(MetricsSettings(), status)
    assert served.answer(Request(method, path)).status == code


def fetch(port: int, path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", error.read().decode()


def until(condition: Any, what: str) -> Any:
    end = time.monotonic() + 40
    while not (found := condition()):
        assert time.monotonic() < end, f"waited 40 s for {what}"
        time.sleep(0.02)
    return found


def test_a_daemon_under_load_tells_what_its_status_says(daemon, pty, telegrams) -> None:
    """Scraped by several at once while telegrams come; when all is quiet the page and the status are equal."""
    port = free_port()
    line = pty()
    one = daemon("main", extra=f'[metrics]\nlisten = "127.0.0.1:{port}"\n').start()
    until(lambda: one.status()["metrics"]["works"], "the page")
    stop, seen, wrong = threading.Event(), [], []

    def scrape() -> None:
        while not stop.is_set():
            code, _, text = fetch(port)
            try:
                found = strict(text)
                assert code == 200
                assert found == parsed(text)
                seen.append(found["meterd_meter_readings_decoded_total"][("meter", "main"),])
            except (AssertionError, KeyError) as error:
                wrong.append(error)
            time.sleep(0.01)

    scrapers = [threading.Thread(target=scrape) for _ in range(4)]
    for scraper in scrapers:
        scraper.start()
    for telegram, _ in telegrams(300):
        line.send(telegram)
    line.send(b"/no telegram at all\r\n!0000\r\n")
    until(lambda: one.meter()["counters"]["decoded"] == 300, "every telegram")
    until(lambda: seen and seen[-1] == 300, "a page with every telegram")
    stop.set()
    for scraper in scrapers:
        scraper.join()
    assert wrong == []
    assert fetch(port)[1] == CONTENT_TYPE
    until(lambda: equal(one, port), "a page that is the status")
    assert one.stop()[0] == 0


#: what goes on between two looks
MOVING = {"meterd_uptime_seconds", "meterd_meter_last_reading_age_seconds"}


def equal(one: Any, port: int) -> bool:
    """Whether the page is what the status before and after it say, and those are the same."""
    before = wanted(one.status())
    time.sleep(metrics_fresh())
    text = fetch(port)[2]
    after = wanted(one.status())
    still = [{name: found for name, found in each.items() if name not in MOVING} for each in (before, after)]
    found = {name: values for name, values in own(strict(text)).items() if name not in MOVING}
    return still[0] == still[1] == found


def metrics_fresh() -> float:
    from gateway.metrics_page import FRESH_S

    return FRESH_S + 0.05


def test_foreign_names_and_too_many_clients_are_refused(daemon, pty) -> None:
    port = free_port()
    pty()
    one = daemon(
        "main", extra=f'[metrics]\nlisten = "127.0.0.1:{port}"\nmax_clients = 2\nhosts = ["mine.example"]\n'
    ).start()
    until(lambda: one.status()["metrics"]["works"], "the page")
    assert fetch(port, Host="evil.example")[0] == 403
    assert fetch(port, Host="mine.example")[0] == 200
    until(lambda: one.status()["metrics"]["clients"] == 0, "clients to go")
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    until(lambda: one.status()["metrics"]["clients"] == 2, "clients to come")
    refused = socket.create_connection(("127.0.0.1", port))
    refused.settimeout(30)
    with contextlib.suppress(ConnectionResetError):
        assert refused.recv(1) == b""
    for client in (*held, refused):
        client.close()
    until(lambda: one.status()["metrics"]["clients"] == 0, "clients to go")
    assert fetch(port)[0] == 200


def test_without_the_table_nothing_listens_and_nothing_is_imported(daemon, pty) -> None:
    pty()
    one = daemon("main").start()
    assert one.status()["metrics"] is None
    code = "import sys, gateway.daemon; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('listen = "0.0.0.0:9109"', "is reached by other machines; allowed: 127.0.0.1 or [::1]; or remote = true"),
        ('listen = "192.168.1.2:9109"', "is reached by other machines"),
        ('listen = "localhost:9109"', "is not address:port"),
        ('listen = "127.0.0.1:0"', "port 0 is none that a reader could know"),
        ('listen = "127.0.0.1:2001"', "is taken by [[virtual_p1]] no. 1 already"),
        ("max_clients = 0", "max_clients: 0 is not allowed"),
        ('path = "/x"', "path: unknown key"),
    ],
)
def test_mistakes_are_named(tmp_path, capsys, table, said) -> None:
    from gateway.cli import main

    config = tmp_path / "meterd.toml"
    meter = '[[meter]]\nname = "main"\nport = "/dev/null"\nprofile = "nl-dsmr5"\n'
    config.write_text(f'{meter}[[virtual_p1]]\nmeter = "main"\n[metrics]\n{table}\n')
    assert main(["check", "-c", str(config), "--json"]) == 1
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert [error for error in errors if "[metrics]" in error and said in error], errors


@pytest.mark.parametrize("listen", ["127.0.0.1:9109", "[::1]:9109", "127.0.0.53:9109"])
def test_the_loopback_needs_no_permission(tmp_path, listen) -> None:
    from gateway.settings import load

    config = tmp_path / "meterd.toml"
    config.write_text(f'[[meter]]\nname = "main"\nport = "/dev/null"\n[metrics]\nlisten = "{listen}"\n')
    assert load(config).metrics == MetricsSettings(listen=listen)
    config.write_text('[[meter]]\nname = "main"\nport = "/dev/null"\n[metrics]\nlisten = "0.0.0.0:1"\nremote = true\n')
    assert load(config).metrics == MetricsSettings(listen="0.0.0.0:1", remote=True)
