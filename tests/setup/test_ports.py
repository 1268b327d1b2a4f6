"""Which ports there are, and who has them."""

import asyncio
import fcntl
import os

import pytest

from gateway.control import ControlServer
from gateway.settings import MeterSettings
from gateway.setup import ports
from gateway.setup.ports import found, in_use, look


@pytest.fixture
def devices(tmp_path):
    """A /dev with two adapters, of which one has a stable name."""
    folder = tmp_path / "dev"
    (folder / "serial/by-id").mkdir(parents=True)
    for name in ("ttyUSB0", "ttyUSB1", "ttyAMA0", "ttyS0"):
        (folder / name).write_text("")
    (folder / "serial/by-id/usb-FTDI_cable").symlink_to(folder / "ttyUSB1")
    return folder


def test_stable_names_come_first_and_stand_for_their_device(devices):
    names = [port.name.removeprefix(f"{devices}/") for port in found({}, devices)]
    assert names == ["serial/by-id/usb-FTDI_cable", "ttyUSB0", "ttyAMA0"]


def test_no_device_at_all(tmp_path):
    assert found({}, tmp_path) == []


def test_ports_of_the_configuration_are_taken(devices):
    meters = (MeterSettings(name="main", port=str(devices / "ttyUSB1")), MeterSettings(name="x", port="socket://H:1"))
    taken = in_use(meters, devices / "no-socket")
    assert look(str(devices / "serial/by-id/usb-FTDI_cable"), taken).holder == "it is meter main of this configuration"
    assert look("socket://h:1", taken).holder.startswith("it is meter x")
    assert look(str(devices / "ttyUSB0"), taken).as_dict() == {"port": str(devices / "ttyUSB0"), "holder": None}


def test_ports_of_the_running_daemon_are_taken(devices):
    status = {"pid": 7, "meters": [{"meter": "attic", "port": str(devices / "ttyUSB0")}]}

    async def main():
        server = ControlServer(devices / "control", {"status": lambda _: status})
        await server.start()
        try:
            return await asyncio.to_thread(in_use, (), devices / "control")
        finally:
            await server.close()

    holder = look(str(devices / "ttyUSB0"), asyncio.run(main())).holder
    assert holder == "the running meterd reads meter attic on it (pid 7)"


def test_what_another_program_has_open_is_named(monkeypatch, devices):
    """On a device that is no pseudo-terminal; nothing is opened for it."""
    from gateway.sources import serial

    monkeypatch.setattr(serial, "other_holders", lambda path: [(812, "minicom")])
    monkeypatch.setattr(os, "open", None)
    assert "held by minicom (pid 812)" in look(str(devices / "ttyUSB0"), {}).holder


def test_a_pseudo_terminal_may_be_held_by_its_maker(devices):
    master, slave = os.openpty()
    try:
        assert look(os.ttyname(slave), {}).holder == ""
        assert fcntl.fcntl(slave, fcntl.F_GETFD) >= 0
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_that_is_not_there_is_told():
    assert "is not there" in ports.look("/dev/nothing-here", {}).holder
