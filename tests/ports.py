"""Ports of 127.0.0.1 for servers that a test stops and starts again."""

import random
import socket
from pathlib import Path

_FIRST = 15_000


def free_port() -> int:
    """A port that nobody has, below those that the kernel gives to clients (net.ipv4.ip_local_port_range).

    So no client takes it before its server does, or while that is stopped: not even the one that waits for the server,
    which TCP would connect to itself.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    dice = random.SystemRandom()
    for _ in range(1_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", dice.randrange(_FIRST, lowest) if lowest > 2 * _FIRST else 0))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port is free")
