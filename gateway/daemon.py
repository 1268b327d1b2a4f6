"""Composition root of `meterd run`: meters, outlets and the control socket in one event loop, each contained.

Order at the start: ports first, because a meter speaks whether we listen or not; then journal, broker and profiles.
Order of a reading: live sinks, then the journal. Order at the end, on SIGTERM or SIGINT: ports, then farewells and the
journal side by side.
"""

import asyncio
import gc
import math
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway import __version__, key_control, log, sd_notify
from gateway.control import ControlServer, socket_path
from gateway.item_p import ItemP
from gateway.line_watch import LineWatch
from gateway.meter import INTERVAL_S, Meter
from gateway.outlets import Outlets
from gateway.settings import MeterSettings, Settings
from gateway.sources import create
from gateway.supervisor import keep, where
from gateway.trust import Trust

if TYPE_CHECKING:
    from decoders.decoder import Decoder
    from decoders.profile import Profile

#: the longest sleep between two looks at all lines (s)
TICK_S = 1.0
#: state topics are refreshed at least this often (s)
REFRESH_S = 60.0
#: whatever does not end by itself is left behind after this time (s): systemd and people wait for 5
STOP_S = 4.5
PORTS_STOP_S = 1.0


class Daemon:
    """The daemon between start and stop; `profiles` holds those that the configuration names."""

    def __init__(self, settings: Settings, profiles: Mapping[str, "Profile"]) -> None:
        self._settings = settings
        self._profiles = profiles
        self._auto: list[Profile] = []
        self._min_auth: dict[str, str] = {}
        self._zones: dict[str, ZoneInfo] = {}
        self._began = time.monotonic()
        self._stop = asyncio.Event()
        self.meters = {meter.name: self._meter(meter) for meter in settings.meter}
        self.outlets = Outlets(
            settings,
            lambda: {m.name: m.counters.as_dict() for m in self.meters.values()},
            lambda: {m.name: m.trust.export() for m in self.meters.values()},
            lambda: {m.name: m.sub_meters.export() for m in self.meters.values()},
        )
        self._reported = dict.fromkeys(self.meters, -math.inf)

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or `stop`; what is under way is flushed then."""
        self._watch_signals()
        ready = asyncio.Event()
        enabled = [meter for meter in self.meters.values() if meter.settings.enabled]
        tasks = [asyncio.create_task(self._keep_meter(meter, ready), name=meter.name) for meter in enabled]
        await self._ports_tried(enabled)
        if any(meter.settings.profile == "auto" for meter in enabled):
            self._auto = await asyncio.to_thread(_load_auto)
        await self.outlets.start(self.meters.values())
        control = await self._open_control()
        ready.set()
        watchers = [asyncio.create_task(self._keep_watch(meter)) for meter in self.meters.values()]
        watchers.append(asyncio.create_task(self._keep_alive()))
        # What was made so far lives as long as the daemon: the collector need not walk through it between two readings.
        gc.freeze()
        log.event("started", version=__version__, meters=",".join(self.meters), outlets=self.outlets.describe())
        sd_notify.notify(READY="1")
        try:
            await self._stop.wait()
        finally:
            sd_notify.notify(STOPPING="1")
            await _cancel(*tasks)
            await _cancel(*watchers)
            await self.outlets.stop()
            if control:
                await control.close()
            log.event("stopped")

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

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
        }

    def make_decoder(self, settings: MeterSettings) -> "Decoder":
        """Make the decoder of a meter."""
        from decoders.decoder import Decoder

        candidates = self._auto if settings.profile == "auto" else [self._profiles[settings.profile]]
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
            self._look(meter, time.monotonic())

    def keep(self, meter: Meter, item: ItemP) -> None:
        """Give a reading of unknown age to the journal only."""
        self.outlets.keep(meter, item)

    def _meter(self, settings: MeterSettings) -> Meter:
        profile = self._profiles.get(settings.profile)
        baud = settings.baud or (profile.line.baud if profile else 115_200)
        framing = settings.framing or (profile.line.framing if profile else "8N1")
        interval_s = settings.interval_s or (profile.interval_s if profile else INTERVAL_S)
        line = "the parameters of the bridge" if "://" in settings.port else f"{baud} {framing}"
        watch = LineWatch(enabled=settings.enabled, line=line, interval_s=interval_s)
        trust = Trust(settings, key_control.find(settings), profile.min_auth if profile else None)
        if trust.has_key:
            key_control.protect_memory()
        return Meter(settings, create(settings, baud=baud, framing=framing), watch, self, trust)

    async def _keep_meter(self, meter: Meter, ready: asyncio.Event) -> None:
        await keep(partial(meter.run, ready), partial(self._crashed, meter))

    def _crashed(self, meter: Meter, error: BaseException, pause: float) -> None:
        meter.counters.add("crashes")
        log.event("meter_crashed", meter=meter.name, error=where(error), again_in_s=pause)

    async def _ports_tried(self, meters: list[Meter]) -> None:
        """Wait until every port was tried once, but not for long: a port may hang."""
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline and any(meter.watch.untried for meter in meters):
            await asyncio.sleep(0.002)

    async def _open_control(self) -> ControlServer | None:
        path = socket_path(self._settings.control.socket)
        server = ControlServer(path, {"status": lambda _: self.status(), "key": self._take_key})
        try:
            await server.start()
        except OSError as error:
            log.event("control_trouble", path=str(path), reason=error.strerror or str(error))
            return None
        return server

    async def _keep_watch(self, meter: Meter) -> None:
        """Watch a line, whatever happens: when the look itself fails, the line counts as silent and is looked at again.

        Otherwise an error here would leave the meter `online` for ever.
        """
        failures: list[str] = []

        def told(error: BaseException, pause: float) -> None:
            meter.counters.add("crashes")
            if where(error) not in failures:
                log.event("watch_failed", meter=meter.name, error=where(error), again_in_s=pause)
            failures[:] = [where(error)]

        await keep(partial(self._watch, meter, failures), told, ends=False, pauses=(TICK_S,))

    async def _watch(self, meter: Meter, failures: Sequence[str]) -> None:
        """Look at a line each second, and at the very moment when its reading stops to hold."""
        if failures:
            meter.distrust(f"meterd could not judge the line: {failures[0]}; please report this")
            self.outlets.withdraw(meter)
        while True:
            now = time.monotonic()
            meter.expire(now)
            self._look(meter, now)
            due = [meter.watch.deadline(now) - now] if meter.available else []
            due += [] if meter.silence is None else [meter.silence - now]
            await asyncio.sleep(max(0.01, min([TICK_S, *due])))

    async def _keep_alive(self) -> None:
        def told(error: BaseException, pause: float) -> None:
            log.event("watch_failed", error=where(error), again_in_s=pause)

        await keep(self._attend, told, ends=False, pauses=(TICK_S,))

    async def _attend(self) -> None:
        """Tell the service manager that the loop turns, and the log how the journal is."""
        watchdog_s = sd_notify.watchdog_s()
        while True:
            if watchdog_s:
                sd_notify.notify(WATCHDOG="1")
            self.outlets.look()
            await asyncio.sleep(min(TICK_S, watchdog_s / 3) if watchdog_s else TICK_S)

    def _look(self, meter: Meter, now: float) -> None:
        """Judge a line; tell what changed at once, and how things stand now and then."""
        changed = meter.judge(now)
        if changed or now - self._reported[meter.name] >= REFRESH_S:
            self._reported[meter.name] = now
            self.outlets.report(meter)
        if changed:
            state = meter.state
            name = "line_state" if state.state in ("ok", "disabled") else "line_trouble"
            log.event(name, meter=meter.name, state=state.state, flags=",".join(state.flags) or None,
                      profile=meter.profile, evidence=state.evidence)  # fmt: skip
            good = sum(other.available for other in self.meters.values())
            sd_notify.notify(STATUS=f"{good} of {len(self.meters)} meters ok")

    def _take_key(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer `meterd key set` and `remove`; nothing of the request but the meter's name is shown or kept."""
        answer = key_control.take(self.meters, request)
        if "error" not in answer:
            key_control.protect_memory()
            self._look(self.meters[answer["meter"]], time.monotonic())
        return answer

    def _zone(self, name: str) -> ZoneInfo:
        return self._zones.setdefault(name, ZoneInfo(name))

    def _end(self) -> None:
        """Stop on a signal. What hangs then, a driver or a disk, is left behind after STOP_S."""
        if not self._stop.is_set():
            _leave_behind_after(STOP_S)
        self.stop()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, lambda: log.event("reload_refused", hint="restart meterd"))


def _load_auto() -> "list[Profile]":
    """Every profile; one of the user's that cannot be used is named and left out."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles

    found = []
    for name in profiles.names():
        try:
            found.append(profiles.load(name))
        except (ProfileSyntaxError, OSError, UnicodeDecodeError) as error:
            log.event("profile_refused", profile=name, reason=str(error))
    return found


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=PORTS_STOP_S)


def _leave_behind_after(seconds: float) -> None:
    """End the process after a time, whatever hangs; a thread of its own, because the loop may hang, too."""

    def end() -> None:
        time.sleep(seconds)
        log.event("stop_forced", after_s=seconds)
        os._exit(0)

    threading.Thread(target=end, name="stop", daemon=True).start()
