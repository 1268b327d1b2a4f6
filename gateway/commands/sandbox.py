"""A test hub (Art. 5(3) of Regulation (EU) 2023/1162): a real HTTPS server that takes item E as national hubs do.

    meterd sandbox init --folder DIR       its own authority, certificates, OAuth2 clients, the admin token
    meterd sandbox --folder DIR            serve until Ctrl-C; everything it accepts is kept in DIR

docs/hubs/sandbox.md describes profiles, fault switches and /control.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

NEEDED = "a test hub needs aiohttp, lxml and jsonschema: pip install 'meterd[sandbox]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `meterd sandbox`."""
    parser.add_argument("action", nargs="?", choices=["init"], help="make the folder, instead of serving")
    parser.add_argument("--folder", metavar="DIR", type=Path, required=True, help="where everything of the hub is kept")
    parser.add_argument(
        "--listen", metavar="HOST:PORT", type=_place, default=("127.0.0.1", 8443), help="127.0.0.1:8443"
    )
    parser.add_argument("--port-file", metavar="FILE", type=Path, help="write the port into this file when it is open")
    parser.add_argument(
        "--fault", metavar="NAME=P[:VALUE][@PROFILE]", action="append", default=[], help="what goes wrong"
    )
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="how the hub behaves")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="order of the chances of faults (1)")
    parser.add_argument("--mailbox", metavar="DIR", type=Path, help="take files that are put into this folder")


def run(args: argparse.Namespace) -> int:
    """Make the folder, or serve: 0 done, 1 it cannot be, 2 usage."""
    from gateway.sandbox.folder import Folder, FolderError

    folder = Folder(args.folder)
    try:
        if args.action == "init":
            folder.make()
            print(f"{args.folder}: ready; serve with `meterd sandbox --folder {args.folder}`")
            return 0
        return asyncio.run(_serve(args, folder))
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("aiohttp", "lxml", "jsonschema"):
            raise
        return _complain(NEEDED, 1)
    except FolderError as error:
        return _complain(str(error), 1)
    except ValueError as error:
        return _complain(str(error), 2)


async def _serve(args: argparse.Namespace, folder: Any) -> int:
    from gateway.sandbox import server

    sandbox = server.Sandbox(folder, server.Faults(args.seed), mailbox=args.mailbox)
    for text in args.fault:
        sandbox.faults.set(*server.parse_fault(text))
    for text in args.set:
        sandbox.options.set(*_option(text))
    host, port = args.listen

    def ready(opened: int) -> None:
        if args.port_file:
            part = args.port_file.with_name(f".{args.port_file.name}.part")
            part.write_text(f"{opened}\n", "ascii")
            part.replace(args.port_file)
        shown = f"[{host}]" if ":" in host else host
        print(f"test hub at https://{shown}:{opened}, CA {folder.ca}; it is no national hub", flush=True)

    await server.run(sandbox, host, port, ready)
    return 0


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE with a value of JSON, or a word."""
    import json

    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def _complain(problem: str, code: int) -> int:
    print(f"meterd sandbox: {problem}", file=sys.stderr)
    return code
