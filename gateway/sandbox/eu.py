"""The EU profile (hubs.md 4.1): ValidatedHistoricalData v1.04 over mutual TLS, judged with Acknowledgement v1.12.

POST   /eu/vhd         200 with the acknowledgement; 202 when it is queued (option `ack`) ; 400 for what is no document
GET    /eu/ack         200 with one acknowledgement and MessageId, or 204
DELETE /eu/ack/{id}    200; 400 for one that was not fetched
"""

import json
import sqlite3
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.sandbox import effects, eu_rules, ids, queues
from gateway.sandbox.control import note
from gateway.sandbox.eu_ack import write
from gateway.sandbox.eu_read import Document, read
from gateway.sandbox.guard import PARTY, RefusedError
from gateway.sandbox.judging import later
from gateway.sandbox.parties import Party
from gateway.sandbox.schemas import DocumentError

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

_XML: Final = ("application/xml", "text/xml")


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """Every route of the profile."""

    async def send(request: web.Request) -> web.Response:
        if request.content_type not in _XML:
            raise RefusedError(415, "Content-Type has to be application/xml")
        return await ingest(sandbox, request[PARTY], await request.read())

    async def fetch(request: web.Request) -> web.Response:
        return await _fetch(sandbox, request[PARTY])

    async def done(request: web.Request) -> web.Response:
        party, id_, now = request[PARTY], request.match_info["id"], sandbox.now()
        if sandbox.faults.hit("undequeued", "eu"):
            return web.Response(status=200)
        if await sandbox.store.run(lambda db: queues.dequeue(db, "eu", party.name, id_, now)):
            return web.Response(status=200)
        raise RefusedError(400, "this acknowledgement was not fetched, or is gone already")

    return [web.post("/eu/vhd", send), web.get("/eu/ack", fetch), web.delete("/eu/ack/{id}", done)]


async def ingest(sandbox: "Sandbox", party: Party, body: bytes) -> web.Response:
    """Take a document as a POST does: its acknowledgement, or 202 when that comes later."""
    try:
        document = read(body)
    except DocumentError as error:
        raise RefusedError(400, str(error)) from None
    now, due = sandbox.now(), time.time() + sandbox.options.delay_s
    if sandbox.faults.hit("lost", "eu"):
        await sandbox.store.run(lambda db: note(db, now, "eu", party.name, "lost", {"document": document.id}))
        return web.Response(status=202)
    if sandbox.options.ack == "queued":
        work = {"body": body.decode("latin-1")}
        await sandbox.store.run(lambda db: later(db, due, "eu", party.name, work))
        sandbox.arrived("eu", party, f"document {document.id}", "202")
        return web.Response(status=202)
    facts = await sandbox.store.run(lambda db: _judge(db, sandbox, party, document))
    sandbox.arrived("eu", party, f"document {document.id}", " ".join(code for code, _ in facts["reasons"]))
    return web.Response(body=write(facts), content_type="application/xml", headers={"MessageId": facts["id"]})


def judge(db: sqlite3.Connection, sandbox: "Sandbox", party: str, work: dict[str, Any]) -> None:
    """Judge a document that waited, and queue its acknowledgement."""
    speaker = sandbox.parties.named(party)
    if speaker is None:
        return
    document = read(work["body"].encode("latin-1"))
    facts = _judge(db, sandbox, speaker, document)
    queues.put(db, sandbox.now(), "eu", party, "ack", queues.Bundle(facts["id"], "ack", facts))


def _judge(db: sqlite3.Connection, sandbox: "Sandbox", party: Party, document: Document) -> dict[str, Any]:
    """Take over what breaks no rule, and return the facts of the acknowledgement."""
    reasons = eu_rules.of_document(document, party, sandbox.options.hub_eic)
    if reasons:
        return _facts(sandbox, document, reasons, [])
    if ids.taken(db, "eu", party.id("eu"), "message", [document.id]):
        again = eu_rules.Reason("A51", f"document {document.id} was received before")
        return _facts(sandbox, document, [again], _rejected_before(db, party, document))
    rejected = []
    for series in document.series:
        found = _take(db, sandbox, party, document, series)
        if found:
            rejected.append({"id": series.id, "version": str(series.version), "reasons": [list(r) for r in found]})
    if len(rejected) == len(document.series):
        return _facts(sandbox, document, [eu_rules.Reason("A02", "every series was rejected")], rejected)
    # What was refused as a whole may come again under its id; what was taken over, even in part, may not.
    ids.register(db, "eu", party.id("eu"), "message", [document.id])
    _remember(db, sandbox, party, document, rejected)
    reason = eu_rules.Reason("A03", "some series were rejected") if rejected else eu_rules.Reason("A01", "accepted")
    return _facts(sandbox, document, [reason], rejected)


