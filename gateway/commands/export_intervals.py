"""The half of `meterd export` that writes intervals: item E in the format of a hub, a spreadsheet or a program."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.commands import configuration
from gateway.commands.interval_choice import (
    ChoiceError,
    Chosen,
    choose,
    conflict,
    ledger_of,
    series_of,
    settings_of,
    whole,
)
from gateway.commands.output import output
from gateway.exports.about import About, ExportError
from gateway.exports.formats import FORMATS
from gateway.intervals.model import Interval, Series
from gateway.settings import SettingsError
from gateway.stores.intervals import IntervalReader
from gateway.stores.ledger_place import LedgerError

#: seconds between two signs of life on a terminal
PROGRESS_S: Final = 0.5


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that only intervals have."""
    parser.add_argument("--include-raw", action="store_true", help="intervals that are not validated too, marked")
    parser.add_argument("--sender", metavar="ID", help="GLN or EIC of the sender, for vhd and rsm012")
    parser.add_argument("--receiver", metavar="ID", help="GLN or EIC of the receiver; of rsm012 DataHub's by default")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the period as .png or .svg (extra `plot`)")


def run(args: argparse.Namespace) -> int:
    """Write the document; 1 when nothing matches or the format cannot carry it, 2 for options that contradict."""
    problem = conflict(args)
    if problem:
        print(f"meterd export: {problem}", file=sys.stderr)
        return 2
    try:
        settings = settings_of(args)
        reader = IntervalReader(ledger_of(args, settings))
    except SettingsError as error:
        return configuration.complain("export", error.problems)
    except LedgerError as error:
        return configuration.complain("export", [str(error)])
    try:
        _write(reader, choose(reader, settings, args), args)
    except (LedgerError, ChoiceError, ExportError) as error:
        return configuration.complain("export", [str(error)])
    finally:
        reader.close()
    if reader.damaged:
        print(f"meterd export: {reader.damaged} versions are damaged and were left out", file=sys.stderr)
    return 0


def _write(reader: IntervalReader, chosen: list[Chosen], args: argparse.Namespace) -> None:
    about = About(
        min(one.start for one in chosen),
        max(one.end for one in chosen),
        int(time.time()),
        sender=args.sender,
        receiver=args.receiver,
        raw=args.include_raw,
    )
    many = [series_of(reader, one, args.resolution) for one in chosen]
    if args.plot:
        from gateway.exports import plot

        plot.draw([whole(series) for series in many], args.plot)
    pieces = FORMATS[args.format].write(_with_progress(many), about)
    # What the format refuses, it mostly refuses at its first piece: then no file is begun.
    first = next(pieces, b"")
    with output(args.output) as out:
        out.write(first)
        for piece in pieces:
            out.write(piece)


def _with_progress(many: Iterable[Series]) -> Iterator[Series]:
    """The series, and on a terminal now and then how far they came."""
    if not sys.stderr.isatty():
        yield from many
        return
    count = [0]
    for series in many:
        yield replace(series, intervals=_Counted(series.intervals, count))  # type: ignore[arg-type]
    print(f"\r{count[0]} intervals\x1b[K", file=sys.stderr)


class _Counted:
    """Intervals that say on a terminal how many of them went by."""

    def __init__(self, intervals: Iterable[Interval], count: list[int]) -> None:
        self._intervals, self._count = intervals, count

    def __iter__(self) -> Iterator[Interval]:
        shown = time.monotonic()
        for interval in self._intervals:
            self._count[0] += 1
            if time.monotonic() - shown >= PROGRESS_S:
                shown = time.monotonic()
                print(f"\r{self._count[0]} intervals", end="", file=sys.stderr, flush=True)
            yield interval
