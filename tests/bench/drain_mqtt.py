"""A backlog of a day at one reading per second, sent late to mosquitto, while the meter goes on: how fast, and how late
live readings are meanwhile.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from latency import greet
from processes import UP_S, Bench, BenchError, Subscriber
from report import Figure, percentile
from streams import captured, day

from decoders.decoder import Decoder
from decoders.model import Reading
from gateway import profiles
from gateway.item_p import stamp
from gateway.stores.journal import Journal

MUST_RATE, MUST_P99 = 50.0, 50.0
DAY, LEAST = 86_400, 5_000
#: late readings per second that are expected at least, to make the backlog fit the time
PACE = 500
#: seconds between two live telegrams
REST_S = 0.1
#: mosquitto drops messages to a subscriber that is slower than the publisher
EVERY_MESSAGE = "max_queued_messages 0"


def figures(seconds: float) -> list[Figure]:
    """How many times faster than the meter a backlog goes out, and p99 of live readings in ms, meanwhile and after."""
    count = int(max(LEAST, min(DAY, seconds * PACE)))
    with Bench() as bench, bench.pty() as (line, path):
        fill(bench.folder / "journal.db", count)
        port = bench.broker(EVERY_MESSAGE)
        live, late = bench.subscriber(port, "+/main/reading"), bench.subscriber(port, "+/main/backfill/reading")
        bench.daemon({"main": path}, f'host = "127.0.0.1"\nport = {port}\ndiscovery = "off"')
        greet(bench, live, "meterd", line)
        took, during = drain(line, live, late, count)
        after = [send(line, live) for _ in range(min(len(during), 200))]
    rate = count / took
    return [
        Figure("MQTT history: backlog of 1 s readings against real time", rate, "x", MUST_RATE, rises=True,
               detail=[f"{count} readings in {took:.1f} s"]),
        Figure("MQTT history: pty to subscriber while it is sent, p99", percentile(during, 0.99), "ms", MUST_P99,
               detail=[told("while it is sent", during), told("after", after)]),
    ]  # fmt: skip


def fill(path: Path, count: int) -> None:
    """Store readings of a second each, as if the broker had been away for so long."""
    reading = next(iter(Decoder([profiles.load("nl-dsmr5")], ZoneInfo).feed(captured())))
    if not isinstance(reading, Reading):
        raise BenchError("the captured telegram is none")
    journal = Journal(path, max_bytes=512 << 20, max_age_s=10**9, group_s=10**6, meters=["main"])
    journal.start()
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=count)
    for n in range(count):
        at = began + timedelta(seconds=n)
        journal.append(stamp(reading, "main", seq=journal.next_seq("main"), t_rx=at, max_clock_offset_s=3_600))
        if n % 1_000 == 999:
            journal.flush(30)
    if not journal.close(60):
        raise BenchError("the journal did not take the backlog")


def drain(line: int, live: Subscriber, late: Subscriber, count: int) -> tuple[float, list[float]]:
    """Seconds from the first late reading to the last, and latencies of live ones meanwhile in ms."""
    stamps: list[int] = []
    found: list[float] = []
    heard = time.monotonic()
    while len(stamps) < count:
        came = [at for at, _, _ in late.drain(0.0)]
        stamps += came
        heard = time.monotonic() if came else heard
        if time.monotonic() - heard > UP_S:
            raise BenchError(f"{len(stamps)} of {count} late readings came")
        found.append(send(line, live))
    return (stamps[count - 1] - stamps[0]) / 1e9, found


def send(line: int, live: Subscriber) -> float:
    """Latency in ms of a telegram of now, after a rest."""
    telegram = day(1, datetime.now(UTC).replace(microsecond=0))[0]
    time.sleep(REST_S)
    os.write(line, telegram)
    written = time.monotonic_ns()
    return (live.next()[0] - written) / 1e6


def told(name: str, values: list[float]) -> str:
    """The raw output of one part."""
    shares = ", ".join(f"p{share * 100:.0f} {percentile(values, share):.3f}" for share in (0.5, 0.9, 0.99))
    return f"{name}, ms: {shares}, max {max(values):.3f} of {len(values)} telegrams"
