"""A reading as it leaves the gateway: item P with the meter's name, its sequence number and its two clocks.

The JSON form is public: docs/item-p.md, docs/schemas/item-p.schema.json (Regulation (EU) 2023/1162, annex, item P).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from decoders.dib import annotations, is_identification
from decoders.model import Auth, Reading, SubReading, decimal

SCHEMA = "meterd.item-p/1"
SUB_SCHEMA = "meterd.sub/1"
QUANTITIES = ("p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh")

#: by so much a clock that is alone may be ahead of what is certain
_CENTURY = timedelta(days=36_525)
_encode = msgspec.json.Encoder().encode


class Energy(NamedTuple):
    """Energy registers in Wh that an earlier reading of the same meter had, and when: by the clock of `t`."""

    a_import_wh: int | None
    a_export_wh: int | None
    reg_t: datetime
    clock: Literal["meter", "gateway"]


@dataclass(frozen=True, slots=True)
class LiveSub:
    """A sub-meter reading that holds (gateway.sub_meters), with what the telegram proved that brought it first."""

    reading: SubReading
    #: pseudonym of the device number; None where the device has none
    device: str | None
    auth: Auth
    seq: int | None


@dataclass(frozen=True, slots=True)
class ItemP:
    """One reading of one meter. `t` is UTC; `t_source` says whose clock it is; `clock_offset_s` = t_rx - meter time."""

    meter: str
    reading: Reading
    t: datetime | None
    t_source: Literal["meter", "gateway"]
    #: the four that only a live gateway knows: None where bytes of a file are decoded
    seq: int | None = None
    t_rx: datetime | None = None
    clock_offset_s: float | None = None
    valid_for_s: int | None = None
    #: what an earlier reading said, where this one has no energy (gateway.carried); shown, and never stored
    carried: Energy | None = None
    #: sub-meter readings that hold now, by channel; shown, and never stored: `reading.sub` has what the telegram said
    subs: tuple[LiveSub, ...] = ()


def stamp(  # noqa: PLR0913
    reading: Reading,
    meter: str,
    *,
    seq: int,
    t_rx: datetime | None,
    max_clock_offset_s: int,
    interval_s: int | None = None,
    floor: datetime | None = None,
) -> ItemP:
    """Give a live reading its time: the meter's, or the time of receipt when the meter's is absent or not believable.

    A clock that is wrong by whole half-hours is a wrong zone or a missed change to summer time, not a slow clock: it is
    not believed either (docs/decisions/0004). Without `t_rx`, where this host's clock is not set, the meter's is
    believed from `floor` on, within a century; else the reading has no time yet.
    """
    offset = None if reading.t is None or t_rx is None else round((t_rx - reading.t).total_seconds(), 3)
    if t_rx is None:
        believed = floor is not None and reading.t is not None and timedelta() <= reading.t - floor <= _CENTURY
    else:
        believed = offset is not None and abs(offset) <= max_clock_offset_s and not is_zone_error(offset)
    return ItemP(
        meter=meter,
        reading=reading,
        t=reading.t if believed else t_rx,
        t_source="meter" if believed else "gateway",
        seq=seq,
        t_rx=t_rx,
        clock_offset_s=offset,
        valid_for_s=max(3, min(900, 3 * (interval_s or reading.interval_s))),
    )


def is_zone_error(offset_s: float) -> bool:
    """Tell whether a clock offset is, within two minutes, a whole number of half-hours other than zero."""
    half_hours = round(offset_s / 1800)
    return half_hours != 0 and abs(offset_s - half_hours * 1800) <= 120


def to_dict(item: ItemP, *, registers: bool = False) -> dict[str, Any]:
    """Item P as the JSON object of docs/item-p.md; absent values are left out. `registers` adds every register.

    Energy that is carried has its own, older `reg_t`: that is how a reader tells it from what the telegram said.
    """
    reading, energy, t = item.reading, item.carried, utc(item.t)
    reg_t = energy.reg_t if energy else register_time(item)
    known: dict[str, Any] = {
        "schema": SCHEMA,
        "meter": item.meter,
        "t": t,
        "t_source": item.t_source,
        "t_meter": reading.t_meter,
        "t_rx": utc(item.t_rx, "milliseconds"),
        "clock_offset_s": item.clock_offset_s,
        "p_import_w": reading.p_import_w,
        "p_export_w": reading.p_export_w,
        "p_net_w": reading.p_net_w,
        "a_import_wh": energy.a_import_wh if energy else reading.a_import_wh,
        "a_export_wh": energy.a_export_wh if energy else reading.a_export_wh,
        "reg_t": t if reg_t == item.t else utc(reg_t),
        "quality": reading.quality,
        "auth": reading.auth,
        "seq": item.seq,
        "valid_for_s": item.valid_for_s,
        "src": {"interface": reading.interface, "profile": reading.profile},
    }
    result = {key: value for key, value in known.items() if value is not None}
    if registers:
        result["registers"] = list(_registers(reading))
    return result


def to_json(item: ItemP, *, registers: bool = False, late: str | None = None) -> bytes:
    """`to_dict` as UTF-8 JSON on one line, as it is published: without registers that name the meter.

    `late` is the id of a reading that is published after its time, and marks it as such.
    """
    shown = to_dict(item, registers=registers)
    if late is not None:
        shown |= {"id": late, "backfill": True}
    if registers:
        shown["registers"] = [row for row in shown["registers"] if not is_identification(row["code"])]
    return _encode(shown)


def sub_to_dict(sub: SubReading, *, meter: str, device: str | None, auth: str, seq: int | None) -> dict[str, Any]:
    """A sub-meter reading as JSON object `meterd.sub/1`; `device` is the pseudonym that replaces the identification."""
    known = {
        "schema": SUB_SCHEMA,
        "meter": meter,
        "channel": sub.channel,
        "device": device,
        "medium": sub.medium,
        "t": utc(sub.t),
        "quantity": decimal(sub.integer, sub.exponent),
        "unit": sub.unit,
        "quality": sub.quality,
        "auth": auth,
        "seq": seq,
    }
    return {key: value for key, value in known.items() if value is not None}


def utc(t: datetime | None, timespec: str = "auto") -> str | None:
    """An aware datetime as `2026-11-21T22:20:05Z`."""
    return None if t is None else f"{(t if t.tzinfo is UTC else t.astimezone(UTC)).isoformat(timespec=timespec)[:-6]}Z"


def register_time(item: ItemP) -> datetime | None:
    """Energy has the time of its registers; with the gateway's clock it can only be the reading's own time."""
    reading = item.reading
    if reading.reg_t is None or item.t is None or reading.t is None or item.t_source == "meter":
        return reading.reg_t
    return item.t - (reading.t - reading.reg_t if reading.reg_t < reading.t else timedelta())


def _registers(reading: Reading) -> Iterator[dict[str, str | int]]:
    times = dict(reading.register_times)
    for index, (code, integer, exponent, unit) in enumerate(reading.registers):
        row: dict[str, str | int] = {"code": code, "value": decimal(integer, exponent)}
        if unit:
            row["unit"] = unit
        row |= annotations(code)
        if index in times:
            row["t"] = times[index]
        yield row
