"""Run the uploader: hand validated intervals of the ledger to the data hubs of the configuration, and keep proof of it.

Ends on SIGTERM or SIGINT within 5 seconds. Reads its configuration anew on SIGHUP: an error changes nothing. One
uploader runs with a ledger; it needs the extra `hubs` (docs/hubs/README.md).
"""

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from gateway import log
from gateway.commands import configuration
from gateway.settings import Settings, SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd uploader`."""
    configuration.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until a signal comes; 1 when the configuration cannot be used."""
    path = configuration.place(args.config)
    try:
        settings = _read(path)
    except SettingsError as error:
        return configuration.complain("uploader", error.problems)
    log.setup(settings.log.format, settings.log.level)
    from gateway.uploader.process import Uploader, UploaderError

    async def main() -> None:
        await Uploader(settings, configuration.zones, partial(_read, path)).run()

    try:
        asyncio.run(main())
    except UploaderError as error:
        print(f"meterd uploader: {error}", file=sys.stderr)
        return 1
    return 0


def _read(path: Path) -> Settings:
    """Read a configuration whose hubs can be served; raises SettingsError with every problem."""
    settings = configuration.read(path, "uploader")
    problems = [f"{path}: {problem}" for problem in configuration.hub_problems(settings)]
    if not settings.hub:
        problems.append(f"{path}: there is no [[hub]]: nothing is to be sent (docs/hubs/README.md)")
    if problems:
        raise SettingsError(problems)
    return settings
