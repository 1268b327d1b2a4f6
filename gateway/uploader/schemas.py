"""Published schemas of hubs, each loaded and compiled once: XSD by lxml, JSON Schema by fastjsonschema.

They are shipped with the package (docs/schemas/hubs); nothing is fetched, whatever a schema names.
"""

import io
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias

import fastjsonschema
from lxml import etree

#: takes a document that was parsed, raises SchemaError
Check: TypeAlias = Callable[[Any], None]
_MOST = 300


class SchemaError(Exception):
    """A document does not follow its schema: one sentence that says where and why."""


class Xsd:
    """A compiled XSD."""

    def __init__(self, schema: etree.XMLSchema) -> None:
        self._schema = schema

    def check(self, root: Any) -> None:
        """Validate an element with all below it; raises SchemaError, which names the first line that is wrong."""
        if self._schema.validate(root):
            return
        first = self._schema.error_log[0]
        raise SchemaError(f"line {first.line}: {_cut(first.message)}")

    def check_octets(self, octets: bytes) -> None:
        """Validate a document that we made ourselves; raises SchemaError."""
        try:
            self.check(etree.parse(io.BytesIO(octets), _parser()))
        except etree.XMLSyntaxError as error:
            raise SchemaError(f"the document is no XML: {_cut(str(error))}") from None


@cache
def xsd(path: str) -> Xsd:
    """The XSD `path` below docs/schemas/hubs, with what it imports from beside it."""
    with as_file(folder().joinpath(path)) as file:
        return xsd_file(file)


def xsd_file(path: Path) -> Xsd:
    """An XSD of the file system, such as an official one that its owner may not hand on; raises SchemaError."""
    try:
        return Xsd(etree.XMLSchema(etree.parse(path, _parser())))
    except (OSError, etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise SchemaError(f"{path} is no XSD that can be used: {_cut(str(error))}") from None


@cache
def json_schema(path: str) -> Check:
    """The JSON Schema `path` below docs/schemas/hubs; a file that it refers to is the one of that name beside it."""
    place = folder().joinpath(*path.split("/")[:-1])
    beside = {entry.name: entry for entry in place.iterdir() if entry.name.endswith(".json")}

    def load(address: str) -> dict[str, Any]:
        name = address.rpartition("/")[2]
        if name not in beside:
            raise SchemaError(f"{path} refers to {_cut(address)}, which is not beside it")
        found: dict[str, Any] = json.loads(beside[name].read_text("utf-8"))
        return found

    schema = load(path)
    validate = fastjsonschema.compile(schema, handlers=dict.fromkeys(("", "file", "http", "https"), load))

    def check(document: Any) -> None:
        try:
            validate(document)
        except fastjsonschema.JsonSchemaValueException as error:
            raise SchemaError(_cut(error.message)) from None

    return check


def folder() -> Traversable:
    """The published schemas: inside the wheel, or docs/schemas/hubs of a checkout."""
    packaged = files("gateway") / "data" / "schemas"
    root = packaged if packaged.is_dir() else files("gateway").joinpath("..", "docs", "schemas")
    return root / "hubs"


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST else f"{line[:_MOST]} ..."
