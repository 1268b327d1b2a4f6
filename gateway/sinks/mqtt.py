"""The MQTT sink: says what is published when; newest wins, nothing old is ever published as new (docs/mqtt.md)."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from gateway.intervals.billed import Compared
from gateway.intervals.demand import DemandDay
from gateway.intervals.model import Direction, Interval, Resolution
from gateway.item_p import ItemP
from gateway.settings import MqttSettings
from gateway.sinks import Done, SinkError, nobody_asks, topics
from gateway.sinks.announcer import Announcer
from gateway.sinks.homeassistant import Model, Sub
from gateway.sinks.interval_queue import IntervalQueue
from gateway.sinks.mqtt_connector import Connector, backoff_s
from gateway.sinks.mqtt_errors import OversizedError, place
from gateway.sinks.mqtt_link import Link
from gateway.sinks.pace import REPEAT_S, Pace, Repeats
from gateway.sinks.registers import NAMES, RegisterChanges

if TYPE_CHECKING:
    from gateway.sinks.backfill import Backfill
    from gateway.stores.outbox import Outbox

_TICK_S = 0.5
#: evidence changes with every telegram: without a change of state or flags it is published this often at most
_STATE_INTERVAL_S = 10.0
_FAREWELL_S = 1.5
#: how long the end looks for readings in the journal that are proven by it (s)
_LAST_S = 0.4
_MIN_SALT = 16
#: messages of discovery that are under way at once
_DISCOVERY_BATCH = 20
#: after a flood on the birth topic nobody listens to it for so long (s)
_MUTE_S = 600.0
#: meters that were configured once, and that the broker is told to forget
_MAX_FORMER = 100

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Meter:
    """What one meter has to say, and what the broker has been told of it in this connection."""

    topics: topics.MeterTopics
    pace: Pace
    changes: RegisterChanges
    #: readings of sub-meters
    repeats: Repeats = field(default_factory=Repeats)
    #: registers that did not change were published then
    repeated: float = -math.inf
    newest: ItemP | None = None
    received: float = 0.0
    #: `newest` has not been published yet
    waiting: bool = False
    available: bool = False
    state: bytes | None = None
    #: state and flags: what is published at once when it changes
    marks: tuple[Any, ...] = ()
    told_available: bool | None = None
    told_state: bytes | None = None
    told_marks: tuple[Any, ...] = ()
    told_at: float = -math.inf
    #: message ids of the last live reading with QoS 1
    unacked: list[int] = field(default_factory=list)

    def reconnected(self, now: float) -> None:
        """Forget what the broker was told: it may be another one, or have lost its memory."""
        self.told_available = self.told_state = None
        self.told_at = -math.inf
        self.unacked = []
        self.changes.forget()
        self.repeats.forget()
        self.waiting = self.waiting or self.left_s(now) > 0

    def left_s(self, now: float) -> int:
        """Whole seconds for which the newest reading is still valid; <= 0 when it is not."""
        if self.newest is None or self.newest.valid_for_s is None:
            return 0
        return self.newest.valid_for_s - math.ceil(now - self.received)


class MqttSink:
    """Sink of live readings: LATEST, so that a slow or absent broker costs no memory or time; of the rest: EVERY.

    A reading proves that its meter delivers: `deliver` makes the meter available, `report` may say otherwise. While
    there is no connection the newest reading of each meter is kept, and published after the reconnection if it is still
    valid. Readings that come faster than `min_interval_s` are dropped, see `pace.Pace`. What is not proven to have
    arrived live comes late, on a topic of its own, out of the journal (`backfill.Backfill`).
    """

    delivery: Literal["LATEST", "EVERY"] = "LATEST"

    def __init__(  # noqa: PLR0913
        self,
        settings: MqttSettings,
        meters: Sequence[str],
        *,
        salt: bytes,
        outbox: "Outbox | None" = None,
        former: Mapping[str, Sequence[Sub]] = MappingProxyType({}),
        discovers: bool = True,
        model_of: Callable[[str], Model] = lambda _profile: Model(),
        backoff: Callable[[int, int], float] = backoff_s,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the names of all meters, and the random salt (>= 16 octets) of this installation; raises ValueError.

        Without `client_id` the salt makes the client id, and it makes the ids of devices for Home Assistant: where it
        does not outlast the process, `discovers` is False. Without `outbox` there is no history. `former` are meters
        with their sub-meters that the broker is to forget. `model_of` tells what a profile says of its meters.
        `backoff(attempt, cap_s)` gives the pause in s before the next attempt to connect.
        """
        if not _MIN_SALT <= len(salt) <= 64:
            raise ValueError("the salt of this installation must have 16 to 64 octets")
        unknown = sorted(set(settings.registers) - NAMES.keys())
        if unknown:
            raise ValueError(f"mqtt.registers: unknown names {', '.join(unknown)}")
        self._settings = settings
        self._monotonic = monotonic
        client_id = settings.client_id or topics.client_id(salt)
        self._connector = Connector(settings, client_id, backoff=backoff, monotonic=monotonic)
        self._status_topic = topics.status_topic(settings.base)
        self._meters = {name: self._meter(name) for name in meters}
        self._announcer = self._make_announcer(salt, former, model_of) if discovers else None
        self._to_forget = [
            message
            for name in itertools.islice(sorted(set(former) - set(meters)), _MAX_FORMER)
            for message in topics.forget(topics.meter_topics(settings.base, name))
        ]
        tells = discovers and settings.discovery != "off"
        self._birth_topic = f"{settings.discovery_prefix}/status" if tells else None
        self._listens = False
        self._muted_until = -math.inf
        self._history = self._make_history(outbox, backoff) if outbox and settings.backfill else None
        self._intervals = IntervalQueue(self._interval_refused, backoff, monotonic)
        self._link: Link | None = None
        self._no_live: str | None = None
        #: topics below `base` that the broker refuses in this connection, as a sentence
        self._forbidden: str | None = None
        self._connections = 0
        self._counters = dict.fromkeys(("published", "dropped", "suppressed", "reconnects"), 0)

    def _meter(self, name: str) -> _Meter:
        settings = self._settings
        return _Meter(
            topics.meter_topics(settings.base, name),
            Pace(settings.min_interval_s, settings.deadband_w),
            RegisterChanges(settings.registers),
        )

    def _make_announcer(
        self, salt: bytes, former: Mapping[str, Sequence[Sub]], model_of: Callable[[str], Model]
    ) -> Announcer:
        meters = {name: meter.topics for name, meter in self._meters.items()}
        gone = dict(itertools.islice(((name, former[name]) for name in sorted(set(former) - set(meters))), _MAX_FORMER))
        return Announcer(self._settings, meters, salt=salt, former=gone, model_of=model_of)

    def _make_history(self, outbox: "Outbox", backoff: Callable[[int, int], float]) -> "Backfill":
        from gateway.sinks.backfill import Backfill

        told, n = self._connector.fail, len(self._meters)
        return Backfill(self._settings, outbox, meters=n, told=told, backoff=backoff, monotonic=self._monotonic)

    # -- Sink --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until cancelled; then say good-bye (<= 3 s)."""
        try:
            await self._connector.run(self._session)
        finally:
            if self._history:
                self._history.close()

    def deliver(self, item: ItemP) -> None:
        """Publish a reading at once, or keep it as the newest of its meter while the broker takes nothing."""
        meter = self._meters.get(item.meter)
        if meter is None or item.valid_for_s is None:
            raise SinkError(f"no live reading of a configured meter: {item.meter}", retryable=False)
        if self._no_live:
            raise SinkError(self._no_live, retryable=False)
        now = self._monotonic()
        meter.newest, meter.received = item, now
        if self._announcer:
            self._announcer.take(item, now)
        if not meter.waiting and not meter.pace.is_due(item, item.valid_for_s, now):
            self._counters["suppressed"] += 1
            self._thinned(item)
            return
        self._counters["dropped"] += meter.waiting
        meter.waiting = meter.available = True
        self._serve(meter, now)

    def report(self, meter: str, state: Mapping[str, Any], *, available: bool) -> None:
        """Publish availability and line state, both retained, when they changed."""
        known = self._meters.get(meter)
        if known is None:
            raise SinkError(f"no configured meter: {meter}", retryable=False)
        known.available = available
        if not available:
            self._counters["dropped"] += known.waiting
            known.newest, known.waiting = None, False
            known.pace.forget()
            known.repeats.forget()
            if self._announcer:
                self._announcer.silent(meter)
        known.state = topics.state_json(state)
        known.marks = (state.get("state"), state.get("flags"))
        self._serve(known, self._monotonic())

    def deliver_interval(
        self, meter: str, direction: Direction, resolution: Resolution, version: Interval, done: Done = nobody_asks
    ) -> None:
        """Publish a version of an interval, after the live readings, and again until the broker has it."""
        self._put(meter, lambda known: topics.interval(known, direction, resolution, version), done)

    def deliver_peak(self, meter: str, direction: Direction, peak: Compared, done: Done = nobody_asks) -> None:
        """Publish the meter's own peak of a month beside ours, as a version of an interval is published."""
        self._put(meter, lambda known: topics.peak(known, direction, peak), done)

    def deliver_demands(self, meter: str, direction: Direction, day: DemandDay, done: Done = nobody_asks) -> None:
        """Publish the meter's own means of the quarter-hours of a day beside ours, as a version of an interval is."""
        self._put(meter, lambda known: topics.demand(known, direction, day), done)

    def _put(self, meter: str, message: Callable[[topics.MeterTopics], topics.Message], done: Done) -> None:
        known = self._meters.get(meter)
        if known is None:
            done()
            return
        self._intervals.put(meter, message(known.topics), done)
        self._serve_all()

    def _interval_refused(self, topic: str, reason: str) -> None:
        settings = self._settings
        self._connector.fail(
            f"broker {place(settings)} does not take {topic}: {reason}; allow this user to write {settings.base}/# in "
            "the broker's access list; intervals wait in the ledger"
        )

    def status(self) -> dict[str, Any]:
        """What `meterd status` shows of the broker: connection, protocol, last error in a sentence, counters."""
        history = self._history_status()
        trouble = self._no_live or self._forbidden or history["trouble"]
        own = {"history": history, "intervals": self._intervals.status()}
        shown = {"trouble": trouble if self._link else None} | self._counters | own
        return self._connector.status(self._link) | shown

    def _history_status(self) -> dict[str, Any]:
        if self._history is not None:
            return self._history.status()
        return {"state": "no_journal" if self._settings.backfill else "off", "trouble": None}

    # -- connection --------------------------------------------------------------------------------------------------

    async def _session(self, link: Link) -> None:
        """One connection from its beginning to its loss (ConnectionFailedError) or to cancellation."""
        try:
            if self._history:
                self._history.begin(link)
            self._greet(link)
            while True:
                await link.wait(_TICK_S)
                self._listen(link)
                self._serve_all()
                if not link.unacked:
                    self._to_forget = []
        except OversizedError:
            self._mute("a message of more than 64 KiB")
            raise
        except asyncio.CancelledError:
            if self._history:
                self._history.pause()
            await self._farewell(link)
            if self._history:
                await self._history.settle_last(_LAST_S)
            raise
        finally:
            self._link = None
            if self._history:
                self._history.end()

    def _greet(self, link: Link) -> None:
        """Tell a new connection everything: availability, state and valid reading of each meter, then status."""
        _log.info("connected to broker %s with MQTT %s", place(self._settings), link.protocol)
        self._counters["reconnects"] += self._connections > 0
        self._connections += 1
        self._refuse_live_qos(link)
        for meter in self._meters.values():
            meter.reconnected(self._monotonic())
        self._forbidden = None
        link.on_free = self._serve_all
        link.on_refused = self._refused
        self._link, self._listens = link, False
        # the broker may hold `online` of a meter that is silent now, and a consumer the reading before the outage:
        # both are corrected before we are `online`
        now = self._monotonic()
        for meter in self._meters.values():
            self._serve(meter, now)
        link.publish([self._status(topics.ONLINE), *self._to_forget])
        if self._announcer:
            self._announcer.connected(self._monotonic())
        self._listen(link)
        self._serve_all()

    def _refuse_live_qos(self, link: Link) -> None:
        self._no_live = None
        if self._settings.live_qos and not link.is_five:
            self._no_live = (
                "mqtt.live_qos = 1 needs MQTT 5, which this broker does not speak: without expiry a persistent session "
                "would be handed old power; set live_qos = 0"
            )
            self._connector.fail(self._no_live)

    async def _farewell(self, link: Link) -> None:
        """Say that nothing more comes, so that no will is needed."""
        offline = [topics.availability(meter.topics, available=False) for meter in self._meters.values()]
        ids = link.publish([*offline, self._status(topics.OFFLINE)])
        await link.disconnect(_FAREWELL_S, behind_all=ids)

    def _status(self, payload: bytes) -> topics.Message:
        return topics.Message(self._status_topic, payload, qos=1, retain=True)

    def _refused(self, topic: str) -> None:
        settings = self._settings
        what = f"broker {place(settings)} does not let this user publish {topic}: allow it to write"
        if topic.startswith(f"{settings.base}/"):
            if self._history:
                self._history.proven.distrust()
            self._forbidden = f"{what} {settings.base}/# in the broker's access list"
            self._connector.fail(self._forbidden)
        elif settings.discovery != "off":
            where = f"{settings.discovery_prefix}/# in the broker's access list"
            self._connector.fail(f'{what} {where}, or set mqtt.discovery = "off"')

    # -- Home Assistant ----------------------------------------------------------------------------------------------

    def _listen(self, link: Link) -> None:
        """Subscribe to Home Assistant's birth message, once, and again when the time of a flood is over."""
        topic = self._birth_topic
        if topic and not self._listens and self._monotonic() >= self._muted_until:
            self._listens = True
            link.subscribe(topic, self._take_birth, self._birth_refused)

    def _take_birth(self, payload: bytes) -> None:
        if self._announcer is None or not self._listens or payload != topics.ONLINE:
            return
        if not self._announcer.birth(self._monotonic()):
            self._mute("a flood of births")

    def _mute(self, reason: str) -> None:
        """Listen no more for a while; what is retained at the broker is enough for Home Assistant."""
        if self._link and self._birth_topic and self._listens:
            self._link.unsubscribe(self._birth_topic)
        self._listens, self._muted_until = False, self._monotonic() + _MUTE_S
        self._connector.fail(
            f"broker {place(self._settings)}: {reason} came on {self._birth_topic}: it is not listened to for "
            f"{_MUTE_S / 60:.0f} minutes; find out who publishes there"
        )

    def _birth_refused(self) -> None:
        self._connector.fail(
            f"broker {place(self._settings)} does not let this user read {self._birth_topic}: "
            "allow it in the broker's access list, so that Home Assistant is told anew when it starts"
        )

    def _announce(self, link: Link) -> None:
        """Publish what is due of discovery, behind all that is live."""
        if self._announcer and link.writable:
            room = max(1, _DISCOVERY_BATCH - len(link.unacked))
            messages = self._announcer.next(self._monotonic(), room, idle=not link.unacked)
            if messages:
                link.publish(messages)

    # -- meters ------------------------------------------------------------------------------------------------------

    def _serve_all(self) -> None:
        now = self._monotonic()
        for meter in self._meters.values():
            self._serve(meter, now)
        if self._link is not None:
            self._announce(self._link)
            self._intervals.send(self._link)
        if self._history:
            self._history.work()

    def _serve(self, meter: _Meter, now: float) -> None:
        """Publish what the broker does not know of a meter yet: availability, state, then the newest reading."""
        link = self._link
        if link is None or not link.writable:
            return
        news = list(self._news(meter, now))
        if news:
            link.publish(news)
        unacked = any(mid in link.unacked for mid in meter.unacked)
        if meter.waiting and link.writable and not unacked and self._no_live is None:
            self._publish(link, meter, now)

    def _news(self, meter: _Meter, now: float) -> Iterator[topics.Message]:
        available = meter.available and self._no_live is None
        if available != meter.told_available:
            meter.told_available = available
            yield topics.availability(meter.topics, available=available)
        if meter.state is None or meter.state == meter.told_state:
            return
        if meter.marks != meter.told_marks or now - meter.told_at >= _STATE_INTERVAL_S:
            meter.told_state, meter.told_marks, meter.told_at = meter.state, meter.marks, now
            yield topics.state(meter.topics, meter.state)

    def _publish(self, link: Link, meter: _Meter, now: float) -> None:
        meter.waiting = False
        item, left_s = meter.newest, meter.left_s(now)
        if item is None or left_s <= 0:
            self._counters["dropped"] += 1
            return
        meter.unacked = link.publish(self._messages(meter, item), left_s)
        if self._history:
            # with QoS 1 the first to be acknowledged is `reading`
            self._history.proven.published(item.meter, item.seq, link.sent, next(iter(meter.unacked), None))
        meter.pace.published(item, now)
        self._counters["published"] += 1

    def _thinned(self, item: ItemP) -> None:
        """Let a reading that a person wants to be left out go the way of the one that was published before it."""
        if self._history and self._link is not None and self._settings.backfill != "all":
            meter = self._meters[item.meter]
            self._history.proven.published(item.meter, item.seq, self._link.sent, next(iter(meter.unacked), None))

    def _messages(self, meter: _Meter, item: ItemP) -> Iterator[topics.Message]:
        settings = self._settings
        yield from topics.reading(
            meter.topics,
            item,
            qos=settings.live_qos,
            retain_energy=settings.retain_energy,
            registers=settings.reading_registers,
        )
        now = self._monotonic()
        if self._announcer and self._announcer.wants_repetition(item.meter, now):
            meter.changes.forget()
            meter.repeats.forget()
        if settings.registers:
            yield from topics.register(meter.topics, self._registers(meter, item, now))
        yield from meter.repeats.take(topics.sub_readings(meter.topics, item), now)

    def _registers(self, meter: _Meter, item: ItemP, now: float) -> list[tuple[str, str]]:
        """Registers that changed, and now and then all of them: who subscribes later waits no longer than that."""
        if item.reading.quality == "suspect":
            return []
        if now - meter.repeated >= REPEAT_S:
            meter.repeated = now
            meter.changes.forget()
        changes = list(meter.changes.take(item.reading.registers))
        if self._announcer:
            self._announcer.published(item.meter, (name for name, _ in changes), now)
        return changes
