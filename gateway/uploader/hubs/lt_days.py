"""Which days are whole at which objects, which are late, and what is to be ordered; pure, kept as one small note.

A day is whole for an object when each of its categories has a value for every interval of it. What is not whole is
ordered again with every daily run until it is, for BACKFILL_DAYS.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from hashlib import sha256
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from gateway.uploader.hubs.lt_names import MOST_OBJECTS, ZONE

#: name of the note
NOTE: Final = "lt-days"
#: name of the note of objects that the hub did not list as ours when it was asked last
UNLISTED: Final = "lt-unlisted"
#: a day is ordered again for so long; days of the past that one run takes up, and orders that it makes
BACKFILL_DAYS: Final = 60
MOST_UNLISTED: Final = 2_000
MOST_NEW_DAYS: Final = 31
MOST_ORDERS: Final = 200
#: the data of a day are late so long behind the time of the daily run (s)
LATE_S: Final = 7_200
_INFO: Final = ZoneInfo(ZONE)
_DAY: Final = timedelta(days=1)
_MOST_UNPACKED: Final = 4 << 20


class Order(NamedTuple):
    """What one order asks: objects, at most MOST_OBJECTS, on one local day."""

    day: date
    objects: tuple[str, ...]


class _Day(msgspec.Struct):
    """Whole objects as bits, by the place of each in the sorted list of objects (hexadecimal)."""

    whole: str = "0"
    #: people were told that it is late
    told: bool = False
    #: when it was taken up (UTC s): its first order was made then
    taken: int = 0


class _Kept(msgspec.Struct):
    #: SHA-256 of the list of objects that the bits are about
    objects: str
    #: first day that was never ordered
    next: str
    #: days before it that are not whole
    days: dict[str, _Day] = {}


class Days:
    """The days of one hub and a list of objects."""

    def __init__(self, kept: bytes | None, objects: Collection[str], first: date) -> None:
        """Go on from a note; without one the days begin with `first`. Another list of objects begins its days anew."""
        self._objects = sorted(set(objects))
        name = sha256("\n".join(self._objects).encode()).hexdigest()
        found = _unpack(kept)
        self._kept = found or _Kept(name, first.isoformat())
        if self._kept.objects != name:
            self._kept.objects = name
            for day in self._kept.days.values():
                day.whole = "0"

    def pack(self) -> bytes:
        """The note."""
        return zlib.compress(msgspec.json.encode(self._kept))

    def open_until(self, today: date, now: int) -> bool:
        """Take up the days that are over; whether there was one."""
        news = False
        for _ in range(MOST_NEW_DAYS):
            if date.fromisoformat(self._kept.next) >= today:
                break
            self._kept.days[self._kept.next] = _Day(taken=now)
            self._kept.next = (date.fromisoformat(self._kept.next) + _DAY).isoformat()
            news = True
        return news

    def orders(self, under_way: Collection[tuple[date, str]], unlisted: Collection[str] = ()) -> list[Order]:
        """What to order, oldest day first: not what an open order asks already, nor objects that are not ours."""
        found: list[Order] = []
        for day in self.days():
            lacking = [one for one in self.lacking(day) if (day, one) not in under_way and one not in unlisted]
            found += [Order(day, tuple(lacking[at : at + MOST_OBJECTS])) for at in range(0, len(lacking), MOST_OBJECTS)]
        return found[:MOST_ORDERS]

    def days(self) -> list[date]:
        """Days that are not whole, oldest first."""
        return sorted(date.fromisoformat(day) for day in self._kept.days)

    def lacking(self, day: date) -> list[str]:
        """Objects of which a day is not whole."""
        known = self._kept.days.get(day.isoformat())
        bits = int(known.whole, 16) if known else -1
        return [one for place, one in enumerate(self._objects) if not bits >> place & 1]

    def whole(self, day: date, objects: Iterable[str]) -> bool:
        """Note objects whose day is whole; true when people were told that the day is late, and now it is whole."""
        if (known := self._kept.days.get(day.isoformat())) is None:
            return False
        places = {one: place for place, one in enumerate(self._objects)}
        bits = int(known.whole, 16)
        for one in objects:
            bits |= 1 << places[one] if one in places else 0
        known.whole = f"{bits:x}"
        if self.lacking(day):
            return False
        del self._kept.days[day.isoformat()]
        return known.told

    def overdue(self, day: date, now: int, at: str, jitter_s: int) -> bool:
        """Whether the data of a day are late: behind the daily run, and behind its first order."""
        known = self._kept.days.get(day.isoformat())
        return known is not None and now >= max(due(day, at, jitter_s), known.taken + LATE_S)

    def late(self, day: date) -> bool:
        """Note that people are told of a day; false when they were told before, or it is whole."""
        known = self._kept.days.get(day.isoformat())
        if known is None or known.told:
            return False
        known.told = True
        return True

    def give_up(self, now: int) -> list[date]:
        """Days that were ordered for long enough (however old they are): they are forgotten."""
        long_ago = now - BACKFILL_DAYS * 86_400
        old = [day for day in self.days() if self._kept.days[day.isoformat()].taken < long_ago]
        for day in old:
            del self._kept.days[day.isoformat()]
        return old


def pack_names(many: Sequence[str]) -> bytes:
    """Numbers of objects as a note."""
    return zlib.compress(msgspec.json.encode(many[:MOST_UNLISTED]))


def unpack_names(kept: bytes | None) -> frozenset[str]:
    """Numbers of objects that a note holds; none where it holds none that can be read."""
    try:
        data = zlib.decompressobj().decompress(kept or b"", _MOST_UNPACKED)
        return frozenset(msgspec.json.decode(data, type=list[str]))
    except (zlib.error, msgspec.DecodeError):
        return frozenset()


def today(now: float) -> date:
    """The local day of a moment (UTC s)."""
    return datetime.fromtimestamp(now, _INFO).date()


def bounds(first: date, last: date) -> tuple[int, int]:
    """Start of a local day and end of another one, UTC s."""
    start, end = (datetime.combine(day, time(), _INFO) for day in (first, last + _DAY))
    return int(start.timestamp()), int(end.timestamp())


def run(day: date, at: str) -> int:
    """When the daily run asks for a day (UTC s): on the next one."""
    return int(datetime.combine(day + _DAY, time.fromisoformat(at), _INFO).timestamp())


def due(day: date, at: str, jitter_s: int) -> int:
    """When the data of a day are late (UTC s): behind the daily run."""
    return run(day, at) + jitter_s + LATE_S


def whole_objects(counts: Mapping[str, Iterable[int]], expected: int) -> list[str]:
    """Objects each of whose series has as many values as the day has intervals."""
    found = {name: list(many) for name, many in counts.items()}
    return [name for name, many in found.items() if many and all(count == expected for count in many)]


def _unpack(kept: bytes | None) -> _Kept | None:
    try:
        found = msgspec.json.decode(zlib.decompressobj().decompress(kept or b"", _MOST_UNPACKED), type=_Kept)
        for day in (found.next, *found.days):
            date.fromisoformat(day)
        for known in found.days.values():
            int(known.whole, 16)
    except (zlib.error, msgspec.DecodeError, ValueError):
        return None
    return found
