"""The OpenAPI 3.1 document of a table of operations (gateway.sandbox.operations), made from nothing else."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.sandbox.operations import Operation, Schema

#: every refusal is a problem of RFC 9457
PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "Why a request was refused (RFC 9457).",
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
_ALWAYS: Final = {400: "the request does not fit its schema"}
_GUARDED: Final = {401: "no token, or one that does not hold", 403: "the login does not have the role"}


def document(
    operations: Iterable[Operation],
    schemas: Mapping[str, Schema],
    info: Mapping[str, str],
    token_path: str,
    roles: Mapping[str, str],
) -> dict[str, Any]:
    """The document; `roles` are the scopes of the token, each with its words."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    flow = {"tokenUrl": token_path, "scopes": dict(roles)}
    return {
        "openapi": "3.1.0",
        "info": dict(info),
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, **schemas},
            "securitySchemes": {
                "login": {"type": "oauth2", "flows": {"clientCredentials": flow}},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path(operation), *_query(operation)],
        "responses": _responses(operation),
        "security": [{"login": [role]} for role in sorted(operation.roles)],
    }
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": _content("application/json", operation.body)}
    return made


def _path(operation: Operation) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", operation.path)
    return [{"name": it, "in": "path", "required": True, "schema": operation.parameters[it]} for it in names]


def _query(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": name in operation.required, "schema": schema}
        for name, schema in operation.query.items()
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {"description": operation.words}
    if operation.answer is not None:
        success["content"] = _content("application/json", operation.answer)
    if operation.links:
        success["links"] = {
            f"to_{id_}": {"operationId": id_, "parameters": dict(values)} for id_, values in operation.links.items()
        }
    refusals = _ALWAYS | (_GUARDED if operation.roles else {}) | dict(operation.refusals)
    if operation.body is not None:
        refusals |= {413: "the body is too large", 415: "the body is not application/json"}
    problems = {
        str(status): {"description": words, "content": _content("application/problem+json", "Problem")}
        for status, words in sorted(refusals.items())
    }
    return {str(operation.status): success, **problems}


def _content(media: str, schema: str) -> dict[str, Any]:
    return {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
