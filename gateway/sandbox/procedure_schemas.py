"""Schemas of the REST API of procedures 1 to 4: items A to L of Regulation (EU) 2023/1162 as JSON.

Instants are RFC 3339 in UTC by whole seconds, of 2000 to 2099; quantities are decimal text, so that no reader makes a
binary fraction of them. The pattern of an instant is exact: what fits it is a time that there is.
"""

from typing import Any, Final

from gateway.sandbox.operations import Schema

_DATE: Final = (
    "(?:20[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))|20(?:[02468][048]|[13579][26])-02-29)"
)
INSTANT: Final[Schema] = {
    "type": "string",
    "pattern": f"^{_DATE}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
    "examples": ["2026-03-02T23:00:00Z"],
}
POINT: Final[Schema] = {"type": "string", "pattern": "^[0-9A-Za-z-]{1,35}$", "examples": ["571313000000002000"]}
LOGIN: Final[Schema] = {"type": "string", "pattern": "^[0-9A-Za-z_.-]{1,64}$", "examples": ["supplier"]}
ID: Final[Schema] = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "examples": ["5d7a7c0e-0a43-4f0e-9f59-1c9a4e6b2f10"],
}
DIRECTION: Final[Schema] = {"enum": ["consumption", "production", "combined"]}
PRODUCT: Final[Schema] = {"enum": ["active", "reactive"]}
SCHEDULE: Final[Schema] = {
    "enum": ["once", "as-available", "daily", "monthly"],
    "description": "When data that becomes available is transferred (step 2.18): never again, at once, with the first "
    "poll after 06:00 UTC of each day, with the first poll of each month.",
}
_PURPOSE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_TEXT: Final[Schema] = {"type": "string"}
MONTH: Final[Schema] = {"type": "string", "pattern": "^20[0-9]{2}-(?:0[1-9]|1[0-2])$", "examples": ["2026-03"]}
ZONE: Final[Schema] = {
    "enum": ["Europe/Copenhagen", "Europe/Prague", "Europe/Tallinn", "Europe/Vilnius", "UTC"],
    "default": "Europe/Copenhagen",
}
AFTER: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 10**15, "default": 0}
LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}


