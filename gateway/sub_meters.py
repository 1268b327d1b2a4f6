"""Gas, water, heat and slave electricity meters behind one meter: who is on which channel, and which reading holds.

Telegrams repeat a sub-meter's last reading every second for up to an hour, go on printing a meter that was taken
away, and move a device to another channel when it is replaced. So a device is known by its number and medium, never by
its channel; of two readings of it the newest time wins; a time that stands still for too long is no reading any more;
and a new number in the place of an old one is an exchange: the old total is final, the new one begins.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from decoders.model import Auth, Quality, SubReading, decimal
from gateway.item_p import ItemP, LiveSub, utc
from gateway.pseudonym import pseudonym
from gateway.telemetry import Event

#: devices that are remembered: four channels (DSMR P1 companion standard 5.0.2, clause 6.12), and some exchanges
MAX_DEVICES = 16
#: a full memory gives up a device that no telegram named for so long, and a device may move so often
RESTS = timedelta(days=1)
SETTLES = timedelta(hours=1)
#: a sub-meter's time may be ahead of its telegram by so much; beyond it, it is none
AHEAD = timedelta(hours=1)
#: silence: three of the device's own intervals, but never less or more than this; and until two times are known
LEAST, MOST, UNKNOWN = timedelta(hours=3), timedelta(days=4), timedelta(hours=26)
#: what is stored may be older than what is known by so much
SAVE_EVERY = timedelta(minutes=5)

#: (pseudonym, medium, channel where there is no number to know it by)
Key: TypeAlias = tuple[str | None, str, int | None]


@dataclass(slots=True)
class _Device:
    """One device, as long as it is remembered. Times are those of the telegrams, in UTC."""

    device: str | None
    latest: LiveSub
    #: on this channel since
    since: datetime
    #: the last telegram that named it; may lag while nothing changes
    seen: datetime
    #: the newest time that it ever said: one without a time may have come since
    newest: datetime | None = None
    #: between its last two times
    interval: timedelta | None = None
    silent: bool = False
    #: the device whose place it took
    replaced: str | None = None
    #: another device took its place then
    ended: datetime | None = None

    @property
    def reading(self) -> SubReading:
        return self.latest.reading

    def silent_at(self) -> datetime | None:
        """When its reading ceases to hold; None where it has no time."""
        if self.reading.t is None:
            return None
        limit = UNKNOWN if self.interval is None else min(MOST, max(LEAST, 3 * self.interval))
        return self.reading.t + limit


class _Saved(msgspec.Struct, array_like=True, frozen=True):
    """A device as the journal keeps it; the quantity as decimal text, which no width bounds."""

    device: str | None
    medium: str
    channel: int
    t: datetime | None
    quantity: str
    unit: str
    quality: Quality
    auth: Auth
    seq: int | None
    since: datetime
    seen: datetime
    newest: datetime | None
    interval_s: int | None
    replaced: str | None
    ended: datetime | None


_decode = msgspec.json.Decoder(tuple[_Saved, ...]).decode


class SubMeters:
    """The sub-meters of one meter, over all its telegrams and restarts."""

    def __init__(self, salt: bytes, saved: bytes | None = None) -> None:
        """`salt` makes the pseudonyms; `saved` is what `export` gave. Raises ValueError for what it cannot have given.

        A reading that was stored does not hold again before a telegram repeats it.
        """
        self._salt = salt
        self._devices: dict[Key, _Device] = {}
        for row in _decode(saved) if saved else ():
            device = _restored(row)
            self._devices[_key(device.device, device.reading)] = device
        #: met in the last telegram for the first time: one telegram may be damaged
        self._candidates: set[Key] = set()
        self._events: list[Event] = []
        self._live: tuple[LiveSub, ...] = ()
        #: what the last telegram said, whether its clock was believed, and until when nothing falls silent
        self._said: tuple[SubReading, ...] = ()
        self._believed = True
        self._holds_until: datetime | None = None
        self._saved = saved or b"[]"
        self._saved_at: datetime | None = None
        self._stale_save = False

    def take(self, item: ItemP) -> tuple[LiveSub, ...]:
        """The readings that hold with this telegram, by channel. One that is new is another object than before."""
        at, believed = item.t or item.t_rx, _is_believed(item)
        if at is None or (not item.reading.sub and not self._said):
            return ()
        # the decoder gives the same tuple as long as the lines are the same
        same = item.reading.sub is self._said and believed == self._believed and not self._candidates
        if same and (self._holds_until is None or at < self._holds_until):
            return self._live
        self._said, self._believed = item.reading.sub, believed
        self._live = self._look(item, at)
        return self._live

    def events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    def export(self) -> bytes:
        """What the journal keeps: who is where; the last readings up to SAVE_EVERY late, to spare the medium."""
        if self._stale_save:
            self._saved = msgspec.json.encode([_to_save(device) for device in self._devices.values()])
            self._saved_at = max((device.seen for device in self._devices.values()), default=None)
            self._stale_save = False
        return self._saved

    def as_list(self) -> list[dict[str, Any]]:
        """Every device as in `meterd status --json`; no quantity but the final one of a device that was exchanged."""
        return [_shown(device) for device in sorted(self._devices.values(), key=lambda d: (d.reading.channel, d.since))]

    def _look(self, item: ItemP, at: datetime) -> tuple[LiveSub, ...]:
        found = self._newest(item, at)
        unknown = found.keys() - self._devices.keys()
        for key in sorted(unknown & self._candidates, key=repr):
            self._admit(key, found, item, at)
        self._candidates = found.keys() - self._devices.keys()
        present = [(self._devices[key], sub) for key, sub in found.items() if key in self._devices]
        for device, sub in present:
            self._update(device, sub, item, at)
        for device, _ in present:
            self._hear(device, at)
        ends = [end for device, _ in present if not device.silent and (end := device.silent_at()) is not None]
        self._holds_until = min(ends, default=None)
        live = (device.latest for device, _ in present if not device.silent)
        return tuple(sorted(live, key=lambda one: one.reading.channel))

    def _newest(self, item: ItemP, at: datetime) -> dict[Key, SubReading]:
        """What the telegram says of each device: once, by the newest time, and without times that are none."""
        found: dict[Key, SubReading] = {}
        for said in item.reading.sub:
            sub = said
            # what the decoder calls measured without any time is a value of now
            dated = sub.t is not None or sub.t_meter is not None
            if dated and (sub.t is None or not self._believed or sub.t > at + AHEAD):
                sub = replace(sub, t=None, quality="suspect")
            key = _key(None if sub.device is None else pseudonym(self._salt, sub.device), sub)
            if key not in found or _is_newer(sub, found[key]):
                found[key] = sub
        return found

    def _admit(self, key: Key, found: dict[Key, SubReading], item: ItemP, at: datetime) -> None:
        """Remember a new device, unless too many came lately; say whose place it takes."""
        if len(self._devices) >= MAX_DEVICES:
            oldest = min(self._devices, key=lambda known: self._devices[known].seen)
            if at - self._devices[oldest].seen < RESTS:
                return
            del self._devices[oldest]
        sub, name = found[key], key[0]
        before = None if name is None else self._predecessor(sub, found, at)
        device = _Device(name, _live(sub, name, item), since=at, seen=at, newest=sub.t)
        facts = {"channel": sub.channel, "medium": sub.medium, "device": name}
        if before is None:
            self._events.append(Event("sub_meter_found", facts))
        else:
            device.replaced, before.ended = before.device, at
            final = decimal(before.reading.integer, before.reading.exponent)
            facts |= {"before": before.device, "final": f"{final} {before.reading.unit}"}
            self._events.append(Event("sub_meter_exchanged", facts))
        self._devices[key] = device
        self._stale_save = True

    def _predecessor(self, sub: SubReading, found: dict[Key, SubReading], at: datetime) -> _Device | None:
        """The device of the same medium that is gone: from this channel, else from another one, and for some time."""
        gone = [
            device
            for key, device in self._devices.items()
            if device.device is not None and device.reading.medium == sub.medium and device.ended is None
            if device.silent or (key not in found and (_shares_channel(device, sub) or at - device.seen >= LEAST))
        ]
        return max(gone, key=lambda device: (_shares_channel(device, sub), device.seen), default=None)

    def _update(self, device: _Device, sub: SubReading, item: ItemP, at: datetime) -> None:
        known = device.reading
        if _is_news(sub, device):
            if sub.t is not None:
                if device.newest is not None and sub.t > device.newest:
                    device.interval = sub.t - device.newest
                device.newest = sub.t
            if _compare(sub, known) < 0:
                sub = replace(sub, quality="suspect")
            device.latest = _live(sub, device.device, item)
            device.ended = None
            self._stale_save = self._stale_save or self._saved_at is None or at - self._saved_at >= SAVE_EVERY
        if sub.channel != known.channel:
            self._move(device, sub.channel, known.channel, at)
        device.seen = at

    def _move(self, device: _Device, channel: int, before: int, at: datetime) -> None:
        device.latest = replace(device.latest, reading=replace(device.reading, channel=channel))
        if at - device.since >= SETTLES:
            facts = {"channel": channel, "medium": device.reading.medium, "device": device.device, "before": before}
            self._events.append(Event("sub_meter_moved", facts))
        device.since, self._stale_save = at, True

    def _hear(self, device: _Device, at: datetime) -> None:
        """Tell a device whose time stands still from one that speaks."""
        end = device.silent_at()
        silent = end is not None and at >= end
        if silent != device.silent:
            reading = device.reading
            facts = {"channel": reading.channel, "medium": reading.medium, "device": device.device}
            name = "sub_meter_silent" if silent else "sub_meter_back"
            self._events.append(Event(name, facts | {"read": utc(reading.t)}))
        device.silent = silent


def new_readings(items: Iterable[ItemP], salt: bytes) -> Iterator[tuple[ItemP, LiveSub]]:
    """Each new sub-meter reading of stored readings once, by the rules of SubMeters; items in the order of receipt."""
    meters: dict[str, SubMeters] = {}
    told: dict[tuple[str, Key], LiveSub] = {}
    for item in items:
        for live in meters.setdefault(item.meter, SubMeters(salt)).take(item):
            key = item.meter, _key(live.device, live.reading)
            if told.get(key) is not live:
                told[key] = live
                yield item, live


def _is_believed(item: ItemP) -> bool:
    """Whether times of the telegram can be believed: its own clock is, or it has none (they are compared with ours)."""
    return item.t_source == "meter" or (item.reading.t is None and "clock_invalid" not in item.reading.flags)


def _key(device: str | None, sub: SubReading) -> Key:
    return device, sub.medium, sub.channel if device is None else None


def _shares_channel(device: _Device, sub: SubReading) -> bool:
    return device.reading.channel == sub.channel


def _live(sub: SubReading, device: str | None, item: ItemP) -> LiveSub:
    return LiveSub(sub, device, item.reading.auth, item.seq)


def _is_newer(sub: SubReading, other: SubReading) -> bool:
    return sub.t is not None and (other.t is None or sub.t > other.t)


def _is_news(sub: SubReading, device: _Device) -> bool:
    """Whether a device says something new: a later time, or another quantity that is not known to be older."""
    if sub.t is not None and (device.newest is None or sub.t != device.newest):
        return device.newest is None or sub.t > device.newest
    return _compare(sub, device.reading) != 0 or sub.unit != device.reading.unit


def _compare(sub: SubReading, other: SubReading) -> int:
    """Negative, 0 or positive, as the quantity is less than, the same as or more than another one, exactly."""
    lowest = min(sub.exponent, other.exponent)
    return int(sub.integer * 10 ** (sub.exponent - lowest) - other.integer * 10 ** (other.exponent - lowest))


def _shown(device: _Device) -> dict[str, Any]:
    reading = device.reading
    shown: dict[str, Any] = {
        "channel": reading.channel,
        "medium": reading.medium,
        "device": device.device,
        "t": utc(reading.t),
        "since": utc(device.since, "seconds"),
        "silent": device.silent,
        "replaced": device.replaced,
        "ended": utc(device.ended, "seconds"),
    }
    if device.ended is not None:
        shown["final"] = {"quantity": decimal(reading.integer, reading.exponent), "unit": reading.unit}
    return shown


def _to_save(device: _Device) -> _Saved:
    reading, latest = device.reading, device.latest
    return _Saved(
        device.device,
        reading.medium,
        reading.channel,
        reading.t,
        decimal(reading.integer, reading.exponent),
        reading.unit,
        reading.quality,
        latest.auth,
        latest.seq,
        device.since,
        device.seen,
        device.newest,
        None if device.interval is None else int(device.interval.total_seconds()),
        device.replaced,
        device.ended,
    )


def _restored(row: _Saved) -> _Device:
    whole, _, fraction = row.quantity.partition(".")
    reading = SubReading(
        channel=row.channel,
        medium=row.medium,
        device=None,
        t=row.t,
        t_meter=None,
        integer=int(whole + fraction),
        exponent=-len(fraction),
        unit=row.unit,
        quality=row.quality,
    )
    interval = None if row.interval_s is None else timedelta(seconds=row.interval_s)
    live = LiveSub(reading, row.device, row.auth, row.seq)
    return _Device(row.device, live, row.since, row.seen, row.newest, interval, replaced=row.replaced, ended=row.ended)
