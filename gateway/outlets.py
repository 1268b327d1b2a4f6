"""Where readings go: the live sinks and the journal, behind one face; a failure of one never reaches another."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from gateway import log, resumption
from gateway.beats import Beats
from gateway.item_p import ItemP
from gateway.meter import Meter
from gateway.opening import Kept, open_journal, open_ledger
from gateway.running import Running
from gateway.settings import Settings
from gateway.sinks import Done, IntervalSink, Sink, SinkError, registry
from gateway.sinks.made_of import made_of
from gateway.store_log import StoreLog
from gateway.sub_meters import SubMeters

if TYPE_CHECKING:
    from gateway.interval_folder import Told
    from gateway.interval_keeper import IntervalKeeper
    from gateway.stores.journal import Journal
    from gateway.stores.ledger import Ledger
    from gateway.stores.ledger_rows import Fact
    from gateway.stores.outbox import Outbox
    from gateway.trust import Change

#: name of what folds the journal, among the sinks
INTERVALS = "intervals"
#: how long the end waits for the last readings to be committed, and for the file to be closed (s)
FLUSH_S, CLOSE_S = 0.8, 2.0
#: how long new meters wait for their sequence numbers (s)
ADMIT_S = 2.0
#: how often the ledger gets a copy of the receive counters (s), the first time soon after the start
COPY_S, FIRST_COPY_S = 3_600.0, 60.0


class Outlets:
    """The sinks and the journal of a configuration, from `start` to `stop`."""

    def __init__(self, settings: Settings, kept: Kept, beats: Beats) -> None:
        """`kept` gives what each meter has; `beats` gets the signs of life of the sinks, the journal and the ledger."""
        self._settings = settings
        self._beats = beats
        self._running = Running(self._beats)
        # without a journal that keeps it, another one at each start
        self._salt = secrets.token_bytes(16)
        self._kept = kept
        self._journal: Journal | None = None
        self._journal_log = StoreLog("journal")
        self._ledger: Ledger | None = None
        self._ledger_log = StoreLog("ledger")
        self._copy_due = time.monotonic() + FIRST_COPY_S
        self._seq: dict[str, int] = {}
        #: (sink, meter) -> why it takes no readings, so that it is told once
        self._refused: dict[tuple[str, str], str] = {}

    async def start(self, meters: Iterable[Meter]) -> None:
        """Open the journal, take up the counters that it kept, and connect the sinks."""
        self._open()
        self._salt = self._journal.salt if self._journal else self._salt
        for meter in meters:
            self.acquaint(meter)
        self._running.start(self._create(self._settings))

    def acquaint(self, meter: Meter) -> None:
        """Let a meter that was not read yet go on from what was kept of it."""
        meter.sub_meters = SubMeters(self._salt)
        saved = self._journal.series(meter.name) if self._journal else None
        meter.plausibility = resumption.series(meter, self._salt, saved)
        if self._journal:
            meter.counters.restore(self._journal.counters(meter.name))
            meter.sub_meters = resumption.sub_meters(meter, self._salt, self._journal.sub_meters(meter.name))
        self._restore_trust(meter)

    def succeed(self, meter: Meter, before: Meter) -> None:
        """Let a meter go on from what it had under an earlier configuration."""
        change = meter.take_over(before)
        meter.plausibility = resumption.series(meter, self._salt, before.plausibility.export() or None)
        if change is not None:
            self._tell(meter, change)

    async def admit(self, meters: Sequence[str]) -> None:
        """Take on new meters while running, and wait a moment for the sequence numbers that are reserved for them."""
        if self._journal and meters:
            self._journal.admit(meters)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ADMIT_S):
                    while not all(map(self._journal.knows, meters)):
                        await asyncio.sleep(0.01)

    def prepare(self, settings: Settings) -> dict[str, Sink]:
        """Make the sinks of a configuration, without effect yet: those that are made of the same as now are kept."""
        before, after = self._parts(self._settings), self._parts(settings)
        same = {name for name, parts in after.items() if name in self._sinks and before.get(name) == parts}
        fresh = self._create(settings) if same != set(after) else {}
        return {name: self._sinks[name] if name in same else fresh[name] for name in after}

    async def swap(self, settings: Settings, sinks: Mapping[str, Sink]) -> dict[str, list[str]]:
        """Let sinks that are not in `sinks`, as made by `prepare`, say good-bye, then start the new ones."""
        stopped = [name for name, sink in self._sinks.items() if sinks.get(name) is not sink]
        started = [name for name, sink in sinks.items() if self._sinks.get(name) is not sink]
        publishers = [name for name in stopped if isinstance(self._sinks[name], IntervalSink)]
        await self._running.stop(stopped)
        self._settings = settings
        self._refused.clear()
        self._running.start(sinks)
        if publishers and INTERVALS in sinks and INTERVALS not in started:
            cast("IntervalKeeper", sinks[INTERVALS]).tell_anew()
        return {"stopped": stopped, "started": started}

    def save(self) -> None:
        """Commit what is open soon, because the process may not live much longer."""
        if self._journal:
            self._journal.cut()

    async def stop(self) -> None:
        """Commit what the journal holds, say good-bye at every sink, then commit how far each of them came.

        A medium that hangs keeps no sink from its good-bye, and the other way round.
        """
        loop = asyncio.get_running_loop()
        if self._journal:
            await loop.run_in_executor(None, self._journal.flush, FLUSH_S)
        closing = []
        if self._ledger:
            self._ledger.copy_counters(self._kept.trust())
            closing.append(loop.run_in_executor(None, self._ledger.close))
        await self._running.stop(list(self._sinks), *closing)
        if self._journal:
            await asyncio.wait([loop.run_in_executor(None, self._journal.close)], timeout=CLOSE_S)

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

    def quarantine(self, meter: Meter, item: ItemP, reason: str) -> None:
        """Give a reading that cannot be to the journal, which keeps it apart; no sink gets it."""
        if self._journal:
            self._journal.quarantine(item, reason)
        else:
            meter.counters.add("journal_lost")

    def note(self, meter: Meter | None, event: str, **facts: "Fact") -> None:
        """Put an event of METROLOGY into the metrology log, of a meter or of the gateway as a whole."""
        if self._ledger:
            self._ledger.note(event, meter.name if meter else None, facts=facts)

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
                "quarantined": self._journal.quarantined(meter.name),
                "journal_lost": self._journal.lost(meter.name),
                "journal_evicted": self._journal.evicted(meter.name),
            }
        return meter.as_dict()

    def status(self) -> dict[str, Any]:
        """Show each outlet as `meterd status --json` does; None where it is not configured."""
        journal = (
            self._journal.status()
            if self._journal
            else {"path": self._settings.journal.path, "state": "off", "trouble": self._journal_log.trouble}
        )
        shown = {name: sink.status() for name, sink in self._sinks.items()}
        mqtt, intervals = shown.pop("mqtt", None), shown.pop(INTERVALS, None)
        outputs = [{"name": name, **status} for name, status in shown.items()]
        ledger = (
            self._ledger.status()
            if self._ledger
            else {"path": str(self._settings.ledger_path), "state": "off", "trouble": self._ledger_log.trouble}
        )
        conservation = self._journal.conservation() if self._journal else None
        stores = {"journal": journal, "ledger": ledger, "intervals": intervals}
        return {"mqtt": mqtt, "outputs": outputs, **stores, "conservation": conservation}

    def describe(self) -> str:
        """Name the outlets, for the log."""
        return ",".join([*self._sinks, *(["journal"] if self._journal else [])]) or "none"

    def look(self) -> None:
        """Log what happened to the stores since the last look, and let the ledger copy the receive counters."""
        if self._ledger and time.monotonic() >= self._copy_due:
            self._copy_due = time.monotonic() + COPY_S
            self._ledger.copy_counters(self._kept.trust())
        for store, told in ((self._ledger, self._ledger_log), (self._journal, self._journal_log)):
            if store is not None:
                status = store.status()
                told.look(status["trouble"], status["notices"])

    def _restore_trust(self, meter: Meter) -> None:
        """Let a meter go on from the receive counters of the journal, else from the ledger's copy of them.

        A change of `min_auth` since they were saved is told.
        """
        saved = self._journal.trust(meter.name) if self._journal else None
        copied = self._ledger.counters(meter.name) if self._ledger else None
        change = resumption.restore_trust(meter, saved)
        if change is None and copied is not None:
            change = resumption.restore_trust(meter, copied)
            if change is not None:
                log.event("counters_restored", meter=meter.name)
                self.note(meter, "counters_restored")
        if change:
            self._tell(meter, change)

    def _tell(self, meter: Meter, change: "Change") -> None:
        log.event("min_auth_changed", meter=meter.name, before=change.before, after=change.after)
        self.note(meter, "min_auth_changed", before=change.before, after=change.after)

    def _open(self) -> None:
        """Open the stores; each that cannot be opened is told, and the rest goes on without it."""
        from gateway.stores.journal import JournalError
        from gateway.stores.ledger import LedgerError

        try:
            self._journal = open_journal(self._settings, self._kept, self._beats.part("journal"))
        except JournalError as error:
            self._journal_log.look(str(error), [])
        try:
            self._ledger = open_ledger(self._settings, self._beats.part("ledger"))
        except LedgerError as error:
            self._ledger_log.look(str(error), [])

    def _outbox(self, sink: str) -> "Outbox | None":
        return self._journal.outbox(sink) if self._journal else None

    @property
    def _sinks(self) -> dict[str, Sink]:
        return self._running.sinks

    def _create(self, settings: Settings) -> dict[str, Sink]:
        known = self._journal.known() if self._journal else {}
        lasting = self._journal is not None
        sinks = registry.create(settings, self._salt, self._outbox, lasting=lasting, former=known)
        return sinks | self._intervals(settings)

    def _parts(self, settings: Settings) -> dict[str, Hashable]:
        """What each sink, and what keeps the intervals, is made of."""
        if self._journal is None:
            return made_of(settings)
        meters = tuple((one.name, one.profile, one.timezone, one.max_power_w) for one in settings.meter)
        return made_of(settings) | {INTERVALS: (settings.point, meters, settings.ledger_path)}

    def _intervals(self, settings: Settings) -> dict[str, Sink]:
        """What folds the journal's readings; it runs as a sink does. Without a journal there is nothing to fold."""
        if self._journal is None:
            return {}
        from gateway.interval_keeper import IntervalKeeper
        from gateway.sinks.local_time import zone_of

        outbox = self._journal.outbox(INTERVALS)
        return {INTERVALS: IntervalKeeper(settings, outbox, salt=self._salt, tell=self._tell_of, zone_of=zone_of)}

    def _tell_of(self, told: "Told", done: Done) -> None:
        """Hand a new version of an interval to the sink that publishes them; where there is none it is done."""
        row = told.series
        sink = next((sink for sink in self._sinks.values() if isinstance(sink, IntervalSink)), None)
        if sink is None:
            done()
        elif told.peak is not None:
            sink.deliver_peak(row.meter, row.direction, told.peak, done)
        elif told.demands is not None:
            sink.deliver_demands(row.meter, row.direction, told.demands, done)
        else:
            sink.deliver_interval(row.meter, row.direction, told.resolution, told.interval, done)
