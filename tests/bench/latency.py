"""From a pseudo-terminal to a subscriber: the daemon and dsmr_parser + paho, telegram by telegram in turns.

Measured from the return of the write of a whole telegram to the callback of a paho subscriber in a process of its own.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice

from processes import HERE, Bench, Subscriber
from report import Figure, percentile
from streams import day

MUST_P50, MUST_P99, MUST_SHARE = 0.5, 1.5, 0.35
WARM_UP, LEAST, MOST = 20, 100, 2_000
#: seconds between a reading and the next telegram of the second run: everybody sleeps, and the caches are cold
REST_S = 0.02


def figures(seconds: float) -> list[Figure]:
    """p50 and p99 in ms and the share of the peer's p50: one telegram after the other, then with a rest between."""
    with Bench() as bench, ExitStack() as stack:
        port = bench.broker()
        (ours, path), (theirs, peer_path) = (stack.enter_context(bench.pty()) for _ in range(2))
        subscriber = bench.subscriber(port, "+/main/reading")
        bench.daemon({"main": path}, f'host = "127.0.0.1"\nport = {port}')
        bench.child("peer", sys.executable, str(HERE / "peer.py"), peer_path, str(port), "peer")
        lines = {"meterd": ours, "peer": theirs}
        for base, line in lines.items():
            greet(bench, subscriber, base, line)
        start = datetime.now(UTC).replace(microsecond=0)
        # one meter through both runs: registers that began anew would be set aside
        telegrams = enumerate(day(2 * (MOST + WARM_UP), start), int(start.timestamp()))
        steady = measure(lines, subscriber, seconds / 2, 0.0, telegrams)
        rested = measure(lines, subscriber, seconds / 2, REST_S, telegrams)
    return [
        *summary("pty to subscriber", steady, (MUST_P50, MUST_P99, MUST_SHARE)),
        *summary("pty to subscriber after a rest of 20 ms", rested, (None, None, None)),
    ]


def greet(bench: Bench, subscriber: Subscriber, base: str, line: int) -> None:
    """Send telegrams until the first of them arrives: whoever reads is up then."""
    telegram = day(1, datetime.now(UTC).replace(microsecond=0))[0]
    heard: list[str] = []

    def answered() -> bool:
        os.write(line, telegram)
        heard.extend(topic for _, topic, _ in subscriber.drain(0.3))
        return f"{base}/main/reading" in heard

    bench.until(answered, f"a first reading of {base}")


def measure(
    lines: dict[str, int],
    subscriber: Subscriber,
    seconds: float,
    rest_s: float,
    telegrams: Iterator[tuple[int, bytes]],
) -> dict[str, list[float]]:
    """Latencies in ms by base topic; every reading is checked to be the one of its telegram, by the meter's time."""
    found: dict[str, list[float]] = {base: [] for base in lines}
    end = time.monotonic() + seconds
    for n, (at, telegram) in enumerate(islice(telegrams, MOST + WARM_UP)):
        if n >= LEAST + WARM_UP and time.monotonic() > end:
            break
        for base, line in lines.items():
            time.sleep(rest_s)
            os.write(line, telegram)
            written = time.monotonic_ns()
            stamp, topic, payload = subscriber.next()
            assert topic == f"{base}/main/reading", topic
            assert instant(payload) == at, "another telegram's reading arrived"
            if n >= WARM_UP:
                found[base].append((stamp - written) / 1e6)
    return found


def instant(payload: bytes) -> float:
    """The meter's time in either JSON."""
    said = json.loads(payload)
    return datetime.fromisoformat(said.get("t_meter") or said["P1_MESSAGE_TIMESTAMP"]["value"]).timestamp()


def summary(name: str, found: dict[str, list[float]], musts: Sequence[float | None]) -> list[Figure]:
    """Three figures, with the peer's beside them."""
    ours, peer = found["meterd"], found["peer"]
    share = percentile(ours, 0.5) / percentile(peer, 0.5)
    detail = [told(base, values) for base, values in found.items()]
    return [
        Figure(f"{name}, p50", percentile(ours, 0.5), "ms", musts[0], detail=detail),
        Figure(f"{name}, p99", percentile(ours, 0.99), "ms", musts[1]),
        Figure(f"{name}, p50 against dsmr_parser + paho", share, "x", musts[2]),
    ]


def told(base: str, values: list[float]) -> str:
    """The raw output of one side."""
    name = "dsmr_parser + paho" if base == "peer" else base
    shares = ", ".join(f"p{share * 100:.0f} {percentile(values, share):.3f}" for share in (0.5, 0.9, 0.99))
    return f"{name} ms: min {min(values):.3f}, {shares}, max {max(values):.3f} of {len(values)} telegrams"