def _record(words: str, properties: dict[str, Any], optional: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "description": words,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list(item: str) -> Schema:
    entries = {"type": "array", "items": _ref(item)}
    return _record("A page, oldest first; `next` is what to give as `after` for the next one.", {
        "items": entries, "next": {"anyOf": [_COUNT, {"type": "null"}]},
    })  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_none(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_SPECIFICATION: Final = {"readingStart": INSTANT, "readingEnd": INSTANT, "direction": DIRECTION}
_OPEN_SPECIFICATION: Final = _SPECIFICATION | {"readingEnd": _or_none(INSTANT)}
_TERMS: Final = {
    "eligibleParty": LOGIN,
    "product": PRODUCT,
    **_OPEN_SPECIFICATION,
    "purpose": _PURPOSE,
    "transmissionSchedule": SCHEDULE,
    "maximumLifetime": INSTANT,
}
_CONFIRMED: Final = {"permissionId": ID, "created": INSTANT, "customer": LOGIN, "meteringPoint": POINT, **_TERMS}
_END: Final = {"permissionId": ID, "end": INSTANT}
_HISTORICAL: Final = {
    "meteringPoint": POINT,
    "created": INSTANT,
    "product": PRODUCT,
    "readingStart": INSTANT,
    "readingEnd": INSTANT,
    "unit": {"enum": ["kWh", "kvarh"]},
    "intervals": {"type": "array", "items": _ref("Interval")},
}
_PRESET: Final = {
    "meteringPoint": _or_none(POINT),
    **_OPEN_SPECIFICATION,
    "purpose": _PURPOSE,
    "transmissionSchedule": SCHEDULE,
    "permissionExpiry": INSTANT,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "MeteringPoint": _record("Item A: metering point identification.", {"meteringPoint": POINT}),
    "LinkedPoint": _record("A metering point and whose it is.", {
        "n": _COUNT, "meteringPoint": POINT, "customer": LOGIN, "linked": INSTANT,
    }),
    "DataRequest": _record("Item C, with items A and B: what a customer asks for.", {
        "meteringPoint": POINT, "product": PRODUCT, **_SPECIFICATION,
    }),
    "Reason": _record("Why something is not valid.", {
        "code": {"enum": [
            "not-linked", "before-link", "period", "future", "no-data", "unknown-party", "lifetime", "preset-point",
        ]},
        "text": _TEXT,
    }),
    "Validation": _record("Item D: whether a request is valid, and why not.", {
        "result": {"enum": ["valid", "invalid"]}, "reasons": {"type": "array", "items": _ref("Reason")},
    }),
    "ValidatedRequest": _record("A request (C) and what its validation said (D).", {
        "n": _COUNT, "requestId": ID, "created": INSTANT, "request": _ref("DataRequest"),
        "validation": _ref("Validation"),
    }),
    "Interval": _record("One interval of item E; a missing one has no quantity.", {
        "start": INSTANT, "end": INSTANT, "direction": {"enum": ["consumption", "production"]},
        "quality": {"enum": ["measured", "estimated", "edited", "calculated", "incomplete", "missing"]},
        "quantity": _or_none({"type": "string", "pattern": "^[0-9]{1,12}(?:[.][0-9]{1,9})?$"}),
    }),
    "HistoricalData": _record("Item E: validated historical data.", _HISTORICAL),
    "CustomerData": _record("Item F: item E, and whose data they are.", {
        "data": _ref("HistoricalData"),
        "customer": _record("What lets the eligible party check that it is the right customer.", {"customer": LOGIN}),
        "permissionId": ID,
    }),
    "Preset": _record("Item G: what an eligible party proposes.", _PRESET),
    "StoredPreset": _record("Item G as it is stored.", {
        "n": _COUNT, "presetId": ID, "created": INSTANT, "eligibleParty": LOGIN, **_PRESET,
    }),
    "PermissionRequest": _record("Item H without the customer, who is the login.", {"meteringPoint": POINT, **_TERMS}),
    "PresetAcceptance": _record("What a customer adds to a preset (G), so that it becomes item H.", {
        "meteringPoint": POINT, "product": PRODUCT, "maximumLifetime": INSTANT,
    }),
    "Permission": _record("Item I: a confirmed permission.", _CONFIRMED),
    "PermissionAnswer": _record("Item D, and item I where it is valid.", {
        "validation": _ref("Validation"), "permission": _or_none(_ref("Permission")),
    }),
    "Termination": _record("Item J: the eligible party ended its service.", _END),
    "Revocation": _record("Item L: the permission was revoked.", _END),
    "ListedPermission": _record("Item K: a permission, and when and why it ended.", {
        "n": _COUNT, **_CONFIRMED, "end": _or_none(INSTANT),
        "endReason": _or_none({"enum": [
            "terminated by the party", "revoked by the customer", "moved out", "maximum lifetime",
        ]}),
    }),
    "MoveOut": _record("A customer left a metering point: every permission of it ended.", {
        "meteringPoint": POINT, "end": INSTANT, "revoked": {"type": "array", "items": _ref("Revocation")},
    }),
    "Notice": _record("Something that a login is told: items D, I, J and L.", {
        "n": _COUNT, "created": INSTANT, "item": {"enum": ["D", "I", "J", "L"]}, "body": {"anyOf": [
            _ref("ValidatedRequest"), _ref("Permission"), _ref("Termination"),
        ]},
    }),
    "Delivery": _record("A transfer (step 2.19) that waits until it is acknowledged.", {
        "n": _COUNT, "deliveryId": ID, "created": INSTANT, "content": _ref("CustomerData"),
    }),
    "Access": _record("Who got which record, when, and by which permission.", {
        "n": _COUNT, "created": INSTANT, "meteringPoint": _TEXT, "who": _TEXT, "record": {"type": "object"},
        "permissionId": _or_none(ID),
    }),
    "PermissionEvent": _record("Entry of the permission log.", {
        "n": _COUNT, "created": INSTANT, "event": {"enum": ["granted", "revoked", "ended"]}, "permissionId": ID,
        "eligibleParty": LOGIN,
    }),
    "MonthlySum": _record("Sum of what is stored of a local month.", {
        "meteringPoint": POINT, "month": MONTH, "zone": ZONE, "product": PRODUCT,
        "direction": {"enum": ["consumption", "production"]}, "unit": {"enum": ["kWh", "kvarh"]},
        "sum": _TEXT, "intervals": _COUNT, "expected": _COUNT, "missing": _COUNT, "estimated": _COUNT,
    }),
    "MonthlySums": _record("Sums of a month, one for each direction that there is.", {
        "items": {"type": "array", "items": _ref("MonthlySum")},
    }),
}  # fmt: skip
_PAGED: Final = (
    "LinkedPoint", "ValidatedRequest", "StoredPreset", "ListedPermission", "Notice", "Delivery", "Access",
    "PermissionEvent",
)  # fmt: skip
SCHEMAS.update({f"{item}Page": _list(item) for item in _PAGED})
