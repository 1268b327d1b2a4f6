"""A house whose days go to the test hub over TLS: its ledger, the engine, a session, and a clock turned by hand."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.sandbox.folder import Folder
from gateway.settings import Settings
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.line import Line
from gateway.uploader.serving import Serving
from gateway.uploader.session import HttpSession
from gateway.uploader.world import World
from tests.sandbox.conftest import Hub


def started(folder: Path, clock: float) -> Hub:
    """A test hub in a folder of its own, by whose clock the house lives."""
    place = Folder(folder / "hub")
    place.make()
    hub = Hub(place)
    hub.clock = clock
    hub.start(lambda: hub.clock)
    return hub


class HubHouse:
    """One household and one hub; `settings` is what differs."""

    #: what makes the adapter, and the time zone of the points
    adapter: Callable[[HubSettings], Any]
    zone: ZoneInfo

    def __init__(self, folder: Path, there: Hub, hub: HubSettings) -> None:
        self.folder, self.there, self.hub = folder, there, hub
        self.events: list[Event] = []
        self.line = Line(lambda low, high: high / 2)
        self.status: Any = {}
        self.session = HttpSession(hub)
        #: the session with the permission administrator
        self.feed: HttpSession | None = None

    def close(self) -> None:
        """End the sessions, and the hub."""
        for one in filter(None, (self.session, self.feed)):
            one.close()
        self.there.stop()

    @property
    def settings(self) -> Settings:
        raise NotImplementedError

    @property
    def now(self) -> float:
        return self.there.clock

    @contextmanager
    def file(self) -> Iterator[Any]:
        found = open_ledger(self.settings.ledger_path).file
        try:
            yield found
        finally:
            found.close()

    @contextmanager
    def store(self) -> Iterator[HubStore]:
        with self.file() as file:
            yield HubStore(file, lambda: self.now)

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def live(self, rest_s: float) -> None:
        pass

    def ends(self) -> bool:
        return False

    def run(self, until: float | None = None, *, step_s: float = 300.0, inbox: bool = True) -> None:
        """Serve until nothing is left to do now; with `until` go on by steps of the clock to that moment.

        Without `inbox` the hub's queues are left alone.
        """
        with self.file() as file:
            world = World(
                type(self).adapter, lambda *_: self.session, lambda _: self.zone, lambda: True, self.tell,
                lambda: self.now,
            )  # fmt: skip
            serving = Serving(self.settings, self.hub, world, file, self.session, self.line, self, self.feed)
            serving.begin()
            while True:
                self._steps(serving, inbox)
                if until is None or self.now >= until:
                    break
                self.there.clock = min(self.now + step_s, until)
            serving.end()

    def _steps(self, serving: Serving, inbox: bool) -> None:
        """All that is to do now."""
        for name in ("plan", "series", "inbox", "permissions", "status"):
            serving._due[name] = 0.0 if inbox or name != "inbox" else math.inf
        for _ in range(10_000):
            if self.enough(serving, inbox) or serving.step():
                return
        raise AssertionError("there is always more to do")

    def enough(self, serving: Serving, inbox: bool) -> bool:
        """Whether to stop before everything is done."""
        return False

    def counts(self) -> dict[str, int]:
        with self.store() as store:
            return {state: count for state, count in store.counts(self.hub.name).items() if count}

    def message(self, number: int) -> Any:
        with self.store() as store:
            return store.message(self.hub.name, number)

    def names(self) -> list[str]:
        return [event.name for event in self.events if not event.recovered]
