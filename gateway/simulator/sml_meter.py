"""Simulated SML meters of Germany: those since 2019 (FNN), the same before the PIN is entered, and those before (eHZ).

Their times are counters of seconds, so a reader has no clock of theirs. The eHZ tells the direction of its power in the
status word only, and its public key holds an escape sequence.
"""

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, Literal

from gateway.simulator import sml
from gateway.simulator.dice import dice
from gateway.simulator.faults import Faults, Request
from gateway.simulator.meter import Meter
from gateway.simulator.registers import INSTALLED
from gateway.simulator.variants import Variant

_WATT, _WATT_HOUR = 27, 30
#: 0-based scaler of energy: steps of 0.1 Wh, and of 1 kWh while the meter is locked
_FINE, _COARSE = -1, 3
_WH_PER_KWH = 1000
#: status words, and the bit in them that says export
_STATUS = {"fnn": (0x1C0104, 0x0800, 4), "ehz": (0x0182, 0x20, 2)}
#: octets of the start sequence, which no other place of a file has
_START = 8


@dataclass(frozen=True, slots=True)
class SmlVariant(Variant):
    """One kind of SML meter; its energy is whole Wh, so that nothing is rounded."""

    kind: Literal["fnn", "ehz"] = "fnn"
    locked: bool = False


def _variant(name: str, interval_s: float, kind: Literal["fnn", "ehz"], *, locked: bool = False) -> SmlVariant:
    return SmlVariant(
        name, "", "Europe/Berlin", "Europe/Berlin", interval_s=interval_s, baud=9600, tariffs=("total",),
        register_wh=10**11, gas=None, clock=False, kind=kind, locked=locked,
    )  # fmt: skip


SML = {
    variant.name: variant
    for variant in (
        _variant("de-sml", 1, "fnn"),
        _variant("de-sml-locked", 1, "fnn", locked=True),
        _variant("de-ehz", 4, "ehz"),
    )
}


class SmlMeter(Meter):
    """A meter that sends a file each interval."""

    variant: SmlVariant

    def __init__(self, seed: int = 1, variant: str = "de-sml", start: datetime | None = None) -> None:
        """Raises ValueError as `Meter` does."""
        if variant not in SML:
            raise ValueError(f"no simulated SML meter is called {variant!r}: choose one of {', '.join(SML)}")
        super().__init__(seed, SML[variant], start)
        key = dice(seed, "public key").randbytes(44)
        self._public_key = key[:20] + bytes.fromhex("1b1b1b1b") + key[20:]

    @property
    def server_id(self) -> bytes:
        """Ten octets: electricity, a manufacturer that is none, and a number."""
        return b"\x0a\x01SIM" + (self.seed % (1 << 40)).to_bytes(5, "big")

    def faults(self, requests: tuple[Request, ...]) -> Faults:
        """What spoils its files."""
        return SmlFaults(requests, seed=self.seed)

    def telegram_at(self, t: datetime) -> bytes:
        """The file at `t` as on the wire."""
        index = self.state_at(t).t - INSTALLED
        transaction = [(3 * index + place).to_bytes(4, "big") for place in range(3)]
        opened = sml.sequence(
            sml.ABSENT, sml.ABSENT, sml.octets(transaction[0]), sml.octets(self.server_id), sml.ABSENT, sml.ABSENT
        )
        values = sml.sequence(
            sml.ABSENT,
            sml.octets(self.server_id),
            sml.octets(bytes.fromhex("0100620affff")),
            sml.seconds(index),
            sml.sequence(*self._entries(t)),
            sml.ABSENT,
            sml.ABSENT,
        )
        return sml.file(
            sml.message(transaction[0], sml.OPEN, opened),
            sml.message(transaction[1], sml.GET_LIST, values),
            sml.message(transaction[2], sml.CLOSE, sml.sequence(sml.ABSENT)),
        )

    def truth_at(self, t: datetime) -> dict[str, Any]:
        """What a reader must find: a locked meter has no power, and whole kWh."""
        truth = super().truth_at(t)
        if not self.variant.locked:
            return truth
        return {key: wh // _WH_PER_KWH * _WH_PER_KWH for key, wh in truth.items() if key.startswith("a_")}

    def security_at(self, t: datetime) -> dict[str, Any]:
        """Nothing is ciphered."""
        return {"auth": "plain"}

    def _entries(self, t: datetime) -> list[bytes]:
        state, kind = self.state_at(t), self.variant.kind
        status, export, size = _STATUS[kind]
        word = sml.unsigned(status | (export if state.p_export else 0), size)
        net = state.p_import - state.p_export
        manufacturer = ("81 81 c7 82 03 ff", b"SIM") if kind == "ehz" else ("01 00 60 32 01 01", b"SIM")
        identity = "01 00 00 00 09 ff" if kind == "ehz" else "01 00 60 01 00 ff"
        entries = [
            _text(*manufacturer),
            _text(identity, self.server_id),
            self._energy("01 00 01 08 00 ff", state.a_import.total, word),
            self._energy("01 00 02 08 00 ff", state.a_export.total),
        ]
        if kind == "ehz":
            entries.append(_entry("01 00 0f 07 00 ff", sml.signed(abs(net) * 10, 4), _WATT, -1))
            entries.append(_text("81 81 c7 82 05 ff", self._public_key))
        elif not self.variant.locked:
            entries.append(_entry("01 00 10 07 00 ff", sml.signed(net, 4), _WATT, 0))
        return entries

    def _energy(self, code: str, wh: int, status: bytes = sml.ABSENT) -> bytes:
        if self.variant.locked:
            return _entry(code, sml.unsigned(wh // _WH_PER_KWH, 4), _WATT_HOUR, _COARSE, status)
        return _entry(code, sml.unsigned(wh * 10, 8), _WATT_HOUR, _FINE, status)


class SmlFaults(Faults):
    """Spoils files: a cut anywhere leaves no whole file, and a checksum covers every octet."""

    def _inside(self, _number: int, telegram: bytes, rng: Random) -> int:
        return rng.randint(1, len(telegram) - 1)

    def _covered(self, _number: int, telegram: bytes, rng: Random) -> int:
        return rng.randint(_START, len(telegram) - 1)


def _entry(code: str, value: bytes, unit: int, scaler: int, status: bytes = sml.ABSENT) -> bytes:
    """One row of the list: code, status, time, unit, scaler, value, signature."""
    described = sml.unsigned(unit, 1), sml.signed(scaler, 1)
    return sml.sequence(sml.octets(bytes.fromhex(code)), status, sml.ABSENT, *described, value, sml.ABSENT)


def _text(code: str, text: bytes) -> bytes:
    absent = [sml.ABSENT] * 4
    return sml.sequence(sml.octets(bytes.fromhex(code)), *absent, sml.octets(text), sml.ABSENT)
