"""What DataHub 3 says to a POST: 202 without a body, or 400 with its errors; nothing else is success.

400 bodies, as JSON and XML (opengeh-edi, JsonResponseFactory and XmlResponseFactory): one error as
`{"Error": {"Code": "00101", "Message": ..., "Target": ...}}`, several with the Code `BadRequest` and Details.Errors.
"""

from collections.abc import Iterator
from typing import Any, Final

from gateway.hub_model import Message, Reason, Receipt, Verdict
from gateway.uploader.answers import AnswerError, by_status, json_value, receipt, unreadable, words, xml
from gateway.uploader.hub import Answer, Session
from gateway.uploader.hubs.dk_reading import JSON, XML

#: the id of a message, of a transaction was taken before
DUPLICATE_MESSAGE: Final = "00101"
DUPLICATES: Final = frozenset((DUPLICATE_MESSAGE, "00102"))
#: Code where there are several errors
SEVERAL: Final = "BadRequest"


def of_send(answer: Answer, session: Session, message: Message) -> Receipt:
    """What came of one attempt; `message.attempts` counts it."""
    if answer.status == 202:
        if not answer.body.strip():
            return receipt(answer, session, "accepted")
        return unreadable(answer, session, AnswerError("202 comes without a body from DataHub, and this one has one"))
    if 200 <= answer.status < 300:
        return unreadable(answer, session, AnswerError("DataHub takes a message with 202 and no other status"))
    return _of_refusal(answer, session, message) if answer.status == 400 else by_status(answer, session)


def media(answer: Answer) -> str:
    """The media type of an answer, in lower case and without parameters."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def errors(answer: Answer) -> list[Reason]:
    """The errors of a 400, each with DataHub's code; raises AnswerError for anything else than its error body."""
    kind = media(answer)
    if kind not in (JSON, XML):
        raise AnswerError(f"the body is {words(kind, 60) or 'of no type'}, not an error of DataHub")
    found = list(_json_errors(json_value(answer.body)) if kind == JSON else _xml_errors(xml(answer.body)))
    if not found:
        raise AnswerError("the error body holds no error")
    return found


def _of_refusal(answer: Answer, session: Session, message: Message) -> Receipt:
    """A 400: a message that was sent before and is known there was taken then; ids are kept only of what was taken.

    What cannot be read is not DataHub's: it settles nothing.
    """
    try:
        found = errors(answer)
    except AnswerError as error:
        return unreadable(answer, session, error)
    verdict: Verdict = "duplicate" if _is_duplicate({reason.code for reason in found}, message.attempts) else "rejected"
    return receipt(answer, session, verdict, *found)


def _is_duplicate(codes: set[str], attempts: int) -> bool:
    """Whether DataHub has these very octets already.

    Ids are ours alone and stand in one body for ever. A second attempt is told that its ids are taken, maybe beside
    what else is wrong by now. A first one is told so where the network handed the request over twice: then nothing
    else is wrong. Transactions that were taken without their message are something else: a person looks at it.
    """
    if attempts > 1:
        return DUPLICATE_MESSAGE in codes or codes <= DUPLICATES
    return DUPLICATE_MESSAGE in codes and codes <= DUPLICATES


def _json_errors(value: Any) -> Iterator[Reason]:
    if not isinstance(value, dict) or set(value) != {"Error"}:
        raise AnswerError("the body is no error of DataHub")
    error = value["Error"]
    first = _json_error(error)
    if first.code != SEVERAL:
        yield first
        return
    details = error.get("Details")
    many = details.get("Errors") if isinstance(details, dict) else details
    yield from (_json_error(one) for one in (many if isinstance(many, list) else ()))


def _json_error(error: Any) -> Reason:
    if not isinstance(error, dict):
        raise AnswerError("an error is no object")
    return _reason(error.get("Code"), error.get("Message"))


def _xml_errors(root: Any) -> Iterator[Reason]:
    if root.tag != "Error":
        raise AnswerError("the body is no error of DataHub")
    first = _reason(root.findtext("Code"), root.findtext("Message"))
    if first.code != SEVERAL:
        yield first
        return
    yield from (_reason(one.findtext("Code"), one.findtext("Message")) for one in root.iterfind("Details/Error"))


def _reason(code: object, message: object) -> Reason:
    if not isinstance(code, str) or not 0 < len(code.strip()) <= 40 or not isinstance(message, str | None):
        raise AnswerError("an error has no code, or none that can be one")
    return Reason(words(code, 40), words(message or ""))
