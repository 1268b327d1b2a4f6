"""CEZ Distribuce, portal of measured data (PND): it sends, we keep and compare; nothing is ever sent to it.

Values come by its automatic sending (gateway.uploader.receiver) or as exports that a person brings; a day that does not
come is called late only when it was due: on the second working day, and on the fifth after activation at the earliest.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Final

from gateway.hub_model import Draft, Inbound, Message, Part, Reason, Receipt
from gateway.hub_settings import HubSettings
from gateway.imports.record import Imported, ImportFileError
from gateway.uploader.hub import Build, BuildError, Open, Policy, Session
from gateway.uploader.hubs import cz_days, cz_portal
from gateway.uploader.hubs.cz_delivery import Deliveries, Delivery

#: how often deliveries are looked for, and late days (s)
INBOX_S: Final = 1
LOOK_S: Final = 60
#: ids of deliveries that are remembered, so that one that comes again is known
MOST_IDS: Final = 400
#: days that are looked back: the portal keeps 36 months
MOST_DAYS: Final = 1_100
#: late days of a point that a notice lists
_MOST_LISTED: Final = 5
_NOTHING: Final = "PND is not sent anything: it sends to us"


def adapter(settings: HubSettings) -> "CzPnd":
    """The adapter of a hub of kind cz-pnd."""
    return CzPnd(settings)


@dataclass
class CzPnd:
    """The portal as a source; `deliveries` is what the receiver puts in and `inbox` takes out."""

    settings: HubSettings
    clock: Callable[[], float] = time.time
    policy: Policy = field(default=Policy(takes_readings=False, inbox_s=INBOX_S), init=False)
    deliveries: Deliveries = field(default_factory=Deliveries, init=False)
    #: when late days are looked for again (UTC s)
    _next: float = field(default=0, init=False)

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """Refuse: there is nothing to send to it."""
        raise BuildError(_NOTHING, tuple(part.slot for part in parts))

    def send(self, session: Session, message: Message) -> Receipt:
        """Refuse."""
        return Receipt("blocked", (Reason("no_such_hub", _NOTHING),))

    def query(self, session: Session, message: Message) -> Receipt:
        """Nothing can be asked."""
        return Receipt("pending")

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """What was delivered, each answered when it is stored; then what has become late, and what no longer is."""
        while (delivery := self.deliveries.take()) is not None:
            yield from self._delivered(delivery, open_)
            self._next = 0
        if self._next - LOOK_S <= self.clock() < self._next:
            return
        self._next = self.clock() + LOOK_S
        activated = _day(open_.note("activated"))
        if activated is None:
            yield self._activate(open_)
            return
        for point in self.settings.points:
            yield from self._freshness(point, activated, open_)

    def requests(self) -> Mapping[str, str]:
        """Nothing can be asked for."""
        return {}

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """Refuse."""
        raise BuildError(f"PND is asked for nothing here, so not for {what!r}: export in the portal, then import")

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Nothing."""
        return ()

    def read_answer(self, data: bytes, open_: Open) -> Inbound:
        """An export of the portal (CSV, table JSON), to be compared with what is stored; raises ImportFileError."""
        content_type, found = cz_portal.export(data)
        mine = [self._at_our_point(one) for one in found]
        strange = next((one.point for one in mine if one.point not in self.settings.points), None)
        if strange is not None:
            raise ImportFileError(f"the column of {strange} is of none of the points of hub {self.settings.name}")
        self._believable(mine)
        self._note_days(mine, open_)
        digest = sha256(data).hexdigest()
        return _inbound(f"export-{digest[:32]}", data, content_type, mine, {"sha256": digest})

    def account(self, kind: str, body: bytes, content_type: str) -> Sequence[Imported]:
        """Quantities of a delivery or export that was kept; raises ImportFileError."""
        if kind != "measured-data":
            raise ImportFileError(f"{kind} holds no quantities")
        return [self._at_our_point(one) for one in cz_portal.account(body, content_type)]

    def _delivered(self, delivery: Delivery, open_: Open) -> Iterator[Inbound]:
        name, digest = delivery.said.id, sha256(delivery.body).hexdigest()
        known = json.loads(open_.note("deliveries") or b"{}")
        if name in known:
            if known[name] == digest[:16]:
                delivery.stored(known=True)
            else:
                delivery.refuse(f"the id {name} was used before, for other content: nothing is changed")
            return
        try:
            self._believable(delivery.said.accounts)
        except ImportFileError as error:
            delivery.refuse(str(error))
            return
        latest = [*known.items(), (name, digest[:16])][-MOST_IDS:]
        open_.remember("deliveries", json.dumps(dict(latest), separators=(",", ":")).encode())
        self._note_days(delivery.said.accounts, open_)
        facts = {"message": name, "created": delivery.said.created, "certificate": delivery.certificate}
        yield _inbound(f"delivery-{name}-{digest[:8]}", delivery.body, cz_portal.XML, delivery.said.accounts, facts)
        delivery.stored()

    def _activate(self, open_: Open) -> Inbound:
        """The day from which values are waited for, kept for good."""
        today = self._today().isoformat()
        open_.remember("activated", today.encode())
        line = f"PND is watched from {today} on: history may take until the fifth working day, values until the second"
        return Inbound(f"activated-{today}", "activation", today.encode(), "text/plain", {}, line)

    def _freshness(self, point: str, activated: date, open_: Open) -> Iterator[Inbound]:
        """A notice when days of a point become late, and one when the last of them has come."""
        late, told = self._late(point, activated, open_), _days(open_.note(f"late:{point}"))
        new = sorted(late - told)
        if new:
            open_.remember(f"late:{point}", _text(late))
            listed = ", ".join(day.isoformat() for day in new[:_MOST_LISTED])
            more = f" and {len(new) - _MOST_LISTED} more" if len(new) > _MOST_LISTED else ""
            line = (
                f"PND has not delivered {listed}{more} of {point}, due by the second working day: "
                "look in the portal, and import its export"
            )
            yield self._notice(point, line, sorted(late), recovered=False)
        elif told and not late:
            open_.remember(f"late:{point}", b"")
            yield self._notice(
                point, f"PND has delivered the days of {point} that were late", sorted(told), recovered=True
            )
        elif told != late:
            open_.remember(f"late:{point}", _text(late))

    def _late(self, point: str, activated: date, open_: Open) -> set[date]:
        """Days that were due before today and have not come."""
        today = self._today()
        since = date.fromisoformat(self.settings.since) if self.settings.since else activated
        since = max(since, today - timedelta(days=MOST_DAYS))
        return set(cz_days.overdue(since, activated, today)) - _days(open_.note(f"days:{point}"))

    def _today(self) -> date:
        return datetime.fromtimestamp(self.clock(), UTC).astimezone(cz_portal.PRAGUE).date()

    def _notice(self, point: str, line: str, days: Sequence[date], *, recovered: bool) -> Inbound:
        """An event as an inbound: stored once, whatever happens between."""
        body = json.dumps({"point": point, "days": [day.isoformat() for day in days], "recovered": recovered}).encode()
        stamp = f"{int(self.clock())}-{point}-{recovered}".encode()
        facts = {"key": point, "recovered": recovered}
        name = f"late-{sha256(body + stamp).hexdigest()[:32]}"
        return Inbound(name, "late_day", body, "application/json", {}, line, facts, "info" if recovered else "warning")

    def _at_our_point(self, one: Imported) -> Imported:
        """Exports name the meter, not the supply point: with one point in `[[hub]]` it is that."""
        if one.point in self.settings.points:
            return one
        if len(self.settings.points) == 1 and (one.point is None or len(one.point) != 18):
            return Imported(self.settings.points[0], one.direction, one.rows)
        return one

    def _believable(self, accounts: Sequence[Imported]) -> None:
        """Nothing is measured before it happens."""
        now = int(self.clock())
        last = max((row.end for one in accounts for row in one.rows), default=0)
        if last > now:
            raise ImportFileError(f"a value ends at {_minute(last)}, which is not over yet")

    def _note_days(self, accounts: Sequence[Imported], open_: Open) -> None:
        """Keep which days of our points have come."""
        for point in {one.point for one in accounts if one.point in self.settings.points}:
            came = set().union(*(cz_portal.whole_days(tuple(one.rows)) for one in accounts if one.point == point))
            before = _days(open_.note(f"days:{point}"))
            if not came <= before:
                open_.remember(f"days:{point}", _text(before | came))


