"""What an imported file says: intervals of one point and direction, with energy as integers of mWh."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import BinaryIO, Final, Literal, NamedTuple, TypeAlias

from gateway.intervals.model import Direction

#: a file has no more intervals than 200 points have quarter-hours in a year, and no more octets than this
MOST_ROWS: Final = 7_100_000
MOST_OCTETS: Final = 4 << 30
#: mWh in a Wh: fine enough for mean power of 1 W over a quarter-hour, 250 mWh
MILLI: Final = 1_000
#: how good a value is, as far as the format can say
Said: TypeAlias = Literal["measured", "estimated", "edited", "missing", "suspect", "raw", "unknown"]


class ImportFileError(Exception):
    """The file is not what its format says: one sentence that says what, where and what to do."""


class Row(NamedTuple):
    """One interval of a file: UTC seconds, mWh (None: the file has no value), and what the file says of it."""

    start: int
    end: int
    quantity: int | None
    said: Said


@dataclass(frozen=True, slots=True)
class Imported:
    """Rows of one point and direction, in the order of the file."""

    point: str | None
    direction: Direction
    rows: Iterable[Row]


def energy(text: str, wh: Decimal, where: str) -> int:
    """A decimal of a unit that is `wh` watt-hours, in mWh; raises ImportFileError where that is no whole number."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise ImportFileError(f"{where}: {text[:40]!r} is no number") from None
    if not value.is_finite() or abs(value) > 10**15:
        raise ImportFileError(f"{where}: {text[:40]!r} is no energy")
    milli = value * wh * MILLI
    if milli != milli.to_integral_value():
        raise ImportFileError(f"{where}: {text[:40]} is finer than a thousandth of a Wh")
    return int(milli)


def bounded(source: BinaryIO) -> Iterator[bytes]:
    """The octets of a file in pieces; raises ImportFileError where it is too large."""
    total = 0
    while piece := source.read(65_536):
        total += len(piece)
        if total > MOST_OCTETS:
            raise ImportFileError(f"the file is larger than {MOST_OCTETS >> 30} GiB: split it")
        yield piece


def counted(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, none of them backwards, and no more than MOST_ROWS."""
    for number, row in enumerate(rows, 1):
        if number > MOST_ROWS:
            raise ImportFileError(f"the file has more than {MOST_ROWS} intervals: split it")
        if row.end <= row.start:
            raise ImportFileError(f"interval {number} ends before it begins")
        yield row
