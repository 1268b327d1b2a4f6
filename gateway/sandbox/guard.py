"""Who may ask what: the first part of the path says whether a token, a certificate or the admin token is needed.

Every refusal is one line with a status from 400 up; nothing that a client sends becomes a traceback.
"""

import hmac
import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.sandbox import tls
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
            request["party"] = None
            prove = _PROOFS.get(GUARDS.get(profile(request), ""))
            if prove:
                prove(sandbox, request)
            return await handler(request)
        except RefusedError as error:
            sandbox.arrived(profile(request), request.get("party"), f"{request.method} {request.path}", str(error))
            return web.Response(status=error.status, text=f"{error}\n", headers=error.headers)
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text="the body is too large\n")
        except StoreError as error:
            _LOG.error("%s", error)
            return web.Response(status=503, text="the store of the hub does not work\n", headers={"Retry-After": "5"})

    return guard


def _plain(request: web.Request) -> None:
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise RefusedError(415, "send the body as it is: no Content-Encoding is accepted")


def _token(sandbox: "Sandbox", request: web.Request) -> None:
    authorization = request.headers.get("Authorization", "")
    if sandbox.faults.hit("expired_token", profile(request)):
        sandbox.tokens.expire(authorization)
    request["party"] = sandbox.tokens.holder(authorization)
    if request["party"] is None:
        raise RefusedError(401, "no token, or one that expired", {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _certificate(sandbox: "Sandbox", request: web.Request) -> None:
    connection = request.transport.get_extra_info("ssl_object") if request.transport else None
    serial = tls.serial(connection)
    if serial is None:
        raise RefusedError(403, "this profile needs a client certificate")
    request["party"] = sandbox.parties.certified(serial)
    if request["party"] is None:
        raise RefusedError(403, f"the client certificate {serial} belongs to no party of parties.json")


def _admin(sandbox: "Sandbox", request: web.Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), sandbox.admin_token.encode()):
        raise RefusedError(401, "/control needs the token of admin.token as bearer", {"WWW-Authenticate": "Bearer"})


_PROOFS: Final = {"token": _token, "certificate": _certificate, "admin": _admin}
