"""`meterd simulate`: simulated meters on a pseudo-terminal, a TCP port or in a file, and the truth about them.

Meters that encrypt have test keys: random ones for each run, written with `--key-out`, or those of `--key-file`. A key
file has the encryption key (EK) in its first line and the authentication key (AK) in its second, 32 hexadecimal digits
each; the AK may be in a file of its own. Meters of Luxembourg all have the same public AK unless another is given.

    meterd simulate --variant at-kaifa --link meter --key-out keys --truth truth.jsonl
    meterd simulate --variant dk-kamstrup --key-file ek --auth-key-file ak --fault replay=0.1 --fault tag@5

A line of the truth file has, for these meters, also `auth`, `system_title` and the invocation `counter`.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

from gateway.simulator import faults, keys, sub_meters, values
from gateway.simulator.clock import Clock, zone
from gateway.simulator.mbus_meter import MBUS
from gateway.simulator.meter import Meter
from gateway.simulator.port import LOOK_S, FilePort, Port, PtyPort, TcpPort
from gateway.simulator.push_faults import kinds
from gateway.simulator.push_meter import simulated
from gateway.simulator.pushes import PUSHES, PushVariant
from gateway.simulator.serve import Plan, Sent, serve, truth
from gateway.simulator.sml_meter import SML
from gateway.simulator.text_meter import TEXTS
from gateway.simulator.variants import VARIANTS, Variant

#: every meter that can be simulated
METERS: dict[str, Variant] = {**VARIANTS, **PUSHES, **SML, **MBUS, **TEXTS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `meterd simulate`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--pty", action="store_true", help="a pseudo-terminal (the default)")
    where.add_argument("--tcp", metavar="HOST:PORT", type=_host_port, help="a TCP server; port 0 takes a free one")
    where.add_argument("--out", metavar="FILE", help="a file (- for stdout), as fast as it goes; needs --count")
    parser.add_argument("--link", metavar="PATH", type=Path, help="symbolic link to the pseudo-terminal")
    parser.add_argument("--variant", choices=list(METERS), default="dsmr5", help="the kind of meter")
    parser.add_argument("--key-out", metavar="FILE", type=Path, help="write the random test keys: EK and AK as lines")
    parser.add_argument("--key-file", metavar="FILE", type=Path, help="take the EK, and the AK behind it, from a file")
    parser.add_argument("--auth-key-file", metavar="FILE", type=Path, help="take the AK from a file of its own")
    parser.add_argument("--meters", metavar="N", type=_positive, default=1, help="this many, each on its own port")
    parser.add_argument("--interval", metavar="S", type=_positive, help="seconds between telegrams; the meter's own")
    parser.add_argument(
        "--speed", metavar="FACTOR", type=_factor, help="how fast simulated time runs (inf: no waiting)"
    )
    parser.add_argument("--start", metavar="ISO", type=_instant, help="simulated time to begin at; now")
    parser.add_argument("--count", metavar="N", type=_positive, help="telegrams to send; endless")
    parser.add_argument("--seed", metavar="N", type=_natural, default=1, help="another number is another household")
    parser.add_argument("--wait", action="store_true", help="begin when somebody reads; until then time stands still")
    parser.add_argument("--line-pace", action="store_true", help="send at the pace of the line, not all at once")
    parser.add_argument(
        "--fault",
        metavar="KIND[=RATE]",
        type=_fault,
        action="append",
        default=[],
        help=f"{', '.join((*faults.KINDS, *faults.VALUE_KINDS))}, of pushes also {', '.join(faults.PUSH_KINDS)}; "
        f"KIND@3,7-9 for telegrams by number (from 0); of P1 meters also {', '.join(faults.LASTING_KINDS)} with @N; "
        "may be repeated",
    )
    parser.add_argument(
        "--sub-meter",
        metavar="KIND@N",
        type=_sub_change,
        action="append",
        default=[],
        help=f"what happens to the gas meter at telegram N: {', '.join(sub_meters.KINDS)}; may be repeated",
    )
    parser.add_argument("--unplug-for", metavar="S", type=_positive, help="simulated seconds that an unplug lasts")
    parser.add_argument("--truth", metavar="FILE", type=Path, help="one JSON line per telegram: item P, fault, readers")
    parser.add_argument("--json", action="store_true", help="say where the port is as JSON")


def run(args: argparse.Namespace) -> int:
    """Simulate until the count is reached or a signal comes; 0 done, 1 the port or a file cannot be used, 2 usage."""
    problem = _conflict(args)
    if problem:
        return _fail(problem, 2)
    try:
        secret = _keys(args)
        with contextlib.ExitStack() as files:
            return asyncio.run(_simulate(args, secret, files))
    except keys.KeyFileError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error}: choose another port or file", 1)


async def _simulate(args: argparse.Namespace, secret: keys.MeterKeys | None, files: contextlib.ExitStack) -> int:
    clock = _clock(args)
    meters = [
        simulated(
            args.seed + i, args.variant, clock.start, keys=secret, interval_s=args.interval, sub_changes=args.sub_meter
        )
        for i in range(args.meters)
    ]
    ports = [_port(args, i, files) for i in range(args.meters)]
    record = files.enter_context(args.truth.open("w", encoding="ascii", buffering=1)) if args.truth else None
    # A signal may come as soon as somebody knows of a port.
    running = asyncio.ensure_future(_run(args, meters, ports, clock, record))
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, running.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        for port in ports:
            await port.close()
    return 0


async def _run(
    args: argparse.Namespace, meters: Sequence[Meter], ports: Sequence[Port], clock: Clock, record: TextIO | None
) -> None:
    """Open the ports, say where they are, and send."""
    for meter, port in zip(meters, ports, strict=True):
        await port.open()
        if args.out != "-":
            _announce(args, meter, port)
    if args.wait:
        while not all(port.ready() for port in ports):
            await asyncio.sleep(LOOK_S)
        clock.begin()
    plan = Plan(args.interval, args.count, args.line_pace, tuple(args.fault), args.unplug_for)
    lines = (
        serve(meter, port, clock, plan, _reporter(meter, record)) for meter, port in zip(meters, ports, strict=True)
    )
    await asyncio.gather(*lines)


def _clock(args: argparse.Namespace) -> Clock:
    speed = args.speed or (float("inf") if args.out else 1.0)
    if args.start is None:
        return Clock.from_now(speed)
    home = zone(METERS[args.variant].home_zone)
    return Clock(args.start if args.start.tzinfo else args.start.replace(tzinfo=home), speed)


def _keys(args: argparse.Namespace) -> keys.MeterKeys | None:
    """The test keys of a meter that encrypts; None for others. Raises OSError and KeyFileError."""
    variant = PUSHES.get(args.variant)
    if variant is None or not variant.encrypts:
        return None
    shared = variant.envelope.public_authentication
    if args.key_file:
        unused = None if variant.authenticates else bytes(keys.SIZE)
        return keys.read(args.key_file, args.auth_key_file, shared or unused)
    secret = keys.generate(shared)
    if args.key_out:
        keys.write(secret, args.key_out)
    return secret


def _port(args: argparse.Namespace, index: int, files: contextlib.ExitStack) -> Port:
    if args.tcp:
        host, port = args.tcp
        return TcpPort(host, port and port + index)
    if args.out == "-":
        return FilePort(files.enter_context(open(1, "wb", buffering=0, closefd=False)), "-")
    if args.out:
        return FilePort(files.enter_context(Path(args.out).open("wb")), args.out)
    return PtyPort(args.link)


def _announce(args: argparse.Namespace, meter: Meter, port: Port) -> None:
    variant = meter.variant
    facts = {
        "port": port.address,
        "variant": variant.name,
        "baud": variant.baud,
        "framing": variant.framing,
        "interval_s": args.interval or variant.interval_s,
        "seed": meter.seed,
    }
    text = "{port}: simulated {variant} meter, {baud} baud {framing}, every {interval_s} s, seed {seed}"
    if isinstance(variant, PushVariant) and variant.encrypts:
        named = args.key_file or args.key_out
        facts["key_file"] = named and str(named)
        text += ", keys in {key_file}" if named else "; nobody has its keys: name a file with --key-out"
    sys.stdout.write((json.dumps(facts) if args.json else text.format(**facts)) + "\n")
    sys.stdout.flush()


def _reporter(meter: Meter, record: TextIO | None) -> Callable[[Sent], None] | None:
    if record is None:
        return None

    def report(sent: Sent) -> None:
        record.write(json.dumps({"seed": meter.seed} | truth(meter, sent)) + "\n")

    return report


def _conflict(args: argparse.Namespace) -> str | None:
    if args.out and not args.count:
        return "--out writes as fast as it goes and would never end: say how many telegrams with --count"
    if args.link and (args.tcp or args.out):
        return "--link names a pseudo-terminal: leave out --tcp and --out"
    if args.meters > 1 and (args.link or args.out):
        return "--meters gives each meter its own port: leave out --link and --out"
    if args.sub_meter and not METERS[args.variant].gas:
        return f"{args.variant} has no sub-meter: leave out --sub-meter"
    return _key_conflict(args) or _fault_conflict(args)


def _key_conflict(args: argparse.Namespace) -> str | None:
    if args.key_out and args.key_file:
        return "--key-out writes random keys, --key-file brings keys: leave out one of them"
    if args.auth_key_file and not args.key_file:
        return "--auth-key-file belongs to a --key-file: name both"
    if (args.key_out or args.key_file) and not (args.variant in PUSHES and PUSHES[args.variant].encrypts):
        return f"{args.variant} encrypts nothing: leave out the keys"
    return None


def _fault_conflict(args: argparse.Namespace) -> str | None:
    variant = METERS[args.variant]
    possible = kinds(variant) + values.kinds(variant)
    for request in args.fault:
        if request.kind not in possible:
            return f"{args.variant} cannot have the fault {request.kind}: choose one of {', '.join(possible)}"
    return None


def _fail(problem: str, code: int) -> int:
    sys.stderr.write(f"meterd simulate: {problem}\n")
    return code


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:2001")
    return host.strip("[]"), int(port)


def _instant(text: str) -> datetime:
    try:
        t = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-10-25T02:30:00+02:00") from None
    if not 2000 <= t.year <= 2099:
        raise argparse.ArgumentTypeError(f"{text!r}: a telegram has two digits for the year, 2000 to 2099")
    return t


def _fault(text: str) -> faults.Request:
    try:
        return faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _sub_change(text: str) -> sub_meters.Change:
    try:
        return sub_meters.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _positive(text: str) -> int:
    value = _natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 is too little: at least 1")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 up")
    return int(text)
