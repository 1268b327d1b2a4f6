"""How a test hub behaves where real ones differ; set on the command line or by /control/options while it runs."""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass
class Options:
    """Every switch that is no fault; docs/hubs/sandbox.md says what each does."""

    #: seconds between an accepted message and its judgement (DK, EE, EU when queued)
    delay_s: float = 0.2
    #: "open": every point is known; "registered": only those of /control/points
    points: str = "open"
    #: a series that changes nothing is rejected (FI) instead of reported
    reject_unchanged: bool = False
    #: DK: ids are registered only after this window, so that two parallel POSTs are both processed (hubs.md 1.6)
    race_s: float = 0.0
    #: DK: requests of monthly sums get no answer
    no_sums: bool = False
    #: DK: how far back a day may lie, in days; E17 beyond
    oldest_days: int = 1096
    #: DK: transactions of one RSM-009 at most
    bundle: int = 2000
    #: EE: unjudged messages from which on the answer is 503
    queue_length: int = 100_000
    #: EE: Retry-After of that 503, in seconds
    queue_retry_s: int = 300
    #: EU: "immediate": the answer is the acknowledgement; "queued": 202, and GET /eu/ack
    ack: str = "immediate"
    #: EU: EIC of this hub; "" takes documents for any receiver
    hub_eic: str = "99X-SANDBOX-HUBX"
    #: seconds that an OAuth2 token holds
    token_s: int = 3599

    def set(self, name: str, value: Any) -> None:
        """Change one; raises ValueError with one sentence."""
        known = {option.name: option for option in fields(self)}
        if name not in known:
            raise ValueError(f"{name!r} is no option: choose one of {', '.join(known)}")
        now = getattr(self, name)
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name} is one of {', '.join(_CHOICES[name])}")
        if isinstance(now, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(now):
            raise ValueError(f"{name} is a {_NAMES[type(now)]}")
        if not isinstance(value, str | bool) and not 0 <= value <= 10**9:
            raise ValueError(f"{name} is a number from 0 to 1000000000")
        setattr(self, name, value)

    def shown(self) -> dict[str, Any]:
        """Every option with its value."""
        return asdict(self)


_CHOICES = {"points": ("open", "registered"), "ack": ("immediate", "queued")}
_NAMES: dict[type, str] = {bool: "true or false", int: "whole number", float: "number", str: "word"}
