"""Run the daemon: read the meters of the configuration, publish over MQTT, keep every reading in the journal.

Ends on SIGTERM or SIGINT within 5 seconds, and says good-bye at the broker before.
"""

import argparse
import asyncio

from gateway import log
from gateway.commands import configuration
from gateway.settings import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd run`."""
    configuration.add_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until a signal comes; 1 when the configuration cannot be used."""
    try:
        settings = configuration.read(configuration.place(args.config))
    except SettingsError as error:
        return configuration.complain("run", error.problems)
    profiles, problems = configuration.named_profiles(settings)
    problems += configuration.output_problems(settings, profiles)
    if problems:
        return configuration.complain("run", problems)
    log.setup(settings.log.format, settings.log.level)

    async def main() -> None:
        from gateway.daemon import Daemon

        await Daemon(settings, profiles).run()

    asyncio.run(main())
    return 0
