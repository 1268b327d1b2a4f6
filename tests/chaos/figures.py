"""The figures of a run: how long until readings flow again, by what stopped them, and what waits for a dead sink."""

from collections import defaultdict
from datetime import datetime
from typing import Any

from tests.chaos.evidence import Evidence, S, Span

#: faults that keep a reading of a meter from the subscriber, whatever meter it is
DAEMON = {"kill", "term", "freeze", "hang"}
BROKER = {"broker_freeze", "broker_kill", "mqtt_reset", "mqtt_hole", "mqtt_slow", "mqtt_puback", "takeover", "all_dead"}


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
    """Seconds from the end of a fault to the next reading, by kind of fault; of a hang, from its beginning.

    Of line and daemon: until a telegram is read; of the broker: until a reading arrives live. Faults of the same way
    that overlap are one: its end is that of the last of them.
    """
    found: dict[str, list[float]] = defaultdict(list)
    arrivals = sorted(row["ns"] for row in seen.live)
    found_out = [row["ns"] for row in seen.timeline if row["event"] == "daemon" and row["what"] == "watchdog"]
    faults = [_hung(span, found_out) if span.kind == "hang" else span for span in seen.faults]
    for span in faults:
        if span.kind == "unplug":
            name = span.target.removeprefix("meter ")
            back = _plugged(seen, span)
            ways, times = _of(faults, DAEMON), _read(seen, name)
        elif span.kind in DAEMON:
            back = span.start if span.kind == "hang" else span.end
            ways, times = _of(faults, DAEMON), _read(seen)
        elif span.kind in BROKER:
            back, ways, times = span.end, _of(faults, DAEMON | BROKER), arrivals
        else:
            continue
        took = _until(back, times, [way for way in ways if way != span])
        if took is not None:
            found[span.kind].append(took)
    return dict(found)


def _until(end: int, times: list[int], ways: list[Span]) -> float | None:
    """Seconds from `end`, or that of what overlaps, to the next of `times`."""
    while True:
        after = next((ns for ns in times if ns > end), None)
        if after is None:
            return None
        later = max((way.end for way in ways if way.start < after and way.end > end), default=end)
        if later == end:
            return (after - end) / S
        end = later


def _hung(span: Span, found_out: list[int]) -> Span:
    """A hang lasts until the watchdog has found it out."""
    return span._replace(end=next((ns for ns in found_out if ns > span.start), span.end))


def _of(faults: list[Span], kinds: set[str]) -> list[Span]:
    return [span for span in faults if span.kind in kinds]


def _read(seen: Evidence, meter: str | None = None) -> list[int]:
    """When telegrams were read, of a meter or of all (ns of the monotonic clock)."""
    first = next(iter(seen.truth.values()))[0]
    ahead = first["sent"] * S - first["sent_ns"]
    rows = [*seen.journal, *(row["item"] for row in seen.live)]
    times = (row["t_rx"] for row in rows if meter in (None, row["meter"]))
    return sorted(int(datetime.fromisoformat(t_rx).timestamp() * S - ahead) for t_rx in times)


def _plugged(seen: Evidence, span: Span) -> int:
    """When a line was plugged in again: the first telegram that could arrive."""
    rows = [row for row in seen.truth[span.target.removeprefix("meter ")] if row["sent_ns"] >= span.start]
    gone = next((row["sent_ns"] for row in rows if row["fault"] == "unplug"), span.end)
    return int(next((row["sent_ns"] for row in rows if row["sent_ns"] > gone and row["arrives"]), span.end))


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


def _p99(values: list[float]) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1)
