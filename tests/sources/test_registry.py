import re

import pytest

from gateway import sources
from gateway.settings import MeterSettings
from gateway.sources.serial import SerialSource
from gateway.sources.tcp import TcpSource

GOOD = [
    "/dev/ttyUSB0",
    "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0",
    "socket://10.0.0.2:2001",
    "socket://p1-bridge.local:23",
    "socket://bridge:65535/",
    "socket://[::1]:2001",
    "socket://[fe80::1%eth0]:2001",
]

BAD = [
    ("COM3", "absolute path"),
    ("ttyUSB0", "absolute path"),
    ("", "absolute path"),
    ("/dev/tty\x00USB0", "character"),
    ("/dev/ttyUSB0\n", "character"),
    ("tcp://10.0.0.2:2001", "written socket://"),
    ("rfc2217://10.0.0.2:2001", "raw TCP"),
    ("telnet://10.0.0.2:23", "raw TCP"),
    ("SOCKET://10.0.0.2:2001", "not a form of port"),
    ("://x", "absolute path"),
    ("socket://10.0.0.2", "host:port"),
    ("socket://:2001", "host:port"),
    ("socket://10.0.0.2:", "host:port"),
    ("socket://10.0.0.2:0", "65535"),
    ("socket://10.0.0.2:65536", "65535"),
    ("socket://10.0.0.2:2001\n", "host:port"),
    ("socket://user@10.0.0.2:2001", "host:port"),
    ("socket://10.0.0.2:2001?logging=debug", "host:port"),
    ("socket://10.0.0.2:2001/path", "host:port"),
    ("socket://::1:2001", "host:port"),
    ("socket://a..b:2001", "host:port"),
    ("socket://münchen:2001", "host:port"),
    ("socket://10.0.0.2:٢٠٠١", "host:port"),
]


@pytest.mark.parametrize("port", GOOD)
def test_good_forms(port: str) -> None:
    assert sources.problem(port) is None


@pytest.mark.parametrize(("port", "said"), BAD)
def test_bad_forms_are_refused_in_one_sentence(port: str, said: str) -> None:
    problem = sources.problem(port)
    assert problem is not None
    assert said in problem
    assert "\n" not in problem
    with pytest.raises(ValueError, match=re.escape(problem)):
        sources.create(_meter(port), baud=115200, framing="8N1")


def test_a_path_makes_a_serial_source() -> None:
    source = sources.create(_meter("/dev/ttyUSB7"), baud=9600, framing="7E1")
    assert isinstance(source, SerialSource)
    assert source.name == "/dev/ttyUSB7"


@pytest.mark.parametrize(
    ("port", "name"),
    [("socket://bridge:2001/", "socket://bridge:2001"), ("socket://[fe80::1%eth0]:7", "socket://[fe80::1%eth0]:7")],
)
def test_a_socket_makes_a_tcp_source(port: str, name: str) -> None:
    source = sources.create(_meter(port), baud=115200, framing="8N1")
    assert isinstance(source, TcpSource)
    assert source.name == name


def test_the_registry_is_one_visible_dict() -> None:
    assert set(sources.SCHEMES) == {"", "socket"}


def _meter(port: str) -> MeterSettings:
    return MeterSettings(name="main", port=port)
