"""The published schemas that a test hub judges by, and parsers that a hostile document cannot hurt.

XML: no document type, no entities, no network, at most 256 levels. JSON: numbers stay exact decimals, nothing that is
no JSON (NaN), bounded depth by the interpreter.
"""

import json
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, NoReturn

from jsonschema import Draft7Validator
from lxml import etree

DK_JSON: Final = "dk-datahub3/json-schema"
DK_XSD: Final = "dk-datahub3/xsd"
VHD_XSD: Final = "eu-eddie-cim/v1_04/vhd/ValidatedHistoricalData_Document_v1.04_annotated.xsd"
#: parts of a schema that check nothing by themselves
_UNUSED: Final = {"definitions", "description", "title", "$id", "id"}
#: characters of what a validator says that are passed on
_WORDS: Final = 300


class DocumentError(ValueError):
    """A document that does not parse or does not fit its schema; one line that says where."""


def parse_json(content: bytes) -> Any:
    """Parse JSON with exact decimals, UTF-8 with or without mark; raises DocumentError."""
    try:
        return json.loads(content.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"no JSON: {str(error)[:_WORDS]}") from None


def parse_xml(content: bytes) -> etree._Element:
    """Parse XML without document type and entities; raises DocumentError."""
    if b"<!DOCTYPE" in content[:10_000] or b"<!ENTITY" in content[:10_000]:
        raise DocumentError("a document type is not accepted")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DocumentError(f"no XML: {_line(error)}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DocumentError("a document type is not accepted")
    return root


def check_json(folder: str, name: str, value: Any) -> None:
    """Hold a value against a published JSON schema; raises DocumentError with the first fault."""
    fault = next(iter(validator(folder, name).iter_errors(value)), None)
    if fault is not None:
        where = "/".join(str(step) for step in fault.absolute_path)
        raise DocumentError(f"{where or 'document'}: {_line(fault.message)}")


def check_xml(name: str, root: etree._Element) -> None:
    """Hold a document against a published XSD; raises DocumentError with the first fault."""
    schema = xsd(name)
    if not schema.validate(root):
        fault = schema.error_log[0]
        raise DocumentError(f"line {fault.line}: {_line(fault.message)}")


@cache
def validator(folder: str, name: str) -> Draft7Validator:
    """Return the validator of a published JSON schema, or of `name#/part` of it.

    Every reference is replaced by what it names: none of these schemas is recursive, and to look up references costs
    ten times as much as everything else.
    """
    return Draft7Validator(_whole(folder, name, {"$ref": name}))


def _whole(folder: str, name: str, schema: Any) -> Any:
    """Replace every reference of a schema; beside a reference everything else is without effect (draft 7)."""
    if isinstance(schema, list):
        return [_whole(folder, name, entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        file, _, path = schema["$ref"].partition("#")
        return _part(folder, file or name, path.strip("/"))
    return {key: _whole(folder, name, value) for key, value in schema.items() if key not in _UNUSED}


@cache
def _part(folder: str, name: str, path: str) -> Any:
    found = json.loads(_text(f"{folder}/{name}"))
    for step in path.split("/") if path else ():
        found = found[step]
    return _whole(folder, name, found)


@lru_cache(maxsize=256)
def fits(folder: str, name: str, text: str) -> bool:
    """Say whether a short text is a value of a code list."""
    return validator(folder, name).is_valid(text)


@cache
def xsd(name: str) -> etree.XMLSchema:
    """Return a published XSD, ready to validate."""
    return etree.XMLSchema(etree.parse(str(_published() / name)))


def _text(name: str) -> str:
    return (_published() / name).read_text("utf-8-sig")


@cache
def _published() -> Path | Traversable:
    """The folder of the published schemas: inside the wheel, or docs/ of a checkout."""
    packaged = files("gateway") / "data" / "schemas" / "hubs"
    return packaged if packaged.is_dir() else Path(str(files("gateway"))).parent / "docs" / "schemas" / "hubs"


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _line(text: object) -> str:
    return " ".join(str(text).split())[:_WORDS]
