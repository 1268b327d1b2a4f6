"""Which series of the ledger go to a hub: the points of the configuration and of permissions, each in its own days."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.hub_model import Permission
from gateway.hub_settings import HubSettings
from gateway.intervals.calendar import GAS_DAY, MIDNIGHT, day_of, day_start
from gateway.intervals.model import Direction, Kind, SeriesKey, Unit
from gateway.settings import PointSettings, Settings
from gateway.stores.interval_rows import SeriesRow
from gateway.uploader.permissions import CONFIG, usable


class Target(NamedTuple):
    """One series that goes to a hub, under one ground."""

    #: identification of the metering point
    point: str
    key: SeriesKey
    unit: Unit
    medium: str
    zone: ZoneInfo
    gas_day: bool
    #: "config" or the id of a permission
    basis: str
    #: what the ground covers (UTC s); None: without bound
    start: int | None = None
    until: int | None = None

    @property
    def direction(self) -> Direction:
        """Direction of its energy."""
        return self.key.direction

    @property
    def kind(self) -> Kind:
        """Quantity that it counts."""
        return self.key.kind

    def day(self, t: int) -> tuple[int, int]:
        """Start and end of the local day (gas day) that a moment belongs to, UTC s."""
        begin = GAS_DAY if self.gas_day else MIDNIGHT
        day = day_of(t, self.zone, begin)
        start = day_start(day, self.zone, begin)
        return start, self.next_day(start)

    def next_day(self, start: int) -> int:
        """Start of the day behind the one that begins at `start`."""
        begin = GAS_DAY if self.gas_day else MIDNIGHT
        day = day_of(start, self.zone, begin)
        return day_start(type(day).fromordinal(day.toordinal() + 1), self.zone, begin)


class Found(NamedTuple):
    """The series of a hub, and what keeps others from going there: one sentence each."""

    targets: tuple[Target, ...]
    problems: tuple[str, ...]


def find(  # noqa: PLR0913 - what a choice of series depends on
    settings: Settings,
    hub: HubSettings,
    kinds: Collection[Kind],
    series: Mapping[SeriesKey, SeriesRow],
    permissions: Iterable[Permission],
    *,
    zone_of: Callable[[PointSettings], ZoneInfo | None],
    now: int,
    one_direction: bool = False,
) -> Found:
    """The series that go to a hub, in order; each under its first ground, the configuration before permissions.

    `one_direction`: the hub registers a point for one direction, so that feeding in goes by its own id only.
    """
    permitted = defaultdict(list)
    for one in usable(permissions, hub, now):
        permitted[one.point].append(one)
    points = {(point.meter, point.channel): point for point in settings.point}
    named = frozenset(hub.points) if hub.legal_basis else frozenset()
    targets: list[Target] = []
    problems: list[str] = []
    for key, row in sorted(series.items()):
        point = points.get((key.meter, key.channel))
        name = None if point is None else name_of(point, key.direction)
        if point is None or name is None or key.kind not in kinds:
            continue
        grounds = [(CONFIG, None, None)] if name in named else list(_grounds(key, permitted.get(name, ())))
        if one_direction and key.direction == "export" and point.id_export is None:
            continue
        zone = zone_of(point) if grounds else None
        if grounds and zone is None:
            problems.append(f"the zone of point {name} is not known: set timezone in its [[point]]")
        elif grounds and zone is not None:
            made = (Target(name, key, row.of, row.medium, zone, point.gas_day, *ground) for ground in grounds)
            targets.extend(made)
    return Found(tuple(targets), tuple(dict.fromkeys(problems)))


def name_of(point: PointSettings, direction: Direction) -> str | None:
    """What a direction of a point is called: feeding in may have an id of its own."""
    return (point.id_export or point.id) if direction == "export" else point.id


def _grounds(key: SeriesKey, permitted: Iterable[Permission]) -> Iterator[tuple[str, int | None, int | None]]:
    for one in permitted:
        if key.direction in one.directions and key.kind in one.kinds:
            yield one.id, one.start, one.until
