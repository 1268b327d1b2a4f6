"""The figures of a run: how long until readings flow again, by what stopped them, and what waits for a dead sink."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from tests.chaos.evidence import Evidence, S, Span

#: faults that keep a reading of a meter from the subscriber, whatever meter it is
DAEMON = {"kill", "term", "freeze", "hang"}
BROKER = {"broker_freeze", "broker_kill", "mqtt_reset", "mqtt_hole", "mqtt_slow", "mqtt_puback", "takeover", "all_dead"}
#: a fault that ended so much earlier (s) may still be felt; then the later one is not measured
FELT_S = 3.0


def measured(seen: Evidence) -> dict[str, Any]:
    """All figures, as numbers."""
    worst: dict[str, float] = {}
    for kind, times in recoveries(seen).items():
        worst[kind] = round(max(times), 2)
    return {
        "recovery_s": worst,
        "recoveries": {kind: len(times) for kind, times in recoveries(seen).items()},
        "read_p99_ms": {name: _p99(values) for name, values in reading_ms(seen).items()},
        "telegrams": sum(len(rows) for rows in seen.truth.values()),
        "stored": len(seen.journal),
        "live": len(seen.live),
        "late": len(seen.late),
        "points": sum(len(points) for server in seen.points.values() for points in server.values()),
        "reconnections": sum(row["event"] == "daemon" and row["what"] == "start" for row in seen.timeline),
        "rss_mib": round(max((row.get("rss_kib", 0) for row in seen.samples), default=0) / 1024, 1),
        "fds": max((row.get("fds", 0) for row in seen.samples), default=0),
        "threads": max((row.get("threads", 0) for row in seen.samples), default=0),
        "looks": sum(bool(row.get("status")) for row in seen.samples),
    }


def recoveries(seen: Evidence) -> dict[str, list[float]]:
    """Seconds from the end of a fault to the next live reading of a meter that it kept away, by kind of fault.

    What another fault of the same way overlaps, or begins before, is left out: nobody knows which of them it was.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for meter in seen.truth:
        arrivals = [row["ns"] for row in seen.live if row["meter"] == meter]
        ways = [span for span in _spans(seen) if span.target == f"meter {meter}" or span.kind in DAEMON | BROKER]
        for span in ways:
            if any(one is not span and one.near(span.end, 0, FELT_S) for one in ways):
                continue
            after = next((ns for ns in arrivals if ns > span.end), None)
            if after is not None and not any(span.end < one.start < after for one in ways):
                found[span.kind].append((after - span.end) / S)
    return dict(found)


def reading_ms(seen: Evidence) -> dict[str, list[float]]:
    """Milliseconds from the last octet that left a meter to its reading: while every sink is dead, and in calm."""
    sent = {(row["meter"], row["id"]): row for rows in seen.truth.values() for row in rows if row["fault"] is None}
    dead = [span for span in seen.faults if span.kind == "all_dead"]
    busy = [span for span in seen.faults if span.kind in DAEMON | {"disk_full", "flood", "unplug", "noise"}]
    calm = seen.moment("calm")
    found: dict[str, list[float]] = {"dead": [], "calm": []}
    for row in seen.journal:
        one = sent.get((row["meter"], row.get("a_import_wh")))
        if one is None or any(span.near(one["sent_ns"], 1, 4) for span in busy):
            continue
        took = (datetime.fromisoformat(row["t_rx"]).timestamp() - one["sent"]) * 1e3
        if any(span.near(one["sent_ns"], -0.5, -0.1) for span in dead):
            found["dead"].append(took)
        elif one["sent_ns"] > calm:
            found["calm"].append(took)
    return {name: values for name, values in found.items() if values}


def _spans(seen: Evidence) -> list[Span]:
    """The faults, an unplugged line until it was plugged in, a hang from its start: the watchdog has to find it."""
    spans = []
    for span in seen.faults:
        end = span.end
        if span.kind == "hang":
            end = span.start
        if span.kind == "unplug":
            rows = seen.truth[span.target.removeprefix("meter ")]
            gone = [row["sent_ns"] for row in rows if row["fault"] == "unplug" and row["sent_ns"] >= span.start]
            back = [row["sent_ns"] for row in rows if gone and row["sent_ns"] > gone[0] and row["arrives"]]
            end = back[0] if back else span.end
        spans.append(span._replace(end=end))
    return spans


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1)
