"""What validation looks at, a local day of one series, and what it finds: which rule said what of which interval."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from gateway.intervals.limits import Limits
from gateway.intervals.model import Interval, SeriesKey, Unit

#: drop: a duplicate went; reject: the value is not used; suspect: kept, and not item E; warn, notify: it is told
Effect: TypeAlias = Literal["drop", "reject", "suspect", "warn", "notify"]

#: every rule with its meaning, as `meterd intervals explain` shows it
RULES: Final[dict[str, str]] = {
    "V01": "the clock of the meter, or that of the gateway, is off or not known",
    "V02": "intervals are missing",
    "V03": "two values for one interval: the newest holds",
    "V04": "the interval has not the length or the bounds of its resolution",
    "V05": "unit or multiplier is not that of the point",
    "V06": "negative energy, or a register that goes back",
    "V07": "more energy than the connection carries",
    "V08": "a spike: far above the third highest interval of the day",
    "V09": "the intervals of the day do not add up to the registers",
    "V10": "no energy for a long time on an active point",
    "V11": "the same value again and again",
    "V12": "the day is far from the same weekday of the last weeks",
    "V13": "much import and much export in one interval",
    "V14": "estimated for several days",
    "V15": "meter or gateway was out of service: not used to interpolate",
}


class Finding(NamedTuple):
    """One rule that did not hold: for one interval (`start`, UTC s) or, with None, for the day."""

    rule: str
    effect: Effect
    start: int | None
    inputs: Mapping[str, Any]


class Clock(NamedTuple):
    """The clocks of a day: the largest offset of the meter's clock (s), and whether the gateway's was synchronised."""

    worst_offset_s: float | None
    synchronised: bool


UNKNOWN: Final = Clock(None, synchronised=False)


@dataclass(frozen=True, slots=True)
class Day:
    """A local day of a series as validation needs it; everything is given, nothing is looked up."""

    key: SeriesKey
    unit: Unit
    zone: ZoneInfo
    limits: Limits
    #: all bounds of the day, rising: gateway.intervals.calendar.bounds_of_day
    bounds: Sequence[int]
    #: latest versions by fold or person, in any order, duplicates included
    found: Sequence[Interval]
    #: current versions by start, whoever made them
    current: Mapping[int, Interval] = field(default_factory=dict)
    #: current versions of the days before, rising; four weeks are enough
    before: Sequence[Interval] = ()
    #: the other direction of the same day
    other: Mapping[int, Interval] = field(default_factory=dict)
    clock: Clock = UNKNOWN
    #: (start, end) when meter or gateway was out of service
    outages: Sequence[tuple[int, int]] = ()
    #: what edits of shorter intervals add to those of this resolution, by start: gateway.intervals.edit.carried
    carried: Mapping[int, int] = field(default_factory=dict)
    #: what the readings were multiplied with before they were folded
    multiplier: int = 1

    @property
    def slots(self) -> list[tuple[int, int]]:
        """(start, end) of every interval that the day must have."""
        return list(zip(self.bounds, self.bounds[1:], strict=False))

    def is_out(self, start: int, end: int) -> bool:
        """Whether a moment of an interval lies in an outage."""
        return any(begin < end and start < stop for begin, stop in self.outages)


def packed(findings: Sequence[Finding], made_of: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Inputs of findings by rule, and those of an estimate by its method, as compact JSON; None of none."""
    inputs = {finding.rule: dict(finding.inputs) for finding in findings if finding.inputs}
    inputs |= {method: dict(found) for method, found in made_of.items() if found}
    return json.dumps(inputs, separators=(",", ":"), sort_keys=True) if inputs else None
