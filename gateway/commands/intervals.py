"""Show intervals, explain how one came about (bounds, readings, rules, every version), edit one, compare demands.

  meterd intervals show --month 2026-11 --resolution P1D
  meterd intervals explain 2026-11-21T10:15:00+01:00 --direction import
  meterd intervals edit 2026-11-21T10:15:00+01:00 --direction import --quantity 125 --person NAME --reason TEXT
  meterd intervals peaks --month 2026-11

Works beside a running daemon. Statuses, rules and edits: docs/vee.md. Exit code 0; 1 when nothing matches, or a peak
or mean differs; 2 for wrong options.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from gateway.commands import configuration, edit_interval
from gateway.commands.arguments import moment
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
from gateway.exports.about import decimal, second
from gateway.intervals import calendar
from gateway.intervals.billed import Compared, compare
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.demand import DemandDay, compare_day
from gateway.intervals.edit import EDIT
from gateway.intervals.findings import RULES
from gateway.intervals.model import Bound, Interval, Series
from gateway.settings import SettingsError
from gateway.stores.intervals import IntervalReader
from gateway.stores.ledger_place import LedgerError

#: how a bound came about, in words
BOUNDS: Final = {
    "measured": "read at that second",
    "interpolated": "between two readings close to it",
    "estimated": "between two readings that are far from it",
    "none": "not known",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `meterd intervals` does, and its options."""
    parser.add_argument("action", choices=ACTIONS, help="a period; one interval; the meter's own peaks and means")
    parser.add_argument("at", nargs="?", type=moment, metavar="ISO", help="explain, edit: a moment within the interval")
    configuration.add_option(parser)
    add_period(parser)
    add_options(parser)
    edit_interval.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")


def run(args: argparse.Namespace) -> int:
    """Show, explain or edit."""
    problem = (
        conflict(args)
        or (None if (args.action in OF_A_MOMENT) == bool(args.at) else "explain and edit need a moment, others none")
        or edit_interval.conflict(args)
    )
    if problem:
        print(f"meterd intervals: {problem}", file=sys.stderr)
        return 2
    try:
        settings = settings_of(args)
        args.ledger_path = ledger_of(args, settings)
        reader = IntervalReader(args.ledger_path)
    except SettingsError as error:
        return configuration.complain("intervals", error.problems)
    except LedgerError as error:
        return configuration.complain("intervals", [str(error)])
    try:
        return ACTIONS[args.action](reader, choose(reader, settings, args), args)
    except (LedgerError, ChoiceError) as error:
        return configuration.complain("intervals", [str(error)])
    finally:
        reader.close()


def _show(reader: IntervalReader, chosen: list[Chosen], args: argparse.Namespace) -> int:
    for one in chosen:
        series = series_of(reader, one, args.resolution)
        if not args.json:
            print(f"{series.meter}/{series.channel} {series.kind} {series.direction}, {args.resolution}, {series.zone}")
        total = None
        for interval in series.intervals:
            if interval.quantity is not None:
                total = (total or 0) + interval.quantity
            print(json.dumps(_object(series, interval)) if args.json else _line(series, one, interval))
        if not args.json:
            sum_ = "nothing" if total is None else f"{decimal(total, series.unit.exponent)} {series.unit.name}"
            print(f"{'sum':<22} {sum_:>16}\n")
    return 0


def _line(series: Series, one: Chosen, interval: Interval) -> str:
    local = datetime.fromtimestamp(interval.start, one.zone)
    quantity = (
        "-" if interval.quantity is None else f"{decimal(interval.quantity, series.unit.exponent)} {series.unit.name}"
    )
    rules = " ".join(interval.rules)
    return f"{local:%Y-%m-%d %H:%M%z}  {quantity:>16}  {interval.status:<9} {interval.method:<8} {rules}".rstrip()


def _explain(reader: IntervalReader, chosen: list[Chosen], args: argparse.Namespace) -> int:
    shown = False
    for one in chosen:
        begin = GAS_DAY if one.point.gas_day else MIDNIGHT
        start = calendar.floor(int(args.at.timestamp()), args.resolution, one.zone, begin)
        history = reader.history(one.row.key, args.resolution, start)
        series = series_of(reader, one, args.resolution)
        for interval in history:
            shown = True
            print(
                json.dumps(_object(series, interval, whole=True))
                if args.json
                else "\n".join(_told(series, one, interval))
            )
    if not shown:
        raise ChoiceError(f"no version of an interval of {args.resolution} is stored at that moment")
    return 0


