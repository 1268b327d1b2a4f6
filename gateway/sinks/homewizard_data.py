"""A reading as the JSON of `/api/v1/data` of a HomeWizard P1 meter (HWE-P1): its names, exact numbers, absent left out.

Names, types and signs: HomeWizard's API documentation, v1, "Recent measurement", with its spelling `montly_power_peak`.
A number is printed from its exact decimal, never through a float.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from decoders.model import Reading, decimal
from gateway.item_p import ItemP, LiveSub
from gateway.sinks.electric import Electric, Exact, Phase, electric
from gateway.sinks.local_time import stamp

#: medium of a sub-meter -> `type` in `external`
TYPES = {"gas": "gas_meter", "heat": "heat_meter", "warm water": "warm_water_meter", "water": "water_meter"}
DEMAND_MAX = "1-0:1.6.0"


class Energy(NamedTuple):
    """Totals in Wh, each None where unknown, and the tariffs that add up to them."""

    a_import_wh: int | None
    a_export_wh: int | None
    a_import: Mapping[int, int]
    a_export: Mapping[int, int]


def energy(reading: Reading) -> Energy:
    """The energy of a telegram; of a meter without tariffs the total is that of its one tariff, as clients sum them."""
    found = electric(reading)
    return Energy(
        reading.a_import_wh,
        reading.a_export_wh,
        _tariffs(reading.a_import_wh, found.a_import),
        _tariffs(reading.a_export_wh, found.a_export),
    )


def data(item: ItemP, last: Energy | None, zone: ZoneInfo, equipment: str) -> bytes:
    """The JSON object of a reading that has `p_net_w`.

    `last` is the latest energy of the meter: where the reading carries energy (`ItemP.carried`), its tariffs go with
    the totals if these are the same ones.
    """
    known = dict(_fields(item, last, zone, equipment))
    return msgspec.json.encode({name: value for name, value in known.items() if value is not None})


def _fields(item: ItemP, last: Energy | None, zone: ZoneInfo, equipment: str) -> Iterator[tuple[str, Any]]:
    reading = item.reading
    found = electric(reading)
    yield "smr_version", 50
    yield "meter_model", f"meterd {reading.profile}"
    yield "unique_id", _text(equipment)
    yield "active_tariff", found.tariff
    yield from _energy(_latest(item, last))
    yield "active_power_w", reading.p_net_w
    yield from _phases(found.phases)
    yield "active_frequency_hz", _number(found.frequency)
    yield from found.counts.items()
    yield "active_power_average_w", _number(found.demand)
    yield from _peak(reading, found)
    yield from _gas(item.subs, zone)
    external = [_external(sub, zone) for sub in item.subs if sub.reading.medium in TYPES and _is_whole(sub)]
    yield "external", external or None


def _latest(item: ItemP, last: Energy | None) -> Energy | None:
    """The energy of the reading, or the one that it carries."""
    if item.carried is None:
        return energy(item.reading)
    totals = (item.carried.a_import_wh, item.carried.a_export_wh)
    return last if last is not None and last[:2] == totals else Energy(*totals, {}, {})


def _energy(latest: Energy | None) -> Iterator[tuple[str, Any]]:
    if latest is None:
        return
    rows = (("import", latest.a_import_wh, latest.a_import), ("export", latest.a_export_wh, latest.a_export))
    for direction, total, tariffs in rows:
        yield f"total_power_{direction}_kwh", _kwh(total)
        for tariff, value in tariffs.items():
            yield f"total_power_{direction}_t{tariff}_kwh", _kwh(value)


def _tariffs(total: int | None, tariffs: Mapping[int, int]) -> Mapping[int, int]:
    return tariffs or ({} if total is None else {1: total})


def _phases(phases: tuple[Phase, Phase, Phase]) -> Iterator[tuple[str, Any]]:
    """Net power, voltage and current of each phase.

    Where one phase is all there is, its current is the meter's too: SmartEVSE reads `active_current_a` then, and takes
    it for 0 A when it is not there.
    """
    currents = [_signed(phase) for phase in phases]
    for n, (phase, current) in enumerate(zip(phases, currents, strict=True), 1):
        yield f"active_power_l{n}_w", phase.net_w
        yield f"active_voltage_l{n}_v", _number(phase.voltage)
        yield f"active_current_l{n}_a", _number(current)
    known = [current for current in currents if current is not None]
    if len(known) == 1:
        yield "active_current_a", _number(known[0])


def _signed(phase: Phase) -> Exact | None:
    """The current with the sign of its phase's net power."""
    if phase.current is None or phase.net_w is None or phase.net_w >= 0:
        return phase.current
    return Exact(-abs(phase.current.integer), phase.current.exponent)


def _peak(reading: Reading, found: Electric) -> Iterator[tuple[str, Any]]:
    """The highest quarter of an hour of the month, with the wall clock that the meter put to it."""
    times = dict(reading.register_times)
    place = next((i for i, (code, *_) in enumerate(reading.registers) if code == DEMAND_MAX), None)
    if found.demand_max is not None and place in times:
        yield "montly_power_peak_w", _number(found.demand_max)
        yield "montly_power_peak_timestamp", int("".join(c for c in times[place][2:19] if c.isdigit()))


def _gas(subs: tuple[LiveSub, ...], zone: ZoneInfo) -> Iterator[tuple[str, Any]]:
    """The gas meter beside `external`, where old clients look for it; of several the newest."""
    gas = [sub for sub in subs if sub.reading.medium == "gas" and sub.reading.unit == "m3" and _is_whole(sub)]
    for sub in sorted(gas, key=_time)[-1:]:
        shown = _external(sub, zone)
        yield "total_gas_m3", shown["value"]
        yield "gas_timestamp", shown["timestamp"]
        yield "gas_unique_id", shown["unique_id"]


def _time(sub: LiveSub) -> float:
    return sub.reading.t.timestamp() if sub.reading.t else 0.0


def _is_whole(sub: LiveSub) -> bool:
    """Whether a client finds all that it needs: clients fail on an entry without identification or time."""
    return sub.device is not None and sub.reading.t is not None and sub.reading.quality == "measured"


def _external(sub: LiveSub, zone: ZoneInfo) -> dict[str, Any]:
    reading = sub.reading
    assert sub.device is not None  # noqa: S101
    assert reading.t is not None  # noqa: S101
    return {
        "unique_id": _text(sub.device),
        "type": TYPES.get(reading.medium),
        "timestamp": int(stamp(reading.t, zone)),
        "value": _number(Exact(reading.integer, reading.exponent)),
        "unit": reading.unit,
    }


def _kwh(value: int | None) -> msgspec.Raw | None:
    return None if value is None else _number(Exact(value, -3))


def _number(value: Exact | None) -> msgspec.Raw | None:
    """An exact decimal as a JSON number."""
    return None if value is None else msgspec.Raw(decimal(*value).encode())


def _text(text: str) -> str:
    """A text as octets in hexadecimal digits, as DSMR and this API write identifications."""
    return text.encode("ascii").hex().upper()
