"""Defects that are planted into the daemon itself: each is a run of its own, in which the oracle must find it.

`python -m tests.chaos.defects` has a short run for each, prints which check found it, and exits 1 when one was missed.
`python -m tests.chaos.defects NAME run -c FILE` is the daemon with that defect (`chaos.py --defect NAME` starts it).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

SECONDS, SEED = 75, 5
ROOT = Path(__file__).resolve().parents[2]


def settles_before_the_answer() -> None:
    """The database sink takes every trouble for an answer."""
    from gateway.sinks import influx_courier
    from gateway.sinks.influx_answers import Accepted, Refused, Trouble

    begin = influx_courier.Courier.__init__

    def trusting(self: Any, outbox: Any, points: Any, post: Any, batch: int) -> None:
        def answered(body: bytes) -> Any:
            answer = post(body)
            return Accepted() if isinstance(answer, Trouble | Refused) else answer

        begin(self, outbox, points, answered, batch)

    influx_courier.Courier.__init__ = trusting  # type: ignore[method-assign]


def forgets_late_readings() -> None:
    """The broker sink takes every reading for published."""
    from gateway.sinks.proven import Proven

    Proven.has = lambda *_: True  # type: ignore[method-assign, assignment]


def publishes_what_waited() -> None:
    """What waited in the terminal while the process stood still is news."""
    from gateway import standstill

    standstill.STOOD_STILL_S = 1e9


def believes_everything() -> None:
    """Values that cannot be are believed."""
    from gateway import plausibility

    plausibility.Plausibility.judge = lambda *_: None  # type: ignore[method-assign, assignment]


def accepts_replays() -> None:
    """The invocation counter is not looked at."""
    from gateway.trust import Trust

    Trust.admit = lambda *_: (None, None)  # type: ignore[method-assign, assignment]


def commits_once_a_minute() -> None:
    """A kill takes more than it may."""
    from gateway import opening

    opening.GROUP_S["normal"] = 60.0


def leaves_the_open_group_behind() -> None:
    """An end in order loses what is not committed."""
    from gateway.stores.journal import Journal

    Journal.close = lambda self, *_: self._writer.stop() or True  # type: ignore[method-assign, assignment]


def adds_a_watt() -> None:
    """One reading in ten is a watt off."""
    from gateway import item_p, meter

    right = item_p.stamp

    def wrong(reading: Any, *args: Any, seq: int, **rest: Any) -> Any:
        off = seq % 10 == 0 and reading.p_import_w is not None
        return right(replace(reading, p_import_w=reading.p_import_w + off), *args, seq=seq, **rest)

    meter.stamp = wrong  # type: ignore[attr-defined]


def counts_one_too_many() -> None:
    """One fault or reading in ten is counted twice."""
    from gateway.telemetry import MeterCounters

    right = MeterCounters.add

    def wrong(self: Any, name: str, n: int = 1) -> None:
        right(self, name, n + (name == "received" and self.values[name] % 10 == 9))

    MeterCounters.add = wrong  # type: ignore[method-assign]


def logs_the_key() -> None:
    """The log quotes a key."""
    keys = Path(sys.argv[-1]).parents[1] / "secrets" / "ek"
    sys.stderr.write(f"level=debug event=key value={keys.read_text().strip().upper()}\n")


def waits_for_a_dead_broker() -> None:
    """The loop waits for the broker."""
    import time

    from gateway.sinks.mqtt_connector import Connector

    right = Connector.fail

    def wrong(self: Any, reason: str) -> None:
        time.sleep(8)
        right(self, reason)

    Connector.fail = wrong  # type: ignore[method-assign]


#: faults that leave line and daemon alone, so that it lives long enough between two others
QUIET = ("influx_503", "influx_late", "influx_lost", *3 * ("slow_client", "slow_metrics"))


class Defect(NamedTuple):
    """A defect: how it is planted, which checks may find it, and the faults that bring it out."""

    plant: Callable[[], None]
    checks: tuple[str, ...]
    faults: tuple[str, ...]


DEFECTS: dict[str, Defect] = {
    one.plant.__name__: one
    for one in (
        Defect(settles_before_the_answer, ("obligations",), ("influx_503", "influx_refused", "influx_kill")),
        Defect(forgets_late_readings, ("obligations",), ("broker_kill", "mqtt_reset", "mqtt_hole")),
        Defect(publishes_what_waited, ("stale",), ("freeze", "influx_late")),
        Defect(believes_everything, ("issued",), ("implausible",)),
        Defect(accepts_replays, ("kept", "issued"), ("replay",)),
        Defect(commits_once_a_minute, ("kept",), ("kill", *QUIET)),
        Defect(leaves_the_open_group_behind, ("kept",), ("term", *QUIET)),
        Defect(adds_a_watt, ("payload",), ("mqtt_reset",)),
        Defect(counts_one_too_many, ("conservation",), ("noise",)),
        Defect(logs_the_key, ("secrecy",), ("reload_good",)),
        Defect(waits_for_a_dead_broker, ("reading",), ("broker_kill", *QUIET)),
    )
}


def run(name: str) -> set[str]:
    """Have a run with a defect; gives the checks that found something."""
    with tempfile.TemporaryDirectory(prefix="meterd-defect-") as folder:
        options = ["--seconds", str(SECONDS), "--seed", str(SEED), "--defect", name, "--keep", f"{folder}/run"]
        command = [sys.executable, "-m", "tests.chaos.chaos", *options, "--only", ",".join(DEFECTS[name].faults)]
        subprocess.run(
            [*command, "--out", f"{folder}/page.md"], cwd=ROOT, capture_output=True, check=False, timeout=400
        )
        verdict = json.loads((Path(folder) / "run" / "verdict.json").read_text())
        return set(verdict["violations"])


def main() -> int:
    """Every defect, or those that are named."""
    missed = []
    for name in sys.argv[1:] or DEFECTS:
        found = run(name)
        is_found = bool(found & set(DEFECTS[name].checks))
        print(f"{name}: {'found' if is_found else 'MISSED'} by {', '.join(sorted(found)) or 'nothing'}", flush=True)
        missed += [] if is_found else [name]
    return 1 if missed else 0


if __name__ == "__main__":
    if "run" in sys.argv:
        DEFECTS[sys.argv.pop(1)].plant()
        from gateway.cli import main as daemon

        sys.exit(daemon(sys.argv[1:]))
    sys.exit(main())
