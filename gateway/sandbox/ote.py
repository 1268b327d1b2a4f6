"""Profile `soap-mtls` at /ote: interval values by SOAP 1.1 behind client certificates, judged and answered at once.

`POST /ote/cdsdata` takes CDSDATA (electricity, local days) and CDSGASDATA (gas days), and answers RESPONSE or
GASRESPONSE. The same id with the same content is answered as it was before and changes nothing. `GET /ote/cdsdata?wsdl`
and `?xsd` describe the service; docs/hubs/sandbox.md says what of it is public and what is ours.
"""

import asyncio
import datetime as dt
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from lxml import etree

from gateway.sandbox import ote_rules, ote_xml
from gateway.sandbox.control import note
from gateway.sandbox.effects import Accepted, accept
from gateway.sandbox.guard import PARTY
from gateway.sandbox.ote_wsdl import NAMESPACE, XSD, wsdl
from gateway.sandbox.parties import Party

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

PATH: Final = "/ote/cdsdata"
TABLES: Final = """
CREATE TABLE IF NOT EXISTS ote_messages(
  n INTEGER PRIMARY KEY, at INTEGER NOT NULL, party TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL,
  accepted INTEGER NOT NULL, answer BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS ote_accepted ON ote_messages(party, id) WHERE accepted;
"""
#: what the page says of a message that is taken
_TAKEN, _KNOWN = "accepted", "received before, answered as before"
#: answers are numbered from here
_FIRST_ID: Final = 60_000_000_000_000


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """The service and its description."""
    service = _Service(sandbox)
    return [
        web.post(PATH, service.take),
        web.get(PATH, service.describe, allow_head=False),
    ]


async def ingest(sandbox: "Sandbox", party: Party, raw: bytes) -> web.Response:
    """Take a document that a person brought as a file: the answer that the service would give, 400 where it refuses."""
    try:
        message = await asyncio.to_thread(_read, raw, ote_xml.document)
    except ote_xml.FaultError as error:
        sandbox.arrived("ote", party, "file", f"fault {error.code}: {error}")
        return web.Response(status=400, body=ote_xml.fault(error))
    now = sandbox.now()
    judged = await asyncio.to_thread(message.judged, party, now)
    body, outcome = await sandbox.store.run(lambda connection: _judge(connection, message, party, judged, now))
    sandbox.arrived("ote", party, f"{message.name} {message.id} (file)", outcome)
    return web.Response(status=200 if outcome in (_TAKEN, _KNOWN) else 400, body=body)


class _Service:
    def __init__(self, sandbox: "Sandbox") -> None:
        self._sandbox = sandbox

    async def describe(self, request: web.Request) -> web.Response:
        """Answer ?wsdl and ?xsd."""
        asked = request.query_string.lower()
        if asked not in ("wsdl", "xsd"):
            raise web.HTTPNotFound(text=f"ask {PATH}?wsdl or {PATH}?xsd\n")
        text = XSD if asked == "xsd" else wsdl(f"{request.scheme}://{request.host}{PATH}")
        return web.Response(text=text, content_type="text/xml", charset="utf-8")

    async def take(self, request: web.Request) -> web.Response:
        """Answer a SOAP request: a document (200) or a fault (500)."""
        party: Party = request[PARTY]
        if request.content_type != "text/xml":
            raise web.HTTPUnsupportedMediaType(text="SOAP 1.1 is sent as text/xml\n")
        if (request.content_length or 0) > ote_xml.MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(ote_xml.MAX_BODY, request.content_length or 0)
        try:
            message = await asyncio.to_thread(_read, await request.read())
        except ote_xml.FaultError as error:
            self._sandbox.arrived("ote", party, "SOAP", f"fault {error.code}: {error}")
            return web.Response(status=500, body=ote_xml.fault(error), content_type="text/xml", charset="utf-8")
        now = self._sandbox.now()
        faults = self._sandbox.faults
        # The answer is the hub's last word: nobody could find what it loses. So it happens to who names this profile.
        named = (switch := faults.switches.get("lost")) is not None and switch.profile == "ote"
        judge = _forget if named and faults.hit("lost", "ote") else _judge
        judged = await asyncio.to_thread(message.judged, party, now)
        body, outcome = await self._sandbox.store.run(lambda db: judge(db, message, party, judged, now))
        self._sandbox.arrived("ote", party, f"{message.name} {message.id}", outcome)
        return web.Response(body=body, content_type="text/xml", charset="utf-8")


