"""Settings of validation, estimation and editing for one series: the thresholds of V01 to V15 (docs/vee.md)."""

from dataclasses import dataclass, replace
from typing import Final

from gateway.intervals.model import Direction

#: three phases of 37.5 A at 230 V
MAX_POWER_W: Final = 25_875


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds as integers: seconds, hours, per mille, Wh of an hour; 0 or None switches a rule off."""

    #: V01: an offset of the clock is noted from here on (s); beyond so many per mille of an interval it validates none
    clock_warn_s: int = 3
    clock_per_mille: int = 10
    #: V05: what the master data of the point says; None: not compared
    unit: str | None = None
    multiplier: int = 1
    #: V07: the connection, and how much more than that an interval may carry (per mille)
    max_power_w: int = MAX_POWER_W
    power_slack_per_mille: int = 100
    #: V08: (highest - third highest) / third highest in a local day, and the least Wh per hour that can be a spike
    spike_per_mille: int = 1_800
    spike_floor_wh: int = 2_000
    #: V09: what the sum of a day may differ from the registers: so many steps of the register, or per mille of the day
    sum_steps: int = 1
    sum_per_mille: int = 1
    #: V10: hours without energy on an active point; 0: off
    zero_hours: int = 24
    #: V11: the same value so many times, and from how many steps of the register on that says something; 0: off
    frozen_times: int = 8
    frozen_floor_steps: int = 100
    #: V12: a day beside the same weekday of four weeks, per mille; 0: off
    like_low_per_mille: int = 500
    like_high_per_mille: int = 2_000
    #: V13: both directions above so much of what the connection carries (per mille); 0: off
    both_per_mille: int = 250
    #: V14: days in a row with estimated values; 0: off
    prolonged_days: int = 3
    #: E01 up to here (s), E02 beyond; like days that E02 needs and takes at most
    interpolate_s: int = 7_200
    like_least: int = 3
    like_most: int = 5
    #: E04: energy of a year in the unit of the series; None: not assumed
    annual: int | None = None


def of_direction(limits: Limits, direction: Direction) -> Limits:
    """The limits of a direction: a roof without sun feeds in nothing for days, which is no fault (V10, V12)."""
    if direction == "import":
        return limits
    return replace(limits, zero_hours=0, like_low_per_mille=0, like_high_per_mille=0)
