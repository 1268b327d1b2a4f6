"""`make chaos`: a daemon among faults, then the oracle's verdict, in a process of its own (docs/chaos.md).

The seed is printed first and makes the whole schedule; `--seed` has a run again.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from secrets import randbelow
from typing import Any

from tests.chaos import collect, faults, schedule
from tests.chaos.plant import ROOT, Plant

PAGE = ROOT / "docs" / "measured" / "chaos.md"
#: s after the last fault within which every sink must have a fresh reading and no backlog
SETTLED_S = 60.0


def run(plant: Plant, seconds: float, only: Collection[str] = ()) -> Counter[str]:
    """Have a run, and leave its evidence in the plant's folder; gives the faults that were made, by kind."""
    planned = schedule.plan(plant.seed, seconds, only)
    made: Counter[str] = Counter()
    try:
        plant.start()
        plant.record(event="begin", seed=plant.seed, seconds=seconds)
        for fault in _played(plant, planned, seconds):
            made[fault.kind] += 1
        plant.record(event="calm")
        time.sleep(max(schedule.LAST_S, schedule.LAST * seconds))
        settle(plant)
        collect.evidence(plant)
    finally:
        plant.close()
    return made


def _played(plant: Plant, planned: list[schedule.Planned], seconds: float) -> list[schedule.Planned]:
    """Begin and end each fault in time; half-way the database is changed for the other one."""
    began = time.monotonic()
    switch_at = began + seconds / 2
    waiting = sorted(planned, key=lambda fault: fault.at)
    running: list[tuple[schedule.Planned, faults.End]] = []
    made = []
    while waiting or running:
        now = time.monotonic()
        if now >= switch_at and not any("influx" in fault.target for fault, _ in running):
            plant.switch("victoria-metrics")
            switch_at = float("inf")
        for pair in [pair for pair in running if pair[0].end <= now - began]:
            running.remove(pair)
            pair[1]()
            plant.record(event="end", **pair[0]._asdict())
        for fault in [fault for fault in waiting if fault.at <= now - began]:
            waiting.remove(fault)
            plant.record(event="fault", **fault._asdict())
            running.append((fault, faults.BEGIN[fault.kind](plant, fault)))
            made.append(fault)
        time.sleep(0.02)
    return made


def settle(plant: Plant) -> None:
    """Wait until nothing is held and nothing is pending; what is still so after SETTLED_S the oracle will find."""
    plant.record(event="settling")
    time.sleep(2)
    plant.meters.end()
    plant.record(event="silent")
    deadline = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline:
        status = plant.status()
        if status and collect.is_settled(status):
            break
        time.sleep(0.5)
    plant.record(event="settled")


def judge(folder: Path) -> dict[str, Any]:
    """The verdict of the oracle, a process of its own."""
    command = [sys.executable, "-m", "tests.chaos.oracle", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=False, timeout=300)
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def main() -> int:
    """Run, judge, print, write the page; 1 when there is a violation or a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults are made (600)")
    parser.add_argument("--seed", type=int, help="have the run of this seed again")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="these kinds of fault, by comma")
    parser.add_argument("--defect", help="plant a defect into the daemon (defects.py)")
    parser.add_argument("--no-mount", action="store_true", help="make no file system, as where we are not root")
    parser.add_argument("--keep", type=Path, help="keep the evidence in this new folder")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    args = parser.parse_args()
    seed = randbelow(1_000_000) if args.seed is None else args.seed
    print(f"seed {seed}: {len(schedule.plan(seed, args.seconds, args.only))} faults in {args.seconds:g} s", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = args.keep or Path(tempfile.mkdtemp(prefix="meterd-chaos-"))
    folder.mkdir(exist_ok=True)
    try:
        made = run(Plant(folder, seed, args.defect, mounts=not args.no_mount), args.seconds, args.only)
        verdict = judge(folder)
        (folder / "verdict.json").write_text(json.dumps(verdict))
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    from tests.chaos import page

    text = page.page(made, verdict, seed, args.seconds)
    print(text)
    if args.seconds >= page.WHOLE_S or args.out != PAGE:
        args.out.write_text(text)
    return 0 if page.is_good(made, verdict, args.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
