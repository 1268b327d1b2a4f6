"""The Danish profile (cim-json, cim-xml; hubs.md 1): 202 or 400 at once, judged later, rejects fetched from a queue.

POST   /dk/v1.0/cim/notifyvalidatedmeasuredata     RSM-012: 202, or 400 with the error body
POST   /dk/v1.0/cim/requestwholesalesettlement     BRS-028: 202, or 400 with the error body
GET    /dk/v1.0/cim/Timeseries                     peek RSM-009 and RSM-018: 200 with MessageId, or 204
GET    /dk/v1.0/cim/Aggregations                   peek RSM-017 and RSM-019
DELETE /dk/v1.0/cim/dequeue/{id}                   200, or 400 when it was not peeked
"""

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.sandbox import dk_check, dk_rules, dk_sums, dk_write, effects, ids, queues
from gateway.sandbox.control import note
from gateway.sandbox.dk_read import NOTIFY, WHOLESALE, Document, NamespaceError, read
from gateway.sandbox.guard import PARTY, RefusedError
from gateway.sandbox.judging import later
from gateway.sandbox.parties import Party
from gateway.sandbox.schemas import DocumentError

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

_BASE: Final = "/dk/v1.0/cim"
_PATHS: Final = {"notifyvalidatedmeasuredata": NOTIFY, "requestwholesalesettlement": WHOLESALE}
#: media type -> whether it is XML
MEDIA: Final = {"application/json": False, "application/xml": True, "text/xml": True}
#: what is peeked where
_CATEGORIES: Final = {"timeseries": "Timeseries", "aggregations": "Aggregations"}
#: media types as the DataHub lists them
_LIST: Final = "application/json, application/xml, application/ebix (which this test hub does not have)"


class _UsedError(RuntimeError):
    """Ids were used before: nothing of the transaction stays."""

    def __init__(self, found: list[dk_check.Fault]) -> None:
        super().__init__("ids were used before")
        self.found = found


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """Every route of the profile."""

    async def send(request: web.Request) -> web.Response:
        kind = _PATHS.get(request.match_info["name"].lower())
        if kind is None:
            raise RefusedError(404, f"unknown document type {request.match_info['name'][:60]!r}")
        xml = _is_xml(request.content_type if "Content-Type" in request.headers else "")
        return await ingest(sandbox, request[PARTY], kind, await request.read(), xml)

    async def peek(request: web.Request) -> web.Response:
        category = _CATEGORIES.get(request.match_info["category"].lower())
        if category is None:
            raise RefusedError(404, f"unknown category {request.match_info['category'][:60]!r}")
        asked = request.content_type if "Content-Type" in request.headers else request.headers.get("Accept", "")
        return await _peek(sandbox, request[PARTY], category, _is_xml(asked))

    async def dequeue(request: web.Request) -> web.Response:
        return await _dequeue(sandbox, request[PARTY], request.match_info["id"])

    return [
        web.post(f"{_BASE}/{{name}}", send),
        web.get(f"{_BASE}/{{category}}", peek),
        web.delete(f"{_BASE}/dequeue/{{id}}", dequeue),
    ]


async def ingest(sandbox: "Sandbox", party: Party, kind: str, body: bytes, xml: bool) -> web.Response:
    """Take a document as a POST does: 202 when it is stored and waits for its judgement, else 400."""
    try:
        document = read(kind, body, xml)
    except NamespaceError as error:
        return _refuse(sandbox, party, [dk_check.Fault("00301", str(error), "Schema")])
    except DocumentError as error:
        return _refuse(sandbox, party, [dk_check.Fault("00302", str(error), "Schema")])
    found = dk_check.faults(document, kind, party)
    try:
        if not found:
            await _take(sandbox, party, kind, document)
    except _UsedError as error:
        found = error.found
    if found:
        return _refuse(sandbox, party, found)
    sandbox.arrived("dk", party, f"{kind} {document.header.id}, {len(document.transactions)} transactions", "202")
    return web.Response(status=202)


