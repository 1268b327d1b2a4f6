"""Which ports there are, and who has them; nothing is opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.control import ControlError, ask, socket_path
from gateway.settings import MeterSettings
from gateway.settings_rules import port_identity
from gateway.sources.serial import occupied

DEVICES = Path("/dev")
#: names that survive replugging; a host without udev has none
STABLE = "serial/by-id"
#: what a USB adapter, a board's own UART and a gadget are called otherwise
OTHERS = ("ttyUSB*", "ttyACM*", "ttyAMA*")


@dataclass(frozen=True, slots=True)
class Port:
    """A port, and who has it: a sentence, empty when it is free."""

    name: str
    holder: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The port for a program."""
        return {"port": self.name, "holder": self.holder or None}


def found(taken: Mapping[str, str], devices: Path = DEVICES) -> list[Port]:
    """Ports of this machine: by their stable names, those without one by their number. `taken` as of `in_use`."""
    stable = sorted((devices / STABLE).glob("*"))
    behind = {path.resolve() for path in stable}
    others = [path for pattern in OTHERS for path in sorted(devices.glob(pattern)) if path.resolve() not in behind]
    return [look(str(path), taken) for path in (*stable, *others)]


def look(name: str, taken: Mapping[str, str]) -> Port:
    """Say who has a port, without opening it."""
    if holder := taken.get(port_identity(name)):
        return Port(name, holder)
    event = None if "://" in name else occupied(name)
    return Port(name, event.detail if event else "")


def in_use(meters: tuple[MeterSettings, ...], socket: str | Path) -> dict[str, str]:
    """Ports of a configuration and of the running daemon, by their identity, with who has them."""
    taken = {port_identity(meter.port): f"it is meter {meter.name} of this configuration" for meter in meters}
    try:
        status = ask(socket_path(socket), "status")
    except ControlError:
        return taken
    return taken | {
        port_identity(meter["port"]): f"the running meterd reads meter {meter['meter']} on it (pid {status['pid']})"
        for meter in status["meters"]
    }
