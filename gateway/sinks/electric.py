"""What compatibility outputs say beyond item P: tariffs, phases, counts; exact, and only what the telegram said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from decoders.model import Reading, Register
from gateway.sinks.registers import exact

#: OBIS of plain counts -> what they count (DSMR P1 5.0.2, clause 6.12)
COUNTS = {
    "0-0:96.7.21": "any_power_fail_count",
    "0-0:96.7.9": "long_power_fail_count",
    **{f"1-0:{group}.32.0": f"voltage_sag_l{n}_count" for n, group in ((1, 32), (2, 52), (3, 72))},
    **{f"1-0:{group}.36.0": f"voltage_swell_l{n}_count" for n, group in ((1, 32), (2, 52), (3, 72))},
}
_TARIFF = "0-0:96.14.0"


class Exact(NamedTuple):
    """integer * 10**exponent in V, A, Hz, W or Wh."""

    integer: int
    exponent: int


class Phase(NamedTuple):
    """One phase; powers in W, >= 0, each None where it is unknown."""

    voltage: Exact | None = None
    current: Exact | None = None
    p_import_w: int | None = None
    p_export_w: int | None = None

    @property
    def net_w(self) -> int | None:
        """Import minus export in W when both are known."""
        if self.p_import_w is None or self.p_export_w is None:
            return None
        return self.p_import_w - self.p_export_w


@dataclass(frozen=True, slots=True)
class Electric:
    """The registers of one telegram by their meaning; a register that stands twice is none."""

    #: tariff -> Wh, cut; they add up to the energy of item P, or there are none: readers take their sum for the total
    a_import: Mapping[int, int]
    a_export: Mapping[int, int]
    #: the tariff in force
    tariff: int | None
    phases: tuple[Phase, Phase, Phase]
    #: name of COUNTS -> count
    counts: Mapping[str, int]
    frequency: Exact | None
    #: mean power of the running quarter of an hour, highest of the month (W)
    demand: Exact | None
    demand_max: Exact | None


def electric(reading: Reading) -> Electric:
    """Read the registers of a telegram."""
    registers = _once(reading.registers)
    found = {name: Exact(*value) for name, value in exact(registers.values()).items()}
    return Electric(
        a_import=_tariffs(found, "a_import", reading.a_import_wh),
        a_export=_tariffs(found, "a_export", reading.a_export_wh),
        tariff=_whole(registers.get(_TARIFF)),
        phases=(_phase(found, 1), _phase(found, 2), _phase(found, 3)),
        counts={name: n for code, name in COUNTS.items() if (n := _whole(registers.get(code))) is not None},
        frequency=found.get("frequency_hz"),
        demand=found.get("demand_import_w"),
        demand_max=found.get("demand_import_max_w"),
    )


def powers(reading: Reading) -> tuple[int | None, int | None]:
    """P+ and P- in W. Where the net is all that the meter measures, the other direction is 0 by its own definition."""
    if reading.p_net_w is None:
        return reading.p_import_w, reading.p_export_w
    return reading.p_import_w or 0, reading.p_export_w or 0


def cut(value: Exact, decimals: int) -> int:
    """Give the value in units of 10**-decimals, cut toward zero."""
    power = value.exponent + decimals
    sign = 1 if value.integer >= 0 else -1
    scale: int = 10 ** abs(power)
    return value.integer * scale if power >= 0 else sign * (abs(value.integer) // scale)


def nearest(value: Exact, decimals: int) -> int:
    """Give the value in units of 10**-decimals, rounded half away from zero."""
    finer = cut(value, decimals + 1)
    return (abs(finer) + 5) // 10 * (1 if finer >= 0 else -1)


def _once(registers: tuple[Register, ...]) -> dict[str, Register]:
    found: dict[str, Register] = {}
    twice = set()
    for register in registers:
        if found.setdefault(register[0], register) is not register:
            twice.add(register[0])
    return {code: register for code, register in found.items() if code not in twice}


def _tariffs(found: Mapping[str, Exact], direction: str, total: int | None) -> dict[int, int]:
    names = {number: f"{direction}_t{number}_wh" for number in (1, 2, 3, 4)}
    tariffs = {n: cut(found[name], 0) for n, name in names.items() if name in found and found[name].integer >= 0}
    # Each is cut, so that their sum may lack up to 1 Wh for each.
    complete = total is not None and 0 <= total - sum(tariffs.values()) < max(1, len(tariffs))
    return tariffs if complete else {}


def _phase(found: Mapping[str, Exact], number: int) -> Phase:
    drawn, fed = (_watts(found.get(f"l{number}_p_{direction}_w")) for direction in ("import", "export"))
    if drawn is not None and drawn < 0 and fed is None:
        drawn, fed = 0, -drawn
    return Phase(
        voltage=found.get(f"l{number}_voltage_v"),
        current=found.get(f"l{number}_current_a"),
        p_import_w=drawn if drawn is None or drawn >= 0 else None,
        p_export_w=fed if fed is None or fed >= 0 else None,
    )


def _watts(value: Exact | None) -> int | None:
    return None if value is None else cut(value, 0)


def _whole(register: Register | None) -> int | None:
    """A plain count: a whole number that is not negative."""
    if register is None or register[2] != 0 or register[3] or register[1] < 0:
        return None
    return register[1]
