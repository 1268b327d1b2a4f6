"""See and steer what goes to the data hubs of the configuration, beside a running uploader.

    meterd hub status [HUB]                    how far each hub is, and what waits for a person
    meterd hub show HUB [ID]                   messages; of one its parts, its history, its exact bytes
    meterd hub retry HUB ID | --parked         open: now; rejected or dead: its days in a new message
    meterd hub cancel HUB ID --reason TEXT     give a message up; --all: all of a hub that is not configured any more
    meterd hub rename HUB NAME                 a [[hub]] has another name now: carry its messages over
    meterd hub request HUB [WHAT] [KEY=VALUE]  ask something of the hub; without WHAT: what can be asked
    meterd hub reconcile HUB [--month M]       compare the hub's own sums with ours
    meterd hub export HUB --from DAY --to DAY --folder DIR   files for a portal
    meterd hub import HUB FILE                 the portal's answer, or an item I, J or L (JSON)
    meterd hub permissions                     permissions, and how they ended
    meterd hub log [verify]                    the audit log; verify walks its chain

Exit code 0 done, 1 the answer is no, or it could not be done, 2 usage. docs/hubs/operation.md says what to do when.
"""

import argparse
import importlib
from datetime import date
from pathlib import Path
from typing import Final, get_args

from gateway.commands import configuration
from gateway.commands.arguments import moment
from gateway.commands.hub_ledger import RefusedError
from gateway.hub_model import State
from gateway.settings import SettingsError

#: action -> module in gateway.commands with a function of its name
MODULES: Final = {
    "status": "hub_status",
    "show": "hub_show",
    "retry": "hub_act",
    "cancel": "hub_act",
    "rename": "hub_names",
    "request": "hub_act",
    "reconcile": "hub_reconcile",
    "export": "hub_carry",
    "import": "hub_carry",
    "permissions": "hub_status",
    "log": "hub_log",
}
#: digits of numbers that are taken
_DIGITS: Final = 18
#: years in which something can have been measured
_YEARS: Final = range(1971, 9999)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `meterd hub` with their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = {name: actions.add_parser(name, allow_abbrev=False) for name in MODULES}
    for one in made.values():
        configuration.add_option(one)
        one.add_argument("--ledger", type=Path, metavar="PATH", help="the ledger, instead of the configuration's")
        one.add_argument("--json", action="store_true", help="print JSON")
    made["status"].add_argument("hub", nargs="?", metavar="HUB", help="this hub only")
    for name in ("show", "retry", "cancel", "rename", "request", "reconcile", "export", "import"):
        made[name].add_argument("hub", metavar="HUB", help="name of the hub")
    _add_show(made["show"])
    made["retry"].add_argument("id", nargs="?", type=_number, metavar="ID", help="number of the message")
    made["retry"].add_argument("--parked", action="store_true", help="instead of ID: every refused one that waits")
    made["cancel"].add_argument("id", nargs="?", type=_number, metavar="ID", help="number of the message")
    made["cancel"].add_argument("--all", action="store_true", help="instead of ID: of a hub that is not configured")
    made["cancel"].add_argument("--reason", required=True, metavar="TEXT", help="why, for the audit log")
    made["rename"].add_argument("name", metavar="NAME", help="what it is called in the configuration now")
    made["request"].add_argument("what", nargs="?", metavar="WHAT", help="what is asked; absent: a list")
    made["request"].add_argument("arguments", nargs="*", type=_pair, metavar="KEY=VALUE", help="what it takes")
    made["reconcile"].add_argument("--month", type=_month, metavar="YYYY-MM", help="default: the last whole month")
    made["reconcile"].add_argument("--all", action="store_true", help="days that agree, too")
    made["export"].add_argument("--from", dest="since", type=_day, required=True, metavar="DAY", help="first local day")
    made["export"].add_argument("--to", dest="until", type=_day, required=True, metavar="DAY", help="last local day")
    made["export"].add_argument("--folder", type=Path, required=True, metavar="DIR", help="where the files go")
    made["import"].add_argument("file", type=Path, metavar="FILE", help="what the portal gave")
    made["permissions"].add_argument("--id", metavar="ID", help="the items of one permission, as they came")
    made["log"].add_argument("verify", nargs="?", choices=("verify",), help="check that nobody changed the log")
    made["log"].add_argument("--hub", metavar="HUB", help="entries of this hub only")
    made["log"].add_argument("--since", type=moment, metavar="ISO", help="entries from this time on")


def run(args: argparse.Namespace) -> int:
    """Run one action; what cannot be done is one line."""
    module = importlib.import_module(f"gateway.commands.{MODULES[args.action]}")
    try:
        code: int = getattr(module, f"{args.action}_")(args)
    except SettingsError as error:
        return configuration.complain("hub", error.problems)
    except RefusedError as error:
        return configuration.complain("hub", [str(error)])
    return code


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", type=_number, metavar="ID", help="number of a message; absent: a list")
    parser.add_argument("--state", choices=get_args(State), action="append", help="list: messages in this state")
    parser.add_argument("--limit", type=_number, default=50, metavar="N", help="list: so many (default: 50)")
    parser.add_argument("--bytes", action="store_true", help="the exact bytes of the message on standard output")
    parser.add_argument("--answer", type=_number, metavar="N", help="the exact bytes of the N-th answer")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE")
    return key, value


def _number(text: str) -> int:
    """What SQLite can number, from 1 on."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _day(text: str) -> date:
    return _dated(text, f"{text!r} is no day: write one such as 2026-11-21")


def _month(text: str) -> date:
    return _dated(f"{text}-01", f"{text!r} is no month: write one such as 2026-11")


def _dated(text: str, otherwise: str) -> date:
    """A day of a year that a clock can have on either side of it, in every zone."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(otherwise) from None
    if day.year not in _YEARS:
        raise argparse.ArgumentTypeError(otherwise)
    return day
