"""What is true in a fleet: points, days and values that follow from a seed, without any code of meterd."""

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Copenhagen")
STEP_S = {"PT15M": 900, "PT1H": 3_600}
#: channels of one meter (the configuration's limit is 255)
CHANNELS = 250
#: a day is released so long behind its end
SETTLES = dt.timedelta(minutes=15)


def last_day() -> dt.date:
    """The newest local day that is released by now."""
    return (dt.datetime.now(dt.UTC) - SETTLES).astimezone(ZONE).date() - dt.timedelta(1)


def gsrn(number: int) -> str:
    """A GSRN of 18 digits with its check digit (GS1 General Specifications 7.9)."""
    body = f"57131300{number:09d}"
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    return body + str((10 - total % 10) % 10)


def eic(number: int) -> str:
    """An EIC of a metering point, with its check character (EIC Reference Manual, annex), which is no hyphen."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
    for head in ("38ZAA", "38ZAB", "38ZAC"):
        body = f"{head}{number:010d}"
        total = sum(alphabet.index(letter) * (16 - place) for place, letter in enumerate(body))
        check = alphabet[36 - (total - 1) % 37]
        if check != "-":
            return body + check
    raise ValueError(number)


@dataclass(frozen=True)
class Shut:
    """Nothing of a point may arrive behind `after` and up to `until`, positions of the hubs' record."""

    number: int
    after: int
    until: int


@dataclass
class Loss:
    """A point lost its ground at a position of the hubs' record, and has it again from `until` on (None: not yet)."""

    number: int
    after: int
    until: int | None = None


@dataclass(frozen=True)
class Fleet:
    """So many points, each with whole local days of intervals; every value is a hash of where it belongs."""

    seed: int
    points: int
    first: dt.date
    days: int
    #: resolution that each hub gets
    steps: str
    #: each hub has its own points, in turn
    hubs: tuple[str, ...]
    #: (point number, day number) -> how many versions the ledger has of that day
    versions: dict[tuple[int, int], int] = field(default_factory=dict)
    #: when nothing of a point may arrive, and when its ground went, by position of the hubs' record
    shut: list[Shut] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def loses(self, number: int, after: int) -> Loss:
        """Note that a point loses its ground."""
        self.losses.append(loss := Loss(number, after))
        return loss

    def hub(self, number: int) -> str:
        """The hub that a point belongs to."""
        return self.hubs[number % len(self.hubs)]

    def name(self, number: int) -> str:
        """What a point is called: an EIC in Estonia, a GSRN elsewhere."""
        return eic(number) if self.hub(number) == "ee" else gsrn(number)

    def of(self, hub: str) -> list[int]:
        """The points of a hub."""
        return [number for number in range(self.points) if self.hub(number) == hub]

    def place(self, number: int) -> tuple[str, int]:
        """Meter and channel of a point."""
        return f"m{number // CHANNELS:03d}", 1 + number % CHANNELS

    def bounds(self, day: int) -> tuple[int, int]:
        """First second of a local day and of the next one, UTC."""
        date = self.first + dt.timedelta(day)
        ends = (dt.datetime.combine(date + dt.timedelta(n), dt.time(), ZONE) for n in (0, 1))
        first, last = (int(end.timestamp()) for end in ends)
        return first, last

    def resolution(self, number: int) -> str:
        """Quarter-hours in Estonia, where nothing else is taken."""
        return "PT15M" if self.hub(number) == "ee" else self.steps

    def starts(self, number: int, day: int) -> range:
        """Start of each interval of a day of a point."""
        return range(*self.bounds(day), STEP_S[self.resolution(number)])

    def wh(self, number: int, start: int, version: int) -> int:
        """The energy of an interval as a version of its day has it; no two versions agree."""
        digest = hashlib.blake2b(f"{self.seed} {number} {start}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") % 900 + 1_000 * version

    def day(self, number: int, day: int, version: int) -> list[int]:
        """Every value of a day."""
        return [self.wh(number, start, version) for start in self.starts(number, day)]
