"""Many P1 meters at 1 Hz over TCP in one daemon: what arrives at a subscriber, and what it costs."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from processes import Bench, cpu_s, memory_mb
from report import Figure, percentile

#: meters of one simulator process
GROUP = 50
LEAST_S = 35
#: s after the first reading from which every telegram must arrive: until then meters and broker are being connected
SETTLED_S = 3
QUIET_S = 3.0
VALUES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "t_meter")


@dataclass
class Run:
    """What a run gave: latencies in ms by (meter, time), what went wrong, and what it cost."""

    expected: int
    lost: int
    wrong: int
    latency_ms: list[float]
    readings: int
    seconds: float
    cpu_s: float
    memory_mb: float


def figures(seconds: float) -> list[Figure]:
    """50 meters, of which none may lose a telegram, then 200 to compare with."""
    fifty = run(50, max(LEAST_S, int(seconds * 0.55)))
    most = run(200, max(LEAST_S // 2, int(seconds * 0.25)))
    return [
        Figure("50 meters at 1 Hz, readings lost or wrong", fifty.lost + fifty.wrong, "", 0.0, detail=told(fifty)),
        Figure("50 meters at 1 Hz, share of one core", fifty.cpu_s / fifty.seconds * 100, "%"),
        Figure("200 meters at 1 Hz, readings lost or wrong", most.lost + most.wrong, "", detail=told(most)),
        Figure("200 meters at 1 Hz, share of one core", most.cpu_s / most.seconds * 100, "%"),
        Figure("processor time per reading, 200 meters against 50", per_reading(most) / per_reading(fifty), "x"),
    ]


def run(meters: int, seconds: int) -> Run:
    """Run simulators, daemon and subscriber for so many telegrams of each meter."""
    with Bench() as bench:
        port = bench.broker("max_queued_messages 0")
        subscriber = bench.subscriber(port, "+/+/reading")
        ports, truths = simulators(bench, meters, seconds)
        daemon = bench.daemon(ports, f'host = "127.0.0.1"\nport = {port}')
        first = subscriber.next()
        cpu = cpu_s(daemon.pid)
        found = [first, *subscriber.drain(QUIET_S)]
        spent, memory = cpu_s(daemon.pid) - cpu, memory_mb(daemon.pid)[0]
        rows = [json.loads(line) for truth in truths for line in truth.read_text().splitlines()]
    arrived = {key(json.loads(payload)): (stamp, json.loads(payload)) for stamp, _, payload in found}
    expected = [row for row in rows if row["readers"] and row["sent_ns"] > first[0] + SETTLED_S * 10**9]
    pairs = [(row, arrived.get((f"m{row['seed']}", row["item_p"]["t"]))) for row in expected]
    return Run(
        expected=len(expected),
        lost=sum(pair is None for _, pair in pairs),
        wrong=sum(pair is not None and any(pair[1].get(k) != row["item_p"][k] for k in VALUES) for row, pair in pairs),
        latency_ms=[(pair[0] - row["sent_ns"]) / 1e6 for row, pair in pairs if pair],
        readings=len(found),
        seconds=(found[-1][0] - first[0]) / 1e9,
        cpu_s=spent,
        memory_mb=memory,
    )


def simulators(bench: Bench, meters: int, telegrams: int) -> tuple[dict[str, str], list[Path]]:
    """Start servers of at most 50 meters each; gives the ports by meter name and the files with the truth."""
    ports: dict[str, str] = {}
    truths = []
    for seed in range(1, meters + 1, GROUP):
        truth, name, size = bench.folder / f"truth-{seed}.jsonl", f"simulator-{seed}", min(GROUP, meters + 1 - seed)
        options = ["--tcp", "127.0.0.1:0", "--meters", str(size), "--seed", str(seed), "--json"]
        limits = ["--count", str(telegrams), "--truth", str(truth)]
        bench.child(name, sys.executable, "-m", "gateway.cli", "simulate", *options, *limits)
        bench.until(lambda name=name, size=size: bench.said(name).count("\n") >= size, name)
        ports |= {f"m{(row := json.loads(line))['seed']}": row["port"] for line in bench.said(name).splitlines()}
        truths.append(truth)
    return ports, truths


def key(item: dict[str, str]) -> tuple[str, str]:
    """What tells a reading from every other one."""
    return item["meter"], item["t"]


def per_reading(of: Run) -> float:
    """Milliseconds of processor time of one reading."""
    return of.cpu_s / of.readings * 1e3


def told(of: Run) -> list[str]:
    """The raw output of a run."""
    return [
        f"{of.readings} readings in {of.seconds:.1f} s; of {of.expected} telegrams {of.lost} lost, {of.wrong} wrong",
        f"processor {of.cpu_s:.2f} s, {per_reading(of):.3f} ms per reading; memory {of.memory_mb:.1f} MB",
        f"sent to subscriber ms: p50 {percentile(of.latency_ms, 0.5):.1f}, p99 {percentile(of.latency_ms, 0.99):.1f}",
    ]
