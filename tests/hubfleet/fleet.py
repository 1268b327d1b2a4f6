"""`make hubs`: 100,000 messages to three test hubs at once, among every fault, with the uploader ended at random.

Some ends are a kill -9, some a SIGTERM. From one life to the next, and by SIGHUP in the middle of one, its
configuration changes, permissions are given and revoked, and hubs take points for another one's (change.py).

What the hubs took over is their own record, judged by an oracle that shares no code with either side (oracle.py): one
effect for each version of each point's day that was sent, the newest there at the end, nothing else, and nothing of a
point that has no ground. Corrections come meanwhile, as validation brings them. An operator who looks in now and then
sends rejected messages again.
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
from typing import NamedTuple

from tests.bench.report import Figure, page, table
from tests.chaos.plant import ROOT, until
from tests.hubfleet.change import WEIGHTS, Changes, Deck
from tests.hubfleet.customer import Customer
from tests.hubfleet.fill import Filler
from tests.hubfleet.oracle import Judge, Verdict, unexcused
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
#: a hub to which nobody speaks is through with a request within it (s)
SETTLED_S = 0.7
#: what the fault `error` answers, another one after each kill
STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504)
#: how long the rest may take once the faults are over (s)
END_S = 900.0
#: of the repetitions that an oracle cannot blame on anybody, so many at most, by effect
MOST_REPEATS = 0.002


class Size(NamedTuple):
    """How large a run is: messages that have to leave in all, and kills at least; how it is paced."""

    messages: int
    kills: int
    days: int = DAYS
    #: days of points that the ledger has, for each message: some leave together
    slots: float = 1.25
    weights: tuple[float, ...] = WEIGHTS
    #: how long the uploader lives, and between two looks of the operator (s)
    life_s: tuple[float, float] = (2.0, 16.0)
    look_s: float = 30.0
    #: days of points that the ledger has beyond those that arrived: as they arrive, other points come
    ahead: int = 3_000


#: how lives end, how long they are, and what happens in them, each as often as it stands here
ENDS, LENGTHS, EVENTS = ("kill", "kill", "orderly"), ("brief", *["whole"] * 8), ("re-read", *["nothing"] * 3)


@dataclass
class Run:
    """What a run did and found."""

    messages: int = 0
    kills: int = 0
    ends: list[float] = field(default_factory=list)
    corrections: int = 0
    seconds: float = 0.0
    effects: int = 0
    bundles: int = 0
    repeats: int = 0
    closed: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def run(folder: Path, size: Size, seconds: float, seed: int) -> Run:
    """One run; its faults last `seconds` at most."""
    dice = random.Random(seed)
    points = -(-int(size.messages * size.slots) // size.days)
    fleet = Fleet(seed, points, last_day() - dt.timedelta(size.days - 1), size.days, "PT1H", tuple(HUBS))
    plant, found = Plant(folder, fleet), Run()
    filler = Filler(plant.ledger, fleet)
    try:
        plant.start_hub(
            "--seed", str(seed), *(part for name, p in FAULTS.items() for part in ("--fault", f"{name}={p}"))
        )
        plant.configure({}, timeout_s=5, confirm_after_s=5, inbox_s=2)
        watch = Watch(plant, fleet)
        customer = Customer(plant.address, folder / "hub")
        changes = Changes(plant, fleet, dice, customer, watch.record, size.weights)
        began = time.monotonic()
        try:
            _storm(Storm(plant, filler, dice, changes, size, found, watch), began + seconds)
            _calm(plant, watch, changes, found)
        except RuntimeError as error:
            found.violations.append(str(error))
        found.seconds = time.monotonic() - began
        _judge(plant, watch, found)
        found.changes, found.closed = changes.done, len(fleet.shut)
    finally:
        plant.close()
        filler.close()
    return found


class Watch:
    """The hubs' own record, read as it grows, and judged."""

    def __init__(self, plant: Plant, fleet: Fleet) -> None:
        self._plant = plant
        self._judges = {hub: Judge(fleet, hub) for hub in fleet.hubs}
        self._last = 0

    @property
    def effects(self) -> int:
        """How many effects there were when it was read last."""
        return self._last

    def record(self, settled: bool) -> int:
        """How long the record is; `settled`: once the hubs are through with everything that reached them."""
        before = -1
        while before != self._read() and settled:
            before = self._last
            until(lambda: not json.loads(self._plant.ask("/control"))["pending"], "the hubs' judgement")
            time.sleep(SETTLED_S)
        return self._last

    def verdicts(self) -> list[Verdict]:
        """What is found by now."""
        self._read()
        return [one.verdict() for one in self._judges.values()]

    def _read(self) -> int:
        for effect in self._plant.effects(self._last):
            self._judges[effect["profile"]].take([effect])
            self._last = effect["n"]
        return self._last


