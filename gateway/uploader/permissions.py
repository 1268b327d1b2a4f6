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
from gateway.intervals.model import Direction, Kind

#: basis of a part that the configuration covers
CONFIG: Final = "config"
#: code of the reason why a part may not leave
NO_BASIS: Final = "no_basis"
_DIRECTIONS: Final[frozenset[Direction]] = frozenset(("import", "export"))


class Ended(NamedTuple):
    """What an item J or L says: this permission is over."""

    id: str
    item: Literal["J", "L"]
    #: UTC s
    at: int
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
    """The grounds of one hub; `permission(id)` finds a received one as it is at this moment."""

    def __init__(self, hub: HubSettings, permission: Callable[[str], Permission | None]) -> None:
        self._hub = hub
        self._permission = permission

    def missing(self, parts: Iterable[PartRow], now: int) -> Reason | None:
        """Why parts may not leave now; None when each of them may."""
        why = next(filter(None, (self._why(part, now) for part in parts)), None)
        return None if why is None else Reason(NO_BASIS, why)

    def _why(self, part: PartRow, now: int) -> str | None:
        if part.basis == CONFIG:
            if part.slot.point in self._hub.points and self._hub.legal_basis:
                return None
            return f"{part.slot.point} is no longer among the points of hub {self._hub.name}, or has no legal_basis"
        found = self._permission(part.basis)
        if found is None:
            return f"permission {part.basis} is not known here"
        if found.party != self._hub.receiver:
            return f"permission {part.basis} is for {found.party}, not for the receiver of hub {self._hub.name}"
        return covers(found, part, now)


def usable(permissions: Iterable[Permission], hub: HubSettings, now: int) -> list[Permission]:
    """The permissions by which data go to a hub now: for its receiver, not ended, not expired."""
    return [
        one
        for one in permissions
        if one.party == hub.receiver and one.ended is None and (one.expires is None or now < one.expires)
    ]


class _ItemI(msgspec.Struct, kw_only=True):
    """Item I as JSON (docs/hubs/README.md, Permissions)."""

    permission_id: str
    party: str
    metering_point: str
    direction: tuple[Direction, ...] = ("import", "export")
    product: tuple[Kind, ...] = ("active",)
    reading_start: datetime
    reading_end: datetime | None = None
    created: datetime
    expires: datetime | None = None
    purpose: str = ""
    schedule: str = ""


class _ItemJL(msgspec.Struct, kw_only=True):
    """Item J or L as JSON."""

    permission_id: str
    item: Literal["J", "L"]
    ended: datetime
    reason: str = ""


def read(body: bytes) -> Permission | Ended:
    """Read an item I, J or L from JSON text; raises PermissionFormatError."""
    try:
        found: Mapping[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        return _ended(msgspec.convert(found, _ItemJL)) if "item" in found else _given(msgspec.convert(found, _ItemI))
    except (msgspec.DecodeError, ValueError) as error:
        raise PermissionFormatError(f"no item I, J or L: {str(error)[:200]}") from None


def of_inbound(inbound: Inbound) -> Permission | Ended | None:
    """What an inbound of kind "permission" gives or ends; None for other kinds. Raises PermissionFormatError."""
    return read(inbound.body) if inbound.kind == "permission" else None


def _given(item: _ItemI) -> Permission:
    return Permission(
        id=_bounded(item.permission_id),
        party=_bounded(item.party),
        point=_bounded(item.metering_point),
        directions=frozenset(item.direction) & _DIRECTIONS,
        kinds=frozenset(item.product),
        start=_second(item.reading_start),
        until=None if item.reading_end is None else _second(item.reading_end),
        created=_second(item.created),
        expires=None if item.expires is None else _second(item.expires),
        purpose=item.purpose[:1_000],
        schedule=item.schedule[:200],
    )


def _ended(item: _ItemJL) -> Ended:
    return Ended(_bounded(item.permission_id), item.item, _second(item.ended), item.reason[:1_000])


def _bounded(text: str) -> str:
    if not 0 < len(text) <= 64 or not text.isprintable():
        raise ValueError("an id of 1 to 64 printable characters is wanted")
    return text


def _second(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return int(moment.timestamp())
