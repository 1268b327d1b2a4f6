"""RESPONSE and GASRESPONSE of OTE, read strictly: which message they answer, and whether it was accepted.

Reason type A01 is acceptance; every other one is a refusal, with its code and Czech text. What does not say plainly
that our message was accepted confirms nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gateway.hub_model import Message, Reason, Verdict
from gateway.uploader.answers import AnswerError, words
from gateway.uploader.hubs.cz_forms import ANSWERS, PUBLIC_RESPONSE, SANDBOX, Form
from gateway.uploader.hubs.cz_soap import name_of
from gateway.uploader.schemas import SchemaError

ACCEPTED: Final = "A01"
MOST_REASONS: Final = 50
_TYPE: Final = re.compile(r"[A-Z][0-9]{2}", re.ASCII)
_CODE: Final = re.compile(r"[0-9A-Z_-]{1,16}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_PARTIES: Final = ("SenderIdentification", "ReceiverIdentification")


class Said(NamedTuple):
    """What an answer says."""

    #: RESPONSE or GASRESPONSE
    root: str
    #: number of the answer, and of the message that it answers
    number: str
    reference: str
    sender: str
    receiver: str
    #: (type, reason) of every reason, in order
    reasons: tuple[tuple[str, Reason], ...]

    @property
    def verdict(self) -> Verdict:
        """Accepted only where every reason says so: the portal processes at once, so that this is its last word."""
        return "confirmed" if all(kind == ACCEPTED for kind, _ in self.reasons) else "rejected"

    def told(self) -> tuple[Reason, ...]:
        """The reasons that make the verdict."""
        accepted = self.verdict == "confirmed"
        return tuple(reason for kind, reason in self.reasons if accepted or kind != ACCEPTED)[:MOST_REASONS]


def read(root: Any, forms: Mapping[str, Form]) -> Said:
    """Read an answer from its root element; raises AnswerError for anything else, and where its schema refuses it."""
    namespace, name = name_of(root)
    if name not in ANSWERS.values() or namespace not in _namespaces(forms[name]):
        raise AnswerError(f"{words(str(root.tag), 80)} is no RESPONSE that is known here")
    _judge(root, forms[name])
    children: dict[str, list[Any]] = {}
    for child in root:
        inside, local = name_of(child)
        if inside != namespace:
            raise AnswerError(f"{name} holds {words(str(child.tag), 80)} of another namespace")
        children.setdefault(local, []).append(child)
    strange = children.keys() - {*_PARTIES, "Reference", "Reason"}
    if strange and forms[name].official is None:
        raise AnswerError(f"{name} holds {words(min(strange), 40)}, which is not known here")
    reasons = tuple(_reason(child) for child in children.get("Reason", ()))
    if not reasons:
        raise AnswerError(f"{name} gives no Reason")
    sender, receiver = (_one(children, name, part) for part in _PARTIES)
    reference = _number(_one(children, name, "Reference"), "Reference")
    return Said(name, _number(root, name), reference, sender.get("id", ""), receiver.get("id", ""), reasons)


def answers(said: Said, message: Message) -> str | None:
    """Why an answer cannot be that of a message, as a sentence; None where it is."""
    about = message.about
    if said.reference != message.document:
        return f"the answer is to message {said.reference}, not to {message.document}"
    if said.root != ANSWERS.get(str(about.get("root"))):
        return f"{said.root} does not answer {about.get('root')} {message.document}"
    # a refusal may name who we are by the certificate: that we say we are another one can be its very reason
    parties = (about.get("receiver"), about.get("sender"))
    if said.verdict == "confirmed" and (said.sender, said.receiver) != parties:
        return (
            f"the answer goes from {words(said.sender, 20)} to {words(said.receiver, 20)}: "
            f"message {message.document} went from {about.get('sender')} to {about.get('receiver')}"
        )
    return None


def _namespaces(form: Form) -> set[str]:
    """Namespaces in which an answer may come: of an official schema alone, else ours and the public one."""
    return {form.namespace} if form.official else {SANDBOX, PUBLIC_RESPONSE}


def _judge(root: Any, form: Form) -> None:
    """Validate by the schema of the namespace, where there is one."""
    if name_of(root)[0] != form.namespace:
        return
    try:
        form.xsd.check(root)
    except SchemaError as error:
        raise AnswerError(f"{name_of(root)[1]} is refused by {form.source}: {error}") from None


def _one(children: Mapping[str, list[Any]], root: str, name: str) -> Any:
    found = children.get(name, [])
    if len(found) != 1:
        raise AnswerError(f"{root} has {len(found)} elements {name}, not one")
    return found[0]


def _number(element: Any, what: str) -> str:
    text = element.get("id") or ""
    if not _NUMBER.fullmatch(text):
        raise AnswerError(f"{what} has no number as its id")
    return str(text)


def _reason(element: Any) -> tuple[str, Reason]:
    kind, code = element.get("type") or "", element.get("code") or ""
    if not (_TYPE.fullmatch(kind) and _CODE.fullmatch(code)) or len(element):
        raise AnswerError("a Reason has no type such as A01, no code, or more than text in it")
    return kind, Reason(code, words(element.text or "", 300))
