"""`make hubs`: 100,000 messages to three test hubs at once, among every fault, with the uploader killed at random.

What the hubs took over is their own record, judged by an oracle that shares no code with either side (oracle.py): one
effect for each version of each point's day that was sent, the newest there at the end, nothing else. Corrections come
meanwhile, as validation brings them. An operator who looks in now and then sends rejected messages again.
"""

import argparse
import datetime as dt
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.report import Figure, page, table
from tests.chaos.plant import ROOT
from tests.hubfleet.fill import Filler
from tests.hubfleet.oracle import Verdict, judge
from tests.hubfleet.plant import HUBS, Plant
from tests.hubfleet.truth import Fleet, last_day
from tests.sizes import HUB_KILLS, HUB_MESSAGES

PAGE = ROOT / "docs" / "measured" / "hubs.md"
DAYS = 60
#: of all slots of a hub, so many are corrected while others are on their way
CORRECTED = 0.05
#: the chance of each fault in each request while the run lasts
FAULTS: dict[str, float | str] = {
    "drop_request": 0.003,
    "drop_response": 0.003,
    # a hub that confirms and then loses cannot be found out; the one that says more later can
    "lost": "0.003@ee",
    "duplicate": 0.005,
    "slow": 0.0003,
    "error": 0.003,
    "error_after": 0.002,
    "overload": 0.001,
    "overload_date": 0.001,
    "expired_token": 0.001,
    "error_in_200": 0.001,
    "garbage": 0.001,
    "encoding": 0.0005,
    "huge": 0.0002,
    "bomb": 0.0005,
    "stranger": 0.001,
}
#: what the fault `error` answers, another one after each kill
STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504)
#: between two kills, and between two looks of the operator (s)
KILL_S, LOOK_S = (2.0, 20.0), 15.0
#: how long the rest may take once the faults are over (s)
END_S = 600.0