@dataclass
class Storm:
    """What the time with faults is made of."""

    plant: Plant
    filler: Filler
    dice: random.Random
    changes: Changes
    size: Size
    found: Run
    watch: Watch
    #: days that are to be corrected, and the pause between two of them (s)
    to_correct: list[tuple[int, int]] = field(default_factory=list)
    step_s: float = 0.0
    #: points that the ledger has
    filled: int = 0

    def __post_init__(self) -> None:
        self.ends, self.lengths, self.events = (Deck(self.dice, cards) for cards in (ENDS, LENGTHS, EVENTS))

    def top_up(self) -> None:
        """Let the ledger have more points, where few of its days are left to send; some days are to be corrected."""
        size, fleet = self.size, self.filler.fleet
        lacks = size.ahead - (self.filled * size.days - self.watch.effects)
        fresh = min(fleet.points - self.filled, max(0, -(-lacks // size.days)))
        self.filler.fill(range(self.filled, self.filled + fresh))
        self.filled += fresh
        if fresh:
            self.correct_more(int(fresh * size.days * CORRECTED))

    def correct_more(self, number: int) -> None:
        """Have so many more days corrected, within about one life."""
        slots = sorted(self.filler.fleet.versions)
        self.to_correct += self.dice.sample(slots, min(max(1, number), len(slots)))
        self.step_s = self.size.life_s[1] / len(self.to_correct)

    def let_pass(self, seconds: float) -> None:
        """Let time pass; corrections come."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.to_correct:
                self.filler.correct(*self.to_correct.pop())
                self.found.corrections += 1
            time.sleep(min(left, self.step_s) if self.to_correct else left)

    def life(self) -> None:
        """One life of the uploader, and how it ends."""
        plant, dice = self.plant, self.dice
        began = time.monotonic()
        plant.start_uploader()
        lives = self.size.life_s
        self.let_pass(dice.uniform(0.0, lives[0]) if self.lengths.draw() == "brief" else dice.uniform(*lives))
        if self.events.draw() == "re-read":
            self.changes.meanwhile()
            self.let_pass(dice.uniform(0.0, lives[1] / 2))
        if self.ends.draw() == "orderly":
            plant.end_uploader()
        else:
            plant.kill_uploader()
        self.changes.life(time.monotonic() - began)

    def is_over(self) -> bool:
        """Whether there were enough messages and kills; where nothing is left to send, more is corrected."""
        if self.plant.kills < self.size.kills or self.filled < self.filler.fleet.points or self.to_correct:
            return False
        hubs = self.plant.status()["hubs"]
        missing = self.size.messages - sum(sum(hub["messages"].values()) for hub in hubs)
        if missing > 0 and not any(hub["open"] or hub["wanted"] for hub in hubs):
            self.correct_more(min(missing, self.size.ahead // 10))
        return missing <= 0


def _storm(storm: Storm, end: float) -> None:
    """Faults, ends, changes and corrections until everything that was there is sent, or the time is over."""
    plant, size = storm.plant, storm.size
    storm.top_up()
    storm.changes.begin()
    stop = threading.Event()
    operator = threading.Thread(target=_operate, args=(plant, stop, size.look_s))
    operator.start()
    try:
        while time.monotonic() < end:
            storm.life()
            storm.changes.between()
            storm.top_up()
            plant.ask("/control/faults", {"error": {"p": FAULTS["error"], "value": storm.dice.choice(STATUSES)}})
            if storm.is_over():
                break
    finally:
        stop.set()
        operator.join()


def _operate(plant: Plant, stop: threading.Event, look_s: float) -> None:
    """What a person does: send again what a hub refused without reason, and go on where it locked us out."""
    while not stop.wait(look_s):
        for hub in plant.hubs:
            plant.meterd("hub", "retry", hub, "--parked", "-c", str(plant.config))


def _calm(plant: Plant, watch: Watch, changes: Changes, found: Run) -> None:
    """No faults any more, and all is back: everything has to arrive, what was corrected last, too."""
    plant.ask("/control/faults", dict.fromkeys(FAULTS))
    changes.undo()
    plant.start_uploader()
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        for hub in plant.hubs:
            plant.meterd("hub", "retry", hub, "--parked", "-c", str(plant.config))
        if _quiet(plant) and not any(verdict.overdue for verdict in watch.verdicts()):
            break
        time.sleep(2)
    else:
        found.violations.append(f"not quiet after {END_S:.0f} s: {json.dumps(plant.status())[:1_000]}")
    plant.end_uploader()


def _quiet(plant: Plant) -> bool:
    """Nothing is open, parked or still to be made, twice in a row."""
    for _ in range(2):
        if any(hub["open"] or hub["parked"] or hub["wanted"] for hub in plant.status()["hubs"]):
            return False
        time.sleep(2)
    return True


def _judge(plant: Plant, watch: Watch, found: Run) -> None:
    for hub, verdict in zip(plant.hubs, watch.verdicts(), strict=True):
        found.effects += verdict.effects
        found.bundles += verdict.bundles
        found.repeats += len(verdict.repeats)
        given_up = _given_up(plant, hub) if verdict.repeats else set()
        found.violations += [*verdict.violations[:20], *verdict.overdue[:20], *unexcused(verdict, given_up)[:20]]
    if found.repeats > max(3, found.effects * MOST_REPEATS):
        found.violations.append(
            f"{found.repeats} versions were sent anew after a ground was lost: so many are no chance"
        )
    for hub in plant.status()["hubs"]:
        found.states.update(hub["messages"])
    found.messages, found.kills, found.ends = found.states.total(), plant.kills, plant.ends
    found.faults.update(json.loads(plant.ask("/control/faults"))["hits"])
    found.violations += [f"{name}: {line}" for name in ("hub", "uploader") for line in _crashes(plant.log(name))]
    plant.meterd("hub", "log", "verify", "-c", str(plant.config), code=0)


def _given_up(plant: Plant, hub: str) -> set[str]:
    """Documents that the uploader gave up, as its operator sees them."""
    said = plant.meterd("hub", "show", hub, "--state", "dead", "--limit", "1000000", "--json", "-c", str(plant.config))
    return {json.loads(line)["document"] for line in said.splitlines()}


def _crashes(log: str) -> list[str]:
    return [line for line in log.splitlines() if "Traceback" in line or "Fatal Python error" in line][:5]


def figures(found: Run) -> list[Figure]:
    """What is published."""
    detail = [
        f"states at the end: {dict(found.states)}",
        f"faults of the hubs: {dict(found.faults)}",
        f"corrections while others were on their way: {found.corrections}",
        f"what varied: {dict(found.changes)}",
        f"spans in which nothing of a point might arrive: {found.closed}",
        f"versions sent anew since a ground went while nobody knew the outcome: {found.repeats}",
        *found.violations[:20],
    ]
    return [
        Figure("messages", found.messages, "", HUB_MESSAGES[0], rises=True, detail=detail),
        Figure("messages with several days or points", found.bundles, ""),
        Figure("kills of the uploader", found.kills, "", HUB_KILLS[0], rises=True),
        Figure("orderly ends (SIGTERM) of the uploader", len(found.ends), ""),
        Figure("the slowest of them", max(found.ends, default=0.0), "s"),
        Figure("effects at the hubs", found.effects, ""),
        Figure("violations: lost, doubled, out of order, invented, unlawful", len(found.violations), "", 0),
        Figure("messages per second, with faults and ends", found.messages / found.seconds, "/s", rises=True),
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
        found = figures(run(folder, Size(args.messages, HUB_KILLS[0]), args.seconds, args.seed))
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
