"""What folding and validation yield: Bound, Interval and Series; integers and UTC seconds, no I/O and no clock.

Item E of Regulation (EU) 2023/1162, annex, is "validated historical metering and consumption data": metering point,
time of creation, product, start and end of the reading, unit, and for each interval its start, end, direction, quality
and quantity. `Series` is item E when every status in it is one of ITEM_E; the exports carry it (docs/intervals.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from decoders.model import Auth, Quality

Resolution: TypeAlias = Literal["PT15M", "PT1H", "P1D", "P1M"]
Direction: TypeAlias = Literal["import", "export"]
#: active (Wh) and reactive (varh) energy; of sub-meters volume and heat in the register's own step, and gas as energy
Kind: TypeAlias = Literal["active", "reactive", "volume", "heat", "gas"]
#: raw: folded from readings and not judged; missing: there is no quantity; the others as VEE uses them
Status: TypeAlias = Literal["raw", "valid", "suspect", "estimated", "edited", "missing"]
#: measured: a reading of that very second; interpolated: between two readings no further away than `max_bound_gap_s`;
#: estimated: between two that are further away; none: no register value is known there
BoundMethod: TypeAlias = Literal["measured", "interpolated", "estimated", "none"]
Clock: TypeAlias = Literal["meter", "gateway"]
#: who made a version: the fold of readings, validation and estimation, or a person who edited
Author: TypeAlias = Literal["fold", "vee", "person"]

RESOLUTIONS: Final[tuple[Resolution, ...]] = ("PT15M", "PT1H", "P1D", "P1M")
#: statuses of versions that are item E: "validated" data; all others are shown only when asked for, and marked
ITEM_E: Final[frozenset[Status]] = frozenset(("valid", "estimated", "edited"))
#: words of a reason for a register that does not go on from what it was (continuity.BreakKind)
BREAKS: Final = frozenset(("exchange", "rollover", "back", "leap"))
#: from good to bad
QUALITIES: Final[tuple[Quality, ...]] = ("measured", "estimated", "substituted", "suspect")
AUTHS: Final[tuple[Auth, ...]] = ("verified", "unverified", "plain")


class SeriesKey(NamedTuple):
    """Which quantity of which meter: what has one register, and so one chain of bounds."""

    #: name of the meter in the configuration
    meter: str
    #: channel of the sub-meter; 0 is the meter itself
    channel: int
    kind: Kind
    direction: Direction


class Unit(NamedTuple):
    """Unit of a series: its integers count `10**exponent` of `name`: ("Wh", 0), ("varh", 0), ("m3", -3), ("GJ", -3)."""

    name: str
    exponent: int


WH: Final = Unit("Wh", 0)
VARH: Final = Unit("varh", 0)


class Bound(NamedTuple):
    """The register at a bound that two intervals share."""

    #: UTC, seconds since 1970
    t: int
    #: register in the unit of the series; None where it is not known
    value: int | None
    method: BoundMethod
    #: the register readings (t, value) that made it: at the bound one, else the one before and the one after
    readings: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """One version of one interval, as it is stored.

    quantity = high.value - low.value + sum_break, where all three are known and `author` is "fold"; so the sum over any
    chain of intervals is the difference of the registers at its ends plus the breaks, exactly.
    """

    #: UTC, seconds since 1970: start <= t < end
    start: int
    end: int
    #: in the unit of the series (Wh for active energy), never negative; None: not known, status "missing"
    quantity: int | None
    status: Status
    #: worst of the readings that were used, and least authenticity of them
    quality: Quality
    auth: Auth
    #: whose clock the bounds are by
    clock: Clock
    #: minutes of the interval in which a reading came, per mille of its minutes, 0 to 1000
    coverage: int
    low: Bound
    high: Bound
    #: how the quantity came about: "register" (both bounds measured), "power" or "linear" (a bound was estimated),
    #: "E01" to "E05" (gateway.intervals.estimate), "edit", "none" (missing)
    method: str
    #: step of the register, in the unit of the series: Wh for active energy
    resolution_wh: int
    #: by how much the quantity differs from the difference of its bounds: exchange, rollover, reset, edit; see `reason`
    sum_break: int = 0
    #: 1 is the first; the highest is the current one
    version: int = 1
    author: Author = "fold"
    #: ids of the rules that it failed, V01 to V15
    rules: tuple[str, ...] = ()
    #: words of docs/intervals.md, joined by ",": why it is not a plain difference of two bounds; or what a person says
    reason: str | None = None
    #: what rule, method or person took, as compact JSON
    inputs: str | None = None
    #: when this version was made: UTC, seconds since 1970; None as long as it is not stored
    made: int | None = None

    @property
    def is_item_e(self) -> bool:
        """Whether this version is validated historical data of the regulation."""
        return self.status in ITEM_E


@dataclass(frozen=True, slots=True)
class Series:
    """Intervals of one point, direction and resolution: item E when only statuses of ITEM_E are in it."""

    meter: str
    #: identification of the metering point, from the configuration; None where none is set
    point: str | None
    channel: int
    kind: Kind
    direction: Direction
    resolution: Resolution
    unit: Unit
    #: IANA name of the zone of the point, by which days and months are bounded
    zone: str
    #: rising and without overlap; an Iterable that is read once where a period is long
    intervals: Sequence[Interval]
    #: when this series was put together: UTC, seconds since 1970
    created: int
    #: "electricity", "gas", "water", "heat" ...
    medium: str = "electricity"
    #: days and months begin at 06:00
    gas_day: bool = False

    @property
    def key(self) -> SeriesKey:
        """Which series it is, whatever its resolution."""
        return SeriesKey(self.meter, self.channel, self.kind, self.direction)


def missing(start: int, end: int, *, reason: str | None = None, resolution_wh: int = 1) -> Interval:
    """An interval of which nothing is known; version 0 as long as no version of it was stored."""
    nothing = Bound(start, None, "none"), Bound(end, None, "none")
    return Interval(
        start=start,
        end=end,
        quantity=None,
        status="missing",
        quality="suspect",
        auth="plain",
        clock="meter",
        coverage=0,
        low=nothing[0],
        high=nothing[1],
        method="none",
        resolution_wh=resolution_wh,
        version=0,
        reason=reason,
    )


def revised(interval: Interval, **changes: Any) -> Interval:
    """The next version of an interval with some fields changed: not stored yet, so without `made`."""
    return replace(interval, **({"version": interval.version + 1, "made": None} | changes))


def break_of(interval: Interval, quantity: int | None) -> int:
    """By how much `quantity` would break the sum: what it has beyond the difference of the interval's bounds.

    0 where it or a bound is not known: there is no sum to break.
    """
    low, high = interval.low.value, interval.high.value
    return 0 if quantity is None or low is None or high is None else quantity - (high - low)


def is_broken(interval: Interval) -> bool:
    """Whether the register broke within an interval, as the fold says in its reason."""
    return not BREAKS.isdisjoint((interval.reason or "").split(","))


def worst_quality(qualities: Iterable[Quality]) -> Quality:
    """The worst of several; "measured" of none."""
    return max(qualities, key=QUALITIES.index, default="measured")


def least_auth(auths: Iterable[Auth]) -> Auth:
    """The least proven of several; "verified" of none."""
    return max(auths, key=AUTHS.index, default="verified")


def total(intervals: Iterable[Interval]) -> int:
    """Sum of the quantities that are known, in the unit of the series."""
    return sum(interval.quantity for interval in intervals if interval.quantity is not None)
