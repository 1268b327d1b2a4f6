"""What a meter goes on from: that which journal and ledger kept of it, unless it cannot be read."""

from typing import TYPE_CHECKING, Literal

from gateway import log
from gateway.meter import Meter
from gateway.plausibility import Plausibility
from gateway.sub_meters import SubMeters

if TYPE_CHECKING:
    from gateway.trust import Change


def series(meter: Meter, salt: bytes, saved: bytes | None) -> Plausibility:
    """What its registers go on from."""
    try:
        return Plausibility(meter.settings.max_power_w, salt, saved)
    except ValueError:
        log.event("series_lost", meter=meter.name)
        return Plausibility(meter.settings.max_power_w, salt)


def sub_meters(meter: Meter, salt: bytes, saved: bytes | None) -> SubMeters:
    """What is known of its sub-meters."""
    try:
        return SubMeters(salt, saved)
    except ValueError:
        log.event("sub_meters_lost", meter=meter.name)
        return SubMeters(salt)


def restore_trust(meter: Meter, saved: bytes | None) -> "Change | Literal[False] | None":
    """Let a meter go on from saved receive counters: the change of `min_auth` since then, False without one.

    None where there is nothing to go on from.
    """
    if saved is None:
        return None
    try:
        return meter.trust.restore(saved) or False
    except ValueError:
        log.event("counters_lost", meter=meter.name)
        return None
