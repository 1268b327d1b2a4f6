"""Compare intervals with what a hub, a portal or another program says: per interval, day or month, in Wh, explained.

  meterd reconcile --with export.csv --format pnd --month 2026-11

Nothing is filled or rounded: an interval that one side lacks counts as such, and is left out of the sums. The file's
point, where it names one that is not that of the meter, is told. Exit code 0 when both sides agree, 1 when not.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.commands import configuration
from gateway.commands.interval_choice import (
    ChoiceError,
    Chosen,
    add_options,
    add_period,
    choose,
    conflict,
    ledger_of,
    series_of,
    settings_of,
)
from gateway.exports.about import ExportError, decimal, second
from gateway.imports import documents, text
from gateway.imports.record import MILLI, Imported, ImportFileError, Row, Said, counted
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.model import Series, Status
from gateway.reconcile import Difference, Sum, compare, sums
from gateway.settings import SettingsError
from gateway.stores.intervals import IntervalReader
from gateway.stores.ledger_place import LedgerError

#: formats that can be read back, each from an open binary file and the zone of the point
READERS: Final[dict[str, Callable[[Any, ZoneInfo], Iterator[Imported]]]] = {
    "item-e": lambda source, _zone: documents.item_e(source),
    "intervals-csv": lambda source, _zone: text.table(source),
    "pnd": text.pnd,
    "vhd": lambda source, _zone: documents.vhd(source),
    "rsm012-xml": lambda source, _zone: documents.rsm012(source),
    "espi": lambda source, _zone: documents.espi(source),
}
SAID: Final[dict[Status, Said]] = {
    "valid": "measured", "estimated": "estimated", "edited": "edited", "missing": "missing", "suspect": "suspect",
    "raw": "raw",
}  # fmt: skip
#: lines of the table by what `--by` says
BY: Final = ("interval", "day", "month")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd reconcile`."""
    configuration.add_option(parser)
    parser.add_argument("--with", type=Path, required=True, metavar="FILE", dest="file", help="the other side")
    parser.add_argument("--format", choices=READERS, required=True, help="format of FILE")
    add_period(parser)
    add_options(parser)
    parser.add_argument("--by", choices=BY, default="day", help="lines of the table (default: day)")
    parser.add_argument("--all", action="store_true", help="lines that agree, too")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw both sides as .png or .svg (extra `plot`)")


def run(args: argparse.Namespace) -> int:
    """Compare; 0 when both sides agree, 1 when they do not or cannot be compared, 2 for options that contradict."""
    problem = conflict(args)
    if problem:
        print(f"meterd reconcile: {problem}", file=sys.stderr)
        return 2
    try:
        settings = settings_of(args)
        reader = IntervalReader(ledger_of(args, settings))
    except SettingsError as error:
        return configuration.complain("reconcile", error.problems)
    except LedgerError as error:
        return configuration.complain("reconcile", [str(error)])
    try:
        chosen = choose(reader, settings, args)
        return max([_compare(reader, one, args) for one in chosen])
    except ImportFileError as error:
        return configuration.complain("reconcile", [f"{args.file}: {error}"])
    except (LedgerError, ChoiceError, ExportError) as error:
        return configuration.complain("reconcile", [str(error)])
    finally:
        reader.close()


def _compare(reader: IntervalReader, one: Chosen, args: argparse.Namespace) -> int:
    series = series_of(reader, one, args.resolution)
    theirs = list(_theirs(args, one, series))
    differences = compare(_ours(series), theirs)
    days, months, everything = sums(differences, one.zone, GAS_DAY if one.point.gas_day else MIDNIGHT)
    if args.plot:
        from gateway.exports import plot

        plot.draw_differences(differences, one.zone, f"{series.meter} {series.direction}", args.plot)
    if args.by == "interval":
        lines = [
            _interval(one, found, args)
            for found in differences
            if args.all or found.verdict not in ("equal", "neither")
        ]
    else:
        groups = days if args.by == "day" else months
        lines = [_sum(name, found, args) for name, found in groups.items() if args.all or _differs(found)]
    if not args.json:
        print(f"{series.meter}/{series.channel} {series.direction}: ours, theirs, ours - theirs in Wh")
    print("\n".join([*lines, _sum("all", everything, args)]))
    return int(_differs(everything))


def _ours(series: Series) -> Iterator[Row]:
    """What is stored, as rows of mWh; raises ChoiceError for what is no energy."""
    if series.unit.name != "Wh":
        raise ChoiceError(f"{series.meter}/{series.channel} counts {series.unit.name}: only energy is compared")
    factor = MILLI * 10**series.unit.exponent
    for interval in series.intervals:
        quantity = None if interval.quantity is None else interval.quantity * factor
        yield Row(interval.start, interval.end, quantity, SAID[interval.status])


def _theirs(args: argparse.Namespace, one: Chosen, series: Series) -> Iterator[Row]:
    """What the file says of this direction and period."""
    with args.file.open("rb") as source:
        for found in READERS[args.format](source, one.zone):
            if found.direction != series.direction:
                continue
            if found.point and series.point and found.point != series.point:
                print(f"meterd reconcile: {args.file} is of point {found.point}, not {series.point}", file=sys.stderr)
            yield from (row for row in counted(found.rows) if one.start <= row.start < one.end)


def _differs(found: Sum) -> bool:
    return any(found.verdicts[verdict] for verdict in ("differs", "only_ours", "only_theirs"))


def _wh(milli: int | None) -> str:
    """Wh, with decimals only where there are any."""
    return "-" if milli is None else decimal(milli, -3).removesuffix(".000")


def _interval(one: Chosen, found: Difference, args: argparse.Namespace) -> str:
    if args.json:
        return json.dumps(
            {
                "start": second(found.start),
                "end": second(found.end),
                "ours_wh": None if found.ours is None else _wh(found.ours),
                "theirs_wh": None if found.theirs is None else _wh(found.theirs),
                "verdict": found.verdict,
                "why": found.why,
            }
        )
    local = f"{datetime.fromtimestamp(found.start, one.zone):%Y-%m-%d %H:%M%z}"
    return f"{local}  {_wh(found.ours):>12} {_wh(found.theirs):>12} {_wh(found.milli_wh):>12}  {found.why}".rstrip()


def _sum(name: str, found: Sum, args: argparse.Namespace) -> str:
    verdicts = {verdict: n for verdict, n in sorted(found.verdicts.items()) if n}
    ours, theirs, difference = (None if milli is None else _wh(milli) for milli in found.energy)
    if args.json:
        energy = {"ours_wh": ours, "theirs_wh": theirs, "difference_wh": difference}
        return json.dumps({"period": name, **energy, **verdicts})
    told = ", ".join(f"{n} {verdict.replace('_', ' ')}" for verdict, n in verdicts.items())
    return f"{name:<16}  {ours or '-':>12} {theirs or '-':>12} {difference or '-':>12}  {told}"
