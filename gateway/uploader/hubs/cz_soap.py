"""SOAP 1.1 over HTTP, document/literal: one document in one envelope (W3C Note SOAP 1.1, clauses 4 and 6)."""

import re
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

from gateway.uploader.answers import AnswerError, words

ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<soap:Envelope xmlns:soap="{ENVELOPE}"><soap:Body>\n'
_TAIL: Final = "\n</soap:Body></soap:Envelope>\n"
_DECLARATION: Final = re.compile(rb"\A\s*<\?xml[^>]*\?>\s*")


class Fault(NamedTuple):
    """A SOAP fault: its code without a prefix (`Client`, `Server`, `Client.Authentication` ...), and its words."""

    code: str
    text: str


def wrap(document: bytes) -> bytes:
    """A document of ours (UTF-8) in an envelope: the same octets for the same document."""
    return _HEAD.encode() + _DECLARATION.sub(b"", document).strip() + _TAIL.encode()


def fault(code: str, text: str) -> bytes:
    """An envelope with a fault; `code` without a prefix."""
    return wrap(
        f"<soap:Fault><faultcode>soap:{escape(code)}</faultcode><faultstring>{escape(text)}</faultstring></soap:Fault>".encode()
    )


def is_envelope(root: Any) -> bool:
    """Tell whether a document is an envelope of SOAP 1.1."""
    return bool(root.tag == f"{{{ENVELOPE}}}Envelope")


def unwrap(root: Any) -> Any:
    """The one element that an envelope carries; raises AnswerError for any other document."""
    if not is_envelope(root):
        raise AnswerError(f"the document is no envelope of SOAP 1.1, but {words(str(root.tag), 80)}")
    bodies = root.findall(f"{{{ENVELOPE}}}Body")
    strange = [child for child in root if child.tag not in (f"{{{ENVELOPE}}}Header", f"{{{ENVELOPE}}}Body")]
    if len(bodies) != 1 or strange:
        raise AnswerError("the envelope has not one Body, or more than Header and Body")
    if any(entry.get(f"{{{ENVELOPE}}}mustUnderstand") in ("1", "true") for entry in root.iterfind("*/*")):
        raise AnswerError("the envelope has a header that must be understood, and none is understood here")
    content = list(bodies[0])
    if len(content) != 1 or (bodies[0].text or "").strip() or (content[0].tail or "").strip():
        raise AnswerError(f"the Body holds {len(content)} elements, not one, or text beside it")
    return content[0]


def fault_of(content: Any) -> Fault | None:
    """The fault that the content of a Body is; None where it is none."""
    if content.tag != f"{{{ENVELOPE}}}Fault":
        return None
    code = words(content.findtext("faultcode") or "", 60).rpartition(":")[2]
    return Fault(code or "Server", words(content.findtext("faultstring") or "no faultstring"))


def name_of(element: Any) -> tuple[str, str]:
    """Namespace and local name of an element."""
    namespace, _, local = str(element.tag).rpartition("}")
    return namespace.removeprefix("{"), local
