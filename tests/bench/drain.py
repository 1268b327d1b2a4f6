"""A day at one reading a second, piled up for a database: how fast it drains, and what reading notices of it.

The daemon as a person runs it, with InfluxDB 1.6 (v1) and with VictoriaMetrics (v2) on this machine. Meanwhile a meter
on a pseudo-terminal is read, and each reading is awaited at the broker. At the end the database is asked for what it
has. Then the same meter, while the database takes connections and never answers.
"""

import json
import os
import shutil
import socket
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from latency import greet, instant, told
from processes import Bench, BenchError, Subscriber, answers, free_port, memory_mb
from report import Figure, percentile
from streams import day

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles
from gateway.control import ControlError, ask
from gateway.item_p import ItemP, stamp
from gateway.stores.journal import Journal

MUST_RATE, MUST_P99, MUST_RSS = 50.0, 50.0, 90.0
READINGS = 86_400
#: a drain that takes longer has failed (s)
MOST_S = READINGS / MUST_RATE
REST_S = 0.02
HANG_S = 12.0
METER = "yesterday"


def figures(seconds: float) -> list[Figure]:
    """Rates against real time, p99 of reading meanwhile, memory with InfluxDB, p99 while the database hangs."""
    v1, v1_ms, _ = drained("v1")
    v2, v2_ms, rss = drained("v2")
    hung = hanging(max(HANG_S, seconds / 2))
    day_ms = v1_ms + v2_ms
    return [
        Figure("a day's backlog to InfluxDB 1.6, against real time", v1, "x", MUST_RATE, rises=True),
        Figure("a day's backlog to VictoriaMetrics over v2, against real time", v2, "x", MUST_RATE, rises=True),
        Figure(
            "pty to subscriber while it drains, p99",
            percentile(day_ms, 0.99),
            "ms",
            MUST_P99,
            detail=[told("ours", day_ms)],
        ),
        Figure(
            "pty to subscriber while it hangs, p99", percentile(hung, 0.99), "ms", MUST_P99, detail=[told("ours", hung)]
        ),
        Figure("memory with serial, journal, MQTT, InfluxDB v2 after a day's backlog", rss, "MB", MUST_RSS),
    ]


def drained(version: str) -> tuple[float, list[float], float]:
    """Seconds of readings per second of draining, latencies in ms meanwhile, MB at the end."""
    with Bench() as bench, ExitStack() as stack:
        items = backlog()
        pile_up(bench.folder / "journal.db", items)
        url = SERVERS[version](bench)
        line, path = stack.enter_context(bench.pty())
        port = bench.broker()
        subscriber = bench.subscriber(port, "+/main/reading")
        names = 'database = "meterd"' if version == "v1" else 'org = "o"\nbucket = "b"'
        table = f'[influx]\nurl = "{url}"\nversion = "{version}"\n{names}\n'
        began = time.monotonic()
        daemon = bench.daemon({"main": path}, f'host = "127.0.0.1"\nport = {port}\nbackfill = false\n{table}')
        greet(bench, subscriber, "meterd", line)
        ended: list[float] = []

        def is_done() -> bool:
            outbox = status(bench)["outbox"]["meters"][METER]
            if outbox["delivered"] == READINGS:
                ended.append(time.monotonic())
            return bool(ended) or time.monotonic() - began > MOST_S

        latencies = read_on(line, subscriber, is_done)
        if not ended:
            raise BenchError(f"{version}: the day did not drain within {MOST_S:.0f} s: {status(bench)['text']}")
        check(version, url, items)
        return READINGS / (ended[0] - began), latencies, memory_mb(daemon.pid)[1]


def hanging(seconds: float) -> list[float]:
    """Latencies in ms while a server takes connections and says nothing."""
    with Bench() as bench, ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        line, path = stack.enter_context(bench.pty())
        port = bench.broker()
        subscriber = bench.subscriber(port, "+/main/reading")
        pile_up(bench.folder / "journal.db", backlog()[:5_000])
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        table = f'[influx]\nurl = "{url}"\norg = "o"\nbucket = "b"\ntimeout_s = 2\n'
        bench.daemon({"main": path}, f'host = "127.0.0.1"\nport = {port}\nbackfill = false\n{table}')
        greet(bench, subscriber, "meterd", line)
        end = time.monotonic() + seconds
        found = read_on(line, subscriber, lambda: time.monotonic() > end)
        if not status(bench)["trouble"]:
            raise BenchError("nobody noticed that the database hangs")
        return found


def read_on(line: int, subscriber: Subscriber, is_done: Callable[[], bool]) -> list[float]:
    """Send a telegram every now and then and await its reading, until it is done; latencies in ms."""
    found: list[float] = []
    start = datetime.now(UTC).replace(microsecond=0)
    telegrams = day(3_000, start)
    for n, telegram in enumerate(telegrams):
        os.write(line, telegram)
        written = time.monotonic_ns()
        at, _, payload = subscriber.next()
        assert instant(payload) == start.timestamp() + n, "another telegram's reading arrived"
        found.append((at - written) / 1e6)
        if n % 10 == 9 and is_done():
            return found
        time.sleep(REST_S)
    while not is_done():
        time.sleep(0.2)
    return found


