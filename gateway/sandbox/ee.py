"""The Estfeed-like profile (rest-async; hubs.md 4.4): 202, judged later, and a status that has to be asked for.

POST /ee/api/v2/metering-data/electricity               202, 400, or 503 with Retry-After when too many wait
GET  /ee/api/v2/metering-data/status?documentIdentification=ID   PROCESSING, SUCCESSFUL, ERROR with its report

What hubs.md does not give (the outer key of the body, codes that begin with `sandbox.`) is this hub's own.
"""

import json
import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.sandbox import ee_rules, effects, ids
from gateway.sandbox.control import note
from gateway.sandbox.guard import PARTY, RefusedError
from gateway.sandbox.instants import to_seconds
from gateway.sandbox.judging import later, unjudged
from gateway.sandbox.parties import Party
from gateway.sandbox.schemas import DocumentError, parse_json

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

DUPLICATE: Final = "opp.error.business.metering-data-is-duplicated"
_BASE: Final = "/ee/api/v2/metering-data"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
#: seconds that a status can be asked for, and that its report is kept
_STATUS_S: Final = 30 * 86_400
_REPORT_S: Final = 7 * 86_400


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """Every route of the profile."""

    async def send(request: web.Request) -> web.Response:
        document = _headers(request, request[PARTY])
        return await ingest(sandbox, request[PARTY], document, await request.read())

    async def status(request: web.Request) -> web.Response:
        document = request.query.get("documentIdentification", "").lower()
        if not _UUID.fullmatch(document):
            return _errors(400, [ee_rules.error("sandbox.error.invalid-parameter", "documentIdentification is a UUID")])
        return await _status(sandbox, request[PARTY], document)

    return [web.post(f"{_BASE}/electricity", send), web.get(f"{_BASE}/status", status)]


async def ingest(sandbox: "Sandbox", party: Party, document: str, body: bytes) -> web.Response:
    """Take a message as a POST does: 202 when it waits for its judgement."""
    try:
        series = ee_rules.read(parse_json(body))
    except DocumentError as error:
        return _errors(400, [ee_rules.error("sandbox.error.invalid-message", str(error))])
    now, due, options = sandbox.now(), time.time() + sandbox.options.delay_s, sandbox.options
    if sandbox.faults.hit("lost", "ee"):
        await sandbox.store.run(lambda db: note(db, now, "ee", party.name, "lost", {"document": document}))
        return _accepted(sandbox, party, document)

    def take(db: sqlite3.Connection) -> int:
        if unjudged(db, "ee") >= options.queue_length:
            return 503
        if ids.taken(db, "ee", party.id("ee"), "message", [document]):
            return 400
        ids.register(db, "ee", party.id("ee"), "message", [document])
        _set_status(db, party.name, document, now, "PROCESSING", [])
        later(db, due, "ee", party.name, {"document": document, "eic": party.id("ee"), "series": series})
        return 202

    outcome = await sandbox.store.run(take)
    if outcome == 503:
        raise RefusedError(503, "too many messages wait", {"Retry-After": str(options.queue_retry_s)})
    if outcome == 400:
        return _errors(400, [ee_rules.error(DUPLICATE, f"document {document} was received before")])
    return _accepted(sandbox, party, document)


def judge(db: sqlite3.Connection, sandbox: "Sandbox", party: str, work: dict[str, Any]) -> None:
    """Judge a message that waited: it is taken over whole, or not at all."""
    now, options = sandbox.now(), sandbox.options
    found = ee_rules.judge(db, work["series"], work["eic"], now, options.points == "registered")
    accepted = [] if found else list(ee_rules.accepted(work["series"], party, work["document"]))
    same = [series for series in accepted if effects.unchanged(db, series)]
    for series in same:
        facts = {"document": work["document"], "point": series.point, "direction": series.direction}
        note(db, now, "ee", party, "unchanged", facts)
    if same and options.reject_unchanged:
        found = [ee_rules.error(DUPLICATE, f"{series.point}: nothing differs from what is stored") for series in same]
        accepted = []
    for series in accepted:
        effects.accept(db, series, now)
    _set_status(db, party, work["document"], now, "ERROR" if found else "SUCCESSFUL", found)


def identified(document: str) -> str:
    """Return the id of a message; raises RefusedError when it is none."""
    if not _UUID.fullmatch(document):
        raise RefusedError(400, "the id of the message has to be a UUID (x-document-identification, or the file name)")
    return document


def _headers(request: web.Request, party: Party) -> str:
    """Check the header fields of a message and return its id; raises RefusedError."""
    document = identified(request.headers.get("x-document-identification", "").lower())
    if request.headers.get("x-commodity-type", "").upper() != "ELECTRICITY":
        raise RefusedError(400, "x-commodity-type has to be ELECTRICITY here")
    if request.headers.get("x-market-participant-role", "") not in party.roles.get("ee", ()):
        raise RefusedError(403, "x-market-participant-role is not a role of the client")
    if request.headers.get("x-market-participant-eic", "") != party.id("ee"):
        raise RefusedError(403, "opp.error.business.market-participant-mismatch-error: the EIC is not the client's")
    if request.content_type != "application/json":
        raise RefusedError(415, "Content-Type has to be application/json")
    return document


async def _status(sandbox: "Sandbox", party: Party, document: str) -> web.Response:
    query = "SELECT at, state, report FROM status WHERE profile = 'ee' AND party = ? AND document = ?"
    row = await sandbox.store.run(lambda db: db.execute(query, (party.name, document)).fetchone())
    if row is None or row[0] < sandbox.now() - _STATUS_S:
        text = f"document {document} has no status"
        return _errors(404, [ee_rules.error("sandbox.error.status-not-found", text)])
    at, state, report = row
    kept = at >= sandbox.now() - _REPORT_S
    shown = {"documentIdentification": document, "status": state, "statusTime": to_seconds(at)}
    return web.json_response(shown | ({"errors": json.loads(report)} if state == "ERROR" and kept else {}))


def _set_status(  # noqa: PLR0913, PLR0917 - the columns
    db: sqlite3.Connection, party: str, document: str, at: int, state: str, report: list[dict[str, str]]
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO status VALUES ('ee', ?, ?, ?, ?, ?)",
        (party, document, at, state, json.dumps(report[:1000])),
    )


def _accepted(sandbox: "Sandbox", party: Party, document: str) -> web.Response:
    sandbox.arrived("ee", party, f"message {document}", "202")
    return web.Response(status=202)


def _errors(status: int, errors: list[dict[str, str]]) -> web.Response:
    return web.json_response({"errors": errors}, status=status)
