"""Outputs that listen: their addresses (`127.0.0.1:2001`, never a name to look up), and what they may lack."""

import ipaddress
import re

#: where a virtual P1 listens unless it is told otherwise: at the loopback, where only this machine reaches it
VIRTUAL_P1 = "127.0.0.1:2001"
#: the page for Prometheus
METRICS = "127.0.0.1:9109"
FORM = 'an address of this machine and a port, such as "127.0.0.1:2001", "0.0.0.0:2001" (every address) or "[::1]:2001"'
ZEROCONF_MISSING = "mDNS needs python-zeroconf: pip install 'meterd[homewizard]', or mdns = false"
PROMETHEUS_MISSING = "the page for Prometheus needs the Python package prometheus-client: pip install 'meterd[metrics]'"
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<v4>[0-9.]{7,15})):(?P<port>[0-9]{1,5})")


def parse(text: str) -> tuple[str, int]:
    """Split address and port (0: any free one); raises ValueError where it is not of FORM."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not address:port")
    port = int(match["port"])
    if port > 65_535:
        raise ValueError(f"{text!r}: a TCP port is a number from 1 to 65535")
    return str(ipaddress.ip_address(match["v6"] or match["v4"])), port


def is_loopback(text: str) -> bool:
    """Tell whether only this machine reaches an address; raises ValueError as `parse` does."""
    return ipaddress.ip_address(parse(text)[0]).is_loopback


def overlap(one: str, other: str) -> bool:
    """Tell whether two outputs would share a port: the same one, at the same address or where one takes every address.

    Raises ValueError as `parse` does.
    """
    (host, port), (other_host, other_port) = parse(one), parse(other)
    first, second = ipaddress.ip_address(host), ipaddress.ip_address(other_host)
    if port != other_port or first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def no_zone(table: str, profile: str) -> str:
    """Say that local time cannot be made, and what to do."""
    return (
        f"this output needs local time, and profile {profile} knows no zone: set timezone in {table} or in [[meter]], "
        'for example timezone = "Europe/Vienna"'
    )
