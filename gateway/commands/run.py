"""Run the daemon: read the meters of the configuration, publish over MQTT, keep every reading in the journal.

Ends on SIGTERM or SIGINT within 5 seconds, and says good-bye at the broker before. Reads its configuration anew on
SIGHUP (or `meterd reload`): a file with an error changes nothing.
"""

import argparse
import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import log
from gateway.commands import configuration
from gateway.settings import Settings, SettingsError

if TYPE_CHECKING:
    from decoders.profile import Profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd run`."""
    configuration.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until a signal comes; 1 when the configuration cannot be used."""
    path = configuration.place(args.config)
    try:
        settings = configuration.read(path, "run")
    except SettingsError as error:
        return configuration.complain("run", error.problems)
    profiles, problems = configuration.named_profiles(settings)
    problems += configuration.output_problems(settings, profiles)
    if problems:
        return configuration.complain("run", problems)
    log.setup(settings.log.format, settings.log.level)

    async def main() -> None:
        from gateway.daemon import Daemon

        await Daemon(settings, profiles, partial(_read_again, path)).run()

    asyncio.run(main())
    return 0


def _read_again(path: Path) -> "tuple[Settings, dict[str, Profile]]":
    """Read a configuration as carefully as `meterd check` does; raises SettingsError with every error."""
    from gateway.commands.check import findings

    settings, errors, _ = findings(path, "run")
    if settings is None or errors:
        raise SettingsError(errors)
    profiles, errors = configuration.named_profiles(settings)
    if errors:
        raise SettingsError(errors)
    return settings, profiles
