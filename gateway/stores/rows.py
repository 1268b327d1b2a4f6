"""A reading as one packed row: what changes from telegram to telegram in the row, what stays the same in a layout.

MessagePack throughout. A row names its layout by number when the layout was met before, and carries it inside
otherwise, so that a meter that never sends the same structure twice costs octets but never grows a table.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal, TypeAlias
from zlib import crc32

import msgspec

from decoders.model import Auth, Quality, Reading, SubReading
from gateway.item_p import ItemP

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONE = re.compile(r"([+-])([01][0-9]|2[0-3]):([0-5][0-9])\Z", re.ASCII)
#: layouts that one process adds at most; from then on they travel inside their rows
MAX_INTERNED = 512
#: a layout of fewer octets than this is no longer inside the row than as a number
SMALL = 6

#: whole seconds since 1970, or (seconds, microseconds)
Instant: TypeAlias = int | tuple[int, int]
#: an integer, or its decimal digits where it is wider than 64 bits
Integer: TypeAlias = int | str
#: the number of a layout, or the layout itself
Ref: TypeAlias = int | bytes

_encode = msgspec.msgpack.Encoder().encode


class Corrupt(ValueError):  # noqa: N818 - a state of stored octets, found out by reading them
    """Stored octets that are not what was stored."""


class Layout(msgspec.Struct, array_like=True, frozen=True):
    """What does not change between two telegrams of a meter."""

    profile: str
    interface: str
    auth: Auth
    quality: Quality
    identity: str | None
    interval_s: int
    flags: tuple[str, ...]
    codes: tuple[str, ...]
    exponents: tuple[int, ...]
    units: tuple[str, ...]
    #: channel, medium, device, exponent, unit, quality of each sub-meter reading
    sub: tuple[tuple[int, str, str | None, int, str, Quality], ...]


class Row(msgspec.Struct, array_like=True, frozen=True):
    """What does. A time that is True is the one that it nearly always is, which spares its octets."""

    layout: Ref
    times: Ref
    seq: int | None
    t_rx: Instant | None
    t: bool | Instant | None
    t_source: Literal["meter", "gateway"]
    t_read: Instant | None
    t_meter: int | str | None
    reg_t: bool | Instant | None
    clock_offset_s: bool | float | None
    valid_for_s: int | None
    quantities: tuple[Integer | None, ...]
    size: int
    integers: tuple[Integer, ...]
    #: time, time as the meter said it, integer
    sub: tuple[tuple[Instant | None, int | str | None, Integer], ...]


_decode_row = msgspec.msgpack.Decoder(Row).decode
_decode_layout = msgspec.msgpack.Decoder(Layout).decode
_decode_times = msgspec.msgpack.Decoder(tuple[tuple[int, str], ...]).decode


class Interner:
    """Numbers for layouts. One that occurs twice running for a meter is worth a number; numbers are never reused."""

    def __init__(self, known: dict[int, bytes], first: int) -> None:
        self.layouts = dict(known)
        self._numbers = {data: number for number, data in known.items()}
        self._next = first
        self._end = first + MAX_INTERNED
        self._last: dict[tuple[str, str], bytes] = {}

    def ref(self, meter: str, kind: str, data: bytes) -> Ref:
        """Return the number of a layout, or the layout itself where it has none (yet)."""
        if len(data) < SMALL:
            return data
        number = self._numbers.get(data)
        if number is not None:
            return number
        if self._last.get((meter, kind)) != data or self._next == self._end:
            self._last[meter, kind] = data
            return data
        number, self._next = self._next, self._next + 1
        self._numbers[data] = number
        self.layouts[number] = data
        return number


def pack(item: ItemP, interner: Interner) -> bytes:
    """Pack a reading; `unpack` gives back an equal one."""
    reading = item.reading
    codes, integers, exponents, units = tuple(zip(*reading.registers, strict=True)) or ((), (), (), ())
    layout = _encode((
        reading.profile, reading.interface, reading.auth, reading.quality, reading.identity, reading.interval_s,
        reading.flags, codes, exponents, units,
        tuple((s.channel, s.medium, s.device, s.exponent, s.unit, s.quality) for s in reading.sub),
    ))  # fmt: skip
    quantities = (
        reading.p_import_w,
        reading.p_export_w,
        reading.p_net_w,
        reading.a_import_wh,
        reading.a_export_wh,
    )
    head = (
        interner.ref(item.meter, "layout", layout),
        interner.ref(item.meter, "times", _encode(reading.register_times)),
        item.seq,
        _instant(item.t_rx),
        True if item.t == _usual_time(item.t_source, reading.t, item.t_rx) else _instant(item.t),
        item.t_source,
        _instant(reading.t),
        _spoken(reading.t, reading.t_meter),
        True if reading.reg_t == reading.t else _instant(reading.reg_t),
        True if item.clock_offset_s == _usual_offset(reading.t, item.t_rx) else item.clock_offset_s,
        item.valid_for_s,
    )
    sub = tuple((_instant(s.t), _spoken(s.t, s.t_meter), s.integer) for s in reading.sub)
    try:
        return _encode((*head, quantities, reading.size, integers, sub))
    except OverflowError:
        wide = tuple((t, spoken, _narrow(integer)) for t, spoken, integer in sub)
        return _encode((*head, [*map(_narrow, quantities)], reading.size, [*map(_narrow, integers)], wide))


def unpack(data: bytes, meter: str, layout_of: Callable[[int], bytes]) -> ItemP:
    """Give back the reading of a row. Raises Corrupt where the row or its layout cannot have been packed by `pack`."""
    try:
        row = _decode_row(data)
        layout = _decode_layout(row.layout if isinstance(row.layout, bytes) else layout_of(row.layout))
        times = _decode_times(row.times if isinstance(row.times, bytes) else layout_of(row.times))
        return _item(row, layout, times, meter)
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise Corrupt(f"a row is damaged: {error}") from error


def seal(data: bytes, *context: int | str) -> bytes:
    """Append a CRC-32 (ISO 3309) over the octets and over what they belong to."""
    return data + crc32(data, _seed(context)).to_bytes(4, "big")


def unseal(data: object, *context: int | str) -> bytes:
    """Take off and check the CRC-32; raises Corrupt."""
    if not isinstance(data, bytes) or len(data) < 4:
        raise Corrupt("a row is damaged: it has no checksum")
    if crc32(data[:-4], _seed(context)) != int.from_bytes(data[-4:], "big"):
        raise Corrupt("a row is damaged: its checksum does not match")
    return data[:-4]


def _seed(context: tuple[int | str, ...]) -> int:
    return crc32(repr(context).encode())


def _item(row: Row, layout: Layout, times: tuple[tuple[int, str], ...], meter: str) -> ItemP:
    t_read, t_rx = _moment(row.t_read), _moment(row.t_rx)
    integers = [int(integer) for integer in row.integers]
    p_import_w, p_export_w, p_net_w, a_import_wh, a_export_wh = (q if q is None else int(q) for q in row.quantities)
    reading = Reading(
        profile=layout.profile,
        interface=layout.interface,
        auth=layout.auth,
        quality=layout.quality,
        t=t_read,
        t_meter=_written(t_read, row.t_meter),
        p_import_w=p_import_w,
        p_export_w=p_export_w,
        p_net_w=p_net_w,
        a_import_wh=a_import_wh,
        a_export_wh=a_export_wh,
        reg_t=t_read if row.reg_t is True else _moment(row.reg_t),
        registers=tuple(zip(layout.codes, integers, layout.exponents, layout.units, strict=True)),
        register_times=times,
        sub=tuple(_sub(fixed, moving) for fixed, moving in zip(layout.sub, row.sub, strict=True)),
        identity=layout.identity,
        interval_s=layout.interval_s,
        flags=layout.flags,
        size=row.size,
    )
    return ItemP(
        meter=meter,
        reading=reading,
        t=_usual_time(row.t_source, t_read, t_rx) if row.t is True else _moment(row.t),
        t_source=row.t_source,
        seq=row.seq,
        t_rx=t_rx,
        clock_offset_s=_usual_offset(t_read, t_rx) if row.clock_offset_s is True else row.clock_offset_s,
        valid_for_s=row.valid_for_s,
    )


def _sub(
    fixed: tuple[int, str, str | None, int, str, Quality], moving: tuple[Instant | None, int | str | None, Integer]
) -> SubReading:
    channel, medium, device, exponent, unit, quality = fixed
    t = _moment(moving[0])
    return SubReading(
        channel=channel,
        medium=medium,
        device=device,
        t=t,
        t_meter=_written(t, moving[1]),
        integer=int(moving[2]),
        exponent=exponent,
        unit=unit,
        quality=quality,
    )


def _usual_time(source: str, t_read: datetime | None, t_rx: datetime | None) -> datetime | None:
    return t_read if source == "meter" else t_rx


def _usual_offset(t_read: datetime | None, t_rx: datetime | None) -> float | None:
    return None if t_read is None or t_rx is None else round((t_rx - t_read).total_seconds(), 3)


def _narrow(integer: int | None) -> Integer | None:
    return str(integer) if integer is not None and integer.bit_length() > 63 else integer


def _instant(t: datetime | None) -> Instant | None:
    if t is None:
        return None
    since = t - EPOCH
    seconds = since.days * 86_400 + since.seconds
    return (seconds, since.microseconds) if since.microseconds else seconds


def _moment(instant: Instant | None) -> datetime | None:
    if instant is None:
        return None
    seconds, microseconds = (instant, 0) if isinstance(instant, int) else instant
    return EPOCH + timedelta(seconds=seconds, microseconds=microseconds)


def _spoken(t: datetime | None, text: str | None) -> int | str | None:
    """A time as the meter said it, as minutes east of UTC where `t` gives the rest of it."""
    zone = None if t is None or text is None else ZONE.search(text)
    if zone is None:
        return text
    minutes = (int(zone[2]) * 60 + int(zone[3])) * (-1 if zone[1] == "-" else 1)
    try:
        return minutes if _written(t, minutes) == text else text
    except OverflowError:
        return text


def _written(t: datetime | None, spoken: int | str | None) -> str | None:
    if not isinstance(spoken, int):
        return spoken
    if t is None:
        raise Corrupt("a row is damaged: a zone without a time")
    return t.astimezone(timezone(timedelta(minutes=spoken))).isoformat()
