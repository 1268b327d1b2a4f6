"""Be a meter that repeats a capture, on a pseudo-terminal or a TCP port, for `meterd run` or any other reader.

The first telegram waits for a reader. A capture that ends is done, unless --repeat is given.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

from gateway.simulator.capture import BITS_PER_OCTET, MAX_OCTETS, Pace, has_clock, replay
from gateway.simulator.port import Port, PtyPort, TcpPort


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd replay`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the capture: octets as they came from the meter")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--pty", action="store_true", help="a pseudo-terminal (the default)")
    where.add_argument("--tcp", metavar="HOST:PORT", type=_host_port, help="a TCP server; port 0 takes a free one")
    parser.add_argument("--link", metavar="PATH", type=Path, help="symbolic link to the pseudo-terminal")
    parser.add_argument(
        "--pace",
        metavar="line|fast|SECONDS",
        type=_pace,
        default="line",
        help="as fast as the line, without waiting, or a telegram every SECONDS at the speed of the line",
    )
    parser.add_argument("--baud", metavar="N", type=_baud, default=115_200, help="speed of the line (115200)")
    parser.add_argument("--repeat", action="store_true", help="begin again when the capture ends")
    parser.add_argument(
        "--rewrite-time", action="store_true", help="put the present time into each telegram's clock, and its CRC right"
    )
    parser.add_argument(
        "--tz", metavar="ZONE", type=_zone, default="Europe/Amsterdam", help="zone of that clock (Europe/Amsterdam)"
    )


def run(args: argparse.Namespace) -> int:
    """Replay until the capture ends or a signal comes; 1 when the file or the port cannot be used."""
    with args.file.open("rb") as file:
        data = file.read(MAX_OCTETS + 1)
    if not data or len(data) > MAX_OCTETS:
        print(f"meterd replay: {args.file} is {'empty' if not data else 'larger than 256 MiB'}", file=sys.stderr)
        return 1
    if args.rewrite_time and not has_clock(data):
        print(f"meterd replay: {args.file} has no clock (0-0:1.0.0): its telegrams stay as they are", file=sys.stderr)
    if args.link and args.tcp:
        print("meterd replay: --link names a pseudo-terminal: leave out --tcp", file=sys.stderr)
        return 2
    asyncio.run(_replay(args, data))
    return 0


async def _replay(args: argparse.Namespace, data: bytes) -> None:
    port: Port = TcpPort(*args.tcp) if args.tcp else PtyPort(args.link)
    await port.open()
    try:
        print(f"{port.address}: repeats {args.file}", flush=True)
        sending = asyncio.ensure_future(_send(args, data, port))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, sending.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await sending
    finally:
        await port.close()


async def _send(args: argparse.Namespace, data: bytes, port: Port) -> None:
    line = args.baud / BITS_PER_OCTET
    pace = Pace(None if args.pace == "fast" else line, args.pace if isinstance(args.pace, float) else None)
    zone = args.tz if args.rewrite_time else None
    sent = await replay(data, port, pace, lambda: datetime.now(UTC), zone)
    while args.repeat:
        sent += await replay(data, port, pace, lambda: datetime.now(UTC), zone)
    print(f"{sent} telegrams sent", flush=True)


def _pace(text: str) -> str | float:
    if text in ("line", "fast"):
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is neither line nor fast nor a number of seconds above 0")
    return seconds


def _baud(text: str) -> int:
    if not text.isdecimal() or not 300 <= int(text) <= 4_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed from 300 to 4000000")
    return int(text)


def _zone(text: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time zone such as Europe/Amsterdam") from None


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:2001")
    return host.strip("[]"), int(port)
