"""Composition root of `meterd run`: meters, outlets and the control socket in one event loop, each contained.

Order at the start: ports first, because a meter speaks whether we listen or not; then journal, broker and profiles.
Order of a reading: live sinks, then the journal. Order at the end, on SIGTERM or SIGINT: ports, the last readings to
the journal, farewells, how far each sink came. Order of a reload: everything new is made before anything old is
touched; then ports, then sinks; what did not change runs on.
"""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway import __version__, key_control, log, sd_notify
from gateway.beats import Beats, live_as
from gateway.control import Command, ControlServer, socket_path
from gateway.host_clock import HostClock
from gateway.item_p import ItemP, utc
from gateway.lines import Lines, make
from gateway.listen import PROMETHEUS_MISSING
from gateway.meter import Meter
from gateway.opening import Kept
from gateway.outlets import Outlets
from gateway.reload import Loaded, Plan, Standing, load_auto, plan
from gateway.settings import MeterSettings, Settings, SettingsError
from gateway.supervisor import cancel, keep, leave_behind_after, outcome, where
from gateway.watchdog import Watchdog

if TYPE_CHECKING:
    from decoders.decoder import Decoder
    from decoders.profile import Profile
    from gateway.metrics_page import MetricsPage

#: the longest sleep between two looks at the parts of the daemon (s)
TICK_S = 1.0
#: whatever does not end by itself is left behind after this time (s): systemd and people wait for 5
STOP_S = 4.5
OWN_STOP_S = 1.0


