"""What an answer to a POST of lines means, or its absence: a sentence for a person, and what to do next.

Nothing of a server's text is ever shown or kept: it may quote our lines, or the token. What it says is recognised, and
said in words of this module.
"""

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from gateway.influx_rules import place
from gateway.settings import InfluxSettings
from gateway.sinks.influx_wire import Answer

#: longest pause between attempts (s): what heals by itself, and what needs a person
HEALS_S, NEEDS_PERSON_S = 30, 120
#: a server that names a time is obeyed up to here (s)
RETRY_AFTER_CAP_S = 300.0

#: in the message of an InfluxDB that refuses rows: what it means
_ROWS = {
    "beyond retention": "older than the retention of the database",
    "outside retention": "older than the retention of the database",
    "field type conflict": "a field has another type in the database already",
    "unable to parse": "the database cannot read the line",
    "series limit": "the database has too many series",
    "max-series": "the database has too many series",
    "max-values": "the database has too many values of a tag",
    "partial write": "the database wrote only a part",
}
_TYPES = re.compile(
    r'field \\?"([a-z_]{1,32})\\?" on measurement \\?"(\w{1,64})\\?" is type (\w{1,16}), .{0,20}type (\w{1,16})'
)

#: OpenSSL's X509_V_ERR_* -> what to do
_VERIFY = {
    9: "its certificate is not valid yet: check the clock of this machine",
    10: "its certificate has expired: renew it there, or check the clock of this machine",
    18: "its certificate is self-signed and not known here: set influx.ca_file to it",
    19: "its certificate comes from an unknown authority: set influx.ca_file to the authority's certificate",
    20: "its certificate comes from an unknown authority: set influx.ca_file to the authority's certificate",
    21: "its certificate comes from an unknown authority: set influx.ca_file to the authority's certificate",
    62: "its certificate is for another host name: set influx.url to the name in the certificate",
    64: "its certificate is for another address: set influx.url to the name or address in the certificate",
}
#: (version of the API, status) -> what it means, where it says nothing of the rows
_STATUS = {
    ("v1", 401): "it does not accept the login: check influx.username and influx.password_file",
    ("v2", 401): "it does not accept the token: check influx.token_file",
    ("v1", 403): "the user may not write this database: grant it there, or check influx.username",
    ("v2", 403): "the token may not write this bucket: grant it there, or check influx.token_file",
    ("v1", 404): "there is no such database, or not this API: check influx.database, influx.url and influx.version",
    ("v2", 404): "there is no such bucket or organisation, or not this API: check influx.bucket, org, url and version",
    ("v1", 429): "too many requests: it is tried again later",
    ("v2", 429): "too many requests: it is tried again later",
}
_CERTIFICATE = "if it asks for a client certificate, set influx.cert_file and influx.key_file"
_POLICY = "the database has no such retention policy: check influx.retention_policy"
#: an error of the system, the first that fits -> what it means
_CAUSES: dict[type[Exception], str] = {
    socket.gaierror: "has a name that cannot be resolved: check influx.url and the name server",
    UnicodeError: "has a name that cannot be resolved: check influx.url and the name server",
    TimeoutError: "did not answer within {seconds:g} s: it is tried again",
    ConnectionRefusedError: "refused the connection: check that it is running, and influx.url",
}


class Accepted(NamedTuple):
    """All lines are written."""


class Refused(NamedTuple):
    """Some or all of the rows will never be taken as they are."""

    reason: str
    #: the server says that the rows are to blame; otherwise it may be the server
    by_rows: bool = True
    too_large: bool = False


class Trouble(NamedTuple):
    """Nothing is known of the rows: they are sent again, after at most `cap_s`, or what the server asked for."""

    reason: str
    cap_s: int = HEALS_S
    retry_after_s: float | None = None


