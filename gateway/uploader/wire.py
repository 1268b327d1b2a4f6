"""One connection to a hub by HTTP/1.1 over TLS: a deadline for each exchange as a whole, and whether anything left.

httpcore speaks HTTP; the sockets are ours, so that a peer that drips one octet after the other cannot hold us longer
than the deadline, and so that it is known whether an octet of a request was handed to the kernel.
"""

import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from gateway.uploader import tls
from gateway.uploader.hub import Answer, SessionError

#: a connection that was idle so long is closed: the hub may close it at the same moment, and a request would be lost
IDLE_S: Final = 15.0
#: how long a server may take to refuse our certificate (s)
SETTLE_S = 0.5
_SLICE: Final = 65_536


class _Attempt:
    """What is known of the exchange that is under way."""

    def __init__(self, until: float, monotonic: Callable[[], float]) -> None:
        self._until = until
        self._monotonic = monotonic
        #: an octet of the request was handed to the kernel, of the answer came from it; the connection is new
        self.sent = self.answered = self.fresh = False
        #: what the kernel or TLS said when it broke off: httpcore does not hand it on
        self.cause: BaseException | None = None

    def left_s(self) -> float:
        left = self._until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @contextmanager
    def mapped(self, late: type[Exception], broken: type[Exception]) -> Iterator[None]:
        """Errors of a socket as those of httpcore."""
        try:
            yield
        except TimeoutError as error:
            raise late from error
        except (OSError, ValueError) as error:
            self.cause = error
            raise broken from error


