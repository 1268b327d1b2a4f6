"""Documents of DataHub 3, CIM JSON and CIM XML alike: a name and a tree of texts, numbers as the text that they are.

JSON says `"Series": [{"mRID": "1", "type": {"value": "E66"}}]` where XML says
`<Series><mRID>1</mRID><type>E66</type></Series>`; both become `{"Series": [{"mRID": ["1"], "type": ["E66"]}]}`.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeAlias
from zoneinfo import ZoneInfo

from gateway.uploader.answers import MAX_MARKS, AnswerError, json_value, words, xml

JSON: Final = "application/json"
XML: Final = "application/xml"
#: DataHub's days and months are Danish ones
DENMARK: Final = ZoneInfo("Europe/Copenhagen")

#: what an element or a property holds, in the order of the document
Node: TypeAlias = dict[str, list["Node | str"]]
#: what may stand in an object of JSON that is no more than a value
_VALUE: Final = frozenset(("value", "codingScheme"))
_INSTANT: Final = re.compile(r"(?:19[7-9][0-9]|2[0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z", re.ASCII)


class Document:
    """A document: its name without namespace, its tree, and what a schema validates (lxml or JSON)."""

    __slots__ = ("name", "namespace", "raw", "root")

    def __init__(self, body: bytes, media: str, *, marks: int = MAX_MARKS) -> None:
        """Read octets of a media type, JSON or XML; raises AnswerError."""
        self.raw = json_value(body, marks=marks) if media == JSON else xml(body, marks=marks)
        self.name, self.namespace, self.root = _of_json(self.raw) if media == JSON else _of_xml(self.raw)


def nodes(node: Node, name: str) -> list[Node]:
    """Every child of a name, each with children of its own; none where the document has none. Raises AnswerError."""
    found = node.get(name, [])
    return [child if isinstance(child, dict) else _bad(name, "has nothing in it") for child in found]


def text(node: Node, name: str) -> str | None:
    """The text of the only child of a name, or None where there is none; raises AnswerError."""
    found = node.get(name, [])
    if len(found) > 1:
        _bad(name, "comes more than once")
    if not found:
        return None
    return found[0] if isinstance(found[0], str) else _bad(name, "is no plain value")


def instant(said: str | None, *, seconds: bool | None = None) -> int | None:
    """UTC seconds of `2026-03-03T23:00:00Z`, or `...T23:00Z`, from 1970 on; `seconds`: must it have them. Else None."""
    found = None if said is None else _INSTANT.fullmatch(said)
    if found is None or said is None or (seconds is not None and bool(found[1]) != seconds):
        return None
    try:
        return int(datetime.fromisoformat(said).timestamp())
    except ValueError:
        return None


def local(t: int) -> datetime:
    """Danish time of UTC seconds."""
    return datetime.fromtimestamp(t, UTC).astimezone(DENMARK)


def day(t: int) -> tuple[int, int]:
    """First second of the Danish day in which `t` lies, and of the next one, in UTC seconds."""
    first = local(t).replace(hour=0, minute=0, second=0, fold=0)
    later = (first.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=DENMARK)
    return int(first.timestamp()), int(later.timestamp())


def _of_json(value: Any) -> tuple[str, str, Node]:
    if not isinstance(value, dict) or len(value) != 1:
        raise AnswerError("the document is no JSON object with one name")
    ((name, inside),) = value.items()
    root = _plain(inside)
    if not isinstance(root, dict):
        _bad(name, "has nothing in it")
    return words(name, 80), "", root


def _plain(value: Any) -> "Node | str":
    """A value of JSON as tree or text; `json_value` saw to it that it is not deep."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if "value" in value and _VALUE.issuperset(value):
            return _plain(value["value"])
        return {
            key: [_plain(one) for one in inside] if isinstance(inside, list) else [_plain(inside)]
            for key, inside in value.items()
        }
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise AnswerError("the document holds a value that is neither text nor number")


def _of_xml(root: Any) -> tuple[str, str, Node]:
    space, name = _split(root.tag)
    tree = _element(root)
    if not isinstance(tree, dict):
        _bad(name, "has nothing in it")
    return words(name, 80), space, tree


def _element(element: Any) -> "Node | str":
    """An element as tree or text; libxml2 refuses what is more than 256 deep."""
    if len(element) == 0:
        return (element.text or "").strip()
    found: Node = {}
    for child in element:
        found.setdefault(_split(child.tag)[1], []).append(_element(child))
    return found


def _split(tag: Any) -> tuple[str, str]:
    if not isinstance(tag, str):
        raise AnswerError("the document holds an entity")
    space, _, name = tag.rpartition("}")
    return space[1:], name


def _bad(name: str, what: str) -> NoReturn:
    raise AnswerError(f"{words(name, 80)} {what}")
