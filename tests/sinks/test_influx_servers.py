"""The InfluxDB sink against InfluxDB 1.6 and VictoriaMetrics: they take every line, and give back its values."""

import contextlib
import importlib.util
import signal
import sys
import time
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.item_p import stamp
from gateway.sinks import line_protocol
from tests.databases import InfluxDB, VictoriaMetrics

_spec = importlib.util.spec_from_file_location("influx_parts", Path(__file__).with_name("influx_parts.py"))
parts = sys.modules["influx_parts"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parts)

START_MS = parts.START_MS


@pytest.fixture
def store(tmp_path):
    made = parts.Store(tmp_path)
    yield made
    made.close()


@pytest.fixture
def server(tmp_path_factory):
    """Start databases; all end with the test."""
    with contextlib.ExitStack() as stack:

        def start(kind, *lines):
            made = kind(tmp_path_factory.mktemp(kind.program), *lines)
            made.start()
            stack.callback(made.stop)
            if kind is InfluxDB and not lines:
                made.query("CREATE DATABASE meterd")
            return made

        yield start


def wait(condition, what, seconds=40.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return found


def settled(store, count):
    return lambda: store.counts()["pending"] == 0 and store.counts()["delivered"] == count


#: every form that a value, a tag and a field can have
HOSTILE = (
    ("1-0:1.8.0*255", 9_007_199_254_740_993, 0, "Wh"),
    ("a value=1 1\nitem_p,meter=x p_import_w=9i 1", -5, -1, "V"),
    ("tab\there, =\\\"'", 0, -3, "kW"),
    ("é\u2028\x00", 123_456_789_012_345, -6, ""),
    ("wide", 10**47, 0, ""),
    ("small", 1, -40, "A"),
    ("%41", 1, 0, ""),
    ("A", 2, 0, ""),
    ("A", 3, 0, ""),
    ("trailing\\", 4, 0, ""),
)


def expected(items):
    """(measurement, tag, field) -> ms -> exact value, of everything that the lines of these readings say."""
    found = {}
    for item in items:
        ms = line_protocol.milliseconds(item.t)
        for name in ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh"):
            found.setdefault(("item_p", "", name), {})[ms] = getattr(item.reading, name)
        for name, value in (("auth", 2), ("quality", 0), ("seq", item.seq), ("t_source", 0)):
            found.setdefault(("item_p", "", name), {})[ms] = value
        met = {}
        for code, integer, exponent, _ in item.reading.registers:
            met[code] = met.get(code, 0) + 1
            tag = line_protocol.tag(code) + (f"#{met[code]}" if met[code] > 1 else "")
            found.setdefault(("register", tag, "value"), {})[ms] = Decimal(integer).scaleb(exponent)
    return found


def same(got, wanted):
    """Equal, but for what a double cannot hold."""
    return got is not None and got == pytest.approx(float(wanted), rel=2e-15)


@pytest.mark.parametrize("gzip", [True, False])
def test_influxdb_holds_exactly_what_the_journal_holds(store, server, tmp_path, gzip):
    database = server(InfluxDB)
    items = [parts.item(s, sub=parts.gas(1)) for s in range(700)] + [parts.item(700, registers=HOSTILE)]
    store.add(*items)
    config = parts.settings(database.port, tmp_path, version="v1", gzip=gzip)
    with parts.delivering(config, store):
        wait(settled(store, 701), "all readings")
    for (measurement, tag, field), values in expected(items).items():
        where = f"WHERE register = '{_quoted(tag)}'" if tag else ""
        rows = database.query(f'SELECT "{field}" AS v FROM {measurement} {where}')
        got = {row["time"]: row["v"] for row in rows}
        assert got.keys() == values.keys(), (measurement, tag, field)
        exact = measurement == "item_p"
        assert [ms for ms in values if (got[ms] != values[ms] if exact else not same(got[ms], values[ms]))] == []
    series = database.query("SELECT count(value) FROM register GROUP BY register, meter")
    assert {row["register"] for row in series} == {tag for name, tag, _ in expected(items) if name == "register"}
    assert {row["name"] for row in database.query("SHOW MEASUREMENTS")} == {"item_p", "register", "sub"}
    [sub] = database.query("SELECT * FROM sub")
    assert (sub["value"], sub["channel"], sub["medium"], sub["time"]) == (1_234.567, "1", 3, START_MS - 3_600_000)


def _quoted(tag):
    return tag.replace("\\", "\\\\").replace("'", "\\'")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_victoria_metrics_takes_every_line(store, server, tmp_path, version):
    database = server(VictoriaMetrics)
    items = [parts.item(s) for s in range(700)] + [parts.item(700, registers=HOSTILE)]
    store.add(*items)
    with parts.delivering(parts.settings(database.port, tmp_path, version=version), store):
        wait(settled(store, 701), "all readings")
    wanted = expected(items)
    got = wait(lambda: (found := database.points()) and len(found) >= len(wanted) and found, "the points")
    for (measurement, tag, field), values in wanted.items():
        points = got[f"{measurement}_{field}", "main", tag]
        assert points.keys() == values.keys(), (measurement, tag, field)
        assert [ms for ms in values if points[ms] != pytest.approx(float(values[ms]), rel=1e-12)] == []
    registers = {tag for name, tag, _ in wanted if name == "register"}
    assert {tag for name, _, tag in got if name == "register_value"} == registers


def test_a_field_of_another_type_costs_its_readings_only(store, server, tmp_path):
    database = server(InfluxDB)
    database.query("CREATE DATABASE other")
    body = b'register,meter=main,register=1-0:32.7.0 value="text" %d\n' % START_MS
    _post(database, body)
    store.add(*(parts.item(s) for s in range(3)), *(parts.item(s, registers=()) for s in range(3, 6)))
    with parts.delivering(parts.settings(database.port, tmp_path, version="v1"), store) as sink:
        wait(lambda: store.counts()["pending"] == 0, "all readings")
        reason = sink.status()["last_refusal"]
    assert store.counts() == {"delivered": 3, "pending": 0, "evicted": 0, "dead_letter": 3}
    assert reason == "400: a field has another type in the database already (register value: string, not float)"
    assert len(database.query("SELECT a_import_wh FROM item_p")) == 6, "its good lines were kept"


def _post(database, body):
    url = f"{database.url}/write?db=meterd&precision=ms"
    urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=30).close()


