"""Topics `register/<name>`: which register (OBIS, IEC 62056-6-1) has which name, in which unit, with which deadband."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from decoders.model import Register, decimal


class Named(NamedTuple):
    """A register that can have a topic of its own; its name ends in the unit of what is published."""

    code: str
    #: unit published; a register that comes in another quantity is not published
    unit: str
    #: a change up to this is not published, in thousandths of `unit`; 0: every change is
    deadband_milli: int


_PHASES = (("l1", 20), ("l2", 40), ("l3", 60))

#: name in the settings and in the topic -> register. The names are public (docs/mqtt.md).
NAMES: dict[str, Named] = {
    **{f"{phase}_voltage_v": Named(f"1-0:{group + 12}.7.0", "V", 500) for phase, group in _PHASES},
    **{f"{phase}_current_a": Named(f"1-0:{group + 11}.7.0", "A", 50) for phase, group in _PHASES},
    **{f"{phase}_p_import_w": Named(f"1-0:{group + 1}.7.0", "W", 10_000) for phase, group in _PHASES},
    **{f"{phase}_p_export_w": Named(f"1-0:{group + 2}.7.0", "W", 10_000) for phase, group in _PHASES},
    **{f"a_import_t{rate}_wh": Named(f"1-0:1.8.{rate}", "Wh", 0) for rate in (1, 2, 3, 4)},
    **{f"a_export_t{rate}_wh": Named(f"1-0:2.8.{rate}", "Wh", 0) for rate in (1, 2, 3, 4)},
    "q_import_var": Named("1-0:3.7.0", "var", 10_000),
    "q_export_var": Named("1-0:4.7.0", "var", 10_000),
    "r_import_varh": Named("1-0:3.8.0", "varh", 0),
    "r_export_varh": Named("1-0:4.8.0", "varh", 0),
    "frequency_hz": Named("1-0:14.7.0", "Hz", 20),
    "power_factor": Named("1-0:13.7.0", "", 10),
    "demand_import_w": Named("1-0:1.4.0", "W", 10_000),
    "demand_import_max_w": Named("1-0:1.6.0", "W", 0),
}

#: unit as decoded -> (unit without prefix, power of ten)
_PREFIXED = {
    "kW": ("W", 3),
    "kWh": ("Wh", 3),
    "MWh": ("Wh", 6),
    "kvar": ("var", 3),
    "kvarh": ("varh", 3),
    "mV": ("V", -3),
    "mA": ("A", -3),
    "kV": ("V", 3),
    "kA": ("A", 3),
    "kHz": ("Hz", 3),
}


_BY_CODE = {named.code: name for name, named in NAMES.items()}


def exact(registers: Iterable[Register]) -> dict[str, tuple[int, int]]:
    """Give (integer, exponent) in the unit of the name of each register that NAMES holds."""
    found = {}
    for code, integer, exponent, unit in registers:
        name = _BY_CODE.get(code)
        if name is not None:
            base, power = _PREFIXED.get(unit, (unit, 0))
            if base == NAMES[name].unit:
                found[name] = (integer, exponent + power)
    return found


class RegisterChanges:
    """Picks the chosen registers out of each reading, and of these the ones that changed since they were published."""

    def __init__(self, names: Iterable[str]) -> None:
        """Choose registers by their names; raises KeyError for a name that NAMES does not hold."""
        self._chosen = {NAMES[name].code: (name, NAMES[name]) for name in names}
        self._published: dict[str, int] = {}

    def forget(self) -> None:
        """Publish every register again: the subscribers of a new connection know none."""
        self._published.clear()

    def take(self, registers: Iterable[Register]) -> Iterator[tuple[str, str]]:
        """Yield (name, exact decimal in the unit of the name) of each chosen register beyond its deadband."""
        if not self._chosen:
            return
        for code, integer, exponent, unit in registers:
            if code in self._chosen:
                name, named = self._chosen[code]
                base, power = _PREFIXED.get(unit, (unit, 0))
                if base == named.unit and self._changed(name, integer, exponent + power, named.deadband_milli):
                    yield name, decimal(integer, exponent + power)

    def _changed(self, name: str, integer: int, exponent: int, deadband_milli: int) -> bool:
        micro = integer * 10 ** (exponent + 6) if exponent >= -6 else integer // 10 ** -(exponent + 6)
        before = self._published.get(name)
        if before is not None and abs(micro - before) <= deadband_milli * 1_000:
            return False
        self._published[name] = micro
        return True
