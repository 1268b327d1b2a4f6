"""A simulated electricity meter on a wired M-Bus that a master asks: what a reader hears who listens to both.

Each interval the master's REQ_UD2 and the meter's answer (EN 13757-2 and -3): variable data structure, phases before
the total, export as VIFE 3C, a copy of the day before, fillers at the end. The meter sends no time.
"""

from datetime import datetime
from random import Random
from typing import Any

from gateway.simulator.faults import Faults, Request
from gateway.simulator.meter import Meter
from gateway.simulator.registers import INSTALLED
from gateway.simulator.variants import Variant

#: primary address of the meter
_ADDRESS = 5
#: REQ_UD2, with the frame count bit and without
_ASK = (0x7B, 0x5B)
#: octets of REQ_UD2, and of the answer's head L L 68 that no sum covers but that have to agree
_ASKED = 5
#: a manufacturer that is none, version 1, electricity
_MAKER = sum((ord(letter) - 64) << shift for letter, shift in zip("SIM", (10, 5, 0), strict=True))

MBUS = {
    "mbus": Variant(
        "mbus", "", "Europe/Berlin", "Europe/Berlin", interval_s=10, baud=2400, framing="8E1", tariffs=("total",),
        register_wh=10**8, gas=None, clock=False,
    )
}  # fmt: skip


class MbusMeter(Meter):
    """A meter whose answer is heard each interval."""

    def __init__(self, seed: int = 1, variant: str = "mbus", start: datetime | None = None) -> None:
        """Raises ValueError as `Meter` does."""
        if variant not in MBUS:
            raise ValueError(f"no simulated M-Bus meter is called {variant!r}: choose one of {', '.join(MBUS)}")
        super().__init__(seed, MBUS[variant], start)

    def faults(self, requests: tuple[Request, ...]) -> Faults:
        """What spoils its answers."""
        return MbusFaults(requests, seed=self.seed)

    def telegram_at(self, t: datetime) -> bytes:
        """Request and answer at `t` as on the wire."""
        state = self.state_at(t)
        number = state.t - INSTALLED
        net = state.p_import - state.p_export
        header = _digits(self.seed % 10**8, 4) + _MAKER.to_bytes(2, "little") + bytes([1, 2, number & 0xFF, 0, 0, 0])
        records = [
            b"\x0c\x03" + _digits(state.a_import.total % 10**8, 4),
            b"\x0c\x83\x3c" + _digits(state.a_export.total % 10**8, 4),
            *[
                b"\x04\xab\xff" + bytes([phase]) + _signed(drawn - fed)
                for phase, (drawn, fed) in enumerate(zip(state.p_import_by, state.p_export_by, strict=True), 1)
            ],
            b"\x04\x2b" + _signed(net),
            b"\x4c\x03" + _digits(state.a_import.total // 2 % 10**8, 4),
            b"\x02\xfd\x48" + (state.voltage.l1 // 100).to_bytes(2, "little"),
            b"\x2f\x2f",
        ]
        return _short(_ASK[number & 1]) + _long(bytes([0x08, _ADDRESS, 0x72]) + header + b"".join(records))

    def security_at(self, t: datetime) -> dict[str, Any]:
        """Nothing is ciphered."""
        return {"auth": "plain"}


class MbusFaults(Faults):
    """Spoils answers: the sum covers every octet of them, and a request says nothing."""

    def _inside(self, _number: int, telegram: bytes, rng: Random) -> int:
        return rng.randint(_ASKED + 1, len(telegram) - 1)

    def _covered(self, _number: int, telegram: bytes, rng: Random) -> int:
        return rng.randint(_ASKED, len(telegram) - 1)


def _short(control: int) -> bytes:
    return bytes([0x10, control, _ADDRESS, (control + _ADDRESS) & 0xFF, 0x16])


def _long(body: bytes) -> bytes:
    return bytes([0x68, len(body), len(body), 0x68]) + body + bytes([sum(body) & 0xFF, 0x16])


def _digits(number: int, size: int) -> bytes:
    """BCD, two digits an octet, the last ones first."""
    return bytes.fromhex(f"{number:0{2 * size}d}")[::-1]


def _signed(watts: int) -> bytes:
    return watts.to_bytes(4, "little", signed=True)
