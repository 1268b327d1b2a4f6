"""Local time for formats that know no other: the meter's zone, as configured or as its profile states it."""

from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.item_p import ItemP
from gateway.listen import no_zone
from gateway.sinks import SinkError


class LocalTime:
    """The zone of one meter; a profile's is looked up once. It is never guessed (docs/decisions/0003)."""

    def __init__(self, timezone: str | None, table: str) -> None:
        """`timezone` is the configured one; `table` is named where there is none."""
        self._configured = ZoneInfo(timezone) if timezone else None
        self._table = table
        self._zones: dict[str, ZoneInfo | None] = {}

    def of(self, item: ItemP) -> ZoneInfo:
        """Give the zone for a reading; raises SinkError where nobody knows it."""
        profile = item.reading.profile
        if self._configured is None and profile not in self._zones:
            self._zones[profile] = zone_of(profile)
        zone = self._configured or self._zones[profile]
        if zone is None:
            raise SinkError(no_zone(self._table, profile), retryable=False)
        return zone


def zone_of(profile: str) -> ZoneInfo | None:
    """Give the zone that a profile states, if it states one and can be read."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles

    try:
        name = profiles.load(profile).clock.zone
    except (KeyError, ProfileSyntaxError, OSError, UnicodeDecodeError):
        return None
    return ZoneInfo(name) if name else None


def stamp(t: datetime, zone: ZoneInfo) -> str:
    """An instant as twelve digits of the wall clock, YYMMDDhhmmss."""
    return f"{t.astimezone(zone):%y%m%d%H%M%S}"


def tst(t: datetime, zone: ZoneInfo) -> str:
    """An instant as TST of DSMR P1 5.0.2, clause 6.4: YYMMDDhhmmss, and S in summer time, W in winter time."""
    local = t.astimezone(zone)
    return f"{local:%y%m%d%H%M%S}{'S' if local.dst() else 'W'}"
