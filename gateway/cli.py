"""The command line: parses arguments and starts one command, whose module is imported only then."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence

from gateway import __version__

#: every command, with what it does; its module is gateway.commands.<name>
COMMANDS: dict[str, str] = {
    "run": "run the daemon: read meters, publish, keep a journal",
    "check": "validate the configuration and everything that it names",
    "reload": "let the running daemon read its configuration anew",
    "status": "ask the running daemon for the state of its meters and outlets",
    "setup": "set a meter up: port, line, meter, key, broker, configuration",
    "meter": "confirm a meter that took the place of another one",
    "key": "enter, list, prove and remove the keys that the operator issued",
    "detect": "say what sends on a port, or what is in a capture, with the evidence",
    "decode": "turn the bytes of a file into item P",
    "export": "print readings of the journal, or intervals as item E",
    "intervals": "show intervals, explain how one came about, edit one",
    "reconcile": "compare intervals with what a hub or a portal says",
    "uploader": "run the uploader: hand validated intervals to data hubs",
    "hub": "see and steer what goes to data hubs: status, messages, files, sums, audit log",
    "forget": "remove everything that is kept of one meter",
    "reset": "remove everything that meterd stored on this machine",
    "events": "print the metrology log, and verify that nobody changed it",
    "simulate": "be a simulated meter on a pseudo-terminal or TCP port",
    "replay": "be a meter that repeats a capture, on a pseudo-terminal or TCP port",
    "sandbox": "be a test hub that takes intervals as national data hubs do",
    "demo": "show everything at work: simulated meter, daemon, broker, live readings",
}
KEY_ANSWER = "keys do not belong on a command line: use --key-file"
NO_PASSWORD = "passwords do not belong on a command line: use --mqtt-password-file"  # noqa: S105  # an answer
_PASSWORD = re.compile(r"--(mqtt-)?password(=.*)?", re.DOTALL)
_KEY = re.compile(r"--(auth-)?key(=.*)?", re.DOTALL)
#: a key where the name of its file belongs
_TYPED = re.compile(
    r"--(auth-)?key-file[ =](0x)?[0-9A-F]{2}([\s:-]?(0x)?[0-9A-F]{2}){15,}|"
    r"--(auth-)?key-file[ =][0-9A-Z+/_-]{22}==",
    re.IGNORECASE,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 done, 1 the answer is no, 2 usage, 130 interrupted, 141 nobody reads the output."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if any(_KEY.fullmatch(argument) for argument in arguments) or _TYPED.search(" ".join(arguments)):
        print(f"meterd: {KEY_ANSWER}", file=sys.stderr)
        return 2
    if any(_PASSWORD.fullmatch(argument) for argument in arguments):
        print(f"meterd: {NO_PASSWORD}", file=sys.stderr)
        return 2
    name, rest = _command(arguments)
    module = importlib.import_module(f"gateway.commands.{name}")
    parser = argparse.ArgumentParser(
        prog=f"meterd {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    try:
        code: int = module.run(parser.parse_args(rest))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What is buffered must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"meterd {name}: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    return code


def _command(arguments: list[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(
        prog="meterd",
        usage="meterd COMMAND [options]",
        description="Reads the customer interface of a smart meter and publishes item P over MQTT.",
        epilog="commands:\n"
        + "\n".join(f"  {name:<10} {does}" for name, does in COMMANDS.items())
        + "\n\n`meterd COMMAND -h` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"meterd {__version__}")
    if not arguments or arguments[0].startswith("-"):
        parser.parse_args(arguments)
        parser.error(f"a command is missing: {', '.join(COMMANDS)}")
    if arguments[0] not in COMMANDS:
        from gateway.toml_tables import near

        parser.error(f"{arguments[0]!r} is no command{near(arguments[0], COMMANDS)}: {', '.join(COMMANDS)}")
    return arguments[0], arguments[1:]


if __name__ == "__main__":
    sys.exit(main())
