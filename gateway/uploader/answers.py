"""What a hub answered, read safely: bounded in octets, nodes and depth, no entities, no surprises in its texts.

Everything here raises AnswerError alone, one sentence that holds no more than a few words of the answer.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final

from lxml import etree

from gateway.hub_model import Reason, Receipt, Verdict
from gateway.uploader.hub import MAX_ANSWER, Answer, Session, SessionError

#: what makes nodes of an XML document or values of a JSON text, each of which takes some 100 octets of memory
MAX_MARKS: Final = 400_000
MAX_DEPTH: Final = 64
#: characters of a number in JSON
MAX_NUMBER: Final = 40
#: longest Retry-After that is obeyed (s)
MAX_RETRY_S: Final = 86_400
MAX_WORDS: Final = 300
MAX_REASONS: Final = 50
#: encodings that an XML declaration may name
_ENCODINGS = frozenset(("utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-2", "windows-1250", "utf-16"))
_DECLARED = re.compile(r"""\A<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
#: what may stand before a document type
_PROLOG = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
#: status -> what it says of a message, where the hub's own rules say nothing else (RFC 9110, RFC 6585)
_STATUS: Final[Mapping[int, Verdict]] = {
    401: "blocked", 403: "blocked", 404: "blocked", 405: "blocked", 406: "blocked", 407: "blocked", 415: "blocked",
    408: "busy", 425: "busy", 429: "busy", 503: "busy", 421: "busy",
}  # fmt: skip


class AnswerError(Exception):
    """An answer that cannot be used: one sentence."""


def xml(body: bytes, *, most: int = MAX_ANSWER, marks: int = MAX_MARKS) -> Any:
    """The root element (lxml) of a document of at most `most` octets, without document type or comments."""
    if len(body) > most:
        raise AnswerError(f"the answer has {len(body)} octets, more than {most}")
    text = _xml_text(body)
    if text.count("<") + text.count("=") > marks:
        raise AnswerError(f"the answer has more than {marks} elements and attributes")
    prolog = _PROLOG.match(text)
    if prolog and text.startswith("<!DOCTYPE", prolog.end()):
        raise AnswerError("the answer brings a document type of its own: entities are not read")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True, encoding="utf-8"
    )
    try:
        root = etree.fromstring(re.sub(r"\A<\?xml.*?\?>", "", text, count=1, flags=re.DOTALL).encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError, ValueError) as error:
        raise AnswerError(f"the answer is no XML: {words(str(error))}") from None
    if root is None:
        raise AnswerError("the answer is no XML: it holds no element")
    return root


def json_value(body: bytes, *, most: int = MAX_ANSWER, marks: int = MAX_MARKS) -> Any:
    """The value of a JSON text in UTF-8; fractions are Decimal, and no key comes twice in an object."""
    if len(body) > most:
        raise AnswerError(f"the answer has {len(body)} octets, more than {most}")
    if sum(body.count(mark) for mark in (b"[", b"{", b",", b":")) > marks:
        raise AnswerError(f"the answer has more than {marks} values")
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(
            text, parse_float=_number, parse_int=_integer, parse_constant=_refuse, object_pairs_hook=_pairs
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeError:
        raise AnswerError("the answer is no JSON: it is not in UTF-8") from None
    except RecursionError:
        raise AnswerError("the answer is no JSON that can be read: it is nested too deeply") from None
    except ValueError as error:
        raise AnswerError(f"the answer is no JSON: {words(str(error))}") from None
    _shallow(value)
    return value


def mapping(value: Any, what: str = "the answer") -> Mapping[str, Any]:
    """A value that must be an object of JSON."""
    if not isinstance(value, dict):
        raise AnswerError(f"{what} is no JSON object")
    return value


def words(text: str, most: int = MAX_WORDS) -> str:
    """A text of a hub as one line that a log, a table or a terminal can hold."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def retry_after_s(answer: Answer, now: float) -> int | None:
    """Retry-After of an answer (RFC 9110, clause 10.2.3) in s, at most a day; None where there is no sound one."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal() and text.isascii():
        return min(MAX_RETRY_S, int(text[:9]))
    try:
        at = parsedate_to_datetime(text[:60])
        stamp = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError, IndexError, TypeError):
        return None
    return max(0, min(MAX_RETRY_S, int(stamp - now)))


