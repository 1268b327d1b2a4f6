"""Virtual P1 with 20 clients, one of them frozen: from a pseudo-terminal to the last of the others, and to MQTT.

Two daemons read telegrams in turns, one with the output and its clients and one without. Measured from the return of
the write of a whole telegram to the read that completes the telegram at a client, in a process of its own.
"""

import json
import os
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from latency import greet, instant, told
from processes import Bench, Subscriber, answers, free_port
from report import Figure, percentile
from streams import day

from gateway.control import ask

MUST_P99, MUST_MQTT = 5.0, 1.1
READERS = 19
#: telegrams are a second apart; half an hour ahead a clock would be one of another zone (docs/decisions/0004)
WARM_UP, LEAST, MOST = 60, 300, 1_600


def figures(seconds: float) -> list[Figure]:
    """p50 and p99 in ms of the clients, and p50 and p99 of MQTT with the output against without."""
    with Bench() as bench, Bench() as plain, ExitStack() as stack:
        port, virtual = bench.broker(), free_port()
        (line, path), (plain_line, plain_path) = (stack.enter_context(bench.pty()) for _ in range(2))
        subscriber = bench.subscriber(port, "+/main/reading")
        broker = f'host = "127.0.0.1"\nport = {port}\n'
        output = f'[[virtual_p1]]\nmeter = "main"\nlisten = "127.0.0.1:{virtual}"\n'
        bench.daemon({"main": path}, broker + output)
        plain.daemon({"main": plain_path}, broker + 'base = "plain"\n')
        bench.until(lambda: answers(virtual), "the virtual P1")
        readers = bench.readers(virtual, READERS)
        lines = {"meterd": line, "plain": plain_line}
        for base, one in lines.items():
            greet(bench, subscriber, base, one)
        readers.drain(0.3)
        clients, mqtt = measure(lines, subscriber, readers, seconds)
        status = ask(bench.folder / "control", "status")["outputs"][0]
    return summary(clients, mqtt, status)


def measure(
    lines: dict[str, int], subscriber: Subscriber, readers: Subscriber, seconds: float
) -> tuple[list[float], dict[str, list[float]]]:
    """Latencies in ms of all clients, and of MQTT by base topic; every telegram is checked to be the one sent."""
    clients: list[float] = []
    mqtt: dict[str, list[float]] = {base: [] for base in lines}
    start = datetime.now(UTC).replace(microsecond=0)
    end = time.monotonic() + seconds
    for n, telegram in enumerate(day(MOST, start)):
        if n >= LEAST + WARM_UP and time.monotonic() > end:
            break
        for base, line in lines.items():
            os.write(line, telegram)
            written = time.monotonic_ns()
            stamp, topic, payload = subscriber.next()
            assert topic == f"{base}/main/reading", topic
            assert instant(payload) == start.timestamp() + n, "another telegram's reading arrived"
            found = [readers.next() for _ in range(READERS if base == "meterd" else 0)]
            expected = stamp_of(start + timedelta(seconds=n))
            assert {said for _, _, said in found} <= {expected}, "another telegram arrived"
            if n >= WARM_UP:
                mqtt[base].append((stamp - written) / 1e6)
                clients += ((at - written) / 1e6 for at, _, _ in found)
    return clients, mqtt


def stamp_of(t: datetime) -> bytes:
    """The time that a telegram of the Netherlands says."""
    local = t.astimezone(ZoneInfo("Europe/Amsterdam"))
    return f"{local:%y%m%d%H%M%S}{'S' if local.dst() else 'W'}".encode()


def summary(clients: list[float], mqtt: dict[str, list[float]], status: dict[str, object]) -> list[Figure]:
    """Four figures with their raw output."""
    counts = {name: status[name] for name in ("clients", "sent", "skipped", "dropped", "refused")}
    detail = [told("client", clients), f"the output counts {json.dumps(counts)}"]
    ratios = [percentile(mqtt["meterd"], share) / percentile(mqtt["plain"], share) for share in (0.5, 0.99)]
    return [
        Figure("virtual P1, 20 clients, one frozen, p50", percentile(clients, 0.5), "ms", detail=detail),
        Figure("virtual P1, 20 clients, one frozen, p99", percentile(clients, 0.99), "ms", MUST_P99),
        Figure(
            "MQTT beside it, p50 against without virtual P1",
            ratios[0],
            "x",
            MUST_MQTT,
            detail=[f"{'with' if base == 'meterd' else 'without'}: {told(base, mqtt[base])}" for base in mqtt],
        ),
        Figure("MQTT beside it, p99 against without virtual P1", ratios[1], "x"),
    ]
