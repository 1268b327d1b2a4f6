"""A hub under a new name: whether the ledger has days of its points under one that no [[hub]] has any more.

What a hub got under one name it would get again under the other, as something new. So nothing is sent until a person
said which it is: the same hub (`meterd hub rename`), or another one (`meterd hub cancel --all`).
"""

import msgspec

from gateway.hub_settings import HubSettings
from gateway.settings import Settings
from gateway.stores.hub_reading import RETIRED, HubRows

_RENAME = "the same hub: stop the uploader, `meterd hub rename {0} {1}`; another one: `meterd hub cancel {0} --all`"


class Said(msgspec.Struct):
    """What the uploader said last of a hub (note `status`)."""

    kind: str | None = None
    environment: str | None = None


class Forerunner:
    """What may have been this hub before it had its name."""

    def __init__(self, settings: Settings, hub: HubSettings, store: HubRows) -> None:
        self._settings, self._hub, self._store = settings, hub, store
        self._open = not store.has_slots(hub.name)

    def trouble(self) -> str | None:
        """Why nothing may be sent under this name yet; None, once there is nothing to ask, for good."""
        if not self._open:
            return None
        configured = {hub.name for hub in self._settings.hub}
        for name in self._store.hubs():
            if name not in configured and self._is_alike(name):
                told = _RENAME.format(name, self._hub.name)
                return f"days of its points are in the ledger under hub {name}, which no [[hub]] is any more; {told}"
        self._open = False
        return None

    def _is_alike(self, name: str) -> bool:
        """Whether a hub may be the same: of this kind and environment, with days of our points, and not given up."""
        if self._store.note(name, RETIRED) or not self._store.has_slots(name):
            return False
        try:
            said = msgspec.json.decode(self._store.note(name, "status") or b"{}", type=Said)
        except msgspec.DecodeError:
            said = Said()
        if said.kind not in (None, self._hub.kind) or said.environment not in (None, self._hub.environment):
            return False
        points = {one for point in self._settings.point for one in (point.id, point.id_export) if one}
        return any(next(self._store.slots(name, point), None) is not None for point in points)
