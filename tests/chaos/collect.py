"""What a run leaves behind for the oracle, read from outside: status, metrics, files of the stores, both databases.

Written to the run's folder: status.json, metrics.txt, retained.json, export.jsonl, counts.json, points.json.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.chaos.plant import ROOT, Plant
from tests.chaos.servers import DATABASE

ANSWER_S = 60.0
RETAINED_S = 1.5
#: what a sink says of the readings that were stored
TERMS = ("delivered", "pending", "evicted", "dead_letter")


def evidence(plant: Plant) -> None:
    """Collect everything; the daemon is ended in order on the way, so that its files are whole."""
    (plant.folder / "status.json").write_text(json.dumps(plant.status(20)))
    (plant.folder / "metrics.txt").write_text(_metrics(plant.metrics))
    (plant.folder / "retained.json").write_text(json.dumps(_retained(plant)))
    plant.manager.end(signal.SIGTERM)
    (plant.folder / "export.jsonl").write_bytes(_export(plant.config))
    (plant.folder / "counts.json").write_text(json.dumps(counts(plant.state)))
    points = {
        "influxdb": influx_points(plant.databases["influxdb"].port),
        "victoria-metrics": victoria_points(plant.databases["victoria-metrics"].port),
    }
    (plant.folder / "points.json").write_text(json.dumps(points))


def sinks(status: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every part of a status that says where the stored readings are for a sink."""
    if set(TERMS) <= status.keys() and "meters" in status:
        yield path, status
        return
    for name, part in status.items():
        if isinstance(part, Mapping):
            yield from sinks(part, f"{path}.{name}".strip("."))
        elif isinstance(part, list):
            for row in part:
                if isinstance(row, Mapping):
                    yield from sinks(row, f"{path}.{row.get('name', name)}".strip("."))


def is_settled(status: Mapping[str, Any]) -> bool:
    """Nothing is held in RAM, and nothing is pending at any sink."""
    account = status["conservation"] or {"meters": {}}
    held = sum(terms["held"] for terms in account["meters"].values())
    return not held and not status["journal"].get("queued") and all(not terms["pending"] for _, terms in sinks(status))


def counts(state: Path) -> dict[str, Any]:
    """What SQLite itself finds in the files: their integrity, and their rows."""
    found: dict[str, Any] = {}
    for path in sorted(state.glob("*.db")):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found[path.stem] = {
            "integrity": db.execute("PRAGMA integrity_check").fetchone()[0],
            "rows": {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables},
        }
        if "record" in tables:
            rows = db.execute("SELECT meter, count(*), max(id) FROM record GROUP BY meter").fetchall()
            found[path.stem]["by_meter"] = sorted(n for meter, n, _ in rows if meter != 0)
        db.close()
    found["files"] = sorted(path.name for path in state.iterdir())
    return found


def influx_points(port: int) -> dict[str, dict[str, dict[str, int]]]:
    """Item P of InfluxDB: meter -> ms -> field -> value."""
    query = urlencode({"db": DATABASE, "q": "SELECT * FROM item_p GROUP BY meter", "epoch": "ms"})
    with urlopen(f"http://127.0.0.1:{port}/query?{query}", timeout=ANSWER_S) as answer:
        result = json.load(answer)["results"][0]
    found: dict[str, dict[str, dict[str, int]]] = {}
    for series in result.get("series", ()):
        meter = found.setdefault(series["tags"]["meter"], {})
        for row in series["values"]:
            fields = dict(zip(series["columns"], row, strict=True))
            meter[str(fields.pop("time"))] = {name: value for name, value in fields.items() if value is not None}
    return found


def victoria_points(port: int) -> dict[str, dict[str, dict[str, int]]]:
    """The same of VictoriaMetrics, whose metrics are named measurement_field."""
    query = urlencode({"match[]": '{__name__=~"item_p_.+"}', "start": "1970-01-02T00:00:00Z"})
    with urlopen(f"http://127.0.0.1:{port}/api/v1/export?{query}", timeout=ANSWER_S) as answer:
        rows = [json.loads(line) for line in answer]
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        meter = found.setdefault(row["metric"]["meter"], {})
        field = row["metric"]["__name__"].removeprefix("item_p_")
        for at, value in zip(row["timestamps"], row["values"], strict=True):
            meter.setdefault(str(at), {})[field] = int(value)
    return found


def _metrics(port: int) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except (URLError, TimeoutError, ConnectionError):
        return ""


def _retained(plant: Plant) -> list[str]:
    """Topics that a broker hands to somebody who comes later."""
    topics: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set("oracle", (plant.secrets / "oracle").read_text().strip())
    client.on_connect = lambda *_: client.subscribe("#")
    client.on_message = lambda _c, _u, message: topics.append(message.topic) if message.retain else None
    client.connect("127.0.0.1", plant.mosquitto.port)
    deadline = time.monotonic() + RETAINED_S
    while time.monotonic() < deadline:
        client.loop(0.1)
    client.disconnect()
    client.loop(0.1)
    return sorted(set(topics))


def _export(config: Path) -> bytes:
    command = [sys.executable, "-m", "gateway.cli", "export", "-c", str(config)]
    return subprocess.run(command, capture_output=True, check=True, timeout=120, cwd=ROOT).stdout
