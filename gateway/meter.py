"""One meter from its port to item P: source, decoder, stamp, hand over; with its counters and its line state.

A meter knows neither sinks nor the journal: its host takes each item P. It reads in small bites and takes at most
half of the loop's time, so that a flood on one line cannot starve the others; what it leaves unread waits in the
kernel, and the sender with it.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from decoders.errors import CODES
from decoders.model import Fault, Reading, Result
from gateway import log
from gateway.carried import Carried
from gateway.host_clock import Drift, HostClock
from gateway.item_p import ItemP, utc
from gateway.line_state import IMPLAUSIBLE, Facts, LineState, judge
from gateway.line_watch import LineWatch
from gateway.loop_share import LoopShare
from gateway.neighbours import Neighbours
from gateway.plausibility import Plausibility, Verdict
from gateway.settings import MeterSettings
from gateway.sources import Chunk, PortEvent, Source
from gateway.stamping import Held, Stamping
from gateway.standstill import Standstill
from gateway.sub_meters import SubMeters
from gateway.telemetry import Event, MeterCounters
from gateway.trust import Change, Trust

if TYPE_CHECKING:
    from decoders.decoder import Decoder

#: octets that are decoded without a look at the clock
BITE = 8_192
AUTH_RANK = {"plain": 0, "unverified": 1, "verified": 2}
#: no meter pauses for so long within a message (s): what is open then stays incomplete
PAUSE_S = 2.0
#: between two looks at a silence that are so close together the process did not stand still (s)
LOOKS_S = 0.5
UNITS = {"p": "W", "a": "Wh"}
_NOTHING = (0, 0, 0, 0)
T = TypeVar("T")


class Host(Protocol):
    """What a meter asks of the daemon that it runs in."""

    def make_decoder(self, settings: MeterSettings) -> "Decoder":
        """Make the decoder of a meter, when its first octets are there."""
        ...

    def min_auth(self, profile: str) -> str:
        """Give the least authenticity that a profile asks for."""
        ...

    def next_seq(self, meter: str) -> int:
        """Give a number that this meter never had before, higher than every earlier one."""
        ...

    def hand_over(self, meter: "Meter", item: ItemP) -> None:
        """Take a reading, at once and without waiting."""
        ...

    def keep(self, meter: "Meter", item: ItemP) -> None:
        """Take a reading of unknown age for the history only."""
        ...

    def quarantine(self, meter: "Meter", item: ItemP, reason: str) -> None:
        """Keep a reading apart that cannot be; nobody gets it."""
        ...

    def note(self, meter: "Meter", event: str, **facts: Any) -> None:
        """Write an event of telemetry.METROLOGY into the metrology log and the log."""
        ...


class Meter:
    """One meter of the configuration. Everything happens in the tasks of one event loop."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        settings: MeterSettings,
        source: Source,
        watch: LineWatch,
        host: Host,
        trust: Trust | None = None,
        *,
        clock: HostClock | None = None,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.counters = MeterCounters()
        self.watch = watch
        self.trust = trust or Trust(settings)
        self.state = LineState("disabled" if not settings.enabled else "stale", (), "starting")
        self.since = datetime.now(UTC)
        self.last: ItemP | None = None
        self.last_error: dict[str, str] | None = None
        self._source = source
        self._host = host
        self._decoder: Decoder | None = None
        self._seen = _NOTHING
        #: the latest octets; since when more are waited for, until their silence was noticed
        self._latest: Chunk | None = None
        self._waiting: float | None = None
        self._looked = 0.0
        self._standstill = Standstill(settings.name)
        self._energy = Carried()
        self._clock = clock or HostClock()
        self._drift = Drift()
        self._stamping = Stamping(settings, self._clock)
        self._neighbours = Neighbours()
        #: both replaced by one with what the journal kept, before the first octet is read
        self.sub_meters = SubMeters(secrets.token_bytes(16))
        self.plausibility = Plausibility(settings.max_power_w, secrets.token_bytes(16))
        self._share = LoopShare()

    async def run(self, ready: asyncio.Event) -> None:
        """Read until the source ends or this task is cancelled; octets wait for `ready` once the port is open."""
        self._decoder, self._seen, self._waiting = None, _NOTHING, None
        self._energy.forget()
        chunks = cast(AsyncGenerator[Chunk | PortEvent, None], self._source.chunks())
        async with aclosing(chunks):
            async for item in chunks:
                if isinstance(item, PortEvent):
                    self._take_event(item)
                    continue
                await ready.wait()
                self._standstill.octets(item.monotonic, self._waiting)
                self._waiting = None
                for start in range(0, len(item.data), BITE):
                    began = time.monotonic()
                    self._take(item.data[start : start + BITE], item)
                    await self._share.spend(began)
                self._waiting = time.monotonic()

    def judge(self, now: float) -> bool:
        """Judge the line at `now` (monotonic, s); True when its state or flags are not what they were."""
        # after a stall the line is as silent as we were deaf, and closing the port would lose what waited in it
        if not self._standstill.deaf(now) and self.watch.wants_reopen(now):
            self._source.reopen()
        before, self.state = self.state, judge(self._facts(now))
        changed = (before.state, before.flags) != (self.state.state, self.state.flags)
        if changed:
            self.since = datetime.now(UTC)
        return changed

    def distrust(self, evidence: str) -> None:
        """Hold the line for silent, because nobody can judge it; the next judgement may say otherwise."""
        self.state, self.since = LineState("stale", (), evidence), datetime.now(UTC)

    @property
    def silence(self) -> float | None:
        """The moment (monotonic, s) for `expire`, unless octets arrive before."""
        return None if self._waiting is None else self._waiting + PAUSE_S

    def expire(self, now: float) -> None:
        """Take what is open for incomplete once the line is silent; the octets keep the time at which they arrived.

        Only time in which the meter waited for octets is silence. When the process stood still, the kernel may hold
        octets that nobody read: the second of two looks believes the silence, because the loop reads between them. A
        link that `auto` does not know yet has nothing open.
        """
        self._standstill.look(now)
        self._release()
        if self.silence is None or now < self.silence:
            return
        looked, self._looked = self._looked, now
        if now - looked > LOOKS_S:
            return
        chunk, decoder, self._waiting = self._latest, self._decoder, None
        if chunk is None or decoder is None or not (decoder.frames or self.settings.profile != "auto"):
            return
        results = decoder.expire()
        self._count(decoder, b"", chunk)
        self._take_results(results, chunk)

    def take_over(self, before: "Meter") -> Change | None:
        """Go on from what this meter had under an earlier configuration; a change of the least class that was made."""
        self.counters, self.sub_meters = before.counters, before.sub_meters
        self.plausibility = before.plausibility
        self._stamping.take_over(before._stamping)  # noqa: SLF001 - the same meter
        if self.plausibility.limit(self.settings.max_power_w):
            self._host.note(self, "limit_changed", max_power_w=self.settings.max_power_w)
        return self.trust.succeed(before.trust)

    def use(self, change: Callable[[], T]) -> T:
        """Make a change to `trust`, in force for the next telegram: what was said of the keys before is forgotten."""
        result = change()
        if result is True:  # another meter was confirmed by its key
            self.plausibility.expect()
        self._decoder, self._seen = None, _NOTHING
        self.watch.forget_faults()
        return result

    @property
    def available(self) -> bool:
        """Whether the meter delivers readings that hold."""
        return self.state.state == "ok"

    @property
    def profile(self) -> str | None:
        """The profile that read the last telegram."""
        return self.last.reading.profile if self.last else None

    def age_s(self, now: float) -> float | None:
        """Seconds since the last reading."""
        return None if self.watch.last_reading is None else round(now - self.watch.last_reading, 1)

    def as_dict(self) -> dict[str, Any]:
        """Show the meter as in `<meter>/state` and `meterd status --json`: its line, and no power."""
        return {
            "meter": self.name,
            **self.state.as_dict(),
            "since": utc(self.since, "seconds"),
            "profile": self.profile,
            "interface": self.last.reading.interface if self.last else None,
            "units": UNITS,
            "last_error": self.last_error,
            **self._last_seen(),
            "missed": sum(self.counters.faults.values()),
            "waiting": self._stamping.waiting,
            "exchange": self.plausibility.shown(),
            "sub_meters": self.sub_meters.as_list(),
            "counters": self.counters.as_dict(),
        }

    def _last_seen(self) -> dict[str, Any]:
        """When the last reading came, what the meter's clock said then, and what the reading proved; None before it."""
        last = self.last
        return {
            "last_seen": utc(last.t_rx, "seconds") if last else None,
            "meter_time": utc(last.reading.t, "seconds") if last else None,
            "clock_offset_s": last.clock_offset_s if last else None,
            "auth": last.reading.auth if last else None,
        }

    def flags(self) -> tuple[str, ...]:
        """What is wrong with the readings that arrive: names of line_state.FLAGS."""
        if self.last is None:
            return ()
        flags = set(self.last.reading.flags)
        if self.last.t_source == "gateway" and self.last.reading.t is not None:
            flags.add("clock_invalid")
        if self.last.reading.auth == "unverified":
            flags.add("unverified")
        if self.plausibility.doubts(time.monotonic()):
            flags.add("quarantined")
        if self.plausibility.exchange is not None and not self.plausibility.exchange.confirmed:
            flags.add("exchanged")
        return tuple(sorted(flags))

    def _facts(self, now: float) -> Facts:
        facts = replace(self.watch.facts(now, self.flags()), waiting=self._stamping.waiting)
        refused = [facts.evidence[name] for name in facts.evidence if name.startswith("unwrap.")]
        if not refused:
            return facts
        return replace(facts, keys=self.trust.sentence(), history=self.trust.history(refused[-1]))

    def _take_event(self, event: PortEvent) -> None:
        if event.state != self.watch.port:
            self.counters.add("opens" if event.state == "open" else "port_errors")
        self.watch.take_event(event)
        self._waiting = None
        self._energy.interrupt()
        decoder, self._decoder, self._seen = self._decoder, None, _NOTHING
        if decoder is not None and decoder.pending:
            self._take_results(decoder.close(), Chunk.now(b""))

    def _take(self, data: bytes, chunk: Chunk) -> None:
        if self._decoder is None:
            self._decoder = self._host.make_decoder(self.settings)
        self._latest = chunk
        results = self._decoder.feed(data)
        self._count(self._decoder, data, chunk)
        self._take_results(results, chunk)

    def _take_results(self, results: Iterable[Result], chunk: Chunk) -> None:
        for result in results:
            self.counters.add("received")
            if isinstance(result, Fault):
                self._take_fault(result, chunk)
            else:
                self._take_reading(result, chunk)

    def _count(self, decoder: "Decoder", data: bytes, chunk: Chunk) -> None:
        now = (decoder.noise, decoder.frames, decoder.checksum_ok, decoder.checksum_absent)
        noise, frames, ok, absent = (new - old for new, old in zip(now, self._seen, strict=True))
        self._seen = now
        values = self.counters.values
        values["bytes"] += len(data)
        values["noise"] += noise
        values["frames"] += frames
        values["checksum_ok"] += ok
        values["checksum_absent"] += absent
        self.watch.take_octets(data, chunk.monotonic, frames)
        if ok or absent:
            self.watch.take_whole_frame(chunk.monotonic)

    def _take_fault(self, fault: Fault, chunk: Chunk) -> None:
        self.counters.add("rejected")
        name = f"{fault.stage}.{fault.code}"
        self.watch.take_fault(name, fault.evidence)
        text = CODES.get((fault.stage, fault.code), name)
        self.last_error = {"code": name, "text": text, "t": str(utc(chunk.received_at, "seconds"))}
        if not self.counters.faults[name]:
            log.event("fault", meter=self.name, code=name, reason=text, evidence=fault.evidence or None)
        self.counters.faults[name] += 1

    def _take_reading(self, said: Reading, chunk: Chunk) -> None:
        fault = self._refused(said, chunk)
        if fault is not None:
            self._take_fault(fault, chunk)
            return
        self.counters.add("decoded")
        t_rx = self._clock.time_of(chunk.received_at, chunk.monotonic)
        item = self._stamping.stamp(said, t_rx, self._host.next_seq(self.name))
        verdict = self.plausibility.judge(item, chunk.monotonic)
        if verdict is not None:
            self._tell(verdict.events)
            if verdict.reason is not None:
                self._set_aside(item, verdict, chunk.monotonic)
                return
        if item.t is None:
            self._hold(Held(item, chunk.monotonic))
            return
        if self._standstill.late is None:
            self.watch.take_reading(chunk.monotonic, self.settings.interval_s or said.interval_s)
        self._hand_over(item, chunk.monotonic)

    def _hand_over(self, item: ItemP, at: float) -> None:
        """Complete a reading that is believed with what goes with it, and give it to the host."""
        energy = self._energy.take(item, at)
        subs = self.sub_meters.take(item)
        if energy is not None or subs:
            item = replace(item, carried=energy, subs=subs)
        for event in self.sub_meters.events():
            log.event(event.name, meter=self.name, **event.facts)
        if (drift := self._drift.take(item.clock_offset_s)) is not None:
            self._host.note(self, "meter_clock", before_s=drift[0], offset_s=drift[1])
        self.last = item
        if self._standstill.late is None:
            self._host.hand_over(self, item)
        else:
            self._host.keep(self, item)

    def _tell(self, events: Iterable[Event]) -> None:
        """Note what happened to registers and meter; energy from before is not carried across it."""
        for event in events:
            self._host.note(self, event.name, **event.facts)
            if event.name in ("meter_exchanged", "register_reset"):
                self._energy.forget()

    def _set_aside(self, item: ItemP, verdict: Verdict, at: float) -> None:
        """Keep a reading apart that cannot be."""
        reason, name = verdict.reason or "", f"{IMPLAUSIBLE}{verdict.kind}"
        if verdict.is_news:
            log.event("quarantined", meter=self.name, reason=reason)
        self.watch.take_fault(name, reason)
        if item.t is None:
            self._hold(Held(item, at, reason))
        else:
            self._host.quarantine(self, item, reason)

    def _hold(self, held: Held) -> None:
        """Keep a reading until there is a time for it; the oldest gives way when too many wait."""
        oldest = self._stamping.hold(held)
        if oldest is not None:
            self._give_up(oldest)

    def _give_up(self, held: Held) -> None:
        reason = held.reason or "its time is not known: the clock of this host was not set"
        self._host.quarantine(self, held.item, reason)

    def _release(self) -> None:
        """Hand in readings that waited and have a time now, for the history: they are no news any more."""
        for item, reason in self._stamping.release():
            if reason is None:
                self.sub_meters.take(item)
                self._host.keep(self, item)
            else:
                self._host.quarantine(self, item, reason)

    def settle(self) -> None:
        """Hand in what still waits for a time, at the end."""
        self._release()
        for held in self._stamping.give_up():
            self._give_up(held)

    def counters_to_keep(self) -> dict[str, int]:
        """What a restart goes on from: readings that wait for a time are in memory only, so not received until then."""
        waiting = self._stamping.waiting
        values = self.counters.as_dict()
        return values | {"received": values["received"] - waiting, "waiting": waiting}

    def confirm(self) -> bool:
        """A person says that this is the meter of its connection, and that it is right; False if nothing waited."""
        event = self.plausibility.confirm()
        if event is None:
            return False
        self._tell((event,))
        return True

    def _refused(self, reading: Reading, chunk: Chunk) -> Fault | None:
        """Why a reading is not believed: it proves less than it must, is one of several meters, or counts back."""
        least = self.settings.min_auth or self._host.min_auth(reading.profile)
        if AUTH_RANK[reading.auth] < AUTH_RANK[least]:
            evidence = f"the telegram is {reading.auth}, at least {least} is asked for"
            return Fault("unwrap", "downgrade", reading.size, evidence)
        if self._neighbours.is_among_several(reading):
            return Fault("profile", "several_meters", reading.size)
        fault, event = self.trust.admit(
            reading, self._clock.time_of(chunk.received_at, chunk.monotonic) or self._clock.floor
        )
        if event is not None:
            log.event(event, meter=self.name, counter=reading.seen.counter)
        return fault
