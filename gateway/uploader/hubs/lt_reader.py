"""Reads answers whose fields may change without notice: what is not as it was is told by its path, and never guessed.

A field that is not known is told and left alone; one that is missing or of another type makes its record useless; an
object where a list was is read as a list of one. A new field whose name speaks of scale, unit or time could change
what the others mean: its record is useless, too.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from gateway.uploader.answers import words
from gateway.uploader.hubs.lt_names import Fields, Shape

#: what is told of one answer, at most
MOST_DRIFTS: Final = 20
#: names of fields that could change the meaning of a quantity or of a time beside them
_MEANING: Final = re.compile(
    r"unit|multipl|factor|scale|coef|ratio|expon|preci|decim|magnit|offset|zone|tz|sign|direc|resol|interval|period|dst",
    re.IGNORECASE,
)
_INDEX: Final = re.compile(r"\[\d+\]")
_SHAPES: Final[Mapping[Shape, str]] = {
    "text": "a text", "number": "a number", "integer": "a whole number", "list": "a list", "object": "an object",
    "any": "anything",
}  # fmt: skip


class Drift(NamedTuple):
    """Something that is not as the hub's answers were: where it was met first, what, and how often."""

    path: str
    what: str
    times: int


class Reader:
    """Takes an answer apart, and collects what is strange in it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, int]] = {}

    @property
    def drifts(self) -> tuple[Drift, ...]:
        """What was strange, at most MOST_DRIFTS, each path once."""
        return tuple(Drift(first, what, count) for (_, what), (first, count) in self._found.items())

    def strange(self, path: str, what: str) -> None:
        """Note something strange."""
        name = _INDEX.sub("[]", path), what
        if name in self._found:
            self._found[name] = (self._found[name][0], self._found[name][1] + 1)
        elif len(self._found) < MOST_DRIFTS:
            self._found[name] = (path, 1)

    def record(self, value: Any, path: str, fields: Fields) -> dict[str, Any] | None:
        """The known fields of an object that are there and sound; None where it is useless."""
        if not isinstance(value, dict):
            self.strange(path, f"is {_shape(value)}, not an object")
            return None
        useless = [self._is_unknown(f"{path}.{words(key, 60)}", key) for key in value if key not in fields]
        found = {}
        for key, (shape, need) in fields.items():
            here = f"{path}.{key}" if path else key
            if value.get(key) is None:
                if need == "needed" or (need == "nullable" and key not in value):
                    self.strange(here, "is missing")
                    useless.append(True)
            elif _is(value[key], shape) or (shape == "list" and isinstance(value[key], dict)):
                found[key] = value[key]
            else:
                self.strange(here, f"is {_shape(value[key])}, not {_SHAPES[shape]}")
                useless.append(need != "optional")
        return None if any(useless) else found

    def entries(self, value: Any, path: str) -> Iterator[tuple[str, Any]]:
        """Path and value of each entry of a list; an object in its place is its only entry."""
        if isinstance(value, dict):
            self.strange(path, "is an object, not a list")
            yield path, value
        elif isinstance(value, list):
            yield from ((f"{path}[{index}]", entry) for index, entry in enumerate(value))
        elif value is not None:
            self.strange(path, f"is {_shape(value)}, not a list")

    def _is_unknown(self, path: str, key: str) -> bool:
        """Tell of a field that is not known, and whether it could change what the others mean."""
        meaning = _MEANING.search(key) is not None
        what = "is not known here, and could change what the values mean" if meaning else "is not known here"
        self.strange(path.removeprefix("."), what)
        return meaning


def _is(value: Any, shape: Shape) -> bool:
    if shape == "any":
        return True
    if isinstance(value, bool):
        return False
    kinds: dict[str, type | tuple[type, ...]] = {
        "text": str, "number": (int, Decimal), "integer": int, "list": list, "object": dict,
    }  # fmt: skip
    return isinstance(value, kinds[shape])


def _shape(value: Any) -> str:
    for kind, said in ((bool, "a truth value"), (str, "a text"), (int, "a number"), (Decimal, "a number")):
        if isinstance(value, kind):
            return said
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "nothing"