async def _take(sandbox: "Sandbox", party: Party, kind: str, document: Document) -> None:
    """Register ids and hand the document over, in one transaction; raises _UsedError."""
    now, due = sandbox.now(), time.time() + sandbox.options.delay_s
    if sandbox.faults.hit("lost", "dk"):
        await sandbox.store.run(lambda db: note(db, now, "dk", party.name, "lost", {"document": document.header.id}))
        return
    work = _work(kind, document, party)
    window = sandbox.options.race_s
    if window:
        # What hubs.md 1.6 warns of: the message is handed over before its ids are there.
        await sandbox.store.run(lambda db: _check(db, document, party))
        await asyncio.sleep(window)
        await sandbox.store.run(lambda db: later(db, due, "dk", party.name, work))
        await sandbox.store.run(lambda db: _claim(db, document, party))
        return

    def take(db: sqlite3.Connection) -> None:
        _claim(db, document, party)
        later(db, due, "dk", party.name, work)

    await sandbox.store.run(take)


def _check(db: sqlite3.Connection, document: Document, party: Party) -> None:
    sender = party.id("dk")
    known = ids.taken(db, "dk", sender, "message", [document.header.id])
    repeated = ids.taken(db, "dk", sender, "transaction", document.transactions)
    if known or repeated:
        # The message is told first; its transactions were used with it.
        raise _UsedError(dk_check.used(document.header.id, set() if known else repeated, known))


def _claim(db: sqlite3.Connection, document: Document, party: Party) -> None:
    _check(db, document, party)
    ids.register(db, "dk", party.id("dk"), "message", [document.header.id])
    ids.register(db, "dk", party.id("dk"), "transaction", document.transactions)


def _work(kind: str, document: Document, party: Party) -> dict[str, Any]:
    header = document.header
    work = {"kind": kind, "document": header.id, "process": header.process, "role": header.sender_role}
    work |= {"sender": party.id("dk")}
    if kind == NOTIFY:
        return work | {"series": [dk_rules.kept(series) for series in document.measured]}
    return work | {"series": [dk_sums.kept(series) for series in document.wanted]}


def judge(db: sqlite3.Connection, sandbox: "Sandbox", party: str, work: dict[str, Any]) -> None:
    """Judge a document that waited: take over what breaks no rule, queue an answer for the rest."""
    if work["kind"] == NOTIFY:
        _judge_measured(db, sandbox, party, work)
    elif not sandbox.options.no_sums:
        _answer_wanted(db, sandbox, party, work)


def _judge_measured(db: sqlite3.Connection, sandbox: "Sandbox", party: str, work: dict[str, Any]) -> None:
    rejected = []
    for series in work["series"]:
        found = _judge_one(db, sandbox, party, work, series)
        if found:
            rejected.append({"id": series["id"], "reasons": [list(reason) for reason in found]})
    size = max(1, sandbox.options.bundle)
    for i in range(0, len(rejected), size):
        facts = {"received": work["document"], "process": work["process"], "series": rejected[i : i + size]}
        put(db, sandbox, party, "Timeseries", "rsm-009", facts | {"receiver": work["sender"], "role": work["role"]})


def _judge_one(
    db: sqlite3.Connection, sandbox: "Sandbox", party: str, work: Mapping[str, Any], series: Mapping[str, Any]
) -> list[dk_rules.Reason]:
    """Take a series over, or return why not."""
    now, options = sandbox.now(), sandbox.options
    known = (options.points == "registered", options.oldest_days)
    found = dk_rules.judge(db, series, work["sender"], now, known)
    if isinstance(found, list):
        return found
    direction = dk_rules.DIRECTIONS.get(series["type"], series["type"])
    accepted = effects.Accepted(
        "dk", party, series["point"], direction, series["unit"], found.start, found.end, series["resolution"],
        work["document"], series["id"], found.values,
    )  # fmt: skip
    if effects.unchanged(db, accepted):
        facts = {"document": work["document"], "transaction": series["id"], "point": series["point"]}
        note(db, now, "dk", party, "unchanged", facts)
        if options.reject_unchanged:
            return [dk_rules.Reason("E87", "Uændret tidsserie / The series changes nothing that is stored")]
    effects.accept(db, accepted, now)
    return []


