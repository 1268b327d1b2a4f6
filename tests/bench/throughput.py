"""3,000 readings a second through one daemon: JSON and seven topics to a broker, and every reading to the journal."""

import json
import pickle
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta

from processes import Bench, cpu_s, memory_mb
from report import Figure
from streams import day

METERS, RATE, SECONDS = 30, 100, 10
QUIET_S = 3.0
#: plain topics beside `reading`
TOPICS = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "a_import_kwh", "a_export_kwh")


def figures(_seconds: float) -> list[Figure]:
    """Readings that did not arrive or were not stored, and what it cost; all 8 topics go to the broker."""
    count = RATE * SECONDS
    with Bench() as bench:
        port = bench.broker("max_queued_messages 0", "max_inflight_messages 0")
        subscriber = bench.subscriber(port, "+/+/reading")
        ports = feed(bench, count)
        daemon = bench.daemon(ports, f'host = "127.0.0.1"\nport = {port}')
        first = subscriber.next()
        cpu, began = cpu_s(daemon.pid), time.monotonic()
        found = [first, *subscriber.drain(QUIET_S)]
        spent, took = cpu_s(daemon.pid) - cpu, (found[-1][0] - first[0]) / 1e9
        memory = memory_mb(daemon.pid)[0]
        daemon.terminate()
        daemon.wait(10)
        stored = rows(bench)
    arrived = {(item["meter"], item["seq"]) for _, _, payload in found if (item := json.loads(payload))}
    expected = METERS * count
    detail = [
        f"{METERS} meters, {RATE} telegrams a second each: {expected} sent, {len(arrived)} arrived in {took:.1f} s",
        f"topics of each reading: reading, {', '.join(TOPICS)}; {stored} in the journal after SIGTERM",
        f"processor {spent:.2f} s in {time.monotonic() - began:.1f} s; memory {memory:.1f} MB",
    ]
    return [
        Figure("3,000 readings/s: not at the subscriber", expected - len(arrived), "", 0.0, detail=detail),
        Figure("3,000 readings/s: not in the journal", expected - stored, "", 0.0),
        Figure(
            "readings/s from the first to the last at the subscriber", len(arrived) / took, "/s", 2_900.0, rises=True
        ),
        Figure("processor time per reading at that rate", spent / len(arrived) * 1e6, "us"),
    ]


def feed(bench: Bench, count: int) -> dict[str, str]:
    """Render the telegrams of one meter and start the process that sends them on every port."""
    file = bench.folder / "telegrams"
    file.write_bytes(pickle.dumps(day(count, datetime.now(UTC) - timedelta(seconds=count // 2))))
    bench.child(
        "feeder", sys.executable, str(__file__).replace("throughput", "feeder"), str(METERS), str(RATE), str(file)
    )
    bench.until(lambda: "\n" in bench.said("feeder"), "the feeder")
    found = bench.said("feeder").split("\n")[0].split()
    return {f"m{number}": f"socket://127.0.0.1:{port}" for number, port in enumerate(found)}


def rows(bench: Bench) -> int:
    """Count the readings in the journal, by SQLite alone."""
    with sqlite3.connect(f"file:{bench.folder}/journal.db?mode=ro", uri=True) as db:
        found: int = db.execute("SELECT count(*) FROM record WHERE meter <> 0").fetchone()[0]
    return found