def backlog() -> list[ItemP]:
    """A day of readings that ended an hour ago, with every register of a DSMR 5 meter, each another one."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=READINGS + 3_600)
    decoder = Decoder([profiles.load("nl-dsmr5")], ZoneInfo)
    [reading] = [found for found in decoder.feed(day(1, start)[0]) if isinstance(found, Reading)]
    items = []
    for n in range(READINGS):
        t = start + timedelta(seconds=n)
        rows = tuple((code, integer + n, exponent, unit) for code, integer, exponent, unit in reading.registers)
        one = replace(reading, t=t, reg_t=t, p_import_w=n % 5_000, a_import_wh=1_000_000 + n, registers=rows)
        items.append(stamp(one, METER, seq=n + 1, t_rx=t, max_clock_offset_s=3_600))
    return items


def pile_up(path: Path, items: list[ItemP]) -> None:
    """Store readings as the daemon does."""
    journal = Journal(path, max_bytes=1 << 29, max_age_s=400 * 86_400, group_s=10, meters=[METER])
    journal.start()
    for n, item in enumerate(items, 1):
        journal.append(item)
        if n % 2_000 == 0 and not journal.flush(60):
            raise BenchError("the journal takes too long")
    if not journal.close(60):
        raise BenchError("the journal takes too long")


def status(bench: Bench) -> dict[str, Any]:
    """The sink as `meterd status` shows it."""
    try:
        outputs = ask(bench.folder / "control", "status")["outputs"]
    except ControlError as error:
        raise BenchError(f"the daemon does not answer: {error}") from None
    return dict(next(output for output in outputs if output["name"] == "influx"))


def influxdb(bench: Bench) -> str:
    """InfluxDB 1.6 with an empty database."""
    port, rpc, folder = free_port(), free_port(), bench.folder
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n[monitor]\nstore-enabled = false\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
    )
    bench.child("influxdb", program("influxd"), "-config", str(config))
    bench.until(lambda: answers(port), "influxdb")
    url = f"http://127.0.0.1:{port}"
    get(f"{url}/query", q="CREATE DATABASE meterd", post=True)
    return url


def victoria(bench: Bench) -> str:
    """VictoriaMetrics, empty."""
    port = free_port()
    options = ["-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.disableCache"]
    listen = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={bench.folder}/victoria"]
    bench.child("victoria", program("victoria-metrics"), *listen, *options)
    bench.until(lambda: answers(port), "victoria-metrics")
    return f"http://127.0.0.1:{port}"


SERVERS: dict[str, Callable[[Bench], str]] = {"v1": influxdb, "v2": victoria}


def check(version: str, url: str, items: list[ItemP]) -> None:
    """Compare what the database has with what was stored: every energy, and the number of registers."""
    wanted = {round(item.t.timestamp()) * 1_000: item.reading.a_import_wh for item in items if item.t}
    if version == "v1":
        query = f"SELECT a_import_wh FROM item_p WHERE meter = '{METER}'"
        rows = json.loads(get(f"{url}/query", q=query, db="meterd", epoch="ms"))["results"][0]["series"][0]["values"]
        got = dict(rows)
        query = f"SELECT count(value) FROM register WHERE meter = '{METER}'"
        registers = json.loads(get(f"{url}/query", q=query, db="meterd"))["results"][0]["series"][0]["values"][0][1]
    else:
        get(f"{url}/internal/force_flush")
        match = f'{{__name__="item_p_a_import_wh",meter="{METER}"}}'
        got = {}
        for line in get(f"{url}/api/v1/export", **{"match[]": match}).splitlines():
            row = json.loads(line)
            got.update(zip(row["timestamps"], row["values"], strict=True))
        match = f'{{__name__="register_value",meter="{METER}"}}'
        exported = get(f"{url}/api/v1/export", **{"match[]": match}).splitlines()
        registers = sum(len(set(json.loads(line)["timestamps"])) for line in exported)
    if got != wanted or registers != sum(len(item.reading.registers) for item in items):
        raise BenchError(f"{version}: {len(got)} readings and {registers} registers are not what was stored")


def get(url: str, *, post: bool = False, **query: str) -> bytes:
    """What a server answers."""
    request = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}", method="POST" if post else "GET")
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


def program(name: str) -> str:
    """The path of a server."""
    found = shutil.which(name)
    if found is None:
        raise BenchError(f"{name} is not installed: make bench does it when root")
    return found


if __name__ == "__main__":
    for figure in figures(20):
        print(figure.name, figure.measured, figure.must, *figure.detail, sep="; ")
    sys.exit(0)
