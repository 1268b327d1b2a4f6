"""What the thread of a hub works with: the process around it, its session, and what people were told."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.settings import PointSettings
from gateway.uploader.credentials import Reminder
from gateway.uploader.hub import Answer, HubAdapter, Session


class HubSession(Session, Protocol):
    """What the worker asks of a session beside requests (gateway.uploader.session)."""

    #: why files of the credentials are not used
    trouble: str | None
    reminder: Reminder

    def generation(self) -> int:
        """Rises when a credential changed."""
        ...

    def expiries(self) -> list[Event]:
        """What is to be told of ends of certificates and secrets."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class Told(Protocol):
    """What people know (gateway.uploader.notices)."""

    def seen(self, hub: str) -> int | None:
        """Up to which entry of the audit log the events of a hub were told; None: nobody is told, or it is new."""
        ...

    def mark(self, hub: str, entry: int) -> None:
        """Every event of a hub that comes of entries up to this one was told."""
        ...

    def troubles(self, hub: str) -> frozenset[str]:
        """Names of the troubles of a hub that people know of."""
        ...

    def flush(self) -> None:
        """Wait until what was told outlives the process: some seconds at most."""
        ...


class Nobody:
    """Nobody is told."""

    def seen(self, _: str) -> None:
        """Nothing."""

    def mark(self, _: str, __: int) -> None:
        """Do nothing."""

    def troubles(self, _: str) -> frozenset[str]:
        """None."""
        return frozenset()

    def flush(self) -> None:
        """Do nothing."""


class World(NamedTuple):
    """What a worker asks of the process."""

    adapter: Callable[[HubSettings], HubAdapter]
    #: hub, what waits (true: the process ends), what was told of ends of certificates
    session: Callable[[HubSettings, Callable[[float], bool], Mapping[str, int]], HubSession]
    zone_of: Callable[[PointSettings], ZoneInfo | None]
    #: whether the clock of this host can be believed
    believed: Callable[[], bool]
    tell: Callable[[Event], None]
    clock: Callable[[], float] = time.time
    book: Told = Nobody()


class Thread(Protocol):
    """What the thread of a hub is to its work."""

    status: Mapping[str, Any]

    def live(self, rest_s: float) -> None:
        """Tell that it lives, and may be silent for so long."""
        ...

    def ends(self) -> bool:
        """Whether the process ends."""
        ...


class Alive:
    """A session of which each request is a sign of life: to read a long queue may take hours, by the hub's budget."""

    def __init__(self, session: Session, live: Callable[[], None]) -> None:
        self._session, self._live = session, live

    @property
    def certificate(self) -> str | None:
        """As Session."""
        return self._session.certificate

    def request(self, method: str, path: str, **more: Any) -> Answer:
        """As Session, and a sign of life."""
        self._live()
        return self._session.request(method, path, **more)
