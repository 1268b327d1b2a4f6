"""Judges what arrived at the test hub: one effect for each version that was sent, the last one last, nothing else.

The hub's own record of what it took over is read, and compared with what is true. A version that was overtaken before
it left needs no effect; no version has two, none comes after a later one, and the newest is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.hubfleet.truth import Fleet


@dataclass
class Verdict:
    """What was found: effects by version, and every violation as a sentence."""

    effects: int = 0
    corrections: int = 0
    violations: list[str] = field(default_factory=list)
    #: what has not arrived: a violation once there was time enough
    overdue: list[str] = field(default_factory=list)


def judge(fleet: Fleet, hub: str, effects: Iterable[dict[str, Any]]) -> Verdict:
    """Judge the effects of one hub: `effects` as /control/effects gives them, oldest first."""
    numbers = {fleet.name(number): number for number in fleet.of(hub)}
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
        if fleet.hub(slot[0]) == hub and (found := seen.get(slot, [0])[-1]) != newest:
            verdict.overdue.append(f"{hub}: point {slot[0]} day {slot[1]}: has version {found}, not {newest}")
    return verdict


def _version(fleet: Fleet, number: int, day: int, effect: dict[str, Any]) -> int | None:
    """Which version of its day an effect carries, whole; None where it is none."""
    if effect["end"] != fleet.bounds(day)[1] or effect["resolution"] != fleet.resolution(number):
        return None
    values = [(int(when), int(Decimal(kwh) * 1_000), quality) for when, kwh, quality in effect["values"]]
    if not values or any(quality not in ("measured", "A04", "M") for _, _, quality in values):
        return None
    version = values[0][1] // 1_000
    told = [wh for _, wh, _ in values]
    whens = [when for when, _, _ in values]
    right = told == fleet.day(number, day, version) and whens == list(fleet.starts(number, day))
    return version if right else None
