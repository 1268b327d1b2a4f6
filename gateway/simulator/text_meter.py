"""Simulated meters that push text and are no P1: a data block of IEC 62056-21 with BCC, and Linky in both of its modes.

Written from IEC 62056-21:2002 (clauses 5.8 and 6) and Enedis-NOI-CPT_54E. A Linky says apparent power only; the labels,
their order and their digits are those of a one-phase consumer with a solar plant.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from math import isqrt
from operator import xor
from random import Random
from typing import Any, TypeAlias

from gateway.simulator.clock import wall
from gateway.simulator.faults import Faults, Request
from gateway.simulator.meter import Meter
from gateway.simulator.p1 import State
from gateway.simulator.variants import Variant

#: writes the telegram of a state, whose local time is given with its zone
Encoder: TypeAlias = Callable[[State, datetime], bytes]

_VOLT = 230
_DIGITS_9 = 10**9


@dataclass(frozen=True, slots=True)
class TextVariant(Variant):
    """One kind of meter, with what a reader can find in its telegrams."""

    truths: tuple[str, ...] = ()
    #: the zone of the meter's clock is known to whoever reads it
    zone_known: bool = True


def block(state: State, local: datetime) -> bytes:
    """A data block: identification, STX, data sets, `!`, ETX, BCC."""
    summer = int(bool(local.dst()))
    lines = (
        "F.F(00000000)",
        f"0.0.0({state.serial})",
        f"0.9.1({local:%H%M%S})",
        f"0.9.2({summer}{local:%y%m%d})",
        f"1.7.0({_kilo(state.p_import, 3)}*kW)",
        f"2.7.0({_kilo(state.p_export, 3)}*kW)",
        f"1.8.0({_kilo(state.a_import.total, 7)}*kWh)",
        f"1.8.0*01({_kilo(state.a_import.total - 123_456, 7)}*kWh)",
        f"2.8.0({_kilo(state.a_export.total, 7)}*kWh)",
        f"32.7.0({state.voltage.l1 // 1000}.{state.voltage.l1 // 100 % 10}*V)",
        "C.7.0(0003)",
    )
    covered = "".join(f"{line}\r\n" for line in lines).encode() + b"!\r\n\x03"
    return b"/SIM5METER-D0\r\n\x02" + covered + bytes([reduce(xor, covered)])


def historique(state: State, _: datetime) -> bytes:
    """A frame in historique mode, contract with off-peak hours."""
    drawn = _volt_ampere(state.p_import, state.q_import + state.q_export)
    return _frame(
        " ",
        f"ADCO {_address(state)}",
        "OPTARIF HC..",
        "ISOUSC 45",
        f"HCHC {state.a_import.low % _DIGITS_9:09}",
        f"HCHP {state.a_import.normal % _DIGITS_9:09}",
        f"PTEC {'HC' if state.low_tariff else 'HP'}..",
        f"IINST {drawn // _VOLT:03}",
        "IMAX 090",
        f"PAPP {drawn // 10 * 10:05}",
        "HHPHC A",
        "MOTDETAT 000000",
    )


def standard(state: State, local: datetime) -> bytes:
    """A frame in standard mode, a consumer who feeds in."""
    var = state.q_import + state.q_export
    drawn = _volt_ampere(state.p_import, var if state.p_import else 0)
    fed = _volt_ampere(state.p_export, var if state.p_export else 0)
    time = f"{'E' if local.dst() else 'H'}{local:%y%m%d%H%M%S}"
    return _frame(
        "\t",
        f"ADSC\t{_address(state)}",
        "VTIC\t02",
        f"DATE\t{time}\t",
        "NGTF\tH PLEINE/CREUSE ",
        f"LTARF\t{' HEURE  CREUSE  ' if state.low_tariff else '  HEURE  PLEINE '}",
        f"EAST\t{state.a_import.total % _DIGITS_9:09}",
        f"EASF01\t{state.a_import.low % _DIGITS_9:09}",
        f"EASF02\t{state.a_import.normal % _DIGITS_9:09}",
        f"EAIT\t{state.a_export.total % _DIGITS_9:09}",
        f"IRMS1\t{max(drawn, fed) // _VOLT:03}",
        f"URMS1\t{state.voltage.l1 // 1000:03}",
        "PREF\t09",
        "PCOUP\t09",
        f"SINSTS\t{drawn:05}",
        f"SMAXSN\t{time}\t{drawn:05}",
        f"SINSTI\t{fed:05}",
        f"UMOY1\t{time}\t{state.voltage.l1 // 1000:03}",
        "STGE\t003A0001",
        "MSG1\tPAS DE          MESSAGE         ",
        "PRM\t00000000000000",
        "NTARF\t01",
    )


ENCODERS: dict[str, Encoder] = {"d0-block": block, "fr-historique": historique, "fr-standard": standard}


def _variant(name: str, zone: str, interval_s: float, baud: int, truths: tuple[str, ...], **more: Any) -> TextVariant:
    return TextVariant(
        name, "", zone, zone, interval_s=interval_s, baud=baud, framing="7E1", gas=None, truths=truths, **more
    )


_POWER = ("p_import_w", "p_export_w", "p_net_w")
_ENERGY = ("a_import_wh", "a_export_wh")
TEXTS = {
    variant.name: variant
    for variant in (
        _variant(
            "d0-block", "Europe/Ljubljana", 2, 9600, (*_POWER, *_ENERGY, "t_meter"),
            tariffs=("total",), register_wh=10**10, zone_known=False,
        ),
        _variant("fr-historique", "Europe/Paris", 2, 1200, ("a_import_wh",), register_wh=_DIGITS_9),
        _variant(
            "fr-standard", "Europe/Paris", 2, 9600, (*_ENERGY, "t", "t_meter"),
            tariffs=("total",), register_wh=_DIGITS_9,
        ),
    )
}  # fmt: skip


class TextMeter(Meter):
    """A meter that sends such a telegram each interval."""

    variant: TextVariant

    def __init__(self, seed: int = 1, variant: str = "fr-standard", start: datetime | None = None) -> None:
        """Raises ValueError as `Meter` does."""
        if variant not in TEXTS:
            raise ValueError(f"no simulated meter is called {variant!r}: choose one of {', '.join(TEXTS)}")
        super().__init__(seed, TEXTS[variant], start)

    def faults(self, requests: tuple[Request, ...]) -> Faults:
        """What spoils its telegrams."""
        return TextFaults(requests, seed=self.seed, checksum=False)

    def telegram_at(self, t: datetime) -> bytes:
        """The telegram at `t` as on the wire."""
        state = self.state_at(t)
        return ENCODERS[self.variant.name](state, wall(state.t, self._clock))

    def truth_at(self, t: datetime) -> dict[str, Any]:
        """What a reader must find: no power of a Linky, and no offset where nobody knows the zone."""
        truth = {key: value for key, value in super().truth_at(t).items() if key in self.variant.truths}
        if not self.variant.zone_known:
            truth["t_meter"] = truth["t_meter"][:19]
        return truth


class TextFaults(Faults):
    """Spoils telegrams whose checksums are short: what is damaged or merged may pass by chance, so nobody can tell."""

    def _inside(self, _number: int, telegram: bytes, rng: Random) -> int:
        return rng.randint(telegram.index(b"\x02") + 1, len(telegram) - 8)

    def _covered(self, _number: int, telegram: bytes, rng: Random) -> int:
        return rng.randint(telegram.index(b"\x02") + 1, len(telegram) - 2)


def _frame(separator: str, *groups: str) -> bytes:
    """STX, the groups with their checksums, ETX."""
    return b"\x02" + b"".join(_group(group, separator) for group in groups) + b"\x03"


def _group(text: str, separator: str) -> bytes:
    """LF, text, separator, checksum, CR; in standard mode the sum goes over the separator, too."""
    covered = text + separator if separator == "\t" else text
    return f"\n{text}{separator}{chr(sum(covered.encode()) % 64 + 32)}\r".encode()


def _kilo(value: int, digits: int) -> str:
    """Thousandths of the unit on the line, as many digits before the point."""
    return f"{value // 1000 % 10**digits:0{digits}}.{value % 1000:03}"


def _volt_ampere(watts: int, var: int) -> int:
    """Apparent power; five digits hold it."""
    return min(99_999, isqrt(watts * watts + var * var))


def _address(state: State) -> str:
    """Twelve digits."""
    return state.serial[-12:]
