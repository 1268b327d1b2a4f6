"""What the commands of intervals share: which series and period are meant, and reading them whole from the ledger."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, cast
from zoneinfo import ZoneInfo

from gateway.commands import configuration
from gateway.commands.arguments import moment, zone
from gateway.intervals import calendar
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT
from gateway.intervals.model import RESOLUTIONS, Interval, Resolution, Series, SeriesKey, missing
from gateway.settings import PointSettings, Settings
from gateway.stores.interval_rows import SeriesRow
from gateway.stores.intervals import IntervalReader

#: products as `--product` takes them
PRODUCTS: Final = ("active", "reactive", "volume", "heat", "gas")


class ChoiceError(Exception):
    """No series can be chosen so: one sentence that says what, where and what to do."""


class Chosen(NamedTuple):
    """A series that was chosen, with its point and the period in UTC seconds."""

    row: SeriesRow
    point: PointSettings
    zone: ZoneInfo
    start: int
    end: int


def add_options(parser: argparse._ActionsContainer, *, resolution: str = "PT15M") -> None:
    """Add the options that choose series and period."""
    parser.add_argument("--ledger", type=Path, metavar="PATH", help="the ledger, instead of the configuration's")
    parser.add_argument(
        "--channel", type=int, default=0, metavar="N", help="channel of a sub-meter (default: 0, the meter)"
    )
    parser.add_argument("--direction", choices=("import", "export"), help="default: both")
    parser.add_argument("--product", choices=PRODUCTS, help="default: active; of a channel whatever it measures")
    parser.add_argument("--resolution", choices=RESOLUTIONS, default=resolution, help=f"default: {resolution}")
    parser.add_argument("--day", type=_day, metavar="YYYY-MM-DD", help="one local day")
    parser.add_argument("--month", type=_month, metavar="YYYY-MM", help="one local month")
    parser.add_argument(
        "--tz", type=zone, metavar="ZONE", help="zone of days and months, instead of the configuration's"
    )


def conflict(args: argparse.Namespace) -> str | None:
    """Say which options contradict each other."""
    if sum(map(bool, (args.day, args.month, args.since or args.until))) > 1:
        return "choose the period by --day, by --month or by --from and --to"
    if args.since and args.until and args.since >= args.until:
        return "--from must be before --to"
    return None


def settings_of(args: argparse.Namespace) -> Settings:
    """The configuration; raises SettingsError."""
    return configuration.read(configuration.place(args.config), "run")


def ledger_of(args: argparse.Namespace, settings: Settings) -> Path:
    """The ledger that is meant."""
    return Path(args.ledger or settings.ledger_path)


def choose(reader: IntervalReader, settings: Settings, args: argparse.Namespace) -> list[Chosen]:
    """Every series that the options name, in order; raises ChoiceError where there is none, or no zone is known."""
    rows = [row for key, row in sorted(reader.series().items()) if _fits(key, args)]
    if not rows:
        raise ChoiceError(f"{reader.path} has no such series{_known(reader)}")
    chosen = []
    for row in rows:
        point = settings.point_of(row.meter, row.channel)
        zone_ = _zone(settings, point, args.tz)
        start, end = _period(reader, row, point, zone_, args)
        if start < end:
            chosen.append(Chosen(row, point, zone_, start, end))
    if not chosen:
        raise ChoiceError(f"no interval of {args.resolution} lies in the period")
    return chosen


def series_of(reader: IntervalReader, one: Chosen, resolution: Resolution) -> Series:
    """The series whole: current versions, and what was never stored as missing; read while it is written out."""
    row, point = one.row, one.point
    return Series(
        meter=row.meter,
        point=(point.id_export or point.id) if row.direction == "export" else point.id,
        channel=row.channel,
        kind=row.kind,
        direction=row.direction,
        resolution=resolution,
        unit=row.of,
        zone=one.zone.key,
        # read once by whoever writes it out; `whole` is for those who look twice
        intervals=cast("Sequence[Interval]", Lazy(reader, one, resolution)),
        created=int(time.time()),
        medium=row.medium,
        gas_day=point.gas_day,
    )


class Lazy:
    """Intervals of a series that are read from the ledger each time they are walked through, page by page."""

    def __init__(self, reader: IntervalReader, one: Chosen, resolution: Resolution) -> None:
        self._reader, self._one, self._resolution = reader, one, resolution

    def __iter__(self) -> Iterator[Interval]:
        one = self._one
        begin = GAS_DAY if one.point.gas_day else MIDNIGHT
        found = self._reader.current(one.row.key, self._resolution, one.start, one.end)
        stored = next(found, None)
        for start, end in calendar.spans(one.start, one.end, self._resolution, one.zone, begin):
            while stored is not None and stored.start < start:
                stored = next(found, None)
            if stored is not None and stored.start == start:
                yield stored
            else:
                yield missing(start, end)

    def __getitem__(self, index: int) -> Interval:
        return next(islice(self, index, None))

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None


def whole(series: Series) -> Series:
    """The series with its intervals in memory: for what must look at them more than once."""
    return replace(series, intervals=list(series.intervals))


def _fits(key: SeriesKey, args: argparse.Namespace) -> bool:
    product = args.product or ("active" if args.channel == 0 else None)
    return (
        args.meter in (None, key.meter)
        and key.channel == args.channel
        and args.direction in (None, key.direction)
        and product in (None, key.kind)
    )


def _known(reader: IntervalReader) -> str:
    names = [f"{key.meter}/{key.channel} {key.kind} {key.direction}" for key in sorted(reader.series())]
    return f": it has {', '.join(names)}" if names else ": no interval was folded yet"


def _zone(settings: Settings, point: PointSettings, named: str | None) -> ZoneInfo:
    """The zone of a point: as named, its own, the meter's, or that of the profile that the configuration names."""
    meter = next((one for one in settings.meter if one.name == point.meter), None)
    name = named or point.timezone or (meter.timezone if meter else None)
    if name is None and meter is not None and meter.profile != "auto":
        profiles, _ = configuration.named_profiles(settings)
        found = profiles.get(meter.profile)
        name = found.clock.zone if found else None
    if name is None:
        raise ChoiceError(f"the zone of {point.meter} is not known: add --tz, or `timezone` in [[meter]] or [[point]]")
    return ZoneInfo(name)


def _period(
    reader: IntervalReader, row: SeriesRow, point: PointSettings, zone_: ZoneInfo, args: argparse.Namespace
) -> tuple[int, int]:
    begin = GAS_DAY if point.gas_day else MIDNIGHT
    if args.day:
        return calendar.day_start(args.day, zone_, begin), calendar.day_start(args.day + timedelta(1), zone_, begin)
    if args.month:
        last = calendar.next_month(args.month)
        return calendar.month_start(args.month, zone_, begin), calendar.month_start(last, zone_, begin)
    extent = reader.extent(row.key, args.resolution) or (0, 0)
    since = int(args.since.timestamp()) if args.since else extent[0]
    until = int(args.until.timestamp()) if args.until else extent[1]
    return since, until


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: write one such as 2026-11-21") from None


def _month(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no month: write one such as 2026-11") from None


def add_period(parser: argparse.ArgumentParser) -> None:
    """Add `--meter`, `--from` and `--to`, which `meterd export` has for readings, too."""
    parser.add_argument("--meter", metavar="NAME", help="of this meter only")
    parser.add_argument("--from", type=moment, metavar="ISO", dest="since", help="from this time on")
    parser.add_argument("--to", type=moment, metavar="ISO", dest="until", help="before this time")