def test_what_is_older_than_the_retention_is_a_dead_letter(store, server, tmp_path):
    database = server(InfluxDB)
    database.query("CREATE RETENTION POLICY short ON meterd DURATION 1h REPLICATION 1")
    now = datetime.now(UTC).replace(microsecond=0)
    fresh = parts.item(0, t=now, reg_t=now)
    fresh = stamp(fresh.reading, "main", seq=9, t_rx=now, max_clock_offset_s=3_600)
    store.add(*(parts.item(s) for s in range(-200_000, -199_960)), fresh)
    config = parts.settings(database.port, tmp_path, version="v1", retention_policy="short")
    with parts.delivering(config, store) as sink:
        wait(lambda: store.counts()["pending"] == 0, "all readings")
        assert "retention" in sink.status()["last_refusal"]
    assert store.counts() == {"delivered": 1, "pending": 0, "evicted": 0, "dead_letter": 40}


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"database": "nowhere"}, "404: there is no such database"),
        ({"retention_policy": "nowhere"}, "500: the database has no such retention policy"),
        ({"version": "v2", "database": None, "org": "o", "bucket": "b"}, "404: there is no such bucket"),
    ],
)
def test_influxdb_says_what_is_missing(store, server, tmp_path, keys, text):
    database = server(InfluxDB)
    store.add(parts.item(0))
    with parts.delivering(parts.settings(database.port, tmp_path, **({"version": "v1"} | keys)), store) as sink:
        wait(lambda: text in (sink.status()["trouble"] or ""), "the trouble")
        if keys.get("database") == "nowhere":
            database.query("CREATE DATABASE nowhere")
            wait(settled(store, 1), "the reading, without a restart")
    assert store.counts()["dead_letter"] == 0


def test_users_of_influxdb(store, server, tmp_path):
    database = server(InfluxDB, "auth-enabled = true")
    admin = {"u": "admin", "p": "an-admin"}
    database.query("CREATE USER admin WITH PASSWORD 'an-admin' WITH ALL PRIVILEGES")
    database.query("CREATE DATABASE meterd", **admin)
    database.query("CREATE USER meterd WITH PASSWORD 'right: one'", **admin)
    database.query("CREATE USER guest WITH PASSWORD 'x'", **admin)
    database.query("GRANT WRITE ON meterd TO meterd", **admin)
    password = tmp_path / "password"
    password.write_text("wrong\n")
    store.add(parts.item(0))
    keys = {"version": "v1", "username": "meterd", "password_file": str(password)}
    with parts.delivering(parts.settings(database.port, tmp_path, **keys), store) as sink:
        wait(lambda: "401: it does not accept the login" in (sink.status()["trouble"] or ""), "the trouble")
        password.write_text("right: one\n")
        wait(settled(store, 1), "the reading")
    store.add(parts.item(1))
    password.write_text("x\n")
    with parts.delivering(parts.settings(database.port, tmp_path, **(keys | {"username": "guest"})), store) as sink:
        wait(lambda: "403: the user may not write this database" in (sink.status()["trouble"] or ""), "the trouble")
    assert len(database.query("SELECT seq FROM item_p", **admin)) == 1


@pytest.mark.parametrize(("kind", "version"), [(InfluxDB, "v1"), (VictoriaMetrics, "v2")])
def test_a_server_that_stands_still_dies_and_comes_back(store, server, tmp_path, kind, version):
    database = server(kind)
    items = [parts.item(s) for s in range(300)]
    store.add(*items[:100])
    config = parts.settings(database.port, tmp_path, version=version, timeout_s=1, batch=20)
    with parts.delivering(config, store) as sink:
        wait(settled(store, 100), "the first readings")
        database.send_signal(signal.SIGSTOP)
        store.add(*items[100:200])
        wait(lambda: "did not answer within 1 s" in (sink.status()["trouble"] or ""), "the trouble")
        database.send_signal(signal.SIGCONT)
        wait(settled(store, 200), "the next readings")
        database.stop()
        store.add(*items[200:])
        wait(lambda: "refused the connection" in (sink.status()["trouble"] or ""), "the other trouble")
        database.start()
        wait(settled(store, 300), "the last readings")
    wanted = {line_protocol.milliseconds(item.t): item.reading.a_import_wh for item in items}
    assert wait(lambda: (found := _energy(database)) == wanted and found, "every point with its value")


def _energy(database):
    if isinstance(database, InfluxDB):
        return {row["time"]: row["a_import_wh"] for row in database.query("SELECT a_import_wh FROM item_p")}
    return database.points().get(("item_p_a_import_wh", "main", ""))
