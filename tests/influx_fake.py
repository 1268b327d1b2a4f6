"""A strict server of the InfluxDB write APIs, with a parser of line protocol of its own, that fails as it is told."""

import gzip
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

TOKEN = "canary-0a7f-b1c2-tokens-never-leave=="


class Line(NamedTuple):
    """One point."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: Mapping[str, int | float | str]
    ms: int


class LineError(ValueError):
    """A line that is none."""


def parse(text: str) -> Line:
    """Read one line as the reference of line protocol says, and nothing that it does not say."""
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise LineError("a control character")
    measurement, at = _word(text, 0, ", ")
    tags: list[tuple[str, str]] = []
    while text[at : at + 1] == ",":
        key, at = _word(text, at + 1, "=")
        value, at = _word(text, at + 1, ", ")
        tags.append((key, value))
    if len({key for key, _ in tags}) != len(tags):
        raise LineError("a tag twice")
    fields: dict[str, int | float | str] = {}
    if text[at : at + 1] != " ":
        raise LineError("no fields")
    while True:
        key, at = _word(text, at + 1, "=")
        if key in fields:
            raise LineError("a field twice")
        value, at = _word(text, at + 1, ", ")
        fields[key] = _number(value)
        if text[at : at + 1] == " ":
            break
        if at == len(text):
            raise LineError("no time")
    stamp = text[at + 1 :]
    if not (stamp.isascii() and stamp.removeprefix("-").isdigit()):
        raise LineError("no time")
    return Line(measurement, tuple(sorted(tags)), fields, int(stamp))


def _word(text: str, at: int, ends: str) -> tuple[str, int]:
    """Characters up to one of `ends` that no backslash escapes; commas, blanks and equals signs end nothing else."""
    found = ""
    while at < len(text) and text[at] not in ends:
        if text[at] in ' ,=\\"':
            raise LineError(f"{text[at]!r} inside a word")
        found += text[at]
        at += 1
    if not found:
        raise LineError("an empty word")
    return found, at


def _number(text: str) -> int | float | str:
    if text.endswith("i"):
        number = int(text[:-1])
        if not -(2**63) <= number < 2**63:
            raise LineError("an integer of more than 64 bits")
        return number
    return float(text)


class Request(NamedTuple):
    """What was asked; `lines` as they came."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    lines: list[str]


class Reply(NamedTuple):
    """What is answered instead; `raw` goes onto the connection as it is."""

    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = {}
    raw: Callable[[Any], None] | None = None


PARTIAL = Reply(422, b'{"code":"unprocessable entity","message":"failure writing points to database: partial write"}')


@dataclass
class Fake:
    """A server on a loopback port. `behave` may answer a request before it is looked at; `refuses` a parsed line."""

    token: str | None = TOKEN
    behave: Callable[[Request], Reply | None] = lambda _request: None
    refuses: Callable[[Line], bool] = lambda _line: False
    #: what is kept of a batch with a refused line: v1 and v2 write the others
    partial: bool = True
    refusal: Reply = PARTIAL
    requests: list[Request] = field(default_factory=list)
    #: (measurement, tags) -> ms -> fields
    points: dict[tuple[str, tuple[tuple[str, str], ...]], dict[int, Mapping[str, Any]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lines: int = 0
    port: int = 0

    def start(self, identity: tuple[Path, Path] | None = None, port: int = 0) -> "Fake":
        """Listen, with TLS where there is a certificate and its key."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", port), Handler)
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*identity)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def of(self, measurement: str) -> dict[tuple[tuple[str, str], ...], dict[int, Mapping[str, Any]]]:
        """The points of a measurement by tags."""
        return {tags: points for (name, tags), points in self.points.items() if name == measurement}

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        target = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(target.query, strict_parsing=True))
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        lines = body.decode().split("\n")
        request = Request(target.path, query, dict(handler.headers.items()), [line for line in lines if line])
        self.requests.append(request)
        reply = self.behave(request) or self._judge(request)
        if reply.raw:
            reply.raw(handler)
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.status != 204:
            handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _judge(self, request: Request) -> Reply:
        v2 = request.path.endswith("/api/v2/write")
        if self.token is not None and request.headers.get("Authorization") != f"Token {self.token}":
            return Reply(401, b'{"code":"unauthorized","message":"unauthorized access"}')
        wanted = {"org": "home", "bucket": "meterd", "precision": "ms"} if v2 else {"db": "meterd", "precision": "ms"}
        if {key: request.query.get(key) for key in wanted} != wanted:
            return Reply(404, json.dumps({"code": "not found", "message": "bucket not found"}).encode())
        try:
            parsed = [parse(line) for line in request.lines]
        except ValueError as error:
            self.faults.append(str(error))
            return Reply(400, json.dumps({"code": "invalid", "message": f"unable to parse: {error}"}).encode())
        bad = [line for line in parsed if self.refuses(line)]
        if not bad or self.partial:
            for line in parsed:
                if line not in bad:
                    self.lines += 1
                    self.points.setdefault((line.measurement, line.tags), {})[line.ms] = line.fields
        return self.refusal if bad else Reply()
