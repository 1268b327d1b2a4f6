"""Receives what the portal of measured data (PND) sends by itself: SOAP over TLS, from its client certificate alone.

A thread with its own loop, begun and ended by the worker of the hub. A delivery is answered after the worker
has stored it, so that what was answered is never lost; one that is not stored in time is refused for now, and comes
again under the same id. Octets, connections, their time and deliveries that wait are bounded.
"""

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any, Final, Self, cast

from aiohttp import web

from gateway import listen
from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.imports.record import ImportFileError
from gateway.uploader.credentials import CredentialError, Credentials
from gateway.uploader.hubs import cz_portal
from gateway.uploader.hubs import cz_soap as soap
from gateway.uploader.hubs.cz_delivery import Deliveries, Delivery, RefusedError

PATH: Final = "/pnd"
MOST_CONNECTIONS: Final = 16
#: one request for each connection, which is ended after so long in all (s)
LIFETIME_S = 120.0
#: pause before it tries again to listen (s)
AGAIN_S = 10.0
#: handshakes that are refused for one reason are logged so often (s)
SAID_S: Final = 60.0
_HANDSHAKE_S: Final = 10
_SHUTDOWN_S: Final = 1.0
_LOOK_S = 5.0
_RETRY_S: Final = "60"
_log = logging.getLogger(__name__)


class ReceiverError(Exception):
    """It cannot listen: one sentence that says what and where, and what to do."""


