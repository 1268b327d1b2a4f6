"""Ports of 127.0.0.1 for servers that a test stops and starts again, and the end of such a server."""

import asyncio
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


async def stop_serving(server: asyncio.Server) -> None:
    """Close it, and let the clients that it has just accepted reach their handler.

    A server that asyncio closes between accept and handler loses that client's socket, unclosed.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(10):
        await asyncio.sleep(0)
    server.close()
