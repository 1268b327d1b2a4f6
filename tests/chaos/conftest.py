"""A run that never was, without any fault in the daemon: the smallest evidence that the oracle has nothing against."""

import copy
import json
from datetime import UTC, datetime

import pytest

from tests.chaos.evidence import Evidence, Row, S

BEGAN_S = 1_795_000_000
#: seconds of the run, when it was killed and back again, and when it was calm
END, KILLED, BACK, CALM = 80, 20, 22, 40
STEP = {"p1": 1, "dlms": 2, "sml": 1}
#: what the open group took with it
LOST = range(KILLED - 4, BACK + 1)
#: seconds in which the broker was away
AWAY = range(26, 31)


def _ns(second: float) -> int:
    return int(second * S)


def _utc(second: float) -> str:
    return datetime.fromtimestamp(BEGAN_S + second, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _truth(meter: str, second: int, number: int) -> Row:
    export = 700 if second % 7 == 3 else 0
    watts = 0 if export else 3_600 + second
    item = {
        "p_import_w": watts,
        "p_export_w": export,
        "p_net_w": watts - export,
        "a_import_wh": number,
        "a_export_wh": 35_200,
    }
    return {
        "meter": meter, "id": number, "t": _utc(second)[:19] + "Z", "sent": BEGAN_S + second, "sent_ns": _ns(second),
        "fault": None, "arrives": True, "readers": 1, "possible": True, "item": item,
    }  # fmt: skip


@pytest.fixture
def seen() -> Evidence:
    """Three meters for 80 s: one kill that took an open group, one outage of the broker, one refused row."""
    truth: dict[str, list[Row]] = {}
    live, late, journal = [], [], []
    points: dict[str, dict[str, Row]] = {}
    for base, (meter, step) in enumerate(STEP.items(), 1):
        seconds = range(0, END, step)
        truth[meter] = [_truth(meter, second, base * 1_000_000 + second) for second in seconds]
        for seq, row in enumerate(truth[meter], 1):
            second = row["id"] % 1_000_000
            item = row["item"] | {
                "meter": meter, "seq": seq, "t": row["t"] if meter == "p1" else _utc(second + 0.01),
                "t_source": "meter" if meter == "p1" else "gateway", "t_rx": _utc(second + 0.01),
                "valid_for_s": 3 * step,
                "auth": "verified" if meter == "dlms" else "plain", "quality": "measured",
            }  # fmt: skip
            if KILLED <= second <= BACK:
                continue
            if second not in AWAY:
                live.append(
                    {"ns": _ns(second + 0.02), "wall": BEGAN_S + second + 0.02, "meter": meter, "item": dict(item)}
                )
            if second in LOST:
                continue
            if second in AWAY:
                told = item | {"id": f"00112233-{meter} {seq}"}
                late.append(
                    {"ns": _ns(33), "wall": BEGAN_S + 33, "meter": meter, "item": told, "payload": json.dumps(told)}
                )
            journal.append(dict(item))
            points.setdefault(meter, {})[str((BEGAN_S + second) * 1_000)] = dict(row["item"])
    return Evidence(
        truth=truth, live=live, late=late, messages=[], journal=sorted(journal, key=lambda row: row["t_rx"]),
        points={"influxdb": points, "victoria-metrics": {}}, status=_status(journal), samples=_samples(journal),
        timeline=_timeline(), http=[], counts=_counts(journal), retained=["meterd/status"],
        metrics=_metrics(journal),
    )  # fmt: skip


def _stored(journal: list[Row]) -> dict[str, int]:
    return {meter: sum(row["meter"] == meter for row in journal) for meter in STEP}


def _status(journal: list[Row]) -> Row:
    stored = _stored(journal)
    terms = {name: {"delivered": n, "pending": 0, "evicted": 0, "dead_letter": 0} for name, n in stored.items()}
    sink = {"meters": terms, "delivered": sum(stored.values()), "pending": 0, "evicted": 0, "dead_letter": 0}
    counters = {
        name: {"received": n + 3, "stored": n, "quarantined": 1, "journal_evicted": 0} for name, n in stored.items()
    }
    account = {
        name: {"received": n + 3, "stored": n, "quarantined": 1, "rejected": 2, "held": 0, "lost": 0}
        for name, n in stored.items()
    }
    status: Row = {
        "meters": [{"meter": name, "counters": values} for name, values in counters.items()],
        "mqtt": {"history": sink}, "outputs": [{"name": "influx", "outbox": sink}], "journal": {"queued": 0},
        "conservation": {"meters": account, "sinks": {"mqtt": terms, "influx": terms}},
    }  # fmt: skip
    return copy.deepcopy(status)


def _metrics(journal: list[Row]) -> str:
    lines = ["# HELP meterd_meter_results_total results of the decoder"]
    for name, n in _stored(journal).items():
        values = {
            "meter_results_total": n + 3, "meter_readings_stored_total": n, "meter_readings_quarantined_total": 1,
            "meter_results_rejected_total": 2, "meter_readings_held": 0, "meter_readings_lost_total": 0,
        }  # fmt: skip
        lines += [f'meterd_{metric}{{meter="{name}"}} {float(value)}' for metric, value in values.items()]
        for sink in ("mqtt", "influx"):
            lines.append(f'meterd_sink_readings_delivered_total{{sink="{sink}",meter="{name}"}} {float(n)}')
    return "\n".join([*lines, ""])


def _samples(journal: list[Row]) -> list[Row]:
    return [
        {"ns": _ns(second), "rss_kib": 50_000, "fds": 30, "threads": 8, "disk": 1_000_000, "status": _status(journal)}
        for second in range(4, END, 4)
    ]


def _counts(journal: list[Row]) -> Row:
    by_meter = [sum(row["meter"] == meter for row in journal) for meter in STEP]
    rows = {"record": len(journal), "dead_letter": 0, "quarantine": len(STEP)}
    return {"journal": {"integrity": "ok", "rows": rows, "by_meter": by_meter}, "files": ["journal.db"]}


def _timeline() -> list[Row]:
    kill = {"kind": "kill", "target": "daemon", "at": 20.0}
    broker = {"kind": "broker_kill", "target": "mqtt", "at": 25.0}
    return [
        {"ns": _ns(-2), "event": "daemon", "what": "start"},
        {"ns": _ns(-1), "event": "daemon", "what": "ready"},
        {"ns": _ns(KILLED), "event": "fault", **kill},
        {"ns": _ns(KILLED), "event": "daemon", "what": "SIGKILL"},
        {"ns": _ns(KILLED), "event": "daemon", "what": "ended", "code": -9, "took_s": 0.0},
        {"ns": _ns(KILLED + 1), "event": "daemon", "what": "start"},
        {"ns": _ns(KILLED + 1), "event": "end", **kill},
        {"ns": _ns(BACK), "event": "daemon", "what": "ready"},
        {"ns": _ns(25), "event": "fault", **broker},
        {"ns": _ns(30), "event": "end", **broker},
        {"ns": _ns(CALM), "event": "calm"},
        {"ns": _ns(END), "event": "settled"},
        {"ns": _ns(END + 1), "event": "daemon", "what": "SIGTERM"},
        {"ns": _ns(END + 2), "event": "daemon", "what": "ended", "code": 0, "took_s": 0.3},
    ]
