"""Where readings go: the live sinks and the journal, behind one face; a failure of one never reaches another."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import log
from gateway.item_p import ItemP
from gateway.meter import Meter
from gateway.settings import Settings
from gateway.sinks import Sink, SinkError, registry
from gateway.sub_meters import SubMeters
from gateway.supervisor import keep, where

if TYPE_CHECKING:
    from gateway.stores.journal import Journal

GROUP_S = {"normal": 10.0, "saver": 60.0}
MIB = 1 << 20
DAY_S = 86_400
STOP_S = 2.5


class Outlets:
    """The sinks and the journal of a configuration, from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        counters: Callable[[], Mapping[str, Mapping[str, int]]],
        trust: Callable[[], Mapping[str, bytes]],
        sub_meters: Callable[[], Mapping[str, bytes]],
    ) -> None:
        """The three give what each meter has: the journal keeps it with each group that it commits."""
        self._settings = settings
        self._counters = counters
        self._trust = trust
        self._sub_meters = sub_meters
        self._sinks: dict[str, Sink] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._journal: Journal | None = None
        self._trouble: str | None = None
        self._notices: list[str] = []
        self._seq: dict[str, int] = {}
        #: (sink, meter) -> why it takes no readings, so that it is told once
        self._refused: dict[tuple[str, str], str] = {}

    async def start(self, meters: Iterable[Meter]) -> None:
        """Open the journal, take up the counters that it kept, and connect the sinks."""
        self._open_journal()
        # without a journal that keeps it, another one at each start
        salt = self._journal.salt if self._journal else secrets.token_bytes(16)
        for meter in meters:
            meter.sub_meters = SubMeters(salt)
            if self._journal:
                meter.counters.restore(self._journal.counters(meter.name))
                meter.sub_meters = _sub_meters(meter, salt, self._journal.sub_meters(meter.name))
                _restore_trust(meter, self._journal.trust(meter.name))
        self._sinks = registry.create(self._settings, salt, lasting=self._journal is not None)
        self._tasks = [asyncio.create_task(self._keep(name, sink)) for name, sink in self._sinks.items()]

    async def stop(self) -> None:
        """Say good-bye at every sink while the journal commits what it holds, each within STOP_S."""
        for task in self._tasks:
            task.cancel()
        closing = [asyncio.get_running_loop().run_in_executor(None, self._journal.close)] if self._journal else []
        ending: list[asyncio.Future[Any]] = [*self._tasks, *closing]
        if ending:
            await asyncio.wait(ending, timeout=STOP_S)

    def deliver(self, meter: Meter, item: ItemP) -> None:
        """Give a reading to each sink at once, then to the journal."""
        for name, sink in self._sinks.items():
            try:
                sink.deliver(item)
                self._refused.pop((name, meter.name), None)
            except SinkError as error:
                if self._refused.get((name, meter.name)) != error.reason:
                    log.event("sink_refused", sink=name, meter=meter.name, reason=error.reason)
                self._refused[name, meter.name] = error.reason
        self.keep(meter, item)

    def keep(self, meter: Meter, item: ItemP) -> None:
        """Give a reading to the journal."""
        if self._journal:
            self._journal.append(item)
        else:
            meter.counters.add("journal_lost")

    def next_seq(self, meter: str) -> int:
        """Give a number that the meter never had; without a journal that remembers, milliseconds of the clock do."""
        if self._journal:
            return self._journal.next_seq(meter)
        self._seq[meter] = seq = max(self._seq.get(meter, 0) + 1, time.time_ns() // 1_000_000)
        return seq

    def report(self, meter: Meter) -> None:
        """Give the line state of a meter to each sink."""
        state = self.with_stored(meter)
        for sink in self._sinks.values():
            sink.report(meter.name, state, available=meter.available)

    def withdraw(self, meter: Meter) -> None:
        """Tell each sink that a meter delivers nothing that holds: by its state alone, whatever else cannot be told."""
        for sink in self._sinks.values():
            sink.report(meter.name, {"meter": meter.name, **meter.state.as_dict()}, available=False)

    def with_stored(self, meter: Meter) -> dict[str, Any]:
        """Show a meter with the counters that only the journal knows."""
        if self._journal:
            meter.counters.values |= {
                "stored": self._journal.stored(meter.name),
                "journal_lost": self._journal.lost(meter.name),
                "journal_evicted": self._journal.evicted(meter.name),
            }
        return meter.as_dict()

    def status(self) -> dict[str, Any]:
        """Show each outlet as `meterd status --json` does; None where it is not configured."""
        journal = (
            self._journal.status()
            if self._journal
            else {"path": self._settings.journal.path, "state": "off", "trouble": self._trouble}
        )
        shown = {name: sink.status() for name, sink in self._sinks.items()}
        mqtt = shown.pop("mqtt", None)
        outputs = [{"name": name, **status} for name, status in shown.items()]
        return {"mqtt": mqtt, "outputs": outputs, "journal": journal}

    def describe(self) -> str:
        """Name the outlets, for the log."""
        return ",".join([*self._sinks, *(["journal"] if self._journal else [])]) or "none"

    def look(self) -> None:
        """Log what happened to the journal since the last look."""
        if self._journal is None:
            return
        status = self._journal.status()
        if status["trouble"] != self._trouble:
            self._trouble = status["trouble"]
            log.event("journal_trouble" if self._trouble else "journal_stores", reason=self._trouble)
        for notice in status["notices"]:
            if notice not in self._notices:
                log.event("journal_notice", reason=notice)
        self._notices = status["notices"]

    def _open_journal(self) -> None:
        from gateway.stores.journal import Journal, JournalError

        settings = self._settings.journal
        journal = Journal(
            Path(settings.path),
            max_bytes=settings.max_mib * MIB,
            max_age_s=settings.max_days * DAY_S,
            group_s=GROUP_S[settings.mode],
            meters=[meter.name for meter in self._settings.meter],
            save_counters=self._counters,
            save_trust=self._trust,
            save_sub_meters=self._sub_meters,
        )
        try:
            journal.start()
        except JournalError as error:
            self._trouble = str(error)
            log.event("journal_trouble", reason=self._trouble)
        else:
            self._journal = journal

    async def _keep(self, name: str, sink: Sink) -> None:
        def told(error: BaseException, pause: float) -> None:
            log.event("sink_ended", sink=name, error=where(error), again_in_s=pause)

        await keep(sink.run, told, ends=False)


def _sub_meters(meter: Meter, salt: bytes, saved: bytes | None) -> SubMeters:
    """What is known of a meter's sub-meters: that which the journal kept, unless it cannot be read."""
    try:
        return SubMeters(salt, saved)
    except ValueError:
        log.event("sub_meters_lost", meter=meter.name)
        return SubMeters(salt)


def _restore_trust(meter: Meter, saved: bytes | None) -> None:
    """Let a meter go on from the receive counters that the journal kept; a change of `min_auth` since then is told."""
    if saved is None:
        return
    try:
        change = meter.trust.restore(saved)
    except ValueError:
        log.event("counters_lost", meter=meter.name)
        return
    if change is not None:
        log.event("min_auth_changed", meter=meter.name, before=change.before, after=change.after)