def _remember(
    db: sqlite3.Connection, sandbox: "Sandbox", party: Party, document: Document, rejected: list[dict[str, Any]]
) -> None:
    """Keep what was rejected, so that a copy of the document is told the same."""
    row = (party.name, document.id, sandbox.now(), "A03" if rejected else "A01", json.dumps(rejected))
    db.execute("INSERT OR REPLACE INTO status VALUES ('eu', ?, ?, ?, ?, ?)", row)


def _rejected_before(db: sqlite3.Connection, party: Party, document: Document) -> list[dict[str, Any]]:
    query = "SELECT report FROM status WHERE profile = 'eu' AND party = ? AND document = ?"
    row = db.execute(query, (party.name, document.id)).fetchone()
    found: list[dict[str, Any]] = json.loads(row[0]) if row else []
    return found


def _take(
    db: sqlite3.Connection, sandbox: "Sandbox", party: Party, document: Document, series: Any
) -> list[eu_rules.Reason]:
    """Take a series over, or return why not."""
    now, options = sandbox.now(), sandbox.options
    oldest = now - options.oldest_days * 86_400
    bounds = eu_rules.Bounds(options.hub_eic, options.points == "registered", oldest, options.reject_unchanged)
    found = eu_rules.of_series(db, series, document, party.id("eu"), bounds)
    if found:
        return found
    accepted = eu_rules.accepted(series, party.name, document.id)
    found = eu_rules.of_version(db, accepted)
    if not found and effects.unchanged(db, accepted):
        facts = {"document": document.id, "point": accepted.point, "version": series.version}
        note(db, now, "eu", party.name, "unchanged", facts)
        if options.reject_unchanged:
            found = [eu_rules.Reason("A59", "the series changes nothing that is stored")]
    if not found:
        effects.accept(db, accepted, now)
    return found


def _facts(
    sandbox: "Sandbox", document: Document, reasons: list[eu_rules.Reason], rejected: list[dict[str, Any]]
) -> dict[str, Any]:
    if reasons[0].code not in ("A01", "A02", "A03"):
        reasons = [eu_rules.Reason("A02", "the document was rejected"), *reasons]
    return {
        "id": str(uuid.uuid4()),
        "created": sandbox.stamp(),
        "hub": sandbox.options.hub_eic or document.receiver[0],
        "receiver": list(document.sender),
        "document": document.id,
        "revision": document.revision,
        "type": document.type,
        "process": document.process,
        "sent": document.created,
        "reasons": [list(reason) for reason in reasons],
        "rejected": rejected,
    }


async def _fetch(sandbox: "Sandbox", party: Party) -> web.Response:
    stranger = sandbox.faults.hit("stranger", "eu") is not None

    def peek(db: sqlite3.Connection) -> queues.Bundle | None:
        if stranger:
            queues.put(db, sandbox.now(), "eu", party.name, "ack", _strange(sandbox, party))
        return queues.peek(db, "eu", party.name, "ack")

    found = await sandbox.store.run(peek)
    if found is None:
        return web.Response(status=204)
    return web.Response(body=write(found.facts), content_type="application/xml", headers={"MessageId": found.id})


def _strange(sandbox: "Sandbox", party: Party) -> queues.Bundle:
    """An acknowledgement of a document that nobody sent."""
    now, receiver = sandbox.now(), (party.id("eu"), "A01", "A58")
    unknown = Document(
        str(uuid.uuid4()), None, "A45", sandbox.stamp(), "A16", receiver, ("", "A01", "A39"), now, now, ()
    )
    facts = _facts(sandbox, unknown, [eu_rules.Reason("A02", "rejected")], [])
    return queues.Bundle(facts["id"], "ack", facts)
