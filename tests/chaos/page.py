"""What a run says: its figures and what they must be, faults by kind, violations; as a page of docs/measured."""

import datetime as dt
from collections import Counter
from typing import Any

from tests.bench.report import Figure, machine, table
from tests.chaos.schedule import KINDS

#: from this duration on (s) the figures of issue 6 are asked for
WHOLE_S = 600.0
FAULTS, KILLS = 150, 20
#: recovery -> its kinds of fault, and the most it may take (s)
MUST: dict[str, tuple[tuple[str, ...], float]] = {
    "replug": (("unplug",), 15.0),
    "broker back": (("broker_kill", "broker_freeze", "mqtt_reset", "all_dead"), 30.0),
    "half-open connection": (("mqtt_hole",), 30.0),
    "process killed": (("kill",), 10.0),
    "process hangs": (("hang",), 35.0),
}
READ_P99_MS = 50.0


def figures(made: Counter[str], verdict: dict[str, Any], seconds: float) -> list[Figure]:
    """The figures of a run; a short one is held to its violations only."""
    whole = seconds >= WHOLE_S
    measured = verdict["figures"]
    found = [
        Figure("violations", verdict["count"], "", 0.0),
        Figure("faults", made.total(), "", FAULTS if whole else None, rises=True),
        Figure("kinds of fault", len(made), "", 20.0, rises=True),
        Figure("kill -9 of the daemon", made["kill"], "", KILLS if whole else None, rises=True),
    ]
    for name, (kinds, most) in MUST.items():
        times = [measured["recovery_s"][kind] for kind in kinds if kind in measured["recovery_s"]]
        count = sum(measured["recoveries"].get(kind, 0) for kind in kinds)
        if times:
            found.append(Figure(f"{name}: next reading, worst of {count}", max(times), "s", most if whole else None))
    for name, value in measured["read_p99_ms"].items():
        text = "sent to read, p99, every sink dead" if name == "dead" else "sent to read, p99, no fault"
        found.append(Figure(text, value, "ms", READ_P99_MS if whole and name == "dead" else None))
    names = {
        "telegrams": "",
        "stored": "",
        "live": "",
        "late": "",
        "points": "",
        "rss_mib": "MiB",
        "fds": "",
        "threads": "",
    }
    words = {"live": "published live", "late": "published late", "rss_mib": "memory, most", "fds": "descriptors, most",
             "threads": "threads, most", "points": "points in databases", "telegrams": "telegrams sent"}  # fmt: skip
    return found + [Figure(words.get(name, name), measured[name], unit) for name, unit in names.items()]


def is_good(made: Counter[str], verdict: dict[str, Any], seconds: float) -> bool:
    """No violation, and every figure that is asked for."""
    return all(figure.reached is not False for figure in figures(made, verdict, seconds))


def page(made: Counter[str], verdict: dict[str, Any], seed: int, seconds: float) -> str:
    """The page."""
    kinds = [f"| {name} | {made[name]} | {_recovery(name, verdict['figures'])} |" for name in KINDS if made[name]]
    wrong = [f"{check}: {text}" for check, texts in verdict["violations"].items() for text in texts]
    return "\n".join(
        [
            "# Measured: chaos", "",
            f"- command: `make chaos SECONDS={seconds:g} SEED={seed}`",
            f"- date: {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
            f"- machine: {machine()}", f"- seed: {seed}", "",
            "What is injected and how it is judged: [chaos.md](../chaos.md).", "",
            *table(figures(made, verdict, seconds)), "",
            "| fault | times | next reading after its end, worst |", "|---|---|---|", *kinds, "",
            *(["```", *wrong, "```", ""] if wrong else []),
        ]
    )  # fmt: skip


def _recovery(kind: str, measured: dict[str, Any]) -> str:
    worst = measured["recovery_s"].get(kind)
    return "" if worst is None else f"{worst:.1f} s"