def _peaks(reader: IntervalReader, chosen: list[Chosen], args: argparse.Namespace) -> int:
    """The meter's own peaks of each month, and its means of each day, beside ours; 1 where one differs."""
    differs = False
    for one in chosen:
        for peak in reader.peaks(one.row.key):
            if not one.start <= peak.t - 1 < one.end:
                continue
            month = calendar.floor(peak.t - 1, "P1M", one.zone)
            until = calendar.end_of(month, "P1M", one.zone)
            compared = compare(peak, reader.current(one.row.key, "PT15M", month, until))
            differs |= compared.agrees is False
            print(json.dumps(_peak_object(one, compared)) if args.json else _peak_line(one, compared))
        for day in _demand_days(reader, one):
            differs |= bool(day.exceeded)
            print(json.dumps(_demand_object(one, day)) if args.json else _demand_line(one, day))
    return int(differs)


def _demand_days(reader: IntervalReader, one: Chosen) -> Iterator[DemandDay]:
    """The local days of a period in which the meter told means of quarter-hours that we know."""
    key, begin = one.row.key, GAS_DAY if one.point.gas_day else MIDNIGHT
    told = reader.demands(key, one.start, one.end)
    for start, demands in groupby(told, lambda demand: calendar.floor(demand.start, "P1D", one.zone, begin)):
        span = start, calendar.end_of(start, "P1D", one.zone, begin)
        day = compare_day(span, demands, reader.current(key, "PT15M", *span))
        if day is not None:
            yield day


def _demand_object(one: Chosen, day: DemandDay) -> dict[str, Any]:
    worst = day.worst
    return {
        "meter": one.row.meter,
        "direction": one.row.direction,
        "day": f"{datetime.fromtimestamp(day.start, one.zone):%Y-%m-%d}",
        "compared": day.compared,
        "exceeded": day.exceeded,
        "worst_start": second(worst.theirs.start),
        "meter_w": worst.theirs.watts,
        "ours_w": worst.ours,
        "difference_w": worst.difference,
        "allowed_w": worst.allowed,
        "agrees": not day.exceeded,
    }


def _demand_line(one: Chosen, day: DemandDay) -> str:
    worst = day.worst
    name = f"{one.row.meter} {one.row.direction} {datetime.fromtimestamp(day.start, one.zone):%Y-%m-%d}"
    at = datetime.fromtimestamp(worst.theirs.start, one.zone)
    told = f"{worst.difference:+d} W from {at:%H:%M%z} (the meter {worst.theirs.watts} W, ours {worst.ours} W)"
    differ = f"{day.exceeded} differ" if day.exceeded else "all agree"
    return f"{name}: {day.compared} quarter-hours compared, {differ}; at most {told}, {worst.allowed} W allowed"


def _peak_object(one: Chosen, found: Compared) -> dict[str, Any]:
    told = {
        "meter": one.row.meter,
        "direction": one.row.direction,
        "meter_w": found.theirs.watts,
        "meter_t": second(found.theirs.t),
        "start": None if found.start is None else second(found.start),
        "ours_w": found.ours,
        "difference_w": found.difference,
        "allowed_w": found.allowed,
        "highest_w": found.highest,
        "highest_start": None if found.highest_start is None else second(found.highest_start),
        "agrees": found.agrees,
    }
    return {name: value for name, value in told.items() if value is not None}


def _peak_line(one: Chosen, found: Compared) -> str:
    local = datetime.fromtimestamp(found.theirs.t, one.zone)
    name = f"{one.row.meter} {one.row.direction} {local:%Y-%m}"
    told = f"{name}: the meter says {found.theirs.watts} W at {local:%Y-%m-%d %H:%M:%S%z}"
    if found.agrees is None:
        return f"{told}; not comparable: {'no quarter-hour ends there' if found.start is None else 'ours is not known'}"
    difference = f"ours is {found.ours} W, {found.difference:+d} W"
    if found.agrees:
        return f"{told}; {difference}: agrees"
    highest = datetime.fromtimestamp(found.highest_start or 0, one.zone)
    return f"{told}; {difference}; our highest is {found.highest} W, from {highest:%m-%d %H:%M}: differs"


