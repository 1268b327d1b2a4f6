"""What commands share that need the configuration: its place, its errors, the profiles that it names."""

import argparse
import importlib.util
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.control import socket_path
from gateway.influx_rules import INFLUX_MISSING
from gateway.listen import PROMETHEUS_MISSING, ZEROCONF_MISSING, no_zone
from gateway.settings import Known, PointSettings, Settings, load

if TYPE_CHECKING:
    from decoders.profile import Profile

SYSTEM = Path("/etc/meterd/meterd.toml")
#: tables that belong to the other process, whose secrets this one cannot read, and must not stop for
_DAEMONS = ("keys", "influx", "compat", "virtual_p1", "homewizard", "metrics")
IGNORED: dict[str, tuple[str, ...]] = {
    "run": ("hub", "notice"),
    "uploader": _DAEMONS,
    # people, who need no secret to look at the ledger and to change it, nor one that is in its place
    "hub": (*_DAEMONS, "mqtt", "notice", "files"),
}
#: packages of the extra `hubs`
HUBS_NEED = ("httpx", "lxml", "fastjsonschema", "aiohttp")
HUBS_MISSING = "the extra `hubs` is not installed ({}): pip install 'meterd[hubs]'"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `-c FILE`."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration (default: {SYSTEM}, else meterd/meterd.toml in $XDG_CONFIG_HOME)",
    )


def place(named: Path | None) -> Path:
    """Find the configuration: as named, else the system's, else the user's; the system's where there is none."""
    home = user_place()
    return named or (home if home.is_file() and not SYSTEM.is_file() else SYSTEM)


def user_place() -> Path:
    """Name the configuration of this user."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "meterd" / "meterd.toml"


def control_socket(named: Path | None, config: Path | None) -> Path:
    """Find the control socket: as named, else as configured, in a file that may have errors elsewhere, or be absent."""
    if named is not None:
        return socket_path(named)
    path = place(config)
    try:
        control = tomllib.loads(path.read_text(encoding="utf-8")).get("control", {})
        return socket_path(path.parent.joinpath(control["socket"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return socket_path()


def read(path: Path, who: str = "") -> Settings:
    """Load the configuration and compare its names with what there is; raises SettingsError with every error.

    `who` is a process of IGNORED: what is not its own it does not look at.
    """
    from gateway import profiles
    from gateway.sinks.registers import NAMES
    from gateway.sources import problem

    return load(path, Known(profiles.names(), NAMES, problem), IGNORED.get(who, ()))


def named_profiles(settings: Settings) -> "tuple[dict[str, Profile], list[str]]":
    """Load the profiles that meters name; the second half holds one sentence for each that cannot be used."""
    from decoders.profile import ProfileSyntaxError
    from gateway import profiles

    found, problems = {}, []
    for name in sorted({meter.profile for meter in settings.meter} - {"auto"}):
        try:
            found[name] = profiles.load(name)
        except (ProfileSyntaxError, OSError, UnicodeDecodeError) as error:
            problems.append(f"profile {name}: {error}")
    return found, problems


def output_problems(settings: Settings, profiles: "Mapping[str, Profile]") -> Iterator[str]:
    """Say what keeps an output from ever working: a zone that nobody knows, a library that is not there."""
    meters = {meter.name: meter for meter in settings.meter}
    if settings.metrics and importlib.util.find_spec("prometheus_client") is None:
        yield f"[metrics]: {PROMETHEUS_MISSING}"
    if settings.influx and settings.influx.version == "v2" and importlib.util.find_spec("influxdb_client") is None:
        yield f"[influx] version: {INFLUX_MISSING}"
    for table in ("virtual_p1", "homewizard"):
        for number, output in enumerate(getattr(settings, table), 1):
            meter = meters[output.meter]
            profile = profiles.get(meter.profile)
            if not (output.timezone or meter.timezone) and profile is not None and profile.clock.zone is None:
                yield f"[[{table}]] no. {number} timezone: {no_zone(f'[[{table}]]', profile.name)}"
            if table == "homewizard" and output.mdns and importlib.util.find_spec("zeroconf") is None:
                yield f"[[{table}]] no. {number} mdns: {ZEROCONF_MISSING}"


def hub_problems(settings: Settings) -> Iterator[str]:
    """Say what keeps a hub from ever being served: packages that are not there, a point whose days nobody knows."""
    missing = [name for name in HUBS_NEED if importlib.util.find_spec(name) is None] if settings.hub else []
    if missing:
        yield f"[[hub]]: {HUBS_MISSING.format(', '.join(missing))}"
    named = {name for hub in settings.hub for name in hub.points}
    zone_of = zones(settings)
    for number, point in enumerate(settings.point, 1):
        if {point.id, point.id_export} & named and zone_of(point) is None:
            yield f"[[point]] no. {number} timezone: is missing: the days of a point that goes to a hub are local days"


def zones(settings: Settings) -> Callable[[PointSettings], ZoneInfo | None]:
    """Find the zone of a point: its own, the meter's, or that of the profile that the configuration names."""
    meters = {meter.name: meter for meter in settings.meter}
    stated: dict[str, ZoneInfo | None] = {}

    def zone_of(point: PointSettings) -> ZoneInfo | None:
        meter = meters.get(point.meter)
        name = point.timezone or (meter.timezone if meter else None)
        if name is not None or meter is None or meter.profile == "auto":
            return ZoneInfo(name) if name else None
        if meter.profile not in stated:
            from gateway.sinks import local_time

            stated[meter.profile] = local_time.zone_of(meter.profile)
        return stated[meter.profile]

    return zone_of


def complain(command: str, problems: list[str]) -> int:
    """Print errors one per line and give the exit code."""
    for problem in problems:
        print(f"meterd {command}: {problem}", file=sys.stderr)
    return 1
