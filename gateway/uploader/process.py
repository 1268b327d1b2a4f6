"""Composition root of `meterd uploader`: a thread for each hub, notices, the broker; signals, clock and watchdog here.

Order at the end, on SIGTERM or SIGINT: no hub begins anything new, the broker is told, notices are written. A request
that hangs is left behind: its message is found as `sending` at the next start. Order of a reload: hubs that changed or
went end first, then the new ones begin; what did not change runs on.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway import __version__, log, sd_notify
from gateway.beats import Beats, live_as
from gateway.host_clock import HostClock
from gateway.hub_model import Event
from gateway.hub_settings import HubSettings
from gateway.item_p import utc
from gateway.settings import PointSettings, Settings, SettingsError
from gateway.stores.files import FAILURES, Damaged, StorageFault, StoreError
from gateway.stores.hubs import HubStore
from gateway.stores.ledger_file import IDENTITY, LedgerFile, read_meta
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_salvage import open_ledger
from gateway.stores.rows import Corrupt
from gateway.supervisor import cancel, keep, leave_behind_after, where
from gateway.uploader import registry
from gateway.uploader.alone import alone
from gateway.uploader.notices import Notices
from gateway.uploader.schedule import HubNotes, Notes
from gateway.uploader.session import open_session
from gateway.uploader.status_topic import StatusTopic
from gateway.uploader.worker import Worker
from gateway.uploader.world import HubSession, World
from gateway.watchdog import Watchdog

TICK_S = 0.5
#: everything ends within it, whatever hangs: systemd and people wait for 5 s
STOP_S, JOIN_S = 4.5, 3.0
#: a hub whose thread ended in an error begins again after so long (s)
AGAIN_S = 10.0
#: tables that a running uploader cannot take over
AT_START = ("ledger", "journal", "mqtt")
#: notes that belong to no hub
_NOBODY = ""


class Uploader:
    """The uploader between start and stop. `read` reads the configuration anew; raises SettingsError."""

    def __init__(
        self,
        settings: Settings,
        zones: Callable[[Settings], Callable[[PointSettings], ZoneInfo | None]],
        read: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        self._zones = zones
        self._read = read
        self._clock = HostClock()
        self._beats = Beats()
        self._watchdog = Watchdog(self._beats, lambda: None)
        self._workers: dict[str, Worker] = {}
        self._wait: dict[str, float] = {}
        self._stop = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._refused: tuple[str, ...] = ()
        self._sentence = ""
        self._notices: Notices | None = None
        self._topic: StatusTopic | None = None
        self._world = self._make_world()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises UploaderError."""
        with alone(self._settings.ledger_path):
            self._watch_signals()
            self._clock.raise_floor(_stored_at(self._settings.ledger_path))
            self._begin_notices()
            tasks = [asyncio.create_task(self._attend())]
            if self._topic is not None:
                tasks.append(asyncio.create_task(self._keep_topic(self._topic)))
            log.event("uploader_started", version=__version__, hubs=",".join(hub.name for hub in self._settings.hub))
            sd_notify.notify(READY="1")
            try:
                await self._stop.wait()
            finally:
                sd_notify.notify(STOPPING="1")
                await self._end(tasks)
                log.event("stopped")

    def _make_world(self) -> World:
        zone_of = self._zones(self._settings)
        return World(registry.make, _session, zone_of, lambda: self._clock.believed, self.tell, book=self)

    def tell(self, event: Event) -> None:
        """Tell people of something, from any thread."""
        name = "hub_trouble" if event.severity != "info" else "hub_told"
        facts = {"hub": event.hub, "what": event.name, "reason": event.text}
        log.event(name, **facts, recovered=event.recovered or None)
        if self._notices is not None:
            self._notices.tell(event)

    def seen(self, hub: str) -> int | None:
        """As gateway.uploader.world.Told, by whoever tells people now."""
        return None if self._notices is None else self._notices.seen(hub)

    def mark(self, hub: str, entry: int) -> None:
        """Likewise."""
        if self._notices is not None:
            self._notices.mark(hub, entry)

    def troubles(self, hub: str) -> frozenset[str]:
        """Likewise."""
        return frozenset() if self._notices is None else self._notices.troubles(hub)

    def flush(self) -> None:
        """Likewise."""
        if self._notices is not None:
            self._notices.flush()

    def status(self) -> dict[str, Any]:
        """What `<base>/uploader/status` tells."""
        hubs = {name: dict(worker.status) for name, worker in sorted(self._workers.items())}
        for hub in hubs.values():
            hub.pop("t", None)
        told = self._notices.state() if self._notices is not None else {}
        return {
            "state": "online",
            "version": __version__,
            "clock_believed": self._clock.believed,
            "refused": list(self._refused),
            "hubs": hubs,
            "notices": {name: dict(state) for name, state in told.items()},
        }

    # -- hubs ----------------------------------------------------------------------------------------------------------

    def _look_at_hubs(self) -> None:
        """Let those run that are configured, as they are configured; each begins when its forerunner has ended."""
        now = asyncio.get_running_loop().time()
        wanted = {} if self._stop.is_set() else {hub.name: hub for hub in self._settings.hub}
        for name, worker in list(self._workers.items()):
            if worker.settings is not self._settings and not worker.stop.is_set():
                self._compare(worker, wanted.get(name))
            if not worker.is_alive():
                del self._workers[name]
                self._beats.drop(worker.beat)
                if not worker.stop.is_set():
                    log.event("hub_crashed", hub=name, again_in_s=AGAIN_S)
                    self._wait[name] = now + AGAIN_S
        for name, hub in wanted.items():
            if name not in self._workers and now >= self._wait.get(name, 0.0):
                self._workers[name] = Worker(self._settings, hub, self._world, self._beats.part(f"hub {name}"))
                self._workers[name].start()

    def _compare(self, worker: Worker, hub: HubSettings | None) -> None:
        """Let a thread go on under another configuration where nothing of its own changed, else end."""
        before, after = worker.settings, self._settings
        if hub == worker.hub and (before.point, before.meter) == (after.point, after.meter):
            worker.settings = after
        else:
            worker.stop.set()

    async def _reload(self) -> None:
        """Read the configuration anew, or leave everything as it is."""
        sd_notify.reloading()
        loop = asyncio.get_running_loop()
        try:
            fresh = await loop.run_in_executor(None, self._read)
        except SettingsError as error:
            self._refused = tuple(error.problems)
            log.event("reload_refused", reason="; ".join(error.problems))
        else:
            before, self._settings, self._refused = self._settings, fresh, ()
            self._world = self._make_world()
            waiting = [name for name in AT_START if getattr(before, name) != getattr(fresh, name)]
            if before.log != fresh.log:
                log.setup(fresh.log.format, fresh.log.level)
            if before.notice != fresh.notice or _names(before) != _names(fresh):
                await self._swap_notices()
            log.event("reloaded", hubs=",".join(hub.name for hub in fresh.hub))
            if waiting:
                log.event("restart_needed", tables=",".join(waiting))
        sd_notify.notify(READY="1")

    # -- the process ---------------------------------------------------------------------------------------------------

    async def _attend(self) -> None:
        """Look after the threads, the clock, signals and the watchdog."""
        own = self._beats.part("main")
        while True:
            own()
            self._watchdog.feed()
            if step := self._clock.look():
                log.event("clock_step", step_s=round(step, 3), to=utc(self._clock.now(), "seconds"))
            self._look_at_hubs()
            self._tell_manager()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._hung_up.wait()
            if self._hung_up.is_set():
                self._hung_up.clear()
                await self._reload()

    def _tell_manager(self) -> None:
        """Say in one sentence how it goes (`systemctl status`)."""
        good = sum(worker.status.get("state") == "ok" for worker in self._workers.values())
        refused = "; the configuration on disk is refused" if self._refused else ""
        hubs = f"{good} of {len(self._settings.hub)} hubs ok" if self._settings.hub else "waits for a [[hub]]"
        sentence = f"{hubs}{refused}"
        if sentence != self._sentence:
            self._sentence = sentence
            sd_notify.notify(STATUS=sentence)

    async def _keep_topic(self, topic: StatusTopic) -> None:
        def told(error: BaseException, pause: float) -> None:
            log.event("sink_ended", sink="uploader/status", error=where(error), again_in_s=pause)

        live_as(self._beats.part("mqtt"))
        await keep(topic.run, told, ends=False)

    def _begin_notices(self) -> None:
        mqtt, path = self._settings.mqtt, self._settings.ledger_path
        self._topic = StatusTopic(mqtt, _identity(path), self.status) if mqtt else None
        self._notices = self._make_notices()
        self._notices.start()

    def _make_notices(self) -> Notices:
        publish = None if self._topic is None else self._topic.publish
        place = _Place(self._settings.ledger_path)
        return Notices(self._settings.notice, place.open, publish, hubs=_names(self._settings))

    async def _swap_notices(self) -> None:
        """Let others be told; what the ones before did not tell is in the ledger."""
        before, self._notices = self._notices, self._make_notices()
        if before is not None:
            await asyncio.get_running_loop().run_in_executor(None, before.stop, 2.0)
        self._notices.start()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        threading.excepthook = _crashed

    def _told_to_end(self) -> None:
        if not self._stop.is_set():
            leave_behind_after(STOP_S)
        self._stop.set()

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """End everything within STOP_S."""
        for worker in self._workers.values():
            worker.stop.set()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + JOIN_S
        ending = threading.Thread(target=self._close_notices, daemon=True)
        ending.start()
        while loop.time() < deadline and (ending.is_alive() or any(one.is_alive() for one in self._workers.values())):
            await asyncio.sleep(0.02)
        await cancel(tasks, 2.0)
        hanging = [name for name, worker in self._workers.items() if worker.is_alive()]
        if hanging:
            # a request without an answer: the interpreter would wait for it
            log.event("stop_forced", hubs=",".join(hanging))
            os._exit(0)

    def _close_notices(self) -> None:
        if self._notices is not None:
            self._notices.stop(2.0)