def _inbound(
    name: str, body: bytes, content_type: str, accounts: Sequence[Imported], facts: Mapping[str, object]
) -> Inbound:
    told = []
    for one in accounts:
        rows = list(one.rows)
        first, last = rows[0].start, rows[-1].end
        told.append(f"{one.direction} of {one.point}, {len(rows)} values of {_minute(first)} to {_minute(last)}")
    line = f"PND: {'; '.join(told[:_MOST_LISTED])}{' ...' if len(told) > _MOST_LISTED else ''}"
    return Inbound(name, "measured-data", body, content_type, {}, line, {**facts, "series": len(told)})


def _minute(t: int) -> str:
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%dT%H:%MZ}"


def _text(days: set[date]) -> bytes:
    """Days as runs: `[["2026-03-01","2026-03-05"]]`."""
    runs: list[list[str]] = []
    ordered = sorted(days)
    for before, day in pairwise([date.min, *ordered]):
        if runs and day - before == timedelta(days=1):
            runs[-1][1] = day.isoformat()
        else:
            runs.append([day.isoformat(), day.isoformat()])
    return json.dumps(runs, separators=(",", ":")).encode()


def _days(text: bytes | None) -> set[date]:
    found: set[date] = set()
    for first, last in json.loads(text or b"[]"):
        start, end = date.fromisoformat(first), date.fromisoformat(last)
        found |= {start + timedelta(days=n) for n in range((end - start).days + 1)}
    return found


def _day(text: bytes | None) -> date | None:
    return date.fromisoformat(text.decode()) if text else None
