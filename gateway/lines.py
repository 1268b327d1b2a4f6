"""The meters that are read, two tasks for each: one reads, one watches; some are exchanged while the others run on."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from gateway import key_control, log
from gateway.beats import Beats, alive, live_as
from gateway.host_clock import HostClock
from gateway.line_watch import LineWatch
from gateway.meter import Host, Meter
from gateway.outlets import Outlets
from gateway.reload import Loaded, Plan
from gateway.settings import MeterSettings
from gateway.sources import create
from gateway.supervisor import cancel, keep, where
from gateway.trust import Trust

#: the longest sleep between two looks at a line (s)
TICK_S = 1.0
#: state topics are refreshed at least this often (s)
REFRESH_S = 60.0
#: a port that does not close by itself is left behind after this time (s)
STOP_S = 1.0
#: what a port may take to be tried for the first time (s): it may hang
TRIED_S = 0.2
#: until a profile says better: the slowest interval of P1 meters in the field
INTERVAL_S = 10


def make(settings: MeterSettings, loaded: Loaded, host: Host, clock: HostClock) -> Meter:
    """Make a meter of the configuration, with the keys that are kept for it; nothing is opened yet."""
    profile = loaded.profile(settings)
    baud = settings.baud or (profile.line.baud if profile else 115_200)
    framing = settings.framing or (profile.line.framing if profile else "8N1")
    interval_s = settings.interval_s or (profile.interval_s if profile else INTERVAL_S)
    line = "the parameters of the bridge" if "://" in settings.port else f"{baud} {framing}"
    watch = LineWatch(enabled=settings.enabled, line=line, interval_s=interval_s)
    trust = Trust(settings, key_control.find(settings), profile.min_auth if profile else None)
    if trust.has_key:
        key_control.protect_memory()
    source = create(settings, baud=baud, framing=framing)
    return Meter(settings, source, watch, host, trust, clock=clock)


class Lines:
    """The meters by name, in the order of the configuration."""

    def __init__(
        self, meters: Iterable[Meter], outlets: Outlets, beats: Beats, ready: asyncio.Event, changed: Callable[[], None]
    ) -> None:
        """Octets wait for `ready` once a port is open; `changed` is called when the state of a line changed."""
        self.meters = {meter.name: meter for meter in meters}
        #: meters that were taken out of the configuration while running: what they had is kept
        self._former: dict[str, Meter] = {}
        self._outlets = outlets
        self._beats = beats
        self._ready = ready
        self._changed = changed
        self._tasks: defaultdict[str, list[asyncio.Task[None]]] = defaultdict(list)
        self._reported = dict.fromkeys(self.meters, -math.inf)

    def all(self) -> list[Meter]:
        """Every meter that was read since the start, also under an earlier configuration."""
        return [*self._former.values(), *self.meters.values()]

    async def open(self) -> None:
        """Begin to read, and wait until every port was tried once, but not for long."""
        for meter in self.meters.values():
            self._begin_reading(meter)
        deadline = time.monotonic() + TRIED_S
        meters = [meter for meter in self.meters.values() if meter.settings.enabled]
        while time.monotonic() < deadline and any(meter.watch.untried for meter in meters):
            await asyncio.sleep(0.002)

    def watch(self) -> None:
        """Begin to look at every line."""
        for meter in self.meters.values():
            self._begin_watching(meter)

    async def close(self) -> None:
        """Close every port; what waits for a time is handed in."""
        await cancel([task for tasks in self._tasks.values() for task in tasks], STOP_S)
        for meter in self.meters.values():
            meter.settle()

    async def release(self, todo: Plan) -> None:
        """Close the ports of meters that change or go."""
        gone = (*todo.changed, *todo.removed)
        await cancel([task for name in gone for task in self._tasks.pop(name, [])], STOP_S)

    async def swap(self, todo: Plan, fresh: Mapping[str, Meter]) -> None:
        """Read the meters that changed or came, when their ports were released."""
        before = self._former | self.meters
        self._former |= {name: self.meters[name] for name in todo.removed}
        self.meters = {one.name: fresh.get(one.name) or self.meters[one.name] for one in todo.loaded.settings.meter}
        for meter in fresh.values():
            self._former.pop(meter.name, None)
            self._reported[meter.name] = -math.inf
            if meter.name in before:
                self._outlets.succeed(meter, before[meter.name])
            else:
                self._outlets.acquaint(meter)
        for name in todo.relearn:
            self.meters[name].use(lambda: None)
        await self._outlets.admit(todo.added)
        for meter in fresh.values():
            self._begin_reading(meter)
            self._begin_watching(meter)

    def look(self, meter: Meter, now: float) -> None:
        """Judge a line; tell what changed at once, and how things stand now and then."""
        changed = meter.judge(now)
        if changed or now - self._reported[meter.name] >= REFRESH_S:
            self._reported[meter.name] = now
            self._outlets.report(meter)
        if changed:
            state = meter.state
            name = "line_state" if state.state in ("ok", "disabled") else "line_trouble"
            log.event(name, meter=meter.name, state=state.state, flags=",".join(state.flags) or None,
                      profile=meter.profile, evidence=state.evidence)  # fmt: skip
            self._changed()

    def _begin_reading(self, meter: Meter) -> None:
        if meter.settings.enabled:
            self._tasks[meter.name].append(asyncio.create_task(self._keep_meter(meter), name=meter.name))

    def _begin_watching(self, meter: Meter) -> None:
        self._tasks[meter.name].append(asyncio.create_task(self._keep_watch(meter)))

    async def _keep_meter(self, meter: Meter) -> None:
        beat = self._beats.part(f"meter {meter.name}")
        live_as(beat)
        try:
            await keep(partial(meter.run, self._ready), partial(_crashed, meter))
        finally:
            self._beats.drop(beat)

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

        beat = self._beats.part(f"watch {meter.name}")
        live_as(beat)
        try:
            await keep(partial(self._watch, meter, failures), told, ends=False, pauses=(TICK_S,))
        finally:
            self._beats.drop(beat)

    async def _watch(self, meter: Meter, failures: Sequence[str]) -> None:
        """Look at a line each second, and at the very moment when its reading stops to hold."""
        if failures:
            meter.distrust(f"meterd could not judge the line: {failures[0]}; please report this")
            self._outlets.withdraw(meter)
        while True:
            alive()
            now = time.monotonic()
            meter.expire(now)
            self.look(meter, now)
            due = [meter.watch.deadline(now) - now] if meter.available else []
            due += [] if meter.silence is None else [meter.silence - now]
            await asyncio.sleep(max(0.01, min([TICK_S, *due])))


def _crashed(meter: Meter, error: BaseException, pause: float) -> None:
    meter.counters.add("crashes")
    log.event("meter_crashed", meter=meter.name, error=where(error), again_in_s=pause)