def _answer_wanted(db: sqlite3.Connection, sandbox: "Sandbox", party: str, work: dict[str, Any]) -> None:
    common = {"process": work["process"], "receiver": work["sender"], "role": work["role"]}
    for series in work["series"]:
        why = dk_sums.reasons(series, work["process"], work["role"], work["sender"], sandbox.now())
        if why:
            entry = {"id": _new_id(), "original": series["id"], "reasons": [list(reason) for reason in why]}
            put(db, sandbox, party, "Aggregations", "rsm-017", common | {"series": [entry]})
            continue
        sums = [entry | {"id": _new_id()} for entry in dk_sums.answer(db, series, work["sender"], party)]
        if sums:
            put(db, sandbox, party, "Aggregations", "rsm-019", common | {"series": sums})
        else:
            none = [["E0H", "Ingen data / No data is available"]]
            entry = {"id": _new_id(), "original": series["id"], "reasons": none}
            put(db, sandbox, party, "Aggregations", "rsm-017", common | {"series": [entry]})


def put(  # noqa: PLR0913, PLR0917 - what a bundle needs
    db: sqlite3.Connection, sandbox: "Sandbox", party: str, category: str, kind: str, facts: Mapping[str, Any]
) -> None:
    """Queue a document for a party; its own id is also the id of its bundle."""
    id_ = _new_id()
    whole = {**facts, "id": id_, "created": sandbox.stamp()}
    queues.put(db, sandbox.now(), "dk", party, category, queues.Bundle(id_, kind, whole))


async def _peek(sandbox: "Sandbox", party: Party, category: str, xml: bool) -> web.Response:
    stranger = category == "Timeseries" and sandbox.faults.hit("stranger", "dk") is not None

    def peek(db: sqlite3.Connection) -> queues.Bundle | None:
        if stranger:
            series = [{"id": _new_id(), "reasons": [["E10", "Målepunktet findes ikke / Unknown metering point"]]}]
            facts = {"received": _new_id(), "process": "E23", "series": series}
            put(db, sandbox, party.name, category, "rsm-009", facts | {"receiver": party.id("dk"), "role": "MDR"})
        return queues.peek(db, "dk", party.name, category)

    found = await sandbox.store.run(peek)
    if found is None:
        return web.Response(status=204)
    body, media = dk_write.document(found.kind, found.facts, xml)
    name = dk_write.name(found.kind).removesuffix("_MarketDocument")
    return web.Response(body=body, content_type=media, headers={"MessageId": found.id, "MessageType": name})


async def _dequeue(sandbox: "Sandbox", party: Party, bundle: str) -> web.Response:
    now = sandbox.now()
    if sandbox.faults.hit("undequeued", "dk"):
        return web.Response(status=200)
    if await sandbox.store.run(lambda db: queues.dequeue(db, "dk", party.name, bundle, now)):
        return web.Response(status=200)
    raise RefusedError(400, "this bundle was not peeked, or is gone already")


def _refuse(sandbox: "Sandbox", party: Party, found: list[dk_check.Fault]) -> web.Response:
    """Answer 400 with the error body: one fault as itself, several as details."""
    shown = [{"Code": fault.code, "Message": fault.message, "Target": fault.target} for fault in found]
    error: dict[str, Any] = shown[0]
    if len(shown) > 1:
        error = {"Code": "BadRequest", "Message": "Multiple errors in details", "Details": shown}
    sandbox.arrived("dk", party, "refused", " ".join(fault.code for fault in found))
    return web.json_response({"Error": error}, status=400, dumps=lambda value: json.dumps(value, ensure_ascii=False))


def _is_xml(media: str) -> bool:
    for known, xml in MEDIA.items():
        if media.partition(";")[0].strip().lower() == known:
            return xml
    raise RefusedError(415, f"Content-Type has to be one of {_LIST}")


def _new_id() -> str:
    return str(uuid.uuid4())