class _Place:
    """Where the notices keep their book: notes of no hub, in a connection of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> Notes:
        try:
            return HubNotes(HubStore(open_ledger(self._path).file), _NOBODY)
        except LedgerError as error:
            raise StorageFault(str(error)) from error


def _names(settings: Settings) -> set[str]:
    return {hub.name for hub in settings.hub}


def _session(hub: HubSettings, wait: Callable[[float], bool], told: Mapping[str, int]) -> HubSession:
    return open_session(hub, wait=wait, told=told)


def _crashed(args: threading.ExceptHookArgs) -> None:
    """A thread ended in an error of this program: by type and place, its text may quote what a hub sent."""
    if args.exc_value is not None:
        name = args.thread.name if args.thread else "a thread"
        log.event("sink_ended", sink=name, error=where(args.exc_value), again_in_s=AGAIN_S)


def _opened(path: Path) -> LedgerFile | None:
    try:
        return open_ledger(path).file
    except (StoreError, StorageFault):
        return None


def _identity(path: Path) -> bytes:
    """What tells this installation from others at the same broker."""
    file = _opened(path)
    if file is not None:
        with closing(file), suppress(Corrupt, *FAILURES):
            return read_meta(file.db, IDENTITY) or b""
    return socket.gethostname().encode()


def _stored_at(path: Path) -> datetime | None:
    """A time that was certainly passed: the newest message was made then."""
    file = _opened(path)
    if file is None:
        return None
    try:
        return _newest(HubStore(file))
    except (StoreError, StorageFault, Damaged):
        return None
    finally:
        file.close()


def _newest(store: HubStore) -> datetime | None:
    made = [one.head.created for hub in store.hubs() for one in store.in_state(hub, limit=1)]
    return datetime.fromtimestamp(max(made), UTC) if made else None