def _edit(_reader: IntervalReader, chosen: list[Chosen], args: argparse.Namespace) -> int:
    return edit_interval.run(chosen, args)


def _told(series: Series, one: Chosen, interval: Interval) -> Iterator[str]:
    """One version in words."""
    unit = series.unit

    def amount(value: int | None) -> str:
        return "not known" if value is None else f"{decimal(value, unit.exponent)} {unit.name}"

    local = datetime.fromtimestamp(interval.start, one.zone)
    made = "" if interval.made is None else f", made {second(interval.made)}"
    yield f"{series.meter}/{series.channel} {series.direction} {local.isoformat()} version {interval.version}{made}"
    yield f"  quantity  {amount(interval.quantity)}, {interval.status}, by {interval.author} ({interval.method})"
    for name, bound in (("from", interval.low), ("to", interval.high)):
        yield f"  {name:<9} {amount(bound.value)}, {BOUNDS[bound.method]}{_readings(bound)}"
    proof = f"{interval.quality}, {interval.auth}, clock of the {interval.clock}"
    yield f"  readings  in {interval.coverage / 10:g} % of its minutes, {proof}"
    if interval.sum_break:
        why = interval.reason or "not told"
        yield f"  break     the sum of registers is broken by {amount(interval.sum_break)}: {why}"
    elif interval.reason:
        yield f"  reason    {interval.reason}"
    inputs = json.loads(interval.inputs or "{}")
    if (edited := inputs.pop(EDIT, None)) is not None:
        yield f"  edit      {_by_whom(edited, amount)}"
    for rule in interval.rules:
        yield f"  {rule:<9} {RULES.get(rule, 'a rule of another version of meterd')}{_given(inputs.get(rule))}"
    for method in sorted(inputs.keys() - set(interval.rules)):
        yield f"  {method:<9} made of{_given(inputs[method])}"


def _by_whom(edited: Any, amount: Callable[[int | None], str]) -> str:
    """Who edited an interval, or what it carries of others."""
    if "carried" in edited:
        return f"{amount(edited['carried'])} by edits of intervals within it"
    what = "taken back" if edited.get("withdrawn") else "entered"
    return f"{what} by {edited['person']} at {edited['at']}; before {amount(edited['before'])}"


def _readings(bound: Bound) -> str:
    if not bound.readings:
        return ""
    times = " and ".join(f"{datetime.fromtimestamp(t, UTC):%H:%M:%SZ} ({value})" for t, value in bound.readings)
    return f": {times}"


def _given(inputs: Any) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in inputs.items())})" if isinstance(inputs, dict) else ""


def _object(series: Series, interval: Interval, *, whole: bool = False) -> dict[str, Any]:
    """One version as JSON; with `whole` the bounds and what it was made of."""
    found: dict[str, Any] = {
        "meter": series.meter,
        "channel": series.channel,
        "product": series.kind,
        "direction": series.direction,
        "resolution": series.resolution,
        "start": second(interval.start),
        "end": second(interval.end),
        "unit": series.unit.name,
        "status": interval.status,
        "quality": interval.quality,
        "auth": interval.auth,
        "coverage": interval.coverage,
        "method": interval.method,
        "version": interval.version,
        "item_e": interval.is_item_e,
        "rules": list(interval.rules),
    }
    if interval.quantity is not None:
        found["quantity"] = decimal(interval.quantity, series.unit.exponent)
    if whole:
        found |= {
            "author": interval.author,
            "clock": interval.clock,
            "low": _bound(interval.low),
            "high": _bound(interval.high),
            "resolution_wh": interval.resolution_wh,
            "sum_break": interval.sum_break,
            "reason": interval.reason,
            "inputs": json.loads(interval.inputs or "{}"),
            "made": None if interval.made is None else second(interval.made),
        }
    return found


def _bound(bound: Bound) -> dict[str, Any]:
    readings = [{"t": second(t), "value": value} for t, value in bound.readings]
    return {"t": second(bound.t), "value": bound.value, "method": bound.method, "readings": readings}


ACTIONS: Final = {"show": _show, "explain": _explain, "edit": _edit, "peaks": _peaks}
#: what is done with one interval
OF_A_MOMENT: Final = ("explain", "edit")
