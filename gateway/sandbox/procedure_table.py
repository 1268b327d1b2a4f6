"""The table of operations of the REST API: routes, checks and the OpenAPI document are made of it."""

from collections.abc import Callable
from typing import Any, Final

from gateway.sandbox import procedure_party as party
from gateway.sandbox import procedure_schemas as schemas
from gateway.sandbox.operations import Call, Operation, Reply
from gateway.sandbox.parties import Parties
from gateway.sandbox.procedure_customer import Customer

BASE: Final = "/api/v1"
_CUSTOMER, _ELIGIBLE, _ADMINISTRATOR = frozenset(["customer"]), frozenset(["eligible"]), frozenset(["administrator"])
_ALL: Final = _CUSTOMER | _ELIGIBLE | _ADMINISTRATOR
_GONE: Final = {404: "there is no such resource for this login"}
_ENDED: Final = _GONE | {409: "it has ended, or is not valid"}
_PAGING: Final = {"after": schemas.AFTER, "limit": schemas.LIMIT}
_PERMISSION: Final = {"permission": schemas.ID}
_PRESET: Final = {"preset": schemas.ID}
_POINT: Final = {"meteringPoint": schemas.POINT}
_REQUEST: Final = {"request": schemas.ID}


def _to(parameter: str, place: str, *operations: str) -> dict[str, dict[str, str]]:
    """Links from an answer that has an id at a place."""
    return {id_: {parameter: f"$response.body#/{place}"} for id_ in operations}


_LISTED: Final = _to("permission", "items/0/permissionId", "one_permission", "permitted_data", "revoke", "terminate")
_CONFIRMED: Final = _to("permission", "permission/permissionId", "one_permission", "revoke")


def table(parties: Parties) -> tuple[Operation, ...]:
    """Every operation."""
    customer = Customer(parties)
    return (*_first(customer), *_second(customer), *_ends(customer), *_logs(customer))


def _first(customer: Customer) -> list[Operation]:
    """Procedure 1: the customer's own access."""
    tag = "procedure 1"
    return [
        _post("/metering-points", customer.link, "Link a metering point (item A, step 1.5)", _CUSTOMER, tag,
              body="MeteringPoint", answer="LinkedPoint", refusals={409: "it is another customer's"}),
        _page("/metering-points", customer.linked, "Metering points of the customer", _CUSTOMER, tag, "LinkedPoint"),
        _post("/requests", customer.request, "Ask for data (C); the answer is its validation (D; 1.6 to 1.11)",
              _CUSTOMER, tag, body="DataRequest", answer="ValidatedRequest",
              links=_to("request", "requestId", "one_request", "own_data")),
        _page("/requests", customer.requests, "Requests of the customer", _CUSTOMER, tag, "ValidatedRequest"),
        _get("/requests/{request}", customer.one_request, "One request", _CUSTOMER, tag, "ValidatedRequest",
             parameters=_REQUEST, refusals=_GONE),
        _get("/requests/{request}/data", customer.own_data, "Validated historical data (E; 1.12)", _CUSTOMER, tag,
             "HistoricalData", parameters=_REQUEST, refusals=_ENDED),
    ]  # fmt: skip


def _second(customer: Customer) -> list[Operation]:
    """Procedure 2: an eligible party's access."""
    tag = "procedure 2"
    return [
        _post("/presets", party.propose, "Propose a permission (G; 2.2)", _ELIGIBLE, tag,
              body="Preset", answer="StoredPreset", links=_to("preset", "presetId", "one_preset", "withdraw")),
        _page("/presets", party.presets, "Presets of the party, or for the customer", _CUSTOMER | _ELIGIBLE, tag,
              "StoredPreset"),
        _get("/presets/{preset}", party.one_preset, "One preset", _CUSTOMER | _ELIGIBLE, tag, "StoredPreset",
             parameters=_PRESET, refusals=_GONE),
        _delete("/presets/{preset}", party.withdraw, "Withdraw a preset", _ELIGIBLE, tag, parameters=_PRESET),
        _post("/presets/{preset}/permissions", customer.accept, "Give the permission of a preset (H; 2.7 to 2.16)",
              _CUSTOMER, tag, body="PresetAcceptance", answer="PermissionAnswer", parameters=_PRESET, refusals=_GONE,
              links=_CONFIRMED),
        _post("/permissions", customer.permit, "Give a permission (H); it is validated (D) and confirmed (I)",
              _CUSTOMER, tag, body="PermissionRequest", answer="PermissionAnswer", links=_CONFIRMED),
        _get("/permissions/{permission}/data", party.permitted_data, "All data that the permission covers (F; 2.19)",
             _ELIGIBLE, tag, "CustomerData", parameters=_PERMISSION, refusals=_ENDED),
        _page("/deliveries", party.deliveries, "What is due by the schedules (F; 2.17, 2.18), until acknowledged",
              _ELIGIBLE, tag, "Delivery", links=_to("delivery", "items/0/deliveryId", "acknowledge")),
        _delete("/deliveries/{delivery}", party.acknowledge, "Acknowledge a delivery", _ELIGIBLE, tag,
                parameters={"delivery": schemas.ID}),
        _page("/notices", party.notices, "What the login was told (D, I, J, L)", _ALL, tag, "Notice"),
    ]  # fmt: skip