class Wire:
    """A connection, opened when it is needed. Not for several threads."""

    def __init__(self, context: ssl.SSLContext, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the TLS context; nothing is opened yet."""
        self._monotonic = monotonic
        self.attempt = _Attempt(0, monotonic)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=IDLE_S,
            retries=0,
            network_backend=_Backend(self),
        )

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def exchange(  # noqa: PLR0913 - what HTTP has
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        most: int,
        shows: bool,
    ) -> Answer:
        """One request and its whole answer within `timeout_s`; raises SessionError."""
        self.attempt = attempt = _Attempt(self._monotonic() + timeout_s, self._monotonic)
        where = urlsplit(url).netloc
        try:
            return self._exchange(
                httpcore.Request(method, url, headers=_framed(headers, where, method, body), content=body), most
            )
        except _AnswerRefusedError as error:
            raise SessionError(f"{where}: {error}", sent=True) from None
        except (httpcore.TimeoutException, TimeoutError):
            raise SessionError(f"{where} {_late(attempt, timeout_s)}", sent=attempt.sent) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            raise _failure(error, where, attempt, shows=shows) from None

    def _exchange(self, request: httpcore.Request, most: int) -> Answer:
        response = self._pool.handle_request(request)
        try:
            return self._read(response, most)
        finally:
            response.close()
            self._forget_what_was_not_asked()

    def _forget_what_was_not_asked(self) -> None:
        """Close a connection on which more came than one answer: it would be taken for the answer to what comes next.

        httpcore itself looks for it in the socket only, not in what was read together with the answer.
        """
        for one in self._pool.connections:
            http = getattr(one, "_connection", None)
            state = getattr(http, "_h11_state", None)
            if state is not None and state.trailing_data[0]:
                self._pool.close()
                return

    @staticmethod
    def _read(response: httpcore.Response, most: int) -> Answer:
        headers: dict[str, str] = {}
        for name, value in response.headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return Answer(response.status, headers, _body(response, headers, most))


def _framed(headers: Mapping[str, str], where: str, method: str, body: bytes) -> list[tuple[str, str]]:
    """Headers with those that HTTP itself needs."""
    length = [("Content-Length", str(len(body)))] if body or method in ("POST", "PUT") else []
    return [("Host", where), *headers.items(), *length]


#: servers that refuse a certificate without an alert (RFC 8446, clause 6.2) look like this
_HUNG_UP: Final = "it closed the connection behind the TLS handshake; it may refuse our certificate: check cert_file"


class _AnswerRefusedError(Exception):
    """An answer that is not read (to its end)."""


def _body(response: httpcore.Response, headers: Mapping[str, str], most: int) -> bytes:
    """The body, at most `most` octets of it and none of it compressed: a few octets can stand for gigabytes."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise _AnswerRefusedError("the answer is compressed, which we did not allow it to be")
    if int(headers.get("content-length", "0")[:18]) > most:
        raise _AnswerRefusedError(f"the answer has more than {most} octets: it was not read")
    body = bytearray()
    for piece in response.iter_stream():
        body += piece
        if len(body) > most:
            raise _AnswerRefusedError(f"the answer has more than {most} octets: it was not read to its end")
    return bytes(body)


def _late(attempt: _Attempt, timeout_s: float) -> str:
    if attempt.answered:
        return f"did not finish its answer within {timeout_s:g} s"
    return f"did not answer within {timeout_s:g} s" if attempt.sent else f"could not be reached within {timeout_s:g} s"


def _failure(error: Exception, where: str, attempt: _Attempt, *, shows: bool) -> SessionError:
    """What an exchange that broke off means, and whether the hub may have got the request."""
    cause = attempt.cause
    if isinstance(cause, ssl.SSLError) and tls.is_certificate_alert(cause) and attempt.fresh and not attempt.answered:
        # with TLS 1.3 the server judges our certificate after we sent: it reads no request before it has done so
        fault = tls.explain(cause, where, shows=shows)
        return SessionError(fault.text, sent=False, person=fault.person)
    if isinstance(cause, ssl.SSLError) and not attempt.sent:
        fault = tls.explain(cause, where, shows=shows)
        return SessionError(fault.text, sent=False, person=fault.person)
    if isinstance(error, httpcore.UnsupportedProtocol | httpcore.LocalProtocolError | ValueError):
        return SessionError(f"{where}: this request cannot be sent by HTTP", sent=attempt.sent, person=not attempt.sent)
    if not attempt.sent:
        return SessionError(f"{where} cannot be reached: {_why(cause)}", sent=False)
    if isinstance(error, httpcore.RemoteProtocolError):
        return SessionError(f"{where} answers something that is no HTTP, or not whole", sent=True)
    return SessionError(f"{where} broke the connection off before its answer was whole ({_why(cause)})", sent=True)


def _why(cause: BaseException | None) -> str:
    if isinstance(cause, socket.gaierror):
        return "its name cannot be resolved"
    return str(getattr(cause, "strerror", None) or type(cause).__name__)


class _Backend(httpcore.NetworkBackend):
    """Opens connections by the deadline of the exchange that needs them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        attempt = self._wire.attempt
        attempt.fresh = True
        with self._wire.attempt.mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
            sock = socket.create_connection((host, port), attempt.left_s())
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(sock, self._wire)


class _Stream(httpcore.NetworkStream):
    """A socket, plain or TLS, every operation of which ends by the deadline."""

    def __init__(self, sock: socket.socket, wire: Wire) -> None:
        self._sock = sock
        self._wire = wire

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._wire.attempt.mapped(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(self._wire.attempt.left_s())
            data = self._sock.recv(max_bytes)
        self._wire.attempt.answered |= bool(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        with self._wire.attempt.mapped(httpcore.WriteTimeout, httpcore.WriteError):
            while view:
                self._sock.settimeout(self._wire.attempt.left_s())
                self._wire.attempt.sent = True
                view = view[self._sock.send(view[:_SLICE]) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        sock = self._sock
        try:
            with self._wire.attempt.mapped(httpcore.ConnectTimeout, httpcore.ConnectError):
                sock.settimeout(self._wire.attempt.left_s())
                sock = ssl_context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
                sock.do_handshake()
                _settle(sock)
                return _Stream(sock, self._wire)
        except (httpcore.ConnectTimeout, httpcore.ConnectError):
            sock.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        return _readable(self._sock, 0) if info == "is_readable" else None


def _settle(sock: ssl.SSLSocket) -> None:
    """Give a server of TLS 1.3 the time to refuse our certificate before a request leaves.

    It judges it after the handshake has ended for us. One that accepts it sends session tickets as a rule, so that
    this ends at once; where it sends nothing, a refusal comes as the answer (`_failure`), or gets lost in a reset.
    """
    if sock.version() != "TLSv1.3" or not _readable(sock, SETTLE_S):
        return
    sock.setblocking(False)
    try:
        if sock.recv(1):
            raise OSError("it speaks before it was asked")
    except ssl.SSLWantReadError:
        return
    raise ConnectionResetError(errno.ECONNRESET, _HUNG_UP)


def _readable(sock: socket.socket, timeout_s: float) -> bool:
    waiting = poll()
    waiting.register(sock.fileno(), POLLIN)
    return bool(waiting.poll(timeout_s * 1_000))
