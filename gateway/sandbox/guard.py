"""Who may ask what: the first part of the path says whether a token, a certificate or the admin token is needed.

Every refusal is one line with a status from 400 up; nothing that a client sends becomes a traceback.
"""

import asyncio
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
#: octets of a body at most: a bundle of 2 750 series of a day
MAX_BODY: Final = 64 * 1024 * 1024
#: octets of a body that count as large, how many such are read at once, and seconds for a body to arrive
_LARGE: Final = 1_000_000
_LARGE_AT_ONCE: Final = 4
_BODY_S: Final = 60.0
#: octets of a body where nobody says who he is
_OF_ANYBODY: Final = 8192
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
    large = asyncio.Semaphore(_LARGE_AT_ONCE)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _plain(request)
            prove = _PROOFS.get(GUARDS.get(profile(request), ""))
            if prove:
                prove(sandbox, request)
            await _receive(request, large)
            return await handler(request)
        except RefusedError as error:
            sandbox.arrived(profile(request), request.get(PARTY), f"{request.method} {request.path}", str(error))
            return refusal(request, error.status, str(error), error.headers)
        except web.HTTPRequestEntityTooLarge:
            return refusal(request, 413, "the body is too large")
        except TimeoutError:
            return refusal(request, 408, "the body takes too long")
        except (web.RequestPayloadError, ConnectionError):
            return refusal(request, 400, "the body ended too early")
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


async def _receive(request: web.Request, large: asyncio.Semaphore) -> None:
    """Read the body, which handlers find again in the request: within a time, and only a few large ones at once."""
    length = request.content_length
    if profile(request) not in GUARDS and not 0 <= (length or 0) <= _OF_ANYBODY:
        raise RefusedError(413, "the body is too large")
    if (length or 0) > MAX_BODY:
        raise RefusedError(413, "the body is too large")
    async with asyncio.timeout(_BODY_S):
        if not request.body_exists or (length is not None and length <= _LARGE):
            await request.read()
            return
        if profile(request) not in GUARDS:
            raise RefusedError(411, "Content-Length is missing")
        async with large:
            await request.read()


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
