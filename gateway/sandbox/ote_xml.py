"""SOAP 1.1 and XML of the OTE-like profile: bounded, UTF-8, no document types, no entities, nothing from the network.

The schema is this hub's own and lives in `urn:sandbox:meterd:ote`: what OTE's messages of interval values look like is
not public, so nothing here is OTE's format (hubs.md 2.1 and its traps).
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from lxml import etree

from gateway.sandbox.ote_wsdl import NAMESPACE, XSD

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
#: octets of a request that are read at most
MAX_BODY: Final = 16 << 20
_DECLARED: Final = re.compile(rb"""\A\s*<\?xml[^>]*encoding\s*=\s*["']([^"'>]{1,40})["']""")


class FaultError(Exception):
    """A SOAP fault: its code (Client, Server, VersionMismatch, MustUnderstand) and one sentence (SOAP 1.1, 4.4)."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class SchemaError(Exception):
    """A message that the schema refuses: what is known of it, so that it can be answered, and one sentence."""

    def __init__(self, root: Any, reason: str) -> None:
        super().__init__(reason)
        self.root = root


class Reason(NamedTuple):
    """A reason of an answer; `type` A01 says accepted, A02 rejected."""

    code: str
    type: str
    text: str


class Party(NamedTuple):
    """A party: EAN-13 (coding scheme 14) or EIC (15)."""

    id: str
    scheme: str


def message(raw: bytes) -> Any:
    """Return the element in the body of an envelope. Raises FaultError, SchemaError."""
    root = _parse(raw)
    if etree.QName(root).localname == "Envelope" and etree.QName(root).namespace != SOAP:
        raise FaultError("VersionMismatch", "this service speaks SOAP 1.1")
    if root.tag != f"{{{SOAP}}}Envelope":
        raise FaultError("Client", "the document is no SOAP envelope")
    for header in root.iterfind(f"{{{SOAP}}}Header/*"):
        if header.get(f"{{{SOAP}}}mustUnderstand") in ("1", "true"):
            raise FaultError("MustUnderstand", "a header that must be understood is not")
    bodies = root.findall(f"{{{SOAP}}}Body")
    entries = [entry for entry in bodies[0] if isinstance(entry.tag, str)] if len(bodies) == 1 else []
    if len(entries) != 1:
        raise FaultError("Client", "the envelope needs one Body with one message in it")
    return _valid(entries[0])


def document(raw: bytes) -> Any:
    """Return a message that comes as a file, without an envelope. Raises FaultError, SchemaError."""
    return _valid(_parse(raw))


def envelope(entry: Any) -> bytes:
    """Return an envelope around an element."""
    root = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"soap": SOAP})
    etree.SubElement(root, f"{{{SOAP}}}Body").append(entry)
    raw: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return raw


def fault(error: FaultError) -> bytes:
    """Return the envelope of a fault."""
    entry = etree.Element(f"{{{SOAP}}}Fault", nsmap={"soap": SOAP})
    etree.SubElement(entry, "faultcode").text = f"soap:{error.code}"
    etree.SubElement(entry, "faultstring").text = str(error)
    return envelope(entry)


def answer(name: str, head: Mapping[str, str], parties: Sequence[Party], reference: str, reasons: list[Reason]) -> Any:
    """Return a RESPONSE or GASRESPONSE of `parties` (sender, receiver) to the message `reference`.

    `head` has the `id` of the answer and its `date-time`, a local time.
    """
    root = etree.Element(f"{{{NAMESPACE}}}{name}", nsmap={None: NAMESPACE})
    for key, value in {**head, "message-code": "SBX", "dtd-version": "1", "dtd-release": "1"}.items():
        root.set(key, value)
    for element, party in zip(("SenderIdentification", "ReceiverIdentification"), parties, strict=True):
        child = etree.SubElement(root, f"{{{NAMESPACE}}}{element}")
        child.set("id", party.id)
        child.set("coding-scheme", party.scheme)
    etree.SubElement(root, f"{{{NAMESPACE}}}Reference").set("id", reference)
    for reason in reasons:
        child = etree.SubElement(root, f"{{{NAMESPACE}}}Reason", code=reason.code, type=reason.type)
        child.text = reason.text
    return root


def _parse(raw: bytes) -> Any:
    declared = _DECLARED.match(raw)
    if b"<!DOCTYPE" in raw or b"\0" in raw or (declared and declared[1].lower() != b"utf-8"):
        raise FaultError("Client", "the document must be UTF-8 without a document type")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_pis=True)
    try:
        return etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise FaultError("Client", f"the document is no XML: {error.msg}"[:200]) from None


@cache
def _schema() -> Any:
    return etree.XMLSchema(etree.fromstring(XSD.encode()))


def _valid(entry: Any) -> Any:
    """Return a message that fits the schema, as a document of its own."""
    alone = etree.fromstring(etree.tostring(entry, with_tail=False))
    if etree.QName(alone).namespace != NAMESPACE or etree.QName(alone).localname not in ("CDSDATA", "CDSGASDATA"):
        raise FaultError("Client", f"CDSDATA or CDSGASDATA of {NAMESPACE} is taken here")
    schema = _schema()
    if not schema.validate(alone):
        raise SchemaError(alone, str(schema.error_log[0].message)[:300])
    return alone
