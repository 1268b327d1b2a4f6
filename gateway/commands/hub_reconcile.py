"""`meterd hub reconcile`: what the hub says of a month beside what is stored here, each difference listed.

A hub that tells intervals (reports, deliveries, exports of its portal) is compared interval by interval; one that tells
sums of a month (RSM-019), sum by sum. Nothing is filled or rounded. What the hub told last of an interval counts.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast
from zoneinfo import ZoneInfo

from gateway.commands import configuration
from gateway.commands.hub_ledger import RefusedError, adapter_of, at, hub_of, reading, settings_of, shown, table
from gateway.commands.reconcile import SAID
from gateway.exports.about import decimal
from gateway.hub_settings import HubSettings
from gateway.imports.record import MILLI, Imported, ImportFileError, Row, counted
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.model import Direction, SeriesKey
from gateway.reconcile import Sum, compare, sums
from gateway.settings import PointSettings, Settings
from gateway.stores.hub_reading import HubRows
from gateway.stores.intervals import IntervalReader
from gateway.stores.ledger_place import LedgerError

if TYPE_CHECKING:
    from gateway.uploader.hub import Accounts, HubAdapter
    from gateway.uploader.month_sums import Own

#: a month begins everywhere within so long before and behind that of UTC, also of gas days (s)
_ZONES_S: Final = 86_400


@dataclass(slots=True)
class Side:
    """One point and direction of ours."""

    point: PointSettings
    key: SeriesKey
    zone: ZoneInfo
    exponent: int
    #: what the hub says of it, by start
    theirs: dict[int, Row] = field(default_factory=dict)

    def month(self, month: date) -> tuple[int, int]:
        """Start and end of a month there (UTC s)."""
        begin = GAS_DAY if self.point.gas_day else MIDNIGHT
        last = calendar.next_month(month)
        return calendar.month_start(month, self.zone, begin), calendar.month_start(last, self.zone, begin)


def reconcile_(args: argparse.Namespace) -> int:
    """Compare a month; 0 when both sides agree, 1 when they do not, or the hub has told nothing of it."""
    settings = settings_of(args)
    hub = hub_of(settings, args.hub)
    adapter = adapter_of(settings, hub)
    month = args.month or _last_month(datetime.now(UTC).date())
    try:
        intervals = IntervalReader(args.ledger or settings.ledger_path)
    except LedgerError as error:
        raise RefusedError(str(error)) from None
    try:
        with reading(args) as rows:
            sides = _sides(settings, hub, intervals)
            monthly = list(_sums(rows, hub.name, sides, intervals, month, hub))
            unread = [_strange(one, settings) for one in _take(rows, hub, adapter, sides, month)]
            found = [(name, *_compared(side, intervals, hub, month)) for name, side in sides.items() if side.theirs]
    except ImportFileError as error:
        raise RefusedError(f"hub {hub.name}: {error}") from None
    except LedgerError as error:
        raise RefusedError(str(error)) from None
    finally:
        intervals.close()
    return _tell(args, month, monthly, found, unread, way=_way(adapter, hub))


def _way(adapter: "HubAdapter", hub: HubSettings) -> str:
    """How a hub that told nothing could tell something."""
    if adapter.requests():
        return f"ask for it (`meterd hub request {hub.name}`)"
    if hasattr(adapter, "account"):
        return f"import what its portal exports (`meterd hub import {hub.name} FILE`)"
    return f"a hub of kind {hub.kind} takes readings and tells none"


def _last_month(today: date) -> date:
    return (today.replace(day=1) - timedelta(1)).replace(day=1)


def _sides(settings: Settings, hub: HubSettings, intervals: IntervalReader) -> dict[tuple[str, Direction], Side]:
    """Our series by what the hub calls them."""
    from gateway.uploader.targets import name_of

    points = {(point.meter, point.channel): point for point in settings.point}
    zone_of = configuration.zones(settings)
    sides: dict[tuple[str, Direction], Side] = {}
    for key, row in sorted(intervals.series().items()):
        point = points.get((key.meter, key.channel))
        name = None if point is None else name_of(point, key.direction)
        zone = None if point is None else zone_of(point)
        if point is not None and name is not None and zone is not None and row.of.name == "Wh":
            sides.setdefault((name, key.direction), Side(point, key, zone, row.of.exponent))
    return sides


# -- intervals ---------------------------------------------------------------------------------------------------------


def _take(
    rows: HubRows, hub: HubSettings, adapter: object, sides: Mapping[tuple[str, Direction], Side], month: date
) -> list[tuple[str | None, Direction]]:
    """Take in what the hub told of the month; what has no other side here, by point and direction."""
    if not hasattr(adapter, "account"):
        return []
    accounts, after = cast("Accounts", adapter), 0
    strange: dict[tuple[str | None, Direction], None] = {}
    while page := rows.received(hub.name, after=after, limit=20):
        after = page[-1].id
        for one in page:
            if one.body is None:
                continue
            try:
                told = accounts.account(one.kind, one.body, one.data.content_type)
            except ImportFileError:
                continue  # it holds no quantities
            for account in told:
                if not _taken(account, sides, month) and _touches(account, month):
                    strange[account.point, account.direction] = None
    return list(strange)


def _strange(found: tuple[str | None, Direction], settings: Settings) -> str:
    """Why something that the hub tells is compared with nothing, as a sentence."""
    name, direction = found
    known = {one for point in settings.point for one in (point.id, point.id_export)} - {None}
    why = "of which nothing is stored here" if name in known else "which is no point of the configuration"
    return f"the hub tells of {name or 'a point without a name'} {direction}, {why}"


def _taken(account: Imported, sides: Mapping[tuple[str, Direction], Side], month: date) -> bool:
    """Take rows of the month; later ones replace those of earlier documents."""
    side = sides.get((account.point or "", account.direction))
    if side is None:
        return False
    start, end = side.month(month)
    side.theirs |= {row.start: row for row in counted(account.rows) if start <= row.start < end}
    return True


def _touches(account: Imported, month: date) -> bool:
    """Whether something is told of a month, in whatever zone."""
    start, end = (calendar.month_start(one, ZoneInfo("UTC"), MIDNIGHT) for one in (month, calendar.next_month(month)))
    return any(start - _ZONES_S <= row.start < end + _ZONES_S for row in account.rows)


def _compared(side: Side, intervals: IntervalReader, hub: HubSettings, month: date) -> tuple[dict[str, Sum], Sum]:
    start, end = side.month(month)
    factor = MILLI * 10**side.exponent
    ours = [
        Row(one.start, one.end, None if one.quantity is None else one.quantity * factor, SAID[one.status])
        for one in intervals.current(side.key, hub.resolution, start, end)
    ]
    begin = GAS_DAY if side.point.gas_day else MIDNIGHT
    days, _, everything = sums(compare(ours, [side.theirs[one] for one in sorted(side.theirs)]), side.zone, begin)
    return days, everything


# -- sums of a month ---------------------------------------------------------------------------------------------------


def _sums(  # noqa: PLR0913, PLR0917 - both sides
    rows: HubRows,
    name: str,
    sides: Mapping[tuple[str, Direction], Side],
    intervals: IntervalReader,
    month: date,
    hub: HubSettings,
) -> Iterator[dict[str, Any]]:
    """Sums that the hub told of the month, the last one of each kind, beside ours."""
    from gateway.uploader.month_sums import TYPES, latest, month_of, own_sum

    ours: dict[tuple[Direction, int, int], Own] = {}
    for fact in latest(rows, name):
        start, end, direction = fact.get("start"), fact.get("end"), TYPES.get(str(fact.get("point_type")))
        if not isinstance(start, int) or not isinstance(end, int) or month_of(start, end) != month:
            continue
        if direction is not None and (direction, start, end) not in ours:
            series = [
                (side.key, side.exponent)
                for (point, of), side in sides.items()
                if of == direction and point in hub.points and side.key.kind == "active"
            ]
            ours[direction, start, end] = own_sum(series, intervals, hub.resolution, (start, end))
        own = ours.get((direction, start, end)) if direction is not None else None
        yield _judged(fact, own)


def _judged(fact: Mapping[str, Any], own: "Own | None") -> dict[str, Any]:
    from gateway.uploader.month_sums import PRICE

    theirs = fact.get("energy_wh")
    known = own is not None and isinstance(theirs, int)
    return {
        "period": [at(fact["start"]), at(fact["end"])],
        "point_type": fact.get("point_type"),
        "grid_area": fact.get("grid_area"),
        "supplier": fact.get("supplier"),
        "settlement_version": fact.get("settlement_version"),
        "price": [fact.get(key) for key in PRICE if fact.get(key)],
        "sure": fact.get("sure"),
        "ours_wh": None if own is None else own.wh,
        "theirs_wh": theirs,
        "difference_wh": own.wh - cast("int", theirs) if own is not None and known else None,
        "points": None if own is None else own.points,
        "intervals_lacking": None if own is None else own.lacking,
    }


# -- telling -----------------------------------------------------------------------------------------------------------


def _tell(  # noqa: PLR0913 - what was found, by name
    args: argparse.Namespace,
    month: date,
    monthly: Sequence[Mapping[str, Any]],
    found: Sequence[tuple[tuple[str, Direction], dict[str, Sum], Sum]],
    unread: Sequence[str],
    *,
    way: str,
) -> int:
    agrees = all(one["difference_wh"] == 0 for one in monthly) and not any(_differs(total) for _, _, total in found)
    told = bool(monthly or found)
    if args.json:
        points = [
            {
                "point": name,
                "direction": direction,
                **_sum(total),
                "days": [{"day": day} | _sum(one) for day, one in days.items() if args.all or _differs(one)],
            }
            for (name, direction), days, total in found
        ]
        said = {"hub": args.hub, "month": f"{month:%Y-%m}", "agrees": agrees and told}
        print(json.dumps(said | {"sums": list(monthly), "points": points, "unknown": list(unread)}))
        return 0 if agrees and told else 1
    lines = list(_sum_lines(monthly))
    for (name, direction), days, total in found:
        lines.append(f"{name} {direction}: ours, theirs, ours - theirs in Wh, where both have a value")
        lines += table(
            [_cells(day, one) for day, one in days.items() if args.all or _differs(one)] + [_cells("all", total)]
        )
    lines += [shown(one) for one in unread]
    if not told and not unread:
        lines.append(f"hub {args.hub} has told nothing of {month:%Y-%m}: {way}")
    print("\n".join(lines))
    return 0 if agrees and told else 1


def _sum_lines(monthly: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not monthly:
        return
    lines: list[tuple[str, ...]] = [("TYPE", "GRID AREA", "SUPPLIER", "OURS WH", "THEIRS WH", "DIFFERENCE", "")]
    for one in monthly:
        sure = "" if one["sure"] else "which element holds the energy is not sure"
        price = shown(f"price {' '.join(one['price'])}") if one["price"] else ""
        lacking = f"{one['points'] or 0} points, {one['intervals_lacking'] or 0} intervals of ours without a value"
        cells = (
            one["point_type"],
            one["grid_area"],
            one["supplier"],
            one["ours_wh"],
            one["theirs_wh"],
            one["difference_wh"],
        )
        shown_cells = tuple("-" if cell is None else shown(str(cell)) for cell in cells)
        lines.append((*shown_cells, "; ".join(filter(None, (price, lacking, sure)))))
    yield from table(lines)


def _differs(found: Sum) -> bool:
    return any(found.verdicts[verdict] for verdict in ("differs", "only_ours", "only_theirs"))


def _sum(found: Sum) -> dict[str, Any]:
    verdicts: dict[str, int] = {verdict: n for verdict, n in sorted(found.verdicts.items()) if n}
    ours, theirs, difference = _energies(found)
    return {"ours_wh": ours, "theirs_wh": theirs, "difference_wh": difference, **verdicts}


def _cells(name: str, found: Sum) -> tuple[str, ...]:
    verdicts = ", ".join(f"{n} {verdict.replace('_', ' ')}" for verdict, n in sorted(found.verdicts.items()) if n)
    return name, *("-" if energy is None else energy for energy in _energies(found)), verdicts


def _energies(found: Sum) -> tuple[str | None, ...]:
    """Ours, theirs and the difference; None where there is no interval that both have a value for."""
    both = found.verdicts["equal"] + found.verdicts["differs"]
    return tuple(_wh(energy) if both else None for energy in (found.ours, found.theirs, found.difference))


def _wh(milli: int) -> str:
    """Wh, with decimals only where there are any."""
    return decimal(milli, -3).removesuffix(".000")
