"""RSM-018 of the Danish profile: the hub reminds of days of which it has no value, or not every one.

POST /control/reminders {from: DATE, to: DATE, points: [POINT ...]} looks at each local day, `to` included; without
points, at every registered point and every one that ever sent. The answer says what is missing of whom.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.sandbox import dk, points
from gateway.sandbox.control import body
from gateway.sandbox.dk_sums import ZONE
from gateway.sandbox.guard import RefusedError
from gateway.sandbox.instants import day, to_seconds

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: days that one call looks at, and points of one series of a reminder
_MOST_DAYS = 400
_POINTS = 1000


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """The one route."""

    async def remind(request: web.Request) -> web.Response:
        asked = await body(request)
        days = _days(asked)
        named = asked.get("points")
        if named is not None and not (isinstance(named, list) and all(isinstance(point, str) for point in named)):
            raise RefusedError(400, "points: a list of ids")
        missing = await sandbox.store.run(lambda db: _remind(db, sandbox, days, named))
        return web.json_response({"missing": missing})

    return [web.post("/control/reminders", remind)]


def _days(asked: dict[str, Any]) -> list[date]:
    try:
        first = date.fromisoformat(asked["from"])
        last = date.fromisoformat(asked.get("to", asked["from"]))
    except (KeyError, ValueError, TypeError):
        raise RefusedError(400, "from and to: dates such as 2026-03-03") from None
    if not 0 <= (last - first).days < _MOST_DAYS:
        raise RefusedError(400, f"at least 1 and at most {_MOST_DAYS} days")
    return [first + timedelta(i) for i in range((last - first).days + 1)]


def _remind(
    db: sqlite3.Connection, sandbox: "Sandbox", days: list[date], named: list[str] | None
) -> dict[str, dict[str, list[str]]]:
    """Queue a reminder for each party with something missing; returns party -> day -> points."""
    found: dict[str, dict[str, list[str]]] = {}
    for point, party in _responsible(db, sandbox, named):
        for local in days:
            if not _complete(db, point, *day(local, ZONE)):
                found.setdefault(party, {}).setdefault(local.isoformat(), []).append(point)
    for party, missing in found.items():
        speaker = sandbox.parties.named(party)
        series = [entry for local, ids in missing.items() for entry in _series(local, ids)]
        facts = {"receiver": speaker.id("dk") if speaker else party, "role": "MDR", "series": series}
        dk.put(db, sandbox, party, "Timeseries", "rsm-018", facts)
    return found


def _responsible(db: sqlite3.Connection, sandbox: "Sandbox", named: list[str] | None) -> Iterator[tuple[str, str]]:
    """Points with the name of the party that answers for them: the owner, else who sent last."""
    query = "SELECT point, party, max(n) FROM effects WHERE profile = 'dk' GROUP BY point"
    senders = {point: party for point, party, _ in db.execute(query)}
    registered = points.every(db, "dk")
    for point in sorted({*senders, *registered} if named is None else named):
        owner = sandbox.parties.identified("dk", str(registered.get(point, {}).get("owner", "")))
        party = owner.name if owner else senders.get(point)
        if party:
            yield point, party


def _complete(db: sqlite3.Connection, point: str, start: int, end: int) -> bool:
    """Say that accepted series cover a day without a gap; a month covers each of its days."""
    rows = db.execute(
        "SELECT start, end FROM effects WHERE point = ? AND profile = 'dk' AND start < ? AND end > ? ORDER BY start",
        (point, end, start),
    )
    reached = start
    for begins, ends in rows:
        if begins > reached:
            return False
        reached = max(reached, ends)
    return reached >= end


def _series(local: str, ids: list[str]) -> Iterator[dict[str, Any]]:
    begins = to_seconds(day(date.fromisoformat(local), ZONE)[0])
    for i in range(0, len(ids), _POINTS):
        yield {"id": str(uuid.uuid4()), "day": begins, "points": ids[i : i + _POINTS]}
