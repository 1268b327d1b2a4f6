"""Let the running daemon read its configuration anew, as SIGHUP does, and say what changed.

A configuration with an error changes nothing: every error is printed, and what ran before runs on. What did not change
is not touched: its port stays open, its connection stays up. Exit code 0 when the configuration is in force, else 1.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.commands import configuration
from gateway.control import CLIENT_S, ControlError, ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd reload`."""
    configuration.add_option(parser)
    parser.add_argument("--socket", type=Path, metavar="PATH", help="the control socket (default: as configured)")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Ask for a reload, and print what came of it."""
    try:
        answer = ask(configuration.control_socket(args.socket, args.config), "reload", CLIENT_S)
    except ControlError as error:
        if args.json:
            print(json.dumps({"error": str(error)}))
        print(f"meterd reload: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(answer))
    elif answer["reloaded"]:
        print("\n".join(lines(answer)))
    for problem in answer.get("errors", ()):
        print(f"meterd reload: {problem}", file=sys.stderr)
    return 0 if answer["reloaded"] else 1


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Say what changed in lines for a person."""
    changes = [f"meters {what}: {', '.join(names)}" for what, names in answer["meters"].items() if names]
    changes += [f"outlets {what}: {', '.join(names)}" for what, names in answer["outlets"].items() if names]
    yield from changes or ["nothing changed but what needs no restart of a meter or an outlet"]
    for table in answer["restart_needed"]:
        yield f"[{table}] changed: it takes effect at the next start (systemctl restart meterd)"
