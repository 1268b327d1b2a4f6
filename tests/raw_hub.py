"""A server of octets over TLS: it reads whole requests, and answers whatever a test wants, HTTP or not."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

from tests.certificates import Authority, Pair

#: what to answer: octets, or something that is done with the socket
Answer = bytes | Callable[[socket.socket], None]


class RawHub:
    """Listens on a loopback port of its own between `with` and its end; `requests` are those that came whole."""

    def __init__(
        self,
        server: Pair | None,
        *,
        clients: Authority | None = None,
        demands: bool = True,
        answers: list[Answer] | Callable[[bytes], Answer] | None = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        reads: bool = True,
    ) -> None:
        """Without `server` it speaks no TLS; `clients` is the authority of the certificates that it demands, or
        asks for.

        `answers` are given one after the other, the last one for ever, or by what was asked. `reads` False: it never
        reads.
        """
        self.requests: list[bytes] = []
        self.serials: list[str | None] = []
        self.connections = 0
        #: octets that a client sent behind the handshake that was refused
        self.unread = 0
        self.answers = answers or [ok()]
        self._reads, self._open, self._threads = reads, set(), []
        self._context = None if server is None else _context(server, clients, newest, demands)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self._listener.getsockname()[1]
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        self._thread(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://localhost:{self.port}"

    def _thread(self, work, *args) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            self._thread(self._serve, sock)

    def _serve(self, plain: socket.socket) -> None:
        sock = plain
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                self._open.add(sock)
                self._shake_hands(sock)
                self.serials.append(_serial(sock))
            while not self._reads and not self.ended.wait(0.05):
                pass
            while self._reads and self._one(sock):
                pass
        except (OSError, ValueError):
            pass
        finally:
            sock.close()
            plain.close()

    def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        """Take the client, or refuse it and read on: else the connection is reset, and the alert is lost."""
        try:
            sock.do_handshake()
        except OSError:
            sock.settimeout(30)
            while more := socket.socket.recv(sock, 65_536):
                self.unread += len(more)
            raise

    def _one(self, sock: socket.socket) -> bool:
        request = _request(sock)
        if request is None:
            return False
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, bytes):
            sock.sendall(answer)
            return b"\r\n\r\n" in answer and b"connection: close" not in answer.lower()
        answer(sock)
        return False

    def _answer(self, request: bytes) -> Answer:
        if callable(self.answers):
            return self.answers(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ok(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A sound answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _request(sock: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65_536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        more = sock.recv(65_536)
        if not more:
            return None
        body += more
    return head + b"\r\n\r\n" + body


def _context(server: Pair, clients: Authority | None, newest: ssl.TLSVersion, demands: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(server.cert, server.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED if demands else ssl.CERT_OPTIONAL
        context.load_verify_locations(clients.ca)
    return context


def _serial(sock: ssl.SSLSocket) -> str | None:
    found = sock.getpeercert()
    return found["serialNumber"].lower().lstrip("0") if found else None
