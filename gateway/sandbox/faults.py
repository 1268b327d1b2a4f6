"""Fault switches: what a test hub does wrong on purpose, how often, and for whom; the order of chances is seeded.

A fault has a probability, may be limited to one profile and to the next `count` requests, and may have a value:
seconds, a status or octets.
"""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

#: every fault: what it does, and what its value means with its default (None: it has no value)
FAULTS: Final[dict[str, tuple[str, float | None]]] = {
    "drop_request": ("close the connection before the request is looked at", None),
    "drop_response": ("do everything, then close the connection instead of answering", None),
    "lost": ("say that the message was accepted, and forget it", None),
    "duplicate": ("process the request twice and give the second answer", None),
    "slow": ("send the answer in drops; the value is how many seconds it takes", 5.0),
    "error": ("answer with a status instead of looking at the request; the value is the status", 500.0),
    "error_after": ("do everything, then answer with a status; the value is the status", 500.0),
    "overload": ("answer 429 or 503 with Retry-After in seconds, which is the value", 2.0),
    "overload_date": ("answer 503 with Retry-After as a date; the value is how many seconds ahead", 2.0),
    "expired_token": ("the token of the request expires right now", None),
    "wrong_certificate": ("show a certificate of an authority that nobody trusts", None),
    "skew": ("the clock of the hub is wrong; the value is by how many seconds", 3600.0),
    "error_in_200": ("do everything, then answer 200 with a body that says that it failed", None),
    "garbage": ("do everything, then answer with octets that mean nothing", None),
    "encoding": ("do everything, then answer in an encoding that is not what the header says", None),
    "huge": ("do everything, then answer with a body of this many octets", 100e6),
    "bomb": ("do everything, then answer with XML entities that grow without end", None),
    "undequeued": ("say that a bundle was dequeued, and keep it: it comes once more", None),
    "stranger": ("a bundle that is fetched speaks of a message that nobody sent", None),
}
#: profiles that faults apply to when none is named
PROFILES: Final = ("dk", "ee", "eu", "ote", "lt", "oauth2")
#: what a fault may be limited to
NAMED: Final = (*PROFILES, "api")
#: lowest and highest value, where any other number would mean nothing
BOUNDS: Final = {"error": (400, 599), "error_after": (400, 599), "skew": (-1e9, 1e9)}


@dataclass(slots=True)
class Switch:
    """One fault that is on."""

    p: float
    value: float | None = None
    profile: str | None = None
    #: requests that it still hits; None: without end
    count: int | None = None


class Faults:
    """The switches of a hub; `hit` draws."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - chances of a test, reproducible
        self.switches: dict[str, Switch] = {}
        #: how often each fault hit
        self.hits: dict[str, int] = {}

    def set(self, name: str, settings: Mapping[str, Any] | None) -> None:
        """Turn a fault on, or off with None; raises ValueError with one sentence."""
        if name not in FAULTS:
            raise ValueError(f"{name!r} is no fault: choose one of {', '.join(FAULTS)}")
        if settings is None:
            self.switches.pop(name, None)
            return
        self.switches[name] = _switch(name, settings)

    def hit(self, name: str, profile: str | None = None) -> Switch | None:
        """Draw: the switch when the fault happens now, else None; without a profile before it is known."""
        switch = self.switches.get(name)
        if switch is None or not (profile is None or _meant(switch, profile)) or self._random.random() >= switch.p:
            return None
        if switch.count is not None:
            if switch.count <= 0:
                return None
            switch.count -= 1
        self.hits[name] = self.hits.get(name, 0) + 1
        return switch

    def value(self, name: str) -> float:
        """Value of a fault that lasts (a clock that is wrong); 0 when it is off."""
        switch = self.switches.get(name)
        return 0.0 if switch is None or switch.p <= 0 else float(switch.value or 0)

    def shown(self) -> dict[str, Any]:
        """Every switch that is on, and how often each fault hit."""
        return {"on": {name: asdict(switch) for name, switch in self.switches.items()}, "hits": self.hits}


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Read NAME=P, NAME=P:VALUE or NAME=P:VALUE@PROFILE of the command line; raises ValueError."""
    name, _, rest = text.partition("=")
    rest, _, profile = rest.partition("@")
    p, _, value = rest.partition(":")
    settings: dict[str, Any] = {"p": _number(p or "1", "a probability")}
    if value:
        settings["value"] = _number(value, "a value")
    if profile:
        settings["profile"] = profile
    Faults().set(name, settings)
    return name, settings


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}: write NAME=P, NAME=P:VALUE or NAME=P:VALUE@PROFILE") from None


def _meant(switch: Switch, profile: str) -> bool:
    return profile == switch.profile if switch.profile else profile in PROFILES


def _switch(name: str, settings: Mapping[str, Any]) -> Switch:
    unknown = set(settings) - {"p", "value", "profile", "count"}
    if unknown:
        raise ValueError(f"{name}: {min(unknown)!r} is no setting: p, value, profile and count are")
    p, value, count = settings.get("p", 1), settings.get("value", FAULTS[name][1]), settings.get("count")
    if not _is_number(p) or not 0 <= p <= 1:
        raise ValueError(f"{name}: p is a probability from 0 to 1")
    low, high = BOUNDS.get(name, (0, 1e9))
    if value is not None and (not _is_number(value) or not low <= value <= high):
        raise ValueError(f"{name}: value is a number from {low:g} to {high:g}")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise ValueError(f"{name}: count is a whole number from 0 up")
    profile = settings.get("profile")
    if profile is not None and profile not in NAMED:
        raise ValueError(f"{name}: profile is one of {', '.join(NAMED)}")
    return Switch(float(p), None if value is None else float(value), profile, count)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