def verdict(status: int) -> Verdict:
    """What a status says of a message that was sent, where the hub's rules say nothing else.

    5xx other than 503 are `unknown`: whatever broke may have broken after the message was stored.
    """
    if status in _STATUS:
        return _STATUS[status]
    if 200 <= status < 300:
        return "accepted"
    if 300 <= status < 400:
        return "blocked"
    return "rejected" if 400 <= status < 500 else "unknown"


def receipt(
    answer: Answer,
    session: Session,
    said: Verdict,
    *reasons: Reason,
    now: float | None = None,
    reference: str | None = None,
) -> Receipt:
    """A receipt of an answer; `now` (UTC s) for a Retry-After that is a date."""
    at = datetime.now(UTC).timestamp() if now is None else now
    return Receipt(
        said,
        tuple(reasons[:MAX_REASONS]),
        retry_after_s(answer, at),
        reference,
        status=answer.status,
        raw=answer.body,
        certificate=session.certificate,
    )


def by_status(answer: Answer, session: Session, *, now: float | None = None) -> Receipt:
    """A receipt by the status alone, with the first words of the body as its reason where it is no success."""
    said = verdict(answer.status)
    told = words(answer.body[:2_000].decode("utf-8", "replace"), 120)
    reasons = () if said == "accepted" else (Reason(f"http_{answer.status}", told or _phrase(answer.status)),)
    return replace(receipt(answer, session, said, *reasons, now=now), judged=False)


def no_answer(error: SessionError, session: Session) -> Receipt:
    """A receipt of a request that got no answer: `unknown` where the hub may have it, else nothing left us."""
    said: Verdict = "unknown" if error.sent else "blocked" if error.person else "busy"
    code = "no_answer" if error.sent else "not_sent"
    return Receipt(said, (Reason(code, words(str(error))),), error.retry_after_s, certificate=session.certificate)


def unreadable(answer: Answer, session: Session, error: Exception) -> Receipt:
    """A receipt of an answer that says nothing that can be trusted: whether the hub has the message is unknown."""
    return receipt(answer, session, "unknown", Reason("bad_answer", words(f"HTTP {answer.status}: {error}")))


def _phrase(status: int) -> str:
    if 300 <= status < 400:
        return "the hub sends us elsewhere, and redirects are not followed: check `url`"
    return f"the hub answers with status {status} and says nothing else"


def _xml_text(body: bytes) -> str:
    """Decode by mark, then by what the document declares, else as UTF-8."""
    try:
        if body.startswith((b"\xff\xfe", b"\xfe\xff")):
            return body.decode("utf-16")
        head = _DECLARED.match(body[:256].decode("latin-1").removeprefix("\xef\xbb\xbf"))
        named = head[1].lower() if head else "utf-8"
        if named not in _ENCODINGS:
            raise AnswerError(f"the answer is in {words(named, 40)}, which is not read here")
        return body.decode("utf-8-sig" if named == "utf-8" else named)
    except UnicodeError:
        raise AnswerError("the answer is no text of the encoding that it names") from None


def _number(text: str) -> Decimal:
    exponent = text.lower().partition("e")[2]
    if len(text) > MAX_NUMBER or (exponent and abs(int(exponent)) > MAX_NUMBER):
        raise ValueError("a number is longer than any quantity")
    return Decimal(text)


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError("a number is longer than any quantity")
    return int(text)


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object holds a key twice")
    return found


def _shallow(value: Any) -> None:
    """Refuse what is nested deeper than MAX_DEPTH, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise AnswerError(f"the answer is no JSON that can be read: it is nested more than {MAX_DEPTH} deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
