"""Versions of intervals and the evidence behind them as packed rows: MessagePack arrays, sealed (rows.seal).

The id of a row says whose it is, so that the rows of a series lie together in the order of time:
version: (series * 4 + resolution) << 43 | start / 900 << 16 | number of the version; cell: series << 27 | start / 900.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, get_args

import msgspec

from gateway.intervals.billed import Peak
from gateway.intervals.continuity import Break, Knot, Origin
from gateway.intervals.demand import Demand
from gateway.intervals.evidence import CELL_S, Cell
from gateway.intervals.model import (
    AUTHS,
    QUALITIES,
    RESOLUTIONS,
    Author,
    Bound,
    BoundMethod,
    Clock,
    Direction,
    Interval,
    Kind,
    Resolution,
    SeriesKey,
    Status,
    Unit,
)
from gateway.stores.rows import Corrupt, seal, unseal

SLOT_BITS, VERSION_BITS = 27, 16
CHAIN_SHIFT: Final = SLOT_BITS + VERSION_BITS
MAX_VERSION: Final = (1 << VERSION_BITS) - 1
#: 10,000 points have some series each
MAX_SERIES: Final = 1 << 16

_STATUSES: Final = get_args(Status)
_BOUNDS: Final = get_args(BoundMethod)
_CLOCKS: Final = get_args(Clock)
_AUTHORS: Final = get_args(Author)
#: ways to a quantity that have a number; others stand as they are
_METHODS: Final = ("register", "power", "linear", "none", "edit", "E01", "E02", "E03", "E04", "E05")
#: bits of each word in the head of a row, lowest first
_WORDS: Final = ((_STATUSES, 3), (QUALITIES, 2), (AUTHS, 2), (_CLOCKS, 1), (_AUTHORS, 2))

Packed: TypeAlias = tuple[int, bytes]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode
_decode_cell = msgspec.msgpack.Decoder(Cell).decode


class SeriesRow(msgspec.Struct, array_like=True, frozen=True):
    """A series as it is kept."""

    meter: str
    channel: int
    kind: Kind
    direction: Direction
    unit: str
    exponent: int
    medium: str

    @property
    def key(self) -> SeriesKey:
        """Which series it is."""
        return SeriesKey(self.meter, self.channel, self.kind, self.direction)

    @property
    def of(self) -> Unit:
        """The unit that its integers count."""
        return Unit(self.unit, self.exponent)


class StateRow(msgspec.Struct, array_like=True, frozen=True):
    """What the fold of a series goes on from."""

    newest: Knot | None
    behind: bool
    heard: int | None
    breaks: list[Break]
    origins: list[Origin]
    #: by resolution: up to which moment it was validated
    validated: dict[str, int]
    #: (resolution, start of a day or month) that must be validated once more
    due: list[tuple[Resolution, int]]
    #: by UTC day since 1970: the worst offset of the clock (ms) of its hours
    offsets: dict[int, int]


_decode_series = msgspec.msgpack.Decoder(SeriesRow).decode
_decode_state = msgspec.msgpack.Decoder(StateRow).decode


def chain(series: int, resolution: Resolution) -> int:
    """The number under which the intervals of one series and resolution stand."""
    return series * len(RESOLUTIONS) + RESOLUTIONS.index(resolution)


def version_id(number: int, start: int, version: int) -> int:
    """Id of a version in the chain `number`; `start` in UTC seconds, at or after 1970."""
    return number << CHAIN_SHIFT | start // CELL_S << VERSION_BITS | version


def start_of(row: int) -> int:
    """Start of the interval that a version is of, UTC seconds."""
    return (row >> VERSION_BITS & (1 << SLOT_BITS) - 1) * CELL_S


def cell_id(series: int, start: int) -> int:
    """Id of a cell."""
    return series << SLOT_BITS | start // CELL_S


def cell_start(row: int) -> int:
    """Start of a cell, UTC seconds."""
    return (row & (1 << SLOT_BITS) - 1) * CELL_S


def ranges(series: int) -> dict[str, tuple[int, int]]:
    """The ids first <= id < last of everything that a series has, by table."""
    chains = series * len(RESOLUTIONS) << CHAIN_SHIFT, (series + 1) * len(RESOLUTIONS) << CHAIN_SHIFT
    slots = series << SLOT_BITS, series + 1 << SLOT_BITS
    one = series, series + 1
    return {
        "interval": chains,
        "interval_asked": chains,
        "interval_cell": slots,
        "interval_peak": slots,
        "interval_demand": slots,
        "interval_state": one,
        "interval_series": one,
    }


def pack(number: int, interval: Interval) -> Packed:
    """A version as (id, sealed row); what is as usual takes no room."""
    row = version_id(number, interval.start, interval.version)
    words = (interval.status, interval.quality, interval.auth, interval.clock, interval.author)
    head = shift = 0
    for word, (known, bits) in zip(words, _WORDS, strict=True):
        head |= known.index(word) << shift
        shift += bits
    usual = _usual(interval.low, interval.high, interval.sum_break)
    fields = [
        head,
        (interval.end - interval.start) // CELL_S,
        True if interval.quantity is not None and interval.quantity == usual else interval.quantity,
        interval.coverage,
        _pack_bound(interval.low),
        _pack_bound(interval.high),
        _METHODS.index(interval.method) if interval.method in _METHODS else interval.method,
        interval.resolution_wh,
        interval.sum_break,
        0 if interval.made is None else interval.made - interval.end,
        interval.reason,
        interval.rules,
        interval.inputs,
    ]
    while not fields[-1]:
        fields.pop()
    return row, seal(_encode(fields), "interval", row)


def unpack(row: int, sealed: object) -> Interval:
    """The version of a row; raises Corrupt."""
    fields = _opened(sealed, "interval", row)
    fields += [None] * (13 - len(fields))
    head, length, quantity, coverage, low, high, method, step, sum_break, made, reason, rules, inputs = fields
    start = start_of(row)
    end = start + length * CELL_S
    bounds = _bound(low, start), _bound(high, end)
    words = []
    for known, bits in _WORDS:
        words.append(known[head & (1 << bits) - 1])
        head >>= bits
    status, quality, auth, clock, author = words
    return Interval(
        start=start,
        end=end,
        quantity=_usual(*bounds, sum_break or 0) if quantity is True else quantity,
        status=status,
        quality=quality,
        auth=auth,
        clock=clock,
        coverage=coverage or 0,
        low=bounds[0],
        high=bounds[1],
        method=_METHODS[method or 0] if not isinstance(method, str) else method,
        resolution_wh=step or 0,
        sum_break=sum_break or 0,
        version=row & MAX_VERSION,
        author=author,
        rules=tuple(rules or ()),
        reason=reason,
        inputs=inputs,
        made=end + (made or 0),
    )


def pack_peak(series: int, month: int, peak: Peak) -> Packed:
    """A peak of the month that begins at `month` as (id, sealed row)."""
    row = cell_id(series, month)
    return row, seal(_encode(list(peak)), "interval_peak", row)


def unpack_peak(row: int, sealed: object) -> Peak:
    """The peak of a row; raises Corrupt."""
    return Peak(*_opened(sealed, "interval_peak", row))


def pack_demand(series: int, demand: Demand) -> Packed:
    """What the meter said last in a quarter-hour as (id, sealed row)."""
    row = cell_id(series, demand.start)
    return row, seal(_encode(list(demand)), "interval_demand", row)


def unpack_demand(row: int, sealed: object) -> Demand:
    """The demand of a row; raises Corrupt."""
    return Demand(*_opened(sealed, "interval_demand", row))


def pack_asked(number: int, version: Interval) -> Packed:
    """That a version in the chain `number` is to be judged, as (id, sealed row)."""
    row = version_id(number, version.start, 0)
    return row, seal(version.version.to_bytes(2, "big"), "interval_asked", row)


def asked_of(row: int) -> tuple[int, Resolution, int]:
    """Series, resolution and start (UTC seconds) of the interval that is to be judged."""
    number = row >> CHAIN_SHIFT
    return number // len(RESOLUTIONS), RESOLUTIONS[number % len(RESOLUTIONS)], start_of(row)


def pack_cell(series: int, start: int, cell: Cell) -> Packed:
    """A cell as (id, sealed row)."""
    row = cell_id(series, start)
    return row, seal(_encode(cell), "interval_cell", row)


def unpack_cell(row: int, sealed: object) -> Cell:
    """The cell of a row; raises Corrupt."""
    try:
        return _decode_cell(unseal(sealed, "interval_cell", row))
    except msgspec.DecodeError as error:
        raise Corrupt("a cell is none") from error


def pack_series(number: int, series: SeriesRow) -> Packed:
    """A series as (id, sealed row)."""
    return number, seal(_encode(series), "interval_series", number)


def unpack_series(number: int, sealed: object) -> SeriesRow:
    """The series of a row; raises Corrupt."""
    try:
        return _decode_series(unseal(sealed, "interval_series", number))
    except msgspec.DecodeError as error:
        raise Corrupt("a series is none") from error


def pack_state(series: int, state: StateRow) -> Packed:
    """What the fold of a series goes on from, as (id, sealed row)."""
    return series, seal(_encode(state), "interval_state", series)


def unpack_state(series: int, sealed: object) -> StateRow:
    """What the fold of a series goes on from; raises Corrupt."""
    try:
        return _decode_state(unseal(sealed, "interval_state", series))
    except msgspec.DecodeError as error:
        raise Corrupt("a state is none") from error


def _usual(low: Bound, high: Bound, sum_break: int) -> int | None:
    """The quantity that the bounds make."""
    return None if low.value is None or high.value is None else high.value - low.value + sum_break


def _pack_bound(bound: Bound) -> Sequence[Any]:
    """A bound with its readings as differences from it."""
    value = bound.value or 0
    return [_BOUNDS.index(bound.method), bound.value, *(n for t, v in bound.readings for n in (t - bound.t, v - value))]


def _bound(packed: Sequence[Any], t: int) -> Bound:
    method, value, *rest = packed
    readings = tuple((t + dt, (value or 0) + dv) for dt, dv in zip(rest[::2], rest[1::2], strict=True))
    return Bound(t, value, _BOUNDS[method], readings)


def _opened(sealed: object, table: str, row: int) -> list[Any]:
    try:
        return _decode(unseal(sealed, table, row))
    except msgspec.DecodeError as error:
        raise Corrupt("a version is none") from error
