"""Another meter in the place of one, and registers that begin anew: what the metrology log and a person are told.

Nothing is ever subtracted across either.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from gateway.item_p import utc
from gateway.register_series import Series
from gateway.telemetry import Event


class Exchange(msgspec.Struct, frozen=True):
    """Another meter in the place of one: the last reading of the old one, the first of the new one, pseudonyms."""

    t: str | None
    before: str | None
    after: str | None
    last: dict[str, Any]
    first: dict[str, Any]
    #: whether a person said that this is the meter of this connection now
    confirmed: bool

    def event(self) -> Event:
        """The entry of the metrology log."""
        said = ("before", "after", "last", "first", "confirmed")
        return Event("meter_exchanged", {name: getattr(self, name) for name in said})


def exchanged(
    old: Series, new: Series, t: datetime | None, pseudonyms: tuple[str | None, str | None], *, confirmed: bool
) -> Exchange:
    """What an exchange is remembered by; `pseudonyms` are those of the old and of the new meter."""
    last, first = {**old.values(), "t": old.said_at()}, {**new.values(), "t": utc(t)}
    return Exchange(utc(t), *pseudonyms, last, first, confirmed)


def resets(old: Series, new: Series, t: datetime | None, *, by_person: bool) -> Iterator[Event]:
    """Registers of the same meter that begin anew: those that fell, and whatever a person said is right."""
    last = old.values()
    for name, wh in new.values().items():
        if name in last and wh != last[name] and (wh < last[name] or by_person):
            facts = {"register": name, "last_wh": last[name], "first_wh": wh, "at": utc(t)}
            yield Event("register_reset", {**facts, "by": "person" if by_person else "proof"})
