"""The topics under which DSMR-reader publishes a telegram field by field, `dsmr/reading/...` by its default.

Source: dsmrreader/dsmr-reader, settings of "(Data source) Telegram: Split topic" and its model of a reading: power in
kW, energy in kWh, gas in m3, times in UTC. "Delivered" is what the grid delivered: import. Unlike DSMR-reader meterd
retains nothing and sends no empty payload for what is absent, and no energy in doubt, because readers
add up its rises. `id`, a row of its database, has no counterpart.
"""

from collections.abc import Callable, Iterator, Mapping

from decoders.model import SubReading, decimal
from gateway.item_p import ItemP, utc
from gateway.settings import CompatSettings
from gateway.sinks.registers import exact
from gateway.sinks.topics import Message

_POWER = {"electricity_currently_delivered": "p_import_w", "electricity_currently_returned": "p_export_w"}
_ENERGY = {"delivered": ("a_import_wh", "a_import_t"), "returned": ("a_export_wh", "a_export_t")}
#: field -> (name of the register, power of ten from its unit to that of the field)
_REGISTERS = {
    **{f"phase_currently_delivered_l{n}": (f"l{n}_p_import_w", -3) for n in (1, 2, 3)},
    **{f"phase_currently_returned_l{n}": (f"l{n}_p_export_w", -3) for n in (1, 2, 3)},
    **{f"phase_voltage_l{n}": (f"l{n}_voltage_v", 0) for n in (1, 2, 3)},
    **{f"phase_power_current_l{n}": (f"l{n}_current_a", 0) for n in (1, 2, 3)},
}


def make(settings: CompatSettings) -> Callable[[ItemP], list[Message]]:
    """Build the format; `topic` is what stands before the name of the field."""
    prefix = settings.topic

    def messages(item: ItemP) -> list[Message]:
        return [Message(f"{prefix}/{field}", value.encode(), expires=True) for field, value in _fields(item)]

    return messages


def _fields(item: ItemP) -> Iterator[tuple[str, str]]:
    time = utc(item.t, "seconds")
    if time is not None:
        yield "timestamp", time
    for field, name in _POWER.items():
        value = getattr(item.reading, name)
        if value is not None:
            yield field, decimal(value, -3)
    found = exact(item.reading.registers)
    for direction, (total, rate) in _ENERGY.items() if item.reading.quality != "suspect" else ():
        yield from _energy(direction, getattr(item.reading, total), rate, found)
    for field, (name, power) in _REGISTERS.items():
        if name in found:
            yield field, _scaled(found[name], power)
    yield from _gas(tuple(live.reading for live in item.subs))


def _energy(
    direction: str, total: int | None, rate: str, found: Mapping[str, tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    """Tariffs 1 and 2 where the meter has these two; else the total as tariff 1, as for its meters of one tariff."""
    names = [f"{rate}{number}_wh" in found for number in (1, 2, 3, 4)]
    if any(names[:2]) and not any(names[2:]):
        for number in (1, 2):
            if names[number - 1]:
                yield f"electricity_{direction}_{number}", _scaled(found[f"{rate}{number}_wh"], -3)
    elif total is not None:
        yield f"electricity_{direction}_1", decimal(total, -3)


def _gas(subs: tuple[SubReading, ...]) -> Iterator[tuple[str, str]]:
    """The gas meter that has a time, is not silent and not in doubt; of several the newest."""
    gas = (sub for sub in subs if (sub.medium, sub.unit) == ("gas", "m3") and sub.quality != "suspect")
    timed = [(sub.t, sub) for sub in gas if sub.t is not None]
    if timed:
        time, newest = max(timed, key=lambda pair: pair[0])
        yield "extra_device_timestamp", utc(time, "seconds") or ""
        yield "extra_device_delivered", decimal(newest.integer, newest.exponent)


def _scaled(value: tuple[int, int], power: int) -> str:
    integer, exponent = value
    return decimal(integer, exponent + power)
