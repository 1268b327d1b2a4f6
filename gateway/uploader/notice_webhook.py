"""Notices by webhook: one POST of a template, such as an SMS gateway takes; by TLS that is checked, or to this machine.

`{subject}` and `{text}` of the template become the words of the notice, written as the content type wants them. The
token goes as a Bearer header (RFC 6750, 2.1) and nowhere else.
"""

import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit
from xml.sax.saxutils import escape

import httpx

from gateway.hub_settings import NoticeSettings
from gateway.uploader.notice_book import Notice
from gateway.uploader.notice_channel import DEADLINE_S, NEEDS_PERSON_S, NoticeError
from gateway.uploader.notice_secret import context, secret, told

# it logs each address that it calls, and an address can hold a secret
logging.getLogger("httpx").setLevel(logging.WARNING)
#: what is sent where `[notice]` has no `webhook_template`
TEMPLATE: Final = '{"subject":"{subject}","text":"{text}"}'
_PLACE: Final = re.compile(r"\{(subject|text)\}")
_TIMEOUT_S: Final = 20.0
_LONGEST_S: Final = 3_600.0
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
#: statuses after which the same request may be taken (RFC 9110, RFC 6585)
_LATER: Final = frozenset((408, 425, 429))


def fill(template: str, content_type: str, values: Mapping[str, str]) -> bytes:
    """The template with each place filled once, escaped for JSON, forms or XML as the content type says."""
    write = _escape(content_type)
    return _PLACE.sub(lambda place: write(values[place[1]]), template).encode()


class WebhookChannel:
    """Posts each notice as `webhook_template`, or as `escalate_webhook_template`."""

    def __init__(self, settings: NoticeSettings, *, escalated: bool = False, deadline_s: float = DEADLINE_S) -> None:
        self.name = "escalate_webhook" if escalated else "webhook"
        self._template = (settings.escalate_webhook_template if escalated else settings.webhook_template) or TEMPLATE
        self._settings = settings
        self._deadline_s = deadline_s
        parts = urlsplit(settings.webhook_url or "")
        # path and query can hold what is nobody's business
        self._where = f"webhook {parts.hostname}"
        local = parts.scheme == "http" and parts.hostname in _LOOPBACK
        self._secure = (parts.scheme == "https" or local) and "@" not in parts.netloc

    def send(self, notice: Notice) -> None:
        """Post it; raises NoticeError. Nothing of the answer but its status is read."""
        if not self._secure:
            raise NoticeError(
                "webhook_url must begin with https:// (http:// on this machine only) and hold no password",
                NEEDS_PERSON_S,
            )
        tls = context(self._settings.webhook_ca_file, "webhook_ca_file")
        headers = self._headers(notice)
        values = {"subject": notice.subject, "text": notice.text}
        body = fill(self._template, self._settings.webhook_content_type, values)
        timeout = min(_TIMEOUT_S, self._deadline_s)
        try:
            with httpx.Client(verify=tls, timeout=timeout, trust_env=False) as client, self._guard() as trace:
                extensions = {"trace": trace}
                url = self._settings.webhook_url or ""
                with client.stream("POST", url, content=body, headers=headers, extensions=extensions) as answer:
                    self._judge(answer)
        except httpx.TimeoutException:
            raise NoticeError(f"{self._where} does not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._told(error) from None
        except ValueError:
            raise NoticeError(
                f"{self._where}: webhook_url, its content type or token is no ASCII", NEEDS_PERSON_S
            ) from None

    def _headers(self, notice: Notice) -> dict[str, str]:
        headers = {
            "Content-Type": self._settings.webhook_content_type,
            "User-Agent": "meterd",
            # the same for every attempt
            "Idempotency-Key": notice.id,
        }
        token = secret(self._settings.webhook_token_file, "webhook_token_file")
        return headers | ({"Authorization": f"Bearer {token}"} if token else {})

    def _judge(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        status = answer.status_code
        wait = answer.headers.get("retry-after", "")
        least = min(float(wait), _LONGEST_S) if wait.isdecimal() and len(wait) < 9 else 0.0
        if status >= 500 or status in _LATER:
            raise NoticeError(f"{self._where} answers {status}", least)
        raise NoticeError(f"{self._where} answers {status}: check [notice] webhook_*", max(least, NEEDS_PERSON_S))

    def _told(self, error: Exception) -> NoticeError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError):
                return told(cause, self._where)
            cause = cause.__cause__ or cause.__context__
        return NoticeError(f"{self._where}: {type(error).__name__}")

    @contextmanager
    def _guard(self) -> Iterator[Callable[[str, Any], None]]:
        """What tells of the connection, so that it can be cut at the deadline, however slowly the server drips."""
        connection: list[socket.socket] = []

        def trace(event: str, facts: Any) -> None:
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                connection[:] = [facts["return_value"].get_extra_info("socket")]

        def cut() -> None:
            try:
                for one in connection:
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
            except OSError:
                return

        timer = threading.Timer(self._deadline_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield trace
        finally:
            timer.cancel()


def _escape(content_type: str) -> Callable[[str], str]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return lambda text: json.dumps(text)[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus
    if kind in ("application/xml", "text/xml") or kind.endswith("+xml"):
        return lambda text: escape(text, {'"': "&quot;"})
    return str