#: what a message carries, and every reason to refuse it
_Judged = tuple[list[ote_rules.Profile], list[ote_xml.Reason]]


class _Message:
    """A message that can be answered: it may break the schema, and then says how."""

    def __init__(self, root: Any, broken: str | None) -> None:
        self.root = root
        self.broken = broken
        self.name: str = etree.QName(root).localname
        self.id: str = root.get("id", "")
        self.digest = sha256(etree.tostring(root, method="c14n")).hexdigest()

    def judged(self, party: Party, now: int) -> _Judged:
        """What it carries, and every reason to refuse it."""
        if self.broken is not None:
            return [], [ote_rules.refusal("0301", self.broken)]
        sender = self.root.find(f"{{{NAMESPACE}}}SenderIdentification").get("id")
        profiles, reasons = ote_rules.profiles(self.root, now)
        return profiles, reasons if sender == party.id("ote") else [ote_rules.refusal("0303", sender), *reasons]


def _read(raw: bytes, parse: Callable[[bytes], Any] = ote_xml.message) -> _Message:
    """Raises FaultError: also for a message whose id is none, since no answer can refer to it."""
    try:
        return _Message(parse(raw), None)
    except ote_xml.SchemaError as error:
        id_ = error.root.get("id", "")
        if not (id_.isascii() and id_.isdigit() and len(id_) <= 20):
            raise ote_xml.FaultError("Client", f"the message has no id to answer to: {error}") from None
        return _Message(error.root, str(error))


def _judge(
    connection: sqlite3.Connection, message: _Message, party: Party, judged: _Judged, now: int
) -> tuple[bytes, str]:
    """Take a message over, or refuse it whole: the answer, and a line for the page."""
    known = connection.execute(
        "SELECT digest, answer FROM ote_messages WHERE party = ? AND id = ? AND accepted", (party.name, message.id)
    ).fetchone()
    if known is not None and known[0] == message.digest:
        return known[1], _KNOWN
    profiles, reasons = judged
    if known is not None:
        reasons = [ote_rules.refusal("0302", message.id)]
    for series in [] if reasons else [_series(message, profile, party) for profile in profiles]:
        if accept(connection, series, now).unchanged:
            facts = {"document": message.id, "point": series.point, "start": series.start}
            note(connection, now, "ote", party.name, "unchanged", facts)
    return _answer(connection, message, party, reasons, now)


def _forget(
    connection: sqlite3.Connection, message: _Message, party: Party, judged: _Judged, now: int
) -> tuple[bytes, str]:
    """Fault `lost`: the answer that taking over would have, and nothing of it is kept."""
    connection.execute("SAVEPOINT lost")
    body, outcome = _judge(connection, message, party, judged, now)
    connection.execute("ROLLBACK TO lost")
    note(connection, now, "ote", party.name, "lost", {"document": message.id})
    return body, f"{outcome}, and lost on purpose"


def _series(message: _Message, profile: ote_rules.Profile, party: Party) -> Accepted:
    return Accepted(
        "ote", party.name, profile.point, profile.direction, "KWH", profile.start, profile.end, profile.resolution,
        message.id, f"{message.id}-{profile.point}-{profile.direction}-{profile.start}", profile.values,
    )  # fmt: skip


def _answer(
    connection: sqlite3.Connection, message: _Message, party: Party, reasons: list[ote_xml.Reason], now: int
) -> tuple[bytes, str]:
    """Number and store the answer."""
    (last,) = connection.execute("SELECT coalesce(max(n), 0) FROM ote_messages").fetchone()
    local = dt.datetime.fromtimestamp(now, ote_rules.ZONE).strftime("%Y-%m-%dT%H:%M:%S")
    told = ote_xml.answer(
        ote_rules.ANSWERS[message.name],
        {"id": str(_FIRST_ID + last + 1), "date-time": local},
        (ote_rules.OPERATOR[message.name], _receiver(party)),
        message.id,
        reasons or [ote_rules.ACCEPTED],
    )
    body = ote_xml.envelope(told)
    connection.execute(
        "INSERT INTO ote_messages VALUES (?, ?, ?, ?, ?, ?, ?)",
        (last + 1, now, party.name, message.id, message.digest, not reasons, body),
    )
    return body, "; ".join(f"{reason.code} {reason.text}" for reason in reasons) or _TAKEN


def _receiver(party: Party) -> ote_xml.Party:
    """The party as the answer names it: an EAN-13 or an EIC."""
    id_ = party.id("ote")
    return ote_xml.Party(id_, "14" if id_.isdigit() else "15")
