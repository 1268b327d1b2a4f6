"""Memory and start of the daemon, as a person runs it: one meter on a pseudo-terminal, MQTT, the journal."""

import os
import random
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from statistics import median

from certificates import certificate
from processes import Bench, Subscriber, free_port, has_open, memory_mb
from report import Figure
from streams import day

MUST_RSS, MUST_OPEN, MUST_FIRST = 45.0, 0.35, 50.0
TELEGRAMS = 200
LEAST_STARTS = 5
#: octets per s of a line with 115200 Bd 8N1, and the pieces in which an adapter hands them on
OCTETS_PER_S, PIECE = 11_520, 46


def figures(seconds: float) -> list[Figure]:
    """Resident memory with MQTT plain and with TLS; times of the start."""
    (plain, plain_peak), (tls, tls_peak) = memory(encrypted=False), memory(encrypted=True)
    opened, first = starts(seconds * 0.7)
    after = f"after {TELEGRAMS} telegrams; the highest was"
    name = "memory with serial, journal, MQTT"
    return [
        Figure(name, plain, "MB", MUST_RSS, detail=[f"{after} {plain_peak:.1f} MB"]),
        Figure(f"{name} over TLS", tls, "MB", detail=[f"{after} {tls_peak:.1f} MB"]),
        Figure("exec to port open", median(opened), "s", MUST_OPEN, detail=spread(opened, "s")),
        Figure("end of the first telegram to its reading", median(first), "ms", MUST_FIRST, detail=spread(first, "ms")),
    ]


def spread(values: list[float], unit: str) -> list[str]:
    """Minimum, median and maximum of what was measured."""
    low, middle, high = min(values), median(values), max(values)
    return [f"min {low:.3f}, median {middle:.3f}, max {high:.3f} {unit} of {len(values)} starts"]


def memory(*, encrypted: bool) -> tuple[float, float]:
    """MB now and at the highest after 200 telegrams, every one of which arrived."""
    with Bench() as bench, ExitStack() as stack:
        tls_port, lines, keys = free_port(), [], ""
        if encrypted:
            cert, key = certificate(bench.folder)
            lines = [f"listener {tls_port} 127.0.0.1", f"certfile {cert}", f"keyfile {key}"]
            keys = f'tls = true\nca_file = "{cert}"'
        port = bench.broker(*lines)
        line, path = stack.enter_context(bench.pty())
        subscriber = bench.subscriber(port, "+/main/reading")
        mqtt = f'host = "127.0.0.1"\nport = {tls_port if encrypted else port}\n{keys}'
        daemon = bench.daemon({"main": path}, mqtt)
        feed(bench, line, subscriber)
        return memory_mb(daemon.pid)


def feed(bench: Bench, line: int, subscriber: Subscriber) -> None:
    """Send telegrams, each after the reading of the one before, the first until one arrives."""
    telegrams = day(TELEGRAMS, datetime.now(UTC).replace(microsecond=0))

    def answered() -> bool:
        os.write(line, telegrams[0])
        return bool(subscriber.drain(0.3))

    bench.until(answered, "a first reading")
    for telegram in telegrams[1:]:
        os.write(line, telegram)
        subscriber.next()


def starts(seconds: float) -> tuple[list[float], list[float]]:
    """Start the daemon again and again: s from exec to the open port, ms from telegram to reading."""
    opened, first, phases = [], [], random.Random(1)
    deadline = time.monotonic() + seconds
    while len(opened) < LEAST_STARTS or time.monotonic() < deadline:
        with Bench() as bench, ExitStack() as stack:
            port = bench.broker()
            line, path = stack.enter_context(bench.pty())
            subscriber = bench.subscriber(port, "+/main/reading")
            began = time.monotonic()
            daemon = bench.daemon({"main": path}, f'host = "127.0.0.1"\nport = {port}')
            bench.until(lambda pid=daemon.pid, path=path: has_open(pid, path), "the port to be opened", 0.001)
            opened.append(time.monotonic() - began)
            # A meter sends once a second, whenever we start: the first whole telegram begins within a second.
            time.sleep(phases.random())
            ended = at_line_pace(line, day(1, datetime.now(UTC).replace(microsecond=0))[0])
            first.append((subscriber.next()[0] - ended) / 1e6)
    return opened, first


def at_line_pace(line: int, telegram: bytes) -> int:
    """Write a telegram as a line of 115200 Bd brings it; gives the monotonic time (ns) of its end."""
    began = time.monotonic()
    for start in range(0, len(telegram), PIECE):
        time.sleep(max(0.0, began + start / OCTETS_PER_S - time.monotonic()))
        os.write(line, telegram[start : start + PIECE])
    return time.monotonic_ns()
