"""The InfluxDB sink: every reading of the journal, by cursor, in a thread of its own (docs/influxdb.md)."""

import asyncio
import contextvars
import http.client
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from gateway import log
from gateway.beats import alive
from gateway.influx_rules import SecretError, place, secret
from gateway.item_p import ItemP, utc
from gateway.settings import InfluxSettings
from gateway.sinks.influx_answers import NEEDS_PERSON_S, Accepted, Refused, Trouble, explain, judge
from gateway.sinks.influx_courier import Courier, TroubleError, backoff_s
from gateway.sinks.influx_points import Points
from gateway.sinks.influx_wire import Answer, StoppedError, Wire
from gateway.stores.outbox import Outbox

#: between two looks for new readings (s): a plain look, no disk
POLL_S = 1.0
#: the thread is left behind when it takes longer to end (s): a resolver cannot be interrupted
STOP_S = 1.5

Send = Callable[[InfluxSettings, str | None, ssl.SSLContext | None, Wire, bytes], Answer]


class InfluxSink:
    """Sink of every reading: what the database has not confirmed stays in the journal, and is sent again."""

    delivery: Literal["LATEST", "EVERY"] = "EVERY"

    def __init__(
        self,
        settings: InfluxSettings,
        outbox: Outbox | None,
        *,
        meters: int,
        salt: bytes,
        backoff: Callable[[int, Trouble], float] = backoff_s,
    ) -> None:
        """`outbox` is None where there is no journal: then nothing is tried. `salt` makes pseudonyms of sub-meters."""
        self._settings = settings
        self._outbox = outbox
        self._points = Points(meters, salt, prefix=settings.prefix, registers=settings.registers)
        self._backoff = backoff
        self._courier: Courier | None = None
        self._trouble: str | None = None
        self._trouble_t: datetime | None = None
        self._attempts = 0
        self._told_refusal: str | None = None
        self._context: tuple[object, ssl.SSLContext] | None = None

    # -- Sink, in the loop -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled; a request that is under way is cut off then, and sent again after the next start."""
        loop = asyncio.get_running_loop()
        if self._outbox is None:
            await loop.create_future()
            return
        wire, stop, ended = Wire(), threading.Event(), loop.create_future()
        # with the context of this task: the thread tells that it lives as the same part of the daemon
        arguments = (self._main, self._outbox, wire, stop, loop, ended)
        threading.Thread(target=contextvars.copy_context().run, args=arguments, name="influx", daemon=True).start()
        try:
            await asyncio.shield(ended)
        finally:
            stop.set()
            wire.abort()
            await asyncio.wait((ended,), timeout=STOP_S)

    def deliver(self, item: ItemP) -> None:
        """Take nothing: what is committed to the journal is delivered from there."""

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """Say nothing: a database has readings, and a gap where there are none."""

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows: a sentence, trouble, counters, and how far the outbox is."""
        outbox = None if self._outbox is None else self._outbox.status()
        trouble = self._trouble if self._outbox else "there is no journal to deliver from"
        return {
            "works": trouble is None,
            "text": self._text(trouble, outbox),
            "server": place(self._settings.url),
            "version": self._settings.version,
            "trouble": trouble,
            "trouble_since": utc(self._trouble_t, "seconds"),
            "attempts": self._attempts,
            "requests": self._courier.posts if self._courier else 0,
            "moved": self._points.moved,
            "left_out": self._points.left_out,
            "last_refusal": self._courier.last_refusal if self._courier else None,
            "outbox": outbox,
        }

    def _text(self, trouble: str | None, outbox: Mapping[str, Any] | None) -> str:
        head = f"readings to {place(self._settings.url)}"
        if outbox is None:
            return f"{head}: {trouble}"
        counts = f"{outbox['delivered']} delivered, {outbox['pending']} pending, {outbox['dead_letter']} refused"
        since = f" (the oldest of {outbox['oldest_pending']})" if trouble and outbox["oldest_pending"] else ""
        return f"{head}: {counts}{since}" + (f"; {trouble}" if trouble else "")

    # -- the thread --------------------------------------------------------------------------------------------------

    def _main(
        self,
        outbox: Outbox,
        wire: Wire,
        stop: threading.Event,
        loop: asyncio.AbstractEventLoop,
        ended: "asyncio.Future[None]",
    ) -> None:
        failure: BaseException | None = None
        try:
            self._deliver(outbox, wire, stop)
        except StoppedError:
            failure = None
        except BaseException as error:  # the task that waits for it tells it, and starts this again
            self._trouble, failure = "meterd made an error, see the log: it starts again; please report this", error
        finally:
            outbox.let_go()
            _tell(loop, ended, failure)

    def _deliver(self, outbox: Outbox, wire: Wire, stop: threading.Event) -> None:
        """Look for new readings each second, and bring them; a trouble is told once, and tried again until it heals."""
        send = _sender(self._settings.version)
        self._courier = courier = Courier(
            outbox, self._points, lambda body: self._post(send, wire, body), self._settings.batch
        )
        while not stop.is_set():
            began = time.monotonic()
            alive(math.inf)  # the journal's medium has the word, which may hang: no restart cures that
            try:
                if outbox.newest <= outbox.position or not courier.work():
                    pause = POLL_S
                else:
                    self._works(courier)
                    # a backlog takes half of the time at most
                    pause = min(POLL_S, time.monotonic() - began)
            except TroubleError as error:
                self._attempts += 1
                self._troubled(error.trouble.reason)
                pause = self._backoff(self._attempts, error.trouble)
            alive(pause)
            stop.wait(pause)

    def _post(self, send: Send, wire: Wire, body: bytes) -> Accepted | Refused | Trouble:
        """One request with the token and the certificates that the files hold now."""
        settings = self._settings
        try:
            token, context = self._secret(), self._tls()
        except SecretError as error:
            return Trouble(str(error), NEEDS_PERSON_S)
        alive(settings.timeout_s)
        try:
            with wire.request(settings.timeout_s):
                answer = send(settings, token, context, wire, body)
        except _failures(settings.version) as error:
            return explain(error, settings)
        finally:
            alive(math.inf)
        return judge(answer, settings)

    def _secret(self) -> str | None:
        for key in ("token_file", "password_file"):
            if path := getattr(self._settings, key):
                return secret(key, path)
        return None

    def _tls(self) -> ssl.SSLContext | None:
        """A context that verifies the server, made anew when a file changed; raises SecretError."""
        settings = self._settings
        if not settings.url.startswith("https:"):
            return None
        stamp = tuple(_stamp(path) for path in (settings.ca_file, settings.cert_file, settings.key_file))
        if self._context is None or self._context[0] != stamp:
            self._context = stamp, _make_context(settings)
        return self._context[1]

    def _works(self, courier: Courier) -> None:
        if self._trouble:
            log.event("influx_delivers", server=place(self._settings.url))
        self._trouble, self._trouble_t, self._attempts = None, None, 0
        if courier.last_refusal and courier.last_refusal != self._told_refusal:
            log.event("influx_refused", server=place(self._settings.url), reason=courier.last_refusal)
        self._told_refusal = courier.last_refusal

    def _troubled(self, reason: str) -> None:
        if reason != self._trouble:
            log.event("influx_trouble", reason=reason)
            self._trouble_t = datetime.now(UTC)
        self._trouble = reason


def _sender(version: str) -> Send:
    """What sends; the library of v2 is imported only where it is needed."""
    if version == "v1":
        from gateway.sinks import influx_v1

        return influx_v1.post
    from gateway.sinks import influx_v2

    return influx_v2.post


def _failures(version: str) -> tuple[type[Exception], ...]:
    """What sending raises where there is no answer: errors of the system, and of the library of v2."""
    system = (OSError, ValueError, http.client.HTTPException)
    if version == "v1":
        return system
    from influxdb_client.rest import ApiException
    from urllib3.exceptions import HTTPError

    return (*system, ApiException, HTTPError)


def _stamp(path: str | None) -> tuple[int, int, int] | None:
    """What changes when a file does."""
    try:
        found = Path(path).stat() if path else None
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


def _make_context(settings: InfluxSettings) -> ssl.SSLContext:
    named = ", ".join(filter(None, (settings.ca_file, settings.cert_file, settings.key_file)))
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file:
            # without a callback OpenSSL would ask for a passphrase on the terminal, and wait for ever
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
    except ssl.SSLError as error:
        raise SecretError(
            "a file of influx.ca_file, cert_file, key_file is no PEM file, has a passphrase, or the key does not belong"
            f" to the certificate ({named}: {error.reason or 'unreadable'})"
        ) from None
    except OSError as error:
        raise SecretError(
            f"a file of influx.ca_file, cert_file, key_file cannot be read ({named}: {error.strerror})"
        ) from None
    return context


def _tell(loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]", failure: BaseException | None) -> None:
    def settle() -> None:
        if ended.done():
            return
        if failure is None:
            ended.set_result(None)
        else:
            ended.set_exception(failure)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        return  # the loop has ended meanwhile