@dataclass
class Run:
    """What a run did and found."""

    least_kills: int
    messages: int = 0
    kills: int = 0
    corrections: int = 0
    seconds: float = 0.0
    effects: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def run(folder: Path, messages: int, seconds: float, seed: int, kills: int) -> Run:
    """One run of at least so many kills; `messages` have to arrive in all, without those that are sent again."""
    dice = random.Random(seed)
    points = -(-messages // DAYS)
    fleet = Fleet(seed, points, last_day() - dt.timedelta(DAYS - 1), DAYS, "PT1H", tuple(HUBS))
    plant, found = Plant(folder, fleet), Run(least_kills=kills)
    filler = Filler(plant.ledger, fleet)
    began = time.monotonic()
    try:
        filler.fill()
        plant.start_hub(
            "--seed", str(seed), *(part for name, p in FAULTS.items() for part in ("--fault", f"{name}={p}"))
        )
        plant.configure(bundle=1, timeout_s=5, confirm_after_s=5, inbox_s=2)
        began = time.monotonic()
        _storm(plant, filler, dice, seconds, found)
        _calm(plant, fleet, found)
        found.seconds = time.monotonic() - began
        _judge(plant, fleet, found)
    finally:
        plant.close()
        filler.close()
    return found


def _storm(plant: Plant, filler: Filler, dice: random.Random, seconds: float, found: Run) -> None:
    """Faults, kills and corrections until everything that was there is sent, or the time is over."""
    slots = sorted(filler.fleet.versions)
    to_correct = dice.sample(slots, int(len(slots) * CORRECTED))
    end = time.monotonic() + seconds
    stop = threading.Event()
    operator = threading.Thread(target=_operate, args=(plant, stop))
    operator.start()
    try:
        plant.start_uploader()
        while time.monotonic() < end:
            _pass(dice.uniform(*KILL_S), to_correct, filler, seconds / max(1, len(to_correct)), found)
            plant.kill_uploader()
            plant.ask("/control/faults", {"error": {"p": FAULTS["error"], "value": dice.choice(STATUSES)}})
            plant.start_uploader()
            if plant.kills >= found.least_kills and not to_correct and _quiet(plant):
                break
    finally:
        stop.set()
        operator.join()
    found.kills = plant.kills


def _pass(pause_s: float, to_correct: list[tuple[int, int]], filler: Filler, step_s: float, found: Run) -> None:
    """Let time pass; corrections come at an even pace."""
    end = time.monotonic() + pause_s
    while (left := end - time.monotonic()) > 0:
        if to_correct:
            filler.correct(*to_correct.pop())
            found.corrections += 1
        time.sleep(min(left, max(step_s, 0.001) if to_correct else left))


def _operate(plant: Plant, stop: threading.Event) -> None:
    """What a person does: send again what a hub refused without reason, and go on where it locked us out."""
    while not stop.wait(LOOK_S):
        for hub in plant.hubs:
            plant.meterd("hub", "retry", hub, "--parked", "-c", str(plant.config))


def _calm(plant: Plant, fleet: Fleet, found: Run) -> None:
    """No faults any more: everything has to arrive, what was corrected last, too."""
    plant.ask("/control/faults", dict.fromkeys(FAULTS))
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        for hub in plant.hubs:
            plant.meterd("hub", "retry", hub, "--parked", "-c", str(plant.config))
        if _quiet(plant) and not any(verdict.overdue for verdict in _verdicts(plant, fleet)):
            break
        time.sleep(2)
    else:
        found.violations.append(f"not quiet after {END_S:.0f} s: {json.dumps(plant.status())[:1_000]}")


def _quiet(plant: Plant) -> bool:
    """Nothing is open, parked or still to be made, twice in a row."""
    for _ in range(2):
        if any(hub["open"] or hub["parked"] or hub["wanted"] for hub in plant.status()["hubs"]):
            return False
        time.sleep(2)
    return True


def _verdicts(plant: Plant, fleet: Fleet) -> list[Verdict]:
    by_hub: dict[str, list[dict[str, Any]]] = {hub: [] for hub in plant.hubs}
    for effect in plant.effects():
        by_hub[effect["profile"]].append(effect)
    return [judge(fleet, hub, effects) for hub, effects in by_hub.items()]


def _judge(plant: Plant, fleet: Fleet, found: Run) -> None:
    for verdict in _verdicts(plant, fleet):
        found.effects += verdict.effects
        found.violations += [*verdict.violations[:20], *verdict.overdue[:20]]
    for hub in plant.status()["hubs"]:
        found.states.update(hub["messages"])
    found.messages = found.states.total()
    found.faults.update(json.loads(plant.ask("/control/faults"))["hits"])
    found.violations += [f"{name}: {line}" for name in ("hub", "uploader") for line in _crashes(plant.log(name))]
    plant.meterd("hub", "log", "verify", "-c", str(plant.config), code=0)


def _crashes(log: str) -> list[str]:
    return [line for line in log.splitlines() if "Traceback" in line or "Fatal Python error" in line][:5]


def figures(found: Run) -> list[Figure]:
    """What is published."""
    detail = [
        f"states at the end: {dict(found.states)}",
        f"faults of the hubs: {dict(found.faults)}",
        f"corrections while others were on their way: {found.corrections}",
        *found.violations[:20],
    ]
    return [
        Figure("messages", found.messages, "", HUB_MESSAGES[0], rises=True, detail=detail),
        Figure("kills of the uploader", found.kills, "", HUB_KILLS[0], rises=True),
        Figure("effects at the hubs", found.effects, ""),
        Figure("violations: lost, doubled, out of order, invented", len(found.violations), "", 0),
        Figure("messages per second, with faults and kills", found.messages / found.seconds, "/s", rises=True),
    ]


def main() -> int:
    """Run, print, write the page; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=HUB_MESSAGES[0])
    parser.add_argument("--seconds", type=float, default=1_800, help="bounds the time with faults")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="keep the folder of the run here")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="meterd-fleet-"))
    try:
        found = figures(run(folder, args.messages, args.seconds, args.seed, HUB_KILLS[0]))
    finally:
        if args.keep:
            shutil.copytree(folder, args.keep)
        shutil.rmtree(folder)
    print("\n".join([*(line for figure in found for line in figure.detail), "", *table(found)]))
    if args.messages == HUB_MESSAGES[0]:
        PAGE.write_text(page(found, f"make hubs SEED={args.seed}", ("httpx", "aiohttp", "lxml")))
    return int(any(figure.reached is False for figure in found))


if __name__ == "__main__":
    sys.exit(main())
