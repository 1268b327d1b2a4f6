"""Notices by e-mail: SMTP with TLS, implicit or by STARTTLS, never without; certificate and name are always checked.

RFC 5321, RFC 8314 (implicit TLS, port 465), RFC 3207 (STARTTLS, port 587), RFC 3834 (Auto-Submitted).
"""

import logging
import smtplib
import socket
import threading
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final

from gateway.hub_settings import NoticeSettings
from gateway.uploader.notice_book import Notice
from gateway.uploader.notice_channel import DEADLINE_S, NEEDS_PERSON_S, NoticeError
from gateway.uploader.notice_secret import context, secret, told

_log = logging.getLogger("gateway.uploader.notices")
_TIMEOUT_S: Final = 20.0
#: lines of one answer of the server
_MOST_LINES: Final = 100
#: what a client says that has no name of its own (RFC 5321, 4.1.3); the host's name is nobody's business
_NAMELESS: Final = "[127.0.0.1]"


class MailChannel:
    """Sends each notice as one message to all of `mail_to`, or of `escalate_mail_to`."""

    def __init__(self, settings: NoticeSettings, *, escalated: bool = False, deadline_s: float = DEADLINE_S) -> None:
        self.name = "escalate_mail" if escalated else "mail"
        self._key = f"{self.name}_to"
        self._to = settings.escalate_mail_to if escalated else settings.mail_to
        self._settings = settings
        self._deadline_s = deadline_s
        self._where = f"mail server {settings.smtp_host}:{settings.smtp_port}"

    def send(self, notice: Notice) -> None:
        """Send it; raises NoticeError. What the server says is never told: it could repeat the password."""
        if not self._settings.mail_from or not self._to:
            raise NoticeError(f"mail_from and {self._key} of [notice] are not set", NEEDS_PERSON_S)
        try:
            with self._connected() as server:
                refused = server.send_message(self._message(notice))
        except smtplib.SMTPException as error:
            raise NoticeError(f"{self._where} {_said(error, self._key)}", _least_s(error)) from None
        except OSError as error:
            raise told(error, self._where) from None
        except ValueError:
            raise NoticeError(
                f"mail_from or {self._key} of [notice] is no address, or the password no ASCII", NEEDS_PERSON_S
            ) from None
        if refused:
            # the others have it: once more would be twice for them
            _log.warning("%s refuses %d of %d of %s", self._where, len(refused), len(self._to), self._key)

    def _connected(self) -> smtplib.SMTP:
        """A server that took the login, by a connection with TLS."""
        settings = self._settings
        tls = context(settings.smtp_ca_file, "smtp_ca_file")
        password = secret(settings.smtp_password_file, "smtp_password_file")
        host, port = settings.smtp_host or "", settings.smtp_port
        server: smtplib.SMTP
        if settings.smtp_tls == "implicit":
            server = _GuardedTls(host, port, self._deadline_s, context=tls)
        else:
            server = _Guarded(host, port, self._deadline_s)
        try:
            if settings.smtp_tls == "starttls":
                server.starttls(context=tls)
            if settings.smtp_username and password:
                server.login(settings.smtp_username, password)
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        sender = self._settings.mail_from or ""
        message["From"] = sender
        message["To"] = ", ".join(self._to)
        message["Subject"] = notice.subject
        message["Date"] = format_datetime(datetime.fromtimestamp(notice.at, UTC))
        # the same for every attempt: a mailbox shows a message once that came twice
        message["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2].strip('> ')}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.text, cte="quoted-printable")
        return message


class _Guarded(smtplib.SMTP):
    """A client that ends after a deadline, however slowly the server drips, and reads answers of bounded length."""

    def __init__(self, host: str, port: int, deadline_s: float, **more: Any) -> None:
        self._timer = threading.Timer(deadline_s, self._cut)
        self._timer.daemon = True
        self._timer.start()
        try:
            super().__init__(host, port, local_hostname=_NAMELESS, timeout=min(_TIMEOUT_S, deadline_s), **more)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, and forget the deadline."""
        self._timer.cancel()
        super().close()

    def getreply(self) -> tuple[int, bytes]:
        """One answer of the server: its last code, and nothing of its words but those that the protocol needs."""
        if self.file is None:
            self.file = self.sock.makefile("rb")  # type: ignore[union-attr]
        said = []
        for _ in range(_MOST_LINES):
            line = self._line()
            said.append(line[4:].strip(b" \t\r\n"))
            if line[3:4] != b"-":
                return int(line[:3]), b"\n".join(said)
        self.close()
        raise smtplib.SMTPServerDisconnected("too long")

    def _line(self) -> bytes:
        try:
            line = self.file.readline(1_024)  # type: ignore[union-attr]
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected("timeout") from error
        if not line.endswith(b"\n") or not line[:3].isdigit():
            self.close()
            raise smtplib.SMTPServerDisconnected("no answer of SMTP")
        return bytes(line)

    def _cut(self) -> None:
        """Wake the thread that waits for the server: its next read or write ends in an error."""
        if (connection := getattr(self, "sock", None)) is not None:
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                return


class _GuardedTls(_Guarded, smtplib.SMTP_SSL):
    """The same with TLS from the first octet on."""


def _said(error: smtplib.SMTPException, to: str) -> str:
    """What is wrong, without the words of the server."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"refuses the login ({error.smtp_code}): check smtp_username and smtp_password_file"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        return f"refuses every address of {to} ({', '.join(codes)})"
    if isinstance(error, smtplib.SMTPSenderRefused):
        return f"refuses mail_from ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "does not offer STARTTLS, or the login, on this port: set smtp_tls and smtp_port"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"refuses the message ({error.smtp_code})"
    return "closes the connection, or does not speak SMTP with TLS as smtp_tls says on this port"


def _least_s(error: smtplib.SMTPException) -> float:
    """A code of 5xx is for good (RFC 5321, 4.2.1): a person has to act."""
    code = getattr(error, "smtp_code", 0)
    permanent = isinstance(error, (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError))
    return NEEDS_PERSON_S if permanent or 500 <= code < 600 else 0.0
