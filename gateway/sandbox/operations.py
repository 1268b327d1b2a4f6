"""One table of operations is the routes, the check of every request, and the OpenAPI document: they cannot differ.

An operation names its path, parameters, schemas, roles and answers; `check` holds a request against exactly the schemas
that gateway.sandbox.openapi publishes. Schemas are JSON Schema 2020-12, as OpenAPI 3.1 has them.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

Schema: TypeAlias = dict[str, Any]
#: octets of a request body that are read at most
MAX_BODY: Final = 65_536
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)


class Principal(NamedTuple):
    """Who asks: the id of a login and what it may do."""

    id: str
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed the check: who, path and query parameters by name, body, UTC s.

    `db` is inside the transaction that is committed before the answer leaves.
    """

    db: sqlite3.Connection
    principal: Principal
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    now: int


class Reply(NamedTuple):
    """An answer: status, JSON value (None: no body), header fields."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class ProblemError(ValueError):
    """A request that is refused (RFC 9457): status, one sentence, header fields."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    id: str
    summary: str
    tag: str
    #: roles of which one is needed; empty: for everybody, without a token
    roles: frozenset[str]
    handler: Callable[[Call], Reply]
    #: status of success, its words, and the name of the schema of its body (None: no body)
    status: int
    words: str
    answer: str | None
    #: refusals beside 400, 401, 403: status -> words
    refusals: Mapping[int, str] = field(default_factory=dict)
    parameters: Mapping[str, Schema] = field(default_factory=dict)
    query: Mapping[str, Schema] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    #: name of the schema of the request body
    body: str | None = None
    #: where the answer leads: id of an operation -> its parameters as runtime expressions (OpenAPI 3.1, 4.8.20)
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Checker:
    """Holds requests against the schemas of a table; `schemas` are those of `#/components/schemas`."""

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas
        self._named = lru_cache(maxsize=None)(self._make)

    def body(self, operation: Operation, raw: bytes, content_type: str) -> Any:
        """The JSON value of a body. Raises ProblemError: 400, 415."""
        if operation.body is None:
            if raw:
                raise ProblemError(400, "this operation takes no body")
            return None
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(415, f"a body of {content_type or 'no type'}: application/json is taken")
        value = parse(raw)
        _hold(self._named(operation.body), value, "body")
        return value

    def parameters(self, operation: Operation, given: Mapping[str, str]) -> dict[str, str]:
        """Path parameters. Raises ProblemError 404: no such resource can be."""
        for name, schema in operation.parameters.items():
            if next(_validator(json.dumps(schema)).iter_errors(given[name]), None) is not None:
                raise ProblemError(404, f"there is no such {name}")
        return dict(given)

    def query(self, operation: Operation, given: list[tuple[str, str]]) -> dict[str, Any]:
        """Query parameters, integers as int, those with a default filled in. Raises ProblemError 400."""
        values: dict[str, Any] = {}
        for name, text in given:
            if name not in operation.query:
                raise ProblemError(400, f"there is no query parameter {short(name)}")
            if name in values:
                raise ProblemError(400, f"query parameter {name} is given twice")
            values[name] = _value(operation.query[name], name, text)
        for name in sorted(operation.required - values.keys()):
            raise ProblemError(400, f"query parameter {name} is missing")
        return {name: schema.get("default") for name, schema in operation.query.items()} | values

    def _make(self, name: str) -> Any:
        return _Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": self._schemas}})


def parse(raw: bytes) -> Any:
    """JSON of RFC 8259 without doubt: UTF-8, no key twice, no NaN, no lone surrogate. Raises ProblemError 400."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, f"the body is no JSON: {short(str(error))}") from error
    return value


def short(text: str) -> str:
    """Foreign text for one line of an answer: printable, at most 200 characters."""
    return ascii(text[:200])[1:-1][:200]


def _value(schema: Schema, name: str, text: str) -> Any:
    value: Any = text
    if schema.get("type") == "integer":
        if _INTEGER.fullmatch(text) is None:
            raise ProblemError(400, f"query parameter {name} is no whole number: {short(text)}")
        value = int(text)
    _hold(_validator(json.dumps(schema)), value, f"query parameter {name}")
    return value


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    """Keyword `pattern` as ECMA-262 means it: `$` is the end, not a place before the last newline."""
    if isinstance(value, str) and re.search(re.sub(r"\$$", r"\\Z", pattern), value) is None:
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator: Final[Any] = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    return _Validator(json.loads(schema))


def _hold(validator: Any, value: Any, what: str) -> None:
    error = next(validator.iter_errors(value), None)
    if error is not None:
        where = "".join(f"/{part}" for part in error.absolute_path)
        raise ProblemError(400, f"{what}{short(where)}: {short(error.message)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is there twice")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
