"""What a run left in its folder, as the oracle reads it: plain rows of JSON, and what follows from the timeline."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]
S = 1_000_000_000


class Span(NamedTuple):
    """Something that lasted, in ns of the monotonic clock."""

    start: int
    end: int
    kind: str
    target: str

    def near(self, ns: int, before_s: float = 0.0, after_s: float = 0.0) -> bool:
        """Whether `ns` lies in it, or so long before or after."""
        return self.start - before_s * S <= ns <= self.end + after_s * S


class Life(NamedTuple):
    """One life of the daemon: ready and ended (ns), and by which signal."""

    ready: int
    end: int
    by: str


@dataclass
class Evidence:
    """Everything that was seen. Live and late readings are rows {ns, wall, meter, item}."""

    truth: dict[str, list[Row]]
    live: list[Row]
    late: list[Row]
    messages: list[Row]
    journal: list[Row]
    points: dict[str, dict[str, dict[str, Row]]]
    status: Row
    samples: list[Row]
    timeline: list[Row]
    http: list[Row]
    counts: Row
    retained: list[str]
    metrics: str
    #: what was found where it must not be: places of secrets
    leaks: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[Span]:
        """What was done, and to whom."""
        begun: dict[tuple[str, str, float], int] = {}
        spans = []
        for row in self.timeline:
            key = (row.get("kind"), row.get("target"), row.get("at"))
            if row["event"] == "fault":
                begun[key] = row["ns"]
            elif row["event"] == "end":
                spans.append(Span(begun[key], row["ns"], row["kind"], row["target"]))
        return sorted(spans)

    @property
    def lives(self) -> list[Life]:
        """When the daemon lived."""
        lives, ready, stopped = [], None, 0
        for row in self.timeline:
            if row["event"] != "daemon":
                continue
            if row["what"] == "ready":
                ready = ready or row["ns"]
            elif row["what"] == "SIGSTOP":
                stopped = row["ns"]
            elif row["what"] in ("SIGKILL", "SIGTERM", "watchdog") and ready:
                # what hangs does nothing any more
                lives.append(Life(ready, stopped if row["what"] == "watchdog" else row["ns"], row["what"]))
                ready = None
        return lives

    def moment(self, event: str) -> int:
        """When an event was, ns."""
        return int(next(row["ns"] for row in self.timeline if row["event"] == event))


def load(folder: Path) -> Evidence:
    """Read a folder."""
    messages = _rows(folder / "mqtt.jsonl")
    truth: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("truth-*.jsonl")):
        truth[path.stem.removeprefix("truth-")] = _rows(path)
    return Evidence(
        truth=truth,
        live=_readings(messages, "reading"),
        late=_readings(messages, "backfill/reading"),
        messages=messages,
        journal=_rows(folder / "export.jsonl"),
        points=_json(folder / "points.json"),
        status=_json(folder / "status.json") or {"meters": [], "conservation": None},
        samples=_rows(folder / "samples.jsonl"),
        timeline=_rows(folder / "timeline.jsonl"),
        http=_rows(folder / "http.jsonl"),
        counts=_json(folder / "counts.json"),
        retained=_json(folder / "retained.json"),
        metrics=(folder / "metrics.txt").read_text(),
    )


def by_number(rows: list[Row]) -> dict[tuple[str, int], list[Row]]:
    """Rows of truth by meter and secret number."""
    found: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["meter"], row["id"]].append(row)
    return found


def _readings(messages: list[Row], end: str) -> list[Row]:
    found = []
    for row in messages:
        parts = row.get("topic", "").split("/", 2)
        if len(parts) == 3 and parts[0] == "meterd" and parts[2] == end:
            found.append({**row, "meter": parts[1], "item": json.loads(row["payload"])})
    return found


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
