"""On what ground data leave: the configuration with its legal basis, or a permission that was received and still holds.

Data of a metering point go to a hub because `[[hub]] points` names it and `legal_basis` says why, or because an item I
(Regulation (EU) 2023/1162, annex) permits it to the hub's `receiver`, until an item J (termination) or L (revocation)
ends it. A part is staged under one ground and leaves only while that very ground holds: it is looked at again right
before each attempt.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from gateway.hub_model import Inbound, PartRow, Permission, Reason
from gateway.hub_settings import HubSettings
from gateway.intervals.model import Direction

#: basis of a part that the configuration covers
CONFIG: Final = "config"
#: code of the reason why a part may not leave
NO_BASIS: Final = "no_basis"
#: reason of an end whose item gives none
REASONS: Final = {"J": "the eligible party ended its service", "L": "the permission was revoked"}
_DIRECTIONS: Final[Mapping[str, frozenset[Direction]]] = {
    "consumption": frozenset(("import",)),
    "production": frozenset(("export",)),
    "combined": frozenset(("import", "export")),
}


class Ended(NamedTuple):
    """What an item J or L says: this permission is over."""

    id: str
    item: Literal["J", "L"]
    #: UTC s; None where that cannot be read
    at: int | None
    reason: str


class PermissionFormatError(Exception):
    """A permission that cannot be read: one sentence."""


def covers(permission: Permission, part: PartRow, now: int) -> str | None:
    """Why a permission does not cover a part now, as a sentence; None where it does."""
    if permission.ended is not None:
        item = {"J": "terminated (item J)", "L": "revoked (item L)"}.get(permission.item or "", "ended")
        return f"permission {permission.id} was {item}: {permission.reason or 'no reason was given'}"
    if permission.expires is not None and now >= permission.expires:
        return f"permission {permission.id} has expired"
    slot = part.slot
    if slot.point != permission.point or slot.direction not in permission.directions:
        return f"permission {permission.id} is not for {slot.direction} of {slot.point}"
    if slot.kind not in permission.kinds:
        return f"permission {permission.id} is not for {slot.kind}"
    if slot.start < permission.start or (permission.until is not None and part.end > permission.until):
        return f"permission {permission.id} is for another period"
    return None


class Grounds:
    """The grounds of one hub; `permission(id)` finds a received one as it is at this moment, `others` gives them all.

    `heard` says when the permission administrator was heard last (UTC s), where there is one to be heard.
    """

    def __init__(
        self,
        hub: HubSettings,
        permission: Callable[[str], Permission | None],
        others: Callable[[], Iterable[Permission]] = tuple,
        heard: Callable[[], int | None] | None = None,
    ) -> None:
        self._hub = hub
        self._permission = permission
        self._others = others
        self._heard = heard

    def missing(self, parts: Iterable[PartRow], now: int) -> Reason | None:
        """Why parts may not leave now; None when each of them may."""
        why = next(filter(None, (self._why(part, now) for part in parts)), None)
        return None if why is None else Reason(NO_BASIS, why)

    def silent(self, now: int) -> str | None:
        """Why nothing leaves by a received permission for the time being; None where it may."""
        if self._heard is None:
            return None
        heard = self._heard()
        if heard is not None and now - heard <= self._hub.permissions_stop_h * 3_600:
            return None
        return "the permission administrator was not heard: nobody knows which permissions still hold"

    def held(self, parts: Iterable[PartRow], now: int) -> bool:
        """Whether parts wait until the permission administrator is heard."""
        return self.silent(now) is not None and any(part.basis != CONFIG for part in parts)

    def again(self, parts: Iterable[PartRow], now: int) -> bool:
        """Whether another ground is left for any of the parts."""
        usable_now = usable(self._others(), self._hub, now)
        return any(part.slot.point in self._hub.points and part.basis != CONFIG for part in parts) or any(
            covers(one, part, now) is None for part in parts for one in usable_now
        )

    def _why(self, part: PartRow, now: int) -> str | None:
        if part.basis == CONFIG:
            if part.slot.point in self._hub.points and self._hub.legal_basis:
                return None
            return f"{part.slot.point} is no longer among the points of hub {self._hub.name}, or has no legal_basis"
        found = self._permission(part.basis)
        if found is None:
            return f"permission {part.basis} is not known here"
        if not is_for(found, self._hub):
            return f"permission {part.basis} is for {found.party}, not for the receiver of hub {self._hub.name}"
        return covers(found, part, now)


def is_for(permission: Permission, hub: HubSettings) -> bool:
    """Whether a permission is for the receiver of a hub, as the hub or the permission administrator calls it."""
    return permission.party in {hub.receiver, hub.permissions_party} - {None}


def usable(permissions: Iterable[Permission], hub: HubSettings, now: int) -> list[Permission]:
    """The permissions by which data go to a hub now: for its receiver, not ended, not expired."""
    return [
        one
        for one in permissions
        if is_for(one, hub) and one.ended is None and (one.expires is None or now < one.expires)
    ]


class _ItemI(msgspec.Struct, kw_only=True, rename="camel"):
    """Item I, with item H in it (docs/schemas/permission.schema.json)."""

    permission_id: str
    created: datetime
    customer: str
    eligible_party: str
    metering_point: str
    product: Literal["active", "reactive"]
    direction: Literal["consumption", "production", "combined"]
    reading_start: datetime
    reading_end: datetime | None
    purpose: str
    transmission_schedule: Literal["once", "as-available", "daily", "monthly"]
    maximum_lifetime: datetime


class _ItemJL(msgspec.Struct, kw_only=True, rename="camel"):
    """Item J or L: the same fields, so that the notice says which one it is. The reason is that of item K."""

    permission_id: str
    #: what is over is over, also where nobody can read since when
    end: Any = None
    end_reason: Any = None


def read(body: bytes) -> Permission | Ended:
    """Read item I, or a notice with item I, J or L, from JSON text; raises PermissionFormatError."""
    try:
        found: Any = msgspec.json.decode(body, type=dict[str, Any])
        item = found.get("item", "I")
        said = found.get("body") if "item" in found else found
        if item == "I":
            return _given(msgspec.convert(said, _ItemI))
        if item in ("J", "L"):
            return _ended(item, msgspec.convert(said, _ItemJL))
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise PermissionFormatError(f"no item I, J or L: {str(error)[:200]}") from None
    raise PermissionFormatError(f"no item I, J or L: it says that it is {str(item)[:20]!r}")


def of_inbound(inbound: Inbound) -> Permission | Ended | None:
    """What an inbound of kind "permission" gives or ends; None for other kinds. Raises PermissionFormatError."""
    return read(inbound.body) if inbound.kind == "permission" else None


def _given(item: _ItemI) -> Permission:
    until = None if item.reading_end is None else _second(item.reading_end)
    if item.transmission_schedule == "once":
        # what there is when it is given (step 2.17), and nothing that comes later (2.18)
        until = min(_second(item.created), until if until is not None else _second(item.created))
    return Permission(
        id=_bounded(item.permission_id),
        party=_bounded(item.eligible_party),
        point=_bounded(item.metering_point),
        directions=_DIRECTIONS[item.direction],
        kinds=frozenset((item.product,)),
        start=_second(item.reading_start),
        until=until,
        created=_second(item.created),
        expires=_second(item.maximum_lifetime),
        purpose=item.purpose[:1_000],
        schedule=item.transmission_schedule,
    )


def _ended(item: Literal["J", "L"], said: _ItemJL) -> Ended:
    reason = said.end_reason if isinstance(said.end_reason, str) else ""
    return Ended(_bounded(said.permission_id), item, _moment(said.end), reason[:1_000] or REASONS[item])


def _moment(text: Any) -> int | None:
    try:
        return _second(msgspec.convert(text, datetime))
    except (ValueError, OverflowError):
        return None


def _bounded(text: str) -> str:
    if not 0 < len(text) <= 64 or not text.isprintable():
        raise ValueError("an id of 1 to 64 printable characters is wanted")
    return text


def _second(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return int(moment.timestamp())
