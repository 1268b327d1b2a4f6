"""Print readings of the journal, or intervals of the ledger in the format of a hub, a spreadsheet or a program.

jsonl and csv are readings, in the order in which they were received; all other formats are intervals (docs/exports.md).

Works beside a running daemon. What is not committed yet (the last 10 s, 60 s in mode saver) is not in it. Times are
ISO 8601 with a zone: 2026-11-21T22:20:05Z; --from is included, --to is not. Identifications of sub-meters are
pseudonyms, the same as over MQTT. Exit code 0 with readings, 1 when none matched, 2 for wrong options.

jsonl: one object per reading as in docs/item-p.md, `sub` beside it where the telegram had sub-meter readings.
csv: one column per attribute, empty where absent; `sub` and, with --registers, `registers` hold JSON.

--sub-meters: readings of gas, water, heat and other meters behind the meter instead, each once, although telegrams
repeat it for up to an hour; meterd.sub/1 (docs/sub-meters.md).
"""

import argparse
import csv
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.commands import configuration, export_intervals, interval_choice
from gateway.commands.output import output
from gateway.exports.formats import FORMATS as CARRIERS
from gateway.item_p import ItemP, LiveSub, sub_to_dict, to_dict, utc
from gateway.pseudonym import pseudonym
from gateway.settings import SettingsError
from gateway.stores.reader import Reader
from gateway.stores.schema import JournalError
from gateway.sub_meters import new_readings

#: the header of CSV, fixed: attributes of item P by their JSON names, `src` as its two parts
COLUMNS = (
    "meter", "t", "t_source", "t_meter", "t_rx", "clock_offset_s",
    "p_import_w", "p_export_w", "p_net_w", "a_import_wh", "a_export_wh", "reg_t",
    "quality", "auth", "seq", "valid_for_s", "interface", "profile", "sub", "registers",
)  # fmt: skip
#: the same of --sub-meters
SUB_COLUMNS = ("meter", "channel", "device", "medium", "t", "quantity", "unit", "quality", "auth", "seq")
#: seconds between two signs of life on a terminal
PROGRESS_S = 0.5

