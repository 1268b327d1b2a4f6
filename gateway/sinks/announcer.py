"""When Home Assistant is told of which device: what every meter was seen to send, births, and what is taken back.

An entity exists once its quantity was seen, and never goes while the process lives. Announcements are spread: a device
is announced SETTLE_S after something new was seen, at most once in GAP_S, and a flood of births costs no more than one
round in BIRTH_GAP_S. What is to be sent waits as devices, not as messages, so that it is bounded by the configuration.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gateway.item_p import ItemP, LiveSub
from gateway.settings import MqttSettings
from gateway.sinks import homeassistant as ha
from gateway.sinks.registers import NAMES
from gateway.sinks.topics import Message, MeterTopics, status_topic

#: from the first sight of something new to its announcement, and between two of one device (s): Home Assistant may
#: drop what follows an announcement that it is still busy with
SETTLE_S, GAP_S = 3.0, 6.0
#: so long Home Assistant may take to listen to an entity that it was told of (s)
REPEAT_AFTER_S = 2.0
#: without a reading a meter is announced after this time (s), so that a person sees why there is none
PATIENCE_S = 10.0
#: between two rounds that births cause, and the jitter before one (s)
BIRTH_GAP_S, BIRTH_JITTER_S = 15.0, 3.0
#: births in one such gap that are a flood
FLOOD = 50
#: what is published at least every 60 s is old after this time and the validity of a reading (s)
STEADY_S = 180
#: what comes now and then is old after three of its intervals (s): those of an hour, 4 h, 8 h, a day and three, which
#: come a little late now and then
RARE_S = (12_000, 45_000, 90_000, 270_000, 800_000)
#: sub-meters of one meter that are announced: sub_meters.MAX_DEVICES
MAX_SUBS = 16
#: devices whose other forms are taken back: more are met only where sub-meters are invented
MAX_MET = 4_096
_QUANTITIES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")
_POWER = _QUANTITIES[:3]


@dataclass(slots=True)
class _Rhythm:
    """How often something comes: with every reading, until one came without it; then by its longest pause."""

    absent_since: float | None = None
    #: index into RARE_S; None: with every reading
    rare: int | None = None

    def absent(self, now: float) -> bool:
        """Note a reading without it; True when what is known of it changed."""
        if self.absent_since is None:
            self.absent_since = now
        return self._raise(0)

    def present(self, now: float) -> bool:
        """Note that it came; True when what is known of it changed."""
        since, self.absent_since = self.absent_since, None
        if since is None:
            return False
        return self._raise(next((i for i, s in enumerate(RARE_S) if s >= 3 * (now - since)), len(RARE_S) - 1))

    def expire_s(self, steady_s: int) -> int:
        """Seconds after which its last value is old."""
        return steady_s if self.rare is None else RARE_S[self.rare]

    def _raise(self, rare: int) -> bool:
        if self.rare is not None and rare <= self.rare:
            return False
        self.rare = rare
        return True


@dataclass(slots=True)
class _Known:
    """What one meter was seen to send, and when it is announced next."""

    topics: MeterTopics
    profile: str | None = None
    valid_for_s: int = 0
    interval_s: int = 0
    has_clock: bool = False
    quantities: dict[str, _Rhythm] = field(default_factory=dict)
    #: name of a register -> when it was published last, and after how many seconds it is old
    registers: dict[str, tuple[float, int]] = field(default_factory=dict)
    subs: dict[tuple[str | None, str, int | None], tuple[ha.Sub, _Rhythm]] = field(default_factory=dict)
    #: ids of devices that another one took the place of
    retired: list[str] = field(default_factory=list)
    #: what the last reading had; as long as the next one has the same, there is nothing to note
    shape: tuple[object, ...] = ()
    live: tuple[LiveSub, ...] = ()
    due: float = math.inf
    announced: float = -math.inf
    #: what is published on change is to be said again, because whoever was told begins to listen only now
    repeats: bool = False

    def wants(self, at: float) -> None:
        """Announce at this time or before, but not too soon after the last time."""
        self.due = min(self.due, max(at, self.announced + GAP_S))


class Announcer:
    """Decides what is published on discovery topics, and when; it publishes nothing itself. Times are monotonic (s)."""

    def __init__(  # noqa: PLR0913
        self,
        settings: MqttSettings,
        meters: Mapping[str, MeterTopics],
        *,
        salt: bytes,
        former: Mapping[str, Iterable[ha.Sub]] = MappingProxyType({}),
        model_of: Callable[[str], ha.Model] = lambda _profile: ha.Model(),
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`former` are meters that are not configured any more: they, and their sub-meters, are taken back.

        `model_of` tells what the profile of a name says of its meters.
        """
        self._known = {name: _Known(topics) for name, topics in meters.items()}
        self._status, self._registers = status_topic(settings.base), settings.registers
        self._salt, self._prefix = salt, settings.discovery_prefix
        self._forms = tuple(form for form in ha.FORMS if settings.discovery in (form, "both"))
        self._others = tuple(form for form in ha.FORMS if form not in self._forms)
        self._model_of = model_of
        self._jitter = jitter
        #: (id of a device, whether it is a sub-meter) -> its other forms are still to be taken back, once a process
        self._stale: deque[tuple[str, bool]] = deque()
        #: the same for all that were met, until the broker has them all
        self._met = {ha.main_id(salt, name): False for name in meters}
        #: what is taken back in every form
        self._former = [(ha.main_id(salt, name), False) for name in former]
        self._former += [(ha.sub_id(salt, name, sub), True) for name, subs in former.items() for sub in subs]
        self._gone: deque[tuple[str, bool]] = deque()
        self._is_clean = not (self._others or self._former)
        self._queue: Iterator[Message] = iter(())
        #: the last round that births caused, the next one, and births since the last one
        self._round, self._next_round, self._flood = -math.inf, math.inf, 0

    # -- what happens ------------------------------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """Announce everything to a new connection: the broker may be another one."""
        self._queue = iter(())
        self._stale = deque(() if self._is_clean else self._met.items())
        self._gone = deque(() if self._is_clean else self._former)
        for known in self._known.values():
            known.announced, known.due = -math.inf, math.inf
            known.wants(now + (SETTLE_S if known.shape else PATIENCE_S))

    def birth(self, now: float) -> bool:
        """Home Assistant began anew; False when there are so many of these that nobody should listen any more."""
        if self._next_round == math.inf:
            self._next_round = max(now, self._round + BIRTH_GAP_S) + self._jitter(0, BIRTH_JITTER_S)
        self._flood += 1
        return self._flood < FLOOD

    def take(self, item: ItemP, now: float) -> bool:
        """Note what a reading has; True when it will be announced for the first time or anew."""
        known, reading = self._known[item.meter], item.reading
        shape = (
            reading.p_import_w is None,
            reading.p_export_w is None,
            reading.p_net_w is None,
            reading.a_import_wh is None,
            reading.a_export_wh is None,
            reading.t is None,
            reading.profile,
            item.valid_for_s,
        )
        if shape == known.shape and item.subs is known.live:
            return False
        known.interval_s = reading.interval_s
        is_first, known.shape = not known.shape, shape
        is_new = self._note(known, item, now)
        if item.subs is not known.live:
            known.live = item.subs
            is_new = self._note_subs(item.meter, known, item.subs, now) or is_new
        if is_first or is_new:
            known.wants(now + SETTLE_S)
        return is_first or is_new

    def published(self, meter: str, registers: Iterable[str], now: float) -> None:
        """Note registers that were published on their own topics."""
        known = self._known[meter]
        for name in registers:
            before = known.registers.get(name)
            least = RARE_S[0] if NAMES[name].unit in ("Wh", "varh") else STEADY_S + known.valid_for_s
            if before is None:
                known.registers[name] = (now, least)
                known.wants(now + SETTLE_S)
                continue
            pause = 3 * (now - before[0])
            limit = before[1] if pause <= before[1] else next((s for s in RARE_S if s >= pause), RARE_S[-1])
            known.registers[name] = (now, limit)
            if limit != before[1]:
                known.wants(now + SETTLE_S)

    def silent(self, meter: str) -> None:
        """Let the pause of a meter that went silent not count as one of its quantities."""
        known = self._known[meter]
        known.registers = {name: (math.inf, limit) for name, (_, limit) in known.registers.items()}
        for rhythm in (*known.quantities.values(), *(rhythm for _, rhythm in known.subs.values())):
            if rhythm.absent_since is not None:
                rhythm.absent_since = math.inf

    def wants_repetition(self, meter: str, now: float) -> bool:
        """Tell, once after each announcement, that what is published on change only must be published again."""
        known = self._known[meter]
        if not known.repeats or now - known.announced < REPEAT_AFTER_S:
            return False
        known.repeats = False
        return True

    # -- what is to be sent ------------------------------------------------------------------------------------------

    def next(self, now: float, limit: int, *, idle: bool) -> list[Message]:
        """Give what is due, at most `limit` messages; the others come with later calls.

        `idle` says that the broker has acknowledged everything: then what was taken back need not be again.
        """
        found = list(itertools.islice(self._queue, limit))
        while len(found) < limit and (device := self._due(now)) is not None:
            self._queue = device
            found += itertools.islice(self._queue, limit - len(found))
        self._is_clean = self._is_clean or (idle and not found)
        return found

    def _due(self, now: float) -> Iterator[Message] | None:
        if now >= self._next_round:
            self._round, self._next_round, self._flood = now, math.inf, 0
            for known in self._known.values():
                known.wants(now)
        if self._gone:
            at, is_sub = self._gone.popleft()
            return self._withdraw(at, ha.FORMS, is_sub=is_sub)
        if self._stale:
            at, is_sub = self._stale.popleft()
            return self._withdraw(at, self._others, is_sub=is_sub)
        for name, known in self._known.items():
            if known.due <= now:
                known.due, known.announced, known.repeats = math.inf, now, True
                return self._announce(name, known)
        return None

    def _announce(self, name: str, known: _Known) -> Iterator[Message]:
        main = self._main(name, known)
        steady_s = STEADY_S + known.valid_for_s
        subs = [replace(sub, expire_s=rhythm.expire_s(steady_s)) for sub, rhythm in known.subs.values()]
        devices = [ha.main_device(main, self._salt), *(ha.sub_device(sub, main, self._salt) for sub in subs)]
        retired, known.retired = known.retired, []
        gone = (self._withdraw(at, self._forms, is_sub=True) for at in retired)
        told = (ha.announce(device, form, self._prefix) for device in devices if device for form in self._forms)
        return itertools.chain.from_iterable(itertools.chain(gone, told))

    def _withdraw(self, at: str, forms: Iterable[ha.Form], *, is_sub: bool) -> Iterator[Message]:
        for form in forms:
            yield from ha.withdraw(at, form, self._prefix, is_sub=is_sub)

    def _main(self, name: str, known: _Known) -> ha.Main:
        steady = {"p": known.valid_for_s, "a": max(STEADY_S, known.valid_for_s, 3 * known.interval_s)}
        expiry = {name: rhythm.expire_s(steady[name[0]]) for name, rhythm in known.quantities.items()}
        return ha.Main(
            name=name,
            topics=known.topics,
            status=self._status,
            quantities=expiry,
            registers={register: limit for register, (_, limit) in known.registers.items()},
            chosen=self._registers,
            has_clock=known.has_clock,
            model=self._model_of(known.profile) if known.profile else ha.Model(),
        )

    # -- what is known -----------------------------------------------------------------------------------------------

    def _note(self, known: _Known, item: ItemP, now: float) -> bool:
        reading = item.reading
        before = (known.profile, known.valid_for_s, known.has_clock)
        known.profile, known.valid_for_s = reading.profile, item.valid_for_s or 0
        known.has_clock = known.has_clock or reading.t is not None
        is_new = before != (known.profile, known.valid_for_s, known.has_clock)
        for quantity in _QUANTITIES:
            rhythm, has_it = known.quantities.get(quantity), getattr(reading, quantity) is not None
            if rhythm is None and has_it:
                known.quantities[quantity] = _Rhythm()
                is_new = True
            elif rhythm is not None and quantity not in _POWER:
                is_new = (rhythm.present(now) if has_it else rhythm.absent(now)) or is_new
        return is_new

    def _note_subs(self, meter: str, known: _Known, live: tuple[LiveSub, ...], now: float) -> bool:
        """Note who is there. A device whose channel another one has now was exchanged, and is forgotten."""
        is_new, here = False, set()
        for one in live:
            reading = one.reading
            key = (one.device, reading.medium, reading.channel if one.device is None else None)
            here.add(key)
            before = known.subs.get(key)
            if before is None and len(known.subs) >= MAX_SUBS:
                continue
            has_time = reading.t is not None or (before is not None and before[0].has_time)
            sub = ha.Sub(one.device, reading.medium, reading.channel, reading.unit, has_time, 0)
            rhythm = before[1] if before else _Rhythm()
            is_new = rhythm.present(now) or before is None or before[0] != sub or is_new
            known.subs[key] = (sub, rhythm)
            self._clean(ha.sub_id(self._salt, meter, sub))
        taken = {known.subs[key][0].channel for key in here if key in known.subs}
        for key in known.subs.keys() - here:
            sub, rhythm = known.subs[key]
            if sub.channel in taken:
                del known.subs[key]
                known.retired.append(ha.sub_id(self._salt, meter, sub))
                is_new = True
            else:
                is_new = rhythm.absent(now) or is_new
        return is_new

    def _clean(self, at: str) -> None:
        """Take the other forms of a sub-meter back, once, when it is met."""
        if self._others and at not in self._met and len(self._met) < MAX_MET:
            self._met[at] = True
            self._stale.append((at, True))
