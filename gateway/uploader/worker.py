"""One hub, one thread: what happens to the ledger is waited out here; it ends at the next step when told to."""

import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from gateway.beats import Beat
from gateway.hub_settings import HubSettings
from gateway.settings import Settings
from gateway.stores.files import Damaged, StorageFault
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_file import LedgerFile
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_salvage import open_ledger
from gateway.uploader.line import Line
from gateway.uploader.serving import TOLD, Serving
from gateway.uploader.world import HubSession, World

if TYPE_CHECKING:
    from gateway.uploader.hubs.cz_pnd import CzPnd

#: pauses while the ledger cannot be used (s)
RETRY_S: Final = (1, 2, 5, 10, 30, 60)

_log = logging.getLogger(__name__)


class Worker(threading.Thread):
    """The thread of one hub."""

    def __init__(self, settings: Settings, hub: HubSettings, world: World, beat: Beat) -> None:
        super().__init__(name=f"hub {hub.name}", daemon=True)
        self.hub = hub
        self.stop = threading.Event()
        #: what is told of it; replaced whole
        self.status: Mapping[str, Any] = {"hub": hub.name, "kind": hub.kind, "state": "starting"}
        self.settings = settings
        self._world = world
        self.beat = beat
        self._line = Line()
        self._session: HubSession | None = None
        #: with the permission administrator
        self._feed: HubSession | None = None
        self._failures = 0
        self._trouble: str | None = None
        self._identity: tuple[int, int] | None = None

    def run(self) -> None:
        """Serve the hub until `stop`."""
        suspect, damage = None, ""
        try:
            while not self.stop.is_set():
                self.live(max(RETRY_S))
                try:
                    file = open_ledger(self.settings.ledger_path, suspect, damage).file
                    suspect = None
                    self._with(file)
                except (LedgerError, StorageFault) as error:
                    self._fault(str(error))
                except Damaged as error:
                    suspect, damage = self._identity, str(error)
                    self._fault(damage)
                self.stop.wait(RETRY_S[min(self._failures, len(RETRY_S) - 1)])
                self._failures += 1
        finally:
            for one in (self._session, self._feed):
                if one is not None:
                    one.close()

    def live(self, rest_s: float) -> None:
        """Tell that this thread lives, and may be silent for so long."""
        self.beat(rest_s)

    def ends(self) -> bool:
        """Whether it is told to end."""
        return self.stop.is_set()

    def _with(self, file: LedgerFile) -> None:
        """Serve with an open ledger until `stop`."""
        self._identity = file.identity
        try:
            session = self._session = self._session or self._opened(HubStore(file, self._world.clock))
            feed = self._feed = self._feed or self._heard_by()
            serving = Serving(self.settings, self.hub, self._world, file, session, self._line, self, feed)
            with self._receiver(serving):
                serving.begin()
                while not self.stop.is_set():
                    rest = serving.step()
                    self._failures, self._trouble = 0, None
                    if rest:
                        self.stop.wait(rest)
                serving.end()
        finally:
            file.close()

    def _receiver(self, serving: Serving) -> AbstractContextManager[object]:
        """What listens while a hub is served that delivers to us by itself."""
        if self.hub.kind != "cz-pnd" or self.hub.listen is None:
            return nullcontext()
        from gateway.uploader.receiver import Receiver

        return Receiver(self.hub, cast("CzPnd", serving.adapter).deliveries, self._world.tell)

    def _opened(self, store: HubStore) -> HubSession:
        """The session, which knows what was told of ends of certificates."""
        try:
            told = msgspec.json.decode(store.note(self.hub.name, TOLD) or b"{}", type=dict[str, int])
        except msgspec.DecodeError:
            told = {}
        return self._world.session(self.hub, self.stop.wait, told)

    def _heard_by(self) -> HubSession | None:
        """The session with the permission administrator, who is asked with the credentials of the hub."""
        if self.hub.permissions_url is None:
            return None
        place = msgspec.structs.replace(self.hub, url=self.hub.permissions_url)
        return self._world.session(place, self.stop.wait, {})

    def _fault(self, why: str) -> None:
        if why != self._trouble:
            _log.error("hub %s: the ledger cannot be used: %s", self.hub.name, why)
        self._trouble = why
        self.status = {**self.status, "state": "ledger", "trouble": why}