_encode = msgspec.json.Encoder().encode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `meterd export`."""
    configuration.add_option(parser)
    parser.add_argument("--journal", type=Path, metavar="PATH", help="the journal, instead of the configuration's")
    carriers = "; ".join(f"{name}: {carrier.says}" for name, carrier in CARRIERS.items())
    parser.add_argument(
        "--format", choices=[*FORMATS, *CARRIERS], default="jsonl", help=f"default: jsonl. Intervals: {carriers}"
    )
    parser.add_argument("--json", action="store_const", const="jsonl", dest="format", help="the same as --format jsonl")
    interval_choice.add_period(parser)
    parser.add_argument("--registers", action="store_true", help="every register of the telegram, not only item P")
    parser.add_argument("--sub-meters", action="store_true", help="readings of the sub-meters instead, each once")
    parser.add_argument(
        "-o", "--output", default="-", metavar="FILE", help="write to FILE, which appears when complete"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    intervals = parser.add_argument_group("intervals")
    interval_choice.add_options(intervals)
    export_intervals.add_options(intervals)


def run(args: argparse.Namespace) -> int:
    """Export; 0 with readings, 1 without or when the journal cannot be read, 2 for options that contradict."""
    problem = _conflict(args)
    if problem:
        return _complain(problem, 2)
    if args.format in CARRIERS:
        return export_intervals.run(args)
    try:
        reader = Reader(_journal(args), args.meter, args.since, args.until)
    except SettingsError as error:
        return configuration.complain("export", error.problems)
    except JournalError as error:
        return _complain(str(error), 1)
    try:
        return _export(reader, args)
    except JournalError as error:
        return _complain(str(error), 1)
    finally:
        reader.close()


def _conflict(args: argparse.Namespace) -> str | None:
    if args.since and args.until and args.since >= args.until:
        return "--from must be before --to"
    if args.sub_meters and args.registers:
        return "--registers are those of the meter, --sub-meters have none: leave out one of them"
    if args.format in CARRIERS and (args.registers or args.sub_meters or args.journal):
        return f"{args.format} holds intervals: --registers, --sub-meters and --journal are for readings"
    if args.format in FORMATS and (args.include_raw or args.plot or args.day or args.month or args.ledger):
        return f"{args.format} holds readings: choose the format of intervals, or leave their options out"
    if args.output != "-" and Path(args.output).exists() and not args.force:
        return f"{args.output} exists: name another file, or add --force"
    return None


def _journal(args: argparse.Namespace) -> Path:
    if args.journal:
        return Path(args.journal)
    return Path(configuration.read(configuration.place(args.config), "run").journal.path)


def _export(reader: Reader, args: argparse.Namespace) -> int:
    if args.meter and args.meter not in reader.meters:
        return _complain(f"{reader.path} knows no meter {args.meter!r}: it has {', '.join(reader.meters) or 'none'}", 1)
    items = _with_progress(iter(reader))
    columns = SUB_COLUMNS if args.sub_meters else COLUMNS
    if args.sub_meters:
        objects = (_sub_object(item.meter, live) for item, live in new_readings(items, reader.salt))
    else:
        objects = (_object(item, reader.salt, registers=args.registers) for item in items)
    first = next(objects, None)
    if first is None:
        _mention_damage(reader)
        return _complain("no reading matches", 1)
    render = FORMATS[args.format]
    with output(args.output) as out:
        if render is _csv:
            out.write(_line(columns))
        out.write(render(first, columns))
        for found in objects:
            out.write(render(found, columns))
    _mention_damage(reader)
    return 0


def _jsonl(found: dict[str, Any], _columns: Sequence[str]) -> bytes:
    return _encode(found) + b"\n"


def _csv(found: dict[str, Any], columns: Sequence[str]) -> bytes:
    found |= found.get("src", {})
    for name in ("sub", "registers"):
        if name in found:
            found[name] = _encode(found[name]).decode()
    return _line(found.get(column, "") for column in columns)


def _sub_object(meter: str, live: LiveSub) -> dict[str, Any]:
    return sub_to_dict(live.reading, meter=meter, device=live.device, auth=live.auth, seq=live.seq)


def _object(item: ItemP, salt: bytes, *, registers: bool) -> dict[str, Any]:
    found = to_dict(item, registers=registers)
    if item.reading.sub:
        found["sub"] = [
            sub_to_dict(
                sub,
                meter=item.meter,
                device=None if sub.device is None else pseudonym(salt, sub.device),
                auth=item.reading.auth,
                seq=item.seq,
            )
            for sub in item.reading.sub
        ]
    return found


#: a row as octets: (object, columns of CSV) -> line
FORMATS: dict[str, Callable[[dict[str, Any], Sequence[str]], bytes]] = {"jsonl": _jsonl, "csv": _csv}


def _line(values: Any) -> bytes:
    """One CSV line (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode()


def _with_progress(items: Iterator[ItemP]) -> Iterator[ItemP]:
    """Hand readings on and say on a terminal now and then how far it came."""
    if not sys.stderr.isatty():
        yield from items
        return
    shown, count = time.monotonic(), 0
    for count, item in enumerate(items, 1):
        if time.monotonic() - shown >= PROGRESS_S:
            shown = time.monotonic()
            print(f"\r{count} readings, to {utc(item.t, 'seconds')}", end="", file=sys.stderr, flush=True)
        yield item
    print(f"\r{count} readings\x1b[K", file=sys.stderr)


def _mention_damage(reader: Reader) -> None:
    if reader.damaged:
        print(f"meterd export: {reader.damaged} rows are damaged and were left out", file=sys.stderr)


def _complain(problem: str, code: int) -> int:
    print(f"meterd export: {problem}", file=sys.stderr)
    return code
