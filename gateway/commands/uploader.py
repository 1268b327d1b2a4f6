"""Run the uploader: hand validated intervals of the ledger to the data hubs of the configuration, and keep proof of it.

Ends on SIGTERM or SIGINT within 5 seconds. Reads its configuration anew on SIGHUP: an error changes nothing. Without a
[[hub]] it waits for one. One uploader runs with a ledger; it needs the extra `hubs` (docs/hubs/README.md).
"""

import argparse
import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

from gateway import log
from gateway.commands import configuration
from gateway.settings import Settings, SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd uploader`."""
    configuration.add_option(parser)
    parser.add_argument(
        "--reload",
        type=_pid,
        metavar="PID",
        help="let a running uploader read its configuration anew, and say its errors",
    )


def run(args: argparse.Namespace) -> int:
    """Run until a signal comes; EX_CONFIG (78) when the configuration cannot be used: systemd tries that no more."""
    path = configuration.place(args.config)
    if args.reload is not None:
        return _reload(path, args.reload)
    try:
        settings = _read(path)
    except SettingsError as error:
        configuration.complain("uploader", error.problems)
        return os.EX_CONFIG
    log.setup(settings.log.format, settings.log.level)
    from gateway.uploader.alone import UploaderError
    from gateway.uploader.process import Uploader

    async def main() -> None:
        await Uploader(settings, configuration.zones, partial(_read, path)).run()

    try:
        asyncio.run(main())
    except UploaderError as error:
        print(f"meterd uploader: {error}", file=sys.stderr)
        return 1
    return 0


def _reload(path: Path, process: int) -> int:
    """Tell a running uploader, also of a file that it will refuse: then its status says so. 1 when it is refused."""
    try:
        os.kill(process, signal.SIGHUP)
    except OSError as error:
        return configuration.complain("uploader", [f"process {process} cannot be told: {error.strerror}"])
    try:
        _read(path)
    except SettingsError as error:
        return configuration.complain("uploader", error.problems)
    return 0


def _read(path: Path) -> Settings:
    """Read a configuration whose hubs can be served; raises SettingsError with every problem."""
    settings = configuration.read(path, "uploader")
    if problems := [f"{path}: {problem}" for problem in configuration.hub_problems(settings)]:
        raise SettingsError(problems)
    return settings


def _pid(text: str) -> int:
    """A process, and no group of them (kill(2))."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is no process id")
    return int(text)
