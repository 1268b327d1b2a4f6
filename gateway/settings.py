"""meterd.toml to frozen settings: unknown keys refused, every error at once with file, table and key."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway import compat_rules, hub_rules, influx_rules, listen, output_rules, point_rules
from gateway.hub_settings import HubSettings, NoticeSettings
from gateway.settings_rules import Known, check
from gateway.settings_types import Name, PointId, Positive, Strict
from gateway.toml_tables import Problems, SettingsError, convert, read, unknown

__all__ = [
    "BrokerSettings",
    "CompatSettings",
    "ConnectionSettings",
    "ControlSettings",
    "HomeWizardSettings",
    "HubSettings",
    "InfluxSettings",
    "JournalSettings",
    "Known",
    "LedgerSettings",
    "LogSettings",
    "MeterSettings",
    "MetricsSettings",
    "MqttSettings",
    "NoticeSettings",
    "PointSettings",
    "Settings",
    "SettingsError",
    "VirtualP1Settings",
]

#: name of the ledger's file, where its path is not set
LEDGER = "ledger.db"
#: 3 x 25 A at 230 V, the usual connection of a home, and half as much again: 3 x 37.5 A (gateway.setup.limit)
MAX_POWER_W = 25_875


class MeterSettings(Strict, frozen=True):
    """`[[meter]]`: one meter and its port."""

    name: Name
    #: serial device (`/dev/serial/by-id/...`) or `socket://host:port`
    port: Annotated[str, Meta(min_length=1)]
    profile: str = "auto"
    #: line parameters; the profile's where absent, 115200 8N1 with profile = "auto"
    baud: Annotated[int, Meta(ge=300, le=4_000_000)] | None = None
    framing: Literal["8N1", "8E1", "7E1"] | None = None
    timezone: str | None = None
    min_auth: Literal["verified", "unverified", "plain"] | None = None
    max_clock_offset_s: Annotated[int, Meta(ge=1, le=86_400)] = 3_600
    #: what the connection carries in W; 0: no limit
    max_power_w: Annotated[int, Meta(ge=0, le=100_000_000)] = MAX_POWER_W
    #: seconds between telegrams; the profile's where absent
    interval_s: Annotated[int, Meta(ge=1, le=3_600)] | None = None
    #: files of the encryption key (and, behind it, the authentication key) and of the authentication key
    key_file: str | None = None
    auth_key_file: str | None = None
    #: 8 octets in hexadecimal, for telegrams that do not say it
    system_title: (
        Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{16}\Z", description="16 hexadecimal digits (8 octets)")] | None
    ) = None
    enabled: bool = True


class ConnectionSettings(Strict, frozen=True):
    """How a broker is spoken to."""

    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    client_id: (
        Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z", description="1 to 64 of A-Z, a-z, 0-9, _ and -")] | None
    ) = None
    version: Literal["auto", "5", "3.1.1"] = "auto"
    username: str | None = None
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=120)] = 15


class BrokerSettings(ConnectionSettings, frozen=True):
    """A broker; nothing is said there when the connection ends without a word."""

    host: Annotated[str, Meta(min_length=1)] = "localhost"

    @property
    def will(self) -> str | None:
        """The topic on which the broker says `will_payload` when the connection ends without a word."""
        return None

    @property
    def will_payload(self) -> bytes:
        """What the broker says there."""
        return b"offline"


class MqttSettings(BrokerSettings, frozen=True):
    """`[mqtt]`: the broker, and what is published."""

    base: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\Z",
            description="levels of A-Z, a-z, 0-9, _ and -, with / between them",
        ),
    ] = "meterd"
    #: QoS of live topics: 1 is refused at connection unless MQTT 5 is in force
    live_qos: Literal[0, 1] = 0
    retain_energy: bool = False
    #: the whole register list inside `reading`
    reading_registers: bool = False
    #: topics register/<name>: names of gateway.sinks.registers.NAMES
    registers: tuple[str, ...] = ()
    #: seconds between published readings of a meter (0: every one) and power change in W that is published at once
    min_interval_s: Annotated[float, Meta(ge=0, le=900)] = 0
    deadband_w: Annotated[int, Meta(ge=0)] = 0
    #: late readings on a topic of their own; "all": also those that the two above leave out
    backfill: bool | Literal["all"] = True
    #: how Home Assistant is told of the meters, and the first levels of the topics on which it is
    discovery: Literal["device", "component", "both", "off"] = "device"
    discovery_prefix: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*\Z",
            description="levels of A-Z, a-z, 0-9, _ and -, with / between them",
        ),
    ] = "homeassistant"

    @property
    def will(self) -> str | None:
        """`<base>/status`."""
        return f"{self.base}/status"


class CompatSettings(ConnectionSettings, frozen=True, kw_only=True):
    """`[[compat]]`: readings of a meter in the format of another system, at the broker of `[mqtt]` or its own."""

    kind: Literal["aiida-cim", "dsmr-reader", "victron"]
    meter: Name
    #: the topic, or with dsmr-reader what stands before the name of each field
    topic: Annotated[
        str,
        Meta(
            pattern=r"\A(?!\$)[^\s\x00-\x20\x7f/+#]+(/[^\s\x00-\x20\x7f/+#]+)*\Z",
            max_length=200,
            description="up to 200 characters in levels with / between them, no blank, no +, no #, no $ in front",
        ),
    ]
    #: a broker of its own; the other keys of a connection need it
    host: Annotated[str, Meta(min_length=1)] | None = None
    #: aiida-cim: the country of the connection
    country: Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z", description="two capital letters (ISO 3166)")] | None = None
    #: victron: phases in each message, beside the total
    phases: Literal[0, 1, 3] = 0
    min_interval_s: Annotated[float, Meta(ge=0, le=900)] = 0


class PointSettings(Strict, frozen=True):
    """`[[point]]`: the metering point of a meter or sub-meter, how it is folded, and what validation compares with."""

    meter: Name
    #: channel of the sub-meter; 0 is the meter itself
    channel: Annotated[int, Meta(ge=0, le=255)] = 0
    #: identification of the metering point (EAN, GSRN), and that of feeding in where it is another one
    id: PointId | None = None
    id_export: PointId | None = None
    #: zone of days and months; that of [[meter]], else the profile's where absent
    timezone: str | None = None
    intervals: tuple[Literal["PT15M", "PT1H", "P1D", "P1M"], ...] = ("PT15M", "PT1H", "P1D", "P1M")
    #: days and months begin at 06:00
    gas_day: bool = False
    #: kWh of a cubic metre of gas, as exact decimal text
    gas_kwh_per_m3: (
        Annotated[str, Meta(pattern=r"\A[0-9]{1,3}(\.[0-9]{1,9})?\Z", description='a decimal such as "10.55"')] | None
    ) = None
    #: decimal digits of the register in its unit; found by its value where absent
    register_digits: Annotated[int, Meta(ge=3, le=12)] | None = None
    max_bound_gap_s: Annotated[int, Meta(ge=1, le=90)] = 60
    #: thresholds of validation: gateway.intervals.limits.Limits where absent
    clock_warn_s: Annotated[int, Meta(ge=0, le=900)] | None = None
    clock_per_mille: Annotated[int, Meta(ge=1, le=100)] | None = None
    max_power_w: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    power_slack_per_mille: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    spike_per_mille: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    spike_floor_wh: Annotated[int, Meta(ge=0)] | None = None
    sum_steps: Annotated[int, Meta(ge=0)] | None = None
    sum_per_mille: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    zero_hours: Annotated[int, Meta(ge=0, le=8_784)] | None = None
    frozen_times: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    frozen_floor_steps: Annotated[int, Meta(ge=0)] | None = None
    like_low_per_mille: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    like_high_per_mille: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    both_per_mille: Annotated[int, Meta(ge=0, le=1_000)] | None = None
    prolonged_days: Annotated[int, Meta(ge=0, le=366)] | None = None
    interpolate_s: Annotated[int, Meta(ge=0, le=86_400)] | None = None
    like_least: Annotated[int, Meta(ge=1, le=10)] | None = None
    like_most: Annotated[int, Meta(ge=1, le=10)] | None = None
    annual: Annotated[int, Meta(ge=0)] | None = None


class VirtualP1Settings(Strict, frozen=True):
    """`[[virtual_p1]]`: readings of a meter as DSMR 5 telegrams on a TCP port."""

    meter: Name
    listen: str = listen.VIRTUAL_P1
    #: zone of the telegram's times; that of [[meter]], else the profile's, where absent
    timezone: str | None = None
    max_clients: Annotated[int, Meta(ge=1, le=100)] = 20


class HomeWizardSettings(Strict, frozen=True):
    """`[[homewizard]]`: readings of a meter by the HTTP API v1 of a HomeWizard P1 meter."""

    meter: Name
    listen: str
    timezone: str | None = None
    #: answer to mDNS searches, which needs the extra `homewizard`
    mdns: bool = True
    max_clients: Annotated[int, Meta(ge=1, le=100)] = 20
    #: names under which clients know this machine, beside its addresses and local names
    hosts: tuple[str, ...] = ()


class InfluxSettings(Strict, frozen=True):
    """`[influx]`: the database that gets every reading of the journal."""

    url: str
    #: the API: `v2` of InfluxDB 2 and 3, `v1` of InfluxDB 1
    version: Literal["v1", "v2"] = "v2"
    #: v2
    org: Annotated[str, Meta(min_length=1)] | None = None
    bucket: Annotated[str, Meta(min_length=1)] | None = None
    token_file: str | None = None
    #: v1
    database: Annotated[str, Meta(min_length=1)] | None = None
    retention_policy: Annotated[str, Meta(min_length=1)] | None = None
    username: Annotated[str, Meta(pattern=r"\A[^:\x00-\x1f]+\Z", description="text without a colon")] | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    gzip: bool = True
    #: readings in one request at most
    batch: Annotated[int, Meta(ge=1, le=5_000)] = 500
    #: until a request must be answered, s
    timeout_s: Annotated[float, Meta(ge=1, le=120)] = 10
    #: in front of the name of each measurement
    prefix: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]{0,32}\Z", description="up to 32 of A-Z, a-z, 0-9 and _")] = ""
    registers: Annotated[
        Literal["all", "none"] | tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(description='"all", "none" or a list of codes'),
    ] = "all"


class JournalSettings(Strict, frozen=True):
    """`[journal]`: the local store of every reading."""

    path: str = "/var/lib/meterd/journal.db"
    max_mib: Annotated[int, Meta(ge=8, le=65_536)] = 512
    max_days: Positive = 400
    #: `normal` commits every 10 s, `saver` every 60 s
    mode: Literal["normal", "saver"] = "normal"


class LedgerSettings(Strict, frozen=True):
    """`[ledger]`: the metrology log and what must never be lost."""

    #: ledger.db in the folder of the journal where absent
    path: str | None = None


class MetricsSettings(Strict, frozen=True):
    """`[metrics]`: the page that Prometheus asks for."""

    listen: str = listen.METRICS
    #: an address that other machines reach may be taken
    remote: bool = False
    max_clients: Annotated[int, Meta(ge=1, le=100)] = 8
    #: names under which clients know this machine, beside its addresses and local names
    hosts: tuple[str, ...] = ()


class LogSettings(Strict, frozen=True):
    """`[log]`: what goes to stderr."""

    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"


class ControlSettings(Strict, frozen=True):
    """`[control]`: the socket that `meterd status` asks."""

    socket: str = "/run/meterd/control"


class Settings(Strict, frozen=True):
    """The whole of meterd.toml. Without `[mqtt]` nothing is published; without `[journal]` the default path holds."""

    meter: Annotated[tuple[MeterSettings, ...], Meta(min_length=1)]
    mqtt: MqttSettings | None = None
    journal: JournalSettings = JournalSettings()
    ledger: LedgerSettings = LedgerSettings()
    metrics: MetricsSettings | None = None
    log: LogSettings = LogSettings()
    control: ControlSettings = ControlSettings()
    compat: tuple[CompatSettings, ...] = ()
    virtual_p1: tuple[VirtualP1Settings, ...] = ()
    homewizard: tuple[HomeWizardSettings, ...] = ()
    influx: InfluxSettings | None = None
    point: tuple[PointSettings, ...] = ()
    hub: tuple[HubSettings, ...] = ()
    notice: NoticeSettings | None = None

    def point_of(self, meter: str, channel: int = 0) -> PointSettings:
        """The point of a meter or of one of its channels; what holds by default where no table names it."""
        found = (point for point in self.point if (point.meter, point.channel) == (meter, channel))
        return next(found, PointSettings(meter=meter, channel=channel))

    @property
    def ledger_path(self) -> Path:
        """Where the ledger is: beside the journal unless its own table says otherwise."""
        return Path(self.ledger.path or Path(self.journal.path).parent / LEDGER)

    def broker(self, compat: CompatSettings) -> BrokerSettings:
        """Find the broker of a `[[compat]]` table: its own, else that of `[mqtt]`."""
        source: ConnectionSettings | None = compat if compat.host else self.mqtt
        host = compat.host or (self.mqtt.host if self.mqtt else None)
        if source is None or host is None:
            raise SettingsError(["[[compat]]: no broker"])
        keys = {field.name: getattr(source, field.name) for field in msgspec.structs.fields(ConnectionSettings)}
        return BrokerSettings(host=host, **keys)


#: tables of meterd.toml beside `[[meter]]`
TABLES: dict[str, type[Strict]] = {
    "mqtt": MqttSettings,
    "journal": JournalSettings,
    "ledger": LedgerSettings,
    "metrics": MetricsSettings,
    "log": LogSettings,
    "control": ControlSettings,
    "influx": InfluxSettings,
    "notice": NoticeSettings,
}
#: lists of tables whose outputs listen
LISTENING: dict[str, type[Strict]] = {"virtual_p1": VirtualP1Settings, "homewizard": HomeWizardSettings}
#: keys of [[compat]] that name files
COMPAT_PATHS = ("password_file", "ca_file", "cert_file", "key_file")
#: keys of [[meter]] that name files
METER_PATHS = ("key_file", "auth_key_file")
#: keys of other tables that name files; a relative path starts at the folder of the configuration
PATHS = {
    "mqtt": ("password_file", "ca_file", "cert_file", "key_file"),
    "journal": ("path",),
    "ledger": ("path",),
    "control": ("socket",),
    "influx": influx_rules.PATHS,
    "notice": hub_rules.NOTICE_PATHS,
}


def load(path: Path, known: Known = Known(), ignored: Collection[str] = ()) -> Settings:  # noqa: B008  # an empty tuple
    """Read meterd.toml; `known` brings what other modules know. Raises SettingsError with every error of the file.

    `ignored` names tables of another process, which may have files that this one cannot read; "keys": those of meters,
    "files": those of hubs.
    """
    raw, problems = read(path), Problems(path)
    unknown(raw, ["meter", "compat", "point", "hub", *LISTENING, *TABLES], "", problems)
    raw = {name: table for name, table in raw.items() if name not in ignored}
    meters = _meters(raw.get("meter"), problems)
    for values in meters.values():
        _join(path.parent, METER_PATHS, values)
        for key in METER_PATHS if "keys" in ignored else ():
            values.pop(key, None)
    tables = {name: convert(raw[name], TABLES[name], f"[{name}]", problems) for name in TABLES if name in raw}
    for name, keys in PATHS.items():
        _join(path.parent, keys, tables.get(name, {}))
    check(meters, tables, known, problems)
    _apart(tables, problems)
    if "influx" in tables:
        influx_rules.check(tables["influx"], problems)
    compat = _list(raw.get("compat", []), "compat", CompatSettings, problems)
    for values in compat.values():
        _join(path.parent, COMPAT_PATHS, values)
    names = {values["name"]: None for values in meters.values() if "name" in values}
    compat_rules.check(compat, names, tables.get("mqtt"), problems)
    points = _list(raw.get("point", []), "point", PointSettings, problems)
    point_rules.check(points, names, problems)
    hubs = _list(raw.get("hub", []), "hub", HubSettings, problems)
    for values in hubs.values():
        _join(path.parent, hub_rules.PATHS, values)
    hub_rules.check(hubs, points, problems, files="files" not in ignored)
    hub_rules.check_notice(tables.get("notice", {}), problems)
    listening = {name: _list(raw.get(name, []), name, struct, problems) for name, struct in LISTENING.items()}
    outputs = {where: one for many in listening.values() for where, one in many.items()}
    taken = output_rules.check(outputs, meters, problems)
    output_rules.check_metrics(tables.get("metrics"), taken, problems)
    problems.check()
    return Settings(
        meter=tuple(MeterSettings(**values) for values in meters.values()),
        compat=tuple(CompatSettings(**values) for values in compat.values()),
        point=tuple(PointSettings(**values) for values in points.values()),
        hub=tuple(HubSettings(**values) for values in hubs.values()),
        **{name: tuple(LISTENING[name](**one) for one in many.values()) for name, many in listening.items()},  # type: ignore[arg-type]
        **{name: TABLES[name](**values) for name, values in tables.items()},  # type: ignore[arg-type]
    )


def _apart(tables: dict[str, dict[str, Any]], problems: Problems) -> None:
    """Journal and ledger are two files."""
    journal = Path(tables.get("journal", {}).get("path") or JournalSettings().path)
    ledger = Path(tables.get("ledger", {}).get("path") or journal.parent / LEDGER)
    if journal.resolve() == ledger.resolve():
        problems.add("[ledger] path", f"{ledger} is the journal", "a file of its own")


def _meters(raw: Any, problems: Problems) -> dict[str, dict[str, Any]]:
    """Convert the `[[meter]]` tables, by how a message names them."""
    if not isinstance(raw, list) or not raw:
        problems.add("[[meter]]", "no meter" if raw is None else "not a list of tables", "one [[meter]] for each meter")
        return {}
    return _list(raw, "meter", MeterSettings, problems)


def _list(raw: Any, name: str, struct: type[Strict], problems: Problems) -> dict[str, dict[str, Any]]:
    """Convert a list of tables, by how a message names them."""
    if not isinstance(raw, list):
        problems.add(f"[[{name}]]", "not a list of tables", f"[[{name}]] in double brackets")
        return {}
    wheres = [f"[[{name}]] no. {number}" for number in range(1, len(raw) + 1)]
    return {where: convert(table, struct, where, problems) for where, table in zip(wheres, raw, strict=True)}


def _join(folder: Path, keys: tuple[str, ...], values: dict[str, Any]) -> None:
    for key in keys:
        path = values.get(key)
        if path is not None:
            values[key] = hub_rules.expanded(path) or str(folder.joinpath(path))
