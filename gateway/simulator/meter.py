"""A simulated meter: a household, its registers and a variant of P1; what it sends at an instant, and what is true."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isqrt
from typing import Any

from gateway.simulator import p1, sub_meters
from gateway.simulator.clock import wall, zone
from gateway.simulator.faults import Faults, Request
from gateway.simulator.house import FLICKER_S, Household
from gateway.simulator.registers import LOW, NORMAL, WS_PER_WH, GasReading, Registers
from gateway.simulator.values import Change, Lasting, Values, lasted
from gateway.simulator.variants import VARIANTS, Variant


class Meter:
    """A meter that can be asked about any instant from `start` on; cheapest when asked in order of time."""

    def __init__(  # noqa: PLR0913 - options by name
        self,
        seed: int = 1,
        variant: str | Variant = "dsmr5",
        start: datetime | None = None,
        *,
        solar_wp: int | None = None,
        sub_changes: Sequence[sub_meters.Change] = (),
        interval_s: float | None = None,
    ) -> None:
        """Raises ValueError for a name that is not in `VARIANTS`, for a start without a zone, and without a sub-meter.

        `sub_changes` count telegrams, one each `interval_s` (by default as the real meter sends them).
        """
        if isinstance(variant, str) and variant not in VARIANTS:
            raise ValueError(f"no simulated meter is called {variant!r}: choose one of {', '.join(VARIANTS)}")
        self.variant = VARIANTS[variant] if isinstance(variant, str) else variant
        self.seed = seed
        self.house = Household(seed, zone_name=self.variant.home_zone, solar_wp=solar_wp)
        self.start = _second(datetime.now(UTC) if start is None else start)
        self._clock = zone(self.variant.clock_zone)
        self._registers = Registers(self.house, self.start)
        self._state: p1.State | None = None
        if sub_changes and not self.variant.gas:
            raise ValueError(f"{self.variant.name} has no sub-meter: leave out its changes")
        step = interval_s or self.variant.interval_s
        self._sub_changes = tuple((kind, int(self.start + number * step)) for kind, number in sub_changes)
        self._step = step
        self._happened: tuple[Lasting, ...] = ()
        self._gas_then: dict[int, tuple[GasReading, GasReading]] = {}

    def faults(self, requests: tuple[Request, ...]) -> Faults:
        """What spoils its telegrams; raises ValueError for a fault that they cannot have."""
        return Faults(requests, seed=self.seed, checksum=self.variant.checksum)

    def values(self, requests: Sequence[Request]) -> Values:
        """What changes its values; what lasts holds from now on for everything that it is asked."""
        values = Values(requests, self.seed)
        happened = []
        for kind, number in values.lasting.items():
            at = int(self.start + number * self._step)
            registers, self._registers = self._registers, Registers(self.house, self.start)
            self._registers.advance(at)
            happened.append(Lasting(kind, at, self._measure(at)))
            self._registers = registers
        self._happened, self._state = tuple(happened), None
        return values

    def telegram_with(self, t: datetime, change: Change) -> bytes | None:
        """The telegram at `t` of a meter that knows something else; None where that makes no difference to a reader."""
        true, self._state = self.truth_at(t), change(self.state_at(t))
        try:
            return None if self.truth_at(t) == true else self.telegram_at(t)
        finally:
            self._state = None

    def telegram_at(self, t: datetime) -> bytes:
        """The telegram that the meter sends at `t` (whole seconds; the fraction is dropped)."""
        state, variant, _ = self._changed(self.state_at(t))
        return p1.telegram(state, variant)

    def truth_at(self, t: datetime) -> dict[str, Any]:
        """What a reader must find in `telegram_at(t)`: item P in W and Wh, the sub-meter; absent is left out.

        `t` and `t_meter` as item P shows them. A variant that shows fewer digits has fewer digits here.
        """
        state = self.state_at(t)
        step = self.variant.power_step_w
        p_import, p_export = state.p_import // step * step, state.p_export // step * step
        truth: dict[str, Any] = {
            "p_import_w": p_import,
            "p_export_w": p_export,
            "p_net_w": p_import - p_export,
            "a_import_wh": self._shown(state.a_import),
            "a_export_wh": self._shown(state.a_export),
        }
        if self.variant.clock:
            truth |= {"t": utc(state.t), "t_meter": wall(state.t, self._clock).isoformat()}
        if self.variant.gas:
            truth["sub"] = self._subs(state, self.variant.gas)
        return truth

    def security_at(self, t: datetime) -> dict[str, Any]:
        """What a truth line says of ciphering: nothing, a P1 telegram has none."""
        return {}

    def state_at(self, t: datetime) -> p1.State:
        """Everything that the meter knows at `t`; ValueError before the start of the simulation."""
        second = _second(t)
        if self._state is not None and self._state.t == second:
            return self._state
        if second < self.start:
            raise ValueError(f"the simulated meter starts at {utc(self.start)}, and was asked about {utc(second)}")
        if second < self._registers.t:
            self._registers = Registers(self.house, self.start)
        self._registers.advance(second)
        self._state = lasted(self._measure(second), self._happened, self.variant.register_wh)
        return self._state

    def _changed(self, state: p1.State) -> tuple[p1.State, Variant, list[int]]:
        if not self._sub_changes:
            return state, self.variant, [1]
        return sub_meters.changed(state, self.variant, self._sub_changes, self._gas_at)

    def _gas_at(self, second: int) -> tuple[GasReading, GasReading]:
        if second not in self._gas_then:
            registers = Registers(self.house, self.start)
            registers.advance(second)
            self._gas_then[second] = registers.gas_5min, registers.gas_hour
        return self._gas_then[second]

    def _subs(self, state: p1.State, gas: str) -> list[dict[str, Any]]:
        shown, _, channels = self._changed(state)
        has_time = not any(kind == "invalid" and state.t >= second for kind, second in self._sub_changes)
        readings = [getattr(shown, gas), getattr(shown, gas.replace("gas_", "beside_"))]
        return [
            sub_meters.shown(channel, reading, has_time=has_time, utc=utc)
            for channel, reading in zip(channels, readings, strict=False)
        ]

    def _measure(self, second: int) -> p1.State:
        registers, phases, reactive = self._registers, self.house.phases(second), self.house.reactive(second)
        net, var = sum(phases), sum(reactive)
        volts = [self._millivolt(phase, watts, second) for phase, watts in enumerate(phases)]
        return p1.State(
            t=second,
            serial=f"SIM{self.seed % 10**14:014d}",
            gas_serial=f"SIMG{self.seed % 10**13:013d}",
            low_tariff=bool(self.house.day(second // 86400).low_tariff[second // 60 % 1440]),
            a_import=_energy(registers.imported),
            a_export=_energy(registers.exported),
            r_import=registers.reactive[0] // WS_PER_WH,
            r_export=registers.reactive[1] // WS_PER_WH,
            p_import=max(net, 0),
            p_export=max(-net, 0),
            p_import_by=_positive(phases),
            p_export_by=_negative(phases),
            q_import=max(var, 0),
            q_export=max(-var, 0),
            q_import_by=_positive(reactive),
            q_export_by=_negative(reactive),
            voltage=p1.Phases(*volts),
            current=p1.Phases(*map(_milliampere, phases, reactive, volts)),
            demand=registers.demand,
            peak=registers.peak,
            peaks=registers.peaks,
            gas_5min=registers.gas_5min,
            gas_hour=registers.gas_hour,
        )

    def _shown(self, energy: p1.Energy) -> int:
        """Wh that a reader finds by adding the registers on the wire."""
        return sum(getattr(energy, tariff) % self.variant.register_wh for tariff in self.variant.tariffs)

    def _millivolt(self, phase: int, watts: int, second: int) -> int:
        """About 232 V at the transformer, less what 0.3 ohm of cable takes; it rises when the phase exports."""
        sway = self.house.flicker[phase][second // 7 % FLICKER_S] * 150
        return (232_000 + sway - watts * 1300 // 1000) // 100 * 100


def _milliampere(watts: int, var: int, millivolt: int) -> int:
    """The current that carries that power: apparent power over voltage."""
    return isqrt(watts * watts + var * var) * 1_000_000 // millivolt


def _positive(line: tuple[int, int, int]) -> p1.Phases:
    return p1.Phases(max(line[0], 0), max(line[1], 0), max(line[2], 0))


def _negative(line: tuple[int, int, int]) -> p1.Phases:
    return p1.Phases(max(-line[0], 0), max(-line[1], 0), max(-line[2], 0))


def _energy(watt_seconds: list[int]) -> p1.Energy:
    low, normal = watt_seconds[LOW], watt_seconds[NORMAL]
    return p1.Energy(low // WS_PER_WH, normal // WS_PER_WH, (low + normal) // WS_PER_WH)


def _second(t: datetime) -> int:
    if t.tzinfo is None:
        raise ValueError("a simulated meter needs a time with its zone")
    return int(t.timestamp() // 1)


def utc(second: int) -> str:
    """A second since 1970 as item P shows it."""
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")