def judge(answer: Answer, settings: InfluxSettings) -> Accepted | Refused | Trouble:
    """What a server's answer means."""
    status = answer.status
    if status == 204:
        return Accepted()
    if status in (400, 422):
        return _refused(answer)
    if status == 413:
        return Refused("413: the request is too large for the server", by_rows=False, too_large=True)
    if "retention policy not found" in _message(answer.body):
        return Trouble(f"database {place(settings.url)}: {status}: {_POLICY}", NEEDS_PERSON_S)
    heals = status >= 500 or status in (408, 425, 429)
    text = f"{status}: {_meaning(status, settings.version)}"
    wait = retry_after_s(answer) if heals else None
    return Trouble(f"database {place(settings.url)}: {text}", HEALS_S if heals else NEEDS_PERSON_S, wait)


def retry_after_s(answer: Answer) -> float | None:
    """Seconds that the server asks for (RFC 9110, clause 10.2.3), at most RETRY_AFTER_CAP_S; None for none."""
    text = (answer.retry_after or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return min(float(text), RETRY_AFTER_CAP_S)
    try:
        until = parsedate_to_datetime(text).timestamp()
        # by the server's own clock where it tells it: ours may be wrong
        now = parsedate_to_datetime(answer.date).timestamp() if answer.date else time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, until - now), RETRY_AFTER_CAP_S)


def explain(error: Exception, settings: InfluxSettings) -> Trouble:
    """Why there was no answer: DNS, TCP, TLS, a peer that speaks something else."""
    where, cause = f"database {place(settings.url)}", _cause(error)
    if _is_closed(cause):
        hint = f"; {_CERTIFICATE}" if settings.url.startswith("https:") else ""
        return Trouble(f"{where} closed the connection without an answer: it is tried again{hint}")
    if isinstance(cause, ssl.SSLError):
        return Trouble(f"{where}: {_tls(cause)}", NEEDS_PERSON_S)
    for kind, text in _CAUSES.items():
        if isinstance(cause, kind):
            return Trouble(f"{where} {text.format(seconds=settings.timeout_s)}")
    if isinstance(cause, OSError):
        return Trouble(f"{where} cannot be reached: {cause.strerror or 'no route'}; check influx.url and the network")
    return Trouble(f"{where} answered something that is no HTTP: check influx.url", NEEDS_PERSON_S)


def _is_closed(cause: BaseException) -> bool:
    kinds = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    return isinstance(cause, kinds)


def _refused(answer: Answer) -> Refused:
    message = _message(answer.body)
    for mark, meaning in _ROWS.items():
        if mark in message:
            types = _TYPES.search(message) if "type" in meaning else None
            detail = f" ({types[2]} {types[1]}: {types[4]}, not {types[3]})" if types else ""
            return Refused(f"{answer.status}: {meaning}{detail}")
    return Refused(f"{answer.status}: the server refuses the row", by_rows=False)


def _message(body: bytes) -> str:
    """The message of InfluxDB's error object; empty for any other text."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    texts = [found.get(key) for key in ("error", "message")] if isinstance(found, dict) else []
    return " ".join(text for text in texts if isinstance(text, str))


def _meaning(status: int, version: str) -> str:
    """What a status means that says nothing of the rows."""
    known = _STATUS.get((version, status))
    if known:
        return known
    if status >= 500:
        return "it cannot write now: it is tried again"
    if 300 <= status < 400:
        return "it leads to another address, which is not followed: check influx.url"
    if status < 300:
        return "this is no answer of a database: check influx.url"
    return "it does not take requests of this kind: check influx.url and influx.version"


def _tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code, f"its certificate is not accepted (code {error.verify_code})")
    if error.reason and "ALERT" in error.reason:
        return "it does not accept this client's certificate: check influx.cert_file and influx.key_file"
    return "it does not speak TLS there: check influx.url"


def _cause(error: BaseException) -> BaseException:
    """The error of the system below what a library made of it."""
    chain = list(_chain(error))
    for kind in (ssl.SSLError, OSError, UnicodeError):
        for one in chain:
            if isinstance(one, kind):
                return one
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        yield from (arg for arg in error.args if isinstance(arg, BaseException))
        error = error.__cause__ or error.__context__
