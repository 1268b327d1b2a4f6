"""Judges what arrived at the test hub: one effect for each version that was sent, the last one last, nothing else.

The hub's own record of what it took over is read, and compared with what is true. A version that was overtaken before
it left needs no effect; no version has two, none comes after a later one, and the newest is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.hubfleet.truth import STEP_S, Fleet, gsrn


@dataclass
class Verdict:
    """What was found: effects by version, and every violation as a sentence."""

    effects: int = 0
    corrections: int = 0
    violations: list[str] = field(default_factory=list)


def judge(fleet: Fleet, hub: str, effects: Iterable[dict[str, Any]]) -> Verdict:
    """Judge the effects of one hub: `effects` as /control/effects gives them, oldest first."""
    numbers = {gsrn(number): number for number in range(fleet.points)}
    days = {fleet.bounds(day)[0]: day for day in range(fleet.days)}
    verdict, seen = Verdict(), dict[tuple[int, int], list[int]]()
    for effect in effects:
        verdict.effects += 1
        number, day = numbers.get(effect["point"]), days.get(effect["start"])
        if number is None or day is None or effect["direction"] != "consumption":
            verdict.violations.append(f"{hub}: nobody has sent {effect['point']} {effect['start']}")
            continue
        version = _version(fleet, number, day, effect)
        if version is None:
            verdict.violations.append(f"{hub}: {effect['point']} day {day}: values that no version has")
            continue
        before = seen.setdefault((number, day), [])
        if version in before:
            verdict.violations.append(f"{hub}: {effect['point']} day {day}: version {version} had two effects")
        elif before and version < before[-1]:
            verdict.violations.append(f"{hub}: {effect['point']} day {day}: version {version} after {before[-1]}")
        verdict.corrections += bool(before)
        before.append(version)
    for slot, newest in fleet.versions.items():
        if (found := seen.get(slot, [0])[-1]) != newest:
            verdict.violations.append(f"{hub}: point {slot[0]} day {slot[1]}: has version {found}, not {newest}")
    return verdict


def _version(fleet: Fleet, number: int, day: int, effect: dict[str, Any]) -> int | None:
    """Which version of its day an effect carries, whole; None where it is none."""
    start, end = fleet.bounds(day)
    if effect["end"] != end or effect["resolution"] != fleet.resolution:
        return None
    values = [(int(when), int(Decimal(kwh) * 1_000), quality) for when, kwh, quality in effect["values"]]
    if not values or any(quality not in ("measured", "A04") for _, _, quality in values):
        return None
    version = values[0][1] // 1_000
    told = [wh for _, wh, _ in values]
    whens = list(range(start, end, STEP_S[fleet.resolution]))
    return version if told == fleet.day(number, day, version) and [when for when, _, _ in values] == whens else None