def _ends(customer: Customer) -> list[Operation]:
    """Procedures 3 and 4: ends."""
    state = {"enum": ["active", "ended"]}
    return [
        _page("/permissions", party.listed, "Permissions, active and ended (K; 4.5)", _ALL, "procedure 4",
              "ListedPermission", query={"state": state, "meteringPoint": schemas.POINT},
              links=_LISTED),
        _get("/permissions/{permission}", party.one_permission, "One permission (K)", _ALL, "procedure 4",
             "ListedPermission", parameters=_PERMISSION, refusals=_GONE),
        _post("/permissions/{permission}/termination", party.terminate, "End the service (J; 3.3 to 3.6)",
              _ELIGIBLE, "procedure 3", answer="Termination", parameters=_PERMISSION, refusals=_ENDED),
        _post("/permissions/{permission}/revocation", customer.revoke, "Revoke (L; 4.6, 4.9 to 4.13)",
              _CUSTOMER, "procedure 4", answer="Revocation", parameters=_PERMISSION, refusals=_ENDED),
        _post("/metering-points/{meteringPoint}/move-out", party.move_out,
              "The customer moved out: every permission of the point ends (L; 4.7 to 4.13)",
              _ADMINISTRATOR, "procedure 4", answer="MoveOut", parameters=_POINT, refusals=_GONE),
    ]  # fmt: skip


def _logs(customer: Customer) -> list[Operation]:
    """Logs that the customer may read, and sums."""
    query = {"meteringPoint": schemas.POINT, "month": schemas.MONTH, "zone": schemas.ZONE}
    product = {"product": schemas.PRODUCT | {"default": "active"}}
    return [
        _page("/access-log", customer.access_log, "Who got which record (Art. 5(1)(c))", _CUSTOMER, "logs", "Access"),
        _page("/permission-log", customer.permission_log, "What was granted, revoked and ended (Art. 8(1)(e))",
              _CUSTOMER, "logs", "PermissionEvent"),
        _get("/monthly-sums", party.monthly_sums, "Sums of a local month, to reconcile with",
             _CUSTOMER | _ADMINISTRATOR, "sums", "MonthlySums", query=query | product,
             required=frozenset(["meteringPoint", "month"]), refusals=_GONE),
    ]  # fmt: skip


def _post(
    path: str, handler: Callable[[Call], Reply], words: str, roles: frozenset[str], tag: str, **more: Any
) -> Operation:
    answer = more.pop("answer")
    return Operation(
        "POST", BASE + path, handler.__name__, words, tag, roles, handler, 201, "made", answer, **more
    )  # fmt: skip


def _get(  # noqa: PLR0913, PLR0917 - what an operation has
    path: str, handler: Callable[[Call], Reply], words: str, roles: frozenset[str], tag: str, answer: str, **more: Any
) -> Operation:
    return Operation("GET", BASE + path, handler.__name__, words, tag, roles, handler, 200, "found", answer, **more)


def _page(  # noqa: PLR0913, PLR0917 - what an operation has
    path: str, handler: Callable[[Call], Reply], words: str, roles: frozenset[str], tag: str, item: str, **more: Any
) -> Operation:
    query = _PAGING | more.pop("query", {})
    return _get(path, handler, words, roles, tag, f"{item}Page", query=query, **more)


def _delete(
    path: str, handler: Callable[[Call], Reply], words: str, roles: frozenset[str], tag: str, **more: Any
) -> Operation:
    name = handler.__name__
    return Operation("DELETE", BASE + path, name, words, tag, roles, handler, 204, "gone", None, _GONE, **more)
