"""Procedures 1 to 4 of Regulation (EU) 2023/1162 over a REST API: the table of its operations, and their routes.

`/openapi.json` is made of the same table that checks requests (docs/hubs/procedures.md shows a run). A login has the
role of a customer, an eligible party or an administrator (of metered data, permissions and metering points in one).
"""

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.sandbox import (
    guard,
    links,
    permissions,
    procedure_customer,
    procedure_pages,
    transmission,
)
from gateway.sandbox import procedure_schemas as schemas
from gateway.sandbox.openapi import PROBLEM, document
from gateway.sandbox.operations import MAX_BODY, Call, Checker, Operation, Principal, ProblemError, Reply
from gateway.sandbox.procedure_table import table

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

TABLES: Final = "".join(
    module.TABLES for module in (permissions, links, procedure_customer, procedure_pages, transmission)
)
ROLES: Final = {
    "customer": "a final customer, whose metering points are linked",
    "eligible": "an eligible party, to whom customers give permissions",
    "administrator": "an administrator of metered data, permissions and metering points",
}
INFO: Final = {
    "title": "meterd sandbox: procedures 1 to 4",
    "version": "1",
    "description": "Items A to L of Commission Implementing Regulation (EU) 2023/1162, for tests: no national hub.",
}


def routes(sandbox: "Sandbox") -> list[web.RouteDef]:
    """Every operation, and the document that describes them."""
    operations = table(sandbox.parties)
    checker = Checker({"Problem": PROBLEM, **schemas.SCHEMAS})
    described = document(operations, schemas.SCHEMAS, INFO, "/oauth2/token", ROLES)

    async def describe(_request: web.Request) -> web.Response:
        return web.json_response(described)

    made = [web.route(it.method, it.path, partial(_handle, sandbox, checker, it)) for it in operations]
    return [web.get("/openapi.json", describe, allow_head=False), *made]


async def _handle(sandbox: "Sandbox", checker: Checker, operation: Operation, request: web.Request) -> web.Response:
    party = request[guard.PARTY]
    roles = frozenset(party.roles.get("api", ()))
    try:
        reply = await _answer(sandbox, checker, operation, request, Principal(party.name, roles))
    except ProblemError as error:
        sandbox.arrived("api", party, operation.id, f"{error.status} {error}")
        return guard.refusal(request, error.status, str(error), dict(error.headers))
    sandbox.arrived("api", party, operation.id, str(reply.status))
    if reply.body is None:
        return web.Response(status=reply.status)
    return web.json_response(reply.body, status=reply.status)


async def _answer(
    sandbox: "Sandbox", checker: Checker, operation: Operation, request: web.Request, who: Principal
) -> Reply:
    if not operation.roles & who.roles:
        raise ProblemError(403, f"this needs the role {' or '.join(sorted(operation.roles))}")
    path = checker.parameters(operation, request.match_info)
    query = checker.query(operation, parse_qsl(request.query_string, keep_blank_values=True))
    body = checker.body(operation, await _read(request), request.headers.get("Content-Type", ""))
    now = sandbox.now()
    return await sandbox.store.run(lambda db: operation.handler(Call(db, who, path, query, body, now)))


async def _read(request: web.Request) -> bytes:
    """The body. Raises ProblemError 413."""
    if (request.content_length or 0) <= MAX_BODY and len(raw := await request.read()) <= MAX_BODY:
        return raw
    raise ProblemError(413, f"a body has at most {MAX_BODY} octets")
