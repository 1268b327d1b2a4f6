"""Which fault begins when: a pure function of seed and duration, so that a seed is a run that can be had again."""

from collections.abc import Collection
from random import Random
from typing import NamedTuple

METERS = ("p1", "dlms", "sml")
#: faults at once
MOST = 3
#: s between two starts, from and to: 2.4 on average
GAP_S = (1.2, 3.6)
#: s without a fault at the beginning, and at least at the end
CALM_S, LAST_S = 6.0, 22.0
#: share of the run at the end without faults
LAST = 0.15


class Kind(NamedTuple):
    """A kind of fault: what it hits, how long it lasts (s), how often it stands in a deck, and its own limits."""

    target: str
    seconds: tuple[float, float]
    cards: int = 1
    #: least duration of a run that has it (s), and what it needs afterwards until everything is well again (s)
    run_s: float = 0.0
    after_s: float = 0.0


KINDS: dict[str, Kind] = {
    "unplug": Kind("meter", (2, 5), 3),
    "noise": Kind("meter", (2, 4), 2),
    "flood": Kind("meter", (1, 3)),
    "bits": Kind("meter", (2, 5), 2),
    "truncated": Kind("meter", (2, 5), 2),
    "replay": Kind("dlms", (2, 6), 2),
    "implausible": Kind("meter", (1, 3), 2),
    "silence": Kind("meter", (3, 8), 2),
    "kill": Kind("daemon", (0.3, 1.5), 6),
    "term": Kind("daemon", (0.5, 6), 2),
    "freeze": Kind("daemon", (1, 9), 2),
    "hang": Kind("daemon", (40, 40), 1, run_s=300, after_s=20),
    "reload_good": Kind("daemon", (1, 2), 2),
    "reload_bad": Kind("daemon", (1, 2)),
    "broker_freeze": Kind("mqtt", (3, 8)),
    "broker_kill": Kind("mqtt", (1, 4), 2),
    "mqtt_reset": Kind("mqtt", (0.5, 1), 2),
    "mqtt_hole": Kind("mqtt", (8, 16), 1, after_s=25),
    "mqtt_slow": Kind("mqtt", (4, 8)),
    "mqtt_puback": Kind("mqtt", (5, 10)),
    "takeover": Kind("mqtt", (1, 2), 1, run_s=300, after_s=140),
    "influx_refused": Kind("influx", (2, 6)),
    "influx_429": Kind("influx", (3, 6)),
    "influx_503": Kind("influx", (3, 6)),
    "influx_401": Kind("influx", (3, 6)),
    "influx_400": Kind("influx", (3, 8)),
    "influx_slow": Kind("influx", (3, 8)),
    "influx_late": Kind("influx", (5, 8)),
    "influx_lost": Kind("influx", (3, 6)),
    "influx_hole": Kind("influx", (5, 12)),
    "influx_kill": Kind("influx", (1, 4), 2),
    "influx_freeze": Kind("influx", (3, 8)),
    "all_dead": Kind("mqtt+influx", (10, 15), 1, after_s=20),
    "disk_full": Kind("disk", (4, 10), 2),
    "slow_client": Kind("local", (3, 8)),
    "slow_metrics": Kind("local", (3, 8)),
    "hammer": Kind("local", (2, 4)),
}
#: cards that are left when another deck is put below
LOW_DECK = 12
#: s for which a target is left alone after a fault, so that it can be well between two
REST_S = {"daemon": 4.0, "mqtt": 2.0, "influx": 2.0}


class Planned(NamedTuple):
    """A fault: begins `at` (s since the start), hits `target`, lasts `seconds`; `seed` is for what it draws itself."""

    at: float
    kind: str
    target: str
    seconds: float
    seed: int

    @property
    def end(self) -> float:
        """When it ends (s since the start)."""
        return self.at + self.seconds


def plan(seed: int, seconds: float, only: Collection[str] = ()) -> list[Planned]:
    """All faults of a run, in order of time; `only` those kinds, where some are named."""
    dice = Random(seed)
    last = seconds - max(LAST_S, LAST * seconds)
    planned: list[Planned] = []
    deck: list[str] = []
    at = CALM_S
    while at < last:
        if len(deck) < (1 if only else LOW_DECK):
            deck += _shuffled(seconds, planned, dice, only)
        drawn = next((fault for name in deck if (fault := _drawn(name, at, last, planned, dice))), None)
        if drawn is None:
            at += 0.3
            continue
        deck.remove(drawn.kind)
        planned.append(drawn)
        at += dice.uniform(*GAP_S)
    return planned


def _shuffled(seconds: float, planned: list[Planned], dice: Random, only: Collection[str]) -> list[str]:
    """A deck: each kind once, then the further cards of each; at first a kill, so that a short run has some."""
    if only:
        return dice.sample(list(only), len(only))
    seen = {fault.kind for fault in planned}
    possible = {
        name: kind for name, kind in KINDS.items() if kind.run_s <= seconds and not (kind.run_s and name in seen)
    }
    first, more = list(possible), [name for name, kind in possible.items() for _ in range(kind.cards - 1)]
    dice.shuffle(first)
    dice.shuffle(more)
    return ["kill", *first, *more]


def _drawn(name: str, at: float, last: float, planned: list[Planned], dice: Random) -> Planned | None:
    """That fault now, if its target is free and it ends in time."""
    kind = KINDS[name]
    if kind.run_s and any(one.kind == name for one in planned):
        return None
    busy = [one for one in planned if one.end + max(REST_S.get(part, 0.0) for part in one.target.split("+")) > at]
    targets = [kind.target]
    if kind.target == "meter":
        targets = [f"meter {name}" for name in METERS]
    elif kind.target == "dlms":
        targets = ["meter dlms"]
    taken = {part for one in busy for part in one.target.split("+")}
    free = [target for target in targets if not taken & set(target.split("+"))]
    seconds = dice.uniform(*kind.seconds)
    if not free or at + seconds + kind.after_s > last + (LAST_S if kind.after_s > LAST_S else 0):
        return None
    if sum(one.end > at for one in planned) >= MOST:
        return None
    return Planned(at, name, dice.choice(free), seconds, dice.randrange(1 << 30))
