"""The faults of a request: before it is looked at, instead of its answer, and in how the answer is sent."""

import asyncio
import email.utils
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.sandbox import guard

if TYPE_CHECKING:
    from gateway.sandbox.server import Sandbox

#: entities that would grow to 10**9 octets
_BOMB: Final = (
    '<?xml version="1.0"?>\n<!DOCTYPE z [<!ENTITY a0 "haha">'
    + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(9))
    + "]>\n<z>&a9;</z>"
).encode()
_PIECE: Final = bytes(65_536)


def middleware(sandbox: "Sandbox") -> Middleware:
    """Make the middleware that does wrong what the switches say; /control is always spared."""

    @web.middleware
    async def mischief(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = guard.profile(request)
        if name == "control" or not sandbox.faults.switches:
            return await handler(request)
        early = _before(sandbox, request, name)
        if early is not None:
            return early
        if sandbox.faults.hit("duplicate", name):
            await request.read()
            await handler(request)
        answer = await handler(request)
        answer = await _after(sandbox, request, name, answer)
        if sandbox.faults.value("skew") and not answer.prepared:
            answer.headers["Date"] = email.utils.formatdate(sandbox.now(), usegmt=True)
        slow = sandbox.faults.hit("slow", name)
        return await _drip(request, answer, slow.value or 0) if slow else answer

    return mischief


def _before(sandbox: "Sandbox", request: web.Request, name: str) -> web.Response | None:
    """What goes wrong before anything is done; None when nothing does."""
    if sandbox.faults.hit("drop_request", name):
        return _dropped(request)
    if switch := sandbox.faults.hit("error", name):
        return web.Response(status=_status(switch.value), text="this is the fault `error`\n")
    if switch := sandbox.faults.hit("overload", name):
        seconds = int(switch.value or 0)
        status = 429 if sandbox.faults.hits["overload"] % 2 else 503
        return web.Response(status=status, text="too much to do\n", headers={"Retry-After": str(seconds)})
    if switch := sandbox.faults.hit("overload_date", name):
        when = email.utils.formatdate(sandbox.now() + (switch.value or 0), usegmt=True)
        return web.Response(status=503, text="too much to do\n", headers={"Retry-After": when})
    return None


async def _after(sandbox: "Sandbox", request: web.Request, name: str, answer: web.StreamResponse) -> web.StreamResponse:
    """What goes wrong after everything was done: another answer than the true one."""
    if sandbox.faults.hit("drop_response", name):
        return _dropped(request)
    if switch := sandbox.faults.hit("error_after", name):
        return web.Response(status=_status(switch.value), text="this is the fault `error_after`\n")
    if switch := sandbox.faults.hit("huge", name):
        return await _huge(request, int(switch.value or 0))
    return _lie(sandbox, name, answer.content_type) or answer


def _lie(sandbox: "Sandbox", name: str, content_type: str) -> web.Response | None:
    """An answer that is none; None when the true one is given."""
    if sandbox.faults.hit("error_in_200", name):
        return web.json_response({"Error": {"Code": "500", "Message": "internal error", "Target": "hub"}})
    if sandbox.faults.hit("garbage", name):
        return web.Response(body=b"\x00\xff\xfe{]<" * 50, content_type=content_type)
    if sandbox.faults.hit("encoding", name):
        return web.Response(body=b"not gzip at all", headers={"Content-Encoding": "gzip"})
    if sandbox.faults.hit("bomb", name):
        return web.Response(body=_BOMB, content_type="application/xml")
    return None


def _dropped(request: web.Request) -> web.Response:
    """Close the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _huge(request: web.Request, octets: int) -> web.StreamResponse:
    """Send octets until there are enough or the client has had enough."""
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    try:
        for _ in range(0, octets, len(_PIECE)):
            await answer.write(_PIECE)
    except ConnectionError:
        pass
    return answer


async def _drip(request: web.Request, answer: web.StreamResponse, seconds: float) -> web.StreamResponse:
    """Send an answer octet by octet, spread over some seconds; as a chunked body, so that its length is unknown."""
    body = answer.body if isinstance(answer, web.Response) else None
    content = bytes(body) if isinstance(body, bytes | bytearray) else b""
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "server")}
    slow = web.StreamResponse(status=answer.status, headers=headers)
    try:
        if not content:
            await asyncio.sleep(seconds)
            return web.Response(status=answer.status, headers=headers)
        await slow.prepare(request)
        for i in range(0, len(content), step := max(1, len(content) // 50)):
            await slow.write(content[i : i + step])
            await asyncio.sleep(seconds * step / len(content))
    except ConnectionError:
        pass
    return slow


def _status(value: float | None) -> int:
    return int(value or 0) if 400 <= int(value or 0) <= 599 else 500