class Receiver:
    """The address at which PND delivers, between `with` and its end. What keeps it from listening is told."""

    def __init__(self, settings: HubSettings, deliveries: Deliveries, tell: Callable[[Event], None]) -> None:
        self._settings = settings
        self._deliveries = deliveries
        self._tell = tell
        self._files = Credentials(settings)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=f"receiver {settings.name}", daemon=True)
        self._connections: set[_Bounded] = set()
        #: messages that are held in memory and read at once
        self._turns = asyncio.Semaphore(2)
        self._port = 0
        #: the handshake that was refused last, and when (monotonic s)
        self._refused = ("", -SAID_S)
        #: the port on which it listens, and what keeps it from listening
        self.port: int | None = None
        self.trouble: str | None = None

    def __enter__(self) -> Self:
        """Begin to listen; it goes on in a thread of its own."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening; what was not answered comes again."""
        if self._loop is not None and self._ended is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        finally:
            self._ready.set()

    async def _live(self) -> None:
        """Listen until the end; what is in the way may go away."""
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._turns = asyncio.Semaphore(2)
        while not self._ended.is_set():
            try:
                await self._serve()
            except ReceiverError as error:
                self._say(str(error))
                self._ready.set()
                await self._rest(self._ended, AGAIN_S)
            finally:
                self.port = None

    def _say(self, trouble: str | None) -> None:
        """Tell what keeps it from listening, once, and that it listens again."""
        if trouble == self.trouble:
            return
        name, now = self._settings.name, int(time.time())
        if trouble is not None:
            self._tell(Event("receiver_down", name, "error", f"PND cannot deliver: {trouble}", now))
        elif self.trouble is not None:
            self._tell(Event("receiver_down", name, "info", "PND can deliver again", now, recovered=True))
        self.trouble = trouble

    @staticmethod
    async def _rest(ended: asyncio.Event, seconds: float) -> bool:
        """Wait; whether the end has come meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                return await ended.wait()
        except TimeoutError:
            return False

    async def _serve(self) -> None:
        host, port = self._address()
        self._port = self._port or port
        self._files.changed()
        context = self._context()
        application = web.Application(client_max_size=cz_portal.MOST_DELIVERY, middlewares=[_close_refused])
        application.router.add_post(PATH, self._take)
        application.router.add_get(PATH, self._describe, allow_head=False)
        runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=0, handle_signals=False, shutdown_timeout=_SHUTDOWN_S
        )
        await runner.setup()
        try:
            server = await self._listen(runner, host, context)
            self._say(None)
            self._ready.set()
            _log.info("hub %s: PND delivers at https://%s:%d%s", self._settings.name, host, self._port, PATH)
            await self._until_ended(runner, server, host)
        finally:
            for connection in list(self._connections):
                connection.abort()
            await runner.cleanup()

    async def _until_ended(self, runner: web.AppRunner, server: asyncio.Server, host: str) -> None:
        """Serve; take new certificates without a restart. A file that does not serve is said, and the old one stays."""
        assert self._ended is not None  # noqa: S101 - set by _live
        try:
            while not await self._rest(self._ended, _LOOK_S):
                if self._files.changed():
                    server = await self._renewed(runner, server, host)
        finally:
            server.close()

    async def _renewed(self, runner: web.AppRunner, server: asyncio.Server, host: str) -> asyncio.Server:
        try:
            context = self._context()
        except ReceiverError as error:
            _log.warning("%s", error)
            return server
        server.close()
        _log.info("hub %s: the receiver of PND uses the new certificate", self._settings.name)
        return await self._listen(runner, host, context)

    async def _listen(self, runner: web.AppRunner, host: str, context: ssl.SSLContext) -> asyncio.Server:
        assert self._loop is not None  # noqa: S101 - set by _live
        handlers = runner.server
        assert handlers is not None  # noqa: S101 - setup was awaited
        try:
            server = await self._loop.create_server(
                lambda: _Bounded(cast("Any", handlers)(), self._connections),
                host,
                self._port,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_S,
                reuse_address=True,
            )
        except OSError as error:
            where = f"hub {self._settings.name}: listen {self._settings.listen}"
            raise ReceiverError(
                f"{where}: {error.strerror or error}: choose an address and port that are free"
            ) from None
        self.port = self._port = server.sockets[0].getsockname()[1]
        return server

    def _address(self) -> tuple[str, int]:
        try:
            return listen.parse(self._settings.listen or "")
        except ValueError as error:
            raise ReceiverError(f"hub {self._settings.name}: listen: {error}; {listen.FORM} is wanted") from None

    def _context(self) -> ssl.SSLContext:
        """Our certificate, and the authority of PND's: whoever shows none of that authority is not heard."""
        name = self._settings.name
        try:
            paths = self._files.load().paths
        except CredentialError as error:
            raise ReceiverError(f"hub {name}: {error}") from None
        absent = [key for key in ("cert_file", "key_file", "ca_file") if key not in paths]
        if absent:
            raise ReceiverError(
                f"hub {name}: {', '.join(absent)} missing: PND is heard over TLS with certificates only"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(paths["ca_file"])
            context.load_cert_chain(paths["cert_file"], paths["key_file"], password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            why = getattr(error, "reason", None) or "unreadable"
            raise ReceiverError(f"hub {name}: cert_file, key_file and ca_file do not serve: {why}") from None
        context.sslobject_class = _watched(self._refuse)
        return context

    def _refuse(self, why: str) -> None:
        """Log who is not heard: asyncio ends such a connection without a word, and PND's certificate may be it."""
        now = time.monotonic()
        if why != self._refused[0] or now - self._refused[1] >= SAID_S:
            self._refused = (why, now)
            _log.warning("hub %s: a connection was refused in the TLS handshake: %s", self._settings.name, why)

    async def _describe(self, request: web.Request) -> web.Response:
        """Our WSDL and XSD, as ?wsdl and ?xsd."""
        text = cz_portal.described(request.query_string.lower(), f"https://{escape(request.host)}{PATH}")
        if text is None:
            raise web.HTTPNotFound(text=f"ask {PATH}?wsdl or {PATH}?xsd\n")
        return _closing(web.Response(body=text, content_type="text/xml", charset="utf-8"))

    async def _take(self, request: web.Request) -> web.Response:
        """Take a delivery, and answer when it is stored."""
        if request.content_type != "text/xml" or "Content-Encoding" in request.headers:
            raise web.HTTPUnsupportedMediaType(text="SOAP 1.1 is taken as text/xml, not compressed\n")
        try:
            async with asyncio.timeout(self._settings.timeout_s), self._turns:
                body = await request.read()
                said = await asyncio.to_thread(cz_portal.delivery, body)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the message came too slowly\n") from None
        except ImportFileError as error:
            _log.warning("hub %s: PND delivered what is not taken: %s", self._settings.name, error)
            return _answer(500, soap.fault("Client", str(error)))
        return await self._hand_over(Delivery(body, said, _serial(request)))

    async def _hand_over(self, delivery: Delivery) -> web.Response:
        if not self._deliveries.put(delivery):
            return _later("too many messages wait")
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                known = await asyncio.wrap_future(delivery.known)
        except TimeoutError:
            return _later("the message could not be stored in time")
        except RefusedError as error:
            _log.warning("hub %s: PND delivered what is not taken: %s", self._settings.name, error)
            return _answer(500, soap.fault("Client", str(error)))
        return _answer(200, cz_portal.received(delivery.said.id, known=known))


class _Bounded(asyncio.Protocol):
    """A connection in front of its HTTP handler: one of a bounded number, and of a bounded life."""

    def __init__(self, handler: asyncio.Protocol, connections: "set[_Bounded]") -> None:
        self._handler = handler
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None
        self._made = False

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._connections) >= MOST_CONNECTIONS:
            self.abort()
            return
        self._connections.add(self)
        self._end = asyncio.get_running_loop().call_later(LIFETIME_S, self.abort)
        self._made = True
        self._handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._end is not None:
            self._end.cancel()
        if self._made:
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._made:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._made else None

    def pause_writing(self) -> None:
        if self._made:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._made:
            self._handler.resume_writing()


def _watched(refuse: Callable[[str], None]) -> type[ssl.SSLObject]:
    """A TLS side that says why a handshake failed."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                why = getattr(error, "verify_message", None) or error.reason or type(error).__name__
                refuse(why.replace("_", " ").lower())
                raise

    return Watched


def _serial(request: web.Request) -> str | None:
    """Serial number of the certificate that the sender showed, in hexadecimal."""
    shown = request.get_extra_info("peercert") or {}
    return cast("str | None", shown.get("serialNumber"))


def _answer(status: int, body: bytes) -> web.Response:
    return _closing(web.Response(status=status, body=body, content_type="text/xml", charset="utf-8"))


def _later(why: str) -> web.Response:
    """Not now: nothing was stored, and the same message may come again."""
    response = _answer(503, soap.fault("Server", f"{why}: send the same message again"))
    response.headers["Retry-After"] = _RETRY_S
    return response


@web.middleware
async def _close_refused(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say that the connection ends with a refusal, too: nobody sends a second request into it."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
