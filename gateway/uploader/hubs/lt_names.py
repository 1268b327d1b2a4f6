"""Names of ESO's Data Hub: paths and fields, each public or ours; one place to change when the hub tells its own.

PUBLIC names stand in notices and in the change log of the hub (https://datahub.eso.lt), or in its sandbox's reference.
SANDBOX names are ours: the hub's are shown to its registered users only. They serve our test hub, and are to be
replaced by those of the contract's documentation before production.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gateway.imports.record import Said
from gateway.intervals.model import Direction

Shape: TypeAlias = Literal["text", "number", "integer", "list", "object", "any"]
#: needed: its record is useless without it; nullable: so it is, but null says that there is no value; optional: neither
Need: TypeAlias = Literal["needed", "nullable", "optional"]
Fields: TypeAlias = Mapping[str, tuple[Shape, Need]]

#: PUBLIC: what it calls objects (metering points) at once in one order, at most
MOST_OBJECTS: Final = 500
#: SANDBOX: days of one order, at most
MOST_DAYS: Final = 31
ZONE: Final = "Europe/Vilnius"
#: PUBLIC: types of reports that an order can be fetched as; each is an order of its own
REPORTS: Final = ("report-obj", "report-obj-acr", "bill-bss-b2c", "bill-bss-b2b")
#: those of them that hold intervals, and have a version 2 in their path (PUBLIC)
INTERVALS: Final = frozenset(("report-obj", "report-obj-acr"))
#: SANDBOX: where an order of a report is made; PUBLIC is only that there is one
ORDER_PATH: Final = "/gateway/order/{report}"
#: PUBLIC: where it is fetched, newest version first
FETCH_PATHS: Final = ("/gateway/order/v2/{order}/{report}", "/gateway/order/{order}/{report}")
#: SANDBOX: fields under which an answer tells of a business rule that is broken; that rules have numbers is PUBLIC
ERRORS, ERROR_CODE, ERROR_TEXT = "errors", "code", "message"
#: PUBLIC: right to the data of an object
ACCESS_PATH: Final = "/gateway/access-right"
#: entries of a page; PUBLIC: `first`, `count`, `sortKey`, `sortOrder` (ASC, DSC) of every list
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """A list that is read page by page."""

    method: Literal["GET", "POST"]
    #: newest version first
    paths: tuple[str, ...]
    #: field of the answer that holds the entries (SANDBOX)
    entries: str
    #: field that tells entries apart, by which pages are sorted (SANDBOX)
    key: str
    #: of an entry, and of what its lists hold (SANDBOX)
    fields: Fields
    inner: Mapping[str, Fields] = field(default_factory=dict)

    @property
    def page_fields(self) -> Fields:
        """Fields of a page (SANDBOX)."""
        number: tuple[Shape, Need] = "integer", "optional"
        return {self.entries: ("list", "needed"), "first": number, "count": number, "total": number}


_OBJECT: Final[Fields] = {
    "objectNumber": ("text", "needed"),
    "objectType": ("text", "optional"),
    "meters": ("list", "needed"),
}
#: meters of an object: the type tells those of equal number apart (SANDBOX)
_METER: Final[Fields] = {"meterNumber": ("text", "needed"), "meterType": ("text", "optional")}
_NOTIFICATION: Final[Fields] = {
    "notificationId": ("integer", "needed"),
    "objectNumber": ("text", "needed"),
    "date": ("text", "optional"),
    "status": ("text", "optional"),
}
_STATISTIC: Final[Fields] = {
    "date": ("text", "needed"),
    "objects": ("integer", "optional"),
    "values": ("integer", "optional"),
    "estimated": ("integer", "optional"),
}
#: kinds of notifications: those of the hub's POST methods (PUBLIC)
KINDS: Final = ("contract", "contract/termination", "contract/tariff-plan")
#: paths are PUBLIC, but where the kind stands in that of notifications
LISTS: Final[dict[str, Listing]] = {
    "objects": Listing(
        "POST",
        ("/gateway/object/v2/my/active/list", "/gateway/object/my/active/list"),
        "objects",
        "objectNumber",
        _OBJECT,
        {"meters": _METER},
    ),
    #: those of everybody, as far as the hub shows them: on demand only
    "all objects": Listing(
        "POST",
        ("/gateway/object/v2/all/active/list", "/gateway/object/all/active/list"),
        "objects",
        "objectNumber",
        _OBJECT,
        {"meters": _METER},
    ),
    "statistics": Listing("GET", ("/gateway/statistic/list",), "statistics", "date", _STATISTIC),
    **{
        kind: Listing(
            "POST",
            (f"/gateway/notification/v2/{kind}/list", f"/gateway/notification/{kind}/list"),
            "notifications",
            "notificationId",
            _NOTIFICATION,
        )
        for kind in KINDS
    },
}

#: SANDBOX
REPORT_FIELDS: Final[Fields] = {
    "orderId": ("integer", "needed"),
    "status": ("text", "needed"),
    "data": ("list", "optional"),
}
METER_FIELDS: Final[Fields] = {
    "objectNumber": ("text", "needed"),
    "objectType": ("text", "optional"),
    "meterNumber": ("text", "optional"),
    "meterType": ("text", "optional"),
    "values": ("list", "needed"),
}
#: PUBLIC: the first three; SANDBOX: valueStatus (the hub names only what it is for), which version 1 has not
VALUE_FIELDS: Final[Fields] = {
    "consumptionCategory": ("text", "needed"),
    "amount": ("number", "nullable"),
    "consumptionTime": ("text", "needed"),
    "valueStatus": ("text", "optional"),
}
#: PUBLIC: "P+"; SANDBOX: the others. None: known, and not kept
CATEGORIES: Final[dict[str, Direction | None]] = {"P+": "import", "P-": "export", "Q+": None, "Q-": None}
#: SANDBOX: what the flag of a value says
VALUE_STATUS: Final[dict[str, Said]] = {"VALIDATED": "measured", "ESTIMATED": "estimated", "MISSING": "missing"}
#: SANDBOX: what the status of an order says
ORDER_STATUS: Final[dict[str, Literal["pending", "ready", "failed"]]] = {
    "NEW": "pending",
    "PROCESSING": "pending",
    "DONE": "ready",
    "FAILED": "failed",
}
