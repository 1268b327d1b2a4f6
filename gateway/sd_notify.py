"""systemd's notification socket (sd_notify(3)): READY, STATUS, WATCHDOG ...; nothing happens outside systemd."""

import os
import socket
import time


def notify(**fields: str) -> None:
    """Send `KEY=value` lines to NOTIFY_SOCKET; without one, or when nobody reads it, do nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    message = "\n".join(f"{key}={value}" for key, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        notifier.setblocking(False)
        try:
            notifier.sendto(message.encode(), "\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            return


def reloading() -> None:
    """Say that a reload begins; it ends with READY. The time lets systemd tell it from an earlier one."""
    notify(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1_000))


def watchdog_s() -> float | None:
    """Seconds within which systemd wants a sign of life from this process, or None."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(microseconds) / 1e6 if microseconds.isdecimal() and pid == str(os.getpid()) else None
