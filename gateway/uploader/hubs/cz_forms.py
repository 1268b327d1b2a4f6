"""Which schema a document of OTE is written and judged by: an official one of `schema_folder`, else our sandbox one.

The official schemas are given to registered participants, and are not part of meterd. Where the folder holds an XSD
that declares a root element, documents are written in its namespace and leave only if it accepts them.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.uploader.answers import AnswerError, xml
from gateway.uploader.hubs.cz_parties import Commodity
from gateway.uploader.schemas import SchemaError, Xsd, xsd, xsd_file

SANDBOX: Final = "urn:sandbox:meterd:ote"
#: namespace of RESPONSE in a public template of a responder
PUBLIC_RESPONSE: Final = "http://www.ote-cr.cz/schema/response"
READINGS: Final[dict[Commodity, str]] = {"electricity": "CDSDATA", "gas": "CDSGASDATA"}
#: what answers which document
ANSWERS: Final = {"CDSDATA": "RESPONSE", "CDSGASDATA": "GASRESPONSE"}
_OURS: Final = "cz-sandbox/ote-like.xsd"
_ACTIONS: Final = {"CDSDATA": f"{SANDBOX}/SendData", "CDSGASDATA": f"{SANDBOX}/SendGasData"}
_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_WSDL: Final = "{http://schemas.xmlsoap.org/wsdl/}"
_SOAP: Final = "{http://schemas.xmlsoap.org/wsdl/soap/}"
_MOST_FILE: Final = 4 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Form:
    """How a root element is written, sent and judged."""

    namespace: str
    xsd: Xsd
    #: SOAPAction of its operation
    action: str = ""
    #: path below the hub's `url`; empty where `url` is the whole address
    path: str = ""
    #: file of the schema in `schema_folder`; None: it is ours
    official: str | None = None

    @property
    def is_sandbox(self) -> bool:
        """Whether it is a stand-in: ours, or anybody's in a namespace of a sandbox."""
        return self.official is None or self.namespace.startswith("urn:sandbox:")

    @property
    def source(self) -> str:
        """One line that says whose schema it is."""
        if self.official is None:
            return f"meterd's own sandbox schema, not OTE's (namespace {self.namespace})"
        return f"{self.official} of schema_folder (namespace {self.namespace})"


def forms(hub: str, folder: str | None) -> dict[str, Form]:
    """The form of every root element that is known; raises SchemaError for a folder that cannot be used."""
    ours = xsd(_OURS)
    found = {root: Form(SANDBOX, ours, _ACTIONS.get(root, ""), "/cdsdata") for root in (*ANSWERS, *ANSWERS.values())}
    if folder is not None:
        found |= _official(Path(folder))
    for root in ANSWERS:
        _log.info("hub %s: %s is validated by %s", hub, root, found[root].source)
    return found


def _official(folder: Path) -> dict[str, Form]:
    """Forms of the root elements that the folder's schemas declare."""
    try:
        actions = dict(pair for path in sorted(folder.glob("*.wsdl")) for pair in _actions(_read(path)))
        schemas = [(path, _read(path)) for path in sorted(folder.glob("*.xsd"))]
    except OSError as error:
        raise SchemaError(f"schema_folder {folder} cannot be read: {error.strerror}") from None
    found: dict[str, Form] = {}
    for path, root in schemas:
        namespace = root.get("targetNamespace") or ""
        for name in {element.get("name") for element in root.iterfind(f"{_XS}element")} & _known():
            if name in found:
                raise SchemaError(
                    f"schema_folder {folder} declares {name} in {found[name].official} and in {path.name}"
                )
            found[name] = Form(namespace, xsd_file(path), actions.get((namespace, name), ""), "", path.name)
    return found


def _known() -> set[str]:
    return {*ANSWERS, *ANSWERS.values()}


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        octets = file.read(_MOST_FILE + 1)
    try:
        root = xml(octets, most=_MOST_FILE)
    except AnswerError as error:
        raise SchemaError(f"{path}: {error}".replace("the answer", "the file")) from None
    for link in root.iter(f"{_XS}import", f"{_XS}include"):
        if "://" in (link.get("schemaLocation") or ""):
            raise SchemaError(
                f"{path} names {link.get('schemaLocation')[:80]}: put that file beside it, nothing is fetched"
            )
    return root


def _actions(wsdl: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """(namespace, root element) of the input of every operation, and its SOAPAction."""
    messages = {}
    for message in wsdl.iterfind(f"{_WSDL}message"):
        part = message.find(f"{_WSDL}part")
        if part is not None and part.get("element"):
            messages[message.get("name")] = _qualified(part, part.get("element"))
    inputs = {
        operation.get("name"): messages.get((entry.get("message") or "").rpartition(":")[2])
        for operation in wsdl.iterfind(f"{_WSDL}portType/{_WSDL}operation")
        for entry in operation.iterfind(f"{_WSDL}input")
    }
    for operation in wsdl.iterfind(f"{_WSDL}binding/{_WSDL}operation"):
        how, element = operation.find(f"{_SOAP}operation"), inputs.get(operation.get("name"))
        if how is not None and element is not None:
            yield element, how.get("soapAction") or ""


def _qualified(part: Any, name: str) -> tuple[str, str]:
    prefix, _, local = name.rpartition(":")
    return part.nsmap.get(prefix or None) or "", local