class Daemon:
    """The daemon between start and stop; `profiles` holds those that the configuration names."""

    def __init__(
        self,
        settings: Settings,
        profiles: Mapping[str, "Profile"],
        read: Callable[[], tuple[Settings, Mapping[str, "Profile"]]] | None = None,
    ) -> None:
        """`read` reads the configuration anew, with what `meterd check` finds: it raises SettingsError."""
        self._loaded = Loaded(settings, profiles)
        self._read = read
        self._standing = Standing()
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[dict[str, Any]]] = set()
        self._hung_up = asyncio.Event()
        self._min_auth: dict[str, str] = {}
        self._zones: dict[str, ZoneInfo] = {}
        self._began = time.monotonic()
        self._clock = HostClock()
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._control: ControlServer | None = None
        self._metrics: MetricsPage | None = None
        self._beats = Beats()
        meters = [make(meter, self._loaded, self, self._clock) for meter in settings.meter]
        self.outlets = Outlets(
            settings,
            Kept(
                counters=lambda: {m.name: m.counters_to_keep() for m in self.lines.all()},
                trust=lambda: {m.name: m.trust.export() for m in self.lines.all()},
                sub_meters=lambda: {m.name: m.sub_meters.export() for m in self.lines.all()},
                series=lambda: {m.name: kept for m in self.lines.all() if (kept := m.plausibility.export())},
            ),
            self._beats,
        )
        self._watchdog = Watchdog(self._beats, self.outlets.save)
        self.lines = Lines(meters, self.outlets, self._beats, self._ready, self._tell_status)

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or `stop`; what is under way is flushed then."""
        self._watch_signals()
        await self.lines.open()
        if any(meter.settings.profile == "auto" for meter in self.meters.values() if meter.settings.enabled):
            self._loaded = self._loaded._replace(auto=await asyncio.to_thread(load_auto))
        await self.outlets.start(self.meters.values())
        for meter in self.meters.values():
            self._clock.raise_floor(meter.plausibility.latest())
        self._control = await self._open_control()
        self._ready.set()
        self.lines.watch()
        own = [asyncio.create_task(self._keep_alive()), asyncio.create_task(self._obey_signals())]
        self._metrics = self._make_metrics()
        if self._metrics:
            own.append(asyncio.create_task(self._keep_metrics(self._metrics)))
        # What was made so far lives as long as the daemon: the collector need not walk through it between two readings.
        gc.freeze()
        log.event("started", version=__version__, meters=",".join(self.meters), outlets=self.outlets.describe())
        sd_notify.notify(READY="1")
        try:
            await self._stop.wait()
        finally:
            sd_notify.notify(STOPPING="1")
            await cancel([*own, *self._reloads], OWN_STOP_S)
            await self.lines.close()
            await self.outlets.stop()
            if self._control:
                await self._control.close()
            log.event("stopped")

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    @property
    def meters(self) -> Mapping[str, Meter]:
        """The meters of the configuration, by name."""
        return self.lines.meters

    def status(self) -> dict[str, Any]:
        """Answer `meterd status`: everything but the readings."""
        now = time.monotonic()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(now - self._began),
            "meters": [
                self.outlets.with_stored(meter)
                | {"age_s": meter.age_s(now), "port": meter.settings.port, "keys": meter.trust.as_dict()}
                | {"configured_profile": meter.settings.profile}
                for meter in self.meters.values()
            ],
            **self.outlets.status(),
            "configuration": self._standing.as_dict(),
            "tasks": self._beats.as_dict(),
            "metrics": self._metrics.status() if self._metrics else None,
        }

    def make_decoder(self, settings: MeterSettings) -> "Decoder":
        """Make the decoder of a meter."""
        from decoders.decoder import Decoder

        loaded = self._loaded
        candidates = loaded.auto if settings.profile == "auto" else [loaded.profiles[settings.profile]]
        self._min_auth |= {profile.name: profile.min_auth for profile in candidates}
        cipher = candidates[0].cipher if len(candidates) == 1 else None
        empty_aad = cipher is not None and cipher.aad == "empty"
        security = self.meters[settings.name].trust.security(empty_aad=empty_aad)
        return Decoder(candidates, self._zone, tz=settings.timezone, security=security)

    def min_auth(self, profile: str) -> str:
        """Give the least authenticity that a profile asks for."""
        return self._min_auth[profile]

    def next_seq(self, meter: str) -> int:
        """Give the next sequence number of a meter."""
        return self.outlets.next_seq(meter)

    def hand_over(self, meter: Meter, item: ItemP) -> None:
        """Give a reading to every outlet, then tell when the line became good by it."""
        self.outlets.deliver(meter, item)
        if not meter.available or meter.flags() != meter.state.flags:
            self.lines.look(meter, time.monotonic())

    def keep(self, meter: Meter, item: ItemP) -> None:
        """Give a reading of unknown age to the journal only."""
        self.outlets.keep(meter, item)

    def quarantine(self, meter: Meter, item: ItemP, reason: str) -> None:
        """Give a reading that cannot be to the journal, which keeps it apart."""
        self.outlets.quarantine(meter, item, reason)

    def note(self, meter: Meter | None, event: str, **facts: Any) -> None:
        """Write an event into the metrology log, and as a line into the log."""
        self.outlets.note(meter, event, **facts)
        log.event(event, meter=meter.name if meter else None, **facts)

    async def reload(self) -> dict[str, Any]:
        """Read the configuration anew and take it over whole, or leave everything as it is; one reload at a time.

        The answer has `reloaded`; then `meters` and `outlets` (what was added, changed, removed) and `restart_needed`
        (tables that wait for the next start), or else `errors`, one sentence each.
        """
        async with self._reloading:
            sd_notify.reloading()
            task = asyncio.ensure_future(self._take_over())
            error = await outcome(task)
            if isinstance(error, SettingsError):
                self._standing.refused = tuple(error.problems)
            elif error is not None:
                self._standing.refused = (f"an error in meterd ({where(error)}): please report this",)
            sd_notify.notify(READY="1", STATUS=self._sentence())
            if error is None:
                return task.result()
            log.event("reload_refused", reason="; ".join(self._standing.refused))
            return {"reloaded": False, "errors": list(self._standing.refused)}

    async def _take_over(self) -> dict[str, Any]:
        """Make everything new, then swap."""
        if self._read is None:
            raise SettingsError(["this daemon has no configuration on disk"])
        loaded = await asyncio.to_thread(self._read_all, self._read)
        todo = plan(self._loaded, loaded)
        fresh = {
            meter.name: make(meter, loaded, self, self._clock)
            for meter in loaded.settings.meter
            if todo.begins(meter.name)
        }
        sinks = self.outlets.prepare(todo.loaded.settings)
        log_before = self._loaded.settings.log
        # from here on nothing of the configuration can fail
        await self.lines.release(todo)
        self._loaded = todo.loaded
        await self.lines.swap(todo, fresh)
        outlets = await self.outlets.swap(todo.loaded.settings, sinks)
        for meter in self.meters.values():
            self.outlets.report(meter)
        if todo.loaded.settings.log != log_before:
            log.setup(todo.loaded.settings.log.format, todo.loaded.settings.log.level)
        self._look_for_keys(set(self.meters) - set(fresh))
        self._standing = Standing(waiting=todo.waiting)
        return self._told(todo, outlets)

    def _told(self, todo: Plan, outlets: Mapping[str, list[str]]) -> dict[str, Any]:
        """Log what a reload did, and say it as an answer."""
        meters = {"added": todo.added, "changed": todo.changed, "removed": todo.removed}
        facts = meters | {f"outlets_{what}": names for what, names in outlets.items()}
        log.event("reloaded", **{name: ",".join(names) or None for name, names in facts.items()})
        if todo.waiting:
            log.event("restart_needed", tables=",".join(todo.waiting))
        answer = {name: list(names) for name, names in meters.items()}
        return {"reloaded": True, "meters": answer, "outlets": outlets, "restart_needed": list(todo.waiting)}

    def _look_for_keys(self, names: set[str]) -> None:
        """Use keys that were put, changed or taken away where they are kept since the last look."""
        for name in sorted(names):
            meter = self.meters[name]
            found = key_control.find(meter.settings)
            if found != meter.trust.found:
                key_control.hold(meter, found)

    def _read_all(self, read: Callable[[], tuple[Settings, Mapping[str, "Profile"]]]) -> Loaded:
        settings, profiles = read()
        auto = any(meter.profile == "auto" for meter in settings.meter if meter.enabled)
        return Loaded(settings, profiles, load_auto() if auto else ())

    async def _open_control(self) -> ControlServer | None:
        path = socket_path(self._loaded.settings.control.socket)
        commands: dict[str, Command] = {
            "status": lambda _: self.status(),
            "key": self._take_key,
            "confirm": self._confirm,
            "reload": lambda _: asyncio.shield(self._begin_reload()),
        }
        server = ControlServer(path, commands)
        try:
            await server.start()
        except OSError as error:
            log.event("control_trouble", path=str(path), reason=error.strerror or str(error))
            return None
        return server

    def _make_metrics(self) -> "MetricsPage | None":
        settings = self._loaded.settings.metrics
        if settings is None:
            return None
        from gateway.metrics_page import MetricsPage

        try:
            return MetricsPage(settings, self.status)
        except ImportError:
            log.event("output_trouble", output="metrics", reason=PROMETHEUS_MISSING)
            return None

    async def _keep_metrics(self, page: "MetricsPage") -> None:
        def told(error: BaseException, pause: float) -> None:
            log.event("sink_ended", sink="metrics", error=where(error), again_in_s=pause)

        live_as(self._beats.part("metrics"))
        await keep(page.run, told, ends=False)

    async def _keep_alive(self) -> None:
        def told(error: BaseException, pause: float) -> None:
            log.event("watch_failed", error=where(error), again_in_s=pause)

        await keep(self._attend, told, ends=False, pauses=(TICK_S,))

    async def _attend(self) -> None:
        """Tell the service manager that every part lives, and the log how the journal is."""
        control, limit_s = self._beats.part("control"), self._watchdog.limit_s
        while True:
            if self._control is not None and self._control.answers:
                control()
            self._watchdog.feed()
            self._look_at_clock()
            self.outlets.look()
            await asyncio.sleep(min(TICK_S, limit_s / 3) if limit_s else TICK_S)

    def _tell_status(self) -> None:
        sd_notify.notify(STATUS=self._sentence())

    def _sentence(self) -> str:
        good = sum(other.available for other in self.meters.values())
        refused = "; the configuration on disk is refused" if self._standing.refused else ""
        return f"{good} of {len(self.meters)} meters ok{refused}"

    def _look_at_clock(self) -> None:
        """Tell when the clock of this host was set; a clock that was not believed may be now."""
        doubted = not self._clock.believed
        if step := self._clock.look():
            self.note(None, "clock_step", step_s=round(step, 3), to=utc(self._clock.now(), "seconds"))
        if doubted and self._clock.believed:
            log.event("clock_believed", shown=utc(self._clock.now(), "seconds"))

    def _confirm(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer `meterd meter confirm`: whether there was something to confirm."""
        name = request.get("meter")
        meter = self.meters.get(name) if isinstance(name, str) else None
        if meter is None:
            return {"error": f"no such meter; there are: {', '.join(self.meters)}"}
        confirmed = meter.confirm()
        self.outlets.report(meter)
        return {"meter": meter.name, "confirmed": confirmed, "exchange": meter.plausibility.shown()}

    def _take_key(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer `meterd key set` and `remove`; nothing of the request but the meter's name is shown or kept."""
        answer = key_control.take(self.meters, request)
        if "error" not in answer:
            key_control.protect_memory()
            self.lines.look(self.meters[answer["meter"]], time.monotonic())
        return answer

    def _zone(self, name: str) -> ZoneInfo:
        return self._zones.setdefault(name, ZoneInfo(name))

    def _end(self) -> None:
        """Stop on a signal. What hangs then, a driver or a disk, is left behind after STOP_S."""
        if not self._stop.is_set():
            leave_behind_after(STOP_S)
        self.stop()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)

    async def _obey_signals(self) -> None:
        """Reload on SIGHUP; those that come during a reload are one more."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            await self._begin_reload()

    def _begin_reload(self) -> asyncio.Task[dict[str, Any]]:
        """Reload in a task of its own: whoever asked for it may go away meanwhile."""
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)
        return task
