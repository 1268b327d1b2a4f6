"""The forms of a port, and the source that reads each: a device path, or `socket://host:port`."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gateway.sources.model import Source

if TYPE_CHECKING:
    from gateway.settings import MeterSettings

FORMS = "a device path such as /dev/serial/by-id/usb-... or socket://host:port"
_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}))"
    r":(?P<port>[0-9]{1,5})/?"
)


class Scheme(NamedTuple):
    """How one form of a port is checked (pure: nothing is opened) and how its source is made."""

    problem: Callable[[str], str | None]
    create: Callable[[str, int, str], Source]


def problem(port: str) -> str | None:
    """Say in one sentence what is wrong with the form of a port; None when it is one of FORMS."""
    scheme = _scheme(port)
    if scheme not in SCHEMES:
        return f"{scheme}:// is not a form of port: use {FORMS}{HINTS.get(scheme, '')}"
    return SCHEMES[scheme].problem(port)


def create(meter: "MeterSettings", *, baud: int, framing: str) -> Source:
    """Make the source of a meter, with the line parameters in force; raises ValueError with what `problem` says."""
    wrong = problem(meter.port)
    if wrong is not None:
        raise ValueError(wrong)
    return SCHEMES[_scheme(meter.port)].create(meter.port, baud, framing)


def _scheme(port: str) -> str:
    scheme, separator, _ = port.partition("://")
    return scheme if separator else ""


def _path_problem(port: str) -> str | None:
    if not port.startswith("/"):
        return f"{port!r} is not an absolute path: use {FORMS}"
    if not port.isprintable():
        return f"{port!r} holds a character that cannot be part of a port: use {FORMS}"
    return None


def _address_problem(port: str) -> str | None:
    match = _ADDRESS.fullmatch(port.removeprefix("socket://"))
    if match is None or ".." in port:
        return f"{port!r} is not socket://host:port (an IPv6 address in brackets: socket://[fe80::1%eth0]:2001)"
    if not 1 <= int(match["port"]) <= 65_535:
        return f"{port!r}: a TCP port is a number from 1 to 65535"
    return None


def _serial(port: str, baud: int, framing: str) -> Source:
    from gateway.sources.serial import SerialSource

    return SerialSource(port, baud=baud, framing=framing)


def _tcp(port: str, _baud: int, _framing: str) -> Source:
    from gateway.sources.tcp import TcpSource

    match = _ADDRESS.fullmatch(port.removeprefix("socket://"))
    assert match is not None  # noqa: S101  # `create` has checked the form
    return TcpSource(match["v6"] or match["host"], int(match["port"]))


#: every form of a port, by the scheme of its URL; "" is a path
SCHEMES: dict[str, Scheme] = {
    "": Scheme(_path_problem, _serial),
    "socket": Scheme(_address_problem, _tcp),
}

#: what to do instead of forms that other programs know
HINTS: dict[str, str] = {
    "rfc2217": " (let ser2net offer the port as raw TCP; the line parameters are set there)",
    "tcp": " (raw TCP is written socket://)",
    "telnet": " (telnet escapes would change the octets: let the bridge offer raw TCP)",
}
