"""The half of `meterd intervals` that writes: a person enters a quantity, or takes an edit back; both are audited."""

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from gateway.commands.interval_choice import ChoiceError, Chosen
from gateway.exports.about import decimal, second
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.edit import MOST_QUANTITY, edit, holds, withdraw
from gateway.intervals.model import Interval, missing
from gateway.stores.files import Damaged, StorageFault
from gateway.stores.intervals import IntervalStore, StaleError
from gateway.stores.ledger_place import LedgerError
from gateway.stores.ledger_rows import Note
from gateway.stores.ledger_salvage import open_ledger

#: metering is edited for the time that is kept, not before
MOST_DIGITS: Final = 32
OLDEST: Final = timedelta(days=1_110)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of an edit."""
    parser.add_argument(
        "--quantity", metavar="N", help="edit: the quantity of the interval, in Wh (varh, m3, J as `show` prints it)"
    )
    parser.add_argument("--reason", metavar="TEXT", help="edit: why, for the audit")
    parser.add_argument("--person", metavar="NAME", help="edit: who answers for it, for the audit")
    parser.add_argument("--withdraw", action="store_true", help="edit: take an edit back")


def conflict(args: argparse.Namespace) -> str | None:
    """Say which options of an edit are missing, or belong to no edit."""
    given = [name for name in ("quantity", "reason", "person", "withdraw") if getattr(args, name)]
    if args.action != "edit":
        return f"--{given[0]} is for an edit" if given else None
    if bool(args.quantity) == args.withdraw:
        return "edit needs --quantity, or --withdraw"
    lacking = [f"--{name}" for name in ("direction", "reason", "person") if not getattr(args, name)]
    return f"edit needs {', '.join(lacking)}" if lacking else None


def run(chosen: list[Chosen], args: argparse.Namespace) -> int:
    """Write one version and its entry in the metrology log; raises ChoiceError, LedgerError."""
    if len(chosen) > 1:
        names = ", ".join(f"{one.row.meter}/{one.row.channel} {one.row.kind}" for one in chosen)
        raise ChoiceError(f"an edit is of one series: choose among {names} by --meter and --product")
    try:
        file = open_ledger(args.ledger_path).file
    except (StorageFault, Damaged) as fault:
        raise LedgerError(str(fault)) from fault
    try:
        stored = _edit(IntervalStore(file), chosen[0], args)
    except StaleError:
        raise ChoiceError("the interval was given another version just now: look at it again, and repeat") from None
    except ValueError as error:
        raise ChoiceError(str(error)) from None
    except (StorageFault, Damaged) as fault:
        raise LedgerError(str(fault)) from fault
    finally:
        file.close()
    _tell(chosen[0], stored, args)
    return 0


def _edit(store: IntervalStore, one: Chosen, args: argparse.Namespace) -> Interval:
    key, at = one.row.key, datetime.now(UTC)
    start, end = _span(one, args)
    if end > time.time() or start < (at - OLDEST).timestamp():
        raise ChoiceError(f"the interval of {second(start)} is not over, or older than what is kept")
    history = store.history(key, args.resolution, start)
    current = history[-1] if history else missing(start, end)
    audit = {"reason": args.reason, "person": args.person, "at": at}
    if args.withdraw:
        held = next(store.edits(key, args.resolution, start, start + 1), None)
        if held is None:
            raise ChoiceError(f"no edit holds for the interval of {second(start)}: there is nothing to take back")
        version = withdraw(current, held.below or missing(start, end), **audit)
    else:
        version = edit(current, _quantity(args.quantity, one.row.exponent, one.row.unit), **audit)
    facts = _facts(one, current, version, args)
    event = "interval_edited" if holds(version) else "interval_edit_withdrawn"
    return store.edit(key, args.resolution, version, Note(event, one.row.meter, at, facts))


def _span(one: Chosen, args: argparse.Namespace) -> tuple[int, int]:
    begin = GAS_DAY if one.point.gas_day else MIDNIGHT
    start = calendar.floor(int(args.at.timestamp()), args.resolution, one.zone, begin)
    return start, calendar.end_of(start, args.resolution, one.zone, begin)


def _quantity(text: str, exponent: int, unit: str) -> int:
    """A quantity as a person writes it, in the step of the series: exactly, or not at all."""
    try:
        value = Decimal(text[:MOST_DIGITS]).scaleb(-exponent)
        # 1e999999 is a number, too, and takes minutes to write out
        whole = int(value) if value.adjusted() <= MOST_DIGITS else MOST_QUANTITY + 1
    except (InvalidOperation, ValueError, OverflowError):
        raise ChoiceError(f"{text[:32]!r} is no quantity: write a number of {unit}") from None
    if len(text) > MOST_DIGITS or whole > MOST_QUANTITY:
        raise ChoiceError(f"{text[:MOST_DIGITS]} {unit} is more than an interval has")
    if value != whole:
        raise ChoiceError(f"{text[:32]} {unit} is finer than the register counts: at most {-exponent} decimals")
    return whole


def _facts(one: Chosen, current: Interval, version: Interval, args: argparse.Namespace) -> dict[str, int | str | None]:
    return {
        "person": str(args.person).strip(),
        "reason": str(args.reason).strip(),
        "product": one.row.kind,
        "direction": one.row.direction,
        "channel": one.row.channel,
        "resolution": str(args.resolution),
        "start": second(version.start),
        "end": second(version.end),
        "unit": one.row.unit,
        "before": _shown(one, current),
        "after": _shown(one, version),
        "version": version.version,
    }


def _shown(one: Chosen, interval: Interval) -> str | None:
    return None if interval.quantity is None else decimal(interval.quantity, one.row.exponent)


def _tell(one: Chosen, stored: Interval, args: argparse.Namespace) -> None:
    quantity = _shown(one, stored)
    if args.json:
        said = {"start": second(stored.start), "end": second(stored.end), "version": stored.version}
        print(json.dumps(said | {"status": stored.status, "quantity": quantity, "sum_break": stored.sum_break}))
        return
    local = f"{datetime.fromtimestamp(stored.start, one.zone):%Y-%m-%d %H:%M%z}"
    amount = "no quantity" if quantity is None else f"{quantity} {one.row.unit}"
    broken = decimal(stored.sum_break, one.row.exponent)
    print(f"{local}  {amount}, {stored.status}, version {stored.version}; the sum is broken by {broken} {one.row.unit}")
    print("its day is judged again by the daemon, within a minute after the day is over, or at its next start")
