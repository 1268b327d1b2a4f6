"""Who may ask what: the first part of the path says whether a token, a certificate or the admin token is needed.

Every refusal is one line with a status from 400 up; nothing that a client sends becomes a traceback.
"""

import hmac
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.sandbox import tls
from gateway.sandbox.parties import Party
from gateway.sandbox.store import StoreError

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: first part of the path -> what proves who asks; what is not here needs nobody
GUARDS: Final[dict[str, str]] = {
    "dk": "token",
    "ee": "token",
    "lt": "token",
    "api": "token",
    "eu": "certificate",
    "ote": "certificate",
    "control": "admin",
}
#: who speaks; absent where a path needs nobody
PARTY: Final = web.RequestKey("party", Party)
_LOG: Final = logging.getLogger("sandbox")


class RefusedError(RuntimeError):
    """A request that is refused: status and one sentence."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


def profile(request: web.Request) -> str:
    """Return the first part of the path."""
    return request.path.split("/", 2)[1]


def middleware(sandbox: "Sandbox") -> Middleware:
    """Make the outermost middleware: it says who asks, and answers what was refused."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _plain(request)
            prove = _PROOFS.get(GUARDS.get(profile(request), ""))
            if prove:
                prove(sandbox, request)
            return await handler(request)
        except RefusedError as error:
            sandbox.arrived(profile(request), request.get(PARTY), f"{request.method} {request.path}", str(error))
            return refusal(request, error.status, str(error), error.headers)
        except web.HTTPRequestEntityTooLarge:
            return refusal(request, 413, "the body is too large")
        except StoreError as error:
            _LOG.error("%s", error)
            return refusal(request, 503, "the store of the hub does not work", {"Retry-After": "5"})

    return guard


def refusal(request: web.Request, status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    """Answer one sentence: plain text, or a problem of RFC 9457 under /api."""
    if profile(request) != "api":
        return web.Response(status=status, text=f"{text}\n", headers=headers)
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": text}
    return web.json_response(problem, status=status, headers=headers, content_type="application/problem+json")


def _plain(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise RefusedError(415, "send the body as it is: no Content-Encoding is accepted")


def _token(sandbox: "Sandbox", request: web.Request) -> None:
    authorization = request.headers.get("Authorization", "")
    if sandbox.faults.hit("expired_token", profile(request)):
        sandbox.tokens.expire(authorization)
    party = sandbox.tokens.holder(authorization)
    if party is None:
        raise RefusedError(401, "no token, or one that expired", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    request[PARTY] = party


def _certificate(sandbox: "Sandbox", request: web.Request) -> None:
    connection = request.transport.get_extra_info("ssl_object") if request.transport else None
    serial = tls.serial(connection)
    if serial is None:
        raise RefusedError(403, "this profile needs a client certificate")
    party = sandbox.parties.certified(serial)
    if party is None:
        raise RefusedError(403, f"the client certificate {serial} belongs to no party of parties.json")
    request[PARTY] = party


def _admin(sandbox: "Sandbox", request: web.Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), sandbox.admin_token.encode()):
        raise RefusedError(401, "/control needs the token of admin.token as bearer", {"WWW-Authenticate": "Bearer"})


_PROOFS: Final = {"token": _token, "certificate": _certificate, "admin": _admin}
