"""Confirm the meter that the running daemon reads now.

    meterd meter confirm NAME

After a meter was exchanged, readings go on by themselves, and nothing of them goes to a hub until a person says that
this is the meter of this connection. The same command accepts registers that leapt and are set aside since: say it only
when the meter's display shows them, too.

Exit code 0 when something was confirmed, 1 when nothing waited for it or the daemon could not be asked.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.commands import configuration
from gateway.control import ControlError, ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd meter`."""
    parser.add_argument("what", choices=("confirm",), help="confirm the meter that is read now, and its registers")
    parser.add_argument("meter", metavar="NAME", help="its name in the configuration")
    configuration.add_option(parser)
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the control socket (default: as configured)")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Ask the daemon; 0 when something was confirmed."""
    try:
        answer = ask(configuration.control_socket(args.socket, args.config), "confirm", meter=args.meter)
    except ControlError as error:
        if args.json:
            print(json.dumps({"error": str(error)}))
        print(f"meterd meter: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if args.json else _sentence(answer))
    return 0 if answer["confirmed"] else 1


def _sentence(answer: Mapping[str, Any]) -> str:
    name, exchange = answer["meter"], answer["exchange"]
    if not answer["confirmed"]:
        return f"{name}: nothing waits to be confirmed"
    since = f" since {exchange['t']}" if exchange else ""
    return f"{name}: confirmed; readings go on from the meter that is read{since}"
