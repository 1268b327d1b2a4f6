"""`/control`: what a test sets and asks; guarded by the token of `admin.token`, and spared from every fault.

GET    /control                       what the hub is, its switches and options
GET    /control/effects?after=N       accepted series, oldest first, a JSON object in each line (limit, profile, point)
GET    /control/faults                switches and how often each hit;  PUT {NAME: {p, value, profile, count} | null}
GET    /control/options               how the hub behaves;  PATCH {NAME: VALUE}
GET    /control/points?profile=P      master data of points;  PUT /control/points {profile, points: {POINT: {...}|null}}
GET    /control/notes?after=N         warnings: what was unchanged, what was lost on purpose
POST   /control/tokens/expire         every token expires now
"""

import json
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.sandbox import effects, judging, points, queues
from gateway.sandbox.guard import RefusedError

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: lines of an answer at most
MOST: Final = 1000


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """Every route of /control."""
    made = _Control(sandbox)
    return [
        web.get("/control", made.whole),
        web.get("/control/effects", made.effects),
        web.get("/control/faults", made.faults),
        web.put("/control/faults", made.set_faults),
        web.get("/control/options", made.options),
        web.patch("/control/options", made.set_options),
        web.get("/control/points", made.points),
        web.put("/control/points", made.set_points),
        web.get("/control/notes", made.notes),
        web.post("/control/tokens/expire", made.expire),
    ]


class _Control:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox

    async def whole(self, _request: web.Request) -> web.Response:
        """Say what the hub is."""
        sandbox = self._sandbox
        parties = [{"name": party.name, "ids": dict(party.ids)} for party in sandbox.parties.all]
        pending, waiting = await sandbox.store.run(lambda db: (judging.waiting(db), queues.waiting(db)))
        shown = {"now": sandbox.stamp(), "parties": parties, "faults": sandbox.faults.shown()}
        shown |= {"pending": pending, "waiting": waiting}
        return web.json_response(shown | {"options": sandbox.options.shown()})

    async def effects(self, request: web.Request) -> web.Response:
        """Give the accepted series after a position as JSON lines."""
        after, limit = _number(request, "after", 0), _number(request, "limit", MOST)
        wanted = {name: request.query[name] for name in ("profile", "point", "party") if name in request.query}
        # Line by line: a row is 300 objects, and as many octets as ten of them.
        lines = await self._sandbox.store.run(
            lambda db: [_line(row) for row in effects.log(db, after, min(limit, MOST), **wanted)]
        )
        return web.Response(text="".join(lines), content_type="application/x-ndjson")

    async def faults(self, _request: web.Request) -> web.Response:
        """Show the switches."""
        return web.json_response(self._sandbox.faults.shown())

    async def set_faults(self, request: web.Request) -> web.Response:
        """Turn faults on and off: the others stay as they are."""
        for name, settings in (await body(request)).items():
            if settings is not None and not isinstance(settings, dict):
                raise RefusedError(400, f"{name}: an object with p, value, profile, count, or null")
            _said(lambda name=name, settings=settings: self._sandbox.faults.set(name, settings))  # type: ignore[misc]
        return await self.faults(request)

    async def options(self, _request: web.Request) -> web.Response:
        """Show how the hub behaves."""
        return web.json_response(self._sandbox.options.shown())

    async def set_options(self, request: web.Request) -> web.Response:
        """Change how the hub behaves."""
        for name, value in (await body(request)).items():
            _said(lambda name=name, value=value: self._sandbox.options.set(name, value))  # type: ignore[misc]
        return await self.options(request)

    async def points(self, request: web.Request) -> web.Response:
        """Show the master data of the points of a profile."""
        profile = request.query.get("profile", "dk")
        return web.json_response(await self._sandbox.store.run(lambda db: points.every(db, profile)))

    async def set_points(self, request: web.Request) -> web.Response:
        """Set or remove the master data of points."""
        wanted = await body(request)
        facts, profile = wanted.get("points"), wanted.get("profile", "dk")
        if (
            not isinstance(facts, dict)
            or not all(f is None or isinstance(f, dict) for f in facts.values())
            or not isinstance(profile, str)
        ):
            raise RefusedError(
                400, "write {profile: NAME, points: {POINT: {type, resolution, unit, owner ...} | null}}"
            )
        await self._sandbox.store.run(lambda db: points.set_facts(db, profile, facts))
        return web.json_response({"points": len(facts)})

    async def notes(self, request: web.Request) -> web.Response:
        """Give the warnings after a position as JSON lines."""
        after = _number(request, "after", 0)
        query = "SELECT n, at, profile, party, what, facts FROM notes WHERE n > ? ORDER BY n LIMIT ?"
        rows = await self._sandbox.store.run(lambda db: db.execute(query, (after, MOST)).fetchall())
        names = ("n", "at", "profile", "party", "what")
        return _lines([dict(zip(names, row[:-1], strict=True)) | json.loads(row[-1]) for row in rows])

    async def expire(self, _request: web.Request) -> web.Response:
        """Let every token expire."""
        self._sandbox.tokens.expire()
        return web.json_response({"expired": True})


async def body(request: web.Request) -> dict[str, Any]:
    """Read the JSON object of a request; raises RefusedError."""
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is no JSON") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body is no JSON object")
    return value


def note(db: sqlite3.Connection, at: int, profile: str, party: str, what: str, facts: dict[str, Any]) -> None:  # noqa: PLR0913, PLR0917
    """Write a warning for whoever looks at /control/notes."""
    row = (at, profile, party, what, json.dumps(facts))
    db.execute("INSERT INTO notes VALUES (NULL, ?, ?, ?, ?, ?)", row)


def _said(change: Callable[[], None]) -> None:
    try:
        change()
    except ValueError as error:
        raise RefusedError(400, str(error)) from None


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise RefusedError(400, f"{name}: a whole number from 0 up")
    return int(text)


def _lines(rows: list[dict[str, Any]]) -> web.Response:
    return web.Response(text="".join(map(_line, rows)), content_type="application/x-ndjson")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"
