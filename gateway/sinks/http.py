"""The least of HTTP/1.1 (RFC 9112) that answers GET requests of a local network, bounded in every direction.

A request head has at most MAX_HEAD octets and a body at most MAX_BODY, which is read and not looked at; a head must be
whole HEAD_S after the answer before it, else the connection ends. A browser that a foreign page sends here by DNS
rebinding is known by the name in its Host field, which is neither an address nor a local name.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from gateway.sinks.listener import Client, Listener

MAX_HEAD = 4_096
MAX_BODY = 1_024
#: until a request must be whole (s); clients that keep a connection ask again within it
HEAD_S = 30.0
#: endings of names that only a local network resolves (RFC 6762, RFC 8375, ICANN: internal; lan by wide use)
LOCAL = (".local", ".home.arpa", ".internal", ".lan", ".localdomain")


class Request(NamedTuple):
    """A request: its path without the query."""

    method: str
    path: str


class Response(NamedTuple):
    """An answer; `allow` names the methods of a resource that does not have the one that was asked for."""

    status: int
    body: bytes
    content_type: str = "application/json"
    allow: str = ""


class BadRequestError(Exception):
    """A request that is refused, and the connection with it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = error(status, text)


def error(status: int, text: str) -> Response:
    """An error as HomeWizard's API tells it: `{"error": {"id": ..., "description": ...}}`."""
    return Response(status, msgspec.json.encode({"error": {"id": status, "description": text}}))


def is_local(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host field names this machine as a local network does: an address, one word, or a local name."""
    name = host.lower().rstrip(".")
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") <= 1:
        name = name.partition(":")[0]
    name = name.rstrip(".")
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(LOCAL) or name in names)
    return True


class HttpClient(Client):
    """One connection; `handle` answers each request at once."""

    def __init__(self, listener: Listener, handle: Callable[[Request], Response], hosts: Collection[str]) -> None:
        super().__init__(listener)
        self._handle = handle
        self._hosts = hosts
        self._buffer = bytearray()
        self._deadline: asyncio.TimerHandle | None = None

    def admitted(self) -> None:
        """Wait for the first request."""
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer a request that is whole. Whoever asks on before the answer gets this one, and no other."""
        if self.transport is None or self.transport.is_closing():
            return
        self._buffer += data
        try:
            head = self._head()
            if head is not None:
                self._answer(self._respond(head), keep=head.keep and not self._buffer)
        except BadRequestError as refused:
            self._answer(refused.response, keep=False)

    def _head(self) -> "_Head | None":
        """Take a request with its body out of the buffer; None until it is whole."""
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                raise BadRequestError(431, "the request is too long")
            return None
        head = _Head.parse(bytes(self._buffer[:end]))
        if len(self._buffer) < end + 4 + head.length:
            return None
        del self._buffer[: end + 4 + head.length]
        return head

    def _respond(self, head: "_Head") -> Response:
        if head.host is not None and not is_local(head.host, self._hosts):
            raise BadRequestError(403, "this name is not known here: ask by address, or add it to hosts")
        return self._handle(Request(head.method, head.path))

    def _answer(self, response: Response, *, keep: bool) -> None:
        if self.transport is None:
            return
        if self.transport.get_write_buffer_size():
            self.drop()
            return
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            "Cache-Control: no-store",
            *([f"Allow: {response.allow}"] if response.allow else []),
            f"Connection: {'keep-alive' if keep else 'close'}",
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("ascii") + response.body)
        if keep:
            self._await_request()
        else:
            self.transport.close()

    def _await_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(HEAD_S, self.drop)


class _Head(NamedTuple):
    """What matters of a request's head."""

    method: str
    path: str
    host: str | None
    length: int
    keep: bool

    @classmethod
    def parse(cls, octets: bytes) -> "_Head":
        """Read a head without its empty line; raises BadRequestError."""
        lines = octets.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or not words[1].startswith("/"):
            raise BadRequestError(400, "this is no HTTP/1.1 request")
        fields: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name = name.lower()
            twice = name in fields and name in ("host", "content-length")
            if not colon or not name or name != name.strip() or twice:
                raise BadRequestError(400, "a header field of this request is malformed")
            fields[name] = value.strip()
        is_one = words[2] == "HTTP/1.1"
        if is_one and "host" not in fields:
            raise BadRequestError(400, "the Host field is missing")
        connection = fields.get("connection", "").lower()
        return cls(
            method=words[0],
            path=words[1].partition("?")[0],
            host=fields.get("host"),
            length=_length(fields),
            keep="keep-alive" in connection if not is_one else "close" not in connection,
        )


def _length(fields: dict[str, str]) -> int:
    if "transfer-encoding" in fields:
        raise BadRequestError(411, "a body must say its Content-Length")
    text = fields.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequestError(400, "Content-Length is no number")
    if int(text) > MAX_BODY:
        raise BadRequestError(413, "the body is too long")
    return int(text)
