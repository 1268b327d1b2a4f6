"""The grid meter JSON that dbus-mqtt-grid reads on Victron's Venus OS: W with import positive, and kWh.

Source: mr-manuel/venus-os_dbus-mqtt-grid, README and the parser of its driver, which shapes what is sent:
- every message restarts its time-out, also one without power: without net power nothing is sent;
- a phase that was there once keeps its last power: phases are all there or the reading is not sent (`phases`);
- its energy has no mark for a doubt: that of a suspect reading is left out;
- it divides power by voltage where no current is given: meters send current without a sign, so none is given.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from decoders.model import Reading, decimal
from gateway.item_p import ItemP
from gateway.settings import CompatSettings
from gateway.sinks.registers import exact
from gateway.sinks.topics import JSON, Message

_ENERGY = {"energy_forward": "a_import_wh", "energy_reverse": "a_export_wh"}

_encode = msgspec.json.Encoder().encode


def make(settings: CompatSettings) -> Callable[[ItemP], list[Message]]:
    """Build the format; `phases` (0, 1 or 3) says how many phases each message has beside the total."""

    def messages(item: ItemP) -> list[Message]:
        grid = _grid(item.reading, settings.phases)
        return (
            [] if grid is None else [Message(settings.topic, _encode({"grid": grid}), expires=True, content_type=JSON)]
        )

    return messages


def _grid(reading: Reading, phases: int) -> dict[str, Any] | None:
    """The total and its phases; None where the reading lacks one of them."""
    if reading.p_net_w is None:
        return None
    grid: dict[str, Any] = {"power": reading.p_net_w}
    for field, name in _ENERGY.items():
        value = getattr(reading, name)
        if value is not None and reading.quality != "suspect":
            grid[field] = _number(value, -3)
    found = exact(reading.registers)
    for number in range(1, phases + 1):
        phase = _phase(reading, found, f"l{number}")
        if phase is None:
            return None
        grid[f"L{number}"] = phase
    return grid


def _phase(reading: Reading, found: Mapping[str, tuple[int, int]], name: str) -> dict[str, Any] | None:
    power = _net(reading, found.get(f"{name}_p_import_w"), found.get(f"{name}_p_export_w"))
    if power is None:
        return None
    phase: dict[str, Any] = {"power": _number(*power)}
    for field, register in (("voltage", f"{name}_voltage_v"), ("frequency", "frequency_hz")):
        if register in found:
            phase[field] = _number(*found[register])
    return phase


def _net(
    reading: Reading, imported: tuple[int, int] | None, exported: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Import less export, exact. A meter that has no export at all (its net power is its import) has none by phase."""
    if exported is None and reading.p_export_w is None and reading.p_net_w == reading.p_import_w:
        return imported
    if imported is None or exported is None:
        return None
    low = min(imported[1], exported[1])
    return imported[0] * 10 ** (imported[1] - low) - exported[0] * 10 ** (exported[1] - low), low


def _number(integer: int, exponent: int) -> msgspec.Raw:
    return msgspec.Raw(decimal(integer, exponent).encode())
